"""Variations of real objects: recoloured, stretched, mirrored, turned, put together, lit.

All work on vertex-coloured meshes (`ValueError` without colours) and give meshes as `ObjectSet` stores them: centred,
bounding-box diagonal 1.2, outwards wound as before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gaussmith.mesh import Mesh
from gaussmith.synth.palette import ANCHORS, lab
from gaussmith.synth.procedural.finish import bake_light, from_mesh, gradient, normalise, to_mesh, weld

# How often `vary_object` does each; chosen so that one object in nine stays as it is but for a turn.
RECOLOUR_SHARE, STRETCH_SHARE, MIRROR_SHARE, TURN_SHARE, LIGHT_SHARE = 0.6, 0.5, 0.5, 0.3, 0.4
STRETCH = 0.3  # log of the largest factor along one axis: 0.74 to 1.35
CLUSTERS = 5
APART = 25.0  # distance in L*a*b* under which colours are shades of one; painted gradients stay whole


@dataclass(frozen=True)
class Variation:
    """A varied object.

    Attributes:
        mesh: the mesh.
        turn: degrees; what the original showed from azimuth a is now seen from a + turn (before mirroring: from -a).
        mirrored: left and right are exchanged (done before the turn).
        recoloured: the colours are no longer the original's, so a caption must be made from the mesh.
    """

    mesh: Mesh
    turn: float
    mirrored: bool
    recoloured: bool


def vary_object(mesh: Mesh, rng: np.random.Generator) -> Variation:
    """A random variation of a real object: any of recolour, stretch, mirror, turn, light."""
    recoloured, stretched, mirrored, turned, lit = (
        rng.random(5) < (RECOLOUR_SHARE, STRETCH_SHARE, MIRROR_SHARE, TURN_SHARE, LIGHT_SHARE)
    ).tolist()
    degrees = float(rng.uniform(-180, 180)) if turned else 0.0
    if recoloured:
        mesh = recolour(mesh, rng)
    if stretched:
        mesh = stretch(mesh, rng)
    if mirrored:
        mesh = mirror(mesh)
    mesh = turn(mesh, degrees)
    return Variation(light(mesh, rng) if lit else mesh, degrees, mirrored, recoloured)


def recolour(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    """New colours, one for each old one: all hues turned, or groups of colours exchanged, or given new base colours.

    Groups are k-means clusters in L*a*b*; within a group the differences between colours stay.
    """
    colors = _colors(mesh).double().numpy()
    kinds, which, counts = np.unique(np.round(colors * 255), axis=0, return_inverse=True, return_counts=True)
    kinds = kinds / 255
    how = int(rng.integers(3))
    if how == 0:
        fresh = kinds @ _hue_turn(rng.uniform(0.15, 0.85) * 2 * np.pi).T
    else:
        group = _clusters(lab(kinds) * (0.5, 1, 1), counts, CLUSTERS)
        count = int(group.max()) + 1
        bases = np.stack([np.average(kinds[group == g], axis=0, weights=counts[group == g]) for g in range(count)])
        if how == 1 and count > 1:
            target = bases[(np.arange(count) + int(rng.integers(1, count))) % count]
        else:
            every = np.concatenate([np.array(anchors) for anchors in ANCHORS.values()]) / 255
            target = every[rng.integers(len(every), size=count)]
        fresh = kinds + (target - bases)[group]
    painted = torch.from_numpy(np.clip(fresh, 0, 1)[which.reshape(-1)]).to(mesh.vertices.dtype)
    return mesh.with_(vertex_colors=painted)


def stretch(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    """Each axis scaled by its own factor, then brought back to size."""
    factors = np.exp(rng.uniform(-STRETCH, STRETCH, 3))
    return _resized(mesh, mesh.vertices.double() * torch.from_numpy(factors))


def mirror(mesh: Mesh) -> Mesh:
    """Left and right exchanged; the winding is turned over so that faces still look outwards."""
    return mesh.with_(vertices=mesh.vertices * mesh.vertices.new_tensor([-1.0, 1.0, 1.0]), faces=mesh.faces.flip(1))


def turn(mesh: Mesh, degrees: float) -> Mesh:
    """Turned about +Y so that the front comes to look at azimuth `degrees` (positive: towards +X)."""
    if degrees == 0:
        return mesh
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    x, y, z = mesh.vertices.double().unbind(dim=1)
    return _resized(mesh, torch.stack([c * x + s * z, y, c * z - s * x], dim=1))


def light(mesh: Mesh, rng: np.random.Generator) -> Mesh:
    """Soft light baked into the colours: one directional light and an ambient one, sometimes a fade to the ground."""
    solid = bake_light(from_mesh(mesh), rng, rng.uniform(0.2, 0.6))
    if rng.random() < 0.3:
        solid = gradient(solid, rng.uniform(0.1, 0.4))
    return to_mesh(weld(solid))


def combine(first: Mesh, second: Mesh, rng: np.random.Generator) -> tuple[Mesh, str]:
    """Two objects as one: "on" (the second, smaller, stands on the first) or "beside" (both stand on the ground)."""
    stacked = bool(rng.random() < 0.5)
    size = rng.uniform(0.4, 0.75) if stacked else rng.uniform(0.6, 1)
    a, b = first.vertices.double(), second.vertices.double() * size
    (low_a, high_a), (low_b, high_b) = (torch.stack([v.amin(dim=0), v.amax(dim=0)]) for v in (a, b))
    gap = rng.uniform(0.0, 0.08)
    shift = (low_a + high_a - low_b - high_b) / 2
    if stacked:
        shift[1] = high_a[1] - low_b[1]
    else:
        shift[0] = high_a[0] - low_b[0] + gap
        shift[1] = low_a[1] - low_b[1]
    both = Mesh(
        vertices=first.vertices,
        faces=torch.cat([first.faces, second.faces + len(a)]),
        vertex_colors=torch.cat([_colors(first), _colors(second)]),
    )
    return _resized(both, torch.cat([a, b + shift])), "on" if stacked else "beside"


def _resized(mesh: Mesh, vertices: Tensor) -> Mesh:
    return mesh.with_(vertices=torch.from_numpy(normalise(vertices.numpy())).to(mesh.vertices.dtype))


def _colors(mesh: Mesh) -> Tensor:
    if mesh.vertex_colors is None:
        raise ValueError("the mesh has no vertex colours")
    return mesh.vertex_colors


def _hue_turn(angle: float) -> np.ndarray:
    """The rotation of RGB space about the grey axis: hues turn, greys stay."""
    c, s = np.cos(angle), np.sin(angle)
    a, b = (1 - c) / 3, s / 3**0.5
    return np.array([[c + a, a - b, a + b], [a + b, c + a, a - b], [a - b, a + b, c + a]])


def _clusters(points: np.ndarray, weights: np.ndarray, count: int, rounds: int = 6) -> np.ndarray:
    """Weighted k-means: labels [N] from 0 without gaps; starts at the heaviest point, then at far ones."""
    centres = points[[int(weights.argmax())]]
    while len(centres) < count:
        far = np.square(points[:, None] - centres).sum(axis=-1).min(axis=1)
        if far.max() < APART**2:
            break
        centres = np.concatenate([centres, points[[int(far.argmax())]]])
    for _ in range(rounds):
        label = np.square(points[:, None] - centres).sum(axis=-1).argmin(axis=1)
        used = np.unique(label)
        centres = np.stack([np.average(points[label == k], axis=0, weights=weights[label == k]) for k in used])
    label = np.square(points[:, None] - centres).sum(axis=-1).argmin(axis=1)
    return np.unique(label, return_inverse=True)[1].reshape(-1)
