"""Figures of novel views, and the score for doubled faces on objects whose answer is known."""

import math

import numpy as np
import pytest
import torch

from gaussmith.mesh import Mesh
from gaussmith.metrics import by_offset, compare_views, iou, janus_score, opposite_views, psnr, ssim
from gaussmith.render.mesh import render_mesh

FRONT, BACK = opposite_views(size=64)


def head(paint) -> Mesh:
    """A sphere of radius 0.5, each vertex coloured by `paint(x, y, z)` of its direction; +z is the front."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, 60), np.linspace(0, 2 * np.pi, 120), indexing="ij")
    x, y, z = np.sin(polar) * np.sin(around), np.cos(polar), np.sin(polar) * np.cos(around)
    index = np.arange(x.size).reshape(x.shape)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel()
    faces = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    points = torch.from_numpy(0.5 * np.stack([x, y, z], axis=-1).reshape(-1, 3)).float()
    return Mesh(points, torch.from_numpy(faces), vertex_colors=torch.from_numpy(paint(x, y, z).reshape(-1, 3)).float())


def face(x, y, z):
    """Skin with two dark eyes and, to one side, a red scar: left and right differ."""
    skin = np.broadcast_to([0.9, 0.7, 0.5], (*x.shape, 3)).copy()
    for side in (-1, 1):
        skin[(x - side * 0.3) ** 2 + (y - 0.25) ** 2 < 0.03] = [0.1, 0.1, 0.3]
    skin[(abs(x - 0.35) < 0.12) & (abs(y + 0.3) < 0.25)] = [0.8, 0.1, 0.1]
    return skin


HAIR = np.array([0.35, 0.2, 0.1])


def truth(x, y, z):
    return np.where((z > 0)[..., None], face(x, y, z), HAIR)


def turned_copy(x, y, z):
    return np.where((z > 0)[..., None], face(x, y, z), face(-x, y, -z))


def shining_through(x, y, z):
    return face(x, y, z)


def views(paint) -> tuple[torch.Tensor, torch.Tensor]:
    mesh = head(paint)
    renders = [render_mesh(mesh, side.camera()) for side in (FRONT, BACK)]
    return tuple(torch.cat([r.rgb, r.alpha], dim=-1) for r in renders)


def score(paint) -> float:
    return float(janus_score(*views(paint), *views(truth)))


def test_opposite_views_are_half_a_turn_apart():
    assert FRONT.azimuth.tolist() == [-30, 0, 30]
    assert BACK.azimuth.tolist() == [150, -180, -150]
    assert FRONT.elevation.tolist() == BACK.elevation.tolist() == [0, 0, 0]


def test_janus_score_of_the_truth_is_zero():
    assert score(truth) == 0


@pytest.mark.parametrize("paint", [turned_copy, shining_through])
def test_janus_score_finds_a_doubled_face(paint):
    doubled = score(paint)
    front, back = views(truth)
    own = float(janus_score(front, back, front, front))  # the truth's likeness - 1
    assert doubled > 0.25 and doubled <= -own + 1e-5
    assert doubled == pytest.approx(-own, abs=0.1)  # as like as can be


def test_janus_score_orders_a_half_grown_second_face():
    def faint(x, y, z):
        return 0.5 * truth(x, y, z) + 0.5 * turned_copy(x, y, z)

    assert 0 < score(faint) < score(turned_copy)


def test_janus_score_does_not_punish_what_is_the_same_all_around():
    def plain(x, y, z):
        return np.full((*x.shape, 3), [0.2, 0.6, 0.3])

    front, back = views(plain)
    assert abs(float(janus_score(front, back, front, back))) < 1e-6
    # A soft, featureless back is a poor one, but not a second front.
    assert score(lambda x, y, z: np.where((z > 0)[..., None], face(x, y, z), [0.1, 0.3, 0.9])) < 0


def test_janus_score_of_nothing_against_nothing():
    nothing = torch.zeros(1, 32, 32, 4)
    assert float(janus_score(nothing, nothing, nothing, nothing)) == 0


def test_compare_views_is_each_metric_of_each_view_on_white():
    g = torch.Generator().manual_seed(0)
    alpha = torch.rand(2, 2, 16, 16, 1, generator=g)
    guess, true = torch.cat([torch.rand(2, 2, 16, 16, 3, generator=g) * alpha, alpha], dim=-1)
    figures = compare_views(guess, true)
    a, b = (x[1, ..., :3] + 1 - x[1, ..., 3:] for x in (guess, true))
    assert float(figures.psnr[1]) == pytest.approx(float(psnr(a, b)))
    assert float(figures.ssim[1]) == pytest.approx(float(ssim(a, b)))
    assert float(figures.iou[1]) == pytest.approx(float(iou(guess[1, ..., 3:], true[1, ..., 3:])))


def test_by_offset_folds_turns_and_puts_edges_in_the_upper_bin():
    offsets = torch.tensor([0.0, -29, 30, 350, 180, -180, 200, -90])
    bins = by_offset(offsets, torch.arange(8.0))
    assert [b.label for b in bins] == ["0-30°", "30-60°", "60-90°", "90-135°", "135-180°"]
    assert [b.count for b in bins] == [3, 1, 0, 1, 3]
    assert bins[0].mean == pytest.approx((0 + 1 + 3) / 3) and bins[1].mean == 2 and bins[3].mean == 7
    assert bins[4].mean == pytest.approx((4 + 5 + 6) / 3) and math.isnan(bins[2].mean)


def test_by_offset_leaves_out_what_no_bin_holds():
    (only,) = by_offset(torch.tensor([10.0, 50.0]), torch.tensor([1.0, 2.0]), edges=(0, 20))
    assert (only.count, only.mean) == (1, 1.0)
