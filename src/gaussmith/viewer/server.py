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
from pathlib import Path
from typing import Any

import numpy as np

from gaussmith.camera import DEFAULT_FOVY
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.io.gltf import encode_glb
from gaussmith.mesh import Mesh
from gaussmith.viewer.items import Item, Look, empty, fit, front_camera, worn
from gaussmith.viewer.splat_buffer import pack

LIVE = "live"
SHARE_OF_TIME = 0.05  # of a running job that sending its state to the page may take
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
        self.look = Look()
        self.items: tuple[Item, ...] = tuple(items)
        self.facts: dict[str, object] = {}
        self._interval, self._next = interval, -math.inf
        self._nodes: dict[str, Any] = {}
        self._wake, self._closed = threading.Event(), threading.Event()
        self.server = _serve(host, port)
        self._frame()
        self._worker = threading.Thread(target=self._keep_in_step, name="gaussmith-viewer", daemon=True)
        self._worker.start()
        self.refresh()

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    @property
    def watched(self) -> bool:
        """Whether a browser shows the page."""
        return bool(self.server.get_clients())

    def update(self, gaussians: Gaussians, step: int = 0, facts: Mapping[str, object] | None = None) -> bool:
        """Show the state of a running job; for its training loop, once a step.

        Returns at once, without touching the tensors, when nobody watches or the last state is too young: the pace
        adapts, so that all of this takes at most a twentieth of the job's time. Otherwise it copies the Gaussians;
        another thread does the rest. It draws no random numbers and changes nothing that a job computes with.

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

    def _keep_in_step(self) -> None:
        """The thread's work: redraw whenever asked, many requests at once."""
        while True:
            self._wake.wait()
            if self._closed.is_set():
                return
            self._wake.clear()
            begun = time.monotonic()
            self._redraw()
            took = time.monotonic() - begun
            self._next = begun + took + max(self._interval, took / SHARE_OF_TIME)
            self._closed.wait(PAUSE)

    def _redraw(self) -> None:
        items, look = self.items, self.look
        with self.server.atomic():
            self.server.scene.set_background_image(np.full((4, 4, 3), look.background, np.uint8), format="png")
            for name in set(self._nodes) - {item.name for item in items}:
                self._nodes.pop(name).remove()
            for item in items:
                self._draw(item, look)

    def _draw(self, item: Item, look: Look) -> None:
        """Bring the scene node of one item up to date."""
        thing = worn(item.thing, look)
        node = self._nodes.get(item.name)
        if node is not None and (empty(thing) or isinstance(thing, Mesh)):
            self._nodes.pop(item.name).remove()
            node = None
        if empty(thing) or item.name in look.hidden:
            if node is not None:
                node.visible = False
            return
        name = f"/{item.name}"
        if isinstance(thing, Mesh):
            self._nodes[item.name] = self.server.scene.add_glb(name, encode_glb(thing))
            return
        *arrays, scale = pack(thing)
        if node is None:
            self._nodes[item.name] = self.server.scene.add_gaussian_splats(name, *arrays, scale=scale)
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
