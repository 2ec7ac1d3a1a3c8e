"""Photos with known cameras become Gaussians: 3D Gaussian splatting (Kerbl et al., SIGGRAPH 2023).

    start     at the points that structure from motion saw, or at random
    train     one photo a step: draw it, 0.8 L1 + 0.2 D-SSIM, Adam; colours rise from degree 0 to 3, pictures from a
              quarter to their full size, density control adds and removes Gaussians
    judge     on the photos that were held out

Departures from the paper are listed with their reasons in docs/reconstruction.md; each has a number in `Config`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gaussmith.accelerator import Glance, enough_memory, onto
from gaussmith.density import adc, mcmc
from gaussmith.density.base import DensityControl
from gaussmith.density.ops import repair
from gaussmith.events import OnEvent, StageFinished, StageStarted, Step, UserError, ignore, timed
from gaussmith.gaussians import Gaussians
from gaussmith.losses import photometric
from gaussmith.photos import Scene, View
from gaussmith.render.splat import rasterize
from gaussmith.train import checkpoint
from gaussmith.train.adam import Adam, Storage
from gaussmith.train.judge import figures, installed_lpips, some
from gaussmith.train.pictures import SMALLEST_SIDE, allowed, background, held_out, pinned, shown_pixels, target
from gaussmith.train.reconstruction import describe, save_reconstruction
from gaussmith.train.schedules import log_lerp, staged
from gaussmith.train.start import FEWEST_POINTS, initial_gaussians

Strategy = Literal["adc", "mcmc"]
STRATEGIES: tuple[Strategy, ...] = ("adc", "mcmc")
STORAGES: tuple[Storage, ...] = ("float32", "bfloat16")
OnState = Callable[[int, Gaussians], object]


@dataclass(frozen=True)
class Config:
    """Numbers of the recipe; the paper's unless a line says otherwise.

    Attributes:
        seed: of everything random.
        steps: of training, one photo each (paper: 30,000, and 7,000 for its quick figures).
        strategy: density control, "adc" (the paper's) or "mcmc" (Kheradmand et al. 2024).
        max_gaussians: bound for memory and time (ours; the paper has none).
        pixels_per_gaussian: and no more Gaussians than one to so many training pixels that show the scene (ours): a
            Gaussian has 59 numbers, and what the photos do not fix turns to specks in other views.
        points: random Gaussians to start from where the scene has no points (ours: the paper's 100,000 are for a GPU).
        sh_degree, sh_every: highest degree of the colours, and the steps after which each further one begins.
        most_pace: the rates below are for the paper's 30,000 steps; shorter runs multiply all but the opacity's by
            sqrt(30,000 / steps), at most by this (ours).
        position_rate: first and last rate of the positions, times the extent of the scene.
        color_rate, band_share: Adam's rate of the colours, and its factor for all bands but the lowest.
        opacity_rate, scale_rate, rotation_rate: Adam's rates.
        warmup: (from step, divisor of the pictures' sides).
        dssim: share of D-SSIM in the loss.
        antialiased: draw with the 2D filter of Mip-Splatting (not the paper's).
        eval_every: every such view is held out, 0 for none.
        adc, mcmc: of the density controls.
        storage: type of Adam's running means: "bfloat16" takes 236 bytes a Gaussian less of 944 (ours).
        save_every: steps between checkpoints.
    """

    seed: int = 0
    steps: int = 7000
    strategy: Strategy = "adc"
    max_gaussians: int = 150_000
    pixels_per_gaussian: float = 50.0
    points: int = 20_000
    sh_degree: int = 3
    sh_every: int = 1000
    most_pace: float = 4.0
    position_rate: tuple[float, float] = (1.6e-4, 1.6e-6)
    color_rate: float = 2.5e-3
    band_share: float = 1 / 20
    opacity_rate: float = 0.05
    scale_rate: float = 5e-3
    rotation_rate: float = 1e-3
    warmup: tuple[tuple[int, int], ...] = ((0, 4), (250, 2), (500, 1))
    dssim: float = 0.2
    antialiased: bool = False
    eval_every: int = 8
    storage: Storage = "float32"
    adc: adc.Config = field(default_factory=adc.Config)
    mcmc: mcmc.Config = field(default_factory=mcmc.Config)
    save_every: int = 500

    @property
    def pace(self) -> float:
        """What the rates are multiplied by."""
        return min(self.most_pace, max(1.0, (_PAPER_STEPS / self.steps) ** 0.5))


_USUAL_STEPS, _PAPER_STEPS = 7000, 30_000


def with_steps(config: Config, steps: int) -> Config:
    """The settings for another number of steps: what is scheduled in steps shrinks along with runs shorter than 7,000;
    longer ones keep the paper's numbers."""
    share = min(1.0, steps / _USUAL_STEPS) / min(1.0, config.steps / _USUAL_STEPS)
    warmup = tuple((round(begin * share), divisor) for begin, divisor in config.warmup)
    return replace(config, steps=steps, sh_every=max(1, round(config.sh_every * share)), warmup=warmup)


PRESETS: dict[str, Config] = {
    "draft": with_steps(Config(max_gaussians=60_000), 2000),
    "standard": Config(),
    "fine": with_steps(Config(max_gaussians=500_000), 30_000),
}


@dataclass
class Result:
    """What a run made: the Gaussians in the scene's frame, the scene, and the report."""

    gaussians: Gaussians
    scene: Scene
    config: Config
    report: dict[str, Any]

    def save(self, folder: str | Path, frame: Literal["scene", "input"] = "scene") -> list[Path]:
        """Write scene.ply, cameras.json, preview.png, a film and report.json; see `save_reconstruction`."""
        return save_reconstruction(
            folder, self.gaussians, self.scene, self.report, frame=frame,
            shown=held_out(self.scene.views, self.config.eval_every)[1], antialiased=self.config.antialiased,
        )  # fmt: skip


@dataclass(frozen=True)
class _Job:
    """What every stage needs."""

    config: Config
    scene: Scene
    views: list[View]
    on_event: OnEvent
    on_state: OnState | None
    store: Callable[..., None]
    facts: dict[str, Any]


def run(
    config: Config,
    scene: Scene,
    on_event: OnEvent = ignore,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
    on_state: OnState | None = None,
) -> Result:
    """Train Gaussians on the views of a scene.

    Args:
        scene: its points' device is where the work is done.
        checkpoint_dir: where checkpoint.safetensors is kept while the work goes on; None keeps nothing.
        resume: go on from that checkpoint; the result has the same bytes as that of an uninterrupted run.
        on_state: called with (step, Gaussians) after every step, for a viewer; must not change them.

    Raises:
        UserError: the scene cannot be trained on, or the checkpoint is of other settings or another scene.
    """
    views, unseen = held_out(scene.views, config.eval_every)
    _check(config, views)
    settings = {"config": asdict(config), "scene": describe(scene)}
    path = None if checkpoint_dir is None else checkpoint_dir / "checkpoint.safetensors"
    saved = checkpoint.reopen(path, settings, on_event) if resume else None
    facts: dict[str, Any] = saved.meta["facts"] if saved else {"seconds": {}, "density": {}, "bad_gradients": 0}

    def store(step: int, tensors: dict[str, Tensor], generator: torch.Generator) -> None:
        if path is not None:
            meta = {"step": step, "facts": facts}
            checkpoint.save(path, tensors, meta, config=settings, generators={"main": generator})

    job = _Job(config, scene, views, on_event, on_state, store, facts)
    width, height = (max(getattr(view.camera, side) for view in scene.views) for side in ("width", "height"))
    sizes = f"with up to {config.max_gaussians:,} Gaussians and {len(views)} photos of up to {width}x{height} pixels"
    with enough_memory(sizes, "lower --max-gaussians or --preset, raise --downscale, or add --storage bfloat16"):
        gaussians = train(job, saved)
        with timed(on_event, "judge", seconds=facts["seconds"]):
            lpips = installed_lpips()
            seen = figures(gaussians, some(views), config.antialiased, lpips)
            kept = figures(gaussians, unseen, config.antialiased, lpips)
    report = {
        "settings": asdict(config),
        "seed": config.seed,
        "source": scene.source,
        "photos": len(scene.views),
        "points": len(scene.points),
        "train": seen,
        "held_out": kept,
        "seconds": {stage: round(spent, 2) for stage, spent in facts["seconds"].items()},
        "gaussians": {"count": len(gaussians), **facts["density"], "bad_gradients": facts["bad_gradients"]},
        "density": facts.get("chosen", {}),
        "frame": {"to_input": scene.to_input.to_dict(), "extent": scene.extent, "inward": scene.inward},
    }
    return Result(gaussians, scene, config, report)


def train(job: _Job, saved: checkpoint.Checkpoint | None = None) -> Gaussians:
    """Sections 4 to 6 of the paper: the optimisation."""
    config, scene, views, device = job.config, job.scene, job.views, job.scene.points.device
    generator = torch.Generator().manual_seed(config.seed)
    most = min(config.max_gaussians, max(FEWEST_POINTS, int(shown_pixels(views) / config.pixels_per_gaussian)))
    gaussians = initial_gaussians(scene, config.points, most, generator).to(device)
    optimizer, control = Adam(_rates(config), storage=config.storage), _control(config, scene, most)
    order, first = torch.zeros(0), 0
    if saved:
        gaussians = Gaussians(**checkpoint.section("gaussians", saved.tensors)).to(device)
        optimizer.restore(_on(device, checkpoint.section("adam", saved.tensors)))
        control.restore(_on(device, checkpoint.section("density", saved.tensors)))
        order, generator, first = saved.tensors["order"], saved.generators["main"], saved.meta["step"]
    glance, views = Glance(), [pinned(view, device) for view in views]
    spent = job.facts["seconds"].get("train", 0.0)
    started = time.monotonic()
    job.on_event(StageStarted("train", config.steps))

    for step in range(first + 1, config.steps + 1):
        optimizer.rates["means"] = config.pace * scene.extent * log_lerp(*config.position_rate, step / config.steps)
        gaussians = _with_bands(gaussians, optimizer, min(config.sh_degree, (step - 1) // config.sh_every), config)
        for tensor in gaussians.tensors().values():
            tensor.requires_grad_()

        # Every photo once before any comes again.
        turn = (step - 1) % len(views)
        if turn == 0:
            order = torch.randperm(len(views), generator=generator)
        view = views[int(order[turn])]
        photo = target(view, allowed(view, staged(config.warmup, step - 1)), device)
        behind = onto(background(view, generator), device)
        render = rasterize(
            gaussians, photo.camera, behind, geometry=False, antialiased=config.antialiased,
            absolute=control.uses_absolute,
        )  # fmt: skip
        loss = photometric(render.rgb, photo.over(behind), config.dssim)
        penalty = control.penalty(gaussians)
        (loss if penalty is None else loss + penalty).backward()

        moved = render.absolute2d if control.uses_absolute else render.means2d
        if moved is not None and moved.grad is not None:
            control.observe(step, moved.grad, render.radii, photo.camera.width, photo.camera.height)
        optimizer.step(gaussians.tensors())
        gaussians = gaussians.detach()
        change = control.after(step, gaussians, optimizer.rates, generator)
        if change is not None:
            gaussians = change.gaussians
            if change.source is not None:
                optimizer.rows(change.source)
            for name in change.forget:
                optimizer.forget(name)
            for name, count in change.counts.items():
                job.facts["density"][name] = job.facts["density"].get(name, 0) + count

        job.on_event(Step("train", step, {"loss": glance.at(step, loss), "gaussians": len(gaussians)}))
        job.facts["seconds"]["train"] = spent + time.monotonic() - started
        if job.on_state is not None:
            job.on_state(step, gaussians)
        if step % config.save_every == 0 or step == config.steps:
            job.facts["bad_gradients"] += optimizer.bad_rows()
            state = checkpoint.with_prefix("gaussians", gaussians.tensors()) | {"order": order}
            state |= checkpoint.with_prefix("adam", optimizer.state())
            state |= checkpoint.with_prefix("density", control.state())
            job.store(step, state, generator)
    job.facts["chosen"] = dict(control.chosen())
    job.on_event(StageFinished("train", job.facts["seconds"].get("train", 0.0), {"gaussians": len(gaussians)}))
    return _finished(_with_bands(gaussians, optimizer, config.sh_degree, config))


def _rates(config: Config) -> dict[str, float]:
    """Adam's rates; that of the positions is set at every step."""
    pace = config.pace
    return {
        "means": 0.0, "sh": pace * config.color_rate, "opacity_logits": config.opacity_rate,
        "log_scales": pace * config.scale_rate, "quats": pace * config.rotation_rate,
    }  # fmt: skip


def _control(config: Config, scene: Scene, most: int) -> DensityControl:
    cameras = torch.cat([view.camera.position for view in scene.views])
    if config.strategy == "mcmc":
        return mcmc.MCMC(replace(config.mcmc, max_count=most), scene.extent, config.steps, cameras)
    return adc.ADC(replace(config.adc, max_count=most), scene.extent, config.steps, cameras)


def _with_bands(gaussians: Gaussians, optimizer: Adam, degree: int, config: Config) -> Gaussians:
    """The set with colours of at least that degree: new bands are zero and learn at their own rate."""
    bands = max((degree + 1) ** 2, gaussians.sh.shape[1])
    if len(optimizer.shares.get("sh", ())) != bands:
        optimizer.shares["sh"] = gaussians.sh.new_full((bands, 1), config.band_share)
        optimizer.shares["sh"][0] = 1
    if bands == gaussians.sh.shape[1]:
        return gaussians
    optimizer.widen("sh", bands)
    sh = torch.nn.functional.pad(gaussians.sh, (0, 0, 0, bands - gaussians.sh.shape[1]))
    return Gaussians(**{**gaussians.tensors(), "sh": sh})


def _finished(gaussians: Gaussians) -> Gaussians:
    """Finite, and without those that are never drawn, for their alpha is nowhere 1/255."""
    fixed = repair(gaussians).gaussians
    return fixed.select(fixed.opacities >= 1 / 255)


def _check(config: Config, views: list[View]) -> None:
    if config.strategy not in STRATEGIES:
        raise UserError(f"there is no strategy {config.strategy!r}; choose one of {', '.join(STRATEGIES)}")
    if len(views) < 2:
        raise UserError("a scene needs at least two photos to learn from; take more, from all around")
    for view in views:
        if min(view.camera.width, view.camera.height) < SMALLEST_SIDE:
            raise UserError(
                f"{view.name} is {view.camera.width}x{view.camera.height} pixels, smaller than {SMALLEST_SIDE}; give "
                "larger photos or a smaller --downscale"
            )


def _on(device: torch.device, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.to(device) for name, tensor in tensors.items()}
