"""What parts of the embedded prior bring: small networks trained alike on the same views.

    python benchmarks/ablate_prior.py --shards DIR [--samples 24000] [--out DIR] [--only NAME,...]

`--shards` is the folder `views` that `gaussmith train-prior` rendered (train, validation, procedural). Each network has
a twelfth of the shipped one's parameters, begins from the same seed and sees the same number of target views:

    volume and attention    as shipped: the reference's features rendered from the target's camera, and attention to
                            the reference's tokens
    volume not refined      without the network in three dimensions behind the encoder
    volume alone            without the tokens
    pasted and attention    no volume: the reference picture itself stands where the rendered one stood (concatenation)
    pasted alone            without the tokens: the baseline
    real only, procedural only    as shipped, but trained on one kind of objects instead of both

Prints the gates of the training on held-out real objects: the v error at t = 0.9, that with a wrong pose over it, and
PSNR / IoU of 20-step samples and of the draft.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))
from gaussmith.events import ignore
from gaussmith.priors.embedded.network import Encoded, NetworkConfig, PriorNetwork
from gaussmith.recipes import train_prior
from tables import heading, markdown, stop_on_user_error

SMALL = NetworkConfig(
    encoder_widths=(32, 64, 64), denoiser_widths=(32, 64, 64), encoder_blocks=1, denoiser_blocks=1, embedding=128,
)  # fmt: skip
COLUMNS = (("v error", "v_high", ".4f"), ("wrong / right pose", "wrong_pose", ".3f"))
PICTURES = ("sample", "draft", "copy")


class VolumeAlone(PriorNetwork):
    """Nothing to attend to."""

    def encode(self, reference: Tensor, elevation: Tensor) -> Encoded:
        found = super().encode(reference, elevation)
        return replace(found, tokens=torch.zeros_like(found.tokens))


class NotPictured(PriorNetwork):
    """The draft is of the coarse volume that the denoiser reads, in its own colours."""

    def encode(self, reference: Tensor, elevation: Tensor) -> Encoded:
        found = super().encode(reference, elevation)
        return replace(found, pictured=found.volume[..., :4].contiguous())


class Pasted(PriorNetwork):
    """The reference stands in the place of the rendered volume, whatever the camera."""

    def encode(self, reference: Tensor, elevation: Tensor) -> Encoded:
        found = super().encode(reference, elevation)
        return replace(found, volume=reference.float() * 0.5 + 0.5)

    def draft(self, encoded: Encoded, owner: Tensor, *view: Any) -> Tensor:
        return encoded.volume[owner]

    def features(self, encoded: Encoded, owner: Tensor, *view: Any) -> Tensor:
        small = F.avg_pool2d(encoded.volume[owner], 2)
        rest = small.new_zeros(len(small), self.config.volume_channels - 4, 32, 32)
        return torch.cat([small[:, 3:], small[:, :3], rest], dim=1)


class PastedAlone(VolumeAlone, Pasted):
    """The baseline: neither tokens nor a volume."""


VARIANTS: dict[str, tuple[type[PriorNetwork], float]] = {
    "volume and attention": (PriorNetwork, 0.4),
    "volume not corrected by the picture": (NotPictured, 0.4),
    "volume not refined": (PriorNetwork, 0.4),
    "volume alone": (VolumeAlone, 0.4),
    "pasted and attention": (Pasted, 0.4),
    "pasted alone": (PastedAlone, 0.4),
    "real only": (PriorNetwork, 0.0),
    "procedural only": (PriorNetwork, 1.0),
}


def train(name: str, samples: int, shards: Path, out: Path) -> dict[str, float]:
    """The last gates of a training, from its log if it is done already."""
    kind, share = VARIANTS[name]
    config = train_prior.Config(
        samples=samples, procedural_share=share, draft_share=0.0, evaluate_every=10**9, save_every=10**9, ema=0.99
    )
    folder = out / name.replace(" ", "-")
    if not any(found["samples"] >= samples for found in gates(folder)):
        network = replace(SMALL, refiner_widths=()) if name == "volume not refined" else SMALL
        train_prior.run(config, shards, folder, ignore, network=network, kind=kind)
    return list(gates(folder))[-1]


def gates(folder: Path) -> Iterator[dict]:
    path = folder / "log.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return (record for record in records if record["kind"] == "gates")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=24_000)
    parser.add_argument("--out", type=Path, default=Path("out/ablate_prior"))
    parser.add_argument("--only", default="", help="names of variants, comma-separated")
    args = parser.parse_args()
    only = set(args.only.split(",")) - {""}
    print(heading())
    rows = []
    for name in VARIANTS:
        if not only or name in only:
            found = train(name, args.samples, args.shards, args.out)
            pairs = [f"{found[f'{p}_psnr']:.2f} / {found[f'{p}_iou']:.3f}" for p in PICTURES]
            rows.append([name, *(f"{found[key]:{style}}" for _, key, style in COLUMNS), *pairs])
    print(f"{args.samples:,} target views each; PSNR, dB / IoU\n")
    print(markdown(["network", *(title for title, _, _ in COLUMNS), *PICTURES], rows))


if __name__ == "__main__":
    stop_on_user_error(main)
