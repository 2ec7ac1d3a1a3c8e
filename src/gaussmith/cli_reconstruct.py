"""The command `gaussmith reconstruct`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from gaussmith.cli_options import (
    Device,
    OptionalFloat,
    OptionalInt,
    Output,
    Preset,
    gigabytes,
    tell,
    within,
    writable_folder,
)
from gaussmith.events import UserError
from gaussmith.progress import reporting

if TYPE_CHECKING:
    from gaussmith.gaussians import Gaussians


def reconstruct(
    photos: Positional[Path],
    *,
    output: Output = Path("scene"),
    preset: Preset = "standard",
    steps: OptionalInt = None,
    max_gaussians: OptionalInt = None,
    strategy: Literal["adc", "mcmc"] = "adc",
    downscale: OptionalInt = None,
    eval_every: int = 8,
    masks: Annotated[Path | None, arg(metavar="DIR")] = None,
    seed: int = 0,
    antialiased: bool = False,
    frame: Literal["scene", "input"] = "scene",
    storage: Literal["float32", "bfloat16"] = "float32",
    device: Device = "auto",
    max_memory: OptionalFloat = None,
    resume: bool = False,
    view: bool = False,
    quiet: bool = False,
) -> None:
    """Turn photos of a scene, or of an object from all around, into a Gaussian splat.

    Args:
        photos: A folder of photos, a video, the folder of a COLMAP model, or a transforms.json.
        output: Folder for scene.ply, cameras.json, preview.png, a film (.mp4) and report.json.
        preset: How much work to spend: 2,000 steps, 7,000 or 30,000.
        steps: Of training, 1 to 1000000; by default the preset's.
        max_gaussians: Upper limit of the Gaussians, 100 to 20000000; by default the preset's.
        strategy: How Gaussians are added and removed: adc as in 3D Gaussian splatting, or mcmc.
        downscale: Divide the photos' sides by this, 1 to 64; by default the longest side becomes at most 512, 800 or
            1600 pixels, as the preset is.
        eval_every: Hold out every such photo to judge by, 0 for none.
        masks: Folder of masks named as the photos are; what is dark there does not belong to the object.
        seed: Same seed, same result.
        antialiased: Train and draw with Mip-Splatting's filter, for viewers that have it too.
        frame: Coordinates of what is written: the scene's, turned upright and to the usual size, or the input's own.
        storage: Of the optimiser's running means; bfloat16 takes a quarter less memory a Gaussian.
        device: Where to train; auto takes CUDA when there is one.
        max_memory: Gigabytes of a GPU that may be taken; on the CPU it has no effect.
        resume: Go on from where an interrupted run with the same settings stopped.
        view: Show the running job in the browser.
        quiet: Show nothing but errors.
    """
    within("--steps", steps, 1, 1_000_000)
    within("--max-gaussians", max_gaussians, 100, 20_000_000)
    within("--downscale", downscale, 1, 64)
    within("--eval-every", eval_every, 0, 1_000_000)
    within("--seed", seed, 0, 2**63 - 1)
    if not photos.exists():
        raise UserError(f"there is nothing at {photos}; name a folder of photos, a video, or a transforms.json")
    from gaussmith import api

    api.resolve_device(device)
    gigabytes(max_memory)
    with _made(output) as folder, _shown(view, folder, quiet) as on_state, reporting(quiet) as on_event:
        kept = folder / "reconstruct.checkpoint"
        result = api.reconstruct(
            photos,
            preset=preset,
            steps=steps,
            max_gaussians=max_gaussians,
            strategy=strategy,
            downscale=downscale,
            eval_every=eval_every,
            masks=masks,
            seed=seed,
            antialiased=antialiased,
            storage=storage,
            device=device,
            max_memory=gigabytes(max_memory),
            on_event=on_event,
            on_state=on_state,
            checkpoint_dir=kept,
            resume=resume,
        )
        paths = result.save(folder, frame)
    shutil.rmtree(kept, ignore_errors=True)
    tell(quiet, *map(str, paths))


@contextmanager
def _shown(wanted: bool, folder: Path, quiet: bool) -> Iterator[Callable[[int, Gaussians], object] | None]:
    """What to tell of each step so that the viewer shows it; None where no viewer is wanted."""
    if not wanted:
        yield None
        return
    from gaussmith.viewer import Viewer

    viewer = Viewer(output=folder)
    tell(quiet, f"the running job is shown at {viewer.url}")
    try:
        yield lambda step, gaussians: viewer.update(gaussians, step)
    finally:
        viewer.close()


@contextmanager
def _made(output: Path) -> Iterator[Path]:
    """The output folder, gone again if it is new and nothing came of the work."""
    new = not output.exists()
    folder = writable_folder(output)
    try:
        yield folder
    except UserError:
        if new:
            with suppress(OSError):  # it is not empty: there is something to go on from
                folder.rmdir()
        raise
