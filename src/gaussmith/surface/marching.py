"""Iso-surfaces of a grid of densities: clean the grid, then march.

All cleaning is done on the grid, where "inside" and "outside" are exact sets: outside is what a flood through face
neighbours reaches from the border, so after `solid` no surface can have an inner shell, whichever way a marching
algorithm connects ambiguous cells. Axes: arrays are [x,y,z], vertices in index units (node (i,j,k) is at (i,j,k)).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import marching_cubes

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# The six tetrahedra around the diagonal of a cube (Freudenthal / Kuhn): each walks from corner 000 to 111 along the
# axes in one order. They fit together across cubes, so the surface of a piecewise linear function on them is closed.
_WALKS = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
_ODD = [False, True, True, False, False, True]


def solid(inside: NDArray[np.bool_], seal: int = 0) -> NDArray[np.bool_]:
    """Fill the voids: everything that the outside, flooding through face neighbours, does not reach.

    With seal > 0 also rooms behind keyholes: where a ball of radius `seal` nodes cannot get in from the outside but a
    ball of radius seal + 1 would fit inside. Gaussians on a surface leave such leaks; handles, gaps and hollows that
    are open to the outside stay, and so do crevices that are narrow all through.
    """
    empty = np.pad(~inside, seal + 1, constant_values=True)
    outside = _connected_to_corner(empty)
    if seal:
        clearance = ndimage.distance_transform_edt(empty)
        wide = _connected_to_corner(clearance > seal)
        reached = ndimage.distance_transform_edt(~wide) <= seal + 1
        label, count = ndimage.label(outside & ~reached)
        if count:
            room = np.concatenate([[False], ndimage.maximum(clearance, label, np.arange(1, count + 1)) > seal + 1])
            outside = _connected_to_corner(outside & ~room[label])
    inner = (slice(seal + 1, -seal - 1),) * 3
    return ~outside[inner]


def _connected_to_corner(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    label, _ = ndimage.label(mask)
    return label == label[0, 0, 0]


def large_parts(inside: NDArray[np.bool_], min_component: float) -> NDArray[np.bool_]:
    """Keep the parts (26-connected) whose bounding-box diagonal is at least min_component of the largest part's."""
    label, count = ndimage.label(inside, np.ones((3, 3, 3)))
    if count < 2:
        return inside
    sizes = [np.linalg.norm([s.stop - s.start for s in box]) for box in ndimage.find_objects(label)]
    keep = np.concatenate([[False], np.array(sizes) >= min_component * max(sizes)])
    return keep[label]


def clean(density: F32, iso: float, min_component: float, seal: int = 0) -> F32:
    """A copy, padded by one empty node all around, without small parts and voids, and with no node near `iso`.

    Nodes keep 1 % distance to iso (relative to it), so that no vertex falls onto a node and no triangle is degenerate.
    """
    padded = np.pad(density, 1)
    body = large_parts(padded > iso, min_component)
    filled = solid(body, seal)
    out = np.where(filled, np.maximum(padded, np.float32(1.01 * iso)), np.minimum(padded, np.float32(0.99 * iso)))
    # Dropped parts fade to nothing; filled voids are as dense as they need be.
    out[(padded > iso) & ~filled] = 0
    return out


def march_cubes(values: F32, iso: float) -> tuple[F64, I64]:
    """Marching cubes (Lewiner et al. 2003, scikit-image): vertices [V,3] in index units, faces [F,3] wound outwards.

    The border of the grid must be below iso. The result is closed, but not guaranteed to be vertex-manifold.
    """
    vertices, faces, _, _ = marching_cubes(values, iso, gradient_direction="ascent", allow_degenerate=True)
    return vertices.astype(np.float64), faces.astype(np.int64)


def march_tetrahedra(values: F32, iso: float) -> tuple[F64, I64]:
    """Marching tetrahedra: like `march_cubes` with some 3 times the faces, but a manifold by construction.

    The level set of a piecewise linear function that takes its level at no node is a closed 2-manifold; every grid
    edge holds at most one vertex. Nodes equal to iso count as outside.
    """
    shape = np.array(values.shape)
    flat = values.ravel()
    high = flat > iso
    step = np.array([shape[1] * shape[2], shape[2], 1])
    corner = np.arange(flat.size).reshape(values.shape)[:-1, :-1, :-1].ravel()
    # Only cubes that the surface meets.
    cube = sum(high[corner + (step * np.array(c)).sum()].astype(np.int8) for c in np.ndindex(2, 2, 2))
    corner = corner[(cube > 0) & (cube < 8)]
    edges: list[I64] = []
    for walk, odd in zip(_WALKS, _ODD):
        nodes = np.stack([corner + step[list(walk[:k])].sum() for k in range(4)], axis=1)
        edges.append(_tetrahedron_triangles(nodes[:, [0, 2, 1, 3]] if odd else nodes, high))
    ends = np.concatenate(edges)  # [F,3,2] grid edges, one end inside
    ends.sort(axis=-1)
    keys, faces = np.unique(ends[..., 0] * flat.size + ends[..., 1], return_inverse=True)
    a, b = keys // flat.size, keys % flat.size
    va, vb = flat[a].astype(np.float64), flat[b].astype(np.float64)
    t = np.clip((iso - va) / (vb - va), 0.01, 0.99)[:, None]
    pa, pb = (np.stack(np.unravel_index(n, values.shape), axis=1).astype(np.float64) for n in (a, b))
    return pa + t * (pb - pa), faces.reshape(-1, 3)


def _tetrahedron_triangles(nodes: I64, high: NDArray[np.bool_]) -> I64:
    """The triangles [F,3,2], as grid edges, of tetrahedra nodes [T,4] (positively oriented), facing the outside."""
    code = high[nodes] @ np.array([1, 2, 4, 8])
    out = []
    for inside in range(1, 15):
        tetrahedra = nodes[code == inside]
        for triangle in _CASES[inside]:
            out.append(tetrahedra[:, np.array(triangle)])
    return np.concatenate(out)


def _cases() -> list[list[list[tuple[int, int]]]]:
    """For each set of inside corners (bits) of a tetrahedron, triangles of edges (inside corner, outside corner).

    Wound counter-clockwise seen from outside when (1-0) x (2-0) . (3-0) > 0 for the corners.
    """

    def even(order: list[int]) -> bool:
        return sum(a > b for i, a in enumerate(order) for b in order[i + 1 :]) % 2 == 0

    cases: list[list[list[tuple[int, int]]]] = []
    for code in range(16):
        inside = [c for c in range(4) if code >> c & 1]
        outside = [c for c in range(4) if not code >> c & 1]
        if len(inside) == 1 or len(outside) == 1:
            apex, base = (inside[0], outside) if len(inside) == 1 else (outside[0], inside)
            # Seen from outside a positive tetrahedron's apex, its base 1,2,3 turns counter-clockwise around the apex 0
            # when looked at from the base's side.
            turn = base if even([apex, *base]) else base[::-1]
            triangle = [(apex, c) if len(inside) == 1 else (c, apex) for c in turn]
            cases.append([triangle if len(inside) == 1 else triangle[::-1]])
        elif len(inside) == 2:
            (a, b), (c, d) = inside, outside if even(inside + outside) else outside[::-1]
            quad = [(a, c), (a, d), (b, d), (b, c)]
            cases.append([[quad[0], quad[1], quad[2]], [quad[0], quad[2], quad[3]]])
        else:
            cases.append([])
    return cases


_CASES = _cases()
