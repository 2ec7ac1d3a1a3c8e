"""Stable Diffusion 1.x and 2.x (Rombach et al. 2022) and SDXL-base (Podell et al. 2023) as priors."""

from __future__ import annotations

import torch

from gaussmith.events import UserError
from gaussmith.priors.hub import Located
from gaussmith.priors.networks import (
    MIXED,
    check_text_fits,
    default_dtype,
    load_diffusers,
    noise_schedule,
    whole_number,
)
from gaussmith.priors.pictures import Latents, latent_pixels
from gaussmith.priors.text_prior import Memory, TextPrior
from gaussmith.priors.texts import embed_clip, embed_sdxl

GUIDANCE_SCALE = 100.0  # for distillation (DreamFusion, section 3; DreamGaussian); 7.5 makes pictures
# Numbers alive at once on one picture's way through the denoiser, over latent area times first width: 26 counted on the
# shapes of SD 1.5 and 2.1, 16 on SDXL's, with fused attention.
ACTIVATIONS = 30


def load(
    located: Located,
    device: torch.device,
    dtype: torch.dtype | None = None,
    max_memory: int | None = None,
    compiled: bool = False,
) -> TextPrior:
    """Stable Diffusion or SDXL from its pipeline folder.

    Args:
        dtype: of the networks; None is float16 on CUDA and float32 elsewhere.
        max_memory: bytes; slower ways are taken to stay below. None is what there is.
        compiled: pass the denoiser through torch.compile: minutes at first, quicker steps after.

    Raises:
        UserError: parts missing, misshapen, or not fitting each other; or more memory needed than allowed.
    """
    folder, xl = located.folder, located.adapter == "stable-diffusion-xl"
    dtype = dtype or default_dtype(device)
    check_text_fits(folder, "cross_attention_dim", *(("text_encoder", "text_encoder_2") if xl else ("text_encoder",)))
    schedule, predicts = noise_schedule(folder)
    unet = load_diffusers("UNet2DConditionModel", folder, "unet", dtype, device)
    side, width = whole_number(unet.config, "sample_size", folder / "unet"), unet.config.block_out_channels[0]
    space = Latents(folder, side * latent_pixels(folder), dtype, device, may_overflow=xl)
    if unet.config.in_channels != space.shape[0]:
        raise UserError(
            f"{folder}: the denoiser takes {unet.config.in_channels} channels, the VAE makes {space.shape[0]}; {MIXED}"
        )
    memory = Memory(max_memory, ACTIVATIONS * side * side * width * dtype.itemsize)
    embed = embed_sdxl if xl else embed_clip
    prior = TextPrior(located.name, folder, unet, space, embed, schedule, predicts, GUIDANCE_SCALE, memory)
    if compiled:
        prior.unet = torch.compile(unet)
    return prior
