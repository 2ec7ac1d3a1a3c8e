"""Seconds in the CPU kernels of the rasteriser, and in whatever else is handed over."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch

from gaussmith.render import _numba, _numba_bin

CLOCK: dict[str, Callable[[], float]] = {"now": time.perf_counter}


def use_cpu_time() -> None:
    """One thread and its CPU seconds from here on: figures that can be compared on a busy machine."""
    torch.set_num_threads(1)
    CLOCK["now"] = time.thread_time


class Stopwatch:
    """While it is entered, every kernel's seconds by name, one number a call, and the pairs of the last picture."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)
        self.pairs = 0

    def time(self, name: str, work: Callable, *args: object) -> Any:
        start = CLOCK["now"]()
        result = work(*args)
        self.seconds[name].append(CLOCK["now"]() - start)
        return result

    def __enter__(self) -> Stopwatch:
        run, bin_splats = _numba.run, _numba.bin_splats

        def kernel(kernel: Callable, *args: object) -> None:
            self.time(kernel.__name__, run, kernel, *args)

        def bin_(*args: object) -> _numba_bin.TileLists:
            lists = self.time("bin", bin_splats, *args)
            self.pairs = len(lists.slots)
            return lists

        self.patches = [mock.patch.object(_numba, "run", kernel), mock.patch.object(_numba, "bin_splats", bin_)]
        for patch in self.patches:
            patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        for patch in self.patches:
            patch.stop()
