"""Seconds and fidelity of Gaussians -> mesh.

    python benchmarks/extract.py [--resolution 128] [--max-faces 20000] [--objects PATH/objects.npz] [--only chest,...]

First the density query alone on balls of Gaussians. Then, if their file is given, a row for each example object whose
surface is covered by 10,000 flat Gaussians (as wide as their mean spacing, opacity 0.9): seconds (kernels compiled
before), the mesh's report, and how well its silhouettes match those of the Gaussians (alpha > 0.5) in eight views at
192 px that the extraction does not use: mean and worst IoU.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from gaussmith.camera import orbit
from gaussmith.gaussians import Gaussians, in_ball, logit
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import rasterize_mesh
from gaussmith.render.splat import rasterize
from gaussmith.rotation import matrix_to_quat
from gaussmith.surface import check, extract_mesh, silhouette
from gaussmith.surface.density_query import MIN_SIGMA, choose_grid, density_grid, prepare
from gaussmith.synth.objects import example_mesh, example_objects, load_objects


def surfels(mesh: Mesh, count: int, rng: np.random.Generator) -> Gaussians:
    """Flat Gaussians on the surface: uniform by area, a fifth as thick as wide."""
    a, b, c = mesh.vertices.double().numpy()[mesh.faces.numpy()].transpose(1, 0, 2)
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1)
    face = rng.choice(len(area), count, p=area / area.sum())
    u, v = rng.random((2, count, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
    points = a[face] + u * (b - a)[face] + v * (c - a)[face]
    z = normal[face] / area[face, None]
    x = (b - a)[face] / np.linalg.norm((b - a)[face], axis=1, keepdims=True)
    frame = torch.from_numpy(np.stack([x, np.cross(z, x), z], axis=-1)).float()
    width = float(np.sqrt(area.sum() / 2 / count))
    return Gaussians(
        means=torch.from_numpy(points).float(),
        log_scales=torch.tensor([width, width, width / 5]).log().repeat(count, 1),
        quats=matrix_to_quat(frame),
        opacity_logits=torch.full((count,), logit(0.9)),
        sh=torch.zeros(count, 1, 3),
    )


def query_table() -> None:
    print(f"{'Gaussians':>9} {'nodes':>6} {'bounds s':>9} {'density s':>9}")
    for count, resolution in ((10_000, 128), (10_000, 256), (100_000, 128), (1_000_000, 128)):
        gaussians = in_ball(count, 0.5, torch.Generator().manual_seed(0), opacity=0.5)
        start = time.perf_counter()
        grid = choose_grid(gaussians, resolution)
        middle = time.perf_counter()
        density_grid(prepare(gaussians, MIN_SIGMA * grid.spacing), grid)
        print(f"{count:9d} {resolution:5d}^3 {middle - start:9.2f} {time.perf_counter() - middle:9.2f}")


def object_table(path: Path, only: list[str], resolution: int, max_faces: int) -> None:
    objects = load_objects(path)
    azimuth = torch.tensor([20.0, 100, 190, 280, 330, 60, 150, 240])
    cameras = orbit(azimuth, torch.tensor([0.0, 25, -15, 35, 60, -40, 10, -5]), width=192)
    print(f"{'object':18} {'s':>6} {'faces':>6} {'parts':>5} {'genus':>5} {'valid':>5} {'IoU':>6} {'worst':>6}")
    rows = []
    for name in example_objects(objects):
        if only and not any(word in name for word in only):
            continue
        gaussians = surfels(example_mesh(objects, name), 10_000, np.random.default_rng(0))
        start = time.perf_counter()
        mesh = extract_mesh(gaussians, resolution=resolution, max_faces=max_faces)
        seconds = time.perf_counter() - start
        report = check(mesh)
        covered = (rasterize(gaussians, cameras).alpha[..., 0] > silhouette.OPAQUE).numpy()
        drawn = (rasterize_mesh(mesh.vertices, mesh.faces, cameras).face >= 0).numpy()
        ious = [silhouette.iou(a, b) for a, b in zip(covered, drawn)]
        rows.append((seconds, np.mean(ious)))
        figures = f"{report.faces:6d} {report.components:5d} {report.genus:5d} {report.valid!s:>5}"
        print(f"{name:18} {seconds:6.2f} {figures} {np.mean(ious):6.3f} {min(ious):6.3f}", flush=True)
    print(f"{'mean':18} {np.mean(rows, axis=0)[0]:6.2f} {'':24} {np.mean(rows, axis=0)[1]:6.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--max-faces", type=int, default=20_000)
    parser.add_argument("--objects", type=Path)
    parser.add_argument("--only", default="")
    parser.add_argument("--skip-query", action="store_true")
    args = parser.parse_args()
    extract_mesh(in_ball(500, 0.5, torch.Generator().manual_seed(0), opacity=0.5), resolution=32, max_faces=100)
    if not args.skip_query:
        query_table()
    if args.objects:
        object_table(args.objects, [w for w in args.only.split(",") if w], args.resolution, args.max_faces)


if __name__ == "__main__":
    main()
