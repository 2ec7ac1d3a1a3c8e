"""The network that learns the score of the renders: it finds the exact one, resumes to the bit, leaks no gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gaussmith.diffusion.family import BSD, VSD, Sources, distillation_gradient
from gaussmith.diffusion.guidance import Guidance, Predictions
from gaussmith.diffusion.schedule import CosineTime, add_noise, eps_from_v
from gaussmith.diffusion.timesteps import Uniform
from gaussmith.train import checkpoint
from gaussmith.train.variational import Learner, denoising_loss, sources
from gaussmith.views import OrbitView

SCHEDULE, AT = CosineTime(), 0.4


class Affine:
    """eps = gain x + bias + turn sin(azimuth): a `Trainable` small enough to know its optimum by hand."""

    def __init__(self) -> None:
        self.tensors = {name: torch.zeros(1, requires_grad=True) for name in ("gain", "bias.x", "turn")}
        self.frozen = torch.ones(1, requires_grad=True)

    def variational_eps(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: float, null=False) -> Tensor:
        turn = torch.sin(torch.deg2rad(views.azimuth))[:, None]
        p = self.tensors
        condition = 0.0 if null else condition
        return self.frozen * (p["gain"] * noisy + p["bias.x"] + p["turn"] * turn) * condition

    def parameters(self) -> dict[str, Tensor]:
        return self.tensors


def ring(batch: int, generator: torch.Generator) -> OrbitView:
    azimuth = 360 * torch.rand(batch, generator=generator) - 180
    return OrbitView(azimuth, torch.zeros(batch))


def renders(views: OrbitView, generator: torch.Generator) -> Tensor:
    """x0 ~ N(0.5 sin(azimuth), 0.3^2): the mean depends on the camera."""
    mean = 0.5 * torch.sin(torch.deg2rad(views.azimuth))[:, None]
    return mean + 0.3 * torch.randn(len(views), 1, generator=generator)


def train(learner: Learner, steps: int, generator: torch.Generator, batch: int = 64) -> list[float]:
    losses = []
    for _ in range(steps):
        views = ring(batch, generator)
        losses.append(learner.step(renders(views, generator), views, 1.0, SCHEDULE, generator))
    return losses


@pytest.mark.parametrize("target", ["eps", "v"])
def test_it_learns_the_exact_camera_conditioned_score(target):
    """The optimum is sigma (x - alpha m) / (alpha^2 s^2 + sigma^2) with m the mean at that azimuth."""
    network = Affine()
    learner = Learner(network, rate=0.02, times=Uniform(AT, AT), target=target)
    losses = train(learner, 500, torch.Generator().manual_seed(0))
    learner.adam.rates = dict.fromkeys(learner.adam.rates, 0.002)
    train(learner, 300, torch.Generator().manual_seed(1))
    level = SCHEDULE.level(AT)
    alpha, sigma = float(level.alpha), float(level.sigma)
    gain = sigma / (alpha**2 * 0.3**2 + sigma**2)
    got = {name: float(t.detach()) for name, t in network.tensors.items()}
    assert got == pytest.approx({"gain": gain, "bias.x": 0.0, "turn": -gain * alpha * 0.5}, abs=0.02)
    assert sum(losses[-50:]) < 0.5 * sum(losses[:50])
    assert network.frozen.grad is None


def test_the_velocity_error_is_that_of_the_velocity():
    clean, noise, guess = (torch.randn(3, 2, generator=torch.Generator().manual_seed(s)).double() for s in range(3))
    t = torch.tensor([0.2, 0.5, 0.8])
    level = SCHEDULE.level(t)
    alpha, sigma = level.like(clean)
    noisy, v = add_noise(clean, noise, level), alpha * noise - sigma * clean
    got = denoising_loss(lambda x, t: eps_from_v(x, guess, level), clean, t, noise, SCHEDULE, "v")
    torch.testing.assert_close(got, (guess - v).square().mean())
    plain = denoising_loss(lambda x, t: guess, clean, t, noise, SCHEDULE)
    torch.testing.assert_close(plain, (guess - noise).square().mean())
    torch.testing.assert_close(noisy, alpha * clean + sigma * noise)


def test_a_resumed_run_has_the_same_bits(tmp_path):
    straight, generator = Learner(Affine(), rate=0.02), torch.Generator().manual_seed(3)
    train(straight, 20, generator)

    first, generator = Learner(Affine(), rate=0.02), torch.Generator().manual_seed(3)
    train(first, 8, generator)
    path = tmp_path / "checkpoint.safetensors"
    checkpoint.save(path, checkpoint.with_prefix("lora", first.state()), {}, generators={"main": generator})
    saved = checkpoint.load(path)
    second = Learner(Affine(), rate=0.02)
    second.restore(checkpoint.section("lora", saved.tensors))
    train(second, 12, saved.generators["main"])
    for name, tensor in straight.network.parameters().items():
        assert torch.equal(tensor, second.network.parameters()[name])
    assert straight.adam.count == second.adam.count == 20


def test_a_state_of_another_network_is_refused():
    learner = Learner(Affine())
    state = {k: v for k, v in learner.state().items() if "gain" not in k}
    with pytest.raises(ValueError, match="other parameters"):
        learner.restore(state)


def test_the_renders_get_no_gradient_and_broken_ones_move_nothing():
    learner, generator = Learner(Affine()), torch.Generator().manual_seed(0)
    views = ring(4, generator)
    clean = renders(views, generator).requires_grad_()
    learner.step(clean, views, 1.0, SCHEDULE, generator)
    assert clean.grad is None
    before = {k: t.detach().clone() for k, t in learner.network.parameters().items()}
    loss = learner.step(clean * float("nan"), views, 1.0, SCHEDULE, generator)
    assert loss != loss
    assert all(torch.equal(before[k], t) for k, t in learner.network.parameters().items())


def test_vsd_with_a_learned_score_keeps_the_spread_that_sds_loses():
    """Alternating both, as a recipe does: particles in one dimension, a Gaussian prior N(0, 0.5^2), one noise time."""
    generator = torch.Generator().manual_seed(0)
    level = SCHEDULE.level(AT)
    gain = float(level.sigma / (level.alpha**2 * 0.25 + level.sigma**2))
    learner = Learner(Affine(), rate=0.02, times=Uniform(AT, AT))
    points = 0.1 + 0.1 * torch.randn(256, 1, generator=generator)
    frontal = OrbitView(torch.zeros(256), torch.zeros(256))  # sin(azimuth) = 0: one distribution
    t = torch.full((256,), AT)
    for _ in range(600):
        learner.step(points, frontal, 1.0, SCHEDULE, generator)
        ask = Sources(
            lambda x, t: Predictions(gain * x, gain * x),
            lambda x, t: learner.network.variational_eps(x, t, frontal, 1.0),
        )
        points = points - 0.2 * distillation_gradient(VSD(Guidance(1.0)), ask, points, t, SCHEDULE, generator)
    assert float(points.std()) == pytest.approx(0.5, abs=0.1)
    assert float(points.mean()) == pytest.approx(0.0, abs=0.1)


class Fixed:
    """A prior of two constant opinions."""

    def eps(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: float) -> Predictions:
        assert len(views) == len(noisy) == len(t)
        return Predictions(torch.zeros_like(noisy), torch.full_like(noisy, condition))


def test_sources_ask_each_network_for_its_part():
    """With gain 0 and bias b, a network says b under condition 1 and 0 under the null."""
    learners = {"variational": Learner(Affine()), "expert": Learner(Affine())}
    for learner, bias in zip(learners.values(), (0.25, 2.0)):
        learner.network.tensors["bias.x"].data.fill_(bias)
    views = OrbitView(torch.zeros(3), torch.zeros(3))
    ask, clean, t = sources(Fixed(), views, 1.0, learners), torch.zeros(3, 1), torch.full((3,), 0.5)
    got = {
        method: float(method.gradient(ask, clean, t, clean, SCHEDULE)[0, 0])
        for method in (VSD(Guidance(3.0), "unit"), BSD(Guidance(3.0), "unit"))
    }
    assert list(got.values()) == pytest.approx([3 * 1.0 - 0.25, 3 * 2.0 - 0.25])
    bare = sources(Fixed(), views, 1.0, {})
    assert bare.variational is None and bare.expert is None
