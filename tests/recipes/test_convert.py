import math

import pytest
import torch

from gaussmith import io
from gaussmith.events import StageFinished, Step, UserError
from gaussmith.gaussians import Gaussians, in_ball
from gaussmith.io.splat_ply import save_splat_ply
from gaussmith.mesh import Mesh
from gaussmith.recipes.convert import Config, run

QUICK = Config(size=64, views=3)


def splat(degree: int = 2, count: int = 400) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    made = in_ball(count, 0.5, generator, opacity=0.8, sh_degree=degree)
    made.sh = 0.5 * torch.randn(made.sh.shape, generator=generator)
    return made.transform(torch.eye(3), torch.tensor([5.0, -3, 1]), 4.0)


@pytest.fixture
def source(tmp_path):
    io.save_gaussians(splat(), tmp_path / "a.ply")
    return tmp_path / "a.ply"


@pytest.mark.parametrize(
    ("suffix", "least", "most"),
    [
        (".ply", math.inf, math.inf),
        (".compressed.ply", 45, 90),
        (".spz", 30, 60),
        (".glb", 90, math.inf),
        (".gltf", 90, math.inf),
        (".splat", 10, 40),  # harmonics are dropped
    ],
)
def test_the_loss_is_measured(source, tmp_path, suffix, least, most):
    events = []
    report = run(QUICK, source, tmp_path / f"b{suffix}", events.append)
    assert report.count == 400
    assert report.source_bytes == source.stat().st_size
    assert report.target_bytes == (tmp_path / f"b{suffix}").stat().st_size
    assert least <= report.psnr <= most
    assert len([e for e in events if isinstance(e, Step)]) == 3
    assert isinstance(events[-1], StageFinished)


def test_the_degree_is_lowered_and_never_raised(source, tmp_path):
    losses = {}
    for degree, bands in ((0, 1), (1, 4), (2, 9), (3, 9)):
        losses[degree] = run(Config(sh_degree=degree, size=64, views=3), source, tmp_path / "b.ply").psnr
        assert io.load_gaussians(tmp_path / "b.ply").sh.shape == (400, bands, 3)
    assert losses[0] < losses[1] < losses[2] == losses[3] == math.inf


def test_flip_turns_half_a_turn_and_twice_is_nothing(source, tmp_path):
    config = Config(flip=True, size=64, views=3)
    assert run(config, source, tmp_path / "b.ply").psnr > 80
    run(config, tmp_path / "b.ply", tmp_path / "c.ply")
    a, b, c = (io.load_gaussians(tmp_path / f"{name}.ply") for name in "abc")
    assert torch.equal(b.means, a.means * torch.tensor([1.0, -1, -1]))
    assert torch.allclose(c.covariances, a.covariances, atol=1e-6)
    assert torch.allclose(c.sh, a.sh, atol=1e-5)
    assert not torch.allclose(b.sh, a.sh, atol=1e-2)


def test_without_views_nothing_is_measured(source, tmp_path):
    assert run(Config(views=0), source, tmp_path / "b.spz").psnr is None


@pytest.mark.parametrize("suffix", [".ply", ".compressed.ply", ".spz"])
def test_empty_and_invisible_splats_are_converted_and_not_measured(tmp_path, suffix):
    save_splat_ply(splat(1, 2).select(torch.zeros(0, dtype=torch.long)), tmp_path / "a.ply")
    report = run(QUICK, tmp_path / "a.ply", tmp_path / f"b{suffix}")
    assert (report.count, report.psnr) == (0, None)
    assert io.load_gaussians(tmp_path / f"b{suffix}").sh.shape == (0, 4, 3)
    faint = splat(0, 5)
    faint.opacity_logits -= 20
    save_splat_ply(faint, tmp_path / "a.ply")
    assert run(QUICK, tmp_path / "a.ply", tmp_path / f"b{suffix}").psnr is None


def test_meshes_are_converted(tmp_path):
    corners = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    faces = torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    io.save_mesh(Mesh(corners, faces), tmp_path / "a.stl")
    report = run(Config(), tmp_path / "a.stl", tmp_path / "b.glb")
    assert (report.count, report.psnr) == (None, None)
    run(Config(flip=True), tmp_path / "b.glb", tmp_path / "c.glb")
    b, c = io.load(tmp_path / "b.glb"), io.load(tmp_path / "c.glb")
    assert torch.equal(c.vertices, b.vertices * torch.tensor([1.0, -1, -1]))
    assert torch.allclose(c.normals, b.normals * torch.tensor([1.0, -1, -1]), atol=1e-6)
    for config, name, reason in (
        (Config(), "b.spz", "a mesh, not a splat"),
        (Config(sh_degree=1), "b.obj", "--sh-degree"),
    ):
        with pytest.raises(UserError, match=reason):
            run(config, tmp_path / "a.stl", tmp_path / name)
        assert not (tmp_path / name).exists()


def test_what_cannot_be_done_is_one_sentence_and_touches_nothing(source, tmp_path):
    before = source.read_bytes()
    (tmp_path / "link.ply").symlink_to(source)
    for first, second, reason in (
        (source, source, "never overwritten"),
        (source, tmp_path / "link.ply", "never overwritten"),
        (source, tmp_path / "b.obj", "gaussmith mesh turns"),
        (source, tmp_path / "b", "ends in"),
        (tmp_path / "missing.ply", tmp_path / "b.spz", "no such file"),
        (tmp_path / "missing.xyz", tmp_path / "b.spz", "suffix must be"),
    ):
        with pytest.raises(UserError, match=reason) as caught:
            run(QUICK, first, second)
        assert "\n" not in str(caught.value)
    assert source.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ply", "link.ply"]
