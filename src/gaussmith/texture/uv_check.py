"""Can the texture coordinates that a mesh came with carry a texture of its own?"""

from __future__ import annotations

import numba as nb
import numpy as np

from gaussmith.mesh import Mesh
from gaussmith.texture.atlas import uv_arrays
from gaussmith.texture.unwrap import CRUSHED, face_areas, uv_areas

# None of these is from a paper.
_SLACK = 1e-4  # exporters round: that far outside [0,1] is still the border
_WASTED = 0.05  # with less of the texture in use, a new unwrapping shows much finer detail
_LOST = 0.01  # share of the surface that may be crushed in the texture
_SHARED = 1e-4  # share of the texels that may show two faces: slivers, folds smaller than can be seen
_EDGE = 1e-6  # barycentric coordinate under which a texel centre lies on a face's edge, which its neighbour shares


def uv_fault(mesh: Mesh, size: int) -> str | None:
    """Why the uv of a mesh cannot carry a size x size texture in which each texel shows one place of the surface, as
    the end of a sentence; None if they can.

    Raises:
        ValueError: the mesh has no uv.
    """
    uv, uv_faces = uv_arrays(mesh)
    corners = uv[uv_faces]
    if not np.isfinite(corners).all():
        return "hold numbers that are not finite"
    if corners.min() < -_SLACK or corners.max() > 1 + _SLACK:
        return "lie outside the texture"
    texels = uv.astype(np.float64) * size
    flat = np.abs(uv_areas(texels, uv_faces))
    surface = face_areas(mesh.vertices.detach().double().numpy(), mesh.faces.numpy())
    crushed = flat <= CRUSHED * surface * (flat.sum() / max(surface.sum(), 1e-300))
    if surface[crushed].sum() > _LOST * surface.sum():
        return "give parts of the surface no place in the texture"
    if flat.sum() < _WASTED * size * size:
        return f"use less than {_WASTED:.0%} of the texture"
    limit = int(_SHARED * flat.sum())
    if _shared_texels(texels, uv_faces, size, limit) > limit:
        return "show several faces in the same place of the texture"
    return None


@nb.njit(cache=True, error_model="numpy")
def _shared_texels(uv, uv_faces, size, limit):
    """How often a texel centre lies inside a face after it was in another; the count stops once past the limit."""
    taken = np.zeros((size, size), np.bool_)
    shared = 0
    for f in range(uv_faces.shape[0]):
        ax, ay = uv[uv_faces[f, 0]]
        bx, by = uv[uv_faces[f, 1]]
        cx, cy = uv[uv_faces[f, 2]]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        for i in range(max(int(np.floor(min(ay, by, cy))), 0), min(int(np.ceil(max(ay, by, cy))), size)):
            y = i + 0.5
            for j in range(max(int(np.floor(min(ax, bx, cx))), 0), min(int(np.ceil(max(ax, bx, cx))), size)):
                x = j + 0.5
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                if min(u, v, 1.0 - u - v) < _EDGE:
                    continue
                if taken[i, j]:
                    shared += 1
                    if shared > limit:
                        return shared
                taken[i, j] = True
    return shared
