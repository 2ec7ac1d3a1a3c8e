"""Triangle rasteriser: coverage, interpolation, texture lookup with gradients, pictures of a mesh.

Numba kernels on the CPU, Triton kernels on the GPU (`_mesh_cpu`, `_mesh_triton`): the same rules and the same float64
arithmetic where it decides what is seen. What makes a picture differentiable in the vertices stands in
`mesh_gradients` and `antialias`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from gaussmith import accelerator
from gaussmith.camera import Camera
from gaussmith.mesh import Mesh
from gaussmith.render._rows import sum_rows

NEAR = 0.01  # world units; the object's nearest point is about 1.4 from the default camera
LIGHT_GREY = 0.8

Backend = Literal["auto", "numba", "triton"]
"""numba: CPU kernels; tensors elsewhere travel there and back. triton: GPU kernels. auto: triton for tensors on a GPU
where it is installed, numba otherwise."""


def _kernels(backend: Backend, device: torch.device) -> ModuleType:
    """The host functions of a backend; imported only when used, since Numba and Triton take their time."""
    if backend == "triton" or (backend == "auto" and accelerator.compiles(device)):
        from gaussmith.render import _mesh_triton

        return _mesh_triton
    if backend in ("auto", "numba"):
        from gaussmith.render import _mesh_cpu

        return _mesh_cpu
    raise ValueError(f"backend must be auto, numba or triton, got {backend!r}")


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


def projections(camera: Camera) -> Tensor:
    """K [R|t] float64 [B,3,4]: from world points to homogeneous pixels, whose z is the camera depth."""
    return camera.K.double() @ camera.w2c[:, :3].double()


def rasterize_mesh(vertices: Tensor, faces: Tensor, camera: Camera, *, backend: Backend = "auto") -> Fragments:
    """Find the nearest face behind every pixel centre, both sides of a face alike; no gradients.

    Faces nearer than `NEAR` are cut there. A pixel centre on an edge belongs to exactly one of the faces that share it.
    Source: Olano & Greer 1997 (homogeneous coverage), see `_mesh_numba`.

    Args:
        vertices: [V,3] world positions.
        faces: [F,3] vertex indices.
        camera: B cameras.
        backend: see `Backend`. A GPU is waited for: for the checks, and once more for the length of the tile lists.

    Raises:
        ValueError: a vertex is not finite, or an index is out of range.
        UserError: triton is not installed, the tensors do not lie on a GPU, or its memory does not suffice.
    """
    _check_mesh(vertices, faces)
    kernels, matrices = _kernels(backend, vertices.device), projections(camera).detach()
    found = kernels.rasterize(vertices.detach().float(), faces, matrices, NEAR, camera.height, camera.width)
    return Fragments(*(output.to(vertices.device) for output in found))


def _check_mesh(vertices: Tensor, faces: Tensor) -> None:
    finite = torch.isfinite(vertices).all()
    inside = finite if not faces.numel() else (faces.amin() >= 0) & (faces.amax() < vertices.shape[0])
    finite_there, inside_there = torch.stack([finite, inside]).tolist()  # one wait for a GPU
    if not finite_there:
        raise ValueError("mesh vertices must be finite")
    if not inside_there:
        raise ValueError(f"face indices must be in [0, {vertices.shape[0]})")


class _Interpolate(torch.autograd.Function):
    """`interpolate` of a backend, with the gradients of the attributes and of the barycentrics."""

    @staticmethod
    def forward(
        ctx: Any, attributes: Tensor, barycentric: Tensor, faces: Tensor, face: Tensor, side: int, kernels: ModuleType
    ) -> Tensor:
        ctx.save_for_backward(attributes, barycentric, faces, face)
        ctx.side = side
        values: Tensor = kernels.interpolate(attributes, faces, face, barycentric, side)
        return values.to(face.device)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        attributes, barycentric, faces, face = ctx.saved_tensors
        high, wide = (n * ctx.side for n in gradient.shape[1:3])
        b, y, x = torch.nonzero(face[:, :high, :wide] >= 0, as_tuple=True)
        corners, weights = faces[face[b, y, x]], barycentric[b, y, x]
        pulled = gradient[b, y // ctx.side, x // ctx.side]
        to_attributes = to_barycentric = None
        if ctx.needs_input_grad[0]:
            rows = (weights[..., None] * pulled[:, None]).to(attributes.dtype)
            to_attributes = sum_rows(rows.flatten(0, 1), corners.flatten(), len(attributes))
        if ctx.needs_input_grad[1]:
            to_barycentric = torch.zeros_like(barycentric)
            parts = [(attributes[corners[:, k]] * pulled).sum(dim=-1) for k in range(3)]
            to_barycentric[b, y, x] = torch.stack(parts, dim=-1).to(barycentric.dtype)
        return to_attributes, to_barycentric, None, None, None, None


def interpolate(
    attributes: Tensor, faces: Tensor, fragments: Fragments, side: int = 1, *, backend: Backend = "auto"
) -> Tensor:
    """Values [B,H,W,C] at the pixels from values [A,C] at the corners, 0 where there is no face.

    `faces` [F,3] indexes `attributes`: a mesh's `faces` for vertex attributes, its `uv_faces` for `uv`. With `side` > 1
    the fragments are samples, side x side of them a pixel, and the result [B,H/side,W/side,C] is their sum.

    Gradients flow to the attributes and to the barycentrics (which have some if they come from
    `mesh_gradients.with_gradients`), summed to the same bits every time. float64 attributes give float64 values.
    """
    kernels = _kernels(backend, fragments.face.device)
    values = attributes if attributes.dtype == torch.float64 else attributes.float()
    where = fragments.face.device
    tensors = values.to(where), fragments.barycentric, faces.to(where), fragments.face
    result: Tensor = _Interpolate.apply(*tensors, side, kernels)
    return result


class _Lookup(torch.autograd.Function):
    """`lookup` of a backend with the gradient of the texture; the result lies where the backend's results do."""

    @staticmethod
    def forward(ctx: Any, texture: Tensor, uv: Tensor, drawn: Tensor, side: int, kernels: ModuleType) -> Tensor:
        ctx.save_for_backward(uv, drawn)
        ctx.side, ctx.shape, ctx.device, ctx.kernels = side, texture.shape, texture.device, kernels
        out: Tensor = kernels.lookup(texture, uv, drawn, side)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        texture = ctx.kernels.lookup_backward(gradient, *ctx.saved_tensors, ctx.side, ctx.shape)
        return texture.to(ctx.device), None, None, None, None


def sample_texture(texture: Tensor, uv: Tensor, *, backend: Backend = "auto") -> Tensor:
    """Bilinear samples [...,C] of a texture at uv, clamped at its border; differentiable in the texture.

    The gradient has the same bits every time: it is summed in a fixed order on the CPU and in whole numbers on a GPU.

    Args:
        texture: [H,W,C], float32 or float64; texel (i,j) has its centre at uv ((j+.5)/W, (i+.5)/H).
        uv: [...,2]; (0,0) is the top left corner, v points down. No gradient flows to it.

    Raises:
        ValueError: the texture is empty or not [H,W,C], or uv is not [...,2] or not finite.
    """
    _check_texture(texture, uv)
    grid = uv.detach().reshape(1, -1, 1, 2).contiguous()
    drawn = torch.ones(grid.shape[:-1], dtype=torch.bool, device=grid.device)
    flat = _Lookup.apply(texture, grid, drawn, 1, _kernels(backend, texture.device))
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
    backend: Backend = "auto",
) -> MeshRender:
    """Draw a mesh unlit, in its own colours; gradients flow to the texture or the vertex colours, not to the shape.

    The colour is `texture` or the mesh's albedo at its uv, else the vertex colours, else light grey. Colours are
    averaged as sRGB values, as splatting does. Normals are the mesh's vertex normals if it has any, else the faces'.

    Args:
        mesh: the mesh.
        camera: B cameras.
        background: [3] or [B,3]; default black.
        supersample: samples a pixel and axis, averaged by a box filter.
        shaded: draw grey clay lit from beside the camera instead of the colours.
        texture: [H,W,3] to draw in place of the mesh's albedo.
        backend: see `Backend`; by where the vertices lie.

    Raises:
        ValueError: vertices or uv are not finite, an index is out of range, a texture is given to a mesh without uv.
        UserError: as `rasterize_mesh`.
    """
    if texture is not None and mesh.uv is None:
        raise ValueError("a texture needs a mesh with uv")
    if supersample < 1:
        raise ValueError(f"supersample must be at least 1, got {supersample}")
    albedo, device = mesh.albedo if texture is None else texture, mesh.vertices.device
    kernels = _kernels(backend, device)
    where = kernels.home(device)
    ground = (torch.zeros(3) if background is None else background).to(where).expand(len(camera), 3)
    views = [_render_view(mesh, camera[i], ground[i], supersample, shaded, albedo, backend) for i in range(len(camera))]
    pictures = zip(*((view.rgb, view.alpha, view.depth, view.normal) for view in views))
    return MeshRender(*(torch.cat(parts).to(device) for parts in pictures))


def _render_view(
    mesh: Mesh,
    camera: Camera,
    background: Tensor,
    supersample: int,
    shaded: bool,
    albedo: Tensor | None,
    backend: Backend,
) -> MeshRender:
    """One view: a camera at a time keeps the samples of a big supersampled batch out of memory."""
    where, kernels = background.device, _kernels(backend, mesh.vertices.device)
    fine = camera.resized(camera.width * supersample, camera.height * supersample)
    fragments = rasterize_mesh(mesh.vertices.to(where), mesh.faces.to(where), fine, backend=backend)
    count, depth, normal = _geometry(mesh, fine, fragments, supersample, kernels)
    samples = supersample * supersample
    alpha = count / samples
    if shaded:
        colour = _clay(normal, camera.to(where)) * alpha
    elif albedo is not None and mesh.uv is not None and mesh.uv_faces is not None:
        _check_texture(albedo, mesh.uv)
        uv = interpolate(mesh.uv.detach().float(), mesh.uv_faces, fragments, backend=backend)
        colour = _Lookup.apply(albedo, uv, fragments.face >= 0, supersample, kernels) / samples
    elif mesh.vertex_colors is not None:
        colours = mesh.vertex_colors.float()
        colour = interpolate(colours, mesh.faces, fragments, supersample, backend=backend) / samples
    else:
        colour = LIGHT_GREY * alpha
    return MeshRender(colour + (1 - alpha) * background, alpha, depth, normal)


def _geometry(
    mesh: Mesh, camera: Camera, fragments: Fragments, side: int, kernels: ModuleType
) -> tuple[Tensor, Tensor, Tensor]:
    """Covered samples [1,H,W,1], their mean depth [1,H,W,1] and mean normal [1,H,W,3] turned to the camera."""
    if mesh.normals is not None:
        normals, faces = mesh.normals, mesh.faces
    else:
        normals, faces = (
            mesh.face_normals(),
            torch.arange(len(mesh.faces), device=mesh.faces.device)[:, None].expand(-1, 3),
        )
    rays = (camera.c2w[0, :3, :3].double() @ torch.linalg.inv_ex(camera.K[0].double()).inverse).float()
    samples = fragments.face, fragments.barycentric, fragments.depth
    found: tuple[Tensor, Tensor, Tensor] = kernels.geometry(normals.detach().float(), faces, *samples, rays, side)
    return found


def _clay(normals: Tensor, camera: Camera) -> Tensor:
    """Grey [1,H,W,1] of clay lit by a key light up and left of the camera and a weaker one from it."""
    right, down, forward = camera.c2w[0, :3, :3].unbind(dim=1)
    key = torch.nn.functional.normalize(-0.5 * right - 0.7 * down - forward, dim=0)
    return (0.18 + 0.57 * (normals @ key).clamp_min(0) + 0.15 * (normals @ -forward).clamp_min(0))[..., None]
