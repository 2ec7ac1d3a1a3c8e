"""The sparse solver against dense algebra."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array

from gaussmith.texture.linear import harmonic, laplacian, relax


def test_relaxation_solves_what_a_dense_solver_solves():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(30, 30))
    dense = factor @ factor.T + 5 * np.eye(30)
    right = rng.normal(size=(30, 3))
    found = relax(csr_array(dense), right, np.zeros((30, 3)), 5000, tolerance=1e-10)
    assert found == pytest.approx(np.linalg.solve(dense, right), abs=1e-6)


def test_laplacian_of_a_path():
    matrix = laplacian(np.array([[0, 1], [1, 2]]), np.array([2.0, 3.0]), 3).toarray()
    assert np.array_equal(matrix, [[2, -2, 0], [-2, 5, -3], [0, -3, 3]])


def test_harmonic_extension_on_a_path_is_a_straight_line():
    links = np.stack([np.arange(20), np.arange(1, 21)], axis=1)
    known = np.zeros(21, dtype=bool)
    known[[0, 20]] = True
    values = np.zeros((21, 1))
    values[20] = 1.0
    found = harmonic(links, np.ones(20), values, known, 2000)
    assert found[:, 0] == pytest.approx(np.linspace(0, 1, 21), abs=2e-3)


def test_weights_are_conductances():
    """One unknown between 0 (weight 3) and 1 (weight 1)."""
    values = np.array([[0.0], [9.0], [1.0]])
    known = np.array([True, False, True])
    found = harmonic(np.array([[0, 1], [1, 2]]), np.array([3.0, 1.0]), values, known, 500)
    assert found[1, 0] == pytest.approx(0.25, abs=1e-3)


def test_an_island_keeps_its_guess_or_the_mean():
    values = np.array([[0.2], [0.4], [0.0], [0.0]])
    known = np.array([True, True, False, False])
    links, weights = np.array([[0, 1], [2, 3]]), np.ones(2)
    assert harmonic(links, weights, values, known, 100)[2:, 0] == pytest.approx([0.3, 0.3])
    guess = np.full((4, 1), 0.7)
    assert harmonic(links, weights, values, known, 100, guess)[2:, 0] == pytest.approx([0.7, 0.7])
    nothing = np.zeros((0, 2), dtype=np.int64)
    assert harmonic(nothing, np.zeros(0), values, known, 100)[2:, 0] == pytest.approx([0.3, 0.3])
