"""The objects that the benchmarks measure on, and the picture and elevation that the work begins from.

An object is turned so that its picture is what the reference camera (azimuth 0) sees: the asset made from the picture
stands as the true object does.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.camera import DEFAULT_FOVY, DEFAULT_RADIUS, orbit
from gaussmith.io.image import to_uint8
from gaussmith.mesh import Mesh
from gaussmith.picture import PICTURE_SIZE, Prepared, outline, premultiplied, prepare
from gaussmith.priors.embedded.prior import load_placement
from gaussmith.synth.objects import EXAMPLES, ObjectSet, example_mesh, split, stem, turned
from gaussmith.train.subject import KnownView, stand
from oracle import rgba

PICTURES = Path(__file__).parent.parent / "examples"
# Validation objects are pictured as people picture things: from about the front, a little from above.
AZIMUTHS, ELEVATIONS = (-45.0, 45.0), (0.0, 30.0)


@dataclass(frozen=True)
class Case:
    """A true object, its picture taken as framed, and the elevation in degrees of the camera that took it."""

    name: str
    mesh: Mesh
    prepared: Prepared
    elevation: float

    def premultiplied(self) -> Tensor:
        """[S,S,4] the picture, premultiplied."""
        return premultiplied(self.prepared.rgba)


def example_cases(objects: ObjectSet, only: Collection[str] = ()) -> Iterator[Case]:
    """The example pictures, by file name without suffix; all if `only` is empty."""
    rows = (line.split() for line in (PICTURES / "elevations.txt").read_text().splitlines() if line.strip())
    heights = {file: float(value) for file, value in rows}
    for file in EXAMPLES:
        if not only or Path(file).stem in only:
            prepared = prepare(PICTURES / file, keep_framing=True)
            yield Case(Path(file).stem, example_mesh(objects, file), prepared, heights[file])


def validation_cases(objects: ObjectSet, count: int) -> Iterator[Case]:
    """The first `count` validation objects of `validation_order`, each from a direction of its own."""
    for index in validation_order(objects)[:count].tolist():
        random = np.random.default_rng([0, index])
        mesh = turned(objects.mesh(index), -random.uniform(*AZIMUTHS))
        elevation = round(random.uniform(*ELEVATIONS), 1)
        yield Case(f"{objects.names[index]}-{index}", mesh, picture(mesh, elevation), elevation)


def validation_order(objects: ObjectSet) -> np.ndarray:
    """Indices of validation objects in a fixed shuffled order, one object for each stem of a pack."""
    _, validation = split(objects)
    seen: dict[tuple[str, str], int] = {}
    for index in np.random.default_rng(0).permutation(validation).tolist():
        seen.setdefault((str(objects.packs[index]), stem(str(objects.names[index]))), index)
    return np.array(list(seen.values()))


def picture(mesh: Mesh, elevation: float) -> Prepared:
    """The object as the reference camera sees it, through 8 bits a channel as a file would bring it."""
    seen = rgba(mesh, orbit(0.0, elevation, width=PICTURE_SIZE), supersample=3)[0]
    straight = torch.cat([seen[..., :3] / seen[..., 3:].clamp_min(1e-6), seen[..., 3:]], dim=-1)
    return prepare(to_uint8(straight), keep_framing=True)


FRAMINGS = ("given", "outline", "placed", "guessed")


def framed(case: Case, framing: str) -> KnownView:
    """What the work begins from: the picture and elevation as given; framed by its outline, elevation given; placed
    where the prior sees its middle, elevation given ("placed") or guessed too ("guessed"), as `gaussmith image` does by
    default."""
    if framing == "given":
        return KnownView(case.prepared, 0.0, case.elevation)
    if framing == "outline":
        moved = case.prepared.centred(*outline(case.prepared), case.prepared.rgba.shape[0])
        return KnownView(moved, 0.0, case.elevation)
    head = load_placement()
    assert head is not None
    moved, found = stand(case.prepared, head, case.elevation if framing == "placed" else None)
    return KnownView(moved, 0.0, found.elevation, found.spread)


def moved_back(made: Mesh, view: KnownView, case: Case) -> Mesh:
    """The asset that was made from `framed`, where the true object stands: so that the camera of the picture sees it as
    the picture shows it."""
    before, after = case.prepared, view.prepared
    side = before.rgba.shape[0]
    scale = after.scale / before.scale
    per_pixel = 2 * DEFAULT_RADIUS * math.tan(math.radians(DEFAULT_FOVY) / 2) / side
    shift = [new - scale * old - side / 2 * (1 - scale) for old, new in zip(before.shift, after.shift)]
    centre = torch.tensor([0.0, 0.0, DEFAULT_RADIUS])
    off = centre + torch.tensor([*(per_pixel * s for s in shift), 0.0])
    seen, true = (orbit(0.0, height).c2w[0] for height in (view.elevation, case.elevation))
    local = (made.vertices - seen[:3, 3]) @ seen[:3, :3]
    return made.with_(vertices=((local - off) / scale + centre) @ true[:3, :3].T + true[:3, 3])


def repeated(case: Case, truth: Tensor) -> Tensor:
    """The picture at every view of truth [B,S,S,4]: the answer that knows no third dimension."""
    picture = case.premultiplied().permute(2, 0, 1)[None]
    return F.interpolate(picture, size=truth.shape[1:3], mode="area").permute(0, 2, 3, 1).expand_as(truth)
