"""Houses, towers and other buildings; the door is at +Z."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.design import (
    ANY,
    BRIGHT,
    ROOF,
    STONE,
    WALL,
    WOOD,
    Design,
    Paint,
    pick,
)
from gaussmith.synth.procedural.shapes import (
    Solid,
    around,
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


def gable(w: float, h: float, d: float, color: Paint, end: Paint | None = None) -> Solid:
    """A saddle roof on y = 0, ridge along z; its gables in `end` when given, drawn in a little."""
    tri = np.array([(-w / 2, 0), (w / 2, 0), (0, h)])
    slab = 0.12 * h
    left = np.array([(-w / 2, 0), (0, h), (0, h + slab), (-w / 2 - slab, 0)])
    roof = both(extrude(left, d, color))
    return join([roof, extrude(tri, d * 0.92, end or color)])


def _window(w: float, h: float, frame: Paint, glass: Paint) -> Solid:
    """A window facing +Z, its foot at the origin."""
    return join(
        [
            box(w, h, 0.05, frame),
            box(w * 0.8, h * 0.82, 0.06, glass).at(y=h * 0.09),
            box(w * 0.07, h, 0.075, frame),
            box(w, h * 0.07, 0.075, frame).at(y=h * 0.47),
        ]
    )


def _battlements(w: float, d: float, size: float, color: Paint) -> Solid:
    """Merlons along the edge of a rectangle on y = 0."""
    parts = []
    for length, other, axis in ((w, d, 0), (d, w, 90)):
        n = max(2, round(length / (2 * size)))
        for k in range(n):
            x = (k - (n - 1) / 2) * (length - size) / max(1, n - 1)
            parts.append(
                both(box(size, size * 1.1, size * 0.6, color).at(x, 0, other / 2 - size * 0.3), 2).turn(y=axis)
            )
    return join(parts)


def house(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wall, roof, leaf = pick(rng, WALL), pick(rng, ROOF), pick(rng, ANY + WOOD)
    roof = pick(rng, ROOF, wall) if roof.name == wall.name else roof
    frame, glass = pick(rng, ("white", "brown"), wall), pick(rng, ("blue", "teal", "yellow", "black"))
    w, h, d, rise = u(0.7, 1.1), u(0.5, 0.75), u(0.7, 1.1), u(0.3, 0.6)
    storeys = 2 if rng.random() < 0.3 else 1
    tall = h * (1 + 0.8 * (storeys - 1))
    parts = [box(w, tall, d, wall), box(w * 1.06, 0.06, d * 1.06, pick(rng, "grey"))]
    kind = int(rng.integers(4))
    if kind == 0:
        parts.append(box(w * 1.2, rise, d * 1.2, roof, taper=u(0.02, 0.35)).at(y=tall))
    elif kind == 1:
        parts.append(gable(d * 1.18, rise, w * 1.15, roof, wall).turn(y=90).at(y=tall))
    else:
        parts.append(gable(w * 1.18, rise, d * 1.15, roof, wall).at(y=tall))
    side = 0.0 if storeys == 2 and rng.random() < 0.5 else float(rng.choice([-1, 1])) * w * 0.2
    parts += [box(0.2, 0.38, 0.05, leaf).at(side, 0.03, d / 2), box(0.26, 0.42, 0.03, frame).at(side, 0.03, d / 2)]
    win = _window(0.2, 0.22, frame, glass)
    for level in range(storeys):
        y = h * 0.35 + level * h * 0.85
        xs = (-side if side else w * 0.33,) if level == 0 else (-w * 0.25, w * 0.25)
        parts += [win.at(x, y, d / 2) for x in xs]
        parts += [both(win.turn(y=90).at(w / 2, y, z)) for z in (-d * 0.22, d * 0.22)]
        parts.append(win.turn(y=180).at(0, y, -d / 2))
    details = [("roof", roof), ("door", leaf), ("windows", glass)]
    if rng.random() < 0.5:
        brick = pick(rng, ("red", "grey", "brown"))
        parts.append(box(0.14, rise + 0.25, 0.14, brick).at(w * 0.25, tall, -d * u(0.1, 0.3)))
        details.append(("chimney", brick))
    return Design(parts, "house", wall, details, ["small"] if storeys == 1 else ["tall"])


def barn(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wall, roof, trim = (
        pick(rng, ("red", "red", "brown", "tan", "blue", "green")),
        pick(rng, ("grey", "brown", "white", "black")),
        pick(rng, "white"),
    )
    w, h, d = u(0.8, 1.0), u(0.45, 0.6), u(1.0, 1.5)
    outline = np.array(
        [(-w / 2, 0), (w / 2, 0), (w / 2, h), (w * 0.36, h * 1.5), (0, h * 1.75), (-w * 0.36, h * 1.5), (-w / 2, h)]
    )
    shell = np.array(
        [
            (w / 2 + 0.06, h * 0.95),
            (w * 0.39, h * 1.55),
            (0, h * 1.85),
            (0, h * 1.72),
            (w * 0.34, h * 1.45),
            (w / 2, h * 0.95),
        ]
    )
    slabs = [join([extrude(shell[[0, 1, 4, 5]], d * 1.08, roof), extrude(shell[[1, 2, 3, 4]], d * 1.08, roof)])]
    parts = [extrude(outline, d, wall), both(slabs[0])]
    gate = [
        box(w * 0.46, h * 0.8, 0.05, wall.shade(0.8)),
        box(w * 0.46, 0.05, 0.08, trim).at(y=h * 0.76),
        both(box(0.05, h * 0.8, 0.08, trim).at(w * 0.23)),
    ]
    slope = np.degrees(np.arctan2(h * 0.8, w * 0.46))
    gate.append(both(box(np.hypot(h * 0.8, w * 0.46), 0.05, 0.07, trim).at(y=-0.025).turn(z=slope).at(y=h * 0.4)))
    parts += [join(gate).at(z=d / 2), box(w * 0.2, h * 0.25, 0.06, trim).at(0, h * 1.1, d / 2)]
    return Design(parts, "barn", wall, [("roof", roof), ("door", trim)], ["wooden"])


def tower(rng: np.random.Generator) -> Design:
    u = rng.uniform
    stone, roof, wood = pick(rng, STONE), pick(rng, ROOF), pick(rng, "brown")
    glass = pick(rng, ("black", "yellow", "blue"))
    r, h, sides = u(0.28, 0.4), u(1.0, 1.6), int(rng.choice([4, 6, 8, 14]))
    flat = 0.72 if sides == 4 else 0.97
    pointed = rng.random() < 0.6
    parts = [
        lathe(
            [(r * 1.15, 0), (r * 1.1, 0.1), (r, 0.16), (r * 0.92, h), (r * 1.15, h + 0.1), (r * 1.15, h + 0.22)],
            [stone.shade(0.85)] * 2 + [stone] * 2 + [stone.shade(0.9)],
            sides,
        )
    ]
    if pointed:
        parts.append(lathe([(r * 1.3, 0), (r * 0.7, u(0.3, 0.5)), (0.0, u(0.8, 1.1))], roof, sides).at(y=h + 0.2))
    else:
        merlon = box(0.14, 0.15, 0.08, stone.shade(0.9)).at(0, 0, r * 1.15 * flat - 0.04)
        parts.append(around(merlon, sides if sides > 5 else 4).at(y=h + 0.2))
        if sides == 4:
            parts.append(four(box(0.14, 0.15, 0.14, stone.shade(0.9)).at(r * 0.74, 0, r * 0.74)).at(y=h + 0.2))
    parts += [
        box(0.18, 0.32, 0.12, wood).at(0, 0, r * 1.1 * flat),
        box(0.26, 0.38, 0.08, stone.shade(0.7)).at(0, 0, r * 1.1 * flat),
    ]
    slot = box(0.1, 0.2, 0.08, glass).at(0, 0, r * 0.96 * flat)
    parts += [around(slot, 4).at(y=h * y) for y in (0.5, 0.8)]
    details = [("windows", glass), ("door", wood)]
    if rng.random() < 0.5:
        cloth = pick(rng, BRIGHT)
        top = h + (1.2 if pointed else 0.2)
        parts += [tube([(0, h, 0), (0, top + 0.3, 0)], 0.02, wood), box(0.26, 0.15, 0.02, cloth).at(0.14, top + 0.13)]
        details.append(("flag", cloth))
    return Design(parts, "tower", stone, details + ([("roof", roof)] if pointed else []), ["stone", "tall"])


def castle(rng: np.random.Generator) -> Design:
    u = rng.uniform
    stone, roof, wood, cloth = pick(rng, STONE), pick(rng, ROOF), pick(rng, "brown"), pick(rng, BRIGHT)
    w, d, h, r, th = u(0.9, 1.2), u(0.8, 1.1), u(0.35, 0.5), u(0.14, 0.2), u(0.6, 0.8)
    pointed = rng.random() < 0.65
    corner = [
        lathe([(r * 1.1, 0), (r, 0.08), (r, th), (r * 1.2, th + 0.06), (r * 1.2, th + 0.14)], stone.shade(0.92), 10)
    ]
    if pointed:
        corner.append(lathe([(r * 1.4, 0), (0, u(0.35, 0.55))], roof, 10).at(y=th + 0.13))
    else:
        corner.append(around(box(0.08, 0.08, 0.05, stone.shade(0.85)).at(0, 0, r * 1.08), 6).at(y=th + 0.13))
    kw, kh = w * 0.42, u(0.7, 1.0)
    parts = [
        four(join(corner).at(w / 2, 0, d / 2)),
        *[both(box(w, h, 0.1, stone).at(0, 0, d / 2), 2), both(box(0.1, h, d, stone).at(w / 2), 0)],
        _battlements(w + 0.1, d + 0.1, 0.08, stone).at(y=h),
        box(w, 0.05, d, stone.shade(0.7)),
        box(kw, kh, kw, stone.shade(1.06)),
        _battlements(kw * 1.08, kw * 1.08, 0.08, stone).at(y=kh),
        box(0.26, h * 0.75, 0.14, wood).at(0, 0, d / 2),
        box(0.36, h * 0.86, 0.12, stone.shade(0.75)).at(0, 0, d / 2),
    ]
    if pointed and rng.random() < 0.6:
        parts.append(box(kw * 0.8, 0.4, kw * 0.8, roof, taper=0.02).at(y=kh))
    top = kh + 0.3
    parts += [tube([(0, kh, 0), (0, top + 0.3, 0)], 0.02, wood), box(0.25, 0.15, 0.02, cloth).at(0.13, top + 0.12)]
    parts += [around(box(0.08, 0.16, 0.05, pick(rng, "black")).at(0, kh * 0.65, kw / 2), 4)]
    return Design(parts, "castle", stone, [("flag", cloth)] + ([("roofs", roof)] if pointed else []), ["stone"])


def skyscraper(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wall, glass = pick(rng, (*WALL, "grey", "brown")), pick(rng, ("blue", "teal", "yellow", "black", "white"))
    w, d, floors, step = u(0.5, 0.8), u(0.5, 0.8), int(rng.integers(3, 8)), u(0.2, 0.26)
    n, shop = int(rng.integers(2, 5)), pick(rng, BRIGHT, wall)
    h = floors * step + 0.3
    parts = [
        box(w, h, d, wall),
        box(w * 1.04, 0.07, d * 1.04, wall.shade(0.8)).at(y=h),
        box(w * 1.05, 0.05, d * 1.05, wall.shade(0.7)).at(y=0.26),
    ]
    for k in range(floors):
        y = 0.33 + k * step
        for width, depth, turn in ((w, d, 0), (d, w, 90)):
            pane = width / n * 0.6
            row = join(
                [box(pane, step * 0.62, 0.03, glass).at((i - (n - 1) / 2) * width / n, y, depth / 2) for i in range(n)]
            )
            parts.append(both(row, 2).turn(y=turn))
    parts += [
        box(w * 0.9, 0.04, 0.2, shop).turn(x=15).at(0, 0.22, d / 2 + 0.08),
        box(0.16, 0.22, 0.04, wall.shade(0.5)).at(0, 0, d / 2),
    ]
    parts += [
        box(u(0.1, 0.2), u(0.08, 0.2), 0.15, pick(rng, "grey")).at(u(-0.25, 0.25) * w, h + 0.06, u(-0.25, 0.25) * d)
        for _ in range(2)
    ]
    return Design(
        parts, "building", wall, [("windows", glass), ("awning", shop)], ["tall"] if floors > 4 else ["small"]
    )


def church(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wall, roof, leaf = pick(rng, ("white", "tan", "grey", "yellow")), pick(rng, ROOF), pick(rng, WOOD)
    w, h, d, th = u(0.6, 0.75), u(0.45, 0.6), u(1.0, 1.3), u(0.9, 1.2)
    gold = pick(rng, "gold")
    parts = [
        box(w, h, d, wall),
        gable(w * 1.15, u(0.35, 0.5), d * 1.08, roof, wall).at(y=h),
        box(w * 0.5, th, w * 0.5, wall.shade(0.97)).at(z=d / 2),
        box(w * 0.62, u(0.4, 0.7), w * 0.62, roof, taper=0.02).at(0, th, d / 2),
        box(0.2, 0.34, 0.06, leaf).at(0, 0, d / 2 + w * 0.25),
    ]
    glass = pick(rng, ("blue", "yellow", "teal"))
    parts += [both(box(0.05, 0.24, 0.12, glass).at(w / 2, h * 0.35, z)) for z in np.linspace(-d * 0.35, d * 0.25, 3)]
    parts += [cylinder(0.09, 0.03, gold).turn(x=90).at(0, th * 0.8, d / 2 + w * 0.24)]
    top = max(p.bounds()[1][1] for p in parts)
    parts += [
        box(0.04, 0.26, 0.04, gold).at(0, top - 0.05, d / 2),
        box(0.16, 0.04, 0.04, gold).at(0, top + 0.09, d / 2),
    ]
    return Design(parts, "church", wall, [("roof", roof), ("windows", glass), ("door", leaf)])


def windmill(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wall, cap, sail, wood = (
        pick(rng, WALL),
        pick(rng, ROOF),
        pick(rng, ("white", "tan", "red", "yellow")),
        pick(rng, "brown"),
    )
    r, h, sides = u(0.33, 0.42), u(0.9, 1.2), int(rng.choice([6, 8, 12]))
    blade = join([box(0.035, 0.72, 0.03, wood), box(0.17, 0.5, 0.02, sail).at(0.09, 0.18, 0.005)])
    spin = u(0, 90)
    fan = join([blade.turn(z=spin + 90 * k) for k in range(4)] + [ball(0.07, wood)])
    parts = [
        cylinder(r, h, wall, r * 0.62, sides),
        lathe([(r * 0.75, 0), (r * 0.6, 0.2), (0, 0.4)], cap, sides).at(y=h),
        fan.at(0, h + 0.08, r * 0.85),
        tube([(0, h + 0.08, 0), (0, h + 0.08, r * 0.85)], 0.04, wood),
        box(0.2, 0.34, 0.14, wood).at(0, 0, r * 0.9),
        around(box(0.12, 0.14, 0.1, pick(rng, ("blue", "yellow"))).at(0, h * 0.55, r * 0.74), 4),
    ]
    return Design(parts, "windmill", wall, [("sails", sail), ("roof", cap)])


def lighthouse(rng: np.random.Generator) -> Design:
    u = rng.uniform
    first, second = (
        pick(rng, ("white", "white", "yellow")),
        pick(rng, ("red", "red", "blue", "black", "green", "orange")),
    )
    r, h, n = u(0.26, 0.34), u(1.1, 1.5), int(rng.integers(3, 8))
    ys = np.linspace(0, 1, n + 1)
    light, rail = pick(rng, "yellow"), pick(rng, ("grey", "black"))
    parts = [
        lathe([(r * (1 - 0.42 * y), h * y) for y in ys], [first if k % 2 else second for k in range(n)], 14),
        cylinder(r * 0.85, 0.06, rail, sides=14).at(y=h),
        cylinder(r * 0.42, 0.24, light, sides=10).at(y=h + 0.06),
        lathe([(r * 0.6, 0), (r * 0.3, 0.12), (0, 0.2)], second, 12).at(y=h + 0.3),
        lathe([(r * 1.6, -0.12), (r * 1.4, 0.02)], pick(rng, "grey"), 9),
        box(0.15, 0.28, 0.1, pick(rng, "brown")).at(0, 0.02, r * 0.95),
        torus(r * 0.8, 0.015, rail, 14, 4).at(y=h + 0.16),
        around(box(0.06, 0.1, 0.06, pick(rng, "black")).at(0, h * 0.6, r * 0.72), 3),
    ]
    return Design(parts, "lighthouse", second, [("stripes", first), ("light", light)], ["striped", "tall"])
