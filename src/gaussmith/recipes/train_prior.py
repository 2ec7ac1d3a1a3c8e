"""Train the embedded prior on rendered shards: resumable, on CPU or GPU.

    for every step:
        draw references and, for each, target views of the same object
        encode the references into volumes; render the drafts from the targets' cameras
        noise the targets; predict v from picture, picture and caption, caption alone, or nothing
        loss = v error + draft error;  Muon and AdamW on float32 masters;  exponential moving average

The first `draft_share` of the samples train the encoder by the draft alone, seen along a part of its rays: it is the
tenth of the work that carries the geometry.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from gaussmith.events import OnEvent, StageFinished, StageStarted, Step, UserError
from gaussmith.priors.embedded.domain import Domain, measure_domain
from gaussmith.priors.embedded.network import Encoded, NetworkConfig, PriorNetwork, Told
from gaussmith.priors.embedded.prior import EmbeddedPrior, load_weights
from gaussmith.priors.embedded.vocabulary import Vocabulary, collect
from gaussmith.synth.captions import without_colours
from gaussmith.synth.views import Views, load_views
from gaussmith.train.muon import Muon
from gaussmith.train.prior_log import TrainingLog
from gaussmith.train.prior_report import PriorReport


@dataclass(frozen=True)
class Config:
    """Numbers of the training; none is from a paper unless said.

    Attributes:
        samples: target views to train on in all (the schedule's length).
        references, targets: references a step, and targets for each.
        rate: peak learning rate of AdamW, which moves the first and last layers and everything that is no matrix;
            warm-up over `warmup` steps, linear cool-down over the last `cooldown` share of the steps.
        matrix_rate: that of Muon, which moves the matrices and convolutions between; warmed and cooled alike. Both are
            for random weights: from trained ones a third and a sixth of them do better.
        texts: targets a step that are told by the caption alone, seen from about the front, as words are drawn.
        drop: share of samples without condition, for classifier-free guidance (Ho & Salimans 2022 use 0.1-0.2).
            captioned: share of those with the picture that get the caption too.
        procedural_share: share of the references drawn from the procedural objects, where there are any. varied_share:
            share of both drawn from the views of objects that stand a little off the middle, some of them lit.
            front_share: share of them from about the front, as people picture things.
        draft_share: share of the samples that train the encoder's draft alone; `draft_targets` then are the targets for
            each reference, and every `draft_stride`-th row and column of rays is looked along.
        draft_weight: weight of the draft's error beside the v error. outline_weight: within it, of one less the overlap
            of the outlines, beside the mean errors of the pixels: of those a thin object has few.
        clip: largest gradient norm. ema: decay of the moving average.
        evaluate_every: steps between gates; gate_objects: held-out objects that they are measured on, two views of
            each. save_every: steps between checkpoints.
    """

    samples: int = 400_000
    references: int = 8
    targets: int = 4
    rate: float = 6e-4
    matrix_rate: float = 1e-2
    warmup: int = 100
    cooldown: float = 0.3
    texts: int = 12
    drop: float = 0.1
    captioned: float = 0.3
    procedural_share: float = 0.4
    varied_share: float = 0.5
    front_share: float = 0.5
    draft_share: float = 0.5
    draft_targets: int = 8
    draft_stride: int = 4
    draft_weight: float = 1.0
    outline_weight: float = 0.15
    clip: float = 1.0
    ema: float = 0.998
    seed: int = 0
    evaluate_every: int = 500
    gate_objects: int = 48
    save_every: int = 200

    @property
    def draft_steps(self) -> int:
        """Steps that train the draft alone."""
        return round(self.samples * self.draft_share / (self.references * self.draft_targets))

    @property
    def steps(self) -> int:
        """Steps in all."""
        rest = max(0, self.samples - self.samples_by(self.draft_steps))
        return self.draft_steps + math.ceil(rest / (self.references * self.targets + self.texts))

    def samples_by(self, step: int) -> int:
        """Target views seen in the first `step` steps."""
        drafts = min(step, self.draft_steps)
        whole = self.references * self.targets + self.texts
        return drafts * self.references * self.draft_targets + (step - drafts) * whole


def run(
    config: Config,
    shards: Path,
    out: Path,
    on_event: OnEvent,
    device: str = "cpu",
    resume: bool = False,
    network: NetworkConfig | None = None,
    start: Path | None = None,
    kind: type[PriorNetwork] = PriorNetwork,
) -> Path:
    """Train; returns the path of the exported weights (fp16 safetensors, the moving average).

    Args:
        shards: folder written by `gaussmith.synth.views.render_shards` with the parts train and validation, and
            procedural if there are such objects; train-varied and procedural-varied if there are varied views of them.
        out: folder for checkpoint.safetensors, weights.safetensors, best.safetensors (by the gates), log.jsonl,
            loss.png, samples.png and MODEL_CARD.md.
        resume: go on from out/checkpoint.safetensors if it is there.
        start: weights to begin from instead of random ones; what they lack (a caption encoder, say) begins at random.
        kind: the class of the network, for experiments; only `PriorNetwork` can be loaded again.
    """
    parts = {name: _load(shards / name) for name in ("train", "validation")}
    others = ("train-varied", "procedural", "procedural-varied")
    parts |= {name: _load(shards / name) for name in others if (shards / name).is_dir()}
    held_out = parts["validation"]
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.safetensors"
    resume = resume and checkpoint.exists()
    plain = [parts[name] for name in ("train", "procedural") if name in parts]
    captions = [caption for views in plain for caption in views.caption.tolist()]
    vocabulary = _saved_words(checkpoint) if resume else collect(captions)
    sizes = replace(network or NetworkConfig(), vocabulary=len(vocabulary))
    state = _State(sizes, vocabulary, config, device, kind)
    if resume:
        state.load(checkpoint)
    elif start is not None:
        state.begin(start)
    worlds = _worlds(parts, config)
    steps = config.steps
    log = TrainingLog(out / "log.jsonl", config.samples_by, state.step)
    log.run(state.step, device, _name(start) if start is not None and not resume else "")
    report = PriorReport(out, log, parts, asdict(config), on_event)
    domain = _domain(worlds, held_out, config.seed)

    def look() -> None:
        prior = state.averaged()
        prior.domain = domain
        gates = evaluate(prior, held_out, config.seed, config.gate_objects)
        report.gates(state.step, prior, gates)
        on_event(Step("train prior", state.step, gates))

    started = time.monotonic()
    on_event(StageStarted("train prior", steps))
    if start is not None and state.step == 0:
        look()  # what is not better than the start is not the best
    while state.step < steps:
        losses = _train_step(state, config, worlds)
        state.step += 1
        on_event(Step("train prior", state.step, losses))
        log.losses(state.step, losses)
        if state.step % config.save_every == 0 or state.step == steps:
            state.save(out / "checkpoint.safetensors")
        if state.step % config.evaluate_every == 0 or state.step == steps:
            look()
    on_event(StageFinished("train prior", time.monotonic() - started))
    return out / "weights.safetensors"


def _worlds(parts: dict[str, Views], config: Config) -> list[tuple[Views, float]]:
    """The views that references are drawn from, each with its share."""
    made = config.procedural_share if "procedural" in parts else 0.0
    worlds = []
    for name, share in (("train", 1 - made), ("procedural", made)):
        varied = config.varied_share if f"{name}-varied" in parts else 0.0
        worlds += [(f"{name}-varied", share * varied), (name, share * (1 - varied))]
    return [(parts[name], share) for name, share in worlds if name in parts]


def _load(folder: Path) -> Views:
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise UserError(
            f"There are no rendered views in {folder}; render them first (`gaussmith train-prior --objects`)."
        )
    return load_views(paths)


def _name(weights: Path) -> str:
    """The file's name and the beginning of its digest."""
    return f"{weights.name} (sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()[:12]})"


def _domain(worlds: list[tuple[Views, float]], held_out: Views, seed: int) -> Domain:
    """What the references look like: 1,500 of them and 500 held out, of few objects at most four an object."""
    random = np.random.default_rng([seed, 1])
    shares = [(views, min(round(1500 * share), 4 * len(views.index))) for views, share in worlds if share > 0]
    known = [draw_batch(views, count, 1, random).references for views, count in shares]
    fresh = draw_batch(held_out, min(500, 4 * len(held_out.index)), 1, random, augment=False).references
    return measure_domain(torch.cat(known) * 0.5 + 0.5, fresh * 0.5 + 0.5)


class _State:
    """Float32 masters, their moving average and moments, and the network that computes in bf16."""

    def __init__(
        self,
        network: NetworkConfig,
        vocabulary: Vocabulary,
        config: Config,
        device: str,
        kind: type[PriorNetwork] = PriorNetwork,
    ) -> None:
        self.vocabulary = vocabulary
        model = initial_network(network, config.seed, kind).to(device).to_channels_last()
        self.config, self.step = config, 0
        self.masters = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.average = {name: p.clone() for name, p in self.masters.items()}
        self.model = model.bfloat16()
        self.hidden = {name: p for name, p in self.masters.items() if _is_hidden(name, p)}
        self.others = {name: p.requires_grad_() for name, p in self.masters.items() if name not in self.hidden}
        self.muon = Muon()
        self.optimizer = torch.optim.AdamW(
            list(self.others.values()), lr=config.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )

    def apply(self) -> float:
        """One clipped step from the bf16 network's gradients; returns the gradient norm."""
        share = _rate_share(self.config, self.step)
        masters = list(self.masters.values())
        for master, p in zip(masters, self.model.parameters()):
            # None stays None: what the loss does not reach is not decayed either.
            master.grad = None if p.grad is None else p.grad.float()
            p.grad = None
        norm = float(torch.nn.utils.clip_grad_norm_(masters, self.config.clip))
        if math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = share * self.config.rate
            self.optimizer.step()
            self.muon.step(self.hidden, share * self.config.matrix_rate)
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.values()), masters, 1 - decay)
            torch._foreach_copy_(list(self.model.parameters()), masters)
        return norm

    def averaged(self) -> EmbeddedPrior:
        model = type(self.model)(self.model.config).to(next(iter(self.masters.values())).device)
        model.load_state_dict(self.average)
        return EmbeddedPrior(model, self.vocabulary)

    def save(self, path: Path) -> None:
        tensors: dict[str, Tensor] = {}
        for name, master in self.masters.items():
            tensors |= {f"master.{name}": master.detach(), f"average.{name}": self.average[name]}
        for name, master in self.others.items():
            moments = self.optimizer.state.get(master, {})
            tensors |= {f"{k}.{name}": moments[k] for k in _MOMENTS if k in moments}
        tensors |= {f"mean.{name}": mean for name, mean in self.muon.means.items()}
        metadata = {
            "step": str(self.step),
            "network": json.dumps(asdict(self.model.config)),
            "words": json.dumps(self.vocabulary.words),
        }
        save_file({k: v.contiguous() for k, v in tensors.items()}, str(path) + ".part", metadata)
        Path(str(path) + ".part").replace(path)

    def begin(self, weights: Path) -> None:
        """Take over the weights of the file that have the same name and shape, and its words by their spelling."""
        start = load_weights(weights, precision="float32")
        found = start.network.state_dict()
        both = [word for word in self.vocabulary.words if word in start.vocabulary.words]
        nothing = torch.zeros(1, dtype=torch.int64)  # the number of no word
        here, there = (torch.cat([nothing, v.numbers(both)[:, 0]]) for v in (self.vocabulary, start.vocabulary))
        with torch.no_grad():
            for name, master in self.masters.items():
                if name == "caption.words.weight" and name in found:
                    master[here] = found[name][there].to(master)
                elif name in found and found[name].shape == master.shape:
                    master.copy_(found[name])
                self.average[name].copy_(master)
            torch._foreach_copy_(list(self.model.parameters()), list(self.masters.values()))

    def load(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            metadata = file.metadata()
        if metadata["network"] != json.dumps(asdict(self.model.config)):
            raise UserError(f"{path} belongs to a network of other sizes; choose another folder or start anew.")
        tensors = load_file(path)
        self.step = int(metadata["step"])
        with torch.no_grad():
            for name, master in self.masters.items():
                master.copy_(tensors[f"master.{name}"])
                self.average[name].copy_(tensors[f"average.{name}"])
            # In the master's own memory order: the fused step walks all of them as flat arrays.
            for name, master in self.others.items():
                if f"step.{name}" in tensors:
                    moments = {k: tensors[f"{k}.{name}"] for k in _MOMENTS}
                    self.optimizer.state[master] = {
                        k: v if v.ndim == 0 else torch.empty_like(master).copy_(v) for k, v in moments.items()
                    }
            self.muon.means = {
                name: torch.empty_like(master).copy_(tensors[f"mean.{name}"])
                for name, master in self.hidden.items()
                if f"mean.{name}" in tensors
            }
            torch._foreach_copy_(list(self.model.parameters()), list(self.masters.values()))


# What AdamW keeps of a parameter that has moved.
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")

# The layers that meet pictures, angles or words: not the hidden ones that Muon is for.
_EDGES = ("encoder_in", "encoder_pose", "denoiser_in", "denoiser_out", "words", "position")


def _is_hidden(name: str, parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and not any(edge in name for edge in _EDGES)


def _saved_words(path: Path) -> Vocabulary:
    with safe_open(path, "pt") as file:
        return Vocabulary(tuple(json.loads(file.metadata().get("words", "[]"))))


def initial_network(config: NetworkConfig, seed: int, kind: type[PriorNetwork] = PriorNetwork) -> PriorNetwork:
    """A network with the weights of that seed, drawn from a generator of our own: PyTorch's layers draw theirs from the
    global one. Same distributions: uniform within 1/sqrt(fan in); norms, position codes and zero layers as built."""
    network = kind(config)
    layers = (torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Linear, torch.nn.Embedding)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, layers) and bool(module.weight.any()):
                bound = module.weight[0].numel() ** -0.5
                for p in module.parameters():
                    p.copy_((torch.rand(p.shape, generator=random) * 2 - 1) * bound)
        for name, p in network.named_parameters():
            if name.endswith("position"):
                p.copy_(torch.randn(p.shape, generator=random) * 0.02)
    return network


def _rate_share(config: Config, step: int) -> float:
    """Of the peak rates: warming up, then all, then cooling down."""
    warm = min(1.0, (step + 1) / config.warmup)
    cool = min(1.0, (config.steps - step) / max(1.0, config.cooldown * config.steps))
    return warm * cool


def _train_step(state: _State, config: Config, worlds: list[tuple[Views, float]]) -> dict[str, float]:
    # A generator a step: what a step sees depends on its number alone, so a resumed run draws the same batches.
    random = np.random.default_rng([config.seed, state.step])
    drafting = state.step < config.draft_steps
    targets = config.draft_targets if drafting else config.targets
    counts = random.multinomial(config.references, [share for _, share in worlds])
    drawn = [
        draw_batch(views, int(n), targets, random, front_share=config.front_share)
        for (views, _), n in zip(worlds, counts)
        if n
    ]
    device = next(iter(state.masters.values())).device
    batch = _join(drawn, state.vocabulary, device)
    model = state.model
    encoded = model.encode(batch.references, batch.reference_elevation)
    stride = config.draft_stride if drafting else 1
    rows, columns = (slice(int(first), None, stride) for first in random.integers(0, stride, 2))
    views = (encoded, batch.owner, batch.azimuth, batch.elevation)
    if drafting:
        draft = model.draft(*views, (rows, columns))
    else:
        conditions = _conditions(config, len(batch.owner), random)
        keep, keep_caption = (torch.from_numpy(k).to(device) for k in conditions)
        told = model.tell(*views, keep, batch.words, keep_caption, batch.front)
        draft = told.draft
    truth = (batch.targets * 0.5 + 0.5)[..., rows, columns]
    draft_loss = (draft - truth).abs().mean() + (draft - truth).square().mean()
    missed = 1 - overlap(draft[:, 3], truth[:, 3]).mean()
    loss = config.draft_weight * (draft_loss + config.outline_weight * missed)
    values = {"draft": draft_loss.item(), "outline": missed.item()}
    if not drafting:
        shown = batch.targets
        if config.texts:
            captioned, told_of_them = _captioned(state, config, worlds, random)
            shown, told = torch.cat([shown, captioned]), _both(told, told_of_them)
        # Two thirds of the density at high noise (p(t) = 2t): distillation starts and decides there.
        t = torch.from_numpy(np.sqrt(random.random(len(shown))).astype(np.float32)).to(device)
        noise = torch.from_numpy(random.standard_normal(shown.shape, np.float32)).to(device)
        cos, sin = torch.cos(t * math.pi / 2)[:, None, None, None], torch.sin(t * math.pi / 2)[:, None, None, None]
        noisy = cos * shown + sin * noise
        v = model.denoise(noisy, t, told)
        v_loss = (v - (cos * noise - sin * shown)).square().mean()
        loss = loss + v_loss
        values["v"] = v_loss.item()
    loss.backward()
    norm = state.apply()
    return {"loss": loss.item(), **values, "norm": norm}


def overlap(guess: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union [B] of soft outlines [B,H,W] in [0,1]: the sum of the lesser over that of the larger."""
    both = torch.minimum(guess, truth).sum(dim=(1, 2))
    return both / torch.maximum(guess, truth).sum(dim=(1, 2)).clamp_min(1)


def _conditions(config: Config, count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """For each sample, float32 [count]: is the picture given, and is the caption?"""
    picture, also = random.random(count) >= config.drop, random.random(count) < config.captioned
    return picture.astype(np.float32), (picture & also).astype(np.float32)


def _captioned(
    state: _State, config: Config, worlds: list[tuple[Views, float]], random: np.random.Generator
) -> tuple[Tensor, Told]:
    """`config.texts` targets [T,4,64,64] and what is told of them: the caption alone, sometimes nothing."""
    counts = random.multinomial(config.texts, [share for _, share in worlds])
    drawn = [draw_captioned(views, int(n), random) for (views, _), n in zip(worlds, counts) if n]
    targets = torch.cat([some.targets for some in drawn])
    front, elevation = torch.cat([some.front for some in drawn]), torch.cat([some.elevation for some in drawn])
    keep_caption = torch.from_numpy((random.random(len(targets)) >= config.drop).astype(np.float32))
    words = state.vocabulary.numbers([caption for some in drawn for caption in some.captions])
    nobody, nothing = torch.zeros(len(targets), dtype=torch.int64), torch.zeros(len(targets))
    device = next(iter(state.masters.values())).device
    words, keep, keep_caption = (x.to(device) for x in (words, nothing, keep_caption))
    return targets.to(device), state.model.tell(None, nobody, nothing, elevation, keep, words, keep_caption, front)


def _both(first: Told, second: Told) -> Told:
    """One batch of two."""
    return Told(**{name: torch.cat([part, getattr(second, name).to(part)]) for name, part in vars(first).items()})


@dataclass(frozen=True)
class Captioned:
    """targets [B,4,64,64] in [-1,1], angles [B] in degrees, front relative to the object's front, and captions."""

    targets: Tensor
    front: Tensor
    elevation: Tensor
    captions: list[str]


def draw_captioned(views: Views, count: int, random: np.random.Generator) -> Captioned:
    """Draw objects and a view of each, `FRONT_SHARE` of them from within `FRONT` where there is such a view. Half are
    mirrored, and a tenth have their colour channels permuted and no word of colour."""
    objects = random.integers(0, len(views.index), count)
    front = (views.azimuth[objects] + 180) % 360 - 180
    heights = views.elevation[objects]
    near = (np.abs(front) <= FRONT[0]) & (heights >= FRONT[1]) & (heights <= FRONT[2])
    good = near | (random.random((count, 1)) >= FRONT_SHARE)
    row = (random.random(good.shape) + good).argmax(axis=1)
    each = np.arange(count)
    pictures, azimuth = _to_signed(views.rgba[objects, row]), front[each, row].astype(np.float32)
    captions = views.caption[objects].tolist()
    for i in each.tolist():
        if random.random() < 0.5:
            pictures[i], azimuth[i] = pictures[i].flip(-1), -azimuth[i]
        if random.random() < 0.1:
            pictures[i] = pictures[i][[*random.permutation(3), 3]]
            captions[i] = without_colours(captions[i])
    return Captioned(pictures, torch.from_numpy(azimuth), torch.from_numpy(heights[each, row]).float(), captions)


# From where most captioned views look: azimuth either side of the front, least and largest elevation, degrees.
FRONT, FRONT_SHARE = (70.0, -5.0, 40.0), 0.75


@dataclass(frozen=True)
class Batch:
    """references [R,4,64,64] and targets [B,4,64,64] in [-1,1]; owner [B]; angles in degrees, azimuth relative to the
    reference's, front relative to the object's front; captions, one a reference; words [B,L], their numbers."""

    references: Tensor
    reference_elevation: Tensor
    targets: Tensor
    azimuth: Tensor
    elevation: Tensor
    owner: Tensor
    front: Tensor
    captions: list[str]
    words: Tensor


def _join(batches: list[Batch], vocabulary: Vocabulary, device: torch.device) -> Batch:
    """One batch on the device, the captions' words numbered."""
    first = np.cumsum([0, *(len(b.captions) for b in batches)])
    captions = [caption for b in batches for caption in b.captions]
    owner = torch.cat([b.owner + int(n) for b, n in zip(batches, first)]).to(device)
    numbers = vocabulary.numbers(captions).to(device)
    names = ("references", "reference_elevation", "targets", "azimuth", "elevation", "front")
    joined = {name: torch.cat([getattr(b, name) for b in batches]).to(device) for name in names}
    return Batch(**joined, owner=owner, captions=captions, words=numbers[owner])


def draw_batch(
    views: Views,
    references: int,
    targets: int,
    random: np.random.Generator,
    augment: bool = True,
    front_share: float = 0.0,
) -> Batch:
    """Draw objects, a reference view of each (elevation -15..45 where there is one) and other views as targets.

    Augmentation: mirrored pictures with mirrored azimuths; colour channels permuted for a third of the objects.

    Args:
        front_share: of the references, those that are from about the front where there is such a view.
    """
    per_object = views.azimuth.shape[1]
    if targets >= per_object:
        raise ValueError(
            f"{targets} targets and a reference need {targets + 1} views an object, there are {per_object}"
        )
    objects = random.integers(0, len(views.index), references)
    rows = np.stack([random.permutation(per_object) for _ in objects])
    # The first usable view of each shuffled row becomes the reference; where none is usable, simply the first.
    heights = np.take_along_axis(views.elevation[objects], rows, axis=1)
    good = ((heights > -15) & (heights < 45)).astype(np.int64)
    if front_share:
        front = (np.take_along_axis(views.azimuth[objects], rows, axis=1) + 180) % 360 - 180
        good += good * (np.abs(front) <= FRONT[0]) * (random.random((references, 1)) < front_share)
    at = good.argmax(axis=1)
    first = np.arange(references)
    ref_row = rows[first, at]
    rows[first, at] = rows[:, 0]
    rows = rows[:, 1 : targets + 1]
    owner = np.repeat(first, targets)
    which = (objects[owner], rows.reshape(-1))
    ref, tgt = _to_signed(views.rgba[objects, ref_row]), _to_signed(views.rgba[which])
    relative = (views.azimuth[which] - views.azimuth[objects, ref_row][owner] + 180) % 360 - 180
    front = views.azimuth[which].copy()
    ref_elevation, elevation = views.elevation[objects, ref_row], views.elevation[which]
    captions = views.caption[objects].tolist()
    if augment:
        for r in range(references):
            if random.random() < 0.5:
                ref[r] = ref[r].flip(-1)
                tgt[owner == r] = tgt[owner == r].flip(-1)
                relative[owner == r] *= -1
                front[owner == r] *= -1
            if random.random() < 1 / 3:
                order = [*random.permutation(3), 3]
                ref[r] = ref[r][order]
                tgt[owner == r] = tgt[owner == r][:, order]
                captions[r] = without_colours(captions[r])
    angles = [torch.from_numpy(a.astype(np.float32)) for a in (ref_elevation, relative, elevation, front)]
    nothing = torch.zeros(len(owner), 0, dtype=torch.int64)
    return Batch(ref, angles[0], tgt, angles[1], angles[2], torch.from_numpy(owner), angles[3], captions, nothing)


def _to_signed(pictures: np.ndarray) -> Tensor:
    """uint8 [N,64,64,4] -> float [N,4,64,64] in [-1,1]."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def evaluate(
    prior: EmbeddedPrior, views: Views, seed: int = 0, objects: int = 48, targets: int = 2
) -> dict[str, float]:
    """The training gates on held-out objects.

    Returns: draft_psnr, sample_psnr, copy_psnr (on white, dB, elevation-limited as the shards are), sample_iou,
    copy_iou, v_high (v error at t = 0.9), wrong_pose (that with the azimuth turned by 90 degrees over the right one's),
    caption (that without any condition over that with the caption alone).
    """
    random = np.random.default_rng(seed)
    model = prior.network
    batch = _join([draw_batch(views, objects, targets, random, augment=False)], prior.vocabulary, prior.device)
    encoded = model.encode(batch.references, batch.reference_elevation)
    noise = torch.from_numpy(random.standard_normal(batch.targets.shape, np.float32)).to(prior.device)
    t = torch.full((len(batch.owner),), 0.9, device=prior.device)
    cos, sin = math.cos(0.9 * math.pi / 2), math.sin(0.9 * math.pi / 2)

    def v_error(told: Told) -> float:
        v = model.denoise(cos * batch.targets + sin * noise, t, told)
        return float((v - (cos * noise - sin * batch.targets)).square().mean())

    picture, told = noise, _tell(model, encoded, batch)
    right, turned = v_error(told), v_error(_tell(model, encoded, batch, turn=90.0))
    alone = replace(told, keep=torch.zeros_like(told.keep))  # without the picture
    caption, nothing = v_error(replace(alone, keep_caption=torch.ones_like(told.keep))), v_error(alone)
    times = torch.linspace(1, 0, 21, device=prior.device)
    for now, then in pairwise(times):
        c, s = torch.cos(now * math.pi / 2), torch.sin(now * math.pi / 2)
        v = model.denoise(picture, now.expand(len(batch.owner)), told)
        clean, eps = (c * picture - s * v).clamp(-1, 1), s * picture + c * v
        picture = torch.cos(then * math.pi / 2) * clean + torch.sin(then * math.pi / 2) * eps
    truth = batch.targets * 0.5 + 0.5
    copy = (batch.references * 0.5 + 0.5)[batch.owner]
    figures = {"wrong_pose": turned / right, "v_high": right, "caption": nothing / caption}
    for name, guess in (("draft", told.draft), ("sample", picture * 0.5 + 0.5), ("copy", copy)):
        figures |= {f"{name}_{k}": v for k, v in _compare(guess, truth).items()}
    return figures


def _tell(model: PriorNetwork, encoded: Encoded, batch: Batch, turn: float = 0.0) -> Told:
    """All of the targets told with the pictures and no caption, the azimuth off by `turn` degrees."""
    keep, azimuth, front = torch.ones_like(batch.azimuth), batch.azimuth + turn, batch.front + turn
    return model.tell(encoded, batch.owner, azimuth, batch.elevation, keep, batch.words, 0 * keep, front)


def _compare(guess: Tensor, truth: Tensor) -> dict[str, float]:
    """Mean PSNR (dB) on white and IoU of alpha > 0.5, of premultiplied RGBA [B,4,H,W] in [0,1]."""
    on_white = [(x[:, :3] + 1 - x[:, 3:]).clamp(0, 1) for x in (guess, truth)]
    mse = (on_white[0] - on_white[1]).square().mean(dim=(1, 2, 3)).clamp_min(1e-8)
    a, b = guess[:, 3] > 0.5, truth[:, 3] > 0.5
    iou = (a & b).sum(dim=(1, 2)) / (a | b).sum(dim=(1, 2)).clamp_min(1)
    return {"psnr": float((-10 * mse.log10()).mean()), "iou": float(iou.mean())}
