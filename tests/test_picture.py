import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

from gaussmith.background import cut_plain
from gaussmith.events import UserError
from gaussmith.picture import OBJECT_SHARE, Prepared, load_picture, prepare

GENERATOR = np.random.default_rng(0)


def disc(height: int = 200, width: int = 300, center=(180, 90), radii=(60, 40)) -> np.ndarray:
    """[H,W,4] a soft-edged ellipse with coloured stripes; the clear part is black."""
    y, x = np.mgrid[:height, :width] + 0.5
    distance = np.sqrt(((x - center[0]) / radii[0]) ** 2 + ((y - center[1]) / radii[1]) ** 2)
    alpha = np.clip((1 - distance) * min(radii) + 0.5, 0, 1)
    stripes = 0.5 + 0.4 * np.sin(x / 9)
    color = np.stack([0.5 + stripes / 2, 0.2 * np.ones_like(x), 1 - stripes], axis=-1) * (alpha > 0)[..., None]
    return np.concatenate([color, alpha[..., None]], axis=-1).astype(np.float32)


def over(rgba: np.ndarray, background: np.ndarray) -> np.ndarray:
    return (rgba[..., :3] * rgba[..., 3:] + background * (1 - rgba[..., 3:])).astype(np.float32)


def extent(alpha: torch.Tensor) -> tuple[float, float, float, float]:
    rows, columns = ((alpha > 0.1).any(dim=d).nonzero() for d in (1, 0))
    return tuple(float(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))


def difference(a, b) -> float:
    """Mean absolute difference, premultiplied."""
    a, b = (torch.as_tensor(v) for v in (a, b))
    return float(
        (a[..., :3] * a[..., 3:] - b[..., :3] * b[..., 3:]).abs().mean() + (a[..., 3] - b[..., 3]).abs().mean()
    )


def test_default_framing_centres_and_scales():
    prepared = prepare(disc())
    assert prepared.rgba.shape == (512, 512, 4)
    assert prepared.rgba.dtype == torch.float32
    left, top, right, bottom = extent(prepared.rgba[..., 3])
    assert right - left == pytest.approx(OBJECT_SHARE * 512, abs=4)
    assert (left + right) / 2 == pytest.approx(256, abs=1.5)
    assert (top + bottom) / 2 == pytest.approx(256, abs=1.5)
    assert (bottom - top) / (right - left) == pytest.approx(40 / 60, abs=0.02)
    assert pytest.approx(0.8 * 0.32492 / 0.45678, rel=1e-3) == OBJECT_SHARE
    assert (prepared.fovy, prepared.mask_source, prepared.warnings) == (49.1, "alpha", [])


def test_shift_and_scale_say_where_things_are():
    prepared = prepare(disc())
    x, y = (prepared.scale * c + s for c, s in zip((180, 90), prepared.shift))
    assert (x, y) == pytest.approx((256, 256), abs=1)
    report = prepared.report()
    assert (report["source_size"], report["scale"], report["mask"]) == ([300, 200], prepared.scale, "alpha")


@pytest.mark.parametrize("keep_framing", [False, True])
def test_back_over_the_source(keep_framing):
    source = disc()
    back = prepare(source, keep_framing=keep_framing).to_source()
    assert back.shape == source.shape
    assert difference(back, source) < 0.004
    assert difference(prepare(np.roll(source, 9, axis=1)).to_source(), source) > 0.01


def test_large_pictures_are_reduced_but_reported_in_their_own_pixels(tmp_path):
    small = disc()
    large = small.repeat(10, 0).repeat(10, 1)
    a, b = prepare(small), prepare(large)
    assert b.source_size == (3000, 2000)
    assert b.scale * 10 == pytest.approx(a.scale, rel=0.01)
    assert b.shift == pytest.approx(a.shift, abs=2)
    assert difference(a.rgba, b.rgba) < 0.01


def test_keep_framing_gives_the_very_picture():
    square = disc(512, 512, (300, 200), (90, 120))
    square[..., :3] = GENERATOR.random((512, 512, 3))
    prepared = prepare(np.rint(square * 255).astype(np.uint8), keep_framing=True)
    seen = square[..., 3] > 0.5
    np.testing.assert_allclose(prepared.rgba.numpy()[seen], np.rint(square * 255)[seen] / 255, atol=2e-6)
    assert (prepared.scale, prepared.shift) == (1, (0, 0))


def test_keep_framing_pads_what_is_not_square():
    for source in (disc(200, 300), disc(300, 200, (90, 180), (40, 60))):
        prepared = prepare(source, keep_framing=True, size=300)
        assert prepared.scale == 1
        offset = [int(s) for s in prepared.shift]
        assert sorted(offset) == [0, 50]
        inner = prepared.rgba[offset[1] : offset[1] + source.shape[0], offset[0] : offset[0] + source.shape[1]]
        assert difference(inner, source) < 0.002  # eight bits on the way
        assert prepared.rgba[..., 3].sum() == pytest.approx(float(source[..., 3].sum()), rel=0.01)


def test_no_fringes():
    source = disc()
    source[..., :3] = np.where(source[..., 3:] > 0, (1, 0.5, 0.25), 0)  # black under what is clear
    prepared = prepare(source)
    expected = torch.tensor([1, 0.5, 0.25]).expand(512, 512, 3)
    torch.testing.assert_close(prepared.rgba[..., :3], expected, rtol=0, atol=0.01)


@pytest.mark.parametrize(
    "background", ["white", "grey", "gradient", "vignette", "green"],
)  # fmt: skip
def test_plain_backgrounds(background):
    source = disc()
    y, x = np.mgrid[-1:1:200j, -1:1:300j]
    flat = np.ones((200, 300, 3))
    field = {
        "white": flat,
        "grey": 0.5 * flat,
        "gradient": flat * (0.75 + 0.2 * y[..., None]) * (1, 0.95, 0.9),
        "vignette": flat * (0.9 - 0.15 * (x**2 + y**2))[..., None],
        "green": flat * (0.2, 0.7, 0.3),
    }[background]
    noisy = np.clip(over(source, field) + GENERATOR.normal(0, 0.008, flat.shape), 0, 1)
    prepared = prepare(noisy, keep_framing=True, size=300)
    assert prepared.mask_source == "plain background"
    assert prepared.warnings == []
    alpha = prepared.rgba[50:250, :, 3].numpy()
    a, b = alpha > 0.5, source[..., 3] > 0.5
    assert (a & b).sum() / (a | b).sum() > 0.985
    assert np.abs(alpha - source[..., 3]).mean() < 0.004
    edge = (alpha > 0.3) & (alpha < 0.95)
    error = np.abs(prepared.rgba[50:250, :, :3].numpy() - source[..., :3])[edge & (source[..., 3] > 0)]
    assert edge.sum() > 30
    assert error.mean() < 0.1  # the background's colour is taken out of the edge


def test_holes_and_highlights():
    y, x = np.mgrid[:200, :200]
    distance = np.hypot(x - 100, y - 100)
    picture = np.ones((200, 200, 3), dtype=np.float32)
    picture[(distance < 70) & (distance > 40)] = (0.7, 0.2, 0.1)  # a ring, whose hole shows the background
    picture[np.hypot(x - 100, y - 45) < 3] = 1  # a small white highlight on it
    alpha = cut_plain(picture).alpha
    assert alpha[100, 100] == 0
    assert alpha[45, 100] == 1
    assert alpha[3, 3] == 0
    picture[(distance <= 40)] = (0.93, 0.92, 0.95)  # a pale lid, near the background but not it
    assert cut_plain(picture).alpha[100, 100] == 1


def test_specks_do_not_count():
    picture = over(disc(), np.ones(3))
    picture[5:7, 290:292] = 0
    alpha = cut_plain(picture).alpha
    assert alpha[:20, 280:].max() == 0
    assert alpha[90, 180] == 1


def test_doubts_are_told():
    blocks = GENERATOR.random((4, 6, 3)).repeat(50, 0).repeat(50, 1)
    with pytest.raises(UserError, match="no object could be told"):
        prepare(over(disc(), blocks))
    room = np.full((200, 300, 3), 0.9)
    room[120:] = (0.5, 0.3, 0.2)  # wall and floor
    assert any("one plain" in w for w in prepare(over(disc(), room)).warnings)
    faint = prepare(over(disc(), np.ones(3)) * 0.1 + 0.8)
    assert any("much the same colour" in w for w in faint.warnings)
    tiny = prepare(over(disc(400, 400, (200, 200), (12, 12)), np.ones(3)))
    assert any("very small" in w for w in tiny.warnings)


def test_cut_objects_are_told():
    for center in ((0, 90), (180, 0), (300, 90), (180, 200)):
        for source in (disc(center=center), over(disc(center=center), np.ones(3))):
            assert any("touches the border" in w for w in prepare(source).warnings)
    assert not any("touches" in w for w in prepare(disc(center=(61, 90))).warnings)


def test_refusals(tmp_path):
    clear = disc()
    clear[..., 3] = 0
    with pytest.raises(UserError, match="transparent everywhere"):
        prepare(clear)
    with pytest.raises(UserError, match="no object could be told"):
        prepare(np.full((100, 100, 3), 0.7))
    with pytest.raises(UserError, match="no object could be told"):
        prepare(np.clip(GENERATOR.normal(0.5, 0.02, (100, 100, 3)), 0, 1))
    with pytest.raises(UserError, match="smaller than 16 pixels"):
        prepare(disc(100, 100, (50, 50), (6, 6)))
    with pytest.raises(UserError, match="smaller than 16 pixels"):
        prepare(np.zeros((9, 9, 3)))
    with pytest.raises(UserError, match="no such file"):
        prepare(tmp_path / "missing.png")
    for array in (np.zeros((4, 4), dtype=bool), np.full((4, 4, 3), np.nan), np.zeros((4, 4, 7)), np.zeros(4)):
        with pytest.raises(ValueError, match=r"image|array"):
            prepare(array)


def test_every_way_to_give_a_picture(tmp_path):
    source = np.rint(disc() * 255).astype(np.uint8)
    Image.fromarray(source).save(tmp_path / "a.png")
    ways = [str(tmp_path / "a.png"), tmp_path / "a.png", source, source / 255, Image.fromarray(source)]
    ways += [torch.tensor(source / 255), source.astype(np.uint16) * 257]
    first = prepare(ways[0])
    for way in ways[1:]:
        assert torch.equal(prepare(way).rgba, first.rgba)
    grey, size = load_picture(source[..., 0])
    assert (grey.shape, size) == ((200, 300, 4), (300, 200))


def test_saved_picture_is_a_prepared_one(tmp_path):
    prepared = prepare(disc())
    prepared.save(tmp_path / "a.png")
    again = prepare(tmp_path / "a.png", keep_framing=True)
    assert difference(again.rgba, prepared.rgba) < 0.004


def test_nearly_opaque_alpha_is_no_cutout():
    picture = np.concatenate([over(disc(), np.ones(3)), np.ones((200, 300, 1))], axis=-1)
    picture[:2, :2, 3] = 0  # rounded corners
    assert prepare(picture).mask_source == "plain background"
    with pytest.raises(UserError, match="transparent"):
        prepare(np.zeros((100, 100, 4)), mask="alpha")


def fake_rembg(monkeypatch, remove) -> None:
    module = types.ModuleType("rembg")
    module.__spec__ = types.SimpleNamespace(name="rembg")
    module.new_session = lambda name: name
    module.remove = remove
    monkeypatch.setitem(sys.modules, "rembg", module)


def test_rembg_is_used_when_installed(monkeypatch):
    source = disc()
    shown = []

    def remove(picture, session, only_mask):
        shown.append((picture.size, session, only_mask))
        return Image.fromarray(np.rint(source[..., 3] * 255).astype(np.uint8))

    fake_rembg(monkeypatch, remove)
    picture = over(source, GENERATOR.random((200, 300, 3)))
    prepared = prepare(picture, keep_framing=True, size=300)
    assert shown == [((300, 200), "u2net", True)]
    assert prepared.mask_source == "rembg"
    assert np.abs(prepared.rgba[50:250, :, 3].numpy() - source[..., 3]).max() < 0.01
    assert prepare(source).mask_source == "alpha"


@pytest.mark.parametrize("error", [OSError("no network"), SystemExit(1), ValueError("bad weights")])
def test_rembg_that_fails(monkeypatch, error):
    def remove(*args, **kwargs):
        raise error

    fake_rembg(monkeypatch, remove)
    picture = over(disc(), np.ones(3))
    prepared = prepare(picture)
    assert prepared.mask_source == "plain background"
    assert any("rembg could not" in w for w in prepared.warnings)
    with pytest.raises(UserError, match="fetches its weights"):
        prepare(picture, mask="rembg")


def test_rembg_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(UserError, match=r"pip install 'gaussmith\[mask\]'"):
        prepare(over(disc(), np.ones(3)), mask="rembg")


def test_equal_pictures_give_equal_bits():
    picture = over(disc(), np.ones(3))
    a, b = prepare(picture), prepare(picture.copy())
    assert isinstance(a, Prepared)
    assert torch.equal(a.rgba, b.rgba)
