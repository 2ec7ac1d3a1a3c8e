"""Four-legged animals, fish and birds; they look towards +Z."""

from __future__ import annotations

import numpy as np

from gaussmith.synth.procedural.design import (
    ANY,
    BRIGHT,
    FUR,
    Design,
    Paint,
    pick,
)
from gaussmith.synth.procedural.shapes import (
    Solid,
    ball,
    both,
    box,
    cylinder,
    extrude,
    join,
    tube,
)


def eyes(x: float, y: float, z: float, r: float, rng: np.random.Generator, white: bool | None = None) -> Solid:
    """Two eyes: black beads, or white balls with pupils."""
    black = pick(rng, "black")
    if white if white is not None else rng.random() < 0.4:
        return both(join([ball(r * 1.4, pick(rng, "white")), ball(r * 0.8, black).at(0, 0, r * 0.85)]).at(x, y, z))
    return both(ball(r, black).at(x, y, z))


# What tells one quadruped from another: body length, height of the legs, thickness, neck (length, degrees from level),
# head (length, width), ears (kind, size), tail (kind, length), fur.
_ANIMALS: dict[str, tuple[float, float, float, float, float, float, float, str, float, str, float, tuple[str, ...]]] = {
    "dog": (0.6, 0.32, 0.17, 0.16, 55, 0.24, 0.15, "flap", 0.16, "up", 0.28, FUR),
    "cat": (0.52, 0.26, 0.14, 0.1, 55, 0.16, 0.15, "point", 0.12, "up", 0.42, (*FUR, "orange")),
    "horse": (
        0.75,
        0.55,
        0.2,
        0.42,
        58,
        0.34,
        0.13,
        "point",
        0.1,
        "long",
        0.42,
        ("brown", "brown", "black", "white", "tan", "grey"),
    ),
    "cow": (0.8, 0.38, 0.26, 0.12, 35, 0.3, 0.18, "side", 0.12, "thin", 0.4, ("white", "brown", "black", "tan")),
    "pig": (0.65, 0.18, 0.25, 0.04, 10, 0.22, 0.19, "point", 0.11, "curl", 0.1, ("pink", "pink", "brown", "black")),
    "sheep": (
        0.6,
        0.26,
        0.27,
        0.12,
        40,
        0.22,
        0.13,
        "side",
        0.12,
        "stub",
        0.08,
        ("white", "white", "grey", "black", "tan"),
    ),
    "elephant": (0.8, 0.4, 0.33, 0.06, 30, 0.26, 0.26, "wide", 0.34, "thin", 0.35, ("grey", "grey", "blue", "pink")),
    "giraffe": (0.6, 0.65, 0.19, 0.75, 68, 0.26, 0.12, "horn", 0.1, "thin", 0.35, ("yellow", "orange", "tan")),
    "lion": (0.68, 0.34, 0.19, 0.14, 48, 0.22, 0.18, "round", 0.07, "thin", 0.45, ("orange", "tan", "yellow")),
    "bear": (0.66, 0.28, 0.27, 0.08, 30, 0.26, 0.2, "round", 0.09, "stub", 0.07, ("brown", "brown", "black", "white")),
    "fox": (0.56, 0.26, 0.14, 0.12, 50, 0.24, 0.14, "point", 0.14, "bush", 0.4, ("orange", "orange", "red", "white")),
    "rabbit": (
        0.38,
        0.14,
        0.18,
        0.05,
        60,
        0.18,
        0.14,
        "long",
        0.3,
        "puff",
        0.09,
        ("white", "grey", "brown", "tan", "pink"),
    ),
    "deer": (0.62, 0.5, 0.16, 0.3, 62, 0.24, 0.12, "side", 0.12, "stub", 0.1, ("brown", "brown", "tan", "orange")),
    "zebra": (0.7, 0.48, 0.19, 0.36, 58, 0.3, 0.13, "point", 0.1, "thin", 0.35, ("white",)),
    "mouse": (0.36, 0.1, 0.15, 0.03, 30, 0.18, 0.12, "round", 0.12, "thin", 0.5, ("grey", "white", "brown")),
}


def quadruped(rng: np.random.Generator) -> Design:
    u = rng.uniform
    noun = list(_ANIMALS)[int(rng.integers(len(_ANIMALS)))]
    length, leg, fat, neck, angle, head, wide, ear, ear_size, tail, tail_length, furs = _ANIMALS[noun]
    length, leg, fat = length * u(0.9, 1.1), leg * u(0.85, 1.15), fat * u(0.9, 1.15)
    fur = pick(rng, furs)
    second = pick(rng, ("white", "black", "brown", "tan", "pink"), fur)
    y = leg + fat * 0.8
    t = np.linspace(-1, 1, 7)
    trunk = tube(
        np.column_stack([0 * t, y + 0.02 * t, t * length / 2]),
        fat * np.array([0.55, 0.9, 1.0, 0.95, 1.0, 0.92, 0.5]),
        fur,
        10,
    )
    details: list[tuple[str, Paint]] = []
    if noun in ("cow", "giraffe", "zebra") or rng.random() < 0.2:
        mark = second if noun != "zebra" else pick(rng, "black")
        mark = pick(rng, "brown") if noun == "giraffe" else mark
        if noun == "zebra":
            trunk = tube(
                np.column_stack([np.zeros(13), np.full(13, y), np.linspace(-1, 1, 13) * length / 2]),
                fat * np.interp(np.linspace(-1, 1, 13), t, [0.55, 0.9, 1.0, 0.95, 1.0, 0.92, 0.5]),
                [fur, mark] * 6,
                10,
            )
            details.append(("stripes", mark))
        else:
            details.append(("spots", mark))
            spots = rng.normal(size=(7, 3)) * (0.6, 0.5, 1)
            spots = spots / np.linalg.norm(spots, axis=1, keepdims=True) * (fat, fat, length / 2) + (0, y, 0)
            trunk = trunk.paint(lambda c: (np.linalg.norm(c[:, None] - spots, axis=2) < fat * 0.55).any(axis=1), mark)
    parts = [trunk]
    lw = fat * (0.36 if fat > 0.22 else 0.3)
    foot = fur.shade(0.75) if rng.random() < 0.6 else second
    for z, s in ((length * 0.36, 1.0), (-length * 0.36, 1.05)):
        limb = [
            tube([(0, y - 0.02, 0), (0, leg * 0.5, 0.02), (0, 0.05, 0)], (lw * 1.35 * s, lw, lw * 0.8), fur, 7),
            cylinder(lw * 0.95, 0.07, foot, lw * 0.85, 7),
        ]
        parts.append(both(join(limb).at(fat * 0.55, 0, z)))
    a = np.radians(angle * u(0.9, 1.1))
    root = np.array([0, y + fat * 0.35, length * 0.42])
    top = root + (neck + fat * 0.35) * np.array([0, np.sin(a), np.cos(a)])
    parts.append(tube([root - (0, fat * 0.3, 0.05), top], (fat * 0.75, wide * 0.8), fur, 8))
    parts += _head(rng, noun, top, head, wide, fur, second, ear, ear_size)
    parts.append(_tail(rng, tail, tail_length, fur, second).at(0, y + fat * 0.4, -length * 0.48))
    if noun == "lion":
        mane = pick(rng, ("brown", "orange", "red"), fur)
        parts.append(
            ball((wide * 1.7, wide * 1.75, wide * 0.9), mane, 1, 0.12, rng).at(*top.tolist()).at(0, 0.02, -0.03)
        )
        details.append(("mane", mane))
    if noun in ("horse", "zebra"):
        mane = pick(rng, ("black", "brown", "white", "tan"), fur)
        parts.append(
            tube(
                [
                    top + np.array([0, wide, 0.03]),
                    (top + root) / 2 + np.array([0, wide * 0.9, -0.06]),
                    root + np.array([0, wide * 0.9, -0.1]),
                ],
                (0.03, 0.05, 0.03),
                mane,
                5,
            )
        )
        details.append(("mane", mane))
    if noun == "sheep":
        woolly = pick(rng, furs)
        for _k in range(12):
            way = rng.normal(size=3)
            way /= np.linalg.norm(way)
            parts.append(
                ball(fat * 0.5, woolly.shade(u(0.93, 1.05)), 1).at(
                    *(way * (fat * 0.75, fat * 0.7, length * 0.42) + (0, y, 0))
                )
            )
        fur, details = woolly, [("face", fur)]
    return Design(parts, noun, fur, details)


def _head(
    rng: np.random.Generator,
    noun: str,
    top: np.ndarray,
    head: float,
    wide: float,
    fur: Paint,
    second: Paint,
    ear: str,
    size: float,
) -> list[Solid]:
    """A head at the end of a neck: skull, muzzle, eyes, ears, and what the kind of animal has besides."""
    _x, y, z = top
    skull = ball((wide, wide, wide * 1.05), fur, 2 if wide > 0.16 else 1).at(0, y, z)
    muzzle = tube([(0, y - wide * 0.15, z), (0, y - wide * 0.35, z + head)], (wide * 0.75, wide * 0.5), fur, 8)
    nose_paint = {"pig": "pink", "cow": "pink"}.get(noun, "black")
    nose = ball(wide * 0.22, pick(rng, nose_paint).shade(0.9)).at(0, y - wide * 0.2, z + head)
    parts = [skull, muzzle, nose, eyes(wide * 0.62, y + wide * 0.3, z + wide * 0.72, wide * 0.16, rng)]
    inner = pick(rng, "pink") if rng.random() < 0.3 else fur.shade(0.85)
    if ear == "point":
        e = cylinder(size * 0.5, size * 1.2, fur, 0.0, 5).turn(z=-12).at(wide * 0.6, y + wide * 0.65, z - wide * 0.1)
    elif ear == "flap":
        e = (
            ball((size * 0.25, size * 0.7, size * 0.4), second if rng.random() < 0.4 else inner)
            .turn(z=14)
            .at(wide * 1.0, y + wide * 0.1, z)
        )
    elif ear == "side":
        e = (
            ball((size, size * 0.35, size * 0.45), inner)
            .turn(z=-8)
            .at(wide + size * 0.5, y + wide * 0.45, z - wide * 0.2)
        )
    elif ear == "wide":
        e = ball((size, size * 0.95, 0.05), inner, 1).turn(y=25).at(wide * 0.85 + size * 0.6, y + 0.03, z - wide * 0.3)
    elif ear == "long":
        e = (
            ball((size * 0.2, size * 0.75, size * 0.14), inner)
            .turn(z=-8)
            .at(wide * 0.45, y + wide * 0.7 + size * 0.6, z - wide * 0.2)
        )
    elif ear == "horn":
        e = join(
            [
                cylinder(0.02, size, fur, sides=5).at(wide * 0.35, y + wide * 0.7, z),
                ball(0.035, second).at(wide * 0.35, y + wide * 0.7 + size, z),
                ball((0.1, 0.04, 0.05), inner).at(wide * 1.2, y + wide * 0.4, z - 0.03),
            ]
        )
    else:
        e = ball((size, size, size * 0.5), inner).at(wide * 0.75, y + wide * 0.8, z - wide * 0.1)
    parts.append(both(e))
    ivory = pick(rng, "white")
    if noun == "cow":
        parts.append(
            both(
                tube(
                    [(wide * 0.5, y + wide * 0.7, z), (wide * 1.2, y + wide * 1.1, z), (wide * 1.2, y + wide * 1.7, z)],
                    (0.045, 0.035, 0.01),
                    ivory,
                    6,
                )
            )
        )
    if noun == "pig":
        parts.append(
            cylinder(wide * 0.5, 0.05, pick(rng, "pink").shade(0.85), sides=10)
            .turn(x=90)
            .at(0, y - wide * 0.35, z + head)
        )
    if noun == "elephant":
        parts.append(
            tube(
                [(0, y - 0.02, z + 0.2), (0, y - 0.16, z + 0.4), (0, y - 0.4, z + 0.46), (0, y - 0.6, z + 0.52)],
                (0.13, 0.1, 0.075, 0.055),
                fur,
                8,
            )
        )
        parts.append(
            both(
                tube(
                    [(0.12, y - 0.14, z + 0.2), (0.15, y - 0.26, z + 0.36), (0.15, y - 0.2, z + 0.5)],
                    (0.04, 0.035, 0.01),
                    ivory,
                    6,
                )
            )
        )
    if noun == "deer" and rng.random() < 0.7:
        horn = pick(rng, ("tan", "brown"))
        antler = [
            tube([(0, 0, 0), (0.12, 0.16, -0.04), (0.16, 0.36, 0)], (0.03, 0.025, 0.01), horn, 5),
            tube([(0.1, 0.14, -0.03), (0.24, 0.26, 0.06)], (0.02, 0.01), horn, 5),
            tube([(0.04, 0.06, 0), (0.05, 0.18, 0.12)], (0.02, 0.01), horn, 5),
        ]
        parts.append(both(join(antler).at(wide * 0.4, y + wide * 0.8, z)))
    return parts


def _tail(rng: np.random.Generator, kind: str, length: float, fur: Paint, second: Paint) -> Solid:
    """A tail that starts at the origin and goes backwards."""
    n = length
    if kind == "up":
        return tube(
            [(0, 0, 0), (0, n * 0.3, -n * 0.4), (0, n * 0.8, -n * 0.5), (0, n, -n * 0.4)],
            (0.045, 0.04, 0.035, 0.015),
            fur,
            6,
        )
    if kind == "long":
        return tube([(0, 0, 0), (0, 0, -n * 0.25), (0, -n, -n * 0.35)], (0.04, 0.075, 0.02), second, 6)
    if kind == "thin":
        return join(
            [
                tube([(0, 0, 0), (0, -n * 0.2, -n * 0.3), (0, -n * 0.8, -n * 0.35)], (0.03, 0.022, 0.02), fur, 5),
                ball((0.045, 0.08, 0.045), second).at(0, -n * 0.85, -n * 0.36),
            ]
        )
    if kind == "bush":
        return join(
            [
                tube([(0, 0, 0), (0, -0.02, -n * 0.5), (0, 0.08, -n * 0.9)], (0.04, 0.1, 0.07), fur, 7),
                ball((0.065, 0.065, 0.11), pick(rng, "white")).at(0, 0.1, -n),
            ]
        )
    if kind == "curl":
        a = np.linspace(0, 9, 12)
        return tube(np.column_stack([0.05 * np.sin(a), 0.05 * np.cos(a) - 0.05, -0.015 * a]), 0.018, fur, 5)
    return ball(n, fur if kind == "stub" else pick(rng, "white"), 1).at(0, -0.04, -n * 0.3)


def fish(rng: np.random.Generator) -> Design:
    u = rng.uniform
    shark = rng.random() < 0.2
    skin = pick(rng, ("grey", "blue", "grey") if shark else ANY)
    fin, belly = pick(rng, BRIGHT, skin) if not shark else skin.shade(0.8), pick(rng, ("white", "tan", "yellow"), skin)
    length, tall, wide = u(0.9, 1.2), u(0.14, 0.18) if shark else u(0.2, 0.38), u(0.1, 0.16)
    t = np.linspace(0, 1, 11)
    profile = np.sin(np.pi * np.minimum(0.06 + t * 0.94, 1) ** u(0.65, 0.9)) * 0.97 + 0.12
    stripes = not shark and rng.random() < 0.55
    every = int(rng.integers(2, 4))
    colors = [fin if stripes and 1 < k < 9 and k % every == 0 else skin for k in range(10)]
    body = tube(np.column_stack([0 * t, 0 * t, (0.5 - t) * length]), profile, colors, 10).scale(wide, tall, 1)
    if not stripes:
        body = body.paint(lambda c: c[:, 1] < -tall * 0.35, belly)
    flip = u(0.22, 0.36)
    tail = extrude(
        [
            (0, 0),
            (-flip * 0.7, flip),
            (-flip * 1.0, flip * 0.9),
            (-flip * 0.6, 0),
            (-flip * 1.0, -flip * 0.8),
            (-flip * 0.7, -flip * 0.9),
        ],
        0.035,
        fin,
    )
    top = extrude([(0.15, 0), (-0.05, u(0.15, 0.3)), (-0.2, u(0.08, 0.2)), (-0.22, 0)], 0.03, fin)
    side = extrude([(0, 0.05), (0, -0.05), (-0.22, -0.12), (-0.2, 0.02)], 0.025, fin)
    parts = [
        body,
        join(
            [
                tail.at(-length * 0.45),
                top.at(0.03 * length, tall * 0.82),
                top.scale(0.6).turn(x=180).at(-0.1 * length, -tall * 0.8),
            ]
        ).turn(y=-90),
        both(side.turn(y=-90).turn(y=35, z=-20).at(wide * 0.8, -tall * 0.2, length * 0.16)),
        eyes(wide * 0.72, tall * 0.25, length * 0.35, 0.035 if shark else 0.045, rng, True),
    ]
    details = [("fins", fin)] + ([("stripes", fin)] if stripes else [("belly", belly)])
    return Design(parts, "shark" if shark else "fish", skin, details, ["striped"] if stripes else [])


def bird(rng: np.random.Generator) -> Design:
    u = rng.uniform
    noun = ("bird", "duck", "penguin", "owl", "chicken", "parrot")[int(rng.integers(6))]
    feather = pick(
        rng,
        {
            "duck": ("yellow", "white", "brown", "green"),
            "penguin": ("black", "blue", "grey"),
            "owl": ("brown", "grey", "white", "tan"),
            "chicken": ("white", "brown", "red", "orange"),
        }.get(noun, BRIGHT),
    )
    wing = pick(rng, ANY, feather) if noun in ("bird", "parrot") else feather.shade(0.82)
    beak, belly = pick(rng, ("orange", "yellow")), pick(rng, ("white", "tan", "yellow"), feather)
    upright = noun in ("penguin", "owl", "parrot")
    r, tilt = u(0.22, 0.28), -u(5, 15) if upright else u(45, 65)
    body = ball((r * 0.9, r * u(1.3, 1.6), r * 0.9), feather, 2).paint(
        lambda c: (c[:, 2] > r * 0.45) & (c[:, 1] < r * 1.05) if upright else c[:, 2] > r * 0.62, belly
    )
    body = body.turn(x=tilt)
    leg = 0.1 if upright else u(0.14, 0.25)
    base = leg + r * (1.25 if upright else 0.85)
    head_r = r * u(0.62, 0.8)
    hy, hz = (base + r * 1.35, r * 0.1) if upright else (base + r * u(1.0, 1.3), r * u(0.95, 1.15))
    flat = extrude([(0.1, 0.09), (-0.28, 0.05), (-0.4, -0.04), (-0.05, -0.12), (0.1, -0.06)], 0.05, wing).turn(y=-90)
    flat = flat.turn(x=-65).at(0, 0.04, 0) if upright else flat
    parts = [
        body.at(y=base),
        ball(head_r, feather, 2).at(0, hy, hz),
        both(flat.turn(z=8).at(r * 0.88, base + 0.03, 0)),
        tube([(0, base, 0), (0, hy, hz)], (r * 0.7, head_r * 0.7), feather, 8),
        eyes(
            head_r * 0.5,
            hy + head_r * 0.25,
            hz + head_r * 0.78,
            head_r * (0.24 if noun == "owl" else 0.15),
            rng,
            noun == "owl" or None,
        ),
    ]
    if noun == "duck":
        parts.append(
            ball((head_r * 0.55, head_r * 0.16, head_r * 0.6), beak).at(0, hy - head_r * 0.15, hz + head_r * 1.15)
        )
    else:
        parts.append(
            cylinder(head_r * 0.28, head_r * (1.0 if noun == "bird" else 0.65), beak, 0.0, 5)
            .turn(x=100)
            .at(0, hy - head_r * 0.05, hz + head_r * 0.85)
        )
    foot = join(
        [
            tube([(0, base * 0.8, 0), (0, 0.02, 0)], 0.022, beak, 5),
            box(0.12, 0.025, 0.15, beak, taper=(0.5, 1)).at(0, 0, 0.04),
        ]
    )
    parts.append(both(foot.at(r * 0.4)))
    tail = box(0.16, 0.035, u(0.2, 0.4), wing, taper=(0.8, 1)).turn(x=-60 if upright else 20)
    parts.append(tail.at(0, base - r * 0.9 if upright else base + r * 0.25, -r * 1.15 if not upright else -r * 0.8))
    details = [("beak", beak), ("belly", belly)] + ([("wings", wing)] if wing.name != feather.name else [])
    if noun in ("chicken", "parrot"):
        comb = pick(rng, "red" if noun == "chicken" else BRIGHT)
        parts += [ball((0.03, 0.07, 0.06), comb).at(0, hy + head_r * 0.95, hz + z) for z in (-0.08, 0.0, 0.08)]
        details.append(("comb" if noun == "chicken" else "crest", comb))
    if noun == "owl":
        parts.append(both(cylinder(0.05, 0.12, feather, 0, 5).turn(z=-20).at(head_r * 0.6, hy + head_r * 0.7, hz)))
    return Design(parts, noun, feather, details)
