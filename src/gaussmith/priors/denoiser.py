"""What the camera-conditioned published priors share: a denoiser in a VAE's latents, and how a picture enters CLIP.

The adapters (zero123, mvdream, imagedream) say what their network is told; they forward the rest here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.diffusion.guidance import Predictions, guide
from gaussmith.diffusion.schedule import NoiseSchedule, x0_from_eps
from gaussmith.events import UserError
from gaussmith.priors.graphs import Graphs
from gaussmith.priors.hub import Located
from gaussmith.priors.networks import MIXED, default_dtype, load_transformers, noise_schedule, weight_bytes
from gaussmith.priors.pictures import Background, Latents
from gaussmith.priors.stable_diffusion import ACTIVATIONS
from gaussmith.priors.text_prior import Memory, to_eps
from gaussmith.views import OrbitView

_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the pictures that CLIP was trained on (Radford et al. 2021)
_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Denoiser:
    """A frozen network and the space that it works in.

    Attributes:
        located: the folder, and what the user called it.
        unet: the network. width: channels of its first layer. views: pictures that it sees together.
        predicts: what its output is: "eps", "v" or "x0".
        max_memory: bytes that weights and activations may take; None is what there is.
        graphs: of the network's calls on a GPU.
    """

    located: Located
    unet: Any
    width: int
    views: int
    space: Latents
    schedule: NoiseSchedule
    predicts: str
    device: torch.device
    dtype: torch.dtype
    max_memory: int | None = None
    graphs: Graphs = field(default_factory=Graphs)

    def in_runs(self, run: Callable[..., Tensor], inputs: Sequence[Tensor]) -> Tensor:
        """run(*inputs) [N,...] in as many runs as the memory allows; an item of N is `views` pictures seen together.
        `run` is the network called in one way, the same at every call."""
        count = len(inputs[0]) if self.max_memory is None else self.at_once()
        outs = [self.graphs.run(run, *part) for part in zip(*(x.split(count) for x in inputs))]
        return outs[0] if len(outs) == 1 else torch.cat(outs)

    def at_once(self) -> int:
        """How many items fit into `max_memory`; `UserError` if not one does."""
        return Memory(self.max_memory, self.each).at_once(self.held(), self.located.name) or 1

    def held(self) -> int:
        """Bytes that are taken beside an item's: the network's weights, and what the VAE needs."""
        return weight_bytes(self.unet) + self.space.needs()

    @property
    def each(self) -> int:
        """Bytes that one item takes on its way through the network, estimated."""
        _, height, width = self.space.shape
        return ACTIVATIONS * height * width * self.width * self.dtype.itemsize * self.views

    def eps(self, noisy: Tensor, out: Tensor, t: Tensor) -> Tensor:
        """The network's output [B,C,h,w] for noisy [B,C,h,w] at times t [B] as eps, float32."""
        return to_eps(noisy.float(), out.float(), self.schedule.level(t), self.predicts)

    def x0(self, noisy: Tensor, t: Tensor, parts: Predictions, scale: float) -> Tensor:
        """The guided clean prediction that `Prior.predict` answers."""
        return x0_from_eps(noisy.float(), guide(parts, scale), self.schedule.level(t))

    def release(self) -> None:
        """Let go what can be made again: the VAE and the graphs."""
        self.graphs.release()
        self.space.release()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def read(
    located: Located,
    device: torch.device,
    dtype: torch.dtype | None,
    max_memory: int | None,
    make_unet: Callable[[torch.dtype], tuple[Any, int, int]],
    size: int,
    views: int = 1,
) -> Denoiser:
    """Put a denoiser together from its folder.

    Args:
        make_unet: (dtype) -> the network, the channels of its first layer, and of what it denoises.
        size: side of its pictures. views: how many of them it sees together.

    Raises:
        UserError: parts missing, misshapen or not fitting each other, or more memory needed than allowed.
    """
    dtype = dtype or default_dtype(device)
    schedule, predicts = noise_schedule(located.folder)
    unet, width, channels = make_unet(dtype)
    space = Latents(located.folder, size, dtype, device)
    if channels != space.shape[0]:
        raise UserError(f"{located.folder}: the denoiser makes {channels} channels, the VAE {space.shape[0]}; {MIXED}")
    if max_memory is not None:
        space.slices = 1
    net = Denoiser(
        located, unet, width, views, space, schedule, predicts, device, dtype, max_memory, Graphs(max_memory is None)
    )
    net.at_once()
    return net


# The methods that priors of a `Denoiser` have in common: a class names them in its body.


class _Of(Protocol):
    """A prior whose network is `net`, as these methods see it."""

    net: Denoiser
    guidance_scale: float

    def eps(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Any) -> Predictions: ...


def encode(self: _Of, pictures: Tensor, background: Background = 1.0) -> Tensor:
    """Latents [B,4,size/8,size/8] of pictures over `background`; see `Prior.encode`."""
    return self.net.space.encode(pictures, background)


def decode(self: _Of, clean: Tensor) -> Tensor:
    """See `Prior.decode`; opaque, on the background that the network painted."""
    with torch.no_grad():
        return self.net.space.decode(clean)


def predict(
    self: _Of, noisy: Tensor, t: Tensor, views: OrbitView, condition: Any, guidance_scale: float | None = None
) -> Tensor:
    """See `Prior.predict`; at the prior's own scale unless told."""
    scale = self.guidance_scale if guidance_scale is None else guidance_scale
    return self.net.x0(noisy, t, self.eps(noisy, t, views, condition), scale)


def release(self: _Of) -> None:
    """Let go what can be read again: the VAE."""
    self.net.release()


def look(net: Denoiser, kind: str, reference: Tensor, read_out: Callable[[Any], Tensor]) -> Tensor:
    """What CLIP sees in a picture: `read_out` of the output of the folder's image encoder, loaded for this and let go.

    Args:
        kind: class of transformers. reference: opaque RGB [1,3,H,W] in [0,1].
    """
    encoder = load_transformers(kind, net.located.folder, "image_encoder", net.dtype, net.device)
    pixels = clip_pixels(reference.to(net.device, torch.float32), int(encoder.config.image_size))
    with torch.no_grad():
        return read_out(encoder(pixels.to(net.dtype), output_hidden_states=True))


def clip_pixels(rgb: Tensor, size: int = 224) -> Tensor:
    """RGB [B,3,H,W] in [0,1] as CLIP wants it: bicubic to size^2 with antialiasing, channels standardised."""
    small = F.interpolate(rgb, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
    mean, std = (small.new_tensor(values)[:, None, None] for values in (_CLIP_MEAN, _CLIP_STD))
    return (small - mean) / std
