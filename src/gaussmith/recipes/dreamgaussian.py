"""One picture becomes a textured mesh: DreamGaussian (Tang et al. 2023, arXiv 2309.16653).

    stage 1   Gaussians from a grey ball, by score distillation from novel views and the error of the reference view,
              cloned, split and pruned as they go
    mesh      iso-surface of their density, cleaned, decimated, watertight
    texture   unwrapped, coloured from 26 renders of the Gaussians
    stage 2   the texture refined: a view is rendered, noised a little, denoised by the prior, and the texture moved
              towards the result; the reference view by its plain error

Departures from the paper are listed with their reasons in docs/method.md; each has a number in `Config`.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.asset import save_asset
from gaussmith.camera import DEFAULT_FOVY, PRIOR_FOVY, Camera, orbit
from gaussmith.density import dreamgaussian as density
from gaussmith.diffusion.distill import annealed_timestep, denoise_at_strength, sds_gradient, sds_loss, sds_weight
from gaussmith.diffusion.schedule import add_noise, eps_from_x0
from gaussmith.events import OnEvent, StageFinished, StageStarted, Step, Warned, ignore
from gaussmith.gaussians import Gaussians, in_ball
from gaussmith.mesh import Mesh
from gaussmith.metrics import iou, psnr
from gaussmith.picture import Prepared
from gaussmith.priors.base import Prior, crop_to_prior
from gaussmith.render.mesh import render_mesh
from gaussmith.render.splat import rasterize
from gaussmith.surface import check, extract_mesh
from gaussmith.texture import refine
from gaussmith.texture.atlas import atlas_fragments
from gaussmith.texture.bake_splat import texture_from_gaussians
from gaussmith.texture.seams import equalise_seams, seam_error
from gaussmith.train import checkpoint
from gaussmith.train.adam import Adam
from gaussmith.train.schedules import log_lerp, staged
from gaussmith.views import elevation_range, random_orbit, stratified_orbit


@dataclass(frozen=True)
class Config:
    """Numbers of the recipe; the paper's unless a line says otherwise.

    Attributes:
        seed: of everything random.
        steps: of stage 1 (paper: 500). views: novel views a step (paper: 1; ours are small, and two see two sides).
        points, ball: initial Gaussians and the radius of their ball. max_gaussians: bound for memory (ours).
        position_rate: first and last rate of the positions, times the paper's spatial scale of 10.
        color_rate, opacity_rate, scale_rate, rotation_rate: Adam's rates.
        sizes: (from progress, picture side) of the novel renders, in multiples of the prior's own side.
        t_max, t_min: first and last bound of the annealed time (paper: 0.98 and 0.02; below 0.5 a 64-pixel prior only
            repeats the noise that it is shown). guidance_scale: None for the prior's own.
        sds_weight: of the distillation loss, which is summed over the prior's pixels.
        reference_size: side of the reference render, 49.1-degree frame (ours: 384 puts 256 pixels on the prior's crop).
        reference_rgb, reference_alpha: weights of the reference errors (means), times the progress (paper: 10,000 and
            1,000; a heavier alpha keeps thin parts).
        densify: density control.
        resolution, smoothing, min_component, max_faces: of the surface, see `extract_mesh` (paper: parts under 0.2 of
            the diameter are dropped; real ones that hang by a thread are over 0.1). texture_size: side of the texture.
        refine_steps, refine_rate: of stage 2. refine_size: side of its renders, in multiples of the prior's.
        refine_strength: first and last noise time of stage 2 (paper: t 180 to 40 of 1,000).
        refine_denoise: first and last number of denoising steps (paper: 10 to 3).
        save_every: steps between checkpoints.
    """

    seed: int = 0
    steps: int = 350
    views: int = 2
    points: int = 5000
    ball: float = 0.5
    max_gaussians: int = 20_000
    position_rate: tuple[float, float] = (1e-2, 2e-4)
    color_rate: float = 0.01
    opacity_rate: float = 0.05
    scale_rate: float = 0.005
    rotation_rate: float = 0.005
    sizes: tuple[tuple[float, int], ...] = ((0.0, 1), (0.3, 2))
    t_max: float = 0.9
    t_min: float = 0.5
    guidance_scale: float | None = None
    sds_weight: float = 1.0
    reference_size: int = 384
    reference_rgb: float = 10_000.0
    reference_alpha: float = 8_000.0
    densify: density.Config = field(default_factory=density.Config)
    resolution: int = 128
    smoothing: int = 10
    min_component: float = 0.1
    max_faces: int = 20_000
    texture_size: int = 1024
    refine_steps: int = 50
    refine_rate: float = 0.5
    refine_size: int = 4
    refine_strength: tuple[float, float] = (0.18, 0.04)
    refine_denoise: tuple[int, int] = (10, 3)
    save_every: int = 100


PRESETS: dict[str, Config] = {
    "draft": Config(steps=170, points=4000, reference_size=256, max_faces=10_000, texture_size=512, refine_steps=10),
    "standard": Config(),
    "fine": Config(
        steps=800, views=4, max_gaussians=60_000, resolution=192, smoothing=15, max_faces=60_000, texture_size=2048
    ),
}


# What density control and the optimiser did over a run, in the report's words.
_COUNTED = ("cloned", "split", "pruned", "mended", "removed", "bad_gradients")


@dataclass
class Result:
    """What a run made: the Gaussians, the textured mesh, the prepared picture and the report."""

    gaussians: Gaussians
    mesh: Mesh
    prepared: Prepared
    elevation: float
    report: dict[str, Any]

    def save(self, folder: str | Path, name: str = "object") -> list[Path]:
        """Write NAME.glb, NAME.ply, preview.png, turntable.mp4 and report.json; see `asset.save_asset`."""
        return save_asset(
            folder, name, gaussians=self.gaussians, mesh=self.mesh, rgba=self.prepared.rgba,
            elevation=self.elevation, report=self.report,
        )  # fmt: skip


@dataclass(frozen=True)
class _Job:
    """What every stage needs."""

    config: Config
    prepared: Prepared
    prior: Prior
    elevation: float
    condition: Any
    on_event: OnEvent
    store: Callable[..., None]
    facts: dict[str, Any]


def run(
    config: Config,
    prepared: Prepared,
    prior: Prior,
    elevation: float = 0.0,
    on_event: OnEvent = ignore,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
) -> Result:
    """The whole pipeline.

    Args:
        prepared: the picture, 49.1-degree frame. elevation: of the camera that took it, degrees in [-80, 80].
        checkpoint_dir: where checkpoint.safetensors is kept while the work goes on; None keeps nothing.
        resume: go on from that checkpoint; the result has the same bytes as that of an uninterrupted run.

    Raises:
        UserError: no surface came out, or the checkpoint is of other settings.
    """
    settings = {"config": asdict(config), "elevation": elevation, "prior": prior.name, "picture": _digest(prepared)}
    path = None if checkpoint_dir is None else checkpoint_dir / "checkpoint.safetensors"

    saved = None
    if resume and path is not None and path.is_file():
        saved = checkpoint.load(path, config=settings)
    elif resume:
        on_event(Warned("There is no checkpoint to resume from; starting from the beginning."))
    # What the report will tell of stages that a resumed run does not repeat.
    facts: dict[str, Any] = saved.meta["facts"] if saved else {"density": dict.fromkeys(_COUNTED, 0), "seconds": {}}
    stage = saved.meta["stage"] if saved else "gaussians"

    def store(stage: str, step: int, tensors: dict[str, Tensor], generator: torch.Generator | None = None) -> None:
        if path is not None:
            meta = {"stage": stage, "step": step, "facts": facts}
            checkpoint.save(path, tensors, meta, config=settings, generators={"main": generator} if generator else None)

    reference = crop_to_prior(_premultiplied(prepared).permute(2, 0, 1))
    condition = prior.condition(reference, elevation)
    job = _Job(config, prepared, prior, elevation, condition, on_event, store, facts)

    if saved and stage != "gaussians":
        gaussians = Gaussians(**checkpoint.section("gaussians", saved.tensors))
    else:
        with _timed(job, "gaussians", config.steps):
            gaussians = distill(job, saved)
        store("mesh", 0, checkpoint.with_prefix("gaussians", gaussians.tensors()))
    if saved and stage == "refine":
        mesh = Mesh(**checkpoint.section("mesh", saved.tensors))  # type: ignore[arg-type]
    else:
        with _timed(job, "mesh"):
            mesh = extract_mesh(
                gaussians,
                resolution=config.resolution,
                max_faces=config.max_faces,
                min_component=config.min_component,
                smoothing=config.smoothing,
                trusted=_silhouette(prepared, elevation),
            )
        with _timed(job, "texture"):
            mesh, facts["coverage"] = texture_from_gaussians(mesh, gaussians, config.texture_size)
        store("refine", 0, _with_mesh(gaussians, mesh))
    with _timed(job, "refine", config.refine_steps):
        mesh = refine_texture(job, gaussians, mesh, saved if stage == "refine" else None)
    assert mesh.albedo is not None
    seams = seam_error(mesh.albedo, mesh)
    report = {
        "settings": asdict(config),
        "seed": config.seed,
        "elevation": elevation,
        "prior": prior.name,
        "seconds": {k: round(v, 2) for k, v in facts["seconds"].items()},
        "picture": prepared.report(),
        "gaussians": {"count": len(gaussians), **facts["density"]},
        "mesh": check(mesh).to_dict(),
        "texture": {
            "size": config.texture_size,
            "coverage": round(facts["coverage"], 4),
            "seam_levels": {"mean": round(seams.mean, 2), "p95": round(seams.p95, 2)},
        },
        "reference": reference_figures(mesh, prepared, elevation),
    }
    return Result(gaussians, mesh, prepared, elevation, report)


def distill(job: _Job, saved: checkpoint.Checkpoint | None = None) -> Gaussians:
    """Stage 1 (section 3.1): Gaussians by score distillation and the reference view."""
    config, prior, counts = job.config, job.prior, job.facts["density"]
    generator = torch.Generator().manual_seed(config.seed)
    gaussians = in_ball(config.points, config.ball, generator)
    rates = {
        "means": config.position_rate[0], "sh": config.color_rate, "opacity_logits": config.opacity_rate,
        "log_scales": config.scale_rate, "quats": config.rotation_rate,
    }  # fmt: skip
    optimizer, first = Adam(rates), 0
    statistics = density.Statistics.zeros(gaussians)
    if saved:
        gaussians = Gaussians(**checkpoint.section("gaussians", saved.tensors))
        optimizer.restore(checkpoint.section("adam", saved.tensors))
        statistics = density.Statistics(**checkpoint.section("statistics", saved.tensors))
        generator, first = saved.generators["main"], saved.meta["step"]

    heights = elevation_range(job.elevation)
    target = _premultiplied(job.prepared).permute(2, 0, 1)[None]
    size = config.reference_size
    target = F.interpolate(target, size=(size, size), mode="area").permute(0, 2, 3, 1)
    reference_camera = orbit(0.0, job.elevation, width=size)
    scale = prior.guidance_scale if config.guidance_scale is None else config.guidance_scale
    sizes = tuple((begin, side * prior.size) for begin, side in config.sizes)
    for step in range(first + 1, config.steps + 1):
        progress = step / config.steps
        optimizer.rates["means"] = log_lerp(*config.position_rate, progress)
        for tensor in gaussians.tensors().values():
            tensor.requires_grad_()

        # Novel views: w(t) (eps_pred - eps) pulls the RGBA renders towards what the prior expects there.
        side = staged(sizes, progress)
        views = stratified_orbit(config.views, generator, heights, fovy=PRIOR_FOVY, size=side)
        novel = rasterize(gaussians, views.camera(), geometry=False)
        latents = prior.encode(torch.cat([novel.rgb, novel.alpha], dim=-1).permute(0, 3, 1, 2).to(prior.device))
        t = torch.full((len(views),), annealed_timestep(step, config.steps, config.t_max, config.t_min))
        level = prior.schedule.level(t)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        noisy = add_noise(latents.detach(), noise, level)
        clean = prior.predict(noisy, t.to(prior.device), views, job.condition, scale)
        gradient = sds_gradient(eps_from_x0(noisy, clean, level), noise, sds_weight(level))
        loss = config.sds_weight * sds_loss(latents, gradient).to(novel.rgb.device)

        # The reference view, growing in weight as the shape settles.
        known = rasterize(gaussians, reference_camera, geometry=False)
        # On white and on black at once: on white alone, a hole in a white wall would cost nothing.
        color, alpha = known.rgb - target[..., :3], known.alpha - target[..., 3:]
        rgb_error = 0.5 * (color.square().mean() + (color - alpha).square().mean())
        loss = loss + progress * (config.reference_rgb * rgb_error + config.reference_alpha * alpha.square().mean())
        loss.backward()

        for render, width, share in ((novel, side, len(views)), (known, size, 1)):
            if render.means2d.grad is not None:
                statistics = density.accumulate(statistics, render.means2d.grad, render.radii, width, width, share)
        counts["bad_gradients"] += optimizer.step(gaussians.tensors())
        gaussians = gaussians.detach()
        if density.due(step, config.steps, config.densify):
            control = replace(config.densify, max_count=config.max_gaussians)
            done = density.densify_and_prune(gaussians, statistics, generator, control)
            gaussians = done.gaussians
            optimizer.rows(done.source)
            statistics = density.Statistics.zeros(gaussians)
            for key in _COUNTED[:-1]:
                counts[key] += getattr(done, key)
        job.on_event(Step("gaussians", step, {"loss": loss.item(), "gaussians": len(gaussians)}))
        if step % config.save_every == 0 and step < config.steps:
            state = checkpoint.with_prefix("gaussians", gaussians.tensors())
            state |= checkpoint.with_prefix("adam", optimizer.state())
            state |= checkpoint.with_prefix("statistics", vars(statistics))
            job.store("gaussians", step, state, generator)
    gaussians, _ = density.prune_faint(gaussians.select(gaussians.finite()), config.densify)
    return gaussians


def refine_texture(job: _Job, gaussians: Gaussians, mesh: Mesh, saved: checkpoint.Checkpoint | None = None) -> Mesh:
    """Stage 2 (section 3.3): the texture towards denoised renders of itself, and the reference picture; fixed shape."""
    config, prior = job.config, job.prior
    assert mesh.albedo is not None
    texture, first = mesh.albedo, 0
    generator = torch.Generator().manual_seed(config.seed + 1)
    if saved and saved.meta["step"]:
        generator, first = saved.generators["main"], saved.meta["step"]
    heights = elevation_range(job.elevation)
    scale = prior.guidance_scale if config.guidance_scale is None else config.guidance_scale
    side = config.refine_size * prior.size
    reference = _premultiplied(job.prepared)[None]
    known = refine.View(mesh, orbit(0.0, job.elevation, width=reference.shape[1]))
    for step in range(first + 1, config.refine_steps + 1):
        progress = step / config.refine_steps
        strength = config.refine_strength[0] + (config.refine_strength[1] - config.refine_strength[0]) * progress
        steps = round(config.refine_denoise[0] + (config.refine_denoise[1] - config.refine_denoise[0]) * progress)
        views = random_orbit(1, generator, heights, fovy=PRIOR_FOVY, size=side)
        seen = refine.View(mesh, views.camera())
        latents = prior.encode(seen.render(texture).permute(0, 3, 1, 2).to(prior.device))

        def denoise(x: Tensor, t: Tensor, views: Any = views) -> Tensor:
            return prior.predict(x, t, views, job.condition, scale)

        clean = denoise_at_strength(latents, strength, steps, denoise, prior.schedule, generator)
        # Only what the prior's resolution shows is compared: detail finer than its pixels is not its to judge.
        change = (prior.decode(clean) - prior.decode(latents.detach())).cpu()
        change = F.interpolate(change, size=(side, side), mode="bilinear", align_corners=False).permute(0, 2, 3, 1)
        # Where the prior sees background or a border, a colour difference is one of shape, and shape is fixed.
        inside = F.interpolate(latents.detach()[:, 3:].cpu() * 0.5 + 0.5, size=(side, side), mode="bilinear")[:, 0]
        weight = seen.covered * (inside > 0.98)
        novel = refine.scatter(seen, change[..., :3], _spread(seen, weight), config.texture_size)
        texture = refine.step(texture, novel, config.refine_rate)

        opaque = (reference[..., 3] > 0.98) & known.covered
        missing = reference[..., :3] - known.render(texture)[..., :3]
        texture = refine.step(texture, refine.scatter(known, missing, _spread(known, opaque), config.texture_size), 1.0)
        job.on_event(Step("refine", step, {"loss": float(change.square().mean())}))
        if step % config.save_every == 0 and step < config.refine_steps:
            state = _with_mesh(gaussians, mesh.with_(albedo=texture))
            job.store("refine", step, state, generator)
    # Views meet at chart borders: what stage 2 moved on one side only is evened out again.
    return mesh.with_(albedo=equalise_seams(texture, mesh, atlas_fragments(mesh, config.texture_size)))


def _spread(view: refine.View, mask: Tensor) -> Tensor:
    """Pixel weights [B,H,W]: the paper's view-cosine limit of 0.5 as a ramp, so that its border leaves no seam."""
    weight = torch.zeros(view.covered.shape)
    weight[view.covered] = ((view.cosine - 0.2) / 0.4).clamp(0, 1)
    return weight * mask


def reference_figures(mesh: Mesh, prepared: Prepared, elevation: float) -> dict[str, float]:
    """PSNR (dB, on white) and IoU of the unlit mesh from the reference camera against the prepared picture."""
    target = _premultiplied(prepared)[None]
    view = render_mesh(mesh, orbit(0.0, elevation, width=target.shape[1]), background=torch.ones(3))
    on_white = target[..., :3] + 1 - target[..., 3:]
    return {
        "psnr": round(float(psnr(view.rgb, on_white)), 3),
        "iou": round(float(iou(view.alpha, target[..., 3:])), 4),
        "fovy": DEFAULT_FOVY,
    }


def _silhouette(prepared: Prepared, elevation: float) -> tuple[Camera, Tensor]:
    """The reference camera and the picture's alpha [1,S,S,1]."""
    return orbit(0.0, elevation, width=prepared.rgba.shape[1]), prepared.rgba[None, ..., 3:]


def _premultiplied(prepared: Prepared) -> Tensor:
    rgba = prepared.rgba
    return torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], dim=-1)


def _digest(prepared: Prepared) -> str:
    return hashlib.sha256(prepared.rgba.contiguous().numpy().tobytes()).hexdigest()


def _with_mesh(gaussians: Gaussians, mesh: Mesh) -> dict[str, Tensor]:
    parts = {name: t for name, t in vars(mesh).items() if isinstance(t, Tensor)}
    return checkpoint.with_prefix("gaussians", gaussians.tensors()) | checkpoint.with_prefix("mesh", parts)


@contextmanager
def _timed(job: _Job, stage: str, steps: int | None = None) -> Iterator[None]:
    """Announce a stage and record its seconds; those of an interrupted run are not known to the one that resumes it."""
    started = time.monotonic()
    job.on_event(StageStarted(stage, steps))
    yield
    job.facts["seconds"][stage] = time.monotonic() - started
    job.on_event(StageFinished(stage, job.facts["seconds"][stage]))
