"""UV unwrapping: cut a mesh into charts, flatten them and pack them into one square texture (xatlas)."""

from __future__ import annotations

import numpy as np
import torch
import xatlas
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from gaussmith.events import UserError
from gaussmith.mesh import Mesh
from gaussmith.texture.atlas import uv_arrays

# xatlas compares lengths and areas with absolute epsilons, so the same shape gives other charts (or none at all) at
# another size. At this longest side no triangle a mesher makes counts as degenerate.
_XATLAS_SIZE = 1000.0
# Fewer and rounder charts than the defaults in half the time: chart borders need not be straight, and a chart may cost
# more before it is split, but not bend more.
_CHARTS = {"max_cost": 4.0, "straightness_weight": 0.0, "normal_deviation_weight": 3.0}
CRUSHED = 0.01  # a face with less than this share of its fair texture area is given a place of its own


def unwrap(mesh: Mesh, size: int = 1024, padding: int = 4) -> Mesh:
    """Give a mesh texture coordinates in which no two faces overlap; the same input gives the same bytes.

    `vertices` and `faces` are returned untouched, so a watertight mesh stays watertight: chart borders exist only in
    `uv_faces`.

    Args:
        mesh: V vertices, F faces. Attributes other than uv, uv_faces and albedo are kept; albedo is dropped.
        size: side in texels of the texture that will be used; decides how wide the padding is in uv.
        padding: least distance between charts, in texels of that texture.

    Returns:
        The mesh with uv [U,2] in [0,1] and uv_faces [F,3].

    Raises:
        UserError: the mesh has no face with an area.
    """
    vertices = mesh.vertices.detach().double().numpy()
    faces = mesh.faces.numpy()
    areas = face_areas(vertices, faces)
    if not np.isfinite(vertices).all() or not areas.sum() > 0:
        raise UserError("the mesh has no surface to unwrap; extract it again with a lower density threshold")
    texels, uv_faces, used = _charts(vertices, faces, size, padding)
    scale = size / used
    flat = np.abs(uv_areas(texels, uv_faces)) * scale**2
    fair = areas * (flat.sum() / areas.sum())
    lost = np.flatnonzero((flat < CRUSHED * fair) & (fair > 0.05))
    uv, uv_faces = _place_lost(texels * scale, uv_faces, lost, size, padding)
    uv = np.clip(uv / size, 0.0, 1.0).astype(np.float32)
    return mesh.with_(uv=torch.from_numpy(uv), uv_faces=torch.from_numpy(uv_faces), albedo=None)


def chart_ids(mesh: Mesh) -> np.ndarray:
    """[F] int32 number of the chart each face lies in: faces that share a uv vertex are in one chart."""
    uv, uv_faces = uv_arrays(mesh)
    start, end = uv_faces[:, [0, 1]].T.ravel(), uv_faces[:, [1, 2]].T.ravel()
    graph = coo_array((np.ones(len(start), dtype=np.int8), (start, end)), shape=(len(uv), len(uv)))
    return connected_components(graph, directed=False)[1][uv_faces[:, 0]].astype(np.int32)


def _charts(vertices: np.ndarray, faces: np.ndarray, size: int, padding: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Run xatlas: positions [U,2] in texels of its own atlas, uv_faces [F,3], and the side of that atlas."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    normalised = (vertices - (low + high) / 2) * (_XATLAS_SIZE / (high - low).max())
    atlas = xatlas.Atlas()
    atlas.add_mesh(normalised.astype(np.float32), faces.astype(np.uint32))
    charts, pack = xatlas.ChartOptions(), xatlas.PackOptions()
    for name, value in _CHARTS.items():
        setattr(charts, name, value)
    pack.resolution = size
    pack.padding = padding + (padding + 3) // 4  # the atlas comes out up to a quarter larger than asked for
    atlas.generate(charts, pack)
    if atlas.chart_count == 0:
        raise UserError("the mesh is too thin to unwrap; extract it again with a lower density threshold")
    source, uv_faces, uv = atlas[0]
    if not np.array_equal(source[uv_faces], faces):
        raise ValueError("xatlas changed the faces")
    placed = np.asarray(atlas.get_mesh_vertex_assignment(0)[0]) >= 0
    uv, uv_faces = _adopt_unplaced(uv, uv_faces.astype(np.int64), source, placed)
    return uv * np.array([atlas.width, atlas.height], dtype=np.float64), uv_faces, max(atlas.width, atlas.height)


def _adopt_unplaced(
    uv: np.ndarray, uv_faces: np.ndarray, source: np.ndarray, placed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Corners of faces that xatlas left out (no area) take a place that the same vertex has in a chart."""
    uv = np.where(np.isfinite(uv) & placed[:, None], uv, 0.0).astype(np.float64)
    if placed.all():
        return uv, uv_faces
    home = np.full(int(source.max()) + 1, -1, dtype=np.int64)
    home[source[placed][::-1]] = np.flatnonzero(placed)[::-1]
    replacement = np.where(placed | (home[source] < 0), np.arange(len(uv)), home[source])
    return uv, replacement[uv_faces]


def _place_lost(
    texels: np.ndarray, uv_faces: np.ndarray, lost: np.ndarray, size: int, padding: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give each face of `lost` its own small triangle in rows along the lower edge; the charts shrink to make room."""
    if len(lost) == 0:
        return texels, uv_faces
    cell = 3 + padding
    columns = max(1, size // cell)
    rows = -(-len(lost) // columns)
    if rows * cell > size // 4:
        raise UserError("too many faces are degenerate to unwrap; use a larger texture or fewer faces")
    free = size - rows * cell
    row, column = np.divmod(np.arange(len(lost)), columns)
    corner = np.stack([column * cell, free + row * cell], axis=1) + padding / 2
    triangles = corner[:, None] + np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    uv_faces = uv_faces.copy()
    uv_faces[lost] = len(texels) + np.arange(3 * len(lost)).reshape(-1, 3)
    return np.concatenate([texels * (free / size), triangles.reshape(-1, 2)]), uv_faces


def face_areas(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """[F] areas in squared world units."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def uv_areas(uv: np.ndarray, uv_faces: np.ndarray) -> np.ndarray:
    """[F] areas in the plane of the texture, negative where a face lies mirrored."""
    a, b, c = (uv[uv_faces[:, i]] for i in range(3))
    return ((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])) / 2
