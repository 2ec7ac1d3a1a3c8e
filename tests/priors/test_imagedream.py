"""ImageDream against a slow forward over its state dict, on a tiny random pipeline; its reference view and files."""

from __future__ import annotations

import json
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from gaussmith.diffusion.prompts import Prompts
from gaussmith.events import UserError
from gaussmith.priors import imagedream, mvdream
from gaussmith.priors.denoiser import clip_pixels
from gaussmith.priors.hub import Located, adapter_of
from gaussmith.priors.multiview_unet import MultiViewConfig, MultiViewUNet, read_config
from gaussmith.views import OrbitView, four_view_ring

published = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("published.py"))))
tiny = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("conftest.py"))))

CPU = torch.device("cpu")
WORDS, SIZE, PATCHES, TOKENS = 16, 16, 24, 3  # widths of words and of CLIP's patches; side; tokens of the picture
CONFIG = {
    "_class_name": "MultiViewUNetModel",
    # The null reference is one flat colour: with one channel a group its variance would be a rounding error.
    "model_channels": 64,
    "channel_mult": [1, 1],
    "num_res_blocks": 1,
    "attention_resolutions": [1],
    "num_head_channels": 16,
    "context_dim": WORDS,
    "camera_dim": 16,
    "ip_dim": TOKENS,
    # Fixed in the published code:
    "image_dim": PATCHES,
    "resampler_heads": 2,
    "resampler_depth": 2,
}
HEADS = {64: 4}


@pytest.fixture(scope="module")
def folder(clip_words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import diffusers
    import transformers

    home = tmp_path_factory.mktemp("tiny-imagedream")
    sizes = {"hidden_size": PATCHES, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    vision = transformers.CLIPVisionConfig(**sizes, image_size=28, patch_size=14)
    tiny.save(
        home,
        "MVDreamPipeline",
        {},
        vae=tiny.vae(1),
        text_encoder=tiny.seeded(lambda: transformers.CLIPTextModel(tiny.clip_text_config(clip_words, WORDS)), 2),
        image_encoder=tiny.seeded(lambda: transformers.CLIPVisionModel(vision), 4),
        tokenizer=tiny.tokenizer(clip_words),
        scheduler=diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    )
    unet = tiny.seeded(lambda: MultiViewUNet(read_config(CONFIG, "")), 3)
    with torch.no_grad():
        unet.image_embed.latents.normal_(generator=torch.Generator().manual_seed(5))
    (home / "unet").mkdir()
    (home / "unet" / "config.json").write_text(json.dumps(CONFIG))
    save_file(unet.state_dict(), home / "unet" / "diffusion_pytorch_model.safetensors")
    return home


def load(folder: Path, **options) -> imagedream.ImageDream:
    return imagedream.load(Located("imagedream", folder, "tiny"), CPU, size=SIZE, **options)


def reference(seed: int = 0) -> torch.Tensor:
    """Premultiplied RGBA [4,16,16]."""
    rgba = torch.rand(4, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return torch.cat([rgba[:3] * rgba[3:], rgba[3:]])


def digested(folder: Path, rgba: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """CLIP's patches before the last layer [P,D], and scaled latents [4,h,w], by the libraries themselves."""
    import diffusers
    import transformers

    rgb = (rgba[:3] + 1 - rgba[3:])[None]
    encoder = transformers.CLIPVisionModel.from_pretrained(folder / "image_encoder").eval()
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae").eval()
    with torch.no_grad():
        features = encoder(clip_pixels(rgb, 28), output_hidden_states=True).hidden_states[-2][0]
        return features, vae.encode(rgb * 2 - 1).latent_dist.mode()[0] * 0.18215


def embedded(folder: Path, texts: list[str]) -> torch.Tensor:
    import transformers

    encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    ids = tokenizer(texts, padding="max_length", max_length=24, truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        return encoder(ids).last_hidden_state


@pytest.mark.parametrize(("seed", "text", "negative"), [(0, None, ""), (1, "a chair", ""), (2, "a chair", "ugly")])
def test_prediction_is_the_published_forward(folder: Path, seed: int, text: str | None, negative: str) -> None:
    """Groups of five: four noisy views, and the clean reference with a camera of zeros, which is dropped."""
    generator = torch.Generator().manual_seed(seed)
    prior = load(folder)
    rings = [four_view_ring(generator, (0, 30)) for _ in range(2)]
    views = OrbitView(torch.cat([r.azimuth for r in rings]), torch.cat([r.elevation for r in rings]))
    noisy = torch.randn(8, 4, 8, 8, generator=generator)
    t = (torch.rand(2, generator=generator) * 0.98 + 0.01).repeat_interleave(4)
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    features, latents = digested(folder, reference(seed))
    words = embedded(folder, [negative, "" if text is None else f"{text}, 3d asset"])
    cameras = mvdream.camera_matrices(views)
    expected = []
    for keep in (0.0, 1.0):
        tokens = published.resample(weights, keep * features, 2)
        for g in range(2):
            part = slice(4 * g, 4 * g + 4)
            x = torch.cat([noisy[part], keep * latents[None]])
            camera = torch.cat([cameras[part], torch.zeros(1, 16)])
            step = (float(t[4 * g]) * 1000 + 0.5) // 1 - 1
            told = words[int(keep)].expand(5, -1, -1)
            image = tokens.expand(5, -1, -1)
            out = published.forward(weights, x, torch.full((5,), step), told, HEADS, camera, 5, image)
            expected.append(out[:4])
    null, cond = torch.cat(expected).chunk(2)
    prompts = None if text is None else Prompts(text, negative=negative)
    condition = prior.condition(reference(seed), 0.0, prompts)
    parts = prior.eps(noisy, t, views, condition)
    assert (null - cond).abs().max() > 1e-3
    torch.testing.assert_close(parts.null, null, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts.cond, cond, atol=1e-5, rtol=1e-5)
    scale = 5.0
    level = prior.schedule.level(t)
    alpha, sigma = level.like(noisy)
    x0 = (noisy - sigma * (null + scale * (cond - null))) / alpha
    found = prior.predict(noisy, t, views, condition)  # 5 is its own scale
    torch.testing.assert_close(found, x0, atol=1e-4 * float(x0.abs().max()), rtol=1e-5)


def test_reference_counts_by_both_ways(folder: Path) -> None:
    prior = load(folder)
    ring = four_view_ring(torch.Generator().manual_seed(0))
    noisy = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    t = torch.full((4,), 0.5)
    one, other = (prior.condition(reference(seed), 0.0) for seed in (0, 9))
    eps = prior.eps(noisy, t, ring, one)
    for changed in (replace(one, cond=other.cond), replace(one, latents=other.latents)):
        parts = prior.eps(noisy, t, ring, changed)
        assert float((parts.cond - eps.cond).abs().max()) > 1e-4
        assert torch.equal(parts.null, eps.null)


def test_null_picture_is_zeros_before_the_tokens(folder: Path) -> None:
    condition = load(folder).condition(reference(), 0.0)
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    patches = (28 // 14) ** 2 + 1
    tokens = published.resample(weights, torch.zeros(patches, PATCHES), 2)
    torch.testing.assert_close(condition.null[0], tokens, atol=1e-5, rtol=1e-5)
    assert float(condition.null.abs().max()) > 0.1
    assert torch.equal(condition.words.positives.tokens, condition.words.nulls.tokens)  # no words are no condition


def test_reference_is_resized_and_seen_on_white(folder: Path) -> None:
    prior = load(folder)
    large = F.interpolate(reference()[None], size=(2 * SIZE, 2 * SIZE), mode="nearest")[0]
    torch.testing.assert_close(prior.condition(large, 0.0).latents, prior.condition(reference(), 0.0).latents)
    nothing = prior.condition(torch.zeros(4, SIZE, SIZE), 0.0).latents
    torch.testing.assert_close(nothing, prior.encode(torch.ones(1, 4, SIZE, SIZE)))
    black = prior.encode(torch.zeros(1, 4, SIZE, SIZE), background=0.0)
    assert float((black - nothing).abs().max()) > 1e-3


def test_little_memory_runs_group_by_group(folder: Path) -> None:
    ring = four_view_ring(torch.Generator().manual_seed(0))
    noisy = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    runs: list[int] = []
    found = []
    net = load(folder).net
    for limit in (None, net.held() + net.each * 3 // 2):
        prior = load(folder, max_memory=limit)
        prior.net.unet.register_forward_hook(lambda module, args, out: runs.append(len(args[0])))
        condition = prior.condition(reference(), 0.0)
        found.append(prior.predict(noisy, torch.full((4,), 0.3), ring, condition))
        prior.release()
        assert prior.decode(found[-1]).shape == (4, 4, SIZE, SIZE)
    assert runs == [10, 5, 5]
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-4)


def test_bfloat16_stays_close(folder: Path) -> None:
    ring = four_view_ring(torch.Generator().manual_seed(0))
    noisy = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    full, half = (load(folder, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    parts = [p.eps(noisy, torch.full((4,), 0.5), ring, p.condition(reference(), 0.0)) for p in (full, half)]
    assert parts[1].cond.dtype == torch.float32
    assert float((parts[0].cond - parts[1].cond).abs().mean()) < 0.03


def test_lacking_picture_keys_are_named(folder: Path, tmp_path: Path) -> None:
    bad = shutil.copytree(folder, tmp_path / "bad")
    file = bad / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = {k: v for k, v in load_file(file).items() if "_ip" not in k}
    save_file(tensors, file)
    with pytest.raises(UserError, match=r"lack .*attn2\.to_k_ip\.weight, .* and \d+ more"):
        load(bad)


def test_folder_is_told_from_mvdreams(folder: Path) -> None:
    assert adapter_of(folder) == "imagedream"
    with pytest.raises(UserError, match="holds an ImageDream, not an MVDream"):
        mvdream.load(Located("mvdream", folder, "tiny"), CPU, size=SIZE)


def test_network_is_that_of_the_published_checkpoint() -> None:
    import transformers

    manifest = json.loads((published.MANIFESTS / "imagedream.json").read_text())
    assert manifest == published.manifests()["imagedream"]
    with torch.device("meta"):
        unet = MultiViewUNet(MultiViewConfig(ip_dim=16))
        huge = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
        encoder = transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**huge, patch_size=14))
    assert {k: list(v.shape) for k, v in unet.state_dict().items()} == manifest["unet"]
    # CLIP ViT-H/14's, as reported with its projection to 1024, which ImageDream does without.
    assert sum(p.numel() for p in encoder.parameters()) == 632_076_800 - 1280 * 1024
