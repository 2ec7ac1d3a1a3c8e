"""Teaching the embedded prior what mirrored pictures are worth.

Objects are pictured, and the views that the mirrored pictures would be, were each upright plane one of symmetry, are
rendered and compared. Nobody has to say where the planes of an object are, or how nearly it is its own mirror image.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussmith.events import OnEvent, StageFinished, StageStarted, Step, ignore
from gaussmith.priors.embedded.network import PriorNetwork
from gaussmith.priors.embedded.prior import load_weights, save_weights
from gaussmith.priors.embedded.symmetry import AZIMUTHS, STEP, WORTH, SymmetryHead, course, errors, features, usable
from gaussmith.synth.objects import ObjectSet
from gaussmith.synth.views import render_views

PICTURES = 2200  # that are enough to learn from
LOW, HIGH = -5.0, 40.0  # elevations of the pictures, degrees
WORST, BEST = -5.0, 10.0  # dB of what is learned: beyond, more is not better
CHOICE = 2.0  # weight of what the planes that are chosen are worth, beside the squared error of all
DROPOUT = 0.3  # share of the head's inner values that are left out of a step


@dataclass(frozen=True)
class Planes:
    """Features [N,A,FEATURES] of all planes of N pictures, and the dB [N,A] that their mirrored pictures are worth."""

    features: Tensor
    worth: Tensor


def teach(
    weights: Path, objects: ObjectSet, train: Sequence[int], held_out: Sequence[int], on_event: OnEvent = ignore
) -> dict[str, float]:
    """Add a head to a weights file of `train-prior`, taught by a picture of each of the objects `train` (their numbers)
    and judged by those held out; returns the figures of `judge`."""
    prior = load_weights(weights)
    on_event(StageStarted("symmetry", len(train) + len(held_out)))
    started = time.monotonic()
    seen = [look(prior.network, objects, part, on_event) for part in (train, held_out)]
    prior = load_weights(weights, precision="float32")
    prior.symmetry = fit(seen[0])
    save_weights(prior, weights)
    figures = judge(prior.symmetry, seen[1])
    on_event(Step("symmetry", len(train) + len(held_out), figures))
    on_event(StageFinished("symmetry", time.monotonic() - started))
    return figures


@torch.no_grad()
def look(network: PriorNetwork, objects: ObjectSet, indices: Sequence[int], on_event: OnEvent = ignore) -> Planes:
    """One picture of each of the objects, from anywhere around it; see `Planes`.

    Things are built facing an axis: pictured from a whole number of steps, more or less half a degree, their planes of
    symmetry lie as near to one that is looked at as the last search brings them.
    """
    device = network.encoder_in.weight.device
    seen, worth = [], []
    for number, index in enumerate(indices):
        random = np.random.default_rng([3, int(index)])
        azimuth = STEP * random.integers(round(360 / STEP)) + random.uniform(-0.5, 0.5)
        elevation = random.uniform(LOW, HIGH)
        # First the picture itself, then the views that its mirrored pictures claim to be.
        azimuths = azimuth + np.concatenate([[0.0], 2 * AZIMUTHS.numpy()])
        shown = render_views(objects.mesh(int(index)), azimuths, np.full(len(azimuths), elevation), supersample=2)
        views = torch.from_numpy(shown).permute(0, 3, 1, 2).float() / 255
        picture = (views[:1] * 2 - 1).to(device)
        encoded = network.read(picture, torch.tensor([elevation], dtype=torch.float32))
        known, drafts = (part.cpu() for part in course(network, encoded, picture))
        small = F.avg_pool2d(views, 2)
        gained = nearness(small[:1].flip(-1), small[1:]) - nearness(drafts, small[1:])
        # The mirrored object, pictured mirrored, teaches as much: its planes lie the other way.
        seen += [features(known), features(known.flip(0))]
        worth += [gained, gained.flip(0)]
        on_event(Step("symmetry", number + 1))
    return Planes(torch.stack(seen), torch.stack(worth))


def nearness(guess: Tensor, truth: Tensor) -> Tensor:
    """PSNR [B] of premultiplied RGBA [B,4,H,W]: colours on white, and alpha half as much."""
    color, alpha = errors(guess, truth).unbind(dim=-1)
    return -10 * (color + 0.5 * alpha).clamp_min(1e-5).log10()


def fit(planes: Planes, steps: int = 5000, rate: float = 2e-3, batch: int = 64, seed: int = 0) -> SymmetryHead:
    """A head taught by the planes that can be taken: squared error, less what the planes are worth that it would choose
    (a softmax of what it says; of guesses the largest is the luckiest, so the errors alone do not make good choices);
    AdamW, a cosine rate, dropout."""
    random, asked = torch.Generator().manual_seed(seed), usable(AZIMUTHS)
    given, wanted = planes.features[:, asked], planes.worth[:, asked].clamp(WORST, BEST)
    head = SymmetryHead()
    head.mean, head.spread = given.mean(dim=(0, 1)), given.std(dim=(0, 1)) + 1e-3
    with torch.no_grad():
        for p in head.parameters():
            p.copy_((torch.rand(p.shape, generator=random) * 2 - 1) * p.shape[-1] ** -0.5)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.1)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        some = torch.randint(len(wanted), (batch,), generator=random)
        said = _said(head, given[some], random)
        chosen = (torch.softmax(said, dim=1) * wanted[some]).sum(dim=1).mean()
        loss = (said - wanted[some]).square().mean() - CHOICE * chosen
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head.eval().requires_grad_(False)


def _said(head: SymmetryHead, given: Tensor, random: torch.Generator) -> Tensor:
    """What the head says, with dropout drawn from a generator of our own: PyTorch's comes from the global one."""
    x = (given - head.mean) / head.spread
    for layer in head.layers:
        x = layer(x)
        if isinstance(layer, nn.SiLU):
            x = x * (torch.rand(x.shape, generator=random) >= DROPOUT) / (1 - DROPOUT)
    return x[..., 0]


@torch.no_grad()
def judge(head: SymmetryHead, planes: Planes) -> dict[str, float]:
    """Of pictures that the head did not learn from: the share whose mirrored picture is taken, the mean dB by which it
    is then better than the draft, and the share of those where it is better at all."""
    promised, best = head(planes.features).masked_fill(~usable(AZIMUTHS), -torch.inf).max(dim=1)
    really = planes.worth.gather(1, best[:, None])[:, 0][promised >= WORTH]
    return {
        "mirrored": len(really) / len(best),
        "mirrored_worth": float(really.mean()) if len(really) else 0.0,
        "mirrored_better": float((really > 0).float().mean()) if len(really) else 0.0,
    }
