"""What the mesh readers share: index checks, polygons to triangles, welding, one texture out of several."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gaussmith.events import UserError
from gaussmith.io.image import MAX_PIXELS
from gaussmith.mesh import Mesh


@dataclass(frozen=True, eq=False)
class Look:
    """What a material shows: `texture` [H,W,3] sRGB float32, or if that is None (or there are no uv) a plain colour."""

    texture: np.ndarray | None = None
    color: tuple[float, float, float] = (0.8, 0.8, 0.8)


def build_mesh(path: str | Path, vertices: np.ndarray, faces: np.ndarray, **attributes: object) -> Mesh:
    """A Mesh of arrays: vertices [V,3], faces [F,3] integer (uv_faces likewise), other attributes as Mesh names them.

    Raises:
        UserError: no faces, a face names a vertex that is not there, or a number is not finite.
    """
    if len(faces) == 0:
        raise UserError(f"cannot read {path} as a mesh: it has no faces")
    _check_indices(path, faces, len(vertices), "vertex")
    tensors: dict[str, object] = {"vertices": _finite(path, vertices, "vertex positions"), "faces": _indices(faces)}
    for name, value in attributes.items():
        if name == "uv_faces" and value is not None:
            uv = attributes.get("uv")
            _check_indices(path, value, len(uv), "texture coordinate")  # type: ignore[arg-type]
            tensors[name] = _indices(value)  # type: ignore[arg-type]
        elif isinstance(value, np.ndarray):
            tensors[name] = _finite(path, value, name)
        else:
            tensors[name] = value
    return Mesh(**tensors)  # type: ignore[arg-type]


def fan(lengths: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Triangles [T,3] of polygons given by their corner counts and their concatenated corners.

    Each polygon is cut into a fan around its first corner (right for convex ones); fewer than three corners give none.
    """
    starts = np.cumsum(lengths) - lengths
    triangles = np.maximum(lengths - 2, 0)
    first = np.repeat(starts, triangles)
    step = np.arange(triangles.sum()) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    return (
        values[np.stack([first, first + step + 1, first + step + 2], axis=1)]
        if len(first)
        else values[:0].reshape(0, 3)
    )


def weld(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of points [N,C] that are exactly equal become one.

    Returns:
        first: [M] index of the first of each group, ascending, so that the order of the file is kept.
        group: [N] the group of each row.
    """
    _, first, group = np.unique(points + 0.0, axis=0, return_index=True, return_inverse=True)  # -0.0 equals 0.0
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[group.reshape(-1)]


def dress(path: str | Path, mesh: Mesh, looks: list[Look], used: np.ndarray) -> Mesh:
    """The mesh in the looks of its materials, `used` [F] naming one a face.

    One texture is kept as it is; several looks become one texture (`_atlas`), which gives each corner its own uv and
    sorts the faces by look. Without any texture, colours that the vertices already have are kept.

    Raises:
        UserError: the textures together are larger than a picture may be.
    """
    present = [int(i) for i in np.unique(used)]
    textured = mesh.uv is not None and any(looks[i].texture is not None for i in present)
    if not textured and mesh.vertex_colors is not None:
        return mesh
    if len(present) == 1 and not textured:
        color = torch.tensor(looks[present[0]].color, dtype=torch.float32)
        return mesh.with_(vertex_colors=color.expand(len(mesh.vertices), 3).contiguous())
    order = np.argsort(used, kind="stable")
    corners = np.zeros((len(order), 3, 2)) if mesh.uv is None else mesh.uv[mesh.uv_faces].numpy()  # type: ignore[index]
    if len(present) == 1:
        mesh = mesh.with_(albedo=torch.from_numpy(looks[present[0]].texture), vertex_colors=None)  # type: ignore[arg-type]
        outside = bool((corners < -1e-4).any() or (corners > 1 + 1e-4).any())
        return _with_corners(mesh, _wrap(corners)) if outside else mesh
    groups = [(looks[i] if textured else Look(None, looks[i].color), _wrap(corners[used == i])) for i in present]
    uv, albedo = _atlas(path, groups)
    plain = mesh.with_(faces=mesh.faces[order], uv=None, uv_faces=None, vertex_colors=None)
    return _with_corners(plain.with_(albedo=torch.from_numpy(albedo)), uv)


def _with_corners(mesh: Mesh, uv: np.ndarray) -> Mesh:
    """The mesh with its own uv for each corner, uv [F,3,2]."""
    flat = torch.from_numpy(np.ascontiguousarray(uv.reshape(-1, 2), dtype=np.float32))
    return mesh.with_(uv=flat, uv_faces=torch.arange(len(flat)).reshape(-1, 3))


def _wrap(uv: np.ndarray) -> np.ndarray:
    """Shift each face's uv [F,3,2] by whole tiles so that it starts within [0,1]: textures repeat, ours clamp."""
    return uv - np.floor(uv.min(axis=1, keepdims=True) + 1e-4)


def _atlas(path: str | Path, groups: list[tuple[Look, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """One texture for several looks with their corners' uv [F,3,2]: all uv [sum F,3,2] and the albedo [H,W,3].

    Textures (and a few texels of each plain colour) are stacked from top to bottom, each with a repeated texel around.
    """
    images: dict[object, np.ndarray] = {}
    for look, _ in groups:
        if look.texture is None:
            images[look.color] = np.full((2, 2, 3), look.color, np.float32)
        else:
            images[id(look.texture)] = look.texture
    width = max(image.shape[1] for image in images.values()) + 2
    height = sum(image.shape[0] + 2 for image in images.values())
    if width * height > MAX_PIXELS:
        raise UserError(f"cannot read {path}: its textures together have more than {MAX_PIXELS:,} pixels")
    albedo = np.ones((height, width, 3), dtype=np.float32)
    tops: dict[object, int] = {}
    top = 0
    for key, image in images.items():
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="edge")
        albedo[top : top + padded.shape[0], : padded.shape[1]] = padded
        tops[key] = top + 1
        top += padded.shape[0]
    parts = []
    for look, uv in groups:
        if look.texture is None:
            parts.append(np.full_like(uv, (2, tops[look.color] + 1)) / (width, height))  # amid the 2x2 texels
        else:
            size = np.array([look.texture.shape[1], look.texture.shape[0]])
            parts.append((np.clip(uv, 0, 1) * size + (1, tops[id(look.texture)])) / (width, height))
    return np.concatenate(parts), albedo


def _indices(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))


def _check_indices(path: str | Path, indices: np.ndarray, count: int, what: str) -> None:
    bad = ~((indices >= 0) & (indices < count))  # true for NaN too, which ascii files can hold
    if bad.any():
        raise UserError(f"cannot read {path}: a face names {what} {indices[bad][0]:g} but there are {count:,}")


def _finite(path: str | Path, values: np.ndarray, what: str) -> torch.Tensor:
    with np.errstate(over="ignore", invalid="ignore"):
        array = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"cannot read {path}: its {what} hold numbers that are not finite")
    return torch.from_numpy(array)
