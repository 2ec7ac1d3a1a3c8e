"""Training the small network beside a prior that VSD, BSD and DSD need: the score of the renders as they are now.

The same step trains BSD's expert, on renders that were mended by `distill.denoise_at_strength`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from gaussmith.diffusion.distill import normal_like
from gaussmith.diffusion.family import Sources
from gaussmith.diffusion.guidance import Predictions, per_sample
from gaussmith.diffusion.schedule import Schedule, add_noise
from gaussmith.diffusion.timesteps import Uniform
from gaussmith.priors.base import EpsPrior, Trainable
from gaussmith.train.adam import Adam
from gaussmith.train.checkpoint import section, with_prefix
from gaussmith.views import OrbitView

Target = Literal["eps", "v"]


def denoising_loss(
    predict_eps: Callable[[Tensor, Tensor], Tensor],
    clean: Tensor,
    t: Tensor,
    noise: Tensor,
    schedule: Schedule,
    target: Target = "eps",
) -> Tensor:
    """E |eps_phi(x_t, t) - eps|^2 (ProlificDreamer, Wang et al. 2023, eq. 8), a mean over all numbers.

    Args:
        predict_eps: (noisy [B,...], t [B]) -> eps [B,...], differentiable with respect to what is trained.
        clean, noise: [B,...]. t: [B] in (0,1].
        target: the error to take: of eps, or of the velocity v that it implies, which is that of eps over alpha (where
            the prior was trained on v, as Stable Diffusion 2.1; keep t below 1).
    """
    level = schedule.level(t)
    error = predict_eps(add_noise(clean, noise, level), t) - noise
    if target == "v":
        error = error / per_sample(level.alpha, error)
    return error.square().mean()


def variational_step(
    predict_eps: Callable[[Tensor, Tensor], Tensor],
    parameters: Mapping[str, Tensor],
    optimizer: Adam,
    clean: Tensor,
    t: Tensor,
    schedule: Schedule,
    generator: torch.Generator,
    target: Target = "eps",
) -> float:
    """One step of Adam on the denoising loss of the renders clean [B,...], which gets no gradient. Returns the loss;
    where it is not finite nothing is moved."""
    clean = clean.detach()
    noise = normal_like(clean, generator)
    with torch.enable_grad():
        loss = denoising_loss(predict_eps, clean, t, noise, schedule, target)
    trained = [parameters[name] for name in optimizer.rates]
    value = loss.item()  # the one look at a GPU: a loss that is not finite must move nothing, not even by momentum
    if math.isfinite(value):
        # Only what is trained gets a gradient, whatever else the graph reaches.
        for tensor, slope in zip(trained, torch.autograd.grad(loss, trained, allow_unused=True)):
            tensor.grad = slope
        optimizer.step(parameters)
    return value


@dataclass
class Learner:
    """A `Trainable` with its optimiser: what a recipe keeps for each network that a distillation `learns`.

    Attributes:
        network: the LoRA. rate: Adam's (1e-4: ProlificDreamer).
        times: at which noise times it is trained (uniform over all, as the paper). target: as in `denoising_loss`.
    """

    network: Trainable
    rate: float = 1e-4
    times: Uniform = field(default_factory=Uniform)
    target: Target = "eps"
    adam: Adam = field(init=False)

    def __post_init__(self) -> None:
        self.adam = Adam(dict.fromkeys(self.network.parameters(), self.rate), eps=1e-8)

    def step(
        self, clean: Tensor, views: OrbitView, condition: Any, schedule: Schedule, generator: torch.Generator
    ) -> float:
        """Learn from the renders clean [B,...] seen from `views`; returns the loss before the step."""
        t = self.times.at(1, 1, generator, len(views))

        def predict(noisy: Tensor, at: Tensor) -> Tensor:
            return self.network.variational_eps(noisy, at, views, condition)

        return variational_step(
            predict, self.network.parameters(), self.adam, clean, t, schedule, generator, self.target
        )  # fmt: skip

    def state(self) -> dict[str, Tensor]:
        """All that a checkpoint needs: the trained tensors and Adam's state, by name."""
        return with_prefix("parameters", self.network.parameters()) | with_prefix("adam", self.adam.state())

    @torch.no_grad()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take up `state()` again, in place.

        Raises ValueError if it is of another network.
        """
        saved, mine = section("parameters", state), self.network.parameters()
        if {k: v.shape for k, v in saved.items()} != {k: v.shape for k, v in mine.items()}:
            raise ValueError("the saved state is of a network with other parameters")
        for name, tensor in mine.items():
            tensor.copy_(saved[name])
        self.adam.restore({k: v.to(self._device_of(k)) for k, v in section("adam", state).items()})

    def _device_of(self, key: str) -> torch.device:
        """Adam's running means live beside their parameter; a checkpoint comes back on the CPU."""
        parameter = self.network.parameters().get(key.split(".", 1)[-1])
        return torch.device("cpu") if parameter is None else parameter.device


def sources(prior: EpsPrior, views: OrbitView, condition: Any, learners: Mapping[str, Learner]) -> Sources:
    """Whom a distillation asks about the renders of `views`: the prior, and the learners "variational" and "expert" as
    far as there are any."""

    def frozen(noisy: Tensor, t: Tensor) -> Predictions:
        return prior.eps(noisy, t, views, condition)

    def variational(noisy: Tensor, t: Tensor) -> Tensor:
        return learners["variational"].network.variational_eps(noisy, t, views, condition)

    def expert(noisy: Tensor, t: Tensor) -> Predictions:
        network = learners["expert"].network
        null, cond = (network.variational_eps(noisy, t, views, condition, null=null) for null in (True, False))
        return Predictions(null, cond)

    return Sources(frozen, variational if "variational" in learners else None, expert if "expert" in learners else None)
