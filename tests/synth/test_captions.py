"""Words and colour names: any text gives normal words, real objects get captions that say what they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gaussmith.mesh import Mesh
from gaussmith.priors.embedded.vocabulary import words
from gaussmith.synth.captions import caption, colour_name, dominant_colours, without_colours
from gaussmith.synth.palette import ANCHORS, lab


def mesh(*parts: tuple[tuple[float, float, float], float]) -> Mesh:
    """One triangle a (colour, area)."""
    corners = [torch.tensor([[0.0, 0, k], [2.0, 0, k], [0.0, area, k]]) for k, (_, area) in enumerate(parts)]
    return Mesh(
        torch.cat(corners),
        torch.arange(3 * len(parts)).reshape(-1, 3),
        vertex_colors=torch.tensor([color for color, _ in parts for _ in range(3)]),
    )


RED, WHITE, BLUE = (0.8, 0.1, 0.1), (0.95, 0.95, 0.95), (0.15, 0.35, 0.8)


def test_a_recoloured_picture_loses_its_colour_words() -> None:
    assert without_colours("a blue house, with a red roof") == "a house, with a roof"


def test_colours_have_the_names_people_give_them() -> None:
    for name, anchors in ANCHORS.items():
        for anchor in anchors:
            assert colour_name(np.array(anchor) / 255) == name
    pure = {(1, 0, 0): "red", (0, 0, 1): "blue", (0, 0, 0): "black", (1, 1, 1): "white", (0.5, 0.5, 0.5): "grey"}
    pure |= {(0, 0.6, 0): "green", (1, 1, 0): "yellow", (1, 0.5, 0): "orange", (0.4, 0.2, 0.1): "brown"}
    for rgb, name in pure.items():
        assert colour_name(rgb) == name


def test_lab_of_known_colours() -> None:
    """sRGB primaries in CIE L*a*b*, D65: published conversion values."""
    expected = [[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [100, 0, 0], [0, 0, 0]]
    rgb = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]])
    np.testing.assert_allclose(lab(rgb), expected, atol=0.02)


def test_the_largest_colours_are_told() -> None:
    assert dominant_colours(mesh((RED, 1.0), (WHITE, 0.6))) == ["red", "white"]
    assert dominant_colours(mesh((RED, 1.0), (WHITE, 1.2))) == ["white", "red"]
    assert dominant_colours(mesh((RED, 1.0), (WHITE, 0.1))) == ["red"]
    with pytest.raises(ValueError, match="colours"):
        dominant_colours(mesh((RED, 1.0)).with_(vertex_colors=None))


@pytest.mark.parametrize(
    ("name", "pack", "expected"),
    [
        ("food-burger", "kaykit-restaurant-bits-1.0", "a red and white food burger"),
        ("birchtree-3", "quaternius-nature-pack", "a red and white birch tree"),
        ("chair-b-wood", "kaykit-furniture-bits-1.0", "a red and white wooden chair"),
        ("george", "quaternius-mech-pack", "a red and white george mech robot"),
        ("fish2", "quaternius-cute-fish-pack", "a red and white fish"),
        ("dock-long", "quaternius-cute-fish-pack", "a red and white long dock"),
        ("structure-low", "kaykit-space-base-bits-1.0", "a red and white low structure space"),
        ("12-b", "unknown", "a red and white object"),
        ("", "", "a red and white object"),
        ("flag-blue", "kenney-castle-kit-1-0", "a red and white flag"),
        ("flag-white", "kenney-castle-kit-1-0", "a white and red flag"),
    ],
)
def test_captions_of_real_objects(name: str, pack: str, expected: str) -> None:
    assert caption(name, pack, mesh((RED, 1.0), (WHITE, 0.6))) == expected


def test_a_colour_in_the_name_is_believed_when_it_is_there() -> None:
    house = mesh((RED, 1.0), (WHITE, 0.6), (BLUE, 0.1))
    assert caption("building-home-b-blue", "kaykit", house) == "a blue and red building house"
    assert caption("chest-gold", "kaykit", mesh((RED, 1.0))) == "a red chest"


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_name_gets_a_caption(name: str, pack: str) -> None:
    text = caption(name, pack, mesh((BLUE, 1.0)))
    assert text.startswith("a blue ") and len(words(text)) >= 2 and text.isascii()
