"""GPU kernels: which splats each 16x16 tile has to blend, and in which order: the lists of `_numba_bin`, less the rows.

Splats are counted per tile they meet, the counts are summed, and every (splat, tile) pair becomes one 64-bit key, tile
above depth, so that one stable sort puts all lists in order: equal depths stand in the order of the Gaussians.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from gaussmith.events import UserError
from gaussmith.render import _splat_rules as rules
from gaussmith.render._triton_project import SPLAT

TILE = tl.constexpr(rules.TILE)
COLUMNS = tl.constexpr(SPLAT)
SLACK = tl.constexpr(1e-4)
PIXEL_SLACK, RELATIVE_SLACK = tl.constexpr(2e-3), tl.constexpr(3e-7)
NOWHERE = tl.constexpr(2**63 - 1)
BLOCK = 32  # one warp: a block waits for its largest splat
MAX_PAIRS = 2**28
"""Most pairs of one picture: some 60 bytes each while they are sorted, 16 GB in all."""


class TileLists(NamedTuple):
    """P entries (splat, tile) of M = B*N splats in B*T tiles, sorted by tile and then by depth.

    Attributes:
        tile_start: [B*T+1] int64; the entries of tile i are tile_start[i] to tile_start[i+1].
        entry_splat: [P] int32 flat splat index b*N+n.
        entry_pair: [P] int64 where the entry stood before the sort: the pairs of a splat stand side by side.
        splat_end: [M] int64; the pairs of splat i are splat_end[i-1] to splat_end[i].
    """

    tile_start: Tensor
    entry_splat: Tensor
    entry_pair: Tensor
    splat_end: Tensor


@triton.jit
def _clamp(value, low, high):
    return tl.minimum(tl.maximum(value, low), high)


@triton.jit(do_not_specialize=["m", "n", "width", "height"])
def walk_tiles(
    means2d, splats, reach, m, n, width, height, counts, ends, keys, owners, FILL: tl.constexpr, BLOCK: tl.constexpr
):
    """Visit the tiles of a block of the m splats: without FILL, count them in counts [m]; with, write keys and owners.

    Compiled without fused multiply-add, so that both passes round alike; a pair the second pass does not find again
    would be left as NOWHERE, behind every tile.
    """
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = i < m
    r2 = tl.load(reach + i, mask, 0.0)
    drawn = r2 > 0
    r2 += SLACK
    at = splats + COLUMNS * i.to(tl.int64)
    x, y = tl.load(means2d + 2 * i.to(tl.int64), mask, 0.0), tl.load(means2d + 2 * i.to(tl.int64) + 1, mask, 0.0)
    l0, l1, l2 = tl.load(at, drawn, 1.0), tl.load(at + 1, drawn, 0.0), tl.load(at + 2, drawn, 1.0)
    half = tl.sqrt(r2) / l2
    steep = l1 * half / tl.sqrt(l1 * l1 + l2 * l2)
    slack_y = PIXEL_SLACK + RELATIVE_SLACK * (tl.abs(y) + half)
    top, bottom = tl.maximum(y - half - slack_y, 0.5), tl.minimum(y + half + slack_y, height - 0.5)
    first = tl.ceil((top - TILE + 0.5) / TILE).to(tl.int32)
    rows = tl.where(drawn & (top <= bottom), tl.floor((bottom - 0.5) / TILE).to(tl.int32) + 1 - first, 0)
    across = (width + TILE - 1) // TILE
    base = i // n * (across * ((height + TILE - 1) // TILE))
    count = tl.zeros([BLOCK], tl.int32)
    if FILL:
        begin = tl.load(ends + i - 1, mask & (i > 0), 0)
        room = tl.load(ends + i, mask, 0) - begin
        depth = tl.load(at + 7, drawn, 0.0).to(tl.int32, bitcast=True).to(tl.int64)  # positive: sorts like the float
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
                tile = (base + row * across + start + j).to(tl.int64)
                here = (j < columns) & (count + j < room)
                tl.store(keys + begin + count + j, (tile << 32) | depth, here)
                tl.store(owners + begin + count + j, i, here)
        count += columns
    if FILL:
        for j in range(tl.max(room - count, axis=0)):
            tl.store(keys + begin + count + j, NOWHERE, count + j < room)
            tl.store(owners + begin + count + j, i, count + j < room)
    else:
        tl.store(counts + i, count, mask)


def bin_splats(means2d: Tensor, splats: Tensor, reach: Tensor, width: int, height: int) -> TileLists:
    """Tile lists of means2d [B,N,2], splats [B,N,SPLAT], reach [B,N] as `_triton_project.project` fills them.

    The host waits for the device here once, for the number of pairs. Raises UserError beyond MAX_PAIRS of them.
    """
    (batch, n), device = reach.shape, reach.device
    m, tiles = batch * n, batch * -(-width // rules.TILE) * -(-height // rules.TILE)
    counts = torch.zeros(m, dtype=torch.int32, device=device)
    nothing = torch.empty(0, dtype=torch.int64, device=device)
    grid, scene = (triton.cdiv(m, BLOCK),), (means2d, splats, reach, m, n, width, height)
    options = {"BLOCK": BLOCK, "num_warps": 1, "enable_fp_fusion": False}
    if m:
        walk_tiles[grid](*scene, counts, nothing, nothing, nothing, FILL=False, **options)
    ends = torch.cumsum(counts, 0)
    total = int(ends[-1]) if m else 0
    if total > MAX_PAIRS:
        raise UserError(
            f"The Gaussians cover {total:,} tiles, more than the {MAX_PAIRS:,} that one picture may take; "
            "draw fewer or smaller Gaussians, a smaller picture or fewer cameras at once."
        )
    keys = torch.empty(total, dtype=torch.int64, device=device)
    owners = torch.empty(total, dtype=torch.int32, device=device)
    if total:
        walk_tiles[grid](*scene, counts, ends, keys, owners, FILL=True, **options)
    keys, order = torch.sort(keys, stable=True)
    bounds = torch.arange(0, (tiles + 1) << 32, 1 << 32, device=device)
    return TileLists(torch.searchsorted(keys, bounds), owners[order], order, ends)
