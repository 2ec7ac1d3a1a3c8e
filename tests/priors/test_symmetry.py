"""Mirror planes: which are believed, what is made of them, and how the head learns."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny_prior import tiny_prior
from torch import Tensor

from gaussmith.camera import PRIOR_FOVY, orbit
from gaussmith.gaussians import from_points
from gaussmith.priors.embedded import prior as prior_module
from gaussmith.priors.embedded.network import Encoded, Told
from gaussmith.priors.embedded.prior import EmbeddedPrior, load_weights, save_weights
from gaussmith.priors.embedded.symmetry import (
    APART,
    AZIMUTHS,
    COLUMNS,
    FARTHEST,
    FEATURES,
    FURTHER,
    MOST,
    NEAREST,
    STEP,
    WORTH,
    Plane,
    SymmetryHead,
    agreement,
    features,
    find_planes,
    self_agreement,
    usable,
)
from gaussmith.render.splat import rasterize
from gaussmith.synth.procedural import generate_objects
from gaussmith.train.subject import KnownView
from gaussmith.train.symmetry import Planes, fit, judge, look, teach
from gaussmith.views import OrbitView


@dataclass
class Knows:
    """A network whose draft is the truth: coloured blobs, mirrored in the plane that points to azimuth `plane`."""

    plane: float

    def seen(self, azimuths: Tensor, size: int) -> Tensor:
        """Premultiplied RGBA [B,4,size,size]."""
        half = torch.tensor([[0.28, 0.1, 0.1], [0.1, -0.25, 0.3], [0.22, 0.28, -0.15], [0.05, 0.0, -0.3]])
        points = torch.cat([half, half * torch.tensor([-1.0, 1.0, 1.0])])
        a = torch.deg2rad(torch.tensor(self.plane))
        x, y, z = points.unbind(dim=1)
        points = torch.stack([a.cos() * x + a.sin() * z, y, a.cos() * z - a.sin() * x], dim=1)
        colors = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.2], [0.2, 0.2, 0.9], [0.8, 0.7, 0.1]]).repeat(2, 1)
        blobs = replace(from_points(points, colors, 0.95), log_scales=torch.full((8, 3), -2.4))
        drawn = rasterize(blobs, orbit(azimuths, 10.0, fovy=PRIOR_FOVY, width=size), geometry=False)
        return torch.cat([drawn.rgb, drawn.alpha], dim=-1).permute(0, 3, 1, 2)

    def draft(self, encoded: Any, owner: Tensor, azimuth: Tensor, elevation: Tensor, side: int = 64) -> Tensor:
        return self.seen(azimuth, side)


class Agreeing(SymmetryHead):
    """Promises 10 dB times the agreement with the picture."""

    def forward(self, given: Tensor) -> Tensor:
        return 10 * given[..., 6 * COLUMNS : 6 * COLUMNS + 2].mean(dim=-1)


def encoded() -> Encoded:
    return Encoded(torch.zeros(1), torch.zeros(1), torch.zeros(1), torch.tensor([10.0]))


@pytest.mark.parametrize("plane", [-52.0, -31.0, 17.0, 44.0])
def test_the_plane_of_a_thing_is_found_to_a_degree(plane):
    knows = Knows(plane)
    found = find_planes(Agreeing(), knows, encoded(), knows.seen(torch.zeros(1), 64) * 2 - 1)[0]  # type: ignore[arg-type]
    assert found.azimuth == pytest.approx(plane, abs=1.01)
    assert found.view == 2 * found.azimuth


def test_a_mirrored_picture_is_what_is_seen_from_twice_the_plane():
    knows = Knows(25.0)
    agreed, drafts = agreement(knows, encoded(), knows.seen(torch.zeros(1), 64) * 2 - 1, torch.tensor([25.0, -25.0]))  # type: ignore[arg-type]
    assert drafts.shape == (2, 4, 32, 32)
    assert (agreed[0] > 0.4).all() and (agreed[1] < 0.2).all()  # 28 dB; under 24 dB


@pytest.mark.parametrize("plane", [0.0, 3.0, 80.0])
def test_planes_that_show_nothing_new_or_the_back_are_not_taken(plane):
    knows = Knows(plane)
    for found in find_planes(Agreeing(), knows, encoded(), knows.seen(torch.zeros(1), 64) * 2 - 1):  # type: ignore[arg-type]
        assert NEAREST <= abs(found.azimuth) <= FARTHEST
        assert abs(found.azimuth - plane) > 1.5


def test_nothing_is_believed_that_is_not_worth_it():
    class Never(SymmetryHead):
        def forward(self, given: Tensor) -> Tensor:
            return torch.full(given.shape[:-1], WORTH - 0.01)

    knows = Knows(30.0)
    assert find_planes(Never(), knows, encoded(), knows.seen(torch.zeros(1), 64) * 2 - 1) == ()  # type: ignore[arg-type]


def test_several_planes_give_views_that_lie_apart():
    class Equal(SymmetryHead):
        """Promises the same of every plane, a little more the farther it turns."""

        def forward(self, given: Tensor) -> Tensor:
            return FURTHER + AZIMUTHS.abs() / 90

    knows = Knows(30.0)
    planes = find_planes(Equal(), knows, encoded(), knows.seen(torch.zeros(1), 64) * 2 - 1)  # type: ignore[arg-type]
    assert len(planes) == MOST
    for i, plane in enumerate(planes):
        assert bool(usable(torch.tensor(plane.azimuth)))
        assert all(abs((plane.view - other.view + 180) % 360 - 180) >= APART for other in planes[:i])


@pytest.mark.parametrize("plane", [-52.0, -16.0, 20.0, 44.0])
def test_a_draft_is_like_itself_in_its_plane(plane):
    agreed = self_agreement(Knows(plane), encoded())  # type: ignore[arg-type]
    assert agreed.shape == (len(AZIMUTHS), 4)
    for column in agreed.T:
        assert abs(float(AZIMUTHS[column.argmax()]) - plane) <= STEP / 2
        assert column.max() > 0.4  # 28 dB
        assert column.median() < 0.2


def test_features_come_round_again():
    course = torch.randn(len(AZIMUTHS), COLUMNS, generator=torch.Generator().manual_seed(0))
    given = features(course)
    assert given.shape == (len(AZIMUTHS), FEATURES)
    # The window of the first plane begins with the last ones': a plane points both ways.
    before, window = 6 * COLUMNS, 13 * COLUMNS
    assert torch.equal(given[0, :before], course[-6:].flatten())
    assert torch.equal(given[0, before : before + COLUMNS], course[0])
    shifted = features(course.roll(5, dims=0))
    assert torch.allclose(shifted[5:, :window], given[:-5, :window])


@pytest.fixture
def tiny() -> EmbeddedPrior:
    return tiny_prior()


def test_each_view_is_asked_of_the_nearer_picture(tiny, monkeypatch):
    """Where the say of a picture falls off within a degree, and mirrored ones have as much."""
    monkeypatch.setattr(prior_module, "BLEND", 0.5)
    monkeypatch.setattr(prior_module, "DOUBT", 0.0)
    random = torch.Generator().manual_seed(1)
    picture, noisy = torch.rand(4, 64, 64, generator=random), torch.randn(1, 4, 64, 64, generator=random)
    both = tiny.with_mirrored(tiny.condition(picture, 10.0), [Plane(40.0, 2.0)])
    mirrored = tiny.condition(picture.flip(-1), 10.0)
    t = torch.tensor([0.6])

    def asked(condition: Any, azimuth: float) -> Tensor:
        return tiny.predict(noisy, t, OrbitView(torch.tensor([azimuth]), torch.tensor([5.0]), size=64), condition, 1.0)

    for azimuth in (0.0, -60.0, 30.0, 200.0 + 50):
        assert torch.allclose(asked(both, azimuth), asked(tiny.condition(picture, 10.0), azimuth), atol=1e-4)
    for azimuth in (80.0, 50.0, 130.0, 210.0):
        assert torch.allclose(asked(both, azimuth), asked(mirrored, azimuth - 80), atol=1e-4)
    assert not torch.allclose(asked(both, 80.0), asked(tiny.condition(picture, 10.0), 80.0), atol=1e-2)
    three = tiny.with_mirrored(tiny.condition(picture, 10.0), [Plane(40.0, 2.0), Plane(-50.0, 2.0)])
    for azimuth in (-100.0, -60.0, 210.0):
        assert torch.allclose(asked(three, azimuth), asked(mirrored, azimuth + 100), atol=1e-4)


def test_the_say_of_a_picture_falls_off_with_the_turn(tiny):
    """What is asked of two pictures lies between what is asked of each, nearer to the nearer's."""
    random = torch.Generator().manual_seed(1)
    picture, noisy = torch.rand(4, 64, 64, generator=random), torch.randn(1, 4, 64, 64, generator=random)
    alone = tiny.condition(picture, 10.0)
    both, mirrored = tiny.with_mirrored(alone, [Plane(45.0, 2.0)]), tiny.condition(picture.flip(-1), 10.0)

    def asked(condition: Any, azimuth: float) -> Tensor:
        view = OrbitView(torch.tensor([azimuth]), torch.tensor([10.0]), size=64)
        return tiny.predict(noisy, torch.ones(1), view, condition, 1.0)

    gaps = []
    for azimuth in (0.0, 45.0, 90.0):
        seen = asked(both, azimuth)
        gaps.append([float((seen - x).square().mean()) for x in (asked(alone, azimuth), asked(mirrored, azimuth - 90))])
    (front, far), (middle, doubted), (further, side) = gaps
    assert 0 < front < far and 0 < side < further
    assert front < middle < doubted  # half-way, the picture has more say than the mirrored one
    # The third in order has none.
    near, further_too = ([Plane(10.0, 2.0)], [Plane(10.0, 2.0), Plane(60.0, 2.0)])
    seen = [asked(tiny.with_mirrored(alone, planes), -10.0) for planes in (near, further_too)]
    assert torch.allclose(*seen, atol=1e-4)
    symmetric = (picture + picture.flip(-1)) / 2
    single = tiny.condition(symmetric, 10.0)
    assert torch.allclose(asked(tiny.with_mirrored(single, [Plane(0.0, 2.0)]), 30.0), asked(single, 30.0), atol=1e-4)


def test_what_several_references_tell_is_averaged_where_it_can_be(tiny):
    random = torch.Generator().manual_seed(0)
    b, r = 2, 3
    told = Told(
        features=torch.randn(b * r, 2, 4, 4, generator=random), draft=torch.randn(b * r, 4, 8, 8, generator=random),
        tokens=torch.randn(b * r, 5, 6, generator=random), pose=torch.randn(b * r, 6, generator=random),
        keep=torch.ones(b * r), caption=torch.arange(b * r)[:, None], keep_caption=torch.zeros(b * r),
        place=torch.randn(b * r, 6, generator=random),
    )  # fmt: skip
    share = torch.tensor([[0.2, 0.5, 0.3], [0.6, 0.4, 0.0]])
    one = told.blended(share)
    for i in range(b):
        rows, best = range(i * r, (i + 1) * r), i * r + int(share[i].argmax())
        for name in ("features", "draft"):
            wanted = sum(share[i, k] * getattr(told, name)[row] for k, row in enumerate(rows))
            assert torch.allclose(getattr(one, name)[i], wanted, atol=1e-6)
        for name in ("tokens", "pose", "keep", "caption", "keep_caption", "place"):
            assert torch.equal(getattr(one, name)[i], getattr(told, name)[best])


def test_the_draft_of_both_pictures_gives_points(tiny):
    condition = tiny.condition(torch.rand(4, 64, 64, generator=torch.Generator().manual_seed(1)), 0.0)
    both = tiny.with_mirrored(condition, [Plane(45.0, 2.0)])
    points, colors = tiny.draft_points(both, 400, torch.Generator().manual_seed(0))
    assert points.shape == colors.shape and 200 <= len(points) <= 400
    again, _ = tiny.draft_points(both, 400, torch.Generator().manual_seed(0))
    assert torch.equal(points, again)


def test_without_a_head_nothing_is_mirrored(tiny, tmp_path):
    condition = tiny.condition(torch.rand(4, 64, 64), 0.0)
    assert tiny.mirror_planes(condition) == ()
    save_weights(tiny, tmp_path / "w.safetensors")
    assert load_weights(tmp_path / "w.safetensors").symmetry is None


def test_the_head_travels_with_the_weights(tiny, tmp_path):
    tiny.symmetry = SymmetryHead()
    given = torch.randn(7, FEATURES)
    save_weights(tiny, tmp_path / "w.safetensors")
    loaded = load_weights(tmp_path / "w.safetensors", precision="float32")
    assert loaded.symmetry is not None
    assert torch.equal(loaded.symmetry(given), tiny.symmetry(given))


def test_a_head_of_another_kind_is_left_out(tiny, tmp_path):
    tiny.symmetry = SymmetryHead()
    tiny.symmetry.mean = torch.zeros(FEATURES - 1)
    save_weights(tiny, tmp_path / "w.safetensors")
    loaded = load_weights(tmp_path / "w.safetensors", precision="float32")
    assert loaded.symmetry is None
    assert torch.equal(loaded.network.encoder_in.weight, tiny.network.encoder_in.weight.half().float())


def test_the_shipped_prior_sees_the_chest_and_the_taxi():
    """The plane of each lies 30 and 41 degrees from the camera; a wrong one would put another object's side there."""
    from gaussmith.picture import prepare
    from gaussmith.priors.base import crop_to_prior

    prior = load_weights()
    for name, elevation, plane in (("chest", 15.0, 30.0), ("taxi", 15.0, 41.0)):
        view = KnownView(prepare(f"examples/{name}.png", keep_framing=True))
        picture = crop_to_prior(view.premultiplied().permute(2, 0, 1))
        found = prior.mirror_planes(prior.condition(picture, elevation))
        assert found[0].azimuth == pytest.approx(plane, abs=4)


def test_a_known_view_is_mirrored():
    from gaussmith.picture import Prepared

    rgba = torch.rand(8, 8, 4)
    view = KnownView(Prepared(rgba, 49.1, 1.0, (0.0, 0.0), (8, 8), True, "alpha"), 100.0, 20.0).mirrored(110.0)
    assert (view.azimuth, view.elevation) == (-150.0, 20.0)
    assert torch.equal(view.prepared.rgba, rgba.flip(1))


def test_a_head_learns_what_planes_are_worth():
    random = torch.Generator().manual_seed(0)
    given = torch.randn(40, len(AZIMUTHS), FEATURES, generator=random)
    worth = 3 * given[..., 12] - 1
    learned = judge(fit(Planes(given, worth), steps=300), Planes(given, worth))
    untaught = judge(fit(Planes(given, worth), steps=0), Planes(given, worth))
    assert learned["mirrored"] == 1.0 and learned["mirrored_worth"] > 3 and learned["mirrored_better"] > 0.95
    assert untaught["mirrored_worth"] < learned["mirrored_worth"] - 1
    again = fit(Planes(given, worth), steps=20)(given)
    assert torch.equal(again, fit(Planes(given, worth), steps=20)(given))


def test_objects_teach_a_weights_file(tiny, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(tiny, path)
    objects = generate_objects(0, 3)
    figures = teach(path, objects, [0, 1], [2])
    assert set(figures) == {"mirrored", "mirrored_worth", "mirrored_better"}
    assert load_weights(path).symmetry is not None


def test_a_mirrored_picture_of_a_symmetric_object_is_worth_something(tiny):
    objects = generate_objects(0, 40)
    named = [i for i, name in enumerate(objects.names.tolist()) if "abstract" not in name][:3]
    planes = look(tiny.network, objects, named)
    assert planes.features.shape == (6, len(AZIMUTHS), FEATURES) and planes.worth.shape == (6, len(AZIMUTHS))
    # Mirrored, the same: what one picture teaches of a plane, its mirrored one teaches of the plane on the other side.
    assert torch.equal(planes.worth[0], planes.worth[1].flip(0))
    assert torch.isfinite(planes.worth).all() and np.isfinite(planes.features.numpy()).all()
    assert F.l1_loss(planes.features[0], planes.features[1].flip(0)) > 0  # windows run the other way
