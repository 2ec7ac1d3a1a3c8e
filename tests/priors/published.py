"""The published networks without torch modules: the names and shapes of their tensors, and a slow forward over them.

Both follow the public definitions, written anew as plain loops:
- names and shapes: the constructor of MultiViewUNetModel in ashawkey/mvdream_diffusers (mv_unet.py), with the settings
  of bytedance/MVDream's mvdream/configs/sd-v2-base.yaml and of ImageDream's sd_v2_base_ipmv.yaml (which thu-ml/CRM
  ships); for Zero-1-to-3 cvlab-columbia/zero123's sd-objaverse-finetune-c_concat-256.yaml, in the names to which
  kxhit/zero123-hf's scripts/convert_zero123_to_diffusers.py turns them.
- forward: the same files' forward functions.
`python tests/priors/published.py` writes the manifests anew.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import torch
import torch.nn.functional as F

Shapes = dict[str, list[int]]
MANIFESTS = Path(__file__).with_name("manifests")


def _layer(name: str, *shape: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": list(shape)} | ({f"{name}.bias": [shape[0]]} if bias else {})


def _res(name: str, channels: int, out: int, embed: int) -> Shapes:
    keys = _layer(f"{name}.in_layers.0", channels) | _layer(f"{name}.in_layers.2", out, channels, 3, 3)
    keys |= _layer(f"{name}.emb_layers.1", out, embed)
    keys |= _layer(f"{name}.out_layers.0", out) | _layer(f"{name}.out_layers.3", out, out, 3, 3)
    return keys | (_layer(f"{name}.skip_connection", out, channels, 1, 1) if out != channels else {})


def _attention(name: str, dim: int, context: int, linear: bool, image: bool) -> Shapes:
    outer = (dim, dim) if linear else (dim, dim, 1, 1)
    keys = _layer(f"{name}.norm", dim) | _layer(f"{name}.proj_in", *outer)
    block = f"{name}.transformer_blocks.0"
    for attention, seen in (("attn1", dim), ("attn2", context)):
        for leaf, width in (("to_q", dim), ("to_k", seen), ("to_v", seen)):
            keys |= _layer(f"{block}.{attention}.{leaf}", dim, width, bias=False)
        keys |= _layer(f"{block}.{attention}.to_out.0", dim, dim)
    for leaf in ("to_k_ip", "to_v_ip") if image else ():
        keys |= _layer(f"{block}.attn2.{leaf}", dim, context, bias=False)
    keys |= _layer(f"{block}.ff.net.0.proj", 8 * dim, dim) | _layer(f"{block}.ff.net.2", dim, 4 * dim)
    for norm in ("norm1", "norm2", "norm3"):
        keys |= _layer(f"{block}.{norm}", dim)
    return keys | _layer(f"{name}.proj_out", *outer)


def _resampler(context: int, tokens: int) -> Shapes:
    keys: Shapes = {"image_embed.latents": [1, tokens, context]}
    keys |= _layer("image_embed.proj_in", context, 1280) | _layer("image_embed.proj_out", context, context)
    keys |= _layer("image_embed.norm_out", context)
    for i in range(4):
        gather, mlp = f"image_embed.layers.{i}.0", f"image_embed.layers.{i}.1"
        keys |= _layer(f"{gather}.norm1", context) | _layer(f"{gather}.norm2", context)
        keys |= _layer(f"{gather}.to_q", 768, context, bias=False) | _layer(
            f"{gather}.to_kv", 1536, context, bias=False
        )
        keys |= _layer(f"{gather}.to_out", context, 768, bias=False)
        keys |= _layer(f"{mlp}.0", context) | _layer(f"{mlp}.1", 4 * context, context, bias=False)
        keys |= _layer(f"{mlp}.3", context, 4 * context, bias=False)
    return keys


def ldm_unet(
    in_channels: int,
    context: int,
    linear: bool,
    camera: int = 0,
    tokens: int = 0,
    base: int = 320,
    mults: tuple[int, ...] = (1, 2, 4, 4),
    blocks: int = 2,
    attends: int = 3,
) -> Shapes:
    """Names and shapes of latent diffusion's UNet; attention on the first `attends` levels."""
    embed, image, last = 4 * base, tokens > 0, len(mults) - 1
    keys = _resampler(context, tokens) if tokens else {}
    for name, width in (("time_embed", base), ("camera_embed", camera)):
        if width:
            keys |= _layer(f"{name}.0", embed, width) | _layer(f"{name}.2", embed, embed)
    keys |= _layer("input_blocks.0.0", base, in_channels, 3, 3)
    channels, skips, index = base, [base], 1
    for level, mult in enumerate(mults):
        for _ in range(blocks):
            keys |= _res(f"input_blocks.{index}.0", channels, base * mult, embed)
            channels = base * mult
            if level < attends:
                keys |= _attention(f"input_blocks.{index}.1", channels, context, linear, image)
            skips.append(channels)
            index += 1
        if level < last:
            keys |= _layer(f"input_blocks.{index}.0.op", channels, channels, 3, 3)
            skips.append(channels)
            index += 1
    keys |= _res("middle_block.0", channels, channels, embed) | _res("middle_block.2", channels, channels, embed)
    keys |= _attention("middle_block.1", channels, context, linear, image)
    index = 0
    for level in range(last, -1, -1):
        for i in range(blocks + 1):
            keys |= _res(f"output_blocks.{index}.0", channels + skips.pop(), base * mults[level], embed)
            channels = base * mults[level]
            if level < attends:
                keys |= _attention(f"output_blocks.{index}.1", channels, context, linear, image)
            if level and i == blocks:
                keys |= _layer(f"output_blocks.{index}.{2 if level < attends else 1}.conv", channels, channels, 3, 3)
            index += 1
    return keys | _layer("out.0", base) | _layer("out.2", 4, base, 3, 3)


_RES_NAMES = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_TOP_NAMES = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "middle_block.0": "mid_block.resnets.0",
    "middle_block.1": "mid_block.attentions.0",
    "middle_block.2": "mid_block.resnets.1",
}


def diffusers_name(key: str, blocks: int = 2) -> str:
    """What diffusers' UNet2DConditionModel calls a tensor of latent diffusion's UNet with `blocks` a level."""
    for old, new in _TOP_NAMES.items():
        if key.startswith(old + "."):
            key = new + key.removeprefix(old)
    match = re.fullmatch(r"(input|output)_blocks\.(\d+)\.(\d)\.(.*)", key)
    if match:
        side, index, layer, rest = match[1], int(match[2]), int(match[3]), match[4]
        level, i = divmod(index - 1 if side == "input" else index, blocks + 1)
        where = f"{'down' if side == 'input' else 'up'}_blocks.{level}"
        if rest.startswith("op."):
            key = f"{where}.downsamplers.0.conv.{rest.removeprefix('op.')}"
        elif rest.startswith("conv."):
            key = f"{where}.upsamplers.0.{rest}"
        else:
            key = f"{where}.{('resnets', 'attentions')[layer]}.{i}.{rest}"
    if ".resnets." in key:
        for old, new in _RES_NAMES.items():
            key = key.replace(f".{old}.", f".{new}.")
    return key


Weights = dict[str, torch.Tensor]


def _has(w: Weights, name: str) -> bool:
    return any(key.startswith(name + ".") for key in w)


def _linear(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    weight = w[f"{name}.weight"]
    return x @ weight.flatten(1).T + w.get(f"{name}.bias", torch.zeros(len(weight)))


def _conv(w: Weights, name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)


def _norm(w: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return centred / scale * w[f"{name}.weight"] + w[f"{name}.bias"]


def _group_norm(w: Weights, name: str, x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    out = torch.empty_like(x)
    for group in torch.arange(x.shape[1]).chunk(32):
        part = x[:, group]
        mean = part.mean((1, 2, 3), keepdim=True)
        out[:, group] = (part - mean) / ((part - mean).square().mean((1, 2, 3), keepdim=True) + eps).sqrt()
    return out * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    """[Q,C], [K,C], [K,C] -> [Q,C], head by head."""
    outs = []
    for part in torch.arange(q.shape[1]).chunk(heads):
        scores = (q[:, part] / math.sqrt(len(part))) @ k[:, part].T
        shares = (scores - scores.max(-1, keepdim=True).values).exp()
        outs.append(shares / shares.sum(-1, keepdim=True) @ v[:, part])
    return torch.cat(outs, -1)


def _res_block(w: Weights, name: str, x: torch.Tensor, embed: torch.Tensor) -> torch.Tensor:
    h = _conv(w, f"{name}.in_layers.2", F.silu(_group_norm(w, f"{name}.in_layers.0", x)))
    h = h + _linear(w, f"{name}.emb_layers.1", F.silu(embed))[:, :, None, None]
    h = _conv(w, f"{name}.out_layers.3", F.silu(_group_norm(w, f"{name}.out_layers.0", h)))
    return h + (_conv(w, f"{name}.skip_connection", x) if _has(w, f"{name}.skip_connection") else x)


def _transformer(
    w: Weights, name: str, x: torch.Tensor, words: torch.Tensor, image: torch.Tensor | None, views: int, heads: int
) -> torch.Tensor:
    n, c, height, width = x.shape
    tokens = _group_norm(w, f"{name}.norm", x, 1e-6).permute(0, 2, 3, 1).reshape(n, height * width, c)
    tokens = _linear(w, f"{name}.proj_in", tokens)
    block = f"{name}.transformer_blocks.0"
    normed = _norm(w, f"{block}.norm1", tokens)
    attended = torch.empty_like(tokens)
    for first in range(0, n, views):  # every token of a group's views sees every other
        group = torch.cat([normed[first + i] for i in range(views)])
        q, k, v = (_linear(w, f"{block}.attn1.{leaf}", group) for leaf in ("to_q", "to_k", "to_v"))
        for i, part in enumerate(_attend(q, k, v, heads).chunk(views)):
            attended[first + i] = part
    tokens = tokens + _linear(w, f"{block}.attn1.to_out.0", attended)
    normed = _norm(w, f"{block}.norm2", tokens)
    attended = torch.empty_like(tokens)
    for i in range(n):
        q = _linear(w, f"{block}.attn2.to_q", normed[i])
        k, v = (_linear(w, f"{block}.attn2.{leaf}", words[i]) for leaf in ("to_k", "to_v"))
        attended[i] = _attend(q, k, v, heads)
        if image is not None:
            k, v = (_linear(w, f"{block}.attn2.{leaf}", image[i]) for leaf in ("to_k_ip", "to_v_ip"))
            attended[i] += _attend(q, k, v, heads)
    tokens = tokens + _linear(w, f"{block}.attn2.to_out.0", attended)
    value, gate = _linear(w, f"{block}.ff.net.0.proj", _norm(w, f"{block}.norm3", tokens)).chunk(2, -1)
    tokens = tokens + _linear(w, f"{block}.ff.net.2", value * (gate * 0.5 * (1 + torch.erf(gate / math.sqrt(2)))))
    return x + _linear(w, f"{name}.proj_out", tokens).reshape(n, height, width, c).permute(0, 3, 1, 2)


def resample(w: Weights, features: torch.Tensor, heads: int) -> torch.Tensor:
    """ImageDream's picture tokens [T,D] of one picture's CLIP patches [P,E]."""
    features = _linear(w, "image_embed.proj_in", features)
    latents = w["image_embed.latents"][0]
    for i in range(sum(key.endswith("0.to_kv.weight") for key in w)):
        gather, mlp = f"image_embed.layers.{i}.0", f"image_embed.layers.{i}.1"
        normed = _norm(w, f"{gather}.norm2", latents)
        both = torch.cat([_norm(w, f"{gather}.norm1", features), normed])
        k, v = _linear(w, f"{gather}.to_kv", both).chunk(2, -1)
        latents = latents + _linear(w, f"{gather}.to_out", _attend(_linear(w, f"{gather}.to_q", normed), k, v, heads))
        latents = latents + _linear(w, f"{mlp}.3", F.gelu(_linear(w, f"{mlp}.1", _norm(w, f"{mlp}.0", latents))))
    return _norm(w, "image_embed.norm_out", _linear(w, "image_embed.proj_out", latents))


def forward(
    w: Weights,
    x: torch.Tensor,
    t: torch.Tensor,
    words: torch.Tensor,
    heads_of: dict[int, int],
    camera: torch.Tensor | None = None,
    views: int = 1,
    image: torch.Tensor | None = None,
) -> torch.Tensor:
    """The UNet over a state dict with latent diffusion's names. heads_of: channels -> heads."""
    base = w["time_embed.0.weight"].shape[1]
    angles = [[float(s) * 10000 ** (-2 * i / base) for i in range(base // 2)] for s in t]
    time = torch.tensor([[math.cos(a) for a in row] + [math.sin(a) for a in row] for row in angles])
    embed = _linear(w, "time_embed.2", F.silu(_linear(w, "time_embed.0", time)))
    if camera is not None:
        embed = embed + _linear(w, "camera_embed.2", F.silu(_linear(w, "camera_embed.0", camera)))

    def stage(name: str, h: torch.Tensor) -> torch.Tensor:
        for j in range(3):
            layer = f"{name}.{j}"
            if _has(w, f"{layer}.in_layers"):
                h = _res_block(w, layer, h, embed)
            elif _has(w, f"{layer}.transformer_blocks"):
                h = _transformer(w, layer, h, words, image, views, heads_of[h.shape[1]])
            elif _has(w, f"{layer}.op"):
                h = _conv(w, f"{layer}.op", h, stride=2)
            elif _has(w, f"{layer}.conv"):
                h = _conv(w, f"{layer}.conv", h.repeat_interleave(2, 2).repeat_interleave(2, 3))
            elif _has(w, layer):
                h = _conv(w, layer, h)
        return h

    skips = []
    for i in range(len({key.split(".")[1] for key in w if key.startswith("input_blocks.")})):
        x = stage(f"input_blocks.{i}", x)
        skips.append(x)
    x = stage("middle_block", x)
    for i in range(len(skips)):
        x = stage(f"output_blocks.{i}", torch.cat([x, skips.pop()], 1))
    return _conv(w, "out.2", F.silu(_group_norm(w, "out.0", x)))


def manifests() -> dict[str, dict[str, Shapes]]:
    """The full-size networks: file -> part -> names and shapes."""
    zero = {diffusers_name(key): shape for key, shape in ldm_unet(8, 768, linear=False).items()}
    return {
        "zero123": {"unet": zero, "clip_camera_projection": _layer("proj", 768, 772)},
        "mvdream": {"unet": ldm_unet(4, 1024, linear=True, camera=16)},
        "imagedream": {"unet": ldm_unet(4, 1024, linear=True, camera=16, tokens=16)},
    }


if __name__ == "__main__":
    for name, parts in manifests().items():
        lines = [
            f'  "{part}": {{\n' + ",\n".join(f'    "{k}": {json.dumps(v)}' for k, v in sorted(keys.items())) + "\n  }"
            for part, keys in parts.items()
        ]
        (MANIFESTS / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
