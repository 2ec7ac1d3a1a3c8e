"""From how high a picture was taken, and where in it the middle of its object is: what nobody who takes one knows.

The prior learned from objects whose bounding box stands in the middle of the frame at one distance, seen from known
elevations. A picture of a user is framed by the object's outline, whose middle is another point: what is seen from
above shows its top and hides its far side. A small network tells both from the picture; the answers are known for every
rendered view, so it learns for nothing (`train/placement.py`). It is told the elevation where somebody knows it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussmith.priors.embedded.network import Block

SIDE = 64  # pixels of the picture that is looked at
# Units of what the network says, about what varies: shares of the frame, natural logarithm, degrees.
UNITS = torch.tensor([0.05, 0.05, 0.1, 15.0])
MEAN_ELEVATION = 15.0
# Standard deviations of the elevations that the head learned from and, ours, of those that people take pictures from: a
# guess is drawn to the mean by what the second says more than the first. Of 102 held-out pictures from 0 to 30 degrees
# it takes the root mean square of the miss from 7.6 to 6.5; of views from 30 to 60 degrees from 16 to 19.
LEARNED_SPREAD, USUAL_SPREAD = 17.6, 12.0
SPREADS = (-4.0, 3.0)  # logarithms of the spreads, in UNITS, that count: nobody knows a hundredth of a degree
# Beyond these no outline of a rendered object lies: a guess that says so is none.
FARTHEST, LARGEST = 0.2, 0.45
LOWEST, HIGHEST = -20.0, 60.0  # elevations that it learned from, degrees


@dataclass(frozen=True)
class Placement:
    """Where the object stands.

    Attributes:
        right, down: from the middle of the outline to the middle of the object's box, shares of the prior's frame.
        scale: by which the picture grows to have the object at its usual size.
        elevation: of the camera, degrees. spread: standard deviation of that guess; 0 where it was given.
    """

    right: float
    down: float
    scale: float
    elevation: float
    spread: float


class PlacementHead(nn.Module):
    """Pictures [B,4,64,64] in [-1,1], framed by their outline, and elevations [B] in degrees, each known [B] (1) or not
    (0) -> means and logarithms of the standard deviations [B,2,4] of (right, down, log scale, elevation), in UNITS."""

    def __init__(self, widths: tuple[int, int, int] = (24, 48, 72), hidden: int = 96) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(16, widths[0], 3, padding=1)]
        for w, after in zip(widths, (*widths[1:], widths[1])):
            layers += [Block(w, w, 3), nn.Conv2d(w, after, 3, stride=2, padding=1)]
        self.layers = nn.ModuleList(layers)
        self.hidden = nn.Linear(widths[1] * 16 + 3, hidden)
        self.out = nn.Linear(hidden, 8)

    def forward(self, pictures: Tensor, elevation: Tensor, known: Tensor) -> Tensor:
        angle = torch.deg2rad(elevation)
        told = torch.stack([angle.sin() * known, angle.cos() * known, known], dim=-1)
        x = F.pixel_unshuffle(pictures, 2).contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            x = layer(x, told) if isinstance(layer, Block) else layer(F.silu(x) if x.shape[1] != 16 else x)
        x = F.silu(self.hidden(torch.cat([F.silu(x).flatten(1), told], dim=1)))
        found: Tensor = self.out(x).reshape(-1, 2, 4)
        return found


def answers(right: Tensor, down: Tensor, log_scale: Tensor, elevation: Tensor) -> Tensor:
    """What the head should say [B,4] of pictures, each argument [B]."""
    return torch.stack([right, down, log_scale, elevation - MEAN_ELEVATION], dim=-1) / UNITS


@torch.no_grad()
def find_placement(head: PlacementHead, picture: Tensor, elevation: float | None = None) -> Placement:
    """The placement of the object in picture [4,64,64] in [-1,1], whose outline is centred and sized as
    `picture.prepare` does; the elevation in degrees if it is known, else it is guessed first."""

    def ask(height: float, known: float) -> Tensor:
        device = picture.device
        both = torch.stack([picture, picture.flip(-1)])  # mirrored, the answer is mirrored: two opinions
        said = head(both, torch.full((2,), height, device=device), torch.full((2,), known, device=device)).cpu()
        said[1, 0, 0] *= -1
        return said.mean(dim=0)

    spread = 0.0
    if elevation is None:
        mean, log_spread = ask(0.0, 0.0)[:, 3].tolist()
        said = 1 / (math.exp(_within(log_spread, *SPREADS)) * float(UNITS[3])) ** 2
        usual = 1 / USUAL_SPREAD**2 - 1 / LEARNED_SPREAD**2
        elevation = MEAN_ELEVATION + mean * float(UNITS[3]) * said / (said + usual)
        elevation, spread = _within(elevation, LOWEST, HIGHEST), (said + usual) ** -0.5
    right, down, log_scale = (ask(elevation, 1.0)[0, :3] * UNITS[:3]).tolist()
    right, down = (_within(value, -FARTHEST, FARTHEST) for value in (right, down))
    return Placement(right, down, math.exp(_within(log_scale, -LARGEST, LARGEST)), elevation, spread)


def _within(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)
