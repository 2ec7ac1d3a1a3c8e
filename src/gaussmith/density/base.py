"""What a density control is to a training loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from gaussmith.gaussians import Gaussians


@dataclass(frozen=True)
class Change:
    """What a density control did to the set after a step.

    Attributes:
        gaussians: the new set, without gradients.
        source: [M] rows that the new ones continue, -1 for new rows (see ops.py); None where the rows are the same.
        forget: names of the tensors whose optimiser state must be zeroed.
        counts: what was done, by name (cloned, split, pruned, relocated...), for the report.
    """

    gaussians: Gaussians
    source: Tensor | None = None
    forget: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


class DensityControl(Protocol):
    """Decides where Gaussians are added and removed. Everything it remembers is in `state()`."""

    uses_absolute: bool
    """Whether `observe` wants absolute screen gradients (`rasterize(absolute=True)`) instead of signed ones at the next
    step; it may change from step to step."""

    def observe(self, step: int, gradient: Tensor, radii: Tensor, width: int, height: int) -> None:
        """Take the screen gradients [B,N,2] (per pixel of shift) and radii [B,N] (pixels) of a step's B views."""
        ...

    def penalty(self, gaussians: Gaussians) -> Tensor | None:
        """A term of the loss, None for none."""
        ...

    def after(
        self, step: int, gaussians: Gaussians, rates: Mapping[str, float], generator: torch.Generator
    ) -> Change | None:
        """The change after optimiser step 1, 2, ..., at these learning rates; None where nothing changes."""
        ...

    def chosen(self) -> dict[str, float]:
        """Figures that no setting gave but the control found, for the report."""
        ...

    def state(self) -> dict[str, Tensor]:
        """All that a checkpoint needs."""
        ...

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up `state()` again."""
        ...
