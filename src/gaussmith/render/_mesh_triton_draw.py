"""GPU kernels of the triangle rasteriser: face setup and coverage, with the float64 arithmetic of `_mesh_numba`.

Both kernels must be compiled without fused multiply-add: two faces that share an edge then see exactly opposite edge
vectors, and each pixel on it belongs to exactly one of them.
"""

from __future__ import annotations

import triton
import triton.language as tl

ROW = 12
"""float64 of a face: its three edge vectors, inside positive, and its corners' depths."""

COLUMNS = tl.constexpr(ROW)
NOTHING = tl.constexpr(2**63 - 1)
INDEX_BITS = tl.constexpr(2**32 - 1)


@triton.jit
def _corner(vertices, faces, f, corner, projections, mask):
    """Homogeneous pixel of one corner of faces f; `projections` points to this view's [3,4]."""
    v = tl.load(faces + 3 * f + corner, mask, 0)
    x = tl.load(vertices + 3 * v, mask, 0.0).to(tl.float64)
    y = tl.load(vertices + 3 * v + 1, mask, 0.0).to(tl.float64)
    z = tl.load(vertices + 3 * v + 2, mask, 0.0).to(tl.float64)
    p = projections
    h0 = tl.load(p) * x + tl.load(p + 1) * y + tl.load(p + 2) * z + tl.load(p + 3)
    h1 = tl.load(p + 4) * x + tl.load(p + 5) * y + tl.load(p + 6) * z + tl.load(p + 7)
    h2 = tl.load(p + 8) * x + tl.load(p + 9) * y + tl.load(p + 10) * z + tl.load(p + 11)
    return h0, h1, h2


@triton.jit
def _cross(a0, a1, a2, b0, b1, b2):
    return a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0


@triton.jit
def _grow(left, top, right, bottom, x, y, here):
    """The box with the point in it, where it is `here`."""
    left, top = tl.where(here & (x < left), x, left), tl.where(here & (y < top), y, top)
    return left, top, tl.where(here & (x > right), x, right), tl.where(here & (y > bottom), y, bottom)


@triton.jit
def _grow_by_edge(left, top, right, bottom, a0, a1, a2, b0, b1, b2, near):
    """The box with corner a, if it is in front of the near plane, and the point where the edge a b crosses it."""
    front = a2 >= near
    left, top, right, bottom = _grow(left, top, right, bottom, a0 / a2, a1 / a2, front)
    t = (near - a2) / (b2 - a2)
    x, y = (a0 + t * (b0 - a0)) / near, (a1 + t * (b1 - a1)) / near
    return _grow(left, top, right, bottom, x, y, front != (b2 >= near))


@triton.jit
def _first_centre(edge, limit):
    """First pixel whose centre is not left of `edge`, in [0, limit]; a hair early, the edge test decides."""
    return tl.minimum(tl.maximum(tl.ceil(edge - 0.5 - 1e-4), 0.0), limit.to(tl.float64)).to(tl.int32)


@triton.jit(do_not_specialize=["count", "width", "height"])
def setup(vertices, faces, projections, count, width, height, near, rows, boxes, BLOCK: tl.constexpr):
    """Fill rows float64 [B,F,ROW] and half-open pixel boxes int32 [B,F,4] (x0, y0, x1, y1), empty for what covers
    nothing, from vertices float32 [V,3], faces int64 [F,3], K [R|t] float64 [B,3,4] and near float64 [1]."""
    f, view = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK), tl.program_id(1)
    mask, near = f < count, tl.load(near)
    at, p = view.to(tl.int64) * count + f, projections + 12 * view
    f = f.to(tl.int64)
    a0, a1, a2 = _corner(vertices, faces, f, 0, p, mask)
    b0, b1, b2 = _corner(vertices, faces, f, 1, p, mask)
    c0, c1, c2 = _corner(vertices, faces, f, 2, p, mask)
    l0, l1, l2 = _cross(b0, b1, b2, c0, c1, c2)
    m0, m1, m2 = _cross(c0, c1, c2, a0, a1, a2)
    n0, n1, n2 = _cross(a0, a1, a2, b0, b1, b2)
    volume = a0 * l0 + a1 * l1 + a2 * l2
    sign = tl.where(volume < 0, -1.0, 1.0).to(tl.float64)
    row = rows + COLUMNS * at
    tl.store(row, l0 * sign, mask)
    tl.store(row + 1, l1 * sign, mask)
    tl.store(row + 2, l2 * sign, mask)
    tl.store(row + 3, m0 * sign, mask)
    tl.store(row + 4, m1 * sign, mask)
    tl.store(row + 5, m2 * sign, mask)
    tl.store(row + 6, n0 * sign, mask)
    tl.store(row + 7, n1 * sign, mask)
    tl.store(row + 8, n2 * sign, mask)
    tl.store(row + 9, a2, mask)
    tl.store(row + 10, b2, mask)
    tl.store(row + 11, c2, mask)
    least, most = tl.full([BLOCK], float("inf"), tl.float64), tl.full([BLOCK], float("-inf"), tl.float64)
    left, top, right, bottom = _grow_by_edge(least, least, most, most, a0, a1, a2, b0, b1, b2, near)
    left, top, right, bottom = _grow_by_edge(left, top, right, bottom, b0, b1, b2, c0, c1, c2, near)
    left, top, right, bottom = _grow_by_edge(left, top, right, bottom, c0, c1, c2, a0, a1, a2, near)
    some = (volume != 0) & (left <= right)  # a face without area, or seen exactly edge-on, covers nothing
    tl.store(boxes + 4 * at, tl.where(some, _first_centre(left, width), 0), mask)
    tl.store(boxes + 4 * at + 1, tl.where(some, _first_centre(top, height), 0), mask)
    tl.store(boxes + 4 * at + 2, tl.where(some, _first_centre(right + 1 + 2e-4, width), 0), mask)
    tl.store(boxes + 4 * at + 3, tl.where(some, _first_centre(bottom + 1 + 2e-4, height), 0), mask)


@triton.jit
def _edge(row, mask, px, py):
    """A face's edge function at pixel centres, and whether they belong to it by this edge: if they lie inside, or on
    the edge and it is a left edge, or a level top edge."""
    n0, n1, n2 = tl.load(row, mask, 0.0), tl.load(row + 1, mask, 0.0), tl.load(row + 2, mask, 0.0)
    e = n0 * px + (n1 * py + n2)
    return e, (e > 0) | ((e == 0) & ((n0 > 0) | ((n0 == 0) & (n1 > 0))))


@triton.jit
def _weights(row, mask, px, py):
    """Perspective-correct barycentrics of pixel centres in faces, and whether they lie inside."""
    e0, in0 = _edge(row, mask, px, py)
    e1, in1 = _edge(row + 3, mask, px, py)
    e2, in2 = _edge(row + 6, mask, px, py)
    total = e0 + e1 + e2
    scale = 1.0 / total
    return e0 * scale, e1 * scale, e2 * scale, in0 & in1 & in2 & (total > 0)


@triton.jit(do_not_specialize=["count", "width", "height"])
def draw(
    rows, boxes, tile_start, entries, count, width, height, near, face, barycentric, depth,
    TILE: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """Fill face int64 [B,H,W], barycentric [B,H,W,3] and depth [B,H,W]; one program takes one tile.

    Tile i lists entries[tile_start[i]:tile_start[i+1]], flat faces b*F+f in any order. The least (depth, index) wins,
    kept as one number: depths are positive and sort as their bits do. So of equal depths the first face wins.
    """
    across = (width + TILE - 1) // TILE
    tiles = across * ((height + TILE - 1) // TILE)
    tile, p = tl.program_id(0), tl.arange(0, TILE * TILE)
    b = tile // tiles
    x, y = tile % tiles % across * TILE + p % TILE, tile % tiles // across * TILE + p // TILE
    px, py = x.to(tl.float64) + 0.5, y.to(tl.float64) + 0.5
    first, near = b.to(tl.int64) * count, tl.load(near)
    k, end = tl.load(tile_start + tile), tl.load(tile_start + tile + 1)
    nearest = tl.full([TILE * TILE], NOTHING, tl.int64)
    while k < end:
        entry = k + tl.arange(0, CHUNK)
        listed = (entry < end)[:, None]
        g = tl.load(entries + entry, entry < end, 0)[:, None]
        row, box = rows + COLUMNS * g, boxes + 4 * g
        w0, w1, w2, inside = _weights(row, listed, px[None, :], py[None, :])
        inside &= (x[None, :] >= tl.load(box, listed, 0)) & (x[None, :] < tl.load(box + 2, listed, 0))
        inside &= (y[None, :] >= tl.load(box + 1, listed, 0)) & (y[None, :] < tl.load(box + 3, listed, 0))
        d0, d1 = tl.load(row + 9, listed, 0.0), tl.load(row + 10, listed, 0.0)
        z = (w0 * d0 + w1 * d1 + w2 * tl.load(row + 11, listed, 0.0)).to(tl.float32)
        inside &= z.to(tl.float64) >= near
        key = (z.to(tl.int32, bitcast=True).to(tl.int64) << 32) | (g - first)
        nearest = tl.minimum(nearest, tl.min(tl.where(inside, key, NOTHING), axis=0))
        k += CHUNK
    here, drawn = (x < width) & (y < height), nearest != NOTHING
    f = nearest & INDEX_BITS
    w0, w1, w2, _ = _weights(rows + COLUMNS * (first + tl.where(drawn, f, 0)), drawn & here, px, py)
    flat = (b.to(tl.int64) * height + y) * width + x
    z = (nearest >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    tl.store(face + flat, tl.where(drawn, f, -1), here)
    tl.store(barycentric + 3 * flat, tl.where(drawn, w0, 0.0).to(tl.float32), here)
    tl.store(barycentric + 3 * flat + 1, tl.where(drawn, w1, 0.0).to(tl.float32), here)
    tl.store(barycentric + 3 * flat + 2, tl.where(drawn, w2, 0.0).to(tl.float32), here)
    tl.store(depth + flat, tl.where(drawn, z, 0.0), here)
