"""Every parametric family, by name. What is here can be generated; each is a function of a generator alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gaussmith.synth.procedural import buildings, creatures, food, furniture, items, nature, vehicles, vessels
from gaussmith.synth.procedural.design import Design

_MODULES = (furniture, vessels, nature, food, buildings, vehicles, creatures, items)
FAMILIES: dict[str, Callable[[np.random.Generator], Design]] = {
    name: make
    for module in _MODULES
    for name, make in vars(module).items()
    if callable(make) and getattr(make, "__module__", "") == module.__name__ and not name.startswith("_")
}
