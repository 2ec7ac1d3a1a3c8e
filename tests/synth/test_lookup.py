"""Words choose a made thing: the right kind, the colours asked for, the same each time, and honest about the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussmith.mesh import Mesh
from gaussmith.metrics import surface_points
from gaussmith.synth.captions import dominant_colours
from gaussmith.synth.lookup import Found, Wish, design, designs, told, understand
from gaussmith.synth.names import kinds, nouns
from gaussmith.synth.procedural import FAMILIES


def kind_of(prompt: str) -> tuple[str, frozenset[str]] | None:
    wish = understand(prompt)
    return None if wish is None else (wish.kind.family, wish.kind.nouns)


@pytest.mark.parametrize(
    ("prompt", "family", "noun"),
    [
        ("a car", "car", "car"),
        ("Two crimson AUTOMOBILES!", "car", "car"),
        ("a photo of a fire truck", "truck", "fire truck"),
        ("puppies", "quadruped", "dog"),
        ("a street lamp", "street_lamp", "street lamp"),
        ("a lamp table", "table", "table"),
        ("a chicken leg", "drumstick", "chicken leg"),
        ("an orange", "citrus", "orange"),
        ("an orange fish", "fish", "fish"),
        ("a big, blue, old bookcase", "bookshelf", "bookshelf"),
        ("a cup of tea", "mug", "mug"),
        ("a wand", "wand", "magic wand"),
        ("a cat sitting on a chair", "quadruped", "cat"),
        ("a man in a red hat", "person", "man"),
        ("bananas", "banana", "bananas"),
    ],
)
def test_the_head_of_the_words_names_the_family(prompt: str, family: str, noun: str) -> None:
    kind = kind_of(prompt)
    assert kind is not None and kind[0] == family and noun in kind[1]


@pytest.mark.parametrize("prompt", ["a dragon", "a dragon with a sword", "red", "with a house", "", " , ;", "carpet"])
def test_other_words_name_nothing(prompt: str) -> None:
    assert understand(prompt) is None and design(prompt) is None and designs(prompt, count=3) == []


def test_every_name_is_of_a_family_and_every_thing_is_called_so() -> None:
    assert {kind.family for kind in kinds().values()} == set(FAMILIES)
    for number, (family, make) in enumerate(FAMILIES.items()):
        for seed in range(2):
            assert make(np.random.default_rng([seed, number])).noun in nouns(family), family
    for family in ("citrus", "truck", "gem", "toy_ball"):
        drawn = {FAMILIES[family](np.random.default_rng(seed)).noun for seed in range(60)}
        assert drawn == set(nouns(family))


def test_a_prompt_is_taken_apart() -> None:
    assert told("a blue house with a red roof") == ({"blue", "house"}, {"red", "roof"})
    wish = understand("A tall blue house with a red and white roof and two doors, on a green hill")
    assert isinstance(wish, Wish)
    assert wish.colours == ("blue",) and wish.others == ("tall", "green", "hill")
    assert wish.parts == ((("red", "white"), ("roof",)), ((), ("two", "door")))
    in_red = understand("a car in red")
    assert in_red is not None and in_red.colours == ("red",) and in_red.parts == ()


def same(a: Mesh, b: Mesh) -> bool:
    assert a.vertex_colors is not None and b.vertex_colors is not None
    pairs = [(a.vertices, b.vertices), (a.faces, b.faces), (a.vertex_colors, b.vertex_colors)]
    return all(torch.equal(x, y) for x, y in pairs)


def test_colours_and_parts_are_as_asked_and_the_same_seed_is_the_same_design() -> None:
    prompt = "a blue house with a red roof"
    found = designs(prompt, seed=0, count=2)
    assert len(found) == 2 and not same(found[0].mesh, found[1].mesh)
    for one in found:
        assert one.unmet == () and set(one.met) == {"blue", "house", "red", "roof"}
        assert "blue house" in one.caption and "red roof" in one.caption
        assert {"blue", "red"} & set(dominant_colours(one.mesh))
    again = design(prompt, seed=0)
    assert again is not None and same(again.mesh, found[0].mesh) and again.caption == found[0].caption
    other = design(prompt, seed=1)
    assert other is not None and not same(other.mesh, again.mesh)


def test_what_cannot_be_had_is_told_and_the_rest_still_asked_for() -> None:
    wooden = design("a flying wooden stool", tries=20)
    purple = design("a purple banana", tries=10)
    assert wooden is not None and wooden.unmet[0] == "flying" and "stool" in wooden.met
    assert purple is not None and purple.unmet == ("purple",) and purple.met == ("banana",)
    # A leaf of another colour counts against a design, one that it does not have does not.
    lemon = design("a yellow lemon with a blue leaf", tries=60)
    assert lemon is not None and lemon.met == ("yellow", "lemon") and lemon.unmet == ("blue", "leaf")


def test_points_lie_on_the_surface_in_its_colours() -> None:
    found = design("a red apple")
    assert isinstance(found, Found) and found.mesh.vertex_colors is not None
    points, colors = found.points(500, torch.Generator().manual_seed(0))
    assert points.shape == colors.shape == (500, 3)
    near = torch.cdist(points.double(), torch.from_numpy(surface_points(found.mesh, 8000, np.random.default_rng(0))))
    assert float(near.amin(dim=1).max()) < 0.05
    assert float(colors.min()) >= 0 and float(colors.max()) <= 1
    assert float((colors[:, 0] > colors[:, 1]).float().mean()) > 0.5
    assert torch.equal(found.points(500, torch.Generator().manual_seed(0))[0], points)


WORDS = ["a", "house", "red", "with", "of", "and", "in", "on", ",", "lamp", "street", "roof", "dragon", "Ünicode", "s"]


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(WORDS), max_size=30).map(" ".join)))
def test_any_text_is_understood_or_not(text: str) -> None:
    wish = understand(text)
    if wish is None:
        return
    found = designs(text, seed=2**63 + 5, count=2, tries=2)
    assert 1 <= len(found) <= 2
    assert not set(found[0].met) & set(found[0].unmet) and {*found[0].met, *found[0].unmet} == set(wish.asked)


def test_a_very_long_text_is_cut() -> None:
    found = design("red roof and " * 100_000 + "house", tries=2)
    assert found is None
    assert design("house with " + "a red roof and " * 100_000, tries=2) is not None
