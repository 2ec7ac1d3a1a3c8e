"""Spherical harmonics: orthonormal, and equal to the textbook definition through associated Legendre polynomials."""

import math

import numpy as np
import pytest
import torch
from scipy.special import lpmv

from gaussmith.sh import C0, basis, dc_to_rgb, degree_of, evaluate, rgb_to_dc, rotate


def _sphere_rule(n: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss-Legendre in z times the midpoint rule in azimuth: exact for polynomials of degree < 2n."""
    z, weight = np.polynomial.legendre.leggauss(n)
    phi = 2 * math.pi * (np.arange(2 * n) + 0.5) / (2 * n)
    z, phi = np.meshgrid(z, phi, indexing="ij")
    r = np.sqrt(1 - z * z)
    weights = np.broadcast_to(weight[:, None] * math.pi / n, z.shape)
    points = np.stack([r * np.cos(phi), r * np.sin(phi), z], axis=-1)
    return torch.from_numpy(points.reshape(-1, 3)), torch.from_numpy(weights.reshape(-1).copy())


def test_orthonormal_by_quadrature():
    points, weights = _sphere_rule()
    values = basis(points, 3)
    gram = torch.einsum("p,pi,pj->ij", weights, values, values)
    torch.testing.assert_close(gram, torch.eye(16).double(), atol=1e-7, rtol=0)


def _textbook(l: int, m: int, x: float, y: float, z: float) -> float:
    """Real SH with the Condon-Shortley phase: sqrt(2) (-1)^m N P_l^|m| (without phase) times cos or sin of |m| phi."""
    phi = math.atan2(y, x)
    k = abs(m)
    norm = math.sqrt((2 * l + 1) / (4 * math.pi) * math.factorial(l - k) / math.factorial(l + k))
    value = norm * float(lpmv(k, l, z))  # lpmv carries (-1)^m already.
    if m == 0:
        return value
    return math.sqrt(2) * value * (math.cos(k * phi) if m > 0 else math.sin(k * phi))


def test_against_the_textbook_formula():
    g = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(10, 3, generator=g, dtype=torch.float64), dim=-1)
    values = basis(points, 3)
    for p, point in enumerate(points.tolist()):
        expected = [_textbook(l, m, *point) for l in range(4) for m in range(-l, l + 1)]
        assert values[p].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("degree", range(4))
def test_evaluate_against_a_loop(degree):
    g = torch.Generator().manual_seed(degree)
    sh = torch.randn(4, (degree + 1) ** 2, 3, generator=g)
    directions = torch.nn.functional.normalize(torch.randn(4, 3, generator=g), dim=-1)
    got = evaluate(sh, directions)
    for n in range(4):
        for c in range(3):
            terms = basis(directions[n].double(), degree)
            raw = 0.5 + sum(float(sh[n, k, c]) * float(terms[k]) for k in range(sh.shape[1]))
            assert float(got[n, c]) == pytest.approx(max(0.0, raw), abs=1e-5)


@pytest.mark.parametrize("degree", range(4))
def test_rotated_coefficients_show_the_rotated_colours(degree):
    g = torch.Generator().manual_seed(degree)
    rotation = torch.linalg.qr(torch.randn(3, 3, generator=g, dtype=torch.float64)).Q
    rotation = rotation * torch.linalg.det(rotation)
    sh = 0.1 * torch.randn(6, (degree + 1) ** 2, 3, generator=g, dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(6, 3, generator=g, dtype=torch.float64), dim=-1)
    turned = evaluate(rotate(sh, rotation), directions @ rotation.T)
    torch.testing.assert_close(turned, evaluate(sh, directions), atol=1e-9, rtol=0)


def test_dc_round_trip_and_meaning():
    rgb = torch.tensor([[0.1, 0.5, 0.9]])
    dc = rgb_to_dc(rgb)
    torch.testing.assert_close(dc_to_rgb(dc), rgb)
    torch.testing.assert_close(evaluate(dc[:, None], torch.tensor([[0.0, 1.0, 0.0]])), rgb)
    assert math.isclose(C0, 1 / (2 * math.sqrt(math.pi)))


def test_degree_of():
    assert [degree_of(k) for k in (1, 4, 9, 16)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="1, 4, 9 or 16"):
        degree_of(5)
