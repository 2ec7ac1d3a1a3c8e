"""From parts to one prediction: guidance, Perp-Neg and what keeps it from saturating."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.diffusion.guidance import (
    Guidance,
    Predictions,
    direction,
    dynamic_threshold,
    guide,
    perpendicular,
    rescale,
)
from gaussmith.diffusion.schedule import CosineTime, add_noise, cfg, x0_from_eps

SHAPE = (3, 4, 6, 6)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).flatten(1).sum(dim=1)


NULL, COND = normal(*SHAPE), normal(*SHAPE, seed=1)
NEGATIVES, WEIGHTS = normal(2, *SHAPE, seed=2), torch.tensor([[0.0, 0.5, 2.0], [1.0, 0.0, 0.3]])


def test_scales_0_and_1_are_the_null_and_the_condition():
    parts = Predictions(NULL, COND)
    assert torch.equal(guide(parts, 0.0), NULL)
    torch.testing.assert_close(guide(parts, 1.0), COND)
    torch.testing.assert_close(guide(parts, 7.5), cfg(NULL, COND, 7.5))
    torch.testing.assert_close(direction(parts), COND - NULL)
    avoiding = Predictions(NULL, COND, NEGATIVES, WEIGHTS)
    assert torch.equal(guide(avoiding, 0.0), NULL)


def test_perp_neg_takes_only_what_is_orthogonal():
    """Algorithm 1 by hand; and what the negatives take away has no part along the condition's own pull."""
    pull = COND - NULL
    got = direction(Predictions(NULL, COND, NEGATIVES, WEIGHTS))
    avoided = pull - got
    torch.testing.assert_close(inner(avoided, pull), torch.zeros(3).double(), atol=1e-9, rtol=0)
    assert bool((avoided.flatten(1).norm(dim=1) > 0.1).all())
    for b in range(3):
        expected = pull[b].clone()
        for k in range(2):
            n = NEGATIVES[k, b] - NULL[b]
            expected -= WEIGHTS[k, b] * (n - (n * pull[b]).sum() / (pull[b] ** 2).sum() * pull[b])
        torch.testing.assert_close(got[b], expected)
    torch.testing.assert_close(direction(Predictions(NULL, COND, NEGATIVES, 0 * WEIGHTS)), pull)


def test_a_negative_equal_to_the_condition_changes_nothing():
    """Where plain negative prompting would erase the object, Perp-Neg does not."""
    parts = Predictions(NULL, COND, COND[None], torch.full((1, 3), 5.0))
    torch.testing.assert_close(direction(parts), COND - NULL)


def test_perpendicular_to_nothing_is_the_thing_itself():
    x, axis = normal(2, 5), normal(2, 5, seed=1)
    axis[1] = 0
    got = perpendicular(x, axis)
    torch.testing.assert_close(got[1], x[1])
    assert float(inner(got, axis)[0].abs()) < 1e-12 and not torch.allclose(got[0], x[0])
    assert bool(perpendicular(x.float(), 0 * x.float()).isfinite().all())


def test_rescale_keeps_the_condition_s_deviation():
    guided = guide(Predictions(NULL, COND), 50.0)
    full, half, none = (rescale(guided, COND, phi) for phi in (1.0, 0.5, 0.0))
    dims = (1, 2, 3)
    torch.testing.assert_close(full.std(dims), COND.std(dims))
    torch.testing.assert_close(half.std(dims), (COND.std(dims) + guided.std(dims)) / 2)
    assert torch.equal(none, guided)
    constant = torch.ones(2, 3)
    assert torch.equal(rescale(constant, torch.ones(2, 3), 0.0), constant)
    assert bool(rescale(constant, torch.randn(2, 3, generator=torch.Generator()), 0.7).isfinite().all())


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 1), st.floats(0.1, 3), st.integers(0, 100))
def test_dynamic_threshold_bounds(quantile, bound, seed):
    x0 = normal(2, 3, 4, seed=seed)
    out = dynamic_threshold(x0, quantile, bound)
    assert float(out.abs().max()) <= bound * (1 + 1e-6)
    assert torch.equal(out.sign(), x0.sign())
    inside = x0 * (0.9 * bound / x0.abs().max())
    torch.testing.assert_close(dynamic_threshold(inside, quantile, bound), inside)  # What fits is left alone.


def test_dynamic_threshold_by_hand():
    x0 = torch.tensor([[-4.0, 1.0, 2.0], [0.5, -3.0, 0.1]])
    torch.testing.assert_close(dynamic_threshold(x0, 1.0), torch.tensor([[-1, 0.25, 0.5], [0.5 / 3, -1.0, 0.1 / 3]]))
    torch.testing.assert_close(dynamic_threshold(x0, 0.0), x0.clamp(-1, 1))
    torch.testing.assert_close(dynamic_threshold(x0, 0.5)[0], torch.tensor([-1.0, 0.5, 1.0]))


def test_guidance_applies_its_remedies_to_the_clean_picture():
    level = CosineTime().level(torch.tensor([0.2, 0.5, 0.8]))
    noisy = add_noise(normal(*SHAPE, seed=3), normal(*SHAPE, seed=4), level)
    parts = Predictions(NULL, COND)
    torch.testing.assert_close(Guidance(20.0)(parts, noisy, level), guide(parts, 20.0))
    x0 = x0_from_eps(noisy, Guidance(20.0, rescale=1.0)(parts, noisy, level), level)
    wanted = x0_from_eps(noisy, COND, level).std((1, 2, 3))
    torch.testing.assert_close(x0.std((1, 2, 3)), wanted)
    x0 = x0_from_eps(noisy, Guidance(20.0, quantile=0.95)(parts, noisy, level), level)
    assert float(x0.abs().max()) == pytest.approx(1.0)
    for bad in ({"rescale": 1.5}, {"quantile": -0.1}, {"quantile": 0.9, "bound": 0.0}):
        with pytest.raises(ValueError, match="must lie"):
            Guidance(1.0, **bad)


def test_malformed_predictions_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        Predictions(NULL, COND[:2])
    with pytest.raises(ValueError, match="together"):
        Predictions(NULL, COND, NEGATIVES)
    with pytest.raises(ValueError, match="negatives must be"):
        Predictions(NULL, COND, NEGATIVES[:, :2], WEIGHTS)
    with pytest.raises(ValueError, match="negative_weights"):
        Predictions(NULL, COND, NEGATIVES, WEIGHTS[:1])
