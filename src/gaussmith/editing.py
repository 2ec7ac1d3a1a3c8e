"""Editing splats: pure functions Gaussians -> Gaussians, and `apply`, which does several in one fixed order.

A Gaussian belongs to a region when its centre does. World units; colours are sRGB in [0,1], seen without view
dependence (SH degree 0); angles are degrees. What is kept keeps its order. An operation that cannot be done with the
numbers given is a UserError.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from gaussmith.events import UserError
from gaussmith.framing import fit_points, visible_points
from gaussmith.gaussians import Gaussians, concat
from gaussmith.sh import dc_to_rgb, degree_of

Numbers3 = tuple[float, float, float]

# None of these is from a paper.
_INVISIBLE = 1 / 255  # opacity below which no renderer draws a Gaussian
_NEIGHBOURS = 16  # more than the members of a small clump of floaters, so that they are not each other's company
_GAP = 3.0  # distance to the neighbours in sums of radii (largest standard deviations): at 3 the ellipsoids are apart
_UNUSUAL = 3.0  # robust standard deviations of the logarithm that make a gap unusual for the splat at hand
_HUGE = 2.0  # standard deviation in radii of the splat's visible part: such a Gaussian covers all of it
_LIMIT = 1e6  # largest scale and its inverse: beyond, single precision loses the object
_FAR = 1e9  # largest coordinate


@dataclass(frozen=True)
class Edits:
    """What `apply` does, in the order of the fields; None or False leaves an operation out.

    Attributes:
        crop_box: (x0, y0, z0, x1, y1, z1), two opposite corners: keep what is inside.
        crop_sphere: (x, y, z, radius): keep what is inside.
        outside: keep what is outside of the box and of the sphere instead.
        min_opacity: drop fainter Gaussians, 0 to 1.
        max_size: drop Gaussians with a larger standard deviation along their longest axis, world units.
        drop_color: drop Gaussians of this colour, sRGB in [0,1].
        tolerance: of `drop_color`: largest difference in any channel, 0 to 1.
        floaters: drop Gaussians that are isolated, invisible or as large as everything else together.
        max_gaussians: keep at most so many, the most visible.
        sh_degree: keep at most this degree of view dependence, 0 to 3.
        scale: about the origin, before the rotation.
        rotate: degrees about the x, then the y, then the z axis of the world.
        move: last.
        center: move to the origin and scale to the usual size instead of `scale` and `move`, after the rotation.
    """

    crop_box: tuple[float, float, float, float, float, float] | None = None
    crop_sphere: tuple[float, float, float, float] | None = None
    outside: bool = False
    min_opacity: float | None = None
    max_size: float | None = None
    drop_color: Numbers3 | None = None
    tolerance: float = 0.1
    floaters: bool = False
    max_gaussians: int | None = None
    sh_degree: int | None = None
    scale: float | None = None
    rotate: Numbers3 | None = None
    move: Numbers3 | None = None
    center: bool = False

    def __post_init__(self) -> None:
        for name, size in (("crop_box", 6), ("crop_sphere", 4), ("drop_color", 3), ("rotate", 3), ("move", 3)):
            values = getattr(self, name)
            if values is not None and not (len(values) == size and all(abs(v) <= _FAR for v in values)):
                raise UserError(f"{_words(name)} takes {size} numbers up to {_FAR:g}, got {values}")
        for name, low, high in (
            ("min_opacity", 0, 1), ("max_size", 0, _FAR), ("tolerance", 0, 1), ("max_gaussians", 1, 2**40),
            ("sh_degree", 0, 3), ("scale", 1 / _LIMIT, _LIMIT),
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UserError(f"{_words(name)} must be from {low:g} to {high:g}, got {value}")
        if self.crop_sphere is not None and self.crop_sphere[3] <= 0:
            raise UserError(f"crop sphere needs a radius above 0, got {self.crop_sphere[3]:g}")
        if self.drop_color is not None and not all(0 <= value <= 1 for value in self.drop_color):
            raise UserError(f"drop color takes red, green and blue from 0 to 1, got {self.drop_color}")
        if self.outside and self.crop_box is None and self.crop_sphere is None:
            raise UserError("outside of what? Give a crop box or a crop sphere with it")
        if self.center and (self.scale is not None or self.move is not None):
            raise UserError("center decides place and size; leave out scale and move, or leave out center")

    @property
    def nothing(self) -> bool:
        """Whether no operation is asked for."""
        return replace(self, tolerance=Edits.tolerance) == Edits()


@dataclass(frozen=True)
class Change:
    """What one operation did: its name, and how many Gaussians there were before and after."""

    name: str
    before: int
    after: int


def apply(edits: Edits, parts: Sequence[Gaussians]) -> tuple[Gaussians, list[Change]]:
    """Merge one or more splats and edit them; UserError as soon as an operation leaves nothing."""
    out = merge(parts)
    changes = [Change(f"merge {len(parts)} splats", len(parts[0]), len(out))] if len(parts) > 1 else []
    if len(out) == 0:
        raise UserError("the splat is empty, so there is nothing to edit")
    for name, edited in _steps(edits, out):
        changes.append(Change(name, len(out), len(edited)))
        out = edited
        if len(out) == 0:
            raise UserError(
                f"{name} would leave none of the {changes[-1].before:,} Gaussians, and an empty splat is not written; "
                "ask for less"
            )
    if not bool(out.finite().all()):
        raise UserError("the edited splat has numbers that single precision cannot hold; move or scale it less")
    return out, changes


def _steps(edits: Edits, g: Gaussians) -> Iterator[tuple[str, Gaussians]]:
    """(name, result) of each operation asked for, each working on the result of the one before."""
    side = "outside of" if edits.outside else "to"
    if edits.crop_box is not None:
        g = crop_box(g, edits.crop_box[:3], edits.crop_box[3:], outside=edits.outside)
        yield f"crop {side} the box", g
    if edits.crop_sphere is not None:
        g = crop_sphere(g, edits.crop_sphere[:3], edits.crop_sphere[3], outside=edits.outside)
        yield f"crop {side} the sphere", g
    if edits.min_opacity is not None:
        g = drop_faint(g, edits.min_opacity)
        yield f"drop opacities below {edits.min_opacity:g}", g
    if edits.max_size is not None:
        g = drop_large(g, edits.max_size)
        yield f"drop sizes above {edits.max_size:g}", g
    if edits.drop_color is not None:
        g = drop_color(g, edits.drop_color, edits.tolerance)
        yield "drop color " + ",".join(f"{value:g}" for value in edits.drop_color), g
    if edits.floaters:
        g = drop_floaters(g)
        yield "drop floaters", g
    if edits.max_gaussians is not None:
        g = keep_most_visible(g, edits.max_gaussians)
        yield f"keep the {edits.max_gaussians:,} most visible", g
    if edits.sh_degree is not None:
        g = with_sh_degree(g, min(edits.sh_degree, degree_of(g.sh.shape[1])))
        yield f"SH degree at most {edits.sh_degree}", g
    if edits.scale is not None or edits.rotate is not None or edits.move is not None:
        g = transform(g, edits.move or (0, 0, 0), edits.rotate or (0, 0, 0), edits.scale or 1.0)
        yield "transform", g
    if edits.center:
        g = center(g)
        yield "center", g


def inside_box(g: Gaussians, low: Sequence[float], high: Sequence[float]) -> Tensor:
    """[N] whether each centre lies in the closed box between two opposite corners [3]."""
    a, b = g.means.new_tensor(low), g.means.new_tensor(high)
    return ((g.means >= torch.minimum(a, b)) & (g.means <= torch.maximum(a, b))).all(dim=1)


def inside_sphere(g: Gaussians, center: Sequence[float], radius: float) -> Tensor:
    """[N] whether each centre lies in the closed ball around `center` [3]."""
    return (g.means.double() - torch.tensor(center, dtype=torch.float64).to(g.means.device)).norm(dim=1) <= radius


def crop_box(g: Gaussians, low: Sequence[float], high: Sequence[float], *, outside: bool = False) -> Gaussians:
    """What is inside the box, or what is outside of it: the two together are the whole."""
    return g.select(inside_box(g, low, high) != outside)


def crop_sphere(g: Gaussians, center: Sequence[float], radius: float, *, outside: bool = False) -> Gaussians:
    """What is inside the ball, or what is outside of it: the two together are the whole."""
    return g.select(inside_sphere(g, center, radius) != outside)


def drop_faint(g: Gaussians, min_opacity: float) -> Gaussians:
    """Without the Gaussians of an opacity below `min_opacity`."""
    return g.select(g.opacities >= min_opacity)


def drop_large(g: Gaussians, max_size: float) -> Gaussians:
    """Without the Gaussians whose longest standard deviation exceeds `max_size`, world units."""
    return g.select(_size(g) <= max_size)


def drop_color(g: Gaussians, color: Sequence[float], tolerance: float = 0.1) -> Gaussians:
    """Without the Gaussians that differ from an sRGB colour [3] by at most `tolerance` in every channel."""
    seen = dc_to_rgb(g.sh[:, 0]).clamp(0, 1)  # brighter than white shows as white
    return g.select((seen - seen.new_tensor(color)).abs().amax(dim=1) > tolerance)


def drop_floaters(g: Gaussians) -> Gaussians:
    """Without what is no part of anything: Gaussians that are not finite, invisible, huge or isolated.

    Invisible: too faint to be drawn. Huge: one standard deviation spans the whole visible splat. Isolated: the mean
    distance to the 16 nearest others, in sums of the two radii, is above 3 and an outlier among all those of the splat
    (statistical outlier removal, Rusu et al. 2008, on logarithms and with median and MAD, for the distances of splats
    spread over decades; in radii, for a large Gaussian of a bare wall has its neighbours further off).
    Of 16 Gaussians or fewer only those not finite or invisible
    go. Not idempotent: with the outliers gone others may stand out.
    """
    g = g.select(g.finite() & (g.opacities >= _INVISIBLE))
    if len(g) <= _NEIGHBOURS:
        return g
    points = visible_points(g)
    if len(points):
        g = g.select(_size(g) <= _HUGE * (points - points.median(dim=0).values).norm(dim=1).max())
    if len(g) <= _NEIGHBOURS:
        return g
    gap = torch.from_numpy(_gaps(g)).clamp_min(1e-6).log()
    middle = gap.median()
    spread = 1.4826 * (gap - middle).abs().median()  # a normal distribution's standard deviation from its MAD
    return g.select(((gap <= math.log(_GAP)) | (gap <= middle + _UNUSUAL * spread)).to(g.means.device))


def _gaps(g: Gaussians) -> np.ndarray:
    """[N] mean distance to the nearest others, each in sums of the two largest standard deviations."""
    means = g.means.detach().cpu().double().numpy()
    size = _size(g).detach().cpu().double().numpy()
    distance, index = cKDTree(means).query(means, k=_NEIGHBOURS + 1, workers=1)
    return (distance / np.maximum(size[:, None] + size[index], 1e-30))[:, 1:].mean(axis=1)


def keep_most_visible(g: Gaussians, count: int) -> Gaussians:
    """The `count` Gaussians with the largest opacity times mean shadow; all if there are no more, in their order.

    The mean area of an ellipsoid's shadow is within 1.1 % of pi (sum of the products of two axes, each to the power p,
    over 3) to the 1/p with p = 1.6075 (Thomsen's formula for a quarter of the surface). What hides behind others
    counts all the same.
    """
    if len(g) <= count:
        return g
    a, b, c = (1.6075 * g.log_scales.double()).unbind(dim=1)
    shadow = torch.logsumexp(torch.stack([a + b, b + c, a + c], dim=1), dim=1) / 1.6075
    score = shadow + torch.nn.functional.logsigmoid(g.opacity_logits.double())
    best = score.argsort(descending=True, stable=True)[:count]
    return g.select(best.sort().values)


def with_sh_degree(g: Gaussians, degree: int) -> Gaussians:
    """The Gaussians with SH degree 0 to 3: higher bands are cut off, missing ones are zero."""
    bands = (degree + 1) ** 2
    degree_of(bands)
    have = g.sh.shape[1]
    sh = g.sh[:, :bands] if have >= bands else torch.cat([g.sh, g.sh.new_zeros(len(g), bands - have, 3)], dim=1)
    return replace(g, sh=sh)


def merge(parts: Sequence[Gaussians]) -> Gaussians:
    """All Gaussians of one or more splats, one splat after the other, at the highest SH degree among them."""
    if not parts:
        raise ValueError("nothing to merge")
    degree = max(degree_of(part.sh.shape[1]) for part in parts)
    return concat([with_sh_degree(part, degree) for part in parts])


def rotation(degrees: Sequence[float]) -> Tensor:
    """[3,3] float64: degrees about the x axis of the world, then the y axis, then the z axis."""
    out = torch.eye(3, dtype=torch.float64)
    for axis, angle in enumerate(degrees):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3, dtype=torch.float64)
        turn[i, i] = turn[j, j] = math.cos(math.radians(angle))
        turn[j, i] = math.sin(math.radians(angle))
        turn[i, j] = -turn[j, i]
        out = turn @ out
    return out


def transform(
    g: Gaussians, move: Sequence[float] = (0, 0, 0), rotate: Sequence[float] = (0, 0, 0), scale: float = 1.0
) -> Gaussians:
    """x -> scale * R(rotate) x + move, colours turning along; `rotate` as in `rotation`, scale > 0."""
    return g.transform(rotation(rotate), torch.tensor(move, dtype=torch.float64), scale)


def center(g: Gaussians) -> Gaussians:
    """The splat where the cameras look: its visible part fits the sphere of radius 0.6 at the origin."""
    points = visible_points(g)
    if len(points) == 0:
        raise UserError("the splat holds no visible Gaussian, so there is nothing to center")
    return fit_points(points).gaussians(g)


def _size(g: Gaussians) -> Tensor:
    return g.scales.amax(dim=1)


def _words(field: str) -> str:
    return field.replace("_", " ")
