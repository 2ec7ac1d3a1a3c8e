"""The distillation family on a prior whose exact score is known: what each member converges to, and how they relate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from gaussmith.diffusion import distill, family
from gaussmith.diffusion.distill import WEIGHTS, sds_loss
from gaussmith.diffusion.family import BSD, CSD, DISTILLATIONS, DSD, ISM, SDS, VSD, Sources, distillation_gradient
from gaussmith.diffusion.guidance import Guidance, Predictions
from gaussmith.diffusion.schedule import CosineTime, Level, add_noise, linear
from gaussmith.diffusion.timesteps import Annealed, Timesteps, Uniform

SCHEDULE = CosineTime()


@dataclass(frozen=True)
class Mixture:
    """Isotropic Gaussians at means [K,D] of one standard deviation, with given shares [K]."""

    means: Tensor
    std: float
    shares: Tensor

    def log_density(self, x: Tensor, t: Tensor) -> Tensor:
        """log p_t [B] of the noised mixture, less a constant."""
        alpha, sigma = SCHEDULE.level(t).like(x)
        variance = alpha**2 * self.std**2 + sigma**2
        offset = x[:, None] - alpha[..., None] * self.means
        terms = -0.5 * offset.square().sum(-1) / variance - 0.5 * x.shape[1] * variance.log() + self.shares.log()
        return terms.logsumexp(dim=1)

    def eps(self, x: Tensor, t: Tensor) -> Tensor:
        """-sigma times the exact score, by hand."""
        alpha, sigma = SCHEDULE.level(t).like(x)
        variance = alpha**2 * self.std**2 + sigma**2
        offset = x[:, None] - alpha[..., None] * self.means
        share = (-0.5 * offset.square().sum(-1) / variance + self.shares.log()).softmax(dim=1)
        return sigma / variance * (share[..., None] * offset).sum(dim=1)


def tensor(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


NULL = Mixture(tensor([-1.0, 0.0], [1.0, 0.0]), 0.3, torch.tensor([0.5, 0.5], dtype=torch.float64))
RIGHT = Mixture(tensor([1.0, 0.0]), 0.3, torch.ones(1, dtype=torch.float64))
LEFT = Mixture(tensor([-1.0, 0.0]), 0.3, torch.ones(1, dtype=torch.float64))


def parts(x: Tensor, t: Tensor) -> Predictions:
    """The null prior has two modes; the condition picks the right one."""
    return Predictions(NULL.eps(x, t), RIGHT.eps(x, t))


def unconditional(x: Tensor, t: Tensor) -> Predictions:
    eps = NULL.eps(x, t)
    return Predictions(eps, eps)


def descend(method: family.Distillation, times: Timesteps, steps: int, predict=unconditional, rate=0.3) -> Tensor:
    """Particles [128,2] from a small blob between the modes; the variational score is exact, that of the particles
    themselves."""
    generator = torch.Generator().manual_seed(0)
    points = 0.3 * torch.randn(128, 2, generator=generator, dtype=torch.float64)
    for step in range(1, steps + 1):
        t = times.at(step, steps, generator, len(points))
        now = Mixture(points, 0.0, torch.full((len(points),), 1 / len(points), dtype=torch.float64))
        ask = Sources(predict, now.eps, predict)
        slow = 1.0 if step < 0.7 * steps else 0.2
        points = points - slow * rate * distillation_gradient(method, ask, points, t, SCHEDULE, generator)
    return points


def test_the_mixture_is_exact():
    x, t = normal(9, 2).requires_grad_(), torch.linspace(0.05, 0.95, 9)
    for mixture in (NULL, RIGHT, replace(NULL, shares=torch.tensor([0.9, 0.1], dtype=torch.float64))):
        (score,) = torch.autograd.grad(mixture.log_density(x, t).sum(), x)
        torch.testing.assert_close(mixture.eps(x.detach(), t), -SCHEDULE.level(t).like(x)[1] * score)


def test_sds_collapses_onto_a_mode_and_vsd_samples_the_distribution():
    """Both start from one blob. The modes have a standard deviation of 0.3, which VSD keeps and SDS loses: wholly
    across the axis of the modes, and along it as far as the annealed times let it settle."""
    sds = descend(SDS(Guidance(1.0), weight="unit"), Annealed(t_min=0.2), 600, rate=0.1)
    vsd = descend(VSD(Guidance(1.0)), Uniform(), 500)
    for points, off, along, across in ((sds, 0.15, (0.0, 0.15), (0.0, 0.06)), (vsd, 0.03, (0.27, 0.33), (0.27, 0.33))):
        right = points[:, 0] > 0
        assert 0.4 < float(right.double().mean()) < 0.6
        for side, x in ((right, 1.0), (~right, -1.0)):
            mean, spread = points[side].mean(dim=0), points[side].std(dim=0)
            torch.testing.assert_close(mean, tensor([x, 0.0])[0], atol=off, rtol=0)
            assert along[0] <= float(spread[0]) <= along[1]
            assert across[0] <= float(spread[1]) <= across[1]


def test_vsd_finds_the_shares_of_the_modes():
    uneven = replace(NULL, shares=torch.tensor([0.25, 0.75], dtype=torch.float64))

    def predict(x: Tensor, t: Tensor) -> Predictions:
        return Predictions(uneven.eps(x, t), uneven.eps(x, t))

    points = descend(VSD(Guidance(1.0)), Uniform(), 500, predict)
    assert float((points[:, 0] > 0).double().mean()) == pytest.approx(0.75, abs=0.05)


def test_same_seed_same_particles():
    assert torch.equal(descend(VSD(), Uniform(), 5), descend(VSD(), Uniform(), 5))


def test_csd_is_the_gradient_of_the_classifier():
    """eps_y - eps_null = -sigma grad log p(y | x_t), by autograd through the exact densities."""
    clean, noise, t = normal(7, 2), normal(7, 2, seed=1), torch.linspace(0.1, 0.9, 7)
    level = SCHEDULE.level(t)
    x = add_noise(clean, noise, level).requires_grad_()
    classifier = RIGHT.log_density(x, t) + torch.tensor(0.5).log() - NULL.log_density(x, t)
    assert bool((classifier < 1e-9).all())  # A probability: the densities fit together.
    (slope,) = torch.autograd.grad(classifier.sum(), x)
    got = CSD(weight="unit").gradient(Sources(parts), clean, t, noise, SCHEDULE)
    torch.testing.assert_close(got, -level.like(x)[1] * slope)


def test_csd_and_guidance_move_to_the_conditions_mode():
    for method in (CSD(), SDS(Guidance(5.0)), DSD(4.0, 1.0)):
        points = descend(method, Uniform(0.6), 150, parts, rate=0.1)
        assert float((points[:, 0] > 0.2).double().mean()) > 0.95, method


class TestRelations:
    """Members that become one another in their limits, at random predictions."""

    shape = (4, 3, 5, 5)
    parts = Predictions(normal(*shape, seed=1), normal(*shape, seed=2))
    other = Predictions(normal(*shape, seed=3), normal(*shape, seed=4))
    learned = normal(*shape, seed=5)
    noise = normal(*shape, seed=6)
    clean = normal(*shape, seed=7)
    t = torch.tensor([0.1, 0.4, 0.6, 0.9])

    def gradient(self, method: family.Distillation, learned: Tensor | None = None) -> Tensor:
        learned = self.learned if learned is None else learned
        ask = Sources(lambda x, t: self.parts, lambda x, t: learned, lambda x, t: self.parts)
        return method.gradient(ask, self.clean, self.t, self.noise, SCHEDULE)

    def test_bsd_with_an_untrained_expert_is_vsd(self):
        torch.testing.assert_close(self.gradient(BSD(Guidance(7.5))), self.gradient(VSD(Guidance(7.5))))

    def test_bsd_follows_its_expert(self):
        ask = Sources(lambda x, t: self.parts, lambda x, t: self.learned, lambda x, t: self.other)
        got = BSD(Guidance(1.0), weight="unit").gradient(ask, self.clean, self.t, self.noise, SCHEDULE)
        torch.testing.assert_close(got, self.other.cond - self.learned)

    def test_vsd_that_has_learned_only_the_noise_is_sds(self):
        torch.testing.assert_close(self.gradient(VSD(Guidance(3.0)), self.noise), self.gradient(SDS(Guidance(3.0))))

    @pytest.mark.parametrize("scale", [0.0, 1.0, 7.5, 100.0])
    def test_dsd_is_vsd_or_sds_at_the_scale(self, scale):
        method = DSD(scale - 1, 1.0)
        torch.testing.assert_close(self.gradient(method), self.gradient(VSD(Guidance(scale))))
        torch.testing.assert_close(self.gradient(method, self.noise), self.gradient(SDS(Guidance(scale))))

    def test_dsd_without_its_variational_side_is_csd(self):
        torch.testing.assert_close(self.gradient(DSD(3.0, 0.0)), self.gradient(CSD(3.0)))

    def test_ism_is_sds_with_the_earlier_prediction_for_the_noise(self):
        """A prior that always predicts the same: interval and scale 1 leave cond - null."""
        torch.testing.assert_close(self.gradient(ISM(Guidance(1.0))), self.gradient(CSD()))

    @pytest.mark.parametrize("name", ["sds", "vsd", "bsd"])
    def test_with_scale_sets_the_guidance(self, name):
        method = DISTILLATIONS[name]()
        assert family.with_scale(method, 3.0) == replace(method, guidance=replace(method.guidance, scale=3.0))

    def test_with_scale_means_the_same_for_dsd(self):
        low, high = (family.with_scale(DSD(), s) for s in (1.0, 4.0))
        torch.testing.assert_close(self.gradient(low), self.gradient(VSD(Guidance(1.0))))
        torch.testing.assert_close(self.gradient(high), self.gradient(VSD(Guidance(4.0))))
        torch.testing.assert_close(self.gradient(family.with_scale(CSD(), 4.0)), 4 * self.gradient(CSD()))

    def test_hand_formulas(self):
        null, cond, learned, noise = self.parts.null, self.parts.cond, self.learned, self.noise
        weight = SCHEDULE.level(self.t).sigma.square()[:, None, None, None]
        guided = null + 7.5 * (cond - null)
        torch.testing.assert_close(self.gradient(SDS(Guidance(7.5))), weight * (guided - noise))
        torch.testing.assert_close(self.gradient(VSD(Guidance(7.5))), weight * (guided - learned))
        wanted = weight * (2 * (cond - null) + 3 * (cond - learned))
        torch.testing.assert_close(self.gradient(DSD(2.0, 3.0)), wanted)


def test_ism_varies_less_with_the_noise_than_sds():
    clean, t = 0.7 * normal(16, 2), torch.full((16,), 0.7)
    spread = {}
    for method in (SDS(Guidance(1.0)), ISM(Guidance(1.0))):
        draws = [method.gradient(Sources(unconditional), clean, t, normal(16, 2, seed=s), SCHEDULE) for s in range(200)]
        spread[type(method)] = float(torch.stack(draws).var(dim=0).mean())
    assert 0 < spread[ISM] < 0.05 * spread[SDS]


def test_ism_leaves_a_typical_picture_alone_and_moves_an_odd_one():
    """On a trajectory of the unconditional prior the interval closes: nothing pulls at its own samples."""
    method = ISM(Guidance(1.0), weight="unit", interval=0.01, stride=0.01)
    typical = NULL.means[[0, 1]] + 0.3 * normal(2, 2)
    t = torch.full((2,), 0.5)
    still = method.gradient(Sources(unconditional), typical, t, normal(2, 2), SCHEDULE)
    pulled = method.gradient(Sources(parts), typical, t, normal(2, 2), SCHEDULE)
    assert float(still.abs().max()) < 0.1
    assert float(pulled[0].norm()) > 0.5  # The left sample is not what the condition asks for.


def test_ddim_inversion_follows_the_exact_flow_at_first_order():
    """For data N(m, s^2) the flow keeps (x - alpha m) / sqrt(alpha^2 s^2 + sigma^2)."""

    def whitened(x: Tensor, t: float) -> Tensor:
        level = SCHEDULE.level(t)
        return (x - level.alpha * RIGHT.means) / (level.alpha**2 * RIGHT.std**2 + level.sigma**2).sqrt()

    start = RIGHT.means + 0.3 * normal(200, 2)
    errors = []
    for steps in (20, 40, 80):
        times = torch.linspace(0.02, 0.9, steps + 1, dtype=torch.float64)[:, None].expand(-1, 200)
        end, eps = family.ddim_invert(RIGHT.eps, start, times, SCHEDULE)
        errors.append(float((whitened(end, 0.9) - whitened(start, 0.02)).abs().max()))
        assert eps.shape == end.shape
    assert errors[2] < 0.1
    assert 1.6 < errors[0] / errors[1] < 2.4 and 1.6 < errors[1] / errors[2] < 2.4


def test_ism_asks_the_cheaper_null_where_there_is_one():
    clean, t, noise = normal(4, 2), torch.full((4,), 0.7), normal(4, 2, seed=1)
    calls = []

    def counted(x: Tensor, t: Tensor) -> Predictions:
        calls.append(float(t[0]))
        return parts(x, t)

    whole = ISM().gradient(Sources(counted), clean, t, noise, SCHEDULE)
    assert calls == pytest.approx([0.02, 0.1775, 0.335, 0.4925, 0.65, 0.7])
    calls.clear()
    split = ISM().gradient(Sources(counted, null=NULL.eps), clean, t, noise, SCHEDULE)
    assert calls == pytest.approx([0.7])
    assert torch.equal(whole, split)


def test_ism_times_rise_in_bounded_steps_to_the_interval():
    t = torch.tensor([0.001, 0.03, 0.06, 0.5, 0.98, 1.0])
    times = family.ism_times(t, interval=0.05, stride=0.2, start=0.02)
    assert bool((times > 0).all()) and bool((times.diff(dim=0) >= 0).all())
    assert bool((times[:-1].diff(dim=0) <= 0.2 + 1e-6).all())
    assert torch.equal(times[-1], t)
    torch.testing.assert_close(times[-2], torch.tensor([0.0005, 0.015, 0.03, 0.45, 0.93, 0.95]))
    assert len(times) == 1 + 5 + 1  # (0.95 - 0.02) / 0.2 is five steps.


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_every_member_gives_a_bounded_detached_gradient_and_carries_it_exactly(name):
    """Float32 latents, a discrete schedule up to its last step; no network gets a gradient."""
    weight = torch.ones((), requires_grad=True)

    def predict(x: Tensor, t: Tensor) -> Predictions:
        assert t.shape == (3,) and bool((t > 0).all()) and bool((t <= 1).all())
        return Predictions(weight * x, 0.5 * weight * x)

    images = normal(3, 4, 8, 8).float().requires_grad_()
    ask = Sources(predict, lambda x, t: 0.9 * weight * x, predict)
    method = DISTILLATIONS[name]()
    free, clipped = (
        distillation_gradient(
            method, ask, images, torch.tensor([0.02, 0.5, 1.0]), linear(), torch.Generator().manual_seed(1), limit
        )
        for limit in (float("inf"), 1.5)
    )
    assert clipped.shape == images.shape and clipped.dtype == torch.float32 and not clipped.requires_grad
    norms, free_norms = clipped.flatten(1).norm(dim=1), free.flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, free_norms.clamp_max(1.5))
    assert bool((free_norms > 1.5).any())
    sds_loss(images, clipped).backward()
    torch.testing.assert_close(images.grad, clipped / 3, rtol=1e-6, atol=0)
    assert weight.grad is None


def test_what_a_member_learns_must_be_there():
    for name, method in DISTILLATIONS.items():
        ask = Sources(unconditional)
        if method.learns:
            with pytest.raises(ValueError, match="trained network"):
                method().gradient(ask, normal(2, 2), torch.tensor([0.5, 0.5]), normal(2, 2), SCHEDULE)
        else:
            assert method().gradient(ask, normal(2, 2), torch.tensor([0.5, 0.5]), normal(2, 2), SCHEDULE).any() or (
                name == "csd"  # Without a condition there is no classifier.
            )


def test_clip_norm_bounds_samples_apart_and_drops_broken_ones():
    gradient = torch.stack([torch.full((2, 2), 0.1), torch.full((2, 2), 8.0), torch.full((2, 2), 1.0)])
    gradient[2, 0, 0] = float("nan")
    clipped = distill.clip_norm(gradient, 2.0)
    torch.testing.assert_close(clipped[0], gradient[0])
    torch.testing.assert_close(clipped[1], torch.full((2, 2), 1.0))
    assert not clipped[2].any()
    assert not distill.clip_norm(torch.zeros(2, 3), 1.0).any()
    half = torch.full((1, 40_000), 400.0, dtype=torch.float16)  # Its norm, 80,000, is over the range of its type.
    torch.testing.assert_close(distill.clip_norm(half, 100.0), torch.full((1, 40_000), 0.5, dtype=torch.float16))


def test_weights_by_name():
    level = Level(torch.tensor([0.8]), torch.tensor([0.6]))
    got = {name: float(weight(level)) for name, weight in WEIGHTS.items()}
    assert got == pytest.approx({"sds": 0.36, "uniform_x0": 0.75, "unit": 1.0, "fantasia3d": 0.288})
