"""MVDream against a slow forward over its state dict, on a tiny random pipeline; its cameras, groups, words, files."""

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
from safetensors.torch import load_file, save_file

from gaussmith.diffusion.prompts import Prompts
from gaussmith.events import UserError, Warned
from gaussmith.priors import mvdream
from gaussmith.priors.hub import Located, adapter_of
from gaussmith.priors.multiview_unet import MultiViewConfig, MultiViewUNet, attend, read_config
from gaussmith.views import OrbitView, four_view_ring, random_orbit

published = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("published.py"))))
tiny = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("conftest.py"))))

CPU = torch.device("cpu")
WORDS, SIZE = 16, 16  # width of a word's embedding; side of the pictures (latents: 8)
CONFIG = {
    "_class_name": "MultiViewUNetModel",
    "image_size": 32,
    "model_channels": 32,
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "attention_resolutions": [1, 2],
    "num_head_channels": 16,
    "context_dim": WORDS,
    "camera_dim": 16,
    "use_checkpoint": False,
}
HEADS = {32: 2, 64: 4}


@pytest.fixture(scope="module")
def folder(clip_words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import diffusers
    import transformers

    home = tmp_path_factory.mktemp("tiny-mvdream")
    tiny.save(
        home,
        "MVDreamPipeline",
        {"feature_extractor": [None, None], "image_encoder": [None, None]},
        vae=tiny.vae(1),
        text_encoder=tiny.seeded(lambda: transformers.CLIPTextModel(tiny.clip_text_config(clip_words, WORDS)), 2),
        tokenizer=tiny.tokenizer(clip_words),
        scheduler=diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    )
    unet = tiny.seeded(lambda: MultiViewUNet(read_config(CONFIG, "")), 3)
    (home / "unet").mkdir()
    (home / "unet" / "config.json").write_text(json.dumps(CONFIG))
    save_file(unet.state_dict(), home / "unet" / "diffusion_pytorch_model.safetensors")
    return home


def load(folder: Path, **options) -> mvdream.MVDream:
    return mvdream.load(Located("mvdream", folder, "tiny"), CPU, size=SIZE, **options)


def published_camera(azimuth: float, elevation: float) -> list[float]:
    """The matrix of the public `get_camera`, row by row: OpenGL axes, Blender's world, unit distance."""
    a, e = math.radians(azimuth), math.radians(elevation)
    centre = torch.tensor([math.cos(e) * math.sin(a), math.sin(e), math.cos(e) * math.cos(a)], dtype=torch.float64)
    right = torch.linalg.cross(-centre, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    right = right / right.norm()
    columns = [right, torch.linalg.cross(right, -centre), centre, centre]
    rows = [[c[0], -c[2], c[1]] for c in columns]  # (x, y, z) -> (x, -z, y)
    return [float(rows[j][i]) for i in range(3) for j in range(4)] + [0.0, 0.0, 0.0, 1.0]


def embedded(folder: Path, texts: list[str]) -> torch.Tensor:
    import transformers

    encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    tokenizer = transformers.CLIPTokenizer.from_pretrained(str(folder / "tokenizer"))
    ids = tokenizer(texts, padding="max_length", max_length=24, truncation=True, return_tensors="pt").input_ids
    with torch.no_grad():
        return encoder(ids).last_hidden_state


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_prediction_is_the_published_forward(folder: Path, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    prior = load(folder)
    rings = [four_view_ring(generator, (0, 30)) for _ in range(2)]
    views = OrbitView(torch.cat([r.azimuth for r in rings]), torch.cat([r.elevation for r in rings]))
    noisy = torch.randn(8, 4, 8, 8, generator=generator)
    t, scale = torch.rand(8, generator=generator) * 0.98 + 0.01, float(torch.rand(1, generator=generator)) * 50
    weights = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    cameras = zip(views.azimuth.tolist(), views.elevation.tolist())
    camera = torch.tensor([published_camera(azimuth + 90, elevation) for azimuth, elevation in cameras])
    steps = (t.double() * 1000).round() - 1
    negative = "ugly" if seed else ""
    null, cond = (
        published.forward(weights, noisy, steps, words.expand(8, -1, -1), HEADS, camera, views=4)
        for words in embedded(folder, [negative, "a wooden chair, 3d asset"]).split(1)
    )
    condition = prior.text_condition(Prompts("a wooden chair", negative=negative))
    parts = prior.eps(noisy, t, views, condition)
    assert (null - cond).abs().max() > 1e-3
    torch.testing.assert_close(parts.null, null, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(parts.cond, cond, atol=1e-5, rtol=1e-5)

    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    bar = (1 - betas).cumprod(0)[steps.long()].reshape(-1, 1, 1, 1)
    x0 = (noisy - (1 - bar).sqrt() * (null + scale * (cond - null))) / bar.sqrt()
    found = prior.predict(noisy, t, views, condition, scale)
    torch.testing.assert_close(found, x0.float(), atol=1e-4 * float(x0.abs().max()), rtol=1e-5)


def test_front_and_right_of_the_object() -> None:
    """The front is seen from +X of the network's world, our +90 from its +Y, and up is its +Z."""
    views = OrbitView(torch.tensor([0.0, 90.0, 0.0]), torch.tensor([0.0, 0.0, 90.0]), radius=3.0)
    c2w = mvdream.camera_matrices(views).reshape(3, 4, 4)
    torch.testing.assert_close(c2w[:, :3, 3], torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), atol=1e-6, rtol=0)
    front = torch.tensor([[0.0, 0, 1, 1], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]])  # right +Y, up +Z, back +X
    torch.testing.assert_close(c2w[0], front, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("azimuth", "elevation"), [(0.0, 0.0), (37.0, 20.0), (-120.0, -35.0)])
def test_cameras_are_the_published_ones_a_quarter_turn_on(azimuth: float, elevation: float) -> None:
    found = mvdream.camera_matrices(OrbitView(torch.tensor([azimuth]), torch.tensor([elevation]), radius=2.5))
    expected = torch.tensor([published_camera(azimuth + 90, elevation)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_views_of_a_group_see_each_other_and_no_other_group(folder: Path) -> None:
    prior = load(folder)
    condition = prior.text_condition(Prompts("a chair"))
    ring = four_view_ring(torch.Generator().manual_seed(0))
    views = OrbitView(ring.azimuth.repeat(2), ring.elevation.repeat(2))
    noisy = torch.randn(8, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    t = torch.full((8,), 0.5)
    before = prior.eps(noisy, t, views, condition).cond
    noisy[1] += 1
    moved = (prior.eps(noisy, t, views, condition).cond - before).abs().amax((1, 2, 3))
    assert bool((moved[:4] > 1e-4).all()) and bool((moved[4:] < 1e-6).all())


def test_groups_must_be_rings(folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    ring = four_view_ring(generator)
    mvdream.check_groups(ring)
    mvdream.check_groups(ring[[2, 0, 3, 1]])
    for wrong in (
        ring[[0, 1, 2]],
        random_orbit(4, generator),
        replace(ring, elevation=ring.elevation + torch.tensor([0.0, 0, 0, 5])),
    ):
        with pytest.raises(ValueError, match=r"groups of 4|quarter turn"):
            mvdream.check_groups(wrong)
    prior = load(folder)
    with pytest.raises(ValueError, match="groups of 4, got 1"):
        condition = prior.text_condition(Prompts("a chair"))
        prior.eps(torch.zeros(1, 4, 8, 8), torch.ones(1), random_orbit(1, generator), condition)
    with pytest.raises(UserError, match="follows words"):
        prior.condition(torch.zeros(4, 8, 8), 0.0)


def test_rings_at_the_seam_of_the_circle_are_rings() -> None:
    for start in (-180.0, -90.0, -1e-5, 0.0, 179.99999):
        azimuth = (start + 90 * torch.arange(4, dtype=torch.float64) + 180) % 360 - 180
        mvdream.check_groups(OrbitView(azimuth.float(), torch.zeros(4)))


def test_words_of_the_views_and_what_is_cut(folder: Path) -> None:
    prior = load(folder)
    plain = prior.text_condition(Prompts("a chair"))
    assert torch.equal(plain.positives.tokens[0], plain.positives.tokens[2])  # no view words: there is a camera
    asset = prior.text_condition(Prompts("a chair, 3d asset"))
    assert torch.equal(asset.positives.tokens, plain.positives.tokens)
    special = prior.text_condition(Prompts("a chair", view_texts={"back": "a wooden chair"}))
    assert torch.equal(special.positives.tokens[0], plain.positives.tokens[0])
    assert not torch.equal(special.positives.tokens[2], plain.positives.tokens[2])
    events: list = []
    prior.text_condition(Prompts("a chair " * 20), events.append)
    assert isinstance(events[0], Warned) and "chair" in events[0].message


def test_encode_and_decode(folder: Path) -> None:
    prior = load(folder)
    pictures = torch.rand(4, 4, 20, 20, generator=torch.Generator().manual_seed(0)).requires_grad_()
    latents = prior.encode(pictures)
    latents.sum().backward()
    assert latents.shape == (4, 4, 8, 8) and pictures.grad is not None and float(pictures.grad.abs().sum()) > 0
    prior.release()
    back = prior.decode(latents.detach())
    assert back.shape == (4, 4, SIZE, SIZE) and float(back[:, 3].min()) == 1.0


def test_little_memory_runs_group_by_group(folder: Path) -> None:
    ring = four_view_ring(torch.Generator().manual_seed(0))
    noisy = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    runs: list[int] = []
    found = []
    net = load(folder).net
    for limit in (None, net.held() + net.each * 3 // 2):
        prior = load(folder, max_memory=limit)
        prior.net.unet.register_forward_hook(lambda module, args, out: runs.append(len(args[0])))
        condition = prior.text_condition(Prompts("a chair"))
        found.append(prior.predict(noisy, torch.full((4,), 0.3), ring, condition))
    assert runs == [8, 4, 4]
    torch.testing.assert_close(found[0], found[1], atol=1e-3, rtol=1e-4)  # at a guidance scale of 100
    with pytest.raises(UserError, match=r"more than the 0.* GB allowed"):
        load(folder, max_memory=net.held() + net.each // 2)


def _without(key: str):
    return lambda tensors: tensors.pop(key)


def _with(key: str, *shape: int):
    return lambda tensors: tensors.__setitem__(key, torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("camera_embed.0.weight"), r"lack camera_embed\.0\.weight"),
        (_with("label_emb.weight", 3), r"have unknown label_emb\.weight"),
        (_with("input_blocks.0.0.weight", 32, 8, 3, 3), r"input_blocks\.0\.0\.weight 32x8x3x3 for 32x4x3x3"),
    ],
)
def test_other_weights_are_refused(folder: Path, tmp_path: Path, change, message: str) -> None:
    bad = shutil.copytree(folder, tmp_path / "bad")
    file = bad / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    with pytest.raises(UserError, match=message):
        load(bad)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "UNet2DConditionModel"}, "not MVDream's MultiViewUNetModel"),
        ({"resblock_updown": True}, "sets resblock_updown"),
        ({"model_channels": "320"}, "model_channels = 320"),
        ({"model_channels": 10**9}, "model_channels = 1000000000"),
        ({"channel_mult": [1] * 1000}, "channel_mult"),
        ({"channel_mult": []}, "channel_mult"),
        ({"num_res_blocks": True}, "num_res_blocks = True"),
        ({"num_head_channels": 24}, "do not divide"),
        ({"context_dim": 8}, "text encoder gives 16 numbers a token, the denoiser takes 8"),
        ({"ip_dim": 16}, "holds an ImageDream, not an MVDream"),
    ],
)
def test_other_configurations_are_refused(folder: Path, tmp_path: Path, change: dict, message: str) -> None:
    bad = shutil.copytree(folder, tmp_path / "bad")
    (bad / "unet" / "config.json").write_text(json.dumps(CONFIG | change))
    with pytest.raises(UserError, match=message):
        load(bad)


def test_folder_is_told_from_imagedreams(folder: Path) -> None:
    assert adapter_of(folder) == "mvdream"


def test_attention_is_the_textbook_one() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, n, 12, generator=generator) for n in (5, 7, 7))
    torch.testing.assert_close(attend(q, k, v, 3)[0], published._attend(q[0], k[0], v[0], 3), atol=1e-6, rtol=1e-5)


def test_network_is_that_of_the_published_checkpoint() -> None:
    manifest = json.loads((published.MANIFESTS / "mvdream.json").read_text())
    assert manifest == published.manifests()["mvdream"]
    with torch.device("meta"):
        unet = MultiViewUNet(MultiViewConfig())
    assert {k: list(v.shape) for k, v in unet.state_dict().items()} == manifest["unet"]
    # Stable Diffusion 2's UNet, as reported, and the camera embedding: 16 -> 1280 -> 1280.
    assert sum(p.numel() for p in unet.parameters()) == 865_910_724 + 17 * 1280 + 1281 * 1280
