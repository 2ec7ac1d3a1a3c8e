"""Words for views: what a text prior is told about where the camera stands, and what it is told to avoid.

Without them a text prior paints a face on every side (the Janus problem). An adapter encodes `Prompts.positives()` and
`Prompts.negatives()` once a job, one text a view of `VIEWS`; every step `view_weights` says how to mix the embeddings
(or which to take), and `perp_neg_weights` how strongly the embeddings of `PERP_NEG_VIEWS` are avoided. What a token
limit cuts off is the adapter's to report; the view's words are to be kept (`split_view_words`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from gaussmith.events import UserError
from gaussmith.views import OrbitView

VIEWS = ("front", "side", "back", "overhead")
PERP_NEG_VIEWS = ("front", "side")
# Above this elevation a view is "overhead" (DreamFusion, section 3.2), degrees; smooth weights pass over within +-10.
_OVERHEAD, _OVERHEAD_BLEND = 60.0, 10.0


@dataclass(frozen=True)
class Prompts:
    """What the user asked for.

    Attributes:
        text: the object. Surrounding space is dropped; must not be empty.
        negative: what no view should show; takes the place of the null prompt.
        view_words: append "front view" and so on; off for priors that are told the camera itself.
        perp_neg: avoid the other views' words by Perp-Neg too (needs view_words).
        view_texts: whole positive texts for some of `VIEWS`, instead of `text` and the view's words.
        view_negatives: more to avoid in some of `VIEWS`, after `negative`.
    """

    text: str
    negative: str = ""
    view_words: bool = True
    perp_neg: bool = True
    view_texts: Mapping[str, str] = field(default_factory=dict)
    view_negatives: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.text.strip():
            raise UserError('The prompt is empty; say what to make, such as "a wooden chair".')
        unknown = sorted((self.view_texts.keys() | self.view_negatives.keys()) - set(VIEWS))
        if unknown:
            raise UserError(f"There is no view {unknown[0]!r} to prompt for; choose among {', '.join(VIEWS)}.")
        empty = [view for view, text in self.view_texts.items() if not text.strip()]
        if empty:
            raise UserError(f"The prompt of the {empty[0]} view is empty; write it or leave it out.")

    def positives(self) -> tuple[str, ...]:
        """One text for each of `VIEWS`."""
        return tuple(self.view_texts.get(view, self._with_words(view)).strip() for view in VIEWS)

    def negatives(self) -> tuple[str, ...]:
        """One text for each of `VIEWS`, "" where nothing is to be avoided: the null prompts."""
        both = ((self.negative.strip(), self.view_negatives.get(view, "").strip()) for view in VIEWS)
        return tuple(", ".join(part for part in parts if part) for parts in both)

    @property
    def avoids_views(self) -> bool:
        """Whether Perp-Neg has anything to do."""
        return self.perp_neg and self.view_words

    def _with_words(self, view: str) -> str:
        return f"{self.text.strip()}, {view} view" if self.view_words else self.text


def split_view_words(text: str) -> tuple[str, str]:
    """One of `Prompts.positives` as what was asked for and the words of its view, "" if it has none."""
    words = next((words for view in VIEWS if text.endswith(words := f", {view} view")), "")
    return text.removesuffix(words), words


def view_weights(views: OrbitView, smooth: bool = True) -> Tensor:
    """How much of each of `VIEWS` there is in each view: [B,4] float32 >= 0 with rows that sum to 1.

    Smooth: front passes to side over the azimuths 0 to 90 degrees and side to back over 90 to 180, linearly (Perp-Neg,
    Armandpour et al. 2023), and all to overhead over elevations of 50 to 70. Else one-hot, as DreamFusion:
    front within 45 degrees of azimuth 0, back within 45 of 180, overhead above 60 degrees.
    """
    turn = _turn(views)
    share = torch.stack([1 - turn, 1 - (turn - 1).abs(), turn - 1], dim=1).clamp_min(0)
    overhead = _overhead(views)
    if not smooth:
        share = torch.nn.functional.one_hot(share.argmax(dim=1), 3).to(share)
        overhead = (views.elevation.double() > _OVERHEAD).double()
    return torch.cat([share * (1 - overhead)[:, None], overhead[:, None]], dim=1).float()


def perp_neg_weights(views: OrbitView) -> Tensor:
    """How strongly the words of each of `PERP_NEG_VIEWS` are avoided in each view: [2,B] float32 >= 0.

    a exp(-b r) + c of the share r on the way to what is avoided (form: Armandpour et al. 2023; constants: the public
    threestudio): the front is avoided the more the further the camera is from it, up to the back; the side near the
    front and, less, near the back. From overhead nothing is avoided, and the change is gradual.
    """
    turn = _turn(views)
    front_half = turn <= 1
    front = torch.where(front_half, _decay(4.0, -2.426, 1 - turn), _decay(1.0, 0.967, 2 - turn))
    side = torch.where(front_half, _decay(4.0, -2.426, turn), _decay(1.0, -0.606, 2 - turn))
    return (torch.stack([front, side]) * (1 - _overhead(views))).clamp_min(0).float()


def _turn(views: OrbitView) -> Tensor:
    """Distance from the front in quarter turns: 0 front, 1 side, 2 back."""
    return ((views.azimuth.double() + 180) % 360 - 180).abs() / 90


def _overhead(views: OrbitView) -> Tensor:
    rise = (views.elevation.double() - _OVERHEAD + _OVERHEAD_BLEND) / (2 * _OVERHEAD_BLEND)
    return rise.clamp(0, 1)


def _decay(a: float, c: float, r: Tensor) -> Tensor:
    return a * torch.exp(-0.5 * r) + c
