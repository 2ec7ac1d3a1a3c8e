"""Working on a GPU: choosing it, reaching it without waiting for it, and what is said when its memory ends.

A GPU works on while the host prepares the next step, until the host asks it for a number or hands it one the slow way.
A training step does neither, but where its docstring says so; `tests/train/test_device.py` counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor

from gaussmith.events import OutOfMemory, UserError

LOOK_EVERY = 10
"""Steps from one look at a figure of a running step, such as its loss, to the next: each waits for the GPU."""
_WANTED = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]?i?B)")


def choose(name: str) -> torch.device:
    """The torch device of "auto" (CUDA when there is one), "cpu" or "cuda"; UserError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("torch finds no CUDA device here; use --device cpu, or install a CUDA build of torch")
    return torch.device(name)


@lru_cache
def _triton() -> bool:
    return find_spec("triton") is not None


def compiles(device: torch.device) -> bool:
    """Whether the project's Triton kernels run there: a device that Triton compiles for, and it is installed."""
    return device.type in ("cuda", "xpu") and _triton()


def onto(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on `device`. From the CPU to a GPU the copy is only ordered, from pinned memory, where `.to` would
    wait until the GPU has done all its work; the tensor may be dropped at once, but a pinned one not be changed."""
    device = torch.device(device)
    if tensor.device.type != "cpu" or device.type == "cpu":
        return tensor.to(device)
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # itself if it is pinned
    return tensor.to(device, non_blocking=True)


@lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return onto(torch.tensor(values, dtype=dtype), device)


def constant(values: tuple[float, ...], like: Tensor) -> Tensor:
    """[len(values)] of the type and on the device of `like`, made once: making one waits for a GPU. Never change it."""
    return _constant(values, like.dtype, like.device)


class Glance:
    """A figure that a GPU is making, looked at now and then: every `LOOK_EVERY` steps, every step on the CPU."""

    def __init__(self) -> None:
        self._last: float | None = None

    def at(self, step: int, figure: Tensor) -> float:
        """The figure [] at this step, or the last one that was looked at."""
        if self._last is None or figure.device.type == "cpu" or step % LOOK_EVERY == 0:
            self._last = figure.item()
        return self._last


def limit(device: torch.device, max_memory: int | None) -> None:
    """Let this process take at most `max_memory` bytes of a CUDA device; it is told by an `OutOfMemory` when it wants
    more. None, or another device, changes nothing."""
    if max_memory is None or device.type != "cuda":
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, max_memory / total), device)


@contextmanager
def enough_memory(work: str, lower: str) -> Iterator[None]:
    """Turn whatever says that memory ended, of a GPU or of the machine, into one sentence.

    Args:
        work: what was done and how large it was. lower: what to change, as a user would type it.

    Raises:
        OutOfMemory: in place of torch's, Triton's and numpy's own.
    """
    try:
        yield
    except OutOfMemory as error:
        raise OutOfMemory(f"{error.args[0].split(';')[0]}, {work}; {lower}") from error
    except (MemoryError, RuntimeError) as error:
        where = _where(error)
        if where is None:
            raise
        wanted = _WANTED.search(str(error))
        asked = f" ({_size(*wanted.groups())} more were asked for)" if wanted else ""
        raise OutOfMemory(f"{where} ran out of memory{asked} {work}; {lower}") from error


def _where(error: Exception) -> str | None:
    """Whose memory ended; None where the error says something else."""
    if isinstance(error, MemoryError):  # numpy's and Python's
        return "the machine"
    if isinstance(error, torch.OutOfMemoryError):
        return "the GPU"
    text = str(error).lower()  # torch's CPU allocator and the CUDA driver have no class of their own
    if "defaultcpuallocator" in text:
        return "the machine"
    return "the GPU" if "cuda" in text and "out of memory" in text else None


def _size(number: str, unit: str) -> str:
    return f"{float(number) / 1e9:,.1f} GB" if unit == "bytes" else f"{number} {unit}"
