"""A picture, several, or a prompt become a textured mesh: DreamGaussian (Tang et al. 2023, arXiv 2309.16653).

    stage 1   Gaussians from a grey ball, by score distillation from novel views and the error of the known views,
              cloned, split and pruned as they go
    mesh      iso-surface of their density, cleaned, decimated, watertight
    texture   unwrapped, coloured from 26 renders of the Gaussians
    stage 2   the texture refined: a view is rendered, noised a little, denoised by the prior, and the texture moved
              towards the result; the known views by their plain error

Departures from the paper are listed with their reasons in docs/method.md; each has a number in `Config`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.accelerator import Glance, enough_memory, onto
from gaussmith.asset import TEXT_ELEVATION, save_asset
from gaussmith.camera import PRIOR_FOVY, Camera, concat
from gaussmith.density import dreamgaussian as density
from gaussmith.diffusion.distill import denoise_at_strength, sds_loss
from gaussmith.diffusion.family import (
    CSD,
    DISTILLATIONS,
    DSD,
    Distillation,
    DistillationName,
    distillation_gradient,
    own_scale,
    with_scale,
)
from gaussmith.diffusion.guidance import PICTURE_SCALE
from gaussmith.diffusion.timesteps import Annealed, Timesteps
from gaussmith.events import OnEvent, Step, UserError, ignore, timed
from gaussmith.gaussians import Gaussians, from_points, in_ball
from gaussmith.losses import bending
from gaussmith.mesh import Mesh
from gaussmith.priors.base import EpsPrior, Trainable
from gaussmith.render.splat import Render, home, rasterize
from gaussmith.rotation import turned
from gaussmith.surface import check, extract_mesh
from gaussmith.texture.bake_splat import texture_from_gaussians
from gaussmith.texture.consistency import Sighting, contradicted
from gaussmith.texture.seams import seam_error
from gaussmith.train import checkpoint
from gaussmith.train.adam import Adam
from gaussmith.train.figures import reference_figures
from gaussmith.train.schedules import log_lerp, staged
from gaussmith.train.subject import KnownView, Subject, strangeness, tell
from gaussmith.train.texture import RefineConfig, refine_texture
from gaussmith.train.variational import Learner, sources
from gaussmith.views import OrbitView, four_view_ring, stratified_orbit


@dataclass(frozen=True)
class Config:
    """Numbers of the recipe; the paper's unless a line says otherwise.

    Attributes:
        seed: of everything random.
        steps: of stage 1 (paper: 500). views: novel views a step (paper: 1; ours are small, and two see two sides).
        start: where the Gaussians begin: on the "draft" of a prior that makes one of the reference (ours; see
            `embedded.draft`), or on the made shape of a subject that has one, else in the paper's "ball". points: their
            number. ball: its radius.
        max_gaussians: bound for memory (ours).
        position_rate: first and last rate of the positions, times the paper's spatial scale of 10.
        color_rate, opacity_rate, scale_rate, rotation_rate: Adam's rates.
        sizes: (from progress, picture side) of the novel renders, in multiples of the prior's own side.
        distillation: which score distillation (paper: sds), see `diffusion.family`. times: noise times of stage 1
            (paper: 0.98 down to 0.02; below 0.5 a 64-pixel prior only repeats the noise that it is shown).
        guidance_scale: None for the prior's own, in stage 1 up to that of the distillation's paper, in stage 2 up to
            `PICTURE_SCALE` (public code: 100 for words). max_gradient: bound of each view's distillation gradient.
        sds_weight: of the distillation loss, which is summed over the prior's pixels.
        reference_size: side of the reference render, 49.1-degree frame (ours: 384 puts 256 pixels on the prior's crop).
        reference_rgb, reference_alpha: weights of the reference errors (means), times the progress (paper: 10,000 and
            1,000; a heavier alpha keeps thin parts).
        mirror: weight beside the reference's of each of its mirrored pictures, where the prior sees that the thing is
            its own mirror image (`embedded.symmetry`, ours); 0 for none. mirror_check: progress from which a colour of
            theirs does not count where the picture shows that surface in another one (`texture.consistency`).
        bending: weight of the bending of the known views' depth (`losses.bending`, ours), times the progress. They say
            nothing of depth, and are so heavy that any depth is taken that explains a colour: without it the surface
            is pitted along the picture's colour edges. relief_every: steps from one look at the depth to the next.
        densify: density control.
        resolution, smoothing, min_component, max_faces: of the surface, see `extract_mesh` (paper: parts under 0.2 of
            the diameter are dropped; real ones that hang by a thread are over 0.1). texture_size: side of the texture.
        refine: stage 2 (ours: a 64-pixel prior has little to say of colours, and says it gently).
        save_every: steps between checkpoints.
    """

    seed: int = 0
    steps: int = 350
    views: int = 2
    start: Literal["draft", "ball"] = "draft"
    points: int = 5000
    ball: float = 0.5
    max_gaussians: int = 20_000
    position_rate: tuple[float, float] = (1e-2, 2e-4)
    color_rate: float = 0.01
    opacity_rate: float = 0.05
    scale_rate: float = 0.005
    rotation_rate: float = 0.005
    sizes: tuple[tuple[float, float], ...] = ((0.0, 1), (0.3, 2))
    distillation: DistillationName = "sds"
    times: Timesteps = field(default_factory=lambda: Annealed(0.9, 0.5))
    guidance_scale: float | None = None
    max_gradient: float | None = None
    sds_weight: float = 1.0
    reference_size: int = 384
    reference_rgb: float = 10_000.0
    reference_alpha: float = 8_000.0
    mirror: float = 0.3
    mirror_check: float = 0.2
    bending: float = 2_000.0
    relief_every: int = 2
    densify: density.Config = field(default_factory=density.Config)
    resolution: int = 128
    smoothing: int = 10
    min_component: float = 0.1
    max_faces: int = 20_000
    texture_size: int = 1024
    refine: RefineConfig = field(default_factory=lambda: RefineConfig(steps=20, rate=(0.2, 0.0), palette=0.08))
    save_every: int = 100


PRESETS: dict[str, Config] = {
    "draft": Config(
        steps=80,
        points=4000,
        reference_size=256,
        resolution=96,
        max_faces=10_000,
        texture_size=512,
        refine=RefineConfig(steps=7, rate=(0.2, 0.0), palette=0.08),
    ),
    "standard": Config(),
    "fine": Config(
        steps=800, views=4, max_gaussians=60_000, resolution=192, smoothing=15, max_faces=60_000, texture_size=2048
    ),
}


def for_prior(config: Config, prior: EpsPrior) -> Config:
    """The preset with the paper's own numbers where ours were chosen for a small RGBA prior: noise times, sizes of the
    renders (shares of a side of 256 pixels or more), and the size, rate and number of stage 2's steps. Such a prior
    does not smear: its colours are left as they are."""
    if prior.sees_alpha:
        return config
    config = replace(config, times=Annealed(), views=max(config.views, prior.group))
    config = replace(config, refine=replace(config.refine, palette=0.0))
    if prior.size < 256:
        return config
    refine = replace(config.refine, size=1.0, rate=RefineConfig().rate, steps=round(2.5 * config.refine.steps))
    return replace(config, sizes=((0.0, 0.25), (0.3, 0.5), (0.6, 1.0)), refine=refine)


# Side in pixels of the known views' depth whose bending is looked at, whatever the preset: differences of neighbours
# mean something else at another size. A pixel is 0.014 wide there, less than a Gaussian.
RELIEF_SIZE = 128

# Side in pixels of the renders and pictures that give the mesh its first colours (paper: 512).
BAKE_SIZE = 512

# What density control and the optimiser did over a run, in the report's words.
_COUNTED = ("cloned", "split", "pruned", "mended", "removed", "bad_gradients")


@dataclass
class Result:
    """What a run made: the Gaussians, the textured mesh, what it was made from, and the report."""

    gaussians: Gaussians
    mesh: Mesh
    subject: Subject
    report: dict[str, Any]

    def save(self, folder: str | Path, name: str = "object") -> list[Path]:
        """Write NAME.glb, NAME.ply, preview.png, turntable.mp4 and report.json; see `asset.save_asset`."""
        first = self.subject.views[0] if self.subject.views else None
        return save_asset(
            folder, name, gaussians=self.gaussians, mesh=self.mesh, report=self.report,
            rgba=first.prepared.rgba if first else None,
            azimuth=first.azimuth if first else 0.0, elevation=first.elevation if first else TEXT_ELEVATION,
        )  # fmt: skip


@dataclass(frozen=True)
class _Job:
    """What every stage needs."""

    config: Config
    subject: Subject
    prior: EpsPrior
    condition: Any
    on_event: OnEvent
    store: Callable[..., None]
    facts: dict[str, Any]
    mirrored: tuple[KnownView, ...] = ()

    @property
    def known(self) -> tuple[KnownView, ...]:
        """The pictures, and what is believed to be seen from elsewhere."""
        return (*self.subject.views, *self.mirrored)

    @property
    def shares(self) -> list[float]:
        """What each of `known` counts for: the pictures for 1 together."""
        views = self.subject.views
        return [1 / len(views) for _ in views] + [self.config.mirror for _ in self.mirrored]

    @property
    def scale(self) -> float:
        return self.prior.guidance_scale if self.config.guidance_scale is None else self.config.guidance_scale

    @property
    def picture_scale(self) -> float:
        """Where pictures are mended: stage 2, and those that BSD's expert learns from."""
        return min(self.scale, PICTURE_SCALE) if self.config.guidance_scale is None else self.scale


def run(
    config: Config,
    subject: Subject,
    prior: EpsPrior,
    on_event: OnEvent = ignore,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
) -> Result:
    """The whole pipeline.

    Args:
        subject: known views (49.1-degree frame, elevations in [-80, 80]), or words, or both.
        checkpoint_dir: where checkpoint.safetensors is kept while the work goes on; None keeps nothing.
        resume: go on from that checkpoint; the result has the same bytes as that of an uninterrupted run.

    Raises:
        UserError: no surface came out, the checkpoint is of other settings, or the prior cannot do what is asked.
    """
    sizes = f"with up to {config.max_gaussians:,} Gaussians and the prior {prior.name}"
    try:
        with enough_memory(sizes, "lower --preset or --texture-size, choose a smaller --prior, or set --max-memory"):
            return _run(config, subject, prior, on_event, checkpoint_dir, resume)
    finally:
        prior.release()


def _run(
    config: Config, subject: Subject, prior: EpsPrior, on_event: OnEvent, checkpoint_dir: Path | None, resume: bool
) -> Result:
    settings = {"config": asdict(config), "prior": prior.name, "subject": subject.describe()}
    path = None if checkpoint_dir is None else checkpoint_dir / "checkpoint.safetensors"

    saved = checkpoint.reopen(path, settings, on_event) if resume else None
    # What the report will tell of stages that a resumed run does not repeat.
    facts: dict[str, Any] = saved.meta["facts"] if saved else {"density": dict.fromkeys(_COUNTED, 0), "seconds": {}}
    stage = saved.meta["stage"] if saved else "gaussians"

    def store(stage: str, step: int, tensors: dict[str, Tensor], generator: torch.Generator | None = None) -> None:
        if path is not None:
            meta = {"stage": stage, "step": step, "facts": facts}
            checkpoint.save(path, tensors, meta, config=settings, generators={"main": generator} if generator else None)

    condition, mirrored, symmetry = _mirrored(config, subject, prior, tell(prior, subject, on_event))
    job = _Job(config, subject, prior, condition, on_event, store, facts, mirrored)
    strange = strangeness(prior, subject, on_event)

    if saved and stage != "gaussians":
        gaussians = Gaussians(**checkpoint.section("gaussians", saved.tensors))
    else:
        with timed(on_event, "gaussians", config.steps, facts["seconds"]):
            gaussians = distill(job, saved)
        store("mesh", 0, checkpoint.with_prefix("gaussians", gaussians.tensors()))
    if saved and stage == "refine":
        mesh = Mesh(**checkpoint.section("mesh", saved.tensors))  # type: ignore[arg-type]
    else:
        with timed(on_event, "mesh", seconds=facts["seconds"]):
            mesh = extract_mesh(
                gaussians,
                resolution=config.resolution,
                max_faces=config.max_faces,
                min_component=config.min_component,
                smoothing=config.smoothing,
                trusted=[(view.camera(), view.prepared.rgba[None, ..., 3:]) for view in subject.views],
            )
        with timed(on_event, "texture", seconds=facts["seconds"]):
            known, believed = (_known(v, BAKE_SIZE, torch.device("cpu")) for v in (subject.views, mirrored))
            mesh, facts["coverage"] = texture_from_gaussians(
                mesh, gaussians, config.texture_size, view_size=BAKE_SIZE, pictures=known, believed=believed
            )
        store("refine", 0, _with_mesh(gaussians, mesh))
    with timed(on_event, "refine", config.refine.steps, facts["seconds"]):
        mesh = refine(job, gaussians, mesh, saved if stage == "refine" else None)
    assert mesh.albedo is not None
    seams = seam_error(mesh.albedo, mesh)
    figures = [reference_figures(mesh, view) for view in subject.views]
    report = {
        "settings": asdict(config),
        "seed": config.seed,
        "elevation": subject.elevation,
        "elevation_spread": subject.views[0].spread if subject.views else None,
        "prior": prior.name,
        "prompt": None if subject.prompts is None else subject.prompts.text,
        "shape": None if subject.shape is None else subject.shape.report(),
        "seconds": {k: round(v, 2) for k, v in facts["seconds"].items()},
        "picture": subject.views[0].prepared.report() if subject.views else None,
        "domain": strange,
        "symmetry": symmetry,
        "gaussians": {"count": len(gaussians), **facts["density"]},
        "mesh": check(mesh).to_dict(),
        "texture": {
            "size": config.texture_size,
            "coverage": round(facts["coverage"], 4),
            "seam_levels": {"mean": round(seams.mean, 2), "p95": round(seams.p95, 2)},
        },
        "reference": figures[0] if figures else None,
        "views": figures,
    }
    return Result(gaussians, mesh, subject, report)


def _mirrored(
    config: Config, subject: Subject, prior: EpsPrior, condition: Any
) -> tuple[Any, tuple[KnownView, ...], list[dict[str, float]]]:
    """The condition with the mirrored pictures of a single known view, those pictures, and the report's words."""
    find = getattr(prior, "mirror_planes", None)
    planes = find(condition) if config.mirror and find and len(subject.views) == 1 else ()
    if not planes:
        return condition, (), []
    told = [{"plane_azimuth": plane.azimuth, "promised_db": round(plane.worth, 2)} for plane in planes]
    mirrored = tuple(subject.views[0].mirrored(plane.view) for plane in planes)
    return prior.with_mirrored(condition, planes), mirrored, told  # type: ignore[attr-defined]


def distill(job: _Job, saved: checkpoint.Checkpoint | None = None) -> Gaussians:
    """Stage 1 (section 3.1): Gaussians by score distillation and the known views."""
    config, subject, prior, counts = job.config, job.subject, job.prior, job.facts["density"]
    generator = torch.Generator().manual_seed(config.seed)
    device = home(prior.device)
    gaussians = _start(job, generator).to(device)
    rates = {
        "means": config.position_rate[0], "sh": config.color_rate, "opacity_logits": config.opacity_rate,
        "log_scales": config.scale_rate, "quats": config.rotation_rate,
    }  # fmt: skip
    optimizer, first, glance = Adam(rates), 0, Glance()
    statistics = density.Statistics.zeros(gaussians)
    belief = torch.ones(len(job.known), RELIEF_SIZE, RELIEF_SIZE, device=device)
    if saved:
        tensors = {name: tensor.to(device) for name, tensor in saved.tensors.items()}
        gaussians = Gaussians(**checkpoint.section("gaussians", tensors))
        optimizer.restore(checkpoint.section("adam", tensors))
        statistics = density.Statistics(**checkpoint.section("statistics", tensors))
        belief = tensors["belief"]
        generator, first = saved.generators["main"], saved.meta["step"]
    method, learners = _method(job), _learners(job, saved)

    heights, size = subject.heights(prior), config.reference_size
    known_views, relief = (_known(job.known, side, device) for side in (size, RELIEF_SIZE))
    shares = onto(torch.tensor(job.shares), device)
    sizes = tuple((begin, round(side * prior.size)) for begin, side in config.sizes)
    for step in range(first + 1, config.steps + 1):
        progress = step / config.steps
        optimizer.rates["means"] = log_lerp(*config.position_rate, progress)
        for tensor in gaussians.tensors().values():
            tensor.requires_grad_()

        # Novel views: w(t) (eps_pred - eps) pulls the renders towards what the prior expects there.
        side = staged(sizes, progress)
        if prior.group == 1:
            views = stratified_orbit(config.views, generator, heights, fovy=PRIOR_FOVY, size=side)
        else:
            views = four_view_ring(generator, heights, fovy=PRIOR_FOVY, size=side)
        novel = rasterize(gaussians, views.camera(), geometry=False)
        latents = _encoded(prior, novel, generator)
        t = config.times.at(step, config.steps, generator, len(views))
        told = subject.relative(views, prior)
        asked = sources(prior, told, job.condition, learners)
        gradient = distillation_gradient(
            method,
            asked,
            latents,
            t,
            prior.schedule,
            generator,
            max_norm=math.inf if config.max_gradient is None else config.max_gradient,
        )
        loss = config.sds_weight * sds_loss(latents, gradient).to(novel.rgb.device)
        _teach(job, learners, latents, told, progress, generator)

        # The known views, growing in weight as the shape settles.
        drawn = [(novel, side, len(views))]
        if known_views is not None:
            cameras, target = known_views
            known = rasterize(gaussians, cameras, geometry=False)
            drawn.append((known, size, len(target)))
            # On white and on black at once: on white alone, a hole in a white wall would cost nothing.
            color, alpha = known.rgb - target[..., :3], known.alpha - target[..., 3:]
            believed = _resized(belief, size)
            rgb_error = 0.5 * (_weighed(color * believed, shares) + _weighed((color - alpha) * believed, shares))
            alpha_error = _weighed(alpha, shares)
            loss = loss + progress * (config.reference_rgb * rgb_error + config.reference_alpha * alpha_error)
        if relief is not None and step % config.relief_every == 0:
            shown = rasterize(gaussians, relief[0])
            loss = loss + progress * config.bending * _bending(shown, relief[1])
            if progress > config.mirror_check:
                belief = _belief(Sighting(*relief, shown.depth[..., 0].detach()), len(subject.views))
        loss.backward()

        for render, width, count in drawn:
            if render.means2d.grad is not None:
                statistics = density.accumulate(statistics, render.means2d.grad, render.radii, width, width, count)
        optimizer.step(gaussians.tensors())
        gaussians = gaussians.detach()
        if density.due(step, config.steps, config.densify):
            control = replace(config.densify, max_count=config.max_gaussians)
            done = density.densify_and_prune(gaussians, statistics, generator, control)
            gaussians = done.gaussians
            optimizer.rows(done.source)
            statistics = density.Statistics.zeros(gaussians)
            for key in _COUNTED[:-1]:
                counts[key] += getattr(done, key)
        job.on_event(Step("gaussians", step, {"loss": glance.at(step, loss), "gaussians": len(gaussians)}))
        if step == config.steps or step % config.save_every == 0:
            counts["bad_gradients"] += optimizer.bad_rows()
        if step % config.save_every == 0 and step < config.steps:
            state = checkpoint.with_prefix("gaussians", gaussians.tensors())
            state |= checkpoint.with_prefix("adam", optimizer.state())
            state |= checkpoint.with_prefix("statistics", vars(statistics)) | {"belief": belief}
            for name, learner in learners.items():
                state |= checkpoint.with_prefix(name, learner.state())
            job.store("gaussians", step, state, generator)
    gaussians, _ = density.prune_faint(gaussians.select(gaussians.finite()), config.densify)
    return gaussians.to("cpu")


def _start(job: _Job, generator: torch.Generator) -> Gaussians:
    """The first Gaussians: on the made shape that the words chose (as GSGen's on its 3D prior, section 3.2), on the
    prior's own draft of the reference if it makes one, or in the paper's grey ball."""
    config = job.config
    if job.subject.shape is not None and config.start == "draft":
        return from_points(*job.subject.shape.points(config.points, generator))
    draft = getattr(job.prior, "draft_points", None) if config.start == "draft" else None
    drawn = draft(job.condition, config.points, generator) if draft else None
    if drawn is None:
        return in_ball(config.points, config.ball, generator)
    points, colors = drawn
    return from_points(turned(points, job.subject.views[0].azimuth), colors)


def _bending(shown: Render, target: Tensor) -> Tensor:
    """The bending of the depth that cameras see of the Gaussians, within the outlines of target [K,S,S,4]."""
    return bending(shown.depth[..., 0], (target[..., 3] > 0.99) & (shown.alpha[..., 0].detach() > 0.5))


def _belief(views: Sighting, count: int) -> Tensor:
    """How far the colours of K views count: [K,S,S] in [0,1]. The first `count` are known and count everywhere, the
    others where those do not contradict them."""
    belief = torch.ones_like(views.depth)
    if len(belief) > count:
        belief[count:] -= contradicted(views[count:], views[:count])
    return belief


def _resized(pictures: Tensor, size: int) -> Tensor:
    """[K,size,size,1] of [K,S,S]."""
    return F.interpolate(pictures[:, None], size=(size, size), mode="bilinear", align_corners=False).movedim(1, -1)


def _method(job: _Job) -> Distillation:
    """The distillation at the job's guidance scale; x0 of pixels is kept within what a picture can be."""
    method: Distillation = DISTILLATIONS[job.config.distillation]()
    # Priors state the scale that plain SDS needs; the papers of the others ask for far less.
    given = job.config.guidance_scale
    method = with_scale(method, min(job.scale, own_scale(method)) if given is None else given)
    if job.prior.bounded and not isinstance(method, (DSD, CSD)):
        return replace(method, guidance=replace(method.guidance, quantile=0.0))
    return method


def _learners(job: _Job, saved: checkpoint.Checkpoint | None) -> dict[str, Learner]:
    """The networks that the distillation trains beside the prior, as the checkpoint left them."""
    names, prior = DISTILLATIONS[job.config.distillation].learns, job.prior

    def trainable(seed: int) -> Trainable:
        make: Callable[[int], Trainable] | None = getattr(prior, "trainable", None)
        if make is None:
            raise UserError(
                f"{job.config.distillation} trains a network beside the prior, which the prior {prior.name} cannot; "
                "use --distillation sds, csd or ism with it"
            )
        return make(seed)

    learners = {name: Learner(trainable(job.config.seed + i)) for i, name in enumerate(names)}
    for name, learner in learners.items():
        if saved:
            learner.restore(checkpoint.section(name, saved.tensors))
    return learners


def _teach(
    job: _Job,
    learners: dict[str, Learner],
    latents: Tensor,
    views: OrbitView,
    progress: float,
    generator: torch.Generator,
) -> None:
    """One step of each learner: the variational network on the renders, the expert on renders that the prior mended
    (BSD: DreamCraft3D, Sun et al. 2023, section 4.3), ever less as the run goes on."""
    for name, learner in learners.items():
        clean = latents.detach()
        if name == "expert":

            def denoise(x: Tensor, t: Tensor) -> Tensor:
                return job.prior.predict(x, t, views, job.condition, job.picture_scale)

            strength = 0.7 - 0.4 * progress
            clean = denoise_at_strength(clean, strength, 5, denoise, job.prior.schedule, generator)
        learner.step(clean, views, job.condition, job.prior.schedule, generator)


def _encoded(prior: EpsPrior, render: Render, generator: torch.Generator) -> Tensor:
    """What the prior noises of B renders, which lie on white or black by chance if it sees no alpha (the paper's half
    and half)."""
    pictures = torch.cat([render.rgb, render.alpha], dim=-1).permute(0, 3, 1, 2).to(prior.device)
    if prior.sees_alpha:
        return prior.encode(pictures)
    return prior.encode(pictures, float(torch.rand(1, generator=generator) < 0.5))


def _known(views: Sequence[KnownView], size: int, device: torch.device) -> tuple[Camera, Tensor] | None:
    """Cameras of the known views at that size, and the pictures [K,size,size,4], premultiplied."""
    if not views:
        return None
    target = torch.stack([view.premultiplied(size) for view in views])
    return concat([view.camera(size) for view in views]), target.to(device)


def _weighed(error: Tensor, shares: Tensor) -> Tensor:
    """The mean squares of K views' errors [K,H,W,C], each counted by its share [K]."""
    return (error.square().mean(dim=(1, 2, 3)) * shares).sum()


def refine(job: _Job, gaussians: Gaussians, mesh: Mesh, saved: checkpoint.Checkpoint | None = None) -> Mesh:
    """Stage 2 (section 3.3), see `train.texture`; goes on from a checkpoint and keeps some."""
    config = job.config
    resumed = None
    if saved and "texture" in saved.tensors:
        resumed = saved.meta["step"], saved.tensors["texture"], saved.generators["main"]

    def on_step(step: int, loss: float, texture: Tensor, generator: torch.Generator) -> None:
        job.on_event(Step("refine", step, {"loss": loss}))
        if step % config.save_every == 0 and step < config.refine.steps:
            job.store("refine", step, _with_mesh(gaussians, mesh) | {"texture": texture}, generator)

    return refine_texture(
        mesh, job.subject, job.prior, job.condition, config.refine, job.picture_scale, on_step, job.mirrored, resumed,
        config.seed + 1,
    )  # fmt: skip


def _with_mesh(gaussians: Gaussians, mesh: Mesh) -> dict[str, Tensor]:
    parts = {name: t for name, t in vars(mesh).items() if isinstance(t, Tensor)}
    return checkpoint.with_prefix("gaussians", gaussians.tensors()) | checkpoint.with_prefix("mesh", parts)
