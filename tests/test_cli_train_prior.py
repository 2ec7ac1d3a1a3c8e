"""The command `gaussmith train-prior`: what it renders, what it leaves behind, what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from gaussmith import cli, cli_train_prior
from gaussmith.priors.embedded.network import NetworkConfig
from gaussmith.priors.embedded.prior import EmbeddedPrior, load_weights, save_weights
from gaussmith.recipes import train_prior as recipe
from gaussmith.synth.objects import ObjectSet, load_objects, split
from gaussmith.synth.views import load_views
from gaussmith.train import placement, symmetry

TINY = NetworkConfig(
    encoder_widths=(16, 32, 64), denoiser_widths=(16, 32, 64), encoder_blocks=1, denoiser_blocks=1,
    volume_channels=6, volume_depth=6, refiner_widths=(8,), ray_steps=8, embedding=32,
)  # fmt: skip
QUICK = ("--views", "8", "--references", "2", "--targets", "2", "--gate-objects", "2")


@pytest.fixture(scope="module")
def objects(tmp_path_factory) -> Path:
    """Coloured boxes under names of which one in fourteen or so is held out for validation."""
    random = np.random.default_rng(0)
    count = 40
    corner = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    faces = np.array(
        [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
         [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
    )  # fmt: skip
    path = tmp_path_factory.mktemp("objects") / "objects.npz"
    boxes = ObjectSet(
        positions=np.concatenate([corner * random.integers(4000, 14000, 3) for _ in range(count)]).astype(np.int16),
        colors=np.repeat(random.integers(0, 255, (count, 4)), 8, axis=0).astype(np.uint8),
        faces=np.tile(faces, (count, 1)).astype(np.int32),
        vertex_offsets=np.arange(count + 1) * 8,
        face_offsets=np.arange(count + 1) * 12,
        names=np.array([f"box-of-{'abcdefghij'[i % 10]}{'klmn'[i // 10]}" for i in range(count)]),
        packs=np.array(["boxes"] * count),
    )
    np.savez(path, **vars(boxes))
    return path


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "run", partial(recipe.run, network=TINY))
    monkeypatch.setattr(symmetry, "PICTURES", 2)
    monkeypatch.setattr(placement, "STEPS", 2)


def train(objects: Path, out: Path, *options: str) -> int:
    return cli.main(["train-prior", str(objects), "-o", str(out), *QUICK, *options])


def test_renders_trains_and_prints_the_weights(objects, tmp_path, capsys):
    train_part, validation = split(load_objects(objects))
    assert len(train_part) and len(validation)
    assert train(objects, tmp_path, "--procedural", "3", "--samples", "8") == 0
    assert capsys.readouterr().out == f"{tmp_path / 'weights.safetensors'}\n"
    for part, count in (("train", len(train_part)), ("validation", len(validation)), ("procedural", 3)):
        for varied in ("", "-varied")[: 1 + (part != "validation")]:
            views = load_views(sorted((tmp_path / "views" / f"{part}{varied}").glob("*.npz")))
            assert views.rgba.shape == (count, 8, 64, 64, 4)
    assert not (tmp_path / "views" / "validation-varied").exists()
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert f"| train | {len(train_part)} | {8 * len(train_part)} |" in card
    assert "| procedural | 3 | 24 |" in card
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [r["kind"] for r in log] == ["run", "loss", "gates"]

    # Again without procedural objects, from those weights: nothing of the earlier world is left to learn from.
    began = tmp_path / "weights.safetensors"
    began.rename(tmp_path / "began.safetensors")
    options = ("--procedural", "0", "--samples", "4", "--start", str(tmp_path / "began.safetensors"))
    assert train(objects, tmp_path, *options) == 0
    assert not (tmp_path / "views" / "procedural").exists()
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "procedural |" not in card
    assert "began from began.safetensors" in card
    again = load_weights(began, precision="float32")
    assert again.domain is not None and again.symmetry is not None and again.placement is not None


def test_wrong_numbers_and_files_are_told_before_anything_is_rendered(objects, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "text.safetensors").write_text("no weights")
    for options, told in (
        (("--procedural", "-1"), "--procedural"),
        (("--views", "7"), "--views"),
        (("--start", str(tmp_path / "gone.safetensors")), "gone.safetensors"),
        (("--start", str(tmp_path / "text.safetensors")), "does not hold an embedded prior"),
    ):
        assert train(objects, out, *options) == 2
        assert told in capsys.readouterr().err
    assert not out.exists()


def test_fewer_procedural_objects_leave_no_old_views(objects, tmp_path):
    catalogue = load_objects(objects)
    for count in (70, 5):
        cli_train_prior.render("train", catalogue, np.arange(count) % 40, tmp_path, 8, 0, lambda e: None)
    assert len(list((tmp_path / "train").iterdir())) == 1
    assert len(load_views(sorted((tmp_path / "train").glob("*.npz"))).index) == 5


def test_a_start_of_other_sizes_is_taken_as_far_as_it_fits(objects, tmp_path):
    wide = replace(TINY, embedding=48)
    save_weights(EmbeddedPrior(recipe.initial_network(wide, seed=3)), tmp_path / "wide.safetensors")
    options = (
        "--procedural",
        "0",
        "--samples",
        "4",
        "--start",
        str(tmp_path / "wide.safetensors"),
        "--rate",
        "0",
        "--matrix-rate",
        "0",
    )
    assert train(objects, tmp_path / "out", *options) == 0
    made = load_weights(tmp_path / "out" / "weights.safetensors", precision="float32").network
    began = load_weights(tmp_path / "wide.safetensors", precision="float32").network
    assert made.config.embedding == 32
    assert np.allclose(made.encoder_in.weight, began.encoder_in.weight, atol=1e-3)
