"""What a job is about, known views or words or both, and how a prior is told of it."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from gaussmith.camera import Camera, orbit
from gaussmith.diffusion.prompts import Prompts
from gaussmith.events import OnEvent, UserError, Warned, ignore
from gaussmith.picture import INNER_SHARE, PICTURE_SIZE, Prepared, outline, premultiplied
from gaussmith.priors.base import Prior, crop_to_prior
from gaussmith.priors.embedded.domain import domain_distance
from gaussmith.priors.embedded.placement import SIDE, Placement, PlacementHead, find_placement
from gaussmith.synth.lookup import Found
from gaussmith.views import TEXT_HEIGHTS, Heights, OrbitView, elevation_range


@dataclass(frozen=True)
class KnownView:
    """A picture in the 49.1-degree frame, and the degrees from which it was taken; `spread` is the standard deviation
    of an elevation that was guessed, 0 where it is known."""

    prepared: Prepared
    azimuth: float = 0.0
    elevation: float = 0.0
    spread: float = 0.0

    def camera(self, size: int | None = None) -> Camera:
        """The camera that took it, with another picture size if asked."""
        return orbit(self.azimuth, self.elevation, width=size or self.prepared.rgba.shape[1])

    def mirrored(self, azimuth: float) -> KnownView:
        """What a camera at that azimuth from this one sees of a thing that is its own mirror image in the upright plane
        half-way between the two."""
        picture = replace(self.prepared, rgba=self.prepared.rgba.flip(1))
        return replace(self, prepared=picture, azimuth=(self.azimuth + azimuth + 180) % 360 - 180)

    def premultiplied(self, side: int | None = None) -> Tensor:
        """[S,S,4] the picture, colour times alpha; averaged over squares to that side, if one is given."""
        picture = premultiplied(self.prepared.rgba)
        if side is None:
            return picture
        return F.interpolate(picture.permute(2, 0, 1)[None], size=(side, side), mode="area")[0].permute(1, 2, 0)


@dataclass(frozen=True)
class Subject:
    """Known views, the first of which is the prior's reference, and words. One of the two may be missing. And perhaps
    the made shape, in world coordinates, that the first view was drawn from."""

    views: tuple[KnownView, ...] = ()
    prompts: Prompts | None = None
    shape: Found | None = None

    def __post_init__(self) -> None:
        if not self.views and self.prompts is None:
            raise ValueError("a subject needs a known view or a prompt")

    @property
    def elevation(self) -> float:
        """Of the reference; 0 without one."""
        return self.views[0].elevation if self.views else 0.0

    def relative(self, views: OrbitView, prior: Prior) -> OrbitView:
        """Views as the prior counts them (`Prior.from_reference`); from the front where there is no reference."""
        if not self.views or not self.views[0].azimuth or not prior.from_reference:
            return views
        return replace(views, azimuth=(views.azimuth - self.views[0].azimuth + 180) % 360 - 180)

    def heights(self, prior: Prior) -> Heights:
        """The elevations from which novel views look: around the reference's and the horizon and, where the prior is
        told the view in words, from overhead too."""
        low, high = elevation_range(self.elevation)
        if not prior.told_in_words:
            return Heights(low, high)
        return TEXT_HEIGHTS if not self.views else Heights(min(low, TEXT_HEIGHTS.low), TEXT_HEIGHTS.high, True)

    def describe(self) -> dict[str, Any]:
        """What a checkpoint compares: angles, words, and a hash of each picture and of the shape, if there is one."""
        views = [
            {
                "azimuth": v.azimuth,
                "elevation": v.elevation,
                "picture": hashlib.sha256(v.prepared.rgba.contiguous().numpy().tobytes()).hexdigest(),
            }
            for v in self.views
        ]
        told = {"views": views, "prompts": None if self.prompts is None else asdict(self.prompts)}
        if self.shape is None:
            return told
        return told | {"shape": hashlib.sha256(self.shape.mesh.vertices.numpy().tobytes()).hexdigest()}


def stand(
    prepared: Prepared, head: PlacementHead, elevation: float | None, size: int = PICTURE_SIZE
) -> tuple[Prepared, Placement]:
    """The picture, however framed, moved on a grid of size x size pixels so that the middle of its object's box is in
    the middle of the frame, at the distance at which the object has its usual size; and where the head found it.

    Args:
        elevation: of the camera, degrees; None to have it guessed.
    """
    scale, (x, y) = outline(prepared)
    side = prepared.rgba.shape[0]
    framed = prepared.centred(scale, (x, y), side)
    picture = crop_to_prior(premultiplied(framed.rgba).permute(2, 0, 1))
    picture = F.interpolate(picture[None], size=(SIDE, SIDE), mode="area")[0] * 2 - 1
    found = find_placement(head, picture, elevation)
    frame = side * INNER_SHARE / scale  # the prior's frame in pixels of the picture as it came
    middle = (x + found.right * frame, y + found.down * frame)
    return prepared.centred(scale * found.scale * size / side, middle, size), found


def tell(prior: Prior, subject: Subject, on_event: OnEvent = ignore) -> Any:
    """The prior's condition for the subject: its reference and words, or words alone.

    Raises:
        UserError: the prior cannot work from what there is.
    """
    if subject.views:
        first = subject.views[0]
        reference = crop_to_prior(first.premultiplied().permute(2, 0, 1))
        return prior.condition(reference, first.elevation, subject.prompts, on_event)
    if not hasattr(prior, "text_condition"):
        raise UserError(
            f"the prior {prior.name} follows a picture, not words alone; give it one with `gaussmith image` or "
            "`gaussmith refine --image`, or let `gaussmith text --picture-prior` draw one"
        )
    return prior.text_condition(subject.prompts, on_event=on_event)


def strangeness(prior: Prior, subject: Subject, on_event: OnEvent = ignore) -> dict[str, Any] | None:
    """How far the reference lies from what the prior learned from, for the report; None where nobody knows. Warns of a
    picture that is unlike any of it."""
    if not subject.views:
        return None
    distance = domain_distance(prior, crop_to_prior(subject.views[0].premultiplied().permute(2, 0, 1)))
    if distance is None:
        return None
    if distance.far:
        on_event(
            Warned(
                f"The picture looks unlike what the prior {prior.name} learned from (stranger than "
                f"{min(distance.percentile, 99.9):.0f} % of such pictures): expect the unseen sides to be vague."
            )
        )
    return asdict(distance)
