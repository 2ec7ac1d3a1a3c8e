import re

import gsply
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaussmith import io
from gaussmith.events import UserError
from gaussmith.io import packing
from gaussmith.io.compressed_ply import CHUNK, save_compressed_ply
from gaussmith.sh import dc_to_rgb

NAME = "a.compressed.ply"
SETTINGS = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def in_file_order(splat):
    return splat.select(torch.from_numpy(packing.morton_order(splat.means.numpy())))


def extents(values: torch.Tensor) -> torch.Tensor:
    """[N,C]: the extent of each Gaussian's chunk."""
    pieces = values.split(CHUNK) if len(values) else []
    return torch.cat([values[:0], *((p.amax(dim=0) - p.amin(dim=0)).expand_as(p) for p in pieces)])


@SETTINGS
@given(count=st.integers(0, 600), degree=st.integers(0, 3), seed=st.integers(0, 99), spread=st.floats(1e-3, 1e3))
def test_round_trip_is_within_the_steps(tmp_path, make_splat, angle, count, degree, seed, spread):
    splat = in_file_order(make_splat(count, degree, seed, spread))
    io.save_gaussians(make_splat(count, degree, seed, spread), tmp_path / NAME)
    loaded = io.load(tmp_path / NAME)
    assert loaded.sh.shape == splat.sh.shape
    half_step = 0.5 / torch.tensor([2047.0, 1023, 2047])
    for name in ("means", "log_scales"):
        given_, read = splat.tensors()[name], loaded.tensors()[name]
        rounding = 1e-6 * given_.abs().amax() if count else 0
        assert ((read - given_).abs() <= extents(given_) * half_step + rounding).all(), name
    assert ((loaded.opacities - splat.opacities).abs() <= 0.5 / 255 + 1e-6).all()
    colors = dc_to_rgb(splat.sh[:, 0])
    assert ((dc_to_rgb(loaded.sh[:, 0]) - colors).abs() <= extents(colors) * 0.5 / 255 + 1e-6).all()
    assert ((loaded.sh[:, 1:] - splat.sh[:, 1:]).abs() <= 1 / 64 + 1e-6).all()
    assert angle(loaded.quats, splat.quats) < 0.3


def test_size_is_what_the_format_says(tmp_path, make_splat):
    for degree, each in ((0, 16), (1, 25), (2, 40), (3, 61)):
        save_compressed_ply(make_splat(600, degree), tmp_path / NAME)
        body = (tmp_path / NAME).read_bytes().split(b"end_header\n", 1)[1]
        assert len(body) == 600 * each + 3 * 72
    assert re.search(
        rb"element chunk 3\n.*element vertex 600\n.*element sh 600\n", (tmp_path / NAME).read_bytes(), re.S
    )


@pytest.mark.parametrize("degree", range(4))
def test_gsply_reads_the_same(tmp_path, make_splat, angle, degree):
    save_compressed_ply(make_splat(700, degree), tmp_path / NAME)
    ours, theirs = io.load(tmp_path / NAME), gsply.plyread(tmp_path / NAME)
    same_as_gsply(ours, theirs, angle)


@pytest.mark.parametrize("degree", range(4))
def test_what_gsply_writes_is_read(tmp_path, make_splat, angle, degree):
    io.save_gaussians(make_splat(700, degree), tmp_path / "plain.ply")
    gsply.plywrite(tmp_path / NAME, gsply.plyread(tmp_path / "plain.ply"), compressed=True)
    ours, theirs = io.load(tmp_path / NAME), gsply.plyread(tmp_path / NAME)
    same_as_gsply(ours, theirs, angle)


def same_as_gsply(ours, theirs, angle):
    assert np.allclose(ours.means, theirs.means, atol=1e-6)
    assert np.allclose(ours.log_scales, theirs.scales, atol=1e-5)
    assert np.allclose(ours.sh[:, 0], theirs.sh0.reshape(-1, 3), atol=1e-5)
    if ours.sh.shape[1] > 1:
        assert np.allclose(ours.sh[:, 1:], theirs.shN, atol=1e-5)
    opacities = 1 / (1 + np.exp(-theirs.opacities.reshape(-1).astype(np.float64)))
    assert np.allclose(ours.opacities, opacities, atol=1e-4)  # byte 0 and 255 mean different logits to us and them
    assert angle(ours.quats, torch.tensor(theirs.quats)) < 1e-2


def rewritten(path, change) -> None:
    """The file with `change` made to its header and body."""
    head, body = path.read_bytes().split(b"end_header\n", 1)
    head, body = change(head, body)
    path.write_bytes(head + b"end_header\n" + body)


def test_colours_without_limits_are_from_0_to_1(tmp_path, make_splat):
    """Chunks of files before the limits of colours were added have 12 properties."""
    save_compressed_ply(make_splat(5), tmp_path / NAME)
    limits = np.frombuffer((tmp_path / NAME).read_bytes().split(b"end_header\n", 1)[1][:72], "<f4")
    new = dc_to_rgb(io.load(tmp_path / NAME).sh[:, 0]).numpy()
    rewritten(tmp_path / NAME, lambda h, b: (re.sub(rb"property float (min|max)_[rgb]\n", b"", h), b[:48] + b[72:]))
    old = dc_to_rgb(io.load(tmp_path / NAME).sh[:, 0]).numpy()
    assert np.allclose(new, limits[12:15] + old * (limits[15:] - limits[12:15]), atol=1e-6)


def test_ascii_is_read_and_what_no_integer_is_does_no_harm(tmp_path, make_splat):
    save_compressed_ply(make_splat(3, 1), tmp_path / NAME)
    head, body = (tmp_path / NAME).read_bytes().split(b"end_header\n", 1)
    rows = [*np.frombuffer(body[:72], "<f4").reshape(1, 18), *np.frombuffer(body[72:120], "<u4").reshape(3, 4)]
    rows += list(np.frombuffer(body[120:], "u1").reshape(3, 9))
    text = "\n".join(" ".join(repr(value.item()) for value in row) for row in rows) + "\n"
    (tmp_path / "b.ply").write_bytes(head.replace(b"binary_little_endian", b"ascii") + b"end_header\n" + text.encode())
    expected, loaded = io.load(tmp_path / NAME), io.load(tmp_path / "b.ply")
    for name, tensor in expected.tensors().items():
        assert torch.allclose(loaded.tensors()[name], tensor, atol=1e-6), name
    damaged = text.replace(f"{rows[1][0]} {rows[1][1]}", "nan -1e300").replace(f"{rows[4][0]} ", "1e300 ", 1)
    assert damaged.count("1e300") == 2
    (tmp_path / "b.ply").write_bytes(
        head.replace(b"binary_little_endian", b"ascii") + b"end_header\n" + damaged.encode()
    )
    assert io.load(tmp_path / "b.ply").finite().all()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h, b: (h.replace(b"chunk 2", b"chunk 1"), b), "truncated|one chunk"),
        (lambda h, b: (h.replace(b"element chunk 2", b"element other 2"), b), "one chunk for each 256"),
        (lambda h, b: (h.replace(b"vertex 300", b"vertex 1000000000"), b), "truncated"),
        (lambda h, b: (h.replace(b"sh 300", b"sh 299"), b), "not one row a Gaussian"),
        (lambda h, b: (h.replace(b"property uchar f_rest_8\n", b""), b), "no SH degree"),
        (lambda h, b: (h.replace(b"packed_scale", b"packed_other"), b), "lacks packed_scale"),
        (lambda h, b: (h.replace(b"max_scale_y", b"another"), b), "lacks max_scale_y"),
        (lambda h, b: (h, b[:-1]), "truncated"),
        (lambda h, b: (h, b"\xff\xff\xff\x7f" + b[4:]), "not a finite number"),
        (lambda h, b: (h, b[:36] + np.float32(100).tobytes() + b[40:]), "scale of exp"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, make_splat, change, reason):
    save_compressed_ply(make_splat(300, 1), tmp_path / NAME)
    rewritten(tmp_path / NAME, change)
    with pytest.raises(UserError, match=reason) as caught:
        io.load(tmp_path / NAME)
    assert NAME in str(caught.value)
    assert "\n" not in str(caught.value)
