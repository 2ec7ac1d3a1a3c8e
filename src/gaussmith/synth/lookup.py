"""Words choose a made thing: the procedural design that says best what a prompt says.

What Point-E is to GSGen (Chen et al. 2023, arXiv 2309.16585, section 3.2), a shape that words alone choose and that a
search begins with, the package's own generator is here. Nothing is learned: the prompt names a family, designs of it
are drawn by chance, and those are kept that have the colours and parts that were asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaussmith.density.ops import sample
from gaussmith.mesh import Mesh
from gaussmith.priors.embedded.vocabulary import MAX_TEXT, words
from gaussmith.synth.names import Kind, named
from gaussmith.synth.palette import NAMES
from gaussmith.synth.procedural.design import Design
from gaussmith.synth.procedural.families import FAMILIES
from gaussmith.synth.procedural.finish import to_mesh, weld
from gaussmith.synth.procedural.generate import make

TRIES = 300  # designs drawn: a house of two given colours is one in 45
COLOURS = frozenset([*NAMES, "gold", "silver"])

# After these, a part or a property of the thing is told; after those below, something else altogether.
_PARTS = frozenset(["with", "holding", "wearing", "carrying", "having", "has", "of", "in", "made", "painted"])
_ASIDE = frozenset(
    [
        *("on", "at", "beside", "near", "under", "behind", "by", "inside", "over", "above", "from", "for", "without"),
        *("that", "which", "like", "riding", "sitting", "standing"),
    ]
)
_UNSAID = frozenset(["and", "or", "very", "some", "it", "is", "are", "photo", "picture", "model", *_PARTS, *_ASIDE])


@dataclass(frozen=True)
class Found:
    """A made thing for a prompt.

    Attributes:
        mesh: vertex-coloured, centred, +Y up, front +Z, bounding-box diagonal 1.2.
        caption: all that the generator says of it.
        met, unmet: the prompt's words, in normal form, that are true of it, and the rest.
    """

    mesh: Mesh
    caption: str
    met: tuple[str, ...]
    unmet: tuple[str, ...]

    def report(self) -> dict[str, Any]:
        """What report.json tells of it."""
        return {"caption": self.caption, "met": list(self.met), "unmet": list(self.unmet)}

    def points(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Points [count,3] spread evenly over the surface, and their colours [count,3] in [0,1]."""
        assert self.mesh.vertex_colors is not None
        corners = self.mesh.vertices[self.mesh.faces]
        area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
        face = sample(area, count, generator)
        u, v = torch.rand(2, count, generator=generator)
        u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
        weights = torch.stack([1 - u - v, u, v], dim=1)[..., None]
        return (corners[face] * weights).sum(dim=1), (self.mesh.vertex_colors[self.mesh.faces[face]] * weights).sum(1)


@dataclass(frozen=True)
class Wish:
    """A prompt taken apart, all words in normal form.

    Attributes:
        kind: what it names, by the words `name`.
        colours: of the thing. others: what else is said of it, or of other things.
        parts: (colours, words) of each part.
    """

    kind: Kind
    name: tuple[str, ...]
    colours: tuple[str, ...]
    others: tuple[str, ...]
    parts: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]

    @property
    def asked(self) -> tuple[str, ...]:
        """Every word that a thing can meet, once."""
        told = [word for colours, rest in self.parts for word in (*colours, *rest)]
        return tuple(dict.fromkeys([*self.colours, *self.others, *self.name, *told]))


def design(prompt: str, seed: int = 0, tries: int = TRIES) -> Found | None:
    """The first of `designs`; None where the prompt names nothing that the generator makes."""
    return next(iter(designs(prompt, seed, 1, tries)), None)


def designs(prompt: str, seed: int = 0, count: int = 1, tries: int = TRIES) -> list[Found]:
    """Up to `count` made things that say best what the prompt says, all equally well; the same for the same arguments.

    Design i is drawn by the generator [seed, i]; the search stops when `count` say all of it, or after `tries`. Empty
    where the prompt names nothing that the generator makes.
    """
    wish = understand(prompt)
    if wish is None or count < 1:
        return []
    seed %= 2**63
    kept: list[tuple[float, int, str, tuple[str, ...]]] = []
    for attempt in range(max(tries, 1)):
        drawn = FAMILIES[wish.kind.family](np.random.default_rng([seed, attempt]))
        score, unmet = _judge(wish, drawn)
        kept.append((score, attempt, _caption(drawn), unmet))
        if sum(not entry[3] for entry in kept) == count:
            break
    best = max(score for score, *_ in kept)
    found: list[Found] = []
    for score, attempt, caption, unmet in kept:
        if score == best and len(found) < count:
            solid, _ = make(wish.kind.family, np.random.default_rng([seed, attempt]))
            met = tuple(word for word in wish.asked if word not in unmet)
            found.append(Found(to_mesh(weld(solid)), caption, met, unmet))
    return found


def understand(prompt: str) -> Wish | None:
    """The prompt taken apart; None where it names nothing that the generator makes.

    The name is the one that ends last before anything else is told ("street lamp", not "lamp"; "table" of "a lamp
    table"): the head of an English noun comes last.
    """
    pieces = list(_pieces(prompt))
    while pieces and named(pieces[0][1]) is None:
        # "A photo of a car", "a big, red car": the thing comes after.
        if len(pieces) < 2 or pieces[1][0] not in ("of", ","):
            return None
        pieces[:2] = [(pieces[0][0], pieces[0][1] + pieces[1][1])]
    name = named(pieces[0][1]) if pieces else None
    if name is None:
        return None
    kind, begin, end = name
    thing = pieces[0][1]
    rest = [*thing[:begin], *thing[end:]]
    colours, others = [w for w in rest if w in COLOURS], [w for w in rest if w not in COLOURS]
    parts = []
    for link, said in pieces[1:]:
        if link in _ASIDE:
            others += said
            continue
        for shades, part in _parts(said):
            if part:
                parts.append((shades, part))
            else:  # "a car in red"
                colours += shades
    return Wish(
        kind, tuple(thing[begin:end]), tuple(colours), tuple(w for w in others if w not in _UNSAID), tuple(parts)
    )


def told(text: str) -> tuple[set[str], set[str]]:
    """Words of the thing and of its parts: "a house" and "a red roof" of "a house with a red roof"."""
    thing, _, parts = text.replace(", ", " with ").partition(" with ")
    return set(words(thing)), set(words(parts))


def _pieces(text: str) -> Iterator[tuple[str, list[str]]]:
    """(link, words after it): "" for the beginning, "," or one of the linking words."""
    for number, clause in enumerate(re.split(r"[,;:.!?()]", text[:MAX_TEXT])):
        link, said = "," if number else "", []
        for word in words(clause):
            if word not in _PARTS and word not in _ASIDE:
                said.append(word)
                continue
            if said or not number:
                yield link, said
            link, said = word, []
        if said or not number:
            yield link, said


def _parts(said: list[str]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """(colours, words) of each part: "red roof and white door", "red and white roof"."""
    shades: list[str] = []
    part: list[str] = []
    for word in [*said, "and"]:
        if word in COLOURS:
            shades.append(word)
        elif word not in _UNSAID:
            part.append(word)
        elif word == "and" and part:
            yield tuple(shades), tuple(part)
            shades, part = [], []
    if shades:
        yield tuple(shades), ()


def _judge(wish: Wish, drawn: Design) -> tuple[float, tuple[str, ...]]:
    """How well a design says what is asked, and the words that it does not meet.

    A colour that is another than asked for counts against it, one that is not told does not.
    """
    details = [(set(words(part)), paint.name) for part, paint in drawn.details]
    shown = {name for _, name in details}
    score, unmet = 0.0, set[str]()
    if drawn.noun not in wish.kind.nouns:
        score -= 16
        unmet.update(wish.name)
    if wish.colours:
        score += 8 if drawn.paint.name == wish.colours[0] else 6 if drawn.paint.name in wish.colours else -8
        score += 2 * len(shown.intersection(wish.colours) - {drawn.paint.name})
        unmet.update(set(wish.colours) - shown - {drawn.paint.name})
    if wish.colours and drawn.paint.name not in wish.colours:
        unmet.update(wish.colours)
    for shades, part in wish.parts:
        paints = {name for known, name in details if known.intersection(part)}
        right = bool(paints) if not shades else set(shades) <= paints or (len(shades) > 1 and paints & set(shades))
        score += 4 if right else -1 if paints else 0
        if not right:
            unmet.update(shades)
        if not paints:
            unmet.update(part)
    adjectives = set(words(" ".join(drawn.adjectives)))
    score += len(adjectives.intersection(wish.others))
    unmet.update(word for word in wish.others if word not in adjectives)
    return score, tuple(word for word in wish.asked if word in unmet)


def _caption(drawn: Design) -> str:
    thing = " ".join([*drawn.adjectives, drawn.paint.name, drawn.noun])
    parts = list(dict.fromkeys(f"{paint.name} {part}" for part, paint in drawn.details))
    return f"{thing} with {' and '.join(parts)}" if parts else thing
