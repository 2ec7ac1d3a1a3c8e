"""Things to wear, to light and to treasure."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.design import (
    ANY,
    BRIGHT,
    METAL,
    PRECIOUS,
    WOOD,
    Design,
    pick,
)
from gaussmith.synth.procedural.shapes import around, ball, both, box, cylinder, extrude, join, lathe, star, torus, tube


def lantern(rng: np.random.Generator) -> Design:
    u = rng.uniform
    iron, glow = pick(rng, METAL + BRIGHT), pick(rng, ("yellow", "orange", "white", "teal"))
    n, r, h = int(rng.choice([4, 6, 8])), u(0.2, 0.27), u(0.35, 0.5)
    flat = np.cos(np.pi / n)
    post = box(0.04, h, 0.04, iron).at(0, 0, r).turn(y=180 / n)
    a = np.linspace(0, np.pi, 9)
    parts = [
        lathe([(r * 1.2, -0.08), (r * 1.2, -0.03), (r * 1.05, 0)], iron, n),
        cylinder(r * 0.88, h, glow, sides=n),
        around(post, n),
        lathe([(r * 1.25, 0), (r * 1.2, 0.05), (r * 0.4, 0.2), (r * 0.3, 0.26)], iron, n).at(y=h),
        tube([(0.12 * np.cos(t), h + 0.24 + 0.17 * np.sin(t), 0) for t in a], 0.02, iron, 5),
        around(box(r * 1.1, 0.03, 0.03, iron).at(0, h * 0.5, r * flat * 0.95), n),
    ]
    return Design(parts, "lantern", iron, [("light", glow)], ["glowing"])


def hat(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cloth = pick(rng, ANY)
    band = pick(rng, ANY, cloth)
    kind = int(rng.integers(4))
    if kind == 0:
        h = u(0.6, 0.9)
        bend = u(-0.25, 0.25)
        parts = [
            cylinder(0.5, 0.05, cloth, sides=16),
            lathe([(0.3, 0.03), (0.21, h * 0.4), (0.1, h * 0.75), (0.0, h)], cloth, 12).bend(
                lambda p: p + np.column_stack([bend * p[:, 1] ** 2, 0 * p[:, 0], 0 * p[:, 0]])
            ),
            cylinder(0.31, 0.1, band, 0.28, 12).at(y=0.04),
        ]
        return Design(parts, "witch hat", cloth, [("band", band)], ["pointed"])
    if kind == 1:
        h = u(0.4, 0.6)
        parts = [
            lathe([(0.48, 0), (0.5, 0.04), (0.3, 0.06)], cloth, 18),
            cylinder(0.29, h, cloth, u(0.27, 0.33), 16),
            cylinder(0.305, 0.1, band, sides=16).at(y=0.05),
        ]
        return Design(parts, "top hat", cloth, [("band", band)], ["tall"])
    a = np.linspace(0, 1.57, 6)
    dome = lathe([(0.32 * np.cos(t), 0.3 * np.sin(t)) for t in a], cloth, 14)
    if kind == 2:
        parts = [dome, ball((0.3, 0.03, 0.28), band).at(0, 0.03, 0.32), ball(0.04, band).at(y=0.3)]
        return Design(parts, "cap", cloth, [("brim", band)])
    brim = (
        torus(0.42, 0.06, cloth, 18, 6)
        .scale(1, 0.5, 1)
        .bend(lambda p: p + np.column_stack([0 * p[:, 0], 0.8 * p[:, 0] ** 2, 0 * p[:, 0]]))
    )
    parts = [
        lathe([(0.44, -0.02), (0.44, 0.02), (0.25, 0.03)], cloth, 18).bend(
            lambda p: p + np.column_stack([0 * p[:, 0], 0.8 * p[:, 0] ** 2, 0 * p[:, 0]])
        ),
        brim,
        cylinder(0.27, 0.3, cloth, 0.22, 14),
        cylinder(0.28, 0.07, band, 0.27, 14).at(y=0.03),
    ]
    return Design(parts, "hat", cloth, [("band", band)], ["cowboy"])


def crown(rng: np.random.Generator) -> Design:
    u = rng.uniform
    metal, gem = pick(rng, ("gold", "gold", "gold", "silver")), pick(rng, BRIGHT)
    n, h, r, flare = int(rng.integers(5, 9)), u(0.25, 0.4), u(0.38, 0.44), u(1.0, 1.2)
    spike = (
        extrude([(-0.14, 0), (0.14, 0), (0, h)], 0.045, metal)
        .scale(r / 0.42)
        .turn(x=np.degrees(np.arctan(flare - 1)) * 0.8)
        .at(0, 0.14, r)
    )
    parts = [
        lathe([(r, 0), (r * 1.04, 0.04), (r, 0.08), (r, 0.18), (r * 0.9, 0.18), (r * 0.9, 0)], metal, 2 * n),
        around(spike, n),
        around(ball(0.045, metal).at(0, 0.14 + h, r * flare), n),
        around(ball(0.05, gem).at(0, 0.12, r * 1.0), n, 180 / n),
    ]
    details = [("gems", gem)]
    if rng.random() < 0.35:
        cloth = pick(rng, ("red", "purple", "blue"), gem)
        parts.append(ball((r * 0.9, h * 0.9, r * 0.9), cloth, 2).at(y=0.12))
        details.append(("cloth", cloth))
    return Design(parts, "crown", metal, details, ["royal"])


def key(rng: np.random.Generator) -> Design:
    u = rng.uniform
    metal, gem = pick(rng, METAL + PRECIOUS + BRIGHT), pick(rng, BRIGHT)
    long, r, t = u(0.55, 0.8), u(0.16, 0.22), u(0.035, 0.05)
    style = int(rng.integers(3))
    head = torus(r, t, metal, 14 if style else 4, 6).turn(x=90).at(y=r)
    if style == 2:
        head = join(
            [
                torus(r * 0.5, t, metal, 12, 6).turn(x=90).at(r * 0.75 * np.cos(a), r * 0.9 + r * 0.75 * np.sin(a))
                for a in (0.3, 1.57, 2.84)
            ]
        )
    parts = [head, tube([(0, 0.02, 0), (0, -long, 0)], t, metal, 8), torus(t * 1.2, t * 0.6, metal, 10, 5).at(y=-0.06)]
    parts += [
        box(u(0.12, 0.2), 0.06, t * 1.3, metal).at(0.08, -long + 0.02 + 0.11 * k)
        for k in range(int(rng.integers(2, 4)))
    ]
    details = []
    if style == 1 and rng.random() < 0.5:
        parts.append(ball((r * 0.6, r * 0.6, t), gem).at(y=r))
        details.append(("gem", gem))
    return Design([join(parts).turn(z=u(-60, 60))], "key", metal, details, ["old"])


def candle(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wax, holder, flame = (
        pick(rng, ("white", "tan", "white", *BRIGHT)),
        pick(rng, METAL),
        pick(rng, ("yellow", "orange")),
    )
    h, r, n = u(0.3, 0.8), u(0.09, 0.16), int(rng.choice([1, 1, 3]))
    one = join(
        [
            cylinder(r, h, wax, r * 0.92, 10),
            ball((r * 0.4, h * 0.2, 0.04), wax).at(0, h * 0.85, r * 0.85),
            tube([(0, h, 0), (0, h + 0.06, 0)], 0.012, pick(rng, "black"), 4),
            lathe([(0.02, 0), (0.06, 0.07), (0, 0.2)], flame, 7).at(y=h + 0.04),
        ]
    )
    parts = [
        lathe([(0.3, 0), (0.3, 0.03), (r * 1.1, 0.05), (r * 1.2, 0.12)], holder, 12),
        one.at(y=0.06),
        torus(0.07, 0.02, holder, 10, 5).turn(x=90).at(0.34, 0.06),
    ]
    if n == 3:
        stem = [
            lathe([(0.24, 0), (0.22, 0.05), (0.04, 0.1), (0.035, 0.5)], holder, 10),
            both(tube([(0, 0.35, 0), (0.25, 0.35, 0), (0.32, 0.5, 0)], 0.03, holder)),
        ]
        small = one.scale(0.5)
        parts = [
            *stem,
            small.at(y=0.52),
            both(join([small, cylinder(0.1, 0.03, holder, sides=9)]).at(0.32, 0.5)),
            cylinder(0.1, 0.03, holder, sides=9).at(y=0.5),
        ]
    return Design(
        parts,
        "candle" if n == 1 else "candelabrum",
        wax if n == 1 else holder,
        [("flame", flame), ("holder", holder) if n == 1 else ("candles", wax)],
        ["burning"],
    )


def torch(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, flame, core = (
        pick(rng, (*WOOD, "black")),
        pick(rng, ("orange", "red", "orange", "blue", "green", "purple")),
        pick(rng, "yellow"),
    )
    iron = pick(rng, METAL)
    h, f = u(0.5, 0.8), u(0.3, 0.45)
    parts = [
        lathe([(0.04, 0), (0.07, h)], wood, 8),
        lathe([(0.08, h - 0.1), (0.13, h), (0.13, h + 0.06), (0.05, h + 0.06)], iron, 8),
        lathe([(0.06, 0), (0.15, f * 0.35), (0.08, f * 0.75), (0, f * 1.1)], flame, 8).at(y=h + 0.02),
        lathe([(0.04, 0), (0.09, f * 0.3), (0, f * 0.6)], core, 6).at(0.03, h + 0.04, 0.09),
        lathe([(0.03, 0), (0.08, f * 0.25), (0, f * 0.65)], flame, 6).turn(z=-12).at(0.08, h + 0.05),
    ]
    return Design([join(parts).turn(z=u(-25, 25))], "torch", wood, [("flame", flame)], ["burning"])


def gem(rng: np.random.Generator) -> Design:
    u = rng.uniform
    noun = ("diamond", "ring", "coin", "star", "heart")[int(rng.integers(5))]
    color = pick(rng, (*BRIGHT, "white"))
    gold = pick(rng, (*PRECIOUS, "gold", "brown"))
    stone = lathe(
        [(0, -0.42), (0.45, 0), (0.28, u(0.14, 0.22)), (0.0, 0.2)],
        [color.shade(0.85), color.shade(1.1), color.shade(1.3)],
        int(rng.choice([6, 8])),
    )
    if noun == "diamond":
        return Design([stone], noun, color, [], ["shiny"])
    if noun == "ring":
        parts = [
            torus(0.35, u(0.05, 0.08), gold, 18, 6).turn(x=90),
            stone.scale(0.42).at(y=0.52),
            cylinder(0.06, 0.12, gold, 0.14, 8).at(y=0.34),
        ]
        return Design(parts, noun, gold, [("gem", color)], ["shiny"])
    if noun == "coin":
        parts = [
            cylinder(0.45, 0.1, gold.shade(0.85), sides=20).at(y=-0.05),
            cylinder(0.37, 0.12, gold, sides=20).at(y=-0.06),
            box(0.14, 0.14, 0.34, gold.shade(0.8)).at(0, -0.07),
        ]
        piled = rng.random() < 0.4
        solid = join(parts)
        if piled:
            return Design(
                [
                    solid.turn(y=40 * k).at(u(-0.05, 0.05), 0.12 * k, u(-0.05, 0.05))
                    for k in range(int(rng.integers(3, 7)))
                ],
                "coins",
                gold,
                [],
                ["stacked"],
            )
        return Design([solid.turn(x=90)], noun, gold, [], ["shiny"])
    if noun == "star":
        color = pick(rng, ("yellow", "yellow", "gold", *BRIGHT))
        return Design([extrude(star(0.5, u(0.19, 0.26)), 0.24, color, 0.75)], noun, color, [], ["shiny"])
    t = np.linspace(0, 2 * np.pi, 25)[:-1]
    outline = np.column_stack(
        [0.45 * np.sin(t) ** 3, 0.03 * (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))]
    )
    heart = pick(rng, ("red", "red", "pink", "purple", "blue"))
    return Design([extrude(outline, 0.28, heart, 0.35)], noun, heart, [], ["shiny"])


def chess_piece(rng: np.random.Generator) -> Design:
    paint = pick(rng, ("white", "black", "brown", "tan", *BRIGHT))
    kind = int(rng.integers(4))
    h = float(rng.uniform(0.4, 0.7))
    base = [(0.28, 0), (0.28, 0.06), (0.2, 0.12), (0.1, 0.22), (0.085, h), (0.16, h + 0.03), (0.09, h + 0.07)]
    parts, noun = [lathe(base, paint, 14)], ("pawn", "rook", "bishop", "king")[kind]
    if kind == 0:
        parts.append(ball(0.15, paint, 2).at(y=h + 0.18))
    elif kind == 1:
        parts += [
            lathe([(0.14, 0), (0.17, 0.16), (0.11, 0.16)], paint, 12).at(y=h + 0.04),
            around(box(0.075, 0.07, 0.05, paint).at(0, h + 0.19, 0.14), 5),
        ]
    elif kind == 2:
        parts += [
            lathe([(0.08, 0), (0.15, 0.12), (0.1, 0.28), (0, 0.38)], paint, 12).at(y=h + 0.05),
            ball(0.04, paint).at(y=h + 0.44),
        ]
    else:
        parts += [
            lathe([(0.09, 0), (0.17, 0.22), (0.1, 0.28)], paint, 12).at(y=h + 0.05),
            box(0.05, 0.2, 0.05, paint).at(y=h + 0.32),
            box(0.15, 0.05, 0.05, paint).at(y=h + 0.4),
        ]
    return Design(parts, f"chess {noun}", paint, [], [])


def trophy(rng: np.random.Generator) -> Design:
    u = rng.uniform
    metal, foot = pick(rng, ("gold", "gold", "silver", "brown")), pick(rng, ("black", "brown", "red", "blue"))
    r, h = u(0.26, 0.34), u(0.35, 0.5)
    a = np.linspace(-1.5, 1.3, 7)
    ear = tube([(r * 0.85 + 0.16 * np.cos(t), 0.55 + h * 0.55 + 0.15 * np.sin(t), 0) for t in a], 0.028, metal, 6)
    parts = [
        box(0.42, 0.18, 0.42, foot, bevel=0.015),
        lathe(
            [
                (0.17, 0.18),
                (0.05, 0.28),
                (0.05, 0.5),
                (r * 0.6, 0.58),
                (r * 0.9, 0.58 + h * 0.5),
                (r, 0.58 + h),
                (r * 0.9, 0.58 + h),
                (r * 0.5, 0.66),
            ],
            metal,
            14,
        ),
        both(ear),
        box(0.24, 0.09, 0.03, metal).at(0, 0.05, 0.205),
    ]
    return Design(parts, "trophy", metal, [("base", foot)], ["shiny"])


def bell(rng: np.random.Generator) -> Design:
    u = rng.uniform
    metal, bow = pick(rng, ("gold", "gold", "silver", "brown", "red")), pick(rng, BRIGHT)
    h = u(0.5, 0.65)
    parts = [
        lathe([(0.42, 0), (0.38, 0.06), (0.27, 0.2), (0.22, h * 0.75), (0.12, h * 0.95), (0, h)], metal, 14),
        ball(0.09, metal.shade(0.7)).at(y=-0.04),
        torus(0.07, 0.022, metal.shade(0.8), 10, 5).turn(x=90).at(y=h + 0.06),
    ]
    if rng.random() < 0.5:
        parts += [
            both(ball((0.16, 0.09, 0.06), bow).turn(z=20).at(0.15, h * 0.98, 0.05)),
            ball(0.06, bow).at(0, h * 0.96, 0.08),
        ]
        return Design(parts, "bell", metal, [("bow", bow)])
    return Design(parts, "bell", metal, [], ["shiny"])


def scroll(rng: np.random.Generator) -> Design:
    u = rng.uniform
    paper, seal, wood = pick(rng, ("tan", "white", "yellow")), pick(rng, BRIGHT), pick(rng, WOOD + PRECIOUS)
    w, h = u(0.5, 0.65), u(0.6, 0.8)
    rod = (
        join(
            [
                cylinder(0.06, w, paper, sides=10),
                cylinder(0.035, w + 0.2, wood, sides=8).at(y=-0.1),
                ball(0.05, wood).at(y=-0.1),
                ball(0.05, wood).at(y=w + 0.1),
            ]
        )
        .turn(z=90)
        .at(w / 2)
    )
    lines = [box(w * u(0.5, 0.8), 0.025, 0.01, pick(rng, "brown")).at(0, h * y, 0.028) for y in (0.35, 0.5, 0.65, 0.8)]
    parts = [
        rod,
        rod.at(y=h),
        box(w * 0.95, h, 0.03, paper),
        *lines,
        cylinder(0.07, 0.04, seal, sides=10).turn(x=90).at(w * 0.25, h * 0.2, 0.0),
    ]
    return Design(parts, "scroll", paper, [("seal", seal), ("rods", wood)], ["magic"])


def bag(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cloth, trim = pick(rng, ANY), pick(rng, ("brown", "tan", "gold", *BRIGHT))
    if rng.random() < 0.45:
        parts = [
            lathe(
                [(0.25, 0), (0.38, 0.08), (0.4, 0.3), (0.22, 0.52), (0.09, 0.6), (0.2, 0.74), (0.15, 0.76)], cloth, 10
            ),
            torus(0.1, 0.03, trim, 12, 6).at(y=0.6),
        ]
        return Design(parts, "sack", cloth, [("rope", trim)], ["round"])
    w, h, d = u(0.5, 0.6), u(0.6, 0.75), u(0.25, 0.32)
    parts = [
        box(w, h, d, cloth, bevel=0.08),
        box(w * 1.02, h * 0.35, d * 1.05, cloth.shade(0.85), bevel=0.08).at(y=h * 0.68),
        box(w * 0.7, h * 0.4, 0.14, trim, bevel=0.04).at(0, 0.06, d / 2),
        both(box(0.06, h * 0.35, 0.05, trim).at(w * 0.26, h * 0.5, d / 2 + 0.01)),
        both(
            tube(
                [(w * 0.28, h * 0.95, -d / 2), (w * 0.32, h * 0.6, -d / 2 - 0.14), (w * 0.3, h * 0.1, -d / 2)],
                0.035,
                trim,
                5,
            )
        ),
        torus(0.08, 0.022, trim, 10, 5).turn(x=90).at(y=h + 0.05),
    ]
    return Design(parts, "backpack", cloth, [("pocket", trim)])


def gift(rng: np.random.Generator) -> Design:
    u = rng.uniform
    paper = pick(rng, ANY)
    ribbon = pick(rng, BRIGHT + PRECIOUS + ("white",), paper)
    w, h, d = u(0.5, 0.75), u(0.35, 0.7), u(0.5, 0.7)
    loop = torus(0.1, 0.03, ribbon, 10, 5).turn(x=90).scale(1.3, 1, 1).turn(z=-30).at(0.13, h + 0.15)
    parts = [
        box(w, h, d, paper),
        box(w * 1.05, 0.1, d * 1.05, paper.shade(0.9)).at(y=h - 0.08),
        box(w * 1.07, h * 1.01 + 0.03, 0.12, ribbon),
        box(0.12, h * 1.01 + 0.03, d * 1.07, ribbon),
        both(loop),
        ball(0.06, ribbon).at(y=h + 0.07),
    ]
    parts[2], parts[3] = parts[2].at(y=-0.0), parts[3].at(y=-0.0)
    return Design(parts, "gift", paper, [("ribbon", ribbon)], ["wrapped"])
