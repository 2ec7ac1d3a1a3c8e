"""Judge a finished asset by its files alone: `check_asset.py NAME.glb PICTURE --min-psnr DB`.

The GLB is read by trimesh, not by gaussmith's own reader, and the reference view is rendered anew, so that neither a
writer's fault nor a wrong report passes. Exits with 1 and a list of what is wrong, or with 0 and the figures.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import trimesh

import gaussmith


def read(path: Path) -> trimesh.Trimesh:
    """The one textured mesh in a GLB, in world coordinates."""
    scene = trimesh.load_scene(path)
    meshes = scene.dump()
    if len(meshes) != 1 or not isinstance(meshes[0], trimesh.Trimesh):
        raise SystemExit(f"{path}: expected one mesh, found {len(meshes)} objects")
    return meshes[0]


def shape_faults(mesh: trimesh.Trimesh) -> list[str]:
    """What keeps the surface, its vertices merged by position, from being closed, manifold and oriented."""
    _, same = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = same.reshape(-1)[mesh.faces]
    if any(len(set(face)) < 3 for face in faces.tolist()):
        return ["a face has two corners at one place"]
    directed = Counter((int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3))
    faults = []
    if any((b, a) not in directed for a, b in directed):
        faults.append("not watertight: an edge has a face on one side only")
    if max(directed.values()) > 1:
        faults.append("not manifold or not oriented: an edge is used twice in one direction")
    corners = np.asarray(mesh.vertices)[mesh.faces]
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    if not volume > 0:
        faults.append(f"inside out or flat: signed volume {volume:.3g}")
    return faults


def texture_faults(mesh: trimesh.Trimesh) -> list[str]:
    """What is wrong with the base colour texture: absent, tiny, or of one colour."""
    image = getattr(getattr(mesh.visual, "material", None), "baseColorTexture", None)
    if image is None:
        return ["no base colour texture"]
    pixels = np.asarray(image.convert("RGB"), dtype=float)
    faults = [] if min(pixels.shape[:2]) >= 64 else [f"texture of {pixels.shape[1]}x{pixels.shape[0]} pixels"]
    return faults + ([] if pixels.std(axis=(0, 1)).max() > 2 else ["the texture is of one colour"])


def reference_psnr(path: Path, picture: Path, report: dict, size: int = 256) -> float:
    """PSNR in dB, on white, of the GLB seen from the elevation that the report tells, against the picture, moved as the
    report tells."""
    whole, told = gaussmith.prepare(picture, keep_framing=True), report["picture"]
    scale = told["scale"] / whole.scale
    shift = [new - scale * old for old, new in zip(whole.shift, told["shift"])]
    prepared, elevation = whole.moved(scale, (shift[0], shift[1]), 512), report["elevation"]
    white = torch.ones(3)
    wanted = prepared.rgba[..., :3] * prepared.rgba[..., 3:] + white * (1 - prepared.rgba[..., 3:])
    wanted = torch.nn.functional.interpolate(wanted.permute(2, 0, 1)[None], (size, size), mode="area")[0]
    with torch.no_grad():
        seen = gaussmith.render_mesh(gaussmith.load(path), gaussmith.orbit(0.0, elevation, width=size), white).rgb[0]
    return -10 * math.log10(float((seen.permute(2, 0, 1) - wanted).square().mean()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("glb", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--min-psnr", type=float, default=24.0)
    options = parser.parse_args()

    mesh = read(options.glb)
    faults = shape_faults(mesh) + texture_faults(mesh)
    report = json.loads((options.glb.parent / "report.json").read_text())
    lacking = [key for key in ("seed", "mesh", "seconds", "reference", "picture", "elevation") if key not in report]
    faults += [f"report.json has no {key}" for key in lacking]
    psnr = (
        -math.inf if {"picture", "elevation"} & set(lacking) else reference_psnr(options.glb, options.picture, report)
    )
    if not psnr >= options.min_psnr:
        faults.append(f"reference view {psnr:.2f} dB, below {options.min_psnr} dB")
    names = (f"{options.glb.stem}.ply", "preview.png", "turntable.mp4")
    faults += [f"{name} is missing or empty" for name in names if not _has_bytes(options.glb.parent / name)]
    for fault in faults:
        print(f"{options.glb}: {fault}", file=sys.stderr)
    print(f"{options.glb}: {len(mesh.faces)} faces, reference view {psnr:.2f} dB, {len(faults)} faults")
    return 1 if faults else 0


def _has_bytes(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


if __name__ == "__main__":
    sys.exit(main())
