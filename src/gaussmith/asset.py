"""The files of a finished asset."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from torch import Tensor

from gaussmith.gaussians import Gaussians
from gaussmith.io.atomic import write_bytes
from gaussmith.io.gltf import save_glb
from gaussmith.io.image import save_image
from gaussmith.io.splat_ply import save_splat_ply
from gaussmith.io.video import save_video
from gaussmith.mesh import Mesh
from gaussmith.preview import preview_sheet, turntable

# A turn of three seconds that costs two or three on two cores.
FPS = 20
VIEWS = 60
SIZE = 320
TEXT_ELEVATION = 15.0  # degrees, of the preview of something that nobody pictured


def save_asset(
    folder: str | Path,
    name: str,
    *,
    gaussians: Gaussians,
    mesh: Mesh,
    rgba: Tensor | None,
    elevation: float,
    report: dict[str, Any],
    azimuth: float = 0.0,
) -> list[Path]:
    """Write NAME.glb, NAME.ply, preview.png, turntable.mp4 and, last, report.json into `folder`; return their paths.

    Args:
        folder: made if it is not there.
        name: stem of the mesh's and the splat's file.
        mesh: with uv and albedo, standing as it was pictured.
        rgba: [S,S,4] the prepared picture, straight alpha; None if there is none.
        elevation, azimuth: of the reference camera, degrees.
        report: JSON-able; NaN and infinity are refused (ValueError). The versions of what made it are added.

    Raises:
        UserError: the folder cannot be written, or is full. Each file is there whole or not at all.
    """
    folder = Path(folder)
    text = json.dumps(report | {"versions": versions()}, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    paths = [folder / file for file in (f"{name}.glb", f"{name}.ply", "preview.png", "turntable.mp4", "report.json")]
    save_glb(mesh, paths[0])
    save_splat_ply(gaussians, paths[1])
    save_image(paths[2], preview_sheet(rgba, mesh, elevation, azimuth=azimuth))
    save_video(paths[3], turntable(mesh, views=VIEWS, size=SIZE, elevation=elevation), fps=FPS)
    write_bytes(paths[4], text.encode())
    return paths


def versions() -> dict[str, str]:
    """Versions of Python, of gaussmith and of the packages whose numbers a result depends on."""
    packages = ("gaussmith", "torch", "numpy", "numba", "scipy", "scikit-image", "xatlas", "pillow")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}
