"""Triangle meshes as STL: positions only, three of them a face; equal positions are merged on reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gaussmith.events import UserError
from gaussmith.io.assemble import build_mesh, weld
from gaussmith.io.atomic import write_bytes
from gaussmith.io.source import read_bytes
from gaussmith.mesh import Mesh

_HEADER_BYTES = 84
_TRIANGLE = np.dtype([("normal", "<f4", (3,)), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def save_stl(mesh: Mesh, path: str | Path) -> None:
    """Write a binary STL, atomically; colours and texture are lost, the format has none.

    Raises:
        UserError: the place cannot be written.
    """
    rows = np.zeros(len(mesh.faces), dtype=_TRIANGLE)
    rows["normal"] = mesh.face_normals().detach().cpu().numpy()
    rows["corners"] = mesh.vertices[mesh.faces].detach().cpu().numpy()
    header = b"binary STL, gaussmith".ljust(80) + np.uint32(len(rows)).astype("<u4").tobytes()
    write_bytes(path, header, rows.tobytes())


def load_stl(path: str | Path) -> Mesh:
    """Read a binary or ascii STL.

    Raises:
        UserError: neither kind, truncated, no faces, non-finite numbers.
    """
    data = read_bytes(path)
    declared = int.from_bytes(data[80:_HEADER_BYTES], "little")
    available = len(data) - _HEADER_BYTES
    if available >= 0 and available == declared * _TRIANGLE.itemsize:  # some binary files start with "solid" too
        corners = np.frombuffer(data, _TRIANGLE, declared, _HEADER_BYTES)["corners"]
    elif data.lstrip().startswith(b"solid"):
        corners = _parse_ascii(data, path)
    elif available > declared * _TRIANGLE.itemsize > 0:  # padding after the triangles is harmless
        corners = np.frombuffer(data, _TRIANGLE, declared, _HEADER_BYTES)["corners"]
    else:
        raise UserError(f"cannot read {path}: it is not an STL file, or it is truncated")
    points = corners.reshape(-1, 3).astype(np.float64)
    if not np.isfinite(points).all():
        raise UserError(f"cannot read {path}: its vertex positions hold numbers that are not finite")
    first, group = weld(points)
    return build_mesh(path, points[first], group.reshape(-1, 3))


def _parse_ascii(data: bytes, path: str | Path) -> np.ndarray:
    words = [line.split() for line in data.decode("latin-1").splitlines() if line.lstrip().startswith("vertex")]
    try:
        points = np.array([[float(word) for word in row[1:]] for row in words], dtype=np.float64).reshape(-1, 3)
    except ValueError as error:
        raise UserError(f"cannot read {path}: a vertex line of this ascii STL does not hold three numbers") from error
    if len(points) % 3 or b"endsolid" not in data:
        raise UserError(f"cannot read {path}: this ascii STL is truncated")
    return points.reshape(-1, 3, 3)
