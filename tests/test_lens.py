"""Lenses against pycolmap's projections."""

import math

import numpy as np
import pycolmap
import pytest
import torch

from gaussmith.capture import Lens
from gaussmith.lens import MODELS, fault, is_pinhole, pinhole_matrix, project, scaled

# Distortion of the size that real lenses have.
EXTRA = {
    "SIMPLE_PINHOLE": (),
    "PINHOLE": (),
    "SIMPLE_RADIAL": (-0.12,),
    "RADIAL": (-0.21, 0.06),
    "OPENCV": (-0.23, 0.07, 1.3e-3, -2.1e-3),
    "FULL_OPENCV": (0.31, -0.12, 1.1e-3, -0.7e-3, 0.05, 0.42, -0.08, 0.03),
    "SIMPLE_FISHEYE": (),
    "FISHEYE": (),
    "SIMPLE_RADIAL_FISHEYE": (0.03,),
    "RADIAL_FISHEYE": (0.04, -0.011),
    "OPENCV_FISHEYE": (0.03, -0.02, 0.012, -0.004),
    "THIN_PRISM_FISHEYE": (0.02, -0.01, 1.2e-3, -0.9e-3, 0.004, -0.001, 7e-4, -5e-4),
    "RAD_TAN_THIN_PRISM_FISHEYE": (
        *(0.03, -0.02, 0.01, -0.004, 0.002, -0.0005),
        *(1e-3, -2e-3, 4e-4, -3e-4, 6e-4, 2e-4),
    ),
    "FOV": (0.9,),
    "SIMPLE_DIVISION": (-0.17,),
    "DIVISION": (-0.17,),
    "EUCM": (0.6, 1.1),
}


def example(model: str, width: int = 640, height: int = 480) -> Lens:
    focal = (512.5,) if MODELS[model].one_focal else (512.5, 498.0)
    return Lens(model, (*focal, 317.0, 244.5, *EXTRA[model]), width, height)


def rays(reach: float = 0.9, count: int = 200) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    inside = reach * (2 * torch.rand(count, 2, generator=generator, dtype=torch.float64) - 1)
    return torch.cat([inside, torch.zeros(1, 2, dtype=torch.float64), inside[:5] * 1e-9])


def test_every_model_has_an_example() -> None:
    assert set(EXTRA) == set(MODELS)


@pytest.mark.parametrize("model", MODELS)
class TestModels:
    def test_agrees_with_pycolmap(self, model: str) -> None:
        lens = example(model)
        camera = pycolmap.Camera(model=model, width=640, height=480, params=list(lens.params))
        xy = rays()
        expected = camera.img_from_cam(np.concatenate([xy.numpy(), np.ones((len(xy), 1))], axis=1))
        np.testing.assert_allclose(project(lens, xy).numpy(), expected, rtol=0, atol=1e-9)

    def test_parameters_are_named_as_in_pycolmap(self, model: str) -> None:
        camera = pycolmap.Camera(model=model, width=640, height=480, params=list(example(model).params))
        assert camera.params_info.replace(",", "") == MODELS[model].names

    def test_scaling_moves_the_pixels_with_the_grid(self, model: str) -> None:
        lens, xy = example(model), rays()
        for width, height in ((320, 240), (213, 161)):
            small = scaled(lens, width, height)
            assert fault(small) is None
            assert (small.width, small.height) == (width, height)
            expected = project(lens, xy) * torch.tensor([width / 640, height / 480], dtype=torch.float64)
            torch.testing.assert_close(project(small, xy), expected, rtol=0, atol=1e-9)

    def test_pinhole_matrix_is_the_projection_without_distortion(self, model: str) -> None:
        lens, matrix = example(model), pinhole_matrix(example(model))
        near = torch.tensor([[0.0, 0.0], [1e-7, 0.0], [0.0, 1e-7]], dtype=torch.float64)
        straight = near @ matrix[:2, :2].T + matrix[:2, 2]
        pixels = project(lens, near)
        torch.testing.assert_close(pixels[0], straight[0], rtol=0, atol=1e-10)
        if model != "FOV":  # whose scale at the centre is not the focal length
            torch.testing.assert_close(pixels, straight, rtol=0, atol=1e-9)
        assert is_pinhole(lens) == (model in ("SIMPLE_PINHOLE", "PINHOLE"))

    def test_wrong_number_of_parameters(self, model: str) -> None:
        lens = Lens(model, (*example(model).params, 0.0), 640, 480)
        assert f"takes {MODELS[model].count} " in str(fault(lens))
        with pytest.raises(ValueError, match="takes"):
            project(lens, rays())


def test_small_fields_of_view_tend_to_a_pinhole() -> None:
    lens = Lens("FOV", (500.0, 500.0, 320.0, 240.0, 1e-4), 640, 480)
    plain = Lens("FOV", (500.0, 500.0, 320.0, 240.0, 0.0), 640, 480)
    torch.testing.assert_close(project(lens, rays()), project(plain, rays()), rtol=0, atol=1e-4)


def test_models_without_distortion_are_pinholes() -> None:
    assert is_pinhole(Lens("OPENCV", (500.0, 500.0, 320.0, 240.0, 0.0, 0.0, 0.0, 0.0), 640, 480))
    assert not is_pinhole(Lens("FISHEYE", (500.0, 500.0, 320.0, 240.0), 640, 480))
    assert not is_pinhole(Lens("OPENCV_FISHEYE", (500.0, 500.0, 320.0, 240.0, 0.0, 0.0, 0.0, 0.0), 640, 480))


def test_dtype_and_shape_are_those_of_the_rays() -> None:
    xy = torch.zeros(3, 4, 2, dtype=torch.float32)
    assert project(example("OPENCV"), xy).shape == (3, 4, 2)
    assert project(example("OPENCV"), xy).dtype == torch.float32


@pytest.mark.parametrize(
    ("lens", "words"),
    [
        (Lens("PINHOLE", (500.0, math.nan, 320.0, 240.0), 640, 480), "finite"),
        (Lens("PINHOLE", (500.0, 0.0, 320.0, 240.0), 640, 480), "focal length"),
        (Lens("PINHOLE", (500.0, -500.0, 320.0, 240.0), 640, 480), "focal length"),
        (Lens("SIMPLE_PINHOLE", (1e300, 320.0, 240.0), 640, 480), "focal length"),
        (Lens("SIMPLE_PINHOLE", (500.0, 320.0, 240.0), 0, 480), "pixels"),
        (Lens("SIMPLE_PINHOLE", (500.0, 320.0, 240.0), 640, 10**18), "pixels"),
        (Lens("EQUIRECTANGULAR", (640.0, 480.0), 640, 480), "undistort"),
    ],
)
def test_unusable_lenses(lens: Lens, words: str) -> None:
    assert words in str(fault(lens))


def test_usable_lenses_have_no_fault() -> None:
    assert [fault(example(model)) for model in MODELS] == [None] * len(MODELS)
