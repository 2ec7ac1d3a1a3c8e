"""Pictures: any common file becomes straight RGBA floats; PNG is written.

Pillow does the decoding. Size is checked before pixels are decoded, so a small file that declares an enormous picture
costs nothing.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike
from PIL import ExifTags, Image, ImageOps

from gaussmith.events import UserError
from gaussmith.io.atomic import write_bytes
from gaussmith.io.source import read_bytes

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 120_000_000  # the largest common cameras make 108 million; 480 MB once decoded
MAX_TEXTURE_SIDE = 8192  # larger textures of meshes are reduced to it
MAX_FILE_BYTES = 1 << 30


def load_image(path: str | Path, max_side: int | None = None) -> np.ndarray:
    """A picture file as [H,W,4] float32 in [0,1], straight alpha, sRGB, upright (EXIF orientation applied).

    Grey, palette (with transparency), 16-bit, CMYK and premultiplied files are converted; of an animated or multi-page
    file the first frame is taken. If `max_side` is given, longer pictures are reduced to it by area averaging.

    Raises:
        UserError: missing, a folder, empty, not a picture of `FORMATS`, truncated or corrupt, over `MAX_PIXELS`.
    """
    return load_image_and_size(path, max_side)[0]


def load_image_and_size(
    path: str | Path, max_side: int | None = None, upright: bool = True
) -> tuple[np.ndarray, tuple[int, int]]:
    """As `load_image`, and the (width, height) before any reduction; without `upright` EXIF is passed over."""
    return decode_image(read_bytes(path, MAX_FILE_BYTES), str(path), max_side, upright)


def picture_size(path: str | Path) -> tuple[tuple[int, int], tuple[int, int]]:
    """(width, height) as stored and as turned upright by EXIF, from the file's head alone; errors as `load_image`."""
    read_bytes(path, MAX_FILE_BYTES, first=1)  # a regular file that may be read
    with _quiet(), _faults(path), Image.open(path, formats=FORMATS) as picture:
        width, height = picture.size
        quarter_turn = _orientation(picture) in (5, 6, 7, 8)
    return (width, height), ((height, width) if quarter_turn else (width, height))


def decode_image(
    data: bytes, name: str, max_side: int | None = None, upright: bool = True
) -> tuple[np.ndarray, tuple[int, int]]:
    """As `load_image_and_size`, of the bytes of a file; `name` is for errors."""
    with _quiet():
        with _faults(name):
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        with picture:
            return decode_pil(picture, name, max_side, upright)


def decode_pil(
    picture: Image.Image, name: str, max_side: int | None = None, upright: bool = True
) -> tuple[np.ndarray, tuple[int, int]]:
    """As `load_image_and_size`, of a Pillow picture that may not be decoded yet."""
    width, height = picture.size
    if width < 1 or height < 1:
        raise UserError(f"cannot read {name}: the picture is {width}x{height} pixels, it is empty")
    if width * height > MAX_PIXELS:
        raise UserError(
            f"cannot read {name}: {width:,}x{height:,} is more than {MAX_PIXELS:,} pixels, reduce the picture"
        )
    with _quiet(), _faults(name):
        # Sides that eighths divide: else the reduced grid would reach beyond the picture, and shift what it shows.
        if max_side is not None and picture.format == "JPEG" and width % 8 == height % 8 == 0:
            picture.draft(picture.mode, (max_side, max_side))  # decodes at a half, quarter or eighth: less memory
        picture.load()
        turned = _upright(picture) if upright else picture
        quarter_turn = turned.size != picture.size
        return _to_rgba(turned, max_side), (height, width) if quarter_turn else (width, height)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Pillow's warnings: of sizes, which are checked here, and of odd metadata, which nothing here needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _faults(name: str | Path) -> Iterator[None]:
    """What Pillow raises when it opens a file, as one sentence."""
    try:
        yield
    except Image.UnidentifiedImageError as error:
        raise UserError(f"cannot read {name}: it is not a picture of a known kind ({', '.join(FORMATS)})") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"cannot read {name}: it has more than {MAX_PIXELS:,} pixels, reduce the picture") from error
    except Exception as error:  # Pillow's decoders raise nearly every type of exception on corrupt files
        raise UserError(f"cannot read {name}: the picture is truncated or corrupt ({error})") from error


def save_image(path: str | Path, image: ArrayLike | torch.Tensor) -> None:
    """Write a PNG atomically: [H,W], [H,W,1], [H,W,3] or [H,W,4], uint8 or float in [0,1] (clipped, rounded).

    Raises:
        UserError: the place cannot be written.
        ValueError: not the shape of a picture.
    """
    write_bytes(path, encode_png(image))


def encode_png(image: ArrayLike | torch.Tensor) -> bytes:
    """The bytes of a PNG file of an image as in `save_image`; equal images give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(to_uint8(image)).save(buffer, format="PNG")
    return buffer.getvalue()


def to_uint8(image: ArrayLike | torch.Tensor) -> np.ndarray:
    """[H,W], [H,W,3] or [H,W,4] uint8 of an image as in `save_image`; NaN counts as 0."""
    array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or array.size == 0:
        raise ValueError(f"an image must be [H,W], [H,W,1], [H,W,3] or [H,W,4] and not empty, got {array.shape}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    return np.rint(np.clip(np.nan_to_num(array.astype(np.float32)), 0, 1) * 255).astype(np.uint8)


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # broken EXIF is no reason to refuse the pixels
        return picture


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # as in _upright
        return 1


def _to_rgba(picture: Image.Image, max_side: int | None) -> np.ndarray:
    if picture.mode.startswith(("I", "F")):
        grey = Image.fromarray(_unit_grey(picture))
        values = np.clip(np.asarray(_reduced(grey, max_side), dtype=np.float32), 0, 1)
        return np.stack([values, values, values, np.ones_like(values)], axis=-1)
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        picture = picture.convert("RGB")
    rgba = _reduced(picture.convert("RGBA"), max_side)
    values = np.array(rgba, dtype=np.float32)
    values /= 255
    return values


def _unit_grey(picture: Image.Image) -> np.ndarray:
    """[H,W] float32 of a 16- or 32-bit grey picture: white is 65535 (integers; 2^32 - 1 if larger) or 1 (floats)."""
    values = np.asarray(picture).astype(np.float32)
    if picture.mode.startswith("F"):
        return np.nan_to_num(values, posinf=1, neginf=0)
    return values / (65535 if values.max() <= 65535 else 2.0**32 - 1)


def _reduced(picture: Image.Image, max_side: int | None) -> Image.Image:
    longest = max(picture.size)
    if max_side is None or longest <= max_side:
        return picture
    width, height = (max(1, round(n * max_side / longest)) for n in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)
