"""Which kind of input a path is, and its capture: posed photos as they come, plain ones by structure from motion."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

from gaussmith.capture import Capture
from gaussmith.events import OnEvent, UserError, Warned, ignore
from gaussmith.io.colmap import is_colmap, load_colmap
from gaussmith.io.photo_files import SUFFIXES, find_mask
from gaussmith.io.transforms import NAMES, find_transforms, load_transforms
from gaussmith.photos.sfm import structure_from_motion
from gaussmith.photos.video import VIDEO_SUFFIXES, take_frames

PICTURE_FOLDERS = ("images", "input", "photos")  # where photos stand if not in the folder itself
_FOREIGN = {".heic", ".heif", ".avif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".jxl"}
_PICTURES = {suffix.lower() for suffix in SUFFIXES}
_KINDS = "a folder of photos, a video, the folder of a COLMAP model, or a transforms.json"


def open_capture(
    path: str | Path,
    *,
    masks: str | Path | None = None,
    on_event: OnEvent = ignore,
    work: str | Path | None = None,
) -> Capture:
    """The capture at a path.

    Args:
        path: the folder of a COLMAP model, a transforms.json or its folder, a folder of photos, or a video; tried in
            this order.
        masks: a folder of masks, named as the photos are; what is dark there does not belong to the object. By default
            the folder `masks` beside the photos, if there.
        on_event: told of the stages of structure from motion, and of what is left out.
        work: where structure from motion and the frames of a video are kept, to be found again if the photos are the
            same; by default a temporary folder that goes with the process.

    Raises:
        UserError: nothing there that photos could be had from, or too little of it.
    """
    path = Path(path)
    if masks is not None and not Path(masks).is_dir():
        raise UserError(f"there is no folder of masks at {masks}")
    if path.is_file():
        return _of_file(path, masks, on_event, work)
    if not path.is_dir():
        raise UserError(f"there is nothing at {path}; name {_KINDS}")
    if is_colmap(path):
        return load_colmap(path, masks=masks, on_event=on_event)
    if find_transforms(path) is not None:
        return load_transforms(path, masks, on_event)
    folder, names = find_photos(path)
    beside = _masks(path / "masks" if masks is None else Path(masks), names, on_event, required=masks is not None)
    return structure_from_motion(folder, names, masks=beside, work=_work(work), on_event=on_event)


def find_photos(folder: Path) -> tuple[Path, list[str]]:
    """The folder that holds the photos, it or one of `PICTURE_FOLDERS` in it, and their names in order.

    Raises:
        UserError: fewer than two photos.
    """
    places = [folder, *(folder / name for name in PICTURE_FOLDERS if (folder / name).is_dir())]
    found = [(place, _with_suffix(place, _PICTURES)) for place in places]
    place, names = next(((place, names) for place, names in found if names), (folder, []))
    if len(names) >= 2:
        return place, names
    if len(names) == 1:
        raise UserError(
            f"there is only one photo in {place}; give 20 to 40 from all around, or make an asset from the one: "
            f"gaussmith image {place / names[0]}"
        )
    foreign = [name for place in places for name in _with_suffix(place, _FOREIGN)]
    if foreign:
        raise UserError(f"the photos in {folder} ({foreign[0]}) are of a kind that cannot be read; save them as JPEG")
    videos = _with_suffix(folder, VIDEO_SUFFIXES)
    if videos:
        raise UserError(f"there are no photos in {folder}, but a video: name it, {folder / videos[0]}")
    raise UserError(f"there are no photos in {folder}; name {_KINDS}")


def _of_file(path: Path, masks: str | Path | None, on_event: OnEvent, work: str | Path | None) -> Capture:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return load_transforms(path, masks, on_event)
    if suffix in VIDEO_SUFFIXES:
        if masks is not None:
            raise UserError("masks cannot be matched to the frames of a video; leave out --masks, or give photos")
        place = _work(work)
        names = take_frames(path, place / "frames", on_event=on_event)
        return structure_from_motion(place / "frames", names, work=place, ordered=True, on_event=on_event)
    if suffix in _PICTURES | _FOREIGN:
        raise UserError(
            f"{path} is one photo; name a folder with 20 to 40 from all around, or make an asset from the one: "
            f"gaussmith image {path}"
        )
    if suffix in (".bin", ".txt"):
        raise UserError(f"{path} is a file of a COLMAP model at best; name the folder that holds it")
    raise UserError(f"{path} is none of these: {_KINDS} ({' or '.join(NAMES)})")


def _masks(folder: Path, names: list[str], on_event: OnEvent, required: bool) -> dict[str, Path]:
    """The masks of those photos that have one there."""
    found = {name: mask for name in names if (mask := find_mask(folder, name)) is not None}
    if required and not found:
        raise UserError(f"no mask in {folder} belongs to a photo; the mask of {names[0]} is called {names[0]}.png")
    if found and len(found) < len(names):
        lacking = next(name for name in names if name not in found)
        on_event(
            Warned(f"{len(names) - len(found)} of {len(names)} photos have no mask in {folder}, the first is {lacking}")
        )
    return found


def _with_suffix(folder: Path, suffixes: set[str]) -> list[str]:
    """Names of the files in a folder that end so, in order; hidden ones are left out."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror}") from error
    return [e.name for e in entries if e.suffix.lower() in suffixes and not e.name.startswith(".") and e.is_file()]


def _work(work: str | Path | None) -> Path:
    if work is not None:
        return Path(work)
    place = Path(tempfile.mkdtemp(prefix="gaussmith-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place
