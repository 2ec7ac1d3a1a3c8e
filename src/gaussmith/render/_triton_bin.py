"""GPU kernels: which splats each 16x16 tile has to blend, and in which order: the lists of `_numba_bin`, less the rows.

This is the radix sort of keys tile|depth over the (splat, tile) pairs, with its digits taken in two goes: the lower
ones, the depth, while a splat is still one row, and only the upper ones, the tile, when it has become its pairs. Both
sorts are stable, so equal depths stand in the order of the Gaussians. The keys of the pairs then have 16 bits instead
of 64: torch.sort walks over them twice, not eight times, and holds a third of the memory.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from gaussmith.events import UserError
from gaussmith.render import _splat_rules as rules
from gaussmith.render._triton_project import DEPTH, SPLAT

TILE = tl.constexpr(rules.TILE)
COLUMNS = tl.constexpr(SPLAT)
SLACK = tl.constexpr(1e-4)
PIXEL_SLACK, RELATIVE_SLACK = tl.constexpr(2e-3), tl.constexpr(3e-7)
SHORT, LONG = 2**15 - 1, 2**31 - 1
"""Keys of 16 and of 32 bits for a pair that stands behind every tile."""
BLOCK = 32  # one warp: a block waits for its largest splat
LIST_BLOCK = 256
MAX_PAIRS = 2**28
"""Most pairs of one picture: some 35 bytes each while they are sorted, 9 GB in all."""
MAX_SPLATS = 2**31 - 2**10
"""Splats are numbered in int32, up to the end of the last block."""


class TileLists(NamedTuple):
    """P entries (splat, tile) of M = B*N splats in B*T tiles, sorted by tile and then by depth.

    Attributes:
        tile_start: [B*T+1] int64; the entries of tile i are tile_start[i] to tile_start[i+1].
        entry_splat: [P] int32 flat splat index b*N+n.
        entry_pair: [P] int64 where the entry stood before the sort: the pairs of a splat stand side by side.
        order: [M] int64, the splats by depth.
        ends: [M] int64; the pairs of splat order[i] are ends[i-1] to ends[i].
    """

    tile_start: Tensor
    entry_splat: Tensor
    entry_pair: Tensor
    order: Tensor
    ends: Tensor


@triton.jit
def _clamp(value, low, high):
    return tl.minimum(tl.maximum(value, low), high)


@triton.jit(do_not_specialize=["m", "n", "width", "height", "nowhere"])
def walk_tiles(
    means2d, splats, reach, order, m, n, width, height, ends, keys, owners, nowhere,
    FILL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Visit the tiles of a block of the m splats by depth: without FILL, count them in ends [m]; with, where ends [m]
    are the sums of the counts, write keys (tiles) and owners.

    Compiled without fused multiply-add, so that both passes round alike; a pair the second pass does not find again
    would be left as `nowhere`, behind every tile.
    """
    rank = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = rank < m
    i = tl.load(order + rank, mask, 0)
    r2 = tl.load(reach + i, mask, 0.0)
    drawn = r2 > 0
    r2 += SLACK
    at = splats + COLUMNS * i
    x, y = tl.load(means2d + 2 * i, mask, 0.0), tl.load(means2d + 2 * i + 1, mask, 0.0)
    l0, l1, l2 = tl.load(at, drawn, 1.0), tl.load(at + 1, drawn, 0.0), tl.load(at + 2, drawn, 1.0)
    half = tl.sqrt(r2) / l2
    steep = l1 * half / tl.sqrt(l1 * l1 + l2 * l2)
    slack_y = PIXEL_SLACK + RELATIVE_SLACK * (tl.abs(y) + half)
    top, bottom = tl.maximum(y - half - slack_y, 0.5), tl.minimum(y + half + slack_y, height - 0.5)
    first = tl.ceil((top - TILE + 0.5) / TILE).to(tl.int32)
    rows = tl.where(drawn & (top <= bottom), tl.floor((bottom - 0.5) / TILE).to(tl.int32) + 1 - first, 0)
    across = (width + TILE - 1) // TILE
    base = (i // n).to(tl.int32) * (across * ((height + TILE - 1) // TILE))
    count = tl.zeros([BLOCK], tl.int32)
    if FILL:
        begin = tl.load(ends + rank - 1, mask & (rank > 0), 0)
        room = tl.load(ends + rank, mask, 0) - begin
    for step in range(tl.max(rows, axis=0)):
        row = first + step
        # Rightmost at dy = -steep, leftmost at its mirror image.
        y0, y1 = row * TILE + 0.5 - y, tl.minimum(row * TILE + TILE, height) - 0.5 - y
        dy = _clamp(-steep, y0, y1)
        right = (tl.sqrt(tl.maximum(r2 - l2 * dy * (l2 * dy), 0.0)) - l1 * dy) / l0
        dy = _clamp(steep, y0, y1)
        left = (tl.sqrt(tl.maximum(r2 - l2 * dy * (l2 * dy), 0.0)) + l1 * dy) / l0
        slack = PIXEL_SLACK + RELATIVE_SLACK * (tl.abs(x) + tl.abs(left) + tl.abs(right))
        right, left = tl.minimum(x + right + slack, width - 0.5), tl.maximum(x - left - slack, 0.5)
        start = tl.ceil((left - TILE + 0.5) / TILE).to(tl.int32)
        columns = tl.floor((right - 0.5) / TILE).to(tl.int32) + 1 - start
        columns = tl.where((step < rows) & (left <= right), columns, 0)
        if FILL:
            for j in range(tl.max(columns, axis=0)):
                here = (j < columns) & (count + j < room)
                tl.store(keys + begin + count + j, base + row * across + start + j, here)
                tl.store(owners + begin + count + j, i, here)
        count += columns
    if FILL:
        for j in range(tl.max(room - count, axis=0)):
            tl.store(keys + begin + count + j, nowhere, count + j < room)
            tl.store(owners + begin + count + j, i, count + j < room)
    else:
        tl.store(ends + rank, count, mask)


@triton.jit(do_not_specialize=["pairs", "tiles", "steps"])
def list_tiles(keys, entry_pair, owners, pairs, tiles, steps, entry_splat, tile_start, BLOCK: tl.constexpr):
    """Fill entry_splat [pairs], and tile_start [tiles+1] by `steps` halvings of the sorted keys [pairs]."""
    k = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    pair = tl.load(entry_pair + k, k < pairs, 0)
    tl.store(entry_splat + k, tl.load(owners + pair, k < pairs, 0), k < pairs)
    if tl.program_id(0) * BLOCK <= tiles:
        low, high = 0 * k, 0 * k + pairs
        for _ in range(steps):
            middle, open_ = (low + high) // 2, (low < high) & (k <= tiles)
            below = tl.load(keys + middle, open_, 0) < k
            low, high = tl.where(open_ & below, middle + 1, low), tl.where(open_ & ~below, middle, high)
        tl.store(tile_start + k, low, k <= tiles)


def bin_splats(means2d: Tensor, splats: Tensor, reach: Tensor, width: int, height: int) -> TileLists:
    """Tile lists of means2d [B,N,2], splats [B,N,SPLAT], reach [B,N] as `_triton_project.project` fills them.

    The host waits for the device here once, for the number of pairs. Raises UserError beyond MAX_PAIRS of them.
    """
    (batch, n), new = reach.shape, reach.new_empty
    m, tiles = batch * n, batch * -(-width // rules.TILE) * -(-height // rules.TILE)
    if m > MAX_SPLATS:
        raise UserError(f"{n:,} Gaussians in {batch} cameras are more than can be numbered; draw fewer at once.")
    nowhere, dtype = (SHORT, torch.int16) if tiles <= SHORT else (LONG, torch.int32)
    _, order = torch.sort(splats[..., DEPTH].flatten(), stable=True)
    ends = torch.empty_like(order)
    keys, owners = new(0, dtype=dtype), new(0, dtype=torch.int32)
    grid, scene = (triton.cdiv(m, BLOCK),), (means2d, splats, reach, order, m, n, width, height, ends)
    options = {"BLOCK": BLOCK, "num_warps": 1, "enable_fp_fusion": False}
    if m:
        walk_tiles[grid](*scene, keys, owners, nowhere, FILL=False, **options)
    torch.cumsum(ends, 0, out=ends)
    pairs = int(ends[-1]) if m else 0
    if pairs > MAX_PAIRS:
        raise UserError(
            f"The Gaussians cover {pairs:,} tiles, more than the {MAX_PAIRS:,} that one picture may take; "
            "draw fewer or smaller Gaussians, a smaller picture or fewer cameras at once."
        )
    keys, owners = new(pairs, dtype=dtype), new(pairs, dtype=torch.int32)
    if pairs:
        walk_tiles[grid](*scene, keys, owners, nowhere, FILL=True, **options)
    keys, entry_pair = torch.sort(keys, stable=True)
    entry_splat, tile_start = torch.empty_like(owners), new(tiles + 1, dtype=torch.int64)
    list_tiles[(triton.cdiv(max(pairs, tiles + 1), LIST_BLOCK),)](
        keys, entry_pair, owners, pairs, tiles, pairs.bit_length(), entry_splat, tile_start, BLOCK=LIST_BLOCK
    )
    return TileLists(tile_start, entry_splat, entry_pair, order, ends)
