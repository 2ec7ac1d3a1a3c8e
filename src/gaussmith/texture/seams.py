"""Chart borders: which uv edges are one edge of the surface, how much their colours differ, and making them agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array, diags_array, eye_array
from torch import Tensor

from gaussmith.mesh import Mesh
from gaussmith.texture.atlas import Atlas, uv_arrays
from gaussmith.texture.linear import laplacian, relax

# Weights of `equalise_seams`, none from a paper: agreement counts far more than leaving the colours as they are, and a
# correction dies away over 1 / sqrt(_KEEP) texels.
_AGREE = 10.0
_KEEP = 0.05
_EDGE = 0.1  # a jump of this size counts a quarter: charts often end where the object's own colour changes


@dataclass(frozen=True)
class SeamError:
    """Colour jump across chart borders in 8-bit levels (largest channel): mean and 95th percentile of the samples."""

    mean: float
    p95: float
    samples: int


def seam_edges(mesh: Mesh) -> np.ndarray:
    """[E,2,2,2] float32 uv of every surface edge whose two faces lie apart in the texture: (edge, side, end, uv).

    Both sides list their ends in the same order. Edges with other than two faces are left out.
    """
    uv, uv_faces = uv_arrays(mesh)
    start, end = mesh.faces.numpy().ravel(), mesh.faces.numpy()[:, [1, 2, 0]].ravel()
    corners = np.stack([uv_faces.ravel(), uv_faces[:, [1, 2, 0]].ravel()], axis=1)
    corners = np.where((start < end)[:, None], corners, corners[:, ::-1])
    key = np.minimum(start, end) * (int(mesh.faces.max()) + 1) + np.maximum(start, end)
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.r_[True, np.diff(key[order]) != 0])
    pairs = first[np.diff(np.r_[first, len(order)]) == 2]
    sides = uv[corners[order[np.stack([pairs, pairs + 1], axis=1)]]]
    return sides[(sides[:, 0] != sides[:, 1]).any(axis=(1, 2))]


def seam_samples(mesh: Mesh, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays [N,2] of uv that show the same points of the surface from the two sides of every chart border, about a
    texel of a size x size texture apart."""
    edges = seam_edges(mesh).astype(np.float64)
    lengths = np.linalg.norm((edges[:, :, 1] - edges[:, :, 0]) * size, axis=-1).max(axis=1, initial=0.0)
    counts = np.ceil(lengths).astype(np.int64) + 1
    edge = np.repeat(np.arange(len(edges)), counts)
    place = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    t = ((place + 0.5) / counts[edge])[:, None, None]
    points = edges[edge, :, 0] * (1 - t) + edges[edge, :, 1] * t
    return points[:, 0], points[:, 1]


def seam_error(albedo: Tensor, mesh: Mesh) -> SeamError:
    """Compare what bilinear lookups in a square texture [S,S,3] show on the two sides of every chart border."""
    size = albedo.shape[0]
    difference = _differences(mesh, size) @ albedo.detach().numpy().reshape(size * size, -1).astype(np.float64)
    jump = 255 * np.abs(difference).max(axis=1)
    if len(jump) == 0:
        return SeamError(0.0, 0.0, 0)
    return SeamError(float(jump.mean()), float(np.percentile(jump, 95)), len(jump))


def equalise_seams(albedo: Tensor, mesh: Mesh, atlas: Atlas, *, reach: int = 8, sweeps: int = 60) -> Tensor:
    """Make the two sides of every chart border agree by the smoothest small change of the texels near it.

    Least squares: the jumps across the seams, the change itself and its gradient inside the charts; only texels within
    `reach` of a seam move. Large jumps are taken for edges in the object's own colours and kept. The gutter is spread
    anew.

    Args:
        albedo: [S,S,3] in [0,1].
        mesh: with uv.
        atlas: `atlas_fragments(mesh, S)`.
        sweeps: of the solver.
    """
    size = atlas.size
    flat = albedo.detach().numpy().reshape(size * size, 3).astype(np.float64)
    jumps = _differences(mesh, size)
    texels = _near(np.unique(jumps.indices), atlas, reach)
    if len(texels) == 0:
        return albedo
    node = np.full(size * size, -1, dtype=np.int64)
    node[texels] = np.arange(len(texels))
    links = grid_links(node.reshape(size, size))
    smooth = laplacian(links, np.ones(len(links)), len(texels))
    jump = jumps @ flat
    trust = _AGREE / (1 + np.square(jump).max(axis=1, initial=0.0) / _EDGE**2) ** 2
    local = jumps[:, texels].tocsr()
    weighted = local.T @ diags_array(trust)
    matrix = weighted @ local + smooth + _KEEP * eye_array(len(texels))
    right = -(weighted @ jump)
    change = relax(csr_array(matrix), right, np.zeros_like(right), sweeps)
    flat[texels] = np.clip(flat[texels] + change, 0.0, 1.0)
    return torch.from_numpy(atlas.spread(flat.reshape(size, size, 3).astype(np.float32)))


def grid_links(node: np.ndarray) -> np.ndarray:
    """[L,2] pairs of nodes that are horizontal or vertical neighbours in a picture [S,S] of node numbers (-1: none)."""
    across = np.stack([node[:, :-1].ravel(), node[:, 1:].ravel()], axis=1)
    down = np.stack([node[:-1].ravel(), node[1:].ravel()], axis=1)
    links = np.concatenate([across, down])
    return links[(links >= 0).all(axis=1)]


def _near(touched: np.ndarray, atlas: Atlas, reach: int) -> np.ndarray:
    """Flat indices of the atlas texels within `reach` (in the larger of rows and columns) of the texels `touched`."""
    near = np.zeros((atlas.size, atlas.size), dtype=bool)
    near.ravel()[touched] = True
    for axis in (0, 1):
        total = np.cumsum(np.pad(near, [(reach + 1, reach) if a == axis else (0, 0) for a in (0, 1)]), axis=axis)
        upper, lower = np.arange(2 * reach + 1, total.shape[axis]), np.arange(total.shape[axis] - 2 * reach - 1)
        near = total.take(upper, axis=axis) > total.take(lower, axis=axis)
    return atlas.texels[near.ravel()[atlas.texels]]


def _differences(mesh: Mesh, size: int) -> csr_array:
    """[N,S*S] matrix that takes a flattened texture to the colour jumps at the seam samples."""
    here, there = seam_samples(mesh, size)
    return _lookups(here, size) - _lookups(there, size)


def _lookups(uv: np.ndarray, size: int) -> csr_array:
    """[N,S*S] matrix of the bilinear lookups at uv [N,2], clamped at the border."""
    at = np.clip(uv * size - 0.5, 0.0, size - 1.0)
    low = np.minimum(at.astype(np.int64), max(size - 2, 0))
    u, v = (at - low).T
    (j, i), step = low.T, min(size - 1, 1)
    columns = np.stack([i * size + j, i * size + j + step, (i + step) * size + j, (i + step) * size + j + step], axis=1)
    weights = np.stack([(1 - u) * (1 - v), u * (1 - v), (1 - u) * v, u * v], axis=1)
    rows = np.repeat(np.arange(len(uv)), 4)
    return coo_array((weights.ravel(), (rows, columns.ravel())), shape=(len(uv), size * size)).tocsr()
