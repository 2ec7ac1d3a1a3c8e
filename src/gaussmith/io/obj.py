"""Triangle meshes as Wavefront OBJ with an MTL material and a PNG texture beside it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from gaussmith.events import UserError
from gaussmith.io.assemble import Look, build_mesh, dress, fan
from gaussmith.io.atomic import write_bytes
from gaussmith.io.image import MAX_TEXTURE_SIDE, load_image, save_image
from gaussmith.io.source import read_bytes
from gaussmith.mesh import Mesh

MAX_BYTES = 1 << 30


def save_obj(mesh: Mesh, path: str | Path) -> None:
    """Write PATH and, for a textured mesh, STEM.mtl and STEM_albedo.png beside it (blanks in names become "_").

    Each file is written atomically, the OBJ last. Positions keep all float32 digits. Vertex colours, if there is no
    texture, follow the positions ("v x y z r g b", as most programs read). OBJ's v axis points up.

    Raises:
        UserError: the place cannot be written.
    """
    path = Path(path)
    lines = ["# gaussmith"]
    textured = mesh.albedo is not None and mesh.uv is not None and mesh.uv_faces is not None
    if textured:
        stem = re.sub(r"\s+", "_", path.stem)
        save_image(path.with_name(f"{stem}_albedo.png"), mesh.albedo)  # type: ignore[arg-type]
        material = f"newmtl surface\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {stem}_albedo.png\n"
        write_bytes(path.with_name(f"{stem}.mtl"), material.encode())
        lines += [f"mtllib {stem}.mtl", "usemtl surface"]
    vertices = mesh.vertices
    if not textured and mesh.vertex_colors is not None:
        vertices = torch.cat([vertices, mesh.vertex_colors.to(vertices)], dim=1)
    lines += _rows("v", vertices)
    corners = [mesh.faces + 1]
    layout = "{}"
    if mesh.uv is not None and mesh.uv_faces is not None:
        lines += _rows("vt", mesh.uv.double() * torch.tensor([1, -1]) + torch.tensor([0, 1]))
        corners.append(mesh.uv_faces + 1)
        layout += "/{}"
    if mesh.normals is not None:
        lines += _rows("vn", mesh.normals)
        corners.append(mesh.faces + 1)
        layout += "/{}" if len(corners) == 3 else "//{}"
    face = "f " + " ".join([layout] * 3)
    table = torch.stack(corners, dim=-1).reshape(len(mesh.faces), -1).tolist()
    lines += [face.format(*row) for row in table]
    write_bytes(path, "\n".join([*lines, ""]).encode())


def load_obj(path: str | Path) -> Mesh:
    """Read an OBJ: polygons become triangles, negative indices count from the end, groups are joined.

    The base colour (map_Kd, else Kd) is read from materials and pictures inside the OBJ's own folder only; what is
    missing or lies elsewhere is left out. Several materials become one texture. Normals are kept where each vertex has
    one.

    Raises:
        UserError: unreadable, no faces, indices out of range, numbers that are none, a corrupt texture.
    """
    path = Path(path)
    raw = _parse(read_bytes(path, MAX_BYTES), path)
    lengths = np.array(raw.lengths, dtype=np.int64)
    corners = fan(lengths, np.array(raw.corners, dtype=np.int64).reshape(-1, 3))
    if len(corners) == 0:
        raise UserError(f"cannot read {path} as a mesh: it has no faces")
    faces, uv_faces, normal_faces = np.moveaxis(corners, -1, 0)
    vertices = _table(raw.vertices, (3, 4, 6, 7), path)
    attributes: dict[str, object] = {}
    if vertices.shape[1] >= 6:
        attributes["vertex_colors"] = np.clip(vertices[:, 3:6], 0, 1)
    normals = _table(raw.normals, (3,), path)
    if len(normals) and (one := _normal_of_vertex(faces, normal_faces, normals, len(vertices))) is not None:
        attributes["normals"] = one
    uv = _table(raw.uv, (2, 3, 1), path)
    if len(uv) and uv.shape[1] >= 2 and uv_faces.max() >= 0:
        attributes["uv"] = uv[:, :2] * (1, -1) + (0, 1)
        attributes["uv_faces"] = np.maximum(uv_faces, 0)  # faces without uv among others that have them
    mesh = build_mesh(path, vertices[:, :3], faces, **attributes)
    materials = _load_materials(path, raw.libraries)
    if not materials:
        return mesh
    used = np.repeat(np.array(raw.materials, dtype=np.int64), np.maximum(lengths - 2, 0))
    return dress(path, mesh, [materials.get(name, Look()) for name in raw.names], used)


@dataclass
class _Raw:
    """The lines of an OBJ: rows of numbers, and per polygon its corner count and the index of its material's name."""

    vertices: list[list[float]] = field(default_factory=list)
    uv: list[list[float]] = field(default_factory=list)
    normals: list[list[float]] = field(default_factory=list)
    corners: list[tuple[int, int, int]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    materials: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=lambda: [""])
    libraries: list[str] = field(default_factory=list)


def _parse(data: bytes, path: Path) -> _Raw:
    raw = _Raw()
    tables = {"v": raw.vertices, "vt": raw.uv, "vn": raw.normals}
    sizes = (raw.vertices, raw.uv, raw.normals)
    material = 0
    known = {"": 0}
    text = data.decode("utf-8", errors="replace").replace("\\\n", " ").replace("\\\r\n", " ")
    for number, line in enumerate(text.split("\n"), start=1):
        words = line.split()
        kind = words[0] if words else ""
        try:
            if kind in tables:
                tables[kind].append([float(word) for word in words[1:]])
            elif kind == "f":
                raw.corners += [_corner(word, sizes) for word in words[1:]]
                raw.lengths.append(len(words) - 1)
                raw.materials.append(material)
            elif kind == "usemtl":
                name = " ".join(words[1:])
                material = known.setdefault(name, len(known))
                if material == len(raw.names):
                    raw.names.append(name)
            elif kind == "mtllib":
                raw.libraries.append(line.strip()[len("mtllib") :].strip())
        except (ValueError, OverflowError) as error:
            raise UserError(f"cannot read {path}: line {number} makes no sense: {line[:60]!r}") from error
    return raw


def _corner(word: str, tables: tuple[list, list, list]) -> tuple[int, int, int]:
    """Zero-based (vertex, uv, normal) indices of a face's corner "v", "v/t", "v//n" or "v/t/n"; -1 where not given."""
    parts = word.split("/")
    if len(parts) > 3:
        raise ValueError(word)
    out = [-1, -1, -1]
    for slot, part in enumerate(parts):
        if not part and slot > 0:
            continue
        index = int(part)
        out[slot] = index - 1 if index > 0 else len(tables[slot]) + index
        if index == 0 or not 0 <= out[slot] < 1 << 40:
            raise ValueError(word)
    return out[0], out[1], out[2]


def _table(rows: list[list[float]], widths: tuple[int, ...], path: Path) -> np.ndarray:
    """Rows as an array; short or long ones are cut to the shortest allowed width that they share."""
    shortest = min((len(row) for row in rows), default=widths[0])
    if shortest not in widths:
        shortest = max((w for w in widths if w <= shortest), default=0)
    if rows and shortest == 0:
        raise UserError(f"cannot read {path}: a v, vt or vn line holds too few numbers")
    return np.array([row[:shortest] for row in rows], dtype=np.float64).reshape(len(rows), shortest)


def _normal_of_vertex(
    faces: np.ndarray, normal_faces: np.ndarray, normals: np.ndarray, count: int
) -> np.ndarray | None:
    """[V,3] if each vertex has exactly one normal in all its faces, else None (hard edges are not kept)."""
    v, n = faces.reshape(-1), normal_faces.reshape(-1)
    if n.min() < 0 or n.max() >= len(normals) or v.max() >= count:
        return None
    chosen = np.full(count, -1, dtype=np.int64)
    chosen[v] = n
    if (chosen < 0).any() or not np.array_equal(normals[chosen[v]], normals[n]):
        return None
    return normals[chosen]


def _inside(folder: Path, name: str) -> Path | None:
    """The file `name` in `folder` or below it; None if it is elsewhere or not there."""
    try:
        path = (folder / name.replace("\\", "/")).resolve()
        return path if path.is_relative_to(folder.resolve()) and path.is_file() else None
    except (OSError, ValueError):
        return None


def _load_materials(path: Path, libraries: list[str]) -> dict[str, Look]:
    materials: dict[str, Look] = {}
    textures: dict[Path, np.ndarray] = {}
    for library in dict.fromkeys(libraries):
        file = _inside(path.parent, library)
        name = ""
        for line in read_bytes(file, 1 << 24).decode("utf-8", errors="replace").splitlines() if file else ():
            words = line.split()
            if len(words) < 2:
                continue
            if words[0] == "newmtl":
                name = " ".join(words[1:])
                materials.setdefault(name, Look())
            elif words[0] == "Kd" and len(words) == 4:
                materials[name] = replace(materials.get(name, Look()), color=_color(words[1:], file))
            elif words[0] == "map_Kd" and (picture := _inside(path.parent, _file_name(words[1:]))):
                if picture not in textures:
                    textures[picture] = np.ascontiguousarray(load_image(picture, MAX_TEXTURE_SIDE)[..., :3])
                materials[name] = replace(materials.get(name, Look()), texture=textures[picture])
    return materials


def _file_name(words: list[str]) -> str:
    """The file name after options such as "-s 1 1 1" or "-clamp on"."""
    last = max((i for i, word in enumerate(words) if re.fullmatch(r"-[a-z]+", word)), default=-1)
    if last < 0:
        return " ".join(words)
    return " ".join(word for word in words[last + 1 :] if not re.fullmatch(r"[-+.\d]+|on|off", word))


def _color(words: list[str], path: Path | None) -> tuple[float, float, float]:
    try:
        r, g, b = (min(max(float(word), 0.0), 1.0) for word in words)
    except ValueError as error:
        raise UserError(f"cannot read {path}: a Kd line does not hold three numbers") from error
    return r, g, b


def _rows(kind: str, values: torch.Tensor) -> list[str]:
    layout = kind + " {:.9g}" * values.shape[1]
    return [layout.format(*row) for row in values.detach().cpu().double().tolist()]
