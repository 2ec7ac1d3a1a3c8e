"""What the things of the procedural generator are called: names in normal form -> families and their nouns."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from gaussmith.priors.embedded.vocabulary import words
from gaussmith.synth.procedural.families import FAMILIES

LONGEST = 3  # words of a name

# What else than its own name a family's things are called; of the others the family's name is what a thing is.
_NOUNS = {
    "arrow": "arrow, spear",
    "bag": "sack, backpack",
    "balloon": "hot air balloon",
    "banana": "banana, bananas",
    "berry": "grapes, strawberry, cherries",
    "bird": "bird, duck, penguin, owl, chicken, parrot",
    "boat": "boat, rowing boat",
    "bread": "bread, baguette",
    "cabinet": "cabinet, dresser",
    "candle": "candle, candelabrum",
    "car": "car, police car, racing car",
    "carrot": "carrot, turnip, radish, beet",
    "chess_piece": "chess pawn, chess rook, chess bishop, chess king",
    "citrus": "orange, lemon, lime, peach, plum",
    "clock": "clock, alarm clock, grandfather clock",
    "drumstick": "chicken leg",
    "fish": "fish, shark",
    "flag": "flag, banner",
    "gem": "diamond, ring, coin, coins, star, heart",
    "gun": "pistol, rifle",
    "hat": "hat, witch hat, top hat, cap",
    "icecream": "ice cream",
    "insect": "bee, butterfly, ladybug, spider, ant",
    "log_pile": "log, logs",
    "melon": "watermelon, watermelon slice",
    "palm": "palm tree",
    "person": "man, woman",
    "pine": "pine tree",
    "pot": "potted plant, potted flower",
    "quadruped": "dog, cat, horse, cow, pig, sheep, elephant, giraffe, rabbit, bear, lion, fox, deer, mouse, zebra",
    "rock": "rock, rocks",
    "sailboat": "sailing boat",
    "skyscraper": "building",
    "slime": "slime, monster, alien",
    "sofa": "sofa, armchair",
    "sword": "sword, dagger",
    "television": "television, computer",
    "toy_ball": "ball, beach ball, football, basketball",
    "truck": "truck, dump truck, tank truck, fire truck",
    "ufo": "flying saucer",
    "wand": "magic wand, magic staff",
}
# Names that neither the generator nor the vocabulary's synonyms know, for names that they do.
_ALIASES = {
    "animal": "quadruped", "book case": "bookshelf", "bookcase": "bookshelf", "bookshelves": "bookshelf",
    "box": "crate", "bug": "insect", "cacti": "cactus", "castle tower": "tower", "chess": "chess piece",
    "christmas tree": "pine", "closet": "cabinet", "cottage": "house", "cup": "mug", "cupboard": "cabinet",
    "fir": "pine", "fortress": "castle", "garbage truck": "dump truck", "gemstone": "gem", "hut": "house",
    "jewel": "gem", "knife": "dagger", "lamp post": "street lamp", "lamppost": "street lamp", "monitor": "computer",
    "parcel": "gift", "present": "gift", "race car": "racing car", "rucksack": "backpack", "sail boat": "sailboat",
    "ship": "boat", "spruce": "pine", "staff": "magic staff", "street light": "street lamp", "toadstool": "mushroom",
    "villa": "house", "wardrobe": "cabinet",
}  # fmt: skip


class Kind(NamedTuple):
    """A family, and those of its nouns that a name stands for."""

    family: str
    nouns: frozenset[str]


def named(said: list[str]) -> tuple[Kind, int, int] | None:
    """The kind of the longest name that ends last, and where it stands."""
    for end in range(len(said), 0, -1):
        for begin in range(max(0, end - LONGEST), end):
            kind = kinds().get(tuple(said[begin:end]))
            if kind is not None:
                return kind, begin, end
    return None


@cache
def kinds() -> dict[tuple[str, ...], Kind]:
    """Names in normal form -> what they stand for."""
    found: dict[tuple[str, ...], Kind] = {}
    for family in FAMILIES:
        for noun in nouns(family):
            name = tuple(words(noun))
            same = found[name].nouns if name in found else frozenset[str]()
            found[name] = Kind(family, same | {noun})
    for family in FAMILIES:
        name = tuple(words(family.replace("_", " ")))
        alike = frozenset(noun for noun in nouns(family) if set(name) <= set(words(noun)))
        found.setdefault(name, Kind(family, alike or frozenset(nouns(family))))
    for alias, meant in _ALIASES.items():
        found.setdefault(tuple(words(alias)), found[tuple(words(meant))])
    return found


def nouns(family: str) -> list[str]:
    """What a family's things are called."""
    return _NOUNS.get(family, family.replace("_", " ")).split(", ")
