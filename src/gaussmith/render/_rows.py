"""Taking rows of a table and putting rows back, each the other's gradient; sums have the same bits on every device.

Where several rows meet, they are added as whole numbers: each is multiplied by one power of two and rounded, so that
the order of the sum, which atomics on a GPU and threads on a CPU do not keep, does not matter. The power is as large as
a sum of all rows allows without overflow: with 2^20 rows, numbers are kept to 2^-42 of the largest.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def whole_scale(values: Tensor, terms: int) -> Tensor:
    """[] float64: the factor under which a sum of `terms` of the values fits 63 bits; NaN where one is not finite."""
    largest = values.detach().abs().amax() if values.numel() else values.new_zeros(())
    bound = largest.double() * max(terms, 1)
    exponent = torch.frexp(bound).exponent.clamp(-900, 1024)
    return torch.where(bound.isfinite(), torch.exp2((61 - exponent).double()), torch.nan)


def from_whole(sums: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """What int64 sums under that scale stand for; all NaN where the scale is."""
    return (sums.double() / scale).to(dtype)


def sum_rows(rows: Tensor, index: Tensor, count: int) -> Tensor:
    """[count,C] from rows [N,C] added at index [N]."""
    scale = whole_scale(rows, len(rows))
    sums = torch.zeros(count, rows.shape[1], dtype=torch.int64, device=rows.device)
    return from_whole(sums.index_add_(0, index, (rows.double() * scale).to(torch.int64)), scale, rows.dtype)


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.count = len(table)
        return table[index]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return put(gradients[0], ctx.saved_tensors[0], ctx.count), None


class _Put(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(index)
        return sum_rows(rows, index, count)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return take(gradients[0], ctx.saved_tensors[0]), None, None


def take(table: Tensor, index: Tensor) -> Tensor:
    """[N,C] rows of table [A,C] at index [N]."""
    return _Take.apply(table, index)


def put(rows: Tensor, index: Tensor, count: int) -> Tensor:
    """As `sum_rows`, with a gradient."""
    return _Put.apply(rows, index, count)
