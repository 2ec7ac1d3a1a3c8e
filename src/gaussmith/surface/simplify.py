"""Fewer faces, and vertices on the true iso-surface, without changing what the surface is.

Decimation collapses edges by quadric error (Garland and Heckbert 1997), and only where the link condition holds (Dey et
al. 1999): then the mesh stays homeomorphic to what it was, so a closed manifold stays one, with the same parts and
handles. (Ready-made decimators do without the condition, and on thin parts return pinched or doubled surfaces.)
"""

from __future__ import annotations

from collections.abc import Callable

import numba as nb
import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

CHEAPEST = 0.4  # share of the edges that a pass may collapse: lower is closer to strict error order, and slower
MAX_TURN = 0.2  # a collapse may not turn a face further than this cosine
MAX_NEEDLE = 0.02  # nor leave one with a smaller height in units of its longest side, unless it was no better before
MAX_VALENCE = 24  # vertices with more neighbours make needle triangles; also bounds the kernel's buffers
# Weight of "stay near the edge's middle" against the planes: settles the flat directions, where planes say nothing.
REGULARISE = 1e-3


def decimate(vertices: F64, faces: I64, max_faces: int, fixed: NDArray[np.bool_] | None = None) -> tuple[F64, I64]:
    """Collapse edges of a closed manifold until at most max_faces are left, or until no edge may go.

    Vertices that are `fixed` [V] stay what and where they are, and what divides two of them is not pinched to a point.

    Every pass sorts the edges by error and collapses the cheapest, each vertex at most once. The topology is untouched,
    so a small budget may not be reached on a surface with many parts or handles.
    """
    vertices, faces = vertices.copy(), faces.copy()
    if len(faces) <= max_faces:
        return vertices, faces
    # Work at unit size, so that squared areas stay far from the limits of floating point.
    centre = vertices.mean(axis=0)
    scale = float(np.abs(vertices - centre).max()) or 1.0
    vertices = (vertices - centre) / scale
    quadrics = _quadrics(vertices, faces)
    share = CHEAPEST
    while len(faces) > max_faces:
        edges = _unique_edges(faces)
        edges = edges if fixed is None else edges[_apart(edges, faces, fixed)]
        cost, target = _edge_costs(vertices, quadrics, edges)
        order = np.argsort(cost, kind="stable")[: max(int(share * len(edges)), 64)]
        wanted = (len(faces) - max_faces + 1) // 2
        done = _collapse(vertices, quadrics, faces, edges, target, order, wanted)
        faces = faces[faces[:, 0] >= 0]
        if done == 0 and share == 1:
            break
        # When the cheap edges are all blocked, look at the rest.
        share = 1.0 if done < 0.01 * len(vertices) and done < wanted else CHEAPEST
    return vertices * scale + centre, faces


def _unique_edges(faces: I64) -> I64:
    """[E,2] edges of a closed manifold, each once: the run from the smaller to the larger index."""
    start, end = faces.ravel(), faces[:, [1, 2, 0]].ravel()
    once = start < end
    return np.stack([start[once], end[once]], axis=1)


def _apart(edges: I64, faces: I64, fixed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[E] whether an edge has no fixed end and, where both ends have fixed neighbours, runs along one."""
    held = faces[fixed[faces].any(axis=1)]
    rim = np.zeros(len(fixed), bool)
    rim[held] = True
    sides = np.sort(held[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    along = np.isin(edges[:, 0] * len(fixed) + edges[:, 1], sides[:, 0] * len(fixed) + sides[:, 1])
    return ~fixed[edges].any(axis=1) & (along | ~rim[edges].all(axis=1))


def _quadrics(vertices: F64, faces: I64) -> F64:
    """[V,10] area-weighted squared plane distances, summed around each vertex: xx xy xz xd yy yz yd zz zd dd."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = normal / np.maximum(area, 1e-300)
    plane = np.concatenate([normal, -np.einsum("ij,ij->i", normal, a)[:, None]], axis=1)
    products = np.stack([plane[:, i] * plane[:, j] for i in range(4) for j in range(i, 4)], axis=1) * area
    out = np.zeros((len(vertices), 10))
    for corner in range(3):
        for k in range(10):
            out[:, k] += np.bincount(faces[:, corner], weights=products[:, k], minlength=len(vertices))
    return out


@nb.njit(cache=True)
def _edge_costs(vertices, quadrics, edges):
    """The quadric error of every edge's collapse and the place where it is least."""
    cost, target, q = np.empty(len(edges)), np.empty((len(edges), 3)), np.empty(10)
    for e in range(len(edges)):
        a, b = vertices[edges[e, 0]], vertices[edges[e, 1]]
        middle = 0.5 * (a[0] + b[0]), 0.5 * (a[1] + b[1]), 0.5 * (a[2] + b[2])
        for k in range(10):
            q[k] = quadrics[edges[e, 0], k] + quadrics[edges[e, 1], k]
        w = REGULARISE * (q[0] + q[4] + q[7]) + 1e-30
        # (A + wI) x = w middle - r by Cramer's rule.
        xx, xy, xz, yy, yz, zz = q[0] + w, q[1], q[2], q[4] + w, q[5], q[7] + w
        rx, ry, rz = w * middle[0] - q[3], w * middle[1] - q[6], w * middle[2] - q[8]
        m0, m1, m2 = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
        det = xx * m0 + xy * m1 + xz * m2
        x = (rx * m0 + ry * m1 + rz * m2) / det
        y = (rx * m1 + ry * (xx * zz - xz * xz) + rz * (xy * xz - xx * yz)) / det
        z = (rx * m2 + ry * (xy * xz - xx * yz) + rz * (xx * yy - xy * xy)) / det
        length = (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2 + (a[2] - b[2]) ** 2
        if (x - middle[0]) ** 2 + (y - middle[1]) ** 2 + (z - middle[2]) ** 2 > 4 * length:
            x, y, z = middle
        target[e, 0], target[e, 1], target[e, 2] = x, y, z
        error = q[0] * x * x + q[4] * y * y + q[7] * z * z + q[9]
        error += 2 * (q[1] * x * y + q[2] * x * z + q[3] * x + q[5] * y * z + q[6] * y + q[8] * z)
        # Among equals (flat places) short edges go first.
        cost[e] = max(error, 0.0) + 1e-9 * length * length
    return cost, target


@nb.njit(cache=True)
def _collapse(vertices, quadrics, faces, edges, target, order, wanted):
    """Collapse edges in the given order, each vertex at most once; returns how many. Dead faces start with -1."""
    # The corners 3 f + c of each vertex form a linked list; a collapse appends one list to the other.
    head, tail = np.full(len(vertices), -1), np.full(len(vertices), -1)
    follow = np.full(faces.size, -1)
    corners = faces.reshape(-1)
    for corner in range(faces.size):
        v = corners[corner]
        if head[v] < 0:
            head[v] = corner
        else:
            follow[tail[v]] = corner
        tail[v] = corner
    used = np.zeros(len(vertices), np.bool_)
    near_a, near_b = np.empty(MAX_VALENCE, np.int64), np.empty(MAX_VALENCE, np.int64)
    done = 0
    for e in order:
        if done >= wanted:
            break
        a, b = edges[e, 0], edges[e, 1]
        if used[a] or used[b]:
            continue
        count_a, count_b = _ring(corners, follow, head[a], near_a), _ring(corners, follow, head[b], near_b)
        # The link condition: only the two faces at the edge are shared, and it is no tetrahedron (both rings of 3).
        if count_a < 0 or count_b < 0 or count_a + count_b - 4 > MAX_VALENCE or (count_a == 3 and count_b == 3):
            continue
        common = 0
        for i in range(count_a):
            for j in range(count_b):
                common += near_a[i] == near_b[j]
        if common != 2:
            continue
        place = target[e]
        if _spoils(vertices, corners, follow, head[a], b, place) or _spoils(
            vertices, corners, follow, head[b], a, place
        ):
            continue
        for k in range(3):
            vertices[a, k] = place[k]
        for k in range(10):
            quadrics[a, k] += quadrics[b, k]
        corner = head[b]
        while corner >= 0:
            face = corner - corner % 3
            if corners[face] >= 0:
                if corners[face] == a or corners[face + 1] == a or corners[face + 2] == a:
                    corners[face] = -1
                else:
                    corners[corner] = a
            corner = follow[corner]
        follow[tail[a]] = head[b]
        tail[a] = tail[b]
        used[a] = used[b] = True
        done += 1
    return done


@nb.njit(cache=True)
def _ring(corners, follow, corner, near):
    """Write the vertices around the one whose first corner is given into `near`; how many, or -1 for too many."""
    count = 0
    while corner >= 0:
        face = corner - corner % 3
        if corners[face] >= 0:
            if count == len(near):
                return -1
            # In a closed fan each neighbour follows the vertex in exactly one face.
            near[count] = corners[face + (corner + 1) % 3]
            count += 1
        corner = follow[corner]
    return count


@nb.njit(cache=True)
def _spoils(vertices, corners, follow, corner, other, place):
    """Would moving a vertex to `place` turn a face around it (but one with `other`) too far, or make it a needle?"""
    while corner >= 0:
        face = corner - corner % 3
        p, q = corners[face + (corner + 1) % 3], corners[face + (corner + 2) % 3]
        if corners[face] >= 0 and p != other and q != other:
            ox, oy, oz, old = _normal(vertices[corners[corner]], vertices[p], vertices[q])
            nx, ny, nz, new = _normal(place, vertices[p], vertices[q])
            if ox * nx + oy * ny + oz * nz < MAX_TURN:
                return True
            if new < MAX_NEEDLE and new < old:
                return True
        corner = follow[corner]
    return False


@nb.njit(cache=True)
def _normal(a, b, c):
    """Unit normal of a triangle, and its height over its longest side (0.87 if equilateral, near 0 for a needle)."""
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    wx, wy, wz = vx - ux, vy - uy, vz - uz
    x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    area = np.sqrt(x * x + y * y + z * z)
    longest = max(ux * ux + uy * uy + uz * uz, vx * vx + vy * vy + vz * vz, wx * wx + wy * wy + wz * wz)
    unit = 1 / max(area, 1e-300)
    return x * unit, y * unit, z * unit, area / max(longest, 1e-300)


def project(
    vertices: F64,
    faces: I64,
    query: Callable[[F64], tuple[F64, F64]],
    iso: float,
    max_step: float,
    rounds: int = 3,
) -> F64:
    """Newton steps of the vertices onto query(x) = iso, along the gradient and at most max_step from where they were.

    `query` gives value [M] and gradient [M,3]. Each round also slides the vertices a third of the way to the middle of
    their neighbours within the tangent plane, which evens out the triangles (and the staircase of marching cubes'
    grid) without shrinking anything: every round ends on the iso-surface.
    """
    start, out = vertices, vertices.copy()
    edges = _unique_edges(faces)
    valence = np.bincount(edges.ravel(), minlength=len(vertices))[:, None]
    for _ in range(rounds):
        value, gradient = query(out)
        square = np.einsum("ij,ij->i", gradient, gradient)[:, None]
        out = out + _capped((iso - value)[:, None] * gradient / np.maximum(square, 1e-30), 0.5 * max_step)
        middle = _neighbour_sum(out, edges) / np.maximum(valence, 1)
        slide = (middle - out) / 3
        slide -= np.einsum("ij,ij->i", slide, gradient)[:, None] * gradient / np.maximum(square, 1e-30)
        out = start + _capped(out + slide - start, max_step)
    value, gradient = query(out)
    square = np.einsum("ij,ij->i", gradient, gradient)[:, None]
    out = out + _capped((iso - value)[:, None] * gradient / np.maximum(square, 1e-30), 0.5 * max_step)
    return start + _capped(out - start, max_step)


def smooth(vertices: F64, faces: I64, rounds: int = 5) -> F64:
    """Taubin's smoothing (1995, lambda 0.5, mu -0.53): takes the staircase off a surface without shrinking it."""
    edges = _unique_edges(faces)
    valence = np.maximum(np.bincount(edges.ravel(), minlength=len(vertices))[:, None], 1)
    for step in [0.5, -0.53] * rounds:
        vertices = vertices + step * (_neighbour_sum(vertices, edges) / valence - vertices)
    return vertices


def _neighbour_sum(vertices: F64, edges: I64) -> F64:
    out = np.empty_like(vertices)
    for axis in range(3):
        column = vertices[:, axis]
        out[:, axis] = np.bincount(edges[:, 0], weights=column[edges[:, 1]], minlength=len(vertices))
        out[:, axis] += np.bincount(edges[:, 1], weights=column[edges[:, 0]], minlength=len(vertices))
    return out


def _capped(step: F64, limit: float) -> F64:
    length = np.linalg.norm(step, axis=1, keepdims=True)
    return step * np.minimum(1, limit / np.maximum(length, 1e-30))
