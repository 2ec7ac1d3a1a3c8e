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
_MAX_TEXT = 2000  # characters; longer texts are cut before anything is done with them

# Words that carry nothing in "a blue house with a red roof"; their order does.
_FILLERS = frozenset(["a", "an", "the", "of", "some", "its", "is", "it", "that", "has", "made", "very"])
_SAME = {
    "gray": "grey", "golden": "gold", "wooden": "wood", "metallic": "metal", "automobile": "car", "airplane": "plane",
    "aeroplane": "plane", "aircraft": "plane", "ship": "boat", "cup": "mug", "couch": "sofa", "home": "house",
    "building": "house", "woman": "person", "man": "person", "human": "person", "kitty": "cat", "puppy": "dog",
    "stone": "rock", "boulder": "rock", "treasure": "chest", "teacup": "mug", "lorry": "truck", "violet": "purple",
}  # fmt: skip


def words(text: str) -> list[str]:
    """The words of a text: lower-case ASCII letters, singular, common synonyms made one, fillers left out."""
    plain = unicodedata.normalize("NFKD", text[:_MAX_TEXT]).encode("ascii", "ignore").decode()
    found = [_singular(word) for word in re.findall(r"[a-z]+", plain.lower()) if len(word) > 1]
    return [_SAME.get(word, word) for word in found if word not in _FILLERS]


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith(("shes", "ches", "xes", "sses")):
        return word[:-2]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


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
        return torch.tensor([row + [0] * (CAPTION_WORDS - len(row)) for row in rows]).reshape(-1, CAPTION_WORDS)

    def unknown(self, caption: str) -> list[str]:
        """The words of a caption that are not known, in order, each once."""
        known = set(self.words)
        return list(dict.fromkeys(word for word in words(caption) if word not in known))


def collect(captions: Iterable[str], least: int = 2) -> Vocabulary:
    """The words that at least `least` captions contain, in alphabetical order."""
    count = Counter(word for caption in captions for word in set(words(caption)))
    return Vocabulary(tuple(sorted(word for word, n in count.items() if n >= least)))
