"""Words and pictures through whole jobs with every published kind of prior: tiny pipelines of random weights, loaded
from their folders by the public functions.

Random weights imagine no object. Where there is a picture, the object is the picture's; where there are only words, the
surface is that of what the distillation made of the first ball.
"""

from __future__ import annotations

import json
import math
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import gaussmith
from gaussmith import api, cli
from gaussmith.camera import DEFAULT_FOVY
from gaussmith.density import dreamgaussian as density
from gaussmith.diffusion.family import DISTILLATIONS
from gaussmith.diffusion.prompts import Prompts
from gaussmith.events import Step, UserError, Warned
from gaussmith.picture import Prepared
from gaussmith.priors.multiview_unet import MultiViewUNet, read_config
from gaussmith.priors.published import load_published
from gaussmith.recipes import dreamgaussian, text_picture
from gaussmith.surface import check
from gaussmith.train.subject import KnownView, Subject
from gaussmith.train.texture import RefineConfig

tiny = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "priors" / "conftest.py")))
clip_words, tiny_sd, tiny_sdxl, tiny_if = tiny.clip_words, tiny.tiny_sd, tiny.tiny_sdxl, tiny.tiny_if

STEPS = 8
TINY = dreamgaussian.Config(
    steps=STEPS, views=2, points=150, max_gaussians=300, sizes=((0.0, 1),), reference_size=48, resolution=24,
    max_faces=300, texture_size=64, refine=RefineConfig(steps=2, size=2, denoise=(2, 2)), save_every=3,
    densify=density.Config(start=4, every=4),
)  # fmt: skip
# A VAE of six levels: the 256 pixels of the camera-conditioned priors are 8 x 8 latents.
SMALL_VAE = {
    "block_out_channels": (4,) * 6,
    "down_block_types": ("DownEncoderBlock2D",) * 6,
    "up_block_types": ("UpDecoderBlock2D",) * 6,
    "norm_num_groups": 4,
    "layers_per_block": 1,
    "sample_size": 256,
}
WIDTH = 16  # of the words' and the pictures' embeddings


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the public functions call a draft is as small as the pipelines."""
    monkeypatch.setitem(dreamgaussian.PRESETS, "draft", TINY)


def scheduler() -> Any:
    import diffusers

    return diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")


def write(home: Path, part: str, config: dict, module: torch.nn.Module) -> None:
    (home / part).mkdir()
    (home / part / "config.json").write_text(json.dumps(config))
    save_file(module.state_dict(), home / part / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="session")
def tiny_zero123(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers

    home = tmp_path_factory.mktemp("whole-zero123")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = transformers.CLIPVisionConfig(**sizes, image_size=28, patch_size=14, projection_dim=WIDTH)
    tiny.save(
        home,
        "Zero123Pipeline",
        {},
        vae=tiny.vae(1, **SMALL_VAE),
        image_encoder=tiny.seeded(lambda: transformers.CLIPVisionModelWithProjection(vision), 2),
        unet=tiny.unet(3, WIDTH, in_channels=8),
        scheduler=scheduler(),
    )
    projection = tiny.seeded(lambda: torch.nn.ModuleDict({"proj": torch.nn.Linear(WIDTH + 4, WIDTH)}), 4)
    write(home, "clip_camera_projection", {"_class_name": "CLIPCameraProjection"}, projection)
    return home


def multi_view(home: Path, words: Path, pictures: bool) -> Path:
    """MVDream, or ImageDream where there are pictures."""
    import transformers

    config = {
        "_class_name": "MultiViewUNetModel",
        "model_channels": 32,
        "channel_mult": [1, 1],
        "num_res_blocks": 1,
        "attention_resolutions": [1],
        "num_head_channels": 16,
        "context_dim": WIDTH,
        "camera_dim": 16,
    }
    parts = {}
    if pictures:
        config |= {"ip_dim": 3, "image_dim": 16, "resampler_heads": 2, "resampler_depth": 1}
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
        vision = transformers.CLIPVisionConfig(**sizes, image_size=28, patch_size=14)
        parts["image_encoder"] = tiny.seeded(lambda: transformers.CLIPVisionModel(vision), 4)
    text = tiny.clip_text_config(words, WIDTH)
    tiny.save(
        home,
        "MVDreamPipeline",
        {},
        vae=tiny.vae(1, **SMALL_VAE),
        text_encoder=tiny.seeded(lambda: transformers.CLIPTextModel(text), 2),
        tokenizer=tiny.tokenizer(words),
        scheduler=scheduler(),
        **parts,
    )
    unet = tiny.seeded(lambda: MultiViewUNet(read_config(config, "")), 3)
    if pictures:
        with torch.no_grad():
            unet.image_embed.latents.normal_(generator=torch.Generator().manual_seed(5))
    write(home, "unet", config, unet)
    return home


@pytest.fixture(scope="session")
def tiny_mvdream(clip_words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return multi_view(tmp_path_factory.mktemp("whole-mvdream"), clip_words, pictures=False)


@pytest.fixture(scope="session")
def tiny_imagedream(clip_words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return multi_view(tmp_path_factory.mktemp("whole-imagedream"), clip_words, pictures=True)


def disc(size: int = 96) -> Prepared:
    """A reddish disc, brighter at the top."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    alpha = ((0.7 - (x.square() + y.square()).sqrt()) * size / 4).clamp(0, 1)
    rgba = torch.stack([0.8 - 0.2 * y, 0.3 - 0.2 * y, 0.3 + 0.1 * x, alpha], dim=-1)
    return Prepared(rgba, DEFAULT_FOVY, 1.0, (0.0, 0.0), (size, size), True, "alpha")


def same(a: dreamgaussian.Result, b: dreamgaussian.Result) -> bool:
    pairs = list(zip(a.gaussians.tensors().values(), b.gaussians.tensors().values()))
    pairs += [(a.mesh.vertices, b.mesh.vertices), (a.mesh.faces, b.mesh.faces), (a.mesh.albedo, b.mesh.albedo)]
    return all(torch.equal(x, y) for x, y in pairs)


def whole(result: dreamgaussian.Result, events: list[Any]) -> None:
    """The job went through every step of both stages, and what it made is sound."""
    steps = [(e.stage, e.step) for e in events if isinstance(e, Step) and e.stage in ("gaussians", "refine")]
    assert steps == [("gaussians", i + 1) for i in range(STEPS)] + [("refine", 1), ("refine", 2)]
    assert all(math.isfinite(e.values["loss"]) for e in events if isinstance(e, Step) and "loss" in e.values)
    assert check(result.mesh).valid and result.gaussians.finite().all()
    assert result.mesh.albedo is not None and result.mesh.albedo.isfinite().all()


@pytest.mark.parametrize("kind", ["sd", "sdxl", "if", "mvdream"])
def test_words_become_an_object(kind, request):
    events: list[Any] = []
    folder = str(request.getfixturevalue(f"tiny_{kind}"))
    result = gaussmith.text_to_3d(
        "a wooden chair", negative="ugly", preset="draft", prior=folder, on_event=events.append
    )
    whole(result, events)
    assert result.report["prompt"] == "a wooden chair" and result.report["prior"] == folder
    other = gaussmith.text_to_3d("a back view", negative="ugly", preset="draft", prior=folder)
    assert not torch.equal(result.mesh.albedo, other.mesh.albedo), "the words change nothing"


@pytest.mark.parametrize("kind", ["zero123", "imagedream", "sd", "mvdream"])
def test_a_picture_becomes_an_object(kind, request):
    events: list[Any] = []
    result = gaussmith.image_to_3d(
        disc(), elevation=10.0, azimuth=30.0, prompt="a wooden chair", preset="draft",
        prior=str(request.getfixturevalue(f"tiny_{kind}")), on_event=events.append,
    )  # fmt: skip
    whole(result, events)
    assert result.report["reference"]["iou"] > 0.3
    assert kind != "zero123" or any("reads no words" in e.message for e in events if isinstance(e, Warned))
