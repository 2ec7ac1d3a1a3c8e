"""Fruit and vegetables."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.design import (
    Design,
    Paint,
    pick,
)
from gaussmith.synth.procedural.shapes import (
    Solid,
    around,
    ball,
    box,
    cylinder,
    extrude,
    join,
    lathe,
    tube,
    wedges,
)


def _stalk(y: float, rng: np.random.Generator, leaf: Paint | None = None, t: float = 0.025) -> Solid:
    u = rng.uniform
    stem = tube(
        [(0, y - 0.05, 0), (u(-0.03, 0.03), y + 0.05, 0), (u(-0.08, 0.08), y + u(0.1, 0.18), 0)],
        t,
        pick(rng, "brown"),
        6,
    )
    if leaf is None:
        return stem
    return join([stem, ball((0.13, 0.015, 0.06), leaf).at(0.13).turn(z=25, y=u(0, 360)).at(y=y + 0.05)])


def apple(rng: np.random.Generator) -> Design:
    u = rng.uniform
    skin, leaf = pick(rng, ("red", "red", "green", "yellow")), pick(rng, "green")
    r, tall = u(0.38, 0.42), u(0.85, 1.05)
    a = np.linspace(-1.35, 1.25, 9)
    body = [(r * np.cos(t) * (1 + 0.12 * np.sin(t)), r * tall * np.sin(t)) for t in a] + [(0.0, r * tall * 0.72)]
    parts = [lathe(body, skin, 14), _stalk(r * tall * 0.75, rng, leaf)]
    if rng.random() < 0.25:
        flesh = pick(rng, ("white", "tan"))
        parts = [
            parts[0].paint(lambda c: np.linalg.norm(c - (r * 0.9, 0, r * 0.6), axis=1) < r * 0.62, flesh),
            parts[1],
        ]
        return Design(parts, "apple", skin, [("leaf", leaf), ("bite", flesh)], ["bitten"])
    return Design(parts, "apple", skin, [("leaf", leaf)], ["round"])


def pear(rng: np.random.Generator) -> Design:
    u = rng.uniform
    skin, leaf = pick(rng, ("green", "yellow", "green", "orange")), pick(rng, "green")
    r, h = u(0.32, 0.38), u(0.45, 0.6)
    body = [(0.08, 0), (r * 0.8, 0.06), (r, 0.22), (r * 0.9, 0.4), (r * 0.55, h), (r * 0.4, h + 0.12), (0.05, h + 0.2)]
    return Design([lathe(body, skin, 14), _stalk(h + 0.2, rng, leaf)], "pear", skin, [("leaf", leaf)])


def banana(rng: np.random.Generator) -> Design:
    u = rng.uniform
    skin, tip = pick(rng, ("yellow", "yellow", "yellow", "green")), pick(rng, "brown")
    bend, r = u(0.9, 1.5), u(0.1, 0.14)

    def one() -> Solid:
        t = np.linspace(-bend, bend, 11)
        path = np.column_stack([0.7 * np.sin(t), -0.7 * np.cos(t), 0 * t])
        radii = r * np.array([0.3, 0.4, 0.75, 0.95, 1, 1, 1, 0.95, 0.75, 0.4, 0.3])
        return tube(path, radii, [tip, *[skin] * 8, tip], sides=5)

    count = int(rng.choice([1, 1, 2, 3]))
    parts = [one().at(y=0.7).turn(x=(k - (count - 1) / 2) * 24) for k in range(count)]
    return Design(
        parts, "banana" if count == 1 else "bananas", skin, [("ends", tip)], ["ripe"] if skin.name == "yellow" else []
    )


def citrus(rng: np.random.Generator) -> Design:
    u = rng.uniform
    noun, color = [("orange", "orange"), ("lemon", "yellow"), ("lime", "green"), ("peach", "pink"), ("plum", "purple")][
        int(rng.integers(5))
    ]
    skin, leaf = pick(rng, color), pick(rng, "green")
    r, long = 0.38, u(1.25, 1.4) if noun in ("lemon", "lime") else u(0.92, 1.02)
    parts = [ball((r, r * long, r), skin, 2, 0.01, rng)]
    if long > 1.1:
        parts += [
            cylinder(0.1, 0.09, skin, 0.04, 8).at(y=r * long - 0.05),
            cylinder(0.04, 0.09, skin, 0.1, 8).at(y=-r * long - 0.04),
        ]
        parts = [join(parts).turn(z=u(50, 90))]
    else:
        parts.append(_stalk(r * long, rng, leaf, 0.02))
    return Design(parts, noun, skin, [] if long > 1.1 else [("leaf", leaf)], ["round"] if long < 1.1 else ["sour"])


def pumpkin(rng: np.random.Generator) -> Design:
    u = rng.uniform
    skin, stem = pick(rng, ("orange", "orange", "orange", "green", "white", "yellow")), pick(rng, ("green", "brown"))
    n, squash, lit = int(rng.integers(7, 11)), u(0.7, 0.95), rng.random() < 0.3
    lobe = ball((0.26, 0.4 * squash, 0.2), skin, 1).at(0.22)
    parts = [
        around(lobe, n),
        tube([(0, 0.3 * squash, 0), (0.02, 0.48 * squash, 0), (0.09, 0.62 * squash, 0)], (0.07, 0.05, 0.04), stem, 6),
    ]
    if lit:
        face = pick(rng, ("yellow", "black"))
        eye = extrude([(-0.09, -0.06), (0.09, -0.06), (0, 0.1)], 0.2, face)
        parts += [eye.at(s * 0.16, 0.09, 0.4) for s in (-1, 1)]
        parts.append(box(0.34, 0.09, 0.2, face, taper=(1.25, 1)).at(0, -0.18, 0.38))
        return Design(parts, "pumpkin", skin, [("face", face), ("stem", stem)], ["carved"])
    return Design(parts, "pumpkin", skin, [("stem", stem)], ["round"])


def carrot(rng: np.random.Generator) -> Design:
    u = rng.uniform
    root, leaf = pick(rng, ("orange", "orange", "orange", "purple", "white", "red")), pick(rng, "green")
    h, r = u(0.6, 0.9), u(0.12, 0.18)
    body = lathe([(0.01, -h), (r * 0.55, -h * 0.55), (r * 0.9, -h * 0.15), (r, -0.04), (r * 0.6, 0.02)], root, 9)
    tops = [
        lathe([(0.02, 0), (0.05, 0.18), (0.0, u(0.3, 0.45))], leaf.shade(u(0.85, 1.1)), 5)
        .turn(x=u(10, 35))
        .turn(y=72 * k)
        for k in range(5)
    ]
    noun = {"orange": "carrot", "purple": "beet", "white": "turnip", "red": "radish"}[root.name]
    if noun != "carrot":
        body = body.scale(2, 0.55, 2)
    return Design([join([body, *tops]).turn(z=u(-40, 40))], noun, root, [("leaves", leaf)])


def berry(rng: np.random.Generator) -> Design:
    u = rng.uniform
    kind, leaf = int(rng.integers(3)), pick(rng, "green")
    if kind == 0:
        skin, seed = pick(rng, ("red", "red", "pink")), pick(rng, "yellow")
        parts = [lathe([(0.03, -0.42), (0.2, -0.25), (0.33, 0.0), (0.34, 0.12), (0.22, 0.24), (0, 0.26)], skin, 12)]
        for k in range(26):
            y, a = -0.3 + 0.45 * k / 26, k * 2.4
            r = np.interp(y, [-0.42, -0.25, 0, 0.12], [0.03, 0.2, 0.33, 0.34])
            parts.append(ball(0.022, seed, 0).at(r * np.cos(a), y, r * np.sin(a)))
        parts.append(around(ball((0.16, 0.015, 0.06), leaf).at(0.14).turn(z=-18), 6).at(y=0.28))
        return Design(parts, "strawberry", skin, [("seeds", seed), ("leaves", leaf)])
    if kind == 1:
        skin = pick(rng, ("red", "red", "purple"))
        parts = [ball(0.2, skin, 2).at(s * 0.22, u(-0.05, 0.05), 0) for s in (-1, 1)]
        parts += [tube([(s * 0.22, 0.15, 0), (s * 0.14, 0.45, 0), (0.0, 0.65, 0)], 0.018, leaf, 5) for s in (-1, 1)]
        parts.append(ball((0.16, 0.02, 0.08), leaf).at(0.16).turn(z=15).at(y=0.65))
        return Design(parts, "cherries", skin, [("leaf", leaf)])
    skin = pick(rng, ("purple", "green", "purple", "red"))
    parts = [tube([(0, 0.3, 0), (0.03, 0.55, 0)], 0.025, pick(rng, "brown"))]
    for row, count in enumerate((6, 5, 4, 3, 1)):
        ring = 0.2 * (1 - row / 5)
        parts += [
            ball(0.12, skin.shade(u(0.85, 1.12))).at(
                ring * np.cos(6.28 * k / count), 0.28 - 0.16 * row, ring * np.sin(6.28 * k / count)
            )
            for k in range(count)
        ]
    parts.append(ball((0.18, 0.02, 0.13), leaf).at(0.15).turn(z=10).at(y=0.42))
    return Design(parts, "grapes", skin, [("leaf", leaf)])


def melon(rng: np.random.Generator) -> Design:
    u = rng.uniform
    rind, flesh, seed = pick(rng, "green"), pick(rng, ("red", "red", "pink", "yellow")), pick(rng, "black")
    if rng.random() < 0.4:
        long = u(1, 1.3)
        whole = lathe([(0.4 * np.cos(t), 0.4 * long * np.sin(t)) for t in np.linspace(-1.5, 1.5, 9)], rind, 16)
        return Design([whole.paint(wedges(8), rind.shade(0.6)).turn(z=u(60, 90))], "watermelon", rind, [], ["striped"])
    a = np.linspace(0, np.pi, 13)

    def half(r: float, d: float, color: Paint) -> Solid:
        return extrude(np.column_stack([r * np.cos(a), -r * np.sin(a)]), d, color)

    d = u(0.14, 0.3)
    parts = [
        half(0.5, d, rind),
        half(0.45, d + 0.015, pick(rng, "white")).at(y=0.004),
        half(0.41, d + 0.03, flesh).at(y=0.008),
    ]
    parts += [
        ball((0.018, 0.03, d / 2 + 0.025), seed, 0).at(0.27 * np.cos(t), -0.27 * np.sin(t) + 0.02)
        for t in np.linspace(0.35, 2.8, 6)
    ]
    return Design([join(parts).turn(x=u(-15, 15))], "watermelon slice", flesh, [("rind", rind), ("seeds", seed)])
