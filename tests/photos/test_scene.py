from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gaussmith.camera import Camera, orbit
from gaussmith.capture import Capture, Lens, Photo, no_points
from gaussmith.events import StageFinished, Step, UserError, Warned
from gaussmith.io import image
from gaussmith.photos import load_scene, scene

WIDTH, HEIGHT = 64, 48
CAMERAS = orbit(torch.arange(6) * 60.0, 20.0, 3.0, 50.0, WIDTH, HEIGHT)
LENS = Lens("SIMPLE_PINHOLE", (float(CAMERAS.K[0, 0, 0]), WIDTH / 2, HEIGHT / 2), WIDTH, HEIGHT)
GENERATOR = np.random.default_rng(0)
RGBA = GENERATOR.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)


def capture(folder: Path, pixels: np.ndarray | None = None, count: int = 6, lens: Lens = LENS) -> Capture:
    """Photos on a ring, all of the same picture, and one point at the centre."""
    pixels = RGBA[..., :3] if pixels is None else pixels
    photos = []
    for i in range(count):
        Image.fromarray(pixels).save(folder / f"{i}.png")
        photos.append(Photo(f"{i}.png", folder / f"{i}.png", CAMERAS.c2w[i].double(), lens))
    return Capture(tuple(photos), torch.zeros(1, 3, dtype=torch.float64), torch.full((1, 3), 0.5), "six photos")


def test_plain_pictures_are_kept_as_they_are(tmp_path):
    events: list = []
    loaded = load_scene(capture(tmp_path), on_event=events.append)
    assert loaded.source == "six photos"
    assert len(loaded.views) == 6
    for i, view in enumerate(loaded.views):
        assert view.name == f"{i}.png"
        assert view.alpha is None
        np.testing.assert_array_equal(view.rgb, RGBA[..., :3])
        assert isinstance(view.camera, Camera)
        assert view.camera.c2w.dtype == view.camera.K.dtype == torch.float32
        torch.testing.assert_close(view.camera.K, CAMERAS.K[i : i + 1])
    assert loaded.inward
    torch.testing.assert_close(loaded.points, torch.zeros(1, 3), atol=1e-6, rtol=0)
    assert loaded.to_input.scale == pytest.approx(1.5)
    assert loaded.extent == pytest.approx(1.1 * 2 * np.cos(np.deg2rad(20)), rel=1e-5)
    assert sum(isinstance(event, Step) for event in events) == 6
    assert isinstance(events[-1], StageFinished)


def test_order_is_that_of_names_and_points_may_be_missing(tmp_path):
    given = capture(tmp_path)
    points, colors = no_points()
    turned = replace(given, photos=given.photos[::-1], points=points, colors=colors)
    loaded = load_scene(turned)
    assert [view.name for view in loaded.views] == [f"{i}.png" for i in range(6)]
    assert loaded.points.shape == loaded.colors.shape == (0, 3)


@pytest.mark.parametrize(("kwargs", "size"), [({"downscale": 2}, (32, 24)), ({"max_side": 16}, (16, 12)),
                                              ({"downscale": 1.6, "max_side": 1}, (40, 30))])  # fmt: skip
def test_pictures_are_reduced_by_area_with_their_cameras(tmp_path, kwargs, size):
    loaded = load_scene(capture(tmp_path), **kwargs)
    camera = loaded.views[0].camera
    assert (camera.width, camera.height) == size
    assert loaded.views[0].rgb.shape == (size[1], size[0], 3)
    torch.testing.assert_close(camera.K, CAMERAS[0].resized(*size).K)
    assert abs(float(loaded.views[0].rgb.float().mean()) - RGBA[..., :3].mean()) < 1
    if size == (32, 24):
        expected = RGBA[..., :3].reshape(24, 2, 32, 2, 3).mean((1, 3))
        np.testing.assert_allclose(loaded.views[0].rgb.numpy(), expected, atol=1)


def test_alpha_and_masks(tmp_path):
    given = capture(tmp_path, RGBA)
    grey = np.zeros((HEIGHT // 2, WIDTH // 2), np.uint8)
    grey[:, :16] = 255
    Image.fromarray(grey).save(tmp_path / "mask.png")
    loaded = load_scene(
        replace(given, photos=(replace(given.photos[0], mask=tmp_path / "mask.png"), *given.photos[1:]))
    )
    np.testing.assert_array_equal(loaded.views[1].alpha, RGBA[..., 3])
    np.testing.assert_array_equal(loaded.views[0].rgb, RGBA[..., :3])
    expected = np.where(np.arange(WIDTH) < 32, RGBA[..., 3], 0)
    np.testing.assert_array_equal(loaded.views[0].alpha, expected)


def test_distorted_photos_with_alpha(tmp_path):
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[12:36, 16:48] = (200, 100, 50, 255)
    rgba[..., :3][rgba[..., 3] == 0] = (0, 255, 0)  # what is hidden must not bleed in
    lens = Lens("SIMPLE_RADIAL", (*LENS.params, -0.1), WIDTH, HEIGHT)
    given = capture(tmp_path, rgba, lens=lens)
    Image.fromarray(np.where(np.arange(WIDTH) < 32, 255, 0)[None].repeat(HEIGHT, 0).astype(np.uint8)).save(
        tmp_path / "mask.png"
    )
    given = replace(given, photos=tuple(replace(photo, mask=tmp_path / "mask.png") for photo in given.photos))
    for downscale in (1, 2):
        view = load_scene(given, downscale=downscale).views[0]
        assert view.rgb.shape[:2] == (view.camera.height, view.camera.width) == tuple(view.alpha.shape)
        solid = view.alpha > 250
        share = float(solid.float().mean())
        assert 0.08 < share < 0.15
        assert (view.rgb[solid].float() - torch.tensor([200.0, 100.0, 50.0])).abs().max() <= 2
        middle = view.camera.K[0, 0, 2]
        assert not view.alpha[:, int(middle) + 2 :].any()


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_exif_counts_where_the_lens_says_so(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = RGBA[..., :3]
    given = capture(tmp_path)
    Image.fromarray(stored).save(tmp_path / "0.png", exif=exif)
    turns = {3: 2, 6: 3, 8: 1}[orientation]
    as_stored = load_scene(given).views[0].rgb
    np.testing.assert_array_equal(as_stored, stored)
    upright = np.rot90(stored, turns)
    lens = LENS if orientation == 3 else Lens("SIMPLE_PINHOLE", (40.0, 24.0, 32.0), HEIGHT, WIDTH)
    for flag in (True, False) if orientation != 3 else (True,):  # the lens's proportions tell, too
        first = replace(given.photos[0], lens=lens, upright=flag)
        view = load_scene(replace(given, photos=(first, *given.photos[1:]))).views[0]
        np.testing.assert_array_equal(view.rgb, upright)
        assert (view.camera.width, view.camera.height) == (lens.width, lens.height)


def test_mixed_sizes_and_reduced_copies(tmp_path):
    given = capture(tmp_path)
    Image.fromarray(RGBA[::2, ::2, :3]).save(tmp_path / "2.png")  # half the size of what the cameras were found from
    Image.fromarray(RGBA[:40, :40, :3]).save(tmp_path / "3.png")
    square = replace(given.photos[3], lens=Lens("PINHOLE", (50.0, 50.0, 20.0, 20.0), 40, 40))
    loaded = load_scene(replace(given, photos=(*given.photos[:3], square, *given.photos[4:])))
    sizes = [(view.camera.width, view.camera.height) for view in loaded.views]
    assert sizes[2:4] == [(32, 24), (40, 40)]
    torch.testing.assert_close(loaded.views[2].camera.K, CAMERAS[2].resized(32, 24).K)


def test_points_that_are_no_points_are_left_out(tmp_path):
    events: list = []
    points = torch.tensor([[0.1, 0, 0], [torch.nan, 0, 0], [1e9, 0, 0], [0, torch.inf, 0]], dtype=torch.float64)
    colors = torch.tensor([[0.5, 2.0, -1.0]]).repeat(4, 1)
    loaded = load_scene(replace(capture(tmp_path), points=points, colors=colors), on_event=events.append)
    assert len(loaded.points) == 1
    torch.testing.assert_close(loaded.colors, torch.tensor([[0.5, 1.0, 0.0]]))
    assert not any(isinstance(event, Warned) for event in events)
    far = replace(capture(tmp_path), points=1e9 + points[:1].repeat(3, 1), colors=colors[:3])
    load_scene(far, on_event=events.append)
    assert any("very far from the cameras" in event.message for event in events if isinstance(event, Warned))


def refused(given: Capture, match: str, **kwargs) -> None:
    with pytest.raises(UserError, match=match):
        load_scene(given, **kwargs)


def test_bad_captures_are_refused_in_a_sentence(tmp_path):
    given = capture(tmp_path)

    def changed(**values: object) -> Capture:
        return replace(given, photos=(replace(given.photos[0], **values), *given.photos[1:]))

    refused(replace(given, photos=given.photos[:1]), "only one photo")
    refused(changed(path=tmp_path / "gone.png"), "no such file")
    refused(
        changed(lens=Lens("PINHOLE", (40.0, 40.0, 20.0, 20.0), 40, 40)), "64x48 pixels, but its camera is for 40x40"
    )
    refused(changed(c2w=given.photos[0].c2w * torch.nan), "not finite")
    refused(changed(c2w=2 * given.photos[0].c2w), "no rotation")
    refused(changed(c2w=given.photos[0].c2w * torch.tensor([-1.0, 1, 1, 1])), "no rotation")
    Image.new("L", (30, 30)).save(tmp_path / "mask.png")
    refused(changed(mask=tmp_path / "mask.png"), "other proportions")
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "mask.png")
    black = tuple(replace(photo, mask=tmp_path / "mask.png") for photo in given.photos)
    refused(replace(given, photos=black), "leave nothing")
    (tmp_path / "0.png").write_bytes((tmp_path / "1.png").read_bytes()[:200])
    refused(given, "truncated or corrupt")
    (tmp_path / "0.png").write_text("no picture")
    refused(given, "not a picture")
    with pytest.raises(ValueError, match="downscale"):
        load_scene(given, downscale=0.5)
    with pytest.raises(ValueError, match="downscale"):
        load_scene(given, downscale=float("nan"))


def test_too_much_for_memory_is_refused_before_decoding(tmp_path, monkeypatch):
    given = capture(tmp_path)
    monkeypatch.setattr(scene, "MAX_BYTES", 6 * 4 * WIDTH * HEIGHT // 5)
    monkeypatch.setattr(scene, "load_image_and_size", lambda *_: pytest.fail("decoded"))
    refused(given, r"6 photos take .* GB.* --downscale 3")
    monkeypatch.setattr(scene, "load_image_and_size", image.load_image_and_size)
    assert load_scene(given, downscale=3).views[0].camera.width == 21
