"""Picture preparation: any picture of an object becomes the square RGBA reference view that the recipes work from.

The prepared picture is what a camera at azimuth 0, radius 2 and vertical field of view 49.1 degrees sees. By default
the object is moved to the middle and scaled so that its longer side fills 0.8 of the inner frame of 36 degrees that
priors look at (a border of 0.2, as DreamGaussian leaves at 256 px). With `keep_framing` the picture is taken as framed:
the square frame spans its longer side, and a picture that is not square gets transparent bars on both sides.

A point (X, Y) of the source picture (pixels, upright, corner (0,0) top left) lies in the prepared one at
(scale X + shift[0], scale Y + shift[1]).
"""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from scipy import sparse

from gaussmith.background import Cutout, bleed, cut_plain, cut_rembg
from gaussmith.camera import DEFAULT_FOVY, PRIOR_FOVY
from gaussmith.events import UserError
from gaussmith.io.image import decode_pil, load_image_and_size, save_image, to_uint8

PICTURE_SIZE = 512
OUTLINE_SHARE = 0.8  # share of the inner frame that the outline's longer side fills
INNER_SHARE = math.tan(math.radians(PRIOR_FOVY / 2)) / math.tan(math.radians(DEFAULT_FOVY / 2))  # of the whole frame
OBJECT_SHARE = OUTLINE_SHARE * INNER_SHARE
WORKING_SIDE = 1280  # longer pictures are reduced first; an object over a quarter of the frame loses nothing by it
SMALLEST_OBJECT = 16  # pixels; less shows nothing to rebuild
SMALLEST_CLEAR_SHARE = 0.005  # pixels that must be see-through for alpha to count as a cut-out, not as rounded corners
VISIBLE = 0.1  # alpha from which a pixel counts for the object's extent

MaskSource = Literal["alpha", "rembg", "plain background"]


@dataclass(frozen=True)
class Prepared:
    """A picture ready for a recipe.

    Attributes:
        rgba: [S,S,4] float32 in [0,1], sRGB, straight alpha; under alpha 0 lies the nearest colour of the object.
        fovy: vertical field of view of the whole frame, degrees.
        scale: prepared pixels a source pixel.
        shift: prepared pixels (x, y) of the source's top left corner.
        source_size: (width, height) of the source, upright, pixels.
        keep_framing: whether the picture was taken as framed.
        mask_source: where the alpha comes from.
        warnings: sentences for the user.
    """

    rgba: torch.Tensor
    fovy: float
    scale: float
    shift: tuple[float, float]
    source_size: tuple[int, int]
    keep_framing: bool
    mask_source: MaskSource
    warnings: list[str] = field(default_factory=list)

    def to_source(self) -> torch.Tensor:
        """[height,width,4] the prepared picture put back over the source picture, straight alpha."""
        width, height = self.source_size
        rgba = _resample(self.rgba.numpy(), self.shift, self.scale, (height, width))
        return torch.from_numpy(rgba)

    def moved(self, scale: float, shift: tuple[float, float], size: int) -> Prepared:
        """The picture on another grid, size x size pixels: what lies at (x, y) moves to scale (x, y) + shift."""
        rgba = _resample(self.rgba.numpy(), (-shift[0] / scale, -shift[1] / scale), 1 / scale, (size, size))
        across, down = (scale * old + new for old, new in zip(self.shift, shift))
        return replace(self, rgba=torch.from_numpy(rgba), scale=scale * self.scale, shift=(across, down))

    def centred(self, scale: float, point: tuple[float, float], size: int) -> Prepared:
        """The picture scaled, its point (x, y) in the middle of size x size pixels."""
        return self.moved(scale, (size / 2 - scale * point[0], size / 2 - scale * point[1]), size)

    def save(self, path: str | Path) -> None:
        """Write the prepared picture as a PNG with alpha, atomically; UserError if the place cannot be written."""
        save_image(path, self.rgba)

    def report(self) -> dict[str, Any]:
        """What report.json keeps: how to find the prepared picture in the source, and where its alpha comes from."""
        return {
            "source_size": list(self.source_size),
            "scale": self.scale,
            "shift": list(self.shift),
            "fovy": self.fovy,
            "keep_framing": self.keep_framing,
            "mask": self.mask_source,
            "warnings": list(self.warnings),
        }


def load_picture(picture: str | Path | np.ndarray | torch.Tensor | Image.Image) -> tuple[np.ndarray, tuple[int, int]]:
    """A picture as [H,W,4] float32 straight RGBA, upright, no longer than `WORKING_SIDE`; and its own (width, height).

    Arrays are [H,W], [H,W,1], [H,W,3] or [H,W,4]: unsigned integers over their whole range, or floats in [0,1].

    Raises:
        UserError: a file that cannot be read as a picture (see `io.image.load_image`).
        ValueError: an array that is no picture.
    """
    if isinstance(picture, (str, Path)):
        return load_image_and_size(picture, WORKING_SIDE)
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(_bytes_of(picture))
    return decode_pil(picture, "the picture", WORKING_SIDE)


def prepare(
    picture: str | Path | np.ndarray | torch.Tensor | Image.Image,
    *,
    keep_framing: bool = False,
    size: int = PICTURE_SIZE,
    mask: Literal["auto", "alpha", "rembg", "plain"] = "auto",
) -> Prepared:
    """Cut the object of a picture out and frame it (see the module's text).

    Args:
        picture: a file, or a picture as `load_picture` takes it.
        keep_framing: take the picture exactly as framed.
        size: side of the result, pixels.
        mask: "auto" takes the picture's alpha if it has one, else rembg if it is installed, else the method for plain
            backgrounds; the others insist.

    Raises:
        UserError: unreadable, fully transparent, no object found, or one smaller than `SMALLEST_OBJECT` pixels.
    """
    rgba, source_size = load_picture(picture)
    cutout, source = _cut(rgba, mask)
    warnings = [
        f"the object may be cut out badly: {doubt}; look at it with 'gaussmith prepare', or give a picture with alpha"
        for doubt in cutout.doubts
    ]
    left, top, right, bottom = _extent(cutout.alpha, source)
    per_working = max(source_size) / max(rgba.shape[:2])  # source pixels a working pixel
    if max(right - left, bottom - top) * per_working < SMALLEST_OBJECT:
        raise UserError(f"the object is smaller than {SMALLEST_OBJECT} pixels; give a picture that shows it larger")
    if _touches_border(cutout.alpha, max(right - left, bottom - top)):
        warnings.append(
            "the object touches the border of the picture and may be cut off there; the cut side is guessed"
        )
    if keep_framing:
        scale = size / max(rgba.shape[:2])
        center = (rgba.shape[1] / 2, rgba.shape[0] / 2)
    else:
        scale = OBJECT_SHARE * size / max(right - left, bottom - top)
        center = ((left + right) / 2, (top + bottom) / 2)
    shift = (size / 2 - scale * center[0], size / 2 - scale * center[1])
    straight = np.concatenate([cutout.rgb, cutout.alpha[..., None]], axis=-1)
    out = _resample(straight, (-shift[0] / scale, -shift[1] / scale), 1 / scale, (size, size))
    if keep_framing and float(out[..., 3].max()) < VISIBLE:
        raise UserError("the object is too small to be seen once the picture is reduced; leave out --keep-framing")
    return Prepared(
        rgba=torch.from_numpy(out),
        fovy=DEFAULT_FOVY,
        scale=scale / per_working,
        shift=shift,
        source_size=source_size,
        keep_framing=keep_framing,
        mask_source=source,
        warnings=warnings,
    )


def outline(prepared: Prepared) -> tuple[float, tuple[float, float]]:
    """What frames a prepared picture by its object's outline, as `prepare` does: the scale, and the middle (x, y) of
    the outline in its pixels. UserError where nothing is seen."""
    left, top, right, bottom = _extent(prepared.rgba[..., 3].numpy(), prepared.mask_source)
    scale = OBJECT_SHARE * prepared.rgba.shape[0] / max(right - left, bottom - top)
    return scale, ((left + right) / 2, (top + bottom) / 2)


def premultiplied(rgba: torch.Tensor) -> torch.Tensor:
    """[...,4] colour times alpha, and alpha, of straight RGBA."""
    return torch.cat([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], dim=-1)


def _bytes_of(picture: np.ndarray | torch.Tensor) -> np.ndarray:
    """uint8 [H,W], [H,W,3] or [H,W,4] of an array picture."""
    array = picture.detach().cpu().numpy() if isinstance(picture, torch.Tensor) else np.asarray(picture)
    if array.dtype.kind == "u":
        array = array / np.iinfo(array.dtype).max
    elif array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError("a picture array must hold unsigned integers or finite floats")
    return to_uint8(array)


def _cut(rgba: np.ndarray, mask: str) -> tuple[Cutout, MaskSource]:
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    clear = float((alpha < 250 / 255).mean())
    if mask == "alpha" or (mask == "auto" and clear >= SMALLEST_CLEAR_SHARE):
        return Cutout(rgb, alpha), "alpha"
    if min(rgb.shape[:2]) < SMALLEST_OBJECT:
        raise UserError(f"the picture is smaller than {SMALLEST_OBJECT} pixels; give a larger one")
    opaque = rgb * alpha[..., None] + (1 - alpha[..., None])  # the few see-through pixels on white
    if mask == "rembg":
        return cut_rembg(opaque), "rembg"
    if mask == "auto" and importlib.util.find_spec("rembg") is not None:
        try:
            return cut_rembg(opaque), "rembg"
        except UserError as error:
            plain = cut_plain(opaque)
            return Cutout(plain.rgb, plain.alpha, [*plain.doubts, str(error)]), "plain background"
    return cut_plain(opaque), "plain background"


def _extent(alpha: np.ndarray, source: MaskSource) -> tuple[int, int, int, int]:
    """left, top, right, bottom of the visible part (right and bottom exclusive)."""
    rows, columns = (np.flatnonzero((alpha > VISIBLE).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        if source == "alpha":
            raise UserError("the picture is transparent everywhere; give one that shows an object")
        raise UserError(
            "no object could be told from the background; give a picture with alpha, or on a plain background of "
            "another colour, or install rembg: pip install 'gaussmith[mask]'"
        )
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _touches_border(alpha: np.ndarray, extent: int) -> bool:
    """Whether the object meets a side of the picture along more than a touching point."""
    sides = (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])
    return any(int((side > 0.5).sum()) > max(2, 0.02 * extent) for side in sides)


def _resample(rgba: np.ndarray, origin: tuple[float, float], step: float, shape: tuple[int, int]) -> np.ndarray:
    """Straight RGBA [H,W,4] on another grid [h,w,4]: output pixel (i, j) covers the `step` wide square at
    origin + step (j, i) (x, y in input pixels). Filtered premultiplied; outside the input all is clear.
    """
    premultiplied = np.concatenate([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], axis=-1)
    across = _filter(rgba.shape[1], shape[1], origin[0], step)
    down = _filter(rgba.shape[0], shape[0], origin[1], step)
    rows = (down @ premultiplied.reshape(rgba.shape[0], -1)).reshape(shape[0], rgba.shape[1], 4)
    turned = rows.transpose(1, 0, 2).reshape(rgba.shape[1], -1)
    out = (across @ turned).reshape(shape[1], shape[0], 4).transpose(1, 0, 2)
    alpha = np.clip(out[..., 3:], 0, 1)
    seen = alpha[..., 0] >= 0.5 / 255
    color = bleed(np.clip(out[..., :3] / np.maximum(alpha, 1e-6), 0, 1), seen)
    return np.concatenate([color, np.where(seen[..., None], alpha, 0)], axis=-1).astype(np.float32)


def _filter(length: int, count: int, origin: float, step: float) -> sparse.csr_matrix:
    """[count,length] weights of one axis: exact area average when reducing, linear interpolation when enlarging."""
    start = origin + step * np.arange(count)
    if step >= 1:
        taps = np.floor(start)[:, None] + np.arange(math.ceil(step) + 1)
        overlap = np.minimum(start[:, None] + step, taps + 1) - np.maximum(start[:, None], taps)
        weights = np.clip(overlap, 0, None) / step
        weights[(taps < 0) | (taps >= length)] = 0
    else:
        center = start + step / 2
        taps = np.floor(center - 0.5)[:, None] + np.arange(2)
        weights = 1 - np.abs(center[:, None] - 0.5 - taps)
        weights[(center < 0) | (center > length)] = 0
    columns = np.clip(taps, 0, length - 1).astype(np.int64)
    rows = np.broadcast_to(np.arange(count)[:, None], columns.shape)
    matrix = sparse.coo_matrix((weights.ravel(), (rows.ravel(), columns.ravel())), shape=(count, length))
    return matrix.tocsr().astype(np.float32)
