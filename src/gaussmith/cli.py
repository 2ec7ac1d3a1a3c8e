"""The command `gaussmith`: each subcommand is a typed function whose signature and docstring are its command line.

Nothing heavy is imported before a command runs, so that help is instant. A `UserError` is one sentence on stderr and
exit code 2; Ctrl-C is exit code 130; anything else is a fault of ours, exit code 1, with the traceback if asked for.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

import gaussmith
from gaussmith.cli_convert import convert
from gaussmith.cli_edit import edit
from gaussmith.cli_options import (
    Device,
    DistillationName,
    OptionalFloat,
    OptionalInt,
    OptionalOutput,
    OptionalPath,
    Output,
    Preset,
    angles,
    file_name,
    gigabytes,
    tell,
    within,
    writable_folder,
)
from gaussmith.cli_priors import priors
from gaussmith.cli_reconstruct import reconstruct
from gaussmith.cli_view import view
from gaussmith.events import UserError
from gaussmith.progress import reporting

DESCRIPTION = f"""gaussmith {gaussmith.__version__}: a picture or a sentence becomes a textured, watertight mesh and a
Gaussian splat.

`gaussmith COMMAND --help` explains a command; `gaussmith --version` prints the version; --debug with any command (or
GAUSSMITH_DEBUG=1) shows the traceback of an error."""


def image(
    pictures: Positional[tuple[Path, ...]],
    *,
    output: Output = Path("out"),
    elevation: OptionalFloat = None,
    azimuths: str = "",
    elevations: str = "",
    prompt: str = "",
    keep_framing: bool = False,
    symmetry: Literal["auto", "none"] = "auto",
    seed: int = 0,
    preset: Preset = "standard",
    prior: str = "embedded",
    distillation: DistillationName = "sds",
    guidance_scale: OptionalFloat = None,
    device: Device = "auto",
    max_memory: OptionalFloat = None,
    texture_size: OptionalInt = None,
    max_faces: OptionalInt = None,
    resume: bool = False,
    quiet: bool = False,
) -> None:
    """Turn one picture of an object, or several, into a textured mesh and a splat.

    Args:
        pictures: PNG, JPEG or WebP; with alpha, or on a plain background. Several show one object from several sides.
        output: Folder for NAME.glb, NAME.ply, preview.png, turntable.mp4 and report.json.
        elevation: Height of the camera that took the picture above the object's horizon, degrees, -80 to 80; by default
            it is guessed from the picture.
        azimuths: For several pictures: where each was taken from, degrees around the object, as in 0,90,180.
        elevations: For several pictures: the elevation of each, as in 10,10,40; by default that of --elevation.
        prompt: What it is, in words, for a prior that reads them.
        keep_framing: Take the pictures exactly as framed instead of moving the object to the middle and scaling it.
        symmetry: auto: where the embedded prior sees that the object is its own mirror image, mirrored pictures count
            as further views; none: they never do.
        seed: Same seed, same result.
        preset: How much work to spend.
        prior: The diffusion model that imagines the unseen sides: a name that `gaussmith priors` lists, a folder, or a
            hub id.
        distillation: How the prior's opinion becomes a gradient.
        guidance_scale: How closely to follow picture and words; by default the prior's own scale.
        device: Where the prior runs; auto takes CUDA when there is one.
        max_memory: Gigabytes that a published prior may take; slower ways are taken to stay below.
        texture_size: Side of the texture in pixels, 64 to 8192; by default the preset's.
        max_faces: Upper limit of the mesh's faces, 100 to 1000000; by default the preset's.
        resume: Go on from where an interrupted run with the same settings stopped.
        quiet: Show nothing but errors.
    """
    within("--elevation", elevation, -80, 80)
    _check_asset_options(seed, guidance_scale, texture_size, max_faces)
    if not pictures:
        raise UserError("there is no picture; name at least one file")
    if len(pictures) > 1 and not azimuths:
        raise UserError(f"{len(pictures)} pictures need their angles: --azimuths 0,90,... (one for each)")
    from gaussmith import api

    # Whatever can be wrong is found before the first file or folder is made.
    turns = angles("--azimuths", azimuths) or [0.0]
    heights = angles("--elevations", elevations) or elevation
    views = api.known_views(pictures, turns, heights, keep_framing)
    model = api.load_prior(prior, device, gigabytes(max_memory))
    job = partial(
        api.image_to_3d,
        views,
        prompt=prompt,
        symmetry=symmetry,
        seed=seed,
        preset=preset,
        prior=model,
        distillation=distillation,
        guidance_scale=guidance_scale,
        texture_size=texture_size,
        max_faces=max_faces,
        resume=resume,
    )
    _make_asset(job, output, pictures[0].stem, quiet)


def text(
    prompt: Positional[str],
    *,
    output: Output = Path("out"),
    negative: str = "",
    seed: int = 0,
    preset: Preset = "standard",
    prior: str = "embedded",
    picture_prior: str = "",
    shape: Literal["made", "none"] = "made",
    distillation: DistillationName = "sds",
    guidance_scale: OptionalFloat = None,
    device: Device = "auto",
    max_memory: OptionalFloat = None,
    texture_size: OptionalInt = None,
    max_faces: OptionalInt = None,
    resume: bool = False,
    quiet: bool = False,
) -> None:
    """Turn a few words into a textured mesh and a splat.

    Args:
        prompt: What to make, as in "a blue house with a red roof".
        output: Folder for NAME.glb, NAME.ply, preview.png, turntable.mp4 and report.json.
        negative: What it should not look like.
        seed: Same seed, same result; another seed, another object.
        preset: How much work to spend.
        prior: The diffusion model that imagines the object: a name that `gaussmith priors` lists, a folder, a hub id.
        picture_prior: Draw a picture of the words with this prior first, and make that three-dimensional with --prior.
        shape: With the embedded prior, begin with a thing that the package's own generator makes (house, car, chair and
            some 200 more names; docs/priors.md) if the words name one. none: words alone, which give coloured lumps.
        distillation: How the prior's opinion becomes a gradient.
        guidance_scale: How closely to follow the words; by default the prior's own scale.
        device: Where the prior runs; auto takes CUDA when there is one.
        max_memory: Gigabytes that a published prior may take; slower ways are taken to stay below.
        texture_size: Side of the texture in pixels, 64 to 8192; by default the preset's.
        max_faces: Upper limit of the mesh's faces, 100 to 1000000; by default the preset's.
        resume: Go on from where an interrupted run with the same settings stopped.
        quiet: Show nothing but errors.
    """
    _check_asset_options(seed, guidance_scale, texture_size, max_faces)
    from gaussmith import api

    api.Prompts(prompt, negative)  # refuses an empty one before any file or folder is made
    name = file_name(prompt)
    model = api.load_prior(prior, device, gigabytes(max_memory))
    drawer = api.load_prior(picture_prior, device, gigabytes(max_memory)) if picture_prior else None
    job = partial(
        api.text_to_3d,
        prompt,
        negative=negative,
        seed=seed,
        preset=preset,
        prior=model,
        picture_prior=drawer,
        shape=shape,
        distillation=distillation,
        guidance_scale=guidance_scale,
        texture_size=texture_size,
        max_faces=max_faces,
        resume=resume,
    )
    _make_asset(job, output, name, quiet)


def _make_asset(job: Callable[..., Any], output: Path, name: str, quiet: bool) -> None:
    """Run a job that checkpoints, write its files, and forget the checkpoint once they are there."""
    folder = writable_folder(output)
    kept = folder / f"{name}.checkpoint"
    with reporting(quiet) as on_event:
        paths = job(on_event=on_event, checkpoint_dir=kept).save(folder, name)
    shutil.rmtree(kept, ignore_errors=True)
    tell(quiet, *map(str, paths))


def _check_asset_options(
    seed: int, guidance_scale: float | None, texture_size: int | None, max_faces: int | None
) -> None:
    within("--seed", seed, 0, 2**63 - 1)
    within("--guidance-scale", guidance_scale, 0, 1000)
    within("--texture-size", texture_size, 64, 8192)
    within("--max-faces", max_faces, 100, 1_000_000)


def mesh(
    splat: Positional[Path],
    *,
    output: Output,
    method: Literal["density", "tsdf"] = "density",
    cameras: OptionalPath = None,
    resolution: OptionalInt = None,
    max_faces: OptionalInt = None,
    texture_size: OptionalInt = None,
    quiet: bool = False,
) -> None:
    """Turn a Gaussian splat into a textured mesh: an object into a watertight one, a scene into an open one.

    Args:
        splat: A splat of any format, SH degree 0 to 3.
        output: The mesh to write: .glb, .obj, .ply or .stl.
        method: density for an object: watertight. tsdf for a scene: what cameras see of it, open elsewhere.
        cameras: For tsdf: the cameras.json beside the splat; without, views from all around that look inwards.
        resolution: Cells along the longest side when the surface is extracted, 32 to 512; 128, for tsdf 256.
        max_faces: Upper limit of the mesh's faces, 100 to 1000000; 20000, for tsdf 200000.
        texture_size: Side of the texture in pixels, 64 to 8192; 1024, for tsdf none but a colour a vertex.
        quiet: Show nothing but errors.
    """
    within("--resolution", resolution, 32, 512)
    within("--max-faces", max_faces, 100, 1_000_000)
    within("--texture-size", texture_size, 64, 8192)
    if cameras is not None and method != "tsdf":
        raise UserError("--cameras goes with --method tsdf; the density of a splat needs none")
    from gaussmith import api
    from gaussmith.gaussians import Gaussians

    api.require_suffix(output, api.MESH_WRITERS)
    gaussians = api.load(splat)
    if not isinstance(gaussians, Gaussians):
        raise UserError(f"{splat} is a mesh already; gaussmith mesh takes a 3DGS splat")
    writable_folder(output.parent)
    with reporting(quiet) as on_event:
        result = api.mesh_from_gaussians(
            gaussians,
            method=method,
            cameras=cameras,
            resolution=resolution,
            max_faces=max_faces,
            texture_size=texture_size,
            on_event=on_event,
        )
    api.save(result, output)
    tell(quiet, str(output))


def refine(
    mesh: Positional[Path],
    *,
    image: Annotated[tuple[Path, ...], arg(metavar="PATH")] = (),
    prompt: str = "",
    negative: str = "",
    output: OptionalOutput = None,
    elevation: float = 0.0,
    azimuth: str = "0",
    fresh: bool = False,
    seed: int = 0,
    prior: str = "embedded",
    guidance_scale: OptionalFloat = None,
    steps: OptionalInt = None,
    texture_size: int = 1024,
    device: Device = "auto",
    max_memory: OptionalFloat = None,
    resume: bool = False,
    quiet: bool = False,
) -> None:
    """Give any mesh a new texture, from a picture of it, several, or words.

    Args:
        mesh: .glb, .obj, .ply or .stl; up is +Y, its front faces +Z. Its own texture coordinates are kept if each place
            of the texture shows one place of the surface; else it is unwrapped.
        image: A picture of it, or several; how they are framed does not matter.
        prompt: What it is, in words, for a prior that reads them.
        negative: What it should not look like.
        output: The mesh to write: .glb, .obj or .ply; NAME-refined.glb by default. A preview and a report go beside it.
        elevation: Height of the camera that took the picture above the object's horizon, degrees, -80 to 80.
        azimuth: Where the picture was taken from, degrees around the object, 0 in front; as in 0,90,180 for several.
        fresh: Forget the colours that the mesh has; without it they stay on the sides that no picture shows, refined.
        seed: Same seed, same result.
        prior: The diffusion model that imagines the unseen sides: a name that `gaussmith priors` lists, a folder, or a
            hub id.
        guidance_scale: How closely to follow picture and words; by default the prior's own scale.
        steps: Of the refinement, 0 to 10000; by default 50. With 0 the pictures are projected, and that is all.
        texture_size: Side of the texture in pixels, 64 to 8192.
        device: Where the prior runs; auto takes CUDA when there is one.
        max_memory: Gigabytes that a published prior may take; slower ways are taken to stay below.
        resume: Go on from where an interrupted run with the same settings stopped.
        quiet: Show nothing but errors.
    """
    within("--elevation", elevation, -80, 80)
    within("--steps", steps, 0, 10_000)
    _check_asset_options(seed, guidance_scale, texture_size, None)
    from gaussmith import api

    target = output or Path(f"{mesh.stem}-refined.glb")
    api.require_suffix(target, (".glb", ".obj", ".ply"))
    if not image and not prompt.strip():
        raise UserError("say what the mesh should look like: give --image or --prompt")
    turns = angles("--azimuth", azimuth)
    pictures = [api.prepare(picture, size=api.LARGE_PICTURE) for picture in image]
    if pictures:
        api.known_views(pictures, turns, elevation)  # refuses wrong angles before the prior is loaded
    surface = api.load_surface(mesh)
    model = api.load_prior(prior, device, gigabytes(max_memory))
    kept = writable_folder(target.parent) / f"{target.stem}.checkpoint"
    with reporting(quiet) as on_event:
        result = api.refine_mesh(
            surface,
            image=pictures,
            prompt=prompt,
            negative=negative,
            elevation=elevation,
            azimuth=turns,
            seed=seed,
            prior=model,
            guidance_scale=guidance_scale,
            steps=steps,
            texture_size=texture_size,
            fresh=fresh,
            on_event=on_event,
            checkpoint_dir=kept,
            resume=resume,
        )
        paths = result.save(target)
    shutil.rmtree(kept, ignore_errors=True)
    tell(quiet, *map(str, paths))


def render(
    file: Positional[Path],
    *,
    output: OptionalOutput = None,
    views: OptionalInt = None,
    size: int = 384,
    elevation: float = 15.0,
    device: Device = "auto",
    quiet: bool = False,
) -> None:
    """Make a turntable (.mp4) or a contact sheet (.png) of a splat or a mesh.

    Args:
        file: .ply (splat or mesh), .glb, .obj or .stl.
        output: .mp4 for a turntable, .png for a contact sheet; NAME-turntable.mp4 by default.
        views: Views in a full turn, 1 to 720; by default 60 frames, or 8 pictures on a sheet.
        size: Side of a view in pixels, 32 to 2048.
        elevation: Height of the camera above the horizon, degrees, -90 to 90.
        device: Where a splat is drawn; auto takes CUDA when there is one.
        quiet: Show nothing but errors.
    """
    within("--views", views, 1, 720)
    within("--size", size, 32, 2048)
    within("--elevation", elevation, -90, 90)
    from gaussmith import api

    target = output or Path(f"{file.stem}-turntable.mp4")
    api.require_suffix(target, (".mp4", ".png"))
    api.resolve_device(device)
    thing = api.load(file)
    writable_folder(target.parent)
    with reporting(quiet) as on_event:
        api.save_views(thing, target, views=views, size=size, elevation=elevation, device=device, on_event=on_event)
    tell(quiet, str(target))


def prepare(
    picture: Positional[Path], *, output: OptionalOutput = None, keep_framing: bool = False, quiet: bool = False
) -> None:
    """Show how a picture is cut out and framed before it is used, and from how high it seems to have been taken.

    Args:
        picture: PNG, JPEG or WebP; with alpha, or on a plain background.
        output: The PNG to write; NAME-prepared.png by default.
        keep_framing: Take the picture exactly as framed instead of moving the object to the middle and scaling it.
        quiet: Show nothing but errors.
    """
    from gaussmith import api

    target = output or Path(f"{picture.stem}-prepared.png")
    api.require_suffix(target, (".png",))
    (view,) = api.known_views([picture], keep_framing=keep_framing)
    writable_folder(target.parent)
    with reporting(quiet) as on_event:
        api.warn([view], on_event)
        view.prepared.save(target)
    tell(quiet, str(target))


def train_prior() -> None:
    """Train the embedded prior anew on 3D objects (a GPU is advised)."""
    raise AssertionError("stands in for cli_train_prior.train_prior in the list of commands")


COMMANDS: dict[str, Callable[..., Any]] = {
    "image": image,
    "text": text,
    "mesh": mesh,
    "refine": refine,
    "render": render,
    "view": view,
    "prepare": prepare,
    "reconstruct": reconstruct,
    "edit": edit,
    "convert": convert,
    "priors": priors,
    "train-prior": train_prior,
}
RESUMABLE = ("image", "text", "refine", "reconstruct", "train-prior")


def commands_for(args: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """The commands; `train-prior` with its real options, which take torch to import, only when it is the one asked."""
    if args[0] != "train-prior":
        return COMMANDS
    from gaussmith import cli_train_prior

    return COMMANDS | {"train-prior": cli_train_prior.train_prior}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's) and return the exit code."""
    # Before torch is loaded: its OpenMP threads would otherwise spin at every barrier, which on a busy or small machine
    # slows the whole job several times over; waiting passively costs next to nothing on an idle one.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args or os.environ.get("GAUSSMITH_DEBUG", "") not in ("", "0")
    args = [a for a in args if a != "--debug"] or ["--help"]
    if args == ["--version"]:
        print(f"gaussmith {gaussmith.__version__}")
        return 0
    try:
        tyro.extras.subcommand_cli_from_dict(
            commands_for(args), prog="gaussmith", description=DESCRIPTION, args=args, config=(FlagCreatePairsOff,)
        )
    except SystemExit as stop:  # tyro: 0 after help, 2 after a usage error
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        again = "the same command with --resume goes on from there" if args[0] in RESUMABLE else "nothing was written"
        return _fail(f"stopped; {again}", 130, debug)
    except UserError as error:
        return _fail(str(error), 2, debug)
    except MemoryError:
        return _fail("the machine ran out of memory; free some, or lower the sizes that you gave", 2, debug)
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has seen enough; Python's own last flush must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            return _unexpected(error, debug)
        return _fail(f"cannot write {error.filename or 'the output'}: {error.strerror}", 2, debug)
    except Exception as error:
        return _unexpected(error, debug)
    return 0


def _unexpected(error: Exception, debug: bool) -> int:
    what = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
    advice = "" if debug else "; run again with --debug for the traceback and please report it with the command"
    return _fail(f"unexpected error, a fault of gaussmith: {what}{advice}", 1, debug)


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"gaussmith: {message}", file=sys.stderr)
    return code
