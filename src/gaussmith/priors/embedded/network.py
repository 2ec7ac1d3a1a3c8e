"""The embedded prior's network: reference picture or caption -> target-view denoiser.

Shape of the method: GeNVS (Chan et al. 2023, arXiv 2304.02602). The reference [4,64,64] is encoded once into a feature
volume over its own frustum; the volume is rendered from the target camera to a 32x32 feature picture; a UNet denoises
the 64x64 RGBA target beside it. The volume's density and colour, brought to the reference's resolution and corrected by
what the reference shows (`volume.pictured`), are seen along 64x64 rays and trained to be the target's RGBA by
themselves, a draft. Geometry is thus learned by direct supervision, and the denoiser corrects a 3D-consistent guess:
pose is obeyed by construction.

A caption is read by a small transformer of our own; its words are further tokens of the denoiser's attention. Without a
reference there is no draft, and the camera is told by its place around the object's own front.

Pictures are premultiplied RGBA scaled to [-1,1]. Times t in [0,1]: x_t = cos(pi t/2) x_0 + sin(pi t/2) eps; the
network predicts v = cos(pi t/2) eps - sin(pi t/2) x_0 (Salimans & Ho 2022), which at t = 1 is -x_0: the terminal
signal-to-noise ratio is exactly zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussmith.accelerator import onto
from gaussmith.priors.embedded.vocabulary import CAPTION_WORDS
from gaussmith.priors.embedded.volume import carved, frustum_coordinates, pictured, render_volume


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network; they travel in the weights file. Without `refiner_widths` the volume is left as the encoder
    makes it."""

    encoder_widths: tuple[int, int, int] = (64, 128, 256)
    denoiser_widths: tuple[int, int, int] = (64, 128, 192)
    encoder_blocks: int = 2
    denoiser_blocks: int = 2
    volume_channels: int = 16
    volume_depth: int = 24
    refiner_widths: tuple[int, ...] = (32, 48)
    ray_steps: int = 32
    embedding: int = 256
    vocabulary: int = 0


@dataclass(frozen=True)
class Encoded:
    """A digested reference: volume [R,D,32,32,C], what is drafted of it [R,D,64,64,4] (see `volume.pictured`), tokens
    [R,64,W], elevation [R] degrees."""

    volume: Tensor
    pictured: Tensor
    tokens: Tensor
    elevation: Tensor


@dataclass(frozen=True)
class Told:
    """What the denoiser is told about B targets.

    Attributes:
        features: [B,C,32,32] and draft: [B,4,64,64], the volumes seen from the targets, see `PriorNetwork`.
        tokens: [B,64,W] of the references.
        pose: [B,6] from `pose_features`: azimuth from the reference's.
        keep: [B] 1 where the reference is given, 0 where it is dropped.
        caption: [B,L] int64 word numbers, 0 for none. keep_caption: [B] as `keep`.
        place: [B,6] from `pose_features`: azimuth from the object's front, with reference elevation 0. It is told
            where there is a caption and no reference; with a reference, nobody knows where the front is.
    """

    features: Tensor
    draft: Tensor
    tokens: Tensor
    pose: Tensor
    keep: Tensor
    caption: Tensor
    keep_caption: Tensor
    place: Tensor

    def blended(self, share: Tensor) -> Told:
        """What R references tell of each of B targets, as one: of B R targets, the R of the first target before those
        of the second. Features and drafts are averaged by share [B,R], which lies with them; the rest is taken from the
        reference with the largest."""
        batch, count = share.shape
        largest = torch.arange(batch, device=share.device) * count + share.argmax(dim=1)
        told = {name: tensor[largest] for name, tensor in vars(self).items()}
        for name in ("features", "draft"):
            seen = getattr(self, name)
            told[name] = torch.einsum("br,brchw->bchw", share, seen.reshape(batch, count, *seen.shape[1:]))
        return Told(**told)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel: no statistics across pixels, quick in channels-last memory."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],), self.weight, self.bias).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Norm, 3x3, modulation by the embedding, SiLU, 3x3, residual; the last convolution starts at zero."""

    def __init__(self, width_in: int, width: int, embedding: int = 0) -> None:
        super().__init__()
        self.norm = ChannelNorm(width_in)
        self.first = nn.Conv2d(width_in, width, 3, padding=1)
        self.modulation = nn.Linear(embedding, 2 * width) if embedding else None
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.skip = nn.Conv2d(width_in, width, 1) if width_in != width else nn.Identity()
        _start_at_zero(self.second)

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.first(self.norm(x))
        if self.modulation is not None:
            scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
            h = torch.addcmul(shift, h, 1 + scale)
        return self.skip(x) + self.second(F.silu(h))


class Attention(nn.Module):
    """Self-attention over the pixels of a coarse picture, which may also look at the reference's tokens."""

    def __init__(self, width: int, reference: bool) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.position = nn.Parameter(torch.randn(64, width) * 0.02)
        self.qkv = nn.Linear(width, 3 * width)
        self.reference = nn.Linear(width, 2 * width) if reference else None
        self.out = nn.Linear(width, width)
        _start_at_zero(self.out)

    def forward(self, x: Tensor, tokens: Tensor | None = None) -> Tensor:
        batch, width, height, columns = x.shape
        h = self.norm(x).flatten(2).transpose(1, 2) + self.position
        q, k, v = self.qkv(h).chunk(3, dim=-1)
        if self.reference is not None:
            k_ref, v_ref = self.reference(tokens).chunk(2, dim=-1)
            k, v = torch.cat([k, k_ref], dim=1), torch.cat([v, v_ref], dim=1)
        heads = width // 64
        q, k, v = (z.reshape(batch, -1, heads, 64).transpose(1, 2) for z in (q, k, v))
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, height * columns, width)
        return x + self.out(h).transpose(1, 2).reshape(batch, width, height, columns)


class CaptionEncoder(nn.Module):
    """Words [B,L] -> tokens [B,L,W], zero where there is no word, and their mean [B,W]: one transformer layer."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary + 1, width)
        self.position = nn.Parameter(torch.randn(CAPTION_WORDS, width) * 0.02)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, caption: Tensor) -> tuple[Tensor, Tensor]:
        there = caption > 0
        x = self.words(caption) + self.position
        # A caption without a word attends to its paddings: what comes out is dropped, but must be finite.
        mask = (there | ~there.any(dim=1, keepdim=True))[:, None, None, :]
        q, k, v = (z[:, None] for z in self.qkv(self.norms[0](x)).chunk(3, dim=-1))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask)[:, 0])
        x = x + self.narrow(F.silu(self.wide(self.norms[1](x))))
        tokens = self.norms[2](x) * there[..., None]
        return tokens, tokens.sum(dim=1) / there.sum(dim=1, keepdim=True).clamp_min(1)


class UNet(nn.Module):
    """Three levels (32, 16, 8 pixels), `blocks` per level each way, attention at the coarsest."""

    def __init__(self, widths: tuple[int, int, int], blocks: int, embedding: int, reference: bool) -> None:
        super().__init__()
        down: list[nn.Module] = []
        up: list[nn.Module] = []
        width, skips = widths[0], []
        for level, w in enumerate(widths):
            for _ in range(blocks):
                down.append(Block(width, w, embedding))
                width = w
                skips.append(w)
            if level < 2:
                down.append(nn.Conv2d(w, w, 3, stride=2, padding=1))
        self.middle = nn.ModuleList([Attention(width, reference), Block(width, width, embedding)])
        self.middle.append(Attention(width, reference))
        for level, w in reversed(list(enumerate(widths))):
            for _ in range(blocks):
                up.append(Block(width + skips.pop(), w, embedding))
                width = w
            if level > 0:
                up.append(nn.Conv2d(w, widths[level - 1], 1))
                width = widths[level - 1]
        self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)

    def forward(
        self, x: Tensor, embedding: Tensor | None = None, tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Features at full and at the coarsest resolution."""
        skips = []
        for layer in self.down:
            if isinstance(layer, Block):
                x = layer(x, embedding)
                skips.append(x)
            else:
                x = layer(x)
        for layer in self.middle:
            x = layer(x, embedding) if isinstance(layer, Block) else layer(x, tokens)
        coarse = x
        for layer in self.up:
            if isinstance(layer, Block):
                x = layer(torch.cat([x, skips.pop()], dim=1), embedding)
            else:
                x = F.interpolate(layer(x), scale_factor=2.0, mode="nearest")
        return x, coarse


class VolumeBlock(nn.Module):
    """`Block` of volumes [R,C,D,H,W], without modulation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = VolumeNorm(width)
        self.first = nn.Conv3d(width, width, 3, padding=1)
        self.second = nn.Conv3d(width, width, 3, padding=1)
        _start_at_zero(self.second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(self.norm(x))))


class VolumeNorm(nn.Module):
    """Layer norm over the channels of each cell, without an offset."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.permute(0, 2, 3, 4, 1), (x.shape[1],), self.weight).permute(0, 4, 1, 2, 3)


class VolumeRefiner(nn.Module):
    """A small UNet in three dimensions that mends the volume [R,C,D,H,W]; it begins as the identity.

    The encoder writes each pixel's column of cells at once, from 64 numbers; here cells see their neighbours in depth.
    """

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.down, self.up, self.blocks, self.back = (nn.ModuleList() for _ in range(4))
        last = channels
        for w in widths:
            self.down.append(nn.Conv3d(last, w, 3, stride=2, padding=1))
            self.blocks.append(VolumeBlock(w))
            self.back.append(VolumeBlock(w))
            self.up.append(nn.Conv3d(w, last, 1))
            last = w
        self.norm = VolumeNorm(channels)
        self.out = nn.Conv3d(channels, channels, 3, padding=1)
        _start_at_zero(self.out)

    def forward(self, x: Tensor) -> Tensor:
        levels = [x]
        for down, block in zip(self.down, self.blocks):
            levels.append(block(down(levels[-1])))
        h = levels.pop()
        for up, back in reversed(list(zip(self.up, self.back))):
            h, finer = up(back(h)), levels.pop()
            h = finer + F.interpolate(h, size=finer.shape[2:], mode="nearest")
        return x + self.out(F.silu(self.norm(h)))


class PriorNetwork(nn.Module):
    """Encoder, volume renderer and denoiser."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        base, coarse = config.encoder_widths[0], config.encoder_widths[2]
        self.encoder_in = nn.Conv2d(16, base, 3, padding=1)
        self.encoder_pose = nn.Linear(3, config.embedding)
        self.encoder = UNet(config.encoder_widths, config.encoder_blocks, config.embedding, reference=False)
        self.volume_norm = ChannelNorm(base)
        self.volume_out = nn.Conv2d(base, config.volume_channels * config.volume_depth, 3, padding=1)
        if config.refiner_widths:
            # torch 2.13 on a CPU gives garbage for the bf16 gradient of a window of 3 over fewer than 3 cells.
            if config.volume_depth < 3 * 2 ** len(config.refiner_widths) - 1:
                raise ValueError(f"a volume of depth {config.volume_depth} cannot be halved {config.refiner_widths}")
            self.refiner = VolumeRefiner(config.volume_channels, config.refiner_widths)
        self.tokens_out = nn.Linear(coarse, config.denoiser_widths[2])
        self.time = nn.Sequential(
            nn.Linear(64 + 7, config.embedding), nn.SiLU(), nn.Linear(config.embedding, config.embedding)
        )
        base = config.denoiser_widths[0]
        self.denoiser_in = nn.Conv2d(16 + config.volume_channels, base, 3, padding=1)
        self.denoiser = UNet(config.denoiser_widths, config.denoiser_blocks, config.embedding, reference=True)
        self.denoiser_norm = ChannelNorm(base)
        self.denoiser_out = nn.Conv2d(base, 16, 3, padding=1)
        _start_at_zero(self.denoiser_out)
        if config.vocabulary:
            self.caption = CaptionEncoder(config.vocabulary, config.denoiser_widths[2])
            self.caption_out = nn.Linear(config.denoiser_widths[2] + 7, config.embedding)
            _start_at_zero(self.caption_out)

    @property
    def dtype(self) -> torch.dtype:
        return self.encoder_in.weight.dtype

    def to_channels_last(self) -> PriorNetwork:
        """Convolution weights in channels-last memory, in place: what CPU and GPU convolutions are quickest with."""
        memory = {4: torch.channels_last, 5: torch.channels_last_3d}
        for p in self.parameters():
            if p.ndim in memory:
                p.data = p.data.contiguous(memory_format=memory[p.ndim])
        return self

    def encode(self, reference: Tensor, elevation: Tensor) -> Encoded:
        """Digest references [R,4,64,64] in [-1,1] taken at elevations [R] degrees."""
        angle = torch.deg2rad(onto(elevation, reference.device))
        pose = torch.stack([angle.sin(), angle.cos(), torch.ones_like(angle)], dim=-1).to(self.dtype)
        x = self.encoder_in(_unshuffle(reference.to(self.dtype)))
        fine, coarse = self.encoder(x, F.silu(self.encoder_pose(pose)))
        columns = self.volume_out(F.silu(self.volume_norm(fine)))
        r, _, h, w = columns.shape
        columns = columns.reshape(r, self.config.volume_depth, self.config.volume_channels, h, w)
        volume = columns.permute(0, 1, 3, 4, 2).contiguous()
        if self.config.refiner_widths:  # its own memory order is channels-last too: no copy
            volume = self.refiner(volume.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
        tokens = self.tokens_out(coarse.flatten(2).transpose(1, 2))
        volume, picture = volume.float(), reference.float() * 0.5 + 0.5
        return Encoded(carved(volume, picture).contiguous(), pictured(volume, picture).contiguous(), tokens, elevation)

    def read(self, references: Tensor, elevation: Tensor) -> Encoded:
        """`encode` as it serves best after the training: the draft is the mean of two opinions, of the pictures and of
        their mirrored negatives, mirrored and inverted back. Where an opinion errs the other often does not, and what
        is too dark in one is too bright in the other. Of the rest, only the pictures' own is kept."""
        count = len(references)
        both = self.encode(torch.cat([references, negative(references).flip(-1)]), elevation.repeat(2))
        plain, other = both.pictured[:count], both.pictured[count:].flip(3)  # columns
        pictured = 0.5 * (plain + torch.cat([other[..., :1], 1 - other[..., 1:]], dim=-1))
        return Encoded(both.volume[:count], pictured, both.tokens[:count], elevation)

    def draft(
        self,
        encoded: Encoded,
        owner: Tensor,
        azimuth: Tensor,
        elevation: Tensor,
        rays: tuple[slice, slice] = (slice(None), slice(None)),
        side: int = 64,
    ) -> Tensor:
        """[B,4,side,side] float32: density and colour of the volumes, as their pictures have them, seen from the target
        cameras; premultiplied RGBA in about [0,1].

        Args:
            owner: [B] int64 index of each target's reference. azimuth (relative), elevation: [B] degrees.
            rays: rows and columns of the picture that are looked along; the result has only these.
        """
        seen = self._seen(encoded.pictured, encoded, owner, azimuth, elevation, side, rays)
        return torch.cat([seen[:, 1:], seen[:, :1]], dim=1)

    def features(self, encoded: Encoded, owner: Tensor, azimuth: Tensor, elevation: Tensor) -> Tensor:
        """[B,C,32,32] float32: all channels of the volumes seen from the target cameras: opacity, premultiplied RGB,
        and what only the denoiser reads."""
        return self._seen(encoded.volume, encoded, owner, azimuth, elevation, 32)

    def _seen(
        self,
        volume: Tensor,
        encoded: Encoded,
        owner: Tensor,
        azimuth: Tensor,
        elevation: Tensor,
        side: int,
        rays: tuple[slice, slice] = (slice(None), slice(None)),
    ) -> Tensor:
        above = encoded.elevation.cpu()[owner.cpu()]
        at = frustum_coordinates(azimuth.cpu(), above, elevation.cpu(), side, self.config.ray_steps, rays)
        return render_volume(volume, onto(at, volume.device), onto(owner, volume.device)).permute(0, 3, 1, 2)

    def tell(
        self,
        encoded: Encoded | None,
        owner: Tensor,
        azimuth: Tensor,
        elevation: Tensor,
        keep: Tensor,
        caption: Tensor,
        keep_caption: Tensor,
        front: Tensor,
    ) -> Told:
        """What is to be told about B targets, the drafts rendered.

        Args:
            encoded: references, or None. owner: [B] int64 index of each target's reference.
            azimuth: [B] degrees from the reference's. front: [B] degrees from the object's front. elevation: [B].
            keep, caption, keep_caption: see `Told`; they lie with the network. The others, and `encoded.elevation`, may
            lie together on the CPU, where the cameras are computed: then a GPU is not waited for.
        """
        place = onto(pose_features(front, torch.zeros_like(front), elevation), keep.device)
        if encoded is None:
            batch, config = len(owner), self.config
            features = torch.zeros(batch, config.volume_channels, 32, 32, device=place.device)
            draft = torch.zeros(batch, 4, 64, 64, device=place.device)
            tokens = torch.zeros(batch, 64, config.denoiser_widths[2], device=place.device, dtype=self.dtype)
            return Told(features, draft, tokens, torch.zeros_like(place), 0 * keep, caption, keep_caption, place)
        features = self.features(encoded, owner, azimuth, elevation)
        draft = self.draft(encoded, owner, azimuth, elevation)
        pose = onto(pose_features(azimuth, encoded.elevation[owner], elevation), keep.device)
        tokens = encoded.tokens[onto(owner, keep.device)]
        return Told(features, draft, tokens, pose, keep, caption, keep_caption, place)

    def denoise(self, noisy: Tensor, t: Tensor, told: Told) -> Tensor:
        """Predict v [B,4,64,64] (float32) of noisy [B,4,64,64] at times t [B] in [0,1]."""
        keep = told.keep
        frequency = torch.exp(torch.linspace(0, math.log(1000.0), 32, device=t.device))
        angle = t[:, None] * frequency
        parts = torch.cat([angle.sin(), angle.cos(), told.pose * keep[:, None], keep[:, None]], dim=1)
        embedding = self.time(parts.to(self.dtype))
        tokens = told.tokens * keep[:, None, None].to(self.dtype)
        if self.config.vocabulary:
            words, summary = self._read(told)
            embedding = embedding + summary
            tokens = torch.cat([tokens, words], dim=1)
        mask = keep[:, None, None, None]
        guess = mask * (told.draft * 2 - 1)
        x = torch.cat([_unshuffle(noisy), told.features * mask], dim=1).to(self.dtype)
        x = self.denoiser_in(x.contiguous(memory_format=torch.channels_last))
        fine, _ = self.denoiser(x, F.silu(embedding), tokens)
        v = F.pixel_shuffle(self.denoiser_out(F.silu(self.denoiser_norm(fine))), 2).float()
        # The draft is already a guess at x0, and v = alpha eps - sigma x0: only what it lacks is left to the UNet.
        return v - torch.sin(t * math.pi / 2)[:, None, None, None] * guess

    def _read(self, told: Told) -> tuple[Tensor, Tensor]:
        """Tokens [B,L,W] of the captions that are given, and what they add to the embedding [B,E]."""
        given = told.keep_caption[:, None]
        words, mean = self.caption(told.caption)
        place = torch.cat([told.place, torch.ones_like(given)], dim=1) * (1 - told.keep[:, None])
        summary = self.caption_out(torch.cat([mean, place.to(self.dtype)], dim=1)) * given.to(self.dtype)
        return words * given[:, :, None].to(self.dtype), summary


def negative(pictures: Tensor) -> Tensor:
    """Premultiplied RGBA [B,4,H,W] in [-1,1] with inverted colours."""
    alpha = pictures[:, 3:]
    return torch.cat([alpha - pictures[:, :3] - 1, alpha], dim=1)


def _start_at_zero(layer: nn.Module) -> None:
    """The layer adds nothing until it has learned something."""
    for p in layer.parameters():
        nn.init.zeros_(p)


def pose_features(azimuth: Tensor, reference_elevation: Tensor, elevation: Tensor) -> Tensor:
    """[B,6] smooth features of the relative pose from degrees [B]."""
    a, r, e = (torch.deg2rad(x) for x in (azimuth, reference_elevation, elevation))
    return torch.stack([a.sin(), a.cos(), (2 * a).cos(), r.sin(), e.sin(), (e - r).sin()], dim=-1)


def _unshuffle(x: Tensor) -> Tensor:
    return F.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
