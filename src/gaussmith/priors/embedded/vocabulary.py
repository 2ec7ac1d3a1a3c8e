"""The words that the embedded prior knows: captions in, word numbers out, unknown words named."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

CAPTION_WORDS = 12  # words of a caption that are read
MAX_TEXT = 2000  # characters; longer texts are cut before anything is done with them

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


def words(text: str) -> list[str]:
    """The words of a text in normal form: lower-case ASCII letters, singular, synonyms merged, no articles.

    The one tokeniser: training captions and users' prompts both pass through it. Accents are dropped, everything that
    is not a letter separates. Never fails; normal words stay as they are.
    """
    plain = unicodedata.normalize("NFKD", text[:MAX_TEXT]).encode("ascii", "ignore").decode().lower()
    found = (normal_form(word) for word in re.findall(r"[a-z]+", plain))
    return [word for word in found if word not in _ARTICLES]


def normal_form(word: str) -> str:
    """A lower-case word in the singular, synonyms merged."""
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


@dataclass(frozen=True)
class Vocabulary:
    """Known words; word i has number i + 1, and 0 stands for no word."""

    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.words)

    def numbers(self, captions: Iterable[str]) -> Tensor:
        """Known words of each caption as int64 [N, CAPTION_WORDS], padded by 0, cut after CAPTION_WORDS words."""
        number = {word: i + 1 for i, word in enumerate(self.words)}
        rows = [[number[word] for word in words(caption) if word in number][:CAPTION_WORDS] for caption in captions]
        return torch.tensor([row + [0] * (CAPTION_WORDS - len(row)) for row in rows], dtype=torch.int64).reshape(
            -1, CAPTION_WORDS
        )

    def unknown(self, caption: str) -> list[str]:
        """The words of a caption that are not known, in order, each once."""
        known = set(self.words)
        return list(dict.fromkeys(word for word in words(caption) if word not in known))


def collect(captions: Iterable[str], least: int = 2) -> Vocabulary:
    """The words that at least `least` captions contain, in alphabetical order."""
    count = Counter(word for caption in captions for word in set(words(caption)))
    return Vocabulary(tuple(sorted(word for word, n in count.items() if n >= least)))
