"""Words for objects: captions of the real ones, and the normal form in which the prior reads any text.

`words` is the one tokeniser: training captions and users' prompts both pass through it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

import numpy as np
import torch

from gaussmith.mesh import Mesh
from gaussmith.synth.objects import ObjectSet
from gaussmith.synth.palette import NAMES, colour_name, name_indices

__all__ = ["caption", "colour_name", "describe", "dominant_colours", "vocabulary", "without_colours", "words"]

MAX_TEXT = 2000  # characters of a text that are read; no caption comes near
SECOND_SHARE = 0.2  # of the surface that a second colour must cover to be told

NAMED_SHARE = 0.04  # of the surface that a colour in the name must cover: a recoloured "flag-blue" may be red

_MATERIALS = {"gold": ("yellow", "orange", "tan", "brown"), "silver": ("grey", "white")}  # as they look unlit
_ARTICLES = frozenset(["a", "an", "the"])
_IRREGULAR = {
    "leaves": "leaf",
    "knives": "knife",
    "shelves": "shelf",
    "loaves": "loaf",
    "wolves": "wolf",
    "halves": "half",
    "axes": "axe",
    "shoes": "shoe",
    "canoes": "canoe",
    "buses": "bus",
    "cookies": "cookie",
    "zombies": "zombie",
    "lens": "lens",
    "stairs": "stairs",
    "men": "man",
    "women": "woman",
    "people": "person",
    "mice": "mouse",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "children": "child",
    "series": "series",
}
_SYNONYMS = {
    "automobile": "car",
    "auto": "car",
    "sedan": "car",
    "lorry": "truck",
    "airplane": "plane",
    "aeroplane": "plane",
    "aircraft": "plane",
    "locomotive": "train",
    "spacecraft": "spaceship",
    "bike": "bicycle",
    "couch": "sofa",
    "settee": "sofa",
    "home": "house",
    "tv": "television",
    "fridge": "refrigerator",
    "lit": "burning",
    "human": "person",
    "male": "man",
    "guy": "man",
    "female": "woman",
    "girl": "woman",
    "boy": "man",
    "puppy": "dog",
    "kitten": "cat",
    "kitty": "cat",
    "pony": "horse",
    "bunny": "rabbit",
    "doughnut": "donut",
    "hamburger": "burger",
    "blade": "sword",
    "trunk": "trunk",
    "stone": "stone",
    "boulder": "rock",
    "shrub": "bush",
    "gray": "grey",
    "golden": "gold",
    "crimson": "red",
    "scarlet": "red",
    "maroon": "red",
    "navy": "blue",
    "azure": "blue",
    "violet": "purple",
    "magenta": "pink",
    "turquoise": "teal",
    "cyan": "teal",
    "aqua": "teal",
    "beige": "tan",
    "cream": "white",
    "olive": "green",
    "lime": "lime",
    "wood": "wooden",
    "timber": "wooden",
    "colour": "color",
    "tiny": "small",
    "little": "small",
    "huge": "big",
    "large": "big",
    "metallic": "metal",
}

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


def words(text: str) -> list[str]:
    """The words of a text in normal form: lower-case ASCII letters, singular, synonyms merged, no articles.

    Accents are dropped, everything that is not a letter separates. Never fails; normal words stay as they are.
    """
    plain = unicodedata.normalize("NFKD", text[:MAX_TEXT]).encode("ascii", "ignore").decode().lower()
    found = (_normal(word) for word in re.findall(r"[a-z]+", plain))
    return [word for word in found if word not in _ARTICLES]


def vocabulary(captions: Iterable[str], min_count: int = 2) -> list[str]:
    """The words that occur at least `min_count` times in the captions, sorted."""
    counts = Counter(word for text in captions for word in words(text))
    return sorted(word for word, count in counts.items() if count >= min_count)


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
        word = _normal(part)
        if len(word) > 1 and word not in _NOISE and part not in _NOISE:
            yield word


def _split_compound(word: str) -> list[str]:
    """ "birchtree" -> "birch", "tree"; only where the last part is one of a few that the names really end in."""
    for end in _COMPOUND_ENDS:
        if word.endswith(end) and len(word) > len(end) + 2:
            return [word[: -len(end)], end]
    return [word]


def _normal(word: str) -> str:
    word = _SYNONYMS.get(word, word)
    singular = _singular(word)
    return _SYNONYMS.get(singular, singular)


def _singular(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 3 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y" if len(word) > 4 else word[:-1]
    if word.endswith(("sses", "xes", "ches", "shes", "zzes", "oes")):
        return word[:-2]
    return word[:-1]


def describe(objects: ObjectSet, index: int, mesh: Mesh) -> str:
    """The caption of an object: a procedural one is stored under its own, a real one's is made of what is known."""
    name, pack = str(objects.names[index]), str(objects.packs[index])
    return name if pack.startswith("procedural-") else caption(name, pack, mesh)


def without_colours(text: str) -> str:
    """A caption without its colour names: for a picture whose colours were changed."""
    return " ".join(word for word in text.split() if word.strip(",") not in NAMES)
