"""What a job is about: angles as priors count them, and the warning of a strange picture."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gaussmith.camera import DEFAULT_FOVY
from gaussmith.diffusion.prompts import VIEWS, Prompts, view_weights
from gaussmith.picture import Prepared
from gaussmith.priors.embedded.domain import measure_domain
from gaussmith.train.subject import KnownView, Subject, strangeness, tell
from gaussmith.views import TEXT_HEIGHTS, OrbitView, random_orbit


def view(rgba: torch.Tensor, azimuth: float = 0.0, elevation: float = 0.0) -> KnownView:
    side = rgba.shape[0]
    return KnownView(Prepared(rgba, DEFAULT_FOVY, 1.0, (0.0, 0.0), (side, side), True, "alpha"), azimuth, elevation)


def disc(seed: int = 0, noise: float = 0.0) -> torch.Tensor:
    """[128,128,4] a disc of one colour, or with noise in it."""
    random = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*[torch.arange(128) - 63.5] * 2, indexing="ij")
    rgba = torch.rand(4, generator=random).expand(128, 128, 4).clone()
    rgba[..., :3] = (rgba[..., :3] + noise * torch.randn(128, 128, 3, generator=random)).clamp(0, 1)
    rgba[..., 3] = (x.hypot(y) < 25 + 15 * torch.rand(1, generator=random)).float()
    return rgba


def test_angles_count_from_the_reference_or_from_the_front() -> None:
    views = OrbitView(torch.tensor([10.0, 170.0, -170.0]), torch.zeros(3))
    subject = Subject((view(disc(), azimuth=30.0),))
    told = subject.relative(views, SimpleNamespace(from_reference=True))  # type: ignore[arg-type]
    assert torch.allclose(told.azimuth, torch.tensor([-20.0, 140.0, 160.0]))
    for unturned in (SimpleNamespace(from_reference=False),):
        assert torch.equal(subject.relative(views, unturned).azimuth, views.azimuth)  # type: ignore[arg-type]
    words = Subject(prompts=Prompts("a disc"))
    assert torch.equal(words.relative(views, SimpleNamespace(from_reference=True)).azimuth, views.azimuth)  # type: ignore[arg-type]


def test_priors_told_in_words_are_shown_the_top_too() -> None:
    words, pictured = Subject(prompts=Prompts("a disc")), Subject((view(disc(), elevation=40.0),))
    told, angles = (SimpleNamespace(told_in_words=w) for w in (True, False))
    assert words.heights(told) == TEXT_HEIGHTS and words.heights(angles) == (-30.0, 30.0, False)  # type: ignore[arg-type]
    assert pictured.heights(angles) == (-30.0, 70.0, False)  # type: ignore[arg-type]
    assert pictured.heights(told) == (-30.0, 80.0, True)  # type: ignore[arg-type]
    seen = random_orbit(2000, torch.Generator().manual_seed(0), words.heights(told))  # type: ignore[arg-type]
    assert 0.1 < float((view_weights(seen)[:, VIEWS.index("overhead")] > 0).float().mean()) < 0.25


def test_nothing_is_no_subject() -> None:
    with pytest.raises(ValueError, match="view or a prompt"):
        Subject()


def test_a_prior_is_told_reference_and_words() -> None:
    asked: dict[str, Any] = {}

    def condition(reference: torch.Tensor, elevation: float, prompts: Any, on_event: Any) -> str:
        asked.update(shape=reference.shape, elevation=elevation, prompts=prompts)
        return "told"

    prior: Any = SimpleNamespace(name="p", condition=condition)
    subject = Subject((view(disc(), elevation=12.0),), Prompts("a disc"))
    assert tell(prior, subject) == "told"
    assert asked["elevation"] == 12.0 and asked["prompts"].text == "a disc" and asked["shape"][0] == 4


def test_strange_pictures_are_told_apart() -> None:
    pictures = torch.stack([view(disc(seed)).premultiplied().permute(2, 0, 1) for seed in range(40)])
    prior: Any = SimpleNamespace(name="p", domain=measure_domain(pictures[:30], pictures[30:]))
    events: list[Any] = []
    usual = strangeness(prior, Subject((view(disc(50)),)), events.append)
    assert usual is not None and usual["percentile"] <= 100
    odd = strangeness(prior, Subject((view(disc(51, noise=0.5)),)), events.append)
    assert odd is not None and odd["far"] and "unlike" in events[-1].message
    assert strangeness(SimpleNamespace(name="p"), Subject((view(disc()),))) is None  # type: ignore[arg-type]
    assert strangeness(prior, Subject(prompts=Prompts("a disc"))) is None
