"""The command `gaussmith convert`: from one format of splats, or of meshes, to another."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from gaussmith.cli_options import OptionalInt, tell, within
from gaussmith.progress import reporting

if TYPE_CHECKING:
    from gaussmith.recipes.convert import Report


def convert(
    source: Positional[Path],
    target: Positional[Path],
    *,
    sh_degree: OptionalInt = None,
    flip: bool = False,
    quiet: bool = False,
) -> None:
    """Convert a splat, or a mesh, into another format, and tell the sizes and what was lost.

    Args:
        source: A splat (.ply, compressed .ply, .splat, .spz, .glb or .gltf) or a mesh (.glb, .obj, .ply or .stl).
        target: The file to write, in the format that its suffix names: .ply, .compressed.ply, .splat, .spz, .glb or
            .gltf for a splat; .glb, .obj, .ply or .stl for a mesh.
        sh_degree: Keep the dependence of a splat's colours on the view only up to this degree, 0 to 3.
        flip: Turn half a turn around x: from y downwards (most PLY and .splat files of photographed scenes) to y
            upwards (.spz, .glb, and this program), or back.
        quiet: Show nothing but errors, and measure nothing.
    """
    within("--sh-degree", sh_degree, 0, 3)
    from gaussmith.recipes import convert as recipe

    config = recipe.Config(sh_degree, flip, views=0 if quiet else recipe.Config.views)
    with reporting(quiet) as on_event:
        report = recipe.run(config, source, target, on_event)
    tell(quiet, *_lines(report, source, target))


def _lines(report: Report, source: Path, target: Path) -> list[str]:
    """What the command tells: a line for each file, then the ratio and the loss."""
    width = max(len(source.name), len(target.name))
    lines = []
    for path, size in ((source, report.source_bytes), (target, report.target_bytes)):
        each = f"  {size / report.count:8.2f} a Gaussian" if report.count else ""
        lines.append(f"{path.name:{width}}  {size:>13,} bytes{each}")
    ratio = f"{report.source_bytes / max(report.target_bytes, 1):.2f} times smaller"
    if report.target_bytes > report.source_bytes:
        ratio = f"{report.target_bytes / max(report.source_bytes, 1):.2f} times larger"
    if report.psnr is not None:
        lost = "nothing lost" if math.isinf(report.psnr) else f"{report.psnr:.1f} dB PSNR to the original"
        ratio += f", {lost} on 8 views"
    return [*lines, ratio]
