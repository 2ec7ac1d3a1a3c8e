"""Triangle rasteriser on the CPU: coverage, interpolation, texture lookup with gradients, pictures of a mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.mesh import Mesh
from gaussmith.render import _mesh_numba as kernels
from gaussmith.threads import run

NEAR = 0.01  # world units; the object's nearest point is about 1.4 from the default camera
LIGHT_GREY = 0.8
_SETUP_FACES = 1 << 20  # faces x views set up at once: 88 bytes each, so memory stays under 100 MB


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees first.

    Attributes:
        face: [B,H,W] int64 index of the face, -1 where there is none.
        barycentric: [B,H,W,3] float32 perspective-correct weights of the face's corners, 0 where there is none.
        depth: [B,H,W] float32 camera z in world units, 0 where there is none.
    """

    face: Tensor
    barycentric: Tensor
    depth: Tensor


def rasterize_mesh(vertices: Tensor, faces: Tensor, camera: Camera) -> Fragments:
    """Find the nearest face behind every pixel centre, both sides of a face alike; no gradients.

    Faces nearer than `NEAR` are cut there. A pixel centre on an edge belongs to exactly one of the faces that share it.
    Source: Olano & Greer 1997 (homogeneous coverage), see `_mesh_numba`.

    Args:
        vertices: [V,3] world positions.
        faces: [F,3] vertex indices.
        camera: B cameras.

    Raises:
        ValueError: a vertex is not finite, or an index is out of range.
    """
    if not bool(torch.isfinite(vertices).all()):
        raise ValueError("mesh vertices must be finite")
    if faces.numel() and (int(faces.min()) < 0 or int(faces.max()) >= vertices.shape[0]):
        raise ValueError(f"face indices must be in [0, {vertices.shape[0]})")
    views, height, width = len(camera), camera.height, camera.width
    face = torch.full((views, height, width), -1)
    barycentric = torch.zeros(views, height, width, 3)
    depth = torch.zeros(views, height, width)
    points, triangles = _host(vertices.float()), _host(faces)
    projections = _host(camera.K.double() @ camera.w2c[:, :3].double())
    step = max(1, _SETUP_FACES // max(1, faces.shape[0]))
    for start in range(0, views, step):
        part = slice(start, start + step)
        outputs = (face[part].numpy(), barycentric[part].numpy(), depth[part].numpy())
        projected = np.empty((len(outputs[0]), len(points), 3))
        run(kernels.project, points, projections[part], projected)
        edges = np.empty((len(projected), len(triangles), 3, 3))
        boxes = np.zeros((len(projected), len(triangles), 4), np.int32)
        run(kernels.setup, projected, triangles, NEAR, height, width, edges, boxes)
        run(kernels.draw, projected, triangles, edges, boxes, NEAR, *outputs)
    return Fragments(*(output.to(vertices.device) for output in (face, barycentric, depth)))


def _host(tensor: Tensor) -> np.ndarray:
    """The values as the kernels want them: contiguous, on the CPU."""
    return tensor.detach().cpu().contiguous().numpy()


def interpolate(attributes: Tensor, faces: Tensor, fragments: Fragments, side: int = 1) -> Tensor:
    """Values [B,H,W,C] at the pixels from values [A,C] at the corners, 0 where there is no face; no gradients.

    `faces` [F,3] indexes `attributes`: a mesh's `faces` for vertex attributes, its `uv_faces` for `uv`. With `side` > 1
    the fragments are samples, side x side of them a pixel, and the result [B,H/side,W/side,C] is their sum.
    """
    face, barycentric = _host(fragments.face), _host(fragments.barycentric)
    values = torch.zeros(len(face), face.shape[1] // side, face.shape[2] // side, attributes.shape[1])
    run(kernels.interpolate, _host(attributes.float()), _host(faces), face, barycentric, side, values.numpy())
    return values.to(fragments.face.device)


class _Lookup(torch.autograd.Function):
    """`kernels.lookup` with the gradient of the texture; the result is on the CPU."""

    @staticmethod
    def forward(ctx: Any, texture: Tensor, uv: Tensor, drawn: Tensor, side: int) -> Tensor:
        ctx.save_for_backward(uv, drawn)
        ctx.side, ctx.shape, ctx.device = side, texture.shape, texture.device
        batch, height, width = drawn.shape
        out = torch.zeros(batch, height // side, width // side, texture.shape[2], dtype=texture.dtype)
        run(kernels.lookup, _host(texture), _host(uv), _host(drawn), side, out.numpy())
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        uv, drawn = (_host(saved) for saved in ctx.saved_tensors)
        texture = torch.zeros(ctx.shape, dtype=gradients[0].dtype)
        run(kernels.lookup_backward, _host(gradients[0]), uv, drawn, ctx.side, texture.numpy())
        return texture.to(ctx.device), None, None, None


def sample_texture(texture: Tensor, uv: Tensor) -> Tensor:
    """Bilinear samples [...,C] of a texture at uv, clamped at its border; differentiable in the texture.

    The gradient is summed in a fixed order: the same bits for any number of threads.

    Args:
        texture: [H,W,C], float32 or float64; texel (i,j) has its centre at uv ((j+.5)/W, (i+.5)/H).
        uv: [...,2]; (0,0) is the top left corner, v points down. No gradient flows to it.

    Raises:
        ValueError: the texture is empty or not [H,W,C], or uv is not [...,2] or not finite.
    """
    _check_texture(texture, uv)
    grid = uv.detach().reshape(1, -1, 1, 2).contiguous()
    flat = _Lookup.apply(texture, grid, torch.ones(grid.shape[:-1], dtype=torch.bool), 1)
    return flat.reshape(*uv.shape[:-1], texture.shape[2]).to(texture.device)


def _check_texture(texture: Tensor, uv: Tensor) -> None:
    if texture.ndim != 3 or texture.numel() == 0:
        raise ValueError(f"texture must be a non-empty [H,W,C], got {tuple(texture.shape)}")
    if uv.shape[-1] != 2 or not bool(torch.isfinite(uv).all()):
        raise ValueError("uv must be finite [...,2]")


@dataclass(frozen=True)
class MeshRender:
    """Pictures of a mesh.

    Attributes:
        rgb: [B,H,W,3] over the background; float32 sRGB in [0,1] where texture and background are.
        alpha: [B,H,W,1] share of the pixel's samples that the mesh covers.
        depth: [B,H,W,1] mean camera z of those samples, 0 where alpha is 0.
        normal: [B,H,W,3] world, unit, turned to the camera, 0 where alpha is 0.
    """

    rgb: Tensor
    alpha: Tensor
    depth: Tensor
    normal: Tensor


def render_mesh(
    mesh: Mesh,
    camera: Camera,
    background: Tensor | None = None,
    *,
    supersample: int = 2,
    shaded: bool = False,
    texture: Tensor | None = None,
) -> MeshRender:
    """Draw a mesh unlit, in its own colours; gradients flow to the texture and to nothing else.

    The colour is `texture` or the mesh's albedo at its uv, else the vertex colours, else light grey. Colours are
    averaged as sRGB values, as splatting does. Normals are the mesh's vertex normals if it has any, else the faces'.

    Args:
        mesh: the mesh.
        camera: B cameras.
        background: [3] or [B,3]; default black.
        supersample: samples a pixel and axis, averaged by a box filter.
        shaded: draw grey clay lit from beside the camera instead of the colours.
        texture: [H,W,3] to draw in place of the mesh's albedo.

    Raises:
        ValueError: vertices or uv are not finite, an index is out of range, a texture is given to a mesh without uv.
    """
    if texture is not None and mesh.uv is None:
        raise ValueError("a texture needs a mesh with uv")
    if supersample < 1:
        raise ValueError(f"supersample must be at least 1, got {supersample}")
    albedo, device, camera = mesh.albedo if texture is None else texture, mesh.vertices.device, camera.to("cpu")
    ground = (torch.zeros(3) if background is None else background.cpu()).expand(len(camera), 3)
    views = [_render_view(mesh, camera[i], ground[i], supersample, shaded, albedo) for i in range(len(camera))]
    pictures = zip(*((view.rgb, view.alpha, view.depth, view.normal) for view in views))
    return MeshRender(*(torch.cat(parts).to(device) for parts in pictures))


def _render_view(
    mesh: Mesh, camera: Camera, background: Tensor, supersample: int, shaded: bool, albedo: Tensor | None
) -> MeshRender:
    """One view: a camera at a time keeps the samples of a big supersampled batch out of memory."""
    fine = camera.resized(camera.width * supersample, camera.height * supersample)
    fragments = rasterize_mesh(mesh.vertices.cpu(), mesh.faces, fine)
    count, depth, normal = _geometry(mesh, fine, fragments, supersample)
    samples = supersample * supersample
    alpha = count / samples
    if shaded:
        colour = _clay(normal, camera) * alpha
    elif albedo is not None and mesh.uv is not None and mesh.uv_faces is not None:
        _check_texture(albedo, mesh.uv)
        uv = interpolate(mesh.uv, mesh.uv_faces, fragments)
        colour = _Lookup.apply(albedo, uv, fragments.face >= 0, supersample) / samples
    elif mesh.vertex_colors is not None:
        colour = interpolate(mesh.vertex_colors, mesh.faces, fragments, supersample) / samples
    else:
        colour = LIGHT_GREY * alpha
    return MeshRender(colour + (1 - alpha) * background, alpha, depth, normal)


def _geometry(mesh: Mesh, camera: Camera, fragments: Fragments, side: int) -> tuple[Tensor, ...]:
    """Covered samples [1,H,W,1], their mean depth [1,H,W,1] and mean normal [1,H,W,3] turned to the camera."""
    if mesh.normals is not None:
        normals, faces = mesh.normals, mesh.faces
    else:
        normals, faces = mesh.face_normals(), torch.arange(len(mesh.faces))[:, None].expand(-1, 3)
    rays = (camera.c2w[0, :3, :3].double() @ torch.linalg.inv(camera.K[0].double())).float()
    face, barycentric, nearest = (_host(t[0]) for t in (fragments.face, fragments.barycentric, fragments.depth))
    size = camera.height // side, camera.width // side
    count, depth, normal = torch.zeros(1, *size, 1), torch.zeros(1, *size, 1), torch.zeros(1, *size, 3)
    samples = (_host(normals.float()), _host(faces), face, barycentric, nearest, _host(rays), side)
    run(kernels.geometry, *samples, count[0, ..., 0].numpy(), depth[0, ..., 0].numpy(), normal[0].numpy())
    return count, depth, normal


def _clay(normals: Tensor, camera: Camera) -> Tensor:
    """Grey [1,H,W,1] of clay lit by a key light up and left of the camera and a weaker one from it."""
    right, down, forward = camera.c2w[0, :3, :3].unbind(dim=1)
    key = torch.nn.functional.normalize(-0.5 * right - 0.7 * down - forward, dim=0)
    return (0.18 + 0.57 * (normals @ key).clamp_min(0) + 0.15 * (normals @ -forward).clamp_min(0))[..., None]
