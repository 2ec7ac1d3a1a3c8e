"""Metrics against scikit-image and hand-computed values."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from gaussmith.metrics import composite, iou, psnr, ssim, ssim_map


def _pair(*shape: int, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    a = torch.rand(*shape, generator=g)
    return a, (a + noise * torch.randn(*shape, generator=g)).clamp(0, 1)


def test_psnr_against_scikit_image():
    a, b = _pair(20, 24, 3)
    assert float(psnr(a, b)) == pytest.approx(peak_signal_noise_ratio(a.numpy(), b.numpy(), data_range=1), rel=1e-5)
    assert float(psnr(a, a)) == math.inf
    assert float(psnr(torch.zeros(2, 2), torch.full((2, 2), 0.1))) == pytest.approx(20, rel=1e-5)


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_ssim_against_scikit_image(noise):
    a, b = _pair(30, 25, 3, noise=noise)
    expected = structural_similarity(
        a.double().numpy(), b.double().numpy(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        data_range=1.0, channel_axis=2,
    )  # fmt: skip
    assert float(ssim(a.double(), b.double())) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_equal_pictures_batches_and_gradient():
    a, b = _pair(2, 16, 16, 3)
    assert float(ssim(a, a)) == pytest.approx(1, abs=1e-5)
    assert float(ssim(a, b)) == pytest.approx(float(sum(ssim(x, y) for x, y in zip(a, b)) / 2), abs=1e-5)
    x, y = a[:1, :12, :12].double().requires_grad_(), b[:1, :12, :12].double()
    assert torch.autograd.gradcheck(lambda x: ssim(x, y), (x,), fast_mode=True)
    with pytest.raises(ValueError, match="11x11"):
        ssim(a[:, :10], b[:, :10])


def test_ssim_map_is_of_the_window_around_each_pixel():
    a, b = _pair(2, 20, 24, 3)
    similarity = ssim_map(a, b)
    assert similarity.shape == (2, 10, 14, 3)
    assert float(similarity[1, 4, 7, 2]) == pytest.approx(
        float(ssim(a[1, 4:15, 7:18, 2:], b[1, 4:15, 7:18, 2:])), abs=1e-5
    )


def test_iou():
    a = torch.tensor([1.0, 0.6, 0.4, 0.0])
    b = torch.tensor([1.0, 0.4, 0.6, 0.0])
    assert float(iou(a, b)) == pytest.approx(1 / 3)
    assert float(iou(a, a)) == 1 and float(iou(torch.zeros(3), torch.zeros(3))) == 1
    assert float(iou(torch.ones(3), torch.zeros(3))) == 0


def test_pictures_of_other_shapes_are_refused():
    for metric in (psnr, ssim, iou):
        with pytest.raises(ValueError, match="shape"):
            metric(torch.zeros(12, 12, 3), torch.zeros(12, 12, 1))


def test_composite():
    rgb, alpha = torch.tensor([[0.2, 0.1, 0.0]]), torch.tensor([[0.5]])
    torch.testing.assert_close(composite(rgb, alpha), torch.tensor([[0.7, 0.6, 0.5]]))
    background = torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(composite(rgb, alpha, background), torch.tensor([[0.7, 0.1, 0.0]]))
