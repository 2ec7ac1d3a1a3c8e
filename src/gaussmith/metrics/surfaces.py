"""How far two surfaces are apart, by points spread over them. Lengths are world units (an object is 1.2 across)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gaussmith.mesh import Mesh

# 20,000 points on an object 1.2 across lie about 0.004 from their nearest neighbours: the floor of `chamfer`.
POINTS = 20_000


def surface_points(mesh: Mesh, count: int, generator: np.random.Generator) -> NDArray[np.float64]:
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


def chamfer(a: Mesh, b: Mesh, generator: np.random.Generator, count: int = POINTS) -> float:
    """Chamfer distance: the mean distance (not squared) from a point of one surface to the nearest point of the other,
    averaged over both ways; 0 at best, unbounded.

    Both surfaces count whole, inner walls too. Equal surfaces give about 0.4 sqrt(area / count), not 0, because their
    points are drawn apart.
    """
    there, back = _nearest(a, b, generator, count)
    return float((there.mean() + back.mean()) / 2)


def f_score(guess: Mesh, truth: Mesh, threshold: float, generator: np.random.Generator, count: int = POINTS) -> float:
    """Harmonic mean, in [0,1], of precision (share of the guess's points within `threshold` of the truth's) and recall
    (share of the truth's within `threshold` of the guess's): Knapitsch et al. 2017, Tanks and Temples, section 4."""
    there, back = _nearest(guess, truth, generator, count)
    precision, recall = float((there < threshold).mean()), float((back < threshold).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _nearest(a: Mesh, b: Mesh, generator: np.random.Generator, count: int) -> tuple[NDArray, NDArray]:
    """[count] distances from points of a to the nearest point of b, and from points of b to the nearest of a."""
    x, y = (surface_points(mesh, count, generator) for mesh in (a, b))
    return cKDTree(y).query(x, workers=1)[0], cKDTree(x).query(y, workers=1)[0]
