"""Adam over named tensors whose rows may be selected, appended and saved.

Densification changes the number of Gaussians in mid-training, and a resumed run has to continue to the same bytes; both
are one line here, and surgery on the private state of torch.optim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Adam:
    """State of Adam (Kingma & Ba 2015) for a dict of tensors.

    Attributes:
        rates: learning rate of each tensor by name; change it freely between steps. Its keys say what is trained.
        betas, eps: as in the paper; eps 1e-15 as in 3D Gaussian splatting, whose gradients are tiny.
        count: steps taken.
        first, second: running means of the gradient and of its square, by name, shaped like the tensors.
    """

    rates: dict[str, float]
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-15
    count: int = 0
    first: dict[str, Tensor] = field(default_factory=dict)
    second: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def step(self, tensors: Mapping[str, Tensor]) -> int:
        """Move each tensor in place along its `.grad`, then drop the gradients.

        A row (first dimension) with a non-finite gradient is left unmoved by that gradient, which counts as zero.
        Returns how many such rows there were. A tensor without a gradient stays as it is.
        """
        self.count += 1
        b1, b2 = self.betas
        correction1, correction2 = 1 - b1**self.count, (1 - b2**self.count) ** 0.5
        bad_rows = 0
        for name, rate in self.rates.items():
            tensor = tensors[name]
            if tensor.grad is None:
                continue
            grad, tensor.grad = tensor.grad, None
            if not bool(grad.sum().isfinite()):  # One cheap test for the rare case.
                bad = ~grad.isfinite()[:, None].flatten(1).all(dim=1)
                bad_rows += int(bad.sum())
                grad = torch.where(bad.reshape(-1, *[1] * (grad.ndim - 1)), 0.0, grad)
            first = self.first.setdefault(name, torch.zeros_like(tensor))
            second = self.second.setdefault(name, torch.zeros_like(tensor))
            first.lerp_(grad, 1 - b1)
            second.mul_(b2).addcmul_(grad, grad, value=1 - b2)
            tensor.addcdiv_(first, (second.sqrt() / correction2).add_(self.eps), value=-rate / correction1)
        return bad_rows

    def rows(self, source: Tensor) -> None:
        """Follow a change of rows: new row i was row source[i], or is new where source[i] < 0 (its state is zero)."""
        old, fresh = source.clamp_min(0), source < 0
        for state in (self.first, self.second):
            for name, tensor in state.items():
                state[name] = tensor[old].masked_fill_(fresh.reshape(-1, *[1] * (tensor.ndim - 1)), 0)

    def forget(self, name: str) -> None:
        """Zero the state of one tensor, after its values were set by hand (3DGS does so at an opacity reset)."""
        self.first.pop(name, None)
        self.second.pop(name, None)

    def state(self) -> dict[str, Tensor]:
        """All that a checkpoint needs; the rates belong to the caller's schedule."""
        saved = {"count": torch.tensor(self.count)}
        saved |= {f"first.{name}": t for name, t in self.first.items()}
        saved |= {f"second.{name}": t for name, t in self.second.items()}
        return saved

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up `state()` again."""
        self.count = int(state["count"])
        self.first = {k.removeprefix("first."): v.clone() for k, v in state.items() if k.startswith("first.")}
        self.second = {k.removeprefix("second."): v.clone() for k, v in state.items() if k.startswith("second.")}
