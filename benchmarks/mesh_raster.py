"""Time of the triangle rasteriser against faces and pixels: `python benchmarks/mesh_raster.py [--device cuda]`.

Columns are milliseconds a view, the least of several runs after compilation: `raster` finds the fragments at one
sample a pixel; `render` draws a 1024 x 1024 texture with 2 x 2 samples a pixel; `+ gradient` also back-propagates to
the texture; `outline` antialiases the silhouette of known fragments and back-propagates to the vertices; `normals`
interpolates normals in them and back-propagates to the vertices. On a GPU the device's own clock is read. On a machine
that does other work too, set OMP_WAIT_POLICY=passive: spinning threads cost milliseconds a call there.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import fields

import torch

from gaussmith.accelerator import choose
from gaussmith.camera import orbit
from gaussmith.mesh import Mesh
from gaussmith.render.antialias import antialias, topology
from gaussmith.render.mesh import interpolate, rasterize_mesh, render_mesh
from gaussmith.render.mesh_gradients import with_gradients

REPEATS = 5


def bumpy_sphere(faces: int) -> Mesh:
    """A sphere of radius about 0.6 with `faces` triangles or a few fewer, bumps that occlude, and one uv chart."""
    rings = int(math.sqrt(faces / 4))
    v, u = torch.meshgrid(torch.linspace(0, 1, rings + 1), torch.linspace(0, 1, 2 * rings + 1), indexing="ij")
    polar, around = v * math.pi, u * 2 * math.pi
    radius = 0.6 + 0.06 * torch.sin(8 * around) * torch.sin(6 * polar)
    points = torch.stack([polar.sin() * around.sin(), polar.cos(), polar.sin() * around.cos()], dim=-1)
    row = 2 * rings + 1
    first = (torch.arange(rings)[:, None] * row + torch.arange(2 * rings)).reshape(-1)
    quads = [torch.stack([first, first + row, first + 1], 1), torch.stack([first + 1, first + row, first + row + 1], 1)]
    uv = torch.stack([u, v], dim=-1).reshape(-1, 2)
    return Mesh((radius[..., None] * points).reshape(-1, 3), torch.cat(quads), uv=uv, uv_faces=torch.cat(quads))


def on(mesh: Mesh, device: torch.device) -> Mesh:
    """The mesh with its tensors on the device."""
    parts = {field.name: getattr(mesh, field.name) for field in fields(mesh)}
    return mesh.with_(**{name: part.to(device) for name, part in parts.items() if isinstance(part, torch.Tensor)})


def milliseconds(work: Callable[[], object], device: torch.device) -> float:
    work()
    times = []
    for _ in range(REPEATS):
        if device.type == "cuda":
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize(device)
            first.record()
            work()
            last.record()
            last.synchronize()
            times.append(first.elapsed_time(last))
        else:
            start = time.perf_counter()
            work()
            times.append(1000 * (time.perf_counter() - start))
    return min(times)


def row(mesh: Mesh, size: int, texture: torch.Tensor, backend: str) -> list[float]:
    """The columns for one mesh and picture size."""
    camera, device = orbit(30.0, 20.0, width=size), mesh.vertices.device
    plain, vertices = mesh.with_(albedo=texture.detach()), mesh.vertices.clone().requires_grad_()
    fragments = rasterize_mesh(mesh.vertices, mesh.faces, camera, backend=backend)
    shape, normals = topology(mesh.faces), mesh.vertex_normals()
    covered = (fragments.face >= 0).float()[..., None]

    def outline() -> None:
        antialias(covered, fragments, vertices, mesh.faces, camera, shape).sum().backward()

    def shading() -> None:
        there = with_gradients(fragments, vertices, mesh.faces, camera)
        interpolate(normals, mesh.faces, there, backend=backend).sum().backward()

    works = [
        lambda: rasterize_mesh(mesh.vertices, mesh.faces, camera, backend=backend),
        lambda: render_mesh(plain, camera, backend=backend),
        lambda: render_mesh(mesh, camera, texture=texture, backend=backend).rgb.sum().backward(),
        outline,
        shading,
    ]
    return [milliseconds(work, device) for work in works]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--backend", default="auto", choices=["auto", "numba", "triton"])
    parser.add_argument("--faces", type=int, nargs="+", default=[1_000, 5_000, 20_000, 100_000])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 512, 768])
    options = parser.parse_args()
    device = choose(options.device)
    texture = torch.rand(1024, 1024, 3, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(f"{where}; milliseconds a view, least of {REPEATS}")
    names = ["raster", "render", "+ gradient", "outline", "normals"]
    print(f"{'faces':>8} {'pixels':>8} " + " ".join(f"{name:>10}" for name in names))
    for faces in options.faces:
        mesh = on(bumpy_sphere(faces), device)
        for size in options.sizes:
            figures = row(mesh, size, texture, options.backend)
            print(f"{len(mesh.faces):>8} {size:>5}^2  " + " ".join(f"{ms:>10.2f}" for ms in figures), flush=True)


if __name__ == "__main__":
    main()
