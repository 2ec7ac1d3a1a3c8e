"""Colour what no view saw: along the surface inside charts, by the nearest texel in the gutter between them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gaussmith.mesh import Mesh
from gaussmith.texture.atlas import Atlas, atlas_fragments
from gaussmith.texture.linear import harmonic
from gaussmith.texture.seams import grid_links, seam_samples
from gaussmith.texture.unwrap import chart_ids

_VERTEX_SWEEPS = 400  # enough to cross a mesh of some 10k vertices
_TEXEL_SWEEPS = 120  # the vertices carry the colour far; this joins it to the texels around


def fill(albedo: Tensor, valid: Tensor, mesh: Mesh, atlas: Atlas | None = None) -> Tensor:
    """Give every texel a colour, so that neither bilinear lookups nor mip-maps show seams or holes.

    Texels of the surface that are not valid continue the colours around them as a harmonic function on the surface,
    across chart borders: first over the mesh's vertices, then over the texels. The rest of the texture repeats the
    nearest texel of a chart, everywhere.

    Args:
        albedo: [S,S,3] float32.
        valid: [S,S] bool (or a weight, valid where positive).
        mesh: with uv.
        atlas: `atlas_fragments(mesh, S)` if at hand.

    Returns:
        [S,S,3] float32 in which valid texels of the surface are unchanged. All grey (0.5) if nothing is valid.
    """
    size = albedo.shape[0]
    atlas = atlas_fragments(mesh, size) if atlas is None else atlas
    colours = albedo.detach().numpy().reshape(-1, 3)[atlas.texels].astype(np.float64)
    known = valid.detach().numpy().reshape(-1)[atlas.texels] > 0
    if not known.any():
        return torch.full_like(albedo, 0.5)
    if not known.all():
        guess = _from_vertices(colours, known, mesh, atlas)
        links = surface_links(mesh, atlas)
        links = links[~known[links].all(axis=1)]
        colours = harmonic(links, np.ones(len(links)), colours, known, _TEXEL_SWEEPS, guess)
    return torch.from_numpy(atlas.spread(atlas.image(np.clip(colours, 0.0, 1.0).astype(np.float32))))


def surface_links(mesh: Mesh, atlas: Atlas) -> np.ndarray:
    """[L,2] pairs of atlas texels (positions in `atlas.texels`) that are neighbours on the surface: side by side in one
    chart, or facing each other across a chart border."""
    node = np.full((atlas.size, atlas.size), -1, dtype=np.int64)
    node.ravel()[atlas.texels] = np.arange(len(atlas.texels))
    chart = chart_ids(mesh)[atlas.face]
    beside = grid_links(node)
    beside = beside[chart[beside[:, 0]] == chart[beside[:, 1]]]
    sides = [np.clip((uv * atlas.size).astype(np.int64), 0, atlas.size - 1) for uv in seam_samples(mesh, atlas.size)]
    facing = np.stack([node[side[:, 1], side[:, 0]] for side in sides], axis=1)
    facing = facing[(facing >= 0).all(axis=1) & (facing[:, 0] != facing[:, 1])]
    return np.concatenate([beside, np.unique(np.sort(facing, axis=1), axis=0)])


def _from_vertices(colours: np.ndarray, known: np.ndarray, mesh: Mesh, atlas: Atlas) -> np.ndarray:
    """[T,3] rough colours of all texels from a harmonic extension over the vertices of the mesh."""
    faces, vertices = mesh.faces.numpy(), mesh.vertices.detach().numpy()
    corners = faces[atlas.face[known]].ravel()
    # Cubed, so that a vertex takes the colour beside it even in a large face.
    weights = atlas.barycentric[known].astype(np.float64).ravel() ** 3
    share = np.bincount(corners, weights, minlength=len(vertices))
    seen = np.repeat(colours[known], 3, axis=0)
    total = [np.bincount(corners, weights * seen[:, k], minlength=len(vertices)) for k in range(3)]
    vertex_known = share > 1e-6
    values = np.stack(total, axis=1) / np.maximum(share, 1e-6)[:, None]
    if not vertex_known.all():
        edges = np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
        edges = edges[edges[:, 0] != edges[:, 1]]
        lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1).astype(np.float64)
        closeness = 1.0 / np.maximum(lengths, 1e-3 * lengths.mean())
        values = harmonic(edges, closeness, values, vertex_known, _VERTEX_SWEEPS)
    return atlas.at_corners(values, faces).astype(np.float64)
