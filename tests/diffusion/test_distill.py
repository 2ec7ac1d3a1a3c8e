"""Score distillation against hand formulas and an exact score."""

import pytest
import torch

from gaussmith.diffusion.distill import (
    annealed_timestep,
    denoise_at_strength,
    sds_gradient,
    sds_loss,
    sds_weight,
    uniform_x0_weight,
)
from gaussmith.diffusion.schedule import CosineTime, add_noise, eps_from_x0, linear, x0_from_eps

MODES = torch.tensor([[-0.8, 0.2], [0.6, 0.5], [0.1, -0.9]])
SPREAD = 0.05


def _normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mixture_x0(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """The exact mean of x0 given x [B,2] for an even mixture of isotropic Gaussians at MODES."""
    alpha, sigma = CosineTime().level(t).like(x)
    variance = alpha**2 * SPREAD**2 + sigma**2
    offset = x[:, None] - alpha[:, None] * MODES
    share = (-0.5 * offset.square().sum(-1) / variance).softmax(dim=1)
    posterior = MODES + (alpha * SPREAD**2 / variance)[:, None] * offset
    return (share[..., None] * posterior).sum(dim=1)


def test_gradient_is_the_hand_formula_and_the_batch_is_averaged():
    images = _normal(4, 3, 5, 5).requires_grad_()
    pred, eps, weight = _normal(4, 3, 5, 5, seed=1), _normal(4, 3, 5, 5, seed=2), torch.tensor([0.1, 0.2, 0.5, 1.0])
    gradient = sds_gradient(pred, eps, weight)
    sds_loss(images, gradient).backward()
    for b in range(4):
        expected = float(weight[b]) * (pred[b] - eps[b]) / 4
        torch.testing.assert_close(images.grad[b], expected)


def test_one_picture_pulls_alike_in_a_batch_of_one_and_of_copies():
    image, gradient = _normal(1, 3, 4, 4), _normal(1, 3, 4, 4, seed=1)
    pulls = []
    for copies in (1, 5):
        leaf = image.clone().requires_grad_()
        sds_loss(leaf.expand(copies, -1, -1, -1), gradient.expand(copies, -1, -1, -1)).backward()
        pulls.append(leaf.grad)
    torch.testing.assert_close(*pulls)


def test_loss_is_the_detached_target_mse():
    images = _normal(3, 2, 4).double().requires_grad_()
    gradient = _normal(3, 2, 4, seed=1).double()
    target = (images - gradient).detach()
    expected = 0.5 * (images - target).square().sum() / 3
    loss = sds_loss(images, gradient)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(*(torch.autograd.grad(v, images)[0] for v in (loss, expected)))


def test_small_gradients_survive_float32():
    """The plain trick computes image - (image - g), which loses g below 1e-8 entirely."""
    images = torch.ones(1, 4, requires_grad=True)
    gradient = torch.full((1, 4), 1e-9)
    sds_loss(images, gradient).backward()
    torch.testing.assert_close(images.grad, gradient, rtol=1e-6, atol=0)


def test_nothing_flows_into_the_prediction():
    images, pred = torch.zeros(2, 3, requires_grad=True), torch.ones(2, 3, requires_grad=True)
    sds_loss(images, sds_gradient(pred, torch.zeros(2, 3), 1.0)).backward()
    assert pred.grad is None and images.grad is not None
    with pytest.raises(ValueError, match="shape"):
        sds_loss(images, torch.zeros(1, 3))


def test_weights():
    schedule = linear()
    times = torch.tensor([0.02, 0.5, 0.98])
    level = schedule.level(times)
    torch.testing.assert_close(sds_weight(level), 1 - schedule.alphas_bar[schedule.index(times)])
    x0, eps, guess = (_normal(3, 2, seed=s).double() for s in range(3))
    x = add_noise(x0, eps, level)
    gradient = sds_gradient(eps_from_x0(x, guess, level), eps, uniform_x0_weight(level))
    torch.testing.assert_close(gradient, x0 - guess)


def test_annealed_timestep_is_the_papers():
    assert annealed_timestep(1, 500) == 0.98  # 0.998 clipped
    assert annealed_timestep(250, 500) == 0.5
    assert annealed_timestep(400, 500) == pytest.approx(0.2)
    assert annealed_timestep(500, 500) == 0.02
    assert annealed_timestep(1, 1) == 0.02
    times = [annealed_timestep(i, 37) for i in range(1, 38)]
    assert times == sorted(times, reverse=True)
    for bad in ((-1, 5), (6, 5), (0, 0)):
        with pytest.raises(ValueError, match="step must lie"):
            annealed_timestep(*bad)


def test_distillation_on_an_exact_score_reaches_a_mode():
    schedule, generator = CosineTime(), torch.Generator().manual_seed(0)
    points = 0.7 * torch.randn(64, 2, generator=generator)
    points.requires_grad_()
    for step in range(1, 301):
        t = torch.full((64,), annealed_timestep(step, 300))
        level = schedule.level(t)
        eps = torch.randn(64, 2, generator=generator)
        with torch.no_grad():
            x = add_noise(points, eps, level)
            pred = eps_from_x0(x, mixture_x0(x, t), level)
        loss = sds_loss(points, sds_gradient(pred, eps, sds_weight(level)))
        (slope,) = torch.autograd.grad(loss, points)
        with torch.no_grad():
            points -= 64 * slope  # undoes the mean over the batch: the points are strangers
    distance, nearest = torch.cdist(points.detach(), MODES).min(dim=1)
    assert float(distance.max()) < SPREAD
    assert set(nearest.tolist()) == {0, 1, 2}


def test_denoising_at_a_strength_mends_a_damaged_picture():
    """Points beside a mode are drawn onto it at a moderate strength, and keep to their own mode."""
    damaged = (MODES + torch.tensor([0.15, -0.1])).requires_grad_()

    def mend(seed: int) -> torch.Tensor:
        return denoise_at_strength(damaged, 0.2, 10, mixture_x0, CosineTime(), torch.Generator().manual_seed(seed))

    mended = mend(0)
    assert not mended.requires_grad
    before, after = ((p.detach() - MODES).norm(dim=1).max() for p in (damaged, mended))
    assert float(after) < 2.5 * SPREAD < float(before)
    assert torch.equal(mended, mend(0)) and not torch.equal(mended, mend(1))


def test_x0_and_eps_views_of_the_mixture_agree():
    x, t = _normal(5, 2), torch.full((5,), 0.4)
    level = CosineTime().level(t)
    x0 = mixture_x0(x, t)
    torch.testing.assert_close(x0_from_eps(x, eps_from_x0(x, x0, level), level), x0, atol=1e-5, rtol=1e-5)
