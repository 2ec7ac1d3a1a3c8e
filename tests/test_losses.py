"""Losses against loops, and their gradients."""

import pytest
import torch

from gaussmith.losses import alpha_cross_entropy, bending, dssim, l1, mse, photometric, total_variation


def _pair(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.rand(*shape, generator=g, dtype=torch.float64), torch.rand(*shape, generator=g, dtype=torch.float64)


def test_mse_and_l1_with_and_without_weights():
    a, b = _pair(2, 3, 4, 3)
    assert float(mse(a, b)) == pytest.approx(float(((a - b) ** 2).sum()) / a.numel())
    assert float(l1(a, b)) == pytest.approx(float((a - b).abs().sum()) / a.numel())
    weight = torch.zeros(2, 3, 4, 1, dtype=torch.float64)
    weight[1, 2, 3], weight[0, 0, 0] = 3.0, 1.0
    heavy, light = (a - b)[1, 2, 3].abs(), (a - b)[0, 0, 0].abs()
    assert float(l1(a, b, weight)) == pytest.approx(float((3 * heavy + light).sum() / 12))
    assert float(mse(a, b, weight)) == pytest.approx(float((3 * heavy**2 + light**2).sum() / 12))
    assert float(mse(a, b, torch.zeros(1))) == 0


def test_every_loss_is_zero_for_equal_pictures_and_positive_otherwise():
    a, b = _pair(1, 14, 14, 3)
    for loss in (mse, l1, dssim, photometric, alpha_cross_entropy):
        assert abs(float(loss(a, a))) < 1e-9 < float(loss(a, b))


def test_photometric_mixes_as_the_paper_does():
    a, b = _pair(1, 14, 14, 3)
    assert float(photometric(a, b)) == pytest.approx(0.8 * float(l1(a, b)) + 0.2 * float(dssim(a, b)))


def test_alpha_cross_entropy_has_its_least_value_at_the_target():
    a, b = _pair(1, 4, 4, 1)
    a, b = (0.1 + 0.8 * t for t in (a, b))
    assert torch.autograd.gradcheck(lambda p: alpha_cross_entropy(p, b), (a.requires_grad_(),))
    best = b.clone().requires_grad_()
    (slope,) = torch.autograd.grad(alpha_cross_entropy(best, b), best)
    assert float(slope.abs().max()) < 1e-12
    assert bool(alpha_cross_entropy(torch.ones(2), torch.zeros(2)).isfinite())


def test_total_variation_against_a_loop():
    a, _ = _pair(2, 3, 4, 3)
    down = [
        abs(float(a[b, i + 1, j, c] - a[b, i, j, c]))
        for b in range(2)
        for i in range(2)
        for j in range(4)
        for c in range(3)
    ]
    across = [
        abs(float(a[b, i, j + 1, c] - a[b, i, j, c]))
        for b in range(2)
        for i in range(3)
        for j in range(3)
        for c in range(3)
    ]
    assert float(total_variation(a)) == pytest.approx(sum(down) / len(down) + sum(across) / len(across))
    assert float(total_variation(torch.full((4, 4, 3), 0.3))) == 0


def _kernel_and_formula(a: torch.Tensor, b: torch.Tensor, share: float):
    """Value and gradient of the compiled loss in float32 and of the formula in float64."""
    results = []
    for dtype in (torch.float32, torch.float64):
        x, y = a.detach().clone().to(dtype).requires_grad_(), b.to(dtype)
        loss = photometric(x, y, share)
        (3 * loss).backward()
        results.append((float(loss.detach()), x.grad.double() / 3))
    return results


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("shape", [(1, 11, 11, 3), (2, 30, 47, 3), (1, 12, 40, 1), (1, 41, 11, 4)])
@pytest.mark.parametrize("unlike", [1.0, 0.02])
def test_the_compiled_photometric_loss_is_the_formula(shape, share, unlike):
    a, b = _pair(*shape)
    a = (unlike * a + (1 - unlike) * b).float()
    a[0, :6, :6] = b[0, :6, :6]  # no sign where they are equal
    (got, got_grad), (expected, grad) = _kernel_and_formula(a, b.float(), share)
    assert got == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert float((got_grad - grad).abs().max()) < 1e-4 * float(grad.abs().max())


def test_the_formula_has_the_gradient_of_finite_differences():
    a, b = _pair(1, 13, 12, 2)
    assert torch.autograd.gradcheck(lambda p: photometric(p, b), (a.requires_grad_(),))


def test_bits_of_the_photometric_loss_do_not_depend_on_the_number_of_threads():
    a, b = (t.float() for t in _pair(2, 37, 29, 3))
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8, 50):
            torch.set_num_threads(threads)
            x = a.clone().requires_grad_()
            loss = photometric(x, b)
            loss.backward()
            results.append((loss.detach(), x.grad))
    finally:
        torch.set_num_threads(before)
    for loss, grad in results[1:]:
        assert torch.equal(loss, results[0][0]) and torch.equal(grad, results[0][1])


def test_photometric_refuses_what_cannot_be_compared_and_serves_both_sides():
    a, b = (t.float() for t in _pair(1, 14, 14, 3))
    with pytest.raises(ValueError, match="shape"):
        photometric(a, b[:, 1:])
    with pytest.raises(ValueError, match="11x11"):
        photometric(a[:, :5], b[:, :5])
    assert float(photometric(a, a)) == pytest.approx(0, abs=1e-6)
    target = b.clone().requires_grad_()
    photometric(a, target).backward()  # by torch: the kernel knows the gradient of the first picture only
    mirrored = b.clone().requires_grad_()
    photometric(mirrored, a).backward()
    assert torch.allclose(target.grad, mirrored.grad, atol=1e-7) and target.grad.any()


def test_bending_of_planes_is_nothing_and_of_the_rest_as_a_loop_counts_it():
    depth, _ = _pair(2, 5, 6)
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    plane = (2 + 0.3 * x - 0.1 * y).expand(2, -1, -1).double()
    mask = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(1)) < 0.8
    assert float(bending(plane, mask)) == pytest.approx(0, abs=1e-9)
    total = 0.0
    for b, i, j in mask.nonzero().tolist():
        for di, dj in ((1, 0), (0, 1)):
            ends = [(b, i - di, j - dj), (b, i + di, j + dj)]
            if all(0 <= p <= 4 and 0 <= q <= 5 and mask[b, p, q] for _, p, q in ends):
                total += abs(float(depth[ends[0]] + depth[ends[1]] - 2 * depth[b, i, j]))
    assert float(bending(depth, mask, soft=1e-9)) == pytest.approx(total / int(mask.sum()))
    assert 0 < float(bending(depth, mask)) < total / int(mask.sum())


def test_bending_has_a_gradient_everywhere_and_looks_within_the_mask_only():
    depth, other = _pair(1, 4, 5)
    mask = torch.ones(1, 4, 5, dtype=torch.bool)
    mask[0, 0], mask[0, 2, 3] = False, False
    assert torch.autograd.gradcheck(lambda d: bending(d, mask), (depth.clone().requires_grad_(),))
    assert float(bending(torch.where(mask, depth, other), mask)) == float(bending(depth, mask))
    nothing = torch.zeros(1, 4, 5, requires_grad=True)
    bending(nothing, torch.zeros_like(mask)).backward()
    assert float(nothing.grad.abs().max()) == 0
