"""The panel beside the scene: one function for each of its folders. What a button does stands in `exports`."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from gaussmith.events import UserError
from gaussmith.viewer import exports
from gaussmith.viewer.camera_path import CameraPath, Pose, from_json, with_keyframe

if TYPE_CHECKING:
    from gaussmith.viewer.server import Viewer

_RED, _GREY = (200, 40, 40), (90, 90, 90)
_MAX_PATH_BYTES = 4 << 20
# The edges of a box as pairs of its corners, corner i having bit a of i set where it is high on axis a.
_EDGES = [(a, b) for a, b in itertools.combinations(range(8), 2) if (a ^ b).bit_count() == 1]


class Stopped(Exception):
    """The user pressed the button of a running task again."""


def add_panels(viewer: Viewer) -> None:
    """Fill the page's panel."""
    _look_panel(viewer)
    _crop_panel(viewer)
    size = _picture_panel(viewer)
    _path_panel(viewer, size)


def pose_of_client(client: Any) -> Pose:
    """Where a visitor stands."""
    camera = client.camera
    return Pose(tuple(camera.position.tolist()), tuple(camera.wxyz.tolist()), math.degrees(camera.fov))


def answered(act: Callable[[Any], str | None]) -> Callable[[Any], None]:
    """A callback that calls `act(client)` and shows its words, or the user's mistake, to who pressed the button."""

    def callback(event: Any) -> None:
        if event.client is None:  # gone in the meantime
            return
        try:
            message, color = act(event.client), None
        except UserError as error:
            message, color = str(error), _RED
        if message:
            title = "That did not work" if color else "Done"
            event.client.add_notification(title, message, auto_close_seconds=12.0, color=color)

    return callback


def _look_panel(viewer: Viewer) -> None:
    gui = viewer.server.gui
    viewer.summary = gui.add_markdown("")
    viewer.list_of_items = gui.add_folder("Shown")
    with gui.add_folder("Look"):
        background = gui.add_rgb("Background", viewer.look.background)
        size = gui.add_slider("Size", 0.05, 1.5, 0.05, 1.0, hint="Factor on the size of the Gaussians.")
        opacity = gui.add_slider("Hide below", 0.0, 1.0, 0.01, 0.0, hint="Hide Gaussians fainter than this opacity.")
        viewing = gui.add_checkbox(
            "Colours from here",
            True,
            hint="Splats change colour with the direction. The page shows one colour for each Gaussian: as seen from"
            " where the last moving camera came to rest, or (switched off) the mean one. Pictures and films are exact.",
        )

    background.on_update(lambda _: viewer.set_look(background=background.value))
    size.on_update(lambda _: viewer.set_look(size=min(max(float(size.value), 0.01), 10.0)))
    opacity.on_update(lambda _: viewer.set_look(min_opacity=float(opacity.value)))
    viewing.on_update(lambda _: viewer.follow_eyes(viewing.value))


def _crop_panel(viewer: Viewer) -> None:
    gui = viewer.server.gui
    low, high, step = _round(*viewer.bounds.double().numpy())
    with gui.add_folder("Crop", expand_by_default=False):
        on = gui.add_checkbox("Only in the box", False)
        ranges = [
            gui.add_multi_slider(axis, a, b, step, (a, b)) for axis, a, b in zip("XYZ", low.tolist(), high.tolist())
        ]
        save = gui.add_button(
            "Save cropped copy", hint="Splats as .ply, meshes as .glb; what is hidden by opacity is left out as well."
        )

    def changed(_: Any) -> None:
        edges = np.array([r.value for r in ranges], dtype=np.float64)
        # At its stop, a slider cuts nothing off: what lies beyond the usual bounds stays.
        lowest, highest = np.where(edges[:, 0] <= low + 1e-6, -math.inf, edges[:, 0]), edges[:, 1]
        highest = np.where(highest >= high - 1e-6, math.inf, highest)
        viewer.set_look(box=(tuple(lowest.tolist()), tuple(highest.tolist())) if on.value else None)
        _draw_box(viewer, edges, on.value)

    for handle in (on, *ranges):
        handle.on_update(changed)
    save.on_click(answered(lambda _: _listed(exports.save_cropped(viewer.items, viewer.look, viewer.output))))


def _round(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The bounds [3] moved outwards to multiples of a power of ten, and that: at least 100 of them span the box."""
    exponent = math.floor(math.log10(float((high - low).max()) / 100))
    step = 10.0**exponent
    low, high = (
        np.round(way(edge / step) * step, max(0, -exponent)) for way, edge in ((np.floor, low), (np.ceil, high))
    )
    return low, high, step


def _draw_box(viewer: Viewer, edges: np.ndarray, visible: bool) -> None:
    """Show the crop box, edges [3,2] (low and high of each axis), as lines."""
    corners = np.array([[edges[a, i >> a & 1] for a in range(3)] for i in range(8)])
    lines = np.array([(corners[a], corners[b]) for a, b in _EDGES], dtype=np.float32)
    viewer.server.scene.add_line_segments(
        "/crop box", lines, _GREY, thickness=1.5, thickness_units="screen", visible=visible
    )


def _picture_panel(viewer: Viewer) -> Callable[[], tuple[int, int]]:
    """Returns what reads the picture size asked for; films have the same."""
    gui = viewer.server.gui
    with gui.add_folder("Picture", expand_by_default=False):
        width = gui.add_number("Width", 1280, min=16, max=exports.MAX_SIDE, step=1)
        height = gui.add_number("Height", 720, min=16, max=exports.MAX_SIDE, step=1)
        take = gui.add_button("Save picture", hint="A PNG from where you stand, drawn by gaussmith itself.")

    def size() -> tuple[int, int]:
        return int(width.value), int(height.value)

    def act(client: Any) -> str:
        pose = pose_of_client(client)
        return _listed([exports.save_picture(viewer.items, viewer.look, pose, size(), viewer.output)])

    take.on_click(answered(act))
    return size


def _path_panel(viewer: Viewer, size: Callable[[], tuple[int, int]]) -> None:
    gui = viewer.server.gui
    with gui.add_folder("Camera path", expand_by_default=False):
        text = gui.add_markdown("no keyframes")
        add, clear = gui.add_button("Add keyframe", hint="From where you stand."), gui.add_button("Clear")
        seconds = gui.add_number("Seconds each", 2.0, min=0.1, max=60.0, step=0.1)
        loop = gui.add_checkbox("Loop", False)
        show = gui.add_checkbox("Show keyframes", True)
        play = gui.add_button("Play / stop")
        export = gui.add_button("Save video / stop", hint="An MP4 of the size above, drawn by gaussmith itself.")
        progress = gui.add_progress_bar(0.0, visible=False)
        save = gui.add_button("Save path")
        load = gui.add_upload_button("Load path", mime_type="application/json")

    def put(path: CameraPath) -> None:
        viewer.path = path
        count = len(path.keyframes)
        text.content = f"{count} keyframe{'s' * (count != 1)}, {path.duration:g} s" if count else "no keyframes"
        _draw_keyframes(viewer, show.value)

    def fly(client: Any) -> None:
        _draw_keyframes(viewer, False)  # the camera would fly through them
        try:
            _fly(viewer, client, playing.beat())
        finally:
            _draw_keyframes(viewer, show.value)

    def advance(done: float) -> None:
        progress.visible, progress.value = done < 1, 100 * done

    def loaded(client: Any) -> str:
        if len(load.value.content) > _MAX_PATH_BYTES:
            raise UserError("this file is too large for a camera path")
        put(from_json(load.value.content))
        seconds.value, loop.value = viewer.path.seconds, viewer.path.loop
        return f"{len(viewer.path.keyframes)} keyframes read"

    def record(_: Any) -> str:
        try:
            path = exports.save_film(
                viewer.items, viewer.look, viewer.path, size(), viewer.output, filming.beat(advance)
            )
        finally:
            advance(1.0)
        return _listed([path])

    playing, filming = _Task(), _Task()
    add.on_click(answered(lambda client: put(with_keyframe(viewer.path, pose_of_client(client)))))
    clear.on_click(answered(lambda _: put(replace(viewer.path, keyframes=()))))
    seconds.on_update(answered(lambda _: put(replace(viewer.path, seconds=float(seconds.value)))))
    loop.on_update(answered(lambda _: put(replace(viewer.path, loop=bool(loop.value)))))
    play.on_click(answered(playing.toggled(fly)))
    show.on_update(lambda _: _draw_keyframes(viewer, show.value))
    export.on_click(answered(filming.toggled(record)))
    save.on_click(answered(lambda _: _listed([exports.save_path(viewer.path, viewer.output)])))
    load.on_upload(answered(loaded))


class _Task:
    """Something long that a button starts, and the same button stops."""

    def __init__(self) -> None:
        self._running, self._stop = threading.Lock(), threading.Event()

    def toggled(self, act: Callable[[Any], str | None]) -> Callable[[Any], str | None]:
        """`act`, or its end if it is running."""

        def callback(client: Any) -> str | None:
            if not self._running.acquire(blocking=False):
                self._stop.set()
                return None
            try:
                self._stop.clear()
                return act(client)
            except Stopped:
                return None
            finally:
                self._running.release()

        return callback

    def beat(self, on_share: Callable[[float], None] = lambda share: None) -> Callable[[float], None]:
        """What the task calls with the share done; raises Stopped when it is to end."""

        def called(share: float) -> None:
            if self._stop.is_set():
                raise Stopped
            on_share(share)

        return called


def _fly(viewer: Viewer, client: Any, beat: Callable[[float], None]) -> None:
    """Move a visitor's camera along the path, in its time, until the visitor leaves."""
    poses = viewer.path.poses(exports.FPS)
    begun = time.monotonic()
    for index, pose in enumerate(poses):
        beat(index / len(poses))
        if client.client_id not in viewer.server.get_clients():
            return
        with client.atomic():
            client.camera.wxyz, client.camera.position = np.array(pose.wxyz), np.array(pose.position)
            client.camera.fov = math.radians(pose.fov)
        time.sleep(max(0.0, begun + (index + 1) / exports.FPS - time.monotonic()))


def _draw_keyframes(viewer: Viewer, visible: bool) -> None:
    """Show the keyframes as small frusta, or take them away."""
    for node in viewer.frusta:
        node.remove()
    scale = 0.05 * float((viewer.bounds[1] - viewer.bounds[0]).max())
    viewer.frusta = [
        viewer.server.scene.add_camera_frustum(
            f"/keyframes/{i}",
            math.radians(pose.fov),
            16 / 9,
            scale=scale,
            thickness=1.5,
            thickness_units="screen",
            color=_GREY,
            wxyz=pose.wxyz,
            position=pose.position,
        )
        for i, pose in enumerate(viewer.path.keyframes if visible else ())
    ]


def _listed(paths: list[Any]) -> str:
    return "wrote " + ", ".join(str(path) for path in paths)
