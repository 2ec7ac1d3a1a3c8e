import base64
import json

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from gaussmith import io
from gaussmith.events import UserError
from gaussmith.io.color import linear_to_srgb, srgb_to_linear
from gaussmith.io.gltf import encode_glb, load_glb, save_glb
from gaussmith.mesh import Mesh


def document(data: bytes) -> dict:
    """The JSON of a GLB's bytes."""
    return json.loads(data[20 : 20 + int.from_bytes(data[12:16], "little")])


def edited(data: bytes, change) -> bytes:
    """The GLB with its JSON changed by `change(document)`."""
    content = document(data)
    change(content)
    return with_head(data, json.dumps(content).encode())


def with_head(data: bytes, head: bytes) -> bytes:
    """The GLB with other bytes for its JSON."""
    head += b" " * (-len(head) % 4)
    rest = data[20 + int.from_bytes(data[12:16], "little") :]
    size = (20 + len(head) + len(rest)).to_bytes(4, "little")
    return data[:8] + size + len(head).to_bytes(4, "little") + b"JSON" + head + rest


def test_round_trip_restores_mesh_and_texture(tmp_path, cube):
    save_glb(cube, tmp_path / "a.glb")
    loaded = load_glb(tmp_path / "a.glb")
    assert torch.equal(loaded.vertices, cube.vertices)
    assert torch.equal(loaded.faces, cube.faces)
    assert torch.equal(loaded.uv[loaded.uv_faces], cube.uv[cube.uv_faces])
    assert torch.equal(loaded.albedo, cube.albedo)
    assert loaded.metallic_roughness == (0, 1)
    torch.testing.assert_close(loaded.normals, cube.vertex_normals())


def test_another_program_reads_the_same(tmp_path, cube):
    save_glb(cube, tmp_path / "a.glb")
    foreign = trimesh.load(tmp_path / "a.glb", force="mesh", process=False)
    assert len(foreign.vertices) == 24  # eight corners, each in three charts
    np.testing.assert_array_equal(foreign.vertices[foreign.faces], cube.vertices[cube.faces].numpy())
    material = foreign.visual.material
    np.testing.assert_array_equal(np.asarray(material.baseColorTexture)[..., :3], np.rint(cube.albedo.numpy() * 255))
    assert (material.metallicFactor, material.roughnessFactor, material.emissiveFactor) == (0, 1, None)
    expected = cube.uv[cube.uv_faces].numpy() * (1, -1) + (0, 1)  # trimesh turns v up
    np.testing.assert_allclose(foreign.visual.uv[foreign.faces], expected, atol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(foreign.vertex_normals, axis=1), 1, atol=1e-6)
    assert not foreign.is_watertight
    foreign.merge_vertices(merge_tex=True, merge_norm=True)
    assert foreign.is_watertight
    assert len(foreign.vertices) == 8


def test_contents(cube):
    content = document(encode_glb(cube))
    assert content["asset"]["generator"].startswith("gaussmith")
    position = content["accessors"][content["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    assert (position["min"], position["max"]) == ([-0.5] * 3, [0.5] * 3)
    assert set(content["meshes"][0]["primitives"][0]["attributes"]) == {"POSITION", "NORMAL", "TEXCOORD_0"}
    assert "extensionsUsed" not in content
    assert content["samplers"][0]["wrapS"] == 33071
    assert all(view["byteOffset"] % 4 == 0 for view in content["bufferViews"])
    unlit = document(encode_glb(cube, unlit=True))
    assert unlit["extensionsUsed"] == ["KHR_materials_unlit"] == list(unlit["materials"][0]["extensions"])
    assert len(encode_glb(cube)) % 4 == 0
    assert encode_glb(cube) == encode_glb(cube)


def test_degenerate_normals_have_unit_length(cube):
    vertices = torch.cat([cube.vertices, torch.zeros(3, 3)])
    faces = torch.cat([cube.faces, torch.tensor([[8, 9, 10], [0, 0, 1]])])
    for normals in (None, torch.zeros(11, 3), torch.full((11, 3), float("nan")), 1e-3 * torch.ones(11, 3)):
        data = encode_glb(Mesh(vertices, faces, normals=normals))
        content = document(data)
        view = content["bufferViews"][content["meshes"][0]["primitives"][0]["attributes"]["NORMAL"]]
        start = len(data) - content["buffers"][0]["byteLength"] + view["byteOffset"]
        stored = np.frombuffer(data, "<f4", view["byteLength"] // 4, start).reshape(11, 3)
        np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-6)


def test_wide_indices(tmp_path):
    for count in (65535, 65536):
        line = torch.arange(count).float()
        vertices = torch.stack([line, line**2 % 7, torch.zeros(count)], dim=1)
        faces = torch.stack([torch.arange(count - 2) + i for i in range(3)], dim=1)
        save_glb(Mesh(vertices, faces), tmp_path / "a.glb")
        assert torch.equal(load_glb(tmp_path / "a.glb").faces, faces)
        indices = document((tmp_path / "a.glb").read_bytes())["accessors"][-1]
        assert indices["componentType"] == (5123 if count == 65535 else 5125)


def test_scene_of_another_program(tmp_path):
    first = trimesh.creation.box(extents=(1, 2, 3))
    second = trimesh.creation.icosphere(1)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 4, 3), dtype=np.uint8))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture, roughnessFactor=0.5, metallicFactor=0.25)
    first.visual = trimesh.visual.TextureVisuals(uv=first.vertices[:, :2] % 1, material=material)
    second.visual = trimesh.visual.TextureVisuals(
        material=trimesh.visual.material.PBRMaterial(baseColorFactor=[0, 255, 0, 255])
    )
    scene = trimesh.Scene()
    turn = trimesh.transformations.rotation_matrix(0.7, (1, 2, 3), (4, 5, 6))
    mirror = np.diag([2.0, -1.0, 1.0, 1.0])
    scene.add_geometry(first, node_name="a", transform=turn)
    scene.add_geometry(second, node_name="b", parent_node_name="a", transform=mirror)
    scene.export(tmp_path / "a.glb")
    loaded = load_glb(tmp_path / "a.glb")
    assert len(loaded.faces) == 12 + 80
    corners = loaded.vertices[loaded.faces].reshape(-1, 3).numpy()
    expected = np.concatenate(
        [
            trimesh.transform_points(first.vertices, turn)[first.faces].reshape(-1, 3),
            trimesh.transform_points(second.vertices, turn @ mirror)[second.faces[:, ::-1]].reshape(-1, 3),
        ]
    )
    np.testing.assert_allclose(corners, expected, atol=1e-5)
    size = torch.tensor([loaded.albedo.shape[1], loaded.albedo.shape[0]])
    texel = (loaded.uv[loaded.uv_faces[12:]] * size).long()
    colors = loaded.albedo[texel[..., 1], texel[..., 0]]
    torch.testing.assert_close(colors, torch.tensor([0.0, 1, 0]).expand_as(colors))


def test_factor_and_data_uri_and_tiles(tmp_path, cube):
    data = encode_glb(cube.with_(uv=cube.uv + 3))

    def change(content):
        content["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] = [0.5, 1, 1, 1]
        view = content["bufferViews"][content["images"][0].pop("bufferView")]
        start = len(data) - content["buffers"][0]["byteLength"] + view["byteOffset"]
        picture = base64.b64encode(data[start : start + view["byteLength"]]).decode()
        content["images"][0] = {"uri": f"data:image/png;base64,{picture}"}

    (tmp_path / "a.glb").write_bytes(edited(data, change))
    loaded = load_glb(tmp_path / "a.glb")
    expected = linear_to_srgb(srgb_to_linear(cube.albedo) * torch.tensor([0.5, 1, 1]))
    torch.testing.assert_close(loaded.albedo, expected)
    torch.testing.assert_close(loaded.uv[loaded.uv_faces], cube.uv[cube.uv_faces], rtol=0, atol=1e-6)


def test_quantized_strips_and_transformed_texture(tmp_path):
    body = np.array([[0, 0, 0], [32767, 0, 0], [0, 32767, 0], [32767, 32767, 0]], dtype="<i2")
    body = np.pad(body, ((0, 0), (0, 1)))  # rows padded to eight bytes
    uv = np.array([[0, 0], [255, 0], [0, 255], [255, 255]], dtype="<u1")
    data = body.tobytes() + np.pad(uv, ((0, 0), (0, 2))).tobytes()
    texture = {"index": 0, "extensions": {"KHR_texture_transform": {"scale": [0.5, 0.25], "offset": [0.125, 0.5]}}}
    content = {
        "asset": {"version": "2.0"},
        "extensionsRequired": ["KHR_mesh_quantization", "KHR_texture_transform"],
        "nodes": [{"mesh": 0, "scale": [2, 2, 2], "rotation": [0, 0, 1, 0], "translation": [1, 0, 0]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "TEXCOORD_0": 1}, "mode": 5, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": texture}}],
        "textures": [{"source": 0}],
        "images": [{"uri": "elsewhere.png"}],
        "buffers": [{"uri": "data:application/octet-stream;base64," + base64.b64encode(data).decode()}],
        "bufferViews": [
            {"buffer": 0, "byteLength": 32, "byteStride": 8},
            {"buffer": 0, "byteOffset": 32, "byteLength": 16, "byteStride": 4},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5122, "normalized": True, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5121, "normalized": True, "count": 4, "type": "VEC2"},
        ],
    }
    (tmp_path / "a.glb").write_bytes(
        edited(encode_glb(Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]))), lambda c: (c.clear(), c.update(content)))
    )
    loaded = load_glb(tmp_path / "a.glb")
    torch.testing.assert_close(loaded.vertices, torch.tensor([[1.0, 0, 0], [-1, 0, 0], [1, -2, 0], [-1, -2, 0]]))
    assert loaded.faces.tolist() == [[0, 1, 2], [2, 1, 3]]
    torch.testing.assert_close(loaded.uv[3], torch.tensor([0.625, 0.75]))
    assert loaded.albedo is None


def repeat_mesh(content):
    content["nodes"] = [{"mesh": 0}] * 3_000_000
    content["scenes"] = [{"nodes": list(range(3_000_000))}]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["accessors"][0].update(count=10**9), "inconsistent"),
        (lambda c: c["accessors"][0].pop("bufferView"), "inconsistent"),
        (lambda c: c["bufferViews"][0].update(byteOffset=10**12), "inconsistent"),
        (lambda c: c["bufferViews"][0].update(byteOffset=-4), "inconsistent"),
        (lambda c: c["nodes"][0].update(children=[0]), "inconsistent"),
        (lambda c: c["nodes"][0].update(scale=[1, "x", 1]), "inconsistent"),
        (lambda c: c["nodes"][0].update(scale=[1e300] * 3), "not finite"),
        (lambda c: c["nodes"][0].pop("mesh"), "no triangles"),
        (lambda c: c.update(extensionsRequired=["KHR_draco_mesh_compression"]), "KHR_draco_mesh_compression"),
        (lambda c: c.pop("meshes"), "inconsistent"),
        (lambda c: c["scenes"][0].update(nodes=[7]), "inconsistent"),
        (lambda c: c["images"][0].update(bufferView=0), "not a picture"),
        (lambda c: c["accessors"][-1].update(bufferView=0, componentType=5125), "vertex that is not there"),
        (repeat_mesh, "inconsistent"),
    ],
)
def test_bad_structure(tmp_path, cube, change, reason):
    (tmp_path / "a.glb").write_bytes(edited(encode_glb(cube), change))
    with pytest.raises(UserError, match=reason) as caught:
        load_glb(tmp_path / "a.glb")
    assert "a.glb" in str(caught.value)


def test_repeated_meshes_are_bounded(tmp_path, cube, monkeypatch):
    monkeypatch.setattr("gaussmith.io.glb_read.MAX_ROWS", 100)

    def change(content):
        content["nodes"] = [{"mesh": 0}] * 5
        content["scenes"] = [{"nodes": list(range(5))}]

    (tmp_path / "a.glb").write_bytes(edited(encode_glb(cube), change))
    with pytest.raises(UserError, match="more than 100"):
        load_glb(tmp_path / "a.glb")


def test_bad_containers(tmp_path, cube):
    good = encode_glb(cube)
    cases = {
        good[:-1]: "truncated",
        good[:30]: "truncated",
        b"glTF": "not a GLB",
        b"\x89PNG" + good[4:]: "not a GLB",
        good[:4] + b"\x01" + good[5:]: "version 1",
        with_head(good, b"[" * 100_000): "inconsistent",
        with_head(good, b"[]"): "inconsistent",
        with_head(good, b"\xff{}"): "inconsistent",
    }
    for data, reason in cases.items():
        (tmp_path / "a.glb").write_bytes(data)
        with pytest.raises(UserError, match=reason):
            load_glb(tmp_path / "a.glb")


def test_what_cannot_be_saved(tmp_path, cube):
    with pytest.raises(ValueError, match="without faces"):
        save_glb(Mesh(cube.vertices, cube.faces[:0]), tmp_path / "a.glb")
    with pytest.raises(ValueError, match="non-finite"):
        save_glb(Mesh(cube.vertices * float("inf"), cube.faces), tmp_path / "a.glb")
    with pytest.raises(UserError, match="suffix"):
        io.save_mesh(cube, tmp_path / "a.fbx")
    assert list(tmp_path.iterdir()) == []


def test_srgb_curve():
    values = torch.linspace(0, 1, 1001, dtype=torch.float64)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(values)), values, rtol=0, atol=1e-7)
    assert float(srgb_to_linear(torch.tensor(0.5))) == pytest.approx(0.21404, abs=1e-5)
