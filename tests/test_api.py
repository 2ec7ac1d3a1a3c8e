"""What the Python functions hand on; what they make is tested with the recipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from says import Says

from gaussmith import api
from gaussmith.picture import outline
from gaussmith.priors.embedded.prior import load_placement
from gaussmith.train.subject import stand

EXAMPLES = Path(__file__).parents[1] / "examples"
CHEST = EXAMPLES / "chest.png"


class Asked(Exception):
    """Ends a job once its prior has been asked for."""


@pytest.mark.parametrize(
    "job",
    [
        lambda **options: api.image_to_3d(CHEST, **options),
        lambda **options: api.text_to_3d("a chest", **options),
        lambda **options: api.refine_mesh(_triangle(), prompt="a chest", **options),
    ],
    ids=["image_to_3d", "text_to_3d", "refine_mesh"],
)
def test_the_memory_limit_reaches_the_prior(job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, int | None]] = []

    def load_prior(name: str, device: str = "auto", max_memory: int | None = None) -> None:
        asked.append((name, device, max_memory))
        raise Asked

    monkeypatch.setattr(api, "load_prior", load_prior)
    with pytest.raises(Asked):
        job(prior="sd-2.1", device="cpu", max_memory=4_000_000_000)
    assert asked == [("sd-2.1", "cpu", 4_000_000_000)]


def test_an_unknown_elevation_is_guessed_and_the_object_put_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    head = Says(0.02, 0.05, -0.1, 21.04)
    monkeypatch.setattr(api, "load_placement", lambda: head)
    (guessed,) = api.known_views([CHEST])
    assert (guessed.elevation, guessed.spread) == (18.3, 11.1)  # 21 give or take 15, drawn to what is usual
    (told,) = api.known_views([CHEST], elevation=21.04)
    assert (told.elevation, told.spread) == (21.04, 0.0)
    assert guessed.prepared.rgba.shape == (512, 512, 4)
    # The outline's middle lies left of and above the frame's, since the object's is said to be right of and below it.
    scale, (x, y) = outline(told.prepared)
    assert 1 / scale == pytest.approx(0.905, rel=0.02) and x < 252 and y < 245
    (as_framed,) = api.known_views([CHEST], keep_framing=True)
    assert as_framed.prepared.keep_framing and as_framed.elevation == 18.3
    assert torch.equal(as_framed.prepared.rgba, api.prepare(CHEST, keep_framing=True).rgba)
    # What is known already is left alone, and prepared pictures are not moved.
    assert api.known_views([guessed], elevation=5.0) == (guessed,)
    (prepared,) = api.known_views([told.prepared], elevation=5.0)
    assert prepared.prepared is told.prepared and prepared.elevation == 5.0


def test_the_user_is_told_of_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "load_placement", lambda: Says(0.0, 0.0, 0.0, 21.0))
    heard: list[Any] = []
    api.warn(api.known_views([CHEST], elevation=3.0), heard.append)
    assert not heard
    api.warn(api.known_views([CHEST]), heard.append)
    assert [event.message for event in heard] == [
        "The camera's elevation was guessed from the picture: 18 degrees, give or take 11; where you know it better, "
        "give it with --elevation."
    ]


def test_weights_without_a_head_centre_the_outline_and_look_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "load_placement", lambda: None)
    (view,) = api.known_views([CHEST])
    assert view.elevation == 0.0 and torch.equal(view.prepared.rgba, api.prepare(CHEST).rgba)


def test_the_shipped_head_puts_the_examples_back() -> None:
    """The examples were rendered with the object's box in the middle. Moved somewhere else, the head finds that place
    better than the outline's middle does, and most elevations."""
    heights = dict(line.split() for line in (EXAMPLES / "elevations.txt").read_text().splitlines() if line.strip())
    head = load_placement()
    assert head is not None
    misses, off, errors = [], [], []
    for name, height in heights.items():
        framed = api.prepare(EXAMPLES / name, keep_framing=True)
        moved = framed.moved(0.8, (60.0, 20.0), 512)
        back, found = stand(moved, head, None)
        middle = torch.tensor(outline(framed)[1])
        misses.append(float((torch.tensor(outline(back)[1]) - middle).norm()))
        off.append(float((middle - 256).norm()))
        errors.append(abs(found.elevation - float(height)))
    assert sum(misses) < 0.7 * sum(off)
    assert sum(error < 7 for error in errors) >= 9


def _triangle() -> api.Mesh:
    return api.Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]))
