"""A second view for nothing: most things are their own mirror image in an upright plane.

Where the plane points to azimuth p from the camera, the picture turned left to right is what a camera at azimuth 2p
sees from the same elevation: one picture of such a thing is two (Rothwell et al. 1993; learned for single pictures by
NeRD, Zhou et al. 2021, arXiv 2006.10042). Which planes those are, the draft tells: seen from azimuth 2p, it should look
like the mirrored picture, and seen from all around, like itself in the mirror. It is blurred and its agreement is no
proof, so a small network has been taught what a given course of the agreement over all planes is worth: by how many dB
the mirrored picture is a better guess at the view from 2p than the draft. Several such planes give as many views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussmith.priors.embedded.network import Encoded, PriorNetwork

STEP = 4.0
AZIMUTHS = torch.arange(-88.0, 92.0, STEP)  # of the planes, degrees from the camera: a plane points both ways
COLUMNS = 6  # numbers that tell how well a plane agrees
_WINDOW = 6  # planes to either side whose agreement is looked at
FEATURES = COLUMNS * (2 * _WINDOW + 1) + 2 * COLUMNS + 6
_SMALL = 1e-4  # mean squared error under which pictures are equal
_AHEAD = 5  # drafts to either side of the reference's camera that count as seen from about there

WORTH, FURTHER = 0.5, 2.5  # dB that a mirrored picture must promise, and each further one
MOST, APART = 3, 40.0  # mirrored pictures that are taken, and the degrees of azimuth between any two
# Degrees that a plane may point past the camera: nearer, the mirrored picture shows nothing new; farther, it would show
# the back, which silhouettes cannot tell from the front and faces do not have.
NEAREST, FARTHEST = 8.0, 60.0
FINE, REACH = 1.0, 4.0  # step and reach in degrees of the last search around a plane


@dataclass(frozen=True)
class Plane:
    """An upright plane of symmetry at that azimuth from the camera, degrees, and the dB that it promises."""

    azimuth: float
    worth: float

    @property
    def view(self) -> float:
        """Azimuth from the camera, in degrees, from where the mirrored picture was taken."""
        return 2 * self.azimuth


class SymmetryHead(nn.Module):
    """Features [...,FEATURES] of planes -> the dB [...] that their mirrored pictures are worth."""

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(FEATURES))
        self.register_buffer("spread", torch.ones(FEATURES))
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, 128), nn.SiLU(), nn.Linear(128, 64), nn.SiLU(), nn.Linear(64, 1)
        )

    def forward(self, features: Tensor) -> Tensor:
        worth: Tensor = self.layers((features - self.mean) / self.spread)
        return worth[..., 0]


def agreement(network: PriorNetwork, encoded: Encoded, picture: Tensor, azimuths: Tensor) -> tuple[Tensor, Tensor]:
    """How well a picture [1,4,64,64] in [-1,1], mirrored in planes at the azimuths [A], agrees with its own draft: the
    `likeness` of the colours on white and of alpha, [A,2]. And the drafts RGBA [A,4,32,32]."""
    drafts = _drafts(network, encoded, 2 * azimuths)
    return likeness(errors(drafts, F.avg_pool2d(picture.float().flip(-1) * 0.5 + 0.5, 2))), drafts


def self_agreement(network: PriorNetwork, encoded: Encoded) -> Tensor:
    """How well the draft agrees with itself, mirrored in the planes at AZIMUTHS: the `likeness` of the colours on white
    and of alpha, over views all around and over those from about the reference's camera, [A,4]."""
    count = len(AZIMUTHS)
    drafts = _drafts(network, encoded, 2 * STEP * torch.arange(count))
    mirrored = drafts.flip(-1)
    # Mirrored in the plane at half of the sum of two azimuths, one of the views is the other.
    view, plane = torch.arange(count), (AZIMUTHS / STEP).round().long()
    other = (plane[:, None] - view) % count
    error = torch.stack([errors(mirrored, drafts[other[a]]) for a in range(count)])  # [A, views, 2]
    ahead = torch.cat([error[:, -_AHEAD:], error[:, : _AHEAD + 1]], dim=1)
    return likeness(torch.cat([error.mean(dim=1), ahead.mean(dim=1)], dim=-1))


def course(network: PriorNetwork, encoded: Encoded, picture: Tensor) -> tuple[Tensor, Tensor]:
    """All that is known of the planes at AZIMUTHS [A,COLUMNS], see `agreement` and `self_agreement`; and the drafts
    RGBA [A,4,32,32] that the mirrored pictures were compared with."""
    agreed, drafts = agreement(network, encoded, picture, AZIMUTHS)
    return torch.cat([agreed, self_agreement(network, encoded)], dim=-1), drafts


def _drafts(network: PriorNetwork, encoded: Encoded, azimuths: Tensor) -> Tensor:
    """The drafts RGBA [A,4,32,32] seen from azimuths [A] at the reference's own elevation."""
    owner = torch.zeros(len(azimuths), dtype=torch.int64)
    return network.draft(encoded, owner, azimuths, encoded.elevation.cpu().expand(len(azimuths)), side=32)


def likeness(error: Tensor) -> Tensor:
    """Mean squared errors as PSNR, in units of 20 dB less one."""
    return -0.5 * (error + _SMALL).log10() - 1


def errors(guess: Tensor, truth: Tensor) -> Tensor:
    """Mean squares [B,2], of the colours on white and of alpha, of premultiplied RGBA [B,4,H,W]."""
    error = guess - truth
    color, alpha = (error[:, :3] - error[:, 3:]).square(), error[:, 3:].square()
    return torch.stack([part.mean(dim=(1, 2, 3)) for part in (color, alpha)], dim=-1)


def features(course: Tensor) -> Tensor:
    """What the head sees of planes at AZIMUTHS: [A,FEATURES] of the `course` [A,COLUMNS] of all of them."""
    count = len(course)
    around = (torch.arange(count)[:, None] + torch.arange(-_WINDOW, _WINDOW + 1)) % count  # planes come round again
    mean = course[:, :2].mean(dim=-1)
    turned = (AZIMUTHS.abs() / 90).to(course)
    above = (mean > mean.mean()).to(course).mean()
    whole = [turned, turned**4, mean - mean.max(), mean - mean.median(), mean.max().expand(count), above.expand(count)]
    level, top = course.mean(dim=0).expand_as(course), course - course.amax(dim=0)
    return torch.cat([course[around].flatten(1), level, top, torch.stack(whole, dim=-1)], dim=-1)


@torch.no_grad()
def find_planes(head: SymmetryHead, network: PriorNetwork, encoded: Encoded, picture: Tensor) -> tuple[Plane, ...]:
    """The upright planes, at most `MOST`, whose mirrored pictures promise most, of what picture [1,4,64,64] in [-1,1]
    shows, the best first; none where none is worth it."""
    worth = head(features(course(network, encoded, picture)[0])).cpu()
    worth = worth.masked_fill(~usable(AZIMUTHS), -torch.inf)
    taken: list[Plane] = []
    for best in worth.argsort(descending=True, stable=True).tolist():
        if worth[best] < (FURTHER if taken else WORTH) or len(taken) == MOST:
            break
        around = AZIMUTHS[best] + torch.arange(-REACH, REACH + FINE, FINE)
        around = around[usable(around)]
        finer = agreement(network, encoded, picture, around)[0].mean(dim=-1).cpu()
        found = Plane(float(around[finer.argmax()]), float(worth[best]))
        if apart(found, taken):
            taken.append(found)
    return tuple(taken)


def apart(plane: Plane, others: Sequence[Plane]) -> bool:
    """Whether the plane's view lies `APART` from those of the others."""
    return all(abs((plane.view - other.view + 180) % 360 - 180) >= APART for other in others)


def usable(azimuths: Tensor) -> Tensor:
    """Whether planes at the azimuths show something new, and not the back."""
    return (azimuths.abs() >= NEAREST) & (azimuths.abs() <= FARTHEST)
