import re

import pytest
import torch

from gaussmith import cli, io
from gaussmith.gaussians import in_ball


@pytest.fixture
def source(tmp_path):
    io.save_gaussians(in_ball(300, 0.5, torch.Generator().manual_seed(0), opacity=0.9, sh_degree=1), tmp_path / "a.ply")
    return tmp_path / "a.ply"


def test_it_tells_sizes_ratio_and_loss(source, tmp_path, capsys):
    assert cli.main(["convert", str(source), str(tmp_path / "sub" / "b.spz"), "--sh-degree", "0"]) == 0
    out, err = capsys.readouterr()
    size = (tmp_path / "sub" / "b.spz").stat().st_size
    lines = out.splitlines()
    assert re.fullmatch(rf"a\.ply +{source.stat().st_size:,} bytes +\d+\.\d\d a Gaussian", lines[0])
    assert re.fullmatch(rf"b\.spz +{size:,} bytes +{size / 300:.2f} a Gaussian", lines[1])
    ratio = f"{source.stat().st_size / size:.2f}"
    assert re.fullmatch(rf"{ratio} times smaller, \d\d\.\d dB PSNR to the original on 8 views", lines[2])
    assert "compare" in err
    assert io.load_gaussians(tmp_path / "sub" / "b.spz").sh.shape[1] == 1


def test_nothing_lost_and_larger_and_quiet(source, tmp_path, capsys):
    assert cli.main(["convert", str(source), str(tmp_path / "b.gltf"), "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.main(["convert", str(source), str(tmp_path / "b.ply")]) == 0
    assert capsys.readouterr().out.endswith("nothing lost on 8 views\n")
    assert cli.main(["convert", str(tmp_path / "b.ply"), str(tmp_path / "c.gltf"), "--flip"]) == 0
    assert "times larger" in capsys.readouterr().out


def test_errors_are_one_sentence_and_exit_code_2(source, tmp_path, capsys):
    for arguments, reason in (
        ([source, source], "never overwritten"),
        ([source, tmp_path / "b.spz", "--sh-degree", "4"], "--sh-degree must be from 0 to 3"),
        ([source, tmp_path / "b.jpg"], "ends in"),
    ):
        assert cli.main(["convert", *map(str, arguments)]) == 2
        err = capsys.readouterr().err
        assert reason in err
        assert err.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]
