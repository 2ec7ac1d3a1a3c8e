"""Muon: its update is orthogonal, convolutions are matrices, it descends, zero gradients move nothing."""

from __future__ import annotations

import pytest
import torch

from gaussmith.train.muon import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(8, 8), (6, 20), (20, 6), (1, 5)])
def test_singular_values_become_about_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonalize(matrix)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.5
    assert values.max() < 1.3
    # The directions are the matrix's own.
    inside = left.T @ found @ right.T
    assert (inside - torch.diag(torch.diag(inside))).abs().max() < 0.05


def test_the_size_of_the_gradient_does_not_matter():
    matrix = torch.randn(5, 9, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(orthogonalize(matrix), orthogonalize(matrix * 1024), atol=0.02)
    assert torch.equal(orthogonalize(torch.zeros(3, 4)), torch.zeros(3, 4))


def test_a_convolution_in_three_dimensions_moves_as_its_matrix():
    random = torch.Generator().manual_seed(4)
    start, grad = torch.randn(2, 6, 3, 3, 3, 2, generator=random).unbind()  # outputs, window, inputs
    weights = {"flat": start.reshape(6, -1).clone(), "conv": start.movedim(-1, 1).clone()}
    weights["flat"].grad, weights["conv"].grad = grad.reshape(6, -1), grad.movedim(-1, 1)
    Muon().step(weights, 0.1)
    assert torch.equal(weights["flat"], weights["conv"].movedim(1, -1).reshape(6, -1))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_a_convolution_moves_as_its_matrix(memory):
    random = torch.Generator().manual_seed(2)
    matrix = torch.randn(4, 27, generator=random)
    grad = torch.randn(4, 27, generator=random)

    def as_convolution(rows):
        return rows.reshape(4, 3, 3, 3).permute(0, 3, 1, 2).contiguous(memory_format=memory)

    weights = {"flat": matrix.clone(), "conv": as_convolution(matrix.clone())}
    weights["flat"].grad, weights["conv"].grad = grad, as_convolution(grad)
    Muon().step(weights, 0.1)
    assert torch.equal(as_convolution(weights["flat"]), weights["conv"])
    assert weights["conv"].is_contiguous(memory_format=memory)
    assert not torch.allclose(weights["flat"], matrix, atol=1e-3)


def test_finds_the_minimum_of_a_badly_scaled_square():
    random = torch.Generator().manual_seed(3)
    inputs = torch.randn(64, 8, generator=random) * torch.logspace(0, -2, 8)
    true = torch.randn(6, 8, generator=random)
    weight, optimizer = torch.zeros(6, 8, requires_grad=True), Muon(decay=0.0)

    def loss():
        return (inputs @ (weight - true).T).square().mean()

    before = loss().item()
    for step in range(300):
        weight.grad = None
        loss().backward()
        optimizer.step({"weight": weight}, 0.1 * (1 - step / 300))
    assert loss().item() < 1e-3 * before
    # Even the direction that the loss hardly feels is found.
    assert (weight - true)[:, -1].abs().max() < 0.5 * true[:, -1].abs().max()


def test_what_has_no_gradient_stays():
    weight, still = torch.ones(3, 3), torch.ones(3, 3)
    still.grad = torch.zeros(3, 3)
    optimizer = Muon()
    optimizer.step({"weight": weight, "still": still}, 0.1)
    assert torch.equal(weight, torch.ones(3, 3))
    assert torch.equal(still, torch.ones(3, 3))
    assert not optimizer.means
