"""The public functions: from a picture or a splat to an asset, and files in and out."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaussmith import asset, preview
from gaussmith.events import OnEvent, StageFinished, StageStarted, Step, UserError, Warned, ignore
from gaussmith.gaussians import Gaussians
from gaussmith.io import MESH_WRITERS as MESH_WRITERS
from gaussmith.io import load as load
from gaussmith.io import save_gaussians, save_mesh
from gaussmith.io.image import save_image
from gaussmith.io.video import save_video
from gaussmith.mesh import Mesh
from gaussmith.picture import Prepared
from gaussmith.picture import prepare as prepare
from gaussmith.priors.base import Prior
from gaussmith.priors.embedded.prior import load_weights
from gaussmith.recipes import dreamgaussian, mesh_splat

# What a user can name, and what loads it onto a device.
PRIORS: dict[str, Callable[..., Any]] = {"embedded": load_weights}


def image_to_3d(
    picture: str | Path | Prepared,
    *,
    elevation: float = 0.0,
    keep_framing: bool = False,
    preset: str = "standard",
    seed: int = 0,
    prior: str | Prior = "embedded",
    device: str = "auto",
    texture_size: int | None = None,
    max_faces: int | None = None,
    on_event: OnEvent = ignore,
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
) -> dreamgaussian.Result:
    """Turn one picture of an object into a textured, watertight mesh and a Gaussian splat.

    Args:
        picture: a picture file, or what `prepare` made of one.
        elevation: of the camera that took the picture, degrees, -80 to 80.
        keep_framing: take the picture exactly as framed (ignored for a prepared picture).
        preset: "draft", "standard" or "fine".
        seed: same seed, same bytes.
        prior: "embedded", or any object of the `Prior` protocol.
        device: where a named prior runs: "auto", "cpu" or "cuda".
        texture_size, max_faces: instead of the preset's.
        on_event: called with the events of `gaussmith.events` as the work goes on.
        checkpoint_dir: where to keep what `resume` needs; None keeps nothing.
        resume: go on from `checkpoint_dir`.

    Returns:
        A result with .gaussians, .mesh, .report and .save(folder, name).

    Raises:
        UserError: anything the user can mend, in one sentence.
    """
    if not -80 <= elevation <= 80:
        raise UserError(f"the elevation must be from -80 to 80 degrees, got {elevation}")
    if preset not in dreamgaussian.PRESETS:
        raise UserError(f"there is no preset {preset!r}; choose one of {', '.join(dreamgaussian.PRESETS)}")
    prepared = picture if isinstance(picture, Prepared) else prepare(picture, keep_framing=keep_framing)
    for warning in prepared.warnings:
        on_event(Warned(warning))
    chosen: dict[str, Any] = {"seed": seed, "texture_size": texture_size, "max_faces": max_faces}
    config = replace(dreamgaussian.PRESETS[preset], **{k: v for k, v in chosen.items() if v is not None})
    model = load_prior(prior, device) if isinstance(prior, str) else prior
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    return dreamgaussian.run(config, prepared, model, elevation, on_event, folder, resume)


def load_prior(name: str, device: str = "auto") -> Prior:
    """A prior by name on a device; UserError for an unknown name or a device that is not there."""
    if name not in PRIORS:
        raise UserError(f"there is no prior {name!r}; choose one of {', '.join(PRIORS)}")
    return PRIORS[name](device=resolve_device(device))


def resolve_device(name: str) -> torch.device:
    """The torch device of "auto" (CUDA when there is one), "cpu" or "cuda"; UserError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UserError("torch finds no CUDA device here; use --device cpu, or install a CUDA build of torch")
    return torch.device(name)


def mesh_from_gaussians(
    gaussians: Gaussians,
    *,
    resolution: int = 128,
    max_faces: int = 20_000,
    texture_size: int = 1024,
    on_event: OnEvent = ignore,
) -> Mesh:
    """The textured, watertight mesh of any splat, where the splat is (see `recipes.mesh_splat`)."""
    return mesh_splat.run(mesh_splat.Config(resolution, max_faces, texture_size), gaussians, on_event)


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
    on_event: OnEvent = ignore,
) -> None:
    """Write a turntable (.mp4, 60 views by default) or a labelled contact sheet (.png, 8 views by default)."""
    require_suffix(path, (".mp4", ".png"))
    film = path.suffix.lower() == ".mp4"
    views = views or (asset.VIEWS if film else 8)
    frames = _counted(preview.turntable(thing, views=views, size=size, elevation=elevation), views, on_event)
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
