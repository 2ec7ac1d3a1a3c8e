"""Small views of coloured meshes: the pictures that the embedded prior learns from, rendered once into shards."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gaussmith.camera import DEFAULT_RADIUS, PRIOR_FOVY, orbit
from gaussmith.events import UserError
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import interpolate, rasterize_mesh
from gaussmith.synth.captions import describe
from gaussmith.synth.objects import ObjectSet

# Elevations in degrees: most pictures of things are taken from slightly above, but distillation asks for all of OUTER.
OUTER, INNER, INNER_SHARE = (-20.0, 60.0), (-10.0, 40.0), 0.75
# Of `softly_lit`: elevations of the lamp in degrees, and the share of the light that comes from everywhere.
LAMP, AMBIENT = (25.0, 80.0), (0.5, 0.85)


@dataclass(frozen=True)
class Views:
    """Views of N objects, V of each.

    Attributes:
        rgba: uint8 [N,V,S,S,4], sRGB premultiplied by alpha.
        azimuth, elevation: float32 [N,V] degrees of the camera.
        index: int64 [N] index of each object in its `ObjectSet`.
        caption: [N] strings.
    """

    rgba: np.ndarray
    azimuth: np.ndarray
    elevation: np.ndarray
    index: np.ndarray
    caption: np.ndarray


def render_views(
    mesh: Mesh,
    azimuths: np.ndarray,
    elevations: np.ndarray,
    size: int = 64,
    fovy: float = PRIOR_FOVY,
    radius: float = DEFAULT_RADIUS,
    supersample: int = 3,
) -> np.ndarray:
    """Unlit views uint8 [V,size,size,4] of a vertex-coloured mesh, sRGB premultiplied by alpha.

    Args:
        mesh: a mesh with `vertex_colors`.
        azimuths, elevations: [V] degrees, as in `camera.orbit`.
        supersample: samples a pixel and axis, averaged by a box filter; 3 leaves edges within 1/9 of their coverage.

    Raises:
        ValueError: the mesh has no vertex colours.
    """
    if mesh.vertex_colors is None:
        raise ValueError("the mesh has no vertex colours")
    azimuth, elevation = (torch.as_tensor(np.asarray(angles, np.float32)) for angles in (azimuths, elevations))
    camera = orbit(azimuth, elevation, radius, fovy, size * supersample)
    fragments = rasterize_mesh(mesh.vertices, mesh.faces, camera)
    corners = torch.cat([mesh.vertex_colors, torch.ones(len(mesh.vertices), 1)], dim=1)
    pixels = interpolate(corners, mesh.faces, fragments, supersample) / supersample**2
    return (pixels.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def softly_lit(mesh: Mesh, random: np.random.Generator) -> Mesh:
    """The vertex-coloured mesh under a soft lamp that stands above it and turns with it, flat faces; half of the time
    as it is. What is learned is to carry light and shadow of a picture round the object, not to take them off."""
    if random.random() < 0.5 or mesh.vertex_colors is None:
        return mesh
    azimuth, height, ambient = random.uniform(0, 2 * np.pi), random.uniform(*LAMP), random.uniform(*AMBIENT)
    up, level = np.sin(np.radians(height)), np.cos(np.radians(height))
    lamp = torch.tensor([level * np.sin(azimuth), up, level * np.cos(azimuth)], dtype=torch.float32)
    shade = ambient + (1 - ambient) * 1.3 * (mesh.face_normals() @ lamp).clamp_min(-0.3)
    corners = mesh.faces.flatten()
    return Mesh(
        vertices=mesh.vertices[corners],
        faces=torch.arange(len(corners)).reshape(-1, 3),
        vertex_colors=(mesh.vertex_colors[corners] * shade.repeat_interleave(3)[:, None]).clamp(0, 1),
    )


def misplaced(mesh: Mesh, random: np.random.Generator) -> Mesh:
    """The mesh a little off the middle and a little larger or smaller, as placements that are guessed from pictures
    are."""
    scale = float(np.exp(np.clip(random.normal(0, 0.08), -0.2, 0.14)))
    shift = np.clip(random.normal(0, 0.035, 3), -0.09, 0.09).astype(np.float32)
    return mesh.with_(vertices=mesh.vertices * scale + torch.from_numpy(shift))


def sample_directions(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Azimuths and elevations float32 [count] in degrees: one azimuth in each of `count` sectors, elevations mixed."""
    azimuth = (np.arange(count) + rng.random(count)) * (360 / count)
    inner = rng.random(count) < INNER_SHARE
    elevation = np.where(inner, rng.uniform(*INNER, count), rng.uniform(*OUTER, count))
    return azimuth.astype(np.float32), elevation.astype(np.float32)


def render_shards(
    objects: ObjectSet,
    indices: Sequence[int] | np.ndarray,
    out_dir: Path,
    views_per_object: int = 24,
    size: int = 64,
    seed: int = 0,
    shard_objects: int = 64,
    supersample: int = 3,
    on_shard: Callable[[int, int], None] | None = None,
    varied: bool = False,
) -> list[Path]:
    """Render `views_per_object` views of each object into `out_dir`/shard_NNNN.npz, one `Views` a file.

    An object's directions depend on (seed, its index) alone. A shard that is already there and matches is kept, so an
    interrupted call resumes; files appear whole or not at all.

    Args:
        on_shard: called with (shards done, shards in all) after each shard.
        varied: the objects `misplaced`, and half of them `softly_lit`, from other directions.

    Returns:
        The paths of all shards, in order.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    groups = [np.asarray(indices[i : i + shard_objects]) for i in range(0, len(indices), shard_objects)]
    paths = [out_dir / f"shard_{number:04d}.npz" for number in range(len(groups))]
    for number, (group, path) in enumerate(zip(groups, paths), start=1):
        directions = [
            sample_directions(views_per_object, np.random.default_rng([seed, int(index), *[1] * varied]))
            for index in group.tolist()
        ]
        azimuth, elevation = (np.stack(angles) for angles in zip(*directions))
        if not _is_done(path, group, azimuth, size):
            meshes = [objects.mesh(int(index)) for index in group]
            told = [describe(objects, int(index), mesh) for index, mesh in zip(group, meshes)]
            if varied:
                changes = [np.random.default_rng([seed, int(index), 2]) for index in group]
                meshes = [softly_lit(misplaced(mesh, random), random) for mesh, random in zip(meshes, changes)]
            pictures = [
                render_views(mesh, az, el, size, supersample=supersample)
                for mesh, az, el in zip(meshes, azimuth, elevation)
            ]
            _write(path, Views(np.stack(pictures), azimuth, elevation, group.astype(np.int64), np.array(told)))
        if on_shard is not None:
            on_shard(number, len(groups))
    return paths


def load_views(paths: Sequence[Path]) -> Views:
    """Join the shards at `paths`; UserError if one cannot be read."""
    parts = [_read(path) for path in paths]
    return Views(*(np.concatenate([getattr(part, key) for part in parts]) for key in Views.__dataclass_fields__))


def _read(path: Path) -> Views:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return Views(*(archive[key] for key in Views.__dataclass_fields__))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"cannot read rendered views from {path}: {error}; delete it and render again") from error


def _is_done(path: Path, index: np.ndarray, azimuth: np.ndarray, size: int) -> bool:
    if not path.exists():
        return False
    there = _read(path)
    same = np.array_equal(there.index, index) and np.array_equal(there.azimuth, azimuth)
    return same and there.rgba.shape == (*azimuth.shape, size, size, 4)


def _write(path: Path, views: Views) -> None:
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        np.savez(file, **{key: getattr(views, key) for key in Views.__dataclass_fields__})
    part.replace(path)
