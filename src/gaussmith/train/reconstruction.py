"""The files of a reconstructed scene, and what identifies one."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from gaussmith.asset import versions
from gaussmith.camera import Camera
from gaussmith.gaussians import Gaussians
from gaussmith.io.atomic import write_bytes
from gaussmith.io.cameras_json import save_cameras
from gaussmith.io.image import save_image, to_uint8
from gaussmith.io.splat_ply import save_splat_ply
from gaussmith.io.video import save_video
from gaussmith.photos import Scene, View
from gaussmith.preview import PANEL, contact_sheet
from gaussmith.train.film import fly_through, goes_around, turntable
from gaussmith.train.judge import ground, picture
from gaussmith.train.pictures import target

FPS = 24
FRAMES = 96  # four seconds
PANEL_SIDE = 320  # pixels along the longer side of a picture on the sheet
_PAIRS, _TURNED = 3, 2


def save_reconstruction(
    folder: str | Path,
    gaussians: Gaussians,
    scene: Scene,
    report: dict[str, Any],
    *,
    shown: Sequence[View],
    frame: Literal["scene", "input"] = "scene",
    antialiased: bool = False,
) -> list[Path]:
    """Write scene.ply, cameras.json, preview.png, turntable.mp4 (photos from all around) or flythrough.mp4 (others),
    and, last, report.json into `folder`; return their paths.

    Args:
        gaussians: in the scene's frame. shown: views for the preview; the scene's own if there are none.
        frame: whose coordinates the splat and the cameras are written in.
        report: JSON-able; the frame, memory and versions are added.

    Raises:
        UserError: the folder cannot be written, or is full. Each file is there whole or not at all.
    """
    folder = Path(folder)
    around = goes_around(scene.views, scene.inward)
    film = "turntable.mp4" if around else "flythrough.mp4"
    paths = [folder / name for name in ("scene.ply", "cameras.json", "preview.png", film, "report.json")]
    report = report | {"memory_mb": peak_memory(gaussians.means.device), "versions": versions()}
    report["frame"] = report.get("frame", {}) | {"written": frame}
    text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    placed, cameras = gaussians, [view.camera for view in scene.views]
    if frame == "input":
        placed = scene.to_input.gaussians(gaussians)
        cameras = [scene.to_input.camera_to(camera) for camera in cameras]
    save_splat_ply(placed, paths[0])
    save_cameras(paths[1], [view.name for view in scene.views], [camera.to("cpu") for camera in cameras])
    way = (turntable if around else fly_through)(scene.views, FRAMES)
    save_image(paths[2], preview(gaussians, shown or scene.views, way, antialiased))
    save_video(paths[3], _frames(gaussians, way, ground(scene.views[0]), antialiased), fps=FPS)
    write_bytes(paths[4], text.encode())
    return paths


def preview(gaussians: Gaussians, views: Sequence[View], way: Sequence[Camera], antialiased: bool) -> Tensor:
    """[H,W,3] a sheet of photos beside the splat from the same cameras, and the splat from between."""
    panels: dict[str, Tensor] = {}
    for number in range(min(_PAIRS, len(views))):
        view = views[number * len(views) // min(_PAIRS, len(views))]
        photo = target(view)
        panels[f"{view.name[-24:]}"] = photo.over(ground(photo))[0]
        panels[f"render {number + 1}"] = picture(gaussians, photo.camera, ground(photo), antialiased)
    behind = ground(views[0])
    for number in range(_TURNED):
        at = (2 * number + 1) * len(way) // (2 * _TURNED)
        panels[f"new view {number + 1}"] = picture(gaussians, way[at], behind, antialiased)
    return contact_sheet([_panel(p) for p in panels.values()], list(panels), columns=4)


def _frames(gaussians: Gaussians, way: Sequence[Camera], behind: Tensor, antialiased: bool) -> Iterator[Tensor]:
    for camera in way:
        yield picture(gaussians, camera, behind, antialiased)


def _panel(picture: Tensor) -> Tensor:
    """The picture [h,w,3] fitted into a square, by Lanczos."""
    image = Image.fromarray(to_uint8(picture))
    image = ImageOps.pad(image, (PANEL_SIDE, PANEL_SIDE), Image.Resampling.LANCZOS, color=PANEL)
    return torch.from_numpy(np.asarray(image).copy()).float() / 255


def describe(scene: Scene) -> dict[str, Any]:
    """What a checkpoint compares: a hash of cameras, pictures and points."""
    digest = hashlib.sha256()
    tensors = [scene.points, scene.colors]
    for view in scene.views:
        digest.update(view.name.encode())
        tensors += [view.camera.c2w, view.camera.K, view.rgb] + ([] if view.alpha is None else [view.alpha])
    for tensor in tensors:
        digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return {"views": len(scene.views), "sha256": digest.hexdigest()}


def peak_memory(device: torch.device) -> dict[str, int]:
    """Megabytes that the process took at most, of the machine's memory and of the GPU's; empty where unknown."""
    found = {}
    try:
        import resource
    except ImportError:  # Windows
        pass
    else:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
        found["machine"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)
    if device.type == "cuda":
        found["gpu"] = round(torch.cuda.max_memory_allocated(device) / 1e6)
    return found
