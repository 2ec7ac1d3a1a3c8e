"""A placement head that a test tells what to say."""

from __future__ import annotations

import torch

from gaussmith.priors.embedded.placement import UNITS, PlacementHead


class Says(PlacementHead):
    """Says one thing of every picture; of mirrored ones (the second of two) with the sign of `right` turned."""

    def __init__(self, right: float, down: float, log_scale: float, elevation: float) -> None:
        super().__init__()
        self.said = torch.tensor([right, down, log_scale, elevation - 15]) / UNITS
        self.heard: list[tuple[float, float]] = []

    def forward(self, pictures: torch.Tensor, elevation: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        self.heard.append((float(elevation[0]), float(known[0])))
        out = torch.stack([self.said, torch.zeros(4)]).expand(len(pictures), 2, 4).clone()
        out[1, 0, 0] *= -1
        return out
