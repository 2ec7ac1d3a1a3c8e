"""What the readers of captures share: finding the files that they name, and telling poses and points from damage."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gaussmith.capture import Photo
from gaussmith.events import OnEvent, UserError, Warned

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".PNG", ".JPG", ".JPEG")
MAX_NAME = 1024  # characters
FURTHEST = 1e12  # world units from the origin; beyond it lies damage, and sums of squares leave float32's range
GREY = 0.5  # of points without colour


def inside(folder: Path, name: str, source: str | Path) -> Path:
    """`folder` / `name`, where name may be written with either slash, or be absolute; the file need not exist.

    Raises:
        UserError: the name leads out of the folder, or is no file name. (Links inside the folder are followed.)
    """
    if len(name) > MAX_NAME or any(ord(c) < 32 or 0xD800 <= ord(c) < 0xE000 for c in name):
        raise UserError(f"cannot read {source}: it names a file {name[:40]!r}.., which is no usable name")
    top = Path(os.path.normpath(folder))
    path = Path(os.path.normpath(folder / name.replace("\\", "/")))
    if path == top or not path.is_relative_to(top):
        raise UserError(f"cannot read {source}: it names the file {name[:200]!r}, which does not lie inside {folder}")
    return path


def is_file(path: Path) -> bool:
    """Whether a regular file can be seen there; names that the system refuses are no files."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def find_picture(path: Path) -> Path | None:
    """The file itself, or, as the Blender sets leave the suffix out, the one with a suffix added."""
    candidates = (path, *(path.with_name(path.name + suffix) for suffix in SUFFIXES))
    return next((c for c in candidates if is_file(c)), None)


def find_mask(folder: Path, name: str) -> Path | None:
    """The mask of the photo called `name` in a folder of masks: a.jpg.png (as COLMAP has it), a.png or any picture a.*.

    Names with folders are looked for with them, then without.
    """
    whole = Path(name.replace("\\", "/"))
    for stem in dict.fromkeys((whole, Path(whole.name))):
        tries = (folder / f"{stem}.png", *(folder / stem.with_suffix(suffix) for suffix in SUFFIXES))
        found = next((path for path in tries if is_file(path)), None)
        if found is not None:
            return found
    return None


def with_masks(photos: Sequence[Photo], folder: Path, on_event: OnEvent, required: bool = True) -> tuple[Photo, ...]:
    """The photos with their masks from `folder`; those that have none there keep their own, and a warning tells so.

    Raises:
        UserError: masks are `required` and none belongs to any photo.
    """
    masks = [find_mask(folder, photo.name) for photo in photos]
    lacking = [photo.name for photo, mask in zip(photos, masks) if mask is None]
    if required and len(lacking) == len(photos):
        raise UserError(
            f"no mask in {folder} belongs to a photo; the mask of {photos[0].name!r} is called "
            f"{Path(photos[0].name).name + '.png'!r} or {Path(photos[0].name).stem + '.png'!r}"
        )
    if lacking:
        on_event(
            Warned(f"{len(lacking)} of {len(photos)} photos have no mask in {folder}, the first is {lacking[0]!r}")
        )
    return tuple(replace(photo, mask=mask or photo.mask) for photo, mask in zip(photos, masks))


def present(photos: Sequence[Photo], on_event: OnEvent) -> tuple[Photo, ...]:
    """The photos whose files are there, in the order of their names; a warning tells of the others.

    Raises:
        UserError: not one file is there.
    """
    located = [(photo, find_picture(photo.path)) for photo in sorted(photos, key=lambda photo: photo.name)]
    missing = [photo for photo, path in located if path is None]
    if len(missing) == len(photos):
        raise UserError(
            f"none of the {len(photos)} photos can be found, the first is {missing[0].path}; put them there"
        )
    if missing:
        on_event(
            Warned(f"{len(missing)} of {len(photos)} photos are missing and left out, the first is {missing[0].path}")
        )
    return tuple(replace(photo, path=path) for photo, path in located if path is not None)


def pose_fault(c2w: Tensor) -> str | None:
    """What makes a [4,4] pose unusable, as the end of a sentence; None if it is finite and its place is near enough."""
    if not bool(c2w.isfinite().all()):
        return "that is not finite or has no direction"
    if float(c2w[:3, 3].abs().max()) > FURTHEST:
        return f"{float(c2w[:3, 3].abs().max()):.3g} units from the origin"
    return None


def finite_points(xyz: np.ndarray, rgb: np.ndarray | None, source: Path, on_event: OnEvent) -> tuple[Tensor, Tensor]:
    """Points [P,3] float64 and colours [P,3] float32 in [0,1] without those that lie nowhere; grey if `rgb` is None."""
    with np.errstate(invalid="ignore"):
        usable = (np.abs(xyz) <= FURTHEST).all(axis=1)
    if not usable.all():
        on_event(Warned(f"{(~usable).sum():,} of {len(xyz):,} points in {source} are not finite and left out"))
    points = torch.from_numpy(xyz[usable].astype(np.float64))
    if rgb is None:
        return points, torch.full(points.shape, GREY)
    with np.errstate(invalid="ignore"):
        return points, torch.from_numpy(np.clip(np.nan_to_num(rgb[usable]), 0, 1).astype(np.float32))
