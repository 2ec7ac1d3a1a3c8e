"""A mesh brought to where the cameras look, and pictures of it laid over its silhouette."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaussmith.camera import Camera, concat
from gaussmith.events import OnEvent, UserError, Warned
from gaussmith.framing import OBJECT_RADIUS, fit_points
from gaussmith.io.assemble import weld
from gaussmith.mesh import Mesh
from gaussmith.metrics import iou
from gaussmith.picture import OBJECT_SHARE, PICTURE_SIZE
from gaussmith.render.mesh import rasterize_mesh, render_mesh
from gaussmith.surface.validity import face_parts
from gaussmith.train.subject import KnownView, Subject
from gaussmith.views import baking_ring

_VISIBLE = 0.1  # alpha from which a pixel counts for a silhouette's extent, as in `picture`
_DOUBTFUL = 0.5  # overlap of the silhouettes under which picture and mesh hardly show one thing
_DECIDED = 0.9  # share of the looks at a face that must agree on which side of it is outside


def centred(mesh: Mesh, subject: Subject) -> tuple[Tensor, Mesh]:
    """The mesh as it is worked on: at the origin, equal vertices merged, faces turned outwards; and which were turned.

    It fits the usual sphere, and seen from the first picture's place it is no larger than pictured objects are.
    """
    points = mesh.vertices[mesh.faces.unique()]
    placed = fit_points(points).mesh(mesh)
    if subject.views:
        sides = _box(_silhouette(placed, subject.views[0]), subject.views[0])[1]
        shrunk = min(1.0, OBJECT_SHARE * PICTURE_SIZE / float(sides.max()))
        placed = fit_points(points, OBJECT_RADIUS * shrunk).mesh(mesh)
    first, group = weld(placed.vertices.detach().numpy())
    work = Mesh(
        placed.vertices.detach()[torch.from_numpy(first)],
        torch.from_numpy(group.astype(np.int64))[mesh.faces],
        uv=mesh.uv,
        uv_faces=mesh.uv_faces,
    )
    mirrored = _inside_out(work, subject.views)
    return mirrored, mirror(work, mirrored)


def mirror(mesh: Mesh, faces: Tensor) -> Mesh:
    """The mesh with the marked faces [F] wound the other way; twice is as it was."""

    def turned(corners: Tensor) -> Tensor:
        return torch.where(faces[:, None], corners[:, [0, 2, 1]], corners)

    return mesh.with_(
        faces=turned(mesh.faces), uv_faces=None if mesh.uv_faces is None else turned(mesh.uv_faces), normals=None
    )


def _inside_out(mesh: Mesh, views: tuple[KnownView, ...]) -> Tensor:
    """[F] bool, the faces whose back is what is seen from around. What is seen from both sides, as a sheet is, shows
    its front to the pictures, and where they do not see it goes with the part that it belongs to."""
    looks, back = _looks(mesh, baking_ring(size=192).camera())
    part = face_parts(mesh.faces.numpy())
    turned = (np.bincount(part, back) > 0.5 * np.bincount(part, looks))[part]
    if views:
        pictured, from_behind = _looks(mesh, concat([view.camera(PICTURE_SIZE) for view in views]))
        turned = np.where(pictured > 0, from_behind > 0.5 * pictured, turned)
    share = back / np.maximum(looks, 1)
    decided = (looks > 0) & ((share > _DECIDED) | (share < 1 - _DECIDED))
    return torch.from_numpy(np.where(decided, share > 0.5, turned))


def _looks(mesh: Mesh, cameras: Camera) -> tuple[np.ndarray, np.ndarray]:
    """[F] pixels in which a face is seen, and those of them in which its back is."""
    faces = rasterize_mesh(mesh.vertices, mesh.faces, cameras).face
    hit = faces >= 0
    _, rays = cameras.rays()
    behind = (mesh.face_normals()[faces[hit]] * rays[hit]).sum(dim=-1) > 0
    seen, count = faces[hit].numpy(), len(mesh.faces)
    return np.bincount(seen, minlength=count), np.bincount(seen, behind.numpy(), minlength=count)


def aligned(mesh: Mesh, subject: Subject, on_event: OnEvent) -> tuple[tuple[KnownView, ...], list[dict[str, Any]]]:
    """The known views, each picture moved and scaled so that its object's box is that of the mesh's silhouette, and
    what the report says of them.

    The pictures move, not the mesh: several may differ in framing, and a long mesh seen from its short side must not
    outgrow the other views.
    """
    views, facts = [], []
    for view in subject.views:
        silhouette = _silhouette(mesh, view)
        here, there = _box(view.prepared.rgba[..., 3], None), _box(silhouette, view)
        scale = float(there[1].sum() / here[1].sum())
        x, y = (there[0] - scale * here[0]).tolist()
        moved = view.prepared.moved(scale, (x, y), PICTURE_SIZE)
        overlap = float(iou(moved.rgba[..., 3], silhouette))
        if overlap < _DOUBTFUL:
            on_event(
                Warned(
                    f"the picture does not seem to show this mesh from azimuth {view.azimuth:g}, elevation "
                    f"{view.elevation:g}: their silhouettes overlap by {overlap:.0%}; give the angles that it was "
                    "taken from"
                )
            )
        views.append(replace(view, prepared=moved))
        facts.append({"azimuth": view.azimuth, "elevation": view.elevation})
    return tuple(views), facts


def _silhouette(mesh: Mesh, view: KnownView) -> Tensor:
    """[S,S] alpha of the mesh from the camera of a known view."""
    return render_mesh(mesh, view.camera(PICTURE_SIZE)).alpha[0, ..., 0]


def _box(alpha: Tensor, view: KnownView | None) -> tuple[Tensor, Tensor]:
    """Centre and sides (x, y), pixels, of what shows in alpha [H,W]: the mesh from a view, or the picture itself."""
    spans = [torch.nonzero((alpha > _VISIBLE).any(dim=dim))[:, 0].double() for dim in (0, 1)]
    if not len(spans[0]):
        if view is None:
            raise UserError("the picture is transparent everywhere; give one that shows an object")
        raise UserError(
            f"nothing of the mesh is to be seen from azimuth {view.azimuth:g}, elevation {view.elevation:g}; give the "
            "angles that the picture was taken from"
        )
    low, high = torch.stack([s[0] for s in spans]), torch.stack([s[-1] + 1 for s in spans])
    return (low + high) / 2, high - low
