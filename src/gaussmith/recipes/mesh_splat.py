"""Any Gaussian splat becomes a textured mesh, watertight if it is an object. No prior is needed.

    move the splat to the origin, at the size the cameras expect
    extract the surface where its density crosses a level, or, for open scenes, from what cameras see of it
    unwrap it and colour it from renders of the splat itself; scenes get a colour a vertex
    move the mesh back to where the splat was

Source: DreamGaussian (Tang et al. 2023), section 3.3, for splats of any origin; Curless and Levoy 1996 for scenes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from gaussmith.accelerator import enough_memory
from gaussmith.camera import Camera, concat
from gaussmith.events import OnEvent, UserError, Warned, ignore, timed
from gaussmith.framing import fit_points, visible_points
from gaussmith.gaussians import Gaussians
from gaussmith.mesh import Mesh
from gaussmith.surface import check, extract_mesh
from gaussmith.surface.tsdf import extract_tsdf
from gaussmith.texture.bake_splat import color_from_gaussians, texture_from_gaussians

Method = Literal["density", "tsdf"]

# Views that colour a scene: the nearest to a place are among so many, and memory stays below 500 MB.
TEXTURE_VIEWS = 48
TEXTURE_SIDE = 800


@dataclass(frozen=True)
class Config:
    """Numbers of the conversion.

    Attributes:
        resolution: grid nodes along the longest side of the surface query (DreamGaussian: 128).
        max_faces: upper limit of the mesh's faces.
        texture_size: side of the texture in pixels (DreamGaussian: 1024); 0 for a colour a vertex, which is as good for
            the many faces of a scene: its ragged borders take minutes to unwrap.
        method: "density", where the Gaussians are dense, closed, for objects; or "tsdf", what cameras see, open where
            they see nothing, for scenes.
    """

    resolution: int = 128
    max_faces: int = 20_000
    texture_size: int = 1024
    method: Method = "density"


METHODS: dict[str, Config] = {"density": Config(), "tsdf": Config(256, 200_000, 0, "tsdf")}


def run(
    config: Config, gaussians: Gaussians, on_event: OnEvent = ignore, cameras: Sequence[Camera] | None = None
) -> Mesh:
    """The coloured mesh of a splat, where the splat is and as large as it.

    Args:
        config: method, resolution and sizes.
        gaussians: N >= 1 Gaussians of any SH degree, anywhere, of any scale; those that are not finite are left out.
        cameras: for "tsdf", one or more that looked at the scene, each of one view; by default 26 around it that look
            inwards.

    Raises:
        UserError: nothing visible in the splat, or its density has no surface.
    """
    sizes = f"with {len(gaussians):,} Gaussians and {config.resolution} cells along the longest side"
    with enough_memory(sizes, "lower --resolution or --texture-size, or thin the splat with gaussmith edit"):
        return _run(config, gaussians, on_event, cameras)


def _run(config: Config, gaussians: Gaussians, on_event: OnEvent, cameras: Sequence[Camera] | None) -> Mesh:
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

    views = None if cameras is None else fit.camera(_one_size(cameras))

    with timed(on_event, "surface") as figures:
        if config.method == "tsdf":
            mesh = extract_tsdf(centred, views, resolution=config.resolution, max_faces=config.max_faces)
        else:
            mesh = extract_mesh(centred, resolution=config.resolution, max_faces=config.max_faces)
        figures["faces"] = len(mesh.faces)
    if not check(mesh).watertight:
        on_event(Warned("the mesh is open where no camera saw a surface: it is not watertight"))

    with timed(on_event, "texture") as figures:
        views = _texture_views(views)
        if config.texture_size:
            mesh, figures["coverage"] = texture_from_gaussians(mesh, centred, config.texture_size, cameras=views)
        else:
            mesh, figures["coverage"] = color_from_gaussians(mesh, centred, views)
    return fit.undo(mesh)


def _one_size(cameras: Sequence[Camera]) -> Camera:
    """All views on one pixel grid, that of the median area."""
    size = sorted(((c.width, c.height) for c in cameras), key=lambda s: s[0] * s[1])[len(cameras) // 2]
    return concat([camera.resized(*size) for camera in cameras])


def _texture_views(cameras: Camera | None) -> Camera | None:
    """At most TEXTURE_VIEWS of them, evenly chosen, of at most TEXTURE_SIDE pixels."""
    if cameras is None:
        return None
    if len(cameras) > TEXTURE_VIEWS:
        cameras = cameras[torch.linspace(0, len(cameras) - 1, TEXTURE_VIEWS).round().long()]
    scale = min(1.0, TEXTURE_SIDE / max(cameras.width, cameras.height))
    return cameras.resized(max(round(scale * cameras.width), 1), max(round(scale * cameras.height), 1))
