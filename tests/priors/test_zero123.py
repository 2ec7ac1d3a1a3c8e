"""Zero-1-to-3 against a slow forward over its state dict, on a tiny random pipeline; its cameras, frame and files."""

from __future__ import annotations

import json
import math
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from gaussmith.events import UserError
from gaussmith.priors import zero123
from gaussmith.priors.denoiser import clip_pixels
from gaussmith.priors.hub import Located
from gaussmith.priors.pictures import over
from gaussmith.views import OrbitView

published = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("published.py"))))
tiny = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("conftest.py"))))

CPU = torch.device("cpu")
WIDTH, SIZE, HEADS = 24, 32, 4  # of the CLIP embedding, of the pictures (latents: 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import diffusers
    import transformers

    home = tmp_path_factory.mktemp("tiny-zero123")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = transformers.CLIPVisionConfig(**sizes, image_size=28, patch_size=14, projection_dim=WIDTH)
    layout = {"in_channels": 8, "block_out_channels": (32, 64), "norm_num_groups": 32, "attention_head_dim": HEADS}
    tiny.save(
        home,
        "Zero123Pipeline",
        {},
        vae=tiny.vae(1),
        image_encoder=tiny.seeded(lambda: transformers.CLIPVisionModelWithProjection(vision), 2),
        unet=tiny.unet(3, WIDTH, **layout),
        scheduler=diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    )
    projection = tiny.seeded(lambda: torch.nn.Linear(WIDTH + 4, WIDTH), 4)
    write_projection(home, "clip_camera_projection", "proj", projection)
    return home


def write_projection(home: Path, part: str, layer: str, linear: torch.nn.Linear) -> None:
    (home / part).mkdir()
    (home / part / "config.json").write_text('{"_class_name": "CLIPCameraProjection"}')
    tensors = {f"{layer}.{k}": v.detach().clone() for k, v in linear.state_dict().items()}
    save_file(tensors, home / part / "diffusion_pytorch_model.safetensors")


def load(folder: Path, name: str = "tiny", **options) -> zero123.Zero123:
    return zero123.load(Located("zero123", folder, name), CPU, size=SIZE, **options)


def changed(folder: Path, to: Path, part: str, change) -> Path:
    """A copy of the pipeline whose tensors of one part went through `change`."""
    shutil.copytree(folder, to)
    file = to / part / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    return to


def picture(seed: int = 0, batch: int = 1) -> torch.Tensor:
    """Premultiplied RGBA [B,4,48,48]: smooth colours in a soft disc."""
    coarse = torch.rand(batch, 4, 5, 5, generator=torch.Generator().manual_seed(seed))
    rgba = F.interpolate(coarse, size=(48, 48), mode="bicubic", align_corners=False).clamp(0, 1)
    return torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], 1)


def oracle(folder: Path, prior, noisy, t, views, elevation, reference, stable):
    """The published prediction, (null, cond), from the files alone but for CLIP and the VAE."""
    import diffusers
    import transformers

    framed = over(prior._framed(reference[None]))
    encoder = transformers.CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder").eval()
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae").eval()
    linear = load_file(folder / "clip_camera_projection" / "diffusion_pytorch_model.safetensors")
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    layout = published.ldm_unet(8, WIDTH, linear=False, base=32, mults=(1, 2), blocks=1, attends=1)
    names = {published.diffusers_name(key, 1): key for key in layout}
    weights = {names[key]: tensor for key, tensor in weights.items()}
    tokens, outs = [], []
    with torch.no_grad():
        embedding = encoder(clip_pixels(framed, 28)).image_embeds[0]
        latents = vae.encode(framed * 2 - 1).latent_dist.mode()
        for azimuth, el in zip(views.azimuth.tolist(), views.elevation.tolist()):
            last = math.radians(90 - elevation) if stable else 0.0
            turn = math.radians(azimuth)
            camera = [math.radians((90 - el) - (90 - elevation)), math.sin(turn), math.cos(turn), last]
            tokens.append(linear["proj.weight"] @ torch.cat([embedding, torch.tensor(camera)]) + linear["proj.bias"])
        token = torch.stack(tokens)[:, None]
        steps = (t.double() * 1000).round() - 1
        for keep in (0.0, 1.0):
            x = torch.cat([noisy, keep * latents.expand(len(noisy), -1, -1, -1)], 1)
            outs.append(published.forward(weights, x, steps, keep * token, {32: HEADS, 64: HEADS}))
    return outs


@pytest.mark.parametrize(("seed", "elevation", "stable"), [(0, 0.0, False), (1, 20.0, False), (2, -15.0, True)])
def test_prediction_is_the_published_forward(folder: Path, seed: int, elevation: float, stable: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    prior = load(folder, stable=stable)
    reference = picture(seed)[0]
    noisy = torch.randn(2, 4, 16, 16, generator=generator)
    t, scale = torch.rand(2, generator=generator) * 0.98 + 0.01, float(torch.rand(1, generator=generator)) * 8
    views = OrbitView(360 * torch.rand(2, generator=generator) - 180, 90 * torch.rand(2, generator=generator) - 30)
    condition = prior.condition(reference, elevation)
    null, cond = oracle(folder, prior, noisy, t, views, elevation, reference, stable)
    parts = prior.eps(noisy, t, views, condition)
    assert (null - cond).abs().max() > 1e-2  # the condition counts
    torch.testing.assert_close(parts.null, null, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts.cond, cond, atol=1e-5, rtol=1e-5)

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    bar = (1 - betas).cumprod(0)[(t.double() * 1000).round().long() - 1].reshape(-1, 1, 1, 1)
    x0 = (noisy - (1 - bar).sqrt() * (null + scale * (cond - null))) / bar.sqrt()
    found = prior.predict(noisy, t, views, condition, scale)
    torch.testing.assert_close(found, x0.float(), atol=1e-4 * float(x0.abs().max()), rtol=1e-5)


def test_elevation_of_the_reference_counts_only_by_difference_unless_stable(folder: Path) -> None:
    at = OrbitView(torch.tensor([30.0]), torch.tensor([10.0]))
    higher = OrbitView(torch.tensor([30.0]), torch.tensor([25.0]))
    assert torch.equal(zero123.camera_embedding(at, 0.0, False), zero123.camera_embedding(higher, 15.0, False))
    assert not torch.equal(zero123.camera_embedding(at, 0.0, True), zero123.camera_embedding(higher, 15.0, True))


def test_camera_signs() -> None:
    """Camera turned towards +X (the object's left is seen), and raised: plus a sine, minus a polar angle."""
    right = zero123.camera_embedding(OrbitView(torch.tensor([90.0]), torch.tensor([0.0])), 0.0, False)
    torch.testing.assert_close(right, torch.tensor([[0.0, 1.0, 0.0, 0.0]]), atol=1e-6, rtol=0)
    above = zero123.camera_embedding(OrbitView(torch.tensor([0.0]), torch.tensor([30.0])), 0.0, True)
    torch.testing.assert_close(above, torch.tensor([[-math.pi / 6, 0.0, 1.0, math.pi / 2]]), atol=1e-6, rtol=0)
    lower = zero123.camera_embedding(OrbitView(torch.tensor([-90.0]), torch.tensor([-10.0])), 20.0, True)
    expected = torch.tensor([[math.pi / 6, -1.0, 0.0, math.radians(70)]])
    torch.testing.assert_close(lower, expected, atol=1e-6, rtol=0)


def test_cameras_are_those_of_the_training_data() -> None:
    """The published data loader turns camera centres, Z up, into differences of spherical coordinates."""
    generator = torch.Generator().manual_seed(5)
    azimuth = 360 * torch.rand(20, generator=generator) - 180
    views = OrbitView(azimuth, 160 * torch.rand(20, generator=generator) - 80)
    reference = OrbitView(torch.zeros(1), torch.tensor([12.0]))

    def spherical(view: OrbitView) -> torch.Tensor:
        x, y, z = view.camera().position.double()[:, [2, 0, 1]].T  # a turn of our world that puts Y up to Z
        return torch.stack([torch.atan2((x * x + y * y).sqrt(), z), torch.atan2(y, x)])

    polar, turn = spherical(views) - spherical(reference)
    found = zero123.camera_embedding(views, 12.0, False)
    expected = torch.stack([polar, turn.sin(), turn.cos(), torch.zeros(20)], 1).float()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_frame_is_the_training_cameras(folder: Path) -> None:
    """A disc keeps its size in the plane of the object when the 36-degree frame becomes the 49.1-degree one."""
    prior = load(folder)
    prior.size, prior._inner = 256, zero123.inner_side(256)
    grid = (torch.arange(512) + 0.5) / 256 - 1
    disc = ((grid[:, None] ** 2 + grid**2) < 0.7**2).float()[None, None].expand(1, 4, -1, -1)
    framed = prior._framed(disc)
    radius = 0.7 * 2 * math.tan(math.radians(18))  # world units, at radius 2
    pixels = radius / (2 * math.tan(math.radians(49.1 / 2))) * 128
    assert framed.shape == (1, 4, 256, 256)
    assert float(framed[0, 3].sum()) == pytest.approx(math.pi * pixels**2, rel=2e-3)
    torch.testing.assert_close(framed, framed.flip(-1).flip(-2))  # about the same centre
    assert float(over(framed)[0, :, 0, 0].min()) == 1.0  # white around


def test_decode_gives_the_prior_frame_back(folder: Path) -> None:
    prior = load(folder)
    smooth = picture(3)
    seen = torch.cat([over(smooth), torch.ones(1, 1, 48, 48)], 1)
    framed = prior._framed(seen)
    prior.net = replace(prior.net, space=SimpleNamespace(decode=lambda clean: framed))
    back = prior.decode(torch.zeros(1, 4, 16, 16))
    assert back.shape == (1, 4, SIZE, SIZE)
    small = F.interpolate(seen, size=(SIZE, SIZE), mode="area")
    assert float((back - small).abs().mean()) < 0.01


def test_encode_is_differentiable_scaled_and_repeatable(folder: Path) -> None:
    prior = load(folder)
    pictures = picture(1, 2).requires_grad_()
    latents = prior.encode(pictures)
    latents.square().sum().backward()
    assert latents.shape == (2, 4, 16, 16)
    assert pictures.grad is not None and float(pictures.grad.abs().sum()) > 0
    prior.release()
    assert torch.equal(prior.encode(pictures), latents)
    unscaled = prior.condition(pictures[0].detach(), 0.0).latents
    torch.testing.assert_close(unscaled * 0.18215, latents[:1].detach())
    assert prior.decode(latents.detach()).shape == (2, 4, SIZE, SIZE)


def test_clip_pixels_are_those_of_the_image_processor() -> None:
    import transformers

    # The one that works without torchvision, whatever the version calls it.
    processor = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    rgb = (over(picture(7)) * 255).round()
    wanted = processor()(rgb[0].byte(), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(clip_pixels(rgb / 255), wanted, atol=0.02, rtol=0)  # a level is 0.015


def test_little_memory_changes_nothing_but_the_runs(folder: Path) -> None:
    views = OrbitView(torch.tensor([10.0, 20.0, 30.0]), torch.zeros(3))
    noisy = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    plain = load(folder)
    condition = plain.condition(picture()[0], 0.0)
    tight = load(folder, max_memory=plain.net.held() + plain.net.each * 5 // 2)
    runs = []
    tight.net.unet.register_forward_hook(lambda module, args, out: runs.append(len(args[0])))
    t = torch.full((3,), 0.4)
    found, wanted = (p.predict(noisy, t, views, condition, 3.0) for p in (tight, plain))
    assert runs == [2, 2, 2]
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    with pytest.raises(UserError, match=r"tiny needs .* GB, more than the 0.* GB allowed"):
        load(folder, max_memory=plain.net.held() + plain.net.each // 2)


def test_bfloat16_stays_close(folder: Path) -> None:
    views, t = OrbitView(torch.tensor([40.0]), torch.zeros(1)), torch.full((1,), 0.5)
    noisy = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    full, half = (load(folder, dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    parts = [p.eps(noisy, t, views, p.condition(picture()[0], 0.0)) for p in (full, half)]
    assert parts[1].cond.dtype == torch.float32
    assert float((parts[0].cond - parts[1].cond).abs().mean()) < 0.03


def test_stable_is_told_by_the_name(folder: Path, tmp_path: Path) -> None:
    assert load(folder, "stable-zero123").stable and not load(folder, "zero123-xl").stable
    assert load(shutil.copytree(folder, tmp_path / "Stable-Zero123-diffusers"), "x").stable
    cached = tmp_path / "models--ashawkey--stable-zero123-diffusers" / "snapshots" / "abc"
    assert load(shutil.copytree(folder, cached), "x").stable
    assert not load(folder, "stable-zero123", stable=False).stable


def test_other_release_of_the_folder_loads(folder: Path, tmp_path: Path) -> None:
    """kxic's name of the projection, and the names that CLIP and the VAE's attention had in 2023."""
    old = shutil.copytree(folder, tmp_path / "old")
    tensors = load_file(old / "clip_camera_projection" / "diffusion_pytorch_model.safetensors")
    shutil.rmtree(old / "clip_camera_projection")
    linear = torch.nn.Linear(WIDTH + 4, WIDTH)
    linear.load_state_dict({k.removeprefix("proj."): v for k, v in tensors.items()})
    write_projection(old, "cc_projection", "projection", linear)
    vision = old / "image_encoder" / "model.safetensors"
    tensors = load_file(vision)
    tensors["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    save_file(tensors, vision)
    file = old / "vae" / "diffusion_pytorch_model.safetensors"
    renames = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = load_file(file)
    for new, name in renames.items():
        tensors = {key.replace(new, name): tensor for key, tensor in tensors.items()}
    save_file(tensors, file)
    conditions = [load(home).condition(picture()[0], 0.0) for home in (folder, old)]
    assert torch.equal(conditions[0].latents, conditions[1].latents)
    # The files lie otherwise in memory, by which some processors choose other kernels: equal but for roundings.
    assert torch.allclose(conditions[0].embedding, conditions[1].embedding, rtol=0, atol=1e-5)
    assert conditions[0].embedding.abs().mean() > 0.1


def _drop(tensors) -> None:
    del tensors["conv_in.weight"]


def _add(tensors) -> None:
    tensors["extra.weight"] = torch.zeros(1)


def _reshape(tensors) -> None:
    tensors["conv_in.weight"] = torch.zeros(32, 4, 3, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop, r"lack conv_in\.weight"),
        (_add, r"have unknown extra\.weight"),
        (_reshape, r"wrong shape in conv_in\.weight 32x4x3x3 for 32x8x3x3"),
    ],
)
def test_other_weights_are_refused(folder: Path, tmp_path: Path, change, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(changed(folder, tmp_path / "bad", "unet", change))


def test_projection_of_another_width_is_refused(folder: Path, tmp_path: Path) -> None:
    def widen(tensors) -> None:
        tensors["proj.weight"] = torch.zeros(WIDTH, WIDTH)

    with pytest.raises(UserError, match=r"proj\.weight 24x24 for 24x28"):
        load(changed(folder, tmp_path / "bad", "clip_camera_projection", widen))


def test_folders_of_other_models_are_refused(folder: Path, tmp_path: Path, tiny_sd: Path) -> None:
    without = shutil.copytree(folder, tmp_path / "without")
    shutil.rmtree(without / "clip_camera_projection")
    with pytest.raises(UserError, match="lacks clip_camera_projection"):
        load(without)
    mixed = shutil.copytree(folder, tmp_path / "mixed")
    shutil.rmtree(mixed / "unet")
    shutil.copytree(tiny_sd / "unet", mixed / "unet")
    with pytest.raises(UserError, match="takes 4 channels, not 8"):
        load(mixed)


def test_networks_are_those_of_the_published_checkpoints() -> None:
    import diffusers
    import transformers

    manifest = json.loads((published.MANIFESTS / "zero123.json").read_text())
    assert manifest == published.manifests()["zero123"]
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(in_channels=8, cross_attention_dim=768, attention_head_dim=8)
        projection = zero123.CameraProjection("proj")
        large = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
        config = transformers.CLIPVisionConfig(**large, patch_size=14, projection_dim=768)
        encoder = transformers.CLIPVisionModelWithProjection(config)
    for part, network in (("unet", unet), ("clip_camera_projection", projection)):
        assert {k: list(v.shape) for k, v in network.state_dict().items()} == manifest[part]
    # Stable Diffusion 1's UNet, as reported, and four more input channels; CLIP ViT-L/14 as reported.
    assert sum(p.numel() for p in unet.parameters()) == 859_520_964 + 4 * 320 * 9
    assert sum(p.numel() for p in encoder.parameters()) == 303_966_208
