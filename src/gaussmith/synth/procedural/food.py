"""Fruit, vegetables, cakes and meals."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.design import ANY, BRIGHT, Design, Paint, pick
from gaussmith.synth.procedural.shapes import Solid, around, ball, box, cylinder, extrude, join, lathe, torus, tube


def _stalk(y: float, rng: np.random.Generator, leaf: Paint | None = None, t: float = 0.025) -> Solid:
    u = rng.uniform
    stem = tube([(0, y - 0.05, 0), (u(-0.03, 0.03), y + 0.05, 0), (u(-0.08, 0.08), y + u(0.1, 0.18), 0)], t, pick(rng, "brown"), 6)
    if leaf is None:
        return stem
    return join([stem, ball((0.13, 0.015, 0.06), leaf).at(0.13).turn(z=25, y=u(0, 360)).at(y=y + 0.05)])


def _round(profile: list[tuple[float, float]], color: Paint, sides: int = 14) -> Solid:
    return lathe(profile, color, sides)


def apple(rng: np.random.Generator) -> Design:
    u = rng.uniform
    skin, leaf = pick(rng, ("red", "red", "green", "yellow")), pick(rng, "green")
    r, tall = u(0.38, 0.42), u(0.85, 1.05)
    a = np.linspace(-1.35, 1.25, 9)
    body = [(r * np.cos(t) * (1 + 0.12 * np.sin(t)), r * tall * np.sin(t)) for t in a] + [(0.0, r * tall * 0.72)]
    parts = [_round(body, skin), _stalk(r * tall * 0.75, rng, leaf)]
    if rng.random() < 0.25:
        flesh = pick(rng, ("white", "tan"))
        parts = [parts[0].paint(lambda c: np.linalg.norm(c - (r * 0.9, 0, r * 0.6), axis=1) < r * 0.62, flesh), parts[1]]
        return Design(parts, "apple", skin, [("leaf", leaf), ("bite", flesh)], ["bitten"])
    return Design(parts, "apple", skin, [("leaf", leaf)], ["round"])


def pear(rng: np.random.Generator) -> Design:
    u = rng.uniform
    skin, leaf = pick(rng, ("green", "yellow", "green", "orange")), pick(rng, "green")
    r, h = u(0.32, 0.38), u(0.45, 0.6)
    body = [(0.08, 0), (r * 0.8, 0.06), (r, 0.22), (r * 0.9, 0.4), (r * 0.55, h), (r * 0.4, h + 0.12), (0.05, h + 0.2)]
    return Design([_round(body, skin), _stalk(h + 0.2, rng, leaf)], "pear", skin, [("leaf", leaf)])


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
    return Design(parts, "banana" if count == 1 else "bananas", skin, [("ends", tip)], ["ripe"] if skin.name == "yellow" else [])


def citrus(rng: np.random.Generator) -> Design:
    u = rng.uniform
    noun, color = [("orange", "orange"), ("lemon", "yellow"), ("lime", "green"), ("peach", "pink"), ("plum", "purple")][int(rng.integers(5))]
    skin, leaf = pick(rng, color), pick(rng, "green")
    r, long = 0.38, u(1.25, 1.4) if noun in ("lemon", "lime") else u(0.92, 1.02)
    parts = [ball((r, r * long, r), skin, 2, 0.01, rng)]
    if long > 1.1:
        parts += [cylinder(0.1, 0.09, skin, 0.04, 8).at(y=r * long - 0.05), cylinder(0.04, 0.09, skin, 0.1, 8).at(y=-r * long - 0.04)]
        parts = [join(parts).turn(z=u(50, 90))]
    else:
        parts.append(_stalk(r * long, rng, leaf, 0.02))
    return Design(parts, noun, skin, [] if long > 1.1 else [("leaf", leaf)], ["round"] if long < 1.1 else ["sour"])


def pumpkin(rng: np.random.Generator) -> Design:
    u = rng.uniform
    skin, stem = pick(rng, ("orange", "orange", "orange", "green", "white", "yellow")), pick(rng, ("green", "brown"))
    n, squash, lit = int(rng.integers(7, 11)), u(0.7, 0.95), rng.random() < 0.3
    lobe = ball((0.26, 0.4 * squash, 0.2), skin, 2).at(0.22)
    parts = [around(lobe, n), tube([(0, 0.3 * squash, 0), (0.02, 0.48 * squash, 0), (0.09, 0.62 * squash, 0)], (0.07, 0.05, 0.04), stem, 6)]
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
    tops = [lathe([(0.02, 0), (0.05, 0.18), (0.0, u(0.3, 0.45))], leaf.shade(u(0.85, 1.1)), 5).turn(x=u(10, 35)).turn(y=72 * k) for k in range(5)]  # fmt: skip
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
        r = 0.2 * (1 - row / 5)
        parts += [ball(0.12, skin.shade(u(0.85, 1.12))).at(r * np.cos(6.28 * k / count), 0.28 - 0.16 * row, r * np.sin(6.28 * k / count)) for k in range(count)]  # fmt: skip
    parts.append(ball((0.18, 0.02, 0.13), leaf).at(0.15).turn(z=10).at(y=0.42))
    return Design(parts, "grapes", skin, [("leaf", leaf)])


def melon(rng: np.random.Generator) -> Design:
    u = rng.uniform
    rind, flesh, seed = pick(rng, "green"), pick(rng, ("red", "red", "pink", "yellow")), pick(rng, "black")
    if rng.random() < 0.4:
        long = u(1, 1.3)
        stripes = [rind if k % 2 else rind.shade(0.6) for k in range(16)]
        whole = lathe([(0.4 * np.cos(t), 0.4 * long * np.sin(t)) for t in np.linspace(-1.5, 1.5, 9)], rind, 16)
        turn = lambda c: (np.floor(np.arctan2(c[:, 2], c[:, 0]) / (np.pi / 8)) % 2) == 0  # noqa: E731
        del stripes
        return Design([whole.paint(turn, rind.shade(0.6)).turn(z=u(60, 90))], "watermelon", rind, [], ["striped"])
    a = np.linspace(0, np.pi, 13)
    half = lambda r, d, c: extrude(np.column_stack([r * np.cos(a), -r * np.sin(a)]), d, c)  # noqa: E731
    d = u(0.14, 0.3)
    parts = [half(0.5, d, rind), half(0.45, d + 0.015, pick(rng, "white")).at(y=0.004), half(0.41, d + 0.03, flesh).at(y=0.008)]
    parts += [ball((0.018, 0.03, d / 2 + 0.025), seed, 0).at(0.27 * np.cos(t), -0.27 * np.sin(t) + 0.02) for t in np.linspace(0.35, 2.8, 6)]  # fmt: skip
    return Design([join(parts).turn(x=u(-15, 15))], "watermelon slice", flesh, [("rind", rind), ("seeds", seed)])


def cake(rng: np.random.Generator) -> Design:
    u = rng.uniform
    sponge, icing = pick(rng, ("brown", "tan", "yellow", "pink", "white")), pick(rng, BRIGHT + ("white", "brown"))
    topping = pick(rng, BRIGHT, icing)
    r, h, layers, n = u(0.4, 0.55), u(0.2, 0.3), int(rng.integers(1, 4)), int(rng.integers(5, 10))
    parts, y = [], 0.0
    for k in range(layers):
        rad = r * (1 - 0.28 * k)
        parts.append(cylinder(rad, h, sponge, sides=20).at(y=y))
        parts.append(lathe([(rad + 0.01, y + h * 0.6), (rad + 0.03, y + h * 0.65), (rad + 0.03, y + h), (rad * 0.9, y + h + 0.035)], icing, 20))
        drip = ball((0.06, u(0.07, 0.12), 0.04), icing)
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
    parts = [lathe([(r * 0.7, 0), (r, 0.35)], paper, 16).paint(lambda c: (np.floor(np.arctan2(c[:, 2], c[:, 0]) * 16 / 6.2832) % 2) == 0, paper.shade(0.8))]  # fmt: skip
    parts += [torus(r * (0.75 - 0.26 * k), r * (0.36 - 0.04 * k), cream.shade(1 + 0.06 * k), 14, 8).at(y=0.4 + 0.17 * k) for k in range(3)]
    parts += [ball(0.09, top).at(y=0.4 + 0.52)]
    return Design(parts, "cupcake", cream, [("wrapper", paper), ("cherry", top)])


def burger(rng: np.random.Generator) -> Design:
    u = rng.uniform
    bun, meat = pick(rng, ("orange", "tan", "brown")), pick(rng, "brown").shade(0.7)
    r, y = u(0.42, 0.5), 0.14
    parts = [lathe([(r * 0.85, 0), (r, 0.05), (r, 0.12), (r * 0.95, 0.14)], bun, 16)]
    details = []
    for _ in range(int(rng.integers(2, 6))):
        part, color = [("lettuce", "green"), ("cheese", "yellow"), ("tomato", "red"), ("patty", "brown")][int(rng.integers(4))]
        paint = meat if part == "patty" else pick(rng, color)
        thick = 0.12 if part == "patty" else 0.045
        if part == "cheese":
            parts.append(box(r * 1.75, thick, r * 1.75, paint).turn(y=u(0, 90)).at(y=y))
        elif part == "lettuce":
            leafy = ball((r * 1.12, thick, r * 1.12), paint, 2).bend(lambda p: p + np.array([0, 1, 0]) * (0.03 * np.sin(np.arctan2(p[:, 2], p[:, 0]) * 9) * np.hypot(p[:, 0], p[:, 2]))[:, None])  # fmt: skip
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
        parts.append(ball((0.03, 0.015, 0.02), seed, 0).at(r * np.cos(e) * np.cos(b), y + 0.3 * np.sin(e), r * np.cos(e) * np.sin(b)))
    return Design(parts, "burger", bun, details or [("bun", bun)])


def icecream(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cone, first = pick(rng, ("tan", "orange", "brown")), pick(rng, ("pink", "white", "brown", "teal", "yellow", "green", "purple"))
    scoops, r = int(rng.integers(1, 4)), u(0.24, 0.3)
    parts = [lathe([(0.02, -0.7), (r * 0.85, -0.05), (r * 0.95, 0), (r * 0.8, 0.03)], cone, 10)]
    parts[0] = parts[0].paint(lambda c: (np.floor(np.arctan2(c[:, 2], c[:, 0]) * 10 / 6.2832) % 2) == 0, cone.shade(0.85))
    flavors = [first if k == 0 else pick(rng, ("pink", "white", "brown", "teal", "yellow", "green", "purple")) for k in range(scoops)]
    for k, flavor in enumerate(flavors):
        size = r * (1 - 0.12 * k)
        parts.append(ball(size, flavor, 2, 0.03, rng).at(y=0.1 + k * r * 1.15))
        parts.append(torus(size * 0.85, size * 0.22, flavor, 12, 6).at(y=0.02 + k * r * 1.15))
    if rng.random() < 0.4:
        parts.append(ball(0.07, pick(rng, "red")).at(y=0.1 + (scoops - 1) * r * 1.15 + r * 0.95))
    return Design(parts, "ice cream", first, [("cone", cone)], ["sweet"])


def donut(rng: np.random.Generator) -> Design:
    u = rng.uniform
    dough, icing = pick(rng, ("tan", "orange", "brown")), pick(rng, ("pink", "pink", "brown", "white", "teal", "purple", "yellow"))
    r, t = u(0.32, 0.38), u(0.14, 0.18)
    parts = [torus(r, t, dough, 20, 10), torus(r, t * 1.03, icing, 20, 10).scale(1, 0.7, 1).at(y=t * 0.36)]
    for k in range(22):
        a, e = k * 2.4, u(0.6, 2.5)
        parts.append(box(0.025, 0.02, 0.07, pick(rng, BRIGHT)).turn(y=u(0, 180)).at((r + t * 0.95 * np.cos(e)) * np.cos(a), t * (0.36 + 0.7 * np.sin(e)), (r + t * 0.95 * np.cos(e)) * np.sin(a)))  # fmt: skip
    return Design([join(parts).turn(x=u(0, 60))], "donut", icing, [("icing", icing), ("dough", dough)], ["round"])


def pizza(rng: np.random.Generator) -> Design:
    u = rng.uniform
    crust, cheese, topping = pick(rng, ("tan", "orange", "brown")), pick(rng, "yellow"), pick(rng, ("red", "red", "green", "brown"))
    parts = [cylinder(0.5, 0.05, crust, sides=20), torus(0.48, 0.05, crust, 20, 6).at(y=0.05), cylinder(0.46, 0.065, cheese, sides=20)]
    parts += [cylinder(0.075, 0.02, topping, sides=8).at(q * np.cos(a), 0.06, q * np.sin(a)) for q, a in zip(0.4 * np.sqrt(rng.random(12)), np.arange(12) * 2.4)]  # fmt: skip
    return Design([join(parts).turn(x=u(10, 60))], "pizza", cheese, [("toppings", topping), ("crust", crust)], ["round"])


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
        parts.append(ball((0.07, u(0.05, 0.08), 0.02), hole).turn(y=-side * -np.degrees(np.arctan2(w, 1.05))).at(x, u(-0.3, 0.3) * h, side * w * (1 - t)))
    return Design([join(parts).turn(y=u(100, 160))], "cheese", body, [("holes", hole)])


def bread(rng: np.random.Generator) -> Design:
    u = rng.uniform
    crust = pick(rng, ("brown", "orange", "tan"))
    crumb = pick(rng, ("tan", "white"), crust)
    w, h, length = u(0.4, 0.5), u(0.35, 0.45), u(0.7, 1.1)
    outline = [(-w * 0.42, 0), (w * 0.42, 0), (w * 0.45, h * 0.5), (w * 0.55, h * 0.68), (w * 0.42, h * 0.95), (0, h), (-w * 0.42, h * 0.95), (-w * 0.55, h * 0.68), (-w * 0.45, h * 0.5)]  # fmt: skip
    if rng.random() < 0.4:
        t = np.linspace(0, np.pi, 11)
        loaf = tube(np.column_stack([np.linspace(-0.7, 0.7, 11), 0 * t, 0 * t]), 0.03 + 0.16 * np.sin(t) ** 0.6, crust, 10)
        cuts = [box(0.04, 0.03, 0.2, crumb).turn(y=30).at(x, 0.15) for x in np.linspace(-0.4, 0.4, 5)]
        return Design([join([loaf, *cuts]).turn(y=u(-40, 40))], "baguette", crust, [("crumb", crumb)], ["long"])
    loaf = extrude(outline, length, crust)
    face = extrude(np.array(outline) * 0.88 + (0, h * 0.05), 0.02, crumb)
    parts = [loaf, face.at(z=length / 2), face.at(z=-length / 2)]
    return Design([join(parts).turn(y=u(20, 70))], "bread", crust, [("crumb", crumb)], ["sliced"])


def drumstick(rng: np.random.Generator) -> Design:
    u = rng.uniform
    meat, bone = pick(rng, ("brown", "orange")), pick(rng, "white")
    parts = [
        lathe([(0.05, -0.1), (0.15, 0.05), (0.3, 0.35), (0.28, 0.55), (0.15, 0.7), (0, 0.74)], meat, 12),
        cylinder(0.06, 0.35, bone, sides=8).at(y=-0.4), ball(0.08, bone).at(0.05, -0.42), ball(0.08, bone).at(-0.05, -0.42),
    ]  # fmt: skip
    return Design([join(parts).turn(z=u(20, 70))], "chicken leg", meat, [("bone", bone)], ["roasted"])
