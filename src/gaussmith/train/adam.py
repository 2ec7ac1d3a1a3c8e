"""Adam over named tensors whose rows may be selected, appended and saved.

Densification changes the number of Gaussians in mid-training, and a resumed run has to continue to the same bytes; both
are one line here, and surgery on the private state of torch.optim.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from gaussmith import accelerator
from gaussmith.threads import run

Storage = Literal["float32", "bfloat16"]
Scalars = tuple[float, ...]  # rate over correction1, 1 - beta1, beta2, 1 - beta2, 1 / correction2, eps

SMALL = 1 << 15
"""Tensors of fewer numbers are moved by one thread: waking another takes as long."""


def _clean(grads: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """The gradients with every row zero that held a non-finite value, and how many there were []."""
    bad = [~grad.isfinite()[:, None].flatten(1).all(dim=1) for grad in grads]
    clean = [torch.where(b.reshape(-1, *[1] * (g.ndim - 1)), 0.0, g) for b, g in zip(bad, grads)]
    return clean, torch.stack([b.sum() for b in bad]).sum()


@dataclass
class Adam:
    """State of Adam (Kingma & Ba 2015) for a dict of tensors.

    Attributes:
        rates: learning rate of each tensor by name; change it freely between steps. Its keys say what is trained.
        shares: by name, factors of the rate within a tensor, broadcast over it: [K,1] for the bands of sh [N,K,3].
        betas, eps: as in the paper; eps 1e-15 as in 3D Gaussian splatting, whose gradients are tiny.
        storage: type of the running means: "float32", or "bfloat16", half as large and rounded at random, so that many
            small changes add up to what they should.
        count: steps taken.
        first, second: running means of the gradient and of its square, by name, shaped like the tensors.
    """

    rates: dict[str, float]
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-15
    shares: dict[str, Tensor] = field(default_factory=dict)
    storage: Storage = "float32"
    count: int = 0
    first: dict[str, Tensor] = field(default_factory=dict)
    second: dict[str, Tensor] = field(default_factory=dict)
    _bad: Tensor | None = field(default=None, init=False)

    @torch.no_grad()
    def step(self, tensors: Mapping[str, Tensor]) -> None:
        """Move each tensor in place along its `.grad`, then drop the gradients. A GPU is not waited for.

        A row (first dimension) with a non-finite gradient is left unmoved by that gradient, which counts as zero; see
        `bad_rows`. A tensor without a gradient stays as it is.
        """
        self.count += 1
        correction1, correction2 = 1 - self.betas[0] ** self.count, (1 - self.betas[1] ** self.count) ** 0.5
        names = [name for name in self.rates if tensors[name].grad is not None]
        moved = [tensors[name] for name in names]
        if not names:
            return
        plain = all(t.numel() and t.dtype == torch.float32 and t.is_contiguous() for t in moved)
        device = moved[0].device
        if plain and accelerator.compiles(device):
            move = self._step_triton
        elif plain and all(t.device.type == "cpu" for t in moved):
            move = self._step_compiled
        else:
            self._step_lists(names, moved, correction1, correction2)
            return
        b1, b2 = self.betas
        for name, tensor in zip(names, moved):
            assert tensor.grad is not None
            grad, tensor.grad = tensor.grad.contiguous(), None
            move(name, tensor, grad, (self.rates[name] / correction1, 1 - b1, b2, 1 - b2, 1 / correction2, self.eps))

    def bad_rows(self) -> int:
        """How many rows had a non-finite gradient since this was last asked. A GPU is waited for."""
        count, self._bad = 0 if self._bad is None else int(self._bad), None
        return count

    def _counted(self, device: torch.device) -> Tensor:
        """[1] int32, what the bad rows are added to."""
        if self._bad is None:
            self._bad = torch.zeros(1, dtype=torch.int32, device=device)
        return self._bad

    def _begun(self, state: dict[str, Tensor], name: str, like: Tensor) -> Tensor:
        """The running mean of that name; zeros are made only where it has none yet."""
        if name not in state:
            dtype = like.dtype if self.storage == "float32" else torch.bfloat16
            state[name] = torch.zeros_like(like, dtype=dtype)
        return state[name]

    def _seed(self, name: str) -> int:
        """Of the random rounding, another one at each step and for each tensor, below 2^31."""
        return zlib.crc32(f"{name} {self.count}".encode()) >> 1

    def _step_triton(self, name: str, tensor: Tensor, grad: Tensor, scalars: Scalars) -> None:
        """The step of one float32 tensor on a GPU."""
        from gaussmith.train._adam_triton import adam_rows  # Triton takes its time to import

        share = self.shares.get(name)
        row = tensor.shape[1:]
        shares = tensor.new_ones(row) if share is None else share.to(tensor).expand(row).contiguous()
        first, second = (self._begun(s, name, tensor) for s in (self.first, self.second))
        adam_rows(tensor, grad, first, second, shares, self._counted(tensor.device), self._seed(name), scalars)

    def _step_compiled(self, name: str, tensor: Tensor, grad: Tensor, scalars: Scalars) -> None:
        """The step of one float32 tensor on the CPU; the bits do not depend on the number of threads."""
        from gaussmith.train import _adam  # Numba takes its time to import

        rows = len(tensor), tensor.shape[1:].numel()
        share = torch.ones(max(1, _adam.BLOCK // rows[1]), *tensor.shape[1:])
        share *= self.shares.get(name, 1)
        means = [self._begun(s, name, tensor).view(rows) for s in (self.first, self.second)]
        half = means[0].dtype == torch.bfloat16
        if half:
            means = [mean.view(torch.uint16) for mean in means]
        arrays = [t.detach().view(rows).numpy() for t in (tensor, grad, *means)]
        bad = np.zeros(torch.get_num_threads(), np.int64)
        arguments = (*arrays, share.view(len(share), -1).numpy(), *map(np.float32, scalars), bad)
        arguments = (*arguments, np.uint32(self._seed(name))) if half else arguments
        kernel = _adam.adam_half_rows if half else _adam.adam_rows
        if tensor.numel() < SMALL:
            kernel(0, 1, *arguments)
        else:
            run(kernel, *arguments)
        self._counted(tensor.device).add_(int(bad.sum()))

    def _step_lists(self, names: list[str], moved: list[Tensor], correction1: float, correction2: float) -> None:
        """The step anywhere, in torch's own operations: a launch or a few for each line."""
        b1, b2 = self.betas
        grads, bad = _clean([t.grad for t in moved if t.grad is not None])
        self._counted(moved[0].device).add_(bad)
        for tensor in moved:
            tensor.grad = None
        first, second = ([self._begun(s, n, t) for n, t in zip(names, moved)] for s in (self.first, self.second))
        if any(mean.dtype == torch.bfloat16 and len(mean) for mean in first):
            raise ValueError("bfloat16 running means are for float32 tensors on the CPU, or where Triton compiles")
        torch._foreach_lerp_(first, grads, 1 - b1)
        torch._foreach_mul_(second, b2)
        torch._foreach_addcmul_(second, grads, grads, value=1 - b2)
        spread = torch._foreach_sqrt(second)
        torch._foreach_div_(spread, correction2)
        torch._foreach_add_(spread, self.eps)
        first = [mean * self.shares[n] if n in self.shares else mean for n, mean in zip(names, first)]
        torch._foreach_addcdiv_(moved, first, spread, scalars=[-self.rates[n] / correction1 for n in names])

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
