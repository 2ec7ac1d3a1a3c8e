"""The command `gaussmith train-prior`, apart from cli.py because its options are the recipe's own `Config`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional

from gaussmith.api import resolve_device
from gaussmith.cli import Output, tell, within, writable_folder
from gaussmith.events import OnEvent, StageFinished, StageStarted, Step
from gaussmith.progress import reporting
from gaussmith.recipes import train_prior as recipe
from gaussmith.synth.objects import load_objects, split
from gaussmith.synth.views import render_shards

DEFAULTS = recipe.Config()


def train_prior(
    objects: Positional[Path],
    *,
    output: Output = Path("runs/prior"),
    views: int = 24,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    resume: bool = False,
    quiet: bool = False,
    config: Annotated[recipe.Config, OmitArgPrefixes] = DEFAULTS,
) -> None:
    """Train the embedded prior anew on 3D objects (a GPU is advised).

    Args:
        objects: objects.npz, the 3D objects to learn from.
        output: Folder for the rendered views, checkpoints, samples and the weights.
        views: Views rendered of each object, 8 to 256.
        device: Where to train; auto takes CUDA when there is one.
        resume: Go on from the checkpoint in the output folder.
        quiet: Show nothing but errors.
        config: Numbers of the training.
    """
    within("--views", views, 8, 256)
    chosen = resolve_device(device)
    catalogue = load_objects(objects)
    shards = writable_folder(output) / "views"
    with reporting(quiet) as on_event:
        for part, indices in zip(("train", "validation"), split(catalogue)):
            render_shards(
                catalogue, indices, shards / part, views, seed=config.seed, on_shard=_shard_events(part, on_event)
            )
        weights = recipe.run(config, shards, output, on_event, str(chosen), resume)
    tell(quiet, str(weights))


def _shard_events(part: str, on_event: OnEvent):
    """Turn the renderer's (done, in all) into events of one stage."""
    stage, started = f"render {part} views", time.monotonic()

    def on_shard(done: int, count: int) -> None:
        if done == 1:
            on_event(StageStarted(stage, count))
        on_event(Step(stage, done))
        if done == count:
            on_event(StageFinished(stage, time.monotonic() - started))

    return on_shard
