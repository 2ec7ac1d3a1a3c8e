"""`gaussmith edit` on the command line and from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import gaussmith
from gaussmith import cli
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians, in_ball
from gaussmith.io import load_gaussians, save_gaussians


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Splats of 50 and 20 Gaussians, SH degree 0 and 2, named a.ply and b.ply."""
    generator = torch.Generator().manual_seed(1)
    save_gaussians(in_ball(50, 0.5, generator, opacity=0.9), tmp_path / "a.ply")
    save_gaussians(in_ball(20, 0.5, generator, opacity=0.2, sh_degree=2), tmp_path / "b.ply")
    return tmp_path / "a.ply", tmp_path / "b.ply"


def fails(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    assert cli.main(["edit", *map(str, args)]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_files_are_merged_edited_and_told_of(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = files[0].with_name("new") / "c.ply"
    before = [path.read_bytes() for path in files]
    options = ["--crop-box", "-1,-1,-1,0.1,1,1", "--min-opacity", "0.5", "--rotate", "0,90,0", "--move=-1,0,0"]
    assert cli.main(["edit", *map(str, files), "-o", str(out), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "merge 2 splats", "crop to the box", "drop opacities below 0.5", "transform", str(out),
    ]  # fmt: skip
    edited = load_gaussians(out)
    assert f"{out}: {len(edited)} Gaussians" == lines[-1] and 0 < len(edited) < 50
    assert "removed 20 of" in lines[2] or "removed" in lines[2]
    first = load_gaussians(files[0])
    kept = first.means[first.means[:, 0] <= 0.1]
    # A quarter turn about y takes x to -z.
    expected = torch.stack([kept[:, 2] - 1, kept[:, 1], -kept[:, 0]], dim=1)
    assert torch.allclose(edited.means, expected, atol=1e-6)
    assert [path.read_bytes() for path in files] == before


def test_outside_deletes_the_region(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    a, _ = files
    kept, deleted = a.with_name("in.ply"), a.with_name("out.ply")
    sphere = ["--crop-sphere", "0,0,0,0.35", "--quiet"]
    assert cli.main(["edit", str(a), "-o", str(kept), *sphere]) == 0
    assert cli.main(["edit", str(a), "-o", str(deleted), *sphere, "--outside"]) == 0
    assert capsys.readouterr().out == ""
    assert len(load_gaussians(kept)) + len(load_gaussians(deleted)) == 50
    assert float(load_gaussians(deleted).means.norm(dim=1).min()) > 0.35


def test_edits_compose_across_files(files: tuple[Path, Path]) -> None:
    a, b = files
    step, there, back = (a.with_name(f"{n}.ply") for n in ("step", "there", "back"))
    assert cli.main(["edit", str(a), str(b), "-o", str(step), "--sh-degree", "1", "--max-gaussians", "30"]) == 0
    assert cli.main(["edit", str(step), "-o", str(there), "--scale", "2", "--move", "0,0,4"]) == 0
    assert cli.main(["edit", str(there), "-o", str(back), "--scale", "0.5", "--move", "0,0,-2"]) == 0
    first, last = load_gaussians(step), load_gaussians(back)
    assert first.sh.shape == (30, 4, 3)
    assert torch.allclose(first.means, last.means, atol=1e-6) and torch.equal(first.sh, last.sh)


def test_the_input_is_never_overwritten(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    a, b = files
    link, hard = a.with_name("link.ply"), a.with_name("hard.ply")
    link.symlink_to(b)
    hard.hardlink_to(b)
    before = b.read_bytes()
    for output in (b, b.parent / "." / "b.ply", link, hard):
        assert "never overwrites" in fails(capsys, a, b, "-o", output, "--min-opacity", "0.1")
    assert b.read_bytes() == before


def test_an_empty_splat_is_not_written(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = files[0].with_name("new") / "empty.ply"
    assert "none of the 50" in fails(capsys, files[0], "-o", out, "--crop-box", "8,8,8,9,9,9")
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "say what to change"),
        (["--crop-box", "0,0,0,1,1"], "--crop-box takes 6 numbers"),
        (["--move", "up"], "--move takes 3 numbers"),
        (["--min-opacity", "2"], "from 0 to 1"),
        (["--scale", "nan"], "scale must be"),
        (["--outside"], "outside of what"),
        (["--drop-color", "255,0,0"], "from 0 to 1"),
        (["--center", "--scale", "2"], "leave out"),
    ],
)
def test_bad_options_are_sentences(
    files: tuple[Path, Path], options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in fails(capsys, files[0], "-o", files[0].with_name("c.ply"), *options)
    assert not files[0].with_name("c.ply").exists()


def test_other_files_are_sentences(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    a, _ = files
    mesh = a.with_name("m.obj")
    mesh.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert "is a mesh" in fails(capsys, a, mesh, "-o", a.with_name("c.ply"))
    assert "no such file" in fails(capsys, a, a.with_name("gone.ply"), "-o", a.with_name("c.ply"))
    assert "should end in" in fails(capsys, a, "-o", a.with_name("c.xyz"), "--center")


def test_from_python(files: tuple[Path, Path]) -> None:
    splat = load_gaussians(files[0])
    edited, changes = gaussmith.edit([splat, files[1]], gaussmith.Edits(min_opacity=0.5))
    assert isinstance(edited, Gaussians) and len(edited) == 50 and len(splat) == 50
    assert [(c.before, c.after) for c in changes] == [(50, 70), (70, 50)]
    with pytest.raises(UserError, match="no such file"):
        gaussmith.edit(files[0].with_name("gone.ply"), gaussmith.Edits(center=True))
