"""The map from texels to the surface: which face, and which point of it, every texel of a texture shows.

Texel (i, j) of an S x S texture has its centre at uv ((j + .5) / S, (i + .5) / S) and the flat index i * S + j. A texel
is *inside* when its centre lies in a chart. The *margin* are the texels just outside whose colour a bilinear lookup in
the chart can touch: they show the nearest point of the chart's border, so that a lookup there needs no other rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
from scipy.ndimage import distance_transform_edt

from gaussmith.mesh import Mesh
from gaussmith.threads import run

MARGIN = 1.5  # texels: a bilinear lookup in a chart reads centres up to sqrt(2) away from it


@dataclass(frozen=True)
class Atlas:
    """The T texels of an S x S texture that show the surface, by ascending flat index.

    Attributes:
        size: S.
        texels: [T] int64 flat index.
        face: [T] int32 face shown.
        barycentric: [T,3] float32 place in the face.
        inside: [T] bool, False for the margin.
    """

    size: int
    texels: np.ndarray
    face: np.ndarray
    barycentric: np.ndarray
    inside: np.ndarray

    def at_corners(self, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Interpolate values [A,C] at the corners faces [F,3] to the texels: [T,C] float32."""
        out = np.empty((len(self.face), values.shape[1]), np.float32)
        run(_interpolate, np.ascontiguousarray(values, dtype=np.float32), faces, self.face, self.barycentric, out)
        return out

    def image(self, values: np.ndarray, outside: float = 0.0) -> np.ndarray:
        """Lay values [T,...] out as a picture [S,S,...]; texels that show no surface get `outside`."""
        out = np.full((self.size * self.size, *values.shape[1:]), outside, dtype=values.dtype)
        out[self.texels] = values
        return out.reshape(self.size, self.size, *values.shape[1:])

    def spread(self, picture: np.ndarray) -> np.ndarray:
        """A picture [S,S,C] in which every texel that shows no surface repeats the nearest one that does."""
        nowhere = np.ones(self.size * self.size, dtype=bool)
        nowhere[self.texels] = False
        rows, columns = distance_transform_edt(
            nowhere.reshape(self.size, self.size), return_distances=False, return_indices=True
        )
        return picture[rows, columns]


def atlas_fragments(mesh: Mesh, size: int, margin: float = MARGIN) -> Atlas:
    """Find the face and barycentric coordinates that every texel of a size x size texture shows.

    A texel centre that lies on a shared edge goes to the face of lower index, one in the margin to the nearest face.

    Raises:
        ValueError: the mesh has no uv.
    """
    uv, uv_faces = uv_arrays(mesh)
    face = np.full((size, size), -1, dtype=np.int32)
    distance = np.full((size, size), np.inf, dtype=np.float32)
    barycentric = np.zeros((size, size, 3), dtype=np.float32)
    _draw(uv.astype(np.float64) * size, uv_faces, margin, face, distance, barycentric)
    texels = np.flatnonzero(face.ravel() >= 0)
    inside = distance.ravel()[texels] == 0
    return Atlas(size, texels, face.ravel()[texels], barycentric.reshape(-1, 3)[texels], inside)


def uv_arrays(mesh: Mesh) -> tuple[np.ndarray, np.ndarray]:
    """uv [U,2] and uv_faces [F,3] of a mesh that has them."""
    if mesh.uv is None or mesh.uv_faces is None:
        raise ValueError("the mesh has no texture coordinates: unwrap it first")
    return mesh.uv.detach().numpy(), mesh.uv_faces.numpy()


@nb.njit(cache=True, error_model="numpy", inline="always")
def _to_segment(px, py, ax, ay, bx, by):
    """Squared distance from p to the segment ab, and where along it the nearest point lies (0 at a, 1 at b)."""
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    t = 0.0 if length == 0.0 else min(max(((px - ax) * dx + (py - ay) * dy) / length, 0.0), 1.0)
    ex, ey = ax + t * dx - px, ay + t * dy - py
    return ex * ex + ey * ey, t


@nb.njit(cache=True, error_model="numpy")
def _draw(uv, uv_faces, margin, face, distance, barycentric):
    """Fill face, distance (0 inside) and barycentric [S,S,...] from uv in texels; nearest face wins, then the first."""
    size = face.shape[0]
    for f in range(uv_faces.shape[0]):
        ax, ay = uv[uv_faces[f, 0]]
        bx, by = uv[uv_faces[f, 1]]
        cx, cy = uv[uv_faces[f, 2]]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        top = max(int(np.floor(min(ay, by, cy) - margin)), 0)
        bottom = min(int(np.ceil(max(ay, by, cy) + margin)), size)
        left = max(int(np.floor(min(ax, bx, cx) - margin)), 0)
        right = min(int(np.ceil(max(ax, bx, cx) + margin)), size)
        for i in range(top, bottom):
            y = i + 0.5
            for j in range(left, right):
                x = j + 0.5
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                far = 0.0
                if u < 0.0 or v < 0.0 or w < 0.0:
                    ab, t_ab = _to_segment(x, y, ax, ay, bx, by)
                    bc, t_bc = _to_segment(x, y, bx, by, cx, cy)
                    ca, t_ca = _to_segment(x, y, cx, cy, ax, ay)
                    nearest = min(ab, bc, ca)
                    far = max(np.sqrt(nearest), 1e-6)
                    if far > margin:
                        continue
                    if nearest == ab:
                        u, v, w = 1.0 - t_ab, t_ab, 0.0
                    elif nearest == bc:
                        u, v, w = 0.0, 1.0 - t_bc, t_bc
                    else:
                        u, v, w = t_ca, 0.0, 1.0 - t_ca
                if far < distance[i, j]:
                    distance[i, j] = far
                    face[i, j] = f
                    barycentric[i, j, 0], barycentric[i, j, 1], barycentric[i, j, 2] = u, v, w


@nb.njit(cache=True, error_model="numpy", nogil=True)
def _interpolate(worker, workers, values, faces, face, barycentric, out):
    count = face.shape[0]
    for t in range(worker * count // workers, (worker + 1) * count // workers):
        a, b, c = faces[face[t], 0], faces[face[t], 1], faces[face[t], 2]
        u, v, w = barycentric[t, 0], barycentric[t, 1], barycentric[t, 2]
        for k in range(values.shape[1]):
            out[t, k] = u * values[a, k] + v * values[b, k] + w * values[c, k]
