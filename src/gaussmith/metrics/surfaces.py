"""How far two surfaces are apart, by points spread over them. Lengths are world units (an object is 1.2 across)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gaussmith.mesh import Mesh

Points = NDArray[np.float64]


def surface_points(mesh: Mesh, count: int, generator: np.random.Generator) -> Points:
    """[count,3] points spread evenly by area: one in each of `count` equal shares of the faces, in their order.

    Raises:
        ValueError: the mesh has no area.
    """
    a, b, c = mesh.vertices.detach().double().cpu().numpy()[mesh.faces.cpu().numpy()].transpose(1, 0, 2)
    reached = np.cumsum(np.linalg.norm(np.cross(b - a, c - a), axis=1))
    if len(reached) == 0 or not 0 < reached[-1] < np.inf:
        raise ValueError("points can only be spread over a surface of finite area above 0")
    place = (np.arange(count) + generator.random(count)) / count * reached[-1]
    # A face of no area spans no interval, so the right side never finds one; the last is guarded against rounding.
    face = np.minimum(np.searchsorted(reached, place, side="right"), len(reached) - 1)
    u, v = generator.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    return a[face] + u * (b - a)[face] + v * (c - a)[face]


def chamfer(a: Points, b: Points) -> float:
    """Chamfer distance of two surfaces by points [N,3] and [M,3] on them: the mean distance (not squared) to the
    nearest point of the other, averaged over both ways; 0 at best, unbounded.

    Of N points on each of two equal surfaces, drawn apart, it is about 0.4 sqrt(area / N), not 0.
    """
    there, back = _nearest(a, b)
    return float((there.mean() + back.mean()) / 2)


def f_score(guess: Points, truth: Points, threshold: float) -> float:
    """Harmonic mean, in [0,1], of precision (share of the guess's points within `threshold` of the truth's) and recall
    (share of the truth's within `threshold` of the guess's): Knapitsch et al. 2017, Tanks and Temples, section 4."""
    there, back = _nearest(guess, truth)
    precision, recall = float((there < threshold).mean()), float((back < threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _nearest(a: Points, b: Points) -> tuple[NDArray, NDArray]:
    """Distances [N] from points of a to the nearest of b, and [M] from points of b to the nearest of a."""
    if min(len(a), len(b)) == 0:
        raise ValueError("there are no points to measure distances of")
    return cKDTree(b).query(a, workers=1)[0], cKDTree(a).query(b, workers=1)[0]
