"""Pipeline folders of the published shapes with random weights, for where the published weights are not.

What they draw is noise; what they cost is what the published ones cost. `tiny` ones have the same parts, small.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

Size = Literal["full", "tiny"]
Kind = Literal["sd21", "zero123-xl"]
_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
}
_FULL_UNET = {"sample_size": 64, "block_out_channels": (320, 640, 1280, 1280), **_BLOCKS}
_TINY_UNET = {"sample_size": 8, "block_out_channels": (16, 16, 16, 16), "norm_num_groups": 8, "layers_per_block": 1}
_UNETS: dict[tuple[Kind, Size], dict[str, Any]] = {
    ("sd21", "full"): _FULL_UNET
    | {"attention_head_dim": (5, 10, 20, 20), "cross_attention_dim": 1024, "use_linear_projection": True},
    ("sd21", "tiny"): _TINY_UNET | _BLOCKS | {"attention_head_dim": 2, "cross_attention_dim": 16},
    ("zero123-xl", "full"): _FULL_UNET | {"in_channels": 8, "attention_head_dim": 8, "cross_attention_dim": 768},
    ("zero123-xl", "tiny"): _TINY_UNET
    | _BLOCKS
    | {"in_channels": 8, "attention_head_dim": 2, "cross_attention_dim": 16},
}
_TEXT: dict[Size, dict[str, int]] = {
    "full": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16},
    "tiny": {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
}
_LOOK: dict[Size, dict[str, int]] = {
    "full": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
        "projection_dim": 768,
    },
    "tiny": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
        "projection_dim": 16,
    },
}


def unet(kind: Kind, size: Size) -> nn.Module:
    """The denoiser; made on the meta device it has shapes and no weights."""
    import diffusers

    network: nn.Module = diffusers.UNet2DConditionModel(**_UNETS[kind, size])
    return network


def write(home: Path, kind: Kind, size: Size, dtype: torch.dtype = torch.float16) -> Path:
    """Write the folder, unless it is there: `model_index.json`, and each part's configuration and weights."""
    import transformers

    if (home / "model_index.json").is_file():
        return home
    random = torch.Generator().manual_seed(0)

    def part(name: str, make: Callable[[], Any]) -> None:
        with torch.device("meta"):
            module = make()
        (home / name).mkdir(parents=True, exist_ok=True)
        config = module.config.to_dict() if hasattr(module.config, "to_dict") else dict(module.config)
        (home / name / "config.json").write_text(json.dumps(config, default=str))
        weights = {key: _drawn(key, like, random).to(dtype) for key, like in module.state_dict().items()}
        save_file(weights, home / name / "diffusion_pytorch_model.safetensors")

    part("unet", lambda: unet(kind, size))
    # 512 pixels are 64 x 64 latents at full size; the tiny Stable Diffusion's 64 pixels are 8 x 8.
    part("vae", lambda: _vae(size, deep=kind == "zero123-xl"))
    if kind == "sd21":
        words = _words(home / "tokenizer")
        few = {} if size == "full" else {"vocab_size": words, "bos_token_id": 0, "eos_token_id": 1}
        text = transformers.CLIPTextConfig(**_TEXT[size], **few)
        part("text_encoder", lambda: transformers.CLIPTextModel(text))
    else:
        look = transformers.CLIPVisionConfig(**_LOOK[size])
        part("image_encoder", lambda: transformers.CLIPVisionModelWithProjection(look))
        _projection(home / "clip_camera_projection", _LOOK[size]["projection_dim"], dtype, random)
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
    (home / "scheduler").mkdir()
    (home / "scheduler" / "scheduler_config.json").write_text(json.dumps({"prediction_type": "epsilon", **betas}))
    names = {"sd21": "StableDiffusionPipeline", "zero123-xl": "Zero123Pipeline"}
    (home / "model_index.json").write_text(json.dumps({"_class_name": names[kind]}))
    return home


def _vae(size: Size, deep: bool) -> nn.Module:
    import diffusers

    # Zero-1-to-3's pictures have 256 pixels at any size: six tiny levels make 8 x 8 latents of them.
    levels = 4 if size == "full" or not deep else 6
    widths = (128, 256, 512, 512) if size == "full" else (4,) * levels
    network: nn.Module = diffusers.AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=2 if size == "full" else 1,
        norm_num_groups=min(32, widths[0]),
    )
    return network


def _drawn(key: str, like: Tensor, random: torch.Generator) -> Tensor:
    """Weights that keep numbers of one size from layer to layer, so that half precision holds them."""
    if not like.is_floating_point():
        return torch.arange(like.numel()).reshape(like.shape)  # position ids
    if like.ndim < 2:
        return torch.ones(like.shape) if key.endswith("weight") else torch.zeros(like.shape)
    return torch.randn(like.shape, generator=random) / math.sqrt(math.prod(like.shape[1:]))


def _projection(home: Path, width: int, dtype: torch.dtype, random: torch.Generator) -> None:
    home.mkdir()
    (home / "config.json").write_text(json.dumps({"_class_name": "CLIPCameraProjection"}))
    weight = torch.randn(width, width + 4, generator=random) / math.sqrt(width)
    tensors = {"proj.weight": weight.to(dtype), "proj.bias": torch.zeros(width, dtype=dtype)}
    save_file(tensors, home / "diffusion_pytorch_model.safetensors")


def _words(home: Path) -> int:
    """A vocabulary of letters in CLIP's format: a prompt becomes about as many tokens as it has letters. Its size."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pieces = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters), ",</w>"]
    home.mkdir(parents=True, exist_ok=True)
    (home / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (home / "merges.txt").write_text("#version: 0.2\n")
    return len(pieces)
