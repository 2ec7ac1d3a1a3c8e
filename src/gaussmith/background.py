"""Cutting the object out of an opaque picture: a method for plain backgrounds, and rembg where it is installed.

The plain method: a smooth colour field (cubic in x and y, so gradients and vignettes count as plain) is fitted to the
picture's border, then to all that was found to be background. What differs from it in CIELAB and is not joined to the
border is object. Edge pixels are unmixed: with B the field and F the nearest colour well inside the object, a pixel
alpha F + (1 - alpha) B is solved for alpha and cleaned of B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.color import rgb2lab

from gaussmith.events import UserError

# Differences in CIELAB (delta E 76). About 2.3 is just noticeable; compressed photographs of paper stay below 5.
SMALLEST_DIFFERENCE = 5.0
NOISE_FACTOR = 4.0  # or this many standard deviations of the background, if that is more
_EDGE = 2  # pixels on either side of the outline that may be mixed
_SAMPLES = 20_000  # background pixels that the field is fitted to
_FULL = np.ones((3, 3), dtype=bool)


@dataclass(frozen=True)
class Cutout:
    """A picture without its background.

    Attributes:
        rgb: [H,W,3] float32, the object's colours, cleaned of the background at its edge.
        alpha: [H,W] float32 in [0,1].
        doubts: reasons why the result may be wrong, each half a sentence; empty when there is none.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    doubts: list[str] = field(default_factory=list)


def cut_plain(rgb: np.ndarray) -> Cutout:
    """Cut the object of rgb [H,W,3] float32 sRGB out of a plain or smoothly shaded background.

    An object that cannot be found gives an alpha that is 0 everywhere. Needs at least 8x8 pixels.
    """
    lab = rgb2lab(ndimage.gaussian_filter(rgb, (0.7, 0.7, 0))).astype(np.float32)
    border = _border(rgb.shape[:2])
    inliers = _plain_part(rgb, border)
    background = inliers
    for degree in (2, 3):
        model = _fit_field(rgb, background, degree)
        distance = np.linalg.norm(lab - rgb2lab(model), axis=-1).astype(np.float32)
        noise = math.sqrt(float(np.square(distance[background]).mean()))
        threshold = max(SMALLEST_DIFFERENCE, NOISE_FACTOR * noise)
        mask = _object_mask(distance, threshold)
        outside = ~ndimage.binary_dilation(mask, _FULL, iterations=_EDGE + 1)
        if outside.sum() < 64:
            break
        background = outside
    doubts = _doubts(distance, threshold, mask, border, noise)
    clean, alpha = _soften(rgb, model, distance, mask)
    return Cutout(clean, alpha, doubts)


def cut_rembg(rgb: np.ndarray) -> Cutout:
    """Cut the object of rgb [H,W,3] float32 out with rembg.

    Raises:
        UserError: rembg is not installed, or it cannot run or fetch its weights.
    """
    try:
        import rembg

        picture = Image.fromarray(np.rint(rgb * 255).astype(np.uint8))
        mask = rembg.remove(picture, session=rembg.new_session("u2net"), only_mask=True)
        alpha = np.asarray(mask.convert("L"), dtype=np.float32) / 255
    except ImportError as error:
        raise UserError("rembg is not installed; run: pip install 'gaussmith[mask]'") from error
    except (Exception, SystemExit) as error:  # SystemExit: rembg's way to say that onnxruntime is missing
        raise UserError(
            f"rembg could not cut the object out ({str(error)[:120]}); it fetches its weights from the network once, "
            "so check the connection or give a picture with alpha"
        ) from error
    return Cutout(bleed(rgb, alpha >= 0.95), alpha)


def bleed(rgb: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """rgb [H,W,3] with the colour of the nearest kept pixel (keep [H,W]) wherever a pixel is not kept."""
    if keep.all() or not keep.any():
        return rgb
    rows, columns = ndimage.distance_transform_edt(~keep, return_distances=False, return_indices=True)
    return rgb[rows, columns]


def _border(shape: tuple[int, ...]) -> np.ndarray:
    width = max(2, round(0.02 * min(shape)))
    border = np.ones(shape, dtype=bool)
    border[width:-width, width:-width] = False
    return border


def _terms(y: np.ndarray, x: np.ndarray, shape: tuple[int, ...], degree: int) -> np.ndarray:
    """[P,T] monomials of pixel coordinates [P], scaled to [-1,1], up to a total degree."""
    y, x = 2 * y / (shape[0] - 1) - 1, 2 * x / (shape[1] - 1) - 1
    return np.stack([y**i * x**j for i, j in _powers(degree)], axis=-1)


def _powers(degree: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]


def _fit_field(rgb: np.ndarray, where: np.ndarray, degree: int) -> np.ndarray:
    """The smooth colour field [H,W,3] that fits rgb best (least squares) at the pixels `where`, clipped to [0,1]."""
    y, x = np.nonzero(where)
    step = max(1, len(y) // _SAMPLES)
    y, x = y[::step], x[::step]
    weights, *_ = np.linalg.lstsq(_terms(y, x, where.shape, degree), rgb[y, x].astype(np.float64), rcond=None)
    grid = np.zeros((degree + 1, degree + 1, 3))
    for (i, j), weight in zip(_powers(degree), weights):
        grid[i, j] = weight
    down, across = (np.vander(np.linspace(-1, 1, n), degree + 1, increasing=True) for n in where.shape)
    planes = [down @ grid[..., c] @ across.T for c in range(3)]
    return np.clip(np.stack(planes, axis=-1), 0, 1).astype(np.float32)


def _plain_part(rgb: np.ndarray, border: np.ndarray) -> np.ndarray:
    """The border pixels that agree on one smooth field: least squares, each time without the worst (trimmed)."""
    y, x = np.nonzero(border)
    step = max(1, len(y) // _SAMPLES)
    y, x = y[::step], x[::step]
    colors, terms = rgb[y, x].astype(np.float64), _terms(y, x, border.shape, 2)
    chosen = np.ones(len(y), dtype=bool)
    expected = np.median(colors, axis=0)
    for _ in range(6):
        residual = 100 * np.linalg.norm(colors - expected, axis=-1)  # in about the units of CIELAB
        spread = 1.4826 * float(np.median(residual[chosen]))
        agreeing = residual <= max(SMALLEST_DIFFERENCE, 2.5 * spread)
        if agreeing.sum() < 64:
            break
        chosen = agreeing
        weights, *_ = np.linalg.lstsq(terms[chosen], colors[chosen], rcond=None)
        expected = terms @ weights
    inliers = np.zeros_like(border)
    inliers[y[chosen], x[chosen]] = True
    return inliers


def _object_mask(distance: np.ndarray, threshold: float) -> np.ndarray:
    """Pixels unlike the background and joined to surely unlike ones; enclosed regions too, but for true holes."""
    unlike, count = ndimage.label(distance > threshold, _FULL)
    strongest = ndimage.maximum(distance, unlike, np.arange(count + 1)) if count else np.zeros(1)
    sure = np.asarray(strongest) > 2 * threshold
    sure[0] = False
    mask = sure[unlike]
    if not mask.any():
        return mask
    mask = _without_specks(mask)
    inside = ndimage.binary_fill_holes(mask) & ~mask
    holes, count = ndimage.label(inside)
    index = np.arange(1, count + 1)
    area = ndimage.sum_labels(inside, holes, index)
    typical = np.asarray(ndimage.median(distance, holes, index)) if count else np.zeros(0)
    # A handle's hole shows the very background and is not tiny; a highlight or a pale patch is not so exact.
    true_hole = np.concatenate([[False], (area >= max(64, 0.003 * mask.sum())) & (typical <= threshold / 3)])
    return (mask | inside) & ~true_hole[holes]


def _without_specks(mask: np.ndarray) -> np.ndarray:
    """Only the parts that have at least a hundredth of the largest one's area."""
    parts, count = ndimage.label(mask, _FULL)
    area = ndimage.sum_labels(mask, parts, np.arange(count + 1))
    return (area >= 0.01 * area.max())[parts] & mask


def _soften(
    rgb: np.ndarray, model: np.ndarray, distance: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colours [H,W,3] and alpha [H,W] with the pixels near the outline unmixed into object and background."""
    alpha = mask.astype(np.float32)
    if not mask.any() or mask.all():
        return rgb, alpha
    core = ndimage.binary_erosion(mask, _FULL, iterations=_EDGE, border_value=1)
    core |= mask & (distance >= ndimage.maximum_filter(distance, 2 * _EDGE + 1))  # thin parts have no eroded inside
    band = ndimage.binary_dilation(mask, _FULL, iterations=_EDGE) & ~core
    inner = bleed(rgb, core)
    contrast = inner - model
    squared = np.square(contrast).sum(axis=-1)
    mixed = ((rgb - model) * contrast).sum(axis=-1) / np.maximum(squared, 1e-8)
    mixed = np.clip((mixed - 0.04) / 0.92, 0, 1)  # noise must not leave a veil, nor pinholes
    band &= squared > 1e-3
    alpha = np.where(band, mixed, alpha).astype(np.float32)
    unmixed = (rgb - (1 - alpha[..., None]) * model) / np.maximum(alpha[..., None], 0.3)
    colors = np.where(alpha[..., None] > 0.3, np.clip(unmixed, 0, 1), inner)
    return np.where(band[..., None], colors, bleed(rgb, mask)).astype(np.float32), alpha


def _doubts(distance: np.ndarray, threshold: float, mask: np.ndarray, border: np.ndarray, noise: float) -> list[str]:
    doubts = []
    share = float(mask.mean())
    if noise > 2 * SMALLEST_DIFFERENCE or float((distance[border] > threshold).mean()) > 0.2:
        doubts.append("the border of the picture is not of one plain or smoothly changing colour")
    if 0 < share < 0.005:
        doubts.append("what differs from the background is very small")
    if share > 0.85:
        doubts.append("nearly all of the picture differs from its border")
    if mask.any() and float(np.median(distance[mask])) < 2 * threshold:
        doubts.append("object and background have much the same colour")
    return doubts
