"""Texture steps: they converge, leave alone what is not seen, and leave no grain between sparse pixels."""

from __future__ import annotations

import torch

from gaussmith.camera import orbit
from gaussmith.mesh import Mesh
from gaussmith.texture import refine

QUAD = Mesh(
    vertices=torch.tensor([[-0.5, -0.5, 0.0], [0.5, -0.5, 0.0], [0.5, 0.5, 0.0], [-0.5, 0.5, 0.0]]),
    faces=torch.tensor([[0, 1, 2], [0, 2, 3]]),
    uv=torch.tensor([[0.1, 0.9], [0.6, 0.9], [0.6, 0.1], [0.1, 0.1]]),
    uv_faces=torch.tensor([[0, 1, 2], [0, 2, 3]]),
)


def refined(side: int, size: int, steps: int, target: torch.Tensor) -> tuple[torch.Tensor, refine.View]:
    view = refine.View(QUAD, orbit(0.0, 0.0, width=side))
    texture = torch.full((size, size, 3), 0.5)
    for _ in range(steps):
        missing = target - view.render(texture)[..., :3]
        gathered = refine.scatter(view, missing, view.covered.float(), size)
        texture = refine.step(texture, gathered, 1.0)
    return texture, view


def test_converges_to_the_picture():
    """Stripes a few pixels wide come back, and go on coming closer: rate 1 is stable."""
    stripes = (0.5 + 0.4 * torch.sin(torch.arange(96) / 2))[None, None, :, None].expand(1, 96, 96, 3)
    errors = []
    for steps in (1, 8, 60):
        texture, view = refined(96, 128, steps, stripes)
        inside = view.covered[..., None].expand(-1, -1, -1, 3)
        errors.append(float((view.render(texture)[..., :3] - stripes)[inside].abs().mean()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02


def test_no_grain_where_pixels_are_sparser_than_texels():
    """A picture of one colour, at two texels a pixel, gives a texture of one colour."""
    flat = torch.tensor([0.8, 0.3, 0.1]).expand(1, 48, 48, 3)
    texture, _ = refined(48, 64, 12, flat)
    seen = texture[16:48, 16:32]
    assert (seen - flat[0, 0, 0]).abs().max() < 0.03


def test_unseen_texels_stay():
    texture, _ = refined(96, 128, 5, torch.ones(1, 96, 96, 3))
    assert torch.equal(texture[:, 90:], torch.full_like(texture[:, 90:], 0.5))


def test_cosine_is_one_face_on_and_falls_with_the_angle():
    front = refine.View(QUAD, orbit(0.0, 0.0, radius=50.0, fovy=2.0, width=32))
    side = refine.View(QUAD, orbit(60.0, 0.0, radius=50.0, fovy=2.0, width=32))
    assert torch.allclose(front.cosine, torch.ones_like(front.cosine), atol=1e-3)
    assert torch.allclose(side.cosine, torch.full_like(side.cosine, 0.5), atol=0.02)
