"""How well a made mesh agrees with what is known of it."""

from __future__ import annotations

import torch

from gaussmith.camera import DEFAULT_FOVY
from gaussmith.mesh import Mesh
from gaussmith.metrics import iou, psnr
from gaussmith.render.mesh import render_mesh
from gaussmith.train.subject import KnownView


def reference_figures(mesh: Mesh, view: KnownView) -> dict[str, float]:
    """PSNR (dB, on white) and IoU of the unlit mesh from the camera of a known view against its picture."""
    target = view.premultiplied()[None]
    seen = render_mesh(mesh, view.camera(), background=torch.ones(3))
    on_white = target[..., :3] + 1 - target[..., 3:]
    return {
        "psnr": round(float(psnr(seen.rgb, on_white)), 3),
        "iou": round(float(iou(seen.alpha, target[..., 3:])), 4),
        "fovy": DEFAULT_FOVY,
    }
