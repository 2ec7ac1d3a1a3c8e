"""Objects without end: (seed, index) -> coloured mesh and caption."""

from __future__ import annotations

import numpy as np

from gaussmith.mesh import Mesh
from gaussmith.synth.objects import ObjectSet
from gaussmith.synth.procedural.augment import combine
from gaussmith.synth.procedural.compose import abstract
from gaussmith.synth.procedural.design import phrase
from gaussmith.synth.procedural.families import FAMILIES
from gaussmith.synth.procedural.finish import Arrays, bake_light, from_mesh, gradient, to_mesh, vary, weld
from gaussmith.synth.procedural.shapes import Solid, join

# One object in five is a composition: they teach shape and texture that no family has, but their captions say little.
ABSTRACT_SHARE = 0.2
# And one in sixteen is two things, one on or beside the other: words then say which has which colour.
PAIR_SHARE = 0.06
MAX_FACES = 6000
# Families of many kinds, and those that people ask for most, come up more often than the rest (once).
LOTS = {
    "quadruped": 5,
    "person": 4,
    "house": 4,
    "car": 3,
    "bird": 3,
    "insect": 3,
    "tree": 3,
    "robot": 2,
    "tower": 2,
    "chair": 2,
    "table": 2,
    "sofa": 2,
    "bed": 2,
    "truck": 2,
    "boat": 2,
    "sailboat": 2,
    "plane": 2,
    "skyscraper": 2,
    "sword": 2,
    "shield": 2,
    "chest": 2,
    "barrel": 2,
    "crate": 2,
    "fish": 2,
    "slime": 2,
    "gem": 2,
    "citrus": 2,
}


def generate(seed: int, index: int) -> tuple[Mesh, str]:
    """Object `index` of the world `seed`, and a caption: a function of these two numbers alone.

    The mesh is centred, +Y up, front +Z, bounding-box diagonal 1.2, closed parts wound outwards, at most MAX_FACES
    faces; colours are per vertex, sRGB.
    """
    arrays, caption, _ = _build(seed, index)
    return to_mesh(arrays), caption


def generate_objects(seed: int, count: int, first: int = 0) -> ObjectSet:
    """Objects `first` .. `first + count - 1` of the world `seed`, stored as the real ones are.

    `names` are the captions; `packs` are "procedural-<family>".

    Raises:
        ValueError: `count` is not positive.
    """
    if count < 1:
        raise ValueError(f"count must be positive, got {count}")
    built = [_build(seed, index) for index in range(first, first + count)]
    arrays = [b[0] for b in built]
    return ObjectSet(
        positions=np.concatenate([a.positions for a in arrays]),
        colors=np.concatenate([a.colors for a in arrays]),
        faces=np.concatenate([a.faces for a in arrays]),
        vertex_offsets=np.cumsum([0, *(len(a.positions) for a in arrays)], dtype=np.int64),
        face_offsets=np.cumsum([0, *(len(a.faces) for a in arrays)], dtype=np.int64),
        names=np.array([b[1] for b in built]),
        packs=np.array([f"procedural-{b[2]}" for b in built]),
    )


def make(family: str, rng: np.random.Generator) -> tuple[Solid, str]:
    """One object of a named family ("abstract" for a composition) before it is quantised, and its caption."""
    design = abstract(rng) if family == "abstract" else FAMILIES[family](rng)
    return _shade(join(design.parts), rng), phrase(design, rng)


def _build(seed: int, index: int) -> tuple[Arrays, str, str]:
    rng = np.random.default_rng([seed, index])
    names = [name for name in FAMILIES for _ in range(LOTS.get(name, 1))]
    share = rng.random()
    first, second = (names[int(i)] for i in rng.integers(len(names), size=2))
    if share < PAIR_SHARE:
        return *_pair(first, second, rng), "pair"
    family = "abstract" if share < PAIR_SHARE + ABSTRACT_SHARE else first
    solid, caption = make(family, rng)
    return weld(solid), caption, family


def _pair(first: str, second: str, rng: np.random.Generator) -> tuple[Arrays, str]:
    (lower, below), (upper, above) = (make(family, rng) for family in (first, second))
    mesh, relation = combine(to_mesh(weld(lower)), to_mesh(weld(upper)), rng)
    return weld(from_mesh(mesh)), f"{above} on {below}" if relation == "on" else f"{below} beside {above}"


def _shade(solid: Solid, rng: np.random.Generator) -> Solid:
    """Some plain, some fading to the ground, some lit softly, so that none is taken for the only truth."""
    kind = rng.random()
    if kind < 0.3:
        return vary(solid, rng.uniform(0.0, 0.08))
    if kind < 0.6:
        return vary(gradient(solid, rng.uniform(0.1, 0.45)), 0.06)
    return bake_light(solid, rng, rng.uniform(0.25, 0.6))
