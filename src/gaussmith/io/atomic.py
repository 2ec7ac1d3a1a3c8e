"""Writing files so that a reader sees the old file or the whole new one, never a half-written one."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gaussmith.events import UserError


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to it when the block ends well and removed when it does not.

    Missing parent folders are made. The temporary name ends in ".part", so writers must be told the format instead of
    guessing it from the suffix.

    Raises:
        UserError: the folder is missing and cannot be made, is not writable or is full, or `path` is itself a folder.
            Any OSError of the block counts as such.
    """
    try:
        target = Path(os.path.realpath(path))  # write through a link, as a plain open() would
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        target.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise _refusal(path, error) from error
    temporary = target.with_name(f".{secrets.token_hex(6)}.part")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(target)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, *parts: bytes | memoryview) -> None:
    """Write `parts` one after the other to `path`, atomically; UserError as in `atomic_path`."""
    with atomic_path(path) as temporary, temporary.open("xb") as file:
        for part in parts:
            file.write(part)


def _flush(path: Path) -> None:
    """Force the file to the disk: renaming first could leave an empty file after a power cut."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _refusal(path: str | Path, error: Exception) -> UserError:
    reason = getattr(error, "strerror", None) or str(error)
    return UserError(f"cannot write {path}: {reason}; name another place or make room there")
