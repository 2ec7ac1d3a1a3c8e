"""Things to play with and to use."""

from __future__ import annotations

from itertools import pairwise

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
    torus,
    tube,
    wedges,
)


def guitar(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, neck = pick(rng, WOOD + ANY), pick(rng, ("brown", "black", "tan"))
    electric = rng.random() < 0.4
    t = np.linspace(0, 2 * np.pi, 29)[:-1]
    wide, waist = u(0.3, 0.38), u(0.2, 0.38)
    # A bean: two lobes along the neck, the lower one larger, and a waist between them.
    outline = np.column_stack(
        [
            wide * np.sin(t) * (1 + 0.16 * np.cos(t)) * (1 - waist * np.exp(-((np.cos(t) + 0.12) ** 2) * 9)),
            -0.42 * np.cos(t),
        ]
    )
    if electric:
        outline[(outline[:, 1] > 0.2) & (np.abs(outline[:, 0]) > 0.12)] *= (1.2, 1.35)
    d, long = (0.09 if electric else u(0.14, 0.2)), u(0.6, 0.75)
    string, plate = pick(rng, ("white", "silver")), pick(rng, ("black", "white", "brown"), body)
    parts = [
        extrude(outline, d, body, 0.04),
        box(0.075, long + 0.2, 0.05, neck).at(0, 0.15, d / 2),
        box(0.12, 0.2, 0.05, neck.shade(0.7), taper=1.25).at(0, 0.33 + long, d / 2 - 0.02),
        box(0.2, 0.04, 0.03, plate).at(0, -0.22, d / 2),
        *[box(0.006, long + 0.5, 0.006, string).at(x, -0.2, d / 2 + 0.03) for x in (-0.024, -0.008, 0.008, 0.024)],
        both(join([ball(0.022, string, 0).at(0.085, 0.38 + long + k * 0.055, d / 2) for k in range(3)])),
    ]
    if electric:
        parts += [box(0.16, 0.035, 0.03, plate).at(0, y, d / 2) for y in (-0.1, 0.02)]
    else:
        parts.append(cylinder(0.1, 0.02, pick(rng, "black"), sides=14).turn(x=90).at(0, 0.02, d / 2 - 0.005))
    tilt = u(-20, 20)
    return Design(
        [join(parts).turn(z=tilt)], "guitar", body, [("neck", neck)], ["electric"] if electric else ["acoustic"]
    )


def book(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cover, trim, paper = pick(rng, ANY), pick(rng, PRECIOUS + BRIGHT), pick(rng, ("white", "tan"))
    w, h, d = u(0.5, 0.65), u(0.7, 0.85), u(0.1, 0.22)
    if rng.random() < 0.3:
        page = [(0, 0.02), (0.1, d * 0.6), (w * 0.5, d * 0.65), (w, d * 0.35), (w, 0.02)]
        leaf = extrude(page, h * 0.94, paper)
        parts = [
            both(leaf),
            both(box(w * 1.05, 0.03, h, cover).turn(z=8).at(w * 0.52, -0.05)),
            box(0.08, 0.03, h, cover).at(y=-0.05),
        ]
        lines = [
            box(w * 0.6, 0.006, 0.02, pick(rng, "grey")).turn(z=-4).at(w * 0.52, d * 0.6, z * h)
            for z in np.linspace(-0.32, 0.32, 6)
        ]
        parts.append(both(join(lines)))
        return Design([join(parts).turn(x=u(20, 60))], "book", cover, [("pages", paper)], ["open"])
    parts = [
        box(w * 0.96, h * 0.95, d * 0.8, paper).at(0.0, h * 0.025),
        both(box(w, h, d * 0.12, cover, bevel=0.008).at(0.012, 0, d * 0.45), 2),
        lathe([(d * 0.51, 0), (d * 0.51, h)], cover, 10).scale(0.5, 1, 1).at(-w * 0.49),
        both(torus(0.09, 0.022, trim, 12, 5).turn(x=90).at(0.02, h * 0.55, d * 0.5), 2),
    ]
    parts += [both(box(0.1, 0.1, d * 0.08, trim).at(w * 0.46, y, d * 0.5), 2) for y in (0, h - 0.1)]
    parts.append(both(box(w * 0.5, 0.04, d * 0.06, trim).at(0, h * 0.8, d * 0.5), 2))
    book_solid = join(parts).at(y=-h / 2)
    return Design(
        [book_solid.turn(x=-90 if rng.random() < 0.4 else u(-15, 0), y=u(-25, 25))],
        "book",
        cover,
        [("trim", trim), ("pages", paper)],
        ["closed"],
    )


def flag(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cloth, pole = pick(rng, (*BRIGHT, "white", "black")), pick(rng, WOOD + METAL)
    second = pick(rng, ANY, cloth)
    h, w, tall, wave = u(1.0, 1.5), u(0.5, 0.8), u(0.35, 0.5), u(0.03, 0.08)
    hanging = rng.random() < 0.35
    kind = int(rng.integers(3))
    x = np.linspace(0, 1, 9)
    rings = np.stack(
        [
            [
                (w * s, tall / 2, 0.012),
                (w * s, tall / 6, 0.012),
                (w * s, -tall / 6, 0.012),
                (w * s, -tall / 2, 0.012),
                (w * s, -tall / 2, -0.012),
                (w * s, -tall / 6, -0.012),
                (w * s, tall / 6, -0.012),
                (w * s, tall / 2, -0.012),
            ]
            for s in x
        ]
    )
    sheet = loft(rings[:, ::-1], cloth)
    if kind == 0:
        sheet = sheet.paint(lambda c: np.abs(c[:, 1]) < tall / 6, second)
    elif kind == 1:
        sheet = sheet.paint(lambda c: c[:, 0] < w * 0.37, second)
    sheet = sheet.bend(
        lambda p: p + np.column_stack([0 * p[:, 0], 0 * p[:, 0], wave * np.sin(7 * p[:, 0] / w) * p[:, 0] / w])
    )
    details = [("pole", pole)] + ([("stripe", second)] if kind < 2 else [])
    if hanging:
        parts = [
            tube([(-tall * 0.62, 0, 0), (tall * 0.62, 0, 0)], 0.03, pole, 6),
            sheet.turn(z=-90).at(0, -0.01, 0),
            both(ball(0.045, pole).at(tall * 0.62)),
        ]
        return Design(parts, "banner", cloth, details[1:] or details, ["hanging"])
    parts = [
        cylinder(0.03, h, pole, 0.025, 7),
        ball(0.05, pick(rng, PRECIOUS)).at(y=h),
        sheet.at(0.025, h - tall / 2 - 0.05),
        cylinder(0.15, 0.05, pole.shade(0.8), 0.1, 10),
    ]
    return Design(parts, "flag", cloth, details, ["waving"])


def hourglass(rng: np.random.Generator) -> Design:
    u = rng.uniform
    frame, sand, glass = (
        pick(rng, WOOD + PRECIOUS + ANY),
        pick(rng, ("yellow", "tan", *BRIGHT)),
        pick(rng, ("white", "teal")).shade(1.2),
    )
    r, n = u(0.24, 0.3), int(rng.integers(3, 5))
    ys = np.array([0.04, 0.2, 0.33, 0.42, 0.5, 0.58, 0.67, 0.8, 0.96])
    rs = r * np.array([0.8, 0.85, 0.65, 0.3, 0.15, 0.3, 0.65, 0.85, 0.8])
    parts = [
        lathe([*zip(rs, ys)], [sand, sand, glass, glass, glass, sand, sand, glass], 12),
        cylinder(r * 1.15, 0.07, frame, sides=14).at(y=-0.02),
        cylinder(r * 1.15, 0.07, frame, sides=14).at(y=0.95),
        around(lathe([(0.03, 0), (0.045, 0.5), (0.03, 1)], frame, 6).at(r * 0.98), n),
    ]
    return Design(parts, "hourglass", frame, [("sand", sand)])


def clock(rng: np.random.Generator) -> Design:
    u = rng.uniform
    case, face, hand = (
        pick(rng, ANY + PRECIOUS),
        pick(rng, ("white", "white", "tan", "yellow")),
        pick(rng, ("black", "red", "brown")),
    )
    r = 0.4
    dial = [
        cylinder(r, 0.16, case, sides=20).turn(x=90).at(z=-0.08),
        cylinder(r * 0.85, 0.19, face, sides=20).turn(x=90).at(z=-0.1),
    ]
    dial += [box(0.025, 0.07, 0.02, hand).at(0, r * 0.66).turn(z=30 * k).at(z=0.09) for k in range(12)]
    dial += [box(0.035, r * f, 0.02, hand).turn(z=u(0, 360)).at(z=0.1) for f in (0.45, 0.68)]
    kind = int(rng.integers(3))
    if kind == 0:
        bell = pick(rng, METAL)
        dial += [
            both(ball((0.15, 0.11, 0.12), bell).turn(z=-35).at(0.24, 0.4)),
            both(tube([(0.2, -0.3, 0), (0.3, -0.5, 0)], 0.035, bell)),
            tube([(-0.06, 0.42, 0), (0, 0.55, 0), (0.06, 0.42, 0)], 0.02, bell),
        ]
        return Design(dial, "alarm clock", case, [("face", face), ("bells", bell)])
    if kind == 1:
        wood = pick(rng, WOOD)
        tall = [
            box(0.75, 1.6, 0.4, wood, bevel=0.02).at(0, -1.4, -0.26),
            box(0.95, 0.12, 0.5, wood.shade(0.8)).at(0, -1.5, -0.26),
            extrude([(-0.48, 0), (0.48, 0), (0, 0.28)], 0.5, wood.shade(0.85)).at(0, 0.5, -0.26),
            box(0.4, 0.8, 0.04, wood.shade(0.6)).at(0, -1.25, -0.06),
            cylinder(0.11, 0.03, pick(rng, "gold")).turn(x=90).at(0, -1.05, -0.03),
            box(0.95, 0.95, 0.46, wood).at(0, -0.45, -0.26),
        ]
        return Design([*dial, *tall], "grandfather clock", wood, [("face", face)], ["tall"])
    return Design(dial, "clock", case, [("face", face), ("hands", hand)], ["round"])


def drum(rng: np.random.Generator) -> Design:
    u = rng.uniform
    shell, rim, skin = pick(rng, BRIGHT + WOOD), pick(rng, (*PRECIOUS, "white", "black")), pick(rng, ("white", "tan"))
    r, h, n = u(0.35, 0.45), u(0.35, 0.6), int(rng.integers(5, 9))
    parts = [
        cylinder(r, h, shell, sides=18),
        cylinder(r * 1.06, 0.07, rim, sides=18).at(y=-0.01),
        cylinder(r * 1.06, 0.07, rim, sides=18).at(y=h - 0.05),
        cylinder(r * 0.98, 0.04, skin, sides=18).at(y=h),
    ]
    zig = [
        (r * 1.03 * np.cos(a), h * (0.1 + 0.8 * (k % 2)), r * 1.03 * np.sin(a))
        for k, a in enumerate(np.linspace(0, 2 * np.pi, 2 * n + 1))
    ]
    parts += [tube([p, q], 0.014, skin, 4) for p, q in pairwise(zig)]
    if rng.random() < 0.6:
        stick = join([tube([(0, 0, 0), (0, 0, 0.6)], 0.02, pick(rng, "brown"), 5), ball(0.045, skin).at(0, 0, 0.6)])
        parts += [stick.turn(y=y, x=-6).at(x, h + 0.07, -0.2) for x, y in ((-0.12, 25), (0.1, -20))]
    return Design(parts, "drum", shell, [("rim", rim), ("skin", skin)], ["round"])


def umbrella(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cloth, handle = pick(rng, BRIGHT), pick(rng, ("brown", "black", "grey"))
    second, n = pick(rng, (*BRIGHT, "white"), cloth), 8
    striped = rng.random() < 0.6
    a = np.linspace(0.15, 1.57, 6)
    dome = lathe(
        [(0.46 * np.cos(0.15), 0.3 * np.sin(0.15) - 0.03), *[(0.5 * np.cos(t), 0.3 * np.sin(t)) for t in a]], cloth, n
    )
    if striped:
        dome = dome.paint(wedges(n // 2, half=True), second)
    parts = [
        dome.at(y=0.75),
        tube([(0, 0.12, 0), (0, 1.12, 0)], 0.018, handle, 6),
        tube(
            [(0, 0.14, 0), (0, 0.02, 0), (0.05, -0.05, 0), (0.12, -0.03, 0), (0.14, 0.05, 0)],
            0.03,
            handle.shade(0.8),
            6,
        ),
    ]
    return Design(
        [join(parts).turn(z=u(-20, 20))],
        "umbrella",
        cloth,
        [("handle", handle)] + ([("stripes", second)] if striped else []),
        ["striped"] if striped else ["open"],
    )


def toy_ball(rng: np.random.Generator) -> Design:
    first = pick(rng, (*BRIGHT, "white", "orange"))
    second = pick(rng, ANY, first)
    kind = int(rng.integers(4))
    solid = ball(0.5, first, 3)
    if kind == 0:
        n = int(rng.choice([4, 6, 8]))
        solid = solid.paint(wedges(n // 2), second)
        return Design([solid], "beach ball", first, [("stripes", second)], ["striped"])
    if kind == 1:
        g = (1 + 5**0.5) / 2
        spots = np.array([(0, a, b * g) for a in (-1, 1) for b in (-1, 1)])
        spots = np.concatenate([spots, spots[:, [1, 2, 0]], spots[:, [2, 0, 1]]]) / np.hypot(1, g) * 0.5
        white, black = pick(rng, "white"), pick(rng, ("black", "black", "blue", "red"))
        solid = ball(0.5, white, 3).paint(
            lambda c: (np.linalg.norm(c[:, None] - spots, axis=2) < 0.17).any(axis=1), black
        )
        return Design([solid], "football", white, [("spots", black)], ["round"])
    if kind == 2:
        line = pick(rng, "black")
        orange = pick(rng, ("orange", "brown"))
        solid = ball(0.5, orange, 2)
        parts = [solid, *[torus(0.495, 0.014, line, 24, 4).turn(x=x, z=z) for x, z in ((0, 0), (90, 0), (0, 90))]]
        return Design(parts, "basketball", orange, [("lines", line)], ["round"])
    solid = solid.paint(lambda c: np.abs(c[:, 1]) < 0.13, second)
    return Design([solid.turn(z=float(rng.uniform(0, 60)))], "ball", first, [("stripe", second)], ["round"])


def dice(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, dot = pick(rng, ("white", "white", *BRIGHT, "black")), pick(rng, ("black", "white"))
    dot = dot if dot.name != body.name else pick(rng, "red")
    spot = ball((0.055, 0.055, 0.02), dot)
    faces = {1: [(0, 0)], 2: [(-1, 1), (1, -1)], 3: [(-1, 1), (0, 0), (1, -1)], 4: [(-1, -1), (1, 1), (-1, 1), (1, -1)]}
    faces |= {5: [*faces[4], (0, 0)], 6: [*faces[4], (-1, 0), (1, 0)]}
    turns = [(0, 0), (0, 180), (0, 90), (0, -90), (90, 0), (-90, 0)]
    order = [1, 6, 2, 5, 3, 4]
    parts = [box(0.8, 0.8, 0.8, body, bevel=0.06).at(y=-0.4)]
    for number, (x, y) in zip(order, turns):
        parts.append(join([spot.at(a * 0.2, b * 0.2, 0.4) for a, b in faces[number]]).turn(x=x, y=y))
    return Design([join(parts).turn(y=u(-40, 40))], "dice", body, [("dots", dot)])


def television(rng: np.random.Generator) -> Design:
    u = rng.uniform
    case, screen = (
        pick(rng, ("black", "grey", "brown", "white", *BRIGHT)),
        pick(rng, ("blue", "teal", "green", "black", "grey")),
    )
    w, h = u(0.7, 1.0), u(0.5, 0.65)
    if rng.random() < 0.5:
        d = u(0.35, 0.5)
        knob = pick(rng, ("red", "grey", "yellow"))
        parts = [
            box(w, h, d, case, bevel=0.04),
            box(w * 0.68, h * 0.74, 0.05, screen, bevel=0.03).at(-w * 0.1, h * 0.13, d / 2 - 0.005),
            *[cylinder(0.04, 0.04, knob, sides=10).turn(x=90).at(w * 0.38, h * y, d / 2) for y in (0.7, 0.5)],
            both(tube([(0.03, h, 0), (0.22, h + 0.32, 0)], 0.014, pick(rng, "grey"), 5)),
            both(both(cylinder(0.03, 0.1, case.shade(0.6), 0.045, 6).at(w * 0.36, -0.09, d * 0.3), 2)),
        ]
        return Design(parts, "television", case, [("screen", screen)], ["old"])
    key_paint = pick(rng, ("white", "grey", "black"), case)
    parts = [
        box(w, h, 0.07, case, bevel=0.015).at(y=0.22),
        box(w * 0.92, h * 0.84, 0.08, screen).at(0, 0.22 + h * 0.09, 0.003),
        box(0.1, 0.25, 0.06, case.shade(0.8)).at(0, 0, -0.05),
        box(w * 0.35, 0.03, 0.25, case.shade(0.8)),
        box(w * 0.8, 0.04, 0.24, key_paint, bevel=0.01).at(0, 0, 0.36),
    ]
    parts += [box(w * 0.7, 0.012, 0.045, key_paint.shade(0.7)).at(0, 0.038, 0.29 + 0.06 * k) for k in range(3)]
    return Design(parts, "computer", case, [("screen", screen), ("keyboard", key_paint)])


def camera(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, trim, glass = (
        pick(rng, ("black", "grey", *ANY)),
        pick(rng, ("grey", "silver", "brown", "white")),
        pick(rng, ("blue", "black", "teal")),
    )
    w, h, d = u(0.65, 0.85), u(0.42, 0.52), u(0.2, 0.28)
    lens = join(
        [
            cylinder(0.19, 0.16, trim.shade(0.7), sides=16),
            cylinder(0.15, 0.22, pick(rng, "black"), 0.16, 16),
            cylinder(0.11, 0.23, glass, sides=14),
        ]
    ).turn(x=90)
    parts = [
        box(w, h, d, body, bevel=0.03),
        box(w * 1.01, h * 0.22, d * 1.01, trim).at(y=h * 0.76),
        box(0.24, 0.1, d * 0.8, trim, taper=0.8).at(y=h * 0.96),
        lens.at(0, h * 0.45, d / 2),
        cylinder(0.05, 0.06, pick(rng, "red"), sides=10).at(w * 0.34, h),
        box(0.12, 0.08, 0.03, pick(rng, "white")).at(-w * 0.33, h * 0.8, d / 2),
    ]
    return Design(parts, "camera", body, [("lens", glass), ("top", trim)])
