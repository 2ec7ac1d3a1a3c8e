from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch

from gaussmith.cli import main
from gaussmith.gaussians import in_ball
from gaussmith.io import save_gaussians


@pytest.fixture
def splat(tmp_path: Path) -> Path:
    save_gaussians(in_ball(50, 0.5, torch.Generator().manual_seed(0)), tmp_path / "a.ply")
    return tmp_path / "a.ply"


def refusal(args: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says when it ends with exit code 2."""
    assert main(["view", "--no-browser", *args]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


def test_mistakes_are_one_sentence(splat: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing to view" in refusal([], capsys)
    assert "no such file" in refusal([str(tmp_path / "b.ply")], capsys)
    assert "suffix" in refusal([str(tmp_path / "b.txt")], capsys)
    assert "--port" in refusal([str(splat), "--port", "70000"], capsys)


def test_a_taken_port(splat: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("viser")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert f"port {port} is in use" in refusal([str(splat), "--port", port], capsys)


def test_viser_is_missing(splat: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    assert "pip install 'gaussmith[view]'" in refusal([str(splat)], capsys)


@contextmanager
def killed(process: subprocess.Popen[str]) -> Iterator[None]:
    """Whatever fails in between, the process does not outlive it."""
    try:
        yield
    finally:
        process.kill()


@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
def test_it_serves_until_it_is_interrupted(splat: Path) -> None:
    pytest.importorskip("viser")
    command = [sys.executable, "-m", "gaussmith", "view", str(splat), "--no-browser", "--port", "0"]
    # A suite that was started in the background ignores SIGINT, and its children would too.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, preexec_fn=heed, **pipes) as process, killed(process):
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().split()[0]
        with urllib.request.urlopen(url) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert process.stdout.read() == "" and process.stderr.read() == ""
