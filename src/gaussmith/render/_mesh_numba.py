"""CPU kernels of the triangle rasteriser: projection, coverage, attribute interpolation, texture lookup.

Axes: homogeneous pixels h = K (R v + t), so (h.x / h.z, h.y / h.z) is the pixel position and h.z the camera depth.
Coverage follows Olano & Greer, "Triangle Scan Conversion Using 2D Homogeneous Coordinates" (1997): with the edge
vectors n_i = h_j x h_k, a ray through the pixel p = (x, y, 1) meets the triangle's plane at barycentrics proportional
to e_i = n_i . p, perspective-correct, and valid for vertices behind the camera too; so no polygon is ever clipped, the
near plane is a test on each pixel's depth. Two faces that share an edge see exactly opposite n_i (a cross product in
IEEE arithmetic without contraction is antisymmetric to the last bit), so the tie rule in `_owns_edge` gives each pixel
on the edge to exactly one of them. The kernels are for `gaussmith.threads.run`: `worker` of `workers` does its share.
Every pixel is written by one worker, in face order: the bits never depend on their number.
"""

from __future__ import annotations

import numba as nb
import numpy as np

BAND = 64  # rows a turn owns: enough turns to balance many cores, few enough scans over the faces


@nb.njit(cache=True, error_model="numpy", nogil=True)
def project(worker, workers, vertices, projections, points):
    """Fill homogeneous pixels float64 [B,V,3] of vertices [V,3] under projections K [R|t] float64 [B,3,4]."""
    count = vertices.shape[0]
    for b in range(projections.shape[0]):
        p = projections[b]
        for v in range(worker * count // workers, (worker + 1) * count // workers):
            x, y, z = np.float64(vertices[v, 0]), np.float64(vertices[v, 1]), np.float64(vertices[v, 2])
            for i in range(3):
                points[b, v, i] = p[i, 0] * x + p[i, 1] * y + p[i, 2] * z + p[i, 3]


@nb.njit(cache=True, error_model="numpy", inline="always")
def _grow(box, x, y):
    return min(box[0], x), min(box[1], y), max(box[2], x), max(box[3], y)


@nb.njit(cache=True, error_model="numpy")
def _bounds(points, corners, near):
    """Pixel bounds (x0, y0, x1, y1) of the part of a triangle in front of the near plane; empty if x0 > x1."""
    box = (np.inf, np.inf, -np.inf, -np.inf)
    for i in range(3):
        a, b = points[corners[i]], points[corners[(i + 1) % 3]]
        if a[2] >= near:
            box = _grow(box, a[0] / a[2], a[1] / a[2])
        if (a[2] >= near) != (b[2] >= near):
            t = (near - a[2]) / (b[2] - a[2])
            box = _grow(box, (a[0] + t * (b[0] - a[0])) / near, (a[1] + t * (b[1] - a[1])) / near)
    return box


@nb.njit(cache=True, error_model="numpy", inline="always")
def _first_centre(edge, limit):
    """First pixel whose centre is not left of `edge`, in [0, limit]; a hair early, the edge test decides."""
    return np.int32(min(max(np.ceil(edge - 0.5 - 1e-4), 0.0), limit))


@nb.njit(cache=True, error_model="numpy", nogil=True)
def setup(worker, workers, points, faces, near, height, width, edges, boxes):
    """Fill edge vectors float64 [B,F,3,3], inside positive, and half-open pixel boxes int32 [B,F,4] (x0, y0, x1, y1).

    The boxes must come as zeros: those of faces that cover nothing stay so.
    """
    count = faces.shape[0]
    jobs = points.shape[0] * count
    for job in range(worker * jobs // workers, (worker + 1) * jobs // workers):
        b, f = job // count, job % count
        n = edges[b, f]
        for i in range(3):
            p, q = points[b, faces[f, (i + 1) % 3]], points[b, faces[f, (i + 2) % 3]]
            n[i, 0] = p[1] * q[2] - p[2] * q[1]
            n[i, 1] = p[2] * q[0] - p[0] * q[2]
            n[i, 2] = p[0] * q[1] - p[1] * q[0]
        first = points[b, faces[f, 0]]
        volume = first[0] * n[0, 0] + first[1] * n[0, 1] + first[2] * n[0, 2]
        if volume == 0:  # no area, or seen exactly edge-on: covers nothing
            continue
        if volume < 0:
            for i in range(3):
                for j in range(3):
                    n[i, j] = -n[i, j]
        box = _bounds(points[b], faces[f], near)
        if box[0] <= box[2]:
            boxes[b, f, 0] = _first_centre(box[0], width)
            boxes[b, f, 1] = _first_centre(box[1], height)
            boxes[b, f, 2] = _first_centre(box[2] + 1 + 2e-4, width)
            boxes[b, f, 3] = _first_centre(box[3] + 1 + 2e-4, height)


@nb.njit(cache=True, error_model="numpy", inline="always")
def _owns_edge(n):
    """Whether pixels exactly on the edge belong to this face: left edges, and top edges where the edge is level."""
    return n[0] > 0 or (n[0] == 0 and n[1] > 0)


@nb.njit(cache=True, error_model="numpy", inline="always")
def _span(n, y, left, right):
    """Shrink the columns [left, right) of row y to those that may lie inside all three edges, and a pixel more."""
    for i in range(3):
        if n[i, 0] != 0:
            crossing = -(n[i, 1] * (y + 0.5) + n[i, 2]) / n[i, 0] - 0.5
            crossing = min(max(crossing, left - 2.0), right + 2.0)
            if n[i, 0] > 0:
                left = max(left, np.int64(np.floor(crossing)))
            else:
                right = min(right, np.int64(np.ceil(crossing)) + 1)
    return left, right


@nb.njit(cache=True, error_model="numpy")
def _draw_face(n, depths, box, rows, near, index, face, barycentric, depth):
    own0, own1, own2 = _owns_edge(n[0]), _owns_edge(n[1]), _owns_edge(n[2])
    wide = box[2] - box[0] > 8  # on narrow faces the span costs more than it saves
    for y in range(max(box[1], rows[0]), min(box[3], rows[1])):
        left, right = np.int64(box[0]), np.int64(box[2])
        if wide:
            left, right = _span(n, y, left, right)
        r0 = n[0, 1] * (y + 0.5) + n[0, 2]
        r1 = n[1, 1] * (y + 0.5) + n[1, 2]
        r2 = n[2, 1] * (y + 0.5) + n[2, 2]
        for x in range(left, right):
            e0, e1, e2 = n[0, 0] * (x + 0.5) + r0, n[1, 0] * (x + 0.5) + r1, n[2, 0] * (x + 0.5) + r2
            if e0 < 0 or e1 < 0 or e2 < 0:
                continue
            if (e0 == 0 and not own0) or (e1 == 0 and not own1) or (e2 == 0 and not own2):
                continue
            total = e0 + e1 + e2
            if total <= 0:
                continue
            scale = 1 / total
            w0, w1, w2 = e0 * scale, e1 * scale, e2 * scale
            z = np.float32(w0 * depths[0] + w1 * depths[1] + w2 * depths[2])
            if z >= near and (face[y, x] < 0 or z < depth[y, x]):
                face[y, x], depth[y, x] = index, z
                barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2] = w0, w1, w2


@nb.njit(cache=True, error_model="numpy", nogil=True)
def draw(worker, workers, points, faces, edges, boxes, near, face, barycentric, depth):
    """Z-buffer all faces into face [B,H,W] (comes as -1), barycentric [B,H,W,3] and depth [B,H,W] (come as zeros).

    Of equal depths the first face wins.
    """
    views, height = face.shape[0], face.shape[1]
    bands = (height + BAND - 1) // BAND
    for job in range(worker, views * bands, workers):
        b, rows = job // bands, (job % bands * BAND, min((job % bands + 1) * BAND, height))
        for f in range(faces.shape[0]):
            box = boxes[b, f]
            if box[1] < rows[1] and box[3] > rows[0] and box[0] < box[2]:
                depths = points[b, faces[f, 0], 2], points[b, faces[f, 1], 2], points[b, faces[f, 2], 2]
                _draw_face(edges[b, f], depths, box, rows, near, f, face[b], barycentric[b], depth[b])


@nb.njit(cache=True, error_model="numpy", inline="always")
def _blend(attributes, corners, weights, channel):
    return (
        weights[0] * attributes[corners[0], channel]
        + weights[1] * attributes[corners[1], channel]
        + weights[2] * attributes[corners[2], channel]
    )


@nb.njit(cache=True, error_model="numpy", nogil=True)
def interpolate(worker, workers, attributes, faces, face, barycentric, side, out):
    """Add up corner values [A,C], blended at each sample, over the samples of each pixel.

    `face` [B,H,W] and `barycentric` [B,H,W,3] are samples, side x side a pixel; `out` [B,H/side,W/side,C] comes as
    zeros.
    """
    views, height, width, channels = out.shape
    for row in range(worker, views * height, workers):
        b, y = row // height, row % height
        for i in range(y * side, (y + 1) * side):
            for j in range(width * side):
                if face[b, i, j] >= 0:
                    for c in range(channels):
                        out[b, y, j // side, c] += _blend(attributes, faces[face[b, i, j]], barycentric[b, i, j], c)


@nb.njit(cache=True, error_model="numpy", nogil=True)
def geometry(worker, workers, normals, normal_faces, face, barycentric, depth, rays, side, count, mean_depth, normal):
    """Fill the number of covered samples [H,W], their mean depth [H,W] and unit mean normal [H,W,3] of one view.

    `face`, `barycentric` and `depth` are samples, side x side a pixel; `rays` [3,3] takes a sample's (x, y, 1) to its
    viewing direction; normals [A,3] are turned against it. The outputs come as zeros.
    """
    height, width = count.shape
    for y in range(worker, height, workers):
        for i in range(y * side, (y + 1) * side):
            for j in range(width * side):
                if face[i, j] < 0:
                    continue
                x, towards, squared = j // side, np.float32(0), np.float32(0)
                corners, weights = normal_faces[face[i, j]], barycentric[i, j]
                for c in range(3):
                    n = _blend(normals, corners, weights, c)
                    towards += n * (rays[c, 0] * (j + 0.5) + rays[c, 1] * (i + 0.5) + rays[c, 2])
                    squared += n * n
                scale = (-1 if towards > 0 else 1) / max(np.sqrt(squared), np.float32(1e-12))
                for c in range(3):
                    normal[y, x, c] += _blend(normals, corners, weights, c) * scale
                count[y, x] += 1
                mean_depth[y, x] += depth[i, j]
        for x in range(width):
            mean_depth[y, x] /= max(count[y, x], np.float32(1))
            m = normal[y, x]
            length = max(np.sqrt(m[0] * m[0] + m[1] * m[1] + m[2] * m[2]), np.float32(1e-12))
            for c in range(3):
                m[c] /= length


@nb.njit(cache=True, error_model="numpy", inline="always")
def _texel(position, size):
    """First of the two texels around a texture coordinate, and the weight of the second; clamped at the border."""
    x = min(max(position * size - 0.5, 0.0), size - 1.0)
    first = min(np.int64(x), max(size - 2, 0))
    return first, x - first


@nb.njit(cache=True, error_model="numpy", nogil=True)
def lookup(worker, workers, texture, uv, drawn, side, out):
    """Add up bilinear samples of texture [H,W,C] at uv [B,h,w,2] over the side x side samples of each pixel.

    Samples that are not drawn [B,h,w] add nothing; `out` [B,h/side,w/side,C] comes as zeros.
    """
    texture_height, texture_width, channels = texture.shape
    views, height, width = out.shape[:3]
    for row in range(worker, views * height, workers):
        b, y = row // height, row % height
        for i in range(y * side, (y + 1) * side):
            for j in range(width * side):
                if not drawn[b, i, j]:
                    continue
                left, s = _texel(uv[b, i, j, 0], texture_width)
                top, t = _texel(uv[b, i, j, 1], texture_height)
                right, below = min(left + 1, texture_width - 1), min(top + 1, texture_height - 1)
                for c in range(channels):
                    upper = texture[top, left, c] + s * (texture[top, right, c] - texture[top, left, c])
                    lower = texture[below, left, c] + s * (texture[below, right, c] - texture[below, left, c])
                    out[b, y, j // side, c] += upper + t * (lower - upper)


@nb.njit(cache=True, error_model="numpy", nogil=True)
def lookup_backward(worker, workers, gradient, uv, drawn, side, out):
    """Add the gradient of the texture [H,W,C] from that of the pixels [B,h/side,w/side,C] to `out`.

    Each worker owns a stripe of texel rows and walks all samples in order, so every texel sums its terms in one order,
    whatever the number of workers.
    """
    height, width, channels = out.shape
    low, high = worker * height // workers, (worker + 1) * height // workers
    for b in range(uv.shape[0]):
        for i in range(uv.shape[1] // side * side):
            for j in range(uv.shape[2] // side * side):
                if not drawn[b, i, j]:
                    continue
                top, t = _texel(uv[b, i, j, 1], height)
                if top >= high or top + 1 < low:
                    continue
                left, s = _texel(uv[b, i, j, 0], width)
                right = min(left + 1, width - 1)
                g = gradient[b, i // side, j // side]
                for below in range(2):
                    row, weight = min(top + below, height - 1), t if below else 1 - t
                    if low <= row < high:
                        for c in range(channels):
                            out[row, left, c] += g[c] * (weight * (1 - s))
                            out[row, right, c] += g[c] * (weight * s)
