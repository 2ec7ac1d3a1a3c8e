"""Every published prior by one function: what `--prior NAME|FOLDER|HUB_ID` means when it is not the embedded one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gaussmith.priors import deepfloyd, imagedream, mvdream, stable_diffusion, zero123
from gaussmith.priors.base import EpsPrior
from gaussmith.priors.hub import Adapter, find

# (located, device, dtype, max_memory) -> prior
_LOADERS: dict[Adapter, Callable[..., Any]] = {
    "stable-diffusion": stable_diffusion.load,
    "stable-diffusion-xl": stable_diffusion.load,
    "deepfloyd-if": deepfloyd.load,
    "zero123": zero123.load,
    "mvdream": mvdream.load,
    "imagedream": imagedream.load,
}


def load_published(
    name: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    max_memory: int | None = None,
) -> EpsPrior:
    """A known name, a pipeline folder or a hub id as a prior on `device`, without any network.

    Args:
        dtype: of the networks; None is float16 on CUDA and float32 elsewhere.
        max_memory: bytes that its weights and activations may take; slower ways are taken to stay below.

    Raises:
        UserError: unknown, not on this machine, damaged, or too large; says what to do.
    """
    located = find(name)
    prior: EpsPrior = _LOADERS[located.adapter](located, torch.device(device), dtype, max_memory)
    return prior
