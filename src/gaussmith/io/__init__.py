"""Files. One module a format; the tables below are the only place that knows which suffix means which."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.io.compressed_ply import save_compressed_ply
from gaussmith.io.gltf import load_glb, save_glb
from gaussmith.io.gltf_splat import is_gltf_splat, load_gltf_splat, save_glb_splat, save_gltf_splat
from gaussmith.io.image import load_image, save_image
from gaussmith.io.obj import load_obj, save_obj
from gaussmith.io.ply import load_ply, save_ply
from gaussmith.io.splat import load_splat, save_splat
from gaussmith.io.splat_ply import is_splat_ply, load_splat_ply, save_splat_ply
from gaussmith.io.spz import load_spz, save_spz
from gaussmith.io.stl import load_stl, save_stl
from gaussmith.io.video import save_video
from gaussmith.mesh import Mesh

__all__ = [
    "load", "load_gaussians", "load_image", "load_mesh", "save_gaussians", "save_image", "save_mesh", "save_video",
]  # fmt: skip

MESH_READERS: dict[str, Callable[[Path], Mesh]] = {
    ".glb": load_glb,
    ".obj": load_obj,
    ".ply": load_ply,
    ".stl": load_stl,
}
MESH_WRITERS: dict[str, Callable[[Mesh, Path], None]] = {
    ".glb": save_glb,
    ".obj": save_obj,
    ".ply": save_ply,
    ".stl": save_stl,
}
GAUSSIAN_READERS: dict[str, Callable[[Path], Gaussians]] = {
    ".ply": load_splat_ply,  # plain or compressed
    ".splat": load_splat,
    ".spz": load_spz,
    ".glb": load_gltf_splat,
    ".gltf": load_gltf_splat,
}
GAUSSIAN_WRITERS: dict[str, Callable[[Gaussians, Path], None]] = {
    ".ply": save_splat_ply,
    ".compressed.ply": save_compressed_ply,
    ".splat": save_splat,
    ".spz": save_spz,
    ".glb": save_glb_splat,
    ".gltf": save_gltf_splat,
}
# Whether a file holds Gaussians, for the suffixes that may be either.
_IS_SPLAT: dict[str, Callable[[Path], bool]] = {".glb": is_gltf_splat, ".ply": is_splat_ply}

_T = TypeVar("_T")


def load_mesh(path: str | Path) -> Mesh:
    """Read a mesh file by its suffix; UserError if it is of another kind or cannot be read."""
    return _by_suffix(MESH_READERS, path, "read a mesh from")(Path(path))


def save_mesh(mesh: Mesh, path: str | Path) -> None:
    """Write a mesh in the format that the suffix names, atomically; UserError for an unknown one."""
    _by_suffix(MESH_WRITERS, path, "write a mesh to")(mesh, Path(path))


def load_gaussians(path: str | Path) -> Gaussians:
    """Read a splat file by its suffix; UserError if it is of another kind or cannot be read."""
    return _by_suffix(GAUSSIAN_READERS, path, "read Gaussians from")(Path(path))


def save_gaussians(gaussians: Gaussians, path: str | Path) -> None:
    """Write Gaussians in the format that the suffix names, atomically; UserError for an unknown one."""
    _by_suffix(GAUSSIAN_WRITERS, path, "write Gaussians to")(gaussians, Path(path))


def load(path: str | Path) -> Gaussians | Mesh:
    """Read a splat or a mesh, whichever the file holds (a PLY or a GLB may be either)."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in GAUSSIAN_READERS and (suffix not in MESH_READERS or _IS_SPLAT[suffix](path)):
        return load_gaussians(path)
    return load_mesh(path)


def matching_suffix(table: Collection[str], path: str | Path) -> str | None:
    """The longest suffix of `table` in which the file's name ends, or None."""
    name = Path(path).name.lower()
    return max((suffix for suffix in table if name.endswith(suffix) and name != suffix), key=len, default=None)


def _by_suffix(table: dict[str, _T], path: str | Path, task: str) -> _T:
    suffix = matching_suffix(table, path)
    if suffix is None:
        raise UserError(f"cannot {task} {path}: the suffix must be one of {', '.join(table)}")
    return table[suffix]
