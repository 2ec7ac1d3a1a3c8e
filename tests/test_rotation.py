"""Quaternions: round trips, composition, and the angle-axis formula."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.rotation import matrix_to_quat, quat_multiply, quat_rotate, quat_to_matrix

component = st.floats(-1, 1, allow_nan=False)
quaternion = st.tuples(component, component, component, component).filter(lambda q: sum(c * c for c in q) > 1e-3)


def _unit(q):
    return torch.nn.functional.normalize(torch.tensor(q, dtype=torch.float64), dim=-1)


@settings(deadline=None, max_examples=200)
@given(quaternion)
def test_round_trip_up_to_sign(q):
    q = _unit(q)
    back = matrix_to_quat(quat_to_matrix(q))
    assert back[0] >= 0
    assert min((back - q).abs().max(), (back + q).abs().max()) < 1e-9


@settings(deadline=None, max_examples=50)
@given(quaternion, st.floats(0.01, 100))
def test_matrix_is_a_rotation_whatever_the_length(q, length):
    m = quat_to_matrix(_unit(q) * length)
    torch.testing.assert_close(m @ m.T, torch.eye(3).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(m, quat_to_matrix(_unit(q)), atol=1e-12, rtol=0)
    assert torch.linalg.det(m) > 0


@settings(deadline=None, max_examples=50)
@given(quaternion, quaternion)
def test_product_is_composition(a, b):
    a, b = _unit(a), _unit(b)
    expected = quat_to_matrix(a) @ quat_to_matrix(b)
    torch.testing.assert_close(quat_to_matrix(quat_multiply(a, b)), expected, atol=1e-12, rtol=0)


def test_against_the_matrix_exponential():
    g = torch.Generator().manual_seed(0)
    axis = torch.nn.functional.normalize(torch.randn(20, 3, generator=g, dtype=torch.float64), dim=-1)
    theta = 6 * torch.rand(20, 1, generator=g, dtype=torch.float64) - 3
    quats = torch.cat([(theta / 2).cos(), axis * (theta / 2).sin()], dim=-1)
    x, y, z = (axis * theta).unbind(-1)
    zero = torch.zeros_like(x)
    generator = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(-1, 3, 3)
    torch.testing.assert_close(quat_to_matrix(quats), torch.linalg.matrix_exp(generator))


def test_half_turns_are_exact():
    """Where w is 0 the textbook formula divides by zero."""
    matrices = torch.stack([torch.diag(torch.tensor(d)) for d in ([1.0, -1, -1], [-1.0, 1, -1], [-1.0, -1, 1])])
    torch.testing.assert_close(matrix_to_quat(matrices), torch.eye(4)[1:])


@settings(deadline=None, max_examples=50)
@given(quaternion, st.tuples(component, component, component))
def test_turning_a_vector_is_the_matrix_times_it(q, v):
    q, v = 3 * _unit(q), torch.tensor(v, dtype=torch.float64)
    torch.testing.assert_close(quat_rotate(q, v), quat_to_matrix(q) @ v)
    torch.testing.assert_close(quat_rotate(q.expand(4, 4), v.expand(4, 3))[2], quat_to_matrix(q) @ v)
