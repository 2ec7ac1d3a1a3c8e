"""The coloured 3D objects that the embedded prior learns from, and the split that keeps the examples unseen."""

from __future__ import annotations

import hashlib
import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gaussmith.events import UserError
from gaussmith.mesh import Mesh

POSITION_SCALE = 0.75 / 32767  # world units of one step of the stored int16 positions
VALIDATION_SHARE = 0.07
MAX_BYTES = 1 << 30  # an archive that unpacks to more is refused; the shipped set takes 83 MB

# Words that tell variants of one object apart: colour, season, state. What is left of a name is its stem.
_VARIANT_WORDS = frozenset(
    [
        *("red", "green", "blue", "yellow", "orange", "purple", "pink", "white", "black", "brown", "grey", "gray"),
        *("gold", "golden", "silver", "dark", "light", "snow", "autumn", "dead", "moss", "cracked", "broken"),
        *("open", "closed", "opened", "full", "empty", "lit", "decorated", "damaged"),
    ]
)


@dataclass(frozen=True)
class Example:
    """The object that an example picture shows, and the azimuth in degrees from which it was pictured."""

    pack: str
    name: str
    azimuth: float


# Found by rendering: each of these gives its picture back at 61 dB or more.
EXAMPLES = {
    "chest.png": Example("kaykit-dungeon-remastered-1.0", "chest-gold", 330),
    "house.png": Example("kaykit-medieval-hexagon-pack-1.0", "building-home-b-blue", 325),
    "armchair.png": Example("kaykit-furniture-bits-1.0", "armchair-pillows", 330),
    "taxi.png": Example("kaykit-city-builder-bits-1.0", "car-taxi", 320),
    "clownfish.png": Example("quaternius-cute-fish-pack", "clownfish", 300),
    "frog.png": Example("quaternius-easy-enemies-pack", "frog", 335),
    "knight.png": Example("kaykit-character-pack-adventures-1.0", "knight", 0),
    "burger.png": Example("kaykit-restaurant-bits-1.0", "food-burger", 0),
    "mug.png": Example("kaykit-character-pack-adventures-1.0", "mug-full", 330),
    "mech.png": Example("quaternius-mech-pack", "george", 340),
    "spellbook.png": Example("kaykit-character-pack-adventures-1.0", "spellbook-closed", 330),
    "sailship.png": Example("quaternius-ships-pack", "sail-ship", 315),
}

# No object whose name contains one of these, in whatever pack, is ever trained or validated on.
HELD_OUT = (
    "chest-gold", "building-home-b", "armchair", "car-taxi", "clownfish", "frog",
    "knight", "food-burger", "mug-full", "george", "spellbook", "sail-ship",
)  # fmt: skip


@dataclass(frozen=True)
class ObjectSet:
    """Coloured meshes, concatenated; each is centred, +Y up, bounding-box diagonal 1.2.

    Attributes:
        positions: int16 [V,3] in steps of POSITION_SCALE.
        colors: uint8 [V,4] sRGB and alpha.
        faces: int32 [F,3] vertex indices local to the object.
        vertex_offsets, face_offsets: int64 [N+1]; object i owns rows offsets[i]:offsets[i+1].
        names, packs: [N] strings: caption-like name, and the pack the object comes from.
    """

    positions: np.ndarray
    colors: np.ndarray
    faces: np.ndarray
    vertex_offsets: np.ndarray
    face_offsets: np.ndarray
    names: np.ndarray
    packs: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def mesh(self, index: int) -> Mesh:
        """Object `index` with vertex colours; the stored alpha is dropped (every object is drawn opaque)."""
        rows = slice(*self.vertex_offsets[index : index + 2])
        return Mesh(
            vertices=torch.from_numpy(self.positions[rows].astype(np.float32) * np.float32(POSITION_SCALE)),
            faces=torch.from_numpy(self.faces[slice(*self.face_offsets[index : index + 2])].astype(np.int64)),
            vertex_colors=torch.from_numpy(self.colors[rows, :3].astype(np.float32) / np.float32(255)),
        )

    def find(self, pack: str, name: str) -> int:
        """Index of the object of that name in that pack; ValueError if there is not exactly one."""
        (hits,) = np.nonzero((self.packs == pack) & (self.names == name))
        if len(hits) != 1:
            raise ValueError(f"{len(hits)} objects are called {name!r} in pack {pack!r}, expected one")
        return int(hits[0])


def load_objects(path: Path) -> ObjectSet:
    """Read an objects .npz (arrays as in `ObjectSet`) and check that its offsets and indices agree.

    Raises:
        UserError: the file is missing, is not such an archive, or contradicts itself.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_BYTES >> 20} MB")
        with np.load(path, allow_pickle=False) as archive:
            objects = ObjectSet(**{key: archive[key] for key in ObjectSet.__dataclass_fields__})
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read 3D objects from {path}: {error}; give the path of an objects.npz file") from error
    problem = _contradiction(objects)
    if problem:
        raise UserError(f"{path} is not a valid set of 3D objects: {problem}; fetch the file again")
    return objects


def _contradiction(objects: ObjectSet) -> str | None:
    count = len(objects.names)
    for offsets, rows in ((objects.vertex_offsets, objects.positions), (objects.face_offsets, objects.faces)):
        if (
            offsets.shape != (count + 1,)
            or offsets[0] != 0
            or offsets[-1] != len(rows)
            or (np.diff(offsets) <= 0).any()
        ):
            return "its offsets do not partition its rows"
    if objects.positions.shape[1:] != (3,) or objects.faces.shape[1:] != (3,) or objects.packs.shape != (count,):
        return "an array has the wrong shape"
    if objects.colors.shape != (len(objects.positions), 4):
        return "there is not one colour a vertex"
    largest = np.maximum.reduceat(objects.faces.max(axis=1), objects.face_offsets[:-1])
    if objects.faces.min() < 0 or (largest >= np.diff(objects.vertex_offsets)).any():
        return "a face refers to a vertex that does not exist"
    return None


def stem(name: str) -> str:
    """A name without the words and numbers that tell its variants apart: "birchtree-snow-3" -> "birchtree"."""
    words = [re.sub(r"\d+$", "", word) for word in name.split("-")]
    kept = [word for word in words if word and word not in _VARIANT_WORDS]
    return "-".join(kept) or name


def held_out(objects: ObjectSet) -> np.ndarray:
    """Mask [N] of the objects kept out of every split: HELD_OUT by name, and their variants in the same pack."""
    direct = np.array([any(part in name for part in HELD_OUT) for name in objects.names.tolist()], dtype=bool)
    keys = _keys(objects)
    siblings = {key for key, hit in zip(keys, direct.tolist()) if hit}
    return np.array([key in siblings for key in keys], dtype=bool)


def split(objects: ObjectSet) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices (train, validation), without the held-out objects; variants of one stem never part.

    The side is a hash of pack and stem: it depends neither on the order of the objects nor on which others there are.
    """
    digests = [hashlib.sha256("/".join(key).encode()).digest() for key in _keys(objects)]
    share = np.array([int.from_bytes(digest[:8], "big") / 2**64 for digest in digests])
    usable = ~held_out(objects)
    return np.nonzero(usable & (share >= VALIDATION_SHARE))[0], np.nonzero(usable & (share < VALIDATION_SHARE))[0]


def example_objects(objects: ObjectSet) -> dict[str, int]:
    """Object index of each example picture's file name."""
    return {picture: objects.find(example.pack, example.name) for picture, example in EXAMPLES.items()}


def example_mesh(objects: ObjectSet, picture: str) -> Mesh:
    """The object of an example picture, turned so that the reference camera (azimuth 0) sees what the picture shows.

    Raises:
        UserError: `picture` is not the file name of an example.
    """
    if picture not in EXAMPLES:
        raise UserError(f"{picture!r} is not an example; choose one of {', '.join(EXAMPLES)}")
    example = EXAMPLES[picture]
    mesh = objects.mesh(objects.find(example.pack, example.name))
    return turned(mesh, -example.azimuth)


def turned(mesh: Mesh, azimuth: float) -> Mesh:
    """The mesh turned about +Y by `azimuth` degrees: what stood at azimuth 0 then stands at `azimuth`."""
    angle = math.radians(azimuth)
    x, y, z = mesh.vertices.double().unbind(dim=1)
    around = [math.cos(angle) * x + math.sin(angle) * z, y, math.cos(angle) * z - math.sin(angle) * x]
    return mesh.with_(vertices=torch.stack(around, dim=1).float())


def _keys(objects: ObjectSet) -> list[tuple[str, str]]:
    return [(pack, stem(name)) for pack, name in zip(objects.packs.tolist(), objects.names.tolist())]
