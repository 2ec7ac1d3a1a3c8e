"""A small judge of whether a picture shows what some words say, for `benchmarks/text.py`.

Two encoders into one space, as CLIP (Radford et al. 2021, arXiv 2103.00020): a convolutional network of 64-pixel RGBA
views, and a bag of words; trained by contrast on what the prior never learned from: views of validation objects (but
those of TESTED stems, which test the judge itself) and procedural objects of a seed of its own. It knows colours and
kinds of things; of the order of words it knows nothing: a red house with a blue roof is a blue house with a red one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from cases import validation_order
from gaussmith.priors.embedded.vocabulary import Vocabulary, collect
from gaussmith.synth.objects import ObjectSet, split, stem
from gaussmith.synth.procedural import generate_objects
from gaussmith.synth.views import Views, load_views, render_shards

WORLD, VIEWS, TESTED = 900_001, 6, 40  # seed of the procedural objects; views an object; real stems left for testing
WIDTH, BATCH, RATE = 96, 128, 2e-3
SHARE_KEPT = 0.7  # of a caption's words: prompts tell less than captions do


class Scorer(nn.Module):
    """Unit vectors [B,WIDTH] of pictures and of texts, and the scale of their products."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        widths = (16, 48, 96, 128)
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(nn.GroupNorm(8, b) for b in widths[1:])
        self.out = nn.Linear(2 * widths[-1], WIDTH)
        self.words = nn.Embedding(len(vocabulary) + 1, WIDTH, padding_idx=0)
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def pictures(self, rgba: Tensor) -> Tensor:
        """Of premultiplied RGBA [B,4,64,64] in [0,1]."""
        x = F.pixel_unshuffle(rgba * 2 - 1, 2)
        for convolution, norm in zip(self.convolutions, self.norms):
            x = F.silu(norm(convolution(x)))
        return F.normalize(self.out(torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)), dim=1)

    def texts(self, numbers: Tensor) -> Tensor:
        """Of word numbers [B,L]."""
        return F.normalize(self.words(numbers).sum(dim=1) + 1e-6, dim=1)

    @torch.no_grad()
    def judge(self, views: Tensor, prompts: Sequence[str]) -> Tensor:
        """Similarity [N,P] in [-1,1] of each thing's views [N,V,64,64,4], their vectors averaged, to each prompt."""
        seen = self.pictures(views.flatten(0, 1).permute(0, 3, 1, 2)).reshape(*views.shape[:2], -1).mean(dim=1)
        return F.normalize(seen, dim=1) @ self.texts(self.vocabulary.numbers(prompts)).T


def placed(similarity: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """The rank [N] from 1 of each row's own column, owner [N], among all of similarity [N,P], and its similarity [N].
    A tie counts against it."""
    own = similarity[torch.arange(len(owner)), owner]
    return (similarity >= own[:, None]).sum(dim=1), own


def tested_objects(objects: ObjectSet) -> np.ndarray:
    """Real objects, one of a stem, that neither the prior nor the scorer learned from."""
    return validation_order(objects)[:TESTED]


def training_views(objects: ObjectSet, made: int, folder: Path) -> Views:
    """Views of the other validation objects and of `made` procedural ones, rendered once into the folder."""
    keys = {index: (str(objects.packs[index]), stem(str(objects.names[index]))) for index in range(len(objects))}
    tested = {keys[index] for index in tested_objects(objects).tolist()}
    real = [index for index in split(objects)[1].tolist() if keys[index] not in tested]
    paths = render_shards(objects, real, folder / "real", VIEWS)
    paths += render_shards(generate_objects(WORLD, made), np.arange(made), folder / f"made-{made}", VIEWS)
    return load_views(paths)


def load_or_train(path: Path, objects: ObjectSet, made: int, steps: int, folder: Path) -> Scorer:
    """The scorer of these numbers from the file, or trained and written there."""
    settings = json.dumps({"made": made, "steps": steps, "world": WORLD, "views": VIEWS})
    if path.exists():
        with safe_open(path, "pt") as file:
            notes = file.metadata() or {}
        if notes.get("settings") == settings:
            scorer = Scorer(Vocabulary(tuple(json.loads(notes["words"]))))
            load_model(scorer, path)
            return scorer.eval()
    scorer = train(training_views(objects, made, folder), steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(scorer, str(path), {"settings": settings, "words": json.dumps(scorer.vocabulary.words)})
    return scorer


def train(views: Views, steps: int, seed: int = 0) -> Scorer:
    """By contrast within batches; equal captions count as equally right."""
    scorer = Scorer(collect(views.caption.tolist()))
    random = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in scorer.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear, nn.Embedding)):
                weight = module.weight
                weight.copy_(torch.randn(weight.shape, generator=generator) * weight[0].numel() ** -0.5)
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.bias.zero_()
        scorer.words.weight[0] = 0
    numbers = scorer.vocabulary.numbers(views.caption.tolist())
    optimizer = torch.optim.AdamW(scorer.parameters(), RATE, weight_decay=0.02)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
        rows = random.integers(0, len(views.index), BATCH)
        columns = random.integers(0, views.azimuth.shape[1], BATCH)
        pictures = augmented(torch.from_numpy(views.rgba[rows, columns]).permute(0, 3, 1, 2).float() / 255, random)
        given = numbers[rows] * torch.from_numpy(random.random(numbers[rows].shape) < SHARE_KEPT)
        same = (numbers[rows][:, None] == numbers[rows][None]).all(dim=2).float()
        target = same / same.sum(dim=1, keepdim=True)
        logits = scorer.scale.exp().clamp(max=50) * scorer.pictures(pictures) @ scorer.texts(given).T
        loss = -(target * (logits.log_softmax(dim=1) + logits.log_softmax(dim=0))).sum() / (2 * BATCH)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return scorer.eval().requires_grad_(False)


def augmented(pictures: Tensor, random: np.random.Generator) -> Tensor:
    """Mirrored, moved, scaled and softened at random: made assets are softer and not as well framed as true ones."""
    count = len(pictures)
    scale = random.uniform(0.85, 1.25, count)
    across = scale * random.choice([-1.0, 1.0], count)
    move = random.uniform(-0.1, 0.1, (2, count))
    zero = np.zeros(count)
    turn = np.stack([np.stack([across, zero, move[0]], 1), np.stack([zero, scale, move[1]], 1)], 1)
    grid = F.affine_grid(torch.from_numpy(turn).float(), list(pictures.shape), align_corners=False)
    moved = F.grid_sample(pictures, grid, align_corners=False)
    side = int(random.choice([64, 48, 32, 24]))
    soft = F.interpolate(moved, size=(side, side), mode="area")
    return F.interpolate(soft, size=pictures.shape[-2:], mode="bilinear", align_corners=False)
