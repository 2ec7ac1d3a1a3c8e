"""Teaching the embedded prior where the object of a picture stands, and from how high it was seen."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.events import OnEvent, StageFinished, StageStarted, Step, ignore
from gaussmith.picture import OUTLINE_SHARE, VISIBLE
from gaussmith.priors.embedded.placement import SIDE, SPREADS, UNITS, PlacementHead, answers
from gaussmith.priors.embedded.prior import load_weights, save_weights
from gaussmith.synth.objects import ObjectSet
from gaussmith.synth.views import render_views, sample_directions, softly_lit

LARGE = 2 * SIDE  # side of the renders: an outline is enlarged by less than two
VIEWS = 12  # of each object
STEPS = 6000  # of the training: 380,000 pictures


@dataclass(frozen=True)
class Outlines:
    """Renders uint8 [N,LARGE,LARGE,4], premultiplied; elevations [N] in degrees; and of the outlines in pixels: middles
    [N,2] (x, y) and longer sides [N]."""

    rgba: np.ndarray
    elevation: np.ndarray
    middle: np.ndarray
    longest: np.ndarray


def teach(
    worlds: Sequence[tuple[ObjectSet, Sequence[int]]],
    held_out: tuple[ObjectSet, Sequence[int]],
    on_event: OnEvent = ignore,
) -> tuple[PlacementHead, dict[str, float]]:
    """A head taught by views of objects (their numbers in each set), and what `judge` says of it on those held out."""
    count = sum(len(indices) for _, indices in [*worlds, held_out])
    on_event(StageStarted("placement", count + STEPS))
    started, seen, done = time.monotonic(), [], 0
    for objects, indices in [*worlds, held_out]:
        seen.append(look(objects, indices, done, on_event))
        done += len(indices)
    head = fit(seen[:-1], STEPS, done=done, on_event=on_event)
    figures = judge(head, seen[-1])
    on_event(Step("placement", done + STEPS, figures))
    on_event(StageFinished("placement", time.monotonic() - started))
    return head, figures


def add(weights: Path, head: PlacementHead) -> None:
    """Write the head into a weights file of `train-prior`."""
    prior = load_weights(weights, precision="float32")
    prior.placement = head
    save_weights(prior, weights)


def look(objects: ObjectSet, indices: Sequence[int], done: int = 0, on_event: OnEvent = ignore) -> Outlines:
    """`VIEWS` views of each of the objects, half of these lit."""
    pictures, heights = [], []
    for number, index in enumerate(indices):
        random = np.random.default_rng([4, int(index)])
        azimuth, elevation = sample_directions(VIEWS, random)
        mesh = softly_lit(objects.mesh(int(index)), random)
        pictures.append(render_views(mesh, azimuth, elevation, LARGE, supersample=2))
        heights.append(elevation)
        on_event(Step("placement", done + number + 1))
    return outlines(np.concatenate(pictures), np.concatenate(heights))


def outlines(rgba: np.ndarray, elevation: np.ndarray) -> Outlines:
    """Views uint8 [N,S,S,4] with what can be measured of their outlines; those that show nothing are left out."""
    visible: np.ndarray = rgba[..., 3] > VISIBLE * 255
    shown = visible.any(axis=(1, 2))
    rgba, elevation, visible = rgba[shown], elevation[shown], visible[shown]
    edges = []
    for axis in (1, 2):  # over rows: columns, then the reverse
        there = np.asarray(visible.any(axis=axis))
        edges += [there.argmax(axis=1), there.shape[1] - there[:, ::-1].argmax(axis=1)]
    left, right, top, bottom = (e.astype(np.float32) for e in edges)
    middle = np.stack([left + right, top + bottom], axis=-1) / 2
    return Outlines(rgba, elevation, middle, np.maximum(right - left, bottom - top))


def draw(
    seen: Outlines, count: int, random: np.random.Generator, augment: bool = True
) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures [count,4,64,64] in [-1,1] framed by their outlines, elevations [count], and what is to be said of them
    [count,4]. Augmentation: mirrored, colours permuted and brightened or darkened, outlines off by half a pixel."""
    which = random.integers(0, len(seen.rgba), count) if augment else np.arange(count)
    middle, longest = seen.middle[which], seen.longest[which]
    if augment:
        middle = middle + random.uniform(-0.5, 0.5, middle.shape)
        longest = longest + random.uniform(-1, 1, longest.shape)
    return framed(seen.rgba[which], seen.elevation[which], middle, longest, random if augment else None)


def framed(
    rgba: np.ndarray, elevation: np.ndarray, middle: np.ndarray, longest: np.ndarray, random: np.random.Generator | None
) -> tuple[Tensor, Tensor, Tensor]:
    """See `draw`; the pictures are augmented if there is a `random`."""
    pictures = torch.from_numpy(rgba).permute(0, 3, 1, 2).float() / 255
    middles, longer = torch.from_numpy(middle).float(), torch.from_numpy(longest).float()
    per_pixel = OUTLINE_SHARE * SIDE / longer  # pixels of the framed picture per pixel of the render
    # Twice as fine, then averaged: enlarged by less than two, no pixel of the render is skipped.
    grid = ((torch.arange(LARGE) + 0.5) / LARGE - 0.5) * SIDE
    x = (grid[None, :] / per_pixel[:, None] + middles[:, :1]) / LARGE * 2 - 1
    y = (grid[None, :] / per_pixel[:, None] + middles[:, 1:]) / LARGE * 2 - 1
    at = torch.stack([x[:, None, :].expand(-1, LARGE, -1), y[:, :, None].expand(-1, -1, LARGE)], dim=-1)
    pictures = F.avg_pool2d(F.grid_sample(pictures, at, align_corners=False), 2)
    offset = per_pixel[:, None] * (LARGE / 2 - middles) / SIDE
    right, down = offset.unbind(dim=-1)
    heights = torch.from_numpy(elevation).float()
    if random is not None:
        mirrored = torch.from_numpy(random.random(len(pictures)) < 0.5)
        pictures = torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)
        right = torch.where(mirrored, -right, right)
        order = torch.from_numpy(np.argsort(random.random((len(pictures), 3)), axis=1))
        shade = torch.from_numpy(random.uniform(0.6, 1.2, (len(pictures), 3, 1, 1)).astype(np.float32))
        rgb = pictures[torch.arange(len(pictures))[:, None], order] * shade
        pictures = torch.cat([torch.minimum(rgb, pictures[:, 3:]), pictures[:, 3:]], dim=1)
    return pictures * 2 - 1, heights, answers(right, down, -(per_pixel * LARGE / SIDE).log(), heights)


def fit(
    worlds: Sequence[Outlines],
    steps: int,
    rate: float = 3e-3,
    batch: int = 64,
    seed: int = 0,
    done: int = 0,
    on_event: OnEvent = ignore,
) -> PlacementHead:
    """A head taught by views, drawn alike from each of the worlds: Gaussian likelihood (Nix & Weigend 1994), AdamW, a
    cosine rate. Half of the pictures come with their elevation; of these it is not asked."""
    random = np.random.default_rng(seed)
    head = initial_head(seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=rate, weight_decay=0.05)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * step / steps))
        drawn = [draw(seen, batch // len(worlds), random) for seen in worlds]
        pictures, elevation, wanted = (torch.cat(parts) for parts in zip(*drawn))
        known = torch.from_numpy((random.random(len(pictures)) < 0.5).astype(np.float32))
        loss = surprise(head(pictures, elevation, known), wanted, known)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 100 == 0:
            on_event(Step("placement", done + step + 1, {"loss": loss.item()}))
    return head.eval().requires_grad_(False)


def surprise(said: Tensor, wanted: Tensor, known: Tensor) -> Tensor:
    """Mean negative logarithm of the Gaussian likelihood, up to a constant, of answers wanted [B,4] by what was said
    [B,2,4]; elevations that were told, known [B] 1, are not asked for, and nothing said of them matters."""
    mean, log_spread = said.unbind(dim=1)
    asked = torch.cat([torch.ones(len(known), 3), 1 - known[:, None]], dim=1) > 0
    # Chosen before it is computed: a spread that nobody asks for drifts until its square overflows, and 0 times that
    # is not a number.
    miss, log_spread = (mean - wanted)[asked], log_spread[asked].clamp(*SPREADS)
    return (log_spread + 0.5 * (miss * torch.exp(-log_spread)).square()).mean()


def initial_head(seed: int) -> PlacementHead:
    """A head with the weights of that seed, as He et al. 2015 begin (uniform, fan in); residuals begin at zero."""
    head, random = PlacementHead(), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in head.parameters():
            if p.ndim > 1 and bool(p.any()):
                p.copy_((torch.rand(p.shape, generator=random) * 2 - 1) * (6 / p[0].numel()) ** 0.5)
            elif p.ndim == 1 and not bool((p == 1).all()):
                p.zero_()
    return head


@torch.no_grad()
def judge(head: PlacementHead, seen: Outlines) -> dict[str, float]:
    """Root mean squares over pictures that the head did not learn from: the error of the guessed elevation (degrees),
    and the miss of the middle (shares of the frame) and of the scale (logarithm), the elevation given; each beside what
    leaving the outline in the middle at its size is off by ("outline")."""
    pictures, elevation, wanted = draw(seen, len(seen.rgba), np.random.default_rng(0), augment=False)
    known = torch.ones(len(pictures))
    told, guessed = (head(pictures, elevation, k)[:, 0] for k in (known, 0 * known))
    miss, before = (told - wanted) * UNITS, wanted * UNITS
    rms = lambda x: float(x.square().mean().sqrt())  # noqa: E731
    return {
        "elevation": rms((guessed - wanted)[:, 3] * UNITS[3]),
        "elevation_spread": float(elevation.std()),
        "middle": rms(miss[:, :2]),
        "outline_middle": rms(before[:, :2]),
        "scale": rms(miss[:, 2]),
        "outline_scale": rms(before[:, 2]),
    }
