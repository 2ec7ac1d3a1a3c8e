import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from gaussmith.events import UserError
from gaussmith.io import image
from gaussmith.io.image import encode_png, load_image, load_image_and_size, picture_size, save_image

GENERATOR = np.random.default_rng(0)
RGBA = GENERATOR.integers(0, 256, (6, 9, 4), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "bmp"])
def test_lossless_formats_are_exact(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    pixels = RGBA if suffix != "bmp" else RGBA[..., :3]
    Image.fromarray(pixels).save(path, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    loaded = load_image(path)
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(np.rint(loaded[..., : pixels.shape[2]] * 255), pixels)
    assert pixels.shape[2] == 4 or (loaded[..., 3] == 1).all()


def test_jpeg_and_cmyk(tmp_path):
    flat = np.full((16, 16, 3), (200, 100, 50), dtype=np.uint8)
    Image.fromarray(flat).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(load_image(tmp_path / "a.jpg")[..., :3] * 255, flat, atol=3)
    Image.fromarray(flat).convert("CMYK").save(tmp_path / "b.jpg", quality=95)
    assert stored(tmp_path / "b.jpg").mode == "CMYK"
    np.testing.assert_allclose(load_image(tmp_path / "b.jpg")[..., :3] * 255, flat, atol=3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    upright = RGBA[..., :3]
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1), 7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(np.rint(load_image(tmp_path / "a.png")[..., :3] * 255), upright)


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    grey = np.array([[0, 255, 256, 32768, 65535]], dtype=np.uint16)
    for suffix in ("png", "tiff"):
        Image.fromarray(grey).save(tmp_path / f"a.{suffix}")
        loaded = load_image(tmp_path / f"a.{suffix}")
        np.testing.assert_allclose(loaded[..., 0], grey / 65535, atol=1e-7)
        assert (loaded[..., 3] == 1).all()


def test_sixteen_bit_rgb(tmp_path):
    row = b"\0" + struct.pack(">6H", 0, 65535, 32768, 257, 514, 65535)
    path = tmp_path / "a.png"
    path.write_bytes(png(2, 1, depth=16, color=2, rows=row))
    np.testing.assert_allclose(load_image(path)[0, :, :3], [[0, 1, 0.5], [1 / 255, 2 / 255, 1]], atol=0.003)


def test_float_tiff(tmp_path):
    values = np.array([[0.0, 0.25, 1.0, 2.0]], dtype=np.float32)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    np.testing.assert_allclose(load_image(tmp_path / "a.tiff")[0, :, 0], [0, 0.25, 1, 1])


def test_palette_grey_and_bilevel(tmp_path):
    colours = Image.fromarray(RGBA[..., :3]).quantize(16)
    colours.save(tmp_path / "p.png")
    np.testing.assert_array_equal(np.rint(load_image(tmp_path / "p.png")[..., :3] * 255), colours.convert("RGB"))
    colours.save(tmp_path / "pt.png", transparency=3)
    clear = load_image(tmp_path / "pt.png")[..., 3] == 0
    np.testing.assert_array_equal(clear, np.asarray(colours) == 3)
    Image.fromarray(RGBA[..., 0]).save(tmp_path / "l.png")
    np.testing.assert_array_equal(np.rint(load_image(tmp_path / "l.png")[..., 2] * 255), RGBA[..., 0])
    Image.fromarray(RGBA).convert("LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(np.rint(load_image(tmp_path / "la.png")[..., 3] * 255), RGBA[..., 3])
    Image.fromarray(RGBA[..., 0]).convert("1").save(tmp_path / "one.png")
    assert set(np.unique(load_image(tmp_path / "one.png")[..., 0])) == {0, 1}


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_animation_gives_its_first_frame(tmp_path, suffix):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], duration=50)
    np.testing.assert_allclose(load_image(tmp_path / f"a.{suffix}")[4, 4, :3], [1, 0, 0], atol=0.02)


def test_reduction_averages(tmp_path):
    Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8).repeat(4, 0).repeat(4, 1)).save(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png", max_side=2).shape == (2, 2, 4)
    np.testing.assert_allclose(load_image(tmp_path / "a.png", max_side=1)[..., 0], 0.5, atol=0.01)


def test_large_jpeg_is_reduced_upright(tmp_path):
    pixels = np.zeros((400, 1600, 3), dtype=np.uint8)
    pixels[:, 800:] = (250, 130, 10)
    exif = Image.Exif()
    exif[0x0112] = 8  # the stored right is the upright top
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif, quality=95)
    loaded, size = load_image_and_size(tmp_path / "a.jpg", max_side=100)
    assert (loaded.shape, size) == ((100, 25, 4), (400, 1600))
    np.testing.assert_allclose(loaded[:48, :, :3] * 255, np.broadcast_to((250, 130, 10), (48, 25, 3)), atol=4)
    np.testing.assert_allclose(loaded[52:, :, :3], 0, atol=0.02)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_size_comes_from_the_head_and_exif_may_be_passed_over(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGBA).save(tmp_path / "a.png", exif=exif)
    stored, upright = picture_size(tmp_path / "a.png")
    assert (stored, upright) == ((9, 6), (6, 9) if orientation > 4 else (9, 6))
    assert load_image_and_size(tmp_path / "a.png")[1] == upright
    pixels, size = load_image_and_size(tmp_path / "a.png", upright=False)
    assert size == stored
    np.testing.assert_array_equal(np.rint(pixels * 255), RGBA)


def test_size_of_bad_files(tmp_path):
    for content, sentence in ((b"", "empty"), (b"text", "known kind"), (b"\x89PNG\r\n\x1a\n", "known kind|corrupt")):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(UserError, match=sentence):
            picture_size(tmp_path / "a.png")
    with pytest.raises(UserError, match="no such file"):
        picture_size(tmp_path / "b.png")


def test_reduced_jpeg_is_not_shifted(tmp_path):
    """Where eighths do not divide the sides, decoding at one would stretch the picture by its last, partial block."""
    ramp = np.rint(np.linspace(0, 255, 1001)).astype(np.uint8)[None].repeat(750, 0)
    Image.fromarray(ramp).save(tmp_path / "a.jpg", quality=98)
    reduced = load_image(tmp_path / "a.jpg", max_side=100)[..., 0].mean(axis=0)
    expected = (np.arange(100) + 0.5) * 10.01 / 1000 - 0.5 / 1000
    np.testing.assert_allclose(reduced[50:], expected[50:], atol=3.5e-3)


def test_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(30_000, 30_000, depth=8, color=2, rows=b""))
    with pytest.raises(UserError, match=r"30,000|pixels"):
        load_image(path)
    path.write_bytes(png(12_000, 11_000, depth=8, color=0, rows=b""))
    with pytest.raises(UserError, match=f"{image.MAX_PIXELS:,}"):
        load_image(path)


def test_the_size_of_a_bomb_is_not_told(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(30_000, 30_000, depth=8, color=2, rows=b""))
    with pytest.raises(UserError, match="more than"):
        picture_size(path)


def test_bad_files(tmp_path):
    good = tmp_path / "good.png"
    save_image(good, GENERATOR.random((64, 64, 3)))
    cases = {
        "truncated.png": good.read_bytes()[:2000],
        "nothing.png": b"",
        "text.png": b"this is not a picture",
        "header.png": good.read_bytes()[:20],
        "flat.png": png(0, 5, depth=8, color=2, rows=b""),
        "mesh.jpg": b"ply\nformat ascii 1.0\nend_header\n",
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=name):
            load_image(tmp_path / name)
    for path in (tmp_path / "missing.png", tmp_path):
        with pytest.raises(UserError, match="cannot read"):
            load_image(path)


def test_save_image(tmp_path):
    values = torch.tensor([[[0.0, 0.5, 1.0], [-1.0, 2.0, float("nan")]]], requires_grad=True)
    save_image(tmp_path / "a.png", values)
    np.testing.assert_array_equal(np.asarray(stored(tmp_path / "a.png")), [[[0, 128, 255], [0, 255, 0]]])
    save_image(tmp_path / "b.png", np.ones((3, 4, 1)))
    assert stored(tmp_path / "b.png").mode == "L"
    assert encode_png(RGBA) == encode_png(RGBA.copy())
    for shape in ((3,), (2, 2, 5), (0, 4, 3)):
        with pytest.raises(ValueError, match="image must be"):
            save_image(tmp_path / "c.png", np.zeros(shape))
    with pytest.raises(UserError, match="cannot write"):
        save_image(tmp_path, RGBA)


def stored(path) -> Image.Image:
    """The picture as Pillow alone reads it."""
    with Image.open(path) as picture:
        picture.load()
        return picture


def png(width: int, height: int, *, depth: int, color: int, rows: bytes) -> bytes:
    """A PNG file put together by hand, so that its header can say anything."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
