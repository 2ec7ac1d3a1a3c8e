"""Pictures laid over a texture, each as far as it is to be trusted.

DreamGaussian (Tang et al. 2023, section 3.2) starts its texture from renders of the Gaussians alone. These blend what
lies along a ray, so that no two of them agree on a pattern: an eye is a smear, and what the picture shows from the side
of a bulge stands beside it in other colours. Here what the picture shows is taken from the picture.

The trust is worked out on the picture's own pixels and smoothed there. Texel by texel it would follow every bump of the
surface, and where picture and renders disagree its border would be frayed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import interpolate, rasterize_mesh
from gaussmith.texture.atlas import Atlas

# None of these is from a paper.
SOLID = 0.98  # alpha from which a pixel is the object's own colour
GRAZING, FACING = 0.2, 0.6  # cosines at which a picture begins to count, and at which it has all of the say
RIM = 0.15  # cosine below which a picture counts less, however well the surface around is seen
SMOOTH = 0.03  # reach, in shares of the picture's side, over which the cosine is averaged
EDGE = 0.002  # distance from an edge of the depth, likewise, at which a pixel may show what stands before or behind it
BEHIND = 4.0  # pixels: what lies further behind what is seen is hidden. A pixel of a slope spans some of its depth


def trust(mesh: Mesh, camera: Camera, alpha: Tensor) -> Tensor:
    """How far pictures of a mesh are to be believed, pixel by pixel: [B,H,W] in [0,1], smooth.

    It is 0 where the mesh is not, where the picture is not solid, beside edges of the depth and where the surface is
    seen from its side, and 1 where it faces the camera.

    Args:
        camera: B cameras. alpha: [B,H,W] of the pictures, of the cameras' size.
    """
    fragments = rasterize_mesh(mesh.vertices, mesh.faces, camera)
    covered = fragments.face >= 0
    _, rays = camera.rays()
    normals = F.normalize(interpolate(mesh.vertex_normals(), mesh.faces, fragments), dim=-1)
    cosine = -(normals * F.normalize(rays, dim=-1)).sum(dim=-1).clamp(-1, 0) * covered
    there = covered.float()
    reach, edge = (max(1, round(share * camera.width)) for share in (SMOOTH, EDGE))
    facing = _blurred(cosine, reach) / _blurred(there, reach).clamp_min(1e-6)
    facing = ((facing - GRAZING) / (FACING - GRAZING)).clamp(0, 1)
    facing = facing.square() * (3 - 2 * facing)
    # At the outline the average looks inwards; there the surface itself has to face the camera, were it ever so little.
    facing = facing * (cosine / RIM).clamp(0, 1)
    beside = _blurred(_edges(fragments.depth, cosine, camera).float(), edge)
    return facing * (1 - beside) * (covered & (alpha > SOLID))


def _edges(depth: Tensor, cosine: Tensor, camera: Camera) -> Tensor:
    """[B,H,W] bool: beside a jump of the depth [B,H,W] (0 for none) that the slope of the surface does not explain."""
    pixel = depth / camera.K[:, 0, 0, None, None]
    slope = (1 - cosine.square()).clamp_min(0).sqrt() / cosine.clamp_min(0.1)
    most = pixel * (1 + 3 * slope)
    edges = torch.zeros_like(depth, dtype=torch.bool)
    for dim in (1, 2):
        last = depth.shape[dim] - 1
        near, far = depth.narrow(dim, 0, last), depth.narrow(dim, 1, last)
        allowed = torch.maximum(most.narrow(dim, 0, last), most.narrow(dim, 1, last))
        jump = (near > 0) & (far > 0) & ((near - far).abs() > allowed)
        edges.narrow(dim, 0, last).logical_or_(jump)
        edges.narrow(dim, 1, last).logical_or_(jump)
    return edges


def _blurred(picture: Tensor, reach: int) -> Tensor:
    """[B,H,W] averaged twice over squares of side 2 reach + 1: a tent."""
    for _ in range(2):
        picture = F.avg_pool2d(picture[:, None], 2 * reach + 1, 1, reach)[:, 0]
    return picture


def lay(albedo: Tensor, mesh: Mesh, atlas: Atlas, cameras: Camera, rgba: Tensor, trusted: Tensor) -> Tensor:
    """The texture [S,S,3] with pictures laid over it. Where several show a texel, the one that is trusted most decides.

    Args:
        mesh: with the uv that `atlas` was made of.
        cameras: K cameras. rgba: [K,H,W,4] premultiplied. trusted: [K,H,W] in [0,1], from `trust`.
    """
    texels = torch.from_numpy(atlas.texels)
    points = torch.from_numpy(atlas.at_corners(mesh.vertices.detach().numpy(), mesh.faces.numpy()))
    x, y, z = cameras.project(points).unbind(dim=-1)
    place = torch.stack([x / cameras.width, y / cameras.height], dim=-1)[:, None] * 2 - 1
    planes = torch.cat([rgba, trusted[..., None]], dim=-1).permute(0, 3, 1, 2)
    shown = F.grid_sample(planes, place, align_corners=False)[:, :, 0].transpose(1, 2)
    # By the face's own normal: in a pit the smooth one may look away from who sees its wall.
    towards = torch.einsum("kni,ni->kn", cameras.position[:, None] - points, mesh.face_normals()[atlas.face])
    depth = rasterize_mesh(mesh.vertices, mesh.faces, cameras).depth
    before = F.grid_sample(depth[:, None], place, mode="nearest", align_corners=False)[:, 0, 0]
    behind = (z - before) * cameras.K[:, :1, 0] / z
    amount = shown[..., 4:] * ((towards > 0) & ((behind < BEHIND) | (before == 0)))[..., None]
    share = amount**4
    color = (share * shown[..., :3] / shown[..., 3:4].clamp_min(1e-3)).sum(dim=0) / share.sum(dim=0).clamp_min(1e-12)
    out = albedo.reshape(-1, 3).clone()
    out[texels] = torch.lerp(out[texels], color.clamp(0, 1), amount.amax(dim=0))
    return out.reshape(albedo.shape)
