"""What a training of the embedded prior shows: its best weights, loss.png, samples.png and MODEL_CARD.md."""

from __future__ import annotations

import importlib.util
import io
import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaussmith import __version__
from gaussmith.camera import PRIOR_FOVY
from gaussmith.diffusion.prompts import Prompts
from gaussmith.diffusion.schedule import ddim, even_times
from gaussmith.events import OnEvent, Warned
from gaussmith.io.atomic import write_bytes
from gaussmith.io.image import save_image
from gaussmith.metrics.novel_views import on_white
from gaussmith.preview import contact_sheet
from gaussmith.priors.embedded.prior import Condition, EmbeddedPrior, save_weights
from gaussmith.synth.views import Views
from gaussmith.train.prior_log import CHOSEN_BY, Record, TrainingLog
from gaussmith.views import OrbitView

OBJECTS, CAPTIONS, STEPS = 6, 8, 20
COLUMNS, SCALE, LETTERS = 4, 3, 34  # of samples.png: pictures a row, screen pixels a pixel, letters of a label

# Gates by what they are called on paper.
FIGURES = {
    "sample_psnr": "sample from pure noise (20 DDIM steps, no guidance), PSNR on white, dB",
    "sample_iou": "sample, IoU of alpha",
    "draft_psnr": "draft (the rendered volume, before denoising), PSNR on white, dB",
    "draft_iou": "draft, IoU of alpha",
    "copy_psnr": "repeat the reference, PSNR on white, dB",
    "copy_iou": "repeat the reference, IoU of alpha",
    "v_high": "v error at t = 0.9",
    "wrong_pose": "that with the azimuth off by 90 degrees, over the right one's",
    "caption": "that without any condition, over that with the caption alone",
}


class PriorReport:
    """Keeps everything in the output folder up to date as the gates come in."""

    def __init__(
        self, out: Path, log: TrainingLog, parts: dict[str, Views], settings: dict[str, Any], on_event: OnEvent
    ) -> None:
        """parts: the views by the name of their folder, "validation" among them. settings: told in the model card."""
        self.out, self.log, self.parts, self.settings = out, log, parts, settings
        self.plots = importlib.util.find_spec("matplotlib") is not None
        if not self.plots:
            on_event(Warned("loss.png needs matplotlib and is left out: pip install 'gaussmith[plot]'"))

    def gates(self, step: int, prior: EmbeddedPrior, figures: dict[str, float]) -> None:
        """Write the gates down, save the weights, and draw and describe what they can do."""
        best = self.log.gates(step, figures)
        for name in ["weights", *(["best"] if best else [])]:
            save_weights(prior, self.out / f"{name}.safetensors", {"step": str(step)})
        if self.plots:
            write_bytes(self.out / "loss.png", plot(self.log))
        save_image(self.out / "samples.png", samples(prior, self.parts["validation"]))
        write_bytes(self.out / "MODEL_CARD.md", model_card(prior, self.log, self.parts, self.settings).encode())


def plot(log: TrainingLog) -> bytes:
    """A PNG: losses and gates, by samples on the left, by hours on the right."""
    # Without pyplot: no global state, no window system.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9), layout="constrained")
    rows = (
        ("mean loss", "loss", ("loss", "draft", "v")),
        ("PSNR on held-out objects, dB", "gates", ("sample_psnr", "draft_psnr", "copy_psnr")),
        ("ratio of v errors", "gates", ("wrong_pose", "caption")),
    )
    axes = figure.subplots(len(rows), 2, sharex="col", sharey="row", squeeze=False)
    for (title, kind, names), pair in zip(rows, axes):
        records = log.of_kind(kind)
        for axis, (by, unit) in zip(pair, (("samples", 1.0), ("seconds", 3600.0))):
            for name in names:
                points = [(r[by] / unit, r[name]) for r in records if name in r]
                if points:
                    axis.plot(*zip(*points), label=name.replace("_", " "), marker="." if kind == "gates" else "")
            axis.grid(alpha=0.3)
        pair[0].set_ylabel(title)
        if pair[0].lines:
            pair[0].legend()
        if kind == "loss" and records:
            pair[0].set_yscale("log")
    axes[-1, 0].set_xlabel("samples (target views)")
    axes[-1, 1].set_xlabel("hours of training and gates")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


@torch.no_grad()
def samples(prior: EmbeddedPrior, held_out: Views, seed: int = 0) -> Tensor:
    """A sheet [H,W,3]: held-out objects, a row each: reference, truth, draft, sample; then captions alone, from the
    front. Guided by the prior's own scale; the same objects, captions and noise for the same views and seed."""
    random = np.random.default_rng(seed)
    noise = torch.Generator().manual_seed(seed)
    pictures: list[Tensor] = []
    labels: list[str] = []
    order = random.permutation(len(held_out.index))
    for row in order[:OBJECTS].tolist():
        usable = (held_out.elevation[row] > -15) & (held_out.elevation[row] < 45)
        first = int(usable.argmax())
        other = int((first + random.integers(1, held_out.azimuth.shape[1])) % held_out.azimuth.shape[1])
        reference, truth = (torch.from_numpy(held_out.rgba[row, i]).float() / 255 for i in (first, other))
        turn = (float(held_out.azimuth[row, other] - held_out.azimuth[row, first]) + 180) % 360 - 180
        condition = prior.condition(reference.permute(2, 0, 1), float(held_out.elevation[row, first]))
        view = _view(turn, float(held_out.elevation[row, other]))
        pictures += [reference, truth, _picture(prior.draft(view, condition)), _sample(prior, condition, view, noise)]
        labels += [str(held_out.caption[row]), f"truth, turned {turn:+.0f}°", "draft", "sample"]
    known = (str(held_out.caption[row]) for row in order)
    for caption in list(dict.fromkeys(c for c in known if prior.vocabulary.numbers([c]).any()))[:CAPTIONS]:
        pictures.append(_sample(prior, prior.text_condition(Prompts(caption)), _view(0.0, 15.0), noise))
        labels.append(caption)
    large = [on_white(p).repeat_interleave(SCALE, 0).repeat_interleave(SCALE, 1) for p in pictures]
    return contact_sheet(large, [textwrap.shorten(t, LETTERS, placeholder="…") for t in labels], columns=COLUMNS)


def _view(azimuth: float, elevation: float) -> OrbitView:
    return OrbitView(torch.tensor([azimuth]), torch.tensor([elevation]), fovy=PRIOR_FOVY, size=EmbeddedPrior.size)


def _sample(prior: EmbeddedPrior, condition: Condition, view: OrbitView, generator: torch.Generator) -> Tensor:
    noise = torch.randn((1, 4, prior.size, prior.size), generator=generator).to(prior.device)
    least = prior.least_time if condition.encoded is None else prior.least_time_of_reference
    times = even_times(1.0, STEPS, least)
    clean = ddim(lambda x, t: prior.predict(x, t, view, condition), noise, times, prior.schedule)
    return _picture(prior.decode(clean))


def _picture(batch: Tensor) -> Tensor:
    """[H,W,4] the first of [B,4,H,W]."""
    return batch[0].permute(1, 2, 0).cpu()


def model_card(prior: EmbeddedPrior, log: TrainingLog, parts: dict[str, Views], settings: dict[str, Any]) -> str:
    """What these weights are, in Markdown: nothing that the training does not know."""
    million = sum(p.numel() for p in prior.network.parameters()) / 1e6
    last = log.of_kind("gates")[-1]
    best = [r for r in log.of_kind("gates") if r.get("best")][-1:] or [last]
    data = "\n".join(
        f"| {name} | {len(v.index):,} | {v.azimuth.size:,} | {len(set(v.caption.tolist())):,} |"
        for name, v in parts.items()
    )
    starts = list(dict.fromkeys(r["began_from"] for r in log.of_kind("run") if "began_from" in r))
    devices = list(dict.fromkeys(r["device"] for r in log.of_kind("run")))
    return _CARD.format(
        parameters=f"{million:.1f} M",
        size=prior.size,
        words=len(prior.vocabulary),
        version=__version__,
        data=data,
        start=f"It began from {' and '.join(starts)}, whose own training is not counted here. " if starts else "",
        samples=f"{last['samples']:,}",
        hours=f"{last['seconds'] / 3600:.2f}",
        devices="; ".join(devices) or "a device that the log does not name",
        settings=json.dumps({**settings, "network": asdict(prior.network.config)}, indent=1, default=str),
        figures=_figures(last, best[0]),
        chosen=FIGURES[CHOSEN_BY],
        domain="The weights hold statistics of the training pictures; reports tell how far a picture is from them."
        if prior.domain is not None
        else "The weights do not hold statistics of the training pictures.",
    )


def _figures(last: Record, best: Record) -> str:
    rows = [
        f"| {text} | {last[name]:.3f} | {best[name]:.3f} |"
        for name, text in FIGURES.items()
        if name in last and name in best
    ]
    head = f"| | weights.safetensors, step {last['step']:,} | best.safetensors, step {best['step']:,} |"
    return "\n".join([head, "| --- | --- | --- |", *rows])


_CARD = """# An embedded prior of gaussmith

**What it is.** A diffusion model of single objects: a picture of one, or a caption, and a camera in, a {size} x {size}
RGBA view out. {parameters} parameters, stored as fp16; it reads {words} words. Written by `gaussmith train-prior` of
gaussmith {version}.

**What it learned from.** Views rendered unlit; "validation" took no part in learning.

| part | objects | views | captions |
| --- | --- | --- | --- |
{data}

**Compute.** {start}{samples} target views in {hours} hours, gates included, on: {devices}.

**Figures** on validation objects (`gate_objects` of them, see below; two views of each, at any turn):

{figures}

best.safetensors has the best of all gates in this: {chosen}.

**Limits.** Single objects like those that it learned from; every picture passes through {size} pixels, so that small
features and lettering are lost; it knows no lighting, and words that it does not know count for nothing. {domain}

**Licence.** The code that made it is Apache-2.0. What may be done with the weights is for their trainer to say, by the
licence of the objects they learned from, which this card does not know; the procedural objects are gaussmith's own.

<details><summary>Settings</summary>

```json
{settings}
```

</details>
"""
