"""What no picture shows takes the colours that the pictures show at its height."""

from __future__ import annotations

import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gaussmith.camera import orbit
from gaussmith.mesh import Mesh
from gaussmith.texture.palette import FAR, MOST, REACH, drawn_to, samples

WIDTH = 0.05
TEAL, YELLOW, BROWN = (torch.tensor(c) for c in ([0.24, 0.55, 0.58], [0.92, 0.79, 0.33], [0.58, 0.45, 0.24]))


def lamp() -> tuple[Tensor, Tensor]:
    """Colours by height: a brown rod below 0, a teal shade above with a yellow stripe from 0.3 to 0.4."""
    heights = torch.linspace(-0.5, 0.6, 221)
    colors = torch.where(((heights > 0.3) & (heights < 0.4))[:, None], YELLOW, TEAL)
    return torch.where((heights < 0)[:, None], BROWN, colors), heights


def moved(color: Tensor, height: float) -> Tensor:
    return drawn_to(color[None], torch.tensor([height]), lamp(), WIDTH)[0]


def test_a_colour_between_two_goes_to_the_nearer_of_its_height() -> None:
    for share, wanted in ((0.35, TEAL), (0.65, YELLOW)):
        assert torch.allclose(moved(torch.lerp(TEAL, YELLOW, share), 0.35), wanted, atol=0.01)
    # The brown of the rod lies between the two in colour, but not in height.
    between = torch.lerp(TEAL, YELLOW, 0.57)
    assert (between - BROWN).norm() < (between - YELLOW).norm()
    assert torch.allclose(moved(between, 0.35), YELLOW, atol=0.01)
    assert torch.allclose(moved(between, -0.3), BROWN, atol=0.01)


def test_a_colour_of_the_picture_stays() -> None:
    colors, heights = lamp()
    assert torch.allclose(drawn_to(colors, heights, (colors, heights), WIDTH), colors, atol=0.01)


def test_a_colour_unlike_all_of_the_pictures_stays() -> None:
    purple = torch.tensor([0.6, 0.0, 0.9])
    assert float((lamp()[0] - purple).norm(dim=1).amin()) > FAR
    assert torch.allclose(moved(purple, 0.2), purple, atol=0.01)


def test_shades_stay_shades() -> None:
    """Where a picture shows a ramp, a ramp is left as it is but for its ends."""
    grey = torch.linspace(0.1, 0.9, 300)[:, None].expand(-1, 3).contiguous()
    heights = torch.zeros(300)
    asked = torch.linspace(0.2, 0.8, 50)[:, None].expand(-1, 3).contiguous()
    assert torch.allclose(drawn_to(asked, torch.zeros(50), (grey, heights), WIDTH), asked, atol=0.01)


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(0, 40))
def test_it_is_a_mean_of_what_is_there(seed: int, shown: int, asked: int) -> None:
    random = torch.Generator().manual_seed(seed)
    palette, levels = torch.rand(shown, 3, generator=random), torch.rand(shown, generator=random)
    colors, heights = torch.rand(asked, 3, generator=random), torch.rand(asked, generator=random)
    out = drawn_to(colors, heights, (palette, levels), WIDTH)
    assert out.shape == (asked, 3) and bool(torch.isfinite(out).all())
    low = torch.minimum(colors, palette.amin(dim=0))
    assert bool((out >= low - 1e-4).all()) and bool((out <= torch.maximum(colors, palette.amax(dim=0)) + 1e-4).all())
    order = torch.randperm(shown, generator=random)
    assert torch.allclose(out, drawn_to(colors, heights, (palette[order], levels[order]), WIDTH), atol=1e-4)


def ball() -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    return Mesh(torch.from_numpy(sphere.vertices.copy()).float(), torch.from_numpy(sphere.faces.copy()).long())


def test_samples_are_unmixed_and_at_their_height() -> None:
    """A picture of a ball, teal above yellow, the border blurred."""
    camera = orbit(30.0, 0.0, width=96)
    share = ((torch.arange(96.0)[:, None, None] - 44) / 8).clamp(0, 1)
    picture = torch.cat([torch.lerp(TEAL, YELLOW, share).expand(96, 96, 3), torch.ones(96, 96, 1)], dim=-1)
    colors, heights = samples(ball(), camera, picture)
    assert 100 < len(colors) <= MOST and colors.shape == (len(heights), 3)
    assert float(heights.amax()) > 0.4 and float(heights.amin()) < -0.4
    high, low = heights > 2 * REACH, heights < -2 * REACH
    assert torch.allclose(colors[high], TEAL, atol=1e-3) and torch.allclose(colors[low], YELLOW, atol=1e-3)
    assert float(torch.minimum((colors - TEAL).norm(dim=1), (colors - YELLOW).norm(dim=1)).amax()) < 0.05


def test_of_nothing_there_are_no_samples() -> None:
    camera = orbit(0.0, 0.0, width=32)
    colors, heights = samples(ball(), camera, torch.zeros(32, 32, 4))
    assert colors.shape == (0, 3) and heights.shape == (0,)
    faint = torch.full((32, 32, 4), 0.5)
    assert len(samples(ball(), camera, faint)[0]) == 0
