from __future__ import annotations

import numpy as np
import pytest
import torch

from gaussmith.gaussians import Gaussians, in_ball
from gaussmith.sh import dc_to_rgb, evaluate
from gaussmith.viewer.splat_buffer import pack


def some(count: int = 300, seed: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(seed)
    splat = in_ball(count, 0.5, generator, sh_degree=2)
    splat.log_scales = splat.log_scales + torch.randn(count, 3, generator=generator)
    splat.quats = torch.randn(count, 4, generator=generator)
    splat.sh = splat.sh + 0.3 * torch.randn(splat.sh.shape, generator=generator)
    splat.opacity_logits = torch.randn(count, generator=generator)
    return splat


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e3])
def test_covariances_survive_half_floats_in_any_unit(unit: float) -> None:
    splat = some().transform(torch.eye(3), torch.tensor([3.0, 1.0, 2.0]) * unit, unit)
    packed = pack(splat)
    half = packed.covariances.astype(np.float16).astype(np.float64) * packed.scale**2
    expected = splat.covariances.double().numpy()
    size = np.abs(expected).max(axis=(1, 2), keepdims=True)
    assert np.isfinite(half).all()
    assert (np.abs(half - expected) / size).max() < 2e-3
    np.testing.assert_allclose(packed.centers * packed.scale, splat.means.numpy(), rtol=1e-5)


def test_a_giant_costs_the_others_no_precision() -> None:
    splat = some()
    splat.log_scales[0] = 12.0
    packed = pack(splat)
    half = packed.covariances.astype(np.float16).astype(np.float64)[1:] * packed.scale**2
    expected = splat.covariances.double().numpy()[1:]
    assert np.isfinite(packed.covariances.astype(np.float16)).all()
    assert (np.abs(half - expected) / np.abs(expected).max(axis=(1, 2), keepdims=True)).max() < 2e-2


def test_colours_are_the_mean_ones_or_as_seen_from_an_eye() -> None:
    splat, eye = some(), torch.tensor([1.0, 2.0, 3.0])
    np.testing.assert_allclose(pack(splat).rgbs, dc_to_rgb(splat.sh[:, 0]).clamp(0, 1).numpy(), atol=1e-6)
    directions = torch.nn.functional.normalize(splat.means - eye, dim=1)
    np.testing.assert_allclose(pack(splat, eye).rgbs, evaluate(splat.sh, directions).clamp(0, 1).numpy(), atol=1e-6)
    np.testing.assert_allclose(pack(splat).opacities[:, 0], splat.opacities.numpy())


def test_too_many_are_thinned_to_the_most_visible() -> None:
    splat = some(100)
    splat.opacity_logits[:], splat.log_scales[:] = 3.0, -3.0
    splat.log_scales[[7, 93]] = -2.0
    packed = pack(splat, limit=2)
    np.testing.assert_allclose(packed.centers * packed.scale, splat.means[[7, 93]].numpy(), rtol=1e-5)
