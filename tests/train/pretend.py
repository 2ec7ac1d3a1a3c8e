"""An accelerator that is none: its tensors say that they lie elsewhere and have their numbers here.

Code that runs on it shows where a GPU would be waited for (`Accelerator.waits`), and fails where tensors of two devices
meet, as it would on a GPU. Its name is "meta", the one device beside the CPU that any build of torch can differentiate
on; what torch computes there without numbers is computed here with them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
# Their results' sizes depend on numbers, which a GPU's host has to ask for.
_SIZED_BY_NUMBERS = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount", "equal"}


class Remote(torch.Tensor):
    """A tensor on the accelerator."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Remote:
        made: Remote = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=DEVICE,
        )  # fmt: skip
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} outside of the mode `Accelerator`")


def here(value: Any) -> Any:
    """What lies behind a remote tensor."""
    return value.inner if isinstance(value, Remote) else value


def _remote(value: Any) -> Any:
    return Remote(value) if isinstance(value, Tensor) and not isinstance(value, Remote) else value


class Accelerator(TorchDispatchMode):
    """While it is entered, "meta" is the pretended device.

    Attributes:
        waits: what a GPU would have been waited for since the list was last cleared: "number" (item, bool, int), "size"
            (masks and the like), "download", and "upload" (a copy from the CPU that is not ordered only).
        launches: operations on the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.launches = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func._schema.name.removeprefix("aten::")
        tensors = [v for v in tree_flatten((args, kwargs))[0] if isinstance(v, Tensor)]
        far = [t for t in tensors if isinstance(t, Remote)]
        to = kwargs.get("device")
        goes = far if to is None else torch.device(to) == DEVICE
        if to is not None:
            kwargs["device"] = torch.device("cpu")
        self._note(name, args, kwargs, far, [t for t in tensors if not isinstance(t, Remote)], bool(goes))
        self.launches += bool(far)
        out = func(*tree_map(here, args), **tree_map(here, kwargs))
        if name.endswith("_") and not name.endswith("__") and args and isinstance(args[0], Tensor):
            return args[0]
        if "out" in kwargs:
            return kwargs["out"]
        return tree_map(_remote, out) if goes else out

    def _note(self, name: str, args: Any, kwargs: Any, far: list[Remote], near: list[Tensor], goes: bool) -> None:
        """Record what would be waited for; refuse what would fail."""
        if name == "_to_copy":
            if far and not goes:
                self.waits.append("download")
            elif near and goes and not kwargs.get("non_blocking"):
                self.waits.append("upload")
        elif name == "copy_":
            if far and near:
                ordered = args[2] if len(args) > 2 else kwargs.get("non_blocking")
                self.waits += ["download"] if isinstance(args[1], Remote) else [] if ordered else ["upload"]
        elif name == "_local_scalar_dense":
            self.waits += ["number"] * len(far)
        elif name in {"index", "index_put_", "index_put", "_index_put_impl_"}:
            masks = [t for t in args[1] if t is not None and t.dtype == torch.bool]
            self.waits += ["size"] * bool(masks and far) + ["upload"] * bool(far and near)
        elif far and name in _SIZED_BY_NUMBERS:
            self.waits.append("size")
        elif far and any(t.ndim for t in near):
            raise RuntimeError(f"{name}: tensors on two devices, {[tuple(t.shape) for t in near]} on the CPU")
