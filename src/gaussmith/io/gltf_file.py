"""glTF 2.0 files opened: the container (.glb, or .gltf with data inside it or beside it), accessors, and the node tree.

What stands in the tree is read by `glb_read` (meshes) and `gltf_splat` (Gaussians).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from gaussmith.events import UserError
from gaussmith.io.image import MAX_PIXELS, MAX_TEXTURE_SIDE, decode_image
from gaussmith.io.photo_files import inside
from gaussmith.io.source import read_bytes

MAX_NODES = 100_000
_COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """A block in which whatever a wrong document trips over becomes a UserError.

    A glTF document is a web of indices; whichever of them is wrong, the sentence is the same.
    """
    try:
        with np.errstate(all="ignore"):  # what overflows is refused as not finite when the result is built
            yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"cannot read {path}: its glTF structure is inconsistent ({error!r:.100})") from error


@dataclass
class GltfFile:
    """A parsed file: the JSON document, the binary chunk, where it is, and what has been decoded so far."""

    document: dict
    body: memoryview
    path: Path
    images: dict[int, np.ndarray] = field(default_factory=dict)
    buffers: dict[int, memoryview] = field(default_factory=dict)

    def view(self, index: int) -> tuple[memoryview, int]:
        """The bytes of a buffer view, and its stride (0: packed)."""
        view = self.document["bufferViews"][index]
        buffer = self.document["buffers"][view["buffer"]]
        if "uri" in buffer and view["buffer"] not in self.buffers:
            self.buffers[view["buffer"]] = memoryview(self._fetch(buffer["uri"]))
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
            rgba, _ = decode_image(data, f"{self.path} (texture)", MAX_TEXTURE_SIDE)
            self.images[index] = np.ascontiguousarray(rgba[..., :3])
            if sum(image.shape[0] * image.shape[1] for image in self.images.values()) > MAX_PIXELS:
                raise UserError(f"cannot read {self.path}: its textures together have more than {MAX_PIXELS:,} pixels")
        return self.images[index]

    def _fetch(self, uri: str) -> bytes:
        """The bytes of a data URI, or of a file in the glTF's folder or below it, nowhere else."""
        if uri.startswith("data:"):
            return _data_uri(uri)
        return read_bytes(inside(self.path.parent, unquote(uri), self.path))


def open_gltf(path: str | Path, known_extensions: set[str]) -> GltfFile:
    """Parse a .glb, or a .gltf, to be called in a `reading` block.

    Raises:
        UserError: it is neither, of another version, truncated, or requires an extension that is not known.
    """
    path = Path(path)
    data = read_bytes(path)
    document, body = _chunks(data, path) if _is_binary(data, path) else (_parse(data), memoryview(b""))
    unknown = sorted(set(document.get("extensionsRequired", [])) - known_extensions)
    if unknown:
        raise UserError(f"cannot read {path}: it needs the glTF extension {unknown[0]}; save it without")
    return GltfFile(document, body, path)


def read_document(path: str | Path) -> dict:
    """The JSON document alone, of a .glb without reading the data behind it; errors as in `open_gltf`."""
    path = Path(path)
    head = read_bytes(path, first=20)
    if not _is_binary(head, path):
        return _parse(read_bytes(path))
    length = int.from_bytes(head[12:16], "little")
    return _parse(read_bytes(path, first=20 + length)[20:])


def _is_binary(data: bytes, path: Path) -> bool:
    return data[:4] == b"glTF" or path.suffix.lower() != ".gltf"


def _parse(text: bytes) -> dict:
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("the JSON is no object")
    return document


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
    return _parse(bytes(chunks[b"JSON"])), chunks.get(b"BIN\0", memoryview(b""))


def nodes(document: dict) -> Iterator[tuple[dict, np.ndarray]]:
    """The nodes of the scene with their world transforms [4,4]; a node reached twice is an error."""
    listed = document["nodes"]
    if "scenes" in document:
        roots = document["scenes"][document.get("scene", 0)].get("nodes", [])
    else:
        children = {child for node in listed for child in node.get("children", [])}
        roots = [i for i in range(len(listed)) if i not in children]
    stack = [(index, np.eye(4)) for index in reversed(roots)]
    seen: set[int] = set()
    while stack:
        index, parent = stack.pop()
        if index in seen or len(seen) > MAX_NODES:
            raise ValueError("the nodes form no tree, or are too many")
        seen.add(index)
        world = parent @ _local(listed[index])
        yield listed[index], world
        stack += [(child, world) for child in reversed(listed[index].get("children", []))]


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


def _data_uri(uri: str) -> bytes:
    head, _, payload = uri.partition(",")
    if not head.startswith("data:") or not head.endswith("base64"):
        raise ValueError("data outside the file, or not base64")
    return base64.b64decode(payload)
