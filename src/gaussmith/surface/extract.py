"""Gaussians -> a watertight, manifold mesh (DreamGaussian, Tang et al. 2023, section 3.3)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from gaussmith.camera import Camera, orbit
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.mesh import Mesh
from gaussmith.render.splat import rasterize
from gaussmith.surface import density_query, marching, silhouette, simplify, validity
from gaussmith.surface.density_query import MIN_SIGMA, Grid

VIEW_SIZE = 192
SEAL = 2  # cells: leaks up to twice as wide are closed where a room lies behind them, see marching.solid


def extract_mesh(
    gaussians: Gaussians,
    *,
    resolution: int = 128,
    max_faces: int = 20000,
    threshold: float | None = None,
    min_component: float = 0.2,
    cameras: Camera | None = None,
    alphas: torch.Tensor | None = None,
    fit_silhouettes: bool = True,
) -> Mesh:
    """The surface of the Gaussians: one or more closed, manifold, outward-facing shells, none inside another.

    Args:
        resolution: grid nodes along the longest side of the object; >= 8.
        max_faces: most faces of the result; >= 4. (Exceeded only where every further collapse would change the topology.)
        threshold: density at the surface; the paper's value is 1. None: the level whose silhouettes best match those
            of the Gaussians, see `choose_threshold`.
        min_component: parts with a diameter under this share of the largest part's are dropped (the paper's 0.2); the
            largest always stays.
        cameras, alphas: views [B] and the Gaussians' alpha in them [B,H,W,1], as targets of threshold and fit; by
            default ten views around the object are rendered.
        fit_silhouettes: adapt the level locally, too, so that thin and faint parts keep their outline. Off when a
            threshold is given without views.

    Returns a Mesh whose `validity.check(...).valid` holds, in the Gaussians' world. Deterministic.
    Raises UserError if there is no density to speak of, or nothing above the threshold; ValueError for bad arguments.
    """
    if resolution < 8 or max_faces < 4 or not 0 <= min_component <= 1:
        raise ValueError("needs resolution >= 8, max_faces >= 4 and 0 <= min_component <= 1")
    if threshold is not None and not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    if (cameras is None) != (alphas is None):
        raise ValueError("cameras and alphas go together")
    grid = density_query.choose_grid(gaussians, resolution, min_component)
    field = density_query.prepare(gaussians, MIN_SIGMA * grid.spacing)
    density = density_query.density_grid(field, grid)
    gain = None
    if threshold is None or cameras is not None:
        if cameras is None or alphas is None:
            cameras, alphas = _views(gaussians, grid)
        covered = silhouette.covered_pixels(alphas)
        if threshold is None:
            threshold, _ = silhouette.best_level(silhouette.peaks(density, grid, cameras)[0], covered)
        if fit_silhouettes and covered.any():
            gain = silhouette.fit_gain(density, grid, cameras, covered, threshold)
    values = density if gain is None else density * gain
    if not float(values.max()) > threshold:
        raise UserError(
            f"The density of the Gaussians peaks at {float(values.max()):.3g}, below the threshold {threshold:.3g}: "
            "lower the threshold, or train longer so that the Gaussians become opaque."
        )

    def query(index: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Density times gain and its gradient, in index units."""
        value, gradient = density_query.density_at(field, grid, grid.to_world(index))
        if gain is not None:
            factor = ndimage.map_coordinates(gain, index.T, order=1, mode="nearest")
            value, gradient = value * factor, gradient * factor[:, None]
        return value, gradient * grid.spacing

    vertices, faces = _surface(values, threshold, min_component)
    moved = simplify.project(vertices, faces, query, threshold, max_step=0.7)
    for places in (moved, simplify.smooth(vertices, faces), vertices):
        mesh = _finish(grid.to_world(places), faces, max_faces)
        if validity.check(mesh).valid:
            return mesh
    return validity.make_valid(mesh, resolution=resolution)


def choose_threshold(
    gaussians: Gaussians, cameras: Camera, alphas: torch.Tensor, *, resolution: int = 128, min_component: float = 0.2
) -> tuple[float, float]:
    """The density level whose silhouettes best match alphas [B,H,W,1] > 0.5 in the views, and the mean IoU there.

    97 logarithmic levels from 0.05 to 20 are compared. Raises UserError if there is no density to speak of.
    """
    grid = density_query.choose_grid(gaussians, resolution, min_component)
    density = density_query.density_grid(density_query.prepare(gaussians, MIN_SIGMA * grid.spacing), grid)
    best, _ = silhouette.peaks(density, grid, cameras)
    return silhouette.best_level(best, silhouette.covered_pixels(alphas))


def _views(gaussians: Gaussians, grid: Grid) -> tuple[Camera, torch.Tensor]:
    """Ten views around the grid's middle, the object filling the frame as at radius 2, and the Gaussians' alpha there."""
    size = grid.spacing * float(np.linalg.norm(np.array(grid.shape) - 1))
    centre = torch.from_numpy(grid.to_world((np.array(grid.shape) - 1) / 2))
    azimuth = torch.tensor([45.0 * i for i in range(8)] + [0.0, 0.0])
    elevation = torch.tensor([10.0, -20.0, 30.0, -5.0, 20.0, -30.0, 5.0, 40.0, 89.0, -89.0])
    cameras = orbit(azimuth, elevation, radius=1.5 * size, width=VIEW_SIZE, target=centre)
    with torch.no_grad():
        return cameras, rasterize(gaussians.detach(), cameras).alpha


def _surface(values: NDArray[np.float32], iso: float, min_component: float):
    """A valid surface of the cleaned grid, vertices in index units of the unpadded grid."""
    values = marching.clean(values, iso, min_component, SEAL)
    for march in (marching.march_cubes, marching.march_tetrahedra):
        vertices, faces = march(values, iso)
        faces = validity.large_parts(vertices, faces, min_component)
        if validity.is_closed_manifold(faces):
            break
    return vertices - 1, faces


def _finish(vertices: NDArray[np.float64], faces: NDArray[np.int64], max_faces: int) -> Mesh:
    return validity.to_mesh(*simplify.decimate(vertices, faces, max_faces))
