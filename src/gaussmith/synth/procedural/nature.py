"""Plants, rocks and what else stands about outdoors."""

from __future__ import annotations

from functools import partial

import numpy as np

from gaussmith.synth.procedural.design import BRIGHT, LEAVES, STONE, WOOD, Design, Paint, pick
from gaussmith.synth.procedural.shapes import Solid, around, ball, box, cylinder, join, lathe, tube


def _trunk(rng: np.random.Generator, h: float, r: float, bark: Paint) -> tuple[Solid, np.ndarray]:
    """A slightly crooked trunk from the ground, and where it ends."""
    u = rng.uniform
    path = np.array(
        [(0, 0, 0), (u(-0.1, 0.1) * h, h * 0.5, u(-0.1, 0.1) * h), (u(-0.15, 0.15) * h, h, u(-0.1, 0.1) * h)]
    )
    return tube(path, (r * 1.4, r, r * 0.7), bark, sides=7), path[-1]


def tree(rng: np.random.Generator) -> Design:
    u = rng.uniform
    bark, leaf = pick(rng, ("brown", "brown", "brown", "white", "grey")), pick(rng, LEAVES)
    h, size, low = u(0.6, 1.1), u(0.35, 0.55), rng.random() < 0.4
    trunk, top = _trunk(rng, h, u(0.06, 0.11), bark)
    parts = [trunk]
    for k in range(int(rng.integers(1, 6))):
        spread = 0 if k == 0 else size * 0.75
        angle = k * 2.4
        rise = u(-0.1, 0.35) * size + 0.2 * (k == 0)
        centre = top + np.array([spread * np.cos(angle), rise, spread * np.sin(angle)])
        r = size * (u(0.85, 1.1) if k == 0 else u(0.5, 0.75))
        parts.append(ball((r, r * u(0.75, 1.1), r), leaf.shade(u(0.88, 1.1)), 1 if low else 2, 0.1, rng).at(*centre))
        if k:
            parts.append(tube([top * 0.75, centre], (0.045, 0.025), bark, sides=5))
    details = [("trunk", bark), ("leaves", leaf)]
    if rng.random() < 0.2:
        fruit = pick(rng, ("red", "orange", "yellow", "pink"), leaf)
        for _ in range(9):
            way = rng.normal(size=3)
            parts.append(ball(0.05, fruit).at(*(top + (0, 0.15 * size, 0) + way / np.linalg.norm(way) * size * 1.02)))
        details.append(("fruits", fruit))
    return Design(parts, "tree", leaf, details, ["tall"] if h > 0.95 else ["round"])


def pine(rng: np.random.Generator) -> Design:
    u = rng.uniform
    bark, leaf = pick(rng, "brown"), pick(rng, ("green", "green", "green", "teal", "white", "blue"))
    tiers, r, h = int(rng.integers(2, 6)), u(0.35, 0.55), u(0.3, 0.42)
    snowy, sides = rng.random() < 0.3, int(rng.choice([6, 8, 12]))
    white = pick(rng, "white")
    parts = [cylinder(0.09, 0.4, bark, 0.07, 8)]
    for k in range(tiers):
        rad = r * (1 - k / (tiers + 0.6))
        shade = leaf.shade(0.9 + 0.05 * k)
        tip = rad * (0.3 if k < tiers - 1 else 0)
        profile = [(rad * 0.9, 0.02), (rad, 0), (rad * 0.6 + tip * 0.4, h * 0.5), (tip, h * 1.15)]
        cone = lathe(profile, [shade, shade, white if snowy else shade], sides)
        parts.append(cone.turn(y=u(0, 60)).at(y=0.28 + k * h * 0.62))
    return Design(parts, "pine tree", leaf, [("trunk", bark)] + ([("snow", white)] if snowy else []), ["tall"])


def palm(rng: np.random.Generator) -> Design:
    u = rng.uniform
    bark, leaf = pick(rng, ("brown", "tan")), pick(rng, "green")
    h, lean, n = u(0.9, 1.3), u(-0.35, 0.35), int(rng.integers(5, 9))
    y = np.linspace(0, 1, 7)
    path = np.column_stack([lean * y**2, h * y, 0 * y])
    colors = [bark if k % 2 else bark.shade(0.85) for k in range(6)]
    parts = [tube(path, 0.09 - 0.04 * y, colors, sides=7)]
    t = np.linspace(0, 1, 6)
    reach = u(0.45, 0.65)
    for k in range(n):
        frond = tube(
            np.column_stack([reach * t, 0.22 * np.sin(t * 2.9) - 0.15 * t**2, 0 * t]),
            0.02 + 0.1 * np.sin(np.pi * t * 0.93),
            leaf.shade(u(0.85, 1.1)),
            6,
        )
        parts.append(frond.scale(1, 0.9, 1.3).turn(y=360 * k / n + u(-12, 12)).at(*path[-1]))
    nut = pick(rng, ("brown", "orange"))
    parts.append(around(ball(0.07, nut).at(0.08), 3).at(lean, h - 0.07))
    return Design(parts, "palm tree", leaf, [("trunk", bark), ("coconuts", nut)], ["tropical"])


def bush(rng: np.random.Generator) -> Design:
    u = rng.uniform
    leaf, berry = pick(rng, LEAVES), pick(rng, BRIGHT)
    parts, tops = [], []
    for k in range(int(rng.integers(3, 7))):
        r, a = u(0.25, 0.4), k * 2.4
        at = np.array([0.28 * np.cos(a) * (k > 0), r * 0.7, 0.28 * np.sin(a) * (k > 0)])
        parts.append(ball((r, r * 0.85, r), leaf.shade(u(0.85, 1.1)), 1, 0.12, rng).at(*at))
        tops.append((at, r))
    if rng.random() < 0.5:
        return Design(parts, "bush", leaf, [], ["round"])
    for at, r in tops:
        for _ in range(3):
            way = np.abs(rng.normal(size=3)) * (rng.choice([-1, 1]), 0.7, rng.choice([-1, 1]))
            parts.append(ball(0.05, berry, 0).at(*(at + way / np.linalg.norm(way) * r * 0.95)))
    return Design(parts, "bush", leaf, [("berries", berry)], ["round"])


def mushroom(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cap, stem = pick(rng, (*BRIGHT, "red", "red", "brown", "tan")), pick(rng, ("white", "white", "tan"))
    dot = pick(rng, ("white", "white", "yellow"), cap)
    r, h, tall, spotted = u(0.35, 0.55), u(0.35, 0.7), u(0.5, 1.1), rng.random() < 0.65

    def one() -> Solid:
        a = np.linspace(0, np.pi / 2, 6)
        lid = lathe(
            [(r * 0.3, 0.02), (r * 0.92, -0.03), *[(r * np.cos(t), r * tall * np.sin(t)) for t in a]],
            [stem.shade(0.9), *[cap] * 6],
            14,
        )
        parts = [lathe([(0.13, 0), (0.1, h * 0.5), (0.13, h + 0.05)], stem, 10), lid.at(y=h)]
        for k in range(9 if spotted else 0):
            b, e = k * 2.4, 0.35 + 1.0 * ((k * 0.618) % 1)
            spot = ball((0.075, 0.03, 0.075), dot).turn(z=np.degrees(e) - 90).at(r * np.cos(e), r * tall * np.sin(e))
            parts.append(spot.turn(y=np.degrees(b)).at(y=h))
        return join(parts)

    parts = [one()]
    if rng.random() < 0.35:
        parts += [one().scale(u(0.4, 0.65)).turn(y=50, z=-8).at(u(0.3, 0.5), 0, u(0, 0.25))]
    return Design(
        parts, "mushroom", cap, [("stem", stem)] + ([("spots", dot)] if spotted else []), ["spotted"] if spotted else []
    )


def rock(rng: np.random.Generator) -> Design:
    u = rng.uniform
    stone, moss = pick(rng, (*STONE, "black")), pick(rng, ("green", "white"))
    parts = []
    for k in range(int(rng.integers(1, 5))):
        size = u(0.4, 0.6) if k == 0 else u(0.15, 0.35)
        a = u(0, 6.28)
        lump = ball(
            (size, size * u(0.6, 1.1), size * u(0.7, 1)), stone.shade(u(0.85, 1.1)), int(rng.integers(1, 3)), 0.14, rng
        )
        floor = np.array([-np.inf, -0.35 * size, -np.inf])
        lump = lump.bend(partial(np.maximum, floor))
        parts.append(lump.turn(y=u(0, 360)).at(0.55 * np.cos(a) * (k > 0), 0.35 * size, 0.55 * np.sin(a) * (k > 0)))
    if rng.random() < 0.3:
        top = max(p.bounds()[1][1] for p in parts)
        parts = [p.paint(lambda c: c[:, 1] > top * 0.72, moss) for p in parts]
        return Design(
            parts,
            "rock",
            stone,
            [("moss" if moss.name == "green" else "snow", moss)],
            ["mossy"] if moss.name == "green" else ["snowy"],
        )
    return Design(parts, "rock" if len(parts) < 2 else "rocks", stone, [], ["big"])


def crystal(rng: np.random.Generator) -> Design:
    u = rng.uniform
    gem, stone = pick(rng, (*BRIGHT, "white")), pick(rng, ("grey", "brown", "black"))
    parts = [ball((0.4, 0.15, 0.35), stone, 1, 0.15, rng)]
    for k in range(int(rng.integers(3, 8))):
        h, r = (u(0.8, 1.1), u(0.13, 0.18)) if k == 0 else (u(0.3, 0.7), u(0.07, 0.13))
        spike = lathe([(r * 0.7, 0), (r, h * 0.7), (0, h)], [gem.shade(0.85), gem.shade(1.15)], 6)
        parts.append(spike.turn(x=0 if k == 0 else u(15, 50)).turn(y=k * 137.5).at(y=0.03))
    return Design(parts, "crystal", gem, [("rock", stone)], ["shiny"])


def cactus(rng: np.random.Generator) -> Design:
    u = rng.uniform
    green, pot = (
        pick(rng, ("green", "green", "teal")),
        pick(
            rng,
            ("orange", "tan", "brown", *BRIGHT),
        ),
    )
    h, r, ribs = u(0.8, 1.2), u(0.12, 0.18), int(rng.integers(6, 10))
    skin = [green, green.shade(0.9)] * 3
    parts = [
        lathe(
            [(r * 0.8, 0), (r, h * 0.2), (r * 1.05, h * 0.5), (r, h * 0.8), (r * 0.7, h * 0.94), (0.02, h)],
            skin[:5],
            ribs,
        )
    ]
    for side in (-1, 1):
        if rng.random() < 0.8:
            y, up, out = h * u(0.3, 0.55), u(0.2, 0.45), r + u(0.15, 0.22)
            parts.append(
                tube(
                    [
                        (0, y, 0),
                        (side * out * 0.8, y, 0),
                        (side * out, y + 0.08, 0),
                        (side * out, y + up, 0),
                        (side * out, y + up + 0.05, 0),
                    ],
                    (r * 0.6, r * 0.6, r * 0.6, r * 0.5, r * 0.2),
                    green,
                    8,
                )
            )
    flower = pick(rng, ("pink", "red", "yellow", "purple"))
    details = []
    if rng.random() < 0.5:
        parts.append(ball((0.09, 0.07, 0.09), flower, 1, 0.2, rng).at(y=h + 0.02))
        details.append(("flower", flower))
    if rng.random() < 0.5:
        parts.append(
            lathe([(r * 1.1, -0.35), (r * 1.6, 0.0), (r * 1.75, 0.0), (r * 1.75, 0.08), (r * 1.5, 0.08)], pot, 12)
        )
        details.append(("pot", pot))
    return Design(parts, "cactus", green, details, ["spiky"])


def flower(rng: np.random.Generator) -> Design:
    u = rng.uniform
    petal, stem = pick(rng, (*BRIGHT, "white")), pick(rng, "green")
    heart = pick(rng, ("yellow", "orange", "brown", "white"), petal)
    h, n, long, wide = u(0.6, 1.0), int(rng.integers(5, 11)), u(0.2, 0.32), u(0.08, 0.14)
    leaf = ball((0.2, 0.02, 0.08), stem.shade(0.9)).at(0.2).turn(z=u(20, 45))
    head = [
        ball((long, 0.03, wide), petal.shade(0.93 + 0.1 * (k % 2))).at(long + 0.04).turn(z=u(2, 12)).turn(y=360 * k / n)
        for k in range(n)
    ]
    bloom = join([*head, ball((0.14, 0.07, 0.14), heart)]).turn(x=u(30, 80)).at(0, h, 0.05)
    parts = [tube([(0, 0, 0), (0.03, h * 0.5, 0), (0, h, 0)], 0.03, stem), bloom]
    parts += [leaf.turn(y=a).at(0.02, h * u(0.2, 0.45), 0) for a in (u(0, 60), u(180, 240))]
    return Design(parts, "flower", petal, [("heart", heart), ("stem", stem)], ["tall"] if h > 0.85 else [])


def snowman(rng: np.random.Generator) -> Design:
    u = rng.uniform
    snow, scarf, coal = pick(rng, "white"), pick(rng, BRIGHT), pick(rng, "black")
    hat, nose = pick(rng, ("black", "red", "blue", "purple", "brown")), pick(rng, "orange")
    r1, r2, r3 = u(0.38, 0.45), u(0.28, 0.33), u(0.2, 0.25)
    y2, y3 = r1 * 1.75 + r2 * 0.6, r1 * 1.75 + r2 * 1.9 + r3 * 0.6
    parts = [
        ball((r1, r1 * 0.9, r1), snow, 2).at(y=r1 * 0.9),
        ball(r2, snow, 2).at(y=y2),
        ball(r3, snow, 2).at(y=y3),
        cylinder(0.045, 0.25, nose, 0, 8).turn(x=90).at(0, y3, r3 * 0.9),
        lathe([(r2 * 0.85, 0), (r3 * 1.1, 0.05), (r3 * 0.95, 0.1)], scarf, 12).at(y=y3 - r3 * 0.95),
        box(0.09, 0.28, 0.05, scarf).turn(x=-12).at(0.1, y3 - r3 * 0.9 - 0.25, r2 * 0.95),
        cylinder(r3 * 1.3, 0.04, hat, sides=14).at(y=y3 + r3 * 0.75),
        cylinder(r3 * 0.85, 0.26, hat, r3 * u(0.75, 0.95), 14).at(y=y3 + r3 * 0.75),
    ]
    parts += [ball(0.035, coal).at(s * r3 * 0.4, y3 + r3 * 0.3, r3 * 0.86) for s in (-1, 1)]
    parts += [ball(0.035, coal).at(0, y2 + k * r2 * 0.45, r2 * (0.98 - 0.08 * abs(k))) for k in (-1, 0, 1)]
    parts += [
        tube(
            [(s * r2 * 0.8, y2 + 0.05, 0), (s * (r2 + 0.3), y2 + u(0.05, 0.35), 0.05)],
            (0.03, 0.015),
            pick(rng, "brown"),
            5,
        )
        for s in (-1, 1)
    ]
    return Design(parts, "snowman", snow, [("scarf", scarf), ("hat", hat)])


def log_pile(rng: np.random.Generator) -> Design:
    u = rng.uniform
    bark, cut = pick(rng, "brown"), pick(rng, "tan")
    length, r, rows = u(0.8, 1.2), u(0.13, 0.17), int(rng.integers(1, 4))
    parts = []
    for row in range(rows):
        for k in range(rows - row):
            piece = cylinder(r * u(0.9, 1), length * u(0.9, 1.05), bark.shade(u(0.85, 1.1)), sides=10, cap=cut)
            x = (k - (rows - row - 1) / 2) * 2 * r
            parts.append(piece.turn(x=90).at(x, r + row * 1.75 * r, -length / 2))
    return Design(parts, "log" if rows == 1 else "logs", bark, [("ends", cut)], ["wooden"])


def campfire(rng: np.random.Generator) -> Design:
    u = rng.uniform
    flame, core = pick(rng, ("orange", "orange", "red", "blue", "green", "purple")), pick(rng, "yellow")
    wood = pick(rng, WOOD)
    n, h = int(rng.integers(7, 12)), u(0.5, 0.8)
    stone = pick(rng, "grey")
    parts = [around(ball(0.1, stone, 1, 0.15, rng).at(0.45, 0.05), n)]
    parts.append(around(tube([(0.38, 0.04, 0), (0.05, 0.32, 0)], 0.05, wood, 6), int(rng.integers(4, 7))))
    for k in range(4):
        size = 1 if k == 0 else u(0.45, 0.7)
        tongue = lathe([(0.05, 0), (0.17, h * 0.25), (0.1, h * 0.6), (0, h)], flame, 7).scale(size)
        parts.append(tongue.turn(z=-12 * (k > 0)).at(0.1 * (k > 0)).turn(y=120 * k).at(y=0.08))
    parts.append(lathe([(0.04, 0), (0.1, h * 0.2), (0, h * 0.55)], core, 7).at(0.02, 0.1, 0.12))
    return Design(parts, "campfire", flame, [("stones", stone), ("logs", wood)], ["burning"])
