"""Antialiasing of silhouettes, and with it the gradient of a mesh's outline.

A picture drawn with one sample a pixel does not change when a vertex moves a little; only the samples' colours do. At
silhouettes the missing part is the area that moves from one pixel's colour to its neighbour's. Laine et al. 2020
("Modular Primitives for High-Performance Differentiable Rendering", section 3.5) blend such neighbours by where the
silhouette crosses the line between their centres: exact for an edge along the pixel grid, close for others.

One step is ours. Theirs looks for the silhouette among the edges of the face that the nearer pixel sees and misses it
where faces are smaller than a pixel. Here the line is followed from face to face, up to `REACH` of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gaussmith.accelerator import constant
from gaussmith.camera import Camera
from gaussmith.render._rows import put, take
from gaussmith.render.mesh import NEAR, Fragments
from gaussmith.render.mesh_gradients import at_pixels, cross, edge_vectors, homogeneous

REACH = 32
"""Faces followed from a pixel to its neighbour. They crowd where the surface turns away from the camera."""


@dataclass(frozen=True)
class Topology:
    """Which faces meet at which edges; edge i of a face is the one opposite its corner i.

    Attributes:
        edge: [F,3] number of the edge, below 3 F.
        forward: [F,3] whether the face runs along the edge from the lower to the higher vertex.
        neighbour: [F,3] the next face at the edge and its edge there, as 3 * face + edge; -1 where there is none.
    """

    edge: Tensor
    forward: Tensor
    neighbour: Tensor


def topology(faces: Tensor) -> Topology:
    """Of faces [F,3] int64 that share vertices; make it once for a mesh whose faces stay."""
    start, end = faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]
    pair = torch.minimum(start, end) << 32 | torch.maximum(start, end)
    _, edge, counts = torch.unique(pair.flatten(), return_inverse=True, return_counts=True)
    order = torch.argsort(edge, stable=True)
    first = (torch.cumsum(counts, 0) - counts)[edge[order]]
    around = torch.arange(len(order), device=faces.device) - first
    following = order[first + (around + 1) % counts[edge[order]]]
    neighbour = torch.empty_like(order)
    neighbour[order] = torch.where(counts[edge[order]] > 1, following, -1)
    return Topology(edge.reshape(-1, 3), start < end, neighbour.reshape(-1, 3))


def _silhouettes(points: Tensor, faces: Tensor, shape: Topology) -> Tensor:
    """[B,F,3] whether all faces at an edge lie on one side of it in the picture: borders and folds."""
    a, b, c = (points[:, faces[:, i]] for i in range(3))
    volume = (a * cross(b, c)).sum(dim=-1)
    side = torch.sign(volume)[..., None] * torch.where(shape.forward, 1.0, -1.0)
    sides = torch.zeros(2, len(points), 3 * len(faces), dtype=torch.bool, device=faces.device)
    for taken, sign in zip(sides, (1, -1)):
        view, face, i = torch.nonzero(side == sign, as_tuple=True)
        taken[view, shape.edge[face, i]] = True
    return ~sides.all(dim=0)[:, shape.edge]


@dataclass(frozen=True)
class _Pairs:
    """M pairs of adjacent pixels on the way from one to the other.

    Attributes:
        near, far: [M] flat indices of the pixels, the one whose surface is nearer first.
        face: [M] the face that the way has come to, and entry: [M] its edge that it came in by, -1 at the start.
    """

    near: Tensor
    far: Tensor
    face: Tensor
    entry: Tensor

    def select(self, which: Tensor) -> _Pairs:
        return _Pairs(self.near[which], self.far[which], self.face[which], self.entry[which])


def _near_outlines(points: Tensor, faces: Tensor, silhouettes: Tensor, height: int, width: int) -> Tensor:
    """[B,H,W] whether a pixel lies in a box around a silhouette's edge, grown so that none of its neighbours across the
    edge is left out. Boxes are summed as differences, so that their size costs nothing."""
    view, face, i = torch.nonzero(silhouettes, as_tuple=True)
    ends = torch.stack([points[view, faces[face, (i + k) % 3]] for k in (1, 2)])
    visible = (ends[..., 2:] >= NEAR).all(dim=0)
    flat = ends[..., :2] / ends[..., 2:]
    size = constant((float(width), float(height)), points)
    low = torch.where(visible, flat.amin(dim=0).floor() - 2, 0).clamp_min(0).minimum(size).long()
    high = torch.where(visible, flat.amax(dim=0).ceil() + 2, size).clamp_min(0).minimum(size).long()
    steps = torch.zeros(len(points), height + 1, width + 1, dtype=torch.int32, device=points.device)
    one = steps.new_ones(())
    for x, y, step in ((low, low, one), (high, low, -one), (low, high, -one), (high, high, one)):
        steps.index_put_((view, y[:, 1], x[:, 0]), step, accumulate=True)
    return steps.cumsum(dim=1).cumsum(dim=2)[:, :height, :width] > 0


def _candidates(fragments: Fragments, near_outlines: Tensor) -> _Pairs:
    """Pairs of pixels with different faces near outlines."""
    face = fragments.face
    index = torch.arange(face.numel(), device=face.device).reshape(face.shape)
    across = torch.nonzero((face[:, :, :-1] != face[:, :, 1:]) & near_outlines[:, :, :-1], as_tuple=True)
    down = torch.nonzero((face[:, :-1] != face[:, 1:]) & near_outlines[:, :-1], as_tuple=True)
    first = torch.cat([index[across], index[down]])
    second = torch.cat([index[:, :, 1:][across], index[:, 1:][down]])
    flat, depth = face.flatten(), fragments.depth.detach().flatten()
    swap = (flat[first] < 0) | ((flat[second] >= 0) & (depth[second] < depth[first]))
    near, far = torch.where(swap, second, first), torch.where(swap, first, second)
    return _Pairs(near, far, flat[near], torch.full_like(near, -1))


def _centres(pixels: Tensor, fragments: Fragments) -> tuple[Tensor, Tensor]:
    """Positions x and y of the centres of flat pixels."""
    _, height, width = fragments.face.shape
    return pixels % width + 0.5, pixels // width % height + 0.5


def _way_out(points: Tensor, pairs: _Pairs, fragments: Fragments) -> tuple[Tensor, Tensor]:
    """The edge [M] by which the way leaves its face, with homogeneous corners points [M,3,3], -1 if it ends there; and
    whether that is an edge to blend across: upright between pixels side by side, level between pixels one above the
    other, so that none counts twice."""
    lines = edge_vectors(points)
    lines = lines * torch.sign((points[:, :1] * lines[:, :1]).sum(dim=-1, keepdim=True))  # inside is positive
    near, far = _centres(pairs.near, fragments), _centres(pairs.far, fragments)
    start, end = (at_pixels(lines, x[:, None], y[:, None]) for x, y in (near, far))
    leaving = (end < start) & (torch.arange(3, device=lines.device) != pairs.entry[:, None])
    share, edge = torch.where(leaving, start / (start - end), torch.inf).min(dim=-1)
    line = lines[torch.arange(len(edge), device=lines.device), edge]
    upright = line[:, 0].abs() >= line[:, 1].abs()
    return torch.where(share <= 1, edge, -1), upright == (near[1] == far[1])


def _crossings(
    points: Tensor, faces: Tensor, fragments: Fragments, shape: Topology
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pairs [S] of adjacent pixels with a silhouette between them: near, far, and the ends of its edge, as indices of
    flat pixels and of flat points [B*V]."""
    silhouettes = _silhouettes(points, faces, shape)
    (_, height, width), seen = fragments.face.shape, fragments.face.flatten()
    pairs = _candidates(fragments, _near_outlines(points, faces, silhouettes, height, width))
    found: list[Tensor] = []
    while len(found) < REACH and (len(pairs.near) or not found):
        view = pairs.near // (height * width)
        corner = faces[pairs.face] + points.shape[1] * view[:, None]
        edge, counts = _way_out(points.flatten(0, 1)[corner], pairs, fragments)
        out, edge = edge >= 0, edge.clamp_min(0)
        silhouette = out & silhouettes[view, pairs.face, edge]
        here = silhouette & counts
        ends = [corner.gather(1, (edge[:, None] + k) % 3)[:, 0][here] for k in (1, 2)]
        found.append(torch.stack([pairs.near[here], pairs.far[here], *ends]))
        step = shape.neighbour[pairs.face, edge]
        on = out & ~silhouette & (step >= 0) & (step // 3 != seen[pairs.far])
        pairs = _Pairs(pairs.near, pairs.far, step // 3, step % 3).select(on)
    near, far, start, end = torch.cat(found, dim=1)
    return near, far, start, end


def antialias(
    colour: Tensor,
    fragments: Fragments,
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    shape: Topology | None = None,
) -> Tensor:
    """Blend colours of neighbouring pixels across silhouettes, by where the silhouette passes between their centres.

    Differentiable in the colours and in the vertices: those at the ends of the silhouette's edges. Edges that have
    faces on one side of them in the picture are silhouettes, so faces that meet must share vertices. Of two surfaces
    the nearer one is taken to end where they meet; where faces pass through each other nothing is blended. Beside the
    picture, memory is taken for the pixels near silhouettes only. The results and the gradients have the same bits
    every time. A GPU is waited for: a few times, and at each face that is followed.

    Args:
        colour: [B,H,W,C] of one sample a pixel, float32 or float64.
        fragments: from `rasterize_mesh` with these vertices, faces and cameras, at the size of the picture.
        vertices: [V,3]. faces: [F,3].
        shape: `topology(faces)` if at hand.

    Raises:
        ValueError: the picture, the fragments and the cameras are not of one size.
    """
    size = len(camera), camera.height, camera.width
    if colour.ndim != 4 or colour.shape[:3] != size or fragments.face.shape != size:
        raise ValueError(
            f"{len(camera)} cameras of {camera.width}x{camera.height} need colours and fragments of that size, "
            f"got {tuple(colour.shape)} and {tuple(fragments.face.shape)}"
        )
    if len(faces) == 0:
        return colour
    points = homogeneous(vertices, camera)
    with torch.no_grad():
        shape = topology(faces) if shape is None else shape
        near, far, start, end = _crossings(points, faces, fragments, shape)
    table = points.flatten(0, 1)
    line = cross(take(table, start), take(table, end))
    inside, outside = (at_pixels(line, *_centres(pixels, fragments)) for pixels in (near, far))
    # How far the surface reaches towards the far pixel's centre: the border between the two pixels is at one half.
    reach = (inside / (inside - outside)).clamp(0, 1) - 0.5
    short = reach < 0
    share = torch.where(short, -reach, reach)[:, None].to(colour.dtype)
    changed, other = torch.where(short, near, far), torch.where(short, far, near)
    flat = colour.flatten(0, 2)
    change = (take(flat, other) - take(flat, changed)) * share
    return colour + put(change, changed, len(flat)).reshape(colour.shape)
