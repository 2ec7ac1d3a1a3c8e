"""Figures of merit: pictures against pictures, surfaces against surfaces. (LPIPS, for development: `metrics.lpips`.)"""

from gaussmith.metrics.novel_views import (
    OffsetBin,
    ViewFigures,
    by_offset,
    compare_views,
    janus_score,
    opposite_views,
)
from gaussmith.metrics.pictures import composite, iou, psnr, ssim, ssim_map
from gaussmith.metrics.surfaces import chamfer, f_score, surface_points

__all__ = [
    "OffsetBin",
    "ViewFigures",
    "by_offset",
    "chamfer",
    "compare_views",
    "composite",
    "f_score",
    "iou",
    "janus_score",
    "opposite_views",
    "psnr",
    "ssim",
    "ssim_map",
    "surface_points",
]
