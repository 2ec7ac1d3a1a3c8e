"""Stage 2 of DreamGaussian (Tang et al. 2023, section 3.3): the texture of a fixed mesh, refined by a prior.

A view is rendered, noised a little and denoised by the prior, and the texture is moved towards the result; known views
count by their plain error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.camera import PRIOR_FOVY
from gaussmith.diffusion.distill import denoise_at_strength
from gaussmith.mesh import Mesh
from gaussmith.priors.base import Prior
from gaussmith.render.mesh import sample_texture
from gaussmith.texture import refine
from gaussmith.texture.atlas import Atlas, atlas_fragments
from gaussmith.texture.consistency import contradicted, sighting
from gaussmith.texture.overlay import lay, trust
from gaussmith.texture.palette import drawn_to, samples
from gaussmith.texture.seams import equalise_seams
from gaussmith.train.schedules import lerp
from gaussmith.train.subject import KnownView, Subject
from gaussmith.views import four_view_ring, random_orbit

OnStep = Callable[[int, float, Tensor, torch.Generator], None]


@dataclass(frozen=True)
class RefineConfig:
    """Numbers of stage 2; the paper's unless said otherwise.

    Attributes:
        steps: of the refinement.
        rate: first and last share of the missing colour that a novel view adds (ours: the paper uses Adam). Each view
            is noised anew and asks for somewhat other colours; with a rate that falls to nothing they are averaged,
            with a constant one the last few are left as blotches.
        size: side of the renders, in multiples of the prior's.
        strength: first and last noise time (paper: t 180 to 40 of 1,000).
        denoise: first and last number of denoising steps (paper: 10 to 3).
        palette: width of the window, in colours, by which at the end what no picture shows is drawn to the pictures'
            colours (`texture.palette`, ours); 0 leaves it.
    """

    steps: int = 50
    rate: tuple[float, float] = (0.5, 0.0)
    size: float = 4
    strength: tuple[float, float] = (0.18, 0.04)
    denoise: tuple[int, int] = (10, 3)
    palette: float = 0.0


def refine_texture(
    mesh: Mesh,
    subject: Subject,
    prior: Prior,
    condition: Any,
    config: RefineConfig,
    scale: float,
    on_step: OnStep,
    mirrored: Sequence[KnownView] = (),
    resumed: tuple[int, Tensor, torch.Generator] | None = None,
    seed: int = 0,
) -> Mesh:
    """The mesh with its albedo refined.

    Args:
        mesh: with uv and albedo [S,S,3]. scale: guidance scale.
        on_step: called with (step, loss, albedo, generator) after each step.
        mirrored: further views that are believed, where no known view says better or contradicts them.
        resumed: what `on_step` was told after the last step done, without the loss, to go on from there.
        seed: of everything random.
    """
    assert mesh.albedo is not None
    size = mesh.albedo.shape[0]
    atlas = atlas_fragments(mesh, size)
    first, texture, generator = resumed or (0, mesh.albedo, torch.Generator().manual_seed(seed))
    heights = subject.heights(prior)
    side = round(config.size * prior.size)
    known = [_Pictured(mesh, view) for view in subject.views]
    believed = [_Pictured(mesh, view) for view in mirrored]
    if believed:
        unseen = 1 - _share_known(mesh, atlas, known)
        for pictured in believed:
            for certain in known:
                pictured.weight *= 1 - contradicted(pictured.sighting, certain.sighting)
            pictured.weight[pictured.view.covered] *= sample_texture(unseen, pictured.view.uv)[:, 0]
    shown = _share_known(mesh, atlas, [*known, *believed])
    if len(known) > 1:  # the most frontal decides: from the side, what stands before a wall may lie on it
        for pictured in known:
            pictured.weight[pictured.view.covered] *= pictured.view.cosine**8
    if known:
        least, most = _colors_between([*known, *believed])
    for step in range(first + 1, config.steps + 1):
        progress = step / config.steps
        strength, rate = (lerp(first, last, progress) for first, last in (config.strength, config.rate))
        steps = round(lerp(*config.denoise, progress))
        views = (
            random_orbit(1, generator, heights, fovy=PRIOR_FOVY, size=side)
            if prior.group == 1
            else four_view_ring(generator, heights, fovy=PRIOR_FOVY, size=side)
        )
        seen = refine.View(mesh, views.camera())
        drawn = seen.render(texture).permute(0, 3, 1, 2)
        latents = prior.encode(drawn.to(prior.device))

        def denoise(x: Tensor, t: Tensor, views: Any = views) -> Tensor:
            return prior.predict(x, t, subject.relative(views, prior), condition, scale)

        clean = denoise_at_strength(latents, strength, steps, denoise, prior.schedule, generator)
        before, after = prior.decode(latents.detach()).cpu(), prior.decode(clean).cpu()
        # Only what the prior's resolution shows is compared: detail finer than its pixels is not its to judge.
        change = F.interpolate(after - before, size=(side, side), mode="bilinear", align_corners=False)
        # Where the prior sees background or a border, a colour difference is one of shape, and shape is fixed.
        inside = F.interpolate(
            F.interpolate(drawn[:, 3:], size=(prior.size,) * 2, mode="area"), size=(side, side), mode="bilinear"
        )
        weight = seen.covered * (inside[:, 0] > 0.98)
        novel = refine.scatter(seen, change.permute(0, 2, 3, 1)[..., :3], _spread(seen, weight), size)
        texture = refine.step(texture, novel, rate)
        if known:
            # All at once: where two that disagree were followed in turn, the texture would ring.
            after = refine.step(texture, _gathered([*known, *believed], texture), 1.0)
            # A texel that makes up little of its pixels would go to any colour to explain what the others lack.
            texture = after.clamp(torch.minimum(texture, least), torch.maximum(texture, most))
        on_step(step, float(change.square().mean()), texture, generator)
    if config.palette and known:
        texture = _in_palette(texture, mesh, atlas, shown, known, config.palette)
    # Views meet at chart borders: what was moved on one side only is evened out again.
    return mesh.with_(albedo=equalise_seams(texture, mesh, atlas))


class _Pictured:
    """What a picture [1,H,W,3] says of the mesh's looks, and the weights [1,H,W] of its pixels.

    Steps add up: repeated often enough, a pixel of little weight is given back as faithfully as one of much. So where
    the picture is trusted half, half of what it asks for is what the mesh showed at first.
    """

    def __init__(self, mesh: Mesh, known: KnownView) -> None:
        assert mesh.albedo is not None
        picture, self.camera = known.premultiplied()[None], known.camera()
        self.samples = samples(mesh, self.camera, picture[0])
        self.view = refine.View(mesh, self.camera)
        self.weight = trust(mesh, self.camera, picture[..., 3])
        self.sighting = sighting(mesh, self.camera, picture)
        self.picture = torch.lerp(self.view.render(mesh.albedo)[..., :3], picture[..., :3], self.weight[..., None])


def _share_known(mesh: Mesh, atlas: Atlas, pictures: Sequence[_Pictured]) -> Tensor:
    """How far the pictures are trusted at the texels: [S,S,1] in [0,1]. Looked up texel by texel; gathered from the
    pixels, it would have gaps between them wherever they are far apart on the surface."""
    share = torch.zeros(atlas.size, atlas.size, 3)
    for pictured in pictures:
        white = torch.ones(*pictured.weight.shape, 4)
        share = lay(share, mesh, atlas, pictured.camera, white, pictured.weight)
    return share[..., :1]


def _in_palette(
    texture: Tensor, mesh: Mesh, atlas: Atlas, shown: Tensor, known: Sequence[_Pictured], width: float
) -> Tensor:
    """The texture [S,S,3], what no picture shows drawn to the colours of the known ones; `shown` [S,S,1] is how far
    each texel is pictured."""
    colors, levels = (torch.cat(parts) for parts in zip(*(pictured.samples for pictured in known)))
    if not len(colors):
        return texture
    points = atlas.at_corners(mesh.vertices.numpy(), mesh.faces.numpy())
    texels, heights = torch.from_numpy(atlas.texels), torch.from_numpy(points[:, 1].copy())
    out, share = texture.reshape(-1, 3).clone(), shown.reshape(-1, 1)[texels]
    hidden = share[:, 0] < 1
    texels, share, heights = texels[hidden], share[hidden], heights[hidden]
    out[texels] = torch.lerp(drawn_to(out[texels], heights, (colors, levels), width), out[texels], share)
    return out.reshape(texture.shape)


def _colors_between(pictures: Sequence[_Pictured]) -> tuple[Tensor, Tensor]:
    """The least and the largest of each channel [3] that the pictures show where they are trusted at all, and grey
    between them, lest there be none."""
    colors = torch.cat([p.picture[p.weight > 0] for p in pictures] + [torch.full((1, 3), 0.5)])
    return colors.amin(dim=0), colors.amax(dim=0)


def _gathered(pictures: Sequence[_Pictured], texture: Tensor) -> Tensor:
    """What the pictures have and the texture [S,S,3] lacks, at the texels: the sum of `refine.scatter`."""
    gathered = torch.zeros(*texture.shape[:2], 4)
    for pictured in pictures:
        missing = pictured.picture - pictured.view.render(texture)[..., :3]
        gathered += refine.scatter(pictured.view, missing, pictured.weight, len(texture))
    return gathered


def _spread(view: refine.View, mask: Tensor) -> Tensor:
    """Pixel weights [B,H,W]: the paper's view-cosine limit of 0.5 as a ramp, so that its border leaves no seam."""
    weight = torch.zeros(view.covered.shape)
    weight[view.covered] = ((view.cosine - 0.2) / 0.4).clamp(0, 1)
    return weight * mask
