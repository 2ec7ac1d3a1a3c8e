"""Gaussians as viser's page takes them: covariances in half floats, one colour each, not too many."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gaussmith.editing import keep_most_visible
from gaussmith.gaussians import Gaussians
from gaussmith.sh import dc_to_rgb, evaluate

# Every copy in the page takes 32 bytes a Gaussian, and all of them are sorted anew as the camera moves. Ours: what
# integrated graphics still turn without stutter is of this order; the splats of objects are ten times smaller.
MAX_SHOWN = 1_000_000
# Variances are half floats, 6e-5 to 65504 with full precision. In units in which the largest standard deviation is 200,
# that leaves four and a half decades below it; without the change of units, 0.5 mm in a world of metres would be lost.
_LARGEST = 200.0
_SPREAD = 1000.0  # times the median; larger ones (sky, strays) are drawn smaller rather than cost the rest precision


class Packed(NamedTuple):
    """Arguments of viser's `add_gaussian_splats`, in units of which one is `scale` world units."""

    centers: np.ndarray
    covariances: np.ndarray
    rgbs: np.ndarray
    opacities: np.ndarray
    scale: float


@torch.no_grad()
def pack(gaussians: Gaussians, eye: Tensor | None = None, limit: int = MAX_SHOWN) -> Packed:
    """N >= 1 finite Gaussians for the page, the `limit` most visible of them.

    Args:
        gaussians: on the CPU.
        eye: [3] where the colours are seen from, world units; None gives the colour that does not depend on it.
        limit: most Gaussians to hand over.
    """
    g = keep_most_visible(gaussians, limit)
    deviation = g.scales.amax(dim=1)
    largest = torch.minimum(deviation.max(), _SPREAD * deviation.median()).clamp_min(1e-30)
    scale = float(largest) / _LARGEST
    factors = g.scales * (largest / deviation.clamp_min(largest))[:, None] / scale
    m = g.rotations * factors[:, None, :]
    if eye is None:
        rgb = dc_to_rgb(g.sh[:, 0])
    else:
        rgb = evaluate(g.sh, torch.nn.functional.normalize(g.means - eye.to(g.means), dim=1))
    return Packed(
        centers=(g.means / scale).numpy(),
        covariances=(m @ m.transpose(1, 2)).numpy(),
        rgbs=rgb.clamp(0, 1).numpy(),
        opacities=g.opacities[:, None].numpy(),
        scale=scale,
    )
