"""A procedural training world: parametric families, random compositions, and variations of real objects."""

from gaussmith.synth.procedural.augment import (
    Variation,
    combine,
    light,
    mirror,
    recolour,
    stretch,
    turn,
    vary_object,
)
from gaussmith.synth.procedural.families import FAMILIES
from gaussmith.synth.procedural.generate import generate, generate_objects, make

__all__ = [
    "FAMILIES",
    "Variation",
    "combine",
    "generate",
    "generate_objects",
    "light",
    "make",
    "mirror",
    "recolour",
    "stretch",
    "turn",
    "vary_object",
]
