"""Rendering of the reference's feature volume from a target camera.

The encoder turns the reference picture into a volume over the reference camera's own frustum, axes (depth, row,
column). A target ray is marched through it: channel 0 is a density, the others are composited front to back. This is
the conditioning of GeNVS (Chan et al. 2023, arXiv 2304.02602, section 3.1) on a frustum-aligned volume.

Two implementations of one function: Numba kernels for CPU tensors (torch's 3D grid_sample is several times slower
there, and training lives on it), torch operations for every other device and as the oracle of the tests.
"""

from __future__ import annotations

import math

import numba as nb
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gaussmith.camera import DEFAULT_RADIUS, PRIOR_FOVY, orbit
from gaussmith.threads import run

HALF_DEPTH = 0.65  # the volume covers camera depths 2 -+ 0.65: the bounding sphere and a margin of one cell
STRIPES = 8  # turns into which the rays of a picture are cut
UNSEEN = 1e-6  # share of a pixel that is left out
DENSITY_SHIFT = 1.0  # softplus(raw - 1): an untrained volume starts thin enough for light to reach its back
OPTICAL_DEPTH = 8.0  # of a ray through a volume of density 1
BACKGROUND = 0.1  # alpha up to which a pixel of the reference shows nothing of the object
EMPTY = -7.0  # raw density of what is known to be empty: e^-8, of which a whole ray sees 0.003


def frustum_coordinates(
    azimuth: Tensor,
    reference_elevation: Tensor,
    elevation: Tensor,
    side: int,
    steps: int,
    rays: tuple[slice, slice] = (slice(None), slice(None)),
) -> Tensor:
    """Where the samples of the target rays lie in the reference frustum.

    Args:
        azimuth, reference_elevation, elevation: [B] degrees; azimuth is relative to the reference.
        side: rays per picture side. steps: samples per ray, midpoints of equal depth intervals.
        rays: rows and columns of the picture that are looked along, h and w of them.

    Returns:
        [B,h,w,steps,3] coordinates (column, row, depth), each in [-1,1] inside the frustum.
    """
    reference = orbit(torch.zeros_like(azimuth), reference_elevation, DEFAULT_RADIUS, PRIOR_FOVY, side)
    target = orbit(azimuth, elevation, DEFAULT_RADIUS, PRIOR_FOVY, side)
    origin, direction = target.rays()
    w2c = reference.w2c
    start = torch.einsum("bij,bj->bi", w2c[:, :3, :3], origin) + w2c[:, :3, 3]
    heading = torch.einsum("bij,bhwj->bhwi", w2c[:, :3, :3], direction[:, rays[0], rays[1]])
    points = start[:, None, None, None] + heading[:, :, :, None] * sample_depths(steps)[:, None]
    tangent = math.tan(math.radians(PRIOR_FOVY) / 2)
    z = points[..., 2:].clamp_min(1e-3)
    points[..., :2] /= z * tangent
    points[..., 2] = (points[..., 2] - DEFAULT_RADIUS) / HALF_DEPTH
    return points


def sample_depths(steps: int) -> Tensor:
    """Camera depths [steps] of a ray's samples: midpoints of equal intervals."""
    return DEFAULT_RADIUS + HALF_DEPTH * ((torch.arange(steps) + 0.5) / steps * 2 - 1)


def carved(volume: Tensor, picture: Tensor) -> Tensor:
    """The volumes [R,D,H,W,C], empty where their own pictures [R,4,2H,2W], premultiplied RGBA in [0,1], show background
    for a cell around."""
    there = F.max_pool2d(picture[:, 3], 6, 2, padding=2)[:, None, :, :, None] > BACKGROUND
    return torch.cat([torch.where(there, volume[..., :1], EMPTY), volume[..., 1:]], dim=-1)


def pictured(volume: Tensor, picture: Tensor) -> Tensor:
    """Density and colour of the volumes at the resolution of the pictures that they were made of, and as these have it.

    Nothing stands before or behind a picture's background, and what its camera sees first has the picture's colours:
    each cell takes its pixel's colour as far as light comes to it. Colours are thus carried to other views as
    image-based rendering carries them (IBRNet, Wang et al. 2021, arXiv 2102.13090), by the volume's own shadows.

    Args:
        volume: [R,D,H,W,C] of raw densities, colours and more. picture: [R,4,S,S] premultiplied RGBA in [0,1], what
            the camera shows whose frustum the volume fills.

    Returns:
        [R,D,S,S,4]: raw density and RGB.
    """
    count, depth = volume.shape[:2]
    side = picture.shape[-1]
    coarse = volume[..., :4].permute(0, 1, 4, 2, 3).flatten(0, 1)
    fine = F.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=False)
    fine = fine.permute(0, 2, 3, 1).reshape(count, depth, side, side, 4)
    alpha = picture[:, None, 3, :, :, None]
    color = (picture[:, None, :3] / picture[:, None, 3:].clamp_min(BACKGROUND)).permute(0, 1, 3, 4, 2)
    density = torch.where(alpha > BACKGROUND, fine[..., :1], EMPTY)
    optical = F.softplus(density - DENSITY_SHIFT) * (OPTICAL_DEPTH / depth)
    light = torch.exp(optical - optical.cumsum(dim=1))
    return torch.cat([density, torch.lerp(fine[..., 1:], color.expand_as(fine[..., 1:]), light * alpha)], dim=-1)


def render_volume(volume: Tensor, coordinates: Tensor, owner: Tensor) -> Tensor:
    """March the rays through the volumes and composite.

    Args:
        volume: [R,D,H,W,C] float32; channel 0 is the raw density.
        coordinates: [B,h,w,S,3] from `frustum_coordinates`.
        owner: [B] int64, which volume each picture looks into.

    Returns:
        [B,h,w,C] float32: channel 0 the opacity, channels 1.. the composited features.
    """
    if volume.device.type == "cpu" and volume.dtype == torch.float32:
        return _RenderVolume.apply(volume, coordinates, owner)
    return render_volume_reference(volume, coordinates, owner)


def render_volume_reference(volume: Tensor, coordinates: Tensor, owner: Tensor) -> Tensor:
    """`render_volume` in torch operations: any device, any float type."""
    weight, samples = march(volume[owner], coordinates)
    features = (weight[:, None] * samples[:, 1:]).sum(dim=-1)
    out = torch.cat([weight.sum(dim=-1)[:, None], features], dim=1)
    return out.transpose(1, 2).reshape(*coordinates.shape[:3], -1)


def march(volumes: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
    """What the samples of the rays weigh in the picture [B,rays,S], and the volumes' values there [B,C,rays,S].

    Args:
        volumes: [B,D,H,W,C], one a picture. coordinates: [B,h,w,S,3] from `frustum_coordinates`.
    """
    batch, _, _, steps, _ = coordinates.shape
    flat = coordinates.reshape(batch, -1, steps, 1, 3).to(volumes.dtype)
    samples = F.grid_sample(volumes.permute(0, 4, 1, 2, 3), flat, align_corners=False, padding_mode="zeros")[..., 0]
    # Outside the frustum there is nothing: without this the shifted softplus of a zero sample would be fog.
    inside = (flat[..., 0, :].abs() < 1).all(dim=-1)
    optical = F.softplus(samples[:, 0] - DENSITY_SHIFT) * inside * (OPTICAL_DEPTH / steps)
    through = torch.exp(-(optical.cumsum(dim=-1) - optical))
    return through * (1 - torch.exp(-optical)), samples


@nb.njit(inline="always", fastmath=True, error_model="numpy")
def _sample(size, x, y, z, base, weight):
    """Corner offsets and trilinear weights (align_corners=False, zeros outside); returns False outside the frustum."""
    depth, height, width = size
    if not (abs(x) < 1 and abs(y) < 1 and abs(z) < 1):
        return False
    fx = (x + 1) * np.float32(0.5) * width - np.float32(0.5)
    fy = (y + 1) * np.float32(0.5) * height - np.float32(0.5)
    fz = (z + 1) * np.float32(0.5) * depth - np.float32(0.5)
    x0, y0, z0 = math.floor(fx), math.floor(fy), math.floor(fz)
    tx, ty, tz = np.float32(fx - x0), np.float32(fy - y0), np.float32(fz - z0)
    corner = 0
    for dz in range(2):
        for dy in range(2):
            for dx in range(2):
                xi, yi, zi = x0 + dx, y0 + dy, z0 + dz
                wx = tx if dx else np.float32(1) - tx
                wy = ty if dy else np.float32(1) - ty
                wz = tz if dz else np.float32(1) - tz
                valid = 0 <= xi < width and 0 <= yi < height and 0 <= zi < depth
                base[corner] = (zi * height + yi) * width + xi if valid else 0
                weight[corner] = wx * wy * wz if valid else np.float32(0)
                corner += 1
    return True


@nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _forward(worker, workers, volumes, size, coordinates, owner, out, density_step):
    """Fill out [B,rays,C] from volumes [R,D*H*W,C] of size (D,H,W); `out` comes as zeros."""
    batch, rays, steps, _ = coordinates.shape
    channels = volumes.shape[2]
    base = np.empty(8, np.int64)
    weight = np.empty(8, np.float32)
    for job in range(worker, batch * STRIPES, workers):
        b, stripe = job // STRIPES, job % STRIPES
        flat = volumes[owner[b]]
        for r in range(stripe * rays // STRIPES, (stripe + 1) * rays // STRIPES):
            total, through = out[b, r], np.float32(1)
            for s in range(steps):
                x, y, z = coordinates[b, r, s, 0], coordinates[b, r, s, 1], coordinates[b, r, s, 2]
                if not _sample(size, x, y, z, base, weight):
                    continue
                raw = -np.float32(DENSITY_SHIFT)
                for k in range(8):
                    raw += weight[k] * flat[base[k], 0]
                density = max(raw, np.float32(0)) + math.log1p(math.exp(-abs(raw)))
                keep = np.float32(math.exp(-density * density_step))
                share = through * (1 - keep)
                through *= keep
                # Most samples are empty or hidden: what they would add is not looked up.
                if share > UNSEEN:
                    total[0] += share
                    for k in range(8):
                        row, wk = flat[base[k]], share * weight[k]
                        for c in range(1, channels):
                            total[c] += wk * row[c]
                if through < UNSEEN:
                    break


@nb.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _backward(worker, workers, volumes, size, coordinates, first, order, out, grad_out, grad_volumes, density_step):
    """One worker owns a volume and adds up its pictures in order: no races, the same bits for any thread count."""
    _, rays, steps, _ = coordinates.shape
    channels = volumes.shape[2]
    base = np.empty(8, np.int64)
    weight = np.empty(8, np.float32)
    value = np.empty(channels, np.float32)
    grad_value = np.empty(channels, np.float32)
    for v in range(worker, volumes.shape[0], workers):
        flat, grad_flat = volumes[v], grad_volumes[v]
        for position in range(first[v], first[v + 1]):
            b = order[position]
            for r in range(rays):
                # What lies behind the current sample, seen through the gradient: (suffix of share * <g, f>).
                behind = grad_out[b, r, 0] * out[b, r, 0]
                for c in range(1, channels):
                    behind += grad_out[b, r, c] * out[b, r, c]
                through = np.float32(1)
                for s in range(steps):
                    x, y, z = coordinates[b, r, s, 0], coordinates[b, r, s, 1], coordinates[b, r, s, 2]
                    if not _sample(size, x, y, z, base, weight):
                        continue
                    for c in range(channels):
                        value[c] = 0
                    for k in range(8):
                        row, wk = flat[base[k]], weight[k]
                        for c in range(channels):
                            value[c] += wk * row[c]
                    raw = value[0] - np.float32(DENSITY_SHIFT)
                    density = max(raw, np.float32(0)) + math.log1p(math.exp(-abs(raw)))
                    keep = np.float32(math.exp(-density * density_step))
                    share = through * (1 - keep)
                    seen = grad_out[b, r, 0]
                    for c in range(1, channels):
                        seen += grad_out[b, r, c] * value[c]
                        grad_value[c] = share * grad_out[b, r, c]
                    behind -= share * seen
                    through *= keep
                    grad_density = density_step * (through * seen - behind)
                    grad_value[0] = grad_density / (1 + math.exp(-raw))
                    for k in range(8):
                        row, wk = grad_flat[base[k]], weight[k]
                        if wk != 0:
                            for c in range(channels):
                                row[c] += wk * grad_value[c]


def _flat(volume: Tensor) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Contiguous [R,D,H,W,C] as the kernels take it: [R,D*H*W,C] and (D,H,W)."""
    references, depth, height, width, channels = volume.shape
    return volume.numpy().reshape(references, -1, channels), (depth, height, width)


class _RenderVolume(torch.autograd.Function):
    @staticmethod
    def forward(ctx, volume, coordinates, owner):  # type: ignore[no-untyped-def]
        batch, h, w, steps, _ = coordinates.shape
        volume = volume.detach().contiguous()
        coordinates = coordinates.reshape(batch, h * w, steps, 3).float().contiguous()
        out = torch.zeros(batch, h * w, volume.shape[-1])
        step = np.float32(OPTICAL_DEPTH / steps)
        run(_forward, *_flat(volume), coordinates.numpy(), owner.numpy(), out.numpy(), step)
        ctx.save_for_backward(volume, coordinates, owner, out)
        return out.reshape(batch, h, w, -1)

    @staticmethod
    def backward(ctx, *grads):  # type: ignore[no-untyped-def]
        volume, coordinates, owner, out = ctx.saved_tensors
        grad_out = grads[0].float().reshape(out.shape).contiguous()
        order = torch.argsort(owner, stable=True)
        first = torch.searchsorted(owner[order], torch.arange(volume.shape[0] + 1))
        grad = torch.zeros_like(volume)
        step = np.float32(OPTICAL_DEPTH / coordinates.shape[2])
        run(
            _backward, *_flat(volume), coordinates.numpy(), first.numpy(), order.numpy(), out.numpy(),
            grad_out.numpy(), _flat(grad)[0], step,
        )  # fmt: skip
        return grad, None, None
