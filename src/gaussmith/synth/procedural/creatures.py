"""People, robots, small animals and monsters; they look towards +Z."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.animals import eyes
from gaussmith.synth.procedural.design import (
    ANY,
    BRIGHT,
    METAL,
    SKIN,
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
    four,
    join,
    lathe,
    torus,
    tube,
)


def person(rng: np.random.Generator) -> Design:
    u = rng.uniform
    skin, shirt, trousers = pick(rng, SKIN), pick(rng, ANY), pick(rng, ANY)
    hair, shoe = (
        pick(rng, ("brown", "black", "yellow", "orange", "grey", "white")),
        pick(rng, ("black", "brown", "white", "red")),
    )
    woman = rng.random() < 0.4
    big = u(0.17, 0.26)
    leg, torso, w = u(0.35, 0.5), u(0.36, 0.45), u(0.3, 0.4)
    y, hy = leg + 0.04, leg + torso + 0.06 + big * 0.85
    lw = w * 0.2
    swing = u(5, 40) if rng.random() < 0.7 else 88
    arm = join(
        [
            tube([(0, 0, 0), (0, -0.2, 0), (0, -0.3, 0)], (0.065, 0.055, 0.055), shirt, 7),
            tube([(0, -0.3, 0), (0, -0.36, 0)], 0.042, skin, 6),
            ball(0.06, skin).at(y=-0.4),
        ]
    )
    parts = [
        both(
            join(
                [
                    tube([(0, y, 0), (0, 0.06, 0)], (lw * 1.1, lw * 0.85), trousers, 8),
                    box(lw * 1.9, 0.09, 0.2, shoe, bevel=0.02).at(0, 0, 0.03),
                ]
            ).at(w * 0.25)
        ),
        box(w * 0.85, torso, 0.2, shirt, bevel=0.04, taper=1.18).at(y=y),
        box(w * 0.88, 0.07, 0.21, trousers).at(y=y - 0.02),
        cylinder(0.06, 0.1, skin).at(y=y + torso - 0.02),
        both(arm.turn(z=swing).at(w * 0.5, y + torso - 0.06)),
        ball((big * 0.88, big, big * 0.88), skin, 2).at(y=hy),
        eyes(big * 0.36, hy + big * 0.05, big * 0.78, big * 0.1, rng),
    ]
    details = [("shirt", shirt), ("trousers", trousers), ("hair", hair)]
    if woman and rng.random() < 0.6:
        parts.append(lathe([(w * 0.62, y * 0.35), (w * 0.36, y + 0.12)], shirt, 12))
        details = [("dress", shirt), ("hair", hair)]
    cap = ball((big * 0.97, big * 0.97, big * 0.97), hair, 2).bend(
        lambda p: np.where((p[:, 1] < -0.1 * big)[:, None] | (p[:, 2] > 0.45 * big)[:, None], p * 0.82, p)
    )
    kind = int(rng.integers(4))
    if kind < 2:
        parts.append(cap.at(0, hy + big * 0.08, -big * 0.06))
        if woman:
            parts.append(box(big * 1.5, big * 1.5, big * 0.5, hair, bevel=0.05).at(0, hy - big * 1.1, -big * 0.75))
    elif kind == 2:
        hat = pick(rng, BRIGHT)
        parts += [
            cylinder(big * u(1.1, 1.6), 0.035, hat, sides=14).at(y=hy + big * 0.5),
            cylinder(big * 0.88, big * 0.7, hat, big * 0.7, 12).at(y=hy + big * 0.5),
        ]
        details[-1] = ("hat", hat)
    else:
        details.pop()
        if rng.random() < 0.6:
            helmet = pick(rng, METAL + BRIGHT)
            parts.append(
                lathe(
                    [(big * 0.98, 0), (big * 1.0, big * 0.3), (big * 0.7, big * 0.85), (0, big * 1.05)], helmet, 12
                ).at(y=hy + big * 0.15)
            )
            details.append(("helmet", helmet))
    return Design(parts, "woman" if woman else "man", shirt, details)


def robot(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, joint, light = (
        pick(rng, METAL + ANY),
        pick(rng, ("black", "grey")),
        pick(rng, ("red", "blue", "green", "yellow", "teal")),
    )
    trim = pick(rng, BRIGHT, body, light)
    w, h, d, leg = u(0.4, 0.55), u(0.4, 0.55), u(0.28, 0.38), u(0.25, 0.4)
    hw, hh = w * u(0.55, 0.95), u(0.22, 0.32)
    rounded = rng.random() < 0.35
    head = (
        ball((hw / 2, hh * 0.6, d * 0.45), body, 2).at(y=hh * 0.5)
        if rounded
        else box(hw, hh, d * 0.85, body, bevel=0.04)
    )
    hy = leg + h + 0.08
    parts = [
        box(w, h, d, body, bevel=0.05, taper=u(0.8, 1.15)).at(y=leg),
        box(w * 0.55, h * 0.4, 0.04, trim, bevel=0.01).at(0, leg + h * 0.32, d * 0.5),
        cylinder(0.08, 0.12, joint).at(y=leg + h - 0.02),
        head.at(y=hy),
        tube([(0, hy + hh, 0), (0, hy + hh + 0.15, 0)], 0.015, joint, 5),
        ball(0.04, light).at(0, hy + hh + 0.17),
    ]
    if rng.random() < 0.5:
        parts.append(box(hw * 0.75, hh * 0.3, 0.05, light, bevel=0.012).at(0, hy + hh * 0.42, d * 0.41))
    else:
        parts.append(
            both(
                join([cylinder(0.06, 0.05, joint).turn(x=90), cylinder(0.042, 0.065, light).turn(x=90)]).at(
                    hw * 0.23, hy + hh * 0.55, d * 0.4
                )
            )
        )
    swing, claw = u(-15, 80), rng.random() < 0.5
    arm = [
        ball(0.08, joint),
        tube([(0, 0, 0), (0.03, -0.22, 0)], 0.045, joint, 7),
        box(0.11, 0.2, 0.12, body, bevel=0.02).at(0.03, -0.4),
    ]
    arm.append(
        both(box(0.035, 0.12, 0.06, joint).turn(z=-10).at(0.035, -0.5)).at(0.03)
        if claw
        else ball(0.07, trim).at(0.03, -0.42)
    )
    parts.append(both(join(arm).turn(x=-swing).at(w / 2 + 0.07, leg + h * 0.8)))
    if rng.random() < 0.25:
        parts += [
            both(torus(0.12, 0.06, joint, 12, 6).turn(z=90).scale(1.3, 1, 1.6).at(w * 0.35, 0.17)),
            box(w * 0.6, leg, 0.12, joint).at(y=0.1),
        ]
        return Design(parts, "robot", body, [("eyes", light), ("wheels", joint)])
    parts.append(
        both(
            join(
                [cylinder(0.06, leg + 0.03, joint, sides=8), box(0.17, 0.12, 0.26, trim, bevel=0.03).at(0, 0, 0.04)]
            ).at(w * 0.26)
        )
    )
    return Design(parts, "robot", body, [("eyes", light), ("feet", trim)])


def turtle(rng: np.random.Generator) -> Design:
    u = rng.uniform
    skin, shell = pick(rng, ("green", "green", "teal", "yellow", "tan")), pick(rng, ("brown", "green", *BRIGHT))
    a = np.linspace(0.0, 1.57, 6)
    rise = u(0.28, 0.42)
    dome = lathe(
        [(0.4 * np.cos(t), rise * np.sin(t)) for t in a], [shell, shell.shade(0.8), shell, shell.shade(0.8), shell], 8
    )
    parts = [
        dome.scale(1, 1, 1.2).at(y=0.12),
        cylinder(0.42, 0.07, skin.shade(0.9), sides=12).scale(1, 1, 1.2).at(y=0.08),
        ball((0.14, 0.13, 0.16), skin, 2).at(0, 0.26, 0.62),
        tube([(0, 0.16, 0.35), (0, 0.24, 0.58)], (0.11, 0.09), skin, 8),
        eyes(0.08, 0.31, 0.71, 0.028, rng),
        four(ball((0.12, 0.1, 0.14), skin).at(0.33, 0.08, 0.33)),
        cylinder(0.06, 0.18, skin, 0, 6).turn(x=-100).at(0, 0.13, -0.46),
    ]
    return Design(parts, "turtle", skin, [("shell", shell)])


def snail(rng: np.random.Generator) -> Design:
    skin, shell = pick(rng, ("tan", "yellow", "green", "pink", "grey")), pick(rng, (*BRIGHT, "brown"))
    t = np.linspace(0, 11, 34)
    r = 0.3 * (1 - t / 13)
    coil = tube(
        np.column_stack([0.012 * t, r * np.sin(t), r * np.cos(t)]),
        0.16 * (1 - t / 14),
        [shell if k % 4 < 2 else shell.shade(0.82) for k in range(33)],
        8,
    )
    parts = [
        both(coil, 0).at(0, 0.45, -0.1),
        tube(
            [(0, 0.05, -0.65), (0, 0.09, -0.3), (0, 0.1, 0.3), (0, 0.16, 0.5), (0, 0.38, 0.62), (0, 0.45, 0.66)],
            (0.03, 0.13, 0.14, 0.13, 0.12, 0.05),
            skin,
            8,
        ),
        both(tube([(0.05, 0.42, 0.62), (0.1, 0.66, 0.7)], 0.022, skin, 5)),
        eyes(0.1, 0.68, 0.71, 0.04, rng),
    ]
    return Design(parts, "snail", skin, [("shell", shell)], ["slow"])


def insect(rng: np.random.Generator) -> Design:
    u = rng.uniform
    noun = ("bee", "butterfly", "ladybug", "spider", "ant")[int(rng.integers(5))]
    black = pick(rng, "black")
    body = {
        "bee": pick(rng, "yellow"),
        "ladybug": pick(rng, ("red", "orange", "yellow")),
        "ant": pick(rng, ("black", "red", "brown")),
        "spider": pick(rng, ("black", "brown", "purple", "grey")),
    }.get(noun, pick(rng, ("brown", "black")))
    wing = pick(rng, BRIGHT)
    legs = [
        tube([(0.08, 0.16, z), (0.3, 0.26, z * 1.6), (0.42, 0.0, z * 2.2)], 0.022, black, 5)
        for z in ((-0.16, -0.05, 0.06, 0.17) if noun == "spider" else (-0.1, 0.02, 0.14))
    ]
    parts = [both(join(legs))]
    if noun == "bee":
        t = np.linspace(0, 1, 8)
        parts.append(
            tube(
                np.column_stack([0 * t, 0.24 + 0 * t, 0.25 - 0.6 * t]),
                0.02 + 0.2 * np.sin(np.pi * (0.08 + 0.9 * t)),
                [body if k % 2 else black for k in range(7)],
                10,
            )
        )
        pale = pick(rng, ("white", "teal"))
        parts += [
            ball(0.15, body, 2).at(0, 0.27, 0.32),
            both(ball((0.28, 0.02, 0.14), pale.shade(1.2)).turn(z=28, y=20).at(0.24, 0.48, 0)),
            eyes(0.08, 0.32, 0.43, 0.04, rng),
            both(tube([(0.04, 0.38, 0.4), (0.08, 0.5, 0.5)], 0.012, black, 4)),
        ]
        return Design(parts, noun, body, [("stripes", black), ("wings", pale)], ["striped"])
    if noun == "butterfly":
        dot = pick(rng, ANY, wing)
        upper, lower = (
            extrude([(0.02, 0.0), (0.12, 0.34), (0.42, 0.48), (0.55, 0.3), (0.4, 0.02)], 0.025, wing),
            extrude([(0.02, 0), (0.38, -0.02), (0.42, -0.22), (0.25, -0.36), (0.1, -0.22)], 0.025, wing.shade(0.85)),
        )
        spots = [
            cylinder(r, 0.035, dot, sides=9).turn(x=90).at(x, y, -0.0175)
            for r, x, y in ((0.09, 0.38, 0.3), (0.06, 0.27, -0.17))
        ]
        sheet = join([upper, lower, *spots]).turn(y=-u(5, 45))
        parts = [
            both(sheet),
            tube([(0, -0.28, 0), (0, 0.0, 0.02), (0, 0.2, 0.01)], (0.025, 0.05, 0.045), body, 7),
            ball(0.06, body).at(y=0.25),
            both(tube([(0.02, 0.28, 0), (0.1, 0.42, 0.06)], 0.01, black, 4)),
        ]
        return Design([join(parts).turn(x=u(-60, 0))], noun, wing, [("spots", dot), ("body", body)], ["pretty"])
    if noun == "ladybug":
        a = np.linspace(0, 1.57, 6)
        parts.append(lathe([(0.34 * np.cos(t), 0.32 * np.sin(t)) for t in a], body, 14).scale(1, 1, 1.15).at(y=0.1))
        parts += [
            box(0.025, 0.03, 0.3, black).at(0, 0.405, 0),
            ball((0.18, 0.15, 0.14), black, 2).at(0, 0.2, 0.38),
            eyes(0.09, 0.27, 0.47, 0.035, rng, True),
        ]
        parts += [
            both(
                ball((0.07, 0.03, 0.07), black).turn(z=-np.degrees(e)).at(0.335 * np.sin(e), 0.1 + 0.318 * np.cos(e), z)
            )
            for e, z in ((0.6, 0.14), (0.95, -0.08), (0.45, -0.18))
        ]
        return Design(parts, noun, body, [("spots", black)], ["spotted"])
    r = u(0.2, 0.28) if noun == "spider" else u(0.14, 0.18)
    parts += [
        ball((r, r * 0.9, r * 1.15), body, 2).at(0, 0.24, -0.3),
        ball((0.13, 0.11, 0.15), body, 2).at(0, 0.2, 0.03),
        ball((0.12, 0.11, 0.12), body, 2).at(0, 0.23, 0.24),
        eyes(0.06, 0.28, 0.33, 0.03, rng, True),
    ]
    if noun == "ant":
        parts.append(both(tube([(0.04, 0.32, 0.28), (0.09, 0.42, 0.38), (0.1, 0.4, 0.48)], 0.012, black, 4)))
        return Design(parts, noun, body, [], ["small"])
    mark = pick(rng, ("red", "yellow", "white"), body)
    parts.append(ball((r * 0.4, r * 0.3, r * 0.6), mark).at(0, 0.24 + r * 0.68, -0.32))
    return Design(parts, noun, body, [("mark", mark)], ["scary"])


def crab(rng: np.random.Generator) -> Design:
    u = rng.uniform
    shell, claw = pick(rng, ("red", "red", "orange", "blue", "pink", "purple")), None
    claw = pick(rng, BRIGHT) if rng.random() < 0.3 else shell.shade(0.85)
    pincer = join(
        [
            ball((0.15, 0.11, 0.12), claw, 1),
            cylinder(0.07, 0.2, claw, 0, 6).turn(x=70, y=25).at(0.06, 0.02, 0.08),
            cylinder(0.05, 0.17, claw, 0, 6).turn(x=80, y=-30).at(-0.07, 0, 0.08),
        ]
    )
    legs = [
        tube([(0.3, 0.2, z), (0.52, 0.3, z * 1.5), (0.64, 0.0, z * 1.9)], 0.03, claw, 5) for z in (-0.2, -0.06, 0.08)
    ]
    parts = [
        ball((0.4, u(0.18, 0.25), 0.3), shell, 2).at(y=0.24),
        both(join(legs)),
        both(tube([(0.3, 0.24, 0.16), (0.5, 0.3, 0.34)], 0.05, claw, 6)),
        both(pincer.at(0.52, 0.34, 0.42)),
        both(tube([(0.12, 0.35, 0.2), (0.14, 0.52, 0.26)], 0.02, shell, 5)),
        eyes(0.14, 0.54, 0.27, 0.045, rng, True),
    ]
    return Design(parts, "crab", shell, [("claws", claw)])


def octopus(rng: np.random.Generator) -> Design:
    u = rng.uniform
    skin, dot = pick(rng, BRIGHT), pick(rng, ("white", "yellow", "pink"))
    t = np.linspace(0, 1, 8)
    curl = u(0.1, 0.3)
    arm = tube(
        np.column_stack([0.2 + 0.45 * t, 0.2 - 0.35 * t**0.7 + curl * t**3, 0.06 * np.sin(5 * t)]),
        0.11 * (1 - 0.8 * t),
        skin,
        7,
    )
    parts = [
        around(arm, 8, 22.5),
        ball((0.3, u(0.34, 0.45), 0.3), skin, 2).at(y=0.5),
        eyes(0.13, 0.48, 0.27, 0.05, rng, True),
    ]
    parts += [
        ball(0.04, dot, 0).at(0.28 * np.sin(a), 0.62 + 0.1 * np.sin(3 * a), 0.25 * np.cos(a))
        for a in np.linspace(1.6, 4.7, 7)
    ]
    return Design(parts, "octopus", skin, [("spots", dot)])


def whale(rng: np.random.Generator) -> Design:
    skin, belly = pick(rng, ("blue", "blue", "grey", "teal", "purple")), pick(rng, "white")
    t = np.linspace(0, 1, 11)
    r = np.interp(t, [0, 0.08, 0.3, 0.6, 0.85, 1], [0.12, 0.28, 0.36, 0.28, 0.1, 0.05])
    path = np.column_stack([0 * t, 0.25 * np.maximum(t - 0.6, 0) ** 1.3, 0.55 - 1.2 * t])
    fluke = extrude([(0, 0.06), (0.32, -0.16), (0.26, -0.26), (0, -0.1)], 0.05, skin).turn(x=90)
    parts = [
        tube(path, r, skin, 12).paint(lambda c: c[:, 1] < -0.1, belly),
        both(fluke).turn(x=-15).at(0, 0.09, -0.62),
        both(ball((0.22, 0.04, 0.1), skin).turn(z=-25, y=20).at(0.4, -0.15, 0.15)),
        eyes(0.28, 0.0, 0.4, 0.035, rng),
    ]
    if rng.random() < 0.5:
        water = pick(rng, ("teal", "blue", "white"), skin)
        parts.append(both(tube([(0, 0.3, 0.2), (0.04, 0.5, 0.2), (0.16, 0.58, 0.2)], (0.03, 0.04, 0.05), water, 6)))
        return Design(parts, "whale", skin, [("belly", belly), ("water", water)])
    return Design(parts, "whale", skin, [("belly", belly)], ["big"])


def snake(rng: np.random.Generator) -> Design:
    u = rng.uniform
    skin = pick(rng, (*BRIGHT, "green", "brown"))
    second = pick(rng, ANY, skin)
    n = 30
    t = np.linspace(0, 1, n)
    waves, width = u(7, 13), u(0.12, 0.25)
    path = np.column_stack(
        [
            width * np.sin(waves * t) * (1 - 0.3 * t),
            0.06 + 0.35 * np.clip(t - 0.85, 0, 1) / 0.15 * (t > 0.85),
            -0.7 + 1.3 * t,
        ]
    )
    r = 0.08 * np.minimum(1, 0.15 + 3 * t)
    banded = rng.random() < 0.6
    head = path[-1].tolist()
    parts = [
        tube(path, r, [second if banded and k % 5 < 2 else skin for k in range(n - 1)], 8),
        ball((0.11, 0.085, 0.15), skin, 2).at(0, 0.02, 0.06).at(*head),
    ]
    parts += [
        eyes(0.06, 0.06, 0.13, 0.022, rng).at(0, 0.02, 0.02).at(*head),
        box(0.02, 0.012, 0.14, pick(rng, "red")).at(0, -0.01, 0.24).at(*head),
    ]
    return Design(parts, "snake", skin, [("stripes", second)] if banded else [], ["striped"] if banded else ["long"])


def ghost(rng: np.random.Generator) -> Design:
    u = rng.uniform
    sheet, mouth = pick(rng, ("white", "white", "white", "blue", "purple", "teal", "green")), pick(rng, "black")
    a = np.linspace(0, 1.57, 6)
    n, h = int(rng.integers(5, 9)), u(0.4, 0.6)
    body = lathe([(0.36, 0), (0.32, h * 0.5), *[(0.3 * np.cos(t), h + 0.3 * np.sin(t)) for t in a]], sheet, 18)
    parts = [
        body,
        around(cylinder(0.13, 0.16, sheet, 0, 7).turn(x=180).at(0.25, 0.01), n),
        both(ball((0.11, 0.07, 0.07), sheet).turn(z=-u(-10, 50)).at(0.37, h * 0.75, 0.1)),
        both(ball((0.05, 0.075, 0.03), mouth).at(0.11, h + 0.06, 0.275)),
        ball((0.06, u(0.04, 0.08), 0.03), mouth).at(0, h - 0.1, 0.3),
    ]
    return Design(parts, "ghost", sheet, [("eyes", mouth)], ["spooky"])


def slime(rng: np.random.Generator) -> Design:
    u = rng.uniform
    noun = ("slime", "monster", "alien")[int(rng.integers(3))]
    skin, horn = pick(rng, BRIGHT), pick(rng, ("white", "yellow", "tan", "black"))
    tall = u(0.55, 1.0)
    body = lathe(
        [(0.42, 0), (0.44, 0.06), (0.38, tall * 0.4), (0.28, tall * 0.72), (0.14, tall * 0.92), (0, tall * 0.98)],
        skin,
        14,
    )
    eyes = int(rng.integers(1, 4))
    parts = [body]
    for k in range(eyes):
        x = (k - (eyes - 1) / 2) * 0.2
        y = tall * 0.5
        z = 0.36 - 0.4 * abs(x)
        parts += [ball(0.1, pick(rng, "white"), 2).at(x, y, z), ball(0.055, pick(rng, "black")).at(x, y, z + 0.065)]
    eyes_word = ("one", "two", "three")[eyes - 1]
    parts.append(box(u(0.12, 0.25), 0.05, 0.06, pick(rng, ("black", "red")), bevel=0.012).at(0, tall * 0.22, 0.39))
    details = []
    if noun == "monster":
        parts += [
            both(
                tube([(0.2, tall * 0.72, 0), (0.32, tall * 0.9, 0), (0.3, tall * 1.08, 0)], (0.08, 0.05, 0.01), horn, 6)
            ),
            both(tube([(0.36, tall * 0.4, 0.05), (0.55, tall * 0.25, 0.12)], (0.08, 0.07), skin, 6)),
        ]
        details = [("horns", horn)]
    elif noun == "alien":
        parts.append(
            both(
                join(
                    [
                        tube([(0.08, tall * 0.85, 0), (0.16, tall * 1.15, 0)], 0.02, skin, 5),
                        ball(0.06, horn).at(0.16, tall * 1.16),
                    ]
                )
            )
        )
        details = [("antennas", horn)]
    return Design(parts, noun, skin, details, [f"{eyes_word}-eyed"] if eyes > 1 else [])
