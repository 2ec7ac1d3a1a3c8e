"""Edits of splats: what they keep, what they undo, and that colours turn along."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import gaussmith
from gaussmith import editing
from gaussmith.camera import Camera, orbit
from gaussmith.editing import Edits, apply
from gaussmith.events import UserError
from gaussmith.framing import fit_points, visible_points
from gaussmith.gaussians import Gaussians, concat, from_points, in_ball
from gaussmith.render.splat import rasterize
from gaussmith.sh import rgb_to_dc


def random_splat(count: int, degree: int = 0, seed: int = 0) -> Gaussians:
    """Gaussians of every shape, colour and opacity within a ball of 0.5."""
    generator = torch.Generator().manual_seed(seed)
    splat = in_ball(max(count, 2), 0.5, generator, sh_degree=degree).select(torch.arange(count))

    def noise(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator)

    return Gaussians(
        splat.means,
        splat.log_scales + 0.5 * noise(splat.log_scales),
        noise(splat.quats),
        noise(splat.opacity_logits),
        0.3 * noise(splat.sh),
    )


def same(a: Gaussians, b: Gaussians, **tolerance: float) -> bool:
    pairs = zip(a.tensors().values(), b.tensors().values(), strict=True)
    return all(x.shape == y.shape and torch.allclose(x, y, **tolerance) for x, y in pairs)


def rows(g: Gaussians) -> list[tuple[float, ...]]:
    return sorted(
        map(tuple, torch.cat([t.flatten(1) if t.ndim > 1 else t[:, None] for t in g.tensors().values()], 1).tolist())
    )


splats = st.builds(random_splat, st.integers(0, 30), st.integers(0, 3), st.integers(0, 99))
number = st.floats(-0.6, 0.6)
angles = st.tuples(*[st.floats(-400, 400)] * 3)
moves = st.tuples(*[st.floats(-20, 20)] * 3)
scales = st.floats(0.05, 20)


@given(splats, st.tuples(number, number, number), st.tuples(number, number, number), st.floats(0.01, 1))
def test_a_crop_and_its_inverse_are_the_whole(g: Gaussians, low: tuple, high: tuple, radius: float) -> None:
    for crop in (
        lambda outside: editing.crop_box(g, low, high, outside=outside),
        lambda outside: editing.crop_sphere(g, low, radius, outside=outside),
    ):
        inside, outside = crop(False), crop(True)
        assert rows(concat([inside, outside])) == rows(g)


@given(splats, st.tuples(number, number, number), st.tuples(number, number, number), st.floats(0.01, 1))
def test_regions_are_what_they_say(g: Gaussians, low: tuple, high: tuple, radius: float) -> None:
    box, ball = editing.crop_box(g, low, high), editing.crop_sphere(g, low, radius)
    for axis in range(3):
        edges = sorted(torch.tensor([low[axis], high[axis]]).tolist())  # as float32, like the centres
        assert bool(((box.means[:, axis] >= edges[0]) & (box.means[:, axis] <= edges[1])).all())
    assert bool(((ball.means - torch.tensor(low)).norm(dim=1) <= radius + 1e-6).all())
    assert same(box, editing.crop_box(g, high, low))  # the corners in any order


@given(splats, st.floats(0, 1), st.floats(0.001, 1), st.floats(0, 1), st.integers(1, 40), st.integers(0, 3))
def test_deletions_are_idempotent_and_keep_the_order(
    g: Gaussians, opacity: float, size: float, tolerance: float, count: int, degree: int
) -> None:
    for edit in (
        lambda s: editing.crop_box(s, (-0.1, -0.2, -0.3), (0.4, 0.4, 0.4)),
        lambda s: editing.crop_sphere(s, (0.1, 0, 0), 0.3, outside=True),
        lambda s: editing.drop_faint(s, opacity),
        lambda s: editing.drop_large(s, size),
        lambda s: editing.drop_color(s, (0.5, 0.5, 0.5), tolerance),
        lambda s: editing.keep_most_visible(s, count),
        lambda s: editing.with_sh_degree(s, degree),
    ):
        before = g.map(torch.clone)
        once = edit(g)
        assert same(edit(once), once) and same(g, before)
        places = [(g.means == mean).all(dim=1).nonzero()[0, 0].item() for mean in once.means]
        assert places == sorted(places)


@given(splats, moves, angles, scales)
def test_a_transform_and_its_inverse_give_back_the_tensors(
    g: Gaussians, move: tuple, rotate: tuple, scale: float
) -> None:
    turn = editing.rotation(rotate)
    moved = editing.transform(g, move, rotate, scale)
    back = moved.transform(turn.T, -(turn.T @ torch.tensor(move, dtype=torch.float64)) / scale, 1 / scale)
    # A quaternion and its negative are one rotation.
    sign = torch.sign((back.quats * g.quats).sum(dim=1, keepdim=True))
    back = replace(back, quats=back.quats * sign)
    assert same(back, g, atol=5e-6 * (1 + 20 / scale), rtol=1e-4)


@settings(max_examples=15)
@given(st.integers(0, 3), st.integers(0, 50), moves, angles, st.floats(0.3, 20))  # nearer is cut by the near plane
def test_a_moved_splat_from_the_moved_camera_is_the_same_picture(
    degree: int, seed: int, move: tuple, rotate: tuple, scale: float
) -> None:
    g, camera = random_splat(40, degree, seed), orbit(30.0, 20.0, width=24)
    turn = editing.rotation(rotate)
    c2w = camera.c2w.double()
    c2w[0, :3, :3] = turn @ c2w[0, :3, :3]
    c2w[0, :3, 3] = scale * turn @ c2w[0, :3, 3] + torch.tensor(move, dtype=torch.float64)
    # The reference in float64: alphas cut at 1/255 would else jump between the two.
    first = rasterize(g.to(dtype=torch.float64), camera.to(dtype=torch.float64), backend="reference")
    moved = g.to(dtype=torch.float64).transform(turn, torch.tensor(move, dtype=torch.float64), scale)
    second = rasterize(moved, Camera(c2w, camera.K.double(), 24, 24), backend="reference")
    assert float((first.rgb - second.rgb).abs().max()) < 1e-4


def test_rotations_are_about_the_axes_of_the_world_in_turn() -> None:
    x, y, z = torch.eye(3, dtype=torch.float64)
    assert torch.allclose(editing.rotation((90, 0, 0)) @ y, z)
    assert torch.allclose(editing.rotation((0, 90, 0)) @ z, x)
    assert torch.allclose(editing.rotation((0, 0, 90)) @ x, y)
    assert torch.allclose(editing.rotation((90, 0, 90)) @ y, z)  # first to z, which the turn about z leaves there
    assert torch.allclose(editing.rotation((90, 90, 0)) @ y, x)  # first to z, then from there to x


@given(st.lists(splats, min_size=1, max_size=4))
def test_a_merge_is_one_after_the_other_and_looks_as_they_did(parts: list[Gaussians]) -> None:
    merged = editing.merge(parts)
    degree = max(round(math.sqrt(p.sh.shape[1])) - 1 for p in parts)
    assert merged.sh.shape[1] == (degree + 1) ** 2
    start = 0
    for part in parts:
        piece = merged.select(torch.arange(start, start + len(part)))
        bands = part.sh.shape[1]
        assert same(replace(piece, sh=piece.sh[:, :bands]), part) and not piece.sh[:, bands:].any()
        start += len(part)
    assert start == len(merged)


def test_colours_are_dropped_within_the_tolerance_only() -> None:
    colors = torch.tensor([[1.0, 0, 0], [0.95, 0.05, 0.05], [0.8, 0, 0], [0, 1, 0]])
    g = from_points(torch.rand(4, 3, generator=torch.Generator().manual_seed(0)), colors)
    assert len(editing.drop_color(g, (1, 0, 0))) == 2
    assert len(editing.drop_color(g, (1, 0, 0), 0)) == 3
    brighter = replace(g, sh=rgb_to_dc(colors * 3 - 1)[:, None])  # shows as red or green all the same
    assert len(editing.drop_color(brighter, (1, 0, 0), 0)) == 1


def test_the_most_visible_are_large_and_opaque() -> None:
    g = random_splat(4)
    size = torch.tensor([[0.1, 0.1, 0.1], [0.2, 0.2, 1e-4], [0.01, 0.01, 0.01], [0.3, 1e-4, 1e-4]]).log()
    g = replace(g, log_scales=size, opacity_logits=torch.tensor([3.0, 3.0, 9.0, 9.0]))
    kept = editing.keep_most_visible(g, 2)
    assert torch.equal(kept.means, g.means[:2])  # the disc beats the ball, the needle casts hardly a shadow
    weak = replace(g, opacity_logits=torch.tensor([3.0, -9.0, 9.0, 9.0]))
    assert torch.equal(editing.keep_most_visible(weak, 1).means, g.means[:1])


def sphere_with_floaters() -> tuple[Gaussians, int]:
    """A shell of 900 Gaussians, then six that are no part of it: far away, huge, and too faint to be seen."""
    generator = torch.Generator().manual_seed(3)
    shell = torch.nn.functional.normalize(torch.randn(900, 3, generator=generator), dim=1) / 2
    far = torch.tensor([[3.0, 0, 0], [0, 2.5, 0], [2.0, 2.0, 2.0], [0.0, 0, -4.0], [0.2, 0, 0], [0.5, 0, 0]])
    g = from_points(torch.cat([shell, far]), torch.full((906, 3), 0.5), opacity=0.9)
    g.log_scales[900:] = math.log(0.03)
    g.log_scales[904] = math.log(5.0)
    g.opacity_logits[905] = -8.0
    return g, 900


def test_floaters_go_and_the_object_stays() -> None:
    g, count = sphere_with_floaters()
    kept = editing.drop_floaters(g)
    assert torch.equal(kept.means, g.means[:count])
    g.means[7] = float("nan")
    assert len(editing.drop_floaters(g)) == count - 1


@pytest.mark.parametrize("count", [0, 1, 2, 16, 17])
def test_few_gaussians_are_no_floaters(count: int) -> None:
    g = replace(
        random_splat(count), opacity_logits=torch.full((count,), 2.0), log_scales=torch.full((count, 3), math.log(0.05))
    )
    assert len(editing.drop_floaters(g)) == count


def test_center_puts_the_splat_where_the_cameras_look() -> None:
    g = random_splat(300).transform(torch.eye(3), torch.tensor([5.0, -7.0, 2.0]), 12.0)
    centred = editing.center(g)
    fit = fit_points(visible_points(centred))
    assert fit.scale == pytest.approx(1, abs=1e-4) and float(fit.centre.abs().max()) < 1e-4
    assert same(editing.center(centred), centred, atol=1e-4)
    with pytest.raises(UserError, match="no visible"):
        editing.center(replace(g, opacity_logits=torch.full((300,), -9.0)))


def test_operations_follow_the_order_of_the_fields() -> None:
    g = random_splat(60, degree=2)
    edits = Edits(crop_sphere=(0, 0, 0, 0.45), min_opacity=0.3, max_gaussians=9, sh_degree=1, scale=2.0, move=(1, 0, 0))
    edited, changes = apply(edits, [g, g])
    assert [c.before for c in changes[1:]] == [c.after for c in changes[:-1]] and changes[0].after == 120
    assert [c.name.split()[0] for c in changes] == ["merge", "crop", "drop", "keep", "SH", "transform"]
    by_hand = editing.drop_faint(editing.crop_sphere(editing.merge([g, g]), (0, 0, 0), 0.45), 0.3)
    by_hand = editing.with_sh_degree(editing.keep_most_visible(by_hand, 9), 1)
    assert same(edited, editing.transform(by_hand, (1, 0, 0), scale=2.0))


def test_an_sh_degree_is_never_raised() -> None:
    assert apply(Edits(sh_degree=3), [random_splat(3, degree=1)])[0].sh.shape[1] == 4


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"crop_box": (0, 0, 0)}, "crop box takes 6"),
        ({"crop_box": (0, 0, 0, 1, 1, math.nan)}, "crop box"),
        ({"crop_sphere": (0, 0, 0, 0)}, "radius above 0"),
        ({"min_opacity": 1.1}, "from 0 to 1"),
        ({"max_size": math.nan}, "max size"),
        ({"drop_color": (255, 0, 0)}, "from 0 to 1"),
        ({"max_gaussians": 0}, "max gaussians"),
        ({"sh_degree": 4}, "sh degree"),
        ({"scale": 0}, "scale"),
        ({"move": (0, math.inf, 0)}, "move"),
        ({"outside": True}, "outside of what"),
        ({"center": True, "move": (0, 0, 0)}, "leave out"),
    ],
)
def test_impossible_edits_are_refused_at_once(wrong: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        Edits(**wrong)


@pytest.mark.parametrize(
    "edits",
    [
        Edits(crop_sphere=(9, 9, 9, 1)),
        Edits(max_size=0),
        Edits(min_opacity=1),
        Edits(drop_color=(0.5, 0.5, 0.5), tolerance=1),
    ],
)
def test_an_edit_that_leaves_nothing_is_refused(edits: Edits) -> None:
    with pytest.raises(UserError, match="would leave none of the 20"):
        apply(edits, [random_splat(20)])


def test_nothing_to_edit_and_too_far_away() -> None:
    with pytest.raises(UserError, match="empty"):
        apply(Edits(), [random_splat(0)])
    with pytest.raises(UserError, match="single precision"):
        apply(Edits(scale=1e6), [random_splat(5).transform(torch.eye(3), torch.tensor([1e36, 0, 0]))])
    with pytest.raises(UserError, match="at least one"):
        gaussmith.edit([], Edits())
