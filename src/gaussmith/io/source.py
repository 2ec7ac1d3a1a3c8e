"""Reading whole files within bounds, with one-sentence errors."""

from __future__ import annotations

import stat
from pathlib import Path

from gaussmith.events import UserError

MAX_BYTES = 4 << 30  # more than any splat that fits in the memory of the machines aimed at


def read_bytes(path: str | Path, limit: int = MAX_BYTES, first: int | None = None) -> bytes:
    """The bytes of a regular file, or only the `first` ones.

    Raises:
        UserError: missing, a folder, not a regular file, unreadable, empty, or longer than `limit` bytes.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"cannot read {path}: it is a folder, name a file in it")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"cannot read {path}: it is not a regular file")
        if status.st_size == 0:
            raise UserError(f"cannot read {path}: the file is empty")
        if status.st_size > limit:
            raise UserError(f"cannot read {path}: {status.st_size:,} bytes is more than the limit of {limit:,}")
        with path.open("rb") as file:
            return file.read(first)
    except FileNotFoundError as error:
        raise UserError(f"cannot read {path}: there is no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise UserError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
