"""A training state in one safetensors file: tensors, generator states, a JSON record. Nothing in it can run code."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from gaussmith.events import OnEvent, UserError, Warned
from gaussmith.io.atomic import write_bytes

FORMAT = 1
# Far above any state of this package (tens of MB); a larger file is not ours and is not read.
MAX_BYTES = 4 << 30
_META, _GENERATOR = "gaussmith", "generator/"


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: tensors by name, `meta` (JSON values: step, stage...), and generators at their states (CPU)."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]
    generators: dict[str, torch.Generator] = field(default_factory=dict)


def save(
    path: Path,
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    *,
    config: Any = None,
    generators: Mapping[str, torch.Generator] | None = None,
) -> None:
    """Write a checkpoint, whole or not at all: a reader, or a machine cut off in between, sees the old file or the new.

    Args:
        path: the file; its folder is made if missing.
        tensors: any dense tensors by name; names must not start with "generator/".
        meta: JSON-serialisable values.
        config: a dataclass (or JSON value) of the settings that a resumed run must share; see `load`.
        generators: random generators whose state is to be kept.

    Raises: UserError if the file cannot be written.
    """
    clash = [name for name in tensors if name.startswith(_GENERATOR)]
    if clash:
        raise ValueError(f"tensor names may not start with {_GENERATOR!r}: {clash}")
    content = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    content |= {_GENERATOR + name: g.get_state().clone() for name, g in (generators or {}).items()}
    record = {"format": FORMAT, "config": plain(config), "meta": dict(meta)}
    data = to_bytes(content, metadata={_META: json.dumps(record, sort_keys=True, allow_nan=False)})
    write_bytes(path, data)


def load(path: Path, *, config: Any = None, device: torch.device | str = "cpu") -> Checkpoint:
    """Read a checkpoint.

    Raises: UserError if the file is missing, truncated, not a checkpoint, or (with `config`) of other settings.
    """
    if not path.is_file():
        raise UserError(f"there is no checkpoint at {path}: run without resuming first.")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path} is too large to be a checkpoint of gaussmith: choose another file or delete it.")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            record = json.loads((file.metadata() or {}).get(_META, "null"))
            tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if not isinstance(record, dict) or record.get("format") != FORMAT or not isinstance(record.get("meta"), dict):
            raise ValueError("no record of ours in it")
        generators = {name.removeprefix(_GENERATOR): _generator(tensors.pop(name))
                      for name in list(tensors) if name.startswith(_GENERATOR)}  # fmt: skip
    except (SafetensorError, ValueError, RuntimeError, OSError) as error:
        raise UserError(f"{path} is damaged or not a checkpoint of gaussmith: delete it and start again.") from error
    if config is not None:
        _require_same(path, record.get("config"), plain(config))
    return Checkpoint(tensors, record["meta"], generators)


def reopen(path: Path | None, config: Any, on_event: OnEvent) -> Checkpoint | None:
    """The checkpoint that a resumed job goes on from; None, with a warning, where there is none.

    Raises: UserError as `load`.
    """
    if path is not None and path.is_file():
        return load(path, config=config)
    on_event(Warned("There is no checkpoint to resume from; starting from the beginning."))
    return None


def plain(config: Any) -> Any:
    """Settings as JSON values, the way they come back from a file: tuples are lists, paths are strings."""
    if dataclasses.is_dataclass(config) and not isinstance(config, type):
        config = dataclasses.asdict(config)
    return json.loads(json.dumps(config, default=str, sort_keys=True))


def with_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """{"means": t} -> {"gaussians.means": t} for the prefix "gaussians", to keep several states in one file."""
    return {f"{prefix}.{name}": t for name, t in tensors.items()}


def section(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `with_prefix`: the tensors of one prefix under their own names."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


def _generator(state: Tensor) -> torch.Generator:
    generator = torch.Generator()
    generator.set_state(state.cpu())
    return generator


def _require_same(path: Path, saved: Any, wanted: Any) -> None:
    if saved == wanted:
        return
    names = ""
    if isinstance(saved, dict) and isinstance(wanted, dict):
        differ = sorted(k for k in saved.keys() | wanted.keys() if saved.get(k) != wanted.get(k))
        names = f" ({', '.join(differ)})"
    raise UserError(f"the checkpoint {path} was made with other settings{names}: use the same ones or start again.")
