"""Cakes, bread and meals."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.design import (
    ANY,
    BRIGHT,
    Design,
    Paint,
    pick,
)
from gaussmith.synth.procedural.shapes import (
    around,
    ball,
    box,
    cylinder,
    extrude,
    join,
    lathe,
    torus,
    tube,
    wedges,
)


def cake(rng: np.random.Generator) -> Design:
    u = rng.uniform
    sponge, icing = pick(rng, ("brown", "tan", "yellow", "pink", "white")), pick(rng, (*BRIGHT, "white", "brown"))
    topping = pick(rng, BRIGHT, icing)
    r, h, layers, n = u(0.4, 0.55), u(0.2, 0.3), int(rng.integers(1, 4)), int(rng.integers(5, 10))
    parts, y = [], 0.0
    for k in range(layers):
        rad = r * (1 - 0.28 * k)
        parts.append(cylinder(rad, h, sponge, sides=20).at(y=y))
        parts.append(
            lathe(
                [
                    (rad + 0.01, y + h * 0.6),
                    (rad + 0.03, y + h * 0.65),
                    (rad + 0.03, y + h),
                    (rad * 0.9, y + h + 0.035),
                ],
                icing,
                20,
            )
        )
        drip = ball((0.06, u(0.07, 0.12), 0.04), icing, 0)
        parts.append(around(drip.at(0, 0, rad), n).at(y=y + h * 0.6))
        y += h
    rad = r * (1 - 0.28 * (layers - 1))
    if rng.random() < 0.5:
        flame = pick(rng, "yellow")
        count = int(rng.integers(1, 6))
        candle = join([cylinder(0.025, 0.2, topping, sides=8), lathe([(0.01, 0.2), (0.03, 0.25), (0, 0.32)], flame, 6)])
        parts.append((candle if count == 1 else around(candle.at(0, 0, rad * 0.5), count)).at(y=y + 0.03))
        return Design(parts, "cake", icing, [("candles", topping), ("sponge", sponge)], ["birthday"])
    parts.append(around(ball(0.07, topping).at(0, 0, rad * 0.72), n).at(y=y + 0.07))
    return Design(parts, "cake", icing, [("cherries", topping), ("sponge", sponge)], ["tall"] if layers == 3 else [])


def cupcake(rng: np.random.Generator) -> Design:
    u = rng.uniform
    paper, cream = pick(rng, ANY), pick(rng, ("pink", "white", "brown", "teal", "purple", "yellow"))
    top = pick(rng, ("red", "yellow", "blue", "pink"), cream)
    r = u(0.3, 0.36)
    parts = [lathe([(r * 0.7, 0), (r, 0.35)], paper, 16).paint(wedges(8), paper.shade(0.8))]
    parts += [
        torus(r * (0.75 - 0.26 * k), r * (0.36 - 0.04 * k), cream.shade(1 + 0.06 * k), 14, 8).at(y=0.4 + 0.17 * k)
        for k in range(3)
    ]
    parts += [ball(0.09, top).at(y=0.4 + 0.52)]
    return Design(parts, "cupcake", cream, [("wrapper", paper), ("cherry", top)])


def burger(rng: np.random.Generator) -> Design:
    u = rng.uniform
    bun, meat = pick(rng, ("orange", "tan", "brown")), pick(rng, "brown").shade(0.7)
    r, y = u(0.42, 0.5), 0.14
    parts = [lathe([(r * 0.85, 0), (r, 0.05), (r, 0.12), (r * 0.95, 0.14)], bun, 16)]
    details: list[tuple[str, Paint]] = []
    for _ in range(int(rng.integers(2, 6))):
        part, color = [("lettuce", "green"), ("cheese", "yellow"), ("tomato", "red"), ("patty", "brown")][
            int(rng.integers(4))
        ]
        paint = meat if part == "patty" else pick(rng, color)
        thick = 0.12 if part == "patty" else 0.045
        if part == "cheese":
            parts.append(box(r * 1.75, thick, r * 1.75, paint).turn(y=u(0, 90)).at(y=y))
        elif part == "lettuce":
            leafy = ball((r * 1.12, thick, r * 1.12), paint, 2).bend(
                lambda p: (
                    p
                    + np.array([0, 1, 0])
                    * (0.03 * np.sin(np.arctan2(p[:, 2], p[:, 0]) * 9) * np.hypot(p[:, 0], p[:, 2]))[:, None]
                )
            )
            parts.append(leafy.at(y=y + thick / 2))
        else:
            parts.append(lathe([(r * 0.95, 0), (r * 1.03, thick / 2), (r * 0.95, thick)], paint, 16).at(y=y))
        if part != "patty" and part not in [d[0] for d in details]:
            details.append((part, paint))
        y += thick * 0.95
    a = np.linspace(0, np.pi / 2, 6)
    parts.append(lathe([(r * np.cos(t) * 1.0, y + 0.3 * np.sin(t)) for t in a], bun, 16))
    seed = pick(rng, ("white", "tan"))
    for k in range(12):
        e, b = 0.7 + 0.7 * ((k * 0.618) % 1), k * 2.4
        parts.append(
            ball((0.03, 0.015, 0.02), seed, 0).at(
                r * np.cos(e) * np.cos(b), y + 0.3 * np.sin(e), r * np.cos(e) * np.sin(b)
            )
        )
    return Design(parts, "burger", bun, details or [("bun", bun)])


def icecream(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cone, first = (
        pick(rng, ("tan", "orange", "brown")),
        pick(rng, ("pink", "white", "brown", "teal", "yellow", "green", "purple")),
    )
    scoops, r = int(rng.integers(1, 4)), u(0.24, 0.3)
    parts = [lathe([(0.02, -0.7), (r * 0.85, -0.05), (r * 0.95, 0), (r * 0.8, 0.03)], cone, 10)]
    parts[0] = parts[0].paint(wedges(5), cone.shade(0.85))
    flavors = [
        first if k == 0 else pick(rng, ("pink", "white", "brown", "teal", "yellow", "green", "purple"))
        for k in range(scoops)
    ]
    for k, flavor in enumerate(flavors):
        size = r * (1 - 0.12 * k)
        parts.append(ball(size, flavor, 2, 0.03, rng).at(y=0.1 + k * r * 1.15))
        parts.append(torus(size * 0.85, size * 0.22, flavor, 12, 6).at(y=0.02 + k * r * 1.15))
    if rng.random() < 0.4:
        parts.append(ball(0.07, pick(rng, "red")).at(y=0.1 + (scoops - 1) * r * 1.15 + r * 0.95))
    return Design(parts, "ice cream", first, [("cone", cone)], ["sweet"])


def donut(rng: np.random.Generator) -> Design:
    u = rng.uniform
    dough, icing = (
        pick(rng, ("tan", "orange", "brown")),
        pick(rng, ("pink", "pink", "brown", "white", "teal", "purple", "yellow")),
    )
    r, t = u(0.32, 0.38), u(0.14, 0.18)
    parts = [torus(r, t, dough, 20, 10), torus(r, t * 1.03, icing, 20, 10).scale(1, 0.7, 1).at(y=t * 0.36)]
    for k in range(22):
        a, e = k * 2.4, u(0.6, 2.5)
        parts.append(
            box(0.025, 0.02, 0.07, pick(rng, BRIGHT))
            .turn(y=u(0, 180))
            .at(
                (r + t * 0.95 * np.cos(e)) * np.cos(a),
                t * (0.36 + 0.7 * np.sin(e)),
                (r + t * 0.95 * np.cos(e)) * np.sin(a),
            )
        )
    return Design([join(parts).turn(x=u(0, 60))], "donut", icing, [("icing", icing), ("dough", dough)], ["round"])


def pizza(rng: np.random.Generator) -> Design:
    u = rng.uniform
    crust, cheese, topping = (
        pick(rng, ("tan", "orange", "brown")),
        pick(rng, "yellow"),
        pick(rng, ("red", "red", "green", "brown")),
    )
    parts = [
        cylinder(0.5, 0.05, crust, sides=20),
        torus(0.48, 0.05, crust, 20, 6).at(y=0.05),
        cylinder(0.46, 0.065, cheese, sides=20),
    ]
    parts += [
        cylinder(0.075, 0.02, topping, sides=8).at(q * np.cos(a), 0.06, q * np.sin(a))
        for q, a in zip(0.4 * np.sqrt(rng.random(12)), np.arange(12) * 2.4)
    ]
    return Design(
        [join(parts).turn(x=u(10, 60))], "pizza", cheese, [("toppings", topping), ("crust", crust)], ["round"]
    )


def cheese(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body = pick(rng, ("yellow", "yellow", "orange"))
    hole = body.shade(0.75)
    h, w = u(0.3, 0.45), u(0.3, 0.42)
    wedge = extrude([(-0.5, -w), (-0.5, w), (0.55, 0)], h, body).turn(x=-90)
    parts = [wedge]
    for _ in range(9):
        t, side = u(0.1, 0.85), rng.choice([-1, 1])
        x = -0.5 + 1.05 * t
        parts.append(
            ball((0.07, u(0.05, 0.08), 0.02), hole)
            .turn(y=-side * -np.degrees(np.arctan2(w, 1.05)))
            .at(x, u(-0.3, 0.3) * h, side * w * (1 - t))
        )
    return Design([join(parts).turn(y=u(100, 160))], "cheese", body, [("holes", hole)])


def bread(rng: np.random.Generator) -> Design:
    u = rng.uniform
    crust = pick(rng, ("brown", "orange", "tan"))
    crumb = pick(rng, ("tan", "white"), crust)
    w, h, length = u(0.4, 0.5), u(0.35, 0.45), u(0.7, 1.1)
    outline = [
        (-w * 0.42, 0),
        (w * 0.42, 0),
        (w * 0.45, h * 0.5),
        (w * 0.55, h * 0.68),
        (w * 0.42, h * 0.95),
        (0, h),
        (-w * 0.42, h * 0.95),
        (-w * 0.55, h * 0.68),
        (-w * 0.45, h * 0.5),
    ]
    if rng.random() < 0.4:
        t = np.linspace(0, np.pi, 11)
        loaf = tube(
            np.column_stack([np.linspace(-0.7, 0.7, 11), 0 * t, 0 * t]), 0.03 + 0.16 * np.sin(t) ** 0.6, crust, 10
        )
        cuts = [box(0.04, 0.03, 0.2, crumb).turn(y=30).at(x, 0.15) for x in np.linspace(-0.4, 0.4, 5)]
        return Design([join([loaf, *cuts]).turn(y=u(-40, 40))], "baguette", crust, [("crumb", crumb)], ["long"])
    loaf = extrude(outline, length, crust)
    face = extrude(np.array(outline) * 0.88 + (0, h * 0.05), 0.02, crumb)
    parts = [loaf, face.at(z=length / 2), face.at(z=-length / 2)]
    return Design([join(parts).turn(y=u(-45, 45))], "bread", crust, [("crumb", crumb)], ["sliced"])


def drumstick(rng: np.random.Generator) -> Design:
    u = rng.uniform
    meat, bone = pick(rng, ("brown", "orange")), pick(rng, "white")
    parts = [
        lathe([(0.05, -0.1), (0.15, 0.05), (0.3, 0.35), (0.28, 0.55), (0.15, 0.7), (0, 0.74)], meat, 12),
        cylinder(0.06, 0.35, bone, sides=8).at(y=-0.4),
        ball(0.08, bone).at(0.05, -0.42),
        ball(0.08, bone).at(-0.05, -0.42),
    ]
    return Design([join(parts).turn(z=u(20, 70))], "chicken leg", meat, [("bone", bone)], ["roasted"])
