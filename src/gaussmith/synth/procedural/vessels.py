"""Vessels and containers: mostly turned on a lathe."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.design import ANY, BRIGHT, METAL, PRECIOUS, WOOD, Design, Paint, pick
from gaussmith.synth.procedural.shapes import Solid, ball, both, box, cylinder, extrude, four, join, lathe, torus, tube


def _handle(r: float, y0: float, y1: float, out: float, t: float, color: Paint) -> Solid:
    """An ear from (r, y0) out and up to (r, y1), towards +X."""
    a = np.linspace(-np.pi / 2, np.pi / 2, 7)
    mid, half = (y0 + y1) / 2, (y1 - y0) / 2
    return tube([(r - 0.02 + out * np.cos(t), mid + half * np.sin(t), 0) for t in a], t, color, sides=6)


def mug(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body = pick(rng, ANY)
    band = pick(rng, ANY, body)
    drink = pick(rng, ("brown", "brown", "yellow", "red", "white", "black"), body)
    r, h, flare, full = u(0.22, 0.34), u(0.4, 0.7), u(0.85, 1.15), rng.random() < 0.6
    striped = rng.random() < 0.5
    w, level = 0.035, h * u(0.75, 0.9)

    def rr(y: float) -> float:
        return r * (1 + (flare - 1) * y / h)

    profile = [(r * 0.9, 0), (r, 0.03), (rr(h * 0.35), h * 0.35), (rr(h * 0.65), h * 0.65), (rr(h), h)]
    profile += [(rr(h) - w, h), (r - w, 0.06), (0.0, 0.06)]
    colors = [body, body, band if striped else body, body, body, body.shade(0.8), body.shade(0.8)]
    ear = band if striped and rng.random() < 0.5 else body
    parts = [lathe(profile, colors, 16), _handle(r, h * 0.2, h * 0.8, u(0.16, 0.26), u(0.03, 0.05), ear)]
    details = [("handle", ear)] + ([("stripe", band)] if striped else [])
    if full:
        parts.append(cylinder(r - w * 0.5, level, drink, rr(level) - w * 0.7, 16))
        details.append(("drink", drink))
    return Design(parts, "mug", body, details, ["full"] if full else ["empty"])


def bottle(rng: np.random.Generator) -> Design:
    u = rng.uniform
    glass = pick(rng, (*BRIGHT, "green", "brown", "white"))
    label, cork = pick(rng, ANY, glass), pick(rng, WOOD + ANY)
    r, h, neck, n = u(0.16, 0.26), u(0.45, 0.7), u(0.05, 0.09), u(0.15, 0.35)
    labelled = rng.random() < 0.6
    y = [0.0, 0.03, h * 0.25, h * 0.65, h, h + u(0.05, 0.2), h + 0.2 + n]
    profile = [(r * 0.9, y[0]), (r, y[1]), (r, y[2]), (r, y[3]), (r, y[4]), (neck, y[5]), (neck, y[6])]
    lip = [(neck * 1.3, y[6]), (neck * 1.3, y[6] + 0.04)]
    colors = [glass, glass, label if labelled else glass, *[glass] * 5]
    parts = [
        lathe(profile + lip, colors, 14),
        cylinder(neck * 0.85, 0.12, cork, neck * u(0.8, 1.1), 10).at(y=y[6]),
    ]
    details = [("cork", cork)] + ([("label", label)] if labelled else [])
    return Design(parts, "bottle", glass, details, ["tall"] if h > 0.58 else ["small"])


def potion(rng: np.random.Generator) -> Design:
    u = rng.uniform
    liquid, cork = pick(rng, BRIGHT), pick(rng, WOOD)
    glass = pick(rng, ("white", "teal", "grey", "blue"), liquid).shade(1.3)
    r, neck, level = u(0.25, 0.35), u(0.07, 0.1), u(-0.1, 0.4)
    a = np.linspace(-1.25, 1.25, 9)
    squash = u(0.8, 1.3)
    profile = [(r * np.cos(t), r * squash * np.sin(t)) for t in a] + [
        (neck, r * squash + 0.12),
        (neck * 1.4, r * squash + 0.13),
        (neck * 1.4, r * squash + 0.17),
    ]
    colors = [liquid if np.sin(t) < level else glass for t in a] + [glass] * 2
    parts = [
        lathe(profile, colors, int(rng.choice([5, 6, 14]))),
        cylinder(neck * 0.8, 0.14, cork, neck * 1.1, 8).at(y=r * squash + 0.13),
    ]
    return Design(parts, "potion", liquid, [("cork", cork)], ["magic"])


def vase(rng: np.random.Generator) -> Design:
    u = rng.uniform
    clay = pick(rng, ANY)
    trim = pick(rng, ANY, clay)
    r, h, sides = u(0.22, 0.34), u(0.6, 1.0), int(rng.choice([6, 8, 14, 16]))
    foot, waist, lip = u(0.4, 0.7), u(0.3, 0.6), u(0.5, 0.9)
    belly = u(0.3, 0.6)
    knots = [(0, foot), (belly * 0.5, (1 + foot) / 2 * 1.05), (belly, 1), (0.8, waist), (1, lip)]
    ys = np.linspace(0, 1, 11)
    rs = np.interp(ys, *np.array(knots).T) * r
    rs = np.convolve(np.pad(rs, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    profile = [*zip(rs, ys * h), (rs[-1] - 0.04, h), (rs[5] * 0.6, h * 0.5), (0.0, h * 0.45)]
    start, wide = int(rng.integers(1, 7)), int(rng.integers(1, 3))
    banded = rng.random() < 0.7
    colors = [trim if banded and start <= k < start + wide else clay for k in range(10)] + [clay.shade(0.6)] * 3
    parts = [lathe(profile, colors, sides)]
    details = [("band", trim)] if banded else []
    if rng.random() < 0.3:
        parts.append(both(_handle(rs[6] * 0.9, h * 0.5, h * 0.85, 0.16, 0.03, trim)))
        details.append(("handles", trim))
    if rng.random() < 0.35:
        petal, stem = pick(rng, BRIGHT, clay), pick(rng, "green")
        for _k in range(int(rng.integers(2, 6))):
            tip = np.array([u(-0.25, 0.25), h + u(0.2, 0.5), u(-0.25, 0.25)])
            parts += [
                tube([(0, h * 0.5, 0), tip], 0.015, stem, sides=4),
                ball(u(0.07, 0.11), petal, 1, 0.15, rng).at(*tip.tolist()),
            ]
        details = [("flowers", petal)]
    return Design(parts, "vase", clay, details, ["tall"] if h > 0.8 else ["round"])


def pot(rng: np.random.Generator) -> Design:
    u = rng.uniform
    clay, leaf = pick(rng, ("orange", "brown", *ANY)), pick(rng, "green")
    r, h = u(0.22, 0.32), u(0.3, 0.5)
    parts = [
        lathe(
            [
                (r * 0.65, 0),
                (r * 0.95, h * 0.8),
                (r * 1.12, h * 0.8),
                (r * 1.15, h),
                (r, h),
                (r * 0.95, h - 0.05),
                (0, h - 0.05),
            ],
            [clay] * 5 + [pick(rng, "brown")],
            14,
        )
    ]
    kind = int(rng.integers(3))
    if kind == 0:
        for k in range(int(rng.integers(5, 10))):
            lean, size = u(15, 60), u(0.3, 0.6)
            blade = lathe([(0.02, 0), (0.08, size * 0.5), (0.0, size)], leaf.shade(u(0.8, 1.15)), 6, depth=0.3)
            parts.append(blade.turn(x=lean).turn(y=k * 137.5).at(y=h - 0.06))
    elif kind == 1:
        parts += [
            ball(u(0.16, 0.28), leaf.shade(u(0.85, 1.1)), 1, 0.15, rng).at(
                u(-0.12, 0.12), h + u(0.1, 0.35), u(-0.12, 0.12)
            )
            for _ in range(4)
        ]
    else:
        flower = pick(rng, BRIGHT)
        tall = h + u(0.3, 0.5)
        parts += [
            tube([(0, h - 0.06, 0), (0.02, tall, 0)], 0.025, leaf),
            ball(0.08, pick(rng, "yellow")).at(0.02, tall, 0.02),
        ]
        petal = ball((0.12, 0.07, 0.03), flower).at(0.15)
        parts.append(join([petal.turn(z=60 * k) for k in range(6)]).at(0.02, tall, 0))
        return Design(parts, "potted flower", flower, [("pot", clay), ("leaves", leaf)])
    return Design(parts, "potted plant", leaf, [("pot", clay)])


def bowl(rng: np.random.Generator) -> Design:
    u = rng.uniform
    clay, food = pick(rng, ANY), pick(rng, ANY)
    r, h = u(0.35, 0.5), u(0.2, 0.35)
    parts = [
        lathe(
            [
                (r * 0.45, 0),
                (r * 0.5, 0.03),
                (r * 0.85, h * 0.5),
                (r, h),
                (r * 0.93, h),
                (r * 0.78, h * 0.55),
                (0, h * 0.25),
            ],
            [clay] * 4 + [clay.shade(0.85)] * 2,
            16,
        )
    ]
    if rng.random() < 0.6:
        parts += [
            ball(u(0.1, 0.16), food.shade(u(0.85, 1.1)), 1).at(r * 0.45 * np.cos(a), h * 0.8, r * 0.45 * np.sin(a))
            for a in np.arange(5) * 1.257
        ]
        parts.append(ball(0.15, food).at(y=h * 0.95))
        return Design(parts, "bowl", clay, [("fruit", food)], ["full", "round"])
    return Design(parts, "bowl", clay, [], ["empty", "round"])


def barrel(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, hoop = pick(rng, WOOD + WOOD + BRIGHT), pick(rng, METAL)
    r, h, fat, n = u(0.3, 0.4), u(0.7, 1.0), u(1.08, 1.3), int(rng.integers(2, 4))
    ys = np.linspace(0, 1, 9)
    rs = r * (1 + (fat - 1) * (1 - (2 * ys - 1) ** 2))
    sides = int(rng.choice([10, 12, 16]))
    parts = [
        lathe([*zip(rs, ys * h)], wood, sides),
        cylinder(r * 0.9, 0.02, wood.shade(0.75), sides=sides).at(y=h * 0.995),
    ]
    for y in (0.12, 0.88) if n == 2 else (0.06, 0.5, 0.94):
        rad = r * (1 + (fat - 1) * (1 - (2 * y - 1) ** 2)) + 0.015
        parts.append(cylinder(rad, 0.07, hoop, sides=sides).at(y=y * h - 0.035))
    if rng.random() < 0.2:
        parts.append(tube([(0, h * 0.25, r), (0, h * 0.25, r * fat + 0.14)], 0.035, hoop))
    return Design(parts, "barrel", wood, [("hoops", hoop)], ["wooden"] if wood.name in WOOD else ["metal"])


def bucket(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, band = pick(rng, WOOD + ANY), pick(rng, METAL)
    fill = pick(rng, ("blue", "teal", "tan", "white", "brown"), body)
    r, h = u(0.26, 0.34), u(0.4, 0.55)
    parts = [
        lathe(
            [(r * 0.75, 0), (r, h), (r * 0.9, h), (r * 0.7, 0.05), (0, 0.05)], [body] * 2 + [body.shade(0.8)] * 2, 12
        ),
        cylinder(r * 0.66, h * 0.8, fill, r * 0.86, 12),
        cylinder(r * 0.81, 0.06, band, r * 0.83, 12).at(y=h * 0.15),
        cylinder(r * 0.97, 0.06, band, r * 0.99, 12).at(y=h * 0.78),
    ]
    a = np.linspace(0, np.pi, 9)
    parts.append(tube([(r * np.cos(t), h + u(0.28, 0.3) * np.sin(t), 0) for t in a], 0.022, band, sides=5))
    return Design(parts, "bucket", body, [("handle", band)], ["wooden"] if body.name in WOOD else [])


def chest(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, trim = pick(rng, WOOD + WOOD + BRIGHT), pick(rng, METAL)
    lock = pick(rng, PRECIOUS, trim)
    w, h, d, arch = u(0.8, 1.1), u(0.3, 0.45), u(0.5, 0.65), u(0.6, 1.0)
    lid = _arch_box(w, d, arch * d / 2, wood.shade(0.9))
    straps = [_arch_box(0.09, d * 1.06, arch * d / 2 * 1.06, trim).at(x) for x in (-w * 0.45, w * 0.45)]
    bands = [box(0.09, h, d * 1.06, trim).at(x) for x in (-w * 0.45, w * 0.45)]
    opened = rng.random() < 0.3
    top = join([lid, *straps])
    if opened:
        top = top.at(z=d / 2).turn(x=-u(50, 95)).at(z=-d / 2)
    parts = [
        box(w, h, d, wood),
        *bands,
        top.at(y=h + 0.01),
        box(w * 1.02, 0.06, d * 1.04, trim).at(y=h - 0.06),
        box(0.16, 0.2, 0.06, lock, bevel=0.015).at(0, h - 0.12, d / 2 + 0.02),
    ]
    details = [("lock", lock), ("bands", trim)]
    if opened:
        gold = pick(rng, "gold")
        parts += [
            ball(u(0.09, 0.14), gold.shade(u(0.8, 1.1)), 0).at(u(-0.35, 0.35) * w, h, u(-0.3, 0.3) * d)
            for _ in range(9)
        ]
        details.append(("treasure", gold))
    return Design(parts, "chest", wood, details, ["open", "treasure"] if opened else ["treasure", "closed"])


def _arch_box(w: float, d: float, rise: float, color: Paint) -> Solid:
    """A lid: half an ellipse d wide and `rise` high in y, z, drawn out along x."""
    a = np.linspace(0, np.pi, 9)
    return extrude(np.column_stack([d / 2 * np.cos(a), rise * np.sin(a)]), w, color).turn(y=90)


def crate(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood = pick(rng, WOOD + WOOD + BRIGHT + ("grey",))
    edge = pick(rng, ANY, wood) if rng.random() < 0.4 else wood.shade(0.75)
    w, h, d, t = u(0.7, 0.9), u(0.6, 0.9), u(0.7, 0.9), u(0.08, 0.13)
    parts = [
        box(w * 0.94, h * 0.94, d * 0.94, wood).at(y=h * 0.03),
        four(box(t, h, t, edge).at(w / 2 - t / 2, 0, d / 2 - t / 2)),
        *[both(box(w, t, t, edge).at(0, y, d / 2 - t / 2), 2) for y in (0, h - t)],
        *[both(box(t, t, d, edge).at(w / 2 - t / 2, y)) for y in (0, h - t)],
    ]
    if rng.random() < 0.5:
        slope = np.degrees(np.arctan2(h, w))
        bar = box(np.hypot(w, h) * 0.86, t * 0.8, t * 0.5, edge).at(y=-t * 0.4).turn(z=slope)
        parts.append(both(bar.at(0, h / 2, d / 2 - t * 0.4), 2))
        parts.append(both(bar.scale(d / w, 1, 1).turn(y=90).at(w / 2 - t * 0.4, h / 2), 0))
    return Design(parts, "crate", wood, [("edges", edge)], ["wooden"] if wood.name in WOOD else [])


def teapot(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body = pick(rng, ANY)
    trim = pick(rng, ANY, body)
    r, squash = u(0.32, 0.4), u(0.75, 1.0)
    a = np.linspace(-1.2, 1.1, 8)
    parts = [lathe([(r * np.cos(t), r * squash * (np.sin(t) + 0.93)) for t in a], body, 14)]
    top = r * squash * (np.sin(1.1) + 0.93)
    parts += [
        cylinder(r * 0.5, 0.05, trim, r * 0.3, 12).at(y=top - 0.01),
        ball(0.06, trim).at(y=top + 0.08),
        tube([(-r * 0.8, r * 0.6, 0), (-r * 1.4, r * 0.9, 0), (-r * 1.7, r * 1.45, 0)], (0.1, 0.07, 0.045), body, 8),
        _handle(r * 0.9, r * 0.4, r * 1.3, 0.24, 0.035, trim),
    ]
    return Design(parts, "teapot", body, [("lid", trim), ("handle", trim)], ["round"])


def cauldron(rng: np.random.Generator) -> Design:
    u = rng.uniform
    iron, brew = pick(rng, ("black", "black", "grey", "brown")), pick(rng, BRIGHT)
    r = u(0.38, 0.46)
    a = np.linspace(-1.3, 0.75, 8)
    profile = [(r * np.cos(t), r * np.sin(t)) for t in a] + [
        (r * 0.85, r * 0.8),
        (r * 0.7, r * 0.8),
        (r * 0.65, r * 0.6),
    ]
    parts = [
        lathe(profile, iron, 14, cap=brew).at(y=r + 0.1),
        cylinder(r * 0.68, 0.04, brew, sides=14).at(y=r * 1.65 + 0.1),
        join([cylinder(0.05, 0.3, iron.shade(0.8), 0.07, 6).at(r * 0.55).turn(y=120 * k + 30) for k in range(3)]),
        both(torus(0.1, 0.03, iron.shade(0.8), 10, 6).turn(x=90).at(r * 0.98, r * 1.3 + 0.1)),
    ]
    parts += [ball(u(0.05, 0.09), brew.shade(1.2)).at(u(-0.2, 0.2), r * 1.68 + 0.13, u(-0.2, 0.2)) for _ in range(5)]
    return Design(parts, "cauldron", iron, [("brew", brew)], ["iron"])
