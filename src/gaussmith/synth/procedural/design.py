"""What a family returns: coloured parts and the words for them; and the paints that it chooses from."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from gaussmith.synth.palette import ANCHORS, colour_name
from gaussmith.synth.procedural.shapes import Solid


class Paint(NamedTuple):
    """An sRGB colour in [0,1] and its name."""

    r: float
    g: float
    b: float
    name: str

    def shade(self, factor: float) -> Paint:
        """Darker (< 1) or lighter (> 1, towards white), by the same name."""
        rgb = np.array(self[:3])
        rgb = rgb * factor if factor <= 1 else rgb + (1 - rgb) * (factor - 1)
        r, g, b = np.clip(rgb, 0, 1).tolist()
        return Paint(r, g, b, self.name)


_STUFF = frozenset(
    ["water", "fruit", "sand", "snow", "moss", "treasure", "lettuce", "cheese", "icing", "dough", "hair"]
)

# Groups of names to pick from; a name that stands twice comes up twice as often.
BRIGHT = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
ANY = (*BRIGHT, *BRIGHT, "brown", "tan", "white", "grey", "black")
WOOD = ("brown", "brown", "brown", "tan")
METAL = ("grey", "grey", "silver", "black", "gold")
STONE = ("grey", "grey", "tan", "white", "brown")
LEAVES = ("green", "green", "green", "green", "green", "orange", "yellow", "red", "teal", "pink")
FUR = ("brown", "brown", "tan", "white", "grey", "black", "orange")
SKIN = ("tan", "tan", "brown", "orange")
PRECIOUS = ("gold", "gold", "silver")
ROOF = ("red", "red", "brown", "blue", "green", "grey", "orange", "purple", "teal")
WALL = ("white", "tan", "tan", "yellow", "grey", "blue", "pink", "red", "brown", "green")

# Paints that are materials rather than basic colours.
_MATERIALS = {"gold": ((230, 176, 48), (244, 200, 84)), "silver": ((176, 186, 198), (204, 210, 218))}


def pick(rng: np.random.Generator, names: Sequence[str] | str, *avoid: Paint) -> Paint:
    """A paint of one of these names (of none that `avoid` has): an anchor of the palette, jittered within its name."""
    if isinstance(names, str):
        names = (names,)
    taken = {paint.name for paint in avoid}
    free = [name for name in names if name not in taken] or list(names)
    name = free[int(rng.integers(len(free)))]
    anchors = ANCHORS.get(name) or _MATERIALS[name]
    anchor = np.array(anchors[int(rng.integers(len(anchors)))]) / 255
    for _ in range(4):
        h, s, v = colorsys.rgb_to_hsv(*anchor)
        dh, ds, dv = rng.uniform(-1, 1, 3) * (0.02, 0.12, 0.1)
        rgb = colorsys.hsv_to_rgb((h + dh) % 1, min(max(s * (1 + ds), 0), 1), min(max(v * (1 + dv), 0), 1))
        if name in _MATERIALS or colour_name(rgb) == name:
            return Paint(rgb[0], rgb[1], rgb[2], name)
    r, g, b = anchor.tolist()
    return Paint(r, g, b, name)


@dataclass(frozen=True)
class Design:
    """One thing: its parts, and what a caption may say about it.

    Attributes:
        parts: solids, in any unit; they are brought to size later.
        noun: what it is.
        paint: its main colour.
        details: (part, paint) pairs worth telling: ("seat", red).
        adjectives: words before the colour that are true of it: "wooden", "tall".
    """

    parts: list[Solid]
    noun: str
    paint: Paint
    details: list[tuple[str, Paint]] = field(default_factory=list)
    adjectives: list[str] = field(default_factory=list)


def phrase(design: Design, rng: np.random.Generator) -> str:
    """One of several captions: always the noun; mostly its colour; often a part or two and an adjective."""
    color, noun = design.paint.name, design.noun
    words = [noun]
    colored = rng.random() < 0.85
    others = list(dict.fromkeys(p.name for _, p in design.details if p.name != color))
    if colored and others and rng.random() < 0.2:
        other = others[int(rng.integers(len(others)))]
        words.insert(0, f"{color} and {other}")
        return _article(_adjective(design, rng) + words)
    if colored:
        words.insert(0, color)
    told = _details(design, rng)
    if not told:
        return _article(_adjective(design, rng) + words)
    form = int(rng.integers(6))
    if form == 0:
        return " ".join(_adjective(design, rng) + words) + ", " + ", ".join(told)
    return _article(_adjective(design, rng) + words) + " with " + " and ".join(_article([part]) for part in told)


def _adjective(design: Design, rng: np.random.Generator) -> list[str]:
    if not design.adjectives or rng.random() < 0.5:
        return []
    return [design.adjectives[int(rng.integers(len(design.adjectives)))]]


def _details(design: Design, rng: np.random.Generator) -> list[str]:
    count = min(int(rng.choice([0, 1, 1, 1, 2])), len(design.details))
    chosen = sorted(rng.permutation(len(design.details))[:count].tolist())
    return [f"{design.details[i][1].name} {design.details[i][0]}" for i in chosen]


def _article(words: list[str]) -> str:
    text = " ".join(words)
    if _is_plural(text):
        return text
    return ("an " if text[0] in "aeiou" else "a ") + text


def _is_plural(text: str) -> bool:
    """Plural, or a stuff that takes no article either."""
    return (text.endswith("s") and not text.endswith(("ss", "us"))) or text.split()[-1] in _STUFF
