import re
import struct

import numpy as np
import pytest
import torch

from gaussmith import io
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians, in_ball
from gaussmith.io.splat_ply import load_splat_ply, save_splat_ply

NAMES = [
    "x",
    "y",
    "z",
    "f_dc_0",
    "f_dc_1",
    "f_dc_2",
    "opacity",
    *(f"scale_{i}" for i in range(3)),
    *(f"rot_{i}" for i in range(4)),
]


def splat(count: int, degree: int = 0) -> Gaussians:
    generator = torch.Generator().manual_seed(0)
    made = in_ball(max(count, 2), 0.5, generator, sh_degree=degree).select(torch.arange(count))
    return made.map(lambda t: torch.randn(t.shape, generator=generator))


def write(path, count=2, names=NAMES, kind="ascii", rows=None, extra="") -> None:
    """A splat PLY put together by hand."""
    header = f"ply\nformat {kind} 1.0\nelement vertex {count}\n" + "".join(f"property float {n}\n" for n in names)
    if rows is None:
        rows = "\n".join(" ".join(str(i + 10 * row) for i in range(len(names))) for row in range(2)).encode() + b"\n"
    path.write_bytes(header.encode() + extra.encode() + b"end_header\n" + rows)


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("count", [0, 1, 7])
def test_round_trip_is_exact(tmp_path, degree, count):
    gaussians = splat(count, degree)
    save_splat_ply(gaussians, tmp_path / "a.ply")
    loaded = io.load(tmp_path / "a.ply")
    assert isinstance(loaded, Gaussians)
    for name, tensor in gaussians.tensors().items():
        assert torch.equal(loaded.tensors()[name], tensor), name
        assert loaded.tensors()[name].is_contiguous()


def test_layout_is_that_of_3dgs_viewers(tmp_path):
    gaussians = splat(3, 1)
    save_splat_ply(gaussians, tmp_path / "a.ply")
    head, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    names = re.findall(r"property float (\w+)", head.decode())
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:] == [*(f"f_rest_{i}" for i in range(9)), "opacity", *NAMES[7:]]
    assert b"format binary_little_endian 1.0\nelement vertex 3\n" in head
    row = dict(zip(names, struct.unpack_from(f"<{len(names)}f", body, 4 * len(names))))
    assert row["f_rest_1"] == gaussians.sh[1, 2, 0]  # the second coefficient of red
    assert row["f_rest_3"] == gaussians.sh[1, 1, 1]  # the first of green
    assert (row["nx"], row["opacity"], row["rot_0"]) == (0, gaussians.opacity_logits[1], gaussians.quats[1, 0])


def test_ascii_and_big_endian_and_doubles(tmp_path):
    write(tmp_path / "a.ply")
    loaded = load_splat_ply(tmp_path / "a.ply")
    assert loaded.means.tolist() == [[0, 1, 2], [10, 11, 12]]
    assert loaded.quats[1].tolist() == [20, 21, 22, 23]
    values = np.arange(28, dtype=">f4")
    write(tmp_path / "b.ply", kind="binary_big_endian", rows=values.tobytes())
    assert load_splat_ply(tmp_path / "b.ply").opacity_logits.tolist() == [6, 20]
    text = (tmp_path / "b.ply").read_bytes().replace(b"float", b"double").split(b"end_header\n")[0]
    (tmp_path / "c.ply").write_bytes(text + b"end_header\n" + values.astype(">f8").tobytes())
    assert load_splat_ply(tmp_path / "c.ply").opacity_logits.tolist() == [6, 20]


def test_foreign_properties_and_elements_are_ignored(tmp_path):
    extra = (
        "property uchar segment\nproperty list uchar float features\ncomment hello\nelement camera 1\nproperty int id\n"
    )
    row = struct.pack("<14f", *range(14))
    rows = row + b"\x05" + b"\x00" + row + b"\x06" + b"\x02" + struct.pack("<2f", 1, 2) + struct.pack("<i", 9)
    write(tmp_path / "a.ply", kind="binary_little_endian", extra=extra, rows=rows)
    assert load_splat_ply(tmp_path / "a.ply").means.tolist() == [[0, 1, 2]] * 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"names": NAMES[:-1]}, "lacks rot_3"),
        ({"names": ["x", "y", "z"]}, "not a splat"),
        ({"names": [*NAMES, "f_rest_0"]}, "SH degree"),
        ({"names": [*NAMES, *(f"f_rest_{i + 1}" for i in range(9))]}, "SH degree"),
        ({"names": [*NAMES, "x"]}, "twice"),
        ({"count": 3}, "truncated or its count is wrong"),
        ({"count": 10**9}, "truncated or its count is wrong"),
        ({"count": 10**9, "kind": "binary_little_endian"}, "truncated or its count is wrong"),
        ({"count": 10**30}, "makes no sense"),
        ({"count": -1}, "makes no sense"),
        ({"rows": b"1 2 3\n" * 2}, "14 numbers each"),
        ({"rows": b"a b c d e f g h i j k l m n\n" * 2}, "14 numbers each"),
        ({"rows": b"1 2 nan 4 5 6 7 8 9 10 11 12 13 14\n" * 2}, "not a finite number"),
        ({"rows": b"1 2 3 4 5 6 7 inf 9 10 11 12 13 14\n" * 2}, "not a finite number"),
        ({"rows": b"1 2 3 4 5 6 7 8 9 10 11 12 13 1e99\n" * 2}, "not a finite number"),
        ({"rows": b"1 2 3 4 5 6 7 99 9 10 11 12 13 14\n" * 2}, "scale of"),
        ({"kind": "binary_middle_endian"}, "makes no sense"),
        ({"extra": "property float128 q\n"}, "makes no sense"),
        ({"extra": "comment " + "x" * (1 << 20) + "\n"}, "no end within"),
        ({"extra": "element vertex 2\n"}, "twice"),
        ({"extra": "element cell 5\n"}, "0 properties"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, change, reason):
    write(tmp_path / "a.ply", **change)
    with pytest.raises(UserError, match=reason) as caught:
        load_splat_ply(tmp_path / "a.ply")
    assert "a.ply" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_binary_and_wrong_kinds(tmp_path, cube):
    save_splat_ply(splat(9, 3), tmp_path / "a.ply")
    (tmp_path / "b.ply").write_bytes((tmp_path / "a.ply").read_bytes()[:-1])
    with pytest.raises(UserError, match="truncated"):
        load_splat_ply(tmp_path / "b.ply")
    with pytest.raises(UserError, match="holds Gaussians"):
        io.load_mesh(tmp_path / "a.ply")
    io.save_mesh(cube, tmp_path / "c.ply")
    with pytest.raises(UserError, match="a mesh or a point cloud"):
        io.load_gaussians(tmp_path / "c.ply")
    for name, reason in (("x.xyz", "suffix must be"), ("missing.ply", "no such file")):
        with pytest.raises(UserError, match=reason):
            io.load_gaussians(tmp_path / name)
    (tmp_path / "d.ply").write_bytes(b"solid")
    with pytest.raises(UserError, match="not a PLY"):
        io.load(tmp_path / "d.ply")


def test_non_finite_gaussians_are_not_written(tmp_path):
    gaussians = splat(3)
    gaussians.means[1, 2] = float("nan")
    with pytest.raises(ValueError, match="non-finite"):
        save_splat_ply(gaussians, tmp_path / "a.ply")
    assert list(tmp_path.iterdir()) == []
