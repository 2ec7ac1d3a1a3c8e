"""Bridges, wells, tents and what stands along a street."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.buildings import gable
from gaussmith.synth.procedural.design import (
    ANY,
    BRIGHT,
    METAL,
    ROOF,
    STONE,
    WOOD,
    Design,
    pick,
)
from gaussmith.synth.procedural.shapes import (
    both,
    box,
    cylinder,
    extrude,
    join,
    lathe,
    tube,
    wedges,
)


def tent(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cloth = pick(rng, ANY)
    second, dark = pick(rng, ANY, cloth), cloth.shade(0.4)
    if rng.random() < 0.5:
        w, h, d = u(0.8, 1.0), u(0.6, 0.8), u(0.9, 1.2)
        parts = [
            extrude([(-w / 2, 0), (w / 2, 0), (0, h)], d, cloth),
            extrude([(-w * 0.17, 0), (w * 0.17, 0), (0, h * 0.75)], d * 1.01, dark),
        ]
        parts += [tube([(0, 0, z), (0, h + 0.08, z)], 0.025, pick(rng, "brown")) for z in (-d * 0.51, d * 0.51)]
        parts.append(box(w * 1.25, 0.03, d * 1.2, second))
        return Design(parts, "tent", cloth, [("floor", second)], ["camping"])
    r, h, n = u(0.5, 0.6), u(0.4, 0.55), int(rng.choice([8, 10, 12]))
    striped = wedges(n // 2, half=True)
    parts = [
        cylinder(r, h, cloth, r * 1.02, n).paint(striped, second),
        lathe([(r * 1.1, 0), (r * 0.45, 0.3), (0.02, 0.6)], cloth, n).paint(striped, second).at(y=h),
    ]
    parts += [
        tube([(0, h + 0.5, 0), (0, h + 0.8, 0)], 0.02, pick(rng, "brown")),
        box(0.2, 0.1, 0.02, second).at(0.1, h + 0.68),
        box(0.22, h * 0.7, 0.06, dark).at(0, 0, r * 0.97),
    ]
    return Design(parts, "tent", cloth, [("stripes", second)], ["striped", "circus"])


def well(rng: np.random.Generator) -> Design:
    u = rng.uniform
    stone, wood, roof, water = (
        pick(rng, ("grey", "grey", "tan")),
        pick(rng, WOOD),
        pick(rng, ROOF),
        pick(rng, ("blue", "teal")),
    )
    r, h = u(0.36, 0.44), u(0.3, 0.4)
    parts = [
        lathe(
            [(r, 0), (r, h * 0.5), (r * 1.05, h * 0.52), (r * 1.05, h), (r * 0.78, h), (r * 0.78, 0.1), (0, 0.1)],
            [stone.shade(0.88)] + [stone] * 5,
            12,
        ),
        cylinder(r * 0.76, h * 0.7, water, sides=12),
        both(box(0.07, 0.75, 0.07, wood).at(r * 0.92, h)),
        gable(r * 1.7, 0.3, r * 2.6, roof, wood).turn(y=90).at(y=h + 0.7),
        tube([(-r, h + 0.45, 0), (r * 1.15, h + 0.45, 0)], 0.035, wood),
        cylinder(0.09, 0.14, wood.shade(0.8), 0.11, 8).at(0, h + 0.1),
        tube([(0, h + 0.2, 0), (0, h + 0.45, 0)], 0.012, pick(rng, "tan"), 4),
    ]
    return Design(parts, "well", stone, [("roof", roof), ("water", water)], ["stone"])


def bridge(rng: np.random.Generator) -> Design:
    u = rng.uniform
    deck, rail = pick(rng, WOOD + STONE + ("red",)), pick(rng, ANY)
    length, w, rise, n = u(1.3, 1.8), u(0.4, 0.6), u(0.15, 0.4), int(rng.integers(8, 14))
    t = np.linspace(-1, 1, n)
    y = rise * (1 - t**2)
    parts = [
        box(length / (n - 1) * 1.06, 0.07, w, deck.shade(0.93 + 0.1 * (k % 2)))
        .turn(z=np.degrees(np.arctan2(-2 * rise * t[k], length / 2)))
        .at(t[k] * length / 2, y[k])
        for k in range(n)
    ]
    for k in range(0, n, 2):
        parts.append(both(box(0.05, 0.25, 0.05, rail).at(t[k] * length / 2, y[k] + 0.05, w / 2 - 0.03), 2))
    bar = tube(np.column_stack([t * length / 2, y + 0.3, np.full(n, w / 2 - 0.03)]), 0.03, rail, sides=4)
    parts.append(both(bar, 2))
    if rise > 0.25:
        parts.append(both(box(length * 0.12, rise * 0.75, w * 0.9, deck.shade(0.75)).at(length * 0.33), 0))
    return Design(parts, "bridge", deck, [("rails", rail)], ["wooden"] if deck.name in WOOD else ["stone"])


def street_lamp(rng: np.random.Generator) -> Design:
    u = rng.uniform
    iron, light = pick(rng, ("black", "grey", "green", "blue", "red")), pick(rng, ("yellow", "white", "orange"))
    h, arms = u(1.3, 1.8), int(rng.integers(0, 3))
    parts = [lathe([(0.14, 0), (0.14, 0.05), (0.07, 0.14), (0.04, 0.3), (0.035, h)], iron, 8)]
    head = join(
        [
            cylinder(0.07, 0.2, light, 0.1, 6),
            lathe([(0.14, 0.19), (0.05, 0.27), (0, 0.33)], iron, 6),
            cylinder(0.05, 0.03, iron, 0.09, 6).at(y=-0.02),
        ]
    )
    if arms == 0:
        parts.append(head.at(y=h))
    for k in range(arms):
        s = 1 - 2 * k
        parts.append(
            tube(
                [(0, h - 0.1, 0), (s * 0.12, h + 0.08, 0), (s * 0.3, h + 0.1, 0), (s * 0.32, h - 0.02, 0)], 0.028, iron
            )
        )
        parts.append(head.turn(z=180).scale(1, 0.7, 1).at(s * 0.32, h - 0.02))
    return Design(parts, "street lamp", iron, [("light", light)], ["tall"])


def traffic_light(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, pole = pick(rng, ("yellow", "black", "grey", "green")), pick(rng, ("grey", "black"))
    h = u(0.5, 1.1)
    parts = [
        cylinder(0.04, h, pole, sides=8),
        cylinder(0.15, 0.05, pole, sides=10),
        box(0.26, 0.66, 0.2, body, bevel=0.03).at(y=h),
    ]
    for k, name in enumerate(("green", "yellow", "red")):
        lens = pick(rng, name)
        parts.append(cylinder(0.08, 0.06, lens, sides=12).turn(x=90).at(0, h + 0.13 + 0.2 * k, 0.07))
        parts.append(box(0.2, 0.025, 0.1, body.shade(0.7)).at(0, h + 0.21 + 0.2 * k, 0.13))
    return Design(parts, "traffic light", body, [("pole", pole)])


def road_sign(rng: np.random.Generator) -> Design:
    u = rng.uniform
    face, mark, pole = pick(rng, BRIGHT), pick(rng, "white"), pick(rng, METAL + WOOD)
    h, r, sides = u(0.7, 1.1), u(0.22, 0.3), int(rng.choice([3, 4, 8, 16]))
    plate = cylinder(r, 0.04, face, sides=sides).turn(y=180 / sides).turn(x=90)
    plate = plate.turn(z=45 if sides == 4 and rng.random() < 0.5 else 30 if sides == 3 else 0)
    parts = [
        cylinder(0.035, h, pole, sides=8),
        cylinder(r * 0.85, 0.05, mark, sides=sides).turn(y=180 / sides).turn(x=90),
    ]
    parts = [parts[0], plate.at(0, h + r * 0.6, 0.03), box(r * 0.9, r * 0.28, 0.03, mark).at(0, h + r * 0.5, 0.07)]
    return Design(parts, "road sign", face, [("pole", pole), ("bar", mark)], ["round"] if sides == 16 else [])


def traffic_cone(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cone, band = pick(rng, ("orange", "orange", "red", "yellow", "green", "blue")), pick(rng, "white")
    h, r = u(0.6, 0.9), u(0.22, 0.3)
    ys = np.array([0, 0.3, 0.5, 0.7, 0.85, 1])
    parts = [
        box(r * 2.6, 0.05, r * 2.6, cone.shade(0.85), bevel=0.015),
        lathe([(r * (1 - 0.82 * y), h * y + 0.04) for y in ys], [cone, band, cone, band, cone], 14),
    ]
    return Design(parts, "traffic cone", cone, [("stripes", band)], ["striped"])
