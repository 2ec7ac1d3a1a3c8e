"""MVDream: words -> four views of one object, a quarter turn apart, denoised together (Shi et al. 2023, 2308.16512).

Read from the folder ashawkey/mvdream-sd2.1-diffusers. Each view is told its camera-to-world matrix. The pictures that
it was trained on show an object that nearly fills them, at fields of view of 15 to 60 degrees (appendix of the paper):
that is the prior's own frame, so no frame is converted here. What ImageDream has in common with it is here too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gaussmith.accelerator import onto
from gaussmith.camera import opengl_to_opencv
from gaussmith.diffusion.guidance import Predictions
from gaussmith.diffusion.prompts import Prompts, view_weights
from gaussmith.events import OnEvent, UserError, ignore
from gaussmith.priors import denoiser
from gaussmith.priors.denoiser import Denoiser, read
from gaussmith.priors.files import load_config
from gaussmith.priors.hub import Located
from gaussmith.priors.multiview_unet import MultiViewUNet, read_config
from gaussmith.priors.networks import check_text_fits, load_module
from gaussmith.priors.texts import Texts, embed_clip
from gaussmith.views import OrbitView

GROUP = 4  # views that are denoised together
SIZE = 256  # side of the pictures that both models were trained on
_SUFFIX = ", 3d asset"  # what the captions of its training renders ended with (the public scripts/t2i.py)
# The rows are the axes of the network's world in ours: its objects face +X and stand on Z, ours face +Z and stand on Y.
_THEIR_AXES = ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True)
class Words:
    """Embedded prompts: what is wanted and what not, one text for each of `prompts.VIEWS`."""

    positives: Texts
    nulls: Texts


@dataclass(frozen=True)
class Told:
    """What the denoiser is told beside the cameras.

    Attributes:
        words: [B,L,D], one text a view.
        tokens: [1,T,D] of the reference picture (ImageDream), or None.
        latents: [1,4,h,w] of the reference picture, a fifth view of each group (ImageDream), or None.
    """

    words: Tensor
    tokens: Tensor | None = None
    latents: Tensor | None = None


class MVDream:
    """Implements `priors.base.EpsPrior` for batches that are groups of four views a quarter turn apart.

    Attributes:
        group: how many views belong together.
    """

    guidance_scale = 100.0  # DreamGaussian's public settings for score distillation
    sees_alpha, bounded, group, from_reference, told_in_words = False, False, GROUP, False, False

    def __init__(self, net: Denoiser) -> None:
        self.net = net
        self.name, self.size, self.schedule, self.device = net.located.name, net.space.size, net.schedule, net.device

    def condition(
        self, reference: Tensor, elevation: float, prompts: Prompts | None = None, on_event: OnEvent = ignore
    ) -> Words:
        """The words alone: it sees no reference. `UserError` without words."""
        if prompts is None:
            raise UserError(f"the prior {self.name} follows words; say what the picture shows with --prompt")
        return self.text_condition(prompts, on_event)

    def text_condition(self, prompts: Prompts, on_event: OnEvent = ignore) -> Words:
        """Embed what the user asked for; the cameras take the place of view words. The text encoder is let go."""
        return embed_prompts(self.net, prompts, on_event)

    encode, decode = denoiser.encode, denoiser.decode
    predict, release = denoiser.predict, denoiser.release

    def eps(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Words) -> Predictions:
        """See `EpsPrior.eps`. `ValueError` unless the views are groups of four a quarter turn apart."""
        weights = view_weights(views)
        told = [Told(texts.mixed(weights).tokens) for texts in (condition.nulls, condition.positives)]
        return Predictions(*denoise_groups(self.net, noisy, t, views, told))


def embed_prompts(net: Denoiser, prompts: Prompts | None, on_event: OnEvent = ignore) -> Words:
    """The words for a network that is told the cameras; no prompt is the empty text."""
    net.graphs.on_event = on_event
    positives = replace(prompts, view_words=False).positives() if prompts else ("",) * 4
    positives = tuple(text if not text or text.endswith(_SUFFIX[2:]) else text + _SUFFIX for text in positives)
    texts = [*positives, *(prompts.negatives() if prompts else positives)]
    unique = list(dict.fromkeys(texts))
    embedded = embed_clip(net.located.folder, unique, net.dtype, net.device, on_event)
    each = embedded[[unique.index(text) for text in texts]]
    return Words(each[:4], each[4:])


@torch.no_grad()
def denoise_groups(
    net: Denoiser, noisy: Tensor, t: Tensor, views: OrbitView, told: Sequence[Told]
) -> tuple[Tensor, ...]:
    """The eps [B,4,h,w] of noisy [B,4,h,w], in groups of four views, for each of `told`, in one run if memory allows.

    A reference picture is a fifth view of every group, with a camera of zeros and no noise; it is dropped at the end.
    """
    check_groups(views)
    camera = onto(camera_matrices(views), net.device)
    steps = onto(net.schedule.index(t), net.device)
    kinds = []
    for one in told:
        x, words, cameras, at = (_grouped(v) for v in (noisy, one.words, camera, steps))
        if one.latents is not None:
            x = _with_fifth(x, one.latents[0])
            words, cameras, at = _with_fifth(words), _with_fifth(cameras, torch.zeros_like(camera[0])), _with_fifth(at)
        kind = [x.to(net.dtype), at, words.to(net.dtype), cameras.to(net.dtype)]
        if one.tokens is not None:
            kind.append(one.tokens[None].expand(x.shape[0], x.shape[1], -1, -1))
        kinds.append(kind)

    def run(x: Tensor, at: Tensor, words: Tensor, cameras: Tensor, *tokens: Tensor) -> Tensor:
        flat = [v.flatten(0, 1) for v in (x, at, words, cameras, *tokens)]
        flat[0] = flat[0].contiguous(memory_format=torch.channels_last)
        out = net.unet(*flat[:4], x.shape[1], *flat[4:])
        return out.unflatten(0, x.shape[:2])[:, :GROUP]

    out = net.in_runs(run, [torch.cat(parts) for parts in zip(*kinds)])
    return tuple(net.eps(noisy, part.flatten(0, 1), t) for part in out.chunk(len(told)))


def _grouped(values: Tensor) -> Tensor:
    return values.unflatten(0, (-1, GROUP))


def _with_fifth(groups: Tensor, value: Tensor | None = None) -> Tensor:
    """[G,4,...] -> [G,5,...] with `value` [...] last, or each group's first."""
    last = groups[:, :1] if value is None else value.to(groups).expand(len(groups), 1, *value.shape)
    return torch.cat([groups, last], dim=1)


def camera_matrices(views: OrbitView) -> Tensor:
    """What the network is told of the cameras: [B,16], the rows of the 4x4 camera-to-world matrices.

    OpenGL camera axes (x right, y up, z back), in a world whose objects face +X and stand on Z, with the centres on the
    unit sphere. (In the authors' `get_camera` our azimuth 0 is theirs of 90, where their examples start.)
    """
    c2w = opengl_to_opencv(views.camera().c2w.double())
    c2w[:, :3] = c2w.new_tensor(_THEIR_AXES) @ c2w[:, :3]
    c2w[:, :3, 3] /= c2w[:, :3, 3].norm(dim=1, keepdim=True)
    return c2w.flatten(1).float()


def check_groups(views: OrbitView) -> None:
    """`ValueError` unless each four views in turn are at one elevation and a quarter turn apart, to 0.1 degrees."""
    if len(views) == 0 or len(views) % GROUP:
        raise ValueError(f"views must come in groups of {GROUP}, got {len(views)}; see views.four_view_ring")
    azimuth, elevation = _grouped(views.azimuth.double()), _grouped(views.elevation.double())
    turn = (azimuth - azimuth[:, :1] + 45) % 360 - 45  # so that a rounding error under 0 is no whole turn
    quarters = (turn / 90).sort(dim=1).values
    ring = quarters.new_tensor([0.0, 1.0, 2.0, 3.0])
    apart = (quarters - ring).abs().amax() * 90
    if bool(apart > 0.1) or bool((elevation - elevation[:, :1]).abs().amax() > 0.1):
        raise ValueError("the four views of a group must be a quarter turn apart at one elevation")


def multiview_unet(
    located: Located, device: torch.device, image: bool
) -> Callable[[torch.dtype], tuple[Any, int, int]]:
    """What reads the denoiser of a folder, with or without a reference picture, for `denoiser.read`."""
    folder = located.folder

    def make(dtype: torch.dtype) -> tuple[Any, int, int]:
        config = read_config(load_config(folder, "unet"), str(folder / "unet" / "config.json"))
        if bool(config.ip_dim) != image:
            names = ("an MVDream", "an ImageDream") if image else ("an ImageDream", "an MVDream")
            raise UserError(f"{folder} holds {names[0]}, not {names[1]}; check its model_index.json")
        check_text_fits(folder, "context_dim", "text_encoder")
        unet = load_module(lambda: MultiViewUNet(config), folder, "unet", dtype, device)
        return unet, config.model_channels, config.out_channels

    return make


def load(
    located: Located,
    device: torch.device,
    dtype: torch.dtype | None = None,
    max_memory: int | None = None,
    size: int = SIZE,
) -> MVDream:
    """MVDream from its pipeline folder; arguments and errors as `zero123.load`."""
    return MVDream(read(located, device, dtype, max_memory, multiview_unet(located, device, image=False), size, GROUP))
