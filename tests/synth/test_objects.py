"""Training objects: reading, refusing broken archives, and a split that leaks nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gaussmith.events import UserError
from gaussmith.synth.objects import (
    EXAMPLES,
    HELD_OUT,
    ObjectSet,
    example_mesh,
    example_objects,
    held_out,
    load_objects,
    split,
    stem,
)  # fmt: skip


def tetrahedra(names: list[tuple[str, str]]) -> dict[str, np.ndarray]:
    """The arrays of one tetrahedron a (pack, name)."""
    count = len(names)
    corners = np.array([[0, 0, 0], [20000, 0, 0], [0, 20000, 0], [0, 0, 20000]], np.int16)
    sides = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)
    return {
        "positions": np.tile(corners, (count, 1)),
        "colors": np.tile(np.array([[255, 0, 51, 255]], np.uint8), (4 * count, 1)),
        "faces": np.tile(sides, (count, 1)),
        "vertex_offsets": np.arange(count + 1) * 4,
        "face_offsets": np.arange(count + 1) * 4,
        "names": np.array([name for _, name in names]),
        "packs": np.array([pack for pack, _ in names]),
    }


def write(path: Path, **changes: np.ndarray) -> Path:
    np.savez(path, **{**tetrahedra([("p", "a"), ("p", "b")]), **changes})
    return path


def test_an_object_comes_back_in_world_units(tmp_path: Path) -> None:
    objects = load_objects(write(tmp_path / "objects.npz"))
    mesh = objects.mesh(1)
    assert len(objects) == 2 and mesh.faces.shape == (4, 3)
    assert mesh.vertices.max().item() == pytest.approx(20000 * 0.75 / 32767)
    assert mesh.vertex_colors is not None and mesh.vertex_colors[3].tolist() == pytest.approx([1.0, 0.0, 0.2])


@pytest.mark.parametrize(
    "changes",
    [
        {"vertex_offsets": np.array([0, 4, 9])},
        {"vertex_offsets": np.array([0, 8, 8])},
        {"face_offsets": np.array([0, 8])},
        {"faces": np.full((8, 3), 4, np.int32)},
        {"faces": np.full((8, 3), -1, np.int32)},
        {"faces": np.zeros((8, 2), np.int32)},
        {"colors": np.zeros((7, 4), np.uint8)},
        {"positions": np.zeros((8, 2), np.int16)},
        {"packs": np.array(["p"])},
        {"names": np.array([{"an": "object"}, None], dtype=object)},
    ],
)
def test_archives_that_contradict_themselves_are_refused(tmp_path: Path, changes: dict[str, np.ndarray]) -> None:
    with pytest.raises(UserError, match="objects"):
        load_objects(write(tmp_path / "objects.npz", **changes))


def test_files_that_are_no_archives_are_refused(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("not an archive")
    np.savez(tmp_path / "fields.npz", positions=np.zeros((1, 3)))
    np.save(tmp_path / "array.npy", np.zeros(3))
    for name in ("cut.npz", "text.npz", "fields.npz", "array.npy", "missing.npz"):
        with pytest.raises(UserError, match=r"objects\.npz"):
            load_objects(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("birchtree-snow-3", "birchtree"), ("building-home-a-red", "building-home-a"), ("column2", "column"),
        ("chest-gold", "chest"), ("red", "red"), ("1-2", "1-2"), ("knight", "knight"),
    ],
)  # fmt: skip
def test_stems(name: str, expected: str) -> None:
    assert stem(name) == expected


def many_objects() -> ObjectSet:
    names = [(f"pack{p}", f"thing-{chr(97 + i)}-{v}") for p in range(6) for i in range(26) for v in ("red", "blue-2")]
    names += [("kits", name) for name in ("chest-gold", "chest", "mug-empty", "mug-full", "lamp", "armchair-pillows")]
    return ObjectSet(**tetrahedra(names))


def test_variants_stand_on_one_side_and_the_held_out_on_none() -> None:
    objects = many_objects()
    train, validation = split(objects)
    out = np.nonzero(held_out(objects))[0]
    assert sorted([*train, *validation, *out]) == list(range(len(objects)))
    stems = [{(objects.packs[i], stem(str(objects.names[i]))) for i in side} for side in (train, validation, out)]
    assert not (stems[0] & stems[1] or stems[0] & stems[2] or stems[1] & stems[2])
    assert 0.02 < len(validation) / len(objects) < 0.15
    assert set(objects.names[out]) == {"chest-gold", "chest", "mug-empty", "mug-full", "armchair-pillows"}


def test_the_side_of_an_object_does_not_depend_on_the_others() -> None:
    objects = many_objects()
    train, _ = split(objects)
    keep = np.arange(0, len(objects), 3)[::-1]
    pairs = [(str(objects.packs[i]), str(objects.names[i])) for i in keep]
    fewer = {pairs[i] for i in split(ObjectSet(**tetrahedra(pairs)))[0]}
    assert fewer == {pair for i, pair in zip(keep, pairs) if i in train}


def test_examples_are_all_held_out_by_name() -> None:
    assert len(EXAMPLES) == len(HELD_OUT) == 12
    for example in EXAMPLES.values():
        assert any(part in example.name for part in HELD_OUT)


def test_examples_are_found_and_turned_to_the_camera() -> None:
    objects = ObjectSet(**tetrahedra([(e.pack, e.name) for e in EXAMPLES.values()]))
    assert list(example_objects(objects).values()) == list(range(12))
    turned, still = example_mesh(objects, "clownfish.png"), objects.mesh(0)  # pictured from azimuth 300: turns by +60
    x, z = turned.vertices[1, 0].item(), turned.vertices[1, 2].item()
    length = still.vertices[1, 0].item()
    assert (x, z) == pytest.approx((length * 0.5, -length * 3**0.5 / 2), abs=1e-6)
    with pytest.raises(UserError, match="not an example"):
        example_mesh(objects, "cat.png")
