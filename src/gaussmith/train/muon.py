"""Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"): momentum, made orthogonal.

Every direction of a layer's momentum, strong or weak, moves the weights alike. PyTorch's own (2.9 and later) takes
matrices alone; ours takes convolutions too, as matrices of output channels by everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

# The quintic's coefficients and five steps of it are the source's: singular values end between 0.7 and 1.2.
_A, _B, _C, _STEPS = 3.4445, -4.7750, 2.0315, 5


def orthogonalize(matrix: Tensor) -> Tensor:
    """About U V^T of a float matrix [M,N] = U S V^T, computed in bf16; float32. Of a zero matrix it is zero."""
    x = matrix.bfloat16()
    if tall := x.shape[0] > x.shape[1]:
        x = x.T
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(_STEPS):
        square = x @ x.T
        x = _A * x + (_B * square + _C * (square @ square)) @ x
    return (x.T if tall else x).float()


@dataclass
class Muon:
    """The optimiser of weights [M,N], [M,N,H,W] and [M,N,D,H,W]; those without a gradient, or with a zero one, stay as
    they are.

    Attributes:
        momentum: share of the running mean that stays, looked at one step ahead (Nesterov). decay: of the weights,
            times the rate.
        means: running means of the gradients, by name.
    """

    momentum: float = 0.95
    decay: float = 0.01
    means: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def step(self, weights: Mapping[str, Tensor], rate: float) -> None:
        """Move the weights along their `.grad`: by `rate` along every direction, more where there are more outputs than
        inputs."""
        given = [(name, weight, weight.grad) for name, weight in weights.items() if weight.grad is not None]
        # All are asked before the first one moves: a GPU is waited for once.
        there = torch.stack([grad.any() for _, _, grad in given]).tolist() if given else []
        for name, weight, grad in (each for each, moves in zip(given, there) if moves):
            mean = self.means.setdefault(name, torch.zeros_like(weight))
            mean.lerp_(grad, 1 - self.momentum)
            ahead = _rows(grad.lerp(mean, self.momentum))
            stretch = max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
            rows = _rows(weight)
            moved = rows * (1 - self.decay * rate) - rate * stretch * orthogonalize(ahead)
            weight.copy_(_shaped(moved, weight))


def _rows(weight: Tensor) -> Tensor:
    """[M,N,...] as [M,...*N], which needs no copy of what lies channels-last."""
    return weight if weight.ndim == 2 else weight.movedim(1, -1).reshape(len(weight), -1)


def _shaped(rows: Tensor, weight: Tensor) -> Tensor:
    if weight.ndim == 2:
        return rows
    outputs, inputs, *window = weight.shape
    return rows.reshape(outputs, *window, inputs).movedim(-1, 1)
