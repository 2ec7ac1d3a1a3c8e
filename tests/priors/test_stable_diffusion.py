"""Our adapters against the published computation, written out by the parts of diffusers as its pipelines call them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gaussmith.diffusion.guidance import guide
from gaussmith.diffusion.prompts import Prompts
from gaussmith.diffusion.schedule import add_noise, x0_from_eps
from gaussmith.events import UserError, Warned
from gaussmith.priors import deepfloyd, hub, stable_diffusion
from gaussmith.priors.lora import attach_lora
from gaussmith.priors.networks import noise_schedule, weight_bytes
from gaussmith.priors.texts import tokenize
from gaussmith.views import OrbitView, random_orbit

CPU = torch.device("cpu")
FRONT = OrbitView(torch.tensor([0.0]), torch.tensor([0.0]))
PROMPT = Prompts("a wooden chair", negative="ugly", view_words=False)


@pytest.fixture(scope="module")
def sd(tiny_sd):
    return stable_diffusion.load(hub.find(tiny_sd), CPU)


@pytest.fixture(scope="module")
def sdxl(tiny_sdxl):
    return stable_diffusion.load(hub.find(tiny_sdxl), CPU)


@pytest.fixture(scope="module")
def floyd(tiny_if):
    return deepfloyd.load(hub.find(tiny_if), CPU)


def front(count: int) -> OrbitView:
    return OrbitView(torch.zeros(count), torch.zeros(count))


def drawn(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def published_sd(folder: Path, texts: list[str]) -> torch.Tensor:
    """StableDiffusionPipeline.encode_prompt."""
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
    tokens = tokenizer(
        texts, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    )
    return encoder(tokens.input_ids)[0]


def published_sdxl(folder: Path, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """StableDiffusionXLPipeline.encode_prompt, but for the empty prompt."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    states, pooled = [], None
    for suffix, cls in (("", CLIPTextModel), ("_2", CLIPTextModelWithProjection)):
        tokenizer = CLIPTokenizer.from_pretrained(folder / f"tokenizer{suffix}")
        encoder = cls.from_pretrained(folder / f"text_encoder{suffix}")
        ids = tokenizer(texts, padding="max_length", max_length=24, truncation=True, return_tensors="pt").input_ids
        out = encoder(ids, output_hidden_states=True)
        pooled = out[0]
        states.append(out.hidden_states[-2])
    return torch.cat(states, dim=-1), pooled


@torch.no_grad()
@pytest.mark.parametrize(("seed", "scale"), [(0, 7.5), (1, 100.0), (2, 1.0), (3, 0.0)])
def test_guided_eps_is_stable_diffusions(sd, tiny_sd, seed, scale):
    from diffusers import UNet2DConditionModel

    texts = ["ugly", ["a wooden chair", "a back view", "a", "side"][seed]]
    noisy, step = (
        drawn((1, 4, 8, 8), seed),
        int(torch.randint(0, 1000, (1,), generator=torch.Generator().manual_seed(seed))),
    )
    embeds = published_sd(tiny_sd, texts)
    out = UNet2DConditionModel.from_pretrained(tiny_sd / "unet")(
        torch.cat([noisy] * 2), step, encoder_hidden_states=embeds
    ).sample
    uncond, cond = out.chunk(2)
    expected = uncond + scale * (cond - uncond)
    condition = sd.text_condition(Prompts(texts[1], negative="ugly", view_words=False))
    parts = sd.eps(noisy, torch.tensor([(step + 1) / 1000]), FRONT, condition)
    assert parts.negatives is None
    torch.testing.assert_close(guide(parts, scale), expected, atol=1e-5 * max(1, scale), rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("negative", ["ugly", ""])
def test_guided_eps_is_sdxls(sdxl, tiny_sdxl, negative):
    from diffusers import UNet2DConditionModel

    network = UNet2DConditionModel.from_pretrained(tiny_sdxl / "unet")
    tokens, pooled = published_sdxl(tiny_sdxl, [negative, "a wooden chair"])
    if not negative:  # force_zeros_for_empty_prompt
        tokens[0], pooled[0] = 0, 0
    sizes = torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2)
    condition = sdxl.text_condition(Prompts("a wooden chair", negative=negative, view_words=False))
    for seed, step in ((5, 3), (6, 500), (7, 999)):
        noisy = drawn((1, 4, 8, 8), seed)
        added = {"text_embeds": pooled, "time_ids": sizes}
        out = network(torch.cat([noisy] * 2), step, encoder_hidden_states=tokens, added_cond_kwargs=added).sample
        uncond, cond = out.chunk(2)
        parts = sdxl.eps(noisy, torch.tensor([(step + 1) / 1000]), FRONT, condition)
        torch.testing.assert_close(parts.null, uncond, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(guide(parts, 7.5), uncond + 7.5 * (cond - uncond), atol=1e-5 * 8.5, rtol=1e-5)


@torch.no_grad()
def test_guided_eps_is_deepfloyds(floyd, tiny_if):
    from diffusers import UNet2DConditionModel
    from transformers import T5EncoderModel, T5Tokenizer

    tokenizer = T5Tokenizer.from_pretrained(tiny_if / "tokenizer")
    tokens = tokenizer(["ugly", "a wooden chair"], padding="max_length", max_length=77, return_tensors="pt")
    encoder = T5EncoderModel.from_pretrained(tiny_if / "text_encoder")
    embeds = encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
    network = UNet2DConditionModel.from_pretrained(tiny_if / "unet")
    condition = floyd.text_condition(Prompts("A Wooden Chair ", negative="ugly", view_words=False))
    noisy = drawn((1, 3, 8, 8), 8)
    out = network(torch.cat([noisy] * 2), 321, encoder_hidden_states=embeds).sample
    uncond, cond = out[:, :3].chunk(2)
    parts = floyd.eps(noisy, torch.tensor([0.322]), FRONT, condition)
    torch.testing.assert_close(parts.null, uncond, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(guide(parts, 20.0), uncond + 20 * (cond - uncond), atol=2e-4, rtol=1e-5)
    assert floyd.encode(torch.ones(2, 4, 16, 16)).shape == (2, 3, 8, 8)


@torch.no_grad()
def test_latents_are_those_of_the_vae(sd, tiny_sd):
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(tiny_sd / "vae")
    rgb = torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(1))
    pictures = torch.cat([rgb, torch.ones(2, 1, 16, 16)], dim=1)
    expected = vae.encode(rgb * 2 - 1).latent_dist.mean * 0.18215
    latents = sd.encode(pictures)
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-5)
    decoded = sd.decode(latents)
    wanted = (vae.decode(expected / 0.18215).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(decoded[:, :3], wanted, atol=1e-5, rtol=1e-5)
    assert (decoded[:, 3] == 1).all()


def test_encode_lays_pictures_over_the_background_and_passes_gradients(sd):
    nothing = torch.zeros(1, 4, 16, 16)
    white = torch.ones(1, 4, 16, 16)
    red = torch.tensor([1.0, 0, 0])
    torch.testing.assert_close(sd.encode(nothing), sd.encode(white))
    torch.testing.assert_close(
        sd.encode(nothing, red), sd.encode(torch.cat([red, torch.ones(1)]).expand(16, 16, 4).permute(2, 0, 1)[None])
    )
    pictures = torch.full((1, 4, 40, 40), 0.5, requires_grad=True)
    sd.encode(pictures).square().sum().backward()
    assert pictures.grad is not None and pictures.grad.abs().min() > 0


def test_predict_is_the_clean_picture_of_the_guided_eps(sd):
    condition = sd.text_condition(PROMPT)
    noisy, t = drawn((2, 4, 8, 8), 3), torch.tensor([0.3, 0.8])
    parts = sd.eps(noisy, t, front(2), condition)
    expected = x0_from_eps(noisy, guide(parts, 5.0), sd.schedule.level(t))
    torch.testing.assert_close(sd.predict(noisy, t, front(2), condition, 5.0), expected)


def test_each_view_is_told_its_own_words(sd):
    prompts = Prompts("a wooden chair", perp_neg=False)
    condition = sd.text_condition(prompts)
    noisy, t = drawn((1, 4, 8, 8), 4), torch.tensor([0.5])
    for angle, word in ((0.0, "front"), (-90.0, "side"), (180.0, "back")):
        views = OrbitView(torch.tensor([angle]), torch.tensor([0.0]))
        plain = sd.text_condition(Prompts(f"a wooden chair, {word} view", view_words=False))
        torch.testing.assert_close(sd.eps(noisy, t, views, condition).cond, sd.eps(noisy, t, FRONT, plain).cond)
    back = OrbitView(torch.tensor([180.0]), torch.tensor([0.0]))
    assert not torch.allclose(sd.eps(noisy, t, back, condition).cond, sd.eps(noisy, t, FRONT, condition).cond)


def test_perp_neg_asks_for_the_avoided_views(sd):
    views = OrbitView(torch.tensor([180.0, 10.0]), torch.zeros(2))
    noisy, t = drawn((2, 4, 8, 8), 5), torch.tensor([0.5, 0.6])
    parts = sd.eps(noisy, t, views, sd.text_condition(Prompts("a wooden chair")))
    assert parts.negatives.shape == (2, 2, 4, 8, 8) and parts.negative_weights.shape == (2, 2)
    frontal = sd.text_condition(Prompts("a wooden chair, front view", view_words=False))
    torch.testing.assert_close(parts.negatives[0], sd.eps(noisy, t, front(2), frontal).cond)


def test_texts_are_embedded_once(sd, monkeypatch):
    sd.text_condition(PROMPT)
    monkeypatch.setattr(sd, "_embed", lambda *args: pytest.fail("embedded again"))
    sd.text_condition(PROMPT)


def test_what_the_token_limit_cuts_off_is_named(sd, floyd):
    for prior, limit in ((sd, 22), (floyd, 76)):
        events = []
        prior.text_condition(Prompts("a " * limit + "wooden chair", view_words=False), on_event=events.append)
        assert [type(e) for e in events] == [Warned]
        assert "'wooden chair'" in events[0].message and f"{limit} tokens" in events[0].message
        prior.text_condition(Prompts("a " * limit, view_words=False), on_event=events.append)
        assert len(events) == 1


def test_less_memory_gives_the_same_in_more_runs(sd, tiny_sd):
    each = sd._memory.each
    small = stable_diffusion.load(
        hub.find(tiny_sd), CPU, max_memory=weight_bytes(sd.unet) + sd.space.needs() + 2 * each
    )
    runs = []
    small.unet.register_forward_hook(lambda module, inputs, out: runs.append(len(inputs[0])))
    noisy, t = drawn((3, 4, 8, 8), 6), torch.tensor([0.1, 0.5, 0.9])
    views = random_orbit(3, torch.Generator().manual_seed(0))
    mine, whole = (p.eps(noisy, t, views, p.text_condition(Prompts("a chair"))) for p in (small, sd))
    assert runs == [2] * 6
    torch.testing.assert_close(guide(mine, 10.0), guide(whole, 10.0), atol=1e-4, rtol=1e-4)
    pictures = torch.rand((2, 4, 16, 16), generator=torch.Generator().manual_seed(2), requires_grad=True)
    slopes = [torch.autograd.grad(p.encode(pictures).square().sum(), pictures)[0] for p in (small, sd)]
    torch.testing.assert_close(*slopes, atol=1e-5, rtol=1e-4)
    with pytest.raises(UserError, match="raise --max-memory"):
        stable_diffusion.load(hub.find(tiny_sd), CPU, max_memory=1000)


def test_released_parts_come_back(sd):
    pictures = torch.ones(1, 4, 16, 16)
    before = sd.encode(pictures)
    sd.release()
    assert sd.space._vae is None
    torch.testing.assert_close(sd.encode(pictures), before)


def test_bfloat16_is_near(sd, tiny_sd):
    half = stable_diffusion.load(hub.find(tiny_sd), CPU, torch.bfloat16)
    assert half.dtype == torch.bfloat16
    noisy, t = drawn((1, 4, 8, 8), 7), torch.tensor([0.4])
    mine, exact = (p.eps(noisy, t, FRONT, p.text_condition(PROMPT)).cond for p in (half, sd))
    assert mine.dtype == torch.float32
    assert (mine - exact).abs().max() < 0.05 * exact.abs().max()


def test_sdxl_vae_that_overflows_in_halves_runs_in_float32(tiny_sdxl, tiny_sd):
    from gaussmith.priors.pictures import Latents

    assert Latents(tiny_sdxl, 8, torch.float16, CPU, may_overflow=True).dtype == torch.float32
    assert Latents(tiny_sdxl, 8, torch.bfloat16, CPU, may_overflow=True).dtype == torch.bfloat16
    assert Latents(tiny_sd, 8, torch.float16, CPU).dtype == torch.float16


def test_what_a_recipe_asks_before_it_starts(sd, floyd):
    assert (sd.size, sd.bounded, sd.sees_alpha, sd.group, sd.guidance_scale) == (16, False, False, 1, 100.0)
    assert (floyd.size, floyd.bounded, floyd.guidance_scale) == (8, True, 20.0)


def test_a_picture_is_refused(sd):
    with pytest.raises(UserError, match="follows words"):
        sd.condition(torch.zeros(4, 8, 8), 0.0)


# Schedules


@pytest.mark.parametrize(
    "settings",
    [
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "prediction_type": "v_prediction"},
        {"beta_schedule": "linear"},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 50},
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "rescale_betas_zero_snr": True},
        {"trained_betas": [0.1, 0.2, 0.3]},
    ],
)
def test_noise_levels_are_the_schedulers(settings, tmp_path):
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(**settings)
    scheduler.save_pretrained(tmp_path / "scheduler")
    schedule, predicts = noise_schedule(tmp_path)
    torch.testing.assert_close(schedule.alphas_bar.float(), scheduler.alphas_cumprod, atol=1e-5, rtol=1e-4)
    assert predicts == ("v" if "prediction_type" in settings else "eps")


@pytest.mark.parametrize(("prediction", "kind"), [("v_prediction", "v"), ("sample", "x0")])
def test_velocity_and_picture_predictions_become_eps(sd, tiny_sd, tmp_path, prediction, kind):
    folder = copied(tiny_sd, tmp_path)
    edit(folder / "scheduler" / "scheduler_config.json", prediction_type=prediction)
    other = stable_diffusion.load(hub.find(folder), CPU)
    noisy, t = drawn((1, 4, 8, 8), 9), torch.tensor([0.6])
    raw = sd.eps(noisy, t, FRONT, sd.text_condition(PROMPT)).cond  # the same weights, taken for eps
    level = sd.schedule.level(t)
    alpha, sigma = level.like(noisy)
    x0 = alpha * noisy - sigma * raw if kind == "v" else raw
    eps = other.eps(noisy, t, FRONT, other.text_condition(PROMPT)).cond
    torch.testing.assert_close(add_noise(x0, eps, level), noisy, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "change", [{"prediction_type": "flow"}, {"beta_schedule": "sigmoid"}, {"num_train_timesteps": 10**9}]
)
def test_unknown_schedules_are_refused(tiny_sd, tmp_path, change):
    folder = copied(tiny_sd, tmp_path)
    edit(folder / "scheduler" / "scheduler_config.json", **change)
    with pytest.raises(UserError, match="scheduler_config"):
        stable_diffusion.load(hub.find(folder), CPU)


# Folders that are not what they should be


def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def edit(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def rewrite(path: Path, change) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def test_old_names_of_tensors_are_understood(sd, tiny_sd, tmp_path):
    """Stable Diffusion's own files: the VAE's attention before diffusers 0.18, CLIP's constant positions."""
    folder = copied(tiny_sd, tmp_path)

    def old_vae(tensors):
        for new, old in (
            (".to_q.", ".query."),
            (".to_k.", ".key."),
            (".to_v.", ".value."),
            (".to_out.0.", ".proj_attn."),
        ):
            for key in [k for k in tensors if new in k]:
                tensors[key.replace(new, old)] = tensors.pop(key)

    def old_clip(tensors):
        for key in [k for k in tensors if not k.startswith("text_model.")]:
            tensors[f"text_model.{key}"] = tensors.pop(key)
        tensors["text_model.embeddings.position_ids"] = torch.arange(24)[None]

    rewrite(folder / "vae" / "diffusion_pytorch_model.safetensors", old_vae)
    rewrite(folder / "text_encoder" / "model.safetensors", old_clip)
    old = stable_diffusion.load(hub.find(folder), CPU)
    pictures = torch.rand((1, 4, 16, 16), generator=torch.Generator().manual_seed(3))
    assert torch.equal(old.encode(pictures), sd.encode(pictures))
    assert torch.equal(old.text_condition(PROMPT).positives.tokens, sd.text_condition(PROMPT).positives.tokens)


def test_the_tokenizers_files_of_old_are_understood(tiny_sd, clip_words, tmp_path):
    """Stable Diffusion's repositories have vocab.json and merges.txt, and 2.x and SDXL pad with "!"."""
    folder = copied(tiny_sd, tmp_path)
    (folder / "tokenizer" / "tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(clip_words / name, folder / "tokenizer" / name)
    limits = {"model_max_length": 24, "tokenizer_class": "CLIPTokenizer"}
    for pad in ("<|endoftext|>", "!"):
        (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(limits | {"pad_token": pad}))
        ids = tokenize(folder, "tokenizer", "CLIPTokenizer", ["a wooden chair"], 24)["input_ids"]
        vocabulary = json.loads((clip_words / "vocab.json").read_text())
        words = ["<|startoftext|>", "a</w>", "wooden</w>", "chair</w>", "<|endoftext|>", *[pad] * 19]
        assert ids.tolist() == [[vocabulary[word] for word in words]]


def test_the_sentence_pieces_of_t5_are_understood(tmp_path):
    """DeepFloyd IF's repository has spiece.model."""
    import sentencepiece

    (tmp_path / "words.txt").write_text("a wooden chair\na chair of wood\nthe front view of a chair\n" * 30)
    (tmp_path / "tokenizer").mkdir()
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "words.txt"),
        model_prefix=str(tmp_path / "tokenizer" / "spiece"),
        vocab_size=40,
        minloglevel=2,
        num_threads=1,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        hard_vocab_limit=False,
    )
    config = {"extra_ids": 0, "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "model_max_length": 512}
    (tmp_path / "tokenizer" / "tokenizer_config.json").write_text(
        json.dumps(config | {"tokenizer_class": "T5Tokenizer"})
    )
    found = tokenize(tmp_path, "tokenizer", "T5Tokenizer", ["a wooden chair"], 77)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "tokenizer" / "spiece.model"))
    wanted = [*pieces.encode("a wooden chair"), 1]
    assert found["input_ids"][0].tolist() == wanted + [0] * (77 - len(wanted))
    assert found["attention_mask"].sum() == len(wanted)


def lose(tensors):
    del tensors["conv_in.weight"]


def gain(tensors):
    tensors["extra.weight"] = torch.zeros(1)


def bend(tensors):
    tensors["conv_in.weight"] = torch.zeros(16, 9, 3, 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [(lose, "lack conv_in.weight"), (gain, "unknown extra.weight"), (bend, "conv_in.weight 16x9x3x3 for 16x4x3x3")],
)
def test_wrong_tensors_are_named(tiny_sd, tmp_path, change, says):
    folder = copied(tiny_sd, tmp_path)
    rewrite(folder / "unet" / "diffusion_pytorch_model.safetensors", change)
    with pytest.raises(UserError, match=says):
        stable_diffusion.load(hub.find(folder), CPU)


@pytest.mark.parametrize(
    ("file", "changes", "says"),
    [
        ("unet/config.json", {"cross_attention_dim": 32}, "the denoiser takes 32"),
        ("unet/config.json", {"cross_attention_dim": [16, 16]}, "no whole number as cross_attention_dim"),
        ("unet/config.json", {"down_block_types": ["NoSuchBlock", "DownBlock2D"]}, "builds no network"),
        ("unet/config.json", {"layers_per_block": 10**9}, "which no prior has"),
        ("unet/config.json", {"sample_size": None}, "no whole number as sample_size"),
        ("vae/config.json", {"latent_channels": 16}, "the VAE makes 16"),
        ("vae/config.json", {"block_out_channels": 3}, "describes no VAE"),
        ("tokenizer/tokenizer.json", {"model": 3}, "cannot be read"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(tiny_sd, tmp_path, file, changes, says):
    folder = copied(tiny_sd, tmp_path)
    edit(folder / file, **changes)
    with pytest.raises(UserError, match=says):
        stable_diffusion.load(hub.find(folder), CPU).text_condition(PROMPT)


def test_a_huge_tokenizer_is_refused(tiny_sd, tmp_path):
    folder = copied(tiny_sd, tmp_path)
    with (folder / "tokenizer" / "tokenizer.json").open("r+b") as file:
        file.truncate(1 << 27)
    with pytest.raises(UserError, match="larger than any tokenizer"):
        stable_diffusion.load(hub.find(folder), CPU).text_condition(PROMPT)


def test_libraries_that_are_absent_are_named(tiny_sd, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(UserError, match=r'pip install "gaussmith\[hub\]"'):
        stable_diffusion.load(hub.find(tiny_sd), CPU)


# The trained part


@pytest.fixture
def fresh(tiny_sd):
    return stable_diffusion.load(hub.find(tiny_sd), CPU)


def test_lora_starts_as_the_prior_and_leaves_it_alone(fresh):
    condition, views = fresh.text_condition(PROMPT), random_orbit(2, torch.Generator().manual_seed(4))
    noisy, t = drawn((2, 4, 8, 8), 10), torch.tensor([0.2, 0.7])
    before = fresh.eps(noisy, t, views, condition)
    lora = attach_lora(fresh, rank=2, seed=3)
    for null, expected in ((False, before.cond), (True, before.null)):
        out = lora.variational_eps(noisy, t, views, condition, null)
        torch.testing.assert_close(out.detach(), expected, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        for tensor in lora.parameters().values():
            tensor.add_(0.1)
    assert not torch.allclose(lora.variational_eps(noisy, t, views, condition), before.cond)
    after = fresh.eps(noisy, t, views, condition)
    assert torch.equal(after.cond, before.cond) and torch.equal(after.null, before.null)


def test_lora_knows_the_camera(fresh):
    lora = attach_lora(fresh)
    condition = fresh.text_condition(PROMPT)
    noisy, t = drawn((1, 4, 8, 8), 11), torch.tensor([0.5])
    with torch.no_grad():
        lora.parameters()["camera.2.weight"].normal_(generator=torch.Generator().manual_seed(5))
    turned = OrbitView(torch.tensor([90.0]), torch.tensor([0.0]))
    a, b = (lora.variational_eps(noisy, t, views, condition) for views in (FRONT, turned))
    assert not torch.allclose(a, b)


def test_lora_gradients_reach_its_tensors_alone_and_training_lowers_the_loss(fresh):
    lora, condition = attach_lora(fresh, seed=1), fresh.text_condition(PROMPT)
    other = attach_lora(fresh, seed=2)
    noisy, t, noise = drawn((2, 4, 8, 8), 12), torch.tensor([0.5, 0.6]), drawn((2, 4, 8, 8), 13)
    optimiser = torch.optim.Adam(lora.parameters().values(), 1e-2)
    losses = []
    for _ in range(15):
        loss = (lora.variational_eps(noisy, t, front(2), condition) - noise).square().mean()
        other.variational_eps(noisy, t, front(2), condition)  # another adapter in between changes nothing
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.01
    assert all(p.grad is None for p in other.parameters().values())
    assert all(p.requires_grad and p.is_leaf for lo in (lora, other) for p in lo.parameters().values())
    # Every base weight stays frozen.
    trained = {id(p) for lo in (lora, other) for p in lo.parameters().values()}
    assert not any(p.requires_grad for p in fresh.unet.parameters() if id(p) not in trained)


def test_lora_weights_come_from_their_seed(tiny_sd):
    torch_state = torch.get_rng_state()
    weights = [attach_lora(stable_diffusion.load(hub.find(tiny_sd), CPU), seed=seed).parameters() for seed in (6, 6, 7)]
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert weights[0].keys() == weights[1].keys() and len(weights[0]) > 10
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert any(not torch.equal(weights[0][k], weights[2][k]) for k in weights[0])


def test_lora_of_sdxl_and_of_halves(sdxl, tiny_sd):
    half = stable_diffusion.load(hub.find(tiny_sd), CPU, torch.bfloat16)
    for prior in (sdxl, half):
        condition = prior.text_condition(PROMPT)
        lora = attach_lora(prior, rank=1)
        assert all(p.dtype == torch.float32 for p in lora.parameters().values())
        out = lora.variational_eps(drawn((1, 4, 8, 8), 14), torch.tensor([0.5]), FRONT, condition)
        slopes = torch.autograd.grad(out.square().sum(), list(lora.parameters().values()))
        assert any(slope.abs().max() > 0 for slope in slopes)


def test_a_long_prompt_keeps_the_words_of_the_view(tiny_sd):
    """24 tokens: two are begin and end, three the view's, and one over the room is lost before them, once for all."""
    events: list[Warned] = []
    texts = Prompts(" ".join(["chair"] * 20)).positives()
    ids = tokenize(tiny_sd, "tokenizer", "CLIPTokenizer", texts, 24, events.append)["input_ids"]
    short = tokenize(tiny_sd, "tokenizer", "CLIPTokenizer", Prompts(" ".join(["chair"] * 19)).positives(), 24)
    assert torch.equal(ids, short["input_ids"]) and len(ids.unique(dim=0)) == 4
    assert [event.message.endswith("cut off: 'chair'") for event in events] == [True]
