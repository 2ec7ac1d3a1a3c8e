"""When density control works, for any length of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

# The shortest run of the papers, 7,000 steps: shorter ones shrink the numbers that are stated in steps along with them.
# A run of that length densifies 70 times at the papers' interval of 100 steps; 40 are kept whatever the length, since
# each time can at most double the number of Gaussians.
_SHORTEST, _TIMES = 7000, 40


@dataclass(frozen=True)
class Timing:
    """Density control at steps start, start + every, ... up to `last`; none where last < start.

    Steps count from 1. `last` is such a step itself, and training follows it.
    """

    start: int
    last: int
    every: int

    def due(self, step: int) -> bool:
        return self.start <= step <= self.last and (step - self.start) % self.every == 0

    def progress(self, step: int) -> float:
        """0 at the start, 1 at the last time."""
        return min(max((step - self.start) / max(self.last - self.start, 1), 0.0), 1.0)

    def first_from(self, step: float) -> int:
        """The first time that is not before `step`; may lie after `last`."""
        return self.start + self.every * max(0, math.ceil((step - self.start) / self.every))


def timing(steps: int, start: int, stop: float, every: int) -> Timing:
    """The times in a run of `steps`.

    Args:
        start, every: in steps, as they stand in a run of 7,000 or more. Both are times in which something settles
            (colours after the start; statistics over the photos), which a longer run does not change; shorter runs have
            to make do with less.
        stop: share of the run after which nothing is added: the rest is there to settle what is.
    """
    start = max(1, min(start, round(start * steps / _SHORTEST)))
    every = max(1, min(every, steps // _TIMES))
    stop_step = min(int(stop * steps), steps - 1)  # Never after the last step: no training would follow.
    last = start + every * ((stop_step - start) // every)
    return Timing(start, last, every)
