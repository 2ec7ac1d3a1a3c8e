"""The first colours of a mesh: what the Gaussians it was extracted from look like from all around."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.gaussians import Gaussians
from gaussmith.mesh import Mesh
from gaussmith.render.splat import rasterize
from gaussmith.texture.backproject import Baked, bake, bake_vertices
from gaussmith.texture.consistency import contradicted, sighting
from gaussmith.texture.inpaint import fill
from gaussmith.texture.overlay import lay, trust
from gaussmith.texture.seams import equalise_seams
from gaussmith.texture.unwrap import unwrap
from gaussmith.views import baking_ring


def texture_from_gaussians(
    mesh: Mesh,
    gaussians: Gaussians,
    size: int = 1024,
    *,
    view_size: int = 512,
    cameras: Camera | None = None,
    pictures: tuple[Camera, Tensor] | None = None,
    believed: tuple[Camera, Tensor] | None = None,
) -> tuple[Mesh, float]:
    """Unwrap a mesh and colour it from 26 renders of its Gaussians (DreamGaussian, section 3.3), and from pictures.

    What no view saw continues the colours around it; the two sides of every chart border are made to agree.

    Args:
        mesh: V vertices within about 0.8 of the origin, so that the default cameras see all of it.
        gaussians: what the mesh was extracted from, in the same place.
        size: side of the texture in texels.
        view_size: side of the renders in pixels (DreamGaussian: 512).
        cameras: B views to take instead, of a mesh of any place and size.
        pictures: cameras and premultiplied [K,H,W,4], laid over the renders (`overlay.lay`).
        believed: likewise of what only is believed; laid under the pictures, and not where they contradict it.

    Returns:
        The mesh with uv, uv_faces and albedo [size,size,3]; and the share of its texels, in [0,1], that some view saw.

    Raises:
        UserError: the mesh has no surface to unwrap.
    """
    unwrapped = unwrap(mesh, size)
    baked = bake_gaussians(unwrapped, gaussians, size, view_size, cameras)
    albedo = fill(baked.albedo, baked.weight, unwrapped, baked.atlas)
    for layer in (believed, pictures):
        if layer is None:
            continue
        camera, rgba = layer
        trusted = trust(unwrapped, camera, rgba[..., 3])
        if layer is believed and pictures is not None:
            trusted = trusted * (1 - contradicted(sighting(unwrapped, *believed), sighting(unwrapped, *pictures)))
        albedo = lay(albedo, unwrapped, baked.atlas, camera, rgba, trusted)
    return unwrapped.with_(albedo=equalise_seams(albedo, unwrapped, baked.atlas)), baked.coverage


def color_from_gaussians(mesh: Mesh, gaussians: Gaussians, cameras: Camera | None = None) -> tuple[Mesh, float]:
    """Colour the vertices of a mesh from renders of its Gaussians, by default the 26 of `texture_from_gaussians`.

    A vertex that no view saw takes the colour of the nearest that one saw.

    Returns:
        The mesh with vertex_colors [V,3], and the share of its vertices, in [0,1], that some view saw.
    """
    cameras = baking_ring().camera() if cameras is None else cameras
    colors, weight = bake_vertices(mesh, cameras, *render_views(gaussians, cameras))
    seen = weight > 0
    if bool(seen.any()) and not bool(seen.all()):
        nearest = cKDTree(mesh.vertices[seen].numpy()).query(mesh.vertices[~seen].numpy(), workers=1)[1]
        colors[~seen] = colors[seen][torch.from_numpy(nearest)]
    return mesh.with_(vertex_colors=colors), float(seen.float().mean())


def bake_gaussians(
    mesh: Mesh, gaussians: Gaussians, size: int, view_size: int = 512, cameras: Camera | None = None
) -> Baked:
    """What renders of the Gaussians, 26 or those of `cameras`, show of a mesh with uv; texels that no view saw are left
    empty."""
    cameras = baking_ring(size=view_size).camera() if cameras is None else cameras
    return bake(mesh, cameras, *render_views(gaussians, cameras), size)


@torch.no_grad()
def render_views(gaussians: Gaussians, cameras: Camera) -> tuple[Tensor, Tensor]:
    """Premultiplied colours [B,H,W,3] and alphas [B,H,W,1] of the Gaussians from B cameras, one view at a time."""
    rgb = torch.empty(len(cameras), cameras.height, cameras.width, 3)
    alpha = torch.empty(len(cameras), cameras.height, cameras.width, 1)
    for index in range(len(cameras)):
        view = rasterize(gaussians, cameras[index], geometry=False)
        rgb[index], alpha[index] = view.rgb[0], view.alpha[0]
    return rgb, alpha
