"""The command `gaussmith priors`: which diffusion models can be named, and fetching one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from gaussmith.events import UserError

_COLUMNS = ("name", "from", "pixels", "download", "memory", "here", "licence")


def priors(
    action: Positional[Literal["list", "get"]] = "list",
    name: Positional[Annotated[str | None, arg(metavar="NAME")]] = None,
    *,
    full: bool = False,
) -> None:
    """List the published diffusion models that --prior can name, or fetch one.

    Args:
        action: list: show them, and which are on this machine. get: download NAME.
        name: For get: a name in the list, or a hub id OWNER/NAME of a pipeline of the same kinds.
        full: For get: float32 weights instead of the half as large float16 ones.
    """
    from gaussmith.priors import hub

    if action == "list":
        if name is not None:
            raise UserError(f"`gaussmith priors list` takes no name; to fetch {name} say `gaussmith priors get {name}`")
        print(*lines(), sep="\n")
        return
    if name is None:
        raise UserError(f"say which prior to get: {', '.join(hub.KNOWN)}, or a hub id OWNER/NAME")
    if name == "embedded":
        raise UserError("the prior `embedded` came with gaussmith; there is nothing to get")
    located = hub.fetch(name, half=not full, say=print)
    print(f"{name} is in {located.folder}; use it with --prior {name}")


def lines() -> Iterator[str]:
    """The list as it is printed."""
    from gaussmith.priors import hub
    from gaussmith.priors.embedded.prior import WEIGHTS, EmbeddedPrior

    here = "yes" if WEIGHTS.is_file() else "no"
    rows = [_COLUMNS, ("embedded", "image", str(EmbeddedPrior.size), "with it", "small", here, "Apache-2.0")]
    for prior in hub.KNOWN.values():
        download, memory = f"{prior.download_gb:.1f} GB", f"{prior.memory_gb:.1f} GB"
        present = hub.presence(prior)
        rows.append((prior.name, prior.kind, str(prior.resolution), download, memory, present, prior.licence))
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
    yield ""
    yield "memory: float16 weights held while a job runs; pictures on their way through the network come on top."
    yield f"All but `embedded` need {hub.INSTALL}. Fetch one with `gaussmith priors get NAME`, or pass"
    yield "--prior FOLDER with a copy of its diffusers pipeline."
