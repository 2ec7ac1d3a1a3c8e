"""Binary glTF 2.0 (GLB) read: this program's own files exactly, other programs' files as far as a `Mesh` can say.

Every triangle of the scene is taken with its nodes' transforms and joined into one mesh; of the materials the base
colour (texture times factor) is kept. Not read: animation, skins, morph targets, cameras, lights, files beside the GLB.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from gaussmith.events import UserError
from gaussmith.io.assemble import Look, build_mesh, dress, weld
from gaussmith.io.color import linear_to_srgb, srgb_to_linear
from gaussmith.io.image import MAX_PIXELS, MAX_TEXTURE_SIDE, decode_image
from gaussmith.io.source import read_bytes
from gaussmith.mesh import Mesh

MAX_ROWS = 20_000_000  # nodes may repeat a mesh, so a small file can ask for any number
MAX_NODES = 100_000
_KNOWN_EXTENSIONS = {
    "KHR_mesh_quantization", "KHR_materials_unlit", "KHR_texture_transform", "KHR_materials_specular",
    "KHR_materials_ior", "KHR_materials_emissive_strength",
}  # fmt: skip
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_TRIANGLES, _STRIP, _FAN = 4, 5, 6


def load_glb(path: str | Path) -> Mesh:
    """Read a GLB as one mesh; vertices at exactly equal positions are merged, which undoes the split at uv seams.

    Raises:
        UserError: not a GLB, truncated or inconsistent, no triangles, too many of them, or a required extension (such
            as mesh compression) that is not read.
    """
    data = read_bytes(path)
    try:
        document, body = _chunks(data, path)
        unknown = sorted(set(document.get("extensionsRequired", [])) - _KNOWN_EXTENSIONS)
        if unknown:
            raise UserError(f"cannot read {path}: it needs the glTF extension {unknown[0]}; save it without")
        with np.errstate(all="ignore"):  # what overflows is refused as not finite when the mesh is built
            return _join(_File(document, body, str(path)), path)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        # A glTF document is a web of indices; whichever of them is wrong, the sentence is the same.
        raise UserError(f"cannot read {path}: its glTF structure is inconsistent ({error!r:.100})") from error


@dataclass
class _File:
    """A parsed file: the JSON document, the binary chunk, and what has been decoded so far."""

    document: dict
    body: memoryview
    name: str
    images: dict[int, np.ndarray] = field(default_factory=dict)
    buffers: dict[int, memoryview] = field(default_factory=dict)

    def view(self, index: int) -> tuple[memoryview, int]:
        """The bytes of a buffer view, and its stride (0: packed)."""
        view = self.document["bufferViews"][index]
        buffer = self.document["buffers"][view["buffer"]]
        if "uri" in buffer and view["buffer"] not in self.buffers:
            self.buffers[view["buffer"]] = memoryview(_data_uri(buffer["uri"]))
        source = self.buffers[view["buffer"]] if "uri" in buffer else self.body
        start, length = int(view.get("byteOffset", 0)), int(view["byteLength"])
        if start < 0 or length < 0 or start + length > len(source):
            raise ValueError("a buffer view reaches beyond its buffer")
        return source[start : start + length], int(view.get("byteStride", 0))

    def accessor(self, index: int) -> np.ndarray:
        """An accessor as [N,C]: floats (normalised integers are scaled) or, if not normalised, its own integers."""
        entry = self.document["accessors"][index]
        if "sparse" in entry or "bufferView" not in entry:
            raise ValueError("sparse accessors are not read")
        dtype, width, count = np.dtype(_COMPONENTS[entry["componentType"]]), _WIDTHS[entry["type"]], int(entry["count"])
        data, stride = self.view(entry["bufferView"])
        start = int(entry.get("byteOffset", 0))
        row = dtype.itemsize * width
        stride = stride or row
        if start < 0 or count < 1 or stride < row or start + stride * (count - 1) + row > len(data):
            raise ValueError("an accessor reaches beyond its buffer view")
        values = np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))
        if not entry.get("normalized"):
            return values
        return np.maximum(values / np.float32(np.iinfo(dtype).max), -1) if dtype.kind in "iu" else values

    def image(self, index: int) -> np.ndarray | None:
        """[H,W,3] sRGB of an image inside the file; None for one that lies elsewhere."""
        if index not in self.images:
            entry = self.document["images"][index]
            if "bufferView" in entry:
                data = bytes(self.view(entry["bufferView"])[0])
            elif str(entry["uri"]).startswith("data:"):
                data = _data_uri(entry["uri"])
            else:
                return None
            rgba, _ = decode_image(data, f"{self.name} (texture)", MAX_TEXTURE_SIDE)
            self.images[index] = np.ascontiguousarray(rgba[..., :3])
            if sum(image.shape[0] * image.shape[1] for image in self.images.values()) > MAX_PIXELS:
                raise UserError(f"cannot read {self.name}: its textures together have more than {MAX_PIXELS:,} pixels")
        return self.images[index]


def _chunks(data: bytes, path: str | Path) -> tuple[dict, memoryview]:
    if data[:4] != b"glTF" or len(data) < 20:
        raise UserError(f"cannot read {path}: it is not a GLB file")
    version, size = (int.from_bytes(data[i : i + 4], "little") for i in (4, 8))
    if version != 2:
        raise UserError(f"cannot read {path}: glTF version {version} is not read, only 2")
    if size > len(data):
        raise UserError(f"cannot read {path}: it is truncated, {len(data):,} of {size:,} bytes are there")
    chunks: dict[bytes, memoryview] = {}
    position = 12
    while position + 8 <= size:
        length = int.from_bytes(data[position : position + 4], "little")
        if position + 8 + length > size:
            raise UserError(f"cannot read {path}: it is truncated, a chunk reaches beyond the end")
        chunks.setdefault(data[position + 4 : position + 8], memoryview(data)[position + 8 : position + 8 + length])
        position += 8 + length + (-length % 4)
    document = json.loads(bytes(chunks[b"JSON"]))
    if not isinstance(document, dict):
        raise ValueError("the JSON is no object")
    return document, chunks.get(b"BIN\0", memoryview(b""))


def _nodes(document: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """The nodes of the scene with their world transforms [4,4]; a node reached twice is an error."""
    nodes = document["nodes"]
    if "scenes" in document:
        roots = document["scenes"][document.get("scene", 0)].get("nodes", [])
    else:
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [i for i in range(len(nodes)) if i not in children]
    stack = [(index, np.eye(4)) for index in reversed(roots)]
    seen: set[int] = set()
    while stack:
        index, parent = stack.pop()
        if index in seen or len(seen) > MAX_NODES:
            raise ValueError("the nodes form no tree, or are too many")
        seen.add(index)
        world = parent @ _local(nodes[index])
        yield nodes[index], world
        stack += [(child, world) for child in reversed(nodes[index].get("children", []))]


def _local(node: dict) -> np.ndarray:
    if "matrix" in node:
        return np.array(node["matrix"], dtype=np.float64).reshape(4, 4).T
    out = np.eye(4)
    x, y, z, w = np.array(node.get("rotation", [0, 0, 0, 1]), dtype=np.float64)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    out[:3, :3] = np.eye(3) + 2 * (w * cross + cross @ cross)
    out[:3, :3] *= np.array(node.get("scale", [1, 1, 1]), dtype=np.float64).reshape(3)
    out[:3, 3] = np.array(node.get("translation", [0, 0, 0]), dtype=np.float64).reshape(3)
    return out


@dataclass
class _Part:
    """A primitive in the world: arrays a vertex (uv, normals, colours may be absent), triangles, material index."""

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None
    uv: np.ndarray | None
    colors: np.ndarray | None
    material: int


def _parts(file: _File) -> Iterator[_Part]:
    total = 0
    for node, world in _nodes(file.document):
        if "mesh" not in node:
            continue
        for primitive in file.document["meshes"][node["mesh"]]["primitives"]:
            if primitive.get("mode", _TRIANGLES) not in (_TRIANGLES, _STRIP, _FAN):
                continue  # points and lines have no surface
            part = _part(file, primitive, world)
            total += max(len(part.faces), len(part.vertices))
            if total > MAX_ROWS:
                raise UserError(f"cannot read {file.name}: its scene has more than {MAX_ROWS:,} triangles or vertices")
            yield part


def _part(file: _File, primitive: dict, world: np.ndarray) -> _Part:
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


def _join(file: _File, path: str | Path) -> Mesh:
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


def _pbr(file: _File, material: int) -> dict:
    """The base material of a material index (-1: none)."""
    return file.document["materials"][material].get("pbrMetallicRoughness", {}) if material >= 0 else {}


def _look(file: _File, pbr: dict) -> Look:
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


def _data_uri(uri: str) -> bytes:
    head, _, payload = uri.partition(",")
    if not head.startswith("data:") or not head.endswith("base64"):
        raise ValueError("data outside the file, or not base64")
    return base64.b64decode(payload)
