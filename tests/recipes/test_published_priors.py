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

import numpy as np
import pytest
import torch
import trimesh
from safetensors.torch import save_file

import gaussmith
from gaussmith import cli
from gaussmith.camera import DEFAULT_FOVY
from gaussmith.density import dreamgaussian as density
from gaussmith.diffusion.family import DISTILLATIONS, own_scale
from gaussmith.diffusion.guidance import Predictions
from gaussmith.diffusion.prompts import Prompts
from gaussmith.diffusion.schedule import CosineTime, eps_from_x0
from gaussmith.events import Step, UserError, Warned
from gaussmith.mesh import Mesh
from gaussmith.picture import Prepared
from gaussmith.priors.lora import lora_layers
from gaussmith.priors.multiview_unet import MultiViewUNet, read_config
from gaussmith.priors.pictures import over
from gaussmith.priors.published import load_published
from gaussmith.recipes import dreamgaussian, text_picture
from gaussmith.surface import check
from gaussmith.texture.seams import seam_error
from gaussmith.train.subject import KnownView, Subject
from gaussmith.train.texture import RefineConfig
from gaussmith.views import OrbitView

tiny = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "priors" / "conftest.py")))
clip_words, tiny_sd, tiny_sdxl, tiny_if = tiny.clip_words, tiny.tiny_sd, tiny.tiny_sdxl, tiny.tiny_if

STEPS = 6
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
    refined = result.report["settings"]["refine"]["steps"]
    assert refined in (2, 5)  # a large prior takes two and a half times as many
    assert steps == [("gaussians", i + 1) for i in range(STEPS)] + [("refine", i + 1) for i in range(refined)]
    assert all(math.isfinite(e.values["loss"]) for e in events if isinstance(e, Step) and "loss" in e.values)
    assert check(result.mesh).valid and result.gaussians.finite().all()
    assert result.mesh.albedo is not None and result.mesh.albedo.isfinite().all()


@pytest.mark.parametrize("kind", ["sd", "sdxl", "if", "mvdream"])
def test_words_become_an_object(kind, request):
    events: list[Any] = []
    folder = str(request.getfixturevalue(f"tiny_{kind}"))
    made = gaussmith.text_to_3d("a wooden chair", negative="ugly", preset="draft", prior=folder, on_event=events.append)
    whole(made, events)
    assert made.report["prompt"] == "a wooden chair" and made.report["prior"] == folder
    assert made.subject.views == () and made.report["reference"] is None


@pytest.mark.parametrize("kind", ["sd", "mvdream"])
def test_words_are_asked_from_overhead_where_words_tell_the_view(kind, request, monkeypatch):
    prior = load_published(request.getfixturevalue(f"tiny_{kind}"))
    seen: list[float] = []
    ask = prior.eps
    monkeypatch.setattr(prior, "eps", lambda x, t, views, told: seen.extend(views.elevation) or ask(x, t, views, told))
    gaussmith.text_to_3d("a wooden chair", preset="draft", seed=1, prior=prior)
    assert len(seen) > 2 * STEPS  # of both stages
    assert max(seen) > 50 if prior.told_in_words else max(seen) <= 30


# Zero-1-to-3 by plain SDS is below, behind the prior that draws.
@pytest.mark.parametrize(("kind", "distillation"), [("zero123", "ism"), ("imagedream", "sds"), ("sd", "sds")])
def test_a_picture_becomes_an_object(kind, distillation, request):
    events: list[Any] = []
    result = gaussmith.image_to_3d(
        disc(), elevation=10.0, azimuth=30.0, prompt="a wooden chair", preset="draft",
        prior=str(request.getfixturevalue(f"tiny_{kind}")), distillation=distillation, on_event=events.append,
    )  # fmt: skip
    whole(result, events)
    assert result.report["reference"]["iou"] > 0.3
    assert kind != "zero123" or any("reads no words" in e.message for e in events if isinstance(e, Warned))


def test_camera_priors_train_no_network_and_say_so(tiny_zero123):
    with pytest.raises(UserError, match="sds, csd or ism"):
        gaussmith.image_to_3d(disc(), distillation="vsd", preset="draft", prior=str(tiny_zero123))


def words_with(prior: Any, distillation: str = "sds", **options: Any) -> dreamgaussian.Result:
    return gaussmith.text_to_3d("a wooden chair", prior=prior, preset="draft", distillation=distillation, **options)


@pytest.fixture(scope="module")
def plain(tiny_sd):
    """Stable Diffusion, which all jobs of the tests below share."""
    return load_published(tiny_sd)


@pytest.fixture(scope="module")
def results(plain):
    """Each distillation's result, made when first asked for."""
    made: dict[str, dreamgaussian.Result] = {}

    def of(name: str, on_event: Any = lambda event: None) -> dreamgaussian.Result:
        if name not in made:
            made[name] = words_with(plain, name, on_event=on_event)
        return made[name]

    return of


@pytest.mark.parametrize("name", DISTILLATIONS)
def test_every_distillation(plain, results, name, monkeypatch):
    trained: list[Any] = []
    make = plain.trainable
    monkeypatch.setattr(plain, "trainable", lambda seed: trained.append(make(seed)) or trained[-1])
    events: list[Any] = []
    moved: list[bool] = []  # each network beside the prior: starts at zero, is gone with the job

    def listen(event: Any) -> None:
        events.append(event)
        if isinstance(event, Step) and (event.stage, event.step) == ("gaussians", STEPS):
            states = [network.parameters() for network in trained]
            moved.extend(all(bool(t.any()) for k, t in state.items() if k.endswith(".up")) for state in states)

    result = results(name, listen)
    whole(result, events)
    assert moved == [True] * len(DISTILLATIONS[name].learns)
    assert name == "sds" or not same(result, results("sds"))


def test_a_job_leaves_the_prior_as_it_was(plain, results):
    """After networks were trained beside it: none is left, nor is the VAE, and the next job is as the first."""
    results("bsd")
    assert not any(layer.lora_A for layer in lora_layers(plain.unet).values())
    assert plain.space._vae is None
    assert same(words_with(plain), results("sds")) and same(words_with(plain, "vsd"), results("vsd"))


class Stop(Exception):
    pass


def stop_at(stage: str, step: int) -> Any:
    def listen(event: Any) -> None:
        if isinstance(event, Step) and (event.stage, event.step) == (stage, step):
            raise Stop

    return listen


@pytest.mark.parametrize(
    ("name", "stage", "step"),
    [("sds", "gaussians", 5), ("vsd", "gaussians", 4), ("bsd", "gaussians", 5), ("dsd", "refine", 1)],
)
def test_killed_and_resumed_equals_uninterrupted(plain, tiny_sd, results, tmp_path, name, stage, step):
    with pytest.raises(Stop):
        words_with(str(tiny_sd), name, on_event=stop_at(stage, step), checkpoint_dir=tmp_path)
    events: list[Any] = []
    resumed = words_with(str(tiny_sd), name, on_event=events.append, checkpoint_dir=tmp_path, resume=True)
    first = next(e for e in events if isinstance(e, Step))
    assert (first.stage, first.step) == ("refine", 1) if stage == "refine" else first.step == step // 3 * 3 + 1
    for a, b in zip(resumed.gaussians.tensors().values(), results(name).gaussians.tensors().values()):
        assert torch.equal(a, b)
    assert torch.equal(resumed.mesh.albedo, results(name).mesh.albedo)


def test_a_failed_job_lets_the_vae_go(plain):
    with pytest.raises(Stop):
        words_with(plain, on_event=stop_at("gaussians", 2))
    assert plain.space._vae is None


def test_half_precision(tiny_sd):
    events: list[Any] = []
    whole(words_with(load_published(tiny_sd, dtype=torch.bfloat16), "vsd", on_event=events.append), events)


def test_each_distillation_follows_its_own_scale(plain):
    def scale(name: str, given: float | None = None) -> float:
        config = replace(TINY, distillation=name, guidance_scale=given)
        job = SimpleNamespace(config=config, prior=plain, scale=plain.guidance_scale if given is None else given)
        return own_scale(dreamgaussian._method(job))

    assert {name: scale(name) for name in ("sds", "vsd", "dsd", "bsd", "ism")} == {
        "sds": 100.0, "vsd": 7.5, "dsd": 7.5, "bsd": 2.0, "ism": 7.5,
    }  # fmt: skip
    assert scale("vsd", 30.0) == 30.0 and scale("dsd", 30.0) == 30.0


def test_words_count_from_the_front_and_pictures_from_the_reference(plain, tiny_zero123, tiny_mvdream, tiny_imagedream):
    """What stands to the left of a picture of the left side is the back."""
    subject = Subject((KnownView(disc(), azimuth=90.0),), Prompts("a wooden chair"))
    views = OrbitView(torch.tensor([180.0]), torch.tensor([0.0]))
    told = {prior.name: subject.relative(views, prior).azimuth.item()
            for prior in (plain, *map(load_published, (tiny_zero123, tiny_mvdream, tiny_imagedream)))}  # fmt: skip
    names = [plain.name, *(str(f) for f in (tiny_zero123, tiny_mvdream, tiny_imagedream))]
    assert [abs(told[name]) for name in names] == [180.0, 90.0, 180.0, 90.0]


@torch.no_grad()
def test_the_background_reaches_the_edge_of_the_network_s_frame(tiny_zero123):
    """Zero-1-to-3 sees a wider frame than is rendered: on black, its border is black too."""
    prior, generator = load_published(tiny_zero123), torch.Generator().manual_seed(0)
    nothing = SimpleNamespace(rgb=torch.zeros(1, 64, 64, 3), alpha=torch.zeros(1, 64, 64, 1))
    empty = torch.zeros(1, 4, prior.size, prior.size)
    expected = [prior.net.space.encode(empty, grey) for grey in (0.0, 1.0)]
    assert not torch.allclose(*expected)
    seen = [dreamgaussian._encoded(prior, nothing, generator) for _ in range(12)]
    which = [[bool(torch.equal(latents, e)) for e in expected] for latents in seen]
    assert all(sum(row) == 1 for row in which) and {tuple(row) for row in which} == {(True, False), (False, True)}


def uncoloured_ball() -> Mesh:
    sphere = trimesh.creation.icosphere(subdivisions=2, radius=0.5)
    return Mesh(torch.from_numpy(np.array(sphere.vertices)).float(), torch.from_numpy(np.array(sphere.faces)).long())


@pytest.mark.parametrize("kind", ["sd", "if", "mvdream"])
def test_words_alone_colour_a_mesh(kind, request):
    """What random weights paint is noise, but it is painted wherever a view looked, and across the charts' borders."""
    options = {"prompt": "a wooden chair", "prior": str(request.getfixturevalue(f"tiny_{kind}")), "texture_size": 64}
    before, after = (gaussmith.refine_mesh(uncoloured_ball(), steps=steps, **options) for steps in (0, 3))
    assert before.mesh.albedo is not None and after.mesh.albedo is not None
    assert torch.equal(before.mesh.albedo, torch.full((64, 64, 3), 0.5)) and after.mesh.albedo.isfinite().all()
    changed = (after.mesh.albedo - 0.5).abs().amax(dim=2) > 1 / 255
    assert changed.float().mean() > 0.25 and 0 <= after.mesh.albedo.min() < after.mesh.albedo.max() <= 1
    assert after.report["texture"]["started_from"] == "nothing" and after.report["prompt"] == "a wooden chair"
    order = torch.randperm(64 * 64, generator=torch.Generator().manual_seed(0))
    unrelated = seam_error(after.mesh.albedo.reshape(-1, 3)[order].reshape(64, 64, 3), after.centred)
    assert seam_error(after.mesh.albedo, after.centred).mean < 0.5 * unrelated.mean


class Drawer:
    """Draws a red disc on white whatever it is asked: a text-to-image prior whose words are not random."""

    name, size, guidance_scale, device = "drawer", 64, 100.0, torch.device("cpu")
    sees_alpha, bounded, group, from_reference, told_in_words = False, True, 1, False, False
    schedule = CosineTime()

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.released = 0

    def text_condition(self, prompts: Prompts, on_event: Any = None) -> str:
        return prompts.text

    def encode(self, pictures: torch.Tensor, background: float = 1.0) -> torch.Tensor:
        return over(pictures, background) * 2 - 1

    def decode(self, clean: torch.Tensor) -> torch.Tensor:
        return clean * 0.5 + 0.5

    def predict(self, noisy: torch.Tensor, t: Any, views: Any, condition: str, guidance_scale: float) -> torch.Tensor:
        self.asked.append((condition, guidance_scale))
        rgba = disc(self.size).rgba.permute(2, 0, 1)[None]
        return self.encode(torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], dim=1)).expand_as(noisy)

    def eps(self, noisy: torch.Tensor, t: Any, views: Any, condition: str) -> Predictions:
        eps = eps_from_x0(noisy, self.predict(noisy, t, views, condition, 1.0), self.schedule.level(t))
        return Predictions(eps, eps)

    def release(self) -> None:
        self.released += 1


def test_words_become_a_picture_and_that_an_object(tiny_zero123, tmp_path):
    events: list[Any] = []
    drawer, prior = Drawer(), str(tiny_zero123)
    result = words_with(prior, picture_prior=drawer, on_event=events.append, checkpoint_dir=tmp_path)
    whole(result, events)
    assert drawer.released and result.report["prompt"] == "a wooden chair"
    assert result.report["reference"]["iou"] > 0.3 and result.report["picture"]["mask"] == "plain background"
    # A scale for distillation would saturate the picture, and a busy background could not be cut away.
    assert drawer.asked[0] == ("a wooden chair, on a plain white background", 7.5)
    asked = len(drawer.asked)
    again = words_with(prior, picture_prior=drawer, checkpoint_dir=tmp_path, resume=True)
    assert same(result, again) and len(drawer.asked) == asked, "the picture was drawn again"
    with pytest.raises(UserError, match="other settings"):
        words_with(prior, picture_prior=drawer, checkpoint_dir=tmp_path, resume=True, seed=4)


def test_a_picture_without_an_object_is_one_sentence(tiny_sd, tiny_zero123):
    with pytest.raises(UserError, match=r"drew nothing of 'a wooden chair' that can be told from its background; try"):
        words_with(str(tiny_zero123), picture_prior=str(tiny_sd))


def test_the_published_drawing_is_a_picture(plain):
    pictures, evidence = text_picture.run(text_picture.Config(candidates=3, steps=3), Prompts("a chair"), plain)
    assert pictures.shape == (3, 4, 16, 16) and bool((pictures[:, 3] == 1).all()) and pictures.std() > 0.01
    assert evidence.shape == (3,) and bool((evidence.diff() <= 0).all())


def command(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    """The one sentence of a command that the user can mend."""
    assert cli.main([str(a) for a in args]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("gaussmith: ") and err.count("\n") == 1, (out, err)
    return err


def test_bad_input_is_one_sentence_and_writes_nothing(tiny_sd, tiny_mvdream, tiny_zero123, tmp_path, capsys):
    output = ("-o", tmp_path / "out", "--preset", "draft")
    lame = tmp_path / "lame"
    shutil.copytree(tiny_sd, lame, ignore=shutil.ignore_patterns("vae", "tokenizer"))
    empty = tmp_path / "empty"
    empty.mkdir()
    chest = Path(__file__).parents[2] / "examples" / "chest.png"
    wrong, mixed = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in (tiny_zero123, tiny_sd))
    for folder, other in ((wrong, tiny_sd), (mixed, tiny_zero123)):  # the denoiser of the other, or its weights alone
        shutil.copy(other / "unet" / "diffusion_pytorch_model.safetensors", folder / "unet")
    shutil.copy(tiny_zero123 / "unet" / "config.json", mixed / "unet")
    said = {
        "there is no prior 'nothing'": ("text", "a chair", "--prior", "nothing"),
        "lacks tokenizer, vae": ("text", "a chair", "--prior", lame),
        "no model_index.json": ("text", "a chair", "--prior", empty),
        "have a wrong shape in conv_in.weight 16x4x3x3 for 16x8x3x3": ("image", chest, "--prior", wrong),
        "not on this machine; fetch it": ("text", "a chair", "--prior", "nobody/such-a-prior"),
        "they are not of one pipeline": ("text", "a chair", "--prior", mixed),
        "there is no prior 'neither'": ("text", "a chair", "--prior", tiny_zero123, "--picture-prior", "neither"),
        "The prompt is empty": ("text", "  ", "--prior", tiny_sd),
        "raise --max-memory": ("text", "a chair", "--prior", tiny_sd, "--max-memory", "1e-6"),
        "--picture-prior` draw one": ("text", "a chair", "--prior", tiny_zero123),
        "follows words; say what": ("image", chest, "--prior", tiny_sd),
        "cannot draw a picture": ("text", "a chair", "--prior", tiny_zero123, "--picture-prior", tiny_mvdream),
        "sds, csd or ism": ("text", "a chair", "--prior", tiny_mvdream, "--distillation", "vsd"),
    }
    for sentence, args in said.items():
        assert sentence in command(capsys, *args, *output, "--quiet")
        assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()], sentence


def test_a_long_prompt_says_what_is_cut(tiny_sd, tmp_path, capsys):
    prompt = " ".join(["a wooden chair"] * 7 + ["side"])
    assert cli.main(["text", prompt, "--prior", str(tiny_sd), "--preset", "draft", "-o", str(tmp_path)]) == 0
    err = capsys.readouterr().err
    assert "longer than the 22 tokens" in err and "cut off: 'wooden chair side'" in " ".join(err.split()), err
    assert {path.suffix for path in tmp_path.iterdir()} == {".glb", ".ply", ".png", ".mp4", ".json"}
