"""Numbers that change with the step. `progress` is the finished share of a run in [0,1], clamped."""

from __future__ import annotations

import math


def lerp(start: float, end: float, progress: float) -> float:
    """Straight line from start to end."""
    t = min(max(progress, 0.0), 1.0)
    return start + (end - start) * t if t < 1 else end


def log_lerp(start: float, end: float, progress: float) -> float:
    """Exponential decay from start to end, both positive: a straight line in the logarithm (3DGS position rate)."""
    if start <= 0 or end <= 0:
        raise ValueError(f"both ends must be positive, got {start} and {end}")
    return math.exp(lerp(math.log(start), math.log(end), progress))


def warmup_cosine(step: int, steps: int, warmup: int = 0, floor: float = 0.0) -> float:
    """Factor for a learning rate at `step` (from 0): up to 1 linearly over `warmup` steps, then down half a cosine to
    `floor` at the last step (Loshchilov & Hutter 2017)."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = min(1.0, (step - warmup) / max(1, steps - 1 - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def staged(values: tuple[tuple[float, int], ...], progress: float) -> int:
    """The value of the last (from_progress, value) that has begun, e.g. ((0, 128), (0.3, 256), (0.6, 512)): the render
    sides of DreamGaussian."""
    if not values or values[0][0] > 0:
        raise ValueError("the first stage must begin at 0")
    return [value for begin, value in values if progress >= begin][-1]
