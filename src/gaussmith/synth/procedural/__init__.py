"""A procedural training world: parametric families, random compositions, and variations of real objects."""

from gaussmith.synth.procedural.families import FAMILIES
from gaussmith.synth.procedural.generate import generate, generate_objects, make

__all__ = ["FAMILIES", "generate", "generate_objects", "make"]
