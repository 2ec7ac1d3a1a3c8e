"""What the viewer shows, and how it looks: items, the settings of the panel, and pictures by the own rasterisers.

World axes are the project's (+Y up), which the page is told of; lengths are those of the files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gaussmith.camera import DEFAULT_RADIUS, Camera, orbit
from gaussmith.editing import inside_box, merge
from gaussmith.events import UserError
from gaussmith.framing import Fit, fit_points, visible_points
from gaussmith.gaussians import Gaussians
from gaussmith.io import load
from gaussmith.mesh import Mesh
from gaussmith.preview import PANEL
from gaussmith.render.mesh import MeshRender, render_mesh
from gaussmith.render.splat import rasterize

Box = tuple[tuple[float, float, float], tuple[float, float, float]]  # lowest and highest corner, world units


@dataclass(frozen=True)
class Item:
    """One thing in the scene: its name (unique there), what it is, and the file it came from, if any."""

    name: str
    thing: Gaussians | Mesh
    path: Path | None = None


@dataclass(frozen=True)
class Look:
    """How the scene is shown.

    Attributes:
        background: sRGB, 0 to 255.
        size: factor on the standard deviations of all Gaussians, for looking between them; positive.
        min_opacity: Gaussians fainter than this are hidden, 0 to 1.
        box: only what lies in it is shown; None shows everything.
        hidden: names of the items that are not shown.
    """

    background: tuple[int, int, int] = PANEL
    size: float = 1.0
    min_opacity: float = 0.0
    box: Box | None = None
    hidden: frozenset[str] = frozenset()


def load_items(paths: Sequence[Path]) -> list[Item]:
    """Read splats and meshes; each is named after its file, with a number where two files have one name.

    Raises:
        UserError: a file cannot be read or holds nothing to see.
    """
    items: list[Item] = []
    for path in paths:
        thing = load(path)
        if empty(thing):
            raise UserError(f"there is nothing to see in {path}: it is empty")
        names = {item.name for item in items}
        name = next(n for n in (path.stem, *(f"{path.stem}-{i}" for i in range(2, len(paths) + 2))) if n not in names)
        items.append(Item(name, thing, path))
    return items


def fit(items: Sequence[Item]) -> Fit:
    """The similarity that would move all items together into the sphere of radius 0.6 at the origin."""
    points = _points(items)
    return fit_points(points) if len(points) > 1 else Fit(torch.zeros(3), 1.0)


def bounds(items: Sequence[Item]) -> Tensor:
    """[2,3] lowest and highest corner of a box around the items, a little larger than they are.

    Without items it spans 3 units to each side, where a reconstruction has what its cameras, at distance 2, see.
    """
    points = _points(items)
    if len(points) < 2:
        return torch.tensor([[-3.0] * 3, [3.0] * 3])
    low, high = points.amin(dim=0), points.amax(dim=0)
    margin = (0.05 * (high - low)).clamp_min(0.01 * float((high - low).max()))
    return torch.stack([low - margin, high + margin])


def _points(items: Sequence[Item]) -> Tensor:
    """[M,3] points that make up the items."""
    parts = [
        item.thing.vertices[item.thing.faces.unique()].cpu()
        if isinstance(item.thing, Mesh)
        else visible_points(item.thing).cpu()
        for item in items
    ]
    return torch.cat([torch.zeros(0, 3), *parts])


def front_camera(where: Fit) -> Camera:
    """The default camera (azimuth 0, radius 2, fov 49.1) in front of content that `where` would fit."""
    return orbit(0, 0, DEFAULT_RADIUS / where.scale, target=where.centre)


def kept(thing: Gaussians | Mesh, look: Look) -> Gaussians | Mesh:
    """What box and opacity leave of an item: Gaussians by their centres, faces whose three corners are inside."""
    if isinstance(thing, Mesh):
        if look.box is None:
            return thing
        low, high = (thing.vertices.new_tensor(corner) for corner in look.box)
        inside = ((thing.vertices >= low) & (thing.vertices <= high)).all(dim=1)
        return _faces_kept(thing, inside[thing.faces].all(dim=1))
    keep = thing.finite() & (thing.opacities >= look.min_opacity)
    return thing.select(keep if look.box is None else keep & inside_box(thing, *look.box))


def _faces_kept(mesh: Mesh, keep: Tensor) -> Mesh:
    """The mesh with only the faces of the mask [F], without vertices and uv that none of them uses."""
    used, faces = mesh.faces[keep].unique(return_inverse=True)
    changes: dict[str, Tensor] = {"vertices": mesh.vertices[used], "faces": faces.reshape(-1, 3)}
    for name in ("normals", "vertex_colors"):
        if getattr(mesh, name) is not None:
            changes[name] = getattr(mesh, name)[used]
    if mesh.uv is not None and mesh.uv_faces is not None:
        used, corners = mesh.uv_faces[keep].unique(return_inverse=True)
        changes |= {"uv": mesh.uv[used], "uv_faces": corners.reshape(-1, 3)}
    return mesh.with_(**changes)


def worn(thing: Gaussians | Mesh, look: Look) -> Gaussians | Mesh:
    """What is to be seen of an item: what `kept` leaves, Gaussians at the size asked for. It may be empty."""
    thing = kept(thing, look)
    if isinstance(thing, Gaussians) and look.size != 1:
        return replace(thing, log_scales=thing.log_scales + math.log(look.size))
    return thing


def empty(thing: Gaussians | Mesh) -> bool:
    """Whether there is nothing to draw."""
    return len(thing.faces if isinstance(thing, Mesh) else thing) == 0


@torch.no_grad()
def picture(items: Sequence[Item], look: Look, camera: Camera) -> Tensor:
    """[H,W,3] sRGB picture of the scene from one camera (B = 1), by the project's own rasterisers.

    All splats are drawn as one. Splat and meshes are blended a pixel at a time in the order of their mean depths,
    which is exact where they do not interpenetrate within a pixel.
    """
    things = [worn(item.thing, look) for item in items if item.name not in look.hidden]
    things = [thing for thing in things if not empty(thing)]
    splats = [thing for thing in things if isinstance(thing, Gaussians)]
    drawn = [rasterize(merge(splats), camera)] if splats else []
    layers = [*drawn, *(_mesh_layer(thing, camera) for thing in things if isinstance(thing, Mesh))]
    ground = torch.tensor(look.background) / 255
    if not layers:
        return ground.expand(camera.height, camera.width, 3).clone()
    rgb, alpha, depth = (torch.cat([getattr(r, name).cpu() for r in layers]) for name in ("rgb", "alpha", "depth"))
    order = torch.where(alpha > 0, depth, torch.inf).argsort(dim=0, stable=True)
    rgb, alpha = rgb.gather(0, order.expand_as(rgb)), alpha.gather(0, order)
    behind = ground.expand_as(rgb[0])
    for layer in reversed(range(len(layers))):
        behind = rgb[layer] + (1 - alpha[layer]) * behind
    return behind.clamp(0, 1)


def _mesh_layer(mesh: Mesh, camera: Camera) -> MeshRender:
    """A mesh in its own colours, or as clay if it has none."""
    plain = mesh.albedo is None and mesh.vertex_colors is None
    return render_mesh(mesh.with_(normals=mesh.vertex_normals()) if plain else mesh, camera, shaded=plain)
