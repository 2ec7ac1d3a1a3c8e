"""A second view for nothing: most things are their own mirror image in an upright plane.

Where the plane points to azimuth p from the camera, the picture turned left to right is what a camera at azimuth 2p
sees from the same elevation: one picture of such a thing is two (Rothwell et al. 1993; learned for single pictures by
NeRD, Zhou et al. 2021, arXiv 2006.10042). Which planes those are, the draft tells: seen from azimuth 2p, it should look
like the mirrored picture. It is blurred and its agreement is no proof, so a small network has been taught what a given
course of the agreement over all planes is worth: by how many dB the mirrored picture is a better guess at the view from
2p than the draft.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussmith.priors.embedded.network import Encoded, PriorNetwork

STEP = 4.0
AZIMUTHS = torch.arange(-88.0, 92.0, STEP)  # of the planes, degrees from the camera: a plane points both ways
_WINDOW = 6  # planes to either side whose agreement is looked at
FEATURES = 2 * (2 * _WINDOW + 1) + 6
_SMALL = 1e-4  # mean squared error under which pictures are equal

WORTH = 1.5  # dB that a mirrored picture must promise
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
        self.layers = nn.Sequential(nn.Linear(FEATURES, 64), nn.SiLU(), nn.Linear(64, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, features: Tensor) -> Tensor:
        worth: Tensor = self.layers((features - self.mean) / self.spread)
        return worth[..., 0]


def agreement(network: PriorNetwork, encoded: Encoded, picture: Tensor, azimuths: Tensor) -> tuple[Tensor, Tensor]:
    """How well a picture [1,4,64,64] in [-1,1], mirrored in planes at the azimuths [A], agrees with its own draft: PSNR
    of the colours on white and of alpha, [A,2], in units of 20 dB less one. And the drafts RGBA [A,4,32,32]."""
    owner = torch.zeros(len(azimuths), dtype=torch.int64)
    elevation = encoded.elevation.cpu().expand(len(azimuths))
    drafts = network.draft(encoded, owner, 2 * azimuths, elevation, side=32)
    found = errors(drafts, F.avg_pool2d(picture.float().flip(-1) * 0.5 + 0.5, 2))
    return -0.5 * (found + _SMALL).log10() - 1, drafts


def errors(guess: Tensor, truth: Tensor) -> Tensor:
    """Mean squares [B,2], of the colours on white and of alpha, of premultiplied RGBA [B,4,H,W]."""
    error = guess - truth
    color, alpha = (error[:, :3] - error[:, 3:]).square(), error[:, 3:].square()
    return torch.stack([part.mean(dim=(1, 2, 3)) for part in (color, alpha)], dim=-1)


def features(agreement: Tensor) -> Tensor:
    """What the head sees of planes at AZIMUTHS: [A,FEATURES] of the agreement [A,2] with all of them."""
    count = len(agreement)
    around = (torch.arange(count)[:, None] + torch.arange(-_WINDOW, _WINDOW + 1)) % count  # planes come round again
    mean = agreement.mean(dim=-1)
    turned = (AZIMUTHS.abs() / 90).to(agreement)
    above = (mean > mean.mean()).to(agreement).mean()
    whole = [turned, turned**4, mean - mean.max(), mean - mean.median(), mean.max().expand(count), above.expand(count)]
    return torch.cat([agreement[around].flatten(1), torch.stack(whole, dim=-1)], dim=-1)


@torch.no_grad()
def find_plane(head: SymmetryHead, network: PriorNetwork, encoded: Encoded, picture: Tensor) -> Plane | None:
    """The upright plane whose mirrored picture promises most, of what picture [1,4,64,64] in [-1,1] shows; None where
    none is worth it."""
    worth = head(features(agreement(network, encoded, picture, AZIMUTHS)[0])).cpu()
    worth = worth.masked_fill(~usable(AZIMUTHS), -torch.inf)
    best = int(worth.argmax())
    if worth[best] < WORTH:
        return None
    around = AZIMUTHS[best] + torch.arange(-REACH, REACH + FINE, FINE)
    around = around[usable(around)]
    finer = agreement(network, encoded, picture, around)[0].mean(dim=-1).cpu()
    return Plane(float(around[finer.argmax()]), float(worth[best]))


def usable(azimuths: Tensor) -> Tensor:
    """Whether planes at the azimuths show something new, and not the back."""
    return (azimuths.abs() >= NEAREST) & (azimuths.abs() <= FARTHEST)
