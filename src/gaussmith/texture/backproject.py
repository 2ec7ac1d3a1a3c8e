"""Colour a texture from pictures: every texel gathers what the views that see its point of the surface show there.

DreamGaussian (arXiv 2309.16653, section 3.2) keeps the texels of one view where the surface faces it (cosine > 0.5),
and the first view wins, which leaves hard borders. Here the views are blended with weights that rise steeply with
the cosine, so that the frontal view still decides but nothing jumps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import torch
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import rasterize_mesh
from gaussmith.texture.atlas import Atlas, atlas_fragments
from gaussmith.threads import run

# None of these is from the paper.
_RAMP = 0.25  # width in cosine over which a view fades in above its least cosine
_SPARE = 1e-3  # weight of a sample beside an edge of the depth or the alpha: it counts only where nothing better is
_SOLID = 0.9  # alpha above which a sample is the object's own colour
_GHOST = 0.5  # alpha below which a sample is worth nothing
_OUTLIER = 0.12  # colour distance at which a view that disagrees with the others has lost three quarters of its weight
_ROUNDS = 2  # reweightings of the robust mean


@dataclass(frozen=True)
class Baked:
    """Colours gathered from views.

    Attributes:
        albedo: [S,S,3] float32 sRGB in [0,1]; 0 where no view saw the texel (see `inpaint.fill`).
        weight: [S,S] float32 sum of the views' weights; 0 where no view saw the texel.
        atlas: what the texels show.
    """

    albedo: Tensor
    weight: Tensor
    atlas: Atlas

    @property
    def coverage(self) -> float:
        """Share of the texels inside charts that some view saw, in [0,1]."""
        seen = self.weight.flatten()[torch.from_numpy(self.atlas.texels[self.atlas.inside])] > 0
        return float(seen.float().mean())


def bake(
    mesh: Mesh,
    cameras: Camera,
    images: Tensor,
    alphas: Tensor,
    size: int = 1024,
    *,
    background: Tensor | None = None,
    view_weights: Tensor | None = None,
    min_cosine: float | Tensor = 0.1,
    sharpness: float = 6.0,
    atlas: Atlas | None = None,
) -> Baked:
    """Gather a texture from B pictures of the mesh.

    A view counts for a texel by view_weight * ramp(cosine - min_cosine) * cosine ** sharpness, the cosine being that of
    the angle between the surface normal and the direction to the camera; nothing where the view's own depth of the mesh
    shows something in front.

    Args:
        mesh: with uv.
        cameras: B cameras.
        images: [B,H,W,3] pictures in [0,1] composited over `background`.
        alphas: [B,H,W,1] their alpha in [0,1].
        size: S, side of the texture in texels.
        background: [3] colour behind the pictures, default black (premultiplied colours).
        view_weights: [B] relative trust in each view, default 1.
        min_cosine: scalar or [B], where a view begins to count; 0.5 with a large view weight lets a reference view
            dominate exactly where the paper trusts it.
        sharpness: higher follows the most frontal view more closely, lower averages more.
        atlas: `atlas_fragments(mesh, size)` if at hand.

    Raises:
        ValueError: shapes disagree, or the mesh has no uv.
    """
    atlas = atlas_fragments(mesh, size) if atlas is None else atlas
    colour, weight = _gathered(
        mesh, _surface(mesh, atlas), cameras, images, alphas, background, view_weights, min_cosine, sharpness
    )
    return Baked(torch.from_numpy(atlas.image(colour)), torch.from_numpy(atlas.image(weight)), atlas)


def bake_vertices(mesh: Mesh, cameras: Camera, images: Tensor, alphas: Tensor) -> tuple[Tensor, Tensor]:
    """Colours [V,3] and weights [V] that the vertices get as texels do in `bake`, from premultiplied pictures; both are
    0 where no view saw the vertex. Raises ValueError where shapes disagree."""
    normals = mesh.vertex_normals().detach().numpy()
    surface = (mesh.vertices.detach().numpy(), normals, normals)
    colour, weight = _gathered(mesh, surface, cameras, images, alphas)
    return torch.from_numpy(colour), torch.from_numpy(weight)


def _gathered(
    mesh: Mesh,
    surface: tuple[np.ndarray, np.ndarray, np.ndarray],
    cameras: Camera,
    images: Tensor,
    alphas: Tensor,
    background: Tensor | None = None,
    view_weights: Tensor | None = None,
    min_cosine: float | Tensor = 0.1,
    sharpness: float = 6.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [T,3] and weights [T] of points, face normals and smooth normals [T,3] of the mesh; see `bake`."""
    views = len(cameras)
    if images.shape != (views, cameras.height, cameras.width, 3) or alphas.shape != (*images.shape[:3], 1):
        raise ValueError(f"{views} cameras need pictures like them, got {tuple(images.shape)}, {tuple(alphas.shape)}")
    behind = torch.zeros(3) if background is None else background
    premultiplied = torch.cat([images - (1 - alphas) * behind, alphas], dim=-1).detach().float()
    colour, weight = np.zeros((len(surface[0]), 3), np.float32), np.zeros(len(surface[0]), np.float32)
    run(
        _gather,
        *surface,
        *_view_arrays(mesh, cameras),
        premultiplied.contiguous().numpy(),
        _per_view(view_weights, 1.0, views),
        _per_view(min_cosine, 0.0, views),
        float(sharpness),
        colour,
        weight,
    )
    return colour, weight


def texel_visibility(mesh: Mesh, cameras: Camera, size: int, *, atlas: Atlas | None = None) -> Tensor:
    """[B,S,S] float32 cosine between the surface normal and the direction to each camera, 0 where a texel is hidden
    from it, outside its picture, or shows no surface."""
    atlas = atlas_fragments(mesh, size) if atlas is None else atlas
    cosines = np.zeros((len(cameras), len(atlas.texels)), np.float32)
    run(_visible_cosines, *_surface(mesh, atlas), *_view_arrays(mesh, cameras), cosines)
    return torch.from_numpy(np.stack([atlas.image(row) for row in cosines]))


def _surface(mesh: Mesh, atlas: Atlas) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, face normals and smooth normals [T,3] of the texels."""
    faces = mesh.faces.numpy()
    points = atlas.at_corners(mesh.vertices.detach().numpy(), faces)
    smooth = atlas.at_corners(mesh.vertex_normals().detach().numpy(), faces)
    smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-12)
    return points, mesh.face_normals().detach().numpy()[atlas.face], smooth


def _view_arrays(mesh: Mesh, cameras: Camera) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Projections K [R|t] [B,3,4], camera centres [B,3] and the mesh's depth [B,H,W] in each view."""
    projections = (cameras.K.double() @ cameras.w2c[:, :3].double()).numpy()
    depth = rasterize_mesh(mesh.vertices, mesh.faces, cameras).depth
    return projections, cameras.position.double().numpy(), depth.numpy()


def _per_view(value: float | Tensor | None, default: float, views: int) -> np.ndarray:
    value = torch.as_tensor(default if value is None else value, dtype=torch.float64)
    return value.expand(views).contiguous().numpy()


@nb.njit(cache=True, error_model="numpy", inline="always")
def _look(point, normal, projection, centre, depth):
    """See a point from a view: (pixel x, pixel y, cosine, clear). The cosine is 0 where the point is hidden; `clear`
    says that the pixels around it show one piece of surface."""
    px, py, pz = np.float64(point[0]), np.float64(point[1]), np.float64(point[2])
    dx, dy, dz = centre[0] - px, centre[1] - py, centre[2] - pz
    cosine = (normal[0] * dx + normal[1] * dy + normal[2] * dz) / np.sqrt(dx * dx + dy * dy + dz * dz)
    z = projection[2, 0] * px + projection[2, 1] * py + projection[2, 2] * pz + projection[2, 3]
    if cosine < 0.02 or z <= 1e-6:
        return 0.0, 0.0, 0.0, False
    x = (projection[0, 0] * px + projection[0, 1] * py + projection[0, 2] * pz + projection[0, 3]) / z
    y = (projection[1, 0] * px + projection[1, 1] * py + projection[1, 2] * pz + projection[1, 3]) / z
    height, width = depth.shape
    if not (0.0 <= x < width and 0.0 <= y < height):
        return 0.0, 0.0, 0.0, False
    # One pixel sideways changes the depth by pixel * tan(angle); one pixel more allows for curvature. The nearest
    # pixel's centre is less than a pixel away, those below less than three.
    pixel = z / np.sqrt(projection[0, 0] ** 2 + projection[0, 1] ** 2 + projection[0, 2] ** 2)
    tangent = np.sqrt(1.0 - min(cosine, 1.0) ** 2) / cosine
    seen = depth[int(y), int(x)]
    if seen > 0.0 and seen < z - pixel * (1.0 + 1.5 * tangent):
        return 0.0, 0.0, 0.0, False
    # A pixel mixes what its neighbours show, so the four pixels of the lookup are pure if those around them agree too.
    left, top = int(np.floor(x - 0.5)), int(np.floor(y - 0.5))
    for i in range(max(top - 1, 0), min(top + 3, height)):
        for j in range(max(left - 1, 0), min(left + 3, width)):
            if depth[i, j] <= 0.0 or abs(depth[i, j] - z) > pixel * (1.0 + 3.0 * tangent):
                return x, y, cosine, False
    return x, y, cosine, True


@nb.njit(cache=True, error_model="numpy")
def _sample(image, x, y, out):
    """Bilinear lookup of a picture [H,W,4] at pixel (x, y), clamped at the border."""
    height, width = image.shape[0], image.shape[1]
    x, y = min(max(x - 0.5, 0.0), width - 1.0), min(max(y - 0.5, 0.0), height - 1.0)
    j, i = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
    right, below = min(j + 1, width - 1), min(i + 1, height - 1)
    u, v = x - j, y - i
    for k in range(4):
        upper = (1.0 - u) * image[i, j, k] + u * image[i, right, k]
        lower = (1.0 - u) * image[below, j, k] + u * image[below, right, k]
        out[k] = (1.0 - v) * upper + v * lower


@nb.njit(cache=True, error_model="numpy", inline="always")
def _robust_mean(colours, weights, count, mean):
    """Weighted mean of colours [count,3], reweighted by Geman-McClure so that views that disagree fade."""
    for step in range(_ROUNDS + 1):
        total = 0.0
        red, green, blue = 0.0, 0.0, 0.0
        for n in range(count):
            w = weights[n]
            if step > 0:
                r2 = 0.0
                for k in range(3):
                    r2 += (colours[n, k] - mean[k]) ** 2
                w /= (1.0 + r2 / (_OUTLIER * _OUTLIER)) ** 2
            total += w
            red += w * colours[n, 0]
            green += w * colours[n, 1]
            blue += w * colours[n, 2]
        mean[0], mean[1], mean[2] = red / total, green / total, blue / total


_BLOCK = 512  # texels a turn owns


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _gather(
    worker, workers, points, normals, smooth, projections, centres, depth, images, view_weights, min_cosine, sharpness,
    colour, weight,
):  # fmt: skip
    """Fill colours [T,3] and weights [T] of the texels, which come as zeros; each texel is one worker's."""
    count, views = points.shape[0], projections.shape[0]
    colours, weights = np.empty((views, 3)), np.empty(views)
    sample, mean = np.empty(4), np.empty(3)
    for block in range(worker, (count + _BLOCK - 1) // _BLOCK, workers):
        for t in range(block * _BLOCK, min((block + 1) * _BLOCK, count)):
            found, total = 0, 0.0
            for b in range(views):
                x, y, facing, clear = _look(points[t], normals[t], projections[b], centres[b], depth[b])
                if facing <= 0.0:
                    continue
                d0, d1, d2 = centres[b, 0] - points[t, 0], centres[b, 1] - points[t, 1], centres[b, 2] - points[t, 2]
                length = np.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
                cosine = (smooth[t, 0] * d0 + smooth[t, 1] * d1 + smooth[t, 2] * d2) / length
                if cosine <= min_cosine[b]:
                    continue
                _sample(images[b], x, y, sample)
                if sample[3] < _GHOST:
                    continue
                ramp = min((cosine - min_cosine[b]) / _RAMP, 1.0)
                w = view_weights[b] * ramp * ramp * (3.0 - 2.0 * ramp) * cosine**sharpness
                w *= 1.0 if clear and sample[3] >= _SOLID else _SPARE
                for k in range(3):
                    colours[found, k] = min(max(sample[k] / sample[3], 0.0), 1.0)
                weights[found] = w
                total += w
                found += 1
            if total > 0.0:
                _robust_mean(colours, weights, found, mean)
                weight[t] = total
                for k in range(3):
                    colour[t, k] = mean[k]


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _visible_cosines(worker, workers, points, normals, smooth, projections, centres, depth, out):
    """Fill the cosine [B,T] to each view where visible; `out` comes as zeros."""
    count, views = points.shape[0], projections.shape[0]
    for t in range(worker * count // workers, (worker + 1) * count // workers):
        for b in range(views):
            facing = _look(points[t], normals[t], projections[b], centres[b], depth[b])[2]
            if facing > 0.0:
                d0, d1, d2 = centres[b, 0] - points[t, 0], centres[b, 1] - points[t, 1], centres[b, 2] - points[t, 2]
                cosine = smooth[t, 0] * d0 + smooth[t, 1] * d1 + smooth[t, 2] * d2
                out[b, t] = max(cosine / np.sqrt(d0 * d0 + d1 * d1 + d2 * d2), 0.0)
