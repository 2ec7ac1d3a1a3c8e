"""COLMAP models written by pycolmap are read back; damaged ones are refused in a sentence."""

import struct
from pathlib import Path

import numpy as np
import pycolmap
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaussmith.capture import Capture
from gaussmith.events import UserError, Warned
from gaussmith.io import colmap_files
from gaussmith.io.colmap import is_colmap, load_colmap
from gaussmith.lens import MODELS, project

SETTINGS = settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = ("b/two words.jpg", "a.jpg", "c.png", "ü.png")
PNG = b"\x89PNG\r\n"  # never opened here


def synthetic() -> pycolmap.Reconstruction:
    """A random scene of pycolmap's with names of ours, in two camera models."""
    pycolmap.set_random_seed(3)
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=2,
        num_cameras_per_rig=1,
        num_frames_per_rig=2,
        num_points3D=40,
        camera_model_id=pycolmap.CameraModelId.OPENCV,
        camera_params=[900, 880, 510, 380, -0.1, 0.02, 1e-3, -2e-3],
    )
    model = pycolmap.synthesize_dataset(options)
    for image, name in zip(model.images.values(), NAMES):
        image.name = name
    for i, point in enumerate(model.points3D.values()):
        point.color = (i, 2 * i, 255 - i)
    return model


@pytest.fixture(scope="module")
def truth() -> pycolmap.Reconstruction:
    return synthetic()


@pytest.fixture(scope="module")
def stored(truth, tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """The files of the model by suffix and name."""
    files = {}
    for suffix, write in ((".bin", truth.write_binary), (".txt", truth.write_text)):
        folder = tmp_path_factory.mktemp("model")
        write(str(folder))
        files[suffix] = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files


def lay_out(root: Path, files: dict[str, bytes], place: str = "sparse/0", pictures: str = "images") -> Path:
    (root / place).mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (root / place / name).write_bytes(data)
    for name in NAMES:
        (root / pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (root / pictures / name).write_bytes(PNG)
    return root


def check_against(truth: pycolmap.Reconstruction, capture: Capture) -> None:
    images = {image.name: image for image in truth.images.values()}
    assert [photo.name for photo in capture.photos] == sorted(images)
    points = {tuple(np.round(p.xyz, 9)): p for p in truth.points3D.values()}
    assert len(capture.points) == len(capture.colors) == len(points)
    for xyz, rgb in zip(capture.points, capture.colors):
        np.testing.assert_array_equal(np.rint(rgb.numpy() * 255), points[tuple(np.round(xyz.numpy(), 9))].color)
    for photo in capture.photos:
        image = images[photo.name]
        camera = truth.cameras[image.camera_id]
        assert (photo.lens.model, photo.lens.width, photo.lens.height) == (
            camera.model.name,
            camera.width,
            camera.height,
        )
        local = (capture.points - photo.c2w[:3, 3]) @ photo.c2w[:3, :3]
        expected = np.array([image.project_point(p.numpy()) for p in capture.points])
        np.testing.assert_allclose(project(photo.lens, local[:, :2] / local[:, 2:]).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("suffix", [".bin", ".txt"])
class TestWellFormed:
    @pytest.mark.parametrize(
        ("place", "pictures"),
        [
            ("sparse/0", "images"),
            ("sparse", "images"),
            (".", "images"),
            ("sparse/0", "."),
            ("colmap/sparse/0", "images"),
        ],
    )
    def test_points_land_where_pycolmap_projects_them(self, suffix, place, pictures, truth, stored, tmp_path) -> None:
        root = lay_out(tmp_path, stored[suffix], place, pictures)
        assert is_colmap(root)
        capture = load_colmap(root)
        check_against(truth, capture)
        assert all(photo.path == root / pictures / photo.name for photo in capture.photos)

    def test_the_model_itself_may_be_named(self, suffix, truth, stored, tmp_path) -> None:
        root = lay_out(tmp_path, stored[suffix])
        check_against(truth, load_colmap(root / "sparse" / "0"))

    def test_photos_elsewhere(self, suffix, truth, stored, tmp_path) -> None:
        root = lay_out(tmp_path / "model", stored[suffix], pictures="elsewhere")
        check_against(truth, load_colmap(root, images=root / "elsewhere"))

    def test_missing_photos_are_left_out(self, suffix, stored, tmp_path) -> None:
        root = lay_out(tmp_path, stored[suffix])
        (root / "images" / "a.jpg").unlink()
        events: list = []
        capture = load_colmap(root, on_event=events.append)
        assert [photo.name for photo in capture.photos] == sorted(set(NAMES) - {"a.jpg"})
        assert [type(e) for e in events] == [Warned]
        assert "1 of 4 photos are missing" in events[0].message

    def test_no_photo_at_all(self, suffix, stored, tmp_path) -> None:
        root = lay_out(tmp_path, stored[suffix])
        for name in NAMES:
            (root / "images" / name).unlink()
        with pytest.raises(UserError, match="none of the 4 photos can be found"):
            load_colmap(root)

    def test_without_points(self, suffix, stored, tmp_path) -> None:
        root = lay_out(tmp_path, stored[suffix])
        (root / "sparse" / "0" / f"points3D{suffix}").unlink()
        assert load_colmap(root).points.shape == (0, 3)

    def test_masks_beside_the_photos(self, suffix, stored, tmp_path) -> None:
        root = lay_out(tmp_path, stored[suffix])
        for name in ("b/two words.jpg.png", "a.png", "c.png"):
            (root / "masks" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "masks" / name).write_bytes(PNG)
        events: list = []
        masks = {photo.name: photo.mask for photo in load_colmap(root, on_event=events.append).photos}
        assert masks == {
            "b/two words.jpg": root / "masks" / "b/two words.jpg.png",
            "a.jpg": root / "masks" / "a.png",
            "c.png": root / "masks" / "c.png",
            "ü.png": None,
        }
        assert "1 of 4 photos have no mask" in events[0].message
        (root / "empty").mkdir()
        with pytest.raises(UserError, match="no mask in"):
            load_colmap(root, masks=root / "empty")


def test_masks_of_another_capture_are_not_taken(stored, tmp_path) -> None:
    """Photos that stand beside the model have their masks there too, not one folder up."""
    root = lay_out(tmp_path / "capture", stored[".bin"], pictures=".")
    for home in (tmp_path, root):
        assert load_colmap(root).photos[0].mask is None
        (home / "masks").mkdir()
        (home / "masks" / "a.png").write_bytes(PNG)
    assert load_colmap(root).photos[0].mask == root / "masks" / "a.png"


@pytest.mark.parametrize("model", MODELS)
def test_numbers_of_the_camera_models(model, tmp_path) -> None:
    """Both formats of every model, against what pycolmap writes."""
    scene = pycolmap.Reconstruction()
    params = [500.0 + i / 7 for i in range(MODELS[model].count)]
    scene.add_camera_with_trivial_rig(pycolmap.Camera(model=model, width=640, height=480, params=params, camera_id=7))
    scene.write_binary(str(tmp_path))
    scene.write_text(str(tmp_path))
    for suffix in (".bin", ".txt"):
        (camera,) = colmap_files.read_cameras(tmp_path / f"cameras{suffix}").items()
        assert camera[0] == 7
        assert (camera[1].model, camera[1].width, camera[1].height) == (model, 640, 480)
        np.testing.assert_allclose(camera[1].params, params, rtol=1e-12)


CAMERAS = "1 PINHOLE 64 48 50 50 32 24\n"
IMAGE = "1 1 0 0 0 0 0 2 1 a.jpg\n\n"


def text_model(root: Path, cameras: str = CAMERAS, images: str = IMAGE, points: str | None = None) -> Path:
    files = {"cameras.txt": cameras, "images.txt": images} | ({} if points is None else {"points3D.txt": points})
    return lay_out(root, {name: text.encode() for name, text in files.items()})


class TestDamagedText:
    def test_the_smallest_model(self, tmp_path) -> None:
        capture = load_colmap(text_model(tmp_path, points="# none\n\n7 1 2 3 255 0 51 0.5 1 0\n"))
        expected = torch.eye(4, dtype=torch.float64)
        expected[2, 3] = -2
        torch.testing.assert_close(capture.photos[0].c2w, expected, rtol=0, atol=0)
        torch.testing.assert_close(capture.points, torch.tensor([[1.0, 2, 3]]).double(), rtol=0, atol=0)
        torch.testing.assert_close(capture.colors, torch.tensor([[1.0, 0, 0.2]]), rtol=0, atol=1e-7)

    @pytest.mark.parametrize(
        ("files", "words"),
        [
            ({"cameras": "1 PINHOLE 64 48 50 50 32\n"}, "camera 1 has 3 parameters, PINHOLE takes 4"),
            ({"cameras": "1 PINHOLE 64 48 50 nan 32 24\n"}, "not a finite number"),
            ({"cameras": "1 SPHERE 64 48 50\n"}, "SPHERE"),
            ({"cameras": "1 PINHOLE 64\n"}, "line 1 is no camera"),
            ({"cameras": "2 PINHOLE 64 48 50 50 32 24\n"}, "has camera 1, which is not there"),
            ({"cameras": "1 PINHOLE 99999999999999999999999999 48 50 50 32 24\n"}, "line 1 is no camera"),
            ({"images": "1 0 0 0 0 0 0 2 1 a.jpg\n\n"}, "'a.jpg' has a pose that is not finite or has no direction"),
            ({"images": "1 nan 0 0 0 0 0 2 1 a.jpg\n\n"}, "'a.jpg' has a pose that is not finite"),
            ({"images": "1 1 0 0 0 0 inf 2 1 a.jpg\n\n"}, "'a.jpg' has a pose that is not finite"),
            ({"images": "1 1 0 0 0 0 1e300 2 1 a.jpg\n\n"}, "units from the origin"),
            ({"images": "1 1 0 0 0 0 0 2 1 ../../secret.jpg\n\n"}, "does not lie inside"),
            ({"images": "1 1 0 0 0 0 0 2 1 /etc/passwd\n\n"}, "does not lie inside"),
            ({"images": "1 1 0 0 0 0 0 2 1\n\n"}, "line 1 is no image"),
            ({"images": "# nothing\n"}, "holds no images"),
            ({"points": "1 0 0\n"}, "line 1 is no point"),
            ({"points": "1 0 0 0 256 0 0 1\n"}, "line 1 is no point"),
        ],
    )
    def test_one_sentence_each(self, files, words, tmp_path) -> None:
        with pytest.raises(UserError) as error:
            load_colmap(text_model(tmp_path, **files))
        assert words in str(error.value)
        assert "\n" not in str(error.value)

    def test_points_without_colour_are_grey(self, tmp_path) -> None:
        capture = load_colmap(text_model(tmp_path, points="1 0 0 1\n2 0 1 1\n"))
        assert capture.colors.tolist() == [[0.5] * 3] * 2
        capture = load_colmap(text_model(tmp_path, points="1 0 0 1 0 0 0 0.5\n2 0 1 1 0 0 0 0.5\n"))
        assert capture.colors.tolist() == [[0.5] * 3] * 2, "black everywhere: colours were never extracted"

    def test_points_that_lie_nowhere_are_left_out(self, tmp_path) -> None:
        events: list = []
        root = text_model(tmp_path, points="1 nan 0 1 1 2 3 0\n2 0 1 1 4 5 6 0\n3 0 1e99 1 4 5 6 0\n")
        assert load_colmap(root, on_event=events.append).points.tolist() == [[0, 1, 1]]
        assert "2 of 3 points" in events[0].message

    def test_an_image_without_a_line_of_observations_at_the_end(self, tmp_path) -> None:
        assert len(load_colmap(text_model(tmp_path, images=IMAGE + "2 1 0 0 0 0 0 3 1 c.png")).photos) == 2


class TestDamagedBinary:
    @pytest.mark.parametrize(
        ("name", "kind"), [("cameras.bin", "cameras"), ("images.bin", "images"), ("points3D.bin", "points")]
    )
    @pytest.mark.parametrize("count", [10**9, 2**64 - 1])
    def test_declared_counts_are_not_believed(self, name, kind, count, stored, tmp_path) -> None:
        root = lay_out(tmp_path, stored[".bin"] | {name: struct.pack("<Q", count) + stored[".bin"][name][8:]})
        with pytest.raises(UserError, match=f"declares {count:,} {kind} but is too short"):
            load_colmap(root)

    @pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
    def test_any_cut_is_noticed(self, name, stored, tmp_path) -> None:
        data = stored[".bin"][name]
        for length in {1, 7, 8, 9, len(data) // 3, len(data) // 2, len(data) - 9, len(data) - 1}:
            root = lay_out(tmp_path, stored[".bin"] | {name: data[:length]})
            with pytest.raises(UserError, match=r"truncated|has no end"):
                load_colmap(root)

    def test_long_tracks_are_not_believed(self, stored, tmp_path) -> None:
        point = struct.pack("<QQ3d3BdQ", 1, 5, 0, 0, 1, 1, 2, 3, 0.5, 2**61)
        with pytest.raises(UserError, match="truncated"):
            load_colmap(lay_out(tmp_path, stored[".bin"] | {"points3D.bin": point}))

    def test_spherical_cameras_are_refused(self, stored, tmp_path) -> None:
        camera = struct.pack("<QIiQQ3d", 1, 1, 17, 640, 480, 640, 480, 0)
        with pytest.raises(UserError, match="model number 17"):
            load_colmap(lay_out(tmp_path, stored[".bin"] | {"cameras.bin": camera}))

    def test_pieces_are_told_of(self, stored, tmp_path) -> None:
        lay_out(tmp_path, stored[".bin"], "sparse/1")
        events: list = []
        load_colmap(lay_out(tmp_path, stored[".bin"]), on_event=events.append)
        assert "several pieces" in events[0].message


def test_no_model(tmp_path) -> None:
    assert not is_colmap(tmp_path)
    assert not is_colmap(tmp_path / "nowhere")
    with pytest.raises(UserError, match="there is no COLMAP model"):
        load_colmap(tmp_path)


def check_any(root: Path, stored: dict[str, dict[str, bytes]], name: str, file: bytes) -> None:
    """The stored model with another file in it is a sound capture or gives one sentence."""
    if not (root / "images").exists():
        lay_out(root, stored[Path(name).suffix])
    (root / "sparse" / "0" / name).write_bytes(file)
    try:
        capture = load_colmap(root)
    except UserError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
        return
    assert capture.points.isfinite().all()
    assert not len(capture.colors) or 0 <= float(capture.colors.min()) <= float(capture.colors.max()) <= 1
    for photo in capture.photos:
        assert photo.path.is_relative_to(root)
        assert photo.c2w.isfinite().all()
        torch.testing.assert_close(photo.c2w[:3, :3] @ photo.c2w[:3, :3].T, torch.eye(3).double(), rtol=0, atol=1e-9)
        assert project(photo.lens, torch.zeros(1, 2).double()).isfinite().all()


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
@pytest.mark.parametrize("suffix", [".bin", ".txt"])
class TestFuzz:
    @SETTINGS
    @given(data=st.data())
    def test_damaged_files(self, name, suffix, data, stored, tmp_path) -> None:
        file = stored[suffix][f"{name}{suffix}"][: 3000 if name != "points3D" else None]
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(file)))
            piece = data.draw(st.one_of(st.binary(max_size=9), st.sampled_from([b"nan", b"-1", b" ", b"\xff" * 8])))
            file = file[:at] + piece + file[at + data.draw(st.integers(0, 9)) :]
        check_any(tmp_path, stored, f"{name}{suffix}", file)

    @settings(SETTINGS, max_examples=40)
    @given(file=st.binary(max_size=300))
    def test_any_bytes(self, name, suffix, file, stored, tmp_path) -> None:
        check_any(tmp_path, stored, f"{name}{suffix}", file)
