"""The command `gaussmith train-prior`, apart from cli.py because its options are the recipe's own `Config`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from tyro.conf import OmitArgPrefixes, Positional, arg

from gaussmith.api import resolve_device
from gaussmith.cli_options import Output, tell, within, writable_folder
from gaussmith.events import OnEvent, StageFinished, StageStarted, Step
from gaussmith.io.atomic import write_bytes
from gaussmith.priors.embedded.prior import load_weights
from gaussmith.progress import reporting
from gaussmith.recipes import train_prior as recipe
from gaussmith.synth.objects import ObjectSet, load_objects, split
from gaussmith.synth.procedural import generate_objects
from gaussmith.synth.views import render_shards
from gaussmith.train import placement, symmetry

DEFAULTS = recipe.Config()


def train_prior(
    objects: Positional[Path],
    *,
    output: Output = Path("runs/prior"),
    procedural: int = 2500,
    views: int = 24,
    start: Annotated[Path | None, arg(metavar="WEIGHTS")] = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    resume: bool = False,
    quiet: bool = False,
    config: Annotated[recipe.Config, OmitArgPrefixes] = DEFAULTS,
) -> None:
    """Train the embedded prior anew on 3D objects (a GPU is advised).

    Args:
        objects: objects.npz, the 3D objects to learn from.
        output: Folder for the rendered views, checkpoints, weights, log, plot, samples and the model card.
        procedural: Generated objects to learn from beside them, 0 to 100000.
        views: Views rendered of each object, 8 to 256.
        start: Weights to begin from instead of random ones.
        device: Where to train; auto takes CUDA when there is one.
        resume: Go on from the checkpoint in the output folder, if there is one.
        quiet: Show nothing but errors.
        config: Numbers of the training.
    """
    within("--procedural", procedural, 0, 100_000)
    within("--views", views, 8, 256)
    chosen = resolve_device(device)
    catalogue = load_objects(objects)
    if start is not None:
        load_weights(start, precision="float32")  # a wrong file is told of before hours of rendering
    shards = writable_folder(output) / "views"
    with reporting(quiet) as on_event:
        made = generated(config.seed, procedural, on_event)
        train, held_out = split(catalogue)
        worlds = {"train": (catalogue, train), "procedural": (made, np.arange(procedural))}
        render("validation", catalogue, held_out, shards, views, config.seed, on_event)
        for part, (world, indices) in worlds.items():
            for varied in (False, True):
                render(part, world, indices, shards, views, config.seed, on_event, varied)
        weights = recipe.run(config, shards, output, on_event, str(chosen), resume, start=start)
        random = np.random.default_rng(config.seed)
        some = random.permutation(train)[: symmetry.PICTURES]
        told = [(world, indices.tolist()) for world, indices in worlds.values() if world is not None]
        head, _ = placement.teach(told, (catalogue, held_out.tolist()), on_event)
        best = weights.with_name("best.safetensors")
        alike = best.read_bytes() == weights.read_bytes()
        for path in [weights] if alike else [weights, best]:
            placement.add(path, head)
            symmetry.teach(path, catalogue, some.tolist(), held_out.tolist(), on_event)
        if alike:
            write_bytes(best, weights.read_bytes())
    tell(quiet, str(weights))


def generated(seed: int, count: int, on_event: OnEvent) -> ObjectSet | None:
    """Procedural objects, told of as a stage; None for none."""
    if count == 0:
        return None
    started = time.monotonic()
    on_event(StageStarted("make procedural objects"))
    objects = generate_objects(seed, count)
    on_event(StageFinished("make procedural objects", time.monotonic() - started))
    return objects


def render(
    part: str,
    objects: ObjectSet | None,
    indices: np.ndarray,
    shards: Path,
    views: int,
    seed: int,
    on_event: OnEvent,
    varied: bool = False,
) -> None:
    """The views of one part, and none that an earlier run left with other numbers."""
    part += "-varied" * varied
    folder = shards / part
    paths: list[Path] = []
    if objects is not None:
        on_shard = _shard_events(part, on_event)
        paths = render_shards(objects, indices, folder, views, seed=seed, on_shard=on_shard, varied=varied)
    for left in set(folder.glob("shard_*.npz")) - set(paths):
        left.unlink()
    if not paths and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


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
