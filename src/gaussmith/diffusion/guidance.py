"""From the parts of a prediction to the one that is followed.

All predictions are eps (added noise), [B,...] of any trailing shape: latents or pixels alike; `schedule` converts from
x0 and v. The guidance scale has one meaning everywhere, that of `schedule.cfg`: eps_null + s (eps_cond - eps_null).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Predictions:
    """What a prior sees in a noisy picture, by condition.

    Attributes:
        null: [B,...] eps without the condition (for text: the empty prompt, or the negative prompt if there is one).
        cond: [B,...] eps with it.
        negatives: [K,B,...] eps for K prompts to keep away from (Perp-Neg: the other views' words), or None.
        negative_weights: [K,B] >= 0, how strongly each is avoided in each view; None exactly when negatives is.
    """

    null: Tensor
    cond: Tensor
    negatives: Tensor | None = None
    negative_weights: Tensor | None = None

    def __post_init__(self) -> None:
        if self.null.shape != self.cond.shape:
            raise ValueError(f"null {tuple(self.null.shape)} and cond {tuple(self.cond.shape)} differ in shape")
        if (self.negatives is None) != (self.negative_weights is None):
            raise ValueError("negatives and their weights come together")
        if self.negatives is not None and self.negative_weights is not None:
            if self.negatives.shape[1:] != self.cond.shape:
                raise ValueError(f"negatives must be [K,{tuple(self.cond.shape)}], got {tuple(self.negatives.shape)}")
            if self.negative_weights.shape != self.negatives.shape[:2]:
                raise ValueError(f"negative_weights must be [K,B], got {tuple(self.negative_weights.shape)}")
