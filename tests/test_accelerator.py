"""Choosing a device, reaching it, and the sentence that ends a job whose memory does not suffice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gaussmith import accelerator, cli
from gaussmith.accelerator import Glance, choose, compiles, constant, enough_memory, limit, onto
from gaussmith.events import OutOfMemory, UserError

CUDA = torch.device("cuda", 0)


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose("auto").type == choose("cpu").type == "cpu"
    with pytest.raises(UserError, match="no CUDA device here; use --device cpu"):
        choose("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose("auto").type == choose("cuda").type == "cuda" and choose("cpu").type == "cpu"


def test_kernels_are_compiled_for_gpus_only() -> None:
    assert not compiles(torch.device("cpu")) and not compiles(torch.device("meta"))


def test_on_the_cpu_nothing_is_copied() -> None:
    x = torch.ones(3)
    assert onto(x, "cpu") is x and onto(x, torch.device("cpu")) is x
    assert onto(x, "meta").device.type == "meta"


def test_a_constant_is_made_once() -> None:
    like = torch.ones(1, dtype=torch.float64)
    assert constant((1.0, 2.0), like) is constant((1.0, 2.0), like)
    assert constant((1.0, 2.0), like).dtype == torch.float64 and constant((1.0, 2.0), like.float()).tolist() == [1, 2]


class Far:
    """A figure on a GPU."""

    device, looks = CUDA, 0

    def item(self) -> float:
        self.looks += 1
        return float(self.looks)


def test_a_figure_on_a_gpu_is_looked_at_now_and_then() -> None:
    far, glance = Far(), Glance()
    seen = [glance.at(step, far) for step in range(1, 22)]  # type: ignore[arg-type]
    assert far.looks == 3 and seen == [1.0] * 9 + [2.0] * 10 + [3.0] * 2
    assert [Glance().at(step, torch.tensor(float(step))) for step in (1, 2)] == [1.0, 2.0]


def test_the_limit_is_a_share_of_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: type("Card", (), {"total_memory": 8_000_000_000})
    )
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *a: told.append(a))
    limit(CUDA, 2_000_000_000)
    limit(CUDA, 99_000_000_000)
    limit(CUDA, None)
    limit(torch.device("cpu"), 1)
    assert told == [(0.25, CUDA), (1.0, CUDA)]


def cpu_allocator() -> None:
    torch.empty(1 << 50)


def numpys() -> None:
    np.empty(1 << 58)


def gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 8 GiB")


def driver() -> None:
    raise RuntimeError("Triton Error [CUDA]: out of memory")


def kernels() -> None:
    raise OutOfMemory("The GPU ran out of memory drawing 7 Gaussians; lower their number.")


@pytest.mark.parametrize(
    ("cause", "start"),
    [
        (cpu_allocator, r"machine ran out of memory \(4,503,599.6 GB more were asked for\) with 7 things; lower them"),
        (numpys, r"the machine ran out of memory \(2.00 EiB more were asked for\) with 7 things; lower them"),
        (gpu, r"the GPU ran out of memory \(2.50 GiB more were asked for\) with 7 things; lower them"),
        (driver, r"the GPU ran out of memory with 7 things; lower them"),
        (kernels, r"The GPU ran out of memory drawing 7 Gaussians, with 7 things; lower them"),
    ],
)
def test_the_end_of_memory_is_one_sentence(cause: Any, start: str) -> None:
    with pytest.raises(OutOfMemory, match=start), enough_memory("with 7 things", "lower them"):
        cause()


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: illegal memory access"), ValueError("7"), UserError("8")])
def test_other_errors_pass(error: Exception) -> None:
    with pytest.raises(type(error)) as raised, enough_memory("with 7 things", "lower them"):
        raise error
    assert raised.value is error


def test_every_command_that_draws_or_trains_refuses_a_gpu_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    picture = Path(__file__).parent.parent / "examples" / "mug.png"
    mesh = tmp_path / "a.obj"
    mesh.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    commands = {
        "image": (picture,), "text": ("a red chair",), "refine": (mesh, "--prompt", "a red chair"),
        "render": (mesh, "-o", tmp_path / "a.png"), "reconstruct": (tmp_path,), "train-prior": (tmp_path,),
    }  # fmt: skip
    for name, rest in commands.items():
        code = cli.main([name, *map(str, rest), "--device", "cuda"])
        said = capsys.readouterr().err
        assert code == 2 and "no CUDA device here; use --device cpu" in said and said.count("\n") == 1, (name, said)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.obj"]


def test_a_command_that_runs_out_of_memory_ends_in_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from gaussmith import api

    def exhausted(*args: Any, **kwargs: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(api, "load", exhausted)
    assert cli.main(["render", str(tmp_path / "a.ply"), "-o", str(tmp_path / "a.png")]) == 2
    assert "ran out of memory" in capsys.readouterr().err and not list(tmp_path.iterdir())
    assert accelerator.LOOK_EVERY > 1
