"""Gaussians -> mesh: density, iso-surface, cleaning, decimation, validity."""

from gaussmith.surface.extract import choose_threshold, extract_mesh
from gaussmith.surface.validity import MeshReport, check, make_valid

__all__ = ["MeshReport", "check", "choose_threshold", "extract_mesh", "make_valid"]
