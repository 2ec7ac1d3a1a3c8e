import gzip
import math
import struct
import sys

import gsply
import numpy as np
import pytest
import torch
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaussmith import io
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.io.spz import load_spz, save_spz

SETTINGS = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def header(version=3, count=1, degree=0, bits=12, magic=b"NGSP") -> bytes:
    return struct.pack("<4sIIBBBB", magic, version, count, degree, bits, 0, 0)


def by_hand(version: int, positions: bytes, rotation: bytes) -> bytes:
    """One Gaussian: opacity 51/255, colour bytes 0 128 255, scale bytes 0 160 255."""
    return gzip.compress(header(version) + positions + b"\x33" + b"\0\x80\xff" + b"\0\xa0\xff" + rotation)


@SETTINGS
@given(count=st.integers(0, 300), degree=st.integers(0, 3), seed=st.integers(0, 99), spread=st.floats(1e-3, 1e3))
def test_round_trip_is_within_the_steps(tmp_path, make_splat, angle, count, degree, seed, spread):
    splat = make_splat(count, degree, seed, spread)
    save_spz(splat, tmp_path / "a.spz")
    loaded = io.load(tmp_path / "a.spz")
    bits = gzip.decompress((tmp_path / "a.spz").read_bytes())[13]
    assert loaded.sh.shape == splat.sh.shape
    assert ((loaded.means - splat.means).abs() <= 0.5**bits / 2 + 1e-6 * splat.means.abs()).all()
    assert count == 0 or 0.5**bits <= float(splat.scales.median()) / 16
    assert ((loaded.log_scales - splat.log_scales.clamp(-10, 95 / 16)).abs() <= 1 / 32 + 1e-6).all()
    assert ((loaded.opacities - splat.opacities).abs() <= 0.5 / 255 + 1e-5).all()
    assert ((loaded.sh[:, 0] - splat.sh[:, 0].clamp(-1 / 0.3, 1 / 0.3)).abs() <= 0.5 / 255 / 0.15 + 1e-6).all()
    rest = splat.sh[:, 1:].clamp(-1, 127 / 128)
    assert ((loaded.sh[:, 1:4] - rest[:, :3]).abs() <= 1 / 64 + 1e-6).all()
    assert ((loaded.sh[:, 4:] - rest[:, 3:]).abs() <= 1 / 32 + 1e-6).all()
    assert angle(loaded.quats, splat.quats) < 0.3


def test_same_splat_same_bytes(tmp_path, make_splat):
    for name in ("a.spz", "b.spz"):
        save_spz(make_splat(50, 2), tmp_path / name)
    assert (tmp_path / "a.spz").read_bytes() == (tmp_path / "b.spz").read_bytes()


@pytest.mark.parametrize("degree", range(4))
def test_gsply_reads_the_same(tmp_path, make_splat, angle, degree):
    save_spz(make_splat(400, degree), tmp_path / "a.spz")
    same_as_gsply(io.load(tmp_path / "a.spz"), gsply.read_spz(tmp_path / "a.spz"), angle)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("degree", range(4))
def test_what_gsply_writes_is_read(tmp_path, make_splat, angle, degree, version):
    io.save_gaussians(make_splat(400, degree), tmp_path / "a.ply")
    gsply.write_spz(tmp_path / "a.spz", gsply.plyread(tmp_path / "a.ply"), version=version)
    same_as_gsply(io.load(tmp_path / "a.spz"), gsply.read_spz(tmp_path / "a.spz"), angle)


def same_as_gsply(ours, theirs, angle):
    assert np.array_equal(ours.means, theirs.means)
    assert np.allclose(ours.log_scales, theirs.scales, atol=1e-6)
    assert np.allclose(ours.sh[:, 0], theirs.sh0.reshape(-1, 3), atol=1e-6)
    if ours.sh.shape[1] > 1:
        assert np.allclose(ours.sh[:, 1:], theirs.shN, atol=1e-6)
    assert np.allclose(ours.opacities, 1 / (1 + np.exp(-theirs.opacities.reshape(-1))), atol=1e-5)
    assert angle(ours.quats, torch.tensor(theirs.quats)) < 1e-2


def test_versions_1_and_2(tmp_path):
    fixed = b"".join(int(v * 4096).to_bytes(3, "little", signed=True) for v in (1.5, -2, -0.25))
    halves = np.array([1.5, -2, -0.25], "<f2").tobytes()
    for version, positions in ((1, halves), (2, fixed)):
        (tmp_path / "a.spz").write_bytes(by_hand(version, positions, b"\x80\x80\xff"))
        loaded = load_spz(tmp_path / "a.spz")
        assert loaded.means.tolist() == [[1.5, -2, -0.25]]
        assert loaded.log_scales.tolist() == [[-10, 0, 255 / 16 - 10]]
        assert float(loaded.opacities[0]) == pytest.approx(0.2)
        assert loaded.sh[0, 0].tolist() == pytest.approx([-10 / 3, 0.5 / 255 / 0.15, 10 / 3])
        assert loaded.quats[0].tolist() == pytest.approx([0, 1 / 255, 1 / 255, 1], abs=1e-4)


def test_rotations_of_version_3(tmp_path):
    word = 2 << 30 | (1 << 9 | 511) << 20 | 0 << 10 | 256  # z largest; x -1/sqrt 2, y 0, w 256/511/sqrt 2
    (tmp_path / "a.spz").write_bytes(by_hand(3, bytes(9), struct.pack("<I", word)))
    w = 256 / 511 * math.sqrt(0.5)
    z = math.sqrt(0.5 - w * w)
    assert load_spz(tmp_path / "a.spz").quats[0].tolist() == pytest.approx([w, -math.sqrt(0.5), 0, z], abs=1e-6)


def test_degree_4_is_read_as_degree_3_and_what_follows_is_ignored(tmp_path, make_splat):
    save_spz(make_splat(2, 3), tmp_path / "a.spz")
    data = gzip.decompress((tmp_path / "a.spz").read_bytes())
    rows = data[-90:]
    longer = data[:12] + b"\x04" + data[13:-90] + rows[:45] + bytes(27) + rows[45:] + bytes(27) + b"extension"
    (tmp_path / "b.spz").write_bytes(gzip.compress(longer))
    assert torch.equal(load_spz(tmp_path / "b.spz").sh, load_spz(tmp_path / "a.spz").sh)


def test_far_and_small_splats_get_the_bits_they_need(tmp_path, make_splat):
    splat = make_splat(20)
    far = Gaussians(splat.means * 1e6, splat.log_scales, splat.quats, splat.opacity_logits, splat.sh)
    save_spz(far, tmp_path / "a.spz")
    assert float((load_spz(tmp_path / "a.spz").means - far.means).abs().max()) <= 0.5
    with pytest.raises(UserError, match="8,388,608 units"):
        save_spz(Gaussians(far.means * 100, far.log_scales, far.quats, far.opacity_logits, far.sh), tmp_path / "b.spz")
    assert not (tmp_path / "b.spz").exists()


def bomb() -> bytes:
    """100,000 bytes that say that they are 8 million Gaussians."""
    return gzip.compress(header(count=8_000_000) + bytes(20 * 5_000_000), 9)


def v4(count=1, streams=5, toc=32, sizes=(9, 1, 3, 3, 4), degree=0) -> bytes:
    packed = [zstandard.compress(bytes(size)) for size in sizes]
    table = b"".join(struct.pack("<QQ", len(p), size) for p, size in zip(packed, sizes))
    return header(4, count, degree)[:15] + struct.pack("<BI12x", streams, toc) + table + b"".join(packed)


def wrong_zstd() -> bytes:
    """The first stream is as long as declared, but of other bytes: 100 MB of them."""
    large = zstandard.compress(bytes(100_000_000))
    good = v4()
    table = struct.pack("<QQ", len(large), 9) + good[48:112]
    first = struct.unpack_from("<Q", good, 32)[0]
    return good[:32] + table + large + good[112 + first :]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"not an spz at all", "not an SPZ"),
        (gzip.compress(b"not an spz at all"), "not an SPZ"),
        (gzip.compress(b"NGSP"), "truncated"),
        (gzip.compress(header() + bytes(19)), "19 of 20 bytes"),
        (gzip.compress(header() + bytes(20))[:25], "truncated|damaged"),
        (b"\x1f\x8b" + bytes(30), "gzip stream is damaged"),
        (gzip.compress(header(4) + bytes(20)), "version 4 is not known|SPZ version 4"),
        (header(5) + bytes(30), "version 5"),
        (gzip.compress(header(0) + bytes(20)), "version 0"),
        (gzip.compress(header(degree=5) + bytes(99)), "makes no sense"),
        (gzip.compress(header(bits=25) + bytes(99)), "makes no sense"),
        (gzip.compress(header(count=2**32 - 1)), "4,294,967,295 Gaussians"),
        (bomb(), "8,000,000 Gaussians"),
        (header(4)[:10], "truncated"),
        (v4()[:20], "streams instead of 5"),
        (v4(streams=4), "4 streams instead of 5"),
        (v4(toc=31), "truncated"),
        (v4(toc=2**32 - 1), "truncated"),
        (v4(count=2), "table of contents"),
        (v4()[:-1], "truncated"),
        (v4(count=2**31), "2,147,483,648 Gaussians"),
        (v4()[:-17] + bytes(17), "zstd stream"),
        (wrong_zstd(), "declares another length"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, data, reason):
    (tmp_path / "a.spz").write_bytes(data)
    with pytest.raises(UserError, match=reason) as caught:
        io.load(tmp_path / "a.spz")
    assert "a.spz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_version_4_without_zstandard_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.spz").write_bytes(v4())
    assert len(load_spz(tmp_path / "a.spz")) == 1
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(UserError, match="pip install zstandard"):
        load_spz(tmp_path / "a.spz")
