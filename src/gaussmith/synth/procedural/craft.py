"""Ships, aircraft and spacecraft; they head for +Z."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.design import (
    ANY,
    BRIGHT,
    METAL,
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
    loft,
    torus,
    tube,
    wedges,
)
from gaussmith.synth.procedural.vehicles import wheel_on_axle


def _hull(w: float, h: float, length: float, colors: list[Paint], sheer: float = 0.1, stern: float = 0.7) -> Solid:
    """A boat's hull, bow at +Z, deck near y = h: sections lofted from stern to bow."""
    rings = []
    for t in np.linspace(0, 1, 9):
        half = (
            w
            / 2
            * (stern + (1 - stern) * np.sin(np.pi * min(t * 0.9 + 0.05, 0.5)))
            * (1 - max(0.0, (t - 0.45) / 0.55) ** 2.2)
        )
        half = max(half, 0.004)
        top = h + sheer * (2 * t - 0.8) ** 2
        keel = h * 0.55 * max(0.0, t - 0.55) ** 1.5 * 2
        z = (t - 0.5) * length
        rings.append(
            [
                (half, top, z),
                (half * 0.95, top * 0.55 + keel * 0.45, z),
                (half * 0.45, keel, z),
                (-half * 0.45, keel, z),
                (-half * 0.95, top * 0.55 + keel * 0.45, z),
                (-half, top, z),
            ]
        )
    solid = loft(np.array(rings)[:, ::-1], colors[0])
    deck = solid.points.mean(axis=1)
    top = h + sheer * (2 * (deck[:, 2] / length + 0.5) - 0.8) ** 2
    solid = solid.paint(lambda c: c[:, 1] > top * 0.97, colors[2])
    return solid.paint(lambda c: c[:, 1] < h * 0.45, colors[1])


def sailboat(rng: np.random.Generator) -> Design:
    u = rng.uniform
    hull, sail = pick(rng, WOOD + ANY), pick(rng, ("white", "white", "tan", *BRIGHT))
    keel, mast, deck = pick(rng, ANY, hull), pick(rng, "brown"), pick(rng, ("tan", "brown"))
    w, h, length, tall = u(0.4, 0.55), u(0.24, 0.34), u(1.0, 1.4), u(0.9, 1.3)
    parts = [
        _hull(w, h, length, [hull, keel, deck], u(0.04, 0.16)),
        tube([(0, h * 0.5, 0), (0, h + tall, 0)], (0.03, 0.02), mast),
    ]
    details = [("sail", sail), ("mast", mast)]
    if rng.random() < 0.5:
        main = extrude([(-0.03, h + 0.12), (-length * 0.42, h + 0.15), (-0.03, h + tall * 0.95)], 0.03, sail).turn(
            y=-90
        )
        jib = extrude(
            [(0.05, h + 0.1), (length * 0.42, h + 0.16), (0.05, h + tall * 0.8)], 0.03, sail.shade(0.93)
        ).turn(y=-90)
        parts += [main.turn(y=u(-12, 12)), jib, tube([(0, h + 0.1, 0), (0, h + 0.12, -length * 0.42)], 0.018, mast)]
    else:
        sw, n = w * u(1.2, 1.6), int(rng.integers(1, 3))
        for k in range(n):
            sh = tall * 0.85 / n
            y0 = h + 0.12 + k * sh
            a = np.linspace(-1, 1, 7)
            bulge = [(x * sw / 2, 0.14 * (1 - x * x)) for x in a] + [
                (x * sw / 2, 0.14 * (1 - x * x) - 0.03) for x in a[::-1]
            ]
            cloth = extrude(bulge, sh * 0.88, sail).turn(x=90).scale(1 - 0.15 * k, 1, 1)
            parts += [
                cloth.at(0, y0 + sh * 0.44, 0.02),
                tube([(-sw * 0.52, y0 + sh * 0.9, 0.0), (sw * 0.52, y0 + sh * 0.9, 0.0)], 0.02, mast),
            ]
        if rng.random() < 0.5:
            second = join(parts[2:]).scale(0.75).at(0, h * 0.25, -length * 0.3)
            parts += [second, tube([(0, h * 0.5, -length * 0.3), (0, h + tall * 0.75, -length * 0.3)], 0.025, mast)]
        parts.append(box(w * 0.62, 0.16, length * 0.22, hull.shade(0.9)).at(0, h, -length * 0.37))
    flag = pick(rng, BRIGHT)
    parts.append(box(0.02, 0.09, 0.18, flag).at(0, h + tall - 0.1, -0.1))
    return Design(parts, "sailing boat", hull, details, ["wooden"] if hull.name in WOOD else [])


def boat(rng: np.random.Generator) -> Design:
    u = rng.uniform
    hull, deck = pick(rng, WOOD + ANY), pick(rng, ("tan", "brown", "white"))
    keel, cabin = pick(rng, ANY, hull), pick(rng, ("white", "yellow", *BRIGHT))
    w, h, length = u(0.42, 0.55), u(0.22, 0.32), u(1.0, 1.4)
    parts = [_hull(w, h, length, [hull, keel, deck.shade(0.8)], u(0.04, 0.14))]
    if rng.random() < 0.4:
        parts += [box(w * 0.85, 0.04, 0.1, deck).at(0, h, z) for z in (-0.25, 0.08)]
        oar = join(
            [
                tube([(0, 0, 0), (0.75, -0.25, 0)], 0.02, deck, 5),
                box(0.18, 0.02, 0.09, deck).turn(z=-18).at(0.78, -0.28),
            ]
        )
        parts.append(both(oar.at(w * 0.3, h + 0.1, -0.1)))
        return Design(
            parts, "rowing boat", hull, [("oars", deck), ("seats", deck)], ["wooden"] if hull.name in WOOD else []
        )
    glass, funnel = pick(rng, ("blue", "black", "teal")), pick(rng, BRIGHT)
    ch = u(0.2, 0.3)
    parts += [
        box(w * 0.62, ch, length * 0.34, cabin).at(0, h, -length * 0.08),
        box(w * 0.64, ch * 0.35, length * 0.3, glass).at(0, h + ch * 0.5, -length * 0.07),
        box(w * 0.7, 0.04, length * 0.38, cabin.shade(0.85)).at(0, h + ch, -length * 0.08),
        cylinder(0.08, 0.28, funnel, 0.07, 10).at(0, h + ch, -length * 0.14),
        cylinder(0.085, 0.05, pick(rng, "black"), sides=10).at(0, h + ch + 0.24, -length * 0.14),
        torus(0.07, 0.025, pick(rng, "red"), 10, 6).turn(z=90).at(w * 0.33, h + ch * 0.3, -length * 0.08),
    ]
    return Design(parts, "boat", hull, [("cabin", cabin), ("funnel", funnel)])


def plane(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, wing = pick(rng, ANY), pick(rng, ANY)
    glass, prop = pick(rng, ("blue", "teal", "black"), body), pick(rng, ("grey", "black", "brown", "yellow"))
    length, r, span, chord, biplane = u(1.0, 1.3), u(0.13, 0.18), u(0.55, 0.75), u(0.24, 0.34), rng.random() < 0.3
    jet = not biplane and rng.random() < 0.4
    z = length * np.array([-0.5, -0.3, 0.0, 0.3, 0.45, 0.5])
    nose = [0.35, 0.55, 1, 0.95, 0.6, 0.1] if jet else [0.2, 0.5, 1, 1, 0.85, 0.3]
    hull = lathe([(r * s, k) for s, k in zip(nose, z)], body, 12).turn(x=90)
    sweep = u(0.1, 0.3) if jet else u(-0.03, 0.05)
    one = extrude(
        [(0, chord / 2), (0, -chord / 2), (span, -chord * 0.38 - sweep), (span, chord * 0.2 - sweep)], 0.04, wing
    ).turn(x=90)
    tail = extrude([(0, 0.09), (0, -0.09), (0.28, -0.12), (0.28, 0)], 0.03, wing).turn(x=90)
    fin = extrude(
        [(-length * 0.5, 0), (-length * 0.33, 0), (-length * 0.45, 0.27), (-length * 0.52, 0.27)], 0.035, wing
    ).turn(y=-90)
    parts = [
        hull,
        both(one).at(0, -r * 0.3, length * 0.08),
        both(tail).at(0, r * 0.2, -length * 0.42),
        fin.at(y=r * 0.2),
        ball((r * 0.6, r * 0.6, r * 1.3), glass).at(0, r * 0.8, length * (0.26 if jet else 0.05)),
    ]
    if biplane:
        parts += [
            both(one).at(0, r * 1.9, length * 0.1),
            both(tube([(span * 0.7, -r * 0.3, length * 0.08), (span * 0.7, r * 1.9, length * 0.1)], 0.018, prop)),
            both(tube([(0.08, 0.05, length * 0.1), (0.12, r * 1.9, length * 0.1)], 0.018, prop)),
        ]
    if jet:
        engine = cylinder(0.075, 0.28, prop, 0.06, 10).turn(x=90).at(span * 0.42, -r * 0.3 - 0.09, -0.02)
        parts += [
            both(engine),
            both(join([box(0.03, 0.05, 0.05, glass).at(r * 0.93, 0.01, k) for k in np.linspace(-0.2, 0.3, 6)])),
        ]
    else:
        parts += [
            ball(0.06, prop).at(0, 0, length * 0.52),
            *[box(0.06, 0.32, 0.02, prop).turn(z=a).at(0, 0, length * 0.52) for a in (30, 150, 270)],
        ]
        parts += [
            both(
                join(
                    [
                        tube([(0.08, -r * 0.5, 0), (0.18, -r - 0.12, 0)], 0.018, prop),
                        wheel_on_axle(0.075, 0.05, pick(rng, "black"), prop).at(0.19, -r - 0.13),
                    ]
                ).at(z=length * 0.2)
            )
        ]
    return Design(
        parts, "plane", body, [("wings", wing)], ["jet"] if jet else ["biplane"] if biplane else ["propeller"]
    )


def rocket(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, nose, fin = pick(rng, ("white", "grey", *ANY)), pick(rng, BRIGHT), pick(rng, BRIGHT)
    glass, flame = pick(rng, ("blue", "teal", "yellow")), pick(rng, ("orange", "yellow"))
    r, h, n = u(0.2, 0.28), u(0.8, 1.2), int(rng.integers(3, 5))
    fat = u(0.7, 1)
    parts = [
        lathe([(r * 0.7, 0), (r * fat, h * 0.2), (r, h * 0.5), (r * 0.9, h * 0.75), (r * 0.75, h * 0.88)], body, 14),
        lathe([(r * 0.75, 0), (r * 0.5, h * 0.16), (0, h * 0.32)], nose, 14).at(y=h * 0.88),
        cylinder(r * 0.6, 0.1, pick(rng, "grey"), r * 0.45, 12).at(y=-0.08),
        torus(r * 0.99, 0.025, nose, 14, 6).at(y=h * 0.3),
        around(extrude([(r * 0.6, 0.02), (r * 0.9, h * 0.4), (r * 2.0, 0), (r * 2.0, -0.18)], 0.05, fin), n, 90),
        cylinder(r * 0.42, 0.06, pick(rng, METAL), sides=12).turn(x=90).at(0, h * 0.58, r * 0.93),
        cylinder(r * 0.3, 0.08, glass, sides=12).turn(x=90).at(0, h * 0.58, r * 0.93),
    ]
    details = [("nose", nose), ("fins", fin), ("window", glass)]
    if rng.random() < 0.4:
        parts += [lathe([(r * 0.4, 0), (r * 0.45, -0.12), (0, -0.42)][::-1], flame, 8).at(y=-0.06)]
        details.append(("flame", flame))
    return Design(parts, "rocket", body, details)


def ufo(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, dome, light = pick(rng, METAL + ANY), pick(rng, ("teal", "green", "blue", "yellow")), pick(rng, BRIGHT)
    r, n = u(0.5, 0.6), int(rng.integers(6, 11))
    parts = [
        lathe(
            [(r * 0.3, -0.13), (r * 0.75, -0.07), (r, 0), (r * 0.75, 0.08), (r * 0.42, 0.14)],
            [body.shade(0.7), body.shade(0.85), body, body],
            18,
        ),
        lathe([(r * 0.4 * np.cos(t), 0.12 + u(0.24, 0.25) * np.sin(t)) for t in np.linspace(0, 1.57, 6)], dome, 14),
        around(ball(0.05, light).at(r * 0.8, 0.06), n),
    ]
    if rng.random() < 0.5:
        parts.append(around(tube([(r * 0.4, -0.08, 0), (r * 0.65, -0.32, 0)], 0.025, body.shade(0.6)), 3, 30))
    return Design([join(parts).turn(x=u(0, 12))], "flying saucer", body, [("dome", dome), ("lights", light)])


def helicopter(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, glass, dark = pick(rng, ANY), pick(rng, ("blue", "teal", "black")), pick(rng, ("grey", "black"))
    stripe, reach = pick(rng, ("white", *BRIGHT), body), u(0.5, 0.65)
    spin = u(0, 90)
    parts = [
        ball((0.24, 0.24, 0.36), body, 2),
        ball((0.2, 0.18, 0.24), glass, 2).at(0, 0.05, 0.16),
        tube([(0, 0.06, -0.25), (0, 0.12, -0.85)], (0.1, 0.045), [body], 8),
        tube([(0, 0.1, -0.6), (0, 0.11, -0.68)], 0.075, stripe, 8),
        extrude([(-0.78, 0.1), (-0.9, 0.1), (-0.95, 0.34), (-0.86, 0.34)], 0.04, stripe).turn(y=-90),
        cylinder(0.04, 0.14, dark, sides=8).at(y=0.2),
        cylinder(0.08, 0.04, dark).at(y=0.33),
        join([box(reach * 2, 0.02, 0.08, dark).turn(y=spin + 90 * k) for k in range(2)]).at(y=0.35),
        both(tube([(0.2, -0.34, -0.3), (0.2, -0.34, 0.3), (0.2, -0.28, 0.38)], 0.025, dark)),
        both(join([tube([(0.1, -0.15, z), (0.2, -0.34, z)], 0.02, dark, 5) for z in (-0.15, 0.15)])),
        join([box(0.02, 0.3, 0.04, dark).turn(x=90 * k + 20) for k in range(2)]).at(0.05, 0.25, -0.88),
    ]
    return Design(parts, "helicopter", body, [("window", glass), ("stripe", stripe)])


def balloon(rng: np.random.Generator) -> Design:
    cloth = pick(rng, BRIGHT)
    other, basket = pick(rng, (*BRIGHT, "white"), cloth), pick(rng, ("brown", "tan"))
    t = np.linspace(-1.15, 1.55, 10)
    n = int(rng.choice([8, 10, 12, 16]))
    bag = lathe([(0.5 * np.cos(a) * (1 if a > -0.3 else 1 + 0.12 * (a + 0.3)), 0.55 * np.sin(a)) for a in t], cloth, n)
    if rng.random() < 0.6:
        bag = bag.paint(wedges(n // 2, half=True), other)
    else:
        bag = bag.paint(lambda c: np.abs(c[:, 1]) < 0.16, other)
    parts = [
        bag,
        box(0.2, 0.17, 0.2, basket, taper=1.15).at(y=-0.95),
        box(0.25, 0.03, 0.25, basket.shade(0.75)).at(y=-0.79),
    ]
    parts.append(four(tube([(0.1, -0.8, 0.1), (0.15, -0.47, 0.15)], 0.012, basket.shade(0.6), 4)))
    return Design(parts, "hot air balloon", cloth, [("stripes", other), ("basket", basket)], ["striped"])
