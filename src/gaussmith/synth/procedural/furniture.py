"""Furniture: things with legs, seats, shelves and doors."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.design import ANY, BRIGHT, METAL, WOOD, Design, pick
from gaussmith.synth.procedural.shapes import Color, Solid, ball, both, box, cylinder, four, join, lathe, torus, tube


def _legs(rng: np.random.Generator, w: float, d: float, h: float, t: float, color: Color) -> Solid:
    """Four legs under a top of w x d at height h: square, round or splayed."""
    kind, out = int(rng.integers(3)), float(rng.uniform(0, 0.06))
    x, z = w / 2 - t * 0.7, d / 2 - t * 0.7
    if kind == 0:
        return four(box(t, h, t, color, bevel=t * 0.15).at(x, 0, z))
    return four(tube([(x + out, 0, z + out), (x, h, z)], (t * 0.4, t * 0.6), color, sides=6))


def chair(rng: np.random.Generator) -> Design:
    u = rng.uniform
    frame = pick(rng, WOOD if rng.random() < 0.6 else ANY)
    seat = pick(rng, ANY, frame) if rng.random() < 0.7 else frame
    w, d, h, t = u(0.45, 0.6), u(0.45, 0.6), u(0.35, 0.5), u(0.05, 0.09)
    high, lean = u(0.4, 0.75), u(-12, 0)
    parts = [_legs(rng, w, d, h, t, frame), box(w, u(0.06, 0.1), d, seat, bevel=0.02).at(y=h)]
    if rng.random() < 0.4:
        back = box(w, high, t, seat, bevel=0.02, taper=(u(0.7, 1), 1))
    else:
        bars = int(rng.integers(2, 5))
        back = both(box(t, high, t, frame, bevel=0.01).at(x=w / 2 - t / 2))
        if rng.random() < 0.5:
            rails = [box(w - t, high * 0.14, t * 0.6, frame).at(y=high * (k + 0.8) / (bars + 0.2)) for k in range(bars)]
        else:
            xs = np.linspace(-w / 2, w / 2, bars + 2)[1:-1]
            rails = [box(t * 0.7, high * 0.9, t * 0.5, frame).at(x=x) for x in xs]
            rails.append(box(w, high * 0.14, t * 1.1, seat, bevel=0.01).at(y=high * 0.86))
        back = join([back, *rails])
    parts.append(back.turn(x=lean).at(0, h + 0.04, -d / 2 + t / 2))
    if rng.random() < 0.25:
        parts.append(
            both(
                join(
                    [
                        box(t, h * 0.45, t, frame).at(w / 2 - t / 2, h, d * 0.3),
                        box(t * 1.2, t, d * 0.9, frame, bevel=0.01).at(w / 2 - t / 2, h * 1.45, 0),
                    ]
                )
            )
        )
    wooden = ["wooden"] if frame.name in WOOD else []
    return Design(parts, "chair", frame, [("seat", seat)], wooden)


def stool(rng: np.random.Generator) -> Design:
    u = rng.uniform
    frame, seat = pick(rng, WOOD + METAL), pick(rng, ANY)
    r, h, t = u(0.2, 0.3), u(0.35, 0.9), u(0.04, 0.06)
    legs = int(rng.integers(3, 5))
    parts = [
        lathe([(r * 0.9, h), (r, h + 0.03), (r, h + 0.08), (r * 0.85, h + 0.1)], seat, 14),
        join(
            [
                tube([(r * 1.1, 0, 0), (r * 0.6, h + 0.02, 0)], t * 0.6, frame).turn(y=45 + 360 * k / legs)
                for k in range(legs)
            ]
        ),
    ]
    if h > 0.5:
        parts.append(torus(r * 0.93, t * 0.35, frame, 14, 6).at(y=h * 0.35))
    return Design(parts, "stool", seat, [("legs", frame)], ["tall"] if h > 0.6 else ["low"])


def table(rng: np.random.Generator) -> Design:
    u = rng.uniform
    top = pick(rng, WOOD if rng.random() < 0.6 else ANY)
    leg = pick(rng, ANY, top) if rng.random() < 0.4 else top.shade(0.85)
    h, thick, t = u(0.35, 0.75), u(0.05, 0.1), u(0.06, 0.11)
    if rng.random() < 0.35:
        r = u(0.45, 0.7)
        parts = [
            cylinder(r, thick, top, sides=18).at(y=h),
            lathe([(r * 0.5, 0), (r * 0.5, 0.04), (t * 0.8, 0.1), (t * 0.6, h * 0.6), (t * 1.2, h)], leg, 10),
        ]
        shape = ["round"]
    else:
        w, d = u(0.7, 1.5), u(0.5, 0.9)
        parts = [box(w, thick, d, top, bevel=0.015).at(y=h), _legs(rng, w, d, h + 0.01, t, leg)]
        shape = ["long"] if w > 1.9 * d else ["square"] if w < 1.15 * d else []
        if rng.random() < 0.4:
            parts.append(box(w * 0.85, 0.1, d * 0.85, leg).at(y=h - 0.09))
        if rng.random() < 0.25:
            parts.append(box(w * 0.9, 0.03, d * 0.9, leg).at(y=h * 0.25))
    return Design(parts, "table", top, [("legs", leg)], shape + (["wooden"] if top.name in WOOD else []))


def desk(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, front = pick(rng, (*WOOD, "white", "grey")), pick(rng, ANY)
    w, d, h = u(1.0, 1.4), u(0.5, 0.7), u(0.65, 0.8)
    side = 1 if rng.random() < 0.5 else -1
    parts = [
        box(w, 0.06, d, body, bevel=0.01).at(y=h),
        box(w * 0.3, h, d * 0.92, body).at(side * w * 0.33),
        box(0.06, h, d * 0.92, body).at(-side * w * 0.46),
        box(w * 0.62, h * 0.4, 0.04, body).at(-side * w * 0.14, h * 0.6, -d * 0.4),
    ]
    for k in range(3):
        y = h * (0.06 + 0.31 * k)
        parts.append(box(w * 0.26, h * 0.26, 0.04, front, bevel=0.008).at(side * w * 0.33, y, d * 0.46))
        parts.append(box(0.08, 0.025, 0.05, body.shade(0.5)).at(side * w * 0.33, y + h * 0.12, d * 0.49))
    return Design(parts, "desk", body, [("drawers", front)])


def lamp(rng: np.random.Generator) -> Design:
    u = rng.uniform
    shade, stand = pick(rng, (*BRIGHT, "white", "tan", "yellow")), pick(rng, ANY)
    tall = rng.random() < 0.5
    h = u(1.1, 1.6) if tall else u(0.35, 0.6)
    r, s = u(0.2, 0.32), u(0.25, 0.4)
    foot = u(0.16, 0.24)
    stem = [(foot, 0), (foot, 0.04), (0.03, 0.07), (0.03, h)]
    if not tall:
        fat = u(0.06, 0.17)
        stem = [(foot * 0.7, 0), (foot * 0.7, 0.04), (fat * 0.6, 0.06), (fat, h * 0.4), (fat * 0.5, h * 0.7), (0.03, h)]
    parts = [
        lathe(stem, stand, 12),
        lathe([(r * 0.97, h - 0.02), (r, h - 0.03), (r * u(0.45, 0.8), h + s), (r * 0.3, h + s)], shade, 14),
        ball(0.08, pick(rng, "yellow").shade(1.5)).at(y=h),
    ]
    return Design(parts, "lamp", shade, [("stand", stand), ("lampshade", shade)], ["tall"] if tall else ["small"])


def bed(rng: np.random.Generator) -> Design:
    u = rng.uniform
    frame, cover = pick(rng, (*WOOD, "white", "grey")), pick(rng, (*BRIGHT, "white", "grey"))
    pillow = pick(rng, ("white", "white", "yellow", "pink", "blue", "grey"), cover)
    double = rng.random() < 0.5
    w, d, h = u(1.1, 1.3) if double else u(0.65, 0.8), u(1.4, 1.7), u(0.14, 0.25)
    head, fold = u(0.4, 0.75), u(0.55, 0.75)
    parts = [
        box(w, 0.16, d, frame, bevel=0.02).at(y=h),
        four(box(0.1, h + 0.03, 0.1, frame).at(w / 2 - 0.05, 0, d / 2 - 0.05)),
        box(w, head + 0.1, 0.08, frame, bevel=0.03).at(0, h, -d / 2),
        box(w * 0.95, 0.16, d * 0.95, pillow.shade(0.97), bevel=0.04).at(0, h + 0.13, 0.01),
        box(w * 0.99, 0.17, d * fold, cover, bevel=0.04).at(0, h + 0.14, d * (1 - fold) / 2 - 0.01),
        box(w, u(0.1, 0.3) + 0.12, 0.06, frame, bevel=0.02).at(0, h, d / 2),
    ]
    cushion = box(w * 0.4 if double else w * 0.7, 0.12, d * 0.2, pillow, bevel=0.05).turn(x=12)
    parts.append((both(cushion.at(w * 0.23)) if double else cushion).at(0, h + 0.27, -d * 0.36))
    return Design(parts, "bed", cover, [("frame", frame), ("pillow", pillow)], ["double"] if double else ["single"])


def sofa(rng: np.random.Generator) -> Design:
    u = rng.uniform
    cloth = pick(rng, ANY)
    cushion = pick(rng, ANY, cloth) if rng.random() < 0.5 else cloth.shade(1.12)
    foot = pick(rng, (*WOOD, "black"))
    seats = int(rng.integers(1, 4))
    w, d, arm, h = 0.55 * seats, u(0.65, 0.8), u(0.12, 0.2), u(0.3, 0.4)
    full, tilt = w + 2 * arm, u(4, 12)
    parts = [
        box(full, h, d, cloth, bevel=0.04).at(y=0.1),
        box(full * 0.98, u(0.45, 0.6) + h * 0.3, 0.2, cloth, bevel=0.06).turn(x=-tilt).at(0, 0.12, -d / 2 + 0.08),
        both(box(arm, h + u(0.15, 0.25), d * 0.98, cloth, bevel=0.05).at(w / 2 + arm / 2, 0.1)),
        four(box(0.08, 0.12, 0.08, foot, taper=1.3).at(full / 2 - 0.08, 0, d / 2 - 0.08)),
    ]
    for k in range(seats):
        x = (k - (seats - 1) / 2) * 0.55
        parts.append(box(0.53, 0.13, d * 0.8, cushion, bevel=0.045).at(x, h + 0.07, 0.07))
        parts.append(box(0.52, 0.36, 0.13, cushion, bevel=0.05).turn(x=-tilt - 4).at(x, h + 0.18, -d * 0.28))
    noun = "armchair" if seats == 1 else "sofa"
    return Design(parts, noun, cloth, [("cushions", cushion), ("feet", foot)], ["wide"] if seats == 3 else ["soft"])


def bench(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood, iron = pick(rng, WOOD + BRIGHT), pick(rng, METAL + WOOD)
    w, d, h, planks = u(1.1, 1.7), u(0.38, 0.5), u(0.35, 0.45), int(rng.integers(2, 5))
    parts = [box(w, 0.05, d / planks * 0.82, wood).at(0, h, (k - (planks - 1) / 2) * d / planks) for k in range(planks)]
    parts.append(
        both(
            join(
                [
                    box(0.07, h, 0.07, iron).at(w * 0.4, 0, d * 0.4),
                    box(0.07, h, 0.07, iron).at(w * 0.4, 0, -d * 0.4),
                    box(0.07, 0.06, d, iron).at(w * 0.4, h - 0.05),
                ]
            )
        )
    )
    if rng.random() < 0.75:
        for k in range(int(rng.integers(2, 4))):
            parts.append(box(w, 0.11, 0.04, wood).at(0, h + 0.16 + 0.16 * k, -d / 2 - 0.02 - 0.02 * k))
        parts.append(both(box(0.07, 0.62, 0.05, iron).turn(x=-7).at(w * 0.4, h - 0.03, -d / 2)))
    return Design(parts, "bench", wood, [("legs", iron)], ["wooden"] if wood.name in WOOD else [])


def bookshelf(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood = pick(rng, (*WOOD, "white", "grey", "black"))
    w, d, shelves, gap, t = u(0.6, 1.0), u(0.28, 0.36), int(rng.integers(2, 5)), u(0.3, 0.38), 0.045
    h = shelves * gap + t
    parts = [both(box(t, h, d, wood).at(x=w / 2)), box(w, h, t, wood.shade(0.8)).at(z=-d / 2 + t / 2)]
    parts += [box(w + t, t, d, wood).at(y=k * gap) for k in range(shelves + 1)]
    books = pick(rng, BRIGHT)
    for k in range(shelves):
        x = -w / 2 + t
        while x < w / 2 - 0.12 and rng.random() < 0.94:
            thick = u(0.06, 0.12)
            cover = books if rng.random() < 0.4 else pick(rng, ANY)
            tall = gap * u(0.55, 0.85)
            parts.append(box(thick * 0.95, tall, d * u(0.55, 0.75), cover).at(x + thick / 2, k * gap + t, 0.03))
            x += thick
    return Design(parts, "bookshelf", wood, [("books", books)], ["tall"] if shelves > 3 else ["wooden"])


def cabinet(rng: np.random.Generator) -> Design:
    u = rng.uniform
    body, door, knob = pick(rng, WOOD + ANY), pick(rng, ANY), pick(rng, METAL)
    w, h, d = u(0.6, 1.1), u(0.6, 1.5), u(0.35, 0.5)
    parts = [
        box(w, h, d, body, bevel=0.02).at(y=0.08),
        box(w * 1.06, 0.05, d * 1.08, body.shade(0.85)).at(y=h + 0.07),
        four(box(0.08, 0.1, 0.08, body.shade(0.7)).at(w / 2 - 0.06, 0, d / 2 - 0.06)),
    ]
    drawers = int(rng.integers(0, 5))
    if drawers >= 2:
        each = h / drawers
        for k in range(drawers):
            parts.append(box(w * 0.88, each * 0.82, 0.04, door, bevel=0.01).at(0, 0.08 + each * (k + 0.09), d / 2))
            parts.append(both(ball(0.03, knob, 0).at(w * 0.2, 0.08 + each * (k + 0.5), d / 2 + 0.04)))
        return Design(parts, "dresser", body, [("drawers", door)], ["wooden"] if body.name in WOOD else [])
    parts.append(both(box(w * 0.43, h * 0.88, 0.04, door, bevel=0.012).at(w * 0.235, 0.08 + h * 0.06, d / 2)))
    parts.append(both(box(0.03, 0.14, 0.03, knob).at(0.05, h * 0.55, d / 2 + 0.03)))
    return Design(parts, "cabinet", body, [("doors", door)], ["tall"] if h > 1.5 * w else ["wide"])


def ladder(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood = pick(rng, WOOD + METAL + BRIGHT)
    rung = pick(rng, ANY, wood) if rng.random() < 0.3 else wood.shade(0.85)
    h, w, rungs, narrow = u(1.3, 2.2), u(0.4, 0.6), int(rng.integers(4, 9)), u(0.7, 1)
    parts = [both(tube([(w / 2, 0, 0), (w / 2 * narrow, h, 0)], 0.045, wood, sides=4))]
    for k in range(rungs):
        y = h * (k + 0.7) / (rungs + 0.3)
        half = w / 2 * (1 + (narrow - 1) * y / h)
        parts.append(tube([(-half, y, 0), (half, y, 0)], 0.032, rung, sides=6))
    lean = u(4, 14)
    side = [join(parts).turn(x=-lean)]
    if rng.random() < 0.25:
        side.append(side[0].mirror(2).at(z=-2 * h * np.sin(np.radians(lean))))
    return Design(
        side, "ladder", wood, [("rungs", rung)], ["tall"] if h > 1.8 else ["wooden"] if wood.name in WOOD else []
    )


def fence(rng: np.random.Generator) -> Design:
    u = rng.uniform
    wood = pick(rng, (*WOOD, "white", "white", "grey", *BRIGHT))
    rail = pick(rng, ANY, wood) if rng.random() < 0.25 else wood.shade(0.85)
    posts, gap, h, tip = int(rng.integers(4, 8)), u(0.2, 0.28), u(0.55, 0.8), u(0.06, 0.14)
    t = gap * u(0.4, 0.75)
    parts = []
    for k in range(posts):
        x = (k - (posts - 1) / 2) * gap
        post = [box(t, h, 0.06, wood), box(t, tip, 0.06, wood, taper=(0.05, 1)).at(y=h)]
        parts.append(join(post).at(x))
    parts += [box(posts * gap, 0.08, 0.05, rail).at(0, h * y, -0.045) for y in (0.25, 0.7)]
    return Design(parts, "fence", wood, [("rails", rail)], ["wooden"] if wood.name in WOOD else [])


def door(rng: np.random.Generator) -> Design:
    u = rng.uniform
    leaf, frame, knob = pick(rng, ANY + WOOD), pick(rng, ("grey", "brown", "tan", "white")), pick(rng, METAL)
    w, h = u(0.6, 0.9), u(1.2, 1.6)
    parts = [
        box(w, h, 0.07, leaf),
        both(box(0.1, h + 0.1, 0.16, frame).at(w / 2 + 0.05)),
        box(w + 0.3, 0.14, 0.18, frame).at(y=h),
        ball(0.045, knob).at(w * 0.38, h * 0.47, 0.07),
    ]
    if rng.random() < 0.5:
        parts += [both(box(w * 0.36, h * 0.36, 0.1, leaf.shade(0.82)).at(w * 0.21, h * y)) for y in (0.08, 0.54)]
    else:
        parts += [box(w * 0.98, 0.1, 0.1, knob.shade(0.8)).at(0, h * y) for y in (0.15, 0.75)]
    return Design(parts, "door", leaf, [("frame", frame), ("knob", knob)], ["tall"])
