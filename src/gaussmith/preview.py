"""Pictures for people: turntable frames, contact sheets and the preview of a finished asset."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from gaussmith.camera import DEFAULT_FOVY, DEFAULT_RADIUS, PRIOR_FOVY, Camera, orbit
from gaussmith.events import UserError
from gaussmith.framing import fit_points, visible_points
from gaussmith.gaussians import Gaussians
from gaussmith.mesh import Mesh
from gaussmith.render.mesh import render_mesh
from gaussmith.render.splat import home, rasterize
from gaussmith.views import turntable as views_around

PAGE = (250, 250, 249)
PANEL = (233, 233, 231)
INK = (70, 70, 68)
GAP = 14
# A closer look than the reference camera's: it sees exactly a sphere of radius 0.6 at the usual distance.
CLOSE_FOVY = PRIOR_FOVY


def framed(thing: Mesh | Gaussians) -> Mesh | Gaussians:
    """The object moved and scaled to fit the sphere of radius 0.6 at the origin, wherever its file put it."""
    if isinstance(thing, Mesh):
        if len(thing.faces) == 0:
            raise UserError("the mesh has no faces, so there is nothing to render")
        return fit_points(thing.vertices[thing.faces.unique()]).mesh(thing)
    points = visible_points(thing)
    if len(points) == 0:
        raise UserError("the splat holds no visible Gaussian (all are transparent or not finite)")
    return fit_points(points).gaussians(thing.select(thing.finite()))


@torch.no_grad()
def render_view(thing: Mesh | Gaussians, camera: Camera, *, shaded: bool = False) -> Tensor:
    """[H,W,3] picture of one view (B = 1) on the panel colour, on the CPU; `shaded` draws a mesh as untextured clay."""
    background = torch.tensor(PANEL) / 255
    if isinstance(thing, Mesh):
        # Clay is shaded as a viewer shades the GLB, by smooth normals.
        mesh = thing.with_(normals=thing.vertex_normals()) if shaded else thing
        rgb = render_mesh(mesh, camera, background, shaded=shaded).rgb
    else:
        rgb = rasterize(thing, camera, background, geometry=False).rgb
    return rgb[0].clamp(0, 1).cpu()


def turntable(
    thing: Mesh | Gaussians,
    *,
    views: int = 60,
    size: int = 384,
    elevation: float = 15.0,
    device: torch.device | str = "cpu",
) -> Iterator[Tensor]:
    """Yield [size,size,3] frames, one a view, evenly around the object, the first from the front.

    Args:
        thing: a mesh or a splat of any place and size; it is framed first (UserError when there is nothing to see).
        views: frames in a full turn, at least 1.
        size: side of a frame in pixels.
        elevation: degrees.
        device: where a splat is drawn.
    """
    centred = framed(thing)
    if isinstance(centred, Gaussians):
        centred = centred.to(home(torch.device(device)))
    cameras = views_around(views, elevation, fovy=CLOSE_FOVY, size=size).camera()
    for index in range(views):
        yield render_view(centred, cameras[index])


def contact_sheet(pictures: list[Tensor], labels: list[str] | None = None, columns: int | None = None) -> Tensor:
    """Pictures [h,w,3] of one size on a page, row by row, each with a label beneath: [H,W,3] in [0,1]."""
    if not pictures:
        raise ValueError("a contact sheet needs a picture")
    if any(p.shape != pictures[0].shape for p in pictures):
        raise ValueError("the pictures of a contact sheet must have one size")
    columns = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
    rows = math.ceil(len(pictures) / columns)
    height, width = pictures[0].shape[:2]
    font_size = max(10, min(22, width // 18))
    strip = 0 if labels is None else int(1.9 * font_size)
    page = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + strip + GAP) + GAP), PAGE)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(font_size)
    corners = Image.new("L", (width, height), 0)
    ImageDraw.Draw(corners).rounded_rectangle((0, 0, width - 1, height - 1), radius=min(10, width // 8), fill=255)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, columns)
        x, y = GAP + column * (width + GAP), GAP + row * (height + strip + GAP)
        page.paste(_to_image(picture), (x, y), corners)
        if labels is not None:
            draw.text((x + width / 2, y + height + 0.55 * strip), labels[index], fill=INK, font=font, anchor="mm")
    return torch.from_numpy(np.asarray(page).copy()).float() / 255


def views_sheet(frames: list[Tensor]) -> Tensor:
    """A contact sheet of the frames [S,S,3] of a turntable, labelled with their azimuths: [H,W,3] in [0,1]."""
    labels = [f"{360 * i / len(frames):.4g}°" for i in range(len(frames))]
    return contact_sheet(frames, labels, columns=4 if len(frames) <= 12 else None)


def preview_sheet(rgba: Tensor | None, mesh: Mesh, elevation: float, size: int = 320, azimuth: float = 0.0) -> Tensor:
    """The sheet that shows a finished asset at a glance: [H,W,3] in [0,1].

    Args:
        rgba: [S,S,4] the prepared picture, straight alpha, framed as the reference camera sees it; None without one.
        mesh: the asset, standing as it was pictured, with uv and albedo.
        elevation, azimuth: of the reference camera, degrees.
        size: side of each panel in pixels.
    """
    picture, fovy = (None, CLOSE_FOVY) if rgba is None else _framed(rgba)
    farthest = float(mesh.vertices.norm(dim=1).max())
    distance = max(DEFAULT_RADIUS, farthest / math.sin(math.radians(fovy) / 2))

    def turned(azimuth: float, shaded: bool = False) -> Tensor:
        return render_view(mesh, orbit(azimuth, elevation, distance, fovy, size), shaded=shaded)

    panels = {}
    if picture is not None:
        panels["input"] = _resized(_over_panel(picture), size)
        panels["same view"] = render_view(mesh, orbit(azimuth, elevation, DEFAULT_RADIUS, fovy, size))
    panels |= {
        "turned 45°": turned(azimuth + 45),
        "right, 90°": turned(azimuth + 90),
        "back, 180°": turned(azimuth + 180),
        "left, 270°": turned(azimuth + 270),
        "shape": turned(azimuth - 30, shaded=True),
    }
    if picture is None:
        panels = {"front": turned(azimuth), **panels}
    if mesh.albedo is not None:
        panels["texture"] = _resized(mesh.albedo, size)
    return contact_sheet(list(panels.values()), list(panels), columns=4)


def _framed(rgba: Tensor) -> tuple[Tensor, float]:
    """The middle of the picture and its field of view where that holds the whole object, else the picture."""
    share = math.tan(math.radians(CLOSE_FOVY) / 2) / math.tan(math.radians(DEFAULT_FOVY) / 2)
    margin = round(rgba.shape[0] * (1 - share) / 2)
    inside = rgba[margin : rgba.shape[0] - margin, margin : rgba.shape[1] - margin]
    whole = float(inside[..., 3].sum()) >= 0.999 * float(rgba[..., 3].sum())
    return (inside, CLOSE_FOVY) if whole else (rgba, DEFAULT_FOVY)


def _over_panel(rgba: Tensor) -> Tensor:
    return rgba[..., :3] * rgba[..., 3:] + torch.tensor(PANEL) / 255 * (1 - rgba[..., 3:])


def _to_image(picture: Tensor) -> Image.Image:
    return Image.fromarray((picture.detach().clamp(0, 1) * 255 + 0.5).to(torch.uint8).cpu().numpy())


def _resized(picture: Tensor, size: int) -> Tensor:
    """[size,size,3] of [h,w,3], by Lanczos."""
    image = _to_image(picture).resize((size, size), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(image).copy()).float() / 255
