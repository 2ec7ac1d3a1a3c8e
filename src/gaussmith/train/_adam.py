"""CPU kernel of `gaussmith.train.adam`: a step over one tensor, in one walk through memory instead of eight."""

from __future__ import annotations

import numpy as np
from numba import njit

BLOCK = 2048
"""Numbers looked at together for non-finite gradients; they stay in the first cache for the step that follows."""
EXPONENT = np.int32(0x7F800000)
"""All ones in the exponent: not finite."""


@njit(cache=True, nogil=True, error_model="numpy")
def _has_bad(bits):
    """Whether one of the float32, given as int32 bits, is not finite."""
    worst = np.int32(0)
    for value in bits:
        worst = max(worst, value & EXPONENT)
    return worst == EXPONENT


@njit(cache=True, nogil=True, error_model="numpy")
def _clean(grad, bits, out):
    """Copy rows of grad [R,L] to out, those with a non-finite value as zeros; returns how many those were."""
    bad = 0
    for r in range(grad.shape[0]):
        if _has_bad(bits[r]):
            bad += 1
            out[r] = 0
        else:
            out[r] = grad[r]
    return bad


@njit(cache=True, nogil=True, error_model="numpy")
def _move(moved, grad, first, second, share, rate, take1, keep2, take2, inverse2, eps):
    """Adam (Kingma & Ba 2015, algorithm 1) over flat arrays; the rate carries the first mean's correction.

    No fastmath: it would divide by other instructions at the ends of an array than in its middle.
    """
    for i in range(moved.shape[0]):
        g = grad[i]
        mean, square = first[i] + (g - first[i]) * take1, keep2 * second[i] + take2 * g * g
        first[i], second[i] = mean, square
        moved[i] -= rate * share[i] * mean / (np.sqrt(square) * inverse2 + eps)


@njit(cache=True, nogil=True, error_model="numpy")
def adam_rows(worker, workers, moved, grad, first, second, share, rate, take1, keep2, take2, inverse2, eps, bad):
    """Move the rows of moved [N,L] along grad [N,L] in place, and the running means `first` and `second` with them.

    Rows are taken in blocks of len(share); share [.,L] holds factors of the rate, the same in every row; bad
    [workers] gets the number of rows with a non-finite gradient, which counts as zero. Nothing is summed, so the bits
    do not depend on the number of workers.
    """
    count, length = moved.shape
    step = share.shape[0]
    bits, clean = grad.view(np.int32), np.empty((step, length), np.float32)
    for start in range(count * worker // workers, count * (worker + 1) // workers, step):
        end = min(start + step, count * (worker + 1) // workers)
        gradient = grad[start:end]
        if _has_bad(bits[start:end].reshape(-1)):
            bad[worker] += _clean(gradient, bits[start:end], clean[: end - start])
            gradient = clean[: end - start]
        _move(
            moved[start:end].reshape(-1), gradient.reshape(-1), first[start:end].reshape(-1),
            second[start:end].reshape(-1), share[: end - start].reshape(-1), rate, take1, keep2, take2, inverse2, eps,
        )  # fmt: skip
