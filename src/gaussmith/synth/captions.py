"""Captions of the real objects, made of their names, packs and colours."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import torch

from gaussmith.mesh import Mesh
from gaussmith.priors.embedded.vocabulary import normal_form
from gaussmith.synth.objects import ObjectSet
from gaussmith.synth.palette import NAMES, colour_name, name_indices

__all__ = ["caption", "colour_name", "describe", "dominant_colours", "without_colours"]

SECOND_SHARE = 0.2  # of the surface that a second colour must cover to be told

NAMED_SHARE = 0.04  # of the surface that a colour in the name must cover: a recoloured "flag-blue" may be red

_MATERIALS = {"gold": ("yellow", "orange", "tan", "brown"), "silver": ("grey", "white")}  # as they look unlit

# Words of the stored names that tell a modeller something, and nobody else.
_NOISE = frozenset(
    [
        *("mat", "transformed", "lvl", "level", "leve", "withoutbase", "color", "norope", "firstage", "secondage"),
        *("swap", "ingredient", "props", "pivot", "bottompivot", "pattern", "patterna", "patternb", "patternc"),
        *("sidea", "sideb", "handed", "default", "modular", "resource", "badge", "normal", "alternative"),
    ]
)
# A name of these alone says nothing of what the thing is.
_VAGUE = frozenset(
    [
        *("big", "small", "medium", "tall", "low", "high", "long", "short", "thin", "wide", "half", "quarter", "round"),
        *("base", "basic", "part", "single", "double", "triple", "open", "closed", "full", "empty", "corner", "mid"),
        *("middle", "top", "bottom", "side", "front", "back", "straight", "level", "structure", "detail", "item"),
        *("support", "module", "piece", "stand", "center", "inner", "outer", "left", "right", "character", "casual"),
        *("box", "cylinder", "plate", "output", "frame", "square", "story", *NAMES),
    ]
)
# What every object of a pack is, when its own name is a proper name; the exceptions stand beside.
_PACK_NOUNS: dict[str, tuple[str, frozenset[str]]] = {
    "quaternius-mech-pack": ("mech robot", frozenset()),
    "quaternius-spaceships-pack": ("spaceship", frozenset()),
    "quaternius-modular-men": ("man", frozenset()),
    "quaternius-modular-women": ("woman", frozenset()),
    "quaternius-modular-sci-fi-guns-pack": ("gun", frozenset(["grenade", "crossbow"])),
    "quaternius-cute-fish-pack": ("fish", frozenset(["dock", "boat", "fishingrod", "lure", "worm", "shark"])),
    "quaternius-buildings-pack-3": ("building", frozenset()),
}
# For vague names: the first of these that the pack's name contains.
_PACK_HINTS = {
    "furniture": "furniture", "interior": "furniture", "restaurant": "kitchen", "dungeon": "dungeon",
    "medieval": "medieval", "castle": "castle", "space": "space", "sci-fi": "space", "cyberpunk": "cyberpunk",
    "street": "street", "city": "city", "vehicle": "vehicle", "nature": "plant", "crops": "plant", "weapon": "weapon",
    "character": "person", "building": "building", "platform": "game", "ship": "ship", "fish": "fish",
}  # fmt: skip
# Names put them behind ("chair-a-wood"); a caption has them before the noun.
_ADJECTIVES = frozenset(
    [
        *("big", "small", "medium", "tall", "low", "high", "long", "short", "thin", "wide", "half", "quarter", "round"),
        *(
            "single",
            "double",
            "triple",
            "open",
            "closed",
            "full",
            "empty",
            "filled",
            "broken",
            "wooden",
            "dead",
            "oval",
        ),
        *("decorated", "damaged", "striped", "autumn", "burning", "dirty", "chopped", "cooked", "uncooked", "stacked"),
        *("narrow", "square", "melted", "curved", "floating", "flying", "standing", "sitting", "angry", "modern"),
    ]
)
_COMPOUND_ENDS = ("tree", "fish", "shark", "roof", "panel", "truck", "light", "frame", "module", "berries", "panels")


def dominant_colours(mesh: Mesh) -> list[str]:
    """The one or two basic colour names that cover most of a vertex-coloured mesh, by face area.

    Raises:
        ValueError: the mesh has no vertex colours.
    """
    cover = _cover(mesh)
    first, second = np.argsort(-cover, kind="stable")[:2].tolist()
    return [NAMES[first], NAMES[second]] if cover[second] >= SECOND_SHARE else [NAMES[first]]


def _cover(mesh: Mesh) -> np.ndarray:
    """The share of the surface [len(NAMES)] that each basic colour covers."""
    if mesh.vertex_colors is None:
        raise ValueError("the mesh has no vertex colours")
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    area = torch.linalg.cross(b - a, c - a).norm(dim=-1).double().numpy()
    # Colours are named once each, in steps of 1/64: an object has thousands of faces and few colours.
    steps = (mesh.vertex_colors[mesh.faces].mean(dim=1).clamp(0, 1) * 63).round().long().numpy()
    kinds, kind = np.unique((steps << np.array([12, 6, 0])).sum(axis=1), return_inverse=True)
    colors = np.stack([kinds >> 12, kinds >> 6 & 63, kinds & 63], axis=1) / 63
    cover = np.bincount(name_indices(colors)[kind.reshape(-1)], weights=area, minlength=len(NAMES))
    return cover / max(float(cover.sum()), 1e-12)


def caption(name: str, pack: str, mesh: Mesh) -> str:
    """A caption of a real object from its stored name, its pack and its colours: "a red and white food burger".

    A colour that the name itself tells, and the surface bears out, comes first; variant letters, numbers and
    modellers' words are dropped; where nothing else is left, the pack says what kind of thing it is.
    """
    parts = [piece for part in re.split(r"[^a-z]+", name.lower()) for piece in _split_compound(part)]
    told = list(dict.fromkeys(_kept(parts)))
    named = [word for word in told if word in NAMES or word in _MATERIALS]
    told = [word for word in told if word not in named]
    cover = dict(zip(NAMES, _cover(mesh).tolist()))
    colors = [word for word in named if sum(cover[name] for name in _MATERIALS.get(word, (word,))) >= NAMED_SHARE]
    colors = list(dict.fromkeys([*colors, *dominant_colours(mesh)]))[:2]
    noun, exceptions = _PACK_NOUNS.get(pack, ("", frozenset()))
    if noun and noun not in told and not exceptions.intersection(told):
        told.append(noun)
    told.sort(key=lambda word: word not in _ADJECTIVES)
    if all(word in _VAGUE for word in told):
        told.append(next((hint for key, hint in _PACK_HINTS.items() if key in pack), "object"))
    text = " ".join([" and ".join(colors), *told])
    return ("an " if text[0] in "aeiou" else "a ") + text


def _kept(parts: Iterable[str]) -> Iterable[str]:
    for part in parts:
        word = normal_form(part)
        if len(word) > 1 and word not in _NOISE and part not in _NOISE:
            yield word


def _split_compound(word: str) -> list[str]:
    """ "birchtree" -> "birch", "tree"; only where the last part is one of a few that the names really end in."""
    for end in _COMPOUND_ENDS:
        if word.endswith(end) and len(word) > len(end) + 2:
            return [word[: -len(end)], end]
    return [word]


def describe(objects: ObjectSet, index: int, mesh: Mesh) -> str:
    """The caption of an object: a procedural one is stored under its own, a real one's is made of what is known."""
    name, pack = str(objects.names[index]), str(objects.packs[index])
    return name if pack.startswith("procedural-") else caption(name, pack, mesh)


def without_colours(text: str) -> str:
    """A caption without its colour names: for a picture whose colours were changed."""
    return " ".join(word for word in text.split() if word.strip(",") not in NAMES)
