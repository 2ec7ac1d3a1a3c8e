"""A scene to train on: upright pinhole pictures, their cameras and the points, in a frame of their own.

World: right-handed, +Y up, the first camera looks along -Z; see `frame` for origin and unit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gaussmith.camera import Camera
from gaussmith.capture import Capture, Lens, Photo
from gaussmith.events import OnEvent, Step, UserError, Warned, ignore, timed
from gaussmith.io.image import load_image_and_size, picture_size
from gaussmith.io.photo_files import pose_fault
from gaussmith.lens import is_pinhole, pinhole_matrix, scaled
from gaussmith.photos.frame import Similarity, scene_extent, scene_frame
from gaussmith.photos.undistort import pinhole_of, undistort

MAX_SIDE = 1600  # pixels; the field's usual limit (3DGS reduces wider pictures to it)
MAX_BYTES = 2 << 30  # of all decoded pictures together
FURTHEST_POINT = 200.0  # scene units: a hundred times the cameras' distance, where only wrong matches lie
_ASPECT = 0.02  # relative difference of proportions that rounding of small pictures makes


@dataclass(frozen=True)
class View:
    """One posed picture.

    Attributes:
        name: the photo's.
        camera: one pinhole camera (float32) of the picture's size, in the scene's frame.
        rgb: [H,W,3] uint8 sRGB, straight colours.
        alpha: [H,W] uint8, 255 where a pixel belongs to the object; None where all of the picture counts.
    """

    name: str
    camera: Camera
    rgb: Tensor
    alpha: Tensor | None = None


@dataclass(frozen=True)
class Scene:
    """Views of one scene, normalised.

    Attributes:
        views: two or more, in the order of their names; their pictures may differ in size.
        points: [P,3] float32 scene points; P = 0 where none are known.
        colors: [P,3] float32 sRGB in [0,1].
        to_input: takes the scene's frame to the world of what was read.
        extent: 1.1 times the largest distance of a camera from their mean, scene units.
        inward: whether the cameras look at one point, which is then the origin.
        source: what it was read from.
    """

    views: tuple[View, ...]
    points: Tensor
    colors: Tensor
    to_input: Similarity
    extent: float
    inward: bool
    source: str


@dataclass(frozen=True)
class _Plan:
    """How one photo is read: its lens at the photo's own size, and that of the pinhole picture to make."""

    photo: Photo
    upright: bool
    lens: Lens
    target: Lens


def load_scene(
    capture: Capture,
    *,
    downscale: float | None = None,
    max_side: int | None = MAX_SIDE,
    on_event: OnEvent = ignore,
) -> Scene:
    """Decode, undistort, mask, reduce and normalise the photos of a capture.

    Args:
        capture: two or more photos.
        downscale: divide both sides of every picture by this, 1 or more, by area averaging.
        max_side: without `downscale`: reduce pictures whose longer side is above this, pixels; None for never.
        on_event: told of the stage "photos", a step a photo.

    Raises:
        UserError: fewer than two photos, one that cannot be read or does not fit its camera, a pose that is none,
            pictures that would take more than `MAX_BYTES`.
        ValueError: a downscale below 1.
    """
    if downscale is not None and not downscale >= 1:
        raise ValueError(f"downscale must be 1 or more, got {downscale}")
    if len(capture.photos) < 2:
        raise UserError(f"{capture.source} has only one photo; a scene needs photos from several places")
    plans = [_plan(photo, downscale, max_side) for photo in sorted(capture.photos, key=lambda p: p.name)]
    _require_room(plans, downscale)
    c2w = torch.stack([plan.photo.c2w for plan in plans]).double()
    points, colors = _finite(capture.points.double(), capture.colors.float())
    to_scene, inward = scene_frame(c2w, points)
    poses = to_scene.poses(c2w)
    points = to_scene.points(points).float()
    near = points.norm(dim=-1) <= FURTHEST_POINT
    if len(points) > 0 and float(near.float().mean()) < 0.5:
        on_event(Warned("most points lie very far from the cameras; cameras and points may be of different models"))
    return Scene(
        views=_views(plans, poses.float(), capture.source, on_event),
        points=points[near],
        colors=colors[near],
        to_input=to_scene.inverse(),
        extent=scene_extent(poses[:, :3, 3]),
        inward=inward,
        source=capture.source,
    )


def _views(plans: list[_Plan], poses: Tensor, source: str, on_event: OnEvent) -> tuple[View, ...]:
    views = []
    with timed(on_event, "photos", len(plans)):
        for i, plan in enumerate(plans):
            views.append(_view(plan, poses[i]))
            on_event(Step("photos", i + 1))
    if all(view.alpha is not None and not view.alpha.any() for view in views):
        raise UserError(f"the masks of {source} leave nothing of any photo; what belongs to the object must be white")
    return tuple(views)


def _finite(points: Tensor, colors: Tensor) -> tuple[Tensor, Tensor]:
    keep = points.isfinite().all(dim=-1) & colors.isfinite().all(dim=-1)
    return points[keep], colors[keep].clamp(0, 1)


def _plan(photo: Photo, downscale: float | None, max_side: int | None) -> _Plan:
    if (wrong := pose_fault(photo.c2w)) is not None:
        raise UserError(f"{photo.name} has a pose {wrong}; leave it out")
    turn = photo.c2w[:3, :3].double()
    if float((turn @ turn.T - torch.eye(3, dtype=torch.float64)).abs().max()) > 1e-3 or float(turn.det()) < 0:
        raise UserError(f"{photo.name} has a pose that is no rotation; leave it out")
    stored, turned = picture_size(photo.path)
    # Some programs turn photos as EXIF says before they calibrate: the lens's proportions tell.
    upright = photo.upright or (not _fits(photo.lens, stored) and _fits(photo.lens, turned))
    size = turned if upright else stored
    if not _fits(photo.lens, size):
        wanted = f"{photo.lens.width}x{photo.lens.height}"
        raise UserError(
            f"{photo.path} is {size[0]}x{size[1]} pixels, but its camera is for {wanted}; "
            "give the pictures that the cameras were found from"
        )
    lens = scaled(photo.lens, *size)
    full = pinhole_of(lens)
    longest = max(full.width, full.height)
    factor = downscale if downscale is not None else max(1.0, longest / max_side if max_side else 1.0)
    target = scaled(full, *(max(1, round(n / factor)) for n in (full.width, full.height)))
    return _Plan(photo, upright, lens, target)


def _fits(lens: Lens, size: tuple[int, int]) -> bool:
    """Whether a picture has the lens's proportions, within what rounding to whole pixels makes of them."""
    across, down = size[0] / lens.width, size[1] / lens.height
    return abs(across / down - 1) <= _ASPECT + 1 / min(size)


def _require_room(plans: list[_Plan], downscale: float | None) -> None:
    """Refuse before anything is decoded."""
    needed = sum(4 * plan.target.width * plan.target.height for plan in plans)
    if needed > MAX_BYTES:
        factor = (needed / MAX_BYTES) ** 0.5 * (downscale or _reduction(plans))
        raise UserError(
            f"the {len(plans)} photos take {needed / 1e9:.1f} GB, more than {MAX_BYTES / 1e9:.1f}; reduce them with "
            f"--downscale {math.ceil(factor)}, or give fewer"
        )


def _reduction(plans: list[_Plan]) -> float:
    """By how much the most reduced photo is reduced already."""
    return max(max(p.lens.width, p.lens.height) / max(p.target.width, p.target.height) for p in plans)


def _view(plan: _Plan, c2w: Tensor) -> View:
    plain = is_pinhole(plan.lens)
    longest = max(plan.lens.width, plan.lens.height)
    # An undistorted picture is read from one of twice its pixels a side, so that only averaging takes detail away.
    side = max(plan.target.width, plan.target.height) if plain else round(2 * longest * _step(plan))
    array, _ = load_image_and_size(plan.photo.path, min(longest, side), plan.upright)
    height, width = array.shape[:2]
    mask = None if plan.photo.mask is None else _load_mask(plan, width, height)
    target = scaled(plan.target, width, height) if plain else plan.target
    if not plain:
        array, mask = _undistorted(array, mask, plan, scaled(plan.lens, width, height))
    alpha = array[..., 3] if mask is None else array[..., 3] * mask
    pixels = np.rint(np.concatenate([array[..., :3], alpha[..., None]], axis=-1) * 255).astype(np.uint8)
    K = pinhole_matrix(target).float()[None]
    opaque = bool((pixels[..., 3] == 255).all())
    return View(
        plan.photo.name,
        Camera(c2w[None], K, target.width, target.height),
        torch.from_numpy(np.ascontiguousarray(pixels[..., :3])),
        None if opaque else torch.from_numpy(np.ascontiguousarray(pixels[..., 3])),
    )


def _step(plan: _Plan) -> float:
    """Pixels of the target a pixel of the photo, around the axis."""
    return plan.target.params[0] / pinhole_of(plan.lens).params[0]


def _undistorted(
    array: np.ndarray, mask: np.ndarray | None, plan: _Plan, lens: Lens
) -> tuple[np.ndarray, np.ndarray | None]:
    """Straight RGBA [h,w,4] and mask [h,w] of the target; colours are averaged premultiplied."""
    channels = [array[..., :3] * array[..., 3:], array[..., 3:]] + ([] if mask is None else [mask[..., None]])
    picture = torch.from_numpy(np.concatenate(channels, axis=-1))
    out = undistort(picture, lens, plan.target, samples=1 if _step(plan) > 0.95 else 2).numpy()
    color = np.clip(out[..., :3] / np.maximum(out[..., 3:4], 1 / 512), 0, 1)
    straight = np.concatenate([color, np.clip(out[..., 3:4], 0, 1)], axis=-1)
    return straight, None if mask is None else np.clip(out[..., 4], 0, 1)


def _load_mask(plan: _Plan, width: int, height: int) -> np.ndarray:
    """[height,width] float32 in [0,1]: how bright the mask is, black where it is see-through."""
    assert plan.photo.mask is not None
    longest = max(plan.lens.width, plan.lens.height)
    mask, size = load_image_and_size(plan.photo.mask, longest, plan.upright)
    if not _fits(replace(plan.lens, width=size[0], height=size[1]), (plan.lens.width, plan.lens.height)):
        raise UserError(
            f"the mask {plan.photo.mask} is {size[0]}x{size[1]} pixels, of other proportions than its photo, "
            f"{plan.lens.width}x{plan.lens.height}"
        )
    grey = mask[..., :3].mean(axis=-1) * mask[..., 3]
    if grey.shape == (height, width):
        return grey
    return np.clip(np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BOX)), 0, 1)
