import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gaussmith.events import UserError
from gaussmith.io import packing


@given(values=hnp.arrays(np.float64, st.integers(0, 30), elements=st.floats(-1, 2)), bits=st.integers(1, 16))
def test_unorm_is_within_half_a_step(values, bits):
    back = packing.from_unorm(packing.to_unorm(values, bits), bits)
    assert np.abs(back - values.clip(0, 1)).max(initial=0) <= 0.5 / (2**bits - 1) + 1e-12


@given(quats=hnp.arrays(np.float64, st.tuples(st.integers(0, 20), st.just(4)), elements=st.floats(-2, 2)))
def test_the_largest_component_comes_back(quats):
    quats = packing.unit(quats)
    largest, rest = packing.drop_largest(quats)
    assert np.abs(rest).max(initial=0) <= np.sqrt(0.5) + 1e-12
    back = packing.restore_largest(largest, rest)
    assert np.allclose(back * np.sign((back * quats).sum(axis=1, keepdims=True)), quats, atol=1e-7)


def test_quaternions_without_length_are_the_identity():
    assert packing.unit(np.zeros((2, 4))).tolist() == [[1, 0, 0, 0]] * 2


@given(values=hnp.arrays(np.float64, 5, elements=st.floats(-13, 13)))
def test_logits_and_sigmoid_are_inverse(values):
    assert np.allclose(packing.logits(packing.sigmoid(values)), values, atol=1e-6)


def test_logits_are_finite_at_the_ends():
    ends = packing.logits(np.array([0.0, 1.0]))
    assert np.isfinite(ends).all()
    assert ends[0] == pytest.approx(-ends[1])
    assert packing.finite_logits(np.array([-np.inf, np.inf, 3.0])).tolist() == pytest.approx([*ends, 3])
    assert packing.finite_log(np.array([-np.inf, 1.0])).tolist() == pytest.approx([np.log(packing.MIN_SCALE), 1])


def test_neighbours_follow_each_other_on_the_curve():
    grid = np.stack(np.meshgrid(*[np.arange(8.0)] * 3), axis=-1).reshape(-1, 3)
    points = np.random.default_rng(0).permutation(grid)
    order = packing.morton_order(points)
    assert sorted(order) == list(range(512))
    for block in points[order].reshape(8, 64, 3):  # eighths of the curve are eighths of the cube
        assert (np.ptp(block, axis=0) == 3).all()
    steps = np.linalg.norm(np.diff(points[order], axis=0), axis=1)
    assert steps.mean() < 2 < np.linalg.norm(np.diff(points, axis=0), axis=1).mean()
    assert packing.morton_order(np.zeros((0, 3))).tolist() == []
    assert packing.morton_order(np.ones((3, 3))).tolist() == [0, 1, 2]


def test_what_is_not_finite_is_refused(make_splat):
    splat = make_splat(4)
    splat.means[2, 1] = float("inf")
    with pytest.raises(ValueError, match="non-finite"):
        packing.arrays(splat)
    with pytest.raises(UserError, match=r"1 of 4 Gaussians have a value in means.*number 2"):
        packing.build("x", **{name: t.numpy() for name, t in splat.tensors().items()})
    splat = make_splat(4)
    splat.log_scales[1, 1] = 81
    with pytest.raises(ValueError, match="scales beyond"):
        packing.arrays(splat)
    with pytest.raises(UserError, match="scale of exp"):
        packing.build("x", **{name: t.numpy() for name, t in splat.tensors().items()})


def test_what_float32_cannot_hold_is_refused(make_splat):
    arrays = {name: t.numpy() for name, t in make_splat(2).tensors().items()}
    with pytest.raises(UserError, match="not a finite number"):
        packing.build("x", **{**arrays, "sh": np.full((2, 1, 3), 1e300)})
    assert packing.build("x", **arrays).means.dtype == torch.float32
