"""What the Python functions hand on; what they make is tested with the recipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gaussmith import api

CHEST = Path(__file__).parents[1] / "examples" / "chest.png"


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


def _triangle() -> api.Mesh:
    import torch

    return api.Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]))
