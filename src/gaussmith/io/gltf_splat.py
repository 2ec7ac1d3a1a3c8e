"""Splats in glTF 2.0 (.glb and .gltf) by the Khronos extension KHR_gaussian_splatting.

One primitive of points, where each parameter of the Gaussians is an attribute: POSITION, and after the prefix
"KHR_gaussian_splatting:" ROTATION (unit quaternion xyzw), SCALE (standard deviations, never negative), OPACITY (0 to 1)
and SH_DEGREE_l_COEF_n (RGB, the basis of 3DGS); COLOR_0 (linear RGB and opacity) serves viewers that show points only.
Up is +Y, as in this program's world.

Source: github.com/KhronosGroup/glTF, extensions/2.0/Khronos/KHR_gaussian_splatting/README.md as ratified in 2026. The
drafts before it (also splat-transform before its pull request 268) had the logarithm of the scale instead (changed by
issue 2563): scales of which one is negative are read as such. Written is the ratified form.
"""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path

import numpy as np
import torch

from gaussmith import __version__
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians, concat
from gaussmith.io import packing
from gaussmith.io.atomic import write_bytes
from gaussmith.io.color import srgb_to_linear
from gaussmith.io.glb_write import Body, container
from gaussmith.io.gltf_file import GltfFile, nodes, open_gltf, read_document, reading
from gaussmith.sh import dc_to_rgb

EXTENSION = "KHR_gaussian_splatting"
_FLOAT, _UINT8 = 5126, 5121
_ATTRIBUTES = 34962  # buffer target
_POINTS = 0


def save_glb_splat(gaussians: Gaussians, path: str | Path) -> None:
    """Write N >= 1 Gaussians, SH degree 0 to 3, as a GLB of float32, atomically; nothing is lost but rounding.

    Raises:
        UserError: there are no Gaussians, for glTF has no empty accessors, or the place cannot be written.
        ValueError: a parameter is not finite.
    """
    document, body = _document(gaussians, path)
    write_bytes(path, container(document, body))


def save_gltf_splat(gaussians: Gaussians, path: str | Path) -> None:
    """The same as one .gltf of JSON, the data inside it in base64; errors as in `save_glb_splat`."""
    document, body = _document(gaussians, path)
    document["buffers"][0]["uri"] = "data:application/octet-stream;base64," + base64.b64encode(body).decode("ascii")
    write_bytes(path, json.dumps(document, indent=1).encode())


def load_gltf_splat(path: str | Path) -> Gaussians:
    """Read all Gaussians of the scene of a .glb or .gltf, moved by their nodes, as one set of the highest degree there.

    Raises:
        UserError: not glTF, truncated or inconsistent, without Gaussians, with linear colours or compressed (by a
            further extension), or under a node that mirrors or stretches them.
    """
    with reading(path):
        file = open_gltf(path, {EXTENSION, "KHR_mesh_quantization"})
        parts, total = [], 0
        for node, world in nodes(file.document):
            for primitive in file.document["meshes"][node["mesh"]]["primitives"] if "mesh" in node else []:
                if EXTENSION in primitive.get("extensions", {}):
                    part = _read(file, primitive)
                    total += len(part)
                    if total > packing.MAX_GAUSSIANS:  # nodes may repeat a mesh
                        raise packing.too_many(path, total)
                    parts.append(_moved(part, world, path))
        if not parts:
            raise UserError(f"cannot read {path} as Gaussians: it has no primitive with {EXTENSION}")
        highest = max(part.sh.shape[1] for part in parts)
        joined = concat([_padded(part, highest) for part in parts])
        return packing.build(path, **{name: values.numpy() for name, values in joined.tensors().items()})


def is_gltf_splat(path: str | Path) -> bool:
    """Whether a .glb or .gltf holds Gaussians rather than only meshes; UserError if it cannot be read as glTF."""
    with reading(path):
        meshes = read_document(path).get("meshes", [])
        return any(EXTENSION in p.get("extensions", {}) for mesh in meshes for p in mesh["primitives"])


def _document(gaussians: Gaussians, path: str | Path) -> tuple[dict, bytes]:
    """The JSON and the binary data behind it."""
    if len(gaussians) == 0:
        raise UserError(f"cannot write {path}: glTF cannot hold an empty splat; use .ply or .spz")
    body = Body()
    attributes = {}
    for name, values in _attributes(packing.arrays(gaussians)).items():
        kind = _UINT8 if values.dtype == np.uint8 else _FLOAT
        attributes[name] = body.accessor(values, kind, _ATTRIBUTES, with_bounds=name == "POSITION")
        if kind == _UINT8:
            body.accessors[-1]["normalized"] = True
    extension = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    extension |= {"projection": "perspective", "sortingMethod": "cameraDistance"}
    document = {
        "asset": {"version": "2.0", "generator": f"gaussmith {__version__}"},
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "splat"}],
        "meshes": [
            {
                "primitives": [{"attributes": attributes, "mode": _POINTS, "extensions": {EXTENSION: extension}}],
                "name": "splat",
            }
        ],
        "accessors": body.accessors,
        "bufferViews": body.views,
        "buffers": [{"byteLength": len(body.data)}],
    }
    return document, bytes(body.data)


def _attributes(fields: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Attribute name -> [N,C], float32 or, for the points' colours, uint8."""
    alpha = packing.sigmoid(fields["opacity_logits"])[:, None]
    linear = srgb_to_linear(dc_to_rgb(torch.from_numpy(fields["sh"][:, 0])).clamp(0, 1)).numpy()
    named = {
        "ROTATION": packing.unit(fields["quats"])[:, [1, 2, 3, 0]],
        "SCALE": np.exp(fields["log_scales"]),
        "OPACITY": alpha,
    }
    named |= {f"SH_DEGREE_{l}_COEF_{n}": fields["sh"][:, l * l + n] for l, n in _harmonics(fields["sh"].shape[1])}
    return {
        "POSITION": fields["means"].astype("<f4"),
        "COLOR_0": packing.to_unorm(np.concatenate([linear, alpha], axis=1), 8).astype(np.uint8),
        **{f"{EXTENSION}:{name}": values.astype("<f4") for name, values in named.items()},
    }


def _harmonics(bands: int) -> list[tuple[int, int]]:
    """Degree and number within it of each of the coefficients, in their order."""
    return [(degree, i) for degree in range(math.isqrt(bands)) for i in range(2 * degree + 1)]


def _read(file: GltfFile, primitive: dict) -> Gaussians:
    """The Gaussians of one primitive, where the primitive is."""
    about, attributes = primitive["extensions"][EXTENSION], primitive["attributes"]
    packed = sorted(about.get("extensions", {}))
    if packed:
        raise UserError(f"cannot read {file.path}: its Gaussians are stored by the extension {packed[0]}; save without")
    if str(about.get("colorSpace", "")).startswith("lin"):
        raise UserError(f"cannot read {file.path}: its colours are linear ({about['colorSpace']}), only sRGB is read")
    needed = ["POSITION", *(f"{EXTENSION}:{name}" for name in ("ROTATION", "SCALE", "OPACITY", "SH_DEGREE_0_COEF_0"))]
    missing = [name for name in needed if name not in attributes]
    if missing:
        raise UserError(f"cannot read {file.path}: its Gaussians lack {', '.join(missing)}, as in drafts of the format")
    bands = next(k for k in (16, 9, 4, 1) if f"{EXTENSION}:SH_DEGREE_{math.isqrt(k) - 1}_COEF_0" in attributes)
    names = [f"{EXTENSION}:SH_DEGREE_{l}_COEF_{n}" for l, n in _harmonics(bands)]
    means, quats, scales, alpha = (file.accessor(attributes[name]) for name in needed[:4])
    harmonics = [file.accessor(attributes[name]) for name in names]
    widths = [values.shape for values in (means, quats, scales, alpha, *harmonics)]
    if widths != [(len(means), width) for width in (3, 4, 3, 1, *[3] * bands)]:
        raise ValueError("attributes of one primitive differ in length, or have a wrong type")
    scales = scales.astype(np.float64)
    return packing.build(
        file.path,
        means=means,
        log_scales=scales if (scales < 0).any() else np.log(np.maximum(scales, packing.MIN_SCALE)),
        quats=packing.unit(quats[:, [3, 0, 1, 2]]),
        opacity_logits=packing.logits(alpha[:, 0]),
        sh=np.stack(harmonics, axis=1),
    )


def _moved(gaussians: Gaussians, world: np.ndarray, path: str | Path) -> Gaussians:
    """Gaussians under a node; exactly themselves where the node does nothing."""
    if np.array_equal(world, np.eye(4)):
        return gaussians
    scale = float(np.linalg.norm(world[:3, 0]))
    turn = world[:3, :3] / scale
    if not (np.abs(turn @ turn.T - np.eye(3)) < 1e-4).all() or np.linalg.det(turn) < 0:
        raise UserError(f"cannot read {path}: a node mirrors or stretches its Gaussians; apply its transform first")
    return gaussians.transform(torch.from_numpy(turn).float(), torch.from_numpy(world[:3, 3]).float(), scale)


def _padded(gaussians: Gaussians, bands: int) -> Gaussians:
    """The same colours with `bands` coefficients, those that are not there zero."""
    fields = gaussians.tensors()
    zeros = fields["sh"].new_zeros(len(gaussians), bands - fields["sh"].shape[1], 3)
    return Gaussians(**{**fields, "sh": torch.cat([fields["sh"], zeros], dim=1)})
