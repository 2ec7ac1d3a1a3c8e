"""Adam over named tensors whose rows may be selected, appended and saved.

Densification changes the number of Gaussians in mid-training, and a resumed run has to continue to the same bytes; both
are one line here, and surgery on the private state of torch.optim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from gaussmith.threads import run

SMALL = 1 << 15
"""Tensors of fewer numbers are moved by one thread: waking another takes as long."""


def _clean(grads: list[Tensor]) -> tuple[list[Tensor], int]:
    """The gradients with every row zero that held a non-finite value, and how many there were.

    One look at the sum of them all settles the common case, and a GPU is waited for once.
    """
    if bool(torch.stack([grad.sum(dtype=torch.float32) for grad in grads]).sum().isfinite()):
        return grads, 0
    bad = [~grad.isfinite()[:, None].flatten(1).all(dim=1) for grad in grads]
    clean = [torch.where(b.reshape(-1, *[1] * (g.ndim - 1)), 0.0, g) for b, g in zip(bad, grads)]
    return clean, sum(int(b.sum()) for b in bad)


def _begun(state: dict[str, Tensor], name: str, like: Tensor) -> Tensor:
    """The running mean of that name; zeros are made only where it has none yet."""
    if name not in state:
        state[name] = torch.zeros_like(like)
    return state[name]


@dataclass
class Adam:
    """State of Adam (Kingma & Ba 2015) for a dict of tensors.

    Attributes:
        rates: learning rate of each tensor by name; change it freely between steps. Its keys say what is trained.
        shares: by name, factors of the rate within a tensor, broadcast over it: [K,1] for the bands of sh [N,K,3].
        betas, eps: as in the paper; eps 1e-15 as in 3D Gaussian splatting, whose gradients are tiny.
        count: steps taken.
        first, second: running means of the gradient and of its square, by name, shaped like the tensors.
    """

    rates: dict[str, float]
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-15
    shares: dict[str, Tensor] = field(default_factory=dict)
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
        names = [name for name in self.rates if tensors[name].grad is not None]
        if not names:
            return 0
        moved = [tensors[name] for name in names]
        if all(t.numel() and t.device.type == "cpu" and t.dtype == torch.float32 and t.is_contiguous() for t in moved):
            return sum(
                self._step_compiled(n, t, self.rates[n] / correction1, correction2) for n, t in zip(names, moved)
            )
        grads, bad_rows = _clean([t.grad for t in moved if t.grad is not None])
        for tensor in moved:
            tensor.grad = None
        first, second = ([_begun(s, n, t) for n, t in zip(names, moved)] for s in (self.first, self.second))
        # Lists rather than tensors: on a GPU each line is one launch, or a few.
        torch._foreach_lerp_(first, grads, 1 - b1)
        torch._foreach_mul_(second, b2)
        torch._foreach_addcmul_(second, grads, grads, value=1 - b2)
        spread = torch._foreach_sqrt(second)
        torch._foreach_div_(spread, correction2)
        torch._foreach_add_(spread, self.eps)
        first = [mean * self.shares[n] if n in self.shares else mean for n, mean in zip(names, first)]
        torch._foreach_addcdiv_(moved, first, spread, scalars=[-self.rates[n] / correction1 for n in names])
        return bad_rows

    def _step_compiled(self, name: str, tensor: Tensor, rate: float, correction2: float) -> int:
        """The step of one float32 tensor on the CPU; the bits do not depend on the number of threads."""
        from gaussmith.train._adam import BLOCK, adam_rows  # Numba takes its time to import

        assert tensor.grad is not None
        rows = len(tensor), tensor.shape[1:].numel()
        grad, tensor.grad = tensor.grad.contiguous(), None
        first, second = (_begun(s, name, tensor) for s in (self.first, self.second))
        share = torch.ones(max(1, BLOCK // rows[1]), *tensor.shape[1:])
        share *= self.shares.get(name, 1)
        arrays = [t.detach().view(rows).numpy() for t in (tensor, grad, first, second)]
        b1, b2 = self.betas
        scalars = (np.float32(v) for v in (rate, 1 - b1, b2, 1 - b2, 1 / correction2, self.eps))
        bad = np.zeros(torch.get_num_threads(), np.int64)
        arguments = (*arrays, share.view(len(share), -1).numpy(), *scalars, bad)
        if tensor.numel() < SMALL:
            adam_rows(0, 1, *arguments)
        else:
            run(adam_rows, *arguments)
        return int(bad.sum())

    def rows(self, source: Tensor) -> None:
        """Follow a change of rows: new row i was row source[i], or is new where source[i] < 0 (its state is zero)."""
        old, fresh = source.clamp_min(0), source < 0
        for state in (self.first, self.second):
            for name, tensor in state.items():
                state[name] = tensor[old].masked_fill_(fresh.reshape(-1, *[1] * (tensor.ndim - 1)), 0)

    def widen(self, name: str, columns: int) -> None:
        """Follow a tensor [N,K,...] that got more columns, up to K = `columns`; their state is zero."""
        for state in (self.first, self.second):
            if name in state:
                old = state[name]
                state[name] = torch.cat([old, old.new_zeros(len(old), columns - old.shape[1], *old.shape[2:])], dim=1)

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
