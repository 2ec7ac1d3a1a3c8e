"""GPU kernel of `gaussmith.train.adam`: a step over one tensor, in one walk through memory, without a host's look."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

NUMBERS = 1024
"""Numbers a program moves: eight for each thread of four warps."""
TOP_HALF = tl.constexpr(-65536)  # 0xFFFF0000: the bits of a float32 that a bfloat16 keeps


@triton.jit
def _noise(place, seed):
    """Random bits for each place, the same whenever the same step is taken (the finaliser of MurmurHash3)."""
    h = place.to(tl.uint32) * 2654435761 + seed.to(tl.uint32)
    h = (h ^ (h >> 16)) * 2246822507
    h = (h ^ (h >> 13)) * 3266489909
    return h ^ (h >> 16)


@triton.jit
def _rounded(x, noise):
    """x as one of the two bfloat16 beside it, the nearer one more often: the mean over all noise in [0, 2^16) is x."""
    bits = (x.to(tl.int32, bitcast=True) + noise.to(tl.int32)) & TOP_HALF
    return bits.to(tl.float32, bitcast=True).to(tl.bfloat16)


@triton.jit(do_not_specialize=["rows", "seed"])
def _adam_rows(
    moved, grad, first, second, share, bad, rows, seed, rate, take1, keep2, take2, inverse2, eps,
    LENGTH: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr, HALF: tl.constexpr,
):  # fmt: skip
    r, c = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.arange(0, WIDTH)
    here = (r < rows)[:, None] & (c < LENGTH)[None, :]
    place = r.to(tl.int64)[:, None] * LENGTH + c[None, :]
    g = tl.load(grad + place, here, 0.0)
    # A NaN is not below infinity either.
    broken = tl.max((~(tl.abs(g) < float("inf"))).to(tl.int32), axis=1)
    count = tl.sum(broken, axis=0)
    tl.atomic_add(bad, count, mask=count > 0, sem="relaxed")
    g = tl.where(broken[:, None] > 0, 0.0, g)
    mean, square = tl.load(first + place, here, 0.0).to(tl.float32), tl.load(second + place, here, 0.0).to(tl.float32)
    mean, square = mean + (g - mean) * take1, keep2 * square + take2 * g * g
    if HALF:
        noise = _noise(place, seed)
        tl.store(first + place, _rounded(mean, noise & 0xFFFF), here)
        tl.store(second + place, _rounded(square, noise >> 16), here)
    else:
        tl.store(first + place, mean, here)
        tl.store(second + place, square, here)
    factor = rate * tl.load(share + c, c < LENGTH, 0.0)[None, :]
    x = tl.load(moved + place, here, 0.0)
    tl.store(moved + place, x - factor * mean / (tl.sqrt(square) * inverse2 + eps), here)


def adam_rows(
    moved: Tensor, grad: Tensor, first: Tensor, second: Tensor, share: Tensor, bad: Tensor, seed: int,
    scalars: tuple[float, ...],
) -> None:  # fmt: skip
    """Move the rows of moved [N,...] along grad in place, and the running means `first` and `second` with them.

    Args:
        first, second: float32, or both bfloat16 and rounded at random. seed: of that, in [0, 2^31).
        share: [L] factors of the rate, the same in every row. bad: [1] int32, to which the number of rows with a
            non-finite gradient is added; they count as zero.
        scalars: rate, 1 - beta1, beta2, 1 - beta2, 1 / correction2, eps.
    """
    rows, length = len(moved), moved.shape[1:].numel()
    width = triton.next_power_of_2(length)
    block = max(1, NUMBERS // width)
    _adam_rows[(triton.cdiv(rows, block),)](
        moved, grad, first, second, share, bad, rows, seed, *scalars,
        LENGTH=length, WIDTH=width, BLOCK=block, HALF=first.element_size() == 2,
    )  # fmt: skip
