"""Reading the files of a pipeline folder: configurations and weights that somebody else wrote.

Sizes are bounded, tensors are read from safetensors or by `torch.load(weights_only=True)`, shards are plain names in
their own folder, and python code that lies beside them is never looked at.
"""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gaussmith.events import UserError
from gaussmith.io.source import read_bytes

MAX_PART_BYTES = 24 << 30  # the largest published part, the T5-XXL encoder of DeepFloyd IF in float32, has 19 GB
_MAX_CONFIG_BYTES = 8 << 20  # vocabularies are about 1 MB; everything else is far less


def load_config(folder: Path, part: str, name: str = "config.json") -> dict[str, Any]:
    """The JSON object in folder/part/name; `UserError` if it is missing, over 8 MB, or no object."""
    path = folder / part / name
    try:
        content = json.loads(read_bytes(path, _MAX_CONFIG_BYTES))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON; fetch or copy the pipeline again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no JSON object; fetch or copy the pipeline again")
    return content


WEIGHTS = re.compile(
    r"(?P<stem>diffusion_pytorch_model|pytorch_model|model)(?P<half>\.fp16)?\.(?P<kind>safetensors|bin)"
    r"(?P<index>\.index(?P<half_index>\.fp16)?\.json)?"
)
SHARD = re.compile(r"(?P<stem>\w+?)(?P<half>\.fp16)?-\d{5}-of-\d{5}(?P<half_after>\.fp16)?\.(?P<kind>safetensors|bin)")


def weights_file(names: Iterable[str], half: bool = True) -> str | None:
    """The file to read weights from among `names`: safetensors before .bin, then fp16 or not as asked, then one file
    before shards; None if there is none."""

    def order(match: re.Match[str]) -> tuple[bool, bool, bool, str]:
        return match["kind"] != "safetensors", is_half(match) != half, bool(match["index"]), match.string

    found = [match for name in names if (match := WEIGHTS.fullmatch(name))]
    return min(found, key=order).string if found else None


def is_half(match: re.Match[str]) -> bool:
    groups = match.groupdict()
    return any(groups.get(key) for key in ("half", "half_index", "half_after"))


def load_safetensors_part(
    folder: Path, part: str, max_bytes: int = MAX_PART_BYTES, half: bool = True
) -> dict[str, Tensor]:
    """All tensors of one part on the CPU, by key, in the types that they are stored in.

    Args:
        max_bytes: refuse files that have more together. half: prefer an fp16 file where there are both.

    Raises:
        UserError: no weights, too large, damaged, not plain tensors, or an index that points out of the folder.
    """
    home = folder / part
    files = weight_files(folder, part, half)
    size = sum(path.stat().st_size for path in files)
    if size > max_bytes:
        raise UserError(f"the weights in {home} take {size / 1e9:.1f} GB, more than the limit of {max_bytes / 1e9:g}")
    tensors: dict[str, Tensor] = {}
    for path in files:
        tensors.update(_tensors(path))
    return tensors


def weight_files(folder: Path, part: str, half: bool = True) -> list[Path]:
    """The file, or the shards, that hold the weights of a part; `UserError` if there are none or not all."""
    home = folder / part
    names = [path.name for path in home.iterdir()] if home.is_dir() else []
    chosen = weights_file(names, half)
    if chosen is None:
        raise UserError(f"{home} holds no weights (diffusion_pytorch_model or model, .safetensors or .bin)")
    files = [home / name for name in (_indexed(home, chosen) if chosen.endswith(".json") else [chosen])]
    if absent := [path.name for path in files if not path.is_file()]:
        raise UserError(f"{home} lacks {', '.join(absent[:3])}; fetch or copy the pipeline again")
    return files


def _indexed(home: Path, index: str) -> list[str]:
    """The shard files that an index names, each a plain name in the index's own folder."""
    shards = load_config(home, "", index).get("weight_map")
    names = sorted(set(map(str, shards.values()))) if isinstance(shards, dict) else []
    if not names or not all(SHARD.fullmatch(name) for name in names):
        raise UserError(f"{home / index} does not name the shards of a model; fetch or copy the pipeline again")
    return names


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, OSError, EOFError, KeyError) as error:
        raise UserError(f"{path} is damaged or holds more than tensors; fetch the pipeline again") from error
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise UserError(f"{path} holds something other than named tensors; fetch the pipeline again")
    return content
