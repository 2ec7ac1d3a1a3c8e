"""The PLY container: header and typed tables, for meshes and splats alike (Turk 1994).

Reads ascii and binary of either byte order. Every declared count is checked against the bytes that are there before
anything of that size is allocated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from gaussmith.events import UserError
from gaussmith.io.source import read_bytes

HEADER_LIMIT = 1 << 20  # bytes; real headers have a few thousand
PROPERTY_LIMIT = 4096  # per element; a splat of degree 3 has 62
_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "float": "f4", "double": "f8",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float32": "f4", "float64": "f8",
}  # fmt: skip
_ROW_LIMIT = 1 << 30  # numpy's rows are shorter than 2 GiB
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class Property:
    """A column: numpy type code without byte order; `count_type` is that of a list's length, None for a scalar."""

    name: str
    type: str
    count_type: str | None = None


@dataclass
class Element:
    """A declared table: its name, number of rows and columns."""

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)


@dataclass
class Table:
    """The rows of one element.

    Attributes:
        columns: scalar property -> [count] values, as stored (ascii: float64).
        lists: list property -> (lengths [count] int64, the lists' values one after the other).
        types: property -> declared numpy type code.
    """

    count: int
    columns: dict[str, np.ndarray]
    lists: dict[str, tuple[np.ndarray, np.ndarray]]
    types: dict[str, str]


def read(path: str | Path) -> dict[str, Table]:
    """All elements of a PLY file by name; UserError if it is not a PLY or does not hold what its header declares."""
    data = read_bytes(path)
    order, elements, position = parse_header(data, path)
    tables = {}
    lines = data[position:].decode("latin-1").splitlines() if order == "" else []
    line = 0
    for element in elements:
        if order == "":
            tables[element.name], line = _read_ascii(lines, line, element, path)
        else:
            tables[element.name], position = _read_binary(data, position, element, order, path)
    return tables


def parse_header(data: bytes, path: str | Path) -> tuple[str, list[Element], int]:
    """Byte order ("" for ascii), declared elements, and where the body starts."""
    if not data.startswith(b"ply"):
        raise UserError(f"cannot read {path}: it is not a PLY file")
    head = data[:HEADER_LIMIT]
    end = head.find(b"end_header")
    stop = head.find(b"\n", end)
    if end < 0 or stop < 0:
        raise UserError(f"cannot read {path}: its PLY header has no end within {HEADER_LIMIT:,} bytes")
    order: str | None = None
    elements: list[Element] = []
    for line in head[:end].decode("latin-1").splitlines()[1:]:
        words = line.split()
        if not words or words[0] in ("comment", "obj_info"):
            continue
        if words[0] == "format" and len(words) == 3 and words[1] in _ORDERS:
            order = _ORDERS[words[1]]
        elif words[0] == "element" and len(words) == 3 and words[2].isdecimal() and len(words[2]) < 16:
            elements.append(Element(words[1], int(words[2])))
        elif words[0] == "property" and elements and (found := _parse_property(words)):
            elements[-1].properties.append(found)
        else:
            raise UserError(f"cannot read {path}: its PLY header has a line that makes no sense: {line[:60]!r}")
    if order is None:
        raise UserError(f"cannot read {path}: its PLY header names no known format")
    _check_header(elements, path)
    return order, elements, stop + 1


def _parse_property(words: list[str]) -> Property | None:
    if len(words) == 3 and words[1] in _TYPES:
        return Property(words[2], _TYPES[words[1]])
    if len(words) == 5 and words[1] == "list" and words[3] in _TYPES and _TYPES.get(words[2], "f")[0] in "iu":
        return Property(words[4], _TYPES[words[3]], _TYPES[words[2]])
    return None


def _check_header(elements: list[Element], path: str | Path) -> None:
    if len({e.name for e in elements}) != len(elements):
        raise UserError(f"cannot read {path}: its PLY header declares an element twice")
    for element in elements:
        names = {p.name for p in element.properties}
        if len(names) != len(element.properties):
            raise UserError(f"cannot read {path}: PLY element {element.name!r} declares a property twice")
        if len(names) > PROPERTY_LIMIT or (not names and element.count):
            raise UserError(f"cannot read {path}: PLY element {element.name!r} has {len(names)} properties")


def _too_short(path: str | Path, element: Element) -> UserError:
    return UserError(
        f"cannot read {path}: it declares {element.count:,} rows of {element.name!r} but ends before them; "
        "it is truncated or its count is wrong"
    )


def _read_binary(data: bytes, position: int, element: Element, order: str, path: str | Path) -> tuple[Table, int]:
    smallest = sum(np.dtype(p.count_type or p.type).itemsize for p in element.properties)
    if element.count * smallest > len(data) - position:
        raise _too_short(path, element)
    if not element.properties:
        return Table(0, {}, {}, {}), position
    rows = _read_equal_rows(data, position, element, order)
    if rows is None:
        return _read_ragged_rows(data, position, element, order, path)
    columns, lists = {}, {}
    for i, prop in enumerate(element.properties):
        if prop.count_type is None:
            columns[prop.name] = rows[f"v{i}"]
        else:
            lists[prop.name] = rows[f"n{i}"].astype(np.int64), rows[f"v{i}"].reshape(-1)
    types = {p.name: p.type for p in element.properties}
    return Table(element.count, columns, lists, types), position + rows.nbytes


def _read_equal_rows(data: bytes, position: int, element: Element, order: str) -> np.ndarray | None:
    """All rows at once as fields v0, v1.. (lists: their lengths n0, n1.. too), if each list is as long in every row.

    None if the lists' lengths differ or the rows do not fit into the rest of the data.
    """
    fields: list[tuple] = []
    lengths: dict[str, int] = {}
    at = position
    for i, prop in enumerate(element.properties):
        length = 1
        if prop.count_type is not None:
            width = np.dtype(prop.count_type).itemsize
            fits = element.count > 0 and at + width <= len(data)
            length = int(np.frombuffer(data, order + prop.count_type, 1, at)[0]) if fits else 0
            fields.append((f"n{i}", order + prop.count_type))
            lengths[f"n{i}"] = length
            at += width
        at += length * np.dtype(prop.type).itemsize
        if length < 0 or at - position > min(len(data) - position, _ROW_LIMIT):
            return None
        fields.append((f"v{i}", order + prop.type, () if prop.count_type is None else (length,)))
    if (at - position) * element.count > len(data) - position:
        return None
    rows = np.frombuffer(data, np.dtype(fields), element.count, position)
    return rows if all((rows[name] == length).all() for name, length in lengths.items()) else None


def _read_ragged_rows(data: bytes, position: int, element: Element, order: str, path: str | Path) -> tuple[Table, int]:
    """Row by row: only for lists of unequal length."""
    pieces: dict[str, list[bytes]] = {p.name: [] for p in element.properties}
    lengths: dict[str, list[int]] = {p.name: [] for p in element.properties}
    endian: Literal["big", "little"] = "big" if order == ">" else "little"
    layout = [(p.name, np.dtype(p.type).itemsize, p.count_type) for p in element.properties]
    for _ in range(element.count):
        for name, size, count_type in layout:
            length = 1
            if count_type is not None:
                count = data[position : position + int(count_type[1])]
                length = int.from_bytes(count, endian, signed=count_type[0] == "i")
                position += len(count)
            stop = position + length * size
            if length < 0 or stop > len(data):
                raise _too_short(path, element)
            pieces[name].append(data[position:stop])
            lengths[name].append(length)
            position = stop
    columns, lists = {}, {}
    for prop in element.properties:
        values = np.frombuffer(b"".join(pieces[prop.name]), order + prop.type)
        if prop.count_type is None:
            columns[prop.name] = values
        else:
            lists[prop.name] = np.array(lengths[prop.name], dtype=np.int64), values
    return Table(element.count, columns, lists, {p.name: p.type for p in element.properties}), position


def _read_ascii(lines: list[str], start: int, element: Element, path: str | Path) -> tuple[Table, int]:
    types = {p.name: p.type for p in element.properties}
    stop = start + element.count
    if stop > len(lines):
        raise _too_short(path, element)
    rows = lines[start:stop]
    try:
        if not element.count:
            values = np.zeros((0, len(element.properties)))
        elif any(p.count_type for p in element.properties):
            columns, lists = _parse_ragged_lines(rows, element.properties)
            return Table(element.count, columns, lists, types), stop
        else:
            values = np.loadtxt(rows, dtype=np.float64, comments=None, ndmin=2)
        if values.shape != (element.count, len(element.properties)):
            raise ValueError
    except (ValueError, OverflowError, IndexError) as error:
        raise UserError(
            f"cannot read {path}: the {element.count:,} rows of {element.name!r} do not hold "
            f"{len(element.properties)} numbers each"
        ) from error
    columns = {p.name: values[:, i] for i, p in enumerate(element.properties) if p.count_type is None}
    empty = (np.zeros(0, dtype=np.int64), np.zeros(0))
    return Table(element.count, columns, {p.name: empty for p in element.properties if p.count_type}, types), stop


def _parse_ragged_lines(
    rows: list[str], properties: list[Property]
) -> tuple[dict[str, np.ndarray], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Rows with lists; ValueError or IndexError where a row holds too few or too many numbers."""
    values: dict[str, list[float]] = {p.name: [] for p in properties}
    lengths: dict[str, list[int]] = {p.name: [] for p in properties}
    for row in rows:
        words = row.split()
        at = 0
        for prop in properties:
            length = 1
            if prop.count_type:
                length = int(words[at])
                at += 1
            if not 0 <= length <= len(words) - at:
                raise ValueError(f"a list of {length} in a row of {len(words)} numbers")
            values[prop.name] += map(float, words[at : at + length])
            lengths[prop.name].append(length)
            at += length
        if at != len(words):
            raise ValueError("too many numbers in a row")
    columns = {p.name: np.array(values[p.name]) for p in properties if p.count_type is None}
    lists = {
        p.name: (np.array(lengths[p.name], dtype=np.int64), np.array(values[p.name]))
        for p in properties
        if p.count_type
    }
    return columns, lists
