"""Compressed PLY, as PlayCanvas, SuperSplat and most web viewers read it: 16 bytes a Gaussian and 0.28 for its chunk.

Gaussians stand in chunks of 256 neighbours. An element `chunk` has the smallest and largest position, log scale and
colour of each (18 floats; files of old have no colours, 12). An element `vertex` has four words a Gaussian: position
and scale as 11, 10 and 11 bits between the chunk's limits; rotation as 2 bits for its largest component (wxyz) and
10 bits for each other; colour and opacity as 4 x 8 bits. An optional element `sh` has the higher harmonics, one byte
each for -4 to 4, channel-major as in plain PLY.
Source: github.com/playcanvas/splat-transform, src/lib/writers/{write-compressed-ply,compressed-chunk}.ts and
src/lib/readers/decompress-ply.ts.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np

from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.io import packing
from gaussmith.io.atomic import write_bytes
from gaussmith.io.ply_format import Table
from gaussmith.sh import C0

CHUNK = 256
_LIMITS = [
    tuple(f"{end}_{part}{axis}" for axis in axes)
    for part, axes in (("", "xyz"), ("scale_", "xyz"), ("", "rgb"))
    for end in ("min", "max")
]
_WORDS = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_MAX_LOG = 20.0  # scales are clamped to exp(+-20), as the source does
_SH_RANGE = 4.0
_REST_COUNTS = {0: 1, 9: 4, 24: 9, 45: 16}


def save_compressed_ply(gaussians: Gaussians, path: str | Path) -> None:
    """Write N >= 0 Gaussians, SH degree 0 to 3, atomically; they are put into the order of a Z-curve.

    What is lost: positions and log scales to half a step of 1/2047 (x, z) or 1/1023 (y) of their chunk's extent,
    rotations to 0.3 degrees, colours to 1/510 of the chunk's range, opacities to 1/510, harmonics to 1/64.

    Raises:
        UserError: the place cannot be written.
        ValueError: a parameter is not finite.
    """
    fields = packing.arrays(gaussians)
    order = packing.morton_order(fields["means"])
    fields = {name: values[order] for name, values in fields.items()}
    count = len(order)
    colors = 0.5 + C0 * fields["sh"][:, 0].astype(np.float64)
    position, low_position, high_position = _relative(fields["means"])
    scale, low_scale, high_scale = _relative(np.clip(fields["log_scales"], -_MAX_LOG, _MAX_LOG))
    color, low_color, high_color = _relative(colors)
    chunks = np.concatenate([low_position, high_position, low_scale, high_scale, low_color, high_color], axis=1)
    alpha = packing.sigmoid(fields["opacity_logits"])
    words = np.stack(
        [
            _join(position, (11, 10, 11)),
            _pack_rotations(fields["quats"]),
            _join(scale, (11, 10, 11)),
            _join(np.concatenate([color, alpha[:, None]], axis=1), (8, 8, 8, 8)),
        ],
        axis=1,
    )
    rest = fields["sh"][:, 1:].transpose(0, 2, 1).reshape(count, 3 * (fields["sh"].shape[1] - 1))
    parts = [chunks.astype("<f4").tobytes(), words.astype("<u4").tobytes(), _pack_harmonics(rest).tobytes()]
    write_bytes(path, _header(len(chunks), count, rest.shape[1]), *parts)


def decode(tables: dict[str, Table], path: str | Path) -> Gaussians:
    """Gaussians of the elements of a compressed PLY.

    Raises:
        UserError: a property is missing or of a wrong type, the counts of the elements do not fit each other, or a
            limit is not finite.
    """
    vertex, chunk, sh = tables["vertex"], tables.get("chunk"), tables.get("sh")
    if chunk is None or chunk.count != -(-vertex.count // CHUNK):
        raise UserError(f"cannot read {path}: this compressed PLY does not have one chunk for each {CHUNK} Gaussians")
    missing = [name for name in _WORDS if name not in vertex.columns]
    missing += [name for name in itertools.chain(*_LIMITS[:4]) if name not in chunk.columns]
    if missing:
        raise UserError(f"cannot read {path}: this compressed PLY lacks {', '.join(missing)}")
    position, rotation, scale, color = (_integers(vertex.columns[name], np.uint32) for name in _WORDS)
    rgba = _split(color, (8, 8, 8, 8))
    rgb = rgba[:, :3]
    if all(name in chunk.columns for name in (*_LIMITS[4], *_LIMITS[5])):
        rgb = _absolute(rgb, chunk, 4)
    return packing.build(
        path,
        means=_absolute(_split(position, (11, 10, 11)), chunk, 0),
        log_scales=_absolute(_split(scale, (11, 10, 11)), chunk, 2),
        quats=_unpack_rotations(rotation),
        opacity_logits=packing.logits(rgba[:, 3]),
        sh=np.concatenate([((rgb - 0.5) / C0)[:, None].astype(np.float32), _harmonics(sh, vertex.count, path)], axis=1),
    )


def _integers(column: np.ndarray, kind: type[np.unsignedinteger]) -> np.ndarray:
    """A column as the integers it should have been declared as; what those cannot be is brought into their range."""
    if column.dtype.newbyteorder("=") == kind:
        return column.astype(kind)
    return np.nan_to_num(column.astype(np.float64)).clip(0, np.iinfo(kind).max).astype(kind)


def _header(chunks: int, count: int, rest: int) -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element chunk {chunks}"]
    lines += [f"property float {name}" for name in itertools.chain(*_LIMITS)]
    lines += [f"element vertex {count}", *(f"property uint {name}" for name in _WORDS)]
    if rest:
        lines += [f"element sh {count}", *(f"property uchar f_rest_{i}" for i in range(rest))]
    return "\n".join([*lines, "end_header\n"]).encode("ascii")


def _relative(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values [N,3] between the limits of their chunks, in [0,1], and the limits [C,3], float32."""
    starts = np.arange(0, len(values), CHUNK)
    if not len(starts):
        return values.astype(np.float64), np.zeros((0, 3)), np.zeros((0, 3))
    low, high = (extreme.reduceat(values, starts, axis=0).astype(np.float32) for extreme in (np.minimum, np.maximum))
    chunk = np.arange(len(values)) // CHUNK
    extent = (high.astype(np.float64) - low)[chunk]
    return (values - low.astype(np.float64)[chunk]) / np.where(extent > 0, extent, 1), low, high


def _absolute(shares: np.ndarray, chunk: Table, limits: int) -> np.ndarray:
    """Inverse of `_relative`: values [N,3] of shares and the chunks' limits of the given place in `_LIMITS`."""
    with np.errstate(all="ignore"):  # limits that are not finite are refused with the values they make
        low, high = (
            np.stack([chunk.columns[name].astype(np.float64) for name in names], axis=1)
            for names in _LIMITS[limits : limits + 2]
        )
        index = np.arange(len(shares)) // CHUNK
        return low[index] * (1 - shares) + high[index] * shares


def _join(shares: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """One uint32 of numbers [N,C] in [0,1], the first in the highest of the `bits` bits each."""
    word = np.zeros(len(shares), dtype=np.uint32)
    for column, width in enumerate(bits):
        word = (word << np.uint32(width)) | packing.to_unorm(shares[:, column], width)
    return word


def _split(words: np.ndarray, bits: tuple[int, ...]) -> np.ndarray:
    """Inverse of `_join`: [N,C]."""
    shifts = [sum(bits[i + 1 :]) for i in range(len(bits))]
    return np.stack([packing.from_unorm(words, width, shift) for width, shift in zip(bits, shifts)], axis=1)


def _pack_rotations(quats: np.ndarray) -> np.ndarray:
    largest, rest = packing.drop_largest(packing.unit(quats))
    return (largest << np.uint32(30)) | _join(rest * np.sqrt(0.5) + 0.5, (10, 10, 10))


def _unpack_rotations(words: np.ndarray) -> np.ndarray:
    rest = (_split(words, (10, 10, 10)) - 0.5) * np.sqrt(2)
    return packing.restore_largest(words >> np.uint32(30), rest)


def _pack_harmonics(rest: np.ndarray) -> np.ndarray:
    return np.clip((rest + np.float32(_SH_RANGE)) * np.float32(128 / _SH_RANGE), 0, 255).astype(np.uint8)


def _harmonics(sh: Table | None, count: int, path: str | Path) -> np.ndarray:
    """[N,K-1,3] coefficients above degree 0; the first and the last byte mean the very ends of the range."""
    if sh is None:
        return np.zeros((count, 0, 3), np.float32)
    names = [f"f_rest_{i}" for i in range(len(sh.columns))]
    if len(names) not in _REST_COUNTS or set(names) != set(sh.columns) or sh.count != count:
        raise UserError(f"cannot read {path}: its harmonics are of no SH degree from 0 to 3, or not one row a Gaussian")
    packed = np.zeros((count, len(names)), dtype=np.uint8)
    for i, name in enumerate(names):
        packed[:, i] = _integers(sh.columns[name], np.uint8)
    shares = (np.arange(256) + 0.5) / 256
    shares[[0, -1]] = 0, 1
    rest = packing.lookup(packed, (2 * shares - 1) * _SH_RANGE)
    return rest.reshape(count, 3, len(names) // 3).transpose(0, 2, 1)
