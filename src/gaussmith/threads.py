"""Runs compiled kernels that release the GIL on several threads.

Threads of our own rather than Numba's `prange`: the kernels compile three times as fast, several Python threads may
draw at once whatever threading layer Numba finds, and Numba does not change the OpenMP settings that torch uses.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import torch


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """The pool of this process: threads do not survive a fork."""
    return ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="gaussmith-kernel")


def run(kernel: Callable[..., Any], *args: Any) -> None:
    """Call kernel(worker, workers, *args) for every worker at once; the workers' shares must be disjoint.

    The number of workers is `torch.get_num_threads()`.
    """
    workers = torch.get_num_threads()
    if workers == 1:
        kernel(0, 1, *args)
        return
    pool = _pool(os.getpid())
    futures = [pool.submit(kernel, worker, workers, *args) for worker in range(1, workers)]
    try:
        kernel(0, workers, *args)
    finally:
        for future in futures:
            future.result()
