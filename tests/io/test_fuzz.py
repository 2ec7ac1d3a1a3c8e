"""Every parser, given random bytes and damaged files, answers with a valid object or a UserError, in bounded memory."""

import gzip
import struct
import tracemalloc

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from gaussmith import io
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians, in_ball
from gaussmith.io.gltf import encode_glb
from gaussmith.io.image import encode_png
from gaussmith.mesh import Mesh

BOUND = 64 << 20  # bytes, for files of some kilobytes
SETTINGS = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ASCII_PLY = b"""ply
format ascii 1.0
element vertex 4
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
element face 2
property list uchar int vertex_indices
end_header
0 0 0 255 0 0
1 0 0 0 255 0
0 1 0 0 0 255
0 0 1 9 9 9
4 0 1 2 3
3 0 2 1
"""
OBJ = b"""mtllib a.mtl
v 0 0 0 1 0 0
v 1 0 0 0 1 0
v 0 1 0 0 0 1
vt 0 0
vt 1 1
vn 0 0 1
usemtl a
f 1/1/1 2/2/1 -1/-1/-1
f 1//1 3//1 2//1
"""
ASCII_STL = (
    b"solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\nendsolid\n"
)
SPLATS = ["splat.ply", "splat.splat", "splat.spz", "unpacked.spz", "version 4.spz", "splat.glb", "splat.gltf"]
NUMBERS = st.sampled_from(
    [b"\xff" * 4, b"\0" * 4, b"\0\0\xc0\x7f", b"\xff\xff\xff\x7f", b"nan", b"-1", b"1e999", b"999999999999"]
)


def seeds(folder) -> dict[str, list[bytes]]:
    """Valid files by suffix."""
    generator = torch.Generator().manual_seed(0)
    splat = in_ball(5, 0.5, generator, sh_degree=1)
    mesh = Mesh(
        torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        torch.tensor([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]]),
        uv=torch.rand(12, 2, generator=generator),
        uv_faces=torch.arange(12).reshape(4, 3),
        albedo=torch.rand(4, 4, 3, generator=generator),
    )
    for suffix in ("ply", "compressed.ply", "splat", "spz", "glb", "gltf"):
        io.save_gaussians(splat, folder / f"splat.{suffix}")
    for suffix in ("ply", "stl"):
        io.save_mesh(mesh, folder / f"mesh.{suffix}")
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 4), dtype=np.uint8)
    pictures = []
    for name in ("a.png", "a.jpg", "a.webp", "a.gif", "a.tiff", "a.bmp"):
        Image.fromarray(pixels[..., :3]).save(folder / name)
        pictures.append((folder / name).read_bytes())
    return {
        "splat.ply": [(folder / "splat.ply").read_bytes(), (folder / "splat.compressed.ply").read_bytes()],
        **{f"splat.{kind}": [(folder / f"splat.{kind}").read_bytes()] for kind in ("splat", "spz", "glb", "gltf")},
        "unpacked.spz": [gzip.decompress((folder / "splat.spz").read_bytes())],
        "version 4.spz": [version_4(gzip.decompress((folder / "splat.spz").read_bytes()), [9, 1, 3, 3, 4, 9])],
        "ply": [(folder / "mesh.ply").read_bytes(), ASCII_PLY],
        "stl": [(folder / "mesh.stl").read_bytes(), ASCII_STL],
        "obj": [OBJ],
        "glb": [encode_glb(mesh), encode_glb(Mesh(mesh.vertices, mesh.faces, vertex_colors=mesh.vertices))],
        "image": [*pictures, encode_png(pixels)],
    }


def version_4(body: bytes, widths: list[int]) -> bytes:
    """SPZ version 4 of the unpacked bytes of version 3: a zstd stream for each parameter of the 5 Gaussians."""
    stops = 16 + 5 * np.cumsum(widths)
    parts = [body[stop - 5 * width : stop] for stop, width in zip(stops, widths)]
    packed = [zstandard.compress(part) for part in parts]
    table = b"".join(struct.pack("<QQ", len(p), len(part)) for p, part in zip(packed, parts))
    return body[:4] + b"\x04\0\0\0" + body[8:15] + struct.pack("<BI12x", len(parts), 32) + table + b"".join(packed)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> dict[str, list[bytes]]:
    return seeds(tmp_path_factory.mktemp("corpus"))


def damaged(data: st.DataObject, file: bytes) -> bytes:
    """A file after a few cuts, insertions, repeats and overwritten bytes."""
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(file)))
        length = data.draw(st.integers(0, 16))
        kind = data.draw(st.sampled_from(["cut", "end", "bytes", "number", "repeat"]))
        if kind == "cut":
            file = file[:at] + file[at + length :]
        elif kind == "end":
            file = file[:at]
        elif kind == "repeat":
            file = file[: at + length] + file[at:]
        else:
            piece = data.draw(NUMBERS) if kind == "number" else data.draw(st.binary(min_size=1, max_size=8))
            file = file[:at] + piece + file[at + len(piece) :]
    return file


def check(kind: str, file: bytes, folder) -> None:
    """Read `file` as `kind`: what comes back is valid, and the memory used stays bounded."""
    path = folder / f"f.{ {'image': 'png'}.get(kind, kind.rpartition('.')[2]) }"
    path.write_bytes(gzip.compress(file) if kind == "unpacked.spz" else file)
    reader = io.load_image if kind == "image" else io.load_gaussians if kind in SPLATS else io.load_mesh
    tracemalloc.start()
    try:
        result = reader(path)
    except UserError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
        return
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < BOUND
    if isinstance(result, Mesh):
        assert result.vertices.isfinite().all()
        assert len(result.faces) > 0
        assert 0 <= int(result.faces.min()) <= int(result.faces.max()) < len(result.vertices)
        if result.uv is not None:
            assert result.uv.isfinite().all()
            assert 0 <= int(result.uv_faces.min()) <= int(result.uv_faces.max()) < len(result.uv)
        for values in (result.albedo, result.vertex_colors):
            assert values is None or (float(values.min()) >= 0 and float(values.max()) <= 1)
    elif isinstance(result, Gaussians):
        assert result.finite().all()
        assert result.scales.isfinite().all()
    else:
        assert result.ndim == 3
        assert result.shape[2] == 4
        assert 0 <= result.min() <= result.max() <= 1


@pytest.mark.parametrize("kind", ["ply", "stl", "obj", "glb", "image"])
@SETTINGS
@given(data=st.data())
def test_damaged_files(kind, tmp_path, corpus, data):
    check(kind, damaged(data, data.draw(st.sampled_from(corpus[kind]))), tmp_path)


@pytest.mark.parametrize("kind", SPLATS)
@settings(SETTINGS, max_examples=50)
@given(data=st.data())
def test_damaged_splats(kind, tmp_path, corpus, data):
    check(kind, damaged(data, data.draw(st.sampled_from(corpus[kind]))), tmp_path)


@pytest.mark.parametrize("kind", [*SPLATS, "ply", "stl", "obj", "glb", "image"])
@settings(SETTINGS, max_examples=25)
@given(tail=st.binary(max_size=200), start=st.integers(0, 40))
def test_random_bytes(kind, tmp_path, corpus, tail, start):
    check(kind, corpus[kind][0][:start] + tail or b"\0", tmp_path)
