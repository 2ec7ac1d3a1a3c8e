"""Pinhole cameras.

Conventions (docs/conventions.md): world right-handed, +Y up, the object's front faces +Z. Camera axes are OpenCV's
(x right, y down, z forward). Azimuth 0 looks at the front from +Z and positive azimuth moves the camera towards +X;
positive elevation moves it up. Angles are degrees, lengths world units, image coordinates pixels with centres at half
integers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gaussmith.accelerator import onto

DEFAULT_RADIUS = 2.0
DEFAULT_FOVY = 49.1
# The frame that priors look at, about the same centre. A sphere of radius 0.62 just fills it at radius 2: the object
# gets 1.4 times the width that the 49.1-degree frame gives it, which is what a 64-pixel network is short of.
PRIOR_FOVY = 36.0


@dataclass(frozen=True)
class Camera:
    """A batch of pinhole cameras of one picture size.

    Attributes:
        c2w: [B,4,4] camera-to-world rigid transforms (OpenCV axes).
        K: [B,3,3] intrinsics in pixels; pixel (i, j) covers [j, j+1] x [i, i+1].
        width, height: picture size in pixels.
    """

    c2w: Tensor
    K: Tensor
    width: int
    height: int

    def __post_init__(self) -> None:
        if self.c2w.ndim != 3 or self.c2w.shape[1:] != (4, 4):
            raise ValueError(f"c2w must be [B,4,4], got {tuple(self.c2w.shape)}")
        if self.K.shape != (self.c2w.shape[0], 3, 3):
            raise ValueError(f"K must be [{self.c2w.shape[0]},3,3], got {tuple(self.K.shape)}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"picture size must be positive, got {self.width}x{self.height}")

    def __len__(self) -> int:
        return self.c2w.shape[0]

    def __getitem__(self, index: int | slice | Tensor | list[int]) -> Camera:
        """Select cameras; an integer keeps the batch dimension."""
        if isinstance(index, int):
            index = [index]
        return replace(self, c2w=self.c2w[index], K=self.K[index])

    @property
    def position(self) -> Tensor:
        """[B,3] camera centres in the world."""
        return self.c2w[:, :3, 3]

    @property
    def forward(self) -> Tensor:
        """[B,3] unit viewing directions in the world."""
        return self.c2w[:, :3, 2]

    @property
    def w2c(self) -> Tensor:
        """[B,4,4] world-to-camera transforms: the exact inverse of a rigid motion, for any camera position."""
        rotation = self.c2w[:, :3, :3].transpose(1, 2)
        out = torch.zeros_like(self.c2w)
        out[:, :3, :3] = rotation
        out[:, :3, 3] = -(rotation @ self.c2w[:, :3, 3:])[..., 0]
        out[:, 3, 3] = 1
        return out

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Camera:
        c2w, K = (t if dtype is None else t.to(dtype) for t in (self.c2w, self.K))
        if device is not None:
            c2w, K = onto(c2w, device), onto(K, device)
        return replace(self, c2w=c2w, K=K)

    def resized(self, width: int, height: int) -> Camera:
        """The same cameras with another pixel grid over the same frame."""
        scale = self.K.new_tensor([[width / self.width], [height / self.height], [1.0]])
        return replace(self, K=self.K * scale, width=width, height=height)

    def rays(self) -> tuple[Tensor, Tensor]:
        """World rays through the pixel centres: origins [B,3] and directions [B,H,W,3] whose camera depth is 1."""
        y, x = (torch.arange(n, device=self.K.device, dtype=self.K.dtype) + 0.5 for n in (self.height, self.width))
        y, x = torch.meshgrid(y, x, indexing="ij")
        fx, fy, cx, cy = (self.K[:, i, j, None, None] for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
        local = torch.stack([(x - cx) / fx, (y - cy) / fy, torch.ones_like(x).expand(len(self), -1, -1)], dim=-1)
        return self.position, torch.einsum("bij,bhwj->bhwi", self.c2w[:, :3, :3], local)

    def project(self, points: Tensor) -> Tensor:
        """Project world points [N,3] to [B,N,3]: pixel x, pixel y, camera depth."""
        w2c = self.w2c
        local = torch.einsum("bij,nj->bni", w2c[:, :3, :3], points) + w2c[:, None, :3, 3]
        pixels = torch.einsum("bij,bnj->bni", self.K, local)
        return torch.cat([pixels[..., :2] / pixels[..., 2:], local[..., 2:]], dim=-1)


def concat(cameras: list[Camera]) -> Camera:
    """Join batches of cameras of one picture size."""
    first = cameras[0]
    if any((c.width, c.height) != (first.width, first.height) for c in cameras):
        raise ValueError("cameras of different picture sizes cannot form one batch")
    return replace(first, c2w=torch.cat([c.c2w for c in cameras]), K=torch.cat([c.K for c in cameras]))


def intrinsics(fovy: float | Tensor, width: int, height: int) -> Tensor:
    """[B,3,3] intrinsics with square pixels and centred principal point from vertical fields of view in degrees."""
    fov = torch.atleast_1d(torch.as_tensor(fovy, dtype=torch.float32))
    focal = height / (2 * torch.tan(torch.deg2rad(fov) / 2))
    K = torch.zeros(fov.shape[0], 3, 3)
    K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, 0, 2], K[:, 1, 2], K[:, 2, 2] = width / 2, height / 2, 1
    return K


def look_at(eye: Tensor, target: Tensor, up: Tensor | None = None) -> Tensor:
    """[B,4,4] camera-to-world transforms at eye [B,3] looking at target [B,3] or [3], with world up [3] (default +Y).

    Looking straight along `up` is resolved by a fixed horizontal axis: the pole views of the default up have the
    picture's x along +X, as `orbit` at azimuth 0.
    """
    eye = torch.atleast_2d(eye)
    forward = torch.nn.functional.normalize(target.expand_as(eye) - eye, dim=-1)
    world_up = eye.new_tensor([0.0, 1.0, 0.0]) if up is None else torch.nn.functional.normalize(up.to(eye), dim=-1)
    right = torch.linalg.cross(forward, world_up.expand_as(forward))
    # The world axis furthest from `up` (the last of equals: +Z for +Y) stands in for it at the poles.
    spare = torch.eye(3, dtype=eye.dtype, device=eye.device)[2 - int(world_up.abs().flip(0).argmin())]
    at_pole = torch.linalg.cross(world_up, spare).expand_as(forward)
    right = torch.where(right.norm(dim=-1, keepdim=True) < 1e-5, at_pole, right)
    right = torch.nn.functional.normalize(right, dim=-1)
    down = torch.linalg.cross(forward, right)
    c2w = torch.zeros(eye.shape[0], 4, 4, dtype=eye.dtype, device=eye.device)
    c2w[:, :3, :3] = torch.stack([right, down, forward], dim=-1)
    c2w[:, :3, 3] = eye
    c2w[:, 3, 3] = 1
    return c2w


def orbit(
    azimuth: float | Tensor,
    elevation: float | Tensor,
    radius: float | Tensor = DEFAULT_RADIUS,
    fovy: float | Tensor = DEFAULT_FOVY,
    width: int = 512,
    height: int | None = None,
    target: Tensor | None = None,
) -> Camera:
    """Cameras on a sphere around `target` (default the origin), angles in degrees; scalars broadcast against [B].

    At an elevation of exactly +-90 the picture's horizontal axis is still that of the given azimuth.
    """
    height = width if height is None else height
    az, el, rad, fov = torch.broadcast_tensors(
        *(torch.atleast_1d(torch.as_tensor(v, dtype=torch.float32)) for v in (azimuth, elevation, radius, fovy))
    )
    az, el = torch.deg2rad(az.double()), torch.deg2rad(el.double())
    zero = torch.zeros_like(az)
    back = torch.stack([el.cos() * az.sin(), el.sin(), el.cos() * az.cos()], dim=-1)
    right = torch.stack([az.cos(), zero, -az.sin()], dim=-1)
    down = torch.linalg.cross(-back, right)
    c2w = torch.zeros(az.shape[0], 4, 4, dtype=torch.float64)
    c2w[:, :3, :3] = torch.stack([right, down, -back], dim=-1)
    c2w[:, :3, 3] = back * rad[:, None].double()
    c2w[:, 3, 3] = 1
    if target is not None:
        c2w[:, :3, 3] += target.double()
    return Camera(c2w.float(), intrinsics(fov, width, height), width, height)


def opengl_to_opencv(c2w: Tensor) -> Tensor:
    """Convert camera-to-world [...,4,4] between OpenGL axes (x right, y up, z back) and OpenCV's; its own inverse."""
    return c2w * c2w.new_tensor([1.0, -1.0, -1.0, 1.0])


def frame_half_extent(fovy: float, radius: float) -> float:
    """Half the height of what a camera at `radius` sees in the plane through the target, in world units."""
    return radius * math.tan(math.radians(fovy) / 2)
