"""A file of a splat or a mesh becomes one of another format, and what that costs is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gaussmith.events import OnEvent, Step, UserError, ignore, timed
from gaussmith.framing import fit_points, visible_points
from gaussmith.gaussians import Gaussians
from gaussmith.io import (
    GAUSSIAN_WRITERS,
    MESH_WRITERS,
    load,
    load_gaussians,
    matching_suffix,
    save_gaussians,
    save_mesh,
)
from gaussmith.mesh import Mesh
from gaussmith.metrics import psnr
from gaussmith.preview import CLOSE_FOVY, render_view
from gaussmith.views import turntable

_HALF_TURN = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # around x: y and z change their signs


@dataclass(frozen=True)
class Config:
    """How to convert.

    Attributes:
        sh_degree: keep the harmonics up to this degree, 0 to 3; None keeps all that the format can.
        flip: turn by half a turn around x, between files with y upwards and files with y downwards.
        views, size, elevation: of the turntable that a splat is measured on: its pictures, their side in pixels, and
            the cameras' height in degrees. No views, no measuring.
    """

    sh_degree: int | None = None
    flip: bool = False
    views: int = 8
    size: int = 512
    elevation: float = 15.0


@dataclass(frozen=True)
class Report:
    """What came of it.

    Attributes:
        source_bytes, target_bytes: sizes of the files.
        count: Gaussians, None for a mesh.
        psnr: dB between pictures of the source and of the file written, over all pixels of all views; infinite where
            they are equal, None for a mesh or if not measured.
    """

    source_bytes: int
    target_bytes: int
    count: int | None = None
    psnr: float | None = None


def run(config: Config, source: Path, target: Path, on_event: OnEvent = ignore) -> Report:
    """Read `source`, write `target` in the format of its suffix, read that again and compare.

    Raises:
        UserError: a file that cannot be read or written, `target` is `source`, or its format is for other things.
    """
    if source.exists() and target.exists() and source.samefile(target):
        raise UserError(f"{target} is the file to convert, which is never overwritten; name another")
    thing = load(source)
    _check_target(config, thing, source, target)
    if isinstance(thing, Mesh):
        save_mesh(_turned_mesh(thing) if config.flip else thing, target)
        return Report(source.stat().st_size, target.stat().st_size)
    kept = thing if config.sh_degree is None else _lowered(thing, config.sh_degree)
    save_gaussians(_turned(kept) if config.flip else kept, target)
    loss = None
    if config.views and len(visible_points(thing)):
        written = load_gaussians(target)
        loss = _compare(config, thing, _turned(written) if config.flip else written, on_event)
    return Report(source.stat().st_size, target.stat().st_size, len(thing), loss)


def _check_target(config: Config, thing: Gaussians | Mesh, source: Path, target: Path) -> None:
    splat = isinstance(thing, Gaussians)
    writers = GAUSSIAN_WRITERS if splat else MESH_WRITERS
    if matching_suffix(writers, target) is None:
        kind = "a splat, which gaussmith mesh turns into a mesh" if splat else "a mesh, not a splat"
        raise UserError(f"{source} is {kind}; name a target that ends in {', '.join(writers)}, not {target.name}")
    if not splat and config.sh_degree is not None:
        raise UserError(f"{source} is a mesh, whose colours have no degree; leave --sh-degree out")


def _lowered(gaussians: Gaussians, degree: int) -> Gaussians:
    return replace(gaussians, sh=gaussians.sh[:, : (degree + 1) ** 2].contiguous())


def _turned(gaussians: Gaussians) -> Gaussians:
    return gaussians.transform(_HALF_TURN, torch.zeros(3))


def _turned_mesh(mesh: Mesh) -> Mesh:
    normals = None if mesh.normals is None else mesh.normals @ _HALF_TURN.T
    return mesh.with_(vertices=mesh.vertices @ _HALF_TURN.T, normals=normals)


def _compare(config: Config, a: Gaussians, b: Gaussians, on_event: OnEvent) -> float:
    """PSNR of pictures of two splats, on a turntable around the first."""
    fit = fit_points(visible_points(a))
    pair = (fit.gaussians(a), fit.gaussians(b))
    cameras = turntable(config.views, config.elevation, fovy=CLOSE_FOVY, size=config.size).camera()
    pictures = []
    with timed(on_event, "compare", config.views):
        for view in range(config.views):
            pictures.append([render_view(splat, cameras[view]) for splat in pair])
            on_event(Step("compare", view + 1))
    first, second = (torch.stack(views) for views in zip(*pictures))
    return float(psnr(first, second))
