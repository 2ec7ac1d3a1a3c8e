"""Time of the triangle rasteriser against faces and pixels: `python benchmarks/mesh_raster.py`.

Columns are milliseconds a view, the least of several runs after compilation: `raster` finds the fragments at one
sample a pixel; `render` draws a 1024 x 1024 texture with 2 x 2 samples a pixel; `+ gradient` also back-propagates to
the texture. On a machine that does other work too, set OMP_WAIT_POLICY=passive: spinning threads cost milliseconds a
call there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch

from gaussmith.camera import orbit
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import rasterize_mesh, render_mesh

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


def milliseconds(work: Callable[[], object]) -> float:
    work()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def main() -> None:
    texture = torch.rand(1024, 1024, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    print(f"{torch.get_num_threads()} threads; milliseconds a view, least of {REPEATS}")
    print(f"{'faces':>8} {'pixels':>8} {'raster':>8} {'render':>8} {'+ gradient':>11}")
    for faces in (1_000, 5_000, 20_000, 100_000):
        mesh = bumpy_sphere(faces)
        for size in (64, 256, 512, 768):
            camera = orbit(30.0, 20.0, width=size)
            plain = mesh.with_(albedo=texture.detach())
            raster = milliseconds(lambda: rasterize_mesh(mesh.vertices, mesh.faces, camera))  # noqa: B023
            render = milliseconds(lambda: render_mesh(plain, camera))  # noqa: B023
            full = milliseconds(lambda: render_mesh(mesh, camera, texture=texture).rgb.sum().backward())  # noqa: B023
            print(f"{len(mesh.faces):>8} {size:>5}^2 {raster:>8.1f} {render:>8.1f} {full:>11.1f}", flush=True)


if __name__ == "__main__":
    main()
