"""Words to assets: is what 40 prompts give told apart by a judge of pictures and words?

    python benchmarks/text.py [--objects PATH/objects.npz] [--preset standard] [--limit 40] [--weights FILE]
                              [--shape made|none] [--out DIR] [--resume]

Each prompt goes through the public API into a .glb, which is read back and drawn unlit from eight sides at 64 px. A
judge (`benchmarks/scorer.py`: a small convolutional network and a bag of words, trained here in a few minutes on
objects that the prior never saw, and kept in --out) ranks all 40 prompts by how well they fit. It is no CLIP: it knows
the colours and kinds of things of this world and nothing else.

With --shape made, as `gaussmith text` does by default, every job begins with an object of the very generator that the
true objects below come from (of another seed). What is then measured is how much of that object the pipeline keeps, not
whether the prior can draw it from words: that is --shape none. Its figures stand between two others:

    chance         the own prompt at any place of 40 alike
    true objects   procedural objects whose captions say what the prompt says, of a seed that nobody learned from: the
                   ceiling, what the judge makes of perfect assets. Prompts that none was found for are left out of it
    real objects   for the judge itself: 40 validation objects that it did not learn from, each among their captions

Prints top-1, top-5, the mean rank and the mean similarity; writes NAME.glb and NAME.png (eight sides) and text.png
(all of them, with the rank of the own prompt), and text.json, from which --resume goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from assets import stored
from gaussmith import api
from gaussmith.camera import PRIOR_FOVY, orbit
from gaussmith.io.atomic import write_bytes
from gaussmith.io.image import save_image
from gaussmith.mesh import Mesh
from gaussmith.metrics.novel_views import on_white
from gaussmith.preview import contact_sheet
from gaussmith.priors.embedded.prior import WEIGHTS, load_weights
from gaussmith.recipes.dreamgaussian import PRESETS
from gaussmith.synth.captions import describe
from gaussmith.synth.lookup import told
from gaussmith.synth.objects import ObjectSet, load_objects
from gaussmith.synth.procedural import FAMILIES, make
from gaussmith.synth.procedural.finish import to_mesh, weld
from gaussmith.synth.views import render_views
from oracle import rgba
from scorer import Scorer, load_or_train, placed, tested_objects
from tables import heading, markdown, stop_on_user_error

PROMPTS = (
    "a blue house with a red roof", "a red car", "a yellow truck", "a green tank", "a white rocket", "a grey robot",
    "a wooden chair", "a white table", "a red sofa", "a yellow lamp", "a blue mug", "a green bottle", "a purple vase",
    "a brown barrel", "a brown chest", "a silver sword", "a blue shield", "a green tree", "an orange tree",
    "a red mushroom", "a grey rock", "a grey tower", "a red and white lighthouse", "a brown boat", "a blue plane",
    "a red helicopter", "an orange fish", "a pink cake", "a burger", "a pink donut", "a green cactus",
    "an orange pumpkin", "a yellow banana", "a red apple", "a windmill", "a black lantern", "a white snowman",
    "a purple tent", "a grey axe", "a teal teapot",
)  # fmt: skip
AZIMUTHS, ELEVATION, SIZE = np.arange(8) * 45.0, 15.0, 64
TRUE_WORLD, TRIES, PER_PROMPT = 900_002, 1500, 3  # seed, designs looked at, and objects for each prompt
PANEL = 160


def views_of(mesh: Mesh) -> Tensor:
    """[8,64,64,4] as the judge looks at things, premultiplied."""
    return rgba(mesh, orbit(torch.from_numpy(AZIMUTHS).float(), ELEVATION, fovy=PRIOR_FOVY, width=SIZE))


def views_of_true(mesh: Mesh) -> Tensor:
    pictures = render_views(mesh, AZIMUTHS, np.full(len(AZIMUTHS), ELEVATION), SIZE)
    return torch.from_numpy(pictures).float() / 255


def true_objects(prompt: str) -> Iterator[Mesh]:
    """Procedural objects whose captions say all that the prompt says: of the thing, and of its parts."""
    thing, parts = told(prompt)
    family, found = next((name for name in FAMILIES if name in thing), None), 0
    for attempt in range(TRIES if family else 0):
        solid, caption = make(family, np.random.default_rng([TRUE_WORLD, PROMPTS.index(prompt), attempt]))
        if all(asked <= said for asked, said in zip((thing, parts), told(caption))):
            yield to_mesh(weld(solid))
            found += 1
        if found == PER_PROMPT:
            return


def ceiling(scorer: Scorer) -> tuple[Tensor, Tensor]:
    """Ranks [N] and similarities [N] of true objects to their prompts, among all PROMPTS."""
    owners, views = [], []
    for number, prompt in enumerate(PROMPTS):
        for mesh in true_objects(prompt):
            owners.append(number)
            views.append(views_of_true(mesh))
    return placed(scorer.judge(torch.stack(views), PROMPTS), torch.tensor(owners))


def real_objects(scorer: Scorer, objects: ObjectSet) -> tuple[Tensor, Tensor]:
    """Ranks and similarities of tested real objects to their captions, among one another's."""
    meshes = [(int(index), objects.mesh(int(index))) for index in tested_objects(objects)]
    captions = [describe(objects, index, mesh) for index, mesh in meshes]
    distinct = list(dict.fromkeys(captions))
    similarity = scorer.judge(torch.stack([views_of_true(mesh) for _, mesh in meshes]), distinct)
    return placed(similarity, torch.tensor([distinct.index(c) for c in captions]))


def row(name: str, rank: Tensor, similarity: Tensor) -> list[str]:
    top = [f"{100 * float((rank <= k).float().mean()):.1f} %" for k in (1, 5)]
    return [name, str(len(rank)), *top, f"{float(rank.float().mean()):.1f}", f"{float(similarity.mean()):.3f}"]


def file_name(prompt: str) -> str:
    return prompt.replace(" ", "-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--objects", type=Path, default=Path("../shared/data/objects.npz"))
    parser.add_argument("--preset", default="standard", choices=PRESETS)
    parser.add_argument("--limit", type=int, default=len(PROMPTS), help="number of prompts; all are ranked")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--shape", default="made", choices=("made", "none"), help="what each job begins with")
    parser.add_argument("--made", type=int, default=2500, help="procedural objects that the judge learns from")
    parser.add_argument("--steps", type=int, default=900, help="of the judge's training")
    parser.add_argument("--out", type=Path, default=Path("out/text"))
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    objects, prior = load_objects(args.objects), load_weights(args.weights)
    scorer = load_or_train(args.out / "scorer.safetensors", objects, args.made, args.steps, args.out / "views")
    weights = hashlib.sha256(args.weights.read_bytes()).hexdigest()[:12]
    settings = {"preset": args.preset, "shape": args.shape, "weights": weights}
    record = args.out / "text.json"
    done = stored(record, settings, args.resume)
    for prompt in PROMPTS[: args.limit]:
        if prompt not in done:
            started = time.perf_counter()
            result = api.text_to_3d(prompt, preset=args.preset, seed=0, prior=prior, shape=args.shape)
            done[prompt] = {"seconds": time.perf_counter() - started, "unknown": prior.vocabulary.unknown(prompt)}
            api.save(result.mesh, args.out / f"{file_name(prompt)}.glb")
            write_bytes(record, json.dumps({"settings": settings, "objects": done}, indent=1).encode())
            print(f"{prompt}: {done[prompt]['seconds']:.0f} s", file=sys.stderr)
    report(scorer, objects, [p for p in PROMPTS if p in done], args.out)
    seconds = [d["seconds"] for d in done.values()]
    unknown = sorted({word for d in done.values() for word in d["unknown"]})
    print(f"\nPreset {args.preset}, shape {args.shape}, weights {weights}; {np.mean(seconds):.1f} s an asset; ", end="")
    print(f"words that the prior does not know: {', '.join(unknown) or 'none'}")


def report(scorer: Scorer, objects: ObjectSet, prompts: list[str], out: Path) -> None:
    """Judge the assets in the folder; print the table and write the sheets."""
    meshes = [api.load(out / f"{file_name(prompt)}.glb") for prompt in prompts]
    views = torch.stack([views_of(mesh) for mesh in meshes])
    rank, similarity = placed(scorer.judge(views, PROMPTS), torch.tensor([PROMPTS.index(prompt) for prompt in prompts]))
    count = len(PROMPTS)
    rows = [
        ["chance", "-", f"{100 / count:.1f} %", f"{500 / count:.1f} %", f"{(count + 1) / 2:.1f}", "-"],
        row("assets of the prompts", rank, similarity),
        row("true objects of the prompts (ceiling)", *ceiling(scorer)),
        row("real objects among their captions (the judge)", *real_objects(scorer, objects)),
    ]
    print(heading())
    print(markdown(["", "things", "top-1", "top-5", "mean rank", "similarity"], rows))
    fronts = []
    for prompt, mesh, sides in zip(prompts, meshes, views):
        camera = orbit(torch.tensor([30.0]), ELEVATION, fovy=PRIOR_FOVY, width=PANEL)
        fronts.append(on_white(rgba(mesh, camera))[0].clamp(0, 1))
        save_image(out / f"{file_name(prompt)}.png", torch.cat(list(on_white(sides)), dim=1).clamp(0, 1))
    labels = [f"{prompt}, {place}" for prompt, place in zip(prompts, rank.tolist())]
    save_image(out / "text.png", contact_sheet(fronts, labels, columns=min(8, len(prompts))))


if __name__ == "__main__":
    stop_on_user_error(main)
