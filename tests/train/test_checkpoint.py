"""Checkpoints: exact, whole or absent, and clear about what is wrong."""

import json
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaussmith.events import UserError
from gaussmith.train import checkpoint as C


@dataclass(frozen=True)
class Settings:
    steps: int = 500
    sides: tuple[int, ...] = (128, 256)
    folder: Path = Path("somewhere")


def _save(path: Path, **changes) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    tensors = {
        "gaussians.means": torch.randn(5, 3, generator=g, requires_grad=True),
        "strided": torch.arange(12.0).reshape(3, 4).T,
        "count": torch.tensor(7),
        "half": torch.ones(2, dtype=torch.float16),
        "empty": torch.zeros(0, 3),
    }
    C.save(path, tensors, {"step": 12, "losses": [0.5, 1.5]}, **{"config": Settings(), **changes})
    return tensors


def test_round_trip(tmp_path):
    path = tmp_path / "new" / "state.safetensors"
    tensors = _save(path)
    back = C.load(path, config=Settings())
    assert back.meta == {"step": 12, "losses": [0.5, 1.5]}
    assert back.tensors.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert torch.equal(back.tensors[name], tensor.detach()) and back.tensors[name].dtype == tensor.dtype
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_generators_continue_where_they_were(tmp_path):
    generator = torch.Generator().manual_seed(3)
    torch.randn(5, generator=generator)
    C.save(tmp_path / "a", {}, {}, generators={"views": generator})
    expected = torch.randn(7, generator=generator)
    back = C.load(tmp_path / "a").generators["views"]
    assert torch.equal(torch.randn(7, generator=back), expected)


def test_equal_states_are_equal_bytes(tmp_path):
    _save(tmp_path / "a")
    _save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_settings_are_refused_by_name(tmp_path):
    _save(tmp_path / "a")
    with pytest.raises(UserError, match=r"other settings \(sides, steps\)"):
        C.load(tmp_path / "a", config=replace(Settings(), steps=9, sides=(1,)))
    assert C.load(tmp_path / "a").meta["step"] == 12


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a"
    _save(path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left"):
        C.save(path, {"x": torch.ones(3)}, {})
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(UserError, match="no checkpoint at"):
        C.load(tmp_path / "none")
    from safetensors.torch import save_file

    save_file({"x": torch.ones(2)}, tmp_path / "foreign")
    with pytest.raises(UserError, match="not a checkpoint"):
        C.load(tmp_path / "foreign")
    huge_header = tmp_path / "huge"
    huge_header.write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(UserError, match="damaged"):
        C.load(huge_header)
    for text in (b"", b"{}", b"not a checkpoint at all, but long enough"):
        (tmp_path / "text").write_bytes(text)
        with pytest.raises(UserError, match="damaged"):
            C.load(tmp_path / "text")


def test_a_checkpoint_of_a_later_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(C, "FORMAT", 2)
    _save(tmp_path / "a")
    monkeypatch.undo()
    with pytest.raises(UserError, match="not a checkpoint"):
        C.load(tmp_path / "a")


def test_a_broken_generator_state_is_refused(tmp_path):
    from safetensors.torch import save_file

    record = json.dumps({"format": C.FORMAT, "config": None, "meta": {}})
    save_file({"generator/x": torch.zeros(3, dtype=torch.uint8)}, tmp_path / "a", metadata={"gaussmith": record})
    with pytest.raises(UserError, match="damaged"):
        C.load(tmp_path / "a")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True))
def test_truncated_files_are_refused(tmp_path, share):
    _save(tmp_path / "a")
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "cut").write_bytes(data[: int(share * len(data))])
    with pytest.raises(UserError, match="damaged"):
        C.load(tmp_path / "cut")


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 500), st.integers(0, 255))
def test_flipped_header_bytes_never_escape_as_another_error(tmp_path, place, value):
    _save(tmp_path / "a")
    data = bytearray((tmp_path / "a").read_bytes())
    data[place] = value
    (tmp_path / "flipped").write_bytes(data)
    try:
        C.load(tmp_path / "flipped", config=Settings())
    except UserError as error:
        assert "flipped" in str(error)


def test_reserved_names_and_bad_values_are_programming_errors(tmp_path):
    with pytest.raises(ValueError, match="generator/"):
        C.save(tmp_path / "a", {"generator/x": torch.ones(1)}, {})
    with pytest.raises(ValueError, match="JSON"):
        C.save(tmp_path / "a", {}, {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_prefixes():
    tensors = {"means": torch.ones(1), "first.means": torch.zeros(1)}
    both = {**C.with_prefix("gaussians", tensors), **C.with_prefix("adam", tensors)}
    assert C.section("adam", both).keys() == tensors.keys()
    assert C.section("adam.first", both).keys() == {"means"}
