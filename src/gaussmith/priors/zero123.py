"""Zero-1-to-3 XL and Stable-Zero123: one picture and a turn of the camera -> the picture from there.

Liu et al. 2023 (arXiv 2303.11328), in the diffusers folders that DreamGaussian uses. The reference enters twice: its
latents beside the noisy ones, and its CLIP embedding, to which four numbers about the cameras are joined. The cameras
of the training pictures have a field of view of 49.1 degrees at radius 1.5 to 2.2, around objects of longest side 1, on
white: at radius 2 that is our default frame. So the prior's narrower frame gets a border here, and loses it again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussmith.accelerator import onto
from gaussmith.camera import DEFAULT_FOVY, DEFAULT_RADIUS, PRIOR_FOVY
from gaussmith.diffusion.guidance import Predictions
from gaussmith.diffusion.prompts import Prompts
from gaussmith.events import OnEvent, UserError, Warned, ignore
from gaussmith.priors import denoiser
from gaussmith.priors.denoiser import Denoiser, look, read
from gaussmith.priors.hub import Located
from gaussmith.priors.networks import load_diffusers, load_module, model_config
from gaussmith.priors.pictures import Background, over, resize
from gaussmith.views import OrbitView

SIZE = 256  # side of the pictures that it was trained on; some folders' configurations say otherwise
# The part that joins picture and cameras, and its layer: DreamGaussian's folders, and those of kxic/zero123-*.
_PROJECTIONS = {"clip_camera_projection": "proj", "cc_projection": "projection"}


@dataclass(frozen=True)
class Condition:
    """The digested reference: CLIP embedding [1,D], unscaled latents [1,4,h,w], and its elevation in degrees."""

    embedding: Tensor
    latents: Tensor
    elevation: float


class Zero123:
    """Implements `priors.base.EpsPrior`.

    Attributes:
        net, project: the denoiser, and what makes its token of picture and cameras.
        stable: Stable-Zero123, which is told the reference's polar angle instead of the change of radius.
    """

    guidance_scale = 5.0  # DreamGaussian's and threestudio's public settings
    sees_alpha, bounded, group, from_reference, told_in_words = False, False, 1, True, False

    def __init__(self, net: Denoiser, project: nn.Module, stable: bool) -> None:
        self.net, self.project, self.stable = net, project, stable
        self.name, self.size, self.schedule, self.device = net.located.name, net.space.size, net.schedule, net.device
        self._inner = inner_side(self.size)

    def condition(
        self, reference: Tensor, elevation: float, prompts: Prompts | None = None, on_event: OnEvent = ignore
    ) -> Condition:
        """See `Prior.condition`; the reference is seen on white. The image encoder is let go after it."""
        self.net.graphs.on_event = on_event
        if prompts is not None:
            on_event(Warned(f"The prior {self.name} reads no words; it goes on with the picture alone."))
        framed = self._framed(reference[None].to(self.device, torch.float32))
        embedding = look(self.net, "CLIPVisionModelWithProjection", over(framed), lambda out: out.image_embeds)
        with torch.no_grad():
            latents = self.net.space.encode(framed) / self.net.space.scale
        return Condition(embedding.float(), latents, float(elevation))

    def encode(self, pictures: Tensor, background: Background = 1.0) -> Tensor:
        """Latents [B,4,size/8,size/8] of pictures over `background`; see `Prior.encode`."""
        return self.net.space.encode(self._framed(pictures), background)

    def decode(self, clean: Tensor) -> Tensor:
        """See `Prior.decode`; opaque, on the background that the network painted."""
        start, end = (self.size - self._inner) // 2, (self.size + self._inner) // 2
        with torch.no_grad():
            return resize(self.net.space.decode(clean)[:, :, start:end, start:end], self.size)

    @torch.no_grad()
    def eps(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Condition) -> Predictions:
        """See `EpsPrior.eps`. The null condition is zeros in place of the token and of the reference's latents."""
        batch, dtype = len(views), self.net.dtype
        cameras = onto(camera_embedding(views, condition.elevation, self.stable), self.device)
        told = torch.cat([condition.embedding.expand(batch, -1), cameras], dim=1)
        token = self.project(told.to(dtype))[:, None]
        token = torch.cat([torch.zeros_like(token), token])
        latents = condition.latents.expand(batch, -1, -1, -1)
        x = torch.cat([noisy.repeat(2, 1, 1, 1), torch.cat([torch.zeros_like(latents), latents])], dim=1)
        steps = onto(self.schedule.index(t), self.device).repeat(2)
        out = self.net.in_runs(self._run, [x.to(dtype), steps, token])
        null, cond = self.net.eps(noisy.repeat(2, 1, 1, 1), out, t.repeat(2)).chunk(2)
        return Predictions(null, cond)

    def _run(self, x: Tensor, steps: Tensor, token: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        return self.net.unet(x, steps, encoder_hidden_states=token, return_dict=False)[0]

    predict, release = denoiser.predict, denoiser.release

    def _framed(self, pictures: Tensor) -> Tensor:
        """RGBA [B,4,H,W] of the prior's frame -> [B,4,size,size] of the network's; outside there is nothing."""
        return F.pad(resize(pictures, self._inner), [(self.size - self._inner) // 2] * 4)


def inner_side(size: int) -> int:
    """Pixels across which the prior's frame spans the middle of the network's frame of `size`; even, as `size` is."""
    share = math.tan(math.radians(PRIOR_FOVY / 2)) / math.tan(math.radians(DEFAULT_FOVY / 2))
    return 2 * round(size / 2 * share)


def camera_embedding(views: OrbitView, elevation: float, stable: bool) -> Tensor:
    """What the network is told of the cameras: [B,4] float32 radians.

    Polar angles are counted from the pole above, so that a target above the reference has a negative change; azimuths
    grow as ours do, counterclockwise seen from above.

    Args:
        views: the target views; azimuths relative to the reference's. elevation: the reference's, degrees.
        stable: give the reference's polar angle last (Stable-Zero123) instead of the change of radius (Zero-1-to-3).
    """
    azimuth = torch.deg2rad(views.azimuth.double())
    polar = torch.deg2rad(elevation - views.elevation.double())
    last = math.radians(90 - elevation) if stable else views.radius - DEFAULT_RADIUS
    return torch.stack([polar, azimuth.sin(), azimuth.cos(), torch.full_like(polar, last)], dim=1).float()


def load(
    located: Located,
    device: torch.device,
    dtype: torch.dtype | None = None,
    max_memory: int | None = None,
    stable: bool | None = None,
    size: int = SIZE,
) -> Zero123:
    """Zero-1-to-3 or Stable-Zero123 from its pipeline folder.

    Args:
        dtype: of the networks; None is float16 on CUDA and float32 elsewhere.
        max_memory: bytes; slower ways are taken to stay below. None is what there is.
        stable: which of the two; None tells by the word "stable" in the name, the folder or the hub's repository.

    Raises:
        UserError: parts missing, misshapen, or not fitting each other; or more memory needed than allowed.
    """
    folder = located.folder
    part = next((name for name in _PROJECTIONS if (folder / name).is_dir()), None)
    if part is None:
        raise UserError(f"{folder} lacks {next(iter(_PROJECTIONS))}; fetch or copy the pipeline again")

    def make_unet(dtype: torch.dtype) -> tuple[Any, int, int]:
        unet = load_diffusers("UNet2DConditionModel", folder, "unet", dtype, device)
        config = unet.config
        if config.in_channels != 2 * config.out_channels:
            raise UserError(
                f"{folder}: the denoiser takes {config.in_channels} channels, not {2 * config.out_channels} as "
                "Zero-1-to-3's, which takes the reference's latents too; choose a folder of Zero-1-to-3"
            )
        return unet, int(config.block_out_channels[0]), int(config.out_channels)

    net = read(located, device, dtype, max_memory, make_unet, size)
    width = int(net.unet.config.cross_attention_dim)
    project = load_module(lambda: CameraProjection(_PROJECTIONS[part], width), folder, part, net.dtype, device)
    encoder = model_config(folder, "image_encoder")
    if encoder.get("projection_dim", 768) != width:
        raise UserError(f"{folder}: the image encoder does not fit the denoiser; fetch or copy the pipeline again")
    return Zero123(net, project, _is_stable(located) if stable is None else stable)


def _is_stable(located: Located) -> bool:
    repositories = [part for part in Path(located.folder).parts if part.startswith("models--")]  # the hub's cache
    return any("stable" in text.lower() for text in (located.name, located.folder.name, *repositories))


class CameraProjection(nn.Module):
    """CLIP embedding and four numbers about the cameras [B,width+4] -> the token [B,width] that the denoiser sees."""

    def __init__(self, layer: str, width: int = 768) -> None:
        super().__init__()
        self._layer = layer
        self.add_module(layer, nn.Linear(width + 4, width))

    def forward(self, told: Tensor) -> Tensor:
        return self.get_submodule(self._layer)(told)
