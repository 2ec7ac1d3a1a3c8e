"""`gaussmith edit`: crop, clean, thin out, move and merge splats."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from gaussmith.cli_options import OptionalFloat, OptionalInt, Output, tell, writable_folder
from gaussmith.events import UserError

if TYPE_CHECKING:
    from gaussmith.editing import Change

Listed = Annotated[str, arg(metavar="NUMBERS")]


def edit(
    files: Positional[tuple[Path, ...]],
    *,
    output: Output,
    crop_box: Listed = "",
    crop_sphere: Listed = "",
    outside: bool = False,
    min_opacity: OptionalFloat = None,
    max_size: OptionalFloat = None,
    drop_color: Listed = "",
    tolerance: float = 0.1,
    drop_floaters: bool = False,
    max_gaussians: OptionalInt = None,
    sh_degree: OptionalInt = None,
    scale: OptionalFloat = None,
    rotate: Listed = "",
    move: Listed = "",
    center: bool = False,
    quiet: bool = False,
) -> None:
    """Crop, clean, thin out, move or merge Gaussian splats. The files read are never written.

    Whatever the order of the options, the work is done in that of the list below; for another order, edit the result
    again.

    Args:
        files: Splats of any format; several are merged, in this order.
        output: The splat to write; its suffix names the format.
        crop_box: x0,y0,z0,x1,y1,z1: keep the Gaussians with their centre in the box between two corners.
        crop_sphere: x,y,z,radius: keep the Gaussians with their centre in the sphere.
        outside: Delete what is in the box and in the sphere, instead of what is not.
        min_opacity: Delete fainter Gaussians, 0 to 1.
        max_size: Delete Gaussians with a larger standard deviation along their longest axis, in the file's units.
        drop_color: r,g,b from 0 to 1: delete the Gaussians of this colour.
        tolerance: How far a colour may be from --drop-color in any channel, 0 to 1.
        drop_floaters: Delete Gaussians that are isolated, too faint to be seen, or as large as everything else.
        max_gaussians: Keep at most so many: the largest and most opaque.
        sh_degree: Keep at most this degree of view-dependent colour, 0 to 3.
        scale: Enlarge by this factor about the origin.
        rotate: x,y,z: turn by degrees about the x axis, then the y axis, then the z axis.
        move: x,y,z: shift by this, in units after --scale.
        center: Move to the origin and scale to the usual size, a radius of 0.6, after --rotate.
        quiet: Show nothing but errors.
    """
    from gaussmith import api

    edits = api.Edits(
        crop_box=_numbers("--crop-box", crop_box, 6),
        crop_sphere=_numbers("--crop-sphere", crop_sphere, 4),
        outside=outside,
        min_opacity=min_opacity,
        max_size=max_size,
        drop_color=_numbers("--drop-color", drop_color, 3),
        tolerance=tolerance,
        floaters=drop_floaters,
        max_gaussians=max_gaussians,
        sh_degree=sh_degree,
        scale=scale,
        rotate=_numbers("--rotate", rotate, 3),
        move=_numbers("--move", move, 3),
        center=center,
    )
    if not files:
        raise UserError("there is no splat to edit; name at least one file")
    if len(files) == 1 and edits.nothing:
        raise UserError("say what to change, as in --drop-floaters; gaussmith convert writes another format")
    _spare_the_inputs(files, output)
    api.require_suffix(output, api.GAUSSIAN_WRITERS)
    gaussians, changes = api.edit(files, edits)
    writable_folder(output.parent)
    api.save_gaussians(gaussians, output)
    tell(quiet, *map(_line, changes), f"{output}: {len(gaussians):,} Gaussians")


def _numbers(option: str, listed: str, count: int) -> Any:
    """`count` numbers between commas as a tuple, None where nothing was given; UserError for anything else."""
    if not listed.strip():
        return None
    try:
        values = tuple(float(part) for part in listed.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise UserError(f"{option} takes {count} numbers between commas, got {listed!r}")
    return values


def _spare_the_inputs(files: tuple[Path, ...], output: Path) -> None:
    """UserError if `output` is one of the files, by whatever name or link."""
    for file in files:
        try:
            same = output.resolve() == file.resolve() or (output.exists() and output.samefile(file))
        except (OSError, RuntimeError):  # a file that cannot be looked at cannot be read either, which says so itself
            continue
        if same:
            raise UserError(f"{output} is a file to read; gaussmith edit never overwrites its input, name another")


def _line(change: Change) -> str:
    if change.after > change.before:
        return f"{change.name}: {change.before:,} Gaussians in the first, {change.after:,} together"
    if change.after == change.before:
        return f"{change.name}: all {change.before:,} kept"
    return f"{change.name}: removed {change.before - change.after:,} of {change.before:,}"
