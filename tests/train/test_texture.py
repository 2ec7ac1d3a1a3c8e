"""Stage 2: what it does to a texture is averaged over its views, and a picture is followed as far as it is trusted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
import trimesh
from torch import Tensor

from gaussmith.camera import DEFAULT_FOVY, orbit
from gaussmith.diffusion.prompts import Prompts
from gaussmith.diffusion.schedule import CosineTime
from gaussmith.mesh import Mesh
from gaussmith.picture import Prepared
from gaussmith.render.mesh import interpolate, rasterize_mesh, render_mesh
from gaussmith.texture.overlay import trust
from gaussmith.texture.unwrap import unwrap
from gaussmith.train.subject import KnownView, Subject
from gaussmith.train.texture import RefineConfig, refine_texture

SIDE = 96


def ball() -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    mesh = unwrap(
        Mesh(torch.from_numpy(sphere.vertices.copy()).float(), torch.from_numpy(sphere.faces.copy()).long()), 128
    )
    return mesh.with_(albedo=torch.full((128, 128, 3), 0.5))


class Moody:
    """A prior that finds what it is shown right but for a tint, another one each time."""

    name, size, schedule, guidance_scale, device = "moody", 32, CosineTime(), 1.0, torch.device("cpu")
    sees_alpha, bounded, group, from_reference, told_in_words = True, True, 1, False, False

    def __init__(self, mood: float) -> None:
        self.mood, self.random = mood, torch.Generator().manual_seed(0)

    def encode(self, pictures: Tensor) -> Tensor:
        self.shown = F.interpolate(pictures, size=(self.size, self.size), mode="area") * 2 - 1
        self.tint = self.mood * torch.randn(1, 3, 1, 1, generator=self.random)
        return self.shown

    def decode(self, clean: Tensor) -> Tensor:
        return clean * 0.5 + 0.5

    def predict(self, noisy: Tensor, t: Tensor, views: Any, condition: Any, scale: float) -> Tensor:
        return torch.cat([self.shown[:, :3] + self.tint, self.shown[:, 3:]], dim=1)


def refined(prior: Moody, subject: Subject, config: RefineConfig) -> Tensor:
    albedo = refine_texture(ball(), subject, prior, None, config, 1.0, lambda *_: None).albedo  # type: ignore[arg-type]
    assert albedo is not None
    return albedo


def test_the_moods_of_the_views_are_averaged() -> None:
    """With a constant rate the last views' tints stay; with one that falls to nothing they are averaged."""
    config = RefineConfig(steps=40, rate=(0.5, 0.5), size=2, denoise=(1, 1))
    words = Subject(prompts=Prompts("a ball"))
    off = [
        float((refined(Moody(0.2), words, c) - 0.5).abs().mean()) for c in (config, replace(config, rate=(0.5, 0.0)))
    ]
    assert 0.005 < off[1] < 0.75 * off[0]


def test_more_steps_do_not_believe_more_of_a_picture() -> None:
    """However often it is asked, a pixel that is trusted half stays half as the mesh was."""
    red = torch.tensor([0.9, 0.1, 0.1, 1.0]).expand(SIDE, SIDE, 4).contiguous()
    camera = orbit(0.0, 0.0, width=SIDE)
    whole = Prepared(red, DEFAULT_FOVY, 1.0, (0.0, 0.0), (SIDE, SIDE), False, "alpha")
    config = RefineConfig(steps=4, rate=(0.0, 0.0), size=2, denoise=(1, 1))
    trusted = trust(ball(), camera, red[None, ..., 3])[0]
    wanted = 0.5 + (red[..., :3] - 0.5) * trusted[..., None]
    for steps in (4, 40):
        albedo = refined(Moody(0.0), Subject((KnownView(whole),)), replace(config, steps=steps))
        seen = render_mesh(ball().with_(albedo=albedo), camera).rgb[0]
        for low, high in ((0.95, 1.01), (0.3, 0.7)):
            there = (trusted > low) & (trusted < high)
            assert int(there.sum()) > 50
            assert (seen - wanted)[there].abs().mean() < 0.04


def test_no_texel_goes_to_a_colour_that_nobody_showed() -> None:
    """A picture of speckles finer than the texture can follow: what some texels lack is not made good by others."""
    speckled = 0.4 + 0.3 * torch.rand(SIDE, SIDE, 3, generator=torch.Generator().manual_seed(0))
    rgba = torch.cat([speckled, torch.ones(SIDE, SIDE, 1)], dim=-1)
    picture = Prepared(rgba, DEFAULT_FOVY, 1.0, (0.0, 0.0), (SIDE, SIDE), False, "alpha")
    config = RefineConfig(steps=40, rate=(0.0, 0.0), size=2, denoise=(1, 1))
    albedo = refined(Moody(0.0), Subject((KnownView(picture),)), config)
    assert float(albedo.std()) > 0.01
    assert float(albedo.amin()) > 0.3 and float(albedo.amax()) < 0.8  # the evening of the seams goes a little beyond


def test_what_a_mirrored_picture_has_and_the_picture_lacks_is_not_painted() -> None:
    """Two dots, one on what the picture shows aslant without a dot, one on what it does not show."""
    mesh, dots = ball(), [F.normalize(orbit(a, 0.0, width=8).position[0], dim=0) / 2 for a in (52.0, 120.0)]

    def view(azimuth: float, spots: list[Tensor]) -> KnownView:
        camera = orbit(azimuth, 0.0, width=SIDE)
        fragments = rasterize_mesh(mesh.vertices, mesh.faces, camera)
        points = interpolate(mesh.vertices, mesh.faces, fragments)[0]
        rgba = torch.full((SIDE, SIDE, 4), 0.5)
        rgba[..., 3] = fragments.face[0] >= 0
        for spot in spots:
            rgba[(points - spot).norm(dim=-1) < 0.09, :3] = torch.tensor([0.9, 0.1, 0.1])
        return KnownView(Prepared(rgba, DEFAULT_FOVY, 1.0, (0.0, 0.0), (SIDE, SIDE), False, "alpha"), azimuth)

    known, mirrored = view(0.0, []), view(80.0, dots)
    config = RefineConfig(steps=20, rate=(0.0, 0.0), size=2, denoise=(1, 1))
    made = refine_texture(mesh, Subject((known,)), Moody(0.0), None, config, 1.0, lambda *_: None, (mirrored,))  # type: ignore[arg-type]
    contradicted, unseen = (
        float(render_mesh(made, orbit(a, 0.0, width=64)).rgb[0, 30:34, 30:34, 0].mean()) for a in (52.0, 120.0)
    )
    assert unseen > 0.8 and contradicted < 0.55


def test_what_no_picture_shows_takes_the_colours_of_the_picture() -> None:
    """A picture, red above blue, of a purple mesh: the side that it shows is as pictured anyway."""
    mesh = ball()
    assert mesh.albedo is not None
    red, purple, blue = (torch.tensor(c) for c in ([0.7, 0.2, 0.3], [0.5, 0.2, 0.5], [0.3, 0.2, 0.7]))
    half = (torch.arange(SIDE)[:, None, None] < SIDE / 2).float()
    rgba = torch.cat([torch.lerp(blue, red, half).expand(SIDE, SIDE, 3), torch.ones(SIDE, SIDE, 1)], dim=-1)
    view = KnownView(Prepared(rgba, DEFAULT_FOVY, 1.0, (0.0, 0.0), (SIDE, SIDE), False, "alpha"))
    config = RefineConfig(steps=4, rate=(0.0, 0.0), size=2, denoise=(1, 1))
    seen = {}
    for width in (0.0, 0.05):
        made = refine_texture(
            mesh.with_(albedo=purple.expand(128, 128, 3).contiguous()), Subject((view,)), Moody(0.0),  # type: ignore[arg-type]
            None, replace(config, palette=width), 1.0, lambda *_: None,
        )  # fmt: skip
        seen[width] = [render_mesh(made, orbit(a, 0.0, width=64)).rgb[0] for a in (0.0, 180.0)]
    (front, back), (front_after, back_after) = seen[0.0], seen[0.05]
    assert torch.allclose(front[20:44, 24:40], front_after[20:44, 24:40], atol=0.02)
    assert torch.allclose(back[18:24, 28:36], purple.expand(6, 8, 3), atol=0.02)
    assert torch.allclose(back_after[18:24, 28:36], red.expand(6, 8, 3), atol=0.05)
    assert torch.allclose(back_after[40:46, 28:36], blue.expand(6, 8, 3), atol=0.05)
