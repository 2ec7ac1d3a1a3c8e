"""From a coloured soup to a finished mesh: light baked in, brought to size, quantised as objects are stored, welded."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from gaussmith.mesh import Mesh
from gaussmith.synth.objects import POSITION_SCALE
from gaussmith.synth.procedural.shapes import Solid, cross

DIAGONAL = 1.2  # of the bounding box: the size of every training object


class Arrays(NamedTuple):
    """A mesh as `ObjectSet` stores it: int16 [V,3] positions, uint8 [V,4] colors, int32 [F,3] faces."""

    positions: np.ndarray
    colors: np.ndarray
    faces: np.ndarray


def normals(solid: Solid) -> np.ndarray:
    """Unit face normals [F,3] (zero for a face without area)."""
    p = solid.points
    normal = cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


def bake_light(solid: Solid, rng: np.random.Generator, strength: float) -> Solid:
    """Soft light in the colours: a directional light from above and one side, over an ambient one; flat faces.

    Args:
        strength: how dark the far side gets: 0 leaves the colours, 1 would make it black.
    """
    azimuth, height = rng.uniform(-np.pi, np.pi), rng.uniform(0.4, 1.2)
    light = np.array([np.cos(height) * np.sin(azimuth), np.sin(height), np.cos(height) * np.cos(azimuth)])
    # Half Lambert: falls off smoothly all around, as light from a sky does.
    lit = (1 - strength) + strength * (normals(solid) @ light * 0.5 + 0.5) * 1.25
    return Solid(solid.points, np.clip(solid.colors * lit[:, None, None], 0, 1))


def gradient(solid: Solid, strength: float) -> Solid:
    """Colours fade towards the ground, as in hand-painted game assets; continuous over every face."""
    y = solid.points[..., 1:2]
    low, high = y.min(), y.max()
    share = (y - low) / max(high - low, 1e-9)
    return Solid(solid.points, np.clip(solid.colors * (1 + strength * (share - 0.7)), 0, 1))


def vary(solid: Solid, strength: float) -> Solid:
    """Faces of one direction get one slightly different brightness: what keeps unlit facets apart."""
    n = normals(solid)
    wave = np.sin(n @ np.array([5.1, 7.7, 3.3])) + np.sin(n @ np.array([-2.9, 4.3, 6.1]) + 1)
    return Solid(solid.points, np.clip(solid.colors * (1 + strength * 0.5 * wave)[:, None, None], 0, 1))


def normalise(points: np.ndarray) -> np.ndarray:
    """Points [...,3] moved and scaled evenly: bounding box centred, its diagonal DIAGONAL."""
    flat = points.reshape(-1, 3)
    low, high = flat.min(axis=0), flat.max(axis=0)
    return (points - (low + high) / 2) * (DIAGONAL / max(float(np.linalg.norm(high - low)), 1e-9))


def weld(solid: Solid) -> Arrays:
    """Normalise, quantise, merge corners of one place and colour, drop faces left without area.

    Raises:
        ValueError: the solid is not finite, or nothing is left of it.
    """
    if not np.isfinite(solid.points).all() or not np.isfinite(solid.colors).all():
        raise ValueError("a solid has coordinates or colours that are not finite")
    places = np.round(normalise(solid.points) / POSITION_SCALE).astype(np.int64).reshape(-1, 3)
    tints = np.round(np.clip(solid.colors, 0, 1) * 255).astype(np.int64).reshape(-1, 3)
    a, b, c = (places[i::3] for i in range(3))
    keep = (cross(b - a, c - a) != 0).any(axis=1)
    if not keep.any():
        raise ValueError("a solid has no face with an area")
    rows = np.repeat(keep, 3)
    places, tints = places[rows], tints[rows]
    # Place and colour have 72 bits; the rank of a place has few, so that one 64-bit key tells corners apart exactly.
    _, place = np.unique(((places + (1 << 15)) << np.array([32, 16, 0])).sum(axis=1), return_inverse=True)
    key = (place.reshape(-1) << 24) | (tints << np.array([16, 8, 0])).sum(axis=1)
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    colors = np.concatenate([tints[first], np.full((len(first), 1), 255)], axis=1)
    return Arrays(places[first].astype(np.int16), colors.astype(np.uint8), index.reshape(-1, 3).astype(np.int32))


def to_mesh(arrays: Arrays) -> Mesh:
    """The mesh that `ObjectSet.mesh` gives of stored arrays."""
    return Mesh(
        vertices=torch.from_numpy(arrays.positions.astype(np.float32) * np.float32(POSITION_SCALE)),
        faces=torch.from_numpy(arrays.faces.astype(np.int64)),
        vertex_colors=torch.from_numpy(arrays.colors[:, :3].astype(np.float32) / np.float32(255)),
    )


def from_mesh(mesh: Mesh) -> Solid:
    """The soup of a vertex-coloured mesh.

    Raises:
        ValueError: the mesh has no vertex colours.
    """
    if mesh.vertex_colors is None:
        raise ValueError("the mesh has no vertex colours")
    faces = mesh.faces.numpy()
    return Solid(mesh.vertices.double().numpy()[faces], mesh.vertex_colors.double().numpy()[faces])
