"""The judge of words and pictures, and the prompts: what the text benchmark stands on."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, BENCHMARKS)
    try:
        import scorer
        import text

        yield scorer, text
    finally:
        sys.path.remove(BENCHMARKS)


COLORS = {"red": (220, 40, 40), "green": (40, 160, 60), "blue": (50, 80, 220)}


def shapes(count: int, seed: int):
    """Views of discs, squares and bars in three colours, with their captions."""
    from gaussmith.synth.views import Views

    random = np.random.default_rng(seed)
    y, x = np.mgrid[:64, :64] - 31.5
    rgba, captions = np.zeros((count, 3, 64, 64, 4), np.uint8), []
    for i in range(count):
        r, color = random.uniform(12, 24), list(COLORS)[int(random.integers(3))]
        masks = {"ball": np.hypot(x, y) < r, "box": np.maximum(abs(x), abs(y)) < r, "pole": (abs(x) < 5) & (abs(y) < r)}
        kind = list(masks)[int(random.integers(3))]
        rgba[i][:, masks[kind]] = [*COLORS[color], 255]
        captions.append(f"a {color} {kind}")
    zero = np.zeros((count, 3), np.float32)
    return Views(rgba, zero, zero, np.arange(count), np.array(captions))


def test_the_judge_learns_colours_and_kinds_and_the_same_each_time(modules, tmp_path):
    scorer, _ = modules
    judge = scorer.train(shapes(150, seed=0), steps=40)
    prompts = [f"a {color} {kind}" for color in COLORS for kind in ("ball", "box", "pole")]
    fresh = shapes(60, seed=1)
    views = torch.from_numpy(fresh.rgba).float() / 255
    owner = torch.tensor([prompts.index(c) for c in fresh.caption.tolist()])
    similarity = judge.judge(views, prompts)
    rank, own = scorer.placed(similarity, owner)
    assert float((rank == 1).float().mean()) > 0.6
    assert float(own.mean()) > float(similarity.mean()) + 0.2
    # Of pictures that do not show what the words say it makes nothing.
    wrong, _ = scorer.placed(judge.judge(views.flip(0), prompts), owner)
    assert float((wrong == 1).float().mean()) < 0.4
    again = scorer.train(shapes(150, seed=0), steps=3)
    same = scorer.train(shapes(150, seed=0), steps=3)
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), same.state_dict().values()))


def test_ranks_count_from_one_and_ties_against(modules):
    scorer, _ = modules
    rank, own = scorer.placed(torch.tensor([[0.1, 0.9, 0.5], [0.7, 0.7, 0.2]]), torch.tensor([2, 0]))
    assert rank.tolist() == [2, 2]
    assert own.tolist() == pytest.approx([0.5, 0.7])


def test_there_are_forty_prompts_of_families_and_true_objects_of_each_kind(modules):
    from gaussmith.synth.palette import NAMES
    from gaussmith.synth.procedural import FAMILIES

    _, text = modules
    assert len(set(text.PROMPTS)) == 40
    allowed = {*FAMILIES, *NAMES, "roof", "wooden", "silver", "and"}
    for prompt in text.PROMPTS:
        thing, parts = text.told(prompt)
        assert (thing | parts) <= allowed, prompt
        assert sum(name in FAMILIES for name in thing) == 1, prompt
    assert text.told("a blue house with a red roof") == ({"blue", "house"}, {"red", "roof"})
    assert text.told("grey rock, white snow") == ({"grey", "rock"}, {"white", "snow"})
    assert len(list(text.true_objects("a burger"))) == text.PER_PROMPT


def test_a_kept_judge_is_read_back_and_another_is_not_mistaken_for_it(modules, tmp_path, monkeypatch):
    scorer, _ = modules
    trained = []

    def views(objects, made, folder):
        trained.append(made)
        return shapes(30, seed=2)

    monkeypatch.setattr(scorer, "training_views", views)
    path = tmp_path / "scorer.safetensors"
    first = scorer.load_or_train(path, None, made=1, steps=2, folder=tmp_path)
    kept = scorer.load_or_train(path, None, made=1, steps=2, folder=tmp_path)
    scorer.load_or_train(path, None, made=2, steps=2, folder=tmp_path)
    assert trained == [1, 2]
    picture, prompts = torch.rand(1, 2, 64, 64, 4), ["a red ball"]
    assert torch.equal(first.judge(picture, prompts), kept.judge(picture, prompts))
