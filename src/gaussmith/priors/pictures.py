"""From RGBA pictures of the prior frame to what a published network noises, and back: VAE latents, or pixels.

Published networks know opaque pictures in [-1,1]; a picture is laid over a background first. What is decoded is opaque.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.events import UserError
from gaussmith.priors.files import load_config, weight_files
from gaussmith.priors.networks import load_diffusers

Background = Tensor | float
# Numbers alive at once on one picture's way through the encoder and back, over its pixels times the first width:
# counted on the shapes of Stable Diffusion's VAE with its blocks recomputed (24 when they are kept).
ACTIVATIONS = 16


def over(pictures: Tensor, background: Background = 1.0) -> Tensor:
    """Premultiplied RGBA [B,4,H,W] in [0,1] over a grey level, or a colour [3] or [B,3]: opaque RGB [B,3,H,W]."""
    if pictures.ndim != 4 or pictures.shape[1] != 4:
        raise ValueError(f"pictures must be [B,4,H,W], got {tuple(pictures.shape)}")
    colour = torch.as_tensor(background).to(pictures)
    colour = colour.expand(3) if colour.ndim == 0 else colour
    return pictures[:, :3] + (1 - pictures[:, 3:]) * colour.reshape(-1, 3, 1, 1)


def resize(pictures: Tensor, size: int) -> Tensor:
    """[B,C,H,W] -> [B,C,size,size]: by area where it shrinks, bilinear where it grows; differentiable."""
    if pictures.shape[-2:] == (size, size):
        return pictures
    if min(pictures.shape[-2:]) >= size:
        return F.interpolate(pictures, size=(size, size), mode="area")
    return F.interpolate(pictures, size=(size, size), mode="bilinear", align_corners=False)


def opaque(rgb: Tensor) -> Tensor:
    """RGB [B,3,H,W] in [-1,1] -> RGBA [B,4,H,W] in [0,1] with alpha 1."""
    rgb = (rgb.float() * 0.5 + 0.5).clamp(0, 1)
    return torch.cat([rgb, torch.ones_like(rgb[:, :1])], dim=1)


def latent_pixels(folder: Path) -> int:
    """Side in pixels of what one latent stands for: 8 in all of Stable Diffusion's VAEs."""
    return 2 ** (len(_widths(folder)) - 1)


def _widths(folder: Path) -> list[int]:
    widths = load_config(folder, "vae").get("block_out_channels")
    if not isinstance(widths, list) or not 1 <= len(widths) <= 8 or not all(isinstance(w, int) for w in widths):
        raise UserError(f"{folder / 'vae' / 'config.json'} describes no VAE: block_out_channels is {str(widths)[:80]}")
    return widths


class Pixels:
    """The space of a network that noises the pixels themselves (DeepFloyd IF)."""

    def __init__(self, size: int) -> None:
        self.size, self.shape = size, (3, size, size)

    def encode(self, pictures: Tensor, background: Background = 1.0) -> Tensor:
        """Premultiplied RGBA [B,4,H,W] in [0,1] -> [B,3,size,size] in [-1,1]; differentiable."""
        return resize(over(pictures, background), self.size) * 2 - 1

    def decode(self, clean: Tensor) -> Tensor:
        """Back to opaque RGBA [B,4,size,size] in [0,1]."""
        return opaque(clean)

    def needs(self) -> int:
        """Memory to set aside: none to speak of."""
        return 0

    def release(self) -> None:
        """Nothing to let go."""


class Latents:
    """The space of a VAE of diffusers (AutoencoderKL), which is loaded when first used.

    Attributes:
        size: side of the pictures. shape: of one latent, (C, h, w).
        slices: how many pictures go through the VAE at once, and whether its activations are recomputed in the
            backward pass (when not None); None is all of them, and kept.
    """

    def __init__(
        self, folder: Path, size: int, dtype: torch.dtype, device: torch.device, may_overflow: bool = False
    ) -> None:
        """With `may_overflow` the configuration's force_upcast is heeded: SDXL's VAE overflows in fp16 and says so;
        other files have the word because it is the default."""
        config = load_config(folder, "vae")
        try:
            side, channels = size // latent_pixels(folder), int(config.get("latent_channels", 4))
            self.scale = float(config.get("scaling_factor", 0.18215))  # Rombach et al. 2022: unit variance
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{folder / 'vae' / 'config.json'} describes no VAE ({error})") from error
        self.size, self.shape = size, (channels, side, side)
        self.slices: int | None = None
        upcast = may_overflow and bool(config.get("force_upcast")) and dtype == torch.float16
        self.dtype = torch.float32 if upcast else dtype
        stored = sum(file.stat().st_size for file in weight_files(folder, "vae", self.dtype != torch.float32))
        self._needs = stored + ACTIVATIONS * size * size * _widths(folder)[0] * self.dtype.itemsize
        self._load: Callable[[], Any] = lambda: load_diffusers("AutoencoderKL", folder, "vae", self.dtype, device)
        self._vae: Any = None

    def encode(self, pictures: Tensor, background: Background = 1.0) -> Tensor:
        """Premultiplied RGBA [B,4,H,W] in [0,1] -> latents [B,C,h,w]: the posterior's mean, so that equal pictures
        give equal latents, times the scaling factor; float32, differentiable."""
        rgb = resize(over(pictures, background), self.size) * 2 - 1
        vae = self.vae()
        if self.slices is None:
            return self._means(vae, rgb)
        vae.enable_gradient_checkpointing()
        return torch.cat([self._means(vae, part) for part in rgb.split(self.slices)])

    def _means(self, vae: Any, rgb: Tensor) -> Tensor:
        # In the network's own layout: a picture in another one would make every convolution reorder its input.
        rgb = rgb.to(vae.device, self.dtype).contiguous(memory_format=torch.channels_last)
        return vae.encode(rgb).latent_dist.mode().float() * self.scale

    def decode(self, clean: Tensor) -> Tensor:
        """Latents [B,C,h,w] -> opaque RGBA [B,4,size,size] in [0,1]."""
        vae = self.vae()
        latents = (clean / self.scale).to(self.dtype)
        return opaque(torch.cat([vae.decode(part).sample for part in latents.split(self.slices or len(latents))]))

    def vae(self) -> Any:
        """The network itself."""
        if self._vae is None:
            self._vae = self._load()
        return self._vae

    def needs(self) -> int:
        """Memory to set aside in bytes, estimated: the weights, and one picture's way there and back recomputed."""
        return self._needs

    def release(self) -> None:
        """Let the VAE go; it is read again when it is needed."""
        self._vae = None
