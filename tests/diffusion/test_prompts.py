"""Words for views, and how strongly which of them are mixed or avoided."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.diffusion.prompts import PERP_NEG_VIEWS, VIEWS, Prompts, perp_neg_weights, view_weights
from gaussmith.events import UserError
from gaussmith.views import OrbitView


def views(*angles: tuple[float, float]) -> OrbitView:
    azimuth, elevation = zip(*angles)
    return OrbitView(torch.tensor(azimuth), torch.tensor(elevation))


angles = st.tuples(st.floats(-180, 179.9), st.floats(-90, 90))


def test_texts_for_each_view():
    prompts = Prompts("  a corgi ", negative="ugly", view_negatives={"back": "face, eyes"})
    assert prompts.positives() == tuple(f"a corgi, {view} view" for view in VIEWS)
    assert prompts.negatives() == ("ugly", "ugly", "ugly, face, eyes", "ugly")
    assert Prompts("a corgi", view_texts={"back": "the tail of a corgi"}).positives()[2] == "the tail of a corgi"
    assert Prompts("a corgi").negatives() == ("",) * 4
    plain = Prompts("a corgi", view_words=False)
    assert plain.positives() == ("a corgi",) * 4 and not plain.avoids_views
    assert Prompts("a corgi").avoids_views and not Prompts("a corgi", perp_neg=False).avoids_views


def test_what_a_user_gets_wrong():
    for empty in ("", "  \n\t"):
        with pytest.raises(UserError, match="prompt is empty"):
            Prompts(empty)
    with pytest.raises(UserError, match="no view 'top'"):
        Prompts("a corgi", view_negatives={"top": "x"})
    with pytest.raises(UserError, match="back view is empty"):
        Prompts("a corgi", view_texts={"back": " "})


def test_weights_at_the_canonical_views():
    where = views((0, 0), (90, 0), (-90, 10), (-180, 0), (45, 0), (-135, 0), (30, 90), (0, 60))
    expected = [
        [1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0],
        [0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1], [0.5, 0, 0, 0.5],
    ]  # fmt: skip
    torch.testing.assert_close(view_weights(where), torch.tensor(expected).float())


def test_hard_weights_are_dreamfusions():
    where = views((44, 0), (-46, 0), (136, 0), (-134, 0), (0, 61), (0, 59))
    chosen = [VIEWS[i] for i in view_weights(where, smooth=False).argmax(dim=1)]
    assert chosen == ["front", "side", "back", "side", "overhead", "front"]
    assert bool(((view_weights(where, smooth=False) == 0) | (view_weights(where, smooth=False) == 1)).all())


@settings(deadline=None, max_examples=100)
@given(angles)
def test_weights_are_shares_and_mirror_left_and_right(angle):
    azimuth, elevation = angle
    where = views(angle, (-azimuth, elevation))
    for weights in (view_weights(where), view_weights(where, smooth=False)):
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
        assert bool((weights >= 0).all())
        torch.testing.assert_close(weights[0], weights[1])
    torch.testing.assert_close(*perp_neg_weights(where).T)


@settings(deadline=None, max_examples=100)
@given(angles, st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_smooth_weights_and_perp_neg_weights_have_no_jumps(angle, da, de):
    azimuth, elevation = angle
    near = (azimuth + da, min(max(elevation + de, -90), 90))
    both = views(angle, near)
    assert float(view_weights(both).diff(dim=0).abs().max()) <= 0.5 / 90 + 0.5 / 20 + 1e-5
    weights = perp_neg_weights(both)
    assert bool((weights >= 0).all())
    assert (
        float(weights.diff(dim=1).abs().max()) < 0.5 * 2 / 90 + 0.5 * 2 / 20 + 2e-3
    )  # slope 2 at most, a quarter turn


def test_perp_neg_avoids_the_front_from_behind_and_not_in_front():
    front, side = perp_neg_weights(views((0, 0), (45, 0), (90, 0), (135, 0), (-180, 0), (0, 80)))
    assert PERP_NEG_VIEWS == ("front", "side")
    assert float(front[0]) == pytest.approx(0, abs=2e-4)
    assert bool((front[:5].diff() > 0).all())
    assert float(front[2]) == pytest.approx(4 - 2.426, abs=1e-3)
    assert float(front[4]) == pytest.approx(1.967, abs=1e-6)
    assert float(side[0]) == pytest.approx(4 - 2.426, abs=1e-6)
    assert float(side[2]) == pytest.approx(0, abs=1e-3) and float(side[4]) == pytest.approx(1 - 0.606, abs=1e-6)
    assert float(side[3]) == pytest.approx(math.exp(-0.25) - 0.606, abs=1e-6)
    assert float(front[5]) == float(side[5]) == 0  # Overhead.
