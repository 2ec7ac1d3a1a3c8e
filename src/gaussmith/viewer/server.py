"""The page: a viser server, what it shows, and the thread that keeps the two in step."""

from __future__ import annotations

import errno
import io
import math
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gaussmith.camera import DEFAULT_FOVY
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.io.gltf import encode_glb
from gaussmith.mesh import Mesh
from gaussmith.viewer.camera_path import CameraPath
from gaussmith.viewer.items import Item, Look, bounds, empty, fit, front_camera, worn
from gaussmith.viewer.panels import add_panels
from gaussmith.viewer.splat_buffer import MAX_SHOWN, pack

LIVE = "live"
SHARE_OF_TIME = 0.05  # of one core that preparing a running job's states for the page may take
REST = 0.3  # seconds without motion after which a camera counts as at rest
MAX_FOLLOWED = 300_000  # Gaussians; more would keep page and connection busy with new colours
PAUSE = 0.05  # seconds after a redraw in which further requests become one


class Viewer:
    """A web page that shows splats and meshes, and the state of a running job.

    Args:
        items: what to show from the start.
        port: TCP port to listen on, 0 for any free one.
        host: the address to listen on; by default this machine alone can see the page.
        output: the folder that screenshots, videos, paths and cropped copies are written to.
        interval: seconds between two states of a running job, at least.

    Raises:
        UserError: viser is not installed, or the port is taken.
    """

    def __init__(
        self,
        items: Sequence[Item] = (),
        *,
        port: int = 8080,
        host: str = "127.0.0.1",
        output: Path = Path(),
        interval: float = 1.0,
    ) -> None:
        self.output = output
        self.items: tuple[Item, ...] = tuple(items)
        self.look = Look()
        self.path = CameraPath()
        self.facts: dict[str, object] = {}
        self.bounds = bounds(self.items)
        self.frusta: list[Any] = []
        self.summary: Any = None  # the page's text at the top and its list of items: `add_panels` makes them
        self.list_of_items: Any = None
        self._interval, self._next = interval, -math.inf
        self._eye: Tensor | None = None
        self._follows, self._moved = True, -math.inf
        self._nodes: dict[str, Any] = {}
        self._drawn: dict[str, tuple] = {}
        self._checkboxes: dict[str, Any] = {}
        self._changing = threading.Lock()
        self._wake, self._closed = threading.Event(), threading.Event()
        self.server = _serve(host, port)
        self._frame()
        add_panels(self)
        self.server.on_client_connect(lambda client: client.camera.on_update(self._seen_from))
        self._worker = threading.Thread(target=self._keep_in_step, name="gaussmith-viewer", daemon=True)
        self._worker.start()
        self.refresh()

    @property
    def url(self) -> str:
        """The page's address."""
        host = self.server.get_host()
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        return f"http://{shown}:{self.server.get_port()}"

    @property
    def watched(self) -> bool:
        """Whether a browser shows the page."""
        return bool(self.server.get_clients())

    def update(self, gaussians: Gaussians, step: int = 0, facts: Mapping[str, object] | None = None) -> bool:
        """Show the state of a running job; for its training loop, once a step.

        Returns at once, without touching the tensors, when nobody watches or the last state is too young: the pace
        adapts, so that the thread which prepares them takes a twentieth of a core. Otherwise it copies the Gaussians
        and leaves the rest to that thread. It draws no random numbers and changes nothing that a job computes with.

        Args:
            gaussians: the current state, on any device; may change in place afterwards.
            step: how far the job is.
            facts: what to write beside it, such as {"PSNR": "27.1 dB"}.

        Returns:
            Whether the state was taken.
        """
        if time.monotonic() < self._next or not self.watched or self._closed.is_set():
            return False
        self.show(gaussians, step, facts)
        return True

    def show(self, gaussians: Gaussians, step: int = 0, facts: Mapping[str, object] | None = None) -> None:
        """As `update`, but without asking whether somebody watches or for how long: for the end of a job."""
        self._next = math.inf  # until the other thread has sent it
        state = gaussians.map(lambda t: t.detach().to("cpu", copy=True))
        self.items = (*(item for item in self.items if item.name != LIVE), Item(LIVE, state))
        self.facts = {"step": step, **(facts or {})}
        self.refresh()

    def set_look(self, **changes: Any) -> None:
        """Change how the scene is shown; see `Look` for the names."""
        with self._changing:  # the page's callbacks run in many threads
            self.look = replace(self.look, **changes)
        self.refresh()

    def hide(self, name: str, hidden: bool) -> None:
        """Whether the item of that name is hidden."""
        with self._changing:
            others = self.look.hidden - {name}
            self.look = replace(self.look, hidden=others | {name} if hidden else others)
        self.refresh()

    def follow_eyes(self, follow: bool) -> None:
        """Whether splats get the colours that they have as seen from a visitor's camera."""
        self._follows = follow
        self.refresh()

    def refresh(self) -> None:
        """Bring the page up to date soon, in another thread."""
        self._wake.set()

    def wait(self) -> None:
        """Sleep until `close` is called or the process is interrupted."""
        while not self._closed.wait(1.0):  # a wait without limit would not let Ctrl-C through on Windows
            pass

    def close(self) -> None:
        """Stop serving; further updates are ignored."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._wake.set()
        self._worker.join(timeout=5)
        with redirect_stdout(io.StringIO()):  # viser says good-bye
            self.server.stop()

    def _seen_from(self, camera: Any) -> None:
        """A visitor's camera moved."""
        self._eye, self._moved = torch.from_numpy(np.asarray(camera.position, dtype=np.float32)), time.monotonic()
        if self._follows and any(_directional(item.thing) for item in self.items):
            self.refresh()

    def _keep_in_step(self) -> None:
        """The thread's work: redraw whenever asked, many requests at once."""
        while True:
            self._wake.wait()
            while not self._closed.is_set() and (moving := REST - (time.monotonic() - self._moved)) > 0:
                self._closed.wait(moving)
            if self._closed.is_set():
                return
            self._wake.clear()
            begun = time.thread_time()
            self._redraw()
            took = time.thread_time() - begun
            self._next = time.monotonic() + max(self._interval, took / SHARE_OF_TIME)
            self._closed.wait(PAUSE)

    def _redraw(self) -> None:
        items, look, facts = self.items, self.look, self.facts
        with self.server.atomic():
            self.server.scene.set_background_image(np.full((4, 4, 3), look.background, np.uint8), format="png")
            for item in items:
                if item.name not in self._checkboxes:
                    self._checkboxes[item.name] = self._add_checkbox(item.name)
                self._draw(item, look)
            self.summary.content = _summary(items, facts)

    def _add_checkbox(self, name: str) -> Any:
        with self.list_of_items:
            box = self.server.gui.add_checkbox(name, True)
        box.on_update(lambda _: self.hide(name, not box.value))
        return box

    def _draw(self, item: Item, look: Look) -> None:
        """Bring the scene node of one item up to date."""
        node = self._nodes.get(item.name)
        if item.name in look.hidden:
            if node is not None:
                node.visible = False
            return
        eye = self._eye if self._follows and _directional(item.thing) else None
        asked = (item.thing, look.size, look.min_opacity, look.box, eye)
        if _same(self._drawn.get(item.name), asked):
            if node is not None:
                node.visible = True
            return
        thing = worn(item.thing, look)
        if node is not None and (empty(thing) or isinstance(thing, Mesh)):
            self._nodes.pop(item.name).remove()
            node = None
        self._drawn[item.name] = asked
        if empty(thing):
            return
        if isinstance(thing, Mesh):
            unlit = thing.albedo is not None or thing.vertex_colors is not None
            self._nodes[item.name] = self.server.scene.add_glb(f"/{item.name}", encode_glb(thing, unlit=unlit))
            return
        *arrays, scale = pack(thing, eye)
        if node is None:
            self._nodes[item.name] = self.server.scene.add_gaussian_splats(f"/{item.name}", *arrays, scale=scale)
        else:
            node.set_gaussians(*arrays)
            node.scale, node.visible = scale, True

    def _frame(self) -> None:
        """Put the page's first camera where the project's default camera would stand in front of the content."""
        where = fit(self.items)
        camera = front_camera(where)
        first = self.server.initial_camera
        first.position, first.look_at = camera.position[0].double().numpy(), where.centre.double().numpy()
        first.fov = math.radians(DEFAULT_FOVY)
        first.near, first.far = 0.01 / where.scale, 1000 / where.scale


def _directional(thing: Gaussians | Mesh) -> bool:
    """Whether its colours depend on where it is seen from, and it is small enough to follow a camera."""
    return isinstance(thing, Gaussians) and thing.sh.shape[1] > 1 and len(thing) <= MAX_FOLLOWED


def _same(old: tuple | None, new: tuple) -> bool:
    """Whether nothing changed: the same objects, equal numbers."""
    return old is not None and all(
        a is b or (not isinstance(b, (Gaussians, Mesh, Tensor)) and a == b) for a, b in zip(old, new)
    )


def _summary(items: Sequence[Item], facts: Mapping[str, object]) -> str:
    """What stands at the top of the panel, as Markdown."""
    lines = [f"{name}: **{value}**" for name, value in facts.items()]
    for item in items:
        if isinstance(item.thing, Mesh):
            lines.append(f"{item.name}: {len(item.thing.faces):,} faces")
            continue
        lines.append(f"{item.name}: {len(item.thing):,} Gaussians")
        if len(item.thing) > MAX_SHOWN:
            lines.append(f"the page shows the {MAX_SHOWN:,} most visible of them; files get all")
    return "  \n".join(lines) or "waiting for the first state"


def _serve(host: str, port: int) -> Any:
    """A viser server on exactly this port, without its greetings and without its public tunnel."""
    try:
        import viser
    except ImportError as error:
        raise UserError(f"the viewer needs viser: pip install 'gaussmith[view]' ({error})") from error
    address = _free_address(host, port)
    with redirect_stdout(io.StringIO()):  # the caller says where the page is
        server = viser.ViserServer(host=address, port=port, label="gaussmith", verbose=False)
    if port not in (0, server.get_port()):  # taken in the meantime: viser moved on to another port
        with redirect_stdout(io.StringIO()):
            server.stop()
        raise _taken(port)
    # A page may ask for a tunnel to the internet: never.
    server.request_share_url = lambda verbose=True: None  # type: ignore[method-assign]
    server.gui.configure_theme(show_logo=False, show_share_button=False)
    server.scene.set_up_direction("+y")
    return server


def _free_address(host: str, port: int) -> str:
    """The numeric address of a host on which the port is free; viser itself would look for another port, or hang."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UserError(f"there is no address {host!r} on this machine ({error}); leave --host away") from error
    with socket.socket(family, kind, protocol) as probe:
        if os.name == "posix":  # elsewhere it would allow two servers on one port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise _taken(port) from error
            raise UserError(f"cannot listen on {host} port {port} ({error.strerror}); choose others") from error
    return str(address[0])


def _taken(port: int) -> UserError:
    return UserError(f"port {port} is in use, perhaps by another viewer; choose one with --port, or 0 for any")
