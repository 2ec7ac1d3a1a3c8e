from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gaussmith.camera import orbit
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians, from_points, in_ball
from gaussmith.io import save_gaussians, save_mesh
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import render_mesh
from gaussmith.render.splat import rasterize
from gaussmith.viewer.items import Item, Look, bounds, fit, front_camera, kept, load_items, picture

RED, BLUE = (0.9, 0.1, 0.1), (0.1, 0.1, 0.9)


def wall(z: float, color: tuple[float, float, float]) -> Mesh:
    """A coloured square that fills the default camera's view, at one depth."""
    vertices = torch.tensor([[-3, -3, z], [3, -3, z], [3, 3, z], [-3, 3, z]], dtype=torch.float32)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    return Mesh(vertices, faces, vertex_colors=torch.tensor([color] * 4))


def dot(z: float, color: tuple[float, float, float], opacity: float = 0.99) -> Gaussians:
    """One Gaussian that covers the middle of the view."""
    dot = from_points(torch.tensor([[0.0, 0.0, z]]), torch.tensor([color]), opacity)
    dot.log_scales[:] = -1.5
    return dot


@pytest.fixture
def ball() -> Gaussians:
    return in_ball(400, 0.5, torch.Generator().manual_seed(1), sh_degree=1)


def test_files_of_one_name_get_names_of_their_own(tmp_path: Path, ball: Gaussians) -> None:
    paths = [tmp_path / "a" / "x.ply", tmp_path / "b" / "x.ply", tmp_path / "x.glb"]
    save_gaussians(ball, paths[0])
    save_gaussians(ball.select(torch.arange(7)), paths[1])
    save_mesh(wall(0, RED), paths[2])
    items = load_items(paths)
    assert [item.name for item in items] == ["x", "x-2", "x-3"]
    assert [type(item.thing) for item in items] == [Gaussians, Gaussians, Mesh]
    assert len(items[1].thing) == 7 and [item.path for item in items] == paths  # type: ignore[arg-type]


def test_an_empty_file_is_refused(tmp_path: Path, ball: Gaussians) -> None:
    save_gaussians(ball.select(torch.arange(0)), tmp_path / "none.ply")
    with pytest.raises(UserError, match=r"nothing to see in .*none\.ply"):
        load_items([tmp_path / "none.ply"])


def test_the_front_camera_sees_content_of_any_place_and_size_as_the_default_one_sees_an_object(ball: Gaussians) -> None:
    centre = torch.tensor([40.0, -7.0, 12.0])
    far = ball.transform(torch.eye(3), centre, 50.0)
    camera, near = front_camera(fit([Item("far", far)])), front_camera(fit([Item("ball", ball)]))
    expected, seen = near.project(ball.means)[0, :, :2], camera.project(far.means)[0, :, :2]
    torch.testing.assert_close(seen, expected, atol=0.05, rtol=0)
    low, high = bounds([Item("far", far)])
    assert bool(((far.means > low) & (far.means < high)).all())


def test_without_items_the_camera_is_the_default_one() -> None:
    torch.testing.assert_close(front_camera(fit([])).c2w, orbit(0, 0).c2w)
    assert bounds([]).tolist() == [[-3.0] * 3, [3.0] * 3]


def test_box_and_opacity_keep_what_they_say(ball: Gaussians) -> None:
    ball.opacity_logits = torch.linspace(-4, 4, len(ball))
    look = Look(min_opacity=0.3, box=((0.0, -1.0, -1.0), (1.0, 0.2, float("inf"))))
    left = kept(ball, look)
    assert isinstance(left, Gaussians)
    expected = (ball.means[:, 0] >= 0) & (ball.means[:, 1] <= 0.2) & (ball.means[:, 2] >= -1) & (ball.opacities >= 0.3)
    assert 0 < int(expected.sum()) < len(ball)
    assert torch.equal(left.means, ball.means[expected])


def test_gaussians_that_are_not_finite_are_not_shown(ball: Gaussians) -> None:
    ball.means[3, 1] = torch.nan
    assert len(kept(ball, Look())) == len(ball) - 1  # type: ignore[arg-type]


def test_a_cropped_mesh_keeps_whole_faces_with_their_colours_and_texture() -> None:
    left, right = wall(0, RED), wall(1, BLUE)
    both = Mesh(
        torch.cat([left.vertices, right.vertices]),
        torch.cat([left.faces, right.faces + 4]),
        vertex_colors=torch.cat([left.vertex_colors, right.vertex_colors]),  # type: ignore[list-item]
        uv=torch.rand(6, 2, generator=torch.Generator().manual_seed(0)),
        uv_faces=torch.tensor([[0, 1, 2], [0, 2, 3], [4, 1, 5], [4, 5, 3]]),
    )
    part = kept(both, Look(box=((-5, -5, 0.5), (5, 5, 5))))
    assert isinstance(part, Mesh) and part.uv is not None and part.uv_faces is not None
    assert part.vertices.shape == (4, 3) and part.uv.shape == (4, 2)
    assert torch.equal(part.vertices[part.faces], right.vertices[right.faces])
    assert torch.equal(part.uv[part.uv_faces], both.uv[both.uv_faces[2:]])  # type: ignore[index]
    assert part.vertex_colors is not None and torch.equal(part.vertex_colors, right.vertex_colors)


def test_a_picture_of_one_thing_is_the_rasterisers(ball: Gaussians) -> None:
    camera, ground = orbit(20, 10, width=48, height=32), torch.tensor([10, 20, 30]) / 255
    look = Look(background=(10, 20, 30))
    expected = rasterize(ball, camera, ground).rgb[0].clamp(0, 1)
    torch.testing.assert_close(picture([Item("ball", ball)], look, camera), expected, atol=1e-5, rtol=0)
    mesh = wall(0, RED).with_(vertices=wall(0, RED).vertices * 0.1)
    expected = render_mesh(mesh, camera, ground).rgb[0]
    torch.testing.assert_close(picture([Item("wall", mesh)], look, camera), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("z", "front"), [(0.5, RED), (-0.5, BLUE)])
def test_the_nearer_of_splat_and_mesh_hides_the_other(z: float, front: tuple[float, float, float]) -> None:
    items = [Item("splat", dot(z, RED)), Item("mesh", wall(0, BLUE))]
    middle = picture(items, Look(), orbit(0, 0, width=33))[16, 16]
    torch.testing.assert_close(middle, torch.tensor(front), atol=0.02, rtol=0)


def test_splats_of_different_degree_are_blended_as_one(ball: Gaussians) -> None:
    items = [Item("a", ball), Item("b", dot(0.8, BLUE))]
    middle = picture(items, Look(), orbit(0, 0, width=33))[16, 16]
    torch.testing.assert_close(middle, torch.tensor(BLUE), atol=0.02, rtol=0)


def test_hidden_items_and_the_background() -> None:
    items = [Item("splat", dot(0.5, RED)), Item("mesh", wall(0, BLUE))]
    camera = orbit(0, 0, width=17)
    middle = picture(items, Look(hidden=frozenset({"splat"})), camera)[8, 8]
    torch.testing.assert_close(middle, torch.tensor(BLUE), atol=1e-4, rtol=0)
    nothing = picture(items, Look(background=(0, 128, 255), hidden=frozenset({"splat", "mesh"})), camera)
    assert torch.equal(nothing, (torch.tensor([0, 128, 255]) / 255).expand(17, 17, 3))


def test_the_size_shrinks_gaussians_in_the_picture() -> None:
    camera = orbit(0, 0, width=33)
    full, small = (
        picture([Item("dot", dot(0, RED))], Look(background=(0, 0, 0), size=s), camera)[..., 0].sum() for s in (1, 0.5)
    )
    assert float(small) == pytest.approx(float(full) / 4, rel=0.1)
