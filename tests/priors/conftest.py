"""Tiny published pipelines with random weights, saved part by part by diffusers and transformers; once a session.

The pipeline classes themselves are not used: importing them takes longer than all these tests together.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

# diffusers and transformers take seconds to import: only inside what needs them.
WORDS = ["a", "wooden", "chair", "front", "side", "back", "overhead", "view", "ugly", ","]


@pytest.fixture(scope="session")
def clip_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with CLIP's vocab.json and merges.txt: all letters, and the few words that the tests speak."""
    pieces = ["<|startoftext|>", "<|endoftext|>", "!"]  # as in CLIP, the letters alone and ending a word
    pieces += [chr(c) + end for c in range(ord("a"), ord("z") + 1) for end in ("", "</w>")] + [",", ",</w>", "!</w>"]
    merges = []
    for word in WORDS:
        left = word[0]
        for letter in word[1:-1]:
            merges.append((left, letter))
            left += letter
        if len(word) > 1:
            merges.append((left, word[-1] + "</w>"))
    merges = list(dict.fromkeys(merges))
    pieces += list(dict.fromkeys(a + b for a, b in merges))
    folder = tmp_path_factory.mktemp("words")
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(f"{a} {b}" for a, b in merges) + "\n")
    return folder


def save(folder: Path, class_name: str, index: dict, **parts) -> Path:
    """Write the parts as a pipeline of diffusers does."""
    for name, part in parts.items():
        part.save_pretrained(folder / name)
        index[name] = [type(part).__module__.split(".")[0], type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps({"_class_name": class_name, **index}))
    return folder


def seeded(make, seed: int):
    """What `make` builds, its random weights from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def clip_text_config(words: Path, width: int, projection: int = 16):
    import transformers

    count = len(json.loads((words / "vocab.json").read_text()))
    return transformers.CLIPTextConfig(
        vocab_size=count,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=24,
        projection_dim=projection,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )


def unet(seed: int, width: int, **more):
    import diffusers

    settings = {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "block_out_channels": (16, 32),
        "norm_num_groups": 8,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": width,
        "attention_head_dim": 2,
    }
    return seeded(lambda: diffusers.UNet2DConditionModel(**(settings | more)), seed)


def vae(seed: int, **more):
    import diffusers

    settings = {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "sample_size": 16,
        "scaling_factor": 0.18215,
    }
    return seeded(lambda: diffusers.AutoencoderKL(**(settings | more)), seed)


def tokenizer(words: Path, **more):
    import transformers

    return transformers.CLIPTokenizer(
        vocab=str(words / "vocab.json"), merges=str(words / "merges.txt"), model_max_length=24, **more
    )


@pytest.fixture(scope="session")
def tiny_sd(clip_words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion: eps-prediction, scaled-linear betas, safetensors."""
    import diffusers
    import transformers

    folder = tmp_path_factory.mktemp("tiny-sd")
    text = seeded(lambda: transformers.CLIPTextModel(clip_text_config(clip_words, 16)), 1)
    return save(
        folder,
        "StableDiffusionPipeline",
        {"safety_checker": [None, None], "requires_safety_checker": False},
        vae=vae(2),
        text_encoder=text,
        tokenizer=tokenizer(clip_words),
        unet=unet(3, 16),
        scheduler=diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    )


@pytest.fixture(scope="session")
def tiny_sdxl(clip_words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SDXL: two text encoders, pooled text and sizes as added condition, zeros for the empty prompt."""
    import diffusers
    import transformers

    folder = tmp_path_factory.mktemp("tiny-sdxl")
    first = seeded(lambda: transformers.CLIPTextModel(clip_text_config(clip_words, 16)), 4)
    config = clip_text_config(clip_words, 24, projection=12)
    second = seeded(lambda: transformers.CLIPTextModelWithProjection(config), 5)
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    added["projection_class_embeddings_input_dim"] = 6 * 8 + 12
    return save(
        folder,
        "StableDiffusionXLPipeline",
        {"force_zeros_for_empty_prompt": True},
        vae=vae(6, scaling_factor=0.13025, force_upcast=True),
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=tokenizer(clip_words),
        tokenizer_2=tokenizer(clip_words, pad_token="!"),
        unet=unet(7, 40, **added),
        scheduler=diffusers.EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    )


@pytest.fixture(scope="session")
def tiny_if(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DeepFloyd IF stage 1: pixels, learned variance, T5 with a unigram vocabulary."""
    import diffusers
    import transformers

    folder = tmp_path_factory.mktemp("tiny-if")
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -2.0) for word in WORDS)]
    pieces += [("▁", -3.0), *((chr(c), -6.0) for c in range(ord("a"), ord("z") + 1))]
    words = transformers.T5Tokenizer(vocab=pieces, extra_ids=0)
    config = transformers.T5Config(
        vocab_size=len(words), d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    text = seeded(lambda: transformers.T5EncoderModel(config), 8)
    layout = {
        "down_block_types": ("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": ("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        "encoder_hid_dim": 16,
        "addition_embed_type": "text",
        "addition_embed_type_num_heads": 2,
        "resnet_time_scale_shift": "scale_shift",
        "time_embedding_type": "positional",
        "class_embed_type": None,
        "only_cross_attention": False,
        "act_fn": "gelu",
        "attention_head_dim": 8,
    }
    network = unet(9, 16, **layout, in_channels=3, out_channels=6)
    return save(
        folder,
        "IFPipeline",
        {"watermarker": [None, None]},
        tokenizer=words,
        text_encoder=text,
        unet=network,
        scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2", variance_type="learned_range"),
    )
