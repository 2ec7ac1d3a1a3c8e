"""Anybody's mesh gets a new texture, from a picture, several, or words: stage 2 of DreamGaussian (section 3.3) alone.

    align    the mesh moved to where the cameras look, the pictures laid over its silhouette
    unwrap   unless its own texture coordinates can carry a texture
    project  the pictures onto what they see; elsewhere the mesh's own colours, else those around
    refine   by the prior, see `train.texture`

All work is done on a welded, centred copy with its faces turned outwards: the mesh that comes out has the very vertices
and faces that went in, and its very texture coordinates if they were good.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.accelerator import enough_memory
from gaussmith.asset import TEXT_ELEVATION, versions
from gaussmith.camera import concat
from gaussmith.diffusion.guidance import PICTURE_SCALE
from gaussmith.events import OnEvent, Step, UserError, ignore, timed
from gaussmith.io import save_mesh
from gaussmith.io.atomic import write_bytes
from gaussmith.io.image import save_image
from gaussmith.mesh import Mesh
from gaussmith.preview import preview_sheet
from gaussmith.priors.base import Prior
from gaussmith.render.mesh import sample_texture
from gaussmith.surface import check
from gaussmith.texture.atlas import Atlas, atlas_fragments
from gaussmith.texture.backproject import bake
from gaussmith.texture.inpaint import fill
from gaussmith.texture.overlay import lay, trust
from gaussmith.texture.seams import seam_error
from gaussmith.texture.unwrap import face_areas, unwrap
from gaussmith.texture.uv_check import uv_fault
from gaussmith.train import checkpoint
from gaussmith.train.alignment import aligned, centred, mirror
from gaussmith.train.figures import reference_figures
from gaussmith.train.subject import Subject, tell
from gaussmith.train.texture import RefineConfig, refine_texture

# None of these is from the paper.
_SEEN = 2e-3  # weight of a projected texel from which it is trusted; beside an edge of the picture it is under 1e-3
_PLAIN = 2.5 / 255  # colours that differ less are one colour: a material's default, not a texture
_LARGEST = 1e18  # units: squares of lengths beyond are no float32 numbers


@dataclass(frozen=True)
class Config:
    """Numbers of the recipe.

    Attributes:
        seed: of everything random.
        refine: stage 2. Its noise times (the paper's) keep the colours that there are, and change what is finer.
        guessed: noise times instead where the unseen sides start from the colours of the seen ones.
        blank, blank_rate: noise times and rate instead where there is no colour to start from.
        texture_size: side of the texture in pixels.
        guidance_scale: None for the prior's own, up to `PICTURE_SCALE`.
        fresh: whether to forget the colours that the mesh has.
        save_every: steps between checkpoints.
    """

    seed: int = 0
    refine: RefineConfig = field(default_factory=lambda: RefineConfig(rate=(0.2, 0.0)))
    guessed: tuple[float, float] = (0.25, 0.04)
    blank: tuple[float, float] = (0.95, 0.04)
    blank_rate: tuple[float, float] = (0.5, 0.0)
    texture_size: int = 1024
    guidance_scale: float | None = None
    fresh: bool = False
    save_every: int = 10


def for_prior(config: Config, prior: Prior) -> Config:
    """The numbers for a large prior, which paints sides that nobody pictured and sees the whole picture at once; a
    small one, left that much freedom, only leaves its blotches there (the chest from behind, by eye, at first times of
    0.18 to 0.9)."""
    if prior.size < 256:
        return config
    return replace(config, guessed=(0.6, 0.04), refine=replace(config.refine, size=1.0, rate=RefineConfig().rate))


@dataclass
class Result:
    """The mesh with its new texture, and the report; the mesh as it was worked on and its subject, for the preview."""

    mesh: Mesh
    report: dict[str, Any]
    centred: Mesh
    subject: Subject

    def save(self, path: str | Path) -> list[Path]:
        """Write the mesh as `path` names it and, beside it, NAME-preview.png and NAME.json; return their paths.

        Raises:
            UserError: the place cannot be written. Each file is there whole or not at all.
        """
        path = Path(path)
        paths = [path, path.with_name(f"{path.stem}-preview.png"), path.with_name(f"{path.stem}.json")]
        text = json.dumps(self.report | {"versions": versions()}, indent=2, allow_nan=False, ensure_ascii=False) + "\n"
        first = self.subject.views[0] if self.subject.views else None
        rgba = first.prepared.rgba if first else None
        elevation, azimuth = (first.elevation, first.azimuth) if first else (TEXT_ELEVATION, 0.0)
        save_mesh(self.mesh, path)
        save_image(paths[1], preview_sheet(rgba, self.centred, elevation, azimuth=azimuth))
        write_bytes(paths[2], text.encode())
        return paths


def run(
    config: Config,
    mesh: Mesh,
    subject: Subject,
    prior: Prior,
    on_event: OnEvent = ignore,
    checkpoint_dir: Path | None = None,
    resume: bool = False,
) -> Result:
    """Texture a mesh anew.

    Args:
        mesh: any triangle mesh, of any place and size; it need not be closed.
        subject: known views (49.1-degree frame; each picture is moved and scaled to lie over the mesh), words, or both.
        checkpoint_dir: where checkpoint.safetensors is kept while the work goes on; None keeps nothing.
        resume: go on from that checkpoint; the result has the same bytes as that of an uninterrupted run.

    Raises:
        UserError: the mesh has no surface, it cannot be seen from where a picture was taken, the checkpoint is of other
            settings, or the prior cannot do what is asked.
    """
    sizes = f"with {len(mesh.faces):,} faces, a texture of {config.texture_size} pixels and the prior {prior.name}"
    try:
        with enough_memory(sizes, "lower --texture-size, choose a smaller --prior, or set --max-memory"):
            return _run(config, mesh, subject, prior, on_event, checkpoint_dir, resume)
    finally:
        prior.release()


def _run(
    config: Config,
    mesh: Mesh,
    subject: Subject,
    prior: Prior,
    on_event: OnEvent,
    checkpoint_dir: Path | None,
    resume: bool,
) -> Result:
    _require_surface(mesh)
    settings = {"config": asdict(config), "prior": prior.name, "subject": subject.describe(), "mesh": _hash(mesh)}
    path = None if checkpoint_dir is None else checkpoint_dir / "checkpoint.safetensors"
    saved = checkpoint.reopen(path, settings, on_event) if resume else None
    # What the report will tell of stages that a resumed run does not repeat.
    facts: dict[str, Any] = saved.meta["facts"] if saved else {"seconds": {}}
    size, seconds = config.texture_size, facts["seconds"]
    with timed(on_event, "mesh", seconds=seconds):
        mirrored, work = centred(mesh, subject)
        views, alignment = aligned(work, subject, on_event)
        subject = replace(subject, views=views)
        condition = tell(prior, subject, on_event)
        if saved:
            work = Mesh(**checkpoint.section("mesh", saved.tensors))  # type: ignore[arg-type]
        else:
            facts["fault"] = "are missing" if mesh.uv is None else uv_fault(mesh, size)
            work = unwrap(work, size) if facts["fault"] else work
    if not saved:
        with timed(on_event, "texture", seconds=seconds):
            atlas = atlas_fragments(work, size)
            own = None if config.fresh else _own_colours(mirror(mesh, mirrored), atlas)
            albedo, facts["start"], facts["coverage"] = _first_texture(work, atlas, own, subject)
            work = work.with_(albedo=albedo)
    start, fault = facts["start"], facts["fault"]
    strength = {"its own colours": config.refine.strength, "the picture": config.guessed, "nothing": config.blank}
    rate = config.blank_rate if start == "nothing" else config.refine.rate
    refinement = replace(config.refine, strength=strength[start], rate=rate)
    scale = min(prior.guidance_scale, PICTURE_SCALE) if config.guidance_scale is None else config.guidance_scale

    def on_step(step: int, loss: float, texture: Tensor, generator: torch.Generator) -> None:
        on_event(Step("refine", step, {"loss": loss}))
        if path is not None and step % config.save_every == 0 and step < refinement.steps:
            parts = {name: t for name, t in vars(work).items() if isinstance(t, Tensor)}
            state = checkpoint.with_prefix("mesh", parts) | {"texture": texture}
            meta = {"step": step, "facts": facts}
            checkpoint.save(path, state, meta, config=settings, generators={"main": generator})

    with timed(on_event, "refine", refinement.steps, seconds):
        resumed = (saved.meta["step"], saved.tensors["texture"], saved.generators["main"]) if saved else None
        work = refine_texture(
            work, subject, prior, condition, refinement, scale, on_step, resumed=resumed, seed=config.seed
        )
    assert work.albedo is not None
    uv, uv_faces = work.uv, mirror(work, mirrored).uv_faces
    if not fault:
        uv, uv_faces = mesh.uv, mesh.uv_faces
    seams = seam_error(work.albedo, work)
    report = {
        "settings": asdict(replace(config, refine=refinement)),
        "seed": config.seed,
        "prior": prior.name,
        "prompt": None if subject.prompts is None else subject.prompts.text,
        "seconds": {stage: round(spent, 2) for stage, spent in seconds.items()},
        "mesh": check(work).to_dict() | {"faces_turned": int(mirrored.sum())},
        "uv": {"kept": fault is None, "why": "each texel shows one place" if fault is None else f"its own {fault}"},
        "texture": {
            "size": size,
            "started_from": start,
            "coverage": facts["coverage"],
            "seam_levels": {"mean": round(seams.mean, 2), "p95": round(seams.p95, 2)},
        },
        "pictures": [view.prepared.report() for view in subject.views],
        "views": [found | reference_figures(work, view) for found, view in zip(alignment, subject.views)],
    }
    new = mesh.with_(uv=uv, uv_faces=uv_faces, albedo=work.albedo, vertex_colors=None)
    return Result(new, report, work, subject)


def _hash(mesh: Mesh) -> str:
    """Of everything that the mesh is, for a checkpoint to compare."""
    whole = hashlib.sha256()
    for name, tensor in vars(mesh).items():
        if isinstance(tensor, Tensor):
            whole.update(f"{name} {tuple(tensor.shape)}".encode() + tensor.detach().contiguous().numpy().tobytes())
    return whole.hexdigest()


def _require_surface(mesh: Mesh) -> None:
    """UserError unless the mesh has faces of finite corners and some area."""
    if len(mesh.faces) == 0:
        raise UserError("the mesh has no faces, so there is nothing to texture; give a mesh with a surface")
    if not bool(torch.isfinite(mesh.vertices).all()):
        raise UserError("the mesh has vertices that are not finite numbers; repair it, or export it again")
    vertices = mesh.vertices.detach().double()
    extent = float((vertices.amax(dim=0) - vertices.amin(dim=0)).max())
    if extent > _LARGEST:
        raise UserError(f"the mesh is {extent:.3g} units large, too large to compute with; scale it down")
    if not face_areas((vertices / max(extent, 1e-300)).numpy(), mesh.faces.numpy()).sum() > 1e-12:
        raise UserError("the faces of the mesh have no area, so there is nothing to texture; give one with a surface")


# --- The texture before the prior sees it ---


def _own_colours(mesh: Mesh, atlas: Atlas) -> Tensor | None:
    """[S,S,3] the colours that a mesh came with on the atlas of its new texture; None if it has none, or just one.

    The faces of the mesh are those that the atlas was made of, in their order and winding.
    """
    if mesh.albedo is not None and mesh.uv is not None and mesh.uv_faces is not None:
        albedo = mesh.albedo.detach().permute(2, 0, 1)[None]
        reduced = [min(side, atlas.size) for side in albedo.shape[2:]]
        albedo = F.interpolate(albedo, size=reduced, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        uv = torch.from_numpy(atlas.at_corners(mesh.uv.detach().numpy(), mesh.uv_faces.numpy()))
        colours = sample_texture(albedo.contiguous(), uv).numpy()
    elif mesh.vertex_colors is not None:
        colours = atlas.at_corners(mesh.vertex_colors.detach().numpy(), mesh.faces.numpy())
    else:
        return None
    if float(np.ptp(colours, axis=0).max(initial=0.0)) < _PLAIN:
        return None
    return torch.from_numpy(atlas.spread(atlas.image(colours.clip(0, 1))))


def _first_texture(mesh: Mesh, atlas: Atlas, own: Tensor | None, subject: Subject) -> tuple[Tensor, str, float]:
    """The texture [S,S,3] of the pictures and the mesh's own colours, what its unseen sides start from, and the share
    of the surface's texels that the pictures show."""
    start = "nothing" if own is None else "its own colours"
    base = torch.full((atlas.size, atlas.size, 3), 0.5) if own is None else own
    if not subject.views:
        return base, start, 0.0
    pictures = torch.stack([view.premultiplied() for view in subject.views])
    cameras = concat([view.camera() for view in subject.views])
    # From where a picture begins to count, and how fast: as the refinement weighs its pixels.
    baked = bake(
        mesh, cameras, pictures[..., :3], pictures[..., 3:], atlas.size, min_cosine=0.2, sharpness=2.0, atlas=atlas
    )
    seen = baked.weight > _SEEN
    coverage = round(float(seen.flatten()[torch.from_numpy(atlas.texels[atlas.inside])].float().mean()), 4)
    if not bool(seen.any()):
        return base, start, coverage
    if own is None:
        return fill(baked.albedo, seen, mesh, atlas), "the picture", coverage
    laid = lay(own, mesh, atlas, cameras, pictures, trust(mesh, cameras, pictures[..., 3]))
    return torch.from_numpy(atlas.spread(laid.numpy())), start, coverage
