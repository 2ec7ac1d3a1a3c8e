"""Binary glTF 2.0 (GLB) read: this program's own files exactly, other programs' files as far as a `Mesh` can say.

Every triangle of the scene is taken with its nodes' transforms and joined into one mesh; of the materials the base
colour (texture times factor) is kept. Not read: animation, skins, morph targets, cameras, lights, files beside the GLB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gaussmith.events import UserError
from gaussmith.io.assemble import Look, build_mesh, dress, weld
from gaussmith.io.color import linear_to_srgb, srgb_to_linear
from gaussmith.io.gltf_file import GltfFile, nodes, open_gltf, reading
from gaussmith.mesh import Mesh

MAX_ROWS = 20_000_000  # nodes may repeat a mesh, so a small file can ask for any number
_KNOWN_EXTENSIONS = {
    "KHR_mesh_quantization", "KHR_materials_unlit", "KHR_texture_transform", "KHR_materials_specular",
    "KHR_materials_ior", "KHR_materials_emissive_strength",
}  # fmt: skip
_TRIANGLES, _STRIP, _FAN = 4, 5, 6


def load_glb(path: str | Path) -> Mesh:
    """Read a GLB as one mesh; vertices at exactly equal positions are merged, which undoes the split at uv seams.

    Raises:
        UserError: not a GLB, truncated or inconsistent, no triangles, too many of them, or a required extension (such
            as mesh compression) that is not read.
    """
    with reading(path):
        return _join(open_gltf(path, _KNOWN_EXTENSIONS), path)


@dataclass
class _Part:
    """A primitive in the world: arrays a vertex (uv, normals, colours may be absent), triangles, material index."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None
    uv: np.ndarray | None
    colors: np.ndarray | None
    material: int


def _parts(file: GltfFile) -> Iterator[_Part]:
    total = 0
    for node, world in nodes(file.document):
        if "mesh" not in node:
            continue
        for primitive in file.document["meshes"][node["mesh"]]["primitives"]:
            if primitive.get("mode", _TRIANGLES) not in (_TRIANGLES, _STRIP, _FAN):
                continue  # points and lines have no surface
            part = _part(file, primitive, world)
            total += max(len(part.faces), len(part.vertices))
            if total > MAX_ROWS:
                raise UserError(f"cannot read {file.path}: its scene has more than {MAX_ROWS:,} triangles or vertices")
            yield part


def _part(file: GltfFile, primitive: dict, world: np.ndarray) -> _Part:
    attributes, material = primitive["attributes"], int(primitive.get("material", -1))
    vertices = file.accessor(attributes["POSITION"])[:, :3].astype(np.float64) @ world[:3, :3].T + world[:3, 3]
    count = len(vertices)
    indices = file.accessor(primitive["indices"]).reshape(-1) if "indices" in primitive else np.arange(count)
    faces = _triangles(indices.astype(np.int64), primitive.get("mode", _TRIANGLES))
    if np.linalg.det(world[:3, :3]) < 0:
        faces = faces[:, ::-1]
    normals = colors = uv = None
    if "NORMAL" in attributes and abs(np.linalg.det(world[:3, :3])) > 0:
        turned = file.accessor(attributes["NORMAL"])[:, :3].astype(np.float64) @ np.linalg.inv(world[:3, :3])
        normals = turned / np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-20)
    if "COLOR_0" in attributes:
        linear = torch.from_numpy(file.accessor(attributes["COLOR_0"])[:, :3].astype(np.float32))
        colors = linear_to_srgb(linear.clamp(0, 1)).numpy()
    texture = _pbr(file, material).get("baseColorTexture", {})
    if (name := f"TEXCOORD_{texture.get('texCoord', 0)}") in attributes:
        uv = _transform_uv(file.accessor(attributes[name])[:, :2].astype(np.float64), texture)
    for values in (normals, colors, uv):
        if values is not None and len(values) != count:
            raise ValueError("attributes of one primitive differ in length")
    return _Part(vertices, faces, normals, uv, colors, material)


def _triangles(indices: np.ndarray, mode: int) -> np.ndarray:
    if mode == _TRIANGLES:
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)
    if mode == _FAN:
        return np.stack([np.full(max(len(indices) - 2, 0), indices[0]), indices[1:-1], indices[2:]], axis=1)
    strip = np.stack([indices[:-2], indices[1:-1], indices[2:]], axis=1)
    strip[1::2] = strip[1::2, [1, 0, 2]]
    return strip


def _join(file: GltfFile, path: str | Path) -> Mesh:
    parts = list(_parts(file))
    if not parts:
        raise UserError(f"cannot read {path} as a mesh: it has no triangles")
    offsets = np.cumsum([0] + [len(part.vertices) for part in parts])[:-1]
    for part in parts:
        if part.faces.size and int(part.faces.max()) >= len(part.vertices):
            raise UserError(f"cannot read {path}: a face names a vertex that is not there")
    points = np.concatenate([part.vertices for part in parts]).astype(np.float32)
    split = np.concatenate([part.faces + offset for part, offset in zip(parts, offsets)])
    counts = [len(part.vertices) for part in parts]
    colors = _stacked([part.colors for part in parts], counts, default=1)
    normals = _stacked([part.normals for part in parts], counts, default=None)
    uv = _stacked([part.uv for part in parts], counts, default=0)
    first, group = weld(points if colors is None else np.concatenate([points, colors], axis=1))
    attributes: dict[str, object] = {"vertex_colors": None if colors is None else colors[first]}
    if normals is not None and np.array_equal(normals, normals[first][group]):
        attributes["normals"] = normals[first]
    if uv is not None:
        attributes |= {"uv": uv, "uv_faces": split}
    mesh = build_mesh(path, points[first], group[split], **attributes)
    names = sorted({part.material for part in parts})
    materials = [_pbr(file, name) for name in names]
    if any("baseColorTexture" in pbr or "baseColorFactor" in pbr for pbr in materials):
        looks = [_look(file, pbr) for pbr in materials]
        used = np.concatenate([np.full(len(part.faces), names.index(part.material)) for part in parts])
        mesh = dress(path, mesh, looks, used)
    metallic, roughness = (float(materials[0].get(key, 1)) for key in ("metallicFactor", "roughnessFactor"))
    return mesh.with_(metallic_roughness=(metallic, roughness))


def _stacked(arrays: list[np.ndarray | None], counts: list[int], default: float | None) -> np.ndarray | None:
    """Arrays of all parts one after the other; parts without get `default`, or all go without if that is None."""
    width = next((array.shape[1] for array in arrays if array is not None), 0)
    if not width or (default is None and any(array is None for array in arrays)):
        return None
    filled = [np.full((n, width), default) if array is None else array for array, n in zip(arrays, counts)]
    return np.concatenate(filled).astype(np.float32)


def _pbr(file: GltfFile, material: int) -> dict:
    """The base material of a material index (-1: none)."""
    return file.document["materials"][material].get("pbrMetallicRoughness", {}) if material >= 0 else {}


def _look(file: GltfFile, pbr: dict) -> Look:
    factor = torch.tensor([float(v) for v in pbr.get("baseColorFactor", [1, 1, 1, 1])][:3]).clamp(0, 1)
    red, green, blue = linear_to_srgb(factor).tolist()
    texture = None
    if "baseColorTexture" in pbr:
        texture = file.image(file.document["textures"][pbr["baseColorTexture"]["index"]]["source"])
    if texture is not None and bool((factor != 1).any()):
        texture = linear_to_srgb(srgb_to_linear(torch.from_numpy(texture)) * factor).numpy()
    return Look(texture, (red, green, blue))


def _transform_uv(uv: np.ndarray, info: dict) -> np.ndarray:
    """Apply KHR_texture_transform of a texture reference, if it has one, to uv [N,2]."""
    transform = info.get("extensions", {}).get("KHR_texture_transform", {})
    angle = float(transform.get("rotation", 0))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    scaled = uv * np.array(transform.get("scale", [1, 1]), dtype=np.float64).reshape(2)
    return scaled @ turn.T + np.array(transform.get("offset", [0, 0]), dtype=np.float64).reshape(2)
