"""Photos made ready for structure from motion: upright, reduced, as PNG under plain names, with masks beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from gaussmith.events import OnEvent, Step, UserError, ignore, timed
from gaussmith.io.image import FORMATS, load_image_and_size, to_uint8

FEATURE_SIDE = 1600  # pixels; more costs time and finds few better features
_FULL_FRAME = math.hypot(36, 24)  # mm, what "35 mm equivalent" refers to
_SMALLEST = 32  # pixels a side; less has no features


@dataclass(frozen=True)
class StagedLens:
    """What photos with one lens share: size in pixels, focal length in pixels if EXIF tells, and the camera's name."""

    width: int
    height: int
    focal: float | None
    camera: str


@dataclass(frozen=True)
class Staged:
    """One photo: its own name, its file's name in `photos`, its lens, and whether a mask is in `masks`."""

    name: str
    file: str
    lens: StagedLens
    masked: bool


def stage_photos(
    folder: Path, names: list[str], masks: Mapping[str, Path], place: Path, on_event: OnEvent = ignore
) -> list[Staged]:
    """Write place/photos/00000.png and so on, and, if any has alpha or a mask, place/masks/00000.png.png and so on.

    Raises:
        UserError: a photo or mask that cannot be read, or is too small; the place cannot be written.
    """
    staged = []
    with timed(on_event, "reading", len(names)):
        for i, name in enumerate(names):
            staged.append(_stage(folder / name, f"{i:05d}.png", masks.get(name), place))
            on_event(Step("reading", i + 1))
    if any(photo.masked for photo in staged):
        for photo in staged:
            if not photo.masked:  # COLMAP wants all or none
                _save(_mask_of(place, photo.file), np.ones((photo.lens.height, photo.lens.width)))
    return staged


def _mask_of(place: Path, file: str) -> Path:
    return place / "masks" / f"{file}.png"


def _stage(photo: Path, file: str, beside: Path | None, place: Path) -> Staged:
    rgba, _ = load_image_and_size(photo, FEATURE_SIDE)
    height, width = rgba.shape[:2]
    if min(width, height) < _SMALLEST:
        raise UserError(f"{photo} is {width}x{height} pixels, too small to compare; give larger photos")
    mask = rgba[..., 3] if beside is None else rgba[..., 3] * _mask(beside, width, height)
    masked = float(mask.min()) < 0.5
    if masked:
        _save(_mask_of(place, file), (mask >= 0.5).astype(np.float32))
    _save(place / "photos" / file, rgba[..., :3])
    camera, equivalent = _exif(photo)
    focal = None if equivalent is None else round(equivalent / _FULL_FRAME * math.hypot(width, height), 3)
    return Staged(photo.name, file, StagedLens(width, height, focal, camera), masked)


def _save(path: Path, pixels: np.ndarray) -> None:
    """A PNG that is soon deleted: written quickly, not small."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(to_uint8(pixels)).save(path, compress_level=1)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another place or make room there") from error


def _mask(path: Path, width: int, height: int) -> np.ndarray:
    rgba, _ = load_image_and_size(path)
    grey = Image.fromarray(rgba[..., :3].mean(axis=-1) * rgba[..., 3])
    return np.asarray(grey.resize((width, height), Image.Resampling.BOX))


def _exif(path: Path) -> tuple[str, float | None]:
    """The camera's name and the 35 mm equivalent of its focal length, if the photo tells (and is believable)."""
    try:
        with Image.open(path, formats=FORMATS) as picture:
            exif = picture.getexif()
            camera = " ".join(str(exif.get(tag, "")) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
            focal = float(exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm, 0))
    except Exception:  # odd metadata is no reason to refuse a photo
        return "", None
    return camera.strip()[:100], focal if 5 <= focal <= 1200 else None
