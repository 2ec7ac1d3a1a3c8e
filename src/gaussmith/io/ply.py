"""Triangle meshes as PLY. PLY has no agreed way to name a texture, so colour goes with the vertices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from gaussmith.events import UserError
from gaussmith.io import ply_format
from gaussmith.io.assemble import build_mesh, fan
from gaussmith.io.atomic import write_bytes
from gaussmith.io.image import to_uint8
from gaussmith.mesh import Mesh

_XYZ = ("x", "y", "z")
_NORMAL = ("nx", "ny", "nz")
_COLOR = ("red", "green", "blue")
_UV_NAMES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))


def save_ply(mesh: Mesh, path: str | Path) -> None:
    """Write positions, normals (if there), 8-bit vertex colours and triangles as binary PLY, atomically.

    Without vertex colours those of the texture at the vertices are written; without a texture none.

    Raises:
        UserError: the place cannot be written.
    """
    colors = mesh.vertex_colors if mesh.vertex_colors is not None else texture_at_vertices(mesh)
    vertex = [(name, "<f4") for name in (*_XYZ, *(_NORMAL if mesh.normals is not None else ()))]
    vertex += [(name, "u1") for name in (_COLOR if colors is not None else ())]
    rows = np.zeros(len(mesh.vertices), dtype=vertex)
    for names, values in ((_XYZ, mesh.vertices), (_NORMAL, mesh.normals)):
        for i, name in enumerate(names if values is not None else ()):
            rows[name] = values[:, i].detach().cpu().numpy()  # type: ignore[index]
    if colors is not None and len(rows):
        for name, channel in zip(_COLOR, to_uint8(colors[None])[0].T):
            rows[name] = channel
    faces = np.zeros(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", (3,))])
    faces["count"], faces["corners"] = 3, mesh.faces.cpu().numpy()
    kinds = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    header += [f"property {kinds[kind]} {name}" for name, kind in vertex]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    write_bytes(path, "\n".join(header).encode("ascii"), rows.tobytes(), faces.tobytes())


def load_ply(path: str | Path) -> Mesh:
    """Read a PLY mesh: polygons become triangles; normals, colours and texture coordinates of vertices are kept.

    Raises:
        UserError: not a PLY, no faces (a point cloud or a splat), truncated, wrong indices, non-finite numbers.
    """
    tables = ply_format.read(path)
    vertex, face = tables.get("vertex"), tables.get("face")
    if vertex is None or any(name not in vertex.columns for name in _XYZ):
        raise UserError(f"cannot read {path} as a mesh: this PLY has no vertices with x, y and z")
    lists = face.lists if face is not None else {}
    corners = lists.get("vertex_indices", lists.get("vertex_index"))
    if corners is None:
        kind = "Gaussians" if "f_dc_0" in vertex.columns else "a point cloud"
        raise UserError(f"cannot read {path} as a mesh: this PLY has no faces, it holds {kind}")
    faces = fan(*corners)
    attributes: dict[str, object] = {}
    if all(name in vertex.columns for name in _NORMAL):
        attributes["normals"] = _stack(vertex, _NORMAL)
    if all(name in vertex.columns for name in _COLOR):
        scale = 255 if vertex.types["red"][0] in "iu" else 1
        attributes["vertex_colors"] = np.clip(_stack(vertex, _COLOR) / scale, 0, 1)
    for names in _UV_NAMES:
        if all(name in vertex.columns for name in names):
            attributes["uv"] = _stack(vertex, names) * (1, -1) + (0, 1)  # PLY's t points up
            attributes["uv_faces"] = faces
            break
    return build_mesh(path, _stack(vertex, _XYZ), faces, **attributes)


def texture_at_vertices(mesh: Mesh) -> torch.Tensor | None:
    """[V,3] the colour of the nearest texel at each vertex, averaged over the uv that it has; None without texture."""
    if mesh.albedo is None or mesh.uv is None or mesh.uv_faces is None:
        return None
    albedo = mesh.albedo.detach().cpu().double()
    size = torch.tensor([albedo.shape[1], albedo.shape[0]])
    texel = (mesh.uv.detach().cpu().double() * size).long().clamp_min(0).minimum(size - 1)
    colors = albedo[texel[:, 1], texel[:, 0]][mesh.uv_faces.cpu().reshape(-1)]
    corners = mesh.faces.cpu().reshape(-1)
    total = torch.zeros(len(mesh.vertices), 3, dtype=torch.float64).index_add_(0, corners, colors)
    count = torch.bincount(corners, minlength=len(mesh.vertices)).clamp_min(1)
    return (total / count[:, None]).float()


def _stack(table: ply_format.Table, names: tuple[str, ...]) -> np.ndarray:
    return np.stack([table.columns[name].astype(np.float64) for name in names], axis=1)
