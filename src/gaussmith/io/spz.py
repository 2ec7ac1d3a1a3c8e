"""Splats as SPZ, Niantic's compressed format: about a tenth of the PLY, read by most apps and web viewers.

A header of 16 bytes, then each parameter of all Gaussians in turn: positions (24 bits fixed point), opacities, colours
(bytes of 0.5 + 0.15 SH-DC), log scales (sixteenths from -10), rotations, higher harmonics (128ths from -1, coefficient
by coefficient). Version 1 has float16 positions; 1 and 2 have rotations as the bytes of xyz, 3 and 4 as the smallest
three components (xyzw) in 9 bits and sign. Versions 1 to 3 are one gzip stream. Version 4 has a header of 32 bytes, a
table of contents, and a zstd stream for each parameter. All four are read; written is version 3, which every reader of
the format that is kept up to date reads (some do not read 4 yet, and the standard library has no zstd).

Axes: SPZ is x right, y up, z backwards (RUB), which are the axes of this program's world, so nothing turns. Programs
that train from COLMAP's cameras often leave y downwards in their PLY files: `gaussmith convert --flip` turns those.
Source: github.com/nianticlabs/spz, README.md, src/cc/load-spz.cc, extensions/README.md.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

import numpy as np

from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.io import packing
from gaussmith.io.atomic import write_bytes
from gaussmith.io.source import MAX_BYTES, read_bytes

_MAGIC = b"NGSP"
_HEADER = struct.Struct("<4sIIBBBB")  # magic, version, count, SH degree, fractional bits, flags, reserved or streams
_HEADER_4 = 32
_PARTS = ("positions", "alphas", "colors", "scales", "rotations", "sh")
_COEFFICIENTS = (0, 3, 8, 15, 24)  # above degree 0, by degree; the 9 of degree 4 are dropped on reading
_COLOR = 0.15
# A file may unpack to 100 times its bytes, ten times what splats do, or to 16 MB: not to fill the memory from little.
_MAX_RATIO, _ALWAYS_ALLOWED = 100, 16 << 20
_FIXED = 1 << 23  # positions are from minus this to just below it, in steps
_STEPS_PER_SCALE = 16


def save_spz(gaussians: Gaussians, path: str | Path) -> None:
    """Write N >= 0 Gaussians, SH degree 0 to 3, atomically.

    What is lost: positions to 2^-13, or less for Gaussians so small that this shows; log scales to 1/32 and beyond
    exp(-10) and exp(5.94); rotations to 0.3 degrees; opacities to 1/510; colours to 0.0037 and beyond -0.44 and 1.44;
    harmonics of degree 1 to 1/64, above to 1/32, and beyond -1 and 1.

    Raises:
        UserError: a position is too far away for 24 bits, or the place cannot be written.
        ValueError: a parameter is not finite.
    """
    fields = packing.arrays(gaussians)
    count, bands = fields["sh"].shape[:2]
    bits = _fractional_bits(fields["means"], fields["log_scales"], path)
    fixed = np.rint(fields["means"].astype(np.float64) * 2.0**bits).astype("<i4")
    parts = [
        _HEADER.pack(_MAGIC, 3, count, math.isqrt(bands) - 1, bits, 0, 0),
        fixed.reshape(-1, 1).view(np.uint8)[:, :3].tobytes(),
        packing.to_unorm(packing.sigmoid(fields["opacity_logits"]), 8).astype(np.uint8).tobytes(),
        _bytes(fields["sh"][:, 0] * (_COLOR * 255) + 127.5),
        _bytes((fields["log_scales"] + 10) * 16),
        _pack_rotations(fields["quats"]).tobytes(),
        _pack_harmonics(fields["sh"][:, 1:]),
    ]
    squeeze = zlib.compressobj(5, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    write_bytes(path, squeeze.compress(b"".join(parts)), squeeze.flush())


def load_spz(path: str | Path) -> Gaussians:
    """Read SPZ of version 1 to 4; harmonics of degree 4 are dropped, vendors' extensions are ignored.

    Raises:
        UserError: no SPZ, of a later version, truncated, inconsistent, or of more Gaussians than fit in its bytes;
            of version 4 while the package zstandard is missing.
    """
    data = read_bytes(path)
    if data[:2] == b"\x1f\x8b":
        version, count, degree, bits, body = _unzip(data, path)
    elif data[:4] == _MAGIC:
        version, count, degree, bits, body = _unpack_streams(data, path)
    else:
        raise UserError(f"cannot read {path}: it is not an SPZ file")
    sizes = _sizes(version, count, degree)
    stops = np.cumsum(sizes)
    part = {name: body[stop - size : stop] for name, size, stop in zip(_PARTS, sizes, stops)}
    rest = np.frombuffer(part["sh"], np.uint8).reshape(count, _COEFFICIENTS[degree], 3)[:, : _COEFFICIENTS[3]]
    colors = np.frombuffer(part["colors"], np.uint8).reshape(count, 1, 3)
    every = np.arange(256)
    harmonics = (packing.lookup(colors, (every / 255 - 0.5) / _COLOR), packing.lookup(rest, every / 128 - 1))
    return packing.build(
        path,
        means=_positions(part["positions"], version, bits),
        log_scales=packing.lookup(np.frombuffer(part["scales"], np.uint8).reshape(count, 3), every / 16 - 10),
        quats=_rotations(part["rotations"], version),
        opacity_logits=packing.lookup(np.frombuffer(part["alphas"], np.uint8), packing.logits(every / 255)),
        sh=np.concatenate(harmonics, axis=1),
    )


def _sizes(version: int, count: int, degree: int) -> list[int]:
    """Bytes of each of `_PARTS`."""
    widths = (6 if version == 1 else 9, 1, 3, 3, 4 if version >= 3 else 3, 3 * _COEFFICIENTS[degree])
    return [count * width for width in widths]


def _parse_header(head: bytes, versions: range, packed: int, path: str | Path) -> tuple[int, int, int, int, int]:
    """Version, count, degree, fractional bits and the last byte, once `packed` bytes can hold as much as declared."""
    if len(head) < _HEADER.size:
        raise UserError(f"cannot read {path}: this SPZ file is truncated or damaged")
    magic, version, count, degree, bits, _, last = _HEADER.unpack_from(head)
    if magic != _MAGIC:
        raise UserError(f"cannot read {path}: it is not an SPZ file")
    if version not in versions:
        raise UserError(f"cannot read {path}: SPZ version {version} is not known, only 1 to 4; convert it elsewhere")
    if degree >= len(_COEFFICIENTS) or bits > 24:
        raise UserError(f"cannot read {path}: SPZ with SH degree {degree} and {bits} fractional bits makes no sense")
    size = sum(_sizes(version, count, degree))
    if count > packing.MAX_GAUSSIANS or size > min(MAX_BYTES, max(_ALWAYS_ALLOWED, _MAX_RATIO * packed)):
        raise packing.too_many(path, count)
    return version, count, degree, bits, last


def _unzip(data: bytes, path: str | Path) -> tuple[int, int, int, int, bytes]:
    """Header and body of versions 1 to 3; no more is unpacked than the header declares."""
    stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        head = stream.decompress(data, _HEADER.size)
        version, count, degree, bits, _ = _parse_header(head, range(1, 4), len(data), path)
        size = sum(_sizes(version, count, degree))
        body = stream.decompress(stream.unconsumed_tail, size) if size else b""
    except zlib.error as error:
        raise UserError(f"cannot read {path}: its gzip stream is damaged ({error})") from error
    if len(body) < size:
        raise UserError(f"cannot read {path}: this SPZ file is truncated, {len(body):,} of {size:,} bytes are there")
    return version, count, degree, bits, body


def _unpack_streams(data: bytes, path: str | Path) -> tuple[int, int, int, int, bytes]:
    """Header and body of version 4: zstd streams of the parts that are not empty, as its table of contents says."""
    version, count, degree, bits, streams = _parse_header(data, range(4, 5), len(data), path)
    sizes = [size for size in _sizes(version, count, degree) if size]
    if len(data) < _HEADER_4 or streams != len(sizes):
        raise UserError(f"cannot read {path}: this SPZ file has {streams} streams instead of {len(sizes)}")
    at = int.from_bytes(data[16:20], "little")
    position = at + 16 * streams
    if at < _HEADER_4 or position > len(data):
        raise UserError(f"cannot read {path}: this SPZ file is truncated or damaged")
    parts = []
    for size, (packed, unpacked) in zip(sizes, struct.iter_unpack("<QQ", data[at:position])):
        if unpacked != size or position + packed > len(data):
            raise UserError(f"cannot read {path}: this SPZ file is truncated, or its table of contents is wrong")
        parts.append(_unzstd(data[position : position + packed], size, path))
        position += packed
    return version, count, degree, bits, b"".join(parts)


def _unzstd(data: bytes, size: int, path: str | Path) -> bytes:
    """`size` bytes of a zstd frame, never more; UserError if it holds any other number."""
    try:
        import zstandard
    except ImportError as error:
        raise UserError(f"cannot read {path}: SPZ version 4 needs one more package; pip install zstandard") from error
    try:
        if zstandard.frame_content_size(data) not in (-1, size):  # what a frame declares is allocated at once
            raise zstandard.ZstdError("it declares another length")
        out = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data).read(size + 1)
    except zstandard.ZstdError as error:
        raise UserError(f"cannot read {path}: a zstd stream in it is damaged ({error})") from error
    if len(out) != size:
        raise UserError(f"cannot read {path}: a zstd stream in it holds another number of bytes than declared")
    return out


def _fractional_bits(means: np.ndarray, log_scales: np.ndarray, path: str | Path) -> int:
    """Bits after the point: 12, as the source has; more where half the Gaussians are finer; fewer if far away."""
    if len(means) == 0:
        return 12
    typical = math.exp(float(np.median(log_scales)))
    wanted = max(12, math.ceil(math.log2(_STEPS_PER_SCALE / max(typical, packing.MIN_SCALE))))
    farthest = float(np.abs(means).max())
    room = math.floor(math.log2((_FIXED - 1) / max(farthest, 1e-30)))
    if room < 0:
        raise UserError(f"cannot write {path}: SPZ reaches {_FIXED:,} units from the origin, a Gaussian is at "
                        f"{farthest:.4g}; make the splat smaller")  # fmt: skip
    return min(wanted, room, 24)


def _positions(data: bytes, version: int, bits: int) -> np.ndarray:
    if version == 1:
        return np.frombuffer(data, "<f2").reshape(-1, 3)
    low, middle, high = (np.frombuffer(data, np.uint8)[i::3].astype(np.int32) for i in range(3))
    fixed = low | (middle << 8) | (high << 16)
    return ((fixed ^ _FIXED) - _FIXED).reshape(-1, 3) * 2.0**-bits


def _pack_rotations(quats: np.ndarray) -> np.ndarray:
    """Words of the largest component's index (xyzw, 2 bits), then sign and 9 bits for each other."""
    largest, rest = packing.drop_largest(packing.unit(quats)[:, [1, 2, 3, 0]])
    words = largest
    for column in range(3):
        share = np.abs(rest[:, column]) * math.sqrt(2)
        sign = (rest[:, column] < 0).astype(np.uint32)
        words = (words << np.uint32(10)) | (sign << np.uint32(9)) | packing.to_unorm(share, 9)
    return words.astype("<u4")


def _rotations(data: bytes, version: int) -> np.ndarray:
    """[N,4] wxyz."""
    if version < 3:
        xyz = np.frombuffer(data, np.uint8).reshape(-1, 3) / 127.5 - 1
        w = np.sqrt(np.maximum(0, 1 - np.square(xyz).sum(axis=1, keepdims=True)))
        return packing.unit(np.concatenate([w, xyz], axis=1))
    words = np.frombuffer(data, "<u4")
    shares = [packing.from_unorm(words, 9, shift) * np.where(words >> np.uint32(shift + 9) & np.uint32(1), -1, 1)
              for shift in (20, 10, 0)]  # fmt: skip
    xyzw = packing.restore_largest(words >> np.uint32(30), np.stack(shares, axis=1) * math.sqrt(0.5))
    return xyzw[:, [3, 0, 1, 2]]


def _pack_harmonics(rest: np.ndarray) -> bytes:
    """Bytes of coefficients [N,K-1,3], in steps of 4 for degree 1 and of 8 above, so that they compress well.

    That is a bit more than the source's default (5 and 4 bits): a scene of photos came 4.5 dB nearer for 14 % more.
    """
    step = np.where(np.arange(rest.shape[1]) < 3, 4, 8).astype(np.float32)[:, None]
    return _bytes(np.rint(rest * (128 / step) + 128 / step) * step)


def _bytes(values: np.ndarray) -> bytes:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8).tobytes()
