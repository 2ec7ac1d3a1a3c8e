"""What is believed is doubted where what is known shows the same surface in another colour, and nowhere else."""

from __future__ import annotations

import math

import pytest
import torch
import trimesh
from torch import Tensor

from gaussmith.camera import DEFAULT_FOVY, DEFAULT_RADIUS, Camera, concat, frame_half_extent, orbit
from gaussmith.gaussians import from_points
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import interpolate, rasterize_mesh, render_mesh
from gaussmith.texture.bake_splat import texture_from_gaussians
from gaussmith.texture.consistency import SLACK, contradicted, sighting

SIDE = 128
KNOWN, BELIEVED = orbit(0.0, 0.0, width=SIDE), orbit(50.0, 0.0, width=SIDE)


def ball(radius: float = 0.5) -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return Mesh(torch.from_numpy(sphere.vertices.copy()).float(), torch.from_numpy(sphere.faces.copy()).long())


def painted(mesh: Mesh, camera: Camera, dots: dict[float, float], paint: float = 1.0) -> tuple[Tensor, Tensor]:
    """Pictures of a grey mesh with dots: azimuth on the equator -> radius, a distance. And each pixel's point."""
    fragments = rasterize_mesh(mesh.vertices, mesh.faces, camera)
    points = interpolate(mesh.vertices, mesh.faces, fragments)
    there = (fragments.face >= 0)[..., None]
    color = torch.full((*there.shape[:-1], 3), 0.4)
    for azimuth, radius in dots.items():
        centre = 0.5 * torch.nn.functional.normalize(orbit(azimuth, 0.0, width=8).position[0], dim=0)
        color[(points - centre).norm(dim=-1) < radius] = paint
    return torch.cat([color * there, there.float()], dim=-1), points


def doubt(known: dict[float, float], believed: dict[float, float], paint: float = 1.0) -> tuple[Tensor, Tensor]:
    """[H,W] how far the believed picture of the ball is contradicted, and the azimuths of its pixels in degrees."""
    mesh = ball()
    rgba, points = painted(mesh, BELIEVED, believed, paint)
    against = contradicted(sighting(mesh, BELIEVED, rgba), sighting(mesh, KNOWN, painted(mesh, KNOWN, known, paint)[0]))
    assert against.shape == (1, SIDE, SIDE) and float(against.amin()) >= 0 and float(against.amax()) <= 1
    azimuth = torch.rad2deg(torch.atan2(points[0, ..., 0], points[0, ..., 2]))
    on_equator = (points[0, ..., 1].abs() < 0.03) & (rgba[0, ..., 3] > 0)
    return against[0], torch.where(on_equator, azimuth, torch.tensor(torch.nan))


def test_a_dot_that_the_known_picture_lacks_is_doubted_where_that_looks() -> None:
    against, azimuth = doubt({}, {30.0: 0.08, 110.0: 0.08})
    assert float(against[(azimuth - 30).abs() < 6].amin()) > 0.9
    assert float(against[(azimuth - 110).abs() < 30].amax()) == 0  # on the far side: nobody knows better
    assert float(against[(azimuth - 30).abs() > 25].amax()) == 0  # the rest of the ball agrees


def test_a_dot_that_only_the_known_picture_has_is_doubted() -> None:
    against, azimuth = doubt({30.0: 0.08}, {})
    assert float(against[(azimuth - 30).abs() < 4].amin()) > 0.9
    assert float(against[(azimuth - 30).abs() > 25].amax()) == 0


@pytest.mark.parametrize("shift", [0.0, 1.5])
def test_what_agrees_within_the_slack_is_believed(shift: float) -> None:
    assert 0.5 * math.radians(shift) < SLACK * 2 * frame_half_extent(DEFAULT_FOVY, DEFAULT_RADIUS)
    against, _ = doubt({30.0: 0.08}, {30.0 + shift: 0.08})
    assert float(against.amax()) < 0.3


def test_colours_that_differ_as_lighting_does_are_believed() -> None:
    against, _ = doubt({}, {30.0: 0.08}, paint=0.45)
    assert float(against.amax()) == 0


def test_what_stands_before_it_says_nothing_of_what_is_hidden() -> None:
    """A wall seen by both, a plate before it that hides some of it from the known camera: of another colour."""
    square = torch.tensor([[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    vertices = torch.cat([square * 0.4, square * 0.15 + torch.tensor([0.0, 0.0, 0.4])])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    mesh = Mesh(vertices, torch.cat([faces, faces + 4]))

    def seen(camera: Camera) -> tuple[Tensor, Tensor]:
        face = rasterize_mesh(mesh.vertices, mesh.faces, camera).face
        shade = torch.where(face >= 2, 0.9, 0.2)[..., None].expand(-1, -1, -1, 3)
        there = (face >= 0)[..., None].float()
        return torch.cat([shade * there, there], dim=-1), face

    (known, _), (believed, face) = seen(KNOWN), seen(BELIEVED)
    hidden = contradicted(sighting(mesh, BELIEVED, believed), sighting(mesh, KNOWN, known))
    assert int((face < 2).sum()) > 500
    assert float(hidden[face >= 0].mean()) < 0.03


def test_pictures_of_one_painted_ball_do_not_contradict_each_other() -> None:
    mesh, dots = ball(), {-40.0: 0.1, 5.0: 0.1, 35.0: 0.15, 80.0: 0.1}
    around = concat([orbit(a, e, width=SIDE) for a, e in ((-50.0, 0.0), (30.0, 40.0), (70.0, -10.0))])
    rgba = painted(mesh, around, dots)[0]
    known = concat([KNOWN, orbit(40.0, 10.0, width=SIDE)])
    against = contradicted(sighting(mesh, around, rgba), sighting(mesh, known, painted(mesh, known, dots)[0]))
    assert against.shape == (3, SIDE, SIDE)
    assert float(against[rgba[..., 3] > 0].mean()) < 0.01


def test_nothing_is_doubted_where_nothing_is() -> None:
    mesh, empty = ball(), torch.zeros(1, SIDE, SIDE, 4)
    white, blank = torch.ones(1, SIDE, SIDE, 4), sighting(mesh, KNOWN, empty)
    assert float(contradicted(sighting(mesh, BELIEVED, white), blank).amax()) == 0
    assert float(contradicted(blank, sighting(mesh, KNOWN, white)).amax()) == 0


def test_a_believed_picture_lies_under_the_known_one_and_gives_way_to_it() -> None:
    """Red is known from the front, blue believed from the side: blue is the far side, but not what red was seen on."""
    points = 0.5 * torch.nn.functional.normalize(
        torch.randn(1500, 3, generator=torch.Generator().manual_seed(4)), dim=1
    )
    grey = from_points(points, torch.full((1500, 3), 0.5), opacity=0.95)
    red, blue = (torch.tensor(c).expand(1, SIDE, SIDE, 4) for c in ([0.9, 0.1, 0.1, 1.0], [0.1, 0.1, 0.9, 1.0]))

    def at(azimuth: float, **layers: tuple[Camera, Tensor]) -> list[float]:
        mesh, _ = texture_from_gaussians(ball(), grey, 128, view_size=SIDE, **layers)
        seen = render_mesh(mesh, orbit(azimuth, 0.0, width=64)).rgb[0, 29:35, 29:35]
        return seen.mean(dim=(0, 1)).tolist()

    both = {"pictures": (KNOWN, red), "believed": (BELIEVED, blue)}
    assert at(0.0, **both) == pytest.approx([0.9, 0.1, 0.1], abs=0.03)
    assert at(90.0, **both) == pytest.approx([0.1, 0.1, 0.9], abs=0.1)
    doubted, alone = at(60.0, **both), at(60.0, believed=both["believed"])
    assert alone[2] > 0.85 and doubted[2] < 0.55
