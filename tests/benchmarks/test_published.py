"""The benchmark of the published priors, rehearsed with tiny pipelines on the CPU."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")


@pytest.fixture(scope="module")
def published():
    sys.path.insert(0, BENCHMARKS)
    try:
        import published

        yield published
    finally:
        sys.path.remove(BENCHMARKS)


def test_a_picture_goes_through_the_whole_job_and_every_second_is_accounted_for(published, tmp_path, capsys):
    published.main(["--size", "tiny", "--device", "cpu", "--jobs", "image", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    assert (tmp_path / "published.md").read_text().strip() == said.strip()
    assert "| image | float32 |" in said and "not judged (on a CPU, tiny): image -> GLB" in said
    figures = json.loads((tmp_path / "published.json").read_text())["jobs"]["image"]
    seconds, shares = figures["seconds"], figures["shares"]
    stages = [seconds[k] for k in ("prompt or picture", "gaussians", "mesh", "texture", "refine")]
    assert sum(stages) == pytest.approx(seconds["job"], abs=0.05) and min(stages) > 0
    assert set(shares) == {"denoiser", "VAE", "rasteriser"} and min(shares.values()) > 0
    assert sum(shares.values()) <= seconds["gaussians"] + seconds["refine"] + seconds["prompt or picture"]
    # Two kinds a view: 6 steps of 2 views, and 5 (2.5 times 2) of a view denoised twice.
    assert figures["pictures"] == 2 * (6 * 2 + 5 * 2)
    assert figures["bound"] == pytest.approx(figures["operations"] / figures["rate"])
    assert all(math.isfinite(x) for x in (*seconds.values(), figures["bound"])) and figures["peak"] > 1e8
    assert (tmp_path / "image.glb").stat().st_size > 1000


def test_words_have_a_pipeline_too(published, tmp_path):
    from gaussmith.diffusion.prompts import Prompts
    from gaussmith.priors.published import load_published
    from gaussmith.views import stratified_orbit

    folder = published.write(tmp_path / "sd", "sd21", "tiny")
    written = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert published.write(folder, "sd21", "tiny") == folder  # once is enough
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")} == written
    prior = load_published(folder, dtype=torch.bfloat16)
    assert {t.dtype for t in prior.unet.parameters()} == {torch.bfloat16}
    watched = published.Watched(prior, published.Clock(cuda=False))
    views = stratified_orbit(3, torch.Generator().manual_seed(0))
    with watched.watch():
        latents = prior.encode(torch.rand(3, 4, 64, 64))
        parts = prior.eps(latents, torch.full((3,), 0.5), views, prior.text_condition(Prompts("a chair")))
    assert parts.cond.isfinite().all() and parts.cond.shape == (3, 4, 8, 8)
    assert watched.pictures == 3 * 4  # null, words, and the two views that Perp-Neg avoids


def test_operations_are_those_of_a_real_run(published):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    network = published.unet("zero123-xl", "tiny").eval()
    # By plain products: the CPU's fused attention is not counted.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(torch.zeros(1, 8, 8, 8), torch.zeros(1), encoder_hidden_states=torch.zeros(1, 1, 16))
    assert published.operations("zero123-xl", "tiny") == counter.get_total_flops() > 1e6


def test_backward_passes_are_told_apart(published):
    clock = published.Clock(cuda=False)
    leaf = torch.ones(3, requires_grad=True)
    first = leaf.sin().cos()
    second = first.exp()
    clock.backward("first", [first], [])
    clock.backward("second", [second], [first])
    (second.sum() + leaf.sum()).backward()
    assert {name: len(spans) for name, spans in clock.spans.items()} == {"first": 2, "second": 1}


def test_the_verdict_is_for_an_h200_alone(published, monkeypatch):
    cuda, figures = torch.device("cuda"), {"seconds": {"job": 9.0, "glb": 0.5}, "peak": 7e9}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert published.verdict("image", figures, cuda, True).startswith("PASS: image -> GLB 9.5 s (aim 10)")
    assert published.verdict("image", figures | {"peak": 9e9}, cuda, True).startswith("FAIL")
    assert published.verdict("image", figures | {"seconds": {"job": 10.0, "glb": 0.5}}, cuda, True).startswith("FAIL")
    assert published.verdict("image", figures, cuda, False).startswith("not judged")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    assert published.verdict("image", figures, cuda, True).startswith("not judged")
