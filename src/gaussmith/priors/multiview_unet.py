"""The denoiser of MVDream and ImageDream: Stable Diffusion's UNet whose self-attention joins the views of an object.

Names and shapes follow the published weights (MVDream: Shi et al. 2023, ashawkey/mvdream-sd2.1-diffusers; ImageDream:
Wang & Shi 2023, ashawkey/imagedream-ipmv-diffusers), so that they load with no missing and no unexpected key. Batches
are G groups of V views each, view after view: N = G V. Needs torch alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussmith.events import UserError

# Options of the published constructor that neither published model uses; where they are set, this is another network.
_UNUSED = (
    "num_classes",
    "n_embed",
    "num_attention_blocks",
    "adm_in_channels",
    "use_scale_shift_norm",
    "resblock_updown",
)
_MAX_WIDTH = 1 << 14  # of any layer, and _MAX_COUNT of any kind of layer: a configuration comes from outside
_MAX_COUNT = 64


@dataclass(frozen=True)
class MultiViewConfig:
    """Sizes of the network; the defaults are MVDream's, with the keys of its config.json.

    Attributes:
        camera_dim: numbers that describe a camera; 16 for a flattened 4x4 matrix.
        attention_resolutions: downsampling factors at which there is attention.
        ip_dim: tokens that the reference picture becomes: 16 for ImageDream, 0 for none.
        ip_weight: how much the attention to them counts.
        resampler_heads, resampler_depth, image_dim: of the network that makes the tokens; fixed in the published code.
    """

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    num_res_blocks: int = 2
    attention_resolutions: tuple[int, ...] = (4, 2, 1)
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_head_channels: int = 64
    transformer_depth: int = 1
    context_dim: int = 1024
    camera_dim: int = 16
    ip_dim: int = 0
    ip_weight: float = 1.0
    resampler_heads: int = 12
    resampler_depth: int = 4
    image_dim: int = 1280

    @property
    def embed_dim(self) -> int:
        """Width of the embedding of time and camera."""
        return 4 * self.model_channels


def read_config(content: Mapping[str, Any], where: str) -> MultiViewConfig:
    """The sizes in a published config.json; `UserError`, naming `where`, if it describes no such network."""
    if content.get("_class_name", "MultiViewUNetModel") != "MultiViewUNetModel":
        raise UserError(f"{where} describes a {str(content['_class_name'])[:60]}, not MVDream's MultiViewUNetModel")
    if used := [key for key in _UNUSED if content.get(key)]:
        raise UserError(f"{where} sets {used[0]}, which no published MVDream or ImageDream does; check the folder")
    known = {f.name: f.default for f in fields(MultiViewConfig)}
    values: dict[str, Any] = {k: v for k, v in content.items() if k in known and v is not None}
    for key, value in values.items():
        many = isinstance(known[key], tuple)
        numbers = value if many and isinstance(value, list | tuple) and value else [value]
        least, most = (1, _MAX_COUNT) if many or key in ("num_res_blocks", "transformer_depth") else (0, _MAX_WIDTH)
        kind = int if many or isinstance(known[key], int) else (int, float)
        if many != (numbers is value) or not all(
            isinstance(v, kind) and not isinstance(v, bool) and least <= v <= most for v in numbers
        ):
            raise UserError(f"{where} has {key} = {str(value)[:60]}, which no such network has; check the folder")
        values[key] = tuple(value) if many else value
    config = MultiViewConfig(**values)
    widths = [config.model_channels * m for m in config.channel_mult]
    if any(w == 0 or w % 32 or w % max(config.num_head_channels, 1) for w in widths) or not config.num_head_channels:
        raise UserError(f"{where} has layers of {widths} channels, which do not divide into heads and groups of 32")
    return config


def timestep_embedding(t: Tensor, dim: int) -> Tensor:
    """[N] network steps to [N,dim]: cosines, then sines, of t 10000^(-i / (dim / 2)) (Vaswani et al. 2017)."""
    half = dim // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32, device=t.device) * (-math.log(10000) / half))
    angle = t.float()[:, None] * rates
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


class MultiViewUNet(nn.Module):
    """Predicts the noise in the views of an object together."""

    def __init__(self, config: MultiViewConfig) -> None:
        super().__init__()
        self.config = config
        width = config.model_channels
        if config.ip_dim:
            self.image_embed = Resampler(config)
        self.time_embed = _mlp(width, config.embed_dim)
        self.camera_embed = _mlp(config.camera_dim, config.embed_dim)
        self.input_blocks = nn.ModuleList([_Stage([nn.Conv2d(config.in_channels, width, 3, padding=1)])])
        skips, channels, last = [width], width, len(config.channel_mult) - 1
        for level, mult in enumerate(config.channel_mult):
            for _ in range(config.num_res_blocks):
                self.input_blocks.append(_Stage(_layers(config, channels, mult * width, level)))
                channels = mult * width
                skips.append(channels)
            if level < last:
                self.input_blocks.append(_Stage([_Downsample(channels)]))
                skips.append(channels)
        attention = _SpatialTransformer(config, channels)
        self.middle_block = _Stage([_ResBlock(config, channels), attention, _ResBlock(config, channels)])
        self.output_blocks = nn.ModuleList()
        for level, mult in reversed(list(enumerate(config.channel_mult))):
            for i in range(config.num_res_blocks + 1):
                layers = _layers(config, channels + skips.pop(), mult * width, level)
                channels = mult * width
                if level and i == config.num_res_blocks:
                    layers.append(_Upsample(channels))
                self.output_blocks.append(_Stage(layers))
        self.out = nn.Sequential(
            nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(width, config.out_channels, 3, padding=1)
        )

    def image_tokens(self, features: Tensor) -> Tensor:
        """What the cross-attention sees of a picture: CLIP patches [B,P,image_dim] -> tokens [B,ip_dim,context_dim]."""
        return self.image_embed(features)

    def forward(
        self, x: Tensor, t: Tensor, text: Tensor, camera: Tensor, views: int, image: Tensor | None = None
    ) -> Tensor:
        """The noise [N,4,h,w] in latents x [N,4,h,w], N = groups x views.

        Args:
            t: [N] network steps. text: [N,L,context_dim] embedded words.
            camera: [N,camera_dim] flattened matrices; zeros for ImageDream's reference view.
            views: how many views look at each other; group after group.
            image: [N,ip_dim,context_dim] from `image_tokens`, exactly if the network has ip_dim.
        """
        if x.shape[0] % views or (image is None) == bool(self.config.ip_dim):
            raise ValueError(f"{x.shape[0]} views do not divide into groups of {views}, or image tokens do not fit")
        time = timestep_embedding(t, self.config.model_channels).to(x.dtype)
        embed = self.time_embed(time) + self.camera_embed(camera.to(x.dtype))
        seen = _Seen(embed, text, image, views)
        skips = []
        for stage in self.input_blocks:
            x = stage(x, seen)
            skips.append(x)
        x = self.middle_block(x, seen)
        for stage in self.output_blocks:
            x = stage(torch.cat([x, skips.pop()], dim=1), seen)
        return self.out(x)


@dataclass(frozen=True)
class _Seen:
    """What every layer is told beside its input: embed [N,E], text [N,L,D], image [N,T,D] or None, views a group."""

    embed: Tensor
    text: Tensor
    image: Tensor | None
    views: int


class _Stage(nn.ModuleList):
    """Layers one after the other, each told what it wants to know."""

    def forward(self, x: Tensor, seen: _Seen) -> Tensor:
        for layer in self:
            x = layer(x, seen) if isinstance(layer, _ResBlock | _SpatialTransformer) else layer(x)
        return x


def _layers(config: MultiViewConfig, channels: int, out: int, level: int) -> list[nn.Module]:
    attends = 2**level in config.attention_resolutions
    return [_ResBlock(config, channels, out), *([_SpatialTransformer(config, out)] if attends else [])]


def _mlp(dim: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, out), nn.SiLU(), nn.Linear(out, out))


class _Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class _Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class _ResBlock(nn.Module):
    """Two convolutions; the embedding of time and camera is added in between."""

    def __init__(self, config: MultiViewConfig, channels: int, out: int | None = None) -> None:
        super().__init__()
        out = channels if out is None else out
        self.in_layers = nn.Sequential(nn.GroupNorm(32, channels), nn.SiLU(), nn.Conv2d(channels, out, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(config.embed_dim, out))
        # The place of the dropout is kept: it counts in the published names.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, out), nn.SiLU(), nn.Identity(), nn.Conv2d(out, out, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if out == channels else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor, seen: _Seen) -> Tensor:
        hidden = self.in_layers(x) + self.emb_layers(seen.embed)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(hidden)


class _SpatialTransformer(nn.Module):
    """Pixels as tokens."""

    def __init__(self, config: MultiViewConfig, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.transformer_blocks = nn.ModuleList(_Block(config, channels) for _ in range(config.transformer_depth))
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, seen: _Seen) -> Tensor:
        tokens = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for block in self.transformer_blocks:
            tokens = block(tokens, seen)
        return x + self.proj_out(tokens).transpose(1, 2).reshape(x.shape)


class _Block(nn.Module):
    """Attention over all tokens of a group's views, then of each view to its words and picture, then a gated MLP."""

    def __init__(self, config: MultiViewConfig, dim: int) -> None:
        super().__init__()
        heads = dim // config.num_head_channels
        self.attn1 = _Attention(dim, dim, heads)
        self.attn2 = _Attention(dim, config.context_dim, heads, config.ip_weight if config.ip_dim else None)
        self.ff = _FeedForward(dim)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, x: Tensor, seen: _Seen) -> Tensor:
        joined = self.norm1(x).reshape(x.shape[0] // seen.views, -1, x.shape[2])
        x = x + self.attn1(joined, joined).reshape(x.shape)
        x = x + self.attn2(self.norm2(x), seen.text, seen.image)
        return x + self.ff(self.norm3(x))


class _FeedForward(nn.Module):
    def __init__(self, dim: int, mult: int = 4) -> None:
        super().__init__()
        gated = nn.ModuleDict({"proj": nn.Linear(dim, 2 * mult * dim)})
        self.net = nn.ModuleList([gated, nn.Identity(), nn.Linear(mult * dim, dim)])

    def forward(self, x: Tensor) -> Tensor:
        gated, _, down = self.net
        value, gate = gated["proj"](x).chunk(2, dim=-1)  # type: ignore[index]
        return down(value * F.gelu(gate))


class _Attention(nn.Module):
    """Multi-head attention; with `image_weight`, to picture tokens too, by keys of their own and added (IP-Adapter)."""

    def __init__(self, dim: int, context: int, heads: int, image_weight: float | None = None) -> None:
        super().__init__()
        self.heads, self.image_weight = heads, image_weight
        self.to_q = nn.Linear(dim, dim, bias=False)
        self.to_k, self.to_v = nn.Linear(context, dim, bias=False), nn.Linear(context, dim, bias=False)
        if image_weight is not None:
            self.to_k_ip, self.to_v_ip = nn.Linear(context, dim, bias=False), nn.Linear(context, dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(dim, dim))

    def forward(self, x: Tensor, context: Tensor, image: Tensor | None = None) -> Tensor:
        query = self.to_q(x)
        out = attend(query, self.to_k(context), self.to_v(context), self.heads)
        if self.image_weight is not None and image is not None:
            out = out + self.image_weight * attend(query, self.to_k_ip(image), self.to_v_ip(image), self.heads)
        return self.to_out(out)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """softmax(q k^T / sqrt(d)) v in `heads` equal parts of the channels, without the matrix in memory: [B,Q,C]."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class Resampler(nn.Module):
    """A few learned tokens that gather what matters of a picture's CLIP patches (IP-Adapter Plus, Ye et al. 2023)."""

    def __init__(self, config: MultiViewConfig) -> None:
        super().__init__()
        dim, inner = config.context_dim, config.resampler_heads * 64
        self.latents = nn.Parameter(torch.zeros(1, config.ip_dim, dim))
        self.proj_in, self.proj_out = nn.Linear(config.image_dim, dim), nn.Linear(dim, dim)
        self.norm_out = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(
            nn.ModuleList([_Gather(dim, inner, config.resampler_heads), _plain_mlp(dim)])
            for _ in range(config.resampler_depth)
        )

    def forward(self, features: Tensor) -> Tensor:
        """[B,P,image_dim] -> [B,ip_dim,context_dim]."""
        features = self.proj_in(features)
        latents = self.latents.expand(features.shape[0], -1, -1)
        for gather, mlp in cast("list[tuple[nn.Module, nn.Module]]", self.layers):
            latents = latents + gather(features, latents)
            latents = latents + mlp(latents)
        return self.norm_out(self.proj_out(latents))


def _plain_mlp(dim: int) -> nn.Sequential:
    up, down = nn.Linear(dim, 4 * dim, bias=False), nn.Linear(4 * dim, dim, bias=False)
    return nn.Sequential(nn.LayerNorm(dim), up, nn.GELU(), down)


class _Gather(nn.Module):
    """Attention from the latents to the picture and to the latents themselves."""

    def __init__(self, dim: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.to_q, self.to_kv = nn.Linear(dim, inner, bias=False), nn.Linear(dim, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, dim, bias=False)

    def forward(self, features: Tensor, latents: Tensor) -> Tensor:
        latents = self.norm2(latents)
        key, value = self.to_kv(torch.cat([self.norm1(features), latents], dim=1)).chunk(2, dim=-1)
        return self.to_out(attend(self.to_q(latents), key, value, self.heads))
