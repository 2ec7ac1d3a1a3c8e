"""3D Gaussian splats as PLY, in the layout of the 3DGS reference implementation that every viewer reads.

One vertex a Gaussian: x y z, nx ny nz (unused, zero), f_dc_0..2, f_rest_0.. (channel-major: all higher coefficients of
red, then green, then blue), opacity (before the sigmoid), scale_0..2 (natural logarithms), rot_0..3 (wxyz).
Source: Kerbl et al. 2023, the released code's point_cloud.ply.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.io import compressed_ply, packing, ply_format
from gaussmith.io.atomic import write_bytes
from gaussmith.io.source import read_bytes

_REST_COUNTS = {0: 1, 9: 4, 24: 9, 45: 16}
_XYZ = ("x", "y", "z")
_NORMAL = ("nx", "ny", "nz")
_DC = ("f_dc_0", "f_dc_1", "f_dc_2")
_SCALE = ("scale_0", "scale_1", "scale_2")
_ROT = ("rot_0", "rot_1", "rot_2", "rot_3")


def save_splat_ply(gaussians: Gaussians, path: str | Path) -> None:
    """Write N >= 0 Gaussians, SH degree 0 to 3, as binary little-endian PLY, atomically.

    Raises:
        UserError: the place cannot be written.
        ValueError: a parameter is not finite, or a scale not in float32.
    """
    tensors = packing.arrays(gaussians)
    n, bands = tensors["sh"].shape[:2]
    rest = tensors["sh"][:, 1:].transpose(0, 2, 1).reshape(n, 3 * (bands - 1))
    names = [*_XYZ, *_NORMAL, *_DC, *(f"f_rest_{i}" for i in range(rest.shape[1])), "opacity", *_SCALE, *_ROT]
    table = np.concatenate(
        [
            tensors["means"], np.zeros((n, 3), np.float32), tensors["sh"][:, 0], rest,
            tensors["opacity_logits"][:, None], tensors["log_scales"], tensors["quats"],
        ],
        axis=1,
    ).astype("<f4")  # fmt: skip
    properties = "".join(f"property float {name}\n" for name in names)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {n}\n{properties}end_header\n"
    write_bytes(path, header.encode("ascii"), table.tobytes())


def load_splat_ply(path: str | Path) -> Gaussians:
    """Read a 3DGS PLY of any byte order or ascii, plain or compressed (see `compressed_ply`).

    Properties beyond the layout are ignored, normals are optional. Infinite logits (opacities of exactly 0 or 1, as
    programs write that convert from bytes) and scales of exactly 0 are brought to the nearest sensible number.

    Raises:
        UserError: not a PLY, not a splat (a property is missing), truncated, or values that are not finite.
    """
    tables = ply_format.read(path)
    vertex = tables.get("vertex")
    if vertex is None:
        raise UserError(f"cannot read {path}: this PLY has no vertices")
    if "packed_position" in vertex.columns:
        return compressed_ply.decode(tables, path)
    columns = vertex.columns
    missing = [name for name in (*_XYZ, *_DC, "opacity", *_SCALE, *_ROT) if name not in columns]
    if missing:
        kind = "a mesh or a point cloud, not a splat" if "f_dc_0" in missing else "an incomplete splat"
        raise UserError(f"cannot read {path} as Gaussians: it is {kind}, it lacks {', '.join(missing)}")
    rest_names = [name for name in columns if name.startswith("f_rest_")]
    expected = [f"f_rest_{i}" for i in range(len(rest_names))]
    if len(rest_names) not in _REST_COUNTS or set(rest_names) != set(expected):
        raise UserError(
            f"cannot read {path}: {len(rest_names)} f_rest properties make no SH degree from 0 to 3 (0, 9, 24 or 45)"
        )
    bands = _REST_COUNTS[len(rest_names)]
    rest = _stacked(columns, expected).reshape(vertex.count, 3, bands - 1)
    return packing.build(
        path,
        means=_stacked(columns, _XYZ),
        log_scales=packing.finite_log(_stacked(columns, _SCALE)),
        quats=_stacked(columns, _ROT),
        opacity_logits=packing.finite_logits(_stacked(columns, ["opacity"])[:, 0]),
        sh=np.concatenate([_stacked(columns, _DC)[:, None], rest.transpose(0, 2, 1)], axis=1),
    )


def is_splat_ply(path: str | Path) -> bool:
    """Whether the PLY at `path` declares Gaussians rather than a mesh; UserError if it cannot be read as a PLY."""
    _, elements, _ = ply_format.parse_header(read_bytes(path, first=ply_format.HEADER_LIMIT), path)
    return any(p.name in ("f_dc_0", "packed_position") for e in elements if e.name == "vertex" for p in e.properties)


def _stacked(columns: dict[str, np.ndarray], names: list[str] | tuple[str, ...]) -> np.ndarray:
    """The named columns as float32 [N,len(names)]."""
    out = np.empty((len(columns["x"]), len(names)), dtype=np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # doubles beyond float32 become inf, which is refused
        for i, name in enumerate(names):
            out[:, i] = columns[name]
    return out
