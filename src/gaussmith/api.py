"""The public functions: from a picture, words or a splat to an asset, and files in and out."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from gaussmith import accelerator, asset, editing, preview
from gaussmith.accelerator import choose as resolve_device
from gaussmith.camera import Camera
from gaussmith.diffusion.family import DISTILLATIONS, DistillationName
from gaussmith.diffusion.prompts import Prompts as Prompts
from gaussmith.editing import Edits as Edits
from gaussmith.events import Event, OnEvent, StageFinished, StageStarted, Step, UserError, Warned, ignore
from gaussmith.gaussians import Gaussians
from gaussmith.io import GAUSSIAN_WRITERS as GAUSSIAN_WRITERS
from gaussmith.io import MESH_WRITERS as MESH_WRITERS
from gaussmith.io import load as load
from gaussmith.io import save_gaussians, save_mesh
from gaussmith.io.cameras_json import load_cameras
from gaussmith.io.image import save_image
from gaussmith.io.video import save_video
from gaussmith.mesh import Mesh
from gaussmith.photos import Scene, load_scene, open_capture
from gaussmith.picture import PICTURE_SIZE, Prepared
from gaussmith.picture import prepare as prepare
from gaussmith.priors.base import EpsPrior
from gaussmith.priors.embedded.placement import PlacementHead
from gaussmith.priors.embedded.prior import load_placement, load_weights
from gaussmith.recipes import dreamgaussian, mesh_splat, retexture, text_picture
from gaussmith.recipes import reconstruct as reconstruction
from gaussmith.train.subject import KnownView, Subject, stand

# Side of pictures that are yet to be laid over a mesh, on the usual grid: nothing may be lost before.
LARGE_PICTURE = 2 * PICTURE_SIZE
# Longest side of the photos that a preset trains on: time goes with their area (3DGS itself stops at 1600 pixels).
PHOTO_SIDES = {"draft": 512, "standard": 800, "fine": 1600}


def image_to_3d(
    picture: str | Path | Prepared | KnownView | Sequence[str | Path | Prepared | KnownView],
    *,
    elevation: float | Sequence[float] | None = None,
    azimuth: float | Sequence[float] = 0.0,
    prompt: str = "",
    keep_framing: bool = False,
    symmetry: Literal["auto", "none"] = "auto",
    preset: str = "standard",
    seed: int = 0,
    prior: str | EpsPrior = "embedded",
    device: str = "auto",
    max_memory: int | None = None,
    distillation: DistillationName = "sds",
    guidance_scale: float | None = None,
    texture_size: int | None = None,
    max_faces: int | None = None,
    on_event: OnEvent = ignore,
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
) -> dreamgaussian.Result:
    """Turn one picture of an object, or several, into a textured, watertight mesh and a Gaussian splat.

    Args:
        picture: a picture file, or what `prepare` or `known_views` made of one; or several of one object, the first the
            prior's own.
        elevation, azimuth: of the cameras that took the pictures, degrees, one for each picture or one for all;
            elevations -80 to 80, guessed from the picture if None. Azimuth 0 is the asset's front, positive turns the
            camera to the object's left hand.
        prompt: what it is, in words, for a prior that reads them.
        keep_framing: take the pictures exactly as framed (ignored for prepared ones).
        symmetry: "auto" or "none": may a single picture, mirrored, count as further views where the embedded prior sees
            that the object is its own mirror image?
        preset: "draft", "standard" or "fine".
        seed: same seed, same bytes.
        prior: "embedded", a published prior's name, a folder, a hub id, or any object of the `EpsPrior` protocol.
        device: where a named prior runs: "auto", "cpu" or "cuda". max_memory: bytes that it may take.
        distillation: "sds", "csd", "ism", or "vsd", "bsd", "dsd", which train a network beside the prior.
        guidance_scale: instead of the prior's own.
        texture_size, max_faces: instead of the preset's.
        on_event: called with the events of `gaussmith.events` as the work goes on.
        checkpoint_dir: where to keep what `resume` needs; None keeps nothing.
        resume: go on from `checkpoint_dir`.

    Returns:
        A result with .gaussians, .mesh, .report and .save(folder, name).

    Raises:
        UserError: anything the user can mend, in one sentence.
    """
    if symmetry not in ("auto", "none"):
        raise UserError(f'symmetry is "auto" or "none", not {symmetry!r}')
    pictures = [picture] if isinstance(picture, (str, Path, Prepared, KnownView)) else list(picture)
    views = known_views(pictures, azimuth, elevation, keep_framing)
    warn(views, on_event)
    subject = Subject(views, Prompts(prompt) if prompt.strip() else None)
    model = load_prior(prior, device, max_memory) if isinstance(prior, str) else prior
    config = _config(preset, model, seed, distillation, guidance_scale, texture_size, max_faces)
    if symmetry == "none":
        config = replace(config, mirror=0.0)
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    return dreamgaussian.run(config, subject, model, on_event, folder, resume)


def known_views(
    pictures: Sequence[str | Path | Prepared | KnownView],
    azimuth: float | Sequence[float] = 0.0,
    elevation: float | Sequence[float] | None = None,
    keep_framing: bool = False,
) -> tuple[KnownView, ...]:
    """Pictures, prepared, with their angles. Those that come as files are framed so that the middle of the object's box
    is in the middle, at the object's usual size (`train.subject.stand`), unless `keep_framing`.

    Args:
        azimuth, elevation: degrees, one for each picture or one for all; an elevation that is None is guessed. Pictures
            that are known views already keep theirs.

    Raises:
        UserError: the numbers of angles and pictures do not agree, or an angle or a picture cannot be used.
    """
    if not pictures:
        raise UserError("there is no picture; give at least one")
    turns = _each("azimuths", azimuth, len(pictures))
    heights = [None] * len(pictures) if elevation is None else _each("elevations", elevation, len(pictures))
    if not all(h is None or -80 <= h <= 80 for h in heights):
        raise UserError(f"the elevation must be from -80 to 80 degrees, got {', '.join(f'{h:g}' for h in heights)}")
    if not all(-360 <= turn <= 360 for turn in turns):
        raise UserError(f"the azimuth must be from -360 to 360 degrees, got {', '.join(f'{v:g}' for v in turns)}")
    head = None if all(isinstance(picture, KnownView) for picture in pictures) else load_placement()
    views = tuple(_known_view(p, az, h, keep_framing, head) for p, az, h in zip(pictures, turns, heights))
    if len({(view.azimuth, view.elevation) for view in views}) < len(views):
        raise UserError("two pictures have the same azimuth and elevation; give each its own (--azimuths 0,90,...)")
    return views


def _each(name: str, given: float | Sequence[float], count: int) -> list[float]:
    """One number for each of the pictures."""
    values = [float(given)] * count if isinstance(given, (int, float)) else [float(v) for v in given]
    if len(values) != count:
        raise UserError(f"there are {len(values)} {name} for {count} pictures; give one for each")
    return values


def _known_view(
    picture: str | Path | Prepared | KnownView,
    azimuth: float,
    elevation: float | None,
    keep_framing: bool,
    head: PlacementHead | None,
) -> KnownView:
    if isinstance(picture, KnownView):
        return picture
    as_it_is = keep_framing or head is None or isinstance(picture, Prepared)
    if isinstance(picture, Prepared):
        prepared = picture
    else:
        prepared = prepare(picture, keep_framing=keep_framing, size=PICTURE_SIZE if as_it_is else LARGE_PICTURE)
    if head is None or (as_it_is and elevation is not None):
        return KnownView(prepared, azimuth, elevation or 0.0)
    moved, found = stand(prepared, head, elevation)
    height = round(found.elevation, 1) if elevation is None else elevation
    return KnownView(prepared if as_it_is else moved, azimuth, height, round(found.spread, 1))


def warn(views: Sequence[KnownView], on_event: OnEvent) -> None:
    """Tell what is doubtful about the pictures."""
    for view in views:
        for warning in view.prepared.warnings:
            on_event(Warned(warning))
        if view.spread:
            on_event(
                Warned(
                    f"The camera's elevation was guessed from the picture: {view.elevation:.0f} degrees, give or take "
                    f"{view.spread:.0f}; where you know it better, give it with --elevation."
                )
            )


def text_to_3d(
    prompt: str,
    *,
    negative: str = "",
    preset: str = "standard",
    seed: int = 0,
    prior: str | EpsPrior = "embedded",
    picture_prior: str | EpsPrior | None = None,
    shape: text_picture.ShapeName = "made",
    device: str = "auto",
    max_memory: int | None = None,
    distillation: DistillationName = "sds",
    guidance_scale: float | None = None,
    texture_size: int | None = None,
    max_faces: int | None = None,
    on_event: OnEvent = ignore,
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
) -> dreamgaussian.Result:
    """Turn words into a textured, watertight mesh and a Gaussian splat.

    Args:
        prompt: what to make. negative: what not to.
        picture_prior: draw a picture from the words first, with this prior, and make that three-dimensional with
            `prior`. None: the embedded prior does so by itself, others distil the words directly.
        shape: "made": where the embedded prior draws the picture and the words name a thing that the package's own
            generator makes, picture and Gaussians begin with one of those (see docs/priors.md). "none": with noise.
        The rest is as in `image_to_3d`.

    Raises:
        UserError: anything the user can mend, in one sentence.
    """
    prompts = Prompts(prompt, negative)
    model = load_prior(prior, device, max_memory) if isinstance(prior, str) else prior
    if picture_prior is None and model.name == "embedded":
        picture_prior = model
    drawer = load_prior(picture_prior, device, max_memory) if isinstance(picture_prior, str) else picture_prior
    config = _config(preset, model, seed, distillation, guidance_scale, texture_size, max_faces)
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    subject = Subject(prompts=prompts)
    if drawer is not None:
        drawing = text_picture.Config(seed=seed, candidates=8 if drawer.name == "embedded" else 1, shape=shape)
        subject = text_picture.draw(drawing, prompts, drawer, on_event, folder, resume)
        del drawer, picture_prior  # one that was loaded here is of no more use, and large
    return dreamgaussian.run(config, subject, model, on_event, folder, resume)


def _config(
    preset: str,
    prior: EpsPrior,
    seed: int,
    distillation: DistillationName,
    guidance_scale: float | None,
    texture_size: int | None,
    max_faces: int | None,
) -> dreamgaussian.Config:
    if preset not in dreamgaussian.PRESETS:
        raise UserError(f"there is no preset {preset!r}; choose one of {', '.join(dreamgaussian.PRESETS)}")
    if distillation not in DISTILLATIONS:
        raise UserError(f"there is no distillation {distillation!r}; choose one of {', '.join(DISTILLATIONS)}")
    chosen: dict[str, Any] = {"texture_size": texture_size, "max_faces": max_faces, "guidance_scale": guidance_scale}
    config = dreamgaussian.for_prior(dreamgaussian.PRESETS[preset], prior)
    given = {key: value for key, value in chosen.items() if value is not None}
    return replace(config, seed=seed, distillation=distillation, **given)


def load_prior(name: str, device: str = "auto", max_memory: int | None = None) -> EpsPrior:
    """A prior on a device: "embedded", a name that `gaussmith priors` lists, a pipeline folder, or a hub id.

    Args:
        max_memory: bytes that a published prior may take; slower ways are taken to stay below. On a GPU it bounds all
            that this process takes.

    Raises:
        UserError: it is not known, not on this machine or damaged, or the device is not there.
    """
    chosen = resolve_device(device)
    accelerator.limit(chosen, max_memory)
    with accelerator.enough_memory(f"reading the prior {name}", "choose a smaller one, or --device cpu"):
        if name == "embedded":
            return load_weights(device=chosen)
        from gaussmith.priors.published import load_published

        return load_published(name, chosen, max_memory=max_memory)


def mesh_from_gaussians(
    gaussians: Gaussians,
    *,
    method: mesh_splat.Method = "density",
    cameras: Sequence[Camera] | str | Path | None = None,
    resolution: int | None = None,
    max_faces: int | None = None,
    texture_size: int | None = None,
    on_event: OnEvent = ignore,
) -> Mesh:
    """The textured mesh of any splat, where the splat is (see `recipes.mesh_splat`).

    Args:
        method: "density" for objects: watertight. "tsdf" for scenes: open where no camera saw a surface.
        cameras: for "tsdf", those that looked at the scene, or their cameras.json; by default some that look inwards.
        resolution, max_faces, texture_size: instead of the method's own; "tsdf" colours vertices, texture_size 0.

    Raises:
        UserError: anything the user can mend, in one sentence.
    """
    if method not in mesh_splat.METHODS:
        raise UserError(f"there is no method {method!r}; choose one of {', '.join(mesh_splat.METHODS)}")
    if cameras is not None and method != "tsdf":
        raise UserError("the density of a splat needs no cameras; give them with the method tsdf")
    views = load_cameras(cameras)[1] if isinstance(cameras, (str, Path)) else cameras
    chosen: dict[str, Any] = {"resolution": resolution, "max_faces": max_faces, "texture_size": texture_size}
    given = {key: value for key, value in chosen.items() if value is not None}
    return mesh_splat.run(replace(mesh_splat.METHODS[method], **given), gaussians, on_event, views)


def edit(
    splat: Gaussians | str | Path | Sequence[Gaussians | str | Path], edits: Edits
) -> tuple[Gaussians, list[editing.Change]]:
    """Crop, clean, thin out, move or merge splats; what is given stays as it is (see `editing.Edits`).

    Args:
        splat: Gaussians or a file of them, or several, which are merged in this order.
        edits: what to do.

    Returns:
        The edited splat, and what each operation removed.

    Raises:
        UserError: a file is no splat, or an operation leaves nothing.
    """
    parts = [splat] if isinstance(splat, (Gaussians, str, Path)) else list(splat)
    if not parts:
        raise UserError("there is no splat to edit; give at least one")
    return editing.apply(edits, [p if isinstance(p, Gaussians) else load_splat(p) for p in parts])


def load_splat(path: str | Path) -> Gaussians:
    """Read a splat; UserError for a mesh, or whatever cannot be read."""
    thing = load(path)
    if isinstance(thing, Mesh):
        raise UserError(f"{path} is a mesh, not a Gaussian splat")
    return thing


def refine_mesh(
    mesh: Mesh | str | Path,
    *,
    image: str | Path | Prepared | Sequence[str | Path | Prepared] = (),
    prompt: str = "",
    negative: str = "",
    elevation: float | Sequence[float] = 0.0,
    azimuth: float | Sequence[float] = 0.0,
    seed: int = 0,
    prior: str | EpsPrior = "embedded",
    device: str = "auto",
    max_memory: int | None = None,
    guidance_scale: float | None = None,
    steps: int | None = None,
    texture_size: int = 1024,
    fresh: bool = False,
    on_event: OnEvent = ignore,
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
) -> retexture.Result:
    """Give any mesh a new texture, from a picture of it, several, or words (see `recipes.retexture`).

    Args:
        mesh: a mesh or its file; +Y is up, its front faces +Z.
        image: a picture of it or several, the first the prior's own; how they are framed does not matter.
        elevation: of the cameras that took them; not guessed, for the mesh's own outline would tell it better.
        steps: of the refinement; the preset's by default, 0 only projects the pictures.
        texture_size: side of the texture in pixels.
        fresh: forget the colours that the mesh has.
        The rest is as in `image_to_3d` and `text_to_3d`.

    Returns:
        A result with .mesh, .report and .save(path).

    Raises:
        UserError: anything the user can mend, in one sentence.
    """
    pictures = [image] if isinstance(image, (str, Path, Prepared)) else list(image)
    prompts = Prompts(prompt, negative) if prompt.strip() else None
    if not pictures and prompts is None:
        raise UserError("say what the mesh should look like: give a picture or a prompt")
    surface = mesh if isinstance(mesh, Mesh) else load_surface(mesh)
    prepared = [p if isinstance(p, Prepared) else prepare(p, size=LARGE_PICTURE) for p in pictures]
    subject = Subject(known_views(prepared, azimuth, elevation) if prepared else (), prompts)
    warn(subject.views, on_event)
    model = load_prior(prior, device, max_memory) if isinstance(prior, str) else prior
    config = retexture.Config(seed, texture_size=texture_size, guidance_scale=guidance_scale, fresh=fresh)
    config = retexture.for_prior(config, model)
    if steps is not None:
        config = replace(config, refine=replace(config.refine, steps=steps))
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    return retexture.run(config, surface, subject, model, on_event, folder, resume)


def load_surface(path: str | Path) -> Mesh:
    """Read a mesh; UserError for a splat, or whatever cannot be read."""
    thing = load(path)
    if isinstance(thing, Gaussians):
        raise UserError(f"{path} is a Gaussian splat, which has no texture; make a mesh of it with gaussmith mesh")
    return thing


def reconstruct(
    photos: str | Path | Scene,
    *,
    preset: str = "standard",
    steps: int | None = None,
    max_gaussians: int | None = None,
    strategy: str = "adc",
    downscale: int | None = None,
    eval_every: int = 8,
    masks: str | Path | None = None,
    seed: int = 0,
    antialiased: bool = False,
    storage: str = "float32",
    device: str = "auto",
    max_memory: int | None = None,
    on_event: OnEvent = ignore,
    on_state: reconstruction.OnState | None = None,
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
) -> reconstruction.Result:
    """Turn photos of a scene, or of an object from all around, into a Gaussian splat.

    Args:
        photos: a folder of photos, a video, a COLMAP model's folder, a transforms.json, or a scene from `load_photos`.
        preset: "draft", "standard" or "fine". steps, max_gaussians: instead of the preset's.
        strategy: of density control, "adc" or "mcmc".
        downscale: divisor of the photos' sides; by default as much as `PHOTO_SIDES` asks.
        eval_every: every such photo is held out to judge by, 0 for none.
        masks: folder of mask pictures, named as the photos are; dark pixels do not belong to the object.
        seed: same seed, same bytes.
        antialiased: draw with the 2D filter of Mip-Splatting, in training and in the pictures.
        storage: of the optimiser's running means, "float32" or "bfloat16", which takes a quarter less memory.
        device: "auto", "cpu" or "cuda". max_memory: bytes of a GPU that may be taken.
        on_event: called with the events of `gaussmith.events` as the work goes on.
        on_state: called with (step, Gaussians) after every step; must not change them.
        checkpoint_dir: where to keep what `resume` needs; None keeps nothing.
        resume: go on from `checkpoint_dir`.

    Returns:
        A result with .gaussians, .scene, .report and .save(folder).

    Raises:
        UserError: anything the user can mend, in one sentence.
    """
    config = reconstruction_settings(preset, steps, max_gaussians, strategy, eval_every, seed, antialiased, storage)
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    seconds: dict[str, float] = {}
    warnings: list[str] = []

    def noted(event: Event) -> None:
        if isinstance(event, Warned):
            warnings.append(event.message)
        elif isinstance(event, StageFinished):
            seconds[event.stage] = round(event.seconds, 2)
        on_event(event)

    scene = photos
    if not isinstance(scene, Scene):
        side = None if downscale else PHOTO_SIDES[preset]
        with accelerator.enough_memory("reading the photos", "raise --downscale, or give fewer photos"):
            scene = load_photos(scene, masks=masks, downscale=downscale, max_side=side, work=folder, on_event=noted)
    chosen = resolve_device(device)
    accelerator.limit(chosen, max_memory)
    scene = replace(scene, points=scene.points.to(chosen), colors=scene.colors.to(chosen))
    result = reconstruction.run(config, scene, noted, folder, resume, on_state)
    # What was found on the way to the scene (photos that could not be placed, masks that lack) belongs to its report.
    return replace(result, report=result.report | {"seconds": seconds, "warnings": warnings})


def reconstruction_settings(
    preset: str = "standard",
    steps: int | None = None,
    max_gaussians: int | None = None,
    strategy: str = "adc",
    eval_every: int = 8,
    seed: int = 0,
    antialiased: bool = False,
    storage: str = "float32",
) -> reconstruction.Config:
    """The recipe's settings of these choices; UserError where one is unknown."""
    if preset not in reconstruction.PRESETS:
        raise UserError(f"there is no preset {preset!r}; choose one of {', '.join(reconstruction.PRESETS)}")
    if strategy not in reconstruction.STRATEGIES:
        raise UserError(f"there is no strategy {strategy!r}; choose one of {', '.join(reconstruction.STRATEGIES)}")
    if storage not in reconstruction.STORAGES:
        raise UserError(f"there is no storage {storage!r}; choose one of {', '.join(reconstruction.STORAGES)}")
    config = reconstruction.PRESETS[preset]
    if steps is not None:
        config = reconstruction.with_steps(config, steps)
    if max_gaussians is not None:
        config = replace(config, max_gaussians=max_gaussians)
    return replace(
        config, strategy=strategy, eval_every=eval_every, seed=seed, antialiased=antialiased, storage=storage
    )


def load_photos(
    path: str | Path,
    *,
    masks: str | Path | None = None,
    downscale: int | None = None,
    max_side: int | None = PHOTO_SIDES["standard"],
    work: str | Path | None = None,
    on_event: OnEvent = ignore,
) -> Scene:
    """The scene that a folder of photos, a video, a COLMAP model or a transforms.json shows (see `photos`).

    Args:
        downscale: divisor of the photos' sides, 1 or more. max_side: longest side in pixels, where there is none.
        work: folder that keeps what structure from motion found, so that it is not done twice.

    Raises:
        UserError: anything the user can mend, in one sentence.
    """
    where = None if masks is None else Path(masks)
    capture = open_capture(
        Path(path), masks=where, on_event=on_event, work=None if work is None else Path(work) / "photos"
    )
    return load_scene(capture, downscale=downscale, max_side=max_side, on_event=on_event)


def save(thing: Mesh | Gaussians, path: str | Path) -> None:
    """Write a mesh as .glb, .obj, .ply or .stl, or Gaussians as a 3DGS .ply; whole or not at all."""
    if isinstance(thing, Gaussians):
        save_gaussians(thing, path)
    else:
        save_mesh(thing, path)


def save_views(
    thing: Mesh | Gaussians,
    path: Path,
    *,
    views: int | None = None,
    size: int = 384,
    elevation: float = 15.0,
    device: str = "auto",
    on_event: OnEvent = ignore,
) -> None:
    """Write a turntable (.mp4, 60 views by default) or a labelled contact sheet (.png, 8 views by default).

    Args:
        device: where a splat is drawn: "auto", "cpu" or "cuda".
    """
    require_suffix(path, (".mp4", ".png"))
    chosen = resolve_device(device)
    film = path.suffix.lower() == ".mp4"
    views = views or (asset.VIEWS if film else 8)
    turning = preview.turntable(thing, views=views, size=size, elevation=elevation, device=chosen)
    frames = _counted(turning, views, on_event)
    with accelerator.enough_memory(f"drawing pictures of {size}x{size} pixels", "lower --size, or use --device cpu"):
        if film:
            save_video(path, frames, fps=asset.FPS)
        else:
            save_image(path, preview.views_sheet(list(frames)))


def _counted(frames: Iterator[Tensor], count: int, on_event: OnEvent) -> Iterator[Tensor]:
    """Pass frames on, telling of each."""
    started = time.monotonic()
    on_event(StageStarted("views", count))
    for step, frame in enumerate(frames, start=1):
        on_event(Step("views", step))
        yield frame
    on_event(StageFinished("views", time.monotonic() - started))


def require_suffix(path: Path, suffixes: Collection[str]) -> None:
    """UserError unless the file name ends in one of `suffixes`."""
    if path.suffix.lower() not in suffixes:
        raise UserError(f"{path} should end in {' or '.join(suffixes)}")
