"""Where objects stand in pictures: what is to be said is right, and a head learns to say it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from says import Says
from tiny_prior import tiny_prior

from gaussmith.camera import DEFAULT_FOVY, DEFAULT_RADIUS, PRIOR_FOVY, orbit
from gaussmith.mesh import Mesh
from gaussmith.picture import OBJECT_SHARE, OUTLINE_SHARE, Prepared, outline
from gaussmith.priors.embedded.placement import SIDE, UNITS, find_placement
from gaussmith.priors.embedded.prior import load_placement, load_weights, save_weights
from gaussmith.synth.procedural import generate_objects
from gaussmith.synth.views import softly_lit
from gaussmith.train import placement
from gaussmith.train.placement import LARGE, add, draw, fit, initial_head, judge, look, outlines, surprise, teach
from gaussmith.train.subject import stand


def squares(rows: list[tuple[int, int, int]]) -> np.ndarray:
    """Renders [N,LARGE,LARGE,4] of white squares: left, top, side."""
    rgba = np.zeros((len(rows), LARGE, LARGE, 4), np.uint8)
    for picture, (left, top, side) in zip(rgba, rows):
        picture[top : top + side, left : left + side] = 255
    return rgba


def test_what_is_to_be_said_of_a_square() -> None:
    """A square of 40 pixels whose middle is 14 to the left of and 6 above the frame's."""
    seen = outlines(squares([(30, 38, 40)]), np.array([12.0], np.float32))
    assert seen.middle.tolist() == [[50.0, 58.0]] and seen.longest.tolist() == [40.0]
    pictures, elevation, wanted = draw(seen, 1, np.random.default_rng(0), augment=False)
    there = pictures[0, 3] > 0
    assert abs(int(there.any(dim=0).sum()) - OUTLINE_SHARE * SIDE) <= 1
    assert torch.equal(there, there.flip(0)) and torch.equal(there, there.flip(1))
    # Pixels of the framed picture per pixel of the render: 51.2 / 40.
    right, down, log_scale, height = (wanted[0] * UNITS).tolist()
    assert right == pytest.approx(14 * 1.28 / 64, abs=1e-6) and down == pytest.approx(6 * 1.28 / 64, abs=1e-6)
    assert log_scale == pytest.approx(-math.log(2 * 1.28), abs=1e-6)
    assert height == pytest.approx(12 - 15) and elevation.tolist() == [12.0]


def test_nothing_to_see_is_left_out() -> None:
    seen = outlines(squares([(0, 0, 0), (10, 10, 5)]), np.array([1.0, 2.0], np.float32))
    assert seen.elevation.tolist() == [2.0]


def test_a_mirrored_picture_has_the_mirrored_answer() -> None:
    seen = outlines(squares([(30, 38, 40)]), np.array([12.0], np.float32))
    _, _, wanted = draw(seen, 200, np.random.default_rng(0))
    right = wanted[:, 0] * UNITS[0]
    assert 60 < int((right < 0).sum()) < 140
    assert right.abs().mean() == pytest.approx(14 * 1.28 / 64, rel=0.02)
    assert (wanted[:, 1] > 0).all()


def test_the_elevation_is_guessed_only_if_nobody_knows_it() -> None:
    picture = torch.zeros(4, SIDE, SIDE)
    head = Says(0.03, -0.02, 0.1, 33.0)
    found = find_placement(head, picture)
    # 33 give or take 15, drawn to 15: precisions 1/15^2 and 1/12^2 - 1/17.6^2.
    said, usual = 1 / 225, 1 / 144 - 1 / 17.6**2
    expected = 15 + 18 * said / (said + usual)
    assert 24 < expected < 26
    assert (found.right, found.down, found.elevation) == pytest.approx((0.03, -0.02, expected), abs=1e-4)
    assert found.scale == pytest.approx(math.exp(0.1), abs=1e-5)
    assert found.spread == pytest.approx((said + usual) ** -0.5)
    assert head.heard == [(0.0, 0.0), (pytest.approx(expected, abs=1e-4), 1.0)]
    head.heard.clear()
    found = find_placement(head, picture, -5.0)
    assert (found.elevation, found.spread) == (-5.0, 0.0) and head.heard == [(-5.0, 1.0)]


def test_wild_answers_are_bounded() -> None:
    found = find_placement(Says(9.0, -9.0, 5.0, 400.0), torch.zeros(4, SIDE, SIDE))
    assert (found.right, found.down, found.elevation) == (0.2, -0.2, 60.0) and found.scale < 1.6


@pytest.mark.parametrize("zoom", [1.0, 0.7])
def test_a_picture_is_moved_to_where_its_object_stands(zoom: float) -> None:
    """A square object whose middle is said to lie right of and below the outline's: that point comes to the middle, at
    the scale that is said, however the picture was framed."""
    side = 400
    rgba = torch.zeros(side, side, 4)
    rgba[100:220, 60:180] = 1
    picture = Prepared(rgba, DEFAULT_FOVY, 1.0, (0.0, 0.0), (side, side), True, "alpha")
    if zoom != 1:
        picture = picture.moved(zoom, (11.0, 7.0), side)
    moved, found = stand(picture, Says(0.05, 0.1, math.log(0.9), 20.0), 20.0, size=512)
    assert found.spread == 0.0 and moved.rgba.shape == (512, 512, 4)
    scale, (x, y) = outline(moved)
    assert 1 / scale == pytest.approx(0.9, rel=0.02)
    frame = 512 * OBJECT_SHARE / OUTLINE_SHARE  # the prior's frame in pixels
    assert x == pytest.approx(256 - 0.05 * 0.9 * frame, abs=1.5)
    assert y == pytest.approx(256 - 0.1 * 0.9 * frame, abs=1.5)


def test_a_rendered_box_comes_back_to_where_it_was_rendered() -> None:
    """With the true answers `stand` undoes the framing by the outline: the box is seen again as the camera saw it."""
    corner = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    corner = corner * torch.tensor([0.3, 0.15, 0.4])
    pixels = orbit(35.0, 40.0, DEFAULT_RADIUS, PRIOR_FOVY, SIDE).project(corner)[0, :, :2]
    low, high = pixels.amin(dim=0), pixels.amax(dim=0)
    middle, longest = (low + high) / 2, float((high - low).max())
    grow = OUTLINE_SHARE * SIDE / longest
    right, down = ((SIDE / 2 - middle) * grow / SIDE).tolist()
    # The same box's silhouette in the wide frame, off the middle.
    wide = orbit(35.0, 40.0, DEFAULT_RADIUS, DEFAULT_FOVY, 512).project(corner)[0, :, :2].round().long()
    rgba = torch.zeros(512, 512, 4)
    (left, top), (last, bottom) = wide.amin(dim=0).tolist(), wide.amax(dim=0).tolist()
    rgba[top:bottom, left:last] = 1
    picture = Prepared(rgba, DEFAULT_FOVY, 1.0, (0.0, 0.0), (512, 512), True, "alpha")
    shifted = picture.moved(0.8, (40.0, -10.0), 512)
    back, _ = stand(shifted, Says(right, down, -math.log(grow), 40.0), 40.0)
    assert outline(back)[1] == pytest.approx(outline(picture)[1], abs=1.5)
    assert outline(back)[0] == pytest.approx(outline(picture)[0], rel=0.02)


def test_what_nobody_asks_for_is_left_alone_however_wild() -> None:
    said = torch.zeros(2, 2, 4)
    said[0, 1, 3] = -1e4  # an elevation that was told, with a spread whose inverse overflows
    said[1, 1, 0] = -1e4  # one that is asked for, beyond all reason
    said.requires_grad_()
    wanted = torch.zeros(2, 4)
    wanted[:, 0] = 0.01
    loss = surprise(said, wanted, torch.tensor([1.0, 0.0]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(said.grad).all()
    assert not said.grad[0, :, 3].any() and said.grad[1, 0, 0] != 0
    # Of a standard Gaussian: half of the mean square, over the seven answers asked for.
    plain = surprise(torch.zeros(2, 2, 4), torch.full((2, 4), 2.0), torch.tensor([1.0, 0.0]))
    assert plain == pytest.approx(2.0)


@pytest.fixture(scope="module")
def world():
    return generate_objects(5, 14)


def test_a_head_learns_heights_and_middles(world) -> None:
    seen = look(world, range(14))
    assert len(seen.rgba) == 14 * placement.VIEWS
    before = judge(initial_head(0), seen)
    after = judge(fit([seen], 120, batch=24), seen)
    assert after["elevation"] < 0.95 * before["elevation"]
    assert after["middle"] < 0.8 * before["outline_middle"]
    assert after["scale"] < 0.8 * before["outline_scale"]


def test_the_same_seed_teaches_the_same_head(world, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "STEPS", 3)
    heads = [teach([(world, [0, 1])], (world, [2]))[0].state_dict() for _ in range(2)]
    assert all(torch.equal(heads[0][name], heads[1][name]) for name in heads[0])


def test_the_head_travels_in_the_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(tiny_prior(), path)
    assert load_placement(path) is None and load_weights(path).placement is None
    head = initial_head(1)
    add(path, head)
    alone, whole = load_placement(path), load_weights(path).placement
    assert alone is not None and whole is not None
    for name, value in head.state_dict().items():
        assert torch.allclose(alone.state_dict()[name], value, atol=1e-3)
        assert torch.equal(alone.state_dict()[name], whole.state_dict()[name])


def test_a_mesh_without_colours_is_not_lit() -> None:
    bare = Mesh(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    assert all(softly_lit(bare, np.random.default_rng(i)) is bare for i in range(4))


def test_weights_that_cannot_be_read_have_no_head(tmp_path: Path) -> None:
    """Whoever needs the network is told what is wrong by `load_weights`."""
    assert load_placement(tmp_path / "gone.safetensors") is None
    (tmp_path / "text.safetensors").write_text("no weights")
    assert load_placement(tmp_path / "text.safetensors") is None
