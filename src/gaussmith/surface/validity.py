"""Is a mesh a proper solid? And if it is not: make it one."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from gaussmith.events import UserError
from gaussmith.mesh import Mesh
from gaussmith.surface import marching

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class MeshReport:
    """What `check` found.

    Attributes:
        vertices, faces: counts.
        watertight: every edge borders exactly two faces (or, on a non-manifold edge, an even number).
        manifold: every edge borders exactly two faces and the faces around every vertex form one closed fan.
        oriented: every edge is run through once in each direction, and every part faces outwards.
        components: parts connected through shared edges.
        genus: handles, summed over the parts, from the Euler characteristic; -1 if the mesh is no closed manifold.
        inner_shells: parts that lie inside another one.
        degenerate: faces without area, or that repeat a vertex or another face.
        volume: enclosed volume, cubic world units.
    """

    vertices: int
    faces: int
    watertight: bool
    manifold: bool
    oriented: bool
    components: int
    genus: int
    inner_shells: int
    degenerate: int
    volume: float

    @property
    def valid(self) -> bool:
        """A proper solid: closed, manifold, facing outwards, with nothing inside and no waste."""
        proper = self.faces > 0 and self.watertight and self.manifold and self.oriented
        return proper and not self.inner_shells and not self.degenerate and self.volume > 0

    def to_dict(self) -> dict[str, int | float | bool]:
        return asdict(self)


def check(mesh: Mesh) -> MeshReport:
    """Examine a mesh; any vertices [V,3] and faces [F,3] will do, unused vertices are not counted."""
    vertices, faces = arrays(mesh)
    used = np.unique(faces)
    edges, count, balance = _edges(faces)
    watertight = len(faces) > 0 and bool((count % 2 == 0).all())
    manifold = len(faces) > 0 and bool((count == 2).all()) and not len(pinched(faces, len(vertices)))
    part = face_parts(faces)
    parts = int(part.max(initial=-1)) + 1
    volumes = np.bincount(part, weights=signed_volumes(vertices, faces), minlength=parts)
    genus = (2 * parts - (len(used) - len(edges) + len(faces))) // 2 if manifold else -1
    return MeshReport(
        vertices=len(used),
        faces=len(faces),
        watertight=watertight,
        manifold=manifold,
        oriented=watertight and bool((balance == 0).all()) and bool((volumes > 0).all()),
        components=parts,
        genus=genus,
        inner_shells=int(nested(vertices, faces, part).sum()) if watertight else 0,
        degenerate=int(degenerate(vertices, faces).sum()),
        volume=float(volumes.sum()),
    )


def arrays(mesh: Mesh) -> tuple[F64, I64]:
    """The vertices and faces as float64 and int64 arrays."""
    return mesh.vertices.detach().cpu().double().numpy(), mesh.faces.cpu().numpy()


def to_mesh(vertices: F64, faces: I64) -> Mesh:
    """A Mesh of these arrays without the vertices that no face uses, their order kept."""
    used, index = np.unique(faces, return_inverse=True)
    kept = np.ascontiguousarray(vertices[used], dtype=np.float32)
    return Mesh(torch.from_numpy(kept), torch.from_numpy(index.reshape(-1, 3).astype(np.int64)))


def _edges(faces: I64) -> tuple[I64, I64, I64]:
    """Undirected edges [E,2] (smaller index first), their faces, and their runs forwards less those backwards."""
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    low, high = directed.min(axis=1), directed.max(axis=1)
    scale = int(faces.max(initial=0)) + 1
    keys, inverse, count = np.unique(low * scale + high, return_inverse=True, return_counts=True)
    direction = np.sign(directed[:, 1] - directed[:, 0])
    balance = np.bincount(inverse.ravel(), weights=direction, minlength=len(keys)).astype(np.int64)
    return np.stack([keys // scale, keys % scale], axis=1), count, balance


def face_parts(faces: I64) -> I64:
    """[F] number of the edge-connected part of each face, parts numbered by their first face."""
    if not len(faces):
        return np.zeros(0, np.int64)
    directed = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, edge = np.unique(directed[:, 0] * (int(faces.max()) + 1) + directed[:, 1], return_inverse=True)
    face = np.repeat(np.arange(len(faces)), 3)
    link = coo_matrix((np.ones(len(face), np.int8), (face, len(faces) + edge.ravel())))
    total = len(faces) + int(edge.max()) + 1
    link.resize(total, total)
    _, label = connected_components(link, directed=False)
    _, first, part = np.unique(label[: len(faces)], return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[part.ravel()]


def corner_fans(faces: I64) -> I64:
    """[F,3] number of the fan of each face corner: corners of a vertex whose faces meet in an edge at that vertex.

    A vertex with more than one fan is pinched: two surfaces touch there.
    """
    corner = np.arange(faces.size).reshape(-1, 3)
    # At edge (u,v) the corners at u of its faces belong together, and so do those at v: sort (edge, end) groups.
    pairs = np.concatenate([np.stack([faces[:, i], faces[:, (i + d) % 3]], 1) for i in range(3) for d in (1, 2)])
    owner = np.concatenate([corner[:, i] for i in range(3) for _ in (1, 2)])
    _, group = np.unique(pairs[:, 0] * (int(faces.max(initial=0)) + 1) + pairs[:, 1], return_inverse=True)
    link = coo_matrix((np.ones(len(owner), np.int8), (owner, faces.size + group.ravel())))
    total = faces.size + int(group.max(initial=-1)) + 1
    link.resize(total, total)
    _, label = connected_components(link, directed=False)
    return label[: faces.size].reshape(-1, 3).astype(np.int64)


def pinched(faces: I64, vertices: int) -> I64:
    """Vertices at which more than one fan of faces meets."""
    fans = np.unique(np.stack([faces.ravel(), corner_fans(faces).ravel()], axis=1), axis=0)
    return np.flatnonzero(np.bincount(fans[:, 0], minlength=vertices) > 1)


def signed_volumes(vertices: F64, faces: I64) -> F64:
    """[F] signed volume of the tetrahedron of each face and the first vertex; they sum to the enclosed volume."""
    if not len(faces):
        return np.zeros(0)
    a, b, c = (vertices[faces[:, i]] - vertices[faces[0, 0]] for i in range(3))
    return np.einsum("ij,ij->i", a, np.cross(b, c)) / 6


def degenerate(vertices: F64, faces: I64) -> NDArray[np.bool_]:
    """[F] faces that repeat a vertex, repeat an earlier face (in any order), or have no area."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    flat = np.linalg.norm(np.cross(b - a, c - a), axis=1) <= 0
    _, first = np.unique(np.sort(faces, axis=1), axis=0, return_index=True)
    repeated = np.ones(len(faces), bool)
    repeated[first] = False
    return flat | repeated | (faces == np.roll(faces, 1, axis=1)).any(axis=1)


def nested(vertices: F64, faces: I64, part: I64) -> NDArray[np.bool_]:
    """[parts] True where a part of a closed mesh lies inside another one, or faces inwards."""
    parts = int(part.max(initial=-1)) + 1
    volume = np.bincount(part, weights=signed_volumes(vertices, faces), minlength=parts)
    inside = volume < 0
    if parts < 2:
        return inside
    corners = vertices[faces]
    low = np.stack([corners[part == p].min(axis=(0, 1)) for p in range(parts)])
    high = np.stack([corners[part == p].max(axis=(0, 1)) for p in range(parts)])
    for p in range(parts):
        around = np.flatnonzero((low <= low[p]).all(1) & (high >= high[p]).all(1))
        for q in around[around != p]:
            # A face centre, not a vertex: parts may touch in vertices.
            point = corners[part == p][0].mean(axis=0)
            inside[p] |= abs(winding_number(point, corners[part == q])) > 0.5
    return inside


def winding_number(point: F64, corners: F64) -> float:
    """How often the triangles [F,3,3] wind around a point [3] (van Oosterom and Strackee 1983)."""
    a, b, c = (corners[:, i] - point for i in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
    triple = np.einsum("ij,ij->i", a, np.cross(b, c))
    dots = [np.einsum("ij,ij->i", u, v) for u, v in ((a, b), (b, c), (c, a))]
    return float(np.arctan2(triple, la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb).sum() / (2 * np.pi))


def is_closed_manifold(faces: I64) -> bool:
    """Do the faces form one or more closed, consistently wound 2-manifolds? (Topology alone.)"""
    if not len(faces):
        return False
    start, end, scale = faces.ravel(), faces[:, [1, 2, 0]].ravel(), int(faces.max()) + 1
    run, back = start * scale + end, end * scale + start
    by_run, by_back = np.argsort(run, kind="stable"), np.argsort(back, kind="stable")
    sorted_run = run[by_run]
    if (sorted_run[1:] == sorted_run[:-1]).any() or (sorted_run != back[by_back]).any():
        return False
    # Every half-edge has its one twin. Going to the twin of the previous half-edge turns around the start vertex: the
    # surface is unpinched if there are as many such rounds as vertices.
    twin = np.empty(len(run), np.int64)
    twin[by_run] = by_back
    half = np.arange(len(run))
    previous = half - half % 3 + (half + 2) % 3
    turn = coo_matrix((np.ones(len(run), np.int8), (half, twin[previous])), shape=(len(run), len(run)))
    rounds, _ = connected_components(turn, directed=False)
    return rounds == len(np.unique(start))


def large_parts(vertices: F64, faces: I64, min_component: float) -> I64:
    """The faces of the parts whose bounding-box diagonal is at least min_component of the largest part's."""
    part = face_parts(faces)
    if part.max(initial=0) == 0:
        return faces
    order = np.argsort(part, kind="stable")
    first = np.flatnonzero(np.diff(part[order], prepend=-1))
    corners = vertices[faces[order]]
    low, high = np.minimum.reduceat(corners.min(1), first), np.maximum.reduceat(corners.max(1), first)
    size = np.linalg.norm(high - low, axis=1)
    return faces[(size >= min_component * size.max())[part]]


def make_valid(mesh: Mesh, *, resolution: int = 128) -> Mesh:
    """A mesh for which `check(...).valid` holds, as near to the given one as can be; the mesh itself if it is valid.

    First a repair that moves nothing: coincident vertices merged, degenerate and repeated faces dropped, pinched
    vertices split, faces turned outwards, inner shells removed. Where that is not enough (holes, edges of three faces,
    one-sided surfaces), the surface is voxelised, `resolution` nodes along its longest side, what it encloses filled,
    and the solid marched: closed and manifold by construction, at the price of details below a voxel.

    Colours, normals and texture coordinates are dropped unless the mesh was valid. Raises UserError for a mesh without
    any surface, RuntimeError (a fault of this package) if every attempt fails.
    """
    if check(mesh).valid:
        return mesh
    vertices, faces = arrays(mesh)
    faces = faces[np.isfinite(vertices[faces]).all(axis=(1, 2))]
    faces = faces[~degenerate(vertices, faces)] if len(faces) else faces
    if not len(faces):
        raise UserError("The mesh has no face with an area, so there is nothing to repair: check the input.")
    for attempt in (_repaired, lambda v, f: _revoxelised(v, f, resolution)):
        candidate = attempt(vertices, faces)
        if candidate is not None and check(candidate).valid:
            return candidate
    raise RuntimeError("internal error: the mesh could not be made valid")


def _repaired(vertices: F64, faces: I64) -> Mesh | None:
    _, first, merged = np.unique(vertices, axis=0, return_index=True, return_inverse=True)
    faces = first[merged.ravel()[faces]]
    faces = faces[~degenerate(vertices, faces)]
    if not len(faces):
        return None
    fans = corner_fans(faces)
    _, corner, split = np.unique(fans.ravel(), return_index=True, return_inverse=True)
    vertices, faces = vertices[faces.ravel()[corner]], split.reshape(-1, 3)
    if not (_edges(faces)[1] == 2).all():
        return None
    turned = _turned_alike(faces)
    if turned is None:
        return None
    part = face_parts(turned)
    volume = np.bincount(part, weights=signed_volumes(vertices, turned))
    turned[(volume < 0)[part]] = turned[(volume < 0)[part]][:, ::-1]
    return to_mesh(vertices, turned[~nested(vertices, turned, part)[part]])


def _turned_alike(faces: I64) -> I64 | None:
    """The faces of a closed manifold, some turned over so that neighbours agree; None if it is one-sided.

    Works on the double cover: two copies of each face, one turned over, linked to the copy of each neighbour that
    agrees with it. A part is orientable if its cover falls into two pieces.
    """
    n = len(faces)
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    low, high = directed.min(axis=1), directed.max(axis=1)
    order = np.lexsort((high, low))
    face, forward = order // 3, (directed[:, 0] < directed[:, 1])[order]
    a, b, clash = face[::2], face[1::2], forward[::2] == forward[1::2]
    rows, columns = np.concatenate([a, a + n]), np.concatenate([b + n * clash, b + n * ~clash])
    link = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(2 * n, 2 * n))
    _, label = connected_components(link, directed=False)
    if (label[:n] == label[n:]).any():
        return None
    turn = label[:n] > label[n:]
    out = faces.copy()
    out[turn] = out[turn][:, ::-1]
    return out


def _revoxelised(vertices: F64, faces: I64, resolution: int) -> Mesh:
    corners = vertices[faces]
    low, high = corners.min(axis=(0, 1)), corners.max(axis=(0, 1))
    spacing = float((high - low).max()) / max(resolution - 3, 5)
    shape = np.ceil((high - low) / spacing).astype(int) + 3
    mask = np.zeros(shape, bool)
    index = (corners - low) / spacing + 1
    edge = np.linalg.norm(index - np.roll(index, 1, axis=1), axis=2).max(axis=1)
    pieces = np.maximum(np.ceil(edge * 2).astype(int), 1)  # samples at most half a voxel apart
    for n in np.unique(pieces):
        u, v = (a.ravel() / n for a in np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij"))
        weights = np.stack([u, v, 1 - u - v], axis=1)[u + v < 1 + 1e-9]
        for chunk in np.array_split(index[pieces == n], 1 + int((pieces == n).sum()) * len(weights) // 2_000_000):
            nodes = np.rint(np.einsum("pk,fkc->fpc", weights, chunk)).astype(int).reshape(-1, 3)
            mask[tuple(nodes.T)] = True
    mask = marching.solid(mask)
    # Within a node, the blur keeps a single occupied voxel at 0.57^3 = 0.18 and rounds the corners of larger ones.
    soft = ndimage.gaussian_filter(np.pad(mask, 2).astype(np.float32), 0.7)
    iso = 0.3 if float(soft.max()) > 0.4 else 0.5 * float(soft.max())
    places, triangles = marching.march_tetrahedra(marching.clean(soft, iso, 0), iso)
    return to_mesh(low + (places - 4) * spacing, triangles)
