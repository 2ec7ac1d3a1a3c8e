"""Gaussians -> a watertight, manifold mesh (DreamGaussian, Tang et al. 2023, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from gaussmith.camera import Camera, orbit
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.mesh import Mesh
from gaussmith.render.splat import rasterize
from gaussmith.surface import closing, density_query, marching, outline, silhouette, simplify, validity
from gaussmith.surface.density_query import MIN_SIGMA, Grid

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Query = Callable[[F64], tuple[F64, F64]]  # points [M,3] -> density [M] and its gradient [M,3]

VIEW_SIZE = 192
MAX_STEP = 0.7  # cells a vertex may move from marching cubes' linear guess: less than the way to the next sheet
SEAL = 4  # cells: leaks up to twice as wide are closed where a room lies behind them, see marching.solid
FILLED = 1.5  # levels that a filled tunnel is given: its surface then lies half a cell or so outside its nodes


def extract_mesh(
    gaussians: Gaussians,
    *,
    resolution: int = 128,
    max_faces: int = 20000,
    threshold: float | None = None,
    min_component: float = 0.2,
    smoothing: int = 0,
    cameras: Camera | None = None,
    alphas: torch.Tensor | None = None,
    trusted: Sequence[tuple[Camera, torch.Tensor]] = (),
) -> Mesh:
    """The surface of the Gaussians: one or more closed, manifold, outward-facing shells, none inside another.

    Args:
        resolution: grid nodes along the longest side of the object; >= 8.
        max_faces: most faces of the result; >= 4. (Exceeded only where every further collapse would
            change the topology.)
        threshold: density at the surface; the paper's value is 1. None: the level whose silhouettes best match those
            of the Gaussians, see `choose_threshold`.
        min_component: parts with a diameter under this share of the largest part's are dropped (the paper's 0.2); the
            largest always stays.
        smoothing: rounds of Taubin's smoothing of the placed vertices, for Gaussians whose surface carries relief
            that is none of the object's: 10 rounds take off what is narrower than about 8 grid cells.
        cameras, alphas: views [B] and the alpha wanted in them [B,H,W,1], to choose the threshold by; by default ten
            views of the Gaussians, rendered here.
        trusted: cameras, each of one view, and the alpha [1,H,W,1] known there: the pictures that the Gaussians were
            made from. The surface takes their outlines, see `outline`.

    Returns a Mesh whose `validity.check(...).valid` holds, in the Gaussians' world. Deterministic.
    Raises UserError if there is no density to speak of, or nothing above the threshold; ValueError for bad arguments.
    """
    if resolution < 8 or max_faces < 4 or not 0 <= min_component <= 1:
        raise ValueError("needs resolution >= 8, max_faces >= 4 and 0 <= min_component <= 1")
    if threshold is not None and not threshold > 0:
        raise ValueError(f"threshold must be positive, got {threshold}")
    if (cameras is None) != (alphas is None):
        raise ValueError("cameras and alphas go together")
    gaussians = gaussians.detach().to(device="cpu")
    grid = density_query.choose_grid(gaussians, resolution, min_component)
    field = density_query.prepare(gaussians, MIN_SIGMA * grid.spacing)
    density = density_query.density_grid(field, grid)
    if threshold is None:
        if cameras is None or alphas is None:
            cameras, alphas = _views(gaussians, grid)
        threshold, _ = _best_level(density, grid, cameras, alphas)
    if not float(density.max()) > threshold:
        raise UserError(
            f"The density of the Gaussians peaks at {float(density.max()):.3g}, below the threshold {threshold:.3g}: "
            "lower the threshold, or train longer so that the Gaussians become opaque."
        )
    query: Query = partial(density_query.density_at, field, grid)
    for camera, alpha in trusted:
        density, query = _with_outline(density, query, grid, threshold, camera, alpha)
    index, faces, held = _surface(density, threshold, min_component, lambda nodes: _seen_through(nodes, grid, trusted))
    start = grid.to_world(index)

    def placed() -> F64:
        """Where the density has the level; where it was filled, it says nothing."""
        moved = simplify.project(start, faces, query, threshold, max_step=MAX_STEP * grid.spacing)
        return np.where(held[:, None], simplify.smooth(start, faces), moved) if held.any() else moved

    # Where the grid is too coarse for the density, the exact places may make a face degenerate: then the plain ones.
    for improve in (
        lambda: simplify.smooth(placed(), faces, smoothing),
        lambda: simplify.smooth(start, faces),
        lambda: start,
    ):
        mesh = validity.to_mesh(*simplify.decimate(improve(), faces, max_faces))
        if validity.check(mesh).valid:
            return mesh
    return validity.make_valid(mesh, resolution=resolution)


def choose_threshold(
    gaussians: Gaussians, cameras: Camera, alphas: torch.Tensor, *, resolution: int = 128, min_component: float = 0.2
) -> tuple[float, float]:
    """The density level whose silhouettes best match alphas [B,H,W,1] > 0.5 in the views, and the mean IoU there.

    601 logarithmic levels from 0.05 to 20 are compared. Raises UserError if there is no density to speak of.
    """
    grid = density_query.choose_grid(gaussians, resolution, min_component)
    density = density_query.density_grid(density_query.prepare(gaussians, MIN_SIGMA * grid.spacing), grid)
    return _best_level(density, grid, cameras, alphas)


def _best_level(density: F32, grid: Grid, cameras: Camera, alphas: torch.Tensor) -> tuple[float, float]:
    return silhouette.best_level(silhouette.peaks(density, grid, cameras), silhouette.covered_pixels(alphas))


def _with_outline(
    density: F32, query: Query, grid: Grid, level: float, camera: Camera, alpha: torch.Tensor
) -> tuple[F32, Query]:
    """Grid and point query of the density corrected to the outline alpha."""
    fitted = outline.fit(density, grid, level, camera, alpha)
    return fitted.grid(density, grid), lambda points: fitted.at(*query(points), points)


def _views(gaussians: Gaussians, grid: Grid) -> tuple[Camera, torch.Tensor]:
    """Ten views all around the grid, which fills three quarters of the frame, and the Gaussians' alpha in them."""
    size = grid.spacing * float(np.linalg.norm(np.array(grid.shape) - 1))
    centre = torch.from_numpy(grid.to_world((np.array(grid.shape) - 1) / 2))
    azimuth = torch.tensor([45.0 * i for i in range(8)] + [0.0, 0.0])
    elevation = torch.tensor([10.0, -20.0, 30.0, -5.0, 20.0, -30.0, 5.0, 40.0, 89.0, -89.0])
    cameras = orbit(azimuth, elevation, radius=1.5 * size, width=VIEW_SIZE, target=centre)
    # Drawn in a world where the smallest splat is far from the rasteriser's near plane.
    grown = max(1.0, 1 / size)
    c2w = cameras.c2w.clone()
    c2w[:, :3, 3] *= grown
    with torch.no_grad():
        gaussians = gaussians.transform(torch.eye(3), torch.zeros(3), grown)
        return cameras, rasterize(gaussians, replace(cameras, c2w=c2w), geometry=False).alpha


def _seen_through(nodes: I64, grid: Grid, trusted: Sequence[tuple[Camera, torch.Tensor]]) -> NDArray[np.bool_]:
    """[M] whether one of the trusted pictures shows the background at the pixel of nodes [M,3]."""
    points = torch.from_numpy(grid.to_world(nodes)).float()
    seen = [outline.background(points, camera, alpha) for camera, alpha in trusted]
    return torch.stack(seen).any(dim=0).numpy() if seen else np.zeros(len(nodes), bool)


def _surface(
    values: F32, iso: float, min_component: float, seen: Callable[[I64], NDArray[np.bool_]]
) -> tuple[F64, I64, NDArray[np.bool_]]:
    """A valid surface of the cleaned and closed grid: vertices in index units of the unpadded grid, faces, and which
    vertices [V] lie on what was filled, see `closing`."""
    values = marching.clean(values, iso, min_component, SEAL)
    body = values > iso
    filled = closing.closed(body, lambda nodes: seen(nodes - 1)) & ~body
    values[filled] = FILLED * iso
    for march in (marching.march_cubes, marching.march_tetrahedra):
        vertices, faces = march(values, iso)
        faces = validity.large_parts(vertices, faces, min_component)
        if validity.is_closed_manifold(faces):
            break
    ends = (tuple(end(vertices).astype(np.int64).T) for end in (np.floor, np.ceil))  # of the grid edge it lies on
    held = np.logical_or.reduce([filled[end] for end in ends])
    return vertices - 1, faces, held
