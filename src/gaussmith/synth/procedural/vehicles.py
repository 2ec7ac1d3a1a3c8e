"""Vehicles on wheels, rails and tracks; they drive towards +Z."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.design import (
    ANY,
    BRIGHT,
    METAL,
    WOOD,
    Design,
    Paint,
    pick,
)
from gaussmith.synth.procedural.shapes import (
    Solid,
    ball,
    both,
    box,
    cylinder,
    extrude,
    four,
    join,
    lathe,
    torus,
    tube,
)


def wheel_on_axle(r: float, t: float, tyre: Paint, hub: Paint) -> Solid:
    """A wheel about the origin, its axle along x."""
    rim = cylinder(r, t, tyre, sides=14).at(y=-t / 2)
    return join([rim, cylinder(r * 0.55, t * 1.12, hub, sides=10).at(y=-t * 0.56)]).turn(z=90)


def _side(outline: list[tuple[float, float]], width: float, color: Paint, bevel: float = 0.0) -> Solid:
    """An outline in (z, y) drawn out along x: a body seen from its side."""
    return extrude(outline, width, color, bevel).turn(y=-90)


def _lights(w: float, y: float, z: float, back: float, rng: np.random.Generator) -> Solid:
    return join(
        [
            both(box(w * 0.2, 0.08, 0.04, pick(rng, "yellow").shade(1.4)).at(w * 0.33, y, z)),
            both(box(w * 0.2, 0.07, 0.04, pick(rng, "red")).at(w * 0.33, y, back)),
        ]
    )


def car(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, glass = pick(rng, ANY), pick(rng, ("blue", "teal", "black", "grey"))
    tyre, hub = pick(rng, "black"), pick(rng, ("grey", "white", "silver"))
    glass = glass if glass.name != body.name else pick(rng, "black")
    w, length, r, h = u(0.55, 0.65), u(1.1, 1.4), u(0.14, 0.18), u(0.2, 0.28)
    y, f, b = r * 0.8, length / 2, -length / 2
    cab = u(0.22, 0.3)
    rear, front, lean = b + u(0.05, 0.3), f - u(0.3, 0.45), u(0.1, 0.2)
    roof = pick(rng, ANY, body) if rng.random() < 0.25 else body
    lower = [
        (b, y),
        (f, y),
        (f + 0.02, y + h * 0.6),
        (f - 0.06, y + h * 0.9),
        (0, y + h),
        (b + 0.03, y + h),
        (b - 0.02, y + h * 0.5),
    ]
    top = y + h + cab
    cabin = [(rear, y + h * 0.9), (front, y + h * 0.9), (front - lean, top), (rear + lean * 0.6, top)]
    parts = [
        _side(lower, w, body, 0.05),
        _side(cabin, w * 0.86, glass, 0.08),
        box(w * 0.8, 0.045, front - rear - lean * 1.5, roof, bevel=0.01).at(
            0, top - 0.02, (front + rear) / 2 - lean * 0.2
        ),
        both(
            _side(
                [
                    (rear + 0.4 * (front - rear), y + h),
                    (rear + 0.48 * (front - rear), y + h),
                    (rear + 0.48 * (front - rear), top),
                    (rear + 0.4 * (front - rear), top),
                ],
                0.05,
                body,
            ).at(w * 0.415)
        ),
        four(wheel_on_axle(r, 0.13, tyre, hub).at(w / 2 - 0.03, r, length * 0.31)),
        _lights(w, y + h * 0.45, f, b, rng),
        both(box(w, 0.07, 0.08, pick(rng, ("grey", "black", "white")), bevel=0.015).at(0, y, f), 2),
    ]
    details = [("wheels", hub if rng.random() < 0.3 else tyre), ("windows", glass)]
    noun, extra = "car", int(rng.integers(8))
    if extra == 0:
        noun = "police car"
        parts += [
            box(0.1, 0.06, 0.1, pick(rng, "red")).at(-0.08, top),
            box(0.1, 0.06, 0.1, pick(rng, "blue")).at(0.08, top),
        ]
    elif extra == 1 and roof is body:
        details.append(("rack", pick(rng, "brown")))
        parts.append(box(w * 0.7, 0.1, (front - rear) * 0.5, details[-1][1], bevel=0.02).at(0, top, (front + rear) / 2))
    elif extra in (2, 3):
        stripe = pick(rng, ("white", "black", "yellow", "red"), body)
        parts += [
            _side([(z, yy) for z, yy in lower], 0.12, stripe, 0.03).scale(1, 1.012, 1.01),
            box(0.12, 0.05, front - rear - lean * 1.6, stripe).at(0, top - 0.018, (front + rear) / 2),
        ]
        details.append(("stripe", stripe))
        noun = "racing car" if extra == 2 else "car"
        if extra == 2:
            parts += [
                box(w, 0.03, 0.16, stripe).at(0, y + h + 0.16, b + 0.06),
                both(box(0.04, 0.18, 0.08, stripe).at(w * 0.3, y + h, b + 0.06)),
            ]
    if roof is not body:
        details.append(("roof", roof))
    return Design(parts, noun, body, details)


def truck(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cab, load = pick(rng, ANY), pick(rng, ANY + WOOD)
    tyre, hub, glass, frame = (
        pick(rng, "black"),
        pick(rng, METAL),
        pick(rng, ("blue", "teal", "black"), cab),
        pick(rng, ("grey", "black")),
    )
    w, length, h, r = u(0.5, 0.6), u(1.2, 1.6), u(0.45, 0.6), u(0.14, 0.17)
    f = length / 2
    y = r * 1.1
    cl = u(0.35, 0.45)
    parts = [
        box(w * 0.8, 0.08, length, frame).at(y=y),
        _side([(f - cl, y), (f, y), (f, y + h * 0.5), (f - 0.1, y + h), (f - cl, y + h)], w, cab, 0.04),
        box(w * 0.86, h * 0.34, 0.05, glass).turn(x=-15).at(0, y + h * 0.52, f - 0.06),
        both(box(0.04, h * 0.3, cl * 0.45, glass).at(w / 2 - 0.015, y + h * 0.55, f - cl * 0.5)),
        both(join([wheel_on_axle(r, 0.12, tyre, hub).at(w / 2, r, z) for z in (f - cl * 0.5, -f * 0.35, -f * 0.75)])),
        box(w * 1.02, 0.08, 0.06, frame).at(0, y - 0.03, f),
        _lights(w, y + 0.1, f + 0.01, -f, rng),
    ]
    kind = int(rng.integers(4))
    bed, mid = length - cl - 0.06, -cl / 2 - 0.03
    if kind == 0:
        parts.append(box(w * 1.06, h * u(1.05, 1.4), bed, load, bevel=0.02).at(0, y + 0.07, mid))
        return Design(parts, "truck", cab, [("container", load), ("wheels", tyre)], ["big"])
    if kind == 1:
        stuff = pick(rng, ("brown", "tan", "grey", "yellow", "green"))
        parts += [
            box(w * 1.04, 0.06, bed, load).at(0, y + 0.08, mid),
            both(box(0.05, 0.26, bed, load).at(w * 0.5, y + 0.08, mid)),
            *[box(w, 0.26, 0.05, load).at(0, y + 0.08, mid + s * bed / 2) for s in (-1, 1)],
        ]
        parts += [
            ball((w * 0.3, 0.2, bed * 0.27), stuff, 1, 0.15, rng).at(0, y + 0.2, mid + s * bed * 0.22) for s in (-1, 1)
        ]
        return Design(parts, "dump truck", cab, [("bed", load), ("load", stuff)])
    if kind == 2:
        parts.append(
            lathe([(w * 0.3, -bed / 2), (w * 0.46, -bed * 0.42), (w * 0.46, bed * 0.42), (w * 0.3, bed / 2)], load, 14)
            .turn(x=90)
            .at(0, y + w * 0.5, mid)
        )
        return Design(parts, "tank truck", cab, [("tank", load), ("wheels", tyre)])
    white = pick(rng, ("white", "silver"))
    parts += [
        box(w, h * 0.75, bed, cab, bevel=0.02).at(0, y + 0.05, mid),
        box(w * 1.02, 0.06, bed * 1.01, white).at(0, y + h * 0.3, mid),
    ]
    rail = [both(tube([(0.09, 0, -bed * 0.5), (0.09, 0, bed * 0.55)], 0.02, white, 4))] + [
        box(0.18, 0.02, 0.03, white).at(z=z) for z in np.linspace(-bed * 0.45, bed * 0.5, 8)
    ]
    parts += [
        join(rail).turn(x=-7).at(0, y + h * 0.86, mid + 0.08),
        box(w * 0.6, 0.07, 0.08, pick(rng, "blue")).at(0, y + h, f - cl * 0.6),
    ]
    return Design(parts, "fire truck", cab, [("ladder", white), ("wheels", tyre)])


def bus(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, glass, tyre = pick(rng, ("yellow", "red", *ANY)), pick(rng, ("blue", "black", "teal")), pick(rng, "black")
    stripe = pick(rng, ("white", "black", *BRIGHT), body)
    w, length, h, r, n = u(0.45, 0.55), u(1.3, 1.7), u(0.5, 0.65), 0.14, int(rng.integers(4, 7))
    parts = [
        box(w, h, length, body, bevel=0.05).at(y=r * 0.8),
        box(w * 1.015, 0.05, length * 0.98, stripe).at(y=r * 0.8 + h * 0.38),
        four(wheel_on_axle(r, 0.12, tyre, pick(rng, METAL)).at(w / 2 - 0.03, r, length * 0.32)),
        box(w * 0.86, h * 0.4, 0.04, glass).at(0, r * 0.8 + h * 0.48, length / 2 - 0.01),
        box(w * 0.8, h * 0.3, 0.04, glass).at(0, r * 0.8 + h * 0.5, -length / 2 + 0.01),
        _lights(w, r * 0.8 + h * 0.2, length / 2, -length / 2, rng),
    ]
    step = length * 0.9 / n
    parts += [
        both(box(0.04, h * 0.3, step * 0.75, glass).at(w / 2 - 0.01, r * 0.8 + h * 0.52, (k - (n - 1) / 2) * step))
        for k in range(n)
    ]
    return Design(parts, "bus", body, [("stripe", stripe), ("windows", glass)], ["long"])


def train(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, cab, trim = pick(rng, ANY), pick(rng, ANY), pick(rng, ("gold", "red", "black", "yellow"))
    dark, wheel = pick(rng, ("black", "grey")), pick(rng, ("red", "black", "grey"))
    w, length, r = u(0.42, 0.5), u(1.1, 1.4), u(0.2, 0.24)
    f, y = length / 2, 0.24
    parts = [
        box(w, 0.1, length, dark).at(y=0.16),
        cylinder(r, length * 0.62, body, sides=14, cap=dark).turn(x=90).at(0, y + r, -length * 0.1),
        box(w, 0.5, length * 0.32, cab).at(0, y, -f + length * 0.17),
        box(w * 1.15, 0.06, length * 0.38, trim).at(0, y + 0.5, -f + length * 0.17),
        both(box(0.04, 0.18, 0.2, pick(rng, ("blue", "yellow"))).at(w / 2, y + 0.26, -f + length * 0.17)),
        lathe([(0.07, 0), (0.06, 0.16), (0.11, 0.26), (0.11, 0.3)], dark, 10).at(0, y + 2 * r - 0.03, f * 0.72),
        ball((0.09, 0.11, 0.09), trim).at(0, y + 2 * r, 0.1),
        _side([(f, 0.05), (f + 0.2, 0.05), (f, 0.24)], w * 0.9, trim),
        cylinder(0.07, 0.05, pick(rng, "yellow")).turn(x=90).at(0, y + r * 1.6, f * 1.02),
    ]
    parts += [torus(r * 1.01, 0.02, trim, 14, 5).turn(x=90).at(0, y + r, z) for z in (f * 0.2, f * 0.8)]
    n = int(rng.integers(3, 5))
    parts += [
        both(wheel_on_axle(0.15 if k else 0.18, 0.07, wheel, trim).at(w / 2, 0.16, -f * 0.7 + 1.5 * f * k / (n - 1)))
        for k in range(n)
    ]
    return Design(parts, "train", body, [("cab", cab), ("wheels", wheel)], ["steam"])


def tank(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, track = pick(rng, ("green", "green", "tan", "grey", *BRIGHT)), pick(rng, ("black", "grey", "brown"))
    w, length, h = u(0.55, 0.7), u(0.9, 1.1), u(0.14, 0.2)
    t = np.linspace(0, 2 * np.pi, 15)[:-1]
    belt = extrude(
        [
            (np.clip(np.cos(a) * 2, -1, 1) * length * 0.36 + np.cos(a) * length * 0.14, 0.16 + 0.15 * np.sin(a))
            for a in t
        ],
        0.18,
        track,
    ).turn(y=90)
    tw = w * u(0.5, 0.65)
    parts = [
        both(belt.at(w / 2)),
        box(w * 0.9, h, length * 0.95, body, bevel=0.03, taper=(0.95, 0.9)).at(y=0.2),
        both(
            join(
                [
                    cylinder(0.09, 0.2, body.shade(0.8), sides=10).turn(z=90).at(w / 2 + 0.1, 0.15, z)
                    for z in np.linspace(-length * 0.32, length * 0.32, 4)
                ]
            )
        ),
        box(tw, 0.2, tw * 1.15, body.shade(1.06), bevel=0.04, taper=0.75).at(0, 0.2 + h, -0.08),
        tube([(0, 0.3 + h, 0.1), (0, 0.33 + h, length * u(0.6, 0.8))], 0.04, body.shade(0.85), 8),
        tube([(0, 0.33 + h, length * 0.56), (0, 0.33 + h, length * 0.66)], 0.06, track, 8),
        cylinder(0.1, 0.05, body.shade(0.8), sides=10).at(0.06, 0.39 + h, -0.12),
    ]
    return Design(parts, "tank", body, [("tracks", track)], ["heavy"])


def cart(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, wheel, load = pick(rng, WOOD + BRIGHT), pick(rng, ("brown", "black", "grey", "red")), pick(rng, ANY)
    w, d, r, h = u(0.5, 0.65), u(0.8, 1.0), u(0.24, 0.32), u(0.2, 0.3)
    rim = join(
        [
            torus(r, 0.035, wheel, 16, 6).turn(z=90),
            *[box(0.035, 2 * r, 0.035, wheel).at(y=-r).turn(x=45 * k) for k in range(4)],
            ball(0.06, wheel),
        ]
    )
    parts = [
        box(w, 0.06, d, wood).at(y=r),
        both(box(0.05, h, d, wood.shade(0.9)).at(w / 2, r)),
        both(box(w, h, 0.05, wood.shade(0.9)).at(0, r, d / 2), 2),
        both(tube([(w * 0.35, r, d / 2), (w * 0.3, r * 0.7, d / 2 + 0.5)], 0.03, wood)),
        both(rim.at(w / 2 + 0.08, r, 0)),
        tube([(-w / 2 - 0.1, r, 0), (w / 2 + 0.1, r, 0)], 0.03, wheel),
    ]
    details = [("wheels", wheel)]
    if rng.random() < 0.6:
        parts += [
            ball((w * 0.25, h * 0.6, d * 0.18), load.shade(u(0.88, 1.1)), 1, 0.12, rng).at(
                s * w * 0.2, r + h * 0.85, t * d * 0.25
            )
            for s in (-1, 1)
            for t in (-1, 1)
        ]
        details.append(("load", load))
    return Design(parts, "cart", wood, details, ["wooden"] if wood.name in WOOD else [])
