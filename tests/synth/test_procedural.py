"""The procedural world: sound meshes, honest captions, the same bytes for the same numbers, and variations that keep
what they promise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gaussmith.mesh import Mesh
from gaussmith.priors.embedded.vocabulary import words
from gaussmith.synth.objects import POSITION_SCALE, ObjectSet, load_objects
from gaussmith.synth.palette import NAMES, colour_name
from gaussmith.synth.procedural import (
    FAMILIES,
    combine,
    generate,
    generate_objects,
    light,
    make,
    mirror,
    recolour,
    stretch,
    turn,
    vary_object,
)
from gaussmith.synth.procedural.design import ANY, METAL, Design, Paint, phrase, pick
from gaussmith.synth.procedural.finish import normalise, to_mesh, weld
from gaussmith.synth.procedural.generate import LOTS, MAX_FACES
from gaussmith.synth.procedural.shapes import (
    Solid,
    around,
    ball,
    both,
    box,
    cylinder,
    extrude,
    lathe,
    star,
    torus,
    tube,
    wedges,
)

RED, BLUE = Paint(0.8, 0.1, 0.1, "red"), Paint(0.1, 0.2, 0.8, "blue")
seeds = st.integers(0, 2**31)


def diagonal(mesh: Mesh) -> float:
    low, high = mesh.bounds
    return float((high - low).norm())


def volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]].double() for i in range(3))
    return float((a * torch.linalg.cross(b, c)).sum() / 6)


def check(mesh: Mesh, faces: int = MAX_FACES) -> None:
    """Finite, in range, normalised, no face without area, coloured in [0,1], wound outwards, of bounded size."""
    assert mesh.vertex_colors is not None and mesh.vertex_colors.shape == mesh.vertices.shape
    assert torch.isfinite(mesh.vertices).all() and torch.isfinite(mesh.vertex_colors).all()
    assert mesh.vertex_colors.min() >= 0 and mesh.vertex_colors.max() <= 1
    assert 4 <= len(mesh.faces) <= faces
    assert mesh.faces.min() >= 0 and int(mesh.faces.max()) == len(mesh.vertices) - 1
    assert diagonal(mesh) == pytest.approx(1.2, abs=1e-3)
    assert mesh.bounds.sum(dim=0).abs().max() < 1e-3
    places = (mesh.vertices.double() / POSITION_SCALE).round()
    a, b, c = (places[mesh.faces[:, i]] for i in range(3))
    assert bool((torch.linalg.cross(b - a, c - a) != 0).any(dim=1).all())
    assert volume(mesh) > 0


def open_edges(solid: Solid) -> int:
    """Directed edges without their opposite: 0 for a closed surface with one winding."""
    corners = np.round(solid.points, 7).reshape(-1, 3) + 0.0
    _, index = np.unique(corners, axis=0, return_inverse=True)
    edges = index.reshape(-1, 3)[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    edges = edges[edges[:, 0] != edges[:, 1]]
    count: dict[tuple[int, int], int] = {}
    for a, b in edges.tolist():
        count[a, b] = count.get((a, b), 0) + 1
        count[b, a] = count.get((b, a), 0) - 1
    return sum(n != 0 for n in count.values())


PRIMITIVES = {
    "box": box(1, 2, 0.5, RED),
    "bevelled box": box(1, 2, 0.5, RED, bevel=0.1, taper=(0.5, 0.8)),
    "pyramid": box(1, 1, 1, RED, taper=0),
    "cylinder": cylinder(0.5, 1, [RED], top=0.2),
    "cone": cylinder(0.5, 1, RED, top=0),
    "vessel": lathe([(0.4, 0), (0.5, 1), (0.4, 1), (0.3, 0.1), (0, 0.1)], RED),
    "downward profile": lathe([(0, 1), (0.5, 0)], RED),
    "ball": ball((1, 0.5, 0.7), RED, 2),
    "rough ball": ball(1.0, RED, 1, 0.2, np.random.default_rng(0)),
    "torus": torus(1, 0.3, RED),
    "blade": extrude([(-0.1, 0), (0.1, 0), (0, 1)], 0.05, RED, 0.9),
    "clockwise outline": extrude([(0, 1), (1, 0), (0, 0)], 0.2, RED),
    "star": extrude(star(1, 0.4), 0.2, RED),
    "tube": tube([(0, 0, 0), (0, 1, 0), (1, 1, 0), (1, 1, 1)], [0.1, 0.2, 0.1, 0.0], RED),
}


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitives_are_closed_and_face_outwards(name: str) -> None:
    solid = PRIMITIVES[name]
    assert solid.volume() > 0 and open_edges(solid) == 0
    for moved in (solid.mirror(), solid.mirror(2), solid.turn(30, 40, 50), solid.scale(2, 1, 0.5).at(1, 2, 3)):
        assert moved.volume() > 0 and open_edges(moved) == 0


def test_primitives_have_the_sizes_they_are_given() -> None:
    low, high = box(1, 2, 0.5, RED, bevel=0.1).bounds()
    assert low.tolist() == pytest.approx([-0.5, 0, -0.25]) and high.tolist() == pytest.approx([0.5, 2, 0.25])
    assert box(1, 2, 0.5, RED).volume() == pytest.approx(1)
    assert cylinder(1, 2, RED, sides=200).volume() == pytest.approx(2 * np.pi, rel=1e-3)
    assert torus(1, 0.25, RED, 100, 100).volume() == pytest.approx(2 * np.pi**2 * 0.25**2, rel=5e-3)
    assert tube([(0, 0, 0), (0, 0, 3)], 0.5, RED, sides=100).volume() == pytest.approx(3 * np.pi / 4, rel=2e-3)


def test_turns_are_right_handed_and_copies_stand_around() -> None:
    front = box(0.1, 0.1, 0.1, RED).at(z=1)
    assert front.turn(y=90).points.mean(axis=(0, 1)) == pytest.approx([1, 0.05, 0], abs=1e-9)
    assert front.turn(x=90).points.mean(axis=(0, 1)) == pytest.approx([0, -1, 0.05], abs=1e-9)
    assert around(front, 4).points.mean(axis=(0, 1)) == pytest.approx([0, 0.05, 0], abs=1e-9)
    assert both(front.at(x=1)).points.mean(axis=(0, 1)) == pytest.approx([0, 0.05, 1], abs=1e-9)


def test_bands_and_paint_colour_what_they_say() -> None:
    solid = lathe([(0.5, 0), (0.5, 1), (0.5, 2)], [RED, BLUE], cap=RED)
    heights, reds = solid.points[..., 1].mean(axis=1), solid.colors[:, 0, 0] > 0.5
    sides = (heights > 0.01) & (heights < 1.99)
    assert (reds[sides] == (heights[sides] < 1)).all() and reds[~sides].all()
    with pytest.raises(ValueError, match="2 bands"):
        lathe([(0.5, 0), (0.5, 1), (0.5, 2)], [RED, BLUE, RED])
    halves = ball(1.0, RED, 2).paint(wedges(1), BLUE)
    blue = halves.colors[:, 0, 2] > 0.5
    z = halves.points.mean(axis=1)[:, 2]
    clear = np.abs(z) > 1e-6
    assert ((z > 0) == blue)[clear].all() and 0.4 < blue.mean() < 0.6


@pytest.mark.parametrize("name", [*FAMILIES, "abstract"])
@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_every_family_makes_sound_meshes_and_names_itself(name: str, seed: int) -> None:
    solid, caption = make(name, np.random.default_rng(seed))
    check(to_mesh(weld(solid)), faces=MAX_FACES if name == "abstract" else MAX_FACES // 2)
    assert 1 <= len(words(caption)) <= 16 and caption == caption.lower()
    if name == "abstract":
        assert "abstract" in caption
    else:
        design = FAMILIES[name](np.random.default_rng(seed))
        assert all(part.volume() > 0 for part in design.parts)
        assert design.noun in caption
        assert {paint.name for _, paint in design.details} <= {*NAMES, "gold", "silver"}


def test_there_are_enough_families_and_lots_name_them() -> None:
    assert len(FAMILIES) >= 34 and set(LOTS) <= set(FAMILIES)
    nouns = {FAMILIES[name](np.random.default_rng(k)).noun for name in FAMILIES for k in range(4)}
    assert {"chair", "sword", "house", "car", "rocket", "robot", "guitar", "castle", "cake", "crown"} <= nouns


def test_an_object_depends_on_seed_and_index_alone() -> None:
    objects = generate_objects(7, 6, first=3)
    assert len(objects) == 6 and all(str(pack).startswith("procedural-") for pack in objects.packs)
    for k in (5, 0, 2):
        mesh, caption = generate(7, 3 + k)
        check(mesh)
        stored = objects.mesh(k)
        assert caption == objects.names[k] and torch.equal(mesh.vertices, stored.vertices)
        assert torch.equal(mesh.faces, stored.faces)
        assert mesh.vertex_colors is not None and stored.vertex_colors is not None
        assert torch.equal(mesh.vertex_colors, stored.vertex_colors)
    assert len({generate(seed, 0)[1] for seed in range(6)}) > 1
    with pytest.raises(ValueError, match="count"):
        generate_objects(0, 0)


def test_the_shares_are_kept_and_the_store_reads_it(tmp_path) -> None:  # type: ignore[no-untyped-def]
    objects = generate_objects(1, 150)
    path = tmp_path / "objects.npz"
    np.savez(path, **{f.name: getattr(objects, f.name) for f in dataclasses.fields(ObjectSet)})
    again = load_objects(path)
    packs = again.packs.tolist()
    assert 0.1 < packs.count("procedural-abstract") / 150 < 0.32 and 1 <= packs.count("procedural-pair") <= 25
    assert len(set(packs)) > 40 and np.diff(again.face_offsets).max() <= MAX_FACES
    pair = str(again.names[packs.index("procedural-pair")])
    assert " on " in pair or " beside " in pair


@given(seed=seeds, name=st.sampled_from(sorted({*ANY, *METAL})))
def test_paints_are_what_they_are_called(seed: int, name: str) -> None:
    rng = np.random.default_rng(seed)
    paint = pick(rng, name)
    assert paint.name == name and min(paint[:3]) >= 0 and max(paint[:3]) <= 1
    assert name in METAL or colour_name(paint[:3]) == name
    assert pick(rng, ("red", name), Paint(0, 0, 0, "red")).name == ("red" if name == "red" else name)


@given(seed=seeds)
def test_captions_read_well(seed: int) -> None:
    details = [("roof", RED), ("windows", BLUE)]
    text = phrase(Design([], "house", BLUE, details, ["old"]), np.random.default_rng(seed))
    assert "house" in text and "  " not in text and "a windows" not in text
    assert not any(f" a {vowel}" in f" {text}" for vowel in "aeiou")
    assert phrase(Design([], "logs", RED), np.random.default_rng(seed)) in ("red logs", "logs")
    assert "a blue water" not in phrase(Design([], "well", RED, [("water", BLUE)]), np.random.default_rng(seed))
    assert phrase(Design([], "bus", RED), np.random.default_rng(seed)) in ("a red bus", "a bus")


def test_weld_refuses_what_is_no_surface() -> None:
    solid = ball(1.0, RED)
    with pytest.raises(ValueError, match="not finite"):
        weld(Solid(solid.points * np.nan, solid.colors))
    with pytest.raises(ValueError, match="area"):
        weld(Solid(solid.points * 0, solid.colors))
    assert len(weld(solid).positions) == 42


@given(arrays.arrays(np.float64, (5, 3), elements=st.floats(-1e6, 1e6, width=32)))
def test_normalising_centres_and_scales(points: np.ndarray) -> None:
    out = normalise(points)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 0.6 + 1e-9
    if np.ptp(points, axis=0).max() > 1e-3:
        assert np.linalg.norm(np.ptp(out, axis=0)) == pytest.approx(1.2)


def sample(seed: int) -> tuple[Mesh, np.random.Generator]:
    return generate(0, seed % 50)[0], np.random.default_rng(seed)


@settings(max_examples=12, deadline=None)
@given(seed=seeds)
def test_variations_stay_sound(seed: int) -> None:
    mesh, rng = sample(seed)
    for varied in (recolour(mesh, rng), stretch(mesh, rng), mirror(mesh), light(mesh, rng), turn(mesh, 33.0)):
        assert diagonal(varied) == pytest.approx(1.2, abs=2e-3)
        assert volume(varied) > 0 and varied.vertex_colors is not None
        assert varied.vertex_colors.min() >= 0 and varied.vertex_colors.max() <= 1
        assert len(varied.faces) >= 0.98 * len(mesh.faces)  # slivers may vanish when light quantises anew
    first, second = (vary_object(mesh, np.random.default_rng(seed)) for _ in range(2))
    assert first.turn == second.turn and torch.equal(first.mesh.vertices, second.mesh.vertices)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_recolouring_maps_equal_colours_to_equal_colours(seed: int) -> None:
    mesh, rng = sample(seed)
    varied = recolour(mesh, rng)
    assert mesh.vertex_colors is not None and varied.vertex_colors is not None
    pairs = torch.cat([(mesh.vertex_colors * 255).round(), varied.vertex_colors], dim=1)
    assert len(torch.unique(pairs, dim=0)) == len(torch.unique(pairs[:, :3], dim=0))
    assert torch.equal(mesh.vertices, varied.vertices)


def test_mirroring_twice_gives_the_object_back() -> None:
    mesh, _ = sample(3)
    once, twice = mirror(mesh), mirror(mirror(mesh))
    assert torch.equal(twice.vertices, mesh.vertices) and torch.equal(twice.faces, mesh.faces)
    assert torch.equal(once.vertices[:, 0], -mesh.vertices[:, 0])
    assert volume(once) == pytest.approx(volume(mesh), rel=1e-5)


def test_a_turn_brings_the_front_to_that_azimuth() -> None:
    mesh, _ = sample(3)
    nose = mesh.vertices[:, 2].argmax()
    turned = turn(mesh, 90.0)
    scale = diagonal(mesh) / diagonal(turned)
    assert scale == pytest.approx(1, abs=1e-4)  # a quarter turn keeps the box
    assert turned.vertices[nose, 0] == pytest.approx(float(mesh.vertices[nose, 2]), abs=1e-3)
    assert turn(mesh, 0.0) is mesh


@pytest.mark.parametrize("seed", range(6))
def test_two_objects_share_no_space(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = generate(0, 2 * seed)[0], generate(0, 2 * seed + 1)[0]
    pair, relation = combine(first, second, rng)
    assert len(pair.faces) == len(first.faces) + len(second.faces) and diagonal(pair) == pytest.approx(1.2, abs=1e-3)
    a, b = pair.vertices[: len(first.vertices)], pair.vertices[len(first.vertices) :]
    if relation == "on":
        assert b[:, 1].min() == pytest.approx(float(a[:, 1].max()), abs=1e-4)
    else:
        assert relation == "beside" and b[:, 0].min() >= a[:, 0].max() - 1e-4
        assert b[:, 1].min() == pytest.approx(float(a[:, 1].min()), abs=1e-4)


def test_meshes_without_colours_are_refused() -> None:
    bare, rng = sample(1)[0].with_(vertex_colors=None), np.random.default_rng(0)
    for vary in (recolour, light):
        with pytest.raises(ValueError, match="colours"):
            vary(bare, rng)
    with pytest.raises(ValueError, match="colours"):
        combine(bare, bare, rng)
