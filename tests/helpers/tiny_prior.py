"""An embedded prior so small that a test may build one."""

from __future__ import annotations

import torch

from gaussmith.priors.embedded.network import NetworkConfig, PriorNetwork
from gaussmith.priors.embedded.prior import EmbeddedPrior

TINY = NetworkConfig(
    encoder_widths=(16, 32, 64), denoiser_widths=(16, 32, 64), encoder_blocks=1, denoiser_blocks=1,
    volume_channels=6, volume_depth=5, refiner_widths=(8,), ray_steps=8, embedding=32,
)  # fmt: skip


def tiny_prior() -> EmbeddedPrior:
    """Every parameter random, the zero-initialised ones too."""
    network = PriorNetwork(TINY)
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=random) * 0.1)
    return EmbeddedPrior(network.requires_grad_(False))
