"""Open scenes to meshes: depth maps fused into a truncated signed distance volume, and its zero level.

Every view votes, at the nodes of a grid near its depths, for the distance to the surface, positive in front of it;
the weighted mean of the votes is zero on the surface (Curless and Levoy 1996). Only blocks of 8^3 nodes that some depth
comes near are kept, and faces only where all nodes around were seen: unseen space stays empty and the surface open.

Axes: arrays are [x,y,z], "index units" count grid nodes from the origin node. Threads share the blocks, and a block
takes the views in their order: the result does not depend on the number of threads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import torch
from numpy.typing import NDArray

from gaussmith.camera import Camera
from gaussmith.events import UserError
from gaussmith.framing import visible_points
from gaussmith.gaussians import Gaussians
from gaussmith.mesh import Mesh
from gaussmith.surface import borders, marching, validity
from gaussmith.surface.density_query import BLOCK, Grid
from gaussmith.surface.depth import depth_maps
from gaussmith.threads import run
from gaussmith.views import baking_ring

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# None of these is from a paper, but TRUNCATION, which is the usual choice.
TRUNCATION = 4.0  # cells: wide enough for the noise of the depths, narrow enough for thin walls
FAR = 3.0  # times the median depth of what the cameras see: what is further is background, not surface
TRIM = 0.01  # share of the depths left out on either side of each axis when the grid is laid
MIXED = 0.2  # spread, as a share of the depth, above which a pixel shows no one surface
GRAZING = 0.1  # least cosine between ray and surface normal at which a depth votes
FREE = 0.3  # weight of a view that sees through a node, beside the cosine of one that sees the surface near it
JUMP = 1.0  # difference within a cell, in truncations: no distance grows so fast, it is the side of a sheet's back
MAX_VIEWS = 150  # more are thinned out evenly
MAX_PIXELS = 1 << 26  # of all depth maps together: 512 MB with their spreads


@dataclass(frozen=True)
class Volume:
    """Blocks of a grid with the mean signed distance, in truncations and at most 1, and the votes' weight.

    Attributes:
        grid: where the nodes are.
        blocks: [A,3] positions of the blocks that are kept, in blocks.
        value, weight: [A,8,8,8]; nothing is known where the weight is 0.
    """

    grid: Grid
    blocks: I64
    value: F32
    weight: F32

    def dense(self) -> tuple[F32, NDArray[np.bool_]]:
        """Values [X,Y,Z] and where they are known; -1 where not."""
        whole = -(-np.array(self.grid.shape) // BLOCK)
        value = np.full((*whole, BLOCK, BLOCK, BLOCK), -1, np.float32)
        known = np.zeros(value.shape, bool)
        at = tuple(self.blocks.T)
        known[at] = self.weight > 0
        value[at] = np.where(known[at], self.value, -1)
        size = whole * BLOCK
        x, y, z = self.grid.shape
        return tuple(a.transpose(0, 3, 1, 4, 2, 5).reshape(size)[:x, :y, :z] for a in (value, known))  # type: ignore


def extract_tsdf(
    gaussians: Gaussians,
    cameras: Camera | None = None,
    *,
    resolution: int = 256,
    max_faces: int = 200_000,
    min_component: float = 0.05,
) -> Mesh:
    """The surface that cameras see of the Gaussians: open where nothing was seen, wound to face the cameras.

    Args:
        cameras: B views of one picture size; without, 26 that look inwards from around the origin, for an object that
            fits the usual sphere. Pictures are drawn at most twice as large as the resolution.
        resolution: grid nodes along the longest side; >= 16.
        max_faces: most faces of the result; >= 4.
        min_component: parts with a diameter under this share of the largest part's are dropped.

    Returns a manifold Mesh with or without border; deterministic. Memory: 4 bytes a node of the grid, some 14 a node
    near the surface, and 8 a pixel of the views.
    Raises UserError if the cameras see no surface; ValueError for bad arguments.
    """
    if resolution < 16 or max_faces < 4 or not 0 <= min_component <= 1:
        raise ValueError("needs resolution >= 16, max_faces >= 4 and 0 <= min_component <= 1")
    gaussians = gaussians.detach().to(device="cpu", dtype=torch.float32)
    gaussians = gaussians.select(gaussians.finite())
    cameras = baking_ring(size=2 * resolution).camera() if cameras is None else _thinned(cameras, 2 * resolution)
    depth, spread = depth_maps(gaussians, cameras, _far(gaussians, cameras))
    grid = _lay_grid(depth, cameras, resolution)
    truncation = TRUNCATION * grid.spacing
    depth[(spread > MIXED * np.abs(depth)) & (depth > 0)] = 0
    trust = 1 / (1 + np.square(spread / truncation))
    vertices, faces = level_set(fuse(depth, trust, cameras, grid, truncation))
    faces = validity.large_parts(vertices, faces, min_component) if len(faces) else faces
    if not len(faces):
        raise UserError("the cameras see no surface of this splat; take views that look at it, or --method density")
    return validity.to_mesh(*borders.decimate(*borders.separate(grid.to_world(vertices), faces), max_faces))


def _thinned(cameras: Camera, side: int) -> Camera:
    """At most MAX_VIEWS evenly spaced views, no larger than `side` nor than all may be together."""
    if len(cameras) > MAX_VIEWS:
        cameras = cameras[torch.linspace(0, len(cameras) - 1, MAX_VIEWS).round().long()]
    pixels = len(cameras) * cameras.width * cameras.height
    scale = min(1.0, side / max(cameras.width, cameras.height), (MAX_PIXELS / pixels) ** 0.5)
    return cameras.resized(max(round(scale * cameras.width), 1), max(round(scale * cameras.height), 1))


def _far(gaussians: Gaussians, cameras: Camera) -> float:
    """FAR times the median depth of the visible Gaussians in the pictures; UserError if there are none."""
    pixels = cameras.project(visible_points(gaussians)).double()
    inside = (pixels[..., :2] >= 0).all(-1) & (pixels[..., 0] < cameras.width) & (pixels[..., 1] < cameras.height)
    depths = pixels[..., 2][inside & (pixels[..., 2] > 0)]
    if not len(depths):
        raise UserError("no camera sees the splat: are these the cameras of another scene?")
    return FAR * float(np.median(depths.numpy()))


def _lay_grid(depth: F32, cameras: Camera, resolution: int) -> Grid:
    """An isotropic grid around the depths, `resolution` nodes along its longest side; UserError if there are none."""
    step = max(1, int((depth.size / 2_000_000) ** 0.5))
    parts = []
    for view in range(len(cameras)):
        origin, ray = (a.numpy()[0] for a in cameras[view].rays())
        z = depth[view, ::step, ::step]
        parts.append(origin + ray[::step, ::step][z > 0].astype(np.float64) * z[z > 0][:, None])
    points = np.concatenate(parts)
    if len(points) < 4:
        raise UserError("the cameras see no surface of this splat: nothing in their pictures is opaque")
    low, high = np.quantile(points, [TRIM, 1 - TRIM], axis=0)
    margin = 0.02 * float((high - low).max())
    spacing = max(float((high - low).max() + 2 * margin) / (resolution - 1 - 2 * TRUNCATION), 1e-9)
    low, high = low - margin - TRUNCATION * spacing, high + margin + TRUNCATION * spacing
    nodes = np.minimum(np.ceil((high - low) / spacing - 1e-6).astype(int) + 1, resolution)
    return Grid(low, spacing, (int(nodes[0]), int(nodes[1]), int(nodes[2])))


def fuse(depth: F32, trust: F32, cameras: Camera, grid: Grid, truncation: float) -> Volume:
    """The volume of depth maps [B,H,W] (as `depth_maps` gives them) that B cameras see, and trust in each depth."""
    whole = -(-np.array(grid.shape) // BLOCK)
    near = np.zeros(tuple(whole), np.uint8)
    views = [_arrays(cameras[view], grid) for view in range(len(cameras))]
    for view, (_, inverse, centre) in enumerate(views):
        _mark(near, depth[view], inverse, centre, truncation, BLOCK / 2 * grid.spacing)
    blocks = np.argwhere(near)
    value = np.zeros((len(blocks), BLOCK, BLOCK, BLOCK), np.float32)
    weight = np.zeros_like(value)
    for view, (projection, _, _) in enumerate(views):
        focal = cameras.K[view].double().numpy()
        run(_vote, blocks, value, weight, projection, focal, depth[view], trust[view], truncation)
    return Volume(grid, blocks, value, weight)


def _arrays(camera: Camera, grid: Grid) -> tuple[F64, F64, F64]:
    """Index units to (pixel x z, pixel y z, z) [3,4]; the way back for rays [3,3]; and the camera's centre [3]."""
    K, w2c, c2w = (a[0].double().numpy() for a in (camera.K, camera.w2c, camera.c2w))
    projection = K @ w2c[:3]
    placed = np.concatenate([grid.spacing * projection[:, :3], (projection @ [*grid.origin, 1])[:, None]], axis=1)
    return placed, c2w[:3, :3] @ np.linalg.inv(K) / grid.spacing, grid.to_index(c2w[None, :3, 3])[0]


@nb.njit(cache=True, error_model="numpy")
def _mark(near, depth, inverse, centre, truncation, step):
    """Mark the blocks within the truncation of a depth, along its ray."""
    steps = int(np.ceil(2 * truncation / step))
    for i in range(depth.shape[0]):
        for j in range(depth.shape[1]):
            if depth[i, j] <= 0:
                continue
            x, y = j + 0.5, i + 0.5
            rx = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
            ry = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
            rz = inverse[2, 0] * x + inverse[2, 1] * y + inverse[2, 2]
            for k in range(steps + 1):
                z = depth[i, j] + truncation * (2.0 * k / steps - 1.0)
                a = np.floor((centre[0] + rx * z) / BLOCK)
                b = np.floor((centre[1] + ry * z) / BLOCK)
                c = np.floor((centre[2] + rz * z) / BLOCK)
                if 0 <= a < near.shape[0] and 0 <= b < near.shape[1] and 0 <= c < near.shape[2]:
                    near[int(a), int(b), int(c)] = 1


@nb.njit(cache=True, nogil=True, error_model="numpy")
def _vote(worker, workers, blocks, value, weight, projection, focal, depth, trust, truncation):
    """Add one view to the running means of the blocks."""
    height, width = depth.shape
    p = projection
    for n in range(worker, len(blocks), workers):
        x0, y0, z0 = BLOCK * blocks[n, 0], BLOCK * blocks[n, 1], BLOCK * blocks[n, 2]
        for i in range(BLOCK):
            for j in range(BLOCK):
                for k in range(BLOCK):
                    x, y, z = x0 + i, y0 + j, z0 + k
                    d = p[2, 0] * x + p[2, 1] * y + p[2, 2] * z + p[2, 3]
                    if d <= 0:
                        continue
                    u = (p[0, 0] * x + p[0, 1] * y + p[0, 2] * z + p[0, 3]) / d - 0.5
                    v = (p[1, 0] * x + p[1, 1] * y + p[1, 2] * z + p[1, 3]) / d - 0.5
                    if not (0 <= u < width - 1 and 0 <= v < height - 1):
                        continue
                    vote, share = _distance(depth, focal, u, v, d, truncation)
                    if share > 0:
                        share *= trust[int(v + 0.5), int(u + 0.5)]
                        total = weight[n, i, j, k] + share
                        value[n, i, j, k] += np.float32((vote - value[n, i, j, k]) * share / total)
                        weight[n, i, j, k] = np.float32(total)


@nb.njit(cache=True, error_model="numpy", inline="always")
def _distance(depth, focal, u, v, d, truncation):
    """(signed distance in truncations, weight) of a node at depth d that is seen at (u, v), pixel centres at integers.

    Near the surface the distance is to its tangent plane, from the four depths around: along a ray it would grow with
    the slope, and views would disagree about anything but zero. The normal of depths z(u, v) is
    (-z_u f_x, -z_v f_y, z + (u - c_x) z_u + (v - c_y) z_v), and its product with the ray (of depth 1) is z.
    """
    j, i = int(u), int(v)
    a, b, c, e = depth[i, j], depth[i, j + 1], depth[i + 1, j], depth[i + 1, j + 1]
    if a == 0 or b == 0 or c == 0 or e == 0:
        return 0.0, 0.0
    nearest = min(min(abs(a), abs(b)), min(abs(c), abs(e)))
    if nearest - d >= truncation:
        return 1.0, FREE
    if a < 0 or b < 0 or c < 0 or e < 0 or max(max(a, b), max(c, e)) - nearest > truncation:
        return 0.0, 0.0
    s, t = u - j, v - i
    z = (1 - t) * ((1 - s) * a + s * b) + t * ((1 - s) * c + s * e)
    if d - z > truncation:
        return 0.0, 0.0
    zu, zv = (1 - t) * (b - a) + t * (e - c), (1 - s) * (c - a) + s * (e - b)
    nx, ny = zu * focal[0, 0], zv * focal[1, 1]
    nz = z + (u + 0.5 - focal[0, 2]) * zu + (v + 0.5 - focal[1, 2]) * zv
    rx, ry = (u + 0.5 - focal[0, 2]) / focal[0, 0], (v + 0.5 - focal[1, 2]) / focal[1, 1]
    lean = z / np.sqrt(nx * nx + ny * ny + nz * nz)
    cosine = lean / np.sqrt(rx * rx + ry * ry + 1)
    if cosine < GRAZING:
        return 0.0, 0.0
    return max(min((z - d) * lean / truncation, 1.0), -1.0), cosine


def level_set(volume: Volume) -> tuple[F64, I64]:
    """Vertices [V,3] in index units and faces [F,3], facing the cameras, of the seen part of the zero level."""
    value, known = volume.dense()
    # No node at zero, so that no vertex falls onto a node, and unseen nodes count as inside: faces are wound towards
    # positive values. Those that touch an unseen node are dropped, and those between what lies behind a sheet and the
    # free space beside it: a sheet is no slab as thick as the truncation.
    value = np.where(np.abs(value) < 0.01, np.where(value < 0, -0.01, 0.01), value).astype(np.float32)
    if value.max() < 0 or value.min() > 0:
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    vertices, faces = marching.march_cubes(-value, 0.0)
    cell = np.floor(vertices[faces].mean(axis=1)).astype(int)
    seen = np.ones(len(faces), bool)
    low, high = np.full(len(faces), np.inf), np.full(len(faces), -np.inf)
    for corner in np.ndindex(2, 2, 2):
        node = tuple(np.minimum(cell + corner, np.array(known.shape) - 1).T)
        seen &= known[node]
        low, high = np.minimum(low, value[node]), np.maximum(high, value[node])
    return vertices, faces[seen & (high - low < JUMP)]
