"""Splats as .splat: 32 bytes a Gaussian, without a header, in the layout of antimatter15's viewer.

Position (3 x float32), scale (3 x float32, standard deviations), colour and opacity (4 x uint8), rotation (wxyz,
4 x uint8). Harmonics above degree 0 are dropped. The order is by size and opacity, so that viewers that show a file
while it arrives show the important Gaussians first.
Source: github.com/antimatter15/splat, convert.py (layout, order, (byte - 128) / 128) and main.js.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.io import packing
from gaussmith.io.atomic import write_bytes
from gaussmith.io.source import read_bytes
from gaussmith.sh import C0

_ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])


def save_splat(gaussians: Gaussians, path: str | Path) -> None:
    """Write N >= 1 Gaussians, atomically: the colours clamped to [0,1], rounded to 1/255 as the opacities are.

    Raises:
        UserError: there are no Gaussians, which an empty file cannot say, or the place cannot be written.
        ValueError: a parameter is not finite.
    """
    if len(gaussians) == 0:
        raise UserError(f"cannot write {path}: a .splat file cannot hold an empty splat; use .ply or .spz")
    fields = packing.arrays(gaussians)
    alpha = packing.sigmoid(fields["opacity_logits"])
    order = np.argsort(-np.exp(fields["log_scales"].sum(axis=1, dtype=np.float64)) * alpha, kind="stable")
    rows = np.empty(len(order), dtype=_ROW)
    rows["mean"] = fields["means"]
    rows["scale"] = np.exp(fields["log_scales"])
    rows["rgba"][:, :3] = packing.to_unorm(0.5 + C0 * fields["sh"][:, 0].astype(np.float64), 8)
    rows["rgba"][:, 3] = packing.to_unorm(alpha, 8)
    rows["quat"] = np.clip(np.floor(packing.unit(fields["quats"]) * 128 + 128.5), 0, 255)
    write_bytes(path, rows[order].tobytes())


def load_splat(path: str | Path) -> Gaussians:
    """Read a .splat file as Gaussians of degree 0.

    Raises:
        UserError: its length is no multiple of 32 bytes, or a number is not finite or a scale negative.
    """
    data = read_bytes(path)
    if len(data) % _ROW.itemsize:
        raise UserError(f"cannot read {path}: {len(data):,} bytes are no whole number of Gaussians of 32, so it is no "
                        ".splat file or is truncated")  # fmt: skip
    rows = np.frombuffer(data, _ROW)
    with np.errstate(invalid="ignore"):  # NaN is refused below
        scale = rows["scale"].astype(np.float64)
    if (scale < 0).any():
        raise UserError(f"cannot read {path}: a Gaussian has a negative scale, so it is no .splat file or is damaged")
    rgba = rows["rgba"] / 255.0
    return packing.build(
        path,
        means=rows["mean"],
        log_scales=np.log(np.maximum(scale, packing.MIN_SCALE)),
        quats=packing.unit(rows["quat"] / 128.0 - 1),
        opacity_logits=packing.logits(rgba[:, 3]),
        sh=((rgba[:, :3] - 0.5) / C0)[:, None],
    )
