"""Weapons and tools."""

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
from gaussmith.synth.procedural.shapes import (
    around,
    ball,
    both,
    box,
    cylinder,
    extrude,
    join,
    lathe,
    loft,
    star,
    torus,
    tube,
)


def sword(rng: np.random.Generator) -> Design:
    u = rng.uniform
    blade = pick(rng, ("silver", "silver", "grey", "white", "gold", *BRIGHT))
    guard, grip = pick(rng, PRECIOUS + BRIGHT + ("black",)), pick(rng, ("brown", "black", *BRIGHT))
    long, w, curve = u(0.7, 1.2), u(0.09, 0.2), u(0, 0.15) if rng.random() < 0.3 else 0.0
    ys = np.linspace(0, 1, 7)
    widths = w / 2 * np.interp(ys, [0, 0.8, 1], [1, u(0.7, 1.1), 0.03])
    steel = loft(
        np.stack(
            [
                [
                    (s + curve * y * y, long * y, 0),
                    (curve * y * y, long * y, -0.028 * (1 - 0.7 * y)),
                    (-s + curve * y * y, long * y, 0),
                    (curve * y * y, long * y, 0.028 * (1 - 0.7 * y)),
                ]
                for s, y in zip(widths, ys)
            ]
        ),
        blade,
    )
    style = int(rng.integers(3))
    hilt = u(0.2, 0.32)
    cross = box(w * u(2, 3), 0.07, 0.09, guard, bevel=0.015).at(y=-0.05)
    if style == 1:
        cross = tube(
            [(-w * 1.4, 0.08, 0), (-w * 0.8, -0.02, 0), (w * 0.8, -0.02, 0), (w * 1.4, 0.08, 0)],
            (0.03, 0.045, 0.045, 0.03),
            guard,
            6,
        )
    parts = [
        steel,
        cross,
        lathe([(0.04, -hilt), (0.045, -hilt * 0.5), (0.04, 0)], [grip, grip.shade(0.85)], 8),
        ball(0.06, guard).at(y=-hilt - 0.03),
    ]
    if style == 2:
        gem = pick(rng, BRIGHT, guard)
        parts.append(both(ball((0.05, 0.05, 0.03), gem).at(0, -0.01, 0.045), 2))
    turn = u(-50, 50) if rng.random() < 0.6 else 180
    noun = "dagger" if long < 0.8 else "sword"
    return Design(
        [join(parts).turn(z=turn)], noun, blade, [("hilt", grip), ("guard", guard)], ["curved"] if curve else ["sharp"]
    )


def axe(rng: np.random.Generator) -> Design:
    u = rng.uniform
    steel, wood = pick(rng, METAL), pick(rng, (*WOOD, "black", "red"))
    edge, h, reach, tall = steel.shade(1.3), u(0.9, 1.3), u(0.25, 0.36), u(0.16, 0.24)
    head = extrude(
        [
            (0, 0.07),
            (reach * 0.6, tall * 0.6),
            (reach, tall),
            (reach * 1.12, 0),
            (reach, -tall),
            (reach * 0.6, -tall * 0.5),
            (0, -0.07),
        ],
        0.1,
        steel,
    )
    rim = extrude(
        [
            (reach * 0.93, tall * 1.05),
            (reach * 1.1, tall * 0.5),
            (reach * 1.22, 0),
            (reach * 1.1, -tall * 0.5),
            (reach * 0.93, -tall * 1.05),
            (reach * 1.06, 0),
        ],
        0.06,
        edge,
    )
    blade = join([head, rim]).bend(
        lambda p: (
            p * np.column_stack([np.ones(len(p)), np.ones(len(p)), 1 - 0.75 * np.clip(p[:, 0] / (reach * 1.2), 0, 1)])
        )
    )
    doubled = rng.random() < 0.4
    parts = [
        tube([(0, -h * 0.5, 0), (0.02, 0, 0), (0, h * 0.5, 0)], 0.04, wood, 7),
        (both(blade) if doubled else blade).at(y=h * 0.35),
        box(0.11, 0.17, 0.12, steel.shade(0.8), bevel=0.015).at(y=h * 0.35 - 0.085),
    ]
    return Design(
        [join(parts).turn(z=u(-40, 40))], "axe", steel, [("handle", wood)], ["double"] if doubled else ["sharp"]
    )


def hammer(rng: np.random.Generator) -> Design:
    u = rng.uniform
    steel, wood = pick(rng, METAL + BRIGHT), pick(rng, WOOD + BRIGHT)
    h, w, s = u(0.7, 1.1), u(0.35, 0.55), u(0.16, 0.28)
    parts = [tube([(0, 0, 0), (0, h, 0)], (0.05, 0.04), wood, 8)]
    if rng.random() < 0.5:
        parts += [
            box(w, s, s, steel, bevel=0.03).at(y=h - s / 2),
            both(box(0.06, s * 1.2, s * 1.2, steel.shade(0.8), bevel=0.015).at(w * 0.4, h - s * 0.6)),
        ]
    else:
        parts += [
            cylinder(s * 0.55, w, steel, sides=10).turn(z=90).at(w / 2, h),
            both(cylinder(s * 0.65, 0.07, steel.shade(0.8), sides=10).turn(z=90).at(w / 2 + 0.02, h)),
        ]
    return Design([join(parts).turn(z=u(-35, 35))], "hammer", steel, [("handle", wood)], ["heavy"])


def bow(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, string, grip = pick(rng, (*WOOD, "gold", *BRIGHT)), pick(rng, ("white", "tan")), pick(rng, ANY)
    a = np.linspace(-1.15, 1.15, 13)
    flip = u(0, 0.12)
    path = np.column_stack([0.75 * np.cos(a) - 0.3 + flip * (np.abs(a) > 0.95), 0.75 * np.sin(a), 0 * a])
    parts = [
        tube(path, 0.045 * (1 - 0.6 * np.abs(a) / 1.2), wood, 6),
        tube([path[0], path[-1]], 0.008, string, 4),
        tube(path[5:8], 0.055, grip, 8),
    ]
    if rng.random() < 0.5:
        tip, fletch = pick(rng, METAL), pick(rng, BRIGHT)
        parts += [
            tube([(-0.25, 0, 0), (0.75, 0, 0)], 0.014, wood, 5),
            cylinder(0.05, 0.12, tip, 0, 4).turn(z=-90).at(0.72),
            box(0.16, 0.1, 0.012, fletch).at(-0.18, -0.05),
            box(0.16, 0.012, 0.1, fletch).at(-0.18),
        ]
        return Design(parts, "bow", wood, [("arrow", fletch), ("grip", grip)], ["wooden"] if wood.name in WOOD else [])
    return Design(parts, "bow", wood, [("string", string), ("grip", grip)], ["curved"])


def arrow(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, tip, fletch = pick(rng, WOOD), pick(rng, METAL), pick(rng, ANY)
    spear = rng.random() < 0.5
    h = u(1.0, 1.3)
    parts = [
        tube([(0, 0, 0), (0, h, 0)], 0.03, wood, 6),
        lathe([(0.03, 0), (u(0.08, 0.12), 0.06), (0, u(0.2, 0.32))], tip, 4, depth=0.4).at(y=h),
    ]
    if spear:
        parts += [
            cylinder(0.045, 0.12, fletch, sides=8).at(y=h - 0.11),
            ball((0.03, 0.1, 0.03), fletch).at(0.05, h - 0.18),
        ]
        return Design([join(parts).turn(z=u(-30, 30))], "spear", wood, [("tip", tip), ("ribbon", fletch)], ["long"])
    parts += [around(extrude([(0.02, 0), (0.13, -0.04), (0.13, 0.16), (0.02, 0.22)], 0.015, fletch), 3)]
    return Design([join(parts).turn(z=u(-50, 50))], "arrow", wood, [("tip", tip), ("feathers", fletch)], ["pointed"])


def shield(rng: np.random.Generator) -> Design:
    u = rng.uniform
    face, rim = pick(rng, ANY + WOOD), pick(rng, METAL)
    mark = pick(rng, ANY, face)
    kind = int(rng.integers(3))
    w, h = u(0.36, 0.45), u(0.45, 0.6)
    if kind == 0:
        outline = [(0.42 * np.cos(a), 0.42 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 19)[:-1]]
    elif kind == 1:
        outline = [
            (-w, h * 0.75),
            (0, h * 0.85),
            (w, h * 0.75),
            (w * 0.97, 0),
            (w * 0.65, -h * 0.5),
            (0, -h),
            (-w * 0.65, -h * 0.5),
            (-w * 0.97, 0),
        ]
    else:
        outline = [(-w, h * 0.8), (w, h * 0.8), (w, -h * 0.5), (0, -h * 0.85), (-w, -h * 0.5)]
    flat = np.array(outline)
    parts = [extrude(flat, 0.09, rim, 0.03), extrude(flat * 0.87, 0.13, face, 0.03)]
    emblem = int(rng.integers(4))
    if emblem == 0:
        parts += [box(0.11, h * 1.3, 0.15, mark).at(y=-h * 0.65), box(w * 1.5, 0.11, 0.15, mark).at(y=0.02)]
    elif emblem == 1:
        parts.append(lathe([(0.16, 0), (0.13, 0.07), (0, 0.11)], rim, 12).turn(x=90).at(z=0.06))
    elif emblem == 2:
        parts.append(extrude(star(0.24, 0.1), 0.16, mark))
    else:
        parts[1] = parts[1].paint(lambda c: c[:, 0] > 0, mark)
    parts += [
        ball(0.035, rim.shade(0.8), 0).at(x * 0.94, y * 0.94, 0.05) for x, y in flat[:: 2 if kind == 0 else 1].tolist()
    ]
    solid = join(parts)
    bulge = u(0.1, 0.35)
    return Design(
        [solid.bend(lambda p: p - np.column_stack([0 * p[:, 0], 0 * p[:, 0], bulge * (p[:, 0] ** 2)]))],
        "shield",
        face,
        [("rim", rim), ("emblem", mark)],
        ["round"] if kind == 0 else ["heavy"],
    )


def bomb(rng: np.random.Generator) -> Design:
    u = rng.uniform
    shell, spark, cap = (
        pick(rng, ("black", "black", "grey", "red", "blue", "purple")),
        pick(rng, ("orange", "yellow")),
        pick(rng, METAL),
    )
    parts = [
        ball(0.4, shell, 2),
        cylinder(0.14, 0.12, cap, sides=10).at(y=0.36),
        tube([(0, 0.45, 0), (0.04, 0.58, 0), (0.14, 0.66, 0)], 0.022, pick(rng, "tan"), 6),
        ball(0.06, spark, 0, 0.3, rng).at(0.16, 0.67),
    ]
    if rng.random() < 0.3:
        skull = pick(rng, "white")
        parts += [
            ball((0.14, 0.13, 0.05), skull).at(0, 0.05, 0.37),
            box(0.13, 0.09, 0.05, skull).at(0, -0.11, 0.37),
            both(ball(0.035, pick(rng, "black")).at(0.055, 0.05, 0.415)),
        ]
        return Design([join(parts).turn(z=u(-20, 10))], "bomb", shell, [("skull", skull)], ["round"])
    return Design([join(parts).turn(z=u(-20, 10))], "bomb", shell, [("spark", spark)], ["round"])


def cannon(rng: np.random.Generator) -> Design:
    u = rng.uniform
    iron, wood, hoop = pick(rng, ("black", "grey", "gold", "blue")), pick(rng, (*WOOD, "red")), pick(rng, METAL)
    r, up = u(0.13, 0.18), u(5, 25)
    barrel = lathe(
        [
            (0.04, -0.42),
            (r * 0.6, -0.36),
            (r * 1.15, -0.32),
            (r * 1.05, 0),
            (r * 0.8, 0.45),
            (r * 1.05, 0.48),
            (r * 1.05, 0.56),
            (r * 0.6, 0.56),
            (r * 0.55, 0.4),
        ],
        [iron, iron, iron, iron.shade(0.9), hoop, hoop, pick(rng, "black"), pick(rng, "black")],
        12,
    )
    rim = join(
        [
            torus(0.2, 0.03, wood, 14, 5).turn(z=90),
            *[box(0.03, 0.4, 0.035, wood).at(y=-0.2).turn(x=45 * k) for k in range(4)],
            ball(0.05, hoop),
        ]
    )
    parts = [
        barrel.turn(x=90 - up).at(0, 0.36, 0.05),
        both(rim.at(0.22, 0.21, 0.05)),
        both(extrude([(-0.55, 0.02), (-0.5, 0.14), (0.15, 0.36), (0.22, 0.2)], 0.06, wood).turn(y=-90).at(0.13)),
        tube([(-0.2, 0.21, 0.05), (0.2, 0.21, 0.05)], 0.03, hoop),
    ]
    return Design(parts, "cannon", iron, [("wheels", wood)])


def gun(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, grip, light = pick(rng, ("grey", "black", *ANY)), pick(rng, ("brown", "black", "grey")), pick(rng, BRIGHT)
    long = u(0.5, 1.1)
    parts = [
        box(0.12, 0.17, long * 0.6, body, bevel=0.02).at(0, 0, 0),
        tube([(0, 0.1, long * 0.25), (0, 0.1, long * 0.62)], 0.045, body.shade(0.75), 8),
        box(0.1, 0.3, 0.14, grip, bevel=0.02).turn(x=-15).at(0, -0.27, -long * 0.18),
        torus(0.06, 0.014, body.shade(0.7), 10, 4).turn(z=90).at(0, -0.06, -long * 0.02),
        box(0.13, 0.05, long * 0.3, light).at(0, 0.06, 0.02),
        box(0.04, 0.05, 0.08, body.shade(0.7)).at(0, 0.165, -long * 0.2),
    ]
    noun = "pistol"
    if long > 0.8:
        noun = "rifle"
        parts += [
            box(0.09, 0.16, 0.34, grip, bevel=0.02, taper=(1, 0.9)).at(0, -0.06, -long * 0.42),
            cylinder(0.04, 0.26, body.shade(0.8), sides=8).turn(x=90).at(0, 0.24, -0.13),
            box(0.08, 0.22, 0.1, body.shade(0.8)).turn(x=12).at(0, -0.2, long * 0.08),
        ]
    return Design([join(parts).turn(y=u(-90, 90))], noun, body, [("grip", grip), ("stripe", light)])


def wand(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, orb, ring = pick(rng, WOOD + ANY), pick(rng, BRIGHT), pick(rng, PRECIOUS)
    h, bend = u(0.8, 1.2), u(-0.08, 0.08)
    parts = [
        tube([(0, 0, 0), (bend, h * 0.5, 0), (0, h, 0)], (0.03, 0.035, 0.045), wood, 7),
        torus(0.055, 0.02, ring, 10, 5).at(y=h * 0.9),
    ]
    if rng.random() < 0.5:
        parts.append(ball(0.13, orb, 1).at(y=h + 0.1))
        parts.append(
            around(
                tube([(0.04, h - 0.02, 0), (0.14, h + 0.06, 0), (0.13, h + 0.18, 0)], (0.025, 0.02, 0.008), wood, 5), 3
            )
        )
        return Design([join(parts).turn(z=u(-25, 25))], "magic staff", wood, [("orb", orb), ("ring", ring)])
    parts.append(extrude(star(0.2, 0.09), 0.1, orb, 0.6).at(y=h + 0.12))
    return Design([join(parts).turn(z=u(-25, 25))], "magic wand", wood, [("star", orb)])


def anvil(rng: np.random.Generator) -> Design:
    u = rng.uniform
    iron, wood = pick(rng, ("grey", "black", "silver", "blue")), pick(rng, WOOD)
    w = u(0.5, 0.65)
    parts = [
        box(0.5, 0.1, 0.4, iron, taper=0.9).at(y=0),
        box(0.36, 0.18, 0.26, iron, taper=(0.8, 0.8)).at(y=0.1),
        box(w, 0.18, 0.32, iron.shade(1.1), bevel=0.015).at(y=0.27),
        cylinder(0.13, 0.35, iron.shade(1.1), 0.02, 8).turn(z=-85).at(w * 0.45, 0.36),
    ]
    if rng.random() < 0.6:
        parts = [*[p.at(y=0.35) for p in parts], cylinder(0.34, 0.36, wood, 0.32, 12)]
        return Design(parts, "anvil", iron, [("stump", wood)], ["iron"])
    return Design(parts, "anvil", iron, [], ["iron", "heavy"])


def anchor(rng: np.random.Generator) -> Design:
    u = rng.uniform
    iron, rope = pick(rng, (*METAL, "blue", "red", "brown")), pick(rng, ("tan", "brown"))
    a = np.linspace(-np.pi + 0.35, -0.35, 11)
    r = u(0.34, 0.44)
    parts = [
        tube([(0, -0.5, 0), (0, 0.4, 0)], (0.06, 0.045), iron, 7),
        tube([(r * np.cos(t), -0.1 + r * 1.05 * np.sin(t), 0) for t in a], 0.055, iron, 7),
        torus(0.1, 0.03, iron, 12, 6).turn(x=90).at(y=0.5),
        tube([(-0.25, 0.28, 0), (0.25, 0.28, 0)], 0.04, iron, 6),
        both(cylinder(0.11, 0.2, iron, 0, 4).turn(z=-20).at(r * 0.96, -0.3)),
    ]
    if rng.random() < 0.5:
        t = np.linspace(0, 1, 14)
        parts.append(tube(np.column_stack([0.1 * np.sin(9 * t), 0.5 - 0.85 * t, 0.1 * np.cos(9 * t)]), 0.028, rope, 5))
        return Design(parts, "anchor", iron, [("rope", rope)])
    return Design(parts, "anchor", iron, [], ["heavy"])
