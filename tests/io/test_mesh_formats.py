"""PLY, OBJ and STL meshes, and what the readers share."""

import struct

import numpy as np
import pytest
import torch
import trimesh

from gaussmith import io
from gaussmith.events import UserError
from gaussmith.io.assemble import fan, weld
from gaussmith.io.image import save_image
from gaussmith.mesh import Mesh

TRIANGLE = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float((torch.linalg.cross(a, b) * c).sum() / 6)


@pytest.mark.parametrize("suffix", ["ply", "obj", "stl", "glb"])
def test_shape_survives_and_stays_watertight(tmp_path, cube, suffix):
    io.save_mesh(cube, tmp_path / f"a.{suffix}")
    loaded = io.load(tmp_path / f"a.{suffix}")
    assert isinstance(loaded, Mesh)
    assert (len(loaded.vertices), len(loaded.faces)) == (8, 12)
    torch.testing.assert_close(loaded.vertices[loaded.faces], cube.vertices[cube.faces], rtol=0, atol=0)
    assert volume(loaded) == pytest.approx(1)
    foreign = trimesh.load(tmp_path / f"a.{suffix}", force="mesh")
    foreign.merge_vertices(merge_tex=True, merge_norm=True)
    assert foreign.is_watertight
    assert foreign.volume == pytest.approx(1)


def test_obj_texture_is_exact_and_named_beside_it(tmp_path, cube):
    io.save_mesh(cube, tmp_path / "my chest.obj")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["my chest.obj", "my_chest.mtl", "my_chest_albedo.png"]
    loaded = io.load_mesh(tmp_path / "my chest.obj")
    assert torch.equal(loaded.albedo, cube.albedo)
    torch.testing.assert_close(loaded.uv[loaded.uv_faces], cube.uv[cube.uv_faces], rtol=0, atol=1e-7)
    foreign = trimesh.load(tmp_path / "my chest.obj")
    np.testing.assert_array_equal(
        np.asarray(foreign.visual.material.image)[..., :3], np.rint(cube.albedo.numpy() * 255)
    )
    (tmp_path / "my_chest_albedo.png").unlink()
    assert io.load_mesh(tmp_path / "my chest.obj").albedo is None


def test_normals_and_vertex_colours(tmp_path, cube):
    colors = torch.rand(8, 3, generator=torch.Generator().manual_seed(0))
    plain = Mesh(cube.vertices, cube.faces, normals=cube.vertex_normals(), vertex_colors=colors)
    for suffix, tolerance in (("ply", 0.5 / 255), ("obj", 1e-7), ("glb", 1e-6)):
        io.save_mesh(plain, tmp_path / f"a.{suffix}")
        loaded = io.load_mesh(tmp_path / f"a.{suffix}")
        torch.testing.assert_close(loaded.normals, plain.normals, rtol=0, atol=1e-6)
        torch.testing.assert_close(loaded.vertex_colors, colors, rtol=0, atol=tolerance + 1e-7)


def test_ply_takes_the_texture_to_the_vertices(tmp_path, cube):
    albedo = torch.zeros(4, 6, 3)
    albedo[:] = torch.tensor([0.2, 0.4, 0.6])
    io.save_mesh(cube.with_(albedo=albedo), tmp_path / "a.ply")
    expected = torch.tensor([0.2, 0.4, 0.6]).expand(8, 3)
    torch.testing.assert_close(io.load_mesh(tmp_path / "a.ply").vertex_colors, expected)


@pytest.mark.parametrize("kind", ["ascii", "binary_big_endian", "binary_little_endian"])
def test_ply_polygons_of_any_size(tmp_path, kind):
    header = (
        f"ply\nformat {kind} 1.0\nelement vertex 5\nproperty double x\nproperty double y\nproperty double z\n"
        "property float s\nproperty float t\nelement face 3\nproperty list uchar uint vertex_index\nend_header\n"
    )
    points = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0.5, 2, 0), (0, 1, 0)]
    polygons = [(0, 1, 2, 3, 4), (0, 2, 1), (0, 4, 3, 2)]
    if kind == "ascii":
        body = "".join(f"{x} {y} {z} {x} {y / 2}\n" for x, y, z in points)
        body += "".join(f"{len(p)} {' '.join(map(str, p))}\n" for p in polygons)
        data = body.encode()
    else:
        order = ">" if "big" in kind else "<"
        data = b"".join(struct.pack(f"{order}3d2f", x, y, z, x, y / 2) for x, y, z in points)
        data += b"".join(struct.pack(f"{order}B{len(p)}I", len(p), *p) for p in polygons)
    (tmp_path / "a.ply").write_bytes(header.encode() + data)
    loaded = io.load_mesh(tmp_path / "a.ply")
    assert loaded.faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 2, 1], [0, 4, 3], [0, 3, 2]]
    assert loaded.uv[3].tolist() == [0.5, 0]


def test_obj_indices(tmp_path):
    text = TRIANGLE + "v 1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvn 0 0 1\nf 1/1 2/2/1 -2//1\nf -4 -3 -1 -2\nf 1 2\n"
    (tmp_path / "a.obj").write_text(text)
    loaded = io.load_mesh(tmp_path / "a.obj")
    assert loaded.faces.tolist() == [[0, 1, 2], [0, 1, 3], [0, 3, 2]]
    assert loaded.uv[loaded.uv_faces[0]].tolist() == [[0, 1], [1, 1], [0, 1]]


def test_obj_materials_stay_in_their_folder(tmp_path):
    secret = tmp_path / "secret.png"
    save_image(secret, np.ones((2, 2, 3)))
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "up.png").symlink_to(secret)
    text = TRIANGLE + "vt 0 0\nusemtl m\nf 1/1 2/1 3/1\n"
    for name in ("../secret.png", str(secret), "up.png", "..\\secret.png"):
        (folder / "a.mtl").write_text(f"newmtl m\nKd 1 0 0\nmap_Kd {name}\n")
        (folder / "a.obj").write_text("mtllib a.mtl\n" + text)
        loaded = io.load_mesh(folder / "a.obj")
        assert loaded.albedo is None
        assert loaded.vertex_colors.tolist() == [[1, 0, 0]] * 3
    (tmp_path / "b.mtl").write_text("newmtl m\nKd 1 0 0\n")
    (folder / "b.obj").write_text("mtllib ../b.mtl\n" + text)
    assert io.load_mesh(folder / "b.obj").vertex_colors is None


def test_obj_several_materials_become_one_texture(tmp_path):
    red, checker = np.zeros((2, 2, 3)), np.random.default_rng(0).integers(0, 256, (4, 8, 3)) / 255
    red[..., 0] = 1
    save_image(tmp_path / "red.png", red)
    save_image(tmp_path / "checker.png", checker)
    (tmp_path / "a.mtl").write_text(
        "newmtl a\nmap_Kd red.png\nnewmtl b\nmap_Kd -s 1 1 1 -clamp on checker.png\nnewmtl c\nKd 0 0 1\n"
    )
    centre = "vt 0.5625 0.375\n" * 3  # the centre of texel (2, 4) of the 8x4 picture
    text = f"mtllib a.mtl\n{TRIANGLE}{centre}usemtl b\nf 1/1 2/2 3/3\nusemtl c\nf 1 3 2\nusemtl a\nf 1/1 2/2 3/3\n"
    (tmp_path / "a.obj").write_text(text)
    loaded = io.load_mesh(tmp_path / "a.obj")
    assert loaded.faces.tolist() == [[0, 1, 2], [0, 2, 1], [0, 1, 2]]
    size = torch.tensor([loaded.albedo.shape[1], loaded.albedo.shape[0]])
    texel = (loaded.uv[loaded.uv_faces[:, 0]] * size).long()
    colors = loaded.albedo[texel[:, 1], texel[:, 0]]
    torch.testing.assert_close(colors, torch.tensor([checker[2, 4].tolist(), [0, 0, 1], [1, 0, 0]]))


def test_ascii_stl(tmp_path):
    facet = "facet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\n"
    (tmp_path / "a.stl").write_text(f"solid x\n{facet}{facet}endsolid x\n")
    loaded = io.load_mesh(tmp_path / "a.stl")
    assert (len(loaded.vertices), loaded.faces.tolist()) == (3, [[0, 1, 2]] * 2)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.obj", "v 0 0 0\n", "no faces"),
        ("a.obj", TRIANGLE + "f 1 2 4\n", "names vertex 3 but there are 3"),
        ("a.obj", TRIANGLE + "f 1 2 -4\n", "line 4 makes no sense"),
        ("a.obj", TRIANGLE + "f 1 2 0\n", "line 4"),
        ("a.obj", TRIANGLE + "f 1 2 x\n", "line 4"),
        ("a.obj", TRIANGLE + "vt 1 1\nf 1/1 2/1 3/2\n", "names texture coordinate 1"),
        ("a.obj", "v 0 0\nf 1 1 1\n", "too few numbers"),
        ("a.obj", "v 0 0 nan\nf 1 1 1\n", "not finite"),
        ("a.obj", "v 0 0 1e60\nf 1 1 1\n", "not finite"),
        ("a.stl", "solid x\nvertex 0 0 0\n", "truncated"),
        ("a.stl", "solid x\nvertex 0 0\nendsolid", "three numbers"),
        ("a.stl", "solid x\nendsolid", "no faces"),
        ("a.stl", "hello", "not an STL"),
        ("a.stl", "x" * 80 + "\x09\0\0\0" + "y" * 100, "truncated"),
        ("a.ply", "ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n", "no vertices with x"),
        ("a.blend", "BLENDER", "suffix must be one of .glb, .obj, .ply, .stl"),
    ],
)  # fmt: skip
def test_bad_meshes(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data.encode("latin-1"))
    with pytest.raises(UserError, match=reason) as caught:
        io.load_mesh(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("faces", "reason"),
    [("1\n3 0 1 7\n", "names vertex 7"), ("1\n3 0 1 -2\n", "names vertex -2"), ("1\n3 0 1\n", "numbers each"),
     ("1000000000\n3 0 1 2\n", "truncated"), ("0\n", "no faces"),
     ("1\n2 0 1\n", "no faces"), ("1\n-1\n", "numbers each")],
)  # fmt: skip
def test_bad_ply_faces(tmp_path, faces, reason):
    count, _, rows = faces.partition("\n")
    (tmp_path / "a.ply").write_text(
        "ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {count}\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n{rows}"
    )
    with pytest.raises(UserError, match=reason):
        io.load_mesh(tmp_path / "a.ply")


def test_fan_and_weld_against_loops():
    generator = np.random.default_rng(0)
    lengths = generator.integers(0, 7, 50)
    values = np.arange(lengths.sum()) * 3
    start, expected = 0, []
    for length in lengths:
        polygon = values[start : start + length]
        expected += [[polygon[0], polygon[i], polygon[i + 1]] for i in range(1, length - 1)]
        start += length
    assert fan(lengths, values).tolist() == expected
    points = generator.integers(0, 3, (60, 3)).astype(np.float64)
    points[::7] *= -0.0
    first, group = weld(points)
    np.testing.assert_array_equal(points[first][group], points)
    assert (np.diff(first) > 0).all()
    assert len(first) == len({tuple(p + 0.0) for p in points})
