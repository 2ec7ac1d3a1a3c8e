"""COLMAP models: posed photos with their lenses, and the points of structure from motion.

Rigs and frames, which newer versions write beside the images, are not needed: the images keep their own poses.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gaussmith.capture import Capture, Lens, Photo, no_points
from gaussmith.events import OnEvent, UserError, Warned, ignore
from gaussmith.io.colmap_files import ImageRow, read_cameras, read_images, read_points
from gaussmith.io.photo_files import finite_points, inside, is_file, pose_fault, present, with_masks
from gaussmith.lens import fault
from gaussmith.rotation import quat_to_matrix

_PLACES = ("sparse/0", "sparse", "colmap/sparse/0", ".")  # the third is nerfstudio's
_PICTURE_FOLDERS = ("images", ".", "input")
_TRIED = 50  # photos that decide which folder holds the pictures


def is_colmap(folder: str | Path) -> bool:
    """Whether `load_colmap` would find a model there."""
    return find_model(Path(folder)) is not None


def find_model(folder: Path) -> tuple[Path, str] | None:
    """The folder of the model and the suffix of its files: sparse/0, sparse, colmap/sparse/0 or the folder itself."""
    for place in _PLACES:
        for suffix in (".bin", ".txt"):
            if all(is_file(folder / place / f"{name}{suffix}") for name in ("cameras", "images")):
                return folder / place, suffix
    return None


def load_colmap(
    folder: str | Path,
    images: str | Path | None = None,
    masks: str | Path | None = None,
    on_event: OnEvent = ignore,
) -> Capture:
    """The posed photos and points of a COLMAP model, binary or text, in the model's world.

    Args:
        folder: holds the model (see `find_model`) and usually the photos.
        images: folder of the photos; by default `images`, or whichever usual place holds most of them.
        masks: folder of the masks (see `photo_files.find_mask`); by default `masks` beside the photos, if there.
        on_event: told of photos, masks and points that are left out.

    Raises:
        UserError: no model there, damaged, a pose that is none, an unknown camera or model, no photo found.
    """
    folder = Path(folder)
    found = find_model(folder)
    if found is None:
        raise UserError(f"there is no COLMAP model in {folder}: cameras and images (.bin or .txt) are not both there")
    model, suffix = found
    if model.name == "0" and is_file(model.parent / "1" / f"images{suffix}"):
        on_event(Warned(f"the model in {model.parent} fell into several pieces, only {model} is read"))
    source = model / f"images{suffix}"
    lenses, rows = read_cameras(model / f"cameras{suffix}"), read_images(source)
    if not rows:
        raise UserError(f"cannot use {source}: it holds no images, so structure from motion placed no photo")
    where = _picture_folder(folder, model, rows, source) if images is None else Path(images)
    photos = present(_photos(rows, lenses, where, source), on_event)
    homes = (where.parent, where) if where.name in _PICTURE_FOLDERS else (where,)
    beside = next((home / "masks" for home in homes if (home / "masks").is_dir()), None)
    if masks is not None:
        photos = with_masks(photos, Path(masks), on_event)
    elif beside is not None:
        photos = with_masks(photos, beside, on_event, required=False)
    points, colors = _points(model / f"points3D{suffix}", on_event)
    return Capture(photos, points, colors, f"COLMAP model {model}")


def _photos(rows: list[ImageRow], lenses: dict[int, Lens], where: Path, source: Path) -> list[Photo]:
    """The rows with their poses turned round to camera-to-world; nothing is opened."""
    faults = {key: fault(lens) for key, lens in lenses.items()}
    c2w = _camera_to_world(rows)
    photos = []
    for row, pose in zip(rows, c2w):
        if row.camera not in lenses:
            raise UserError(f"cannot use {source}: image {row.name[:80]!r} has camera {row.camera}, which is not there")
        if faults[row.camera] is not None:
            raise UserError(f"cannot use {source}: camera {row.camera} {faults[row.camera]}")
        if (wrong := pose_fault(pose)) is not None:
            raise UserError(f"cannot use {source}: image {row.name[:80]!r} has a pose {wrong}; remove it or repair it")
        photos.append(Photo(row.name, inside(where, row.name, source), pose, lenses[row.camera]))
    return photos


def _camera_to_world(rows: list[ImageRow]) -> Tensor:
    """[M,4,4] float64; NaN where a quaternion has no direction."""
    quats = torch.tensor([row.quat for row in rows], dtype=torch.float64)
    length = quats.norm(dim=-1, keepdim=True)
    usable = (length > 1e-6) & (length < 1e6)
    rotation = quat_to_matrix(torch.where(usable, quats / length, torch.nan)).transpose(1, 2)
    translation = torch.tensor([row.translation for row in rows], dtype=torch.float64)
    c2w = torch.eye(4, dtype=torch.float64).repeat(len(rows), 1, 1)
    c2w[:, :3, :3] = rotation
    c2w[:, :3, 3] = -(rotation @ translation[:, :, None])[..., 0]
    return c2w


def _picture_folder(folder: Path, model: Path, rows: list[ImageRow], source: Path) -> Path:
    """Of the usual places the one that holds most of the first photos; the first place if none holds any."""
    root = model.absolute()
    while root.name in ("0", "sparse"):  # the model itself was named: its photos stand further up
        root = root.parent
    places = list(dict.fromkeys(base / name for base in (folder, root) for name in _PICTURE_FOLDERS))
    tried = rows[:_TRIED]
    return max(places, key=lambda place: sum(is_file(inside(place, row.name, source)) for row in tried))


def _points(path: Path, on_event: OnEvent) -> tuple[Tensor, Tensor]:
    """Points and colours; grey where colours were never extracted, none without the file."""
    if not is_file(path):
        return no_points()
    xyz, rgb = read_points(path)
    colors = None if rgb is None or not rgb.any() else rgb.astype(np.float32) / 255
    return finite_points(xyz, colors, path, on_event)
