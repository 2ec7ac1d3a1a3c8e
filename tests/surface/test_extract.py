import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.camera import orbit
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians, concat, in_ball
from gaussmith.render.mesh import rasterize_mesh
from gaussmith.render.splat import rasterize
from gaussmith.surface import check, choose_threshold, extract_mesh, silhouette


def points(means: torch.Tensor, scales: tuple[float, float, float], opacity: float = 0.9) -> Gaussians:
    n = len(means)
    return Gaussians(
        means=means.float(),
        log_scales=torch.tensor(scales).log().repeat(n, 1),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        opacity_logits=torch.full((n,), math.log(opacity / (1 - opacity))),
        sh=torch.zeros(n, 1, 3),
    )


def shell(count: int = 3000, radius: float = 0.5, scale: float = 0.03) -> Gaussians:
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    return points(radius * direction, (scale, scale, scale))


def test_one_gaussian_is_its_ellipsoid() -> None:
    g = points(torch.tensor([[0.1, 0.2, 0.3]]), (0.05, 0.1, 0.2))
    mesh = extract_mesh(g, resolution=48, threshold=0.45)
    # 0.9 exp(-r^2/2) = 0.45 at r = sqrt(2 ln 2).
    unit = (mesh.vertices - g.means) / g.scales
    np.testing.assert_allclose(unit.norm(dim=1), math.sqrt(2 * math.log(2)), rtol=0.02)
    found = check(mesh)
    assert found.valid and found.genus == 0 and found.components == 1


def test_shell_is_filled_and_small_parts_go() -> None:
    crumb = points(torch.tensor([[0.0, 0.75, 0.0]]), (0.02, 0.02, 0.02))
    mesh = extract_mesh(concat([shell(), crumb]), resolution=48, max_faces=3000)
    found = check(mesh)
    assert found.valid and found.components == 1 and found.genus == 0 and found.faces <= 3000
    # Solid, and its surface where the splat's alpha is a half: some two of the shell's standard deviations outside it.
    assert 4 / 3 * math.pi * 0.5**3 < found.volume < 4 / 3 * math.pi * 0.6**3
    both = check(extract_mesh(concat([shell(), crumb]), resolution=48, max_faces=3000, min_component=0.0))
    assert both.valid and both.components == 2


def test_silhouettes_follow_the_splat() -> None:
    """A slab of 0.02 units on a post of 0.03: thin parts survive a grid of 0.02 and keep their outline."""
    rng = torch.Generator().manual_seed(1)
    slab = points((torch.rand(1500, 3, generator=rng) - 0.5) * torch.tensor([0.8, 0.004, 0.6]), (0.015, 0.005, 0.015))
    post = points((torch.rand(300, 3, generator=rng) - 0.5) * torch.tensor([0.01, 0.8, 0.01]), (0.008, 0.015, 0.008))
    g = concat([slab, post])
    mesh = extract_mesh(g, resolution=64, max_faces=8000)
    assert check(mesh).valid
    cameras = orbit(torch.tensor([20.0, 100.0, 250.0]), torch.tensor([35.0, -40.0, 15.0]), width=128)
    covered = (rasterize(g, cameras).alpha[..., 0] > 0.5).numpy()
    drawn = (rasterize_mesh(mesh.vertices, mesh.faces, cameras).face >= 0).numpy()
    assert np.mean([silhouette.iou(a, b) for a, b in zip(covered, drawn)]) > 0.93


def test_threshold_follows_the_overlap() -> None:
    """Doubling every Gaussian doubles the density but hardly moves the silhouette, so the level rises."""
    cameras = orbit(torch.arange(4) * 90.0, 10.0, width=96)
    one, two = shell(), concat([shell(), shell()])
    alpha = rasterize(one, cameras).alpha
    low, score = choose_threshold(one, cameras, alpha, resolution=48)
    high, _ = choose_threshold(two, cameras, alpha, resolution=48)
    assert score > 0.97
    assert high == pytest.approx(2 * low, rel=0.15)


def test_same_bytes_twice() -> None:
    a, b = (extract_mesh(shell(), resolution=40, max_faces=1000) for _ in range(2))
    assert torch.equal(a.vertices, b.vertices) and torch.equal(a.faces, b.faces)


def test_too_high_a_threshold_and_bad_arguments() -> None:
    with pytest.raises(UserError, match="lower the threshold"):
        extract_mesh(shell(200), resolution=32, threshold=1e4)
    with pytest.raises(UserError, match="no surface"):
        extract_mesh(points(torch.zeros(3, 3), (0.1, 0.1, 0.1), opacity=0.001), resolution=32)
    for bad in ({"resolution": 4}, {"max_faces": 3}, {"min_component": 2.0}, {"threshold": -1.0}):
        with pytest.raises(ValueError):
            extract_mesh(shell(200), **bad)
    with pytest.raises(ValueError, match="together"):
        extract_mesh(shell(200), cameras=orbit(0.0, 0.0))


def test_two_cubes_at_a_corner() -> None:
    cube = torch.cartesian_prod(*[torch.arange(5.0)] * 3) * 0.05
    g = concat([points(cube, (0.02, 0.02, 0.02)), points(cube + 0.2, (0.02, 0.02, 0.02))])
    for level in (0.3, 0.9, 1.5):
        assert check(extract_mesh(g, resolution=40, threshold=level)).valid


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 80),
    spread=st.sampled_from([0.0, 0.05, 0.3, 3.0]),
    thinnest=st.floats(-9, -3),
    faces=st.sampled_from([4, 200, 20000]),
    resolution=st.sampled_from([8, 21, 40]),
)
def test_any_soup_gives_a_solid(seed, count, spread, thinnest, faces, resolution) -> None:
    """Needles, sheets, crumbs: whatever is opaque somewhere becomes a valid mesh."""
    rng = torch.Generator().manual_seed(seed)
    g = Gaussians(
        means=spread * torch.randn(count, 3, generator=rng),
        log_scales=thinnest + (-1 - thinnest) * torch.rand(count, 3, generator=rng),
        quats=torch.randn(count, 4, generator=rng),
        opacity_logits=1 + 2 * torch.randn(count, generator=rng),
        sh=torch.zeros(count, 1, 3),
    )
    try:
        mesh = extract_mesh(g, resolution=resolution, max_faces=faces)
    except UserError:
        assert float(g.opacities.max()) < 0.95
        return
    assert check(mesh).valid


def test_a_tiny_splat_is_seen() -> None:
    """Nearer to the cameras that choose the level than the rasteriser's near plane, were it drawn at its own size."""
    ball = in_ball(1500, 0.5, torch.Generator().manual_seed(0), opacity=0.9)
    tiny = ball.transform(torch.eye(3), torch.zeros(3), 0.01)
    large, small = (extract_mesh(g, resolution=32).vertices.norm(dim=1).max() for g in (ball, tiny))
    assert float(small) == pytest.approx(0.01 * float(large), rel=0.02)


def test_a_ball_of_fresh_gaussians() -> None:
    mesh = extract_mesh(in_ball(1500, 0.5, torch.Generator().manual_seed(0), opacity=0.5), resolution=48)
    assert check(mesh).valid


def test_the_surface_takes_a_known_outline() -> None:
    """A wire of faint overlapping Gaussians, below the level of the ball that it sticks out of, and a haze around."""
    rng = torch.Generator().manual_seed(2)
    wire = points(
        (torch.rand(400, 3, generator=rng) - 0.5) * torch.tensor([0.03, 1.6, 0.03]), (0.008, 0.02, 0.008), 0.05
    )
    haze = points(0.1 + 0.5 * torch.randn(20, 3, generator=rng), (0.06, 0.06, 0.06), 0.3)
    g = concat([shell(radius=0.3), wire, haze])
    camera = orbit(0.0, 0.0, width=256)
    y, x = torch.meshgrid(*[torch.arange(256) + 0.5] * 2, indexing="ij")
    centre, pixels = 128.0, float(camera.K[0, 0, 0]) / 2  # pixels a world unit at the middle of the object
    alpha = ((x - centre) ** 2 + (y - centre) ** 2 < (0.36 * pixels) ** 2) | (
        ((x - centre).abs() < 0.02 * pixels) & ((y - centre).abs() < 0.75 * pixels)
    )
    wanted = alpha[None, ..., None].float()

    def drawn_iou(**settings) -> float:
        mesh = extract_mesh(g, resolution=96, min_component=0.1, **settings)
        assert check(mesh).valid
        face = rasterize_mesh(mesh.vertices, mesh.faces, camera).face[0] >= 0
        return silhouette.iou(face.numpy(), alpha.numpy())

    plain, fitted = drawn_iou(), drawn_iou(trusted=[(camera, wanted)])
    assert plain < 0.9 < 0.95 < fitted
