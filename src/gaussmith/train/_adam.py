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


@njit(inline="always", error_model="numpy")
def _noise(place, seed):
    """Random bits for a place, the same whenever the same step is taken (the finaliser of MurmurHash3)."""
    h = np.uint32(np.uint32(place) * np.uint32(2654435761) + seed)
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(2246822507))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(3266489909))
    return np.uint32(h ^ (h >> np.uint32(16)))


@njit(cache=True, nogil=True, error_model="numpy")
def _widen(halves, out):
    """bfloat16, given as their bits, to the bits of float32."""
    for i in range(halves.shape[0]):
        out[i] = np.uint32(halves[i]) << np.uint32(16)


@njit(cache=True, nogil=True, error_model="numpy")
def _narrow(first, second, place, seed, first_halves, second_halves):
    """The bits of float32 to those of one of the two bfloat16 beside each, the nearer one more often."""
    low, half = np.uint32(0xFFFF), np.uint32(16)
    for i in range(first.shape[0]):
        noise = _noise(place + i, seed)
        first_halves[i] = np.uint16(np.uint32(first[i] + (noise & low)) >> half)
        second_halves[i] = np.uint16(np.uint32(second[i] + (noise >> half)) >> half)


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


@njit(cache=True, nogil=True, error_model="numpy")
def adam_half_rows(
    worker, workers, moved, grad, first, second, share, rate, take1, keep2, take2, inverse2, eps, bad, seed
):
    """`adam_rows` with running means in bfloat16 (their bits, uint16), rounded at random: they follow small changes in
    the mean, where rounding to the nearest would leave them where they are."""
    count, length = moved.shape
    step = share.shape[0]
    one, two = np.empty((step, length), np.float32), np.empty((step, length), np.float32)
    one_bits, two_bits = one.view(np.uint32).reshape(-1), two.view(np.uint32).reshape(-1)
    for start in range(count * worker // workers, count * (worker + 1) // workers, step):
        end = min(start + step, count * (worker + 1) // workers)
        rows, size = end - start, (end - start) * length
        a, b = first[start:end].reshape(-1), second[start:end].reshape(-1)
        _widen(a, one_bits[:size])
        _widen(b, two_bits[:size])
        adam_rows(
            0, 1, moved[start:end], grad[start:end], one[:rows], two[:rows], share, rate, take1, keep2, take2,
            inverse2, eps, bad[worker : worker + 1],
        )  # fmt: skip
        _narrow(one_bits[:size], two_bits[:size], start * length, seed, a, b)
