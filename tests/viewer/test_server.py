"""The page, as a browser meets it: a client that speaks viser's protocol presses the buttons."""

from __future__ import annotations

import math
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

msgspec = pytest.importorskip("msgspec")
viser = pytest.importorskip("viser")
zstandard = pytest.importorskip("zstandard")
from websockets.sync.client import connect  # noqa: E402

from gaussmith.camera import orbit  # noqa: E402
from gaussmith.events import UserError  # noqa: E402
from gaussmith.gaussians import Gaussians, in_ball  # noqa: E402
from gaussmith.io import load_gaussians, load_image  # noqa: E402
from gaussmith.mesh import Mesh  # noqa: E402
from gaussmith.render.splat import rasterize  # noqa: E402
from gaussmith.viewer import Item, Viewer, server  # noqa: E402
from gaussmith.viewer.camera_path import pose_of  # noqa: E402
from gaussmith.viewer.items import picture  # noqa: E402

SQUARE = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2]]))


class Browser:
    """A visitor: keeps what the page says, moves its camera and uses the panel."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        url = viewer.url.replace("http", "ws")
        self.socket = connect(url, subprotocols=[f"viser-v{viser.__version__}"], compression=None, max_size=None)
        self.messages: list[dict[str, Any]] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        self.stand(orbit(0, 0))

    def _read(self) -> None:
        for frame in self.socket:
            assert isinstance(frame, bytes)
            packed = frame[16 : 16 + int.from_bytes(frame[8:16], "little")]
            self.messages += msgspec.msgpack.decode(zstandard.decompress(packed))["messages"]

    def send(self, kind: str, **fields: object) -> None:
        self.socket.send(msgspec.msgpack.encode({"type": kind, **fields}))

    def stand(self, camera: Any) -> None:
        pose = pose_of(camera)
        self.send(
            "ViewerCameraMessage", wxyz=pose.wxyz, position=pose.position, fov=math.radians(pose.fov), near=0.01,
            far=100.0, image_height=600, image_width=800, look_at=(0.0, 0.0, 0.0), up_direction=(0.0, 1.0, 0.0),
        )  # fmt: skip
        clients = self.viewer.server.get_clients
        until(lambda: any(np.allclose(c.camera.position, pose.position) for c in clients().values()))

    def control(self, label: str) -> str:
        """The uuid of the control with that label."""
        found = [m["uuid"] for m in self.messages if m.get("props", {}).get("label") == label]
        assert len(found) == 1, f"{label}: {found}"
        return str(found[0])

    def press(self, label: str) -> None:
        self.send("GuiUpdateMessage", uuid=self.control(label), updates={"value": True})

    def set(self, label: str, value: object) -> None:
        uuid = self.control(label)
        self.send("GuiUpdateMessage", uuid=uuid, updates={"value": value})
        until(lambda: self.viewer.server.gui._gui_input_handle_from_uuid[uuid].value == value)

    def heard(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        return [m for m in self.messages if m["type"] == kind and all(m.get(k) == v for k, v in fields.items())]

    def told(self) -> list[str]:
        return [m["props"]["body"] for m in self.heard("NotificationShowMessage")]

    def leave(self) -> None:
        self.socket.close()
        self.reader.join(timeout=5)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def ball(count: int = 200, degree: int = 0) -> Gaussians:
    return in_ball(count, 0.5, torch.Generator().manual_seed(0), color=0.8, opacity=0.9, sh_degree=degree)


@pytest.fixture
def viewer(tmp_path: Path) -> Iterator[Viewer]:
    page = Viewer([Item("ball", ball()), Item("flat", SQUARE)], port=0, output=tmp_path)
    yield page
    page.close()


@pytest.fixture
def browser(viewer: Viewer) -> Iterator[Browser]:
    visitor = Browser(viewer)
    until(lambda: visitor.heard("GlbMessage"))
    yield visitor
    visitor.leave()


def test_the_page_is_served_on_this_machine_alone(viewer: Viewer) -> None:
    assert viewer.url.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(viewer.url) as answer:
        assert answer.status == 200 and b"<html" in answer.read(2000)


def test_a_browser_gets_the_items_the_right_way_up(viewer: Viewer, browser: Browser) -> None:
    assert [m["name"] for m in browser.heard("GaussianSplatsMessage")] == ["/ball"]
    assert [m["name"] for m in browser.heard("GlbMessage")] == ["/flat"]
    (root,) = (m["wxyz"] for m in browser.heard("SetOrientationMessage", name=""))
    turn = torch.tensor(np.array(root), dtype=torch.float64)
    from gaussmith.rotation import quat_to_matrix

    up = quat_to_matrix(turn) @ torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(up, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), atol=1e-6, rtol=0)
    centres = viewer._nodes["ball"].centers * viewer._nodes["ball"].scale
    np.testing.assert_allclose(centres, ball().means.numpy(), atol=1e-5)


def test_the_panel_changes_what_is_shown(viewer: Viewer, browser: Browser) -> None:
    browser.set("Hide below", 0.95)
    until(lambda: "ball" not in viewer._nodes)
    browser.set("Hide below", 0.0)
    until(lambda: "ball" in viewer._nodes)
    browser.set("flat", False)
    until(lambda: not viewer._nodes["flat"].visible)
    assert viewer.look.hidden == {"flat"}
    browser.set("flat", True)
    until(lambda: viewer._nodes["flat"].visible)
    browser.set("Background", (1, 2, 3))
    until(lambda: viewer.look.background == (1, 2, 3))
    before = viewer._nodes["ball"].covariances.astype(float) * viewer._nodes["ball"].scale ** 2
    browser.set("Size", 0.5)
    until(lambda: viewer.look.size == 0.5)
    until(
        lambda: np.allclose(
            viewer._nodes["ball"].covariances * viewer._nodes["ball"].scale ** 2, before / 4, rtol=0.01, atol=1e-9
        )
    )


def test_a_cropped_copy_is_written(viewer: Viewer, browser: Browser, tmp_path: Path) -> None:
    browser.set("Only in the box", True)
    browser.set("X", (0.0, 99.0))  # beyond its stop, as at it: no limit
    until(lambda: viewer.look.box is not None and viewer.look.box[0][0] == 0)
    assert viewer.look.box == ((0.0, -math.inf, -math.inf), (math.inf, math.inf, math.inf))
    until(lambda: len(viewer._nodes["ball"].centers) < 200)
    assert viewer._nodes["ball"].centers[:, 0].min() >= 0
    browser.press("Save cropped copy")
    until(browser.told)
    assert "ball-cropped.ply" in browser.told()[0]
    assert torch.equal(load_gaussians(tmp_path / "ball-cropped.ply").means, (m := ball().means)[m[:, 0] >= 0])


def test_a_picture_is_what_the_visitor_sees(viewer: Viewer, browser: Browser, tmp_path: Path) -> None:
    browser.stand(orbit(30, 20, 1.5, 40.0))
    browser.set("Width", 64)
    browser.set("Height", 48)
    browser.press("Save picture")
    until(browser.told)
    pixels = torch.from_numpy(np.asarray(load_image(tmp_path / "scene.png")))[..., :3]
    expected = picture(viewer.items, viewer.look, orbit(30, 20, 1.5, 40.0, 64, 48))
    assert pixels.shape == (48, 64, 3)
    torch.testing.assert_close(pixels, expected, atol=1.6 / 255, rtol=0)


def test_a_path_is_built_flown_filmed_and_saved(viewer: Viewer, browser: Browser, tmp_path: Path) -> None:
    browser.press("Save video / stop")
    until(lambda: any("two keyframes" in told for told in browser.told()))
    for azimuth in (0, 40):
        browser.stand(orbit(azimuth, 0))
        browser.press("Add keyframe")
        until(lambda a=azimuth: len(viewer.path.keyframes) == 1 + a // 40)  # type: ignore[misc]
    browser.set("Seconds each", 0.2)
    until(lambda: viewer.path.seconds == 0.2)
    browser.press("Play / stop")
    end = list(viewer.path.keyframes[1].position)

    def flown() -> list[list[float]]:
        return [m["position"] for m in browser.heard("SetCameraPositionMessage", initial=False)]

    until(lambda: np.allclose(flown()[-1:] or math.inf, end))
    browser.set("Width", 32)
    browser.set("Height", 32)
    browser.press("Save video / stop")
    until(lambda: any("scene-flight.mp4" in told for told in browser.told()))
    assert (tmp_path / "scene-flight.mp4").stat().st_size > 500
    browser.press("Save path")
    until(lambda: any("camera-path.json" in told for told in browser.told()))
    browser.press("Clear")
    until(lambda: viewer.path.keyframes == ())


def test_no_page_can_open_a_tunnel_to_the_internet(viewer: Viewer, browser: Browser) -> None:
    browser.send("ShareUrlRequest")
    time.sleep(0.3)
    assert viewer.server._share_tunnel is None
    assert browser.heard("ThemeConfigurationMessage")[-1]["show_share_button"] is False


def test_colours_follow_the_eye_of_the_visitor() -> None:
    splat = ball(degree=1)
    splat.sh[:, 1:] = 0.3 * torch.randn(splat.sh[:, 1:].shape, generator=torch.Generator().manual_seed(1))
    viewer = Viewer([Item("ball", splat)], port=0)
    visitor = Browser(viewer)
    try:
        for azimuth in (0, 90):
            visitor.stand(orbit(azimuth, 0))
            eye = orbit(azimuth, 0).position[0]
            expected = server.pack(splat, eye).rgbs * 255
            until(lambda e=expected: np.abs(viewer._nodes["ball"].rgbs - e).max() < 1.5)  # type: ignore[misc]
        visitor.set("Colours from here", False)
        expected = server.pack(splat).rgbs * 255
        until(lambda: np.abs(viewer._nodes["ball"].rgbs - expected).max() < 1.5)
    finally:
        visitor.leave()
        viewer.close()


def test_a_running_job_is_shown_only_while_somebody_watches() -> None:
    viewer = Viewer(port=0, interval=0.0)
    state = ball()
    state.means.requires_grad_()
    try:
        assert viewer.update(state, 1) is False
        visitor = Browser(viewer)
        until(lambda: viewer.update(state, 7, {"PSNR": "21.5 dB"}))
        with torch.no_grad():
            state.means += 5  # the job goes on, in place
        until(lambda: visitor.heard("GaussianSplatsMessage", name="/live"))
        node = viewer._nodes["live"]
        np.testing.assert_allclose(node.centers * node.scale, ball().means.numpy(), atol=1e-5)
        assert "step: **7**" in viewer.summary.content and "PSNR: **21.5 dB**" in viewer.summary.content
        until(lambda: viewer.update(state, 8))
        until(lambda: abs(float(node.centers[:, 0].mean()) * node.scale - 5) < 0.2)
        visitor.leave()
        until(lambda: not viewer.watched)
        assert viewer.update(state, 9) is False
    finally:
        viewer.close()
    assert viewer.update(state, 10) is False


def test_updates_keep_their_interval() -> None:
    viewer = Viewer(port=0, interval=60.0)
    visitor = Browser(viewer)
    try:
        viewer.show(ball(), 1)
        until(lambda: "live" in viewer._nodes)
        assert not any(viewer.update(ball(), step) for step in range(2, 50))
    finally:
        visitor.leave()
        viewer.close()


def trained(viewer: Viewer | None) -> list[torch.Tensor]:
    """What twenty steps of a small optimisation with global random noise arrive at."""
    torch.manual_seed(3)
    state = ball(degree=1)
    camera, target = orbit(0, 0, width=24), torch.rand(1, 24, 24, 3)
    for tensor in state.tensors().values():
        tensor.requires_grad_()
    adam = torch.optim.Adam(state.tensors().values(), lr=0.01)
    for step in range(20):
        adam.zero_grad()
        rgb = rasterize(state, camera, geometry=False).rgb
        (rgb - target + 0.01 * torch.randn(rgb.shape)).square().mean().backward()
        adam.step()
        if viewer is not None:
            viewer.show(state, step)  # as often as can be
    return [tensor.detach() for tensor in state.tensors().values()]


def test_a_watched_job_arrives_at_the_same_bits() -> None:
    with torch.random.fork_rng():
        alone = trained(None)
        viewer = Viewer(port=0)
        visitor = Browser(viewer)
        watched = trained(viewer)
        until(lambda: "live" in viewer._nodes)
        visitor.leave()
        viewer.close()
    assert all(torch.equal(a, b) for a, b in zip(alone, watched))


def test_a_taken_port_is_a_clear_sentence_and_free_again_after_close() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} is in use"):
            Viewer(port=port)
    viewer = Viewer(port=port)
    assert viewer.url == f"http://127.0.0.1:{port}"
    viewer.close()
    viewer.close()  # twice does no harm
    again = Viewer(port=port)
    again.close()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(UserError, match=r"cannot listen on 192\.0\.2\.1"):
        Viewer(port=0, host="192.0.2.1")
    with pytest.raises(UserError, match="no address"):
        Viewer(port=0, host="no such host")


def test_without_viser_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "viser", None)
    with pytest.raises(UserError, match=r"pip install 'gaussmith\[view\]'"):
        Viewer(port=0)
