"""Open surfaces: pinched vertices split, and decimation with a border.

The border is closed for the time of the decimation: every border loop gets a hub and a fan of faces to it, which makes
the surface a closed manifold, so that `simplify.decimate` keeps the topology, the border's too. The hub stands off the
surface, so that the fan's planes hold the border in its place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gaussmith.surface import simplify, validity

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


def separate(vertices: F64, faces: I64) -> tuple[F64, I64]:
    """The same surface with a vertex for each fan of faces: where parts touched in a vertex, they no longer do."""
    _, corner, split = np.unique(validity.corner_fans(faces).ravel(), return_index=True, return_inverse=True)
    return vertices[faces.ravel()[corner]], split.reshape(-1, 3)


def border_edges(faces: I64) -> I64:
    """[E,2] edges with one face, in the direction in which that face runs through them."""
    start, end = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    scale = int(faces.max(initial=0)) + 1
    single = ~np.isin(start * scale + end, end * scale + start)
    return np.stack([start[single], end[single]], axis=1)


def _hubs(vertices: F64, faces: I64, ends: I64, loop: I64) -> F64:
    """[L,3] the middle of each border loop, lifted by its radius along the mean normal of the surface there."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normals = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(normals, faces[:, corner], np.cross(b - a, c - a))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)

    def mean(values: F64) -> F64:
        return np.bincount(loop, weights=values) / np.bincount(loop)

    middle, lift = (np.stack([mean(v[ends, axis]) for axis in range(3)], axis=1) for v in (vertices, normals))
    return middle + mean(np.linalg.norm(vertices[ends] - middle[loop], axis=1))[:, None] * lift


def decimate(vertices: F64, faces: I64, max_faces: int) -> tuple[F64, I64]:
    """Collapse edges of a manifold without pinched vertices, with or without border, until max_faces are left."""
    if len(faces) <= max_faces:
        return vertices, faces
    edges = border_edges(faces)
    if not len(edges):
        return simplify.decimate(vertices, faces, max_faces)
    ends, index = np.unique(edges, return_inverse=True)
    index = index.reshape(-1, 2)
    link = coo_matrix((np.ones(len(edges), np.int8), index.T), shape=(len(ends), len(ends)))
    loops, loop = connected_components(link, directed=False)
    hubs = _hubs(vertices, faces, ends, loop)
    hub = len(vertices) + loop[index[:, 0]]
    caps = np.stack([edges[:, 1], edges[:, 0], hub], axis=1)
    fixed = np.arange(len(vertices) + loops) >= len(vertices)
    out, left = np.concatenate([vertices, hubs]), np.concatenate([faces, caps])
    while True:
        before, inner = len(left), (left < len(vertices)).all(axis=1)
        if inner.sum() <= max_faces:
            return out, left[inner]
        # A collapse at the border takes a cap along instead of a face, so that this may have to be done again.
        out, left = simplify.decimate(out, left, max_faces + int((~inner).sum()), fixed=fixed)
        if len(left) == before:
            return out, left[(left < len(vertices)).all(axis=1)]
