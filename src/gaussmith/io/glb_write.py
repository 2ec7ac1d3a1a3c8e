"""Textured triangle meshes as binary glTF 2.0 (GLB), written: small, deterministic, and clean under the validator.

The material is plain metallic-roughness PBR (as the mesh says, by default metallic 0, roughness 1: matte, without
highlights), no emission, no normal map and so no tangents. Unlit viewers and renderers show the texture's very colours,
lit ones shade it as a matte surface. `unlit=True` adds KHR_materials_unlit, which asks every viewer for the former.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from gaussmith import __version__
from gaussmith.io.atomic import write_bytes
from gaussmith.io.color import srgb_to_linear
from gaussmith.io.image import encode_png
from gaussmith.mesh import Mesh

_FLOAT, _UINT16, _UINT32 = 5126, 5123, 5125
_ATTRIBUTES, _INDICES = 34962, 34963  # buffer targets
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP_TO_EDGE = 9729, 9987, 33071


def save_glb(mesh: Mesh, path: str | Path, *, unlit: bool = False) -> None:
    """Write a mesh with its texture inside one file, atomically; equal meshes give equal bytes.

    Vertices are split where their uv differ. The copies have exactly equal positions and normals, so merging by
    position restores the mesh as it was (watertight if it was), and shading shows no seam.

    Raises:
        UserError: the place cannot be written.
        ValueError: no faces, or a number that is not finite.
    """
    write_bytes(path, encode_glb(mesh, unlit=unlit))


def encode_glb(mesh: Mesh, *, unlit: bool = False) -> bytes:
    """The bytes of the GLB file that `save_glb` writes."""
    if len(mesh.faces) == 0:
        raise ValueError("a mesh without faces cannot be saved as GLB")
    textured = mesh.albedo is not None and mesh.uv is not None
    attributes, indices = _split(mesh)
    if not all(np.isfinite(values).all() for values in attributes.values()):
        raise ValueError("a mesh with non-finite numbers cannot be saved as GLB")
    body = Body()
    primitive: dict = {"attributes": {}}
    for name, values in attributes.items():
        primitive["attributes"][name] = body.accessor(values, _FLOAT, _ATTRIBUTES, with_bounds=name == "POSITION")
    small = int(indices.max()) < 65535
    primitive["indices"] = body.accessor(
        indices.reshape(-1, 1).astype("<u2" if small else "<u4"), _UINT16 if small else _UINT32, _INDICES
    )
    primitive["material"] = 0
    document: dict = {
        "asset": {"version": "2.0", "generator": f"gaussmith {__version__}"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "object"}],
        "meshes": [{"primitives": [primitive], "name": "object"}],
        "materials": [_material(mesh, textured, unlit)],
    }
    if unlit:
        document["extensionsUsed"] = ["KHR_materials_unlit"]
    if textured:
        image = body.view(encode_png(mesh.albedo))  # type: ignore[arg-type]
        document["images"] = [{"bufferView": image, "mimeType": "image/png", "name": "albedo"}]
        document["samplers"] = [
            {
                "magFilter": _LINEAR,
                "minFilter": _LINEAR_MIPMAP_LINEAR,
                "wrapS": _CLAMP_TO_EDGE,
                "wrapT": _CLAMP_TO_EDGE,
            }
        ]
        document["textures"] = [{"source": 0, "sampler": 0}]
    document |= {"accessors": body.accessors, "bufferViews": body.views, "buffers": [{"byteLength": len(body.data)}]}
    return container(document, bytes(body.data))


class Body:
    """The binary chunk while it grows, with the views and accessors into it."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict] = []
        self.accessors: list[dict] = []

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes, padded to a multiple of four; the index of their buffer view."""
        entry = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)}
        self.views.append(entry if target is None else entry | {"target": target})
        self.data += data + bytes(-len(data) % 4)
        return len(self.views) - 1

    def accessor(self, values: np.ndarray, component: int, target: int, with_bounds: bool = False) -> int:
        """Append an array [N,C] little-endian; the index of its accessor."""
        entry = {
            "bufferView": self.view(values.tobytes(), target),
            "componentType": component,
            "count": len(values),
            "type": "SCALAR" if values.shape[1] == 1 else f"VEC{values.shape[1]}",
        }
        if with_bounds:
            entry |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}
        self.accessors.append(entry)
        return len(self.accessors) - 1


def _split(mesh: Mesh) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """glTF attributes a split vertex, and indices [F,3]: one vertex for each (vertex, uv) pair, in order."""
    corners = mesh.faces.cpu().reshape(-1)
    if mesh.uv is not None and mesh.uv_faces is not None:
        pairs = corners * len(mesh.uv) + mesh.uv_faces.cpu().reshape(-1)
    else:
        pairs = corners
    _, first, group = np.unique(pairs.numpy(), return_index=True, return_inverse=True)
    vertex = corners[first]
    attributes = {
        "POSITION": _floats(mesh.vertices)[vertex] + np.float32(0),  # no negative zeros: they would not merge bitwise
        "NORMAL": _unit_normals(mesh)[vertex],
    }
    if mesh.uv is not None and mesh.uv_faces is not None:
        attributes["TEXCOORD_0"] = _floats(mesh.uv)[mesh.uv_faces.cpu().reshape(-1)[first]]
    if mesh.vertex_colors is not None and mesh.albedo is None:
        attributes["COLOR_0"] = _floats(srgb_to_linear(mesh.vertex_colors.detach().cpu().clamp(0, 1)))[vertex]
    return attributes, group.reshape(-1, 3)


def _unit_normals(mesh: Mesh) -> np.ndarray:
    """[V,3] of unit length without exception (+Y where a normal has no direction), as glTF demands."""
    normals = (mesh.normals if mesh.normals is not None else mesh.vertex_normals()).detach().cpu().double()
    length = normals.norm(dim=1, keepdim=True)
    usable = (length > 1e-12) & length.isfinite()
    return _floats(torch.where(usable, normals / length, normals.new_tensor([0.0, 1.0, 0.0])))


def _material(mesh: Mesh, textured: bool, unlit: bool) -> dict:
    metallic, roughness = mesh.metallic_roughness
    pbr: dict = {"metallicFactor": metallic, "roughnessFactor": roughness}
    if textured:
        pbr["baseColorTexture"] = {"index": 0}
    return {"name": "surface", "pbrMetallicRoughness": pbr} | (
        {"extensions": {"KHR_materials_unlit": {}}} if unlit else {}
    )


def container(document: dict, body: bytes) -> bytes:
    head = json.dumps(document, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 4)
    size = 12 + 8 + len(head) + 8 + len(body)
    words = (b"glTF", _u32(2), _u32(size), _u32(len(head)), b"JSON", head, _u32(len(body)), b"BIN\0", body)
    return b"".join(words)


def _floats(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype("<f4")


def _u32(value: int) -> bytes:
    return value.to_bytes(4, "little")
