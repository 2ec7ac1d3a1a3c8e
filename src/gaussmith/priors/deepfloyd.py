"""DeepFloyd IF stage 1 (after Imagen, Saharia et al. 2022) as a prior: 64 x 64 pixels, words by T5-XXL.

Stage 2 and 3 enlarge pictures and have no say in a shape.
"""

from __future__ import annotations

import torch

from gaussmith.events import UserError
from gaussmith.priors.hub import Located
from gaussmith.priors.networks import check_text_fits, default_dtype, load_diffusers, noise_schedule, whole_number
from gaussmith.priors.pictures import Pixels
from gaussmith.priors.stable_diffusion import ACTIVATIONS
from gaussmith.priors.text_prior import Memory, TextPrior
from gaussmith.priors.texts import embed_t5

GUIDANCE_SCALE = 20.0  # for distillation, as DreamCraft3D and the public threestudio


def load(
    located: Located,
    device: torch.device,
    dtype: torch.dtype | None = None,
    max_memory: int | None = None,
    compiled: bool = False,
) -> TextPrior:
    """IF stage 1 from its pipeline folder; arguments and errors as in `stable_diffusion.load`.

    The text encoder is several times the denoiser: where both do not fit into `max_memory`, it runs on the CPU.
    """
    folder = located.folder
    dtype = dtype or default_dtype(device)
    check_text_fits(folder, "encoder_hid_dim", "text_encoder")
    schedule, predicts = noise_schedule(folder)
    unet = load_diffusers("UNet2DConditionModel", folder, "unet", dtype, device)
    side, width = whole_number(unet.config, "sample_size", folder / "unet"), unet.config.block_out_channels[0]
    if unet.config.in_channels != 3:
        raise UserError(f"{folder}: a denoiser of {unet.config.in_channels} channels is not stage 1 of DeepFloyd IF")
    memory = Memory(max_memory, ACTIVATIONS * side * side * width * dtype.itemsize)
    space = Pixels(side)
    prior = TextPrior(located.name, folder, unet, space, embed_t5, schedule, predicts, GUIDANCE_SCALE, memory)
    if compiled:
        prior.unet = torch.compile(unet)
    return prior
