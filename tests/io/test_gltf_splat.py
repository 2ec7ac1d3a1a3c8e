import base64
import json
import math
import struct

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaussmith import io
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians, concat
from gaussmith.io.gltf_splat import EXTENSION
from gaussmith.mesh import Mesh

SETTINGS = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def opened(path) -> tuple[dict, bytes]:
    """The JSON and the binary chunk of a GLB."""
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def write(path, document: dict, body: bytes) -> None:
    """A GLB of the two."""
    head = json.dumps(document).encode()
    head += b" " * (-len(head) % 4)
    size = 28 + len(head) + len(body)
    parts = (struct.pack("<4sII", b"glTF", 2, size), struct.pack("<I4s", len(head), b"JSON"), head)
    path.write_bytes(b"".join(parts) + struct.pack("<I4s", len(body), b"BIN\0") + body)


def edited(path, change) -> None:
    document, body = opened(path)
    change(document)
    write(path, document, body)


def primitive(document: dict) -> dict:
    return document["meshes"][0]["primitives"][0]


def assert_same(loaded: Gaussians, splat: Gaussians, angle) -> None:
    assert torch.equal(loaded.means, splat.means)
    assert torch.equal(loaded.sh, splat.sh)
    assert torch.allclose(loaded.log_scales, splat.log_scales, atol=2e-6)
    assert torch.allclose(loaded.opacities, splat.opacities, atol=2e-6)
    assert angle(loaded.quats, splat.quats) < 1e-4


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_round_trip_is_exact_but_for_rounding(tmp_path, make_splat, angle, suffix):
    @SETTINGS
    @given(count=st.integers(1, 50), degree=st.integers(0, 3), seed=st.integers(0, 99), spread=st.floats(1e-3, 1e3))
    def check(count, degree, seed, spread):
        splat = make_splat(count, degree, seed, spread)
        io.save_gaussians(splat, tmp_path / f"a{suffix}")
        loaded = io.load(tmp_path / f"a{suffix}")
        assert isinstance(loaded, Gaussians)
        assert_same(loaded, splat, angle)

    check()


def test_layout_is_that_of_the_ratified_extension(tmp_path, make_splat):
    splat = make_splat(3, 1)
    io.save_gaussians(splat, tmp_path / "a.glb")
    document, body = opened(tmp_path / "a.glb")
    assert document["extensionsUsed"] == ["KHR_gaussian_splatting"]
    assert primitive(document)["mode"] == 0
    about = primitive(document)["extensions"]["KHR_gaussian_splatting"]
    assert about["kernel"] == "ellipse"
    assert about["colorSpace"] == "srgb_rec709_display"

    def values(name, code="<f4"):
        accessor = document["accessors"][primitive(document)["attributes"][name]]
        view = document["bufferViews"][accessor["bufferView"]]
        assert accessor["count"] == 3
        return np.frombuffer(body[view["byteOffset"] :][: view["byteLength"]], code).reshape(3, -1), accessor

    position, accessor = values("POSITION")
    assert accessor["min"] == position.min(axis=0).tolist()
    assert np.allclose(values(f"{EXTENSION}:SCALE")[0], splat.scales)  # linear
    assert np.allclose(values(f"{EXTENSION}:OPACITY")[0][:, 0], splat.opacities)
    rotation = values(f"{EXTENSION}:ROTATION")[0]  # xyzw, of unit length
    assert np.allclose(rotation[:, [3, 0, 1, 2]], torch.nn.functional.normalize(splat.quats, dim=1), atol=1e-6)
    assert np.allclose(values(f"{EXTENSION}:SH_DEGREE_1_COEF_2")[0], splat.sh[:, 3])
    assert f"{EXTENSION}:SH_DEGREE_2_COEF_0" not in primitive(document)["attributes"]
    color, accessor = values("COLOR_0", "u1")
    assert accessor["normalized"]
    srgb = (0.5 + 0.28209479 * splat.sh[:, 0].numpy()).clip(0, 1)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    assert np.abs(color[:, :3] / 255 - linear).max() < 0.5 / 255 + 1e-4
    assert np.abs(color[:, 3] / 255 - splat.opacities.numpy()).max() < 0.5 / 255 + 1e-4


def test_scales_of_drafts_are_logarithms(tmp_path, make_splat, angle):
    splat = make_splat(5, 2)
    io.save_gaussians(splat, tmp_path / "a.glb")
    document, body = opened(tmp_path / "a.glb")
    accessor = document["accessors"][primitive(document)["attributes"][f"{EXTENSION}:SCALE"]]
    start = document["bufferViews"][accessor["bufferView"]]["byteOffset"]
    body = body[:start] + splat.log_scales.numpy().tobytes() + body[start + 60 :]
    write(tmp_path / "a.glb", document, body)
    assert_same(io.load(tmp_path / "a.glb"), splat, angle)


def test_quantised_attributes_are_read(tmp_path, make_splat):
    splat = make_splat(4)
    io.save_gaussians(splat, tmp_path / "a.glb")
    document, body = opened(tmp_path / "a.glb")
    quats = torch.nn.functional.normalize(splat.quats, dim=1).numpy()[:, [1, 2, 3, 0]]
    for name, code, kind, values in (
        ("ROTATION", "<i2", 5122, np.rint(quats * 32767)),
        ("OPACITY", "<u2", 5123, np.rint(splat.opacities.numpy() * 65535)),
    ):
        accessor = document["accessors"][primitive(document)["attributes"][f"{EXTENSION}:{name}"]]
        accessor |= {"componentType": kind, "normalized": True, "bufferView": len(document["bufferViews"])}
        packed = values.astype(code).tobytes()
        document["bufferViews"].append({"buffer": 0, "byteOffset": len(body), "byteLength": len(packed)})
        body += packed
    document["buffers"][0]["byteLength"] = len(body)
    write(tmp_path / "a.glb", document, body)
    loaded = io.load(tmp_path / "a.glb")
    assert torch.allclose(loaded.opacities, splat.opacities, atol=1e-5)
    assert torch.allclose(loaded.rotations, splat.rotations, atol=1e-3)


def test_nodes_move_their_gaussians(tmp_path, make_splat):
    splat = make_splat(6, 3)
    io.save_gaussians(splat, tmp_path / "a.glb")
    half = math.sqrt(0.5)

    def change(document):
        document["nodes"] = [
            {"children": [1, 2], "translation": [1, 2, 3]},
            {"mesh": 0, "rotation": [0, half, 0, half], "scale": [2, 2, 2]},
            {"mesh": 0},
        ]

    edited(tmp_path / "a.glb", change)
    turn, shift = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]]), torch.tensor([1.0, 2, 3])
    expected = concat([splat.transform(turn, shift, 2), splat.transform(torch.eye(3), shift)])
    loaded = io.load(tmp_path / "a.glb")
    assert torch.allclose(loaded.means, expected.means, atol=1e-5)
    assert torch.allclose(loaded.covariances, expected.covariances, atol=1e-5)
    assert torch.allclose(loaded.sh, expected.sh, atol=1e-5)
    for stretched in ([1, 2, 1], [-1, -1, -1]):
        edited(tmp_path / "a.glb", lambda d, s=stretched: d["nodes"][1].update(scale=s))
        with pytest.raises(UserError, match="mirrors or stretches"):
            io.load(tmp_path / "a.glb")


def test_primitives_of_different_degrees_are_one_set(tmp_path, make_splat):
    io.save_gaussians(make_splat(6, 2), tmp_path / "a.glb")

    def change(document):
        low = {name: at for name, at in primitive(document)["attributes"].items() if "DEGREE_2" not in name}
        document["meshes"][0]["primitives"].append({**primitive(document), "attributes": low})

    edited(tmp_path / "a.glb", change)
    loaded = io.load(tmp_path / "a.glb")
    assert loaded.sh.shape == (12, 9, 3)
    assert torch.equal(loaded.sh[:6, :4], loaded.sh[6:, :4])
    assert (loaded.sh[6:, 4:] == 0).all()


def test_data_beside_the_file_is_read_and_nothing_beyond_its_folder(tmp_path, make_splat, angle):
    splat = make_splat(3)
    (tmp_path / "sub").mkdir()
    io.save_gaussians(splat, tmp_path / "sub" / "a.glb")
    document, body = opened(tmp_path / "sub" / "a.glb")
    (tmp_path / "sub" / "the data.bin").write_bytes(body)
    (tmp_path / "secret.bin").write_bytes(body)
    document["buffers"][0]["uri"] = "the%20data.bin"
    (tmp_path / "sub" / "a.gltf").write_text(json.dumps(document))
    assert_same(io.load(tmp_path / "sub" / "a.gltf"), splat, angle)
    for uri in ("../secret.bin", "%2e%2e/secret.bin", str(tmp_path / "secret.bin"), "http://x/y.bin", "missing.bin"):
        document["buffers"][0]["uri"] = uri
        (tmp_path / "sub" / "a.gltf").write_text(json.dumps(document))
        with pytest.raises(UserError, match=r"inside|no such file"):
            io.load(tmp_path / "sub" / "a.gltf")


def test_a_glb_is_a_mesh_or_a_splat_by_what_it_holds(tmp_path, make_splat, cube):
    io.save_mesh(cube, tmp_path / "mesh.glb")
    io.save_gaussians(make_splat(3), tmp_path / "splat.glb")
    assert isinstance(io.load(tmp_path / "mesh.glb"), Mesh)
    assert isinstance(io.load(tmp_path / "splat.glb"), Gaussians)
    with pytest.raises(UserError, match="no primitive with KHR_gaussian_splatting"):
        io.load_gaussians(tmp_path / "mesh.glb")
    with pytest.raises(UserError, match="no triangles"):
        io.load_mesh(tmp_path / "splat.glb")


def test_suffixes_are_matched_by_the_longest(tmp_path, make_splat):
    splat = make_splat(600)
    sizes = {}
    for name in ("a.ply", "a.compressed.ply", "a.B.COMPRESSED.PLY", "a.spz"):
        io.save_gaussians(splat, tmp_path / name)
        sizes[name] = (tmp_path / name).stat().st_size
    assert sizes["a.compressed.ply"] == sizes["a.B.COMPRESSED.PLY"] < sizes["a.ply"] / 3
    for name in ("a.obj", "compressed", ".spz"):
        with pytest.raises(UserError, match="suffix must be one of"):
            io.save_gaussians(splat, tmp_path / "folder" / name)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: primitive(d)["attributes"].pop(f"{EXTENSION}:ROTATION"), "lack .*ROTATION"),
        (lambda d: primitive(d)["attributes"].pop(f"{EXTENSION}:SH_DEGREE_1_COEF_1"), "inconsistent"),
        (lambda d: primitive(d)["attributes"].update({f"{EXTENSION}:SCALE": 3, "POSITION": 2}), "inconsistent"),
        (lambda d: primitive(d)["extensions"][EXTENSION].update(colorSpace="lin_rec709_display"), "linear"),
        (lambda d: primitive(d)["extensions"][EXTENSION].update(extensions={"KHR_x": {}}), "extension KHR_x"),
        (lambda d: d.update(extensionsRequired=["KHR_draco"]), "KHR_draco"),
        (lambda d: d["accessors"][0].update(count=10**9), "inconsistent"),
        (lambda d: d["accessors"][3].update(count=2), "inconsistent"),
        (lambda d: d["bufferViews"][2].update(byteLength=10**9), "inconsistent"),
        (lambda d: d["buffers"][0].update(uri="data:,abc"), "inconsistent"),
        (lambda d: d["nodes"][0].update(scale=[0, 0, 0]), "mirrors|not a finite"),
        (lambda d: d["nodes"][0].update(children=[0]), "inconsistent"),
        (lambda d: d.update(meshes=7), "inconsistent"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, make_splat, change, reason):
    io.save_gaussians(make_splat(5, 1), tmp_path / "a.glb")
    edited(tmp_path / "a.glb", change)
    with pytest.raises(UserError, match=reason) as caught:
        io.load(tmp_path / "a.glb")
    assert "a.glb" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_numbers_that_are_not_finite_and_repeated_meshes(tmp_path, make_splat, monkeypatch):
    io.save_gaussians(make_splat(5), tmp_path / "a.glb")
    document, body = opened(tmp_path / "a.glb")
    write(tmp_path / "b.glb", document, b"\0\0\xc0\x7f" + body[4:])
    with pytest.raises(UserError, match="means that is not a finite number"):
        io.load(tmp_path / "b.glb")
    monkeypatch.setattr("gaussmith.io.packing.MAX_GAUSSIANS", 12)
    document["nodes"] = [{"mesh": 0}] * 3
    document["scenes"] = [{"nodes": [0, 1, 2]}]
    write(tmp_path / "c.glb", document, body)
    with pytest.raises(UserError, match="15 Gaussians"):
        io.load(tmp_path / "c.glb")


def test_a_gltf_holds_its_data_and_an_empty_splat_is_refused(tmp_path, make_splat):
    io.save_gaussians(make_splat(5), tmp_path / "a.gltf")
    document = json.loads((tmp_path / "a.gltf").read_text())
    payload = document["buffers"][0]["uri"].partition("base64,")[2]
    assert len(base64.b64decode(payload)) == document["buffers"][0]["byteLength"]
    for name in ("b.gltf", "b.glb"):
        with pytest.raises(UserError, match="empty splat"):
            io.save_gaussians(make_splat(0), tmp_path / name)
    (tmp_path / "c.gltf").write_text("[]")
    with pytest.raises(UserError, match="inconsistent"):
        io.load(tmp_path / "c.gltf")
