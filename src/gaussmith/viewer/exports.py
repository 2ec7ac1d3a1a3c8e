"""What the viewer writes: pictures, films, camera paths and cropped copies. No file that exists is ever replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from gaussmith.events import UserError
from gaussmith.io import save_gaussians, save_image, save_mesh, save_video
from gaussmith.io.atomic import write_bytes
from gaussmith.mesh import Mesh
from gaussmith.viewer.camera_path import CameraPath, Pose
from gaussmith.viewer.items import Item, Look, empty, kept, picture

MAX_SIDE = 4096  # pixels
FPS = 30


def new_file(folder: Path, stem: str, suffix: str) -> Path:
    """A path in `folder` that no file has: STEM.suffix, or STEM-2.suffix and so on."""
    number = 1
    while (path := folder / f"{stem}{f'-{number}' if number > 1 else ''}{suffix}").exists():
        number += 1
    return path


def save_picture(items: Sequence[Item], look: Look, pose: Pose, size: tuple[int, int], folder: Path) -> Path:
    """Write the scene as a PNG of `size` (width, height), drawn by the project's rasterisers; its path."""
    path = new_file(folder, _title(items), ".png")
    save_image(path, picture(items, look, pose.camera(*_checked(size))))
    return path


def save_film(
    items: Sequence[Item],
    look: Look,
    path: CameraPath,
    size: tuple[int, int],
    folder: Path,
    on_frame: Callable[[float], None] = lambda share: None,
) -> Path:
    """Write the flight along a path as an MP4 of 30 pictures a second; its path.

    `on_frame` is told the share done, 0 to 1, before every picture; what it raises ends the work and leaves no file.
    """
    poses, (width, height) = path.poses(FPS), _checked(size)
    target = new_file(folder, f"{_title(items)}-flight", ".mp4")

    def frame(index: int, pose: Pose) -> torch.Tensor:
        on_frame(index / len(poses))
        return picture(items, look, pose.camera(width, height))

    save_video(target, (frame(i, pose) for i, pose in enumerate(poses)), FPS)
    return target


def save_path(path: CameraPath, folder: Path) -> Path:
    """Write the keyframes as JSON; the file's path."""
    target = new_file(folder, "camera-path", ".json")
    write_bytes(target, path.to_json())
    return target


def save_cropped(items: Sequence[Item], look: Look, folder: Path) -> list[Path]:
    """Write what is left of each visible item by the box and the limit of opacity: splats as PLY, meshes as GLB.

    Raises:
        UserError: nothing is left.
    """
    left = [(item.name, kept(item.thing, look)) for item in items if item.name not in look.hidden]
    left = [(name, thing) for name, thing in left if not empty(thing)]
    if not left:
        raise UserError("there is nothing in the box; make it larger")
    paths = []
    for name, thing in left:
        if isinstance(thing, Mesh):
            paths.append(new_file(folder, f"{name}-cropped", ".glb"))
            save_mesh(thing, paths[-1])
        else:
            paths.append(new_file(folder, f"{name}-cropped", ".ply"))
            save_gaussians(thing, paths[-1])
    return paths


def _title(items: Sequence[Item]) -> str:
    return items[0].name if len(items) == 1 else "scene"


def _checked(size: tuple[int, int]) -> tuple[int, int]:
    if not all(16 <= side <= MAX_SIDE for side in size):
        raise UserError(f"a picture must be 16 to {MAX_SIDE} pixels wide and high, got {size[0]} x {size[1]}")
    return int(size[0]), int(size[1])
