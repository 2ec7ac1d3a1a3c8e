"""The command `gaussmith`: each subcommand is a typed function whose signature and docstring are its command line.

Nothing heavy is imported before a command runs, so that help is instant. A `UserError` is one sentence on stderr and
exit code 2; Ctrl-C is exit code 130; anything else is a fault of ours, exit code 1, with the traceback if asked for.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, arg

import gaussmith
from gaussmith.cli_priors import priors
from gaussmith.events import UserError, Warned
from gaussmith.progress import reporting

DESCRIPTION = f"""gaussmith {gaussmith.__version__}: a picture becomes a textured, watertight mesh and a Gaussian splat.

`gaussmith COMMAND --help` explains a command; `gaussmith --version` prints the version; --debug with any command (or
GAUSSMITH_DEBUG=1) shows the traceback of an error."""

Output = Annotated[Path, arg(aliases=["-o"], metavar="PATH")]
OptionalInt = Annotated[int | None, arg(metavar="INT")]
OptionalOutput = Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")]
MIN_FREE_BYTES = 100 * 1024 * 1024  # a fine asset with its checkpoint takes about half of this


def image(
    picture: Positional[Path],
    *,
    output: Output = Path("out"),
    elevation: float = 0.0,
    keep_framing: bool = False,
    seed: int = 0,
    preset: Literal["draft", "standard", "fine"] = "standard",
    prior: Literal["embedded"] = "embedded",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    texture_size: OptionalInt = None,
    max_faces: OptionalInt = None,
    resume: bool = False,
    quiet: bool = False,
) -> None:
    """Turn one picture of an object into a textured mesh and a splat.

    Args:
        picture: PNG, JPEG or WebP; with alpha, or on a plain background.
        output: Folder for NAME.glb, NAME.ply, preview.png, turntable.mp4 and report.json.
        elevation: Height of the camera that took the picture above the object's horizon, degrees, -80 to 80.
        keep_framing: Take the picture exactly as framed instead of centring and scaling the object.
        seed: Same seed, same result.
        preset: How much work to spend.
        prior: The diffusion model that imagines the unseen sides.
        device: Where the prior runs; auto takes CUDA when there is one.
        texture_size: Side of the texture in pixels, 64 to 8192; by default the preset's.
        max_faces: Upper limit of the mesh's faces, 100 to 1000000; by default the preset's.
        resume: Go on from where an interrupted run with the same settings stopped.
        quiet: Show nothing but errors.
    """
    within("--elevation", elevation, -80, 80)
    within("--seed", seed, 0, 2**63 - 1)
    within("--texture-size", texture_size, 64, 8192)
    within("--max-faces", max_faces, 100, 1_000_000)
    from gaussmith import api

    # Whatever can be wrong is found before the first file or folder is made.
    prepared = api.prepare(picture, keep_framing=keep_framing)
    model = api.load_prior(prior, device)
    folder, name = writable_folder(output), picture.stem
    with reporting(quiet) as on_event:
        result = api.image_to_3d(
            prepared,
            elevation=elevation,
            seed=seed,
            preset=preset,
            prior=model,
            texture_size=texture_size,
            max_faces=max_faces,
            on_event=on_event,
            checkpoint_dir=folder / f"{name}.checkpoint",
            resume=resume,
        )
        paths = result.save(folder, name)
    shutil.rmtree(folder / f"{name}.checkpoint", ignore_errors=True)
    tell(quiet, *map(str, paths))


def mesh(
    splat: Positional[Path],
    *,
    output: Output,
    resolution: int = 128,
    max_faces: int = 20_000,
    texture_size: int = 1024,
    quiet: bool = False,
) -> None:
    """Turn a Gaussian splat (any 3DGS PLY) into a textured, watertight mesh.

    Args:
        splat: PLY file in the 3DGS layout, SH degree 0 to 3.
        output: The mesh to write: .glb, .obj, .ply or .stl.
        resolution: Cells along the longest side when the surface is extracted, 32 to 512.
        max_faces: Upper limit of the mesh's faces, 100 to 1000000.
        texture_size: Side of the texture in pixels, 64 to 8192.
        quiet: Show nothing but errors.
    """
    within("--resolution", resolution, 32, 512)
    within("--max-faces", max_faces, 100, 1_000_000)
    within("--texture-size", texture_size, 64, 8192)
    from gaussmith import api
    from gaussmith.gaussians import Gaussians

    api.require_suffix(output, api.MESH_WRITERS)
    gaussians = api.load(splat)
    if not isinstance(gaussians, Gaussians):
        raise UserError(f"{splat} is a mesh already; gaussmith mesh takes a 3DGS splat")
    writable_folder(output.parent)
    with reporting(quiet) as on_event:
        result = api.mesh_from_gaussians(
            gaussians, resolution=resolution, max_faces=max_faces, texture_size=texture_size, on_event=on_event
        )
    api.save(result, output)
    tell(quiet, str(output))


def render(
    file: Positional[Path],
    *,
    output: OptionalOutput = None,
    views: OptionalInt = None,
    size: int = 384,
    elevation: float = 15.0,
    quiet: bool = False,
) -> None:
    """Make a turntable (.mp4) or a contact sheet (.png) of a splat or a mesh.

    Args:
        file: .ply (splat or mesh), .glb, .obj or .stl.
        output: .mp4 for a turntable, .png for a contact sheet; NAME-turntable.mp4 by default.
        views: Views in a full turn, 1 to 720; by default 60 frames, or 8 pictures on a sheet.
        size: Side of a view in pixels, 32 to 2048.
        elevation: Height of the camera above the horizon, degrees, -90 to 90.
        quiet: Show nothing but errors.
    """
    within("--views", views, 1, 720)
    within("--size", size, 32, 2048)
    within("--elevation", elevation, -90, 90)
    from gaussmith import api

    target = output or Path(f"{file.stem}-turntable.mp4")
    api.require_suffix(target, (".mp4", ".png"))
    thing = api.load(file)
    writable_folder(target.parent)
    with reporting(quiet) as on_event:
        api.save_views(thing, target, views=views, size=size, elevation=elevation, on_event=on_event)
    tell(quiet, str(target))


def prepare(
    picture: Positional[Path], *, output: OptionalOutput = None, keep_framing: bool = False, quiet: bool = False
) -> None:
    """Show how a picture is cut out and framed before it is used.

    Args:
        picture: PNG, JPEG or WebP; with alpha, or on a plain background.
        output: The PNG to write; NAME-prepared.png by default.
        keep_framing: Take the picture exactly as framed instead of centring and scaling the object.
        quiet: Show nothing but errors.
    """
    from gaussmith import api

    target = output or Path(f"{picture.stem}-prepared.png")
    api.require_suffix(target, (".png",))
    prepared = api.prepare(picture, keep_framing=keep_framing)
    writable_folder(target.parent)
    with reporting(quiet) as on_event:
        for warning in prepared.warnings:
            on_event(Warned(warning))
        prepared.save(target)
    tell(quiet, str(target))


def train_prior() -> None:
    """Train the embedded prior anew on 3D objects (a GPU is advised)."""
    raise AssertionError("stands in for cli_train_prior.train_prior in the list of commands")


COMMANDS: dict[str, Callable[..., Any]] = {
    "image": image,
    "mesh": mesh,
    "render": render,
    "prepare": prepare,
    "priors": priors,
    "train-prior": train_prior,
}
RESUMABLE = ("image", "train-prior")


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


def tell(quiet: bool, *lines: str) -> None:
    if not quiet:
        print(*lines, sep="\n")


def within(option: str, value: float | None, low: float, high: float) -> None:
    """UserError unless `value` is None or a number in [low, high] (so not NaN either)."""
    if value is not None and not low <= value <= high:
        raise UserError(f"{option} must be from {low} to {high}, got {value}")


def writable_folder(folder: Path) -> Path:
    """Make `folder`; UserError now, before any long work, if files cannot be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write into {folder} ({error.strerror}); choose another folder with -o") from error
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise UserError(f"only {free // 2**20} MB are free in {folder}; free 100 MB or choose another folder with -o")
    return folder
