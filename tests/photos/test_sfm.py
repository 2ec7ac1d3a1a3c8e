import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gaussmith.capture import Capture
from gaussmith.events import StageStarted, Step, UserError, Warned
from gaussmith.photos import load_scene, open_capture, sfm
from gaussmith.photos.sfm import structure_from_motion
from gaussmith.photos.stage import stage_photos

pytest.importorskip("pycolmap")


@pytest.fixture(scope="module")
def found(photos: Path, tmp_path_factory) -> tuple[Path, Capture, list]:
    """The box's photos and one of something else, run once: folder of work, capture, events."""
    work, events = tmp_path_factory.mktemp("work"), []
    folder = tmp_path_factory.mktemp("mixed")
    shutil.copytree(photos, folder, dirs_exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 256, (54, 72, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
    Image.fromarray(noise).save(folder / "noise.png")
    return work, open_capture(folder, work=work, on_event=events.append), events


def test_poses_are_those_that_the_photos_were_drawn_with(found, cameras):
    _, capture, _ = found
    scene = load_scene(capture)
    assert [view.name for view in scene.views] == [f"{c} .png" for c in "abcdefg"]
    estimated = torch.cat([view.camera.c2w for view in scene.views])
    true = cameras.c2w.clone()
    # Both frames have the same up, front and centre; the scale is that of the distance.
    true[:, :3, 3] *= 2 / 2.2
    assert (estimated[:, :3, :3] - true[:, :3, :3]).abs().max() < 0.03
    assert (estimated[:, :3, 3] - true[:, :3, 3]).norm(dim=-1).max() < 0.06
    assert scene.inward
    assert len(scene.points) > 200
    box = scene.points * 2.2 / 2
    surface = torch.minimum((box.abs().amax(dim=-1) - 0.5).abs(), (box[:, 1] + 0.5).abs())
    assert surface.median() < 0.02


def test_progress_and_what_was_left_out(found):
    _, _, events = found
    stages = [event.stage for event in events if isinstance(event, StageStarted)]
    assert stages == ["reading", "features", "matches", "camera poses"]
    for stage in stages:
        steps = [event.step for event in events if isinstance(event, Step) and event.stage == stage]
        assert steps == sorted(steps)
    warned = [event.message for event in events if isinstance(event, Warned)]
    assert warned == ["7 of 8 photos could be placed, not noise.png"]


def test_same_photos_give_the_same_bytes_on_any_number_of_threads(found, photos, tmp_path, monkeypatch):
    models = []
    for threads in (1, 3):
        monkeypatch.setattr(sfm, "_threads", lambda threads=threads: threads)
        work = tmp_path / str(threads)
        names = sorted(p.name for p in photos.iterdir())[:4]
        structure_from_motion(photos, names, work=work)
        models.append({p.name: p.read_bytes() for p in sorted((work / "model").iterdir())})
        assert sorted(p.name for p in work.iterdir()) == ["model", "model.json"]  # nothing left lying about
    assert models[0] == models[1]


def test_model_is_found_again_unless_photos_change(found, tmp_path, monkeypatch):
    work, capture, _ = found
    kept, folder = tmp_path / "kept", tmp_path / "photos"
    shutil.copytree(work, kept)
    shutil.copytree(capture.photos[0].path.parent, folder)

    def again(*_: object) -> None:
        raise UserError("runs again")

    monkeypatch.setattr(sfm, "_reconstruct", again)
    same = open_capture(folder, work=kept)
    assert torch.equal(same.points, capture.points)
    assert all(torch.equal(a.c2w, b.c2w) for a, b in zip(same.photos, capture.photos))
    points = kept / "model" / "images.bin"
    points.write_bytes(points.read_bytes()[:100])
    with pytest.raises(UserError, match="runs again"):  # damaged
        open_capture(folder, work=kept)
    shutil.copytree(work, kept, dirs_exist_ok=True)
    (kept / "model.json").write_text("[")
    with pytest.raises(UserError, match="runs again"):
        open_capture(folder, work=kept)
    shutil.copytree(work, kept, dirs_exist_ok=True)
    Image.new("RGB", (288, 216)).save(folder / "a .png")
    with pytest.raises(UserError, match="runs again"):
        open_capture(folder, work=kept)


def test_features_keep_to_the_masks(photos, tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    half = np.zeros((216, 288), np.uint8)
    half[:, :144] = 255
    Image.fromarray(half).save(tmp_path / "mask.png")
    masks = {"b .png": tmp_path / "mask.png"}  # the other photo counts whole
    staged = stage_photos(photos, ["a .png", "b .png"], masks, tmp_path)
    sfm._features(pycolmap, staged, tmp_path, tmp_path / "database.db", lambda _: None)
    database = pycolmap.Database.open(tmp_path / "database.db")
    whole, masked = (database.read_keypoints(image.image_id) for image in database.read_all_images())
    database.close()
    assert len(whole) > len(masked) > 50
    assert whole[:, 0].max() > 200
    assert masked[:, 0].max() <= 145


def test_photos_that_do_not_overlap(tmp_path):
    generator = np.random.default_rng(1)
    for i in range(4):
        pixels = generator.integers(0, 256, (20, 30, 3), dtype=np.uint8).repeat(6, 0).repeat(6, 1)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match=r"only 0 of 4 photos.*20 to 40 sharp photos"):
        open_capture(tmp_path, work=tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_featureless_and_tiny_photos(tmp_path):
    for i in range(3):
        Image.new("RGB", (64, 48), (200, 200, 200)).save(tmp_path / f"{i}.png")
    with pytest.raises(UserError, match="only 0 of 3"):
        open_capture(tmp_path, work=tmp_path / "work")
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    with pytest.raises(UserError, match="8x8 pixels, too small"):
        open_capture(tmp_path, work=tmp_path / "work")
    (tmp_path / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "0.png").unlink()
    Image.new("RGB", (64, 48)).save(tmp_path / "3.png")
    with pytest.raises(UserError, match=r"1\.png"):
        open_capture(tmp_path, work=tmp_path / "work")


def test_two_photos_are_too_few(photos, tmp_path):
    with pytest.raises(UserError, match="only 2 photos"):
        structure_from_motion(photos, ["a .png", "b .png"], work=tmp_path)


def test_without_a_recent_pycolmap_the_sentence_says_what_to_install(photos, tmp_path, monkeypatch):
    for module in (None, SimpleNamespace(__version__="3.11.1")):
        monkeypatch.setitem(sys.modules, "pycolmap", module)
        with pytest.raises(UserError, match=r"pip install -U 'gaussmith\[sfm\]'"):
            open_capture(photos, work=tmp_path / "work")


def test_place_that_cannot_be_written(photos, tmp_path):
    (tmp_path / "work").write_text("a file")
    with pytest.raises(UserError, match="cannot write"):
        open_capture(photos, work=tmp_path / "work")


def test_under_half_placed_says_what_to_shoot():
    events: list = []
    sfm._tell_missing([f"{i:02}.jpg" for i in range(20)], {f"{i:02}.jpg" for i in range(9)}, events.append)
    assert "9 of 20 photos could be placed, not 09.jpg, 10.jpg" in events[0].message
    assert "and 3 more" in events[0].message
    assert "walking around" in events[0].message


def test_pairs():
    assert len(sfm._pairs(60, ordered=False)) == 60 * 59 // 2
    pairs = sfm._pairs(200, ordered=True)
    assert len(pairs) == len(set(pairs)) < 3000
    assert all(a < b < 200 for a, b in pairs)
    assert {(i, i + 1) for i in range(199)} <= set(pairs)
    assert (0, 192) in pairs  # the loop closes


def test_masks_and_cameras_decide_what_is_shared(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    exif[0x0112] = 6
    Image.new("RGB", (120, 90), (90, 10, 10)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (90, 120)).save(tmp_path / "b.jpg")
    rgba = np.full((120, 90, 4), 255, np.uint8)
    rgba[:, :40, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "c.png")
    Image.new("L", (45, 60), 0).save(tmp_path / "mask.png")
    a, b, c = stage_photos(tmp_path, ["a.jpg", "b.jpg", "c.png"], {"b.jpg": tmp_path / "mask.png"}, tmp_path / "to")
    assert (a.lens.width, a.lens.height) == (90, 120)  # upright
    assert a.lens.focal == pytest.approx(28 / 43.267 * 150, rel=1e-4)
    assert (b.lens, b.lens.focal) == (c.lens, None)
    assert [photo.masked for photo in (a, b, c)] == [False, True, True]
    assert not np.asarray(Image.open(tmp_path / "to" / "masks" / "00001.png.png")).any()
    mask = np.asarray(Image.open(tmp_path / "to" / "masks" / "00002.png.png"))
    np.testing.assert_array_equal(mask, rgba[..., 3])
    assert a.file == "00000.png"
