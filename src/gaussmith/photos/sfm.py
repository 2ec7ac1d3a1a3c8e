"""Structure from motion: where plain photos were taken from, by COLMAP's incremental mapper (Schönberger & Frahm 2016).

The same photos give the same model, byte for byte on one machine, whatever the number of threads: features are found
photo by photo, every random choice has a fixed seed, and what threads would sum in a changing order (the mapping) runs
on one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gaussmith.capture import Capture
from gaussmith.events import OnEvent, Step, UserError, Warned, ignore, timed
from gaussmith.io.atomic import write_bytes
from gaussmith.io.colmap import load_colmap
from gaussmith.io.source import read_bytes
from gaussmith.photos.stage import Staged, stage_photos

EXHAUSTIVE = 60  # photos; up to here every pair is matched
FEATURES = 4096  # a photo at most, as COLMAP has it for photos of this size; time grows with its square
_NEIGHBOURS, _RING = 10, 8  # beyond it: this many following photos, and all pairs of every eighth, to close loops
_SEED = 0
_VERSION = 1  # of what is kept in the work folder; to be changed with what decides the result
_PHOTOS, _PAIRS = 4, 64  # of one call, between two steps of the progress
_PYCOLMAP = 4  # major version; before it random choices could not all be fixed
_LEAST = 3  # photos; two show depth, but nothing checks it
_ADVICE = (
    "take 20 to 40 sharp photos while walking around, each sharing two thirds with the one before, of something with "
    "texture, and keep light and zoom as they are"
)


def structure_from_motion(
    folder: Path,
    names: list[str],
    *,
    work: Path,
    masks: Mapping[str, Path] | None = None,
    ordered: bool = False,
    on_event: OnEvent = ignore,
) -> Capture:
    """The poses, lenses and points of photos taken anywhere around a scene.

    Photos of one size, camera and zoom share one lens (SIMPLE_RADIAL). Where a photo has alpha or a mask, only what
    belongs to the object is looked at.

    Args:
        folder, names: the photos.
        work: a folder of its own for the model; if it holds that of these very photos, nothing is done again.
        masks: the masks of photos that have one, by the photo's name.
        ordered: whether neighbours in `names` are neighbours in time, as the frames of a video are.
        on_event: told of the stages, and of photos that could not be placed.

    Raises:
        UserError: pycolmap is missing, fewer than three photos, one that cannot be read, or fewer than three placed.
    """
    if len(names) < _LEAST:
        raise UserError(f"there are only {len(names)} photos in {folder}; {_ADVICE}")
    masks = {} if masks is None else masks
    key = _key(folder, names, masks)
    capture = _kept(work, key, folder)
    if capture is None:
        _require_pycolmap()
        place = _emptied(work / "staged")
        (work / "model.json").unlink(missing_ok=True)  # never beside a model of other photos, however this ends
        try:
            staged = stage_photos(folder, names, masks, place, on_event)
            _reconstruct(staged, work, ordered or len(names) > EXHAUSTIVE, on_event)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        write_bytes(work / "model.json", json.dumps(key).encode())
        capture = load_colmap(work / "model", images=folder)
    photos = [replace(photo, upright=True, mask=masks.get(photo.name)) for photo in capture.photos]
    _tell_missing(names, {photo.name for photo in photos}, on_event)
    return replace(capture, photos=tuple(photos), source=f"{len(photos)} photos in {folder}")


def _reconstruct(staged: list[Staged], work: Path, ordered: bool, on_event: OnEvent) -> None:
    """Write the largest model that can be had of the staged photos to work/model."""
    import pycolmap

    place = work / "staged"
    database = place / "database.db"
    with _quiet(pycolmap):
        _features(pycolmap, staged, place, database, on_event)
        _matches(pycolmap, _pairs(len(staged), ordered), staged, place, database, on_event)
        models = _map(pycolmap, len(staged), place, database, on_event)
    best = max(models, key=lambda model: (model.num_reg_images(), model.num_points3D()), default=None)
    placed = 0 if best is None else best.num_reg_images()
    if best is None or placed < _LEAST:
        raise UserError(f"only {placed} of {len(staged)} photos could be placed, too few overlap enough; {_ADVICE}")
    names = {photo.file: photo.name for photo in staged}
    for image in best.images.values():
        image.name = names[image.name]
    model = _emptied(place / "model")
    best.write_binary(model)
    shutil.rmtree(work / "model", ignore_errors=True)
    model.rename(work / "model")


def _features(pycolmap: Any, staged: list[Staged], place: Path, database: Path, on_event: OnEvent) -> None:
    """SIFT features. Photos are entered first, in order: found on many threads, they would be numbered in any order."""
    options = pycolmap.FeatureExtractionOptions()
    options.num_threads = _threads()
    options.sift.max_num_features = FEATURES
    pycolmap.Database.open(database).close()  # makes the file
    reader = pycolmap.ImageReaderOptions()
    if any(photo.masked for photo in staged):
        reader.mask_path = place / "masks"
    for lens in dict.fromkeys(photo.lens for photo in staged):
        files = [photo.file for photo in staged if photo.lens == lens]
        focal = "" if lens.focal is None else f"{lens.focal},{lens.width / 2},{lens.height / 2},0"
        reader.camera_params = focal
        pycolmap.import_images(database, place / "photos", pycolmap.CameraMode.SINGLE, files, reader)
    reader.camera_params = ""
    files = [photo.file for photo in staged]
    with timed(on_event, "features", len(files)):
        for i in range(0, len(files), _PHOTOS):
            pycolmap.extract_features(
                database, place / "photos", files[i : i + _PHOTOS], reader_options=reader, extraction_options=options,
                device=pycolmap.Device.cpu,
            )  # fmt: skip
            on_event(Step("features", min(i + _PHOTOS, len(files))))


def _pairs(count: int, ordered: bool) -> list[tuple[int, int]]:
    """Which photos are compared: all pairs, or neighbours in order and a coarse ring that closes loops."""
    if not ordered or count <= _NEIGHBOURS:
        return [(i, j) for i in range(count) for j in range(i + 1, count)]
    near = {(i, i + d) for i in range(count) for d in range(1, _NEIGHBOURS + 1) if i + d < count}
    ring = range(0, count, max(_RING, count // EXHAUSTIVE))
    return sorted(near | {(i, j) for i in ring for j in ring if i < j})


def _matches(
    pycolmap: Any, pairs: list[tuple[int, int]], staged: list[Staged], place: Path, database: Path, on_event: OnEvent
) -> None:
    matching = pycolmap.FeatureMatchingOptions()
    matching.num_threads = _threads()
    checking = pycolmap.TwoViewGeometryOptions()
    checking.ransac.random_seed = _SEED
    listed = pycolmap.ImportedPairingOptions()
    listed.match_list_path = place / "pairs.txt"
    with timed(on_event, "matches", len(pairs)):
        for i in range(0, len(pairs), _PAIRS):
            some = pairs[i : i + _PAIRS]
            listed.match_list_path.write_text("".join(f"{staged[a].file} {staged[b].file}\n" for a, b in some))
            pycolmap.match_image_pairs(database, matching, listed, checking, pycolmap.Device.cpu)
            on_event(Step("matches", i + len(some)))


def _map(pycolmap: Any, count: int, place: Path, database: Path, on_event: OnEvent) -> list[Any]:
    options = pycolmap.IncrementalPipelineOptions()
    options.num_threads = options.mapper.num_threads = 1
    options.random_seed = options.mapper.random_seed = options.triangulation.random_seed = _SEED
    options.min_model_size = _LEAST
    options.max_num_models = 10  # of photos that fall apart; the largest is nearly always among the first
    pycolmap.set_random_seed(_SEED)
    placed = 2  # the first two count as one event

    def told() -> None:
        nonlocal placed
        placed = min(placed + 1, count)
        on_event(Step("camera poses", placed))

    with timed(on_event, "camera poses", count):
        found = pycolmap.incremental_mapping(
            database, place / "photos", _emptied(place / "models"), options, next_image_callback=told
        )
    return [found[i] for i in sorted(found)]


def _key(folder: Path, names: list[str], masks: Mapping[str, Path]) -> dict[str, Any]:
    """What decides the result: names and contents of photos and masks."""
    digest = hashlib.sha256()
    for name in names:
        digest.update(f"{len(name)} {name} {name in masks}".encode(errors="surrogateescape"))
        for path in (folder / name, *([masks[name]] if name in masks else [])):
            digest.update(hashlib.sha256(read_bytes(path)).digest())
    return {"version": _VERSION, "photos": digest.hexdigest()}


def _kept(work: Path, key: dict[str, Any], folder: Path) -> Capture | None:
    """The capture of an earlier run with the same photos; None if there is none, or it is damaged."""
    try:
        if json.loads(read_bytes(work / "model.json", 1 << 16)) != key:
            return None
        return load_colmap(work / "model", images=folder)
    except (UserError, ValueError):
        return None


def _tell_missing(names: list[str], placed: set[str], on_event: OnEvent) -> None:
    lost = [name for name in names if name not in placed]
    if not lost:
        return
    listed = ", ".join(lost[:8]) + (f" and {len(lost) - 8} more" if len(lost) > 8 else "")
    advice = f"; {_ADVICE}" if 2 * len(placed) < len(names) else ""
    on_event(Warned(f"{len(placed)} of {len(names)} photos could be placed, not {listed}{advice}"))


def _require_pycolmap() -> None:
    try:
        import pycolmap

        if int(pycolmap.__version__.split(".")[0]) < _PYCOLMAP:
            raise ImportError("too old")
    except ImportError as error:
        raise UserError(
            f"finding out where photos were taken from needs pycolmap {_PYCOLMAP} or newer; run: "
            "pip install -U 'gaussmith[sfm]', or give the folder of a COLMAP model or a transforms.json"
        ) from error


@contextmanager
def _quiet(pycolmap: Any) -> Iterator[None]:
    """Without COLMAP's log; what it fails at becomes a sentence."""
    before = pycolmap.logging.minloglevel
    pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value
    try:
        yield
    except (RuntimeError, ValueError, OSError) as error:
        raise UserError(f"structure from motion failed ({str(error).strip()[:200]}); {_ADVICE}") from error
    finally:
        pycolmap.logging.minloglevel = before


def _threads() -> int:
    return os.cpu_count() or 1


def _emptied(folder: Path) -> Path:
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}; name another place or make room there") from error
    return folder
