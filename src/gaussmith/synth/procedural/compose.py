"""Random compositions of textured primitives, in the manner of Zeroverse (LRM-Zero, arXiv 2406.09371).

As there: primitives, textured at random, put together without any meaning, augmented by height fields and wireframes.
Unlike there: textures are painted on tessellated faces, and nothing is cut out of anything (no boolean differences).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gaussmith.synth.procedural.design import ANY, Design, Paint, pick
from gaussmith.synth.procedural.shapes import Solid, ball, join, lathe, loft, torus, tube

HEIGHT_FIELD_SHARE, WIRE_SHARE = 0.35, 0.2  # of the primitives; chosen by eye


def abstract(rng: np.random.Generator) -> Design:
    """3 to 9 primitives about the origin, overlapping, each with a texture of two of the design's four paints."""
    first = pick(rng, ANY)
    second = pick(rng, ANY, first)
    paints = [first, first, second, second, pick(rng, ANY), pick(rng, ANY)]
    count = int(rng.integers(3, 10))
    parts = []
    for k in range(count):
        one, two = (paints[int(i)] for i in rng.integers(len(paints), size=2))
        solid = _wires(rng, one) if rng.random() < WIRE_SHARE else _primitive(rng, one, two, k == 0)
        size = rng.uniform(0.25, 0.5) if k == 0 else rng.uniform(0.1, 0.38)
        way = rng.normal(size=3)
        place = way / np.linalg.norm(way) * rng.uniform(0.15, 0.42) * (k > 0)
        turned = solid.scale(*(size * rng.uniform(0.5, 1.3, 3)).tolist()).turn(*rng.uniform(0, 360, 3).tolist())
        parts.append(turned.at(*place.tolist()))
    noun = ("shape", "object", "sculpture")[int(rng.integers(3))]
    return Design(parts, f"abstract {noun}", first, [("parts", second)])


def _primitive(rng: np.random.Generator, one: Paint, two: Paint, fine: bool) -> Solid:
    """A tessellated primitive of radius about 1, perhaps with a height field, textured."""
    kind = int(rng.integers(6))
    # Only the first primitive, the largest, is fine: nine of them stay within the bound on faces.
    sides = int(rng.integers(12, 25 if fine else 17))
    if kind == 0:
        solid = _cube(rng, one, 6 if fine else 4)
    elif kind == 1:
        solid = ball(1.0, one, 3 if fine else 2)
    elif kind == 2:
        top = float(rng.choice([1.0, rng.uniform(0, 1)]))
        solid = _turned([(1 + (top - 1) * y, 2 * y - 1) for y in np.linspace(0, 1, 9)], one, sides)
    elif kind == 3:
        solid = torus(rng.uniform(0.6, 0.8), rng.uniform(0.15, 0.4), one, 20, 10)
    elif kind == 4:
        radii = np.clip(0.6 + np.cumsum(rng.normal(0, 0.18, 9)), 0.12, 1.2)
        solid = _turned([*zip(radii.tolist(), np.linspace(-1, 1, 9).tolist())], one, int(rng.integers(4, 20)))
    else:
        path = np.cumsum(
            np.concatenate([np.zeros((1, 3)), rng.normal(0, 0.25, (7, 3)) + rng.normal(0, 0.2, 3)]), axis=0
        )
        solid = tube(path - path.mean(axis=0), rng.uniform(0.12, 0.3), one, sides=10)
    if rng.random() < HEIGHT_FIELD_SHARE and kind != 5:
        solid = solid.bend(_bumps(rng))
    return _texture(rng, solid, one, two)


def _cube(rng: np.random.Generator, color: Paint, cells: int) -> Solid:
    """A cube of half side 1 with a grid on all six faces, perhaps tapered or twisted."""
    edge = np.linspace(-1, 1, cells + 1)[:-1]
    one = np.ones(cells)
    square = np.concatenate(
        [
            np.column_stack([one, -edge]),
            np.column_stack([-edge, -one]),
            np.column_stack([-one, edge]),
            np.column_stack([edge, one]),
        ]
    )
    levels = [(-1, 1 - i / cells) for i in range(cells, 0, -1)]
    levels += [(y, 1.0) for y in np.linspace(-1, 1, cells + 1)] + [(1, 1 - i / cells) for i in range(1, cells + 1)]
    taper, twist = rng.choice([1.0, rng.uniform(0.4, 1)]), rng.choice([0.0, rng.uniform(-0.6, 0.6)])
    rings = []
    for y, reach in levels:
        size = max(reach, 0.02) * (1 + (taper - 1) * (y + 1) / 2)
        c, s = np.cos(twist * y), np.sin(twist * y)
        x, z = square[:, 0] * size, square[:, 1] * size
        rings.append(np.column_stack([c * x - s * z, np.full(len(x), y), s * x + c * z]))
    return loft(np.stack(rings), color)


def _turned(profile: list[tuple[float, float]], color: Paint, sides: int) -> Solid:
    """A lathe whose flat ends are tessellated too."""
    (r0, y0), (r1, y1) = profile[0], profile[-1]
    start = [(r0 * k / 3, y0) for k in range(3)]
    end = [(r1 * k / 3, y1) for k in range(2, -1, -1)]
    return lathe([*start, *profile, *end], color, sides)


def _bumps(rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """A height field along the ray from the origin: a continuous map, so nothing tears."""
    waves, phase = rng.normal(0, 2.2, (3, 4)), rng.uniform(0, 6.28, 4)
    height = rng.uniform(0.05, 0.22)
    return lambda p: p * (1 + height * np.sin(p @ waves + phase).mean(axis=1, keepdims=True) * 2)


def _wires(rng: np.random.Generator, color: Paint) -> Solid:
    """The edges of a box as thin bars, or a few thin hoops: the thin structures that wireframes bring."""
    t = rng.uniform(0.05, 0.12)
    if rng.random() < 0.5:
        bars = [
            tube([a, b], t, color, sides=5)
            for a in np.ndindex(2, 2, 2)
            for b in np.ndindex(2, 2, 2)
            if a < b and sum(i != j for i, j in zip(a, b)) == 1
        ]
        return join(bars).scale(2).at(-1, -1, -1)
    hoops = [torus(1, t, color, 18, 5).turn(*rng.uniform(0, 180, 3).tolist()) for _ in range(int(rng.integers(2, 4)))]
    return join(hoops)


def _texture(rng: np.random.Generator, solid: Solid, one: Paint, two: Paint) -> Solid:
    """Painted in two colours: stripes, rings, checks (hard edges, by face), a gradient or noise (soft, by corner)."""
    kind = int(rng.integers(7))
    a, b = np.array(one[:3]), np.array(two[:3])
    axis = rng.normal(size=3)
    axis /= np.linalg.norm(axis)
    if rng.random() < 0.6:
        axis = np.eye(3)[int(rng.integers(3))]
    rate = rng.uniform(1.2, 3)
    centres, corners = solid.points.mean(axis=1), solid.points.reshape(-1, 3)
    if kind <= 1:
        return solid
    if kind == 2:
        hit = np.floor(centres @ axis * rate) % 2 == 0
    elif kind == 3:
        hit = np.floor(np.linalg.norm(centres - axis, axis=1) * rate * 1.4) % 2 == 0
    elif kind == 4:
        hit = np.floor(centres * rate + 0.01).sum(axis=1) % 2 == 0
    else:
        if kind == 5:
            share = corners @ axis * 0.5 + 0.5
        else:
            waves, phase = rng.normal(0, 2.5, (3, 5)), rng.uniform(0, 6.28, 5)
            share = np.sin(corners @ waves + phase).mean(axis=1) * 1.2 + 0.5
        share = np.clip(share, 0, 1)[:, None]
        return Solid(solid.points, (a * (1 - share) + b * share).reshape(-1, 3, 3))
    return Solid(solid.points, np.where(hit[:, None, None], a, b) + np.zeros((1, 3, 1)))
