"""Options, checks and endings that the commands share."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from gaussmith.events import UserError

Output = Annotated[Path, arg(aliases=["-o"], metavar="PATH")]
Preset = Literal["draft", "standard", "fine"]
Device = Literal["auto", "cpu", "cuda"]
DistillationName = Literal["sds", "vsd", "bsd", "dsd", "csd", "ism"]
OptionalFloat = Annotated[float | None, arg(metavar="FLOAT")]
OptionalInt = Annotated[int | None, arg(metavar="INT")]
OptionalPath = Annotated[Path | None, arg(metavar="PATH")]
OptionalOutput = Annotated[Path | None, arg(aliases=["-o"], metavar="PATH")]
MIN_FREE_BYTES = 100 * 1024 * 1024  # a fine asset with its checkpoint takes about half of this


def tell(quiet: bool, *lines: str) -> None:
    if not quiet:
        print(*lines, sep="\n")


def angles(option: str, listed: str) -> list[float]:
    """Numbers between commas; UserError if there is anything else."""
    try:
        return [float(part) for part in listed.split(",")] if listed.strip() else []
    except ValueError as error:
        raise UserError(f"{option} takes degrees between commas, as in 0,90,180; got {listed!r}") from error


def gigabytes(count: float | None) -> int | None:
    """Bytes; UserError unless positive."""
    if count is not None and not count > 0:
        raise UserError(f"--max-memory takes gigabytes above 0, got {count}")
    return None if count is None else int(count * 1e9)


def file_name(prompt: str) -> str:
    """A file name of the words of a prompt: lower-case ASCII letters and digits, joined, at most 60 characters."""
    plain = "".join(c if c.isascii() and c.isalnum() else " " for c in prompt.lower())
    return "-".join(plain.split())[:60].strip("-") or "object"


def within(option: str, value: float | None, low: float, high: float) -> None:
    """UserError unless `value` is None or a number in [low, high] (so not NaN either)."""
    if value is not None and not low <= value <= high:
        raise UserError(f"{option} must be from {low} to {high}, got {value}")


def writable_folder(folder: Path) -> Path:
    """Make `folder`; UserError now, before any long work, if files cannot be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"cannot write into {folder} ({error.strerror}); choose another folder with -o") from error
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        raise UserError(f"only {free // 2**20} MB are free in {folder}; free 100 MB or choose another folder with -o")
    return folder
