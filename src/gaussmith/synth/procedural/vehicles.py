"""Vehicles: they drive, sail and fly towards +Z."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.design import ANY, BRIGHT, METAL, WOOD, Design, Paint, pick
from gaussmith.synth.procedural.shapes import Solid, around, ball, both, box, cylinder, extrude, four, join, lathe, loft, torus, tube


def _wheel(r: float, t: float, tyre: Paint, hub: Paint) -> Solid:
    """A wheel about the origin, its axle along x."""
    rim = cylinder(r, t, tyre, sides=14).at(y=-t / 2)
    return join([rim, cylinder(r * 0.55, t * 1.12, hub, sides=10).at(y=-t * 0.56)]).turn(z=90)


def _side(outline: list[tuple[float, float]], width: float, color: Paint, bevel: float = 0.0) -> Solid:
    """An outline in (z, y) drawn out along x: a body seen from its side."""
    return extrude(outline, width, color, bevel).turn(y=-90)


def _lights(w: float, y: float, z: float, back: float, rng: np.random.Generator) -> Solid:
    return join([
        both(box(w * 0.2, 0.08, 0.04, pick(rng, "yellow").shade(1.4)).at(w * 0.33, y, z)),
        both(box(w * 0.2, 0.07, 0.04, pick(rng, "red")).at(w * 0.33, y, back)),
    ])  # fmt: skip


def car(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, glass = pick(rng, ANY), pick(rng, ("blue", "teal", "black", "grey"))
    tyre, hub = pick(rng, "black"), pick(rng, ("grey", "white", "silver"))
    glass = glass if glass.name != body.name else pick(rng, "black")
    w, length, r, h = u(0.55, 0.65), u(1.1, 1.4), u(0.14, 0.18), u(0.2, 0.28)
    y, f, b = r * 0.8, length / 2, -length / 2
    cab = u(0.22, 0.3)
    rear, front, lean = b + u(0.05, 0.3), f - u(0.3, 0.45), u(0.1, 0.2)
    roof = pick(rng, ANY, body) if rng.random() < 0.25 else body
    lower = [(b, y), (f, y), (f + 0.02, y + h * 0.6), (f - 0.06, y + h * 0.9), (0, y + h), (b + 0.03, y + h), (b - 0.02, y + h * 0.5)]
    top = y + h + cab
    cabin = [(rear, y + h * 0.9), (front, y + h * 0.9), (front - lean, top), (rear + lean * 0.6, top)]
    parts = [
        _side(lower, w, body, 0.05), _side(cabin, w * 0.86, glass, 0.08),
        box(w * 0.8, 0.045, front - rear - lean * 1.5, roof, bevel=0.01).at(0, top - 0.02, (front + rear) / 2 - lean * 0.2),
        both(_side([(rear + 0.4 * (front - rear), y + h), (rear + 0.48 * (front - rear), y + h), (rear + 0.48 * (front - rear), top), (rear + 0.4 * (front - rear), top)], 0.05, body).at(w * 0.415)),
        four(_wheel(r, 0.13, tyre, hub).at(w / 2 - 0.03, r, length * 0.31)), _lights(w, y + h * 0.45, f, b, rng),
        both(box(w, 0.07, 0.08, pick(rng, ("grey", "black", "white")), bevel=0.015).at(0, y, f), 2),
    ]  # fmt: skip
    details = [("wheels", hub if rng.random() < 0.3 else tyre), ("windows", glass)]
    noun, extra = "car", int(rng.integers(8))
    if extra == 0:
        noun = "police car"
        parts += [box(0.1, 0.06, 0.1, pick(rng, "red")).at(-0.08, top), box(0.1, 0.06, 0.1, pick(rng, "blue")).at(0.08, top)]
    elif extra == 1 and roof is body:
        details.append(("rack", pick(rng, "brown")))
        parts.append(box(w * 0.7, 0.1, (front - rear) * 0.5, details[-1][1], bevel=0.02).at(0, top, (front + rear) / 2))
    elif extra in (2, 3):
        stripe = pick(rng, ("white", "black", "yellow", "red"), body)
        parts += [_side([(z, yy) for z, yy in lower], 0.12, stripe, 0.03).scale(1, 1.012, 1.01), box(0.12, 0.05, front - rear - lean * 1.6, stripe).at(0, top - 0.018, (front + rear) / 2)]
        details.append(("stripe", stripe))
        noun = "racing car" if extra == 2 else "car"
        if extra == 2:
            parts += [box(w, 0.03, 0.16, stripe).at(0, y + h + 0.16, b + 0.06), both(box(0.04, 0.18, 0.08, stripe).at(w * 0.3, y + h, b + 0.06))]
    if roof is not body:
        details.append(("roof", roof))
    return Design(parts, noun, body, details)


def truck(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cab, load = pick(rng, ANY), pick(rng, ANY + WOOD)
    tyre, hub, glass, frame = pick(rng, "black"), pick(rng, METAL), pick(rng, ("blue", "teal", "black"), cab), pick(rng, ("grey", "black"))
    w, length, h, r = u(0.5, 0.6), u(1.2, 1.6), u(0.45, 0.6), u(0.14, 0.17)
    f = length / 2
    y = r * 1.1
    cl = u(0.35, 0.45)
    parts = [
        box(w * 0.8, 0.08, length, frame).at(y=y),
        _side([(f - cl, y), (f, y), (f, y + h * 0.5), (f - 0.1, y + h), (f - cl, y + h)], w, cab, 0.04),
        box(w * 0.86, h * 0.34, 0.05, glass).turn(x=-15).at(0, y + h * 0.52, f - 0.06), both(box(0.04, h * 0.3, cl * 0.45, glass).at(w / 2 - 0.015, y + h * 0.55, f - cl * 0.5)),
        both(join([_wheel(r, 0.12, tyre, hub).at(w / 2, r, z) for z in (f - cl * 0.5, -f * 0.35, -f * 0.75)])),
        box(w * 1.02, 0.08, 0.06, frame).at(0, y - 0.03, f), _lights(w, y + 0.1, f + 0.01, -f, rng),
    ]  # fmt: skip
    kind = int(rng.integers(4))
    bed, mid = length - cl - 0.06, -cl / 2 - 0.03
    if kind == 0:
        parts.append(box(w * 1.06, h * u(1.05, 1.4), bed, load, bevel=0.02).at(0, y + 0.07, mid))
        return Design(parts, "truck", cab, [("container", load), ("wheels", tyre)], ["big"])
    if kind == 1:
        stuff = pick(rng, ("brown", "tan", "grey", "yellow", "green"))
        parts += [box(w * 1.04, 0.06, bed, load).at(0, y + 0.08, mid), both(box(0.05, 0.26, bed, load).at(w * 0.5, y + 0.08, mid)), *[box(w, 0.26, 0.05, load).at(0, y + 0.08, mid + s * bed / 2) for s in (-1, 1)]]  # fmt: skip
        parts += [ball((w * 0.3, 0.2, bed * 0.27), stuff, 1, 0.15, rng).at(0, y + 0.2, mid + s * bed * 0.22) for s in (-1, 1)]
        return Design(parts, "dump truck", cab, [("bed", load), ("load", stuff)])
    if kind == 2:
        parts.append(lathe([(w * 0.3, -bed / 2), (w * 0.46, -bed * 0.42), (w * 0.46, bed * 0.42), (w * 0.3, bed / 2)], load, 14).turn(x=90).at(0, y + w * 0.5, mid))
        return Design(parts, "tank truck", cab, [("tank", load), ("wheels", tyre)])
    white = pick(rng, ("white", "silver"))
    parts += [box(w, h * 0.75, bed, cab, bevel=0.02).at(0, y + 0.05, mid), box(w * 1.02, 0.06, bed * 1.01, white).at(0, y + h * 0.3, mid)]
    rail = [both(tube([(0.09, 0, -bed * 0.5), (0.09, 0, bed * 0.55)], 0.02, white, 4))] + [box(0.18, 0.02, 0.03, white).at(z=z) for z in np.linspace(-bed * 0.45, bed * 0.5, 8)]  # fmt: skip
    parts += [join(rail).turn(x=-7).at(0, y + h * 0.86, mid + 0.08), box(w * 0.6, 0.07, 0.08, pick(rng, "blue")).at(0, y + h, f - cl * 0.6)]
    return Design(parts, "fire truck", cab, [("ladder", white), ("wheels", tyre)])


def bus(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, glass, tyre = pick(rng, ("yellow", "red", *ANY)), pick(rng, ("blue", "black", "teal")), pick(rng, "black")
    stripe = pick(rng, ("white", "black", *BRIGHT), body)
    w, length, h, r, n = u(0.45, 0.55), u(1.3, 1.7), u(0.5, 0.65), 0.14, int(rng.integers(4, 7))
    parts = [
        box(w, h, length, body, bevel=0.05).at(y=r * 0.8), box(w * 1.015, 0.05, length * 0.98, stripe).at(y=r * 0.8 + h * 0.38),
        four(_wheel(r, 0.12, tyre, pick(rng, METAL)).at(w / 2 - 0.03, r, length * 0.32)), box(w * 0.86, h * 0.4, 0.04, glass).at(0, r * 0.8 + h * 0.48, length / 2 - 0.01),
        box(w * 0.8, h * 0.3, 0.04, glass).at(0, r * 0.8 + h * 0.5, -length / 2 + 0.01), _lights(w, r * 0.8 + h * 0.2, length / 2, -length / 2, rng),
    ]  # fmt: skip
    step = length * 0.9 / n
    parts += [both(box(0.04, h * 0.3, step * 0.75, glass).at(w / 2 - 0.01, r * 0.8 + h * 0.52, (k - (n - 1) / 2) * step)) for k in range(n)]
    return Design(parts, "bus", body, [("stripe", stripe), ("windows", glass)], ["long"])


def train(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, cab, trim = pick(rng, ANY), pick(rng, ANY), pick(rng, ("gold", "red", "black", "yellow"))
    dark, wheel = pick(rng, ("black", "grey")), pick(rng, ("red", "black", "grey"))
    w, length, r = u(0.42, 0.5), u(1.1, 1.4), u(0.2, 0.24)
    f, y = length / 2, 0.24
    parts = [
        box(w, 0.1, length, dark).at(y=0.16), cylinder(r, length * 0.62, body, sides=14, cap=dark).turn(x=90).at(0, y + r, -length * 0.1),
        box(w, 0.5, length * 0.32, cab).at(0, y, -f + length * 0.17), box(w * 1.15, 0.06, length * 0.38, trim).at(0, y + 0.5, -f + length * 0.17),
        both(box(0.04, 0.18, 0.2, pick(rng, ("blue", "yellow"))).at(w / 2, y + 0.26, -f + length * 0.17)),
        lathe([(0.07, 0), (0.06, 0.16), (0.11, 0.26), (0.11, 0.3)], dark, 10).at(0, y + 2 * r - 0.03, f * 0.72), ball((0.09, 0.11, 0.09), trim).at(0, y + 2 * r, 0.1),
        _side([(f, 0.05), (f + 0.2, 0.05), (f, 0.24)], w * 0.9, trim), cylinder(0.07, 0.05, pick(rng, "yellow")).turn(x=90).at(0, y + r * 1.6, f * 1.02),
    ]  # fmt: skip
    parts += [torus(r * 1.01, 0.02, trim, 14, 5).turn(x=90).at(0, y + r, z) for z in (f * 0.2, f * 0.8)]
    n = int(rng.integers(3, 5))
    parts += [both(_wheel(0.15 if k else 0.18, 0.07, wheel, trim).at(w / 2, 0.16, -f * 0.7 + 1.5 * f * k / (n - 1))) for k in range(n)]
    return Design(parts, "train", body, [("cab", cab), ("wheels", wheel)], ["steam"])


def _hull(w: float, h: float, length: float, colors: list[Paint], sheer: float = 0.1, stern: float = 0.7) -> Solid:
    """A boat's hull, bow at +Z, deck near y = h: sections lofted from stern to bow."""
    rings = []
    for t in np.linspace(0, 1, 9):
        half = w / 2 * (stern + (1 - stern) * np.sin(np.pi * min(t * 0.9 + 0.05, 0.5))) * (1 - max(0.0, (t - 0.45) / 0.55) ** 2.2)
        half = max(half, 0.004)
        top = h + sheer * (2 * t - 0.8) ** 2
        keel = h * 0.55 * max(0.0, t - 0.55) ** 1.5 * 2
        z = (t - 0.5) * length
        rings.append([(half, top, z), (half * 0.95, top * 0.55 + keel * 0.45, z), (half * 0.45, keel, z), (-half * 0.45, keel, z), (-half * 0.95, top * 0.55 + keel * 0.45, z), (-half, top, z)])  # fmt: skip
    solid = loft(np.array(rings)[:, ::-1], colors[0])
    deck = solid.points.mean(axis=1)
    top = h + sheer * (2 * (deck[:, 2] / length + 0.5) - 0.8) ** 2
    solid = solid.paint(lambda c: c[:, 1] > top * 0.97, colors[2])
    return solid.paint(lambda c: (c[:, 1] < h * 0.45), colors[1])


def sailboat(rng: np.random.Generator) -> Design:
    u = rng.uniform
    hull, sail = pick(rng, WOOD + ANY), pick(rng, ("white", "white", "tan", *BRIGHT))
    keel, mast, deck = pick(rng, ANY, hull), pick(rng, "brown"), pick(rng, ("tan", "brown"))
    w, h, length, tall = u(0.4, 0.55), u(0.24, 0.34), u(1.0, 1.4), u(0.9, 1.3)
    parts = [_hull(w, h, length, [hull, keel, deck], u(0.04, 0.16)), tube([(0, h * 0.5, 0), (0, h + tall, 0)], (0.03, 0.02), mast)]
    details = [("sail", sail), ("mast", mast)]
    if rng.random() < 0.5:
        main = extrude([(-0.03, h + 0.12), (-length * 0.42, h + 0.15), (-0.03, h + tall * 0.95)], 0.03, sail).turn(y=-90)
        jib = extrude([(0.05, h + 0.1), (length * 0.42, h + 0.16), (0.05, h + tall * 0.8)], 0.03, sail.shade(0.93)).turn(y=-90)
        parts += [main.turn(y=u(-12, 12)), jib, tube([(0, h + 0.1, 0), (0, h + 0.12, -length * 0.42)], 0.018, mast)]
    else:
        sw, n = w * u(1.2, 1.6), int(rng.integers(1, 3))
        for k in range(n):
            sh = tall * 0.85 / n
            y0 = h + 0.12 + k * sh
            a = np.linspace(-1, 1, 7)
            bulge = [(x * sw / 2, 0.14 * (1 - x * x)) for x in a] + [(x * sw / 2, 0.14 * (1 - x * x) - 0.03) for x in a[::-1]]
            cloth = extrude(bulge, sh * 0.88, sail).turn(x=90).scale(1 - 0.15 * k, 1, 1)
            parts += [cloth.at(0, y0 + sh * 0.44, 0.02), tube([(-sw * 0.52, y0 + sh * 0.9, 0.0), (sw * 0.52, y0 + sh * 0.9, 0.0)], 0.02, mast)]
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
        oar = join([tube([(0, 0, 0), (0.75, -0.25, 0)], 0.02, deck, 5), box(0.18, 0.02, 0.09, deck).turn(z=-18).at(0.78, -0.28)])
        parts.append(both(oar.at(w * 0.3, h + 0.1, -0.1)))
        return Design(parts, "rowing boat", hull, [("oars", deck), ("seats", deck)], ["wooden"] if hull.name in WOOD else [])
    glass, funnel = pick(rng, ("blue", "black", "teal")), pick(rng, BRIGHT)
    ch = u(0.2, 0.3)
    parts += [
        box(w * 0.62, ch, length * 0.34, cabin).at(0, h, -length * 0.08), box(w * 0.64, ch * 0.35, length * 0.3, glass).at(0, h + ch * 0.5, -length * 0.07),
        box(w * 0.7, 0.04, length * 0.38, cabin.shade(0.85)).at(0, h + ch, -length * 0.08), cylinder(0.08, 0.28, funnel, 0.07, 10).at(0, h + ch, -length * 0.14),
        cylinder(0.085, 0.05, pick(rng, "black"), sides=10).at(0, h + ch + 0.24, -length * 0.14), torus(0.07, 0.025, pick(rng, "red"), 10, 6).turn(z=90).at(w * 0.33, h + ch * 0.3, -length * 0.08),
    ]  # fmt: skip
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
    one = extrude([(0, chord / 2), (0, -chord / 2), (span, -chord * 0.38 - sweep), (span, chord * 0.2 - sweep)], 0.04, wing).turn(x=90)
    tail = extrude([(0, 0.09), (0, -0.09), (0.28, -0.12), (0.28, 0)], 0.03, wing).turn(x=90)
    fin = extrude([(-length * 0.5, 0), (-length * 0.33, 0), (-length * 0.45, 0.27), (-length * 0.52, 0.27)], 0.035, wing).turn(y=-90)
    parts = [hull, both(one).at(0, -r * 0.3, length * 0.08), both(tail).at(0, r * 0.2, -length * 0.42), fin.at(y=r * 0.2), ball((r * 0.6, r * 0.6, r * 1.3), glass).at(0, r * 0.8, length * (0.26 if jet else 0.05))]  # fmt: skip
    if biplane:
        parts += [both(one).at(0, r * 1.9, length * 0.1), both(tube([(span * 0.7, -r * 0.3, length * 0.08), (span * 0.7, r * 1.9, length * 0.1)], 0.018, prop)), both(tube([(0.08, 0.05, length * 0.1), (0.12, r * 1.9, length * 0.1)], 0.018, prop))]  # fmt: skip
    if jet:
        engine = cylinder(0.075, 0.28, prop, 0.06, 10).turn(x=90).at(span * 0.42, -r * 0.3 - 0.09, -0.02)
        parts += [both(engine), both(join([box(0.03, 0.05, 0.05, glass).at(r * 0.93, 0.01, k) for k in np.linspace(-0.2, 0.3, 6)]))]
    else:
        parts += [ball(0.06, prop).at(0, 0, length * 0.52), *[box(0.06, 0.32, 0.02, prop).turn(z=a).at(0, 0, length * 0.52) for a in (30, 150, 270)]]
        parts += [both(join([tube([(0.08, -r * 0.5, 0), (0.18, -r - 0.12, 0)], 0.018, prop), _wheel(0.075, 0.05, pick(rng, "black"), prop).at(0.19, -r - 0.13)]).at(z=length * 0.2))]
    return Design(parts, "plane", body, [("wings", wing)], ["jet"] if jet else ["biplane"] if biplane else ["propeller"])


def rocket(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, nose, fin = pick(rng, ("white", "grey", *ANY)), pick(rng, BRIGHT), pick(rng, BRIGHT)
    glass, flame = pick(rng, ("blue", "teal", "yellow")), pick(rng, ("orange", "yellow"))
    r, h, n = u(0.2, 0.28), u(0.8, 1.2), int(rng.integers(3, 5))
    fat = u(0.7, 1)
    parts = [
        lathe([(r * 0.7, 0), (r * fat, h * 0.2), (r, h * 0.5), (r * 0.9, h * 0.75), (r * 0.75, h * 0.88)], body, 14), lathe([(r * 0.75, 0), (r * 0.5, h * 0.16), (0, h * 0.32)], nose, 14).at(y=h * 0.88),
        cylinder(r * 0.6, 0.1, pick(rng, "grey"), r * 0.45, 12).at(y=-0.08), torus(r * 0.99, 0.025, nose, 14, 6).at(y=h * 0.3),
        around(extrude([(r * 0.6, 0.02), (r * 0.9, h * 0.4), (r * 2.0, 0), (r * 2.0, -0.18)], 0.05, fin), n, 90),
        cylinder(r * 0.42, 0.06, pick(rng, METAL), sides=12).turn(x=90).at(0, h * 0.58, r * 0.93), cylinder(r * 0.3, 0.08, glass, sides=12).turn(x=90).at(0, h * 0.58, r * 0.93),
    ]  # fmt: skip
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
        lathe([(r * 0.3, -0.13), (r * 0.75, -0.07), (r, 0), (r * 0.75, 0.08), (r * 0.42, 0.14)], [body.shade(0.7), body.shade(0.85), body, body], 18),
        lathe([(r * 0.4 * np.cos(t), 0.12 + u(0.24, 0.25) * np.sin(t)) for t in np.linspace(0, 1.57, 6)], dome, 14), around(ball(0.05, light).at(r * 0.8, 0.06), n),
    ]  # fmt: skip
    if rng.random() < 0.5:
        parts.append(around(tube([(r * 0.4, -0.08, 0), (r * 0.65, -0.32, 0)], 0.025, body.shade(0.6)), 3, 30))
    return Design([join(parts).turn(x=u(0, 12))], "flying saucer", body, [("dome", dome), ("lights", light)])


def helicopter(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, glass, dark = pick(rng, ANY), pick(rng, ("blue", "teal", "black")), pick(rng, ("grey", "black"))
    stripe, reach = pick(rng, ("white", *BRIGHT), body), u(0.5, 0.65)
    spin = u(0, 90)
    parts = [
        ball((0.24, 0.24, 0.36), body, 2), ball((0.2, 0.18, 0.24), glass, 2).at(0, 0.05, 0.16), tube([(0, 0.06, -0.25), (0, 0.12, -0.85)], (0.1, 0.045), [body], 8),
        tube([(0, 0.1, -0.6), (0, 0.11, -0.68)], 0.075, stripe, 8), extrude([(-0.78, 0.1), (-0.9, 0.1), (-0.95, 0.34), (-0.86, 0.34)], 0.04, stripe).turn(y=-90), cylinder(0.04, 0.14, dark, sides=8).at(y=0.2), cylinder(0.08, 0.04, dark).at(y=0.33),
        join([box(reach * 2, 0.02, 0.08, dark).turn(y=spin + 90 * k) for k in range(2)]).at(y=0.35), both(tube([(0.2, -0.34, -0.3), (0.2, -0.34, 0.3), (0.2, -0.28, 0.38)], 0.025, dark)),
        both(join([tube([(0.1, -0.15, z), (0.2, -0.34, z)], 0.02, dark, 5) for z in (-0.15, 0.15)])), join([box(0.02, 0.3, 0.04, dark).turn(x=90 * k + 20) for k in range(2)]).at(0.05, 0.25, -0.88),
    ]  # fmt: skip
    return Design(parts, "helicopter", body, [("window", glass), ("stripe", stripe)])


def tank(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, track = pick(rng, ("green", "green", "tan", "grey", *BRIGHT)), pick(rng, ("black", "grey", "brown"))
    w, length, h = u(0.55, 0.7), u(0.9, 1.1), u(0.14, 0.2)
    t = np.linspace(0, 2 * np.pi, 15)[:-1]
    belt = extrude([(np.clip(np.cos(a) * 2, -1, 1) * length * 0.36 + np.cos(a) * length * 0.14, 0.16 + 0.15 * np.sin(a)) for a in t], 0.18, track).turn(y=90)
    tw = w * u(0.5, 0.65)
    parts = [
        both(belt.at(w / 2)), box(w * 0.9, h, length * 0.95, body, bevel=0.03, taper=(0.95, 0.9)).at(y=0.2),
        both(join([cylinder(0.09, 0.2, body.shade(0.8), sides=10).turn(z=90).at(w / 2 + 0.1, 0.15, z) for z in np.linspace(-length * 0.32, length * 0.32, 4)])),
        box(tw, 0.2, tw * 1.15, body.shade(1.06), bevel=0.04, taper=0.75).at(0, 0.2 + h, -0.08), tube([(0, 0.3 + h, 0.1), (0, 0.33 + h, length * u(0.6, 0.8))], 0.04, body.shade(0.85), 8),
        tube([(0, 0.33 + h, length * 0.56), (0, 0.33 + h, length * 0.66)], 0.06, track, 8), cylinder(0.1, 0.05, body.shade(0.8), sides=10).at(0.06, 0.39 + h, -0.12),
    ]  # fmt: skip
    return Design(parts, "tank", body, [("tracks", track)], ["heavy"])


def cart(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, wheel, load = pick(rng, WOOD + BRIGHT), pick(rng, ("brown", "black", "grey", "red")), pick(rng, ANY)
    w, d, r, h = u(0.5, 0.65), u(0.8, 1.0), u(0.24, 0.32), u(0.2, 0.3)
    rim = join([torus(r, 0.035, wheel, 16, 6).turn(z=90), *[box(0.035, 2 * r, 0.035, wheel).at(y=-r).turn(x=45 * k) for k in range(4)], ball(0.06, wheel)])
    parts = [
        box(w, 0.06, d, wood).at(y=r), both(box(0.05, h, d, wood.shade(0.9)).at(w / 2, r)), both(box(w, h, 0.05, wood.shade(0.9)).at(0, r, d / 2), 2),
        both(tube([(w * 0.35, r, d / 2), (w * 0.3, r * 0.7, d / 2 + 0.5)], 0.03, wood)), both(rim.at(w / 2 + 0.08, r, 0)), tube([(-w / 2 - 0.1, r, 0), (w / 2 + 0.1, r, 0)], 0.03, wheel),
    ]  # fmt: skip
    details = [("wheels", wheel)]
    if rng.random() < 0.6:
        parts += [ball((w * 0.25, h * 0.6, d * 0.18), load.shade(u(0.88, 1.1)), 1, 0.12, rng).at(s * w * 0.2, r + h * 0.85, t * d * 0.25) for s in (-1, 1) for t in (-1, 1)]
        details.append(("load", load))
    return Design(parts, "cart", wood, details, ["wooden"] if wood.name in WOOD else [])


def balloon(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cloth = pick(rng, BRIGHT)
    other, basket = pick(rng, BRIGHT + ("white",), cloth), pick(rng, ("brown", "tan"))
    t = np.linspace(-1.15, 1.55, 10)
    n = int(rng.choice([8, 10, 12, 16]))
    bag = lathe([(0.5 * np.cos(a) * (1 if a > -0.3 else 1 + 0.12 * (a + 0.3)), 0.55 * np.sin(a)) for a in t], cloth, n)
    if rng.random() < 0.6:
        bag = bag.paint(lambda c: (np.floor(np.arctan2(c[:, 2], c[:, 0]) * n / 6.2832 + 0.5) % 2) == 0, other)
    else:
        bag = bag.paint(lambda c: np.abs(c[:, 1]) < 0.16, other)
    parts = [bag, box(0.2, 0.17, 0.2, basket, taper=1.15).at(y=-0.95), box(0.25, 0.03, 0.25, basket.shade(0.75)).at(y=-0.79)]
    parts.append(four(tube([(0.1, -0.8, 0.1), (0.15, -0.47, 0.15)], 0.012, basket.shade(0.6), 4)))
    return Design(parts, "hot air balloon", cloth, [("stripes", other), ("basket", basket)], ["striped"])
