"""Any Gaussian splat becomes a textured, watertight mesh. No prior is needed.

    move the splat to the origin, at the size the cameras expect
    extract the surface where its density crosses a level
    unwrap it and colour it from 26 renders of the splat itself
    move the mesh back to where the splat was

Source: DreamGaussian (Tang et al. 2023), section 3.3, for splats of any origin.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from gaussmith.events import OnEvent, StageFinished, StageStarted, UserError, Warned, ignore
from gaussmith.framing import fit_points, visible_points
from gaussmith.gaussians import Gaussians
from gaussmith.mesh import Mesh
from gaussmith.surface import extract_mesh
from gaussmith.texture.bake_splat import texture_from_gaussians


@dataclass(frozen=True)
class Config:
    """Numbers of the conversion.

    Attributes:
        resolution: grid nodes along the longest side of the surface query (DreamGaussian: 128).
        max_faces: upper limit of the mesh's faces.
        texture_size: side of the texture in pixels (DreamGaussian: 1024).
    """

    resolution: int = 128
    max_faces: int = 20_000
    texture_size: int = 1024


def run(config: Config, gaussians: Gaussians, on_event: OnEvent = ignore) -> Mesh:
    """The textured mesh of a splat, where the splat is and as large as it.

    Args:
        config: resolution and sizes.
        gaussians: N >= 1 Gaussians of any SH degree, anywhere, of any scale; those that are not finite are left out.

    Raises:
        UserError: nothing visible in the splat, or its density has no surface.
    """
    finite = gaussians.finite()
    if lost := int((~finite).sum()):
        on_event(Warned(f"{lost:,} of {len(gaussians):,} Gaussians are not finite and are left out"))
    points = visible_points(gaussians)
    if len(points) == 0:
        raise UserError(
            "the splat holds no visible Gaussian (all are transparent or not finite), so there is no surface"
        )
    fit = fit_points(points)
    centred = fit.gaussians(gaussians.detach().select(finite))

    started = time.monotonic()
    on_event(StageStarted("surface"))
    mesh = extract_mesh(centred, resolution=config.resolution, max_faces=config.max_faces)
    on_event(StageFinished("surface", time.monotonic() - started, {"faces": len(mesh.faces)}))

    started = time.monotonic()
    on_event(StageStarted("texture"))
    mesh, coverage = texture_from_gaussians(mesh, centred, config.texture_size)
    on_event(StageFinished("texture", time.monotonic() - started, {"coverage": coverage}))
    return fit.undo(mesh)
