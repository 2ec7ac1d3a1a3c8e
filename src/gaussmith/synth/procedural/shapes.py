"""Solids to build things from: closed triangle soups with a colour at every corner.

Axes as in the world: +Y up, front +Z. Every solid is closed and wound counter-clockwise seen from outside. Lengths are
free: an object is brought to size when it is finished.

Nearly every shape is a loft: rings of points joined to a skin, both ends closed by a fan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np

Color: TypeAlias = Sequence[float | str]  # the first three are sRGB in [0,1]; what follows (a name) is not looked at
Bands: TypeAlias = Color | Sequence[Color]
Profile: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Solid:
    """F triangles: points [F,3,3] (triangle, corner, xyz) and sRGB colors [F,3,3] (triangle, corner, rgb)."""

    points: np.ndarray
    colors: np.ndarray

    def at(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Solid:
        """Moved."""
        return Solid(self.points + np.array([x, y, z]), self.colors)

    def scale(self, x: float, y: float | None = None, z: float | None = None) -> Solid:
        """Scaled about the origin by positive factors; one factor scales all axes."""
        return Solid(self.points * np.array([x, x if y is None else y, x if z is None else z]), self.colors)

    def turn(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Solid:
        """Turned about the origin: by x, then y, then z degrees about these axes, right-handed."""
        matrix = np.eye(3)
        for axis, degrees in enumerate((x, y, z)):
            if degrees:
                matrix = _rotation(axis, degrees) @ matrix
        return Solid(self.points @ matrix.T, self.colors)

    def mirror(self, axis: int = 0) -> Solid:
        """Mirrored in the plane through the origin, the winding turned so that it still faces outwards."""
        points = self.points[:, ::-1].copy()
        points[..., axis] *= -1
        return Solid(points, self.colors[:, ::-1])

    def bend(self, move: Callable[[np.ndarray], np.ndarray]) -> Solid:
        """Every point moved by a continuous map of positions [N,3] -> [N,3]."""
        return Solid(move(self.points.reshape(-1, 3)).reshape(-1, 3, 3), self.colors)

    def paint(self, where: Callable[[np.ndarray], np.ndarray], color: Color) -> Solid:
        """The triangles whose centres [F,3] satisfy `where` take `color`."""
        hit = where(self.points.mean(axis=1))
        return Solid(self.points, np.where(hit[:, None, None], _rgb(color), self.colors))

    def volume(self) -> float:
        """Enclosed volume (divergence theorem); positive when wound outwards."""
        a, b, c = self.points[:, 0], self.points[:, 1], self.points[:, 2]
        return float((a * cross(b, c)).sum() / 6)

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest coordinates."""
        return self.points.min(axis=(0, 1)), self.points.max(axis=(0, 1))


def join(solids: Iterable[Solid]) -> Solid:
    """All triangles of several solids in one."""
    solids = list(solids)
    return Solid(np.concatenate([s.points for s in solids]), np.concatenate([s.colors for s in solids]))


def both(solid: Solid, axis: int = 0) -> Solid:
    """A solid and its mirror image."""
    return join([solid, solid.mirror(axis)])


def four(solid: Solid) -> Solid:
    """A solid at all four corners."""
    return both(both(solid, 0), 2)


def around(solid: Solid, count: int, start: float = 0.0) -> Solid:
    """`count` copies turned evenly about the y axis, from `start` degrees."""
    return join([solid.turn(y=start + 360 * i / count) for i in range(count)])


def wedges(pairs: int, half: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    """For `Solid.paint`: every other one of 2 `pairs` wedges about the y axis; `half` shifts them by half a wedge."""
    return lambda c: np.floor(np.arctan2(c[:, 2], c[:, 0]) * pairs / np.pi + (0.5 if half else 0)) % 2 == 0


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of rows [...,3]; np.cross spends most of its time on checks."""
    x, y, z = a[..., 0], a[..., 1], a[..., 2]
    u, v, w = b[..., 0], b[..., 1], b[..., 2]
    return np.stack([y * w - z * v, z * u - x * w, x * v - y * u], axis=-1)


def loft(rings: np.ndarray, color: Bands, cap: Color | None = None, closed: bool = False) -> Solid:
    """Skin over rings [K,M,3], each counter-clockwise seen from where the sweep goes to.

    Args:
        color: one colour, or one for each of the K-1 bands between rings (K where `closed`).
        cap: colour of both ends; without it they go on in the colour of their band.
        closed: join the last ring to the first instead of closing the ends.
    """
    rings = np.asarray(rings, np.float64)
    here = rings if closed else rings[:-1]
    there = np.roll(rings, -1, axis=0) if closed else rings[1:]
    here_next, there_next = np.roll(here, -1, axis=1), np.roll(there, -1, axis=1)
    quads = np.stack([here, here_next, there_next, here, there_next, there], axis=2)
    points = [quads.reshape(-1, 3, 3)]
    sides = rings.shape[1]
    band = _bands(color, len(here))
    colors = [np.repeat(band, 2 * sides, axis=0)]
    if not closed:
        for ring, rgb in ((rings[0, ::-1], band[0]), (rings[-1], band[-1])):
            centre = np.broadcast_to(ring.mean(axis=0), ring.shape)
            points.append(np.stack([centre, ring, np.roll(ring, -1, axis=0)], axis=1))
            colors.append(np.broadcast_to(rgb if cap is None else _rgb(cap), ring.shape))
    return _solid(np.concatenate(points), np.concatenate(colors))


def lathe(profile: Profile, color: Bands, sides: int = 12, cap: Color | None = None, depth: float = 1.0) -> Solid:
    """A profile of (radius, y), bottom to top, turned about the y axis; `depth` squashes z.

    A profile that comes back down inside makes a vessel."""
    r, y = np.array(profile, np.float64).T
    circle = _circle(sides)
    rings = np.stack([r[:, None] * circle[:, 0], np.repeat(y[:, None], sides, 1), r[:, None] * circle[:, 1]], axis=-1)
    return loft(rings * np.array([1, 1, depth]), color, cap)


def cylinder(
    radius: float, height: float, color: Bands, top: float | None = None, sides: int = 12, cap: Color | None = None
) -> Solid:
    """An upright cylinder (or cone, with another radius at the top) standing on y = 0."""
    return lathe([(radius, 0), (radius if top is None else top, height)], color, sides, cap)


def box(
    width: float, height: float, depth: float, color: Bands, bevel: float = 0.0, taper: float | tuple[float, float] = 1
) -> Solid:
    """A box standing on y = 0; `bevel` cuts its edges, `taper` scales the top in x and z."""
    tx, tz = taper if isinstance(taper, tuple) else (taper, taper)
    b = min(bevel, 0.49 * min(width, height, depth))
    levels = np.array([[0, b], [b, 0], [height - b, 0], [height, b]] if b > 0 else [[0, 0], [height, 0]])
    return loft(
        np.stack(
            [
                _chamfered(
                    width / 2 * (1 + (tx - 1) * y / height) - inset,
                    depth / 2 * (1 + (tz - 1) * y / height) - inset,
                    y,
                    b,
                )
                for y, inset in levels
            ]
        ),
        color if b == 0 else _repeat(color, 3),
    )


def extrude(outline: Sequence[Sequence[float]] | np.ndarray, depth: float, color: Color, bevel: float = 0.0) -> Solid:
    """An outline [M,2] in x, y (star-shaped seen from its mean) drawn out along z, centred; either sense of turning.

    Args:
        bevel: how far front and back are drawn in, as a share of the outline's size; 0.9 makes a blade.
    """
    flat = np.asarray(outline, np.float64)
    centre = flat.mean(axis=0)
    half = depth / 2
    edge = 0.3 * half if bevel < 0.5 else 0.02 * half
    levels = [(-half, 1 - bevel), (-edge, 1), (edge, 1), (half, 1 - bevel)] if bevel else [(-half, 1), (half, 1)]
    rings = [np.column_stack([centre + (flat - centre) * s, np.full(len(flat), z)]) for z, s in levels]
    return loft(np.stack(rings), color)


def tube(
    path: Sequence[Sequence[float] | np.ndarray] | np.ndarray,
    radius: float | Sequence[float] | np.ndarray,
    color: Bands,
    sides: int = 6,
) -> Solid:
    """A circle swept along points [K,3] with one radius or one a point; frames by parallel transport."""
    at = np.asarray(path, np.float64)
    radii = np.broadcast_to(np.asarray(radius, np.float64), len(at))
    ahead = np.gradient(at, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
    side = _across(ahead[0])
    circle = _circle(sides)
    rings = []
    for centre, direction, r in zip(at, ahead, radii):
        side = side - direction * (side @ direction)
        side /= np.linalg.norm(side)
        up = cross(direction, side)
        rings.append(centre + r * (circle[:, 1:] * side + circle[:, :1] * up))
    return loft(np.stack(rings), color)


def star(outer: float, inner: float, points: int = 5) -> np.ndarray:
    """The outline of a star [2 `points`,2] for `extrude`, one point up."""
    angle = np.arange(2 * points) * np.pi / points
    radius = np.where(np.arange(2 * points) % 2 == 0, outer, inner)
    return np.column_stack([radius * np.sin(angle), radius * np.cos(angle)])


def torus(radius: float, thickness: float, color: Bands, segments: int = 16, sides: int = 8) -> Solid:
    """A ring about the y axis through the origin; `thickness` is the radius of its section."""
    turn, section = _circle(segments), _circle(sides)
    r = radius + thickness * section[:, 0]
    height = np.broadcast_to(thickness * section[:, 1], (segments, sides))
    rings = np.stack([turn[:, :1] * r, height, turn[:, 1:] * r], axis=-1)
    return loft(rings, color, closed=True)


def ball(
    radius: float | tuple[float, float, float],
    color: Color,
    detail: int = 1,
    rough: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Solid:
    """An icosphere or ellipsoid about the origin; `rough` moves every vertex in or out by up to that share."""
    vertices, faces = _icosphere(detail)
    if rough > 0 and rng is not None:
        vertices = vertices * rng.uniform(1 - rough, 1 + rough, (len(vertices), 1))
    size = np.array(radius if isinstance(radius, tuple) else (radius,) * 3)
    return Solid((vertices * size)[faces], np.broadcast_to(_rgb(color), (len(faces), 3, 3)))


def _rgb(color: Color) -> np.ndarray:
    return np.array(color[:3], np.float64)


def _is_one(color: Bands) -> bool:
    return not isinstance(color[0], (tuple, list, np.ndarray))


def _bands(color: Bands, count: int) -> np.ndarray:
    if _is_one(color):
        return np.repeat(_rgb(color)[None], count, axis=0)  # type: ignore[arg-type]
    if len(color) != count:
        raise ValueError(f"{count} bands need {count} colours, got {len(color)}")
    return np.array([list(band[:3]) for band in color], np.float64)  # type: ignore[index]


def _repeat(color: Bands, times: int) -> Bands:
    return color if _is_one(color) else [color[0]] * times  # type: ignore[return-value,list-item]


def _solid(points: np.ndarray, colors: np.ndarray) -> Solid:
    """Flat-coloured triangles without those that have no area, facing outwards."""
    normal = cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    keep = np.square(normal).sum(axis=1) > 1e-18
    solid = Solid(points[keep], np.repeat(colors[keep][:, None], 3, axis=1))
    return solid if solid.volume() >= 0 else Solid(solid.points[:, ::-1], solid.colors)


def _rotation(axis: int, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix = np.eye(3)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


@lru_cache(maxsize=64)
def _circle(sides: int) -> np.ndarray:
    # Half a step off the axis: a four-sided section is a square that faces front.
    angle = -(np.arange(sides) + 0.5) / sides * 2 * np.pi
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _chamfered(x: float, z: float, y: float, cut: float) -> np.ndarray:
    """A rectangle of half sizes x, z at height y, its corners cut where `cut` is positive."""
    x, z = max(x, 1e-9), max(z, 1e-9)
    if cut <= 0:
        flat = [(x, z), (x, -z), (-x, -z), (-x, z)]
    else:
        i, k = max(x - cut, x * 0.3), max(z - cut, z * 0.3)
        flat = [(i, z), (x, k), (x, -k), (i, -z), (-i, -z), (-x, -k), (-x, k), (-i, z)]
    return np.array([(a, y, b) for a, b in flat])


def _across(direction: np.ndarray) -> np.ndarray:
    axis = np.zeros(3)
    axis[np.abs(direction).argmin()] = 1
    side = axis - direction * (axis @ direction)
    return side / np.linalg.norm(side)


@lru_cache(maxsize=8)
def _icosphere(detail: int) -> tuple[np.ndarray, np.ndarray]:
    if detail == 0:
        g = (1 + 5**0.5) / 2
        corners = [(0.0, a, b * g) for a in (-1.0, 1.0) for b in (-1.0, 1.0)]
        corners += [(b, c, a) for a, b, c in corners] + [(c, a, b) for a, b, c in corners]
        vertices = np.array(corners, np.float64) / np.hypot(1, g)
        apart = np.linalg.norm(vertices[:, None] - vertices[None], axis=-1)
        near = (apart > 0.1) & (apart < 1.1)
        triples = [
            (i, j, k)
            for i in range(12)
            for j in range(i + 1, 12)
            for k in range(j + 1, 12)
            if near[i, j] and near[j, k] and near[i, k]
        ]
        faces = np.array(triples)
        a, b, c = (vertices[faces[:, n]] for n in range(3))
        inward = (a * cross(b, c)).sum(axis=1) < 0
        faces[inward] = faces[inward][:, ::-1]
        return vertices, faces
    vertices, faces = _icosphere(detail - 1)
    edges = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2), axis=1)
    unique, which = np.unique(edges, axis=0, return_inverse=True)
    middles = vertices[unique].mean(axis=1)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    ab, bc, ca = (which.reshape(-1, 3) + len(vertices)).T
    a, b, c = faces.T
    split = np.stack([[a, ab, ca], [b, bc, ab], [c, ca, bc], [ab, bc, ca]], axis=0)
    return np.concatenate([vertices, middles]), split.transpose(2, 0, 1).reshape(-1, 3)
