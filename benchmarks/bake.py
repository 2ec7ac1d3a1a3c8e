"""Seconds and fidelity of unwrapping and baking: known colours -> 26 pictures -> texture -> unseen pictures.

    python benchmarks/bake.py [--size 1024] [--view-size 512] [--objects PATH/objects.npz] [--only chest,...]

Prints a row for a procedural object of 20,000 faces, and for each example object if their file is given: seconds of
each part (kernels compiled before), share of the surface that some view saw, colour jump across seams in 8-bit levels
(mean and 95th percentile, before and after the repair; the examples' own colours change at many seams), and PSNR of 24
unseen views at 192 px on white against the object's own colours: whole frame without and with the repair, object only,
and the worst view.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from skimage.measure import marching_cubes
from torch import Tensor

from gaussmith.mesh import Mesh
from gaussmith.render.mesh import render_mesh
from gaussmith.surface.simplify import decimate
from gaussmith.synth.objects import example_mesh, example_objects, load_objects
from gaussmith.texture.atlas import atlas_fragments
from gaussmith.texture.backproject import bake
from gaussmith.texture.inpaint import fill
from gaussmith.texture.seams import equalise_seams, seam_error
from gaussmith.texture.unwrap import chart_ids, unwrap
from gaussmith.views import OrbitView, baking_ring

T = TypeVar("T")
PARTS = ("unwrap", "atlas", "bake", "fill", "seams")


def procedural(faces: int = 20_000) -> Mesh:
    """Two merged blobs with ripples, coloured per vertex by waves: a closed surface with concave parts."""
    axis = np.linspace(-1, 1, 128)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    body = np.exp(-((x / 0.6) ** 2 + (y / 0.4) ** 2 + (z / 0.5) ** 2))
    fin = 0.5 * np.exp(-(((x - 0.5) / 0.15) ** 2 + ((y - 0.3) / 0.3) ** 2 + (z / 0.2) ** 2))
    field = body + fin + 0.03 * np.sin(20 * x) * np.sin(18 * y) * np.sin(22 * z)
    vertices, triangles, _, _ = marching_cubes(field.astype(np.float32), 0.45, gradient_direction="ascent")
    vertices, triangles = decimate(vertices.astype(np.float64), triangles.astype(np.int64), faces)
    points = torch.from_numpy(vertices).float()
    points = (points - (points.amin(0) + points.amax(0)) / 2) * (1.2 / (points.amax(0) - points.amin(0)).max())
    colours = 0.5 + 0.45 * torch.sin(points * torch.tensor([13.0, 17.0, 11.0]) + 7 * points.roll(1, dims=-1))
    return Mesh(points, torch.from_numpy(triangles), vertex_colors=colours)


def unseen_views() -> OrbitView:
    """24 views that are not among the 26: odd azimuths at three elevations."""
    azimuth = torch.arange(24) * 45.0 + 22.5
    return OrbitView((azimuth + 180) % 360 - 180, torch.tensor([-25.0, 20.0, 60.0]).repeat(8), size=192)


def psnr(error: Tensor) -> float:
    return float(-10 * torch.log10(error.square().mean()))


def row(mesh: Mesh, size: int, view_size: int) -> dict[str, float]:
    seconds: dict[str, float] = {}

    def timed(part: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        result = work()
        seconds[part] = time.perf_counter() - start
        return result

    cameras = baking_ring(size=view_size).camera()
    pictures = render_mesh(mesh, cameras)
    flat = timed("unwrap", lambda: unwrap(mesh, size))
    atlas = timed("atlas", lambda: atlas_fragments(flat, size))
    baked = timed("bake", lambda: bake(flat, cameras, pictures.rgb, pictures.alpha, size, atlas=atlas))
    filled = timed("fill", lambda: fill(baked.albedo, baked.weight, flat, atlas))
    albedo = timed("seams", lambda: equalise_seams(filled, flat, atlas))
    before, after = seam_error(filled, flat), seam_error(albedo, flat)
    unseen = unseen_views().camera()
    truth = render_mesh(mesh, unseen, torch.ones(3))
    unrepaired = render_mesh(flat.with_(albedo=filled), unseen, torch.ones(3)).rgb - truth.rgb
    error = render_mesh(flat.with_(albedo=albedo), unseen, torch.ones(3)).rgb - truth.rgb
    return {
        "faces": len(mesh.faces), "charts": int(chart_ids(flat).max()) + 1, "use%": 100 * atlas.inside.sum() / size**2,
        **seconds, "seen%": 100 * baked.coverage, "jump": before.mean, "p95": before.p95, "jump'": after.mean,
        "p95'": after.p95, "PSNR": psnr(unrepaired), "PSNR'": psnr(error),
        "object": psnr(error[truth.alpha[..., 0] > 0.5]), "worst": min(psnr(view) for view in error),
    }  # fmt: skip


def meshes(objects: Path | None, only: str) -> Iterator[tuple[str, Mesh]]:
    wanted = set(only.split(",")) - {""}
    if not wanted or "procedural" in wanted:
        yield "procedural", procedural()
    if objects is not None:
        data = load_objects(objects)
        for picture in example_objects(data):
            if not wanted or Path(picture).stem in wanted:
                yield Path(picture).stem, example_mesh(data, picture)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="side of the texture, texels")
    parser.add_argument("--view-size", type=int, default=512, help="side of the pictures that are baked, pixels")
    parser.add_argument("--objects", type=Path, help="objects.npz, for the example objects")
    parser.add_argument("--only", default="", help="names of objects, comma-separated")
    args = parser.parse_args()
    row(procedural(2000), 128, 64)  # compiles the kernels
    header = False
    for name, mesh in meshes(args.objects, args.only):
        values = row(mesh, args.size, args.view_size)
        if not header:
            print(f"{'object':>10} " + " ".join(f"{key:>7}" for key in values))
            header = True
        cells = (f"{value:7d}" if isinstance(value, int) else f"{value:7.2f}" for value in values.values())
        print(f"{name:>10} " + " ".join(cells), flush=True)


if __name__ == "__main__":
    main()
