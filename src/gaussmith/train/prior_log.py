"""What a training of the embedded prior writes down as it goes: log.jsonl, one JSON object a line.

Each has a kind, the step, the samples (target views) seen by then and the seconds spent, and of the kind
    run      where it runs and what it began from; one each time a training is started or resumed
    loss     means of the losses since the line before
    gates    figures on held-out objects; "best" is true where they were the best by then
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gaussmith.events import UserError
from gaussmith.io.atomic import write_bytes

Record = dict[str, Any]
LOSS_EVERY = 50  # steps
# The gate that the best weights are chosen by: samples from pure noise take the whole network, and "copy the
# reference" is judged by the same figure. The draft leaves the denoiser out, and the v error says little of pictures.
CHOSEN_BY = "sample_psnr"


class TrainingLog:
    """The records of a training, those of earlier runs among them."""

    def __init__(self, path: Path, samples_by: Callable[[int], int], step: int = 0) -> None:
        """Begin anew at step 0; else go on from what was written by `step`: later lines were of steps that are lost.

        Args:
            samples_by: how many samples are seen by a step.

        Raises:
            UserError: there is a file that is no such log, or the place cannot be written.
        """
        self.path, self.samples_by = path, samples_by
        self.records = [r for r in _read(path, samples_by) if r["step"] <= step] if step else []
        self._before, self._started = max((r["seconds"] for r in self.records), default=0.0), time.monotonic()
        self._losses: list[dict[str, float]] = []
        write_bytes(path, "".join(json.dumps(r) + "\n" for r in self.records).encode())

    @property
    def seconds(self) -> float:
        """Spent on training and its gates, in all runs that this log knows."""
        return self._before + time.monotonic() - self._started

    def run(self, step: int, device: str, began_from: str = "") -> None:
        """Write down that a run begins."""
        self._add("run", step, {"device": device_name(device), **({"began_from": began_from} if began_from else {})})

    def losses(self, step: int, values: dict[str, float]) -> None:
        """Take a step's losses; every LOSS_EVERY steps their means are written."""
        self._losses.append(values)
        if step % LOSS_EVERY == 0:
            self._write_losses(step)

    def gates(self, step: int, figures: dict[str, float]) -> bool:
        """Write the gates; returns whether they are the best so far."""
        self._write_losses(step)
        before = max((r[CHOSEN_BY] for r in self.of_kind("gates") if r.get("best")), default=-math.inf)
        best = figures[CHOSEN_BY] > before
        self._add("gates", step, {**figures, "best": best})
        return best

    def of_kind(self, kind: str) -> list[Record]:
        return [r for r in self.records if r["kind"] == kind]

    def _write_losses(self, step: int) -> None:
        if not self._losses:
            return
        names = dict.fromkeys(name for values in self._losses for name in values)
        columns = {name: [values[name] for values in self._losses if name in values] for name in names}
        self._losses = []
        self._add("loss", step, {name: sum(column) / len(column) for name, column in columns.items()})

    def _add(self, kind: str, step: int, values: Record) -> None:
        place = {"kind": kind, "step": step, "samples": self.samples_by(step), "seconds": round(self.seconds, 1)}
        self.records.append({**place, **values})
        with self.path.open("a") as file:
            file.write(json.dumps(self.records[-1]) + "\n")


def device_name(device: str) -> str:
    """What computes: the GPU's name, or the processor's as far as Python knows it, and its threads."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, {torch.get_num_threads()} thread(s)"


def _read(path: Path, samples_by: Callable[[int], int]) -> list[Record]:
    if not path.exists():
        return []
    try:
        records = [json.loads(line) for line in path.read_text().splitlines() if line.strip()]
        # Lines of earlier versions were all gates.
        return [{"kind": "gates", "samples": samples_by(r["step"]), "seconds": 0.0, **r} for r in records]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path} is not the log of a training; choose another output folder") from error
