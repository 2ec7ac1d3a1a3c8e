"""Things to hold, wear, play and treasure."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.design import ANY, BRIGHT, METAL, PRECIOUS, WOOD, Design, Paint, pick
from gaussmith.synth.procedural.shapes import Solid, around, ball, both, box, cylinder, extrude, join, lathe, loft, torus, tube


def guitar(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, neck = pick(rng, WOOD + ANY), pick(rng, ("brown", "black", "tan"))
    electric = rng.random() < 0.4
    t = np.linspace(0, 2 * np.pi, 29)[:-1]
    wide, waist = u(0.27, 0.33), u(0.16, 0.26)
    r = wide * (1 - 0.2 * np.cos(t)) - waist * np.exp(-((np.abs(np.sin(t)) - 1) ** 2) * 14) * 0.45
    outline = np.column_stack([r * np.sin(t) * 0.95, -r * np.cos(t) * 1.35])
    if electric:
        outline[(outline[:, 1] > 0.18) & (outline[:, 0] > 0.05)] += (0.03, 0.1)
    d, long = (0.09 if electric else u(0.14, 0.2)), u(0.6, 0.75)
    string, plate = pick(rng, ("white", "silver")), pick(rng, ("black", "white", "brown"), body)
    parts = [
        extrude(outline, d, body, 0.04), box(0.075, long + 0.2, 0.05, neck).at(0, 0.15, d / 2), box(0.12, 0.2, 0.05, neck.shade(0.7), taper=1.25).at(0, 0.33 + long, d / 2 - 0.02),
        box(0.2, 0.04, 0.03, plate).at(0, -0.22, d / 2), *[box(0.006, long + 0.5, 0.006, string).at(x, -0.2, d / 2 + 0.03) for x in (-0.024, -0.008, 0.008, 0.024)],
        both(join([ball(0.022, string, 0).at(0.085, 0.38 + long + k * 0.055, d / 2) for k in range(3)])),
    ]  # fmt: skip
    if electric:
        parts += [box(0.16, 0.035, 0.03, plate).at(0, y, d / 2) for y in (-0.1, 0.02)]
    else:
        parts.append(cylinder(0.1, 0.02, pick(rng, "black"), sides=14).turn(x=90).at(0, 0.02, d / 2 - 0.005))
    tilt = u(-20, 20)
    return Design([join(parts).turn(z=tilt)], "guitar", body, [("neck", neck)], ["electric"] if electric else ["acoustic"])


def book(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cover, trim, paper = pick(rng, ANY), pick(rng, PRECIOUS + BRIGHT), pick(rng, ("white", "tan"))
    w, h, d = u(0.5, 0.65), u(0.7, 0.85), u(0.1, 0.22)
    if rng.random() < 0.3:
        page = lambda s: [(0, 0.02), (0.1 * s, d * 0.6), (w * 0.5 * s, d * 0.65), (w * s, d * 0.35), (w * s, 0.02)]  # noqa: E731
        leaf = extrude(page(1), h * 0.94, paper)
        parts = [both(leaf), both(box(w * 1.05, 0.03, h, cover).turn(z=8).at(w * 0.52, -0.05)), box(0.08, 0.03, h, cover).at(y=-0.05)]
        lines = [box(w * 0.6, 0.006, 0.02, pick(rng, "grey")).turn(z=-4).at(w * 0.52, d * 0.6, z * h) for z in np.linspace(-0.32, 0.32, 6)]
        parts.append(both(join(lines)))
        return Design([join(parts).turn(x=u(20, 60))], "book", cover, [("pages", paper)], ["open"])
    parts = [
        box(w * 0.96, h * 0.95, d * 0.8, paper).at(0.0, h * 0.025), both(box(w, h, d * 0.12, cover, bevel=0.008).at(0.012, 0, d * 0.45), 2),
        lathe([(d * 0.51, 0), (d * 0.51, h)], cover, 10).scale(0.5, 1, 1).at(-w * 0.49), both(torus(0.09, 0.022, trim, 12, 5).turn(x=90).at(0.02, h * 0.55, d * 0.5), 2),
    ]  # fmt: skip
    parts += [both(box(0.1, 0.1, d * 0.08, trim).at(w * 0.46, y, d * 0.5), 2) for y in (0, h - 0.1)]
    parts.append(both(box(w * 0.5, 0.04, d * 0.06, trim).at(0, h * 0.8, d * 0.5), 2))
    book_solid = join(parts).at(y=-h / 2)
    return Design([book_solid.turn(x=-90 if rng.random() < 0.4 else u(-15, 0), y=u(-25, 25))], "book", cover, [("trim", trim), ("pages", paper)], ["closed"])


def lantern(rng: np.random.Generator) -> Design:
    u = rng.uniform
    iron, glow = pick(rng, METAL + BRIGHT), pick(rng, ("yellow", "orange", "white", "teal"))
    n, r, h = int(rng.choice([4, 6, 8])), u(0.2, 0.27), u(0.35, 0.5)
    flat = np.cos(np.pi / n)
    post = box(0.04, h, 0.04, iron).at(0, 0, r).turn(y=180 / n)
    a = np.linspace(0, np.pi, 9)
    parts = [
        lathe([(r * 1.2, -0.08), (r * 1.2, -0.03), (r * 1.05, 0)], iron, n), cylinder(r * 0.88, h, glow, sides=n), around(post, n), lathe([(r * 1.25, 0), (r * 1.2, 0.05), (r * 0.4, 0.2), (r * 0.3, 0.26)], iron, n).at(y=h),
        tube([(0.12 * np.cos(t), h + 0.24 + 0.17 * np.sin(t), 0) for t in a], 0.02, iron, 5), around(box(r * 1.1, 0.03, 0.03, iron).at(0, h * 0.5, r * flat * 0.95), n, 0 if n != 4 else 0),
    ]  # fmt: skip
    return Design(parts, "lantern", iron, [("light", glow)], ["glowing"])


def sword(rng: np.random.Generator) -> Design:
    u = rng.uniform
    blade = pick(rng, ("silver", "silver", "grey", "white", "gold", *BRIGHT))
    guard, grip = pick(rng, PRECIOUS + BRIGHT + ("black",)), pick(rng, ("brown", "black", *BRIGHT))
    long, w, curve = u(0.7, 1.2), u(0.09, 0.2), u(0, 0.15) if rng.random() < 0.3 else 0.0
    ys = np.linspace(0, 1, 7)
    widths = w / 2 * np.interp(ys, [0, 0.8, 1], [1, u(0.7, 1.1), 0.03])
    steel = loft(np.stack([[(s + curve * y * y, long * y, 0), (curve * y * y, long * y, -0.028 * (1 - 0.7 * y)), (-s + curve * y * y, long * y, 0), (curve * y * y, long * y, 0.028 * (1 - 0.7 * y))] for s, y in zip(widths, ys)]), blade)  # fmt: skip
    style = int(rng.integers(3))
    hilt = u(0.2, 0.32)
    cross = box(w * u(2, 3), 0.07, 0.09, guard, bevel=0.015).at(y=-0.05)
    if style == 1:
        cross = tube([(-w * 1.4, 0.08, 0), (-w * 0.8, -0.02, 0), (w * 0.8, -0.02, 0), (w * 1.4, 0.08, 0)], (0.03, 0.045, 0.045, 0.03), guard, 6)
    parts = [
        steel, cross, lathe([(0.04, -hilt), (0.045, -hilt * 0.5), (0.04, 0)], [grip, grip.shade(0.85)], 8), ball(0.06, guard).at(y=-hilt - 0.03),
    ]  # fmt: skip
    if style == 2:
        gem = pick(rng, BRIGHT, guard)
        parts.append(both(ball((0.05, 0.05, 0.03), gem).at(0, -0.01, 0.045), 2))
    turn = u(-50, 50) if rng.random() < 0.6 else 180
    noun = "dagger" if long < 0.8 else "sword"
    return Design([join(parts).turn(z=turn)], noun, blade, [("hilt", grip), ("guard", guard)], ["curved"] if curve else ["sharp"])


def axe(rng: np.random.Generator) -> Design:
    u = rng.uniform
    steel, wood = pick(rng, METAL), pick(rng, WOOD + ("black", "red"))
    edge, h, reach, tall = steel.shade(1.3), u(0.9, 1.3), u(0.25, 0.36), u(0.16, 0.24)
    head = extrude([(0, 0.07), (reach * 0.6, tall * 0.6), (reach, tall), (reach * 1.12, 0), (reach, -tall), (reach * 0.6, -tall * 0.5), (0, -0.07)], 0.1, steel)
    rim = extrude([(reach * 0.93, tall * 1.05), (reach * 1.1, tall * 0.5), (reach * 1.22, 0), (reach * 1.1, -tall * 0.5), (reach * 0.93, -tall * 1.05), (reach * 1.06, 0)], 0.06, edge)
    blade = join([head, rim]).bend(lambda p: p * np.column_stack([np.ones(len(p)), np.ones(len(p)), 1 - 0.75 * np.clip(p[:, 0] / (reach * 1.2), 0, 1)]))
    doubled = rng.random() < 0.4
    parts = [tube([(0, -h * 0.5, 0), (0.02, 0, 0), (0, h * 0.5, 0)], 0.04, wood, 7), (both(blade) if doubled else blade).at(y=h * 0.35), box(0.11, 0.17, 0.12, steel.shade(0.8), bevel=0.015).at(y=h * 0.35 - 0.085)]  # fmt: skip
    return Design([join(parts).turn(z=u(-40, 40))], "axe", steel, [("handle", wood)], ["double"] if doubled else ["sharp"])


def hammer(rng: np.random.Generator) -> Design:
    u = rng.uniform
    steel, wood = pick(rng, METAL + BRIGHT), pick(rng, WOOD + BRIGHT)
    h, w, s = u(0.7, 1.1), u(0.35, 0.55), u(0.16, 0.28)
    parts = [tube([(0, 0, 0), (0, h, 0)], (0.05, 0.04), wood, 8)]
    if rng.random() < 0.5:
        parts += [box(w, s, s, steel, bevel=0.03).at(y=h - s / 2), both(box(0.06, s * 1.2, s * 1.2, steel.shade(0.8), bevel=0.015).at(w * 0.4, h - s * 0.6))]
    else:
        parts += [cylinder(s * 0.55, w, steel, sides=10).turn(z=90).at(w / 2, h), both(cylinder(s * 0.65, 0.07, steel.shade(0.8), sides=10).turn(z=90).at(w / 2 + 0.02, h))]
    return Design([join(parts).turn(z=u(-35, 35))], "hammer", steel, [("handle", wood)], ["heavy"])


def bow(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, string, grip = pick(rng, WOOD + ("gold", *BRIGHT)), pick(rng, ("white", "tan")), pick(rng, ANY)
    a = np.linspace(-1.15, 1.15, 13)
    flip = u(0, 0.12)
    path = np.column_stack([0.75 * np.cos(a) - 0.3 + flip * (np.abs(a) > 0.95), 0.75 * np.sin(a), 0 * a])
    parts = [tube(path, 0.045 * (1 - 0.6 * np.abs(a) / 1.2), wood, 6), tube([path[0], path[-1]], 0.008, string, 4), tube(path[5:8], 0.055, grip, 8)]
    if rng.random() < 0.5:
        tip, fletch = pick(rng, METAL), pick(rng, BRIGHT)
        parts += [tube([(-0.25, 0, 0), (0.75, 0, 0)], 0.014, wood, 5), cylinder(0.05, 0.12, tip, 0, 4).turn(z=-90).at(0.72), box(0.16, 0.1, 0.012, fletch).at(-0.18, -0.05), box(0.16, 0.012, 0.1, fletch).at(-0.18)]
        return Design(parts, "bow", wood, [("arrow", fletch), ("grip", grip)], ["wooden"] if wood.name in WOOD else [])
    return Design(parts, "bow", wood, [("string", string), ("grip", grip)], ["curved"])


def arrow(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, tip, fletch = pick(rng, WOOD), pick(rng, METAL), pick(rng, ANY)
    spear = rng.random() < 0.5
    h = u(1.0, 1.3)
    parts = [tube([(0, 0, 0), (0, h, 0)], 0.03, wood, 6), lathe([(0.03, 0), (u(0.08, 0.12), 0.06), (0, u(0.2, 0.32))], tip, 4, depth=0.4).at(y=h)]
    if spear:
        parts += [cylinder(0.045, 0.12, fletch, sides=8).at(y=h - 0.11), ball((0.03, 0.1, 0.03), fletch).at(0.05, h - 0.18)]
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
        outline = [(-w, h * 0.75), (0, h * 0.85), (w, h * 0.75), (w * 0.97, 0), (w * 0.65, -h * 0.5), (0, -h), (-w * 0.65, -h * 0.5), (-w * 0.97, 0)]
    else:
        outline = [(-w, h * 0.8), (w, h * 0.8), (w, -h * 0.5), (0, -h * 0.85), (-w, -h * 0.5)]
    outline = np.array(outline)
    parts = [extrude(outline, 0.09, rim, 0.03), extrude(outline * 0.87, 0.13, face, 0.03)]
    emblem = int(rng.integers(4))
    if emblem == 0:
        parts += [box(0.11, h * 1.3, 0.15, mark).at(y=-h * 0.65), box(w * 1.5, 0.11, 0.15, mark).at(y=0.02)]
    elif emblem == 1:
        parts.append(lathe([(0.16, 0), (0.13, 0.07), (0, 0.11)], rim, 12).turn(x=90).at(z=0.06))
    elif emblem == 2:
        star = [(r * np.sin(a), r * np.cos(a)) for r, a in zip([0.24, 0.1] * 5, np.arange(10) * np.pi / 5)]
        parts.append(extrude(star, 0.16, mark))
    else:
        parts[1] = parts[1].paint(lambda c: c[:, 0] > 0, mark) if kind == 0 else join([parts[1], *[box(w * 0.34, h * 1.1, 0.145, mark).at(x, -h * 0.42) for x in (-w * 0.42, w * 0.42)]])
    parts += [ball(0.035, rim.shade(0.8), 0).at(*(outline[k] * 0.94), 0.05) for k in range(0, len(outline), 2 if kind == 0 else 1)]
    solid = join(parts)
    bulge = u(0.1, 0.35)
    return Design([solid.bend(lambda p: p - np.column_stack([0 * p[:, 0], 0 * p[:, 0], bulge * (p[:, 0] ** 2)]))], "shield", face, [("rim", rim), ("emblem", mark)], ["round"] if kind == 0 else ["heavy"])  # fmt: skip


def hat(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cloth = pick(rng, ANY)
    band = pick(rng, ANY, cloth)
    kind = int(rng.integers(4))
    if kind == 0:
        h = u(0.6, 0.9)
        bend = u(-0.25, 0.25)
        parts = [cylinder(0.5, 0.05, cloth, sides=16), lathe([(0.3, 0.03), (0.21, h * 0.4), (0.1, h * 0.75), (0.0, h)], cloth, 12).bend(lambda p: p + np.column_stack([bend * p[:, 1] ** 2, 0 * p[:, 0], 0 * p[:, 0]])), cylinder(0.31, 0.1, band, 0.28, 12).at(y=0.04)]  # fmt: skip
        return Design(parts, "witch hat", cloth, [("band", band)], ["pointed"])
    if kind == 1:
        h = u(0.4, 0.6)
        parts = [lathe([(0.48, 0), (0.5, 0.04), (0.3, 0.06)], cloth, 18), cylinder(0.29, h, cloth, u(0.27, 0.33), 16), cylinder(0.305, 0.1, band, sides=16).at(y=0.05)]
        return Design(parts, "top hat", cloth, [("band", band)], ["tall"])
    a = np.linspace(0, 1.57, 6)
    dome = lathe([(0.32 * np.cos(t), 0.3 * np.sin(t)) for t in a], cloth, 14)
    if kind == 2:
        parts = [dome, ball((0.3, 0.03, 0.28), band).at(0, 0.03, 0.32), ball(0.04, band).at(y=0.3)]
        return Design(parts, "cap", cloth, [("brim", band)])
    brim = torus(0.42, 0.06, cloth, 18, 6).scale(1, 0.5, 1).bend(lambda p: p + np.column_stack([0 * p[:, 0], 0.8 * p[:, 0] ** 2, 0 * p[:, 0]]))
    parts = [lathe([(0.44, -0.02), (0.44, 0.02), (0.25, 0.03)], cloth, 18).bend(lambda p: p + np.column_stack([0 * p[:, 0], 0.8 * p[:, 0] ** 2, 0 * p[:, 0]])), brim, cylinder(0.27, 0.3, cloth, 0.22, 14), cylinder(0.28, 0.07, band, 0.27, 14).at(y=0.03)]  # fmt: skip
    return Design(parts, "hat", cloth, [("band", band)], ["cowboy"])


def crown(rng: np.random.Generator) -> Design:
    u = rng.uniform
    metal, gem = pick(rng, ("gold", "gold", "gold", "silver")), pick(rng, BRIGHT)
    n, h, r, flare = int(rng.integers(5, 9)), u(0.25, 0.4), u(0.38, 0.44), u(1.0, 1.2)
    spike = extrude([(-0.14, 0), (0.14, 0), (0, h)], 0.045, metal).scale(r / 0.42).turn(x=np.degrees(np.arctan(flare - 1)) * 0.8).at(0, 0.14, r)
    parts = [lathe([(r, 0), (r * 1.04, 0.04), (r, 0.08), (r, 0.18), (r * 0.9, 0.18), (r * 0.9, 0)], metal, 2 * n), around(spike, n), around(ball(0.045, metal).at(0, 0.14 + h, r * flare), n), around(ball(0.05, gem).at(0, 0.12, r * 1.0), n, 180 / n)]  # fmt: skip
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
        head = join([torus(r * 0.5, t, metal, 12, 6).turn(x=90).at(r * 0.75 * np.cos(a), r * 0.9 + r * 0.75 * np.sin(a)) for a in (0.3, 1.57, 2.84)])
    parts = [head, tube([(0, 0.02, 0), (0, -long, 0)], t, metal, 8), torus(t * 1.2, t * 0.6, metal, 10, 5).at(y=-0.06)]
    parts += [box(u(0.12, 0.2), 0.06, t * 1.3, metal).at(0.08, -long + 0.02 + 0.11 * k) for k in range(int(rng.integers(2, 4)))]
    details = []
    if style == 1 and rng.random() < 0.5:
        parts.append(ball((r * 0.6, r * 0.6, t), gem).at(y=r))
        details.append(("gem", gem))
    return Design([join(parts).turn(z=u(-60, 60))], "key", metal, details, ["old"])


def candle(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wax, holder, flame = pick(rng, ("white", "tan", "white", *BRIGHT)), pick(rng, METAL), pick(rng, ("yellow", "orange"))
    h, r, n = u(0.3, 0.8), u(0.09, 0.16), int(rng.choice([1, 1, 3]))
    one = join([cylinder(r, h, wax, r * 0.92, 10), ball((r * 0.4, h * 0.2, 0.04), wax).at(0, h * 0.85, r * 0.85), tube([(0, h, 0), (0, h + 0.06, 0)], 0.012, pick(rng, "black"), 4), lathe([(0.02, 0), (0.06, 0.07), (0, 0.2)], flame, 7).at(y=h + 0.04)])  # fmt: skip
    parts = [lathe([(0.3, 0), (0.3, 0.03), (r * 1.1, 0.05), (r * 1.2, 0.12)], holder, 12), one.at(y=0.06), torus(0.07, 0.02, holder, 10, 5).turn(x=90).at(0.34, 0.06)]
    if n == 3:
        stem = [lathe([(0.24, 0), (0.22, 0.05), (0.04, 0.1), (0.035, 0.5)], holder, 10), both(tube([(0, 0.35, 0), (0.25, 0.35, 0), (0.32, 0.5, 0)], 0.03, holder))]
        small = one.scale(0.5)
        parts = [*stem, small.at(y=0.52), both(join([small, cylinder(0.1, 0.03, holder, sides=9)]).at(0.32, 0.5)), cylinder(0.1, 0.03, holder, sides=9).at(y=0.5)]
    return Design(parts, "candle" if n == 1 else "candelabrum", wax if n == 1 else holder, [("flame", flame), ("holder", holder) if n == 1 else ("candles", wax)], ["burning"])


def torch(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, flame, core = pick(rng, WOOD + ("black",)), pick(rng, ("orange", "red", "orange", "blue", "green", "purple")), pick(rng, "yellow")
    iron = pick(rng, METAL)
    h, f = u(0.5, 0.8), u(0.3, 0.45)
    parts = [
        lathe([(0.04, 0), (0.07, h)], wood, 8), lathe([(0.08, h - 0.1), (0.13, h), (0.13, h + 0.06), (0.05, h + 0.06)], iron, 8), lathe([(0.06, 0), (0.15, f * 0.35), (0.08, f * 0.75), (0, f * 1.1)], flame, 8).at(y=h + 0.02),
        lathe([(0.04, 0), (0.09, f * 0.3), (0, f * 0.6)], core, 6).at(0.03, h + 0.04, 0.09), lathe([(0.03, 0), (0.08, f * 0.25), (0, f * 0.65)], flame, 6).turn(z=-12).at(0.08, h + 0.05),
    ]  # fmt: skip
    return Design([join(parts).turn(z=u(-25, 25))], "torch", wood, [("flame", flame)], ["burning"])


def flag(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cloth, pole = pick(rng, BRIGHT + ("white", "black")), pick(rng, WOOD + METAL)
    second = pick(rng, ANY, cloth)
    h, w, tall, wave = u(1.0, 1.5), u(0.5, 0.8), u(0.35, 0.5), u(0.03, 0.08)
    hanging = rng.random() < 0.35
    kind = int(rng.integers(3))
    x = np.linspace(0, 1, 9)
    rings = np.stack([[(w * s, tall / 2, 0.012), (w * s, tall / 6, 0.012), (w * s, -tall / 6, 0.012), (w * s, -tall / 2, 0.012), (w * s, -tall / 2, -0.012), (w * s, -tall / 6, -0.012), (w * s, tall / 6, -0.012), (w * s, tall / 2, -0.012)] for s in x])  # fmt: skip
    sheet = loft(rings[:, ::-1], cloth)
    if kind == 0:
        sheet = sheet.paint(lambda c: np.abs(c[:, 1]) < tall / 6, second)
    elif kind == 1:
        sheet = sheet.paint(lambda c: c[:, 0] < w * 0.37, second)
    sheet = sheet.bend(lambda p: p + np.column_stack([0 * p[:, 0], 0 * p[:, 0], wave * np.sin(7 * p[:, 0] / w) * p[:, 0] / w]))
    details = [("pole", pole)] + ([("stripe", second)] if kind < 2 else [])
    if hanging:
        parts = [tube([(-tall * 0.62, 0, 0), (tall * 0.62, 0, 0)], 0.03, pole, 6), sheet.turn(z=-90).at(0, -0.01, 0), both(ball(0.045, pole).at(tall * 0.62))]
        return Design(parts, "banner", cloth, details[1:] or details, ["hanging"])
    parts = [cylinder(0.03, h, pole, 0.025, 7), ball(0.05, pick(rng, PRECIOUS)).at(y=h), sheet.at(0.025, h - tall / 2 - 0.05), cylinder(0.15, 0.05, pole.shade(0.8), 0.1, 10)]
    return Design(parts, "flag", cloth, details, ["waving"])


def gem(rng: np.random.Generator) -> Design:
    u = rng.uniform
    noun = ("diamond", "ring", "coin", "star", "heart")[int(rng.integers(5))]
    color = pick(rng, BRIGHT + ("white",))
    gold = pick(rng, PRECIOUS + ("gold", "brown"))
    stone = lathe([(0, -0.42), (0.45, 0), (0.28, u(0.14, 0.22)), (0.0, 0.2)], [color.shade(0.85), color.shade(1.1), color.shade(1.3)], int(rng.choice([6, 8])))
    if noun == "diamond":
        return Design([stone], noun, color, [], ["shiny"])
    if noun == "ring":
        parts = [torus(0.35, u(0.05, 0.08), gold, 18, 6).turn(x=90), stone.scale(0.42).at(y=0.52), cylinder(0.06, 0.12, gold, 0.14, 8).at(y=0.34)]
        return Design(parts, noun, gold, [("gem", color)], ["shiny"])
    if noun == "coin":
        parts = [cylinder(0.45, 0.1, gold.shade(0.85), sides=20).at(y=-0.05), cylinder(0.37, 0.12, gold, sides=20).at(y=-0.06), box(0.14, 0.14, 0.34, gold.shade(0.8)).at(0, -0.07)]
        piled = rng.random() < 0.4
        solid = join(parts)
        if piled:
            return Design([solid.turn(y=40 * k).at(u(-0.05, 0.05), 0.12 * k, u(-0.05, 0.05)) for k in range(int(rng.integers(3, 7)))], "coins", gold, [], ["stacked"])
        return Design([solid.turn(x=90)], noun, gold, [], ["shiny"])
    if noun == "star":
        outline = [(r * np.sin(a), r * np.cos(a)) for r, a in zip([0.5, u(0.19, 0.26)] * 5, np.arange(10) * np.pi / 5)]
        return _star(rng, outline)
    t = np.linspace(0, 2 * np.pi, 25)[:-1]
    outline = np.column_stack([0.45 * np.sin(t) ** 3, 0.03 * (13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))])
    heart = pick(rng, ("red", "red", "pink", "purple", "blue"))
    return Design([extrude(outline, 0.28, heart, 0.35)], noun, heart, [], ["shiny"])


def _star(rng: np.random.Generator, outline: list[tuple[float, float]]) -> Design:
    color = pick(rng, ("yellow", "yellow", "gold", *BRIGHT))
    return Design([extrude(outline, 0.24, color, 0.75)], "star", color, [], ["shiny"])


def bomb(rng: np.random.Generator) -> Design:
    u = rng.uniform
    shell, spark, cap = pick(rng, ("black", "black", "grey", "red", "blue", "purple")), pick(rng, ("orange", "yellow")), pick(rng, METAL)
    parts = [ball(0.4, shell, 2), cylinder(0.14, 0.12, cap, sides=10).at(y=0.36), tube([(0, 0.45, 0), (0.04, 0.58, 0), (0.14, 0.66, 0)], 0.022, pick(rng, "tan"), 6), ball(0.06, spark, 0, 0.3, rng).at(0.16, 0.67)]  # fmt: skip
    if rng.random() < 0.3:
        skull = pick(rng, "white")
        parts += [ball((0.14, 0.13, 0.05), skull).at(0, 0.05, 0.37), box(0.13, 0.09, 0.05, skull).at(0, -0.11, 0.37), both(ball(0.035, pick(rng, "black")).at(0.055, 0.05, 0.415))]
        return Design([join(parts).turn(z=u(-20, 10))], "bomb", shell, [("skull", skull)], ["round"])
    return Design([join(parts).turn(z=u(-20, 10))], "bomb", shell, [("spark", spark)], ["round"])


def hourglass(rng: np.random.Generator) -> Design:
    u = rng.uniform
    frame, sand, glass = pick(rng, WOOD + PRECIOUS + ANY), pick(rng, ("yellow", "tan", *BRIGHT)), pick(rng, ("white", "teal")).shade(1.2)
    r, n = u(0.24, 0.3), int(rng.integers(3, 5))
    ys = np.array([0.04, 0.2, 0.33, 0.42, 0.5, 0.58, 0.67, 0.8, 0.96])
    rs = r * np.array([0.8, 0.85, 0.65, 0.3, 0.15, 0.3, 0.65, 0.85, 0.8])
    parts = [
        lathe([*zip(rs, ys)], [sand, sand, glass, glass, glass, sand, sand, glass], 12), cylinder(r * 1.15, 0.07, frame, sides=14).at(y=-0.02), cylinder(r * 1.15, 0.07, frame, sides=14).at(y=0.95), around(lathe([(0.03, 0), (0.045, 0.5), (0.03, 1)], frame, 6).at(r * 0.98), n),
    ]  # fmt: skip
    return Design(parts, "hourglass", frame, [("sand", sand)])


def clock(rng: np.random.Generator) -> Design:
    u = rng.uniform
    case, face, hand = pick(rng, ANY + PRECIOUS), pick(rng, ("white", "white", "tan", "yellow")), pick(rng, ("black", "red", "brown"))
    r = 0.4
    dial = [cylinder(r, 0.16, case, sides=20).turn(x=90).at(z=-0.08), cylinder(r * 0.85, 0.19, face, sides=20).turn(x=90).at(z=-0.1)]
    dial += [box(0.025, 0.07, 0.02, hand).at(0, r * 0.66).turn(z=30 * k).at(z=0.09) for k in range(12)]
    dial += [box(0.035, r * f, 0.02, hand).turn(z=u(0, 360)).at(z=0.1) for f in (0.45, 0.68)]
    kind = int(rng.integers(3))
    if kind == 0:
        bell = pick(rng, METAL)
        dial += [both(ball((0.15, 0.11, 0.12), bell).turn(z=-35).at(0.24, 0.4)), both(tube([(0.2, -0.3, 0), (0.3, -0.5, 0)], 0.035, bell)), tube([(-0.06, 0.42, 0), (0, 0.55, 0), (0.06, 0.42, 0)], 0.02, bell)]
        return Design(dial, "alarm clock", case, [("face", face), ("bells", bell)])
    if kind == 1:
        wood = pick(rng, WOOD)
        tall = [box(0.75, 1.6, 0.4, wood, bevel=0.02).at(0, -1.4, -0.26), box(0.95, 0.12, 0.5, wood.shade(0.8)).at(0, -1.5, -0.26), extrude([(-0.48, 0), (0.48, 0), (0, 0.28)], 0.5, wood.shade(0.85)).at(0, 0.5, -0.26), box(0.4, 0.8, 0.04, wood.shade(0.6)).at(0, -1.25, -0.06), cylinder(0.11, 0.03, pick(rng, "gold")).turn(x=90).at(0, -1.05, -0.03), box(0.95, 0.95, 0.46, wood).at(0, -0.45, -0.26)]  # fmt: skip
        return Design([*dial, *tall], "grandfather clock", wood, [("face", face)], ["tall"])
    return Design(dial, "clock", case, [("face", face), ("hands", hand)], ["round"])


def drum(rng: np.random.Generator) -> Design:
    u = rng.uniform
    shell, rim, skin = pick(rng, BRIGHT + WOOD), pick(rng, PRECIOUS + ("white", "black")), pick(rng, ("white", "tan"))
    r, h, n = u(0.35, 0.45), u(0.35, 0.6), int(rng.integers(5, 9))
    parts = [cylinder(r, h, shell, sides=18), cylinder(r * 1.06, 0.07, rim, sides=18).at(y=-0.01), cylinder(r * 1.06, 0.07, rim, sides=18).at(y=h - 0.05), cylinder(r * 0.98, 0.04, skin, sides=18).at(y=h)]
    zig = [(r * 1.03 * np.cos(a), h * (0.1 + 0.8 * (k % 2)), r * 1.03 * np.sin(a)) for k, a in enumerate(np.linspace(0, 2 * np.pi, 2 * n + 1))]
    parts += [tube([p, q], 0.014, skin, 4) for p, q in zip(zig, zig[1:])]
    if rng.random() < 0.6:
        stick = join([tube([(0, 0, 0), (0, 0, 0.6)], 0.02, pick(rng, "brown"), 5), ball(0.045, skin).at(0, 0, 0.6)])
        parts += [stick.turn(y=y, x=-6).at(x, h + 0.07, -0.2) for x, y in ((-0.12, 25), (0.1, -20))]
    return Design(parts, "drum", shell, [("rim", rim), ("skin", skin)], ["round"])


def umbrella(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cloth, handle = pick(rng, BRIGHT), pick(rng, ("brown", "black", "grey"))
    second, n = pick(rng, BRIGHT + ("white",), cloth), 8
    striped = rng.random() < 0.6
    a = np.linspace(0.15, 1.57, 6)
    dome = lathe([(0.46 * np.cos(0.15), 0.3 * np.sin(0.15) - 0.03), *[(0.5 * np.cos(t), 0.3 * np.sin(t)) for t in a]], cloth, n)
    if striped:
        dome = dome.paint(lambda c: (np.floor(np.arctan2(c[:, 2], c[:, 0]) * n / 6.2832 + 0.5) % 2) == 0, second)
    parts = [dome.at(y=0.75), tube([(0, 0.12, 0), (0, 1.12, 0)], 0.018, handle, 6), tube([(0, 0.14, 0), (0, 0.02, 0), (0.05, -0.05, 0), (0.12, -0.03, 0), (0.14, 0.05, 0)], 0.03, handle.shade(0.8), 6)]
    return Design([join(parts).turn(z=u(-20, 20))], "umbrella", cloth, [("handle", handle)] + ([("stripes", second)] if striped else []), ["striped"] if striped else ["open"])


def gift(rng: np.random.Generator) -> Design:
    u = rng.uniform
    paper = pick(rng, ANY)
    ribbon = pick(rng, BRIGHT + PRECIOUS + ("white",), paper)
    w, h, d = u(0.5, 0.75), u(0.35, 0.7), u(0.5, 0.7)
    loop = torus(0.1, 0.03, ribbon, 10, 5).turn(x=90).scale(1.3, 1, 1).turn(z=-30).at(0.13, h + 0.15)
    parts = [box(w, h, d, paper), box(w * 1.05, 0.1, d * 1.05, paper.shade(0.9)).at(y=h - 0.08), box(w * 1.07, h * 1.01 + 0.03, 0.12, ribbon), box(0.12, h * 1.01 + 0.03, d * 1.07, ribbon), both(loop), ball(0.06, ribbon).at(y=h + 0.07)]
    parts[2], parts[3] = parts[2].at(y=-0.0), parts[3].at(y=-0.0)
    return Design(parts, "gift", paper, [("ribbon", ribbon)], ["wrapped"])


def toy_ball(rng: np.random.Generator) -> Design:
    first = pick(rng, BRIGHT + ("white", "orange"))
    second = pick(rng, ANY, first)
    kind = int(rng.integers(4))
    solid = ball(0.5, first, 3)
    if kind == 0:
        n = int(rng.choice([4, 6, 8]))
        solid = solid.paint(lambda c: (np.floor(np.arctan2(c[:, 2], c[:, 0]) * n / 6.2832) % 2) == 0, second)
        return Design([solid], "beach ball", first, [("stripes", second)], ["striped"])
    if kind == 1:
        g = (1 + 5**0.5) / 2
        spots = np.array([(0, a, b * g) for a in (-1, 1) for b in (-1, 1)])
        spots = np.concatenate([spots, spots[:, [1, 2, 0]], spots[:, [2, 0, 1]]]) / np.hypot(1, g) * 0.5
        white, black = pick(rng, "white"), pick(rng, ("black", "black", "blue", "red"))
        solid = ball(0.5, white, 3).paint(lambda c: (np.linalg.norm(c[:, None] - spots, axis=2) < 0.17).any(axis=1), black)
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
    spot = lambda x, y: ball((0.055, 0.055, 0.02), dot).at(x, y, 0.4)  # noqa: E731
    faces = {1: [(0, 0)], 2: [(-1, 1), (1, -1)], 3: [(-1, 1), (0, 0), (1, -1)], 4: [(-1, -1), (1, 1), (-1, 1), (1, -1)]}
    faces |= {5: [*faces[4], (0, 0)], 6: [*faces[4], (-1, 0), (1, 0)]}
    turns = [(0, 0), (0, 180), (0, 90), (0, -90), (90, 0), (-90, 0)]
    order = [1, 6, 2, 5, 3, 4]
    parts = [box(0.8, 0.8, 0.8, body, bevel=0.06).at(y=-0.4)]
    for number, (x, y) in zip(order, turns):
        parts.append(join([spot(a * 0.2, b * 0.2) for a, b in faces[number]]).turn(x=x, y=y))
    return Design([join(parts).turn(y=u(-40, 40))], "dice", body, [("dots", dot)])


def television(rng: np.random.Generator) -> Design:
    u = rng.uniform
    case, screen = pick(rng, ("black", "grey", "brown", "white", *BRIGHT)), pick(rng, ("blue", "teal", "green", "black", "grey"))
    w, h = u(0.7, 1.0), u(0.5, 0.65)
    if rng.random() < 0.5:
        d = u(0.35, 0.5)
        knob = pick(rng, ("red", "grey", "yellow"))
        parts = [box(w, h, d, case, bevel=0.04), box(w * 0.68, h * 0.74, 0.05, screen, bevel=0.03).at(-w * 0.1, h * 0.13, d / 2 - 0.005), *[cylinder(0.04, 0.04, knob, sides=10).turn(x=90).at(w * 0.38, h * y, d / 2) for y in (0.7, 0.5)], both(tube([(0.03, h, 0), (0.22, h + 0.32, 0)], 0.014, pick(rng, "grey"), 5)), both(both(cylinder(0.03, 0.1, case.shade(0.6), 0.045, 6).at(w * 0.36, -0.09, d * 0.3), 2))]  # fmt: skip
        return Design(parts, "television", case, [("screen", screen)], ["old"])
    key_paint = pick(rng, ("white", "grey", "black"), case)
    parts = [box(w, h, 0.07, case, bevel=0.015).at(y=0.22), box(w * 0.92, h * 0.84, 0.08, screen).at(0, 0.22 + h * 0.09, 0.003), box(0.1, 0.25, 0.06, case.shade(0.8)).at(0, 0, -0.05), box(w * 0.35, 0.03, 0.25, case.shade(0.8)), box(w * 0.8, 0.04, 0.24, key_paint, bevel=0.01).at(0, 0, 0.36)]  # fmt: skip
    parts += [box(w * 0.7, 0.012, 0.045, key_paint.shade(0.7)).at(0, 0.038, 0.29 + 0.06 * k) for k in range(3)]
    return Design(parts, "computer", case, [("screen", screen), ("keyboard", key_paint)])


def camera(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, trim, glass = pick(rng, ("black", "grey", *ANY)), pick(rng, ("grey", "silver", "brown", "white")), pick(rng, ("blue", "black", "teal"))
    w, h, d = u(0.65, 0.85), u(0.42, 0.52), u(0.2, 0.28)
    lens = join([cylinder(0.19, 0.16, trim.shade(0.7), sides=16), cylinder(0.15, 0.22, pick(rng, "black"), 0.16, 16), cylinder(0.11, 0.23, glass, sides=14)]).turn(x=90)
    parts = [box(w, h, d, body, bevel=0.03), box(w * 1.01, h * 0.22, d * 1.01, trim).at(y=h * 0.76), box(0.24, 0.1, d * 0.8, trim, taper=0.8).at(y=h * 0.96), lens.at(0, h * 0.45, d / 2), cylinder(0.05, 0.06, pick(rng, "red"), sides=10).at(w * 0.34, h), box(0.12, 0.08, 0.03, pick(rng, "white")).at(-w * 0.33, h * 0.8, d / 2)]  # fmt: skip
    return Design(parts, "camera", body, [("lens", glass), ("top", trim)])


def chess_piece(rng: np.random.Generator) -> Design:
    paint = pick(rng, ("white", "black", "brown", "tan", *BRIGHT))
    kind = int(rng.integers(4))
    h = float(rng.uniform(0.4, 0.7))
    base = [(0.28, 0), (0.28, 0.06), (0.2, 0.12), (0.1, 0.22), (0.085, h), (0.16, h + 0.03), (0.09, h + 0.07)]
    parts, noun = [lathe(base, paint, 14)], ("pawn", "rook", "bishop", "king")[kind]
    if kind == 0:
        parts.append(ball(0.15, paint, 2).at(y=h + 0.18))
    elif kind == 1:
        parts += [lathe([(0.14, 0), (0.17, 0.16), (0.11, 0.16)], paint, 12).at(y=h + 0.04), around(box(0.075, 0.07, 0.05, paint).at(0, h + 0.19, 0.14), 5)]
    elif kind == 2:
        parts += [lathe([(0.08, 0), (0.15, 0.12), (0.1, 0.28), (0, 0.38)], paint, 12).at(y=h + 0.05), ball(0.04, paint).at(y=h + 0.44)]
    else:
        parts += [lathe([(0.09, 0), (0.17, 0.22), (0.1, 0.28)], paint, 12).at(y=h + 0.05), box(0.05, 0.2, 0.05, paint).at(y=h + 0.32), box(0.15, 0.05, 0.05, paint).at(y=h + 0.4)]
    return Design(parts, f"chess {noun}", paint, [], ["chess"])


def trophy(rng: np.random.Generator) -> Design:
    u = rng.uniform
    metal, foot = pick(rng, ("gold", "gold", "silver", "brown")), pick(rng, ("black", "brown", "red", "blue"))
    r, h = u(0.26, 0.34), u(0.35, 0.5)
    a = np.linspace(-1.5, 1.3, 7)
    ear = tube([(r * 0.85 + 0.16 * np.cos(t), 0.55 + h * 0.55 + 0.15 * np.sin(t), 0) for t in a], 0.028, metal, 6)
    parts = [box(0.42, 0.18, 0.42, foot, bevel=0.015), lathe([(0.17, 0.18), (0.05, 0.28), (0.05, 0.5), (r * 0.6, 0.58), (r * 0.9, 0.58 + h * 0.5), (r, 0.58 + h), (r * 0.9, 0.58 + h), (r * 0.5, 0.66)], metal, 14), both(ear), box(0.24, 0.09, 0.03, metal).at(0, 0.05, 0.205)]  # fmt: skip
    return Design(parts, "trophy", metal, [("base", foot)], ["shiny"])


def bell(rng: np.random.Generator) -> Design:
    u = rng.uniform
    metal, bow = pick(rng, ("gold", "gold", "silver", "brown", "red")), pick(rng, BRIGHT)
    h = u(0.5, 0.65)
    parts = [lathe([(0.42, 0), (0.38, 0.06), (0.27, 0.2), (0.22, h * 0.75), (0.12, h * 0.95), (0, h)], metal, 14), ball(0.09, metal.shade(0.7)).at(y=-0.04), torus(0.07, 0.022, metal.shade(0.8), 10, 5).turn(x=90).at(y=h + 0.06)]
    if rng.random() < 0.5:
        parts += [both(ball((0.16, 0.09, 0.06), bow).turn(z=20).at(0.15, h * 0.98, 0.05)), ball(0.06, bow).at(0, h * 0.96, 0.08)]
        return Design(parts, "bell", metal, [("bow", bow)])
    return Design(parts, "bell", metal, [], ["shiny"])


def anchor(rng: np.random.Generator) -> Design:
    u = rng.uniform
    iron, rope = pick(rng, METAL + ("blue", "red", "brown")), pick(rng, ("tan", "brown"))
    a = np.linspace(-np.pi + 0.35, -0.35, 11)
    r = u(0.34, 0.44)
    parts = [tube([(0, -0.5, 0), (0, 0.4, 0)], (0.06, 0.045), iron, 7), tube([(r * np.cos(t), -0.1 + r * 1.05 * np.sin(t), 0) for t in a], 0.055, iron, 7), torus(0.1, 0.03, iron, 12, 6).turn(x=90).at(y=0.5), tube([(-0.25, 0.28, 0), (0.25, 0.28, 0)], 0.04, iron, 6), both(cylinder(0.11, 0.2, iron, 0, 4).turn(z=-20).at(r * 0.96, -0.3))]  # fmt: skip
    if rng.random() < 0.5:
        t = np.linspace(0, 1, 14)
        parts.append(tube(np.column_stack([0.1 * np.sin(9 * t), 0.5 - 0.85 * t, 0.1 * np.cos(9 * t)]), 0.028, rope, 5))
        return Design(parts, "anchor", iron, [("rope", rope)])
    return Design(parts, "anchor", iron, [], ["heavy"])


def cannon(rng: np.random.Generator) -> Design:
    u = rng.uniform
    iron, wood, hoop = pick(rng, ("black", "grey", "gold", "blue")), pick(rng, WOOD + ("red",)), pick(rng, METAL)
    r, up = u(0.13, 0.18), u(5, 25)
    barrel = lathe([(0.04, -0.42), (r * 0.6, -0.36), (r * 1.15, -0.32), (r * 1.05, 0), (r * 0.8, 0.45), (r * 1.05, 0.48), (r * 1.05, 0.56), (r * 0.6, 0.56), (r * 0.55, 0.4)], [iron, iron, iron, iron.shade(0.9), hoop, hoop, pick(rng, "black"), pick(rng, "black")], 12)  # fmt: skip
    rim = join([torus(0.2, 0.03, wood, 14, 5).turn(z=90), *[box(0.03, 0.4, 0.035, wood).at(y=-0.2).turn(x=45 * k) for k in range(4)], ball(0.05, hoop)])
    parts = [barrel.turn(x=90 - up).at(0, 0.36, 0.05), both(rim.at(0.22, 0.21, 0.05)), both(extrude([(-0.55, 0.02), (-0.5, 0.14), (0.15, 0.36), (0.22, 0.2)], 0.06, wood).turn(y=-90).at(0.13)), tube([(-0.2, 0.21, 0.05), (0.2, 0.21, 0.05)], 0.03, hoop)]
    return Design(parts, "cannon", iron, [("wheels", wood)])


def gun(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, grip, light = pick(rng, ("grey", "black", *ANY)), pick(rng, ("brown", "black", "grey")), pick(rng, BRIGHT)
    long = u(0.5, 1.1)
    parts = [
        box(0.12, 0.17, long * 0.6, body, bevel=0.02).at(0, 0, 0), tube([(0, 0.1, long * 0.25), (0, 0.1, long * 0.62)], 0.045, body.shade(0.75), 8), box(0.1, 0.3, 0.14, grip, bevel=0.02).turn(x=-15).at(0, -0.27, -long * 0.18),
        torus(0.06, 0.014, body.shade(0.7), 10, 4).turn(z=90).at(0, -0.06, -long * 0.02), box(0.13, 0.05, long * 0.3, light).at(0, 0.06, 0.02), box(0.04, 0.05, 0.08, body.shade(0.7)).at(0, 0.165, -long * 0.2),
    ]  # fmt: skip
    noun = "pistol"
    if long > 0.8:
        noun = "rifle"
        parts += [box(0.09, 0.16, 0.34, grip, bevel=0.02, taper=(1, 0.9)).at(0, -0.06, -long * 0.42), cylinder(0.04, 0.26, body.shade(0.8), sides=8).turn(x=90).at(0, 0.24, -0.13), box(0.08, 0.22, 0.1, body.shade(0.8)).turn(x=12).at(0, -0.2, long * 0.08)]
    return Design([join(parts).turn(y=u(-90, 90))], noun, body, [("grip", grip), ("stripe", light)])


def wand(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, orb, ring = pick(rng, WOOD + ANY), pick(rng, BRIGHT), pick(rng, PRECIOUS)
    h, bend = u(0.8, 1.2), u(-0.08, 0.08)
    parts = [tube([(0, 0, 0), (bend, h * 0.5, 0), (0, h, 0)], (0.03, 0.035, 0.045), wood, 7), torus(0.055, 0.02, ring, 10, 5).at(y=h * 0.9)]
    if rng.random() < 0.5:
        parts.append(ball(0.13, orb, 1).at(y=h + 0.1))
        parts.append(around(tube([(0.04, h - 0.02, 0), (0.14, h + 0.06, 0), (0.13, h + 0.18, 0)], (0.025, 0.02, 0.008), wood, 5), 3))
        return Design([join(parts).turn(z=u(-25, 25))], "magic staff", wood, [("orb", orb), ("ring", ring)])
    star = [(r * np.sin(a), r * np.cos(a)) for r, a in zip([0.2, 0.09] * 5, np.arange(10) * np.pi / 5)]
    parts.append(extrude(star, 0.1, orb, 0.6).at(y=h + 0.12))
    return Design([join(parts).turn(z=u(-25, 25))], "magic wand", wood, [("star", orb)])


def bag(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cloth, trim = pick(rng, ANY), pick(rng, ("brown", "tan", "gold", *BRIGHT))
    if rng.random() < 0.45:
        parts = [lathe([(0.25, 0), (0.38, 0.08), (0.4, 0.3), (0.22, 0.52), (0.09, 0.6), (0.2, 0.74), (0.15, 0.76)], cloth, 10), torus(0.1, 0.03, trim, 12, 6).at(y=0.6)]
        return Design(parts, "sack", cloth, [("rope", trim)], ["round"])
    w, h, d = u(0.5, 0.6), u(0.6, 0.75), u(0.25, 0.32)
    parts = [box(w, h, d, cloth, bevel=0.08), box(w * 1.02, h * 0.35, d * 1.05, cloth.shade(0.85), bevel=0.08).at(y=h * 0.68), box(w * 0.7, h * 0.4, 0.14, trim, bevel=0.04).at(0, 0.06, d / 2), both(box(0.06, h * 0.35, 0.05, trim).at(w * 0.26, h * 0.5, d / 2 + 0.01)), both(tube([(w * 0.28, h * 0.95, -d / 2), (w * 0.32, h * 0.6, -d / 2 - 0.14), (w * 0.3, h * 0.1, -d / 2)], 0.035, trim, 5)), torus(0.08, 0.022, trim, 10, 5).turn(x=90).at(y=h + 0.05)]  # fmt: skip
    return Design(parts, "backpack", cloth, [("pocket", trim)])


def scroll(rng: np.random.Generator) -> Design:
    u = rng.uniform
    paper, seal, wood = pick(rng, ("tan", "white", "yellow")), pick(rng, BRIGHT), pick(rng, WOOD + PRECIOUS)
    w, h = u(0.5, 0.65), u(0.6, 0.8)
    rod = join([cylinder(0.06, w, paper, sides=10), cylinder(0.035, w + 0.2, wood, sides=8).at(y=-0.1), ball(0.05, wood).at(y=-0.1), ball(0.05, wood).at(y=w + 0.1)]).turn(z=90).at(w / 2)
    lines = [box(w * u(0.5, 0.8), 0.025, 0.01, pick(rng, "brown")).at(0, h * y, 0.028) for y in (0.35, 0.5, 0.65, 0.8)]
    parts = [rod, rod.at(y=h), box(w * 0.95, h, 0.03, paper), *lines, cylinder(0.07, 0.04, seal, sides=10).turn(x=90).at(w * 0.25, h * 0.2, 0.0)]
    return Design(parts, "scroll", paper, [("seal", seal), ("rods", wood)], ["magic"])


def anvil(rng: np.random.Generator) -> Design:
    u = rng.uniform
    iron, wood = pick(rng, ("grey", "black", "silver", "blue")), pick(rng, WOOD)
    w = u(0.5, 0.65)
    parts = [box(0.5, 0.1, 0.4, iron, taper=0.9).at(y=0), box(0.36, 0.18, 0.26, iron, taper=(0.8, 0.8)).at(y=0.1), box(w, 0.18, 0.32, iron.shade(1.1), bevel=0.015).at(y=0.27), cylinder(0.13, 0.35, iron.shade(1.1), 0.02, 8).turn(z=-85).at(w * 0.45, 0.36)]
    if rng.random() < 0.6:
        parts = [*[p.at(y=0.35) for p in parts], cylinder(0.34, 0.36, wood, 0.32, 12)]
        return Design(parts, "anvil", iron, [("stump", wood)], ["iron"])
    return Design(parts, "anvil", iron, [], ["iron", "heavy"])

