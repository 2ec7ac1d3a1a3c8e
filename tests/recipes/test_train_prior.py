"""Training the embedded prior: it learns, it resumes to the same bytes, it tells bad folders apart."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gaussmith.events import Step, UserError
from gaussmith.priors.embedded.network import NetworkConfig
from gaussmith.priors.embedded.prior import EmbeddedPrior, load_weights, save_weights
from gaussmith.priors.embedded.vocabulary import Vocabulary
from gaussmith.recipes.train_prior import (
    FRONT,
    Config,
    _worlds,
    draw_batch,
    draw_captioned,
    initial_network,
    overlap,
    run,
)
from gaussmith.synth.views import Views, load_views

TINY = NetworkConfig(
    encoder_widths=(16, 32, 64), denoiser_widths=(16, 32, 64), encoder_blocks=1, denoiser_blocks=1,
    volume_channels=6, volume_depth=6, refiner_widths=(8,), ray_steps=8, embedding=32,
)  # fmt: skip
CONFIG = Config(
    samples=88, references=4, targets=2, texts=4, warmup=2, draft_share=0.2, draft_targets=2, evaluate_every=8,
    gate_objects=6, save_every=4,
)  # fmt: skip


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Three folders of flat-coloured discs: colour and size are the object's, whatever the view."""
    root = tmp_path_factory.mktemp("shards")
    random = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] - 31.5
    for part, count in (("train", 12), ("validation", 6), ("procedural", 8)):
        (root / part).mkdir()
        rgba = np.zeros((count, 6, 64, 64, 4), np.uint8)
        for i in range(count):
            inside = np.hypot(x, y) < random.uniform(8, 25)
            rgba[i][:, inside] = [*random.integers(0, 255, 3), 255]
        angles = [random.uniform(a, b, (count, 6)).astype(np.float32) for a, b in ((-180, 180), (-10, 40))]
        captions = np.array([f"a red {'plate' if i % 2 else 'ball'}" for i in range(count)])
        views = Views(rgba, *angles, np.arange(count), captions)
        np.savez(root / part / "shard_0000.npz", **vars(views))
    return root


def train(shards, out, events=None, config=CONFIG, **kwargs):
    return run(config, shards, out, (events or []).append, network=TINY, **kwargs)


def test_trains_and_exports(shards, tmp_path):
    events: list = []
    path = run(CONFIG, shards, tmp_path, events.append, network=TINY)
    prior = load_weights(path, precision="float32")
    assert prior.network.config == replace(TINY, vocabulary=3)
    assert prior.vocabulary.words == ("ball", "plate", "red")
    losses = [e.values["draft"] for e in events if isinstance(e, Step) and "draft" in e.values]
    assert len(losses) == 8
    assert losses[-1] < losses[0]
    gates = [e.values for e in events if isinstance(e, Step) and "sample_psnr" in e.values]
    assert len(gates) == 1
    assert all(np.isfinite(list(gates[0].values())))
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(r["kind"], r["step"], r["samples"]) for r in log] == [("run", 0, 0), ("loss", 8, 88), ("gates", 8, 88)]
    assert log[1]["draft"] == pytest.approx(np.mean(losses))
    assert gates[0].items() <= log[2].items()
    assert prior.domain is not None
    assert {p.name for p in tmp_path.iterdir()} == {
        *("weights.safetensors", "best.safetensors", "checkpoint.safetensors"),
        *("log.jsonl", "loss.png", "samples.png", "MODEL_CARD.md"),
    }


def test_the_start_is_the_best_until_it_is_beaten(shards, tmp_path):
    short = replace(CONFIG, samples=16)
    train(shards, tmp_path / "first", config=short)
    first = tmp_path / "first" / "weights.safetensors"
    # A rate that ruins the network: nothing after the start can be the best.
    train(shards, tmp_path / "second", config=replace(short, rate=100.0, matrix_rate=100.0, warmup=1), start=first)
    log = [json.loads(line) for line in (tmp_path / "second" / "log.jsonl").read_text().splitlines()]
    assert [r["best"] for r in log if r["kind"] == "gates"] == [True, False]
    assert log[0]["began_from"].startswith("weights.safetensors (sha256 ")
    kept, began = (load_file(p) for p in (tmp_path / "second" / "best.safetensors", first))
    assert all(torch.allclose(kept[k].float(), began[k].float(), atol=1e-3) for k in began if "domain" not in k)


def test_resumed_equals_uninterrupted(shards, tmp_path):
    whole = load_file(train(shards, tmp_path / "whole"))

    class Stop(Exception):
        pass

    def interrupt(event):
        if isinstance(event, Step) and event.step == 6:
            raise Stop

    with pytest.raises(Stop):
        run(CONFIG, shards, tmp_path / "cut", interrupt, network=TINY)
    resumed = load_file(train(shards, tmp_path / "cut", resume=True))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_draft_alone_moves_no_denoiser(shards, tmp_path):
    """Not even by decay: the shipped denoiser outlives further training of the encoder."""
    first = train(shards, tmp_path / "first", config=replace(CONFIG, samples=16))
    train(shards, tmp_path / "second", config=replace(CONFIG, samples=16, draft_share=1.0), start=first)
    before, after = load_file(first), load_file(tmp_path / "second" / "checkpoint.safetensors")
    masters = {name.removeprefix("master."): x for name, x in after.items() if name.startswith("master.")}
    moved = {name.split(".")[0] for name, x in masters.items() if not torch.equal(before[name].float(), x)}
    assert "encoder" in moved
    assert moved <= {"encoder_in", "encoder_pose", "encoder", "volume_norm", "volume_out", "refiner"}


def test_overlap_is_the_intersection_over_the_union():
    a, b = torch.zeros(3, 8, 8), torch.zeros(3, 8, 8)
    a[0, :4], b[0, 2:6] = 1, 1  # half of each
    a[1], b[1] = 0.5, 1.0
    a[2, 0, 0] = 1  # of nothing
    assert torch.allclose(overlap(a, b), torch.tensor([1 / 3, 0.5, 0.0]))
    # A thin object weighs as much as a thick one.
    thin, thick = torch.zeros(1, 32, 32), torch.ones(1, 32, 32)
    thin[:, 16] = 1
    assert overlap(0.75 * thin, thin) == pytest.approx(float(overlap(0.75 * thick, thick)))


def test_checkpoint_of_another_network_is_refused(shards, tmp_path):
    train(shards, tmp_path, config=replace(CONFIG, samples=16, save_every=1))
    with pytest.raises(UserError, match="other sizes"):
        run(CONFIG, shards, tmp_path, lambda e: None, network=NetworkConfig(embedding=64), resume=True)


def test_no_views_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match="no rendered views"):
        train(tmp_path, tmp_path / "out")


def test_batch_pairs_references_with_their_own_objects(shards):
    views = load_views(sorted((shards / "train").glob("*.npz")))
    batch = draw_batch(views, 5, 3, np.random.default_rng(1))
    assert batch.targets.shape == (15, 4, 64, 64)
    assert batch.owner.tolist() == [i for i in range(5) for _ in range(3)]
    # Every view of a disc looks the same, so each target equals its own reference exactly, whatever the augmentation.
    assert torch.equal(batch.targets, batch.references[batch.owner])
    assert ((batch.azimuth >= -180) & (batch.azimuth <= 180)).all()


def test_mirroring_turns_the_azimuth_round(shards):
    views = load_views(sorted((shards / "train").glob("*.npz")))
    plain = draw_batch(views, 16, 2, np.random.default_rng(2), augment=False)
    mirrored = draw_batch(views, 16, 2, np.random.default_rng(2), augment=True)
    signs = (mirrored.azimuth / plain.azimuth).round()
    assert set(signs.tolist()) == {-1.0, 1.0}


def test_captions_lose_their_colours_with_the_picture(shards):
    views = load_views(sorted((shards / "train").glob("*.npz")))
    plain = draw_batch(views, 16, 2, np.random.default_rng(2), augment=False)
    changed = draw_batch(views, 16, 2, np.random.default_rng(2), augment=True)
    assert all("red" in caption for caption in plain.captions)
    for caption, one, other in zip(changed.captions, changed.references, plain.references):
        if not torch.equal(one[:3].mean(dim=(1, 2)), other[:3].mean(dim=(1, 2))):
            assert "red" not in caption
    assert 0 < sum("red" not in caption for caption in changed.captions) < 16


def test_captioned_views_look_at_the_front(shards):
    views = load_views(sorted((shards / "train").glob("*.npz")))
    drawn = draw_captioned(views, 400, np.random.default_rng(3))
    assert drawn.targets.shape == (400, 4, 64, 64) and len(drawn.captions) == 400
    width, low, high = FRONT
    near = (drawn.front.abs() <= width) & (drawn.elevation >= low) & (drawn.elevation <= high)
    anywhere = (np.abs(views.azimuth) <= width) & (views.elevation >= low) & (views.elevation <= high)
    some = anywhere.any(axis=1).mean()  # of the discs have such a view; the others, and a quarter of all, show any
    assert float(near.float().mean()) == pytest.approx(0.75 * some + 0.25 * anywhere.mean(), abs=0.07)
    assert 0.75 * some > anywhere.mean() + 0.1
    assert float((drawn.front > 0).float().mean()) == pytest.approx(0.5, abs=0.1)
    assert 0 < sum("red" not in caption for caption in drawn.captions) < 100


def test_captions_are_learned(shards, tmp_path):
    """With words alone to learn from, what the words say is told apart from nothing ever better."""
    config = replace(CONFIG, samples=600, draft_share=0.0, texts=24, references=1, targets=1, evaluate_every=6)
    train(shards, tmp_path, config=config)
    gates = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    ratios = [gate["caption"] for gate in gates if gate["kind"] == "gates"]
    assert ratios[-1] > ratios[0] + 0.01


def test_begins_from_weights_that_know_no_words(shards, tmp_path):
    old = EmbeddedPrior(initial_network(TINY, seed=5))
    save_weights(old, tmp_path / "old.safetensors")
    short = replace(CONFIG, samples=8, rate=0.0, matrix_rate=0.0)
    new = load_weights(
        train(shards, tmp_path / "out", config=short, start=tmp_path / "old.safetensors"), precision="float32"
    )
    assert len(new.vocabulary) == 3
    before = old.network.half().float().state_dict()
    after = new.network.state_dict()
    assert all(torch.allclose(before[name], after[name], atol=1e-3) for name in before)


def test_words_keep_their_meaning_in_another_vocabulary(shards, tmp_path):
    words = Vocabulary(("anvil", "plate", "red", "zebra"))
    old = EmbeddedPrior(initial_network(replace(TINY, vocabulary=len(words)), seed=5), words)
    save_weights(old, tmp_path / "old.safetensors")
    short = replace(CONFIG, samples=8, rate=0.0, matrix_rate=0.0)
    new = load_weights(
        train(shards, tmp_path / "out", config=short, start=tmp_path / "old.safetensors"), precision="float32"
    )
    assert new.vocabulary.words == ("ball", "plate", "red")
    tables = [prior.network.state_dict()["caption.words.weight"].float() for prior in (old, new)]
    for word in ("plate", "red"):
        before, after = (t[p.vocabulary.words.index(word) + 1] for t, p in zip(tables, (old, new)))
        assert torch.allclose(before, after, atol=1e-3)
    assert not torch.allclose(tables[0][1], tables[1][1], atol=1e-3)  # "anvil" does not become "ball"


def test_without_procedural_objects(shards, tmp_path):
    for part in ("train", "validation"):
        shutil.copytree(shards / part, tmp_path / "real" / part)
    weights = load_weights(train(tmp_path / "real", tmp_path / "out", config=replace(CONFIG, samples=16)))
    assert len(weights.vocabulary) == 3


def test_the_draft_phase_counts_its_own_samples():
    config = Config(samples=1000, references=4, targets=2, texts=0, draft_share=0.5, draft_targets=8)
    assert config.draft_steps == 16
    assert config.samples_by(16) == 512
    assert config.steps == 16 + 61  # 488 samples, 8 a step
    assert 1000 <= config.samples_by(config.steps) < 1008
    assert [config.samples_by(n) for n in (0, 1, 17)] == [0, 32, 520]
    assert replace(config, texts=3).samples_by(17) == 523
    assert replace(config, draft_share=1.0).samples_by(replace(config, draft_share=1.0).steps) >= 992


def test_a_draft_along_some_rays_is_a_part_of_the_draft():
    network = initial_network(TINY, seed=1)
    reference = torch.rand(1, 4, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        encoded = network.encode(reference, torch.tensor([10.0]))
        view = (torch.zeros(2, dtype=torch.int64), torch.tensor([30.0, -90.0]), torch.tensor([0.0, 20.0]))
        whole = network.draft(encoded, *view)
        part = network.draft(encoded, *view, (slice(1, None, 2), slice(0, None, 4)))
    assert part.shape == (2, 4, 32, 16)
    assert torch.equal(part, whole[:, :, 1::2, ::4])


def test_references_come_from_every_kind_of_views_by_its_share(shards):
    views = load_views(sorted((shards / "train").glob("*.npz")))
    names = ("train", "train-varied", "procedural", "procedural-varied", "validation")
    shares = [
        [share for _, share in _worlds(dict.fromkeys(chosen, views), CONFIG)]
        for chosen in (names, names[::2], names[::4], ("train", "train-varied", "validation"))
    ]
    assert shares[0] == pytest.approx([0.3, 0.3, 0.2, 0.2])
    assert shares[1] == pytest.approx([0.6, 0.4]) and shares[2] == [1.0] and shares[3] == [0.5, 0.5]


def test_many_references_are_from_about_the_front(shards):
    views = load_views(sorted((shards / "train").glob("*.npz")))
    shown = {}
    for share in (0.0, 0.5, 1.0):
        random, near = np.random.default_rng(1), []
        for _ in range(60):
            batch = draw_batch(views, 8, 1, random, front_share=share)
            front = batch.front - batch.azimuth  # of the reference: both turn alike
            near.append(((front + 180) % 360 - 180).abs() <= FRONT[0])
        shown[share] = float(torch.cat(near).float().mean())
    assert shown[0.0] + 0.15 < shown[0.5] < shown[1.0] - 0.15
