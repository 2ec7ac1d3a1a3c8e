"""The set of 3D Gaussians: plain tensors before their activations, as optimised and as stored in files."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from gaussmith.rotation import matrix_to_quat, quat_multiply, quat_to_matrix
from gaussmith.sh import rgb_to_dc, rotate


@dataclass
class Gaussians:
    """N anisotropic 3D Gaussians (Kerbl et al. 2023, section 4).

    Attributes:
        means: [N,3] centres, world units.
        log_scales: [N,3] natural logarithms of the standard deviations along the local axes, world units.
        quats: [N,4] rotations local -> world, wxyz, not necessarily unit.
        opacity_logits: [N] opacity before the sigmoid.
        sh: [N,K,3] spherical-harmonic colour coefficients, K = (degree+1)^2, sRGB.
    """

    means: Tensor
    log_scales: Tensor
    quats: Tensor
    opacity_logits: Tensor
    sh: Tensor

    def __post_init__(self) -> None:
        n = self.means.shape[0]
        expected = {"means": (n, 3), "log_scales": (n, 3), "quats": (n, 4), "opacity_logits": (n,)}
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} must be {shape}, got {tuple(getattr(self, name).shape)}")
        if self.sh.ndim != 3 or self.sh.shape[0] != n or self.sh.shape[2] != 3:
            raise ValueError(f"sh must be [{n},K,3], got {tuple(self.sh.shape)}")

    def __len__(self) -> int:
        return self.means.shape[0]

    @property
    def scales(self) -> Tensor:
        """[N,3] standard deviations, world units."""
        return self.log_scales.exp()

    @property
    def opacities(self) -> Tensor:
        """[N] in (0,1)."""
        return self.opacity_logits.sigmoid()

    @property
    def rotations(self) -> Tensor:
        """[N,3,3] local -> world."""
        return quat_to_matrix(self.quats)

    @property
    def covariances(self) -> Tensor:
        """[N,3,3] = R diag(s^2) R^T (Kerbl et al. 2023, eq. 6)."""
        m = self.rotations * self.scales[:, None, :]
        return m @ m.transpose(1, 2)

    def tensors(self) -> dict[str, Tensor]:
        """Field name -> tensor, in declaration order."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def map(self, fn: Callable[[Tensor], Tensor]) -> Gaussians:
        """A new set with `fn` applied to every tensor."""
        return Gaussians(**{name: fn(t) for name, t in self.tensors().items()})

    def detach(self) -> Gaussians:
        return self.map(lambda t: t.detach())

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Gaussians:
        return self.map(lambda t: t.to(device=device, dtype=dtype))

    def select(self, index: Tensor) -> Gaussians:
        """The subset of a boolean mask [N] or of integer indices [M]."""
        return self.map(lambda t: t[index])

    def transform(self, rotation: Tensor, translation: Tensor, scale: float = 1.0) -> Gaussians:
        """Apply x -> scale * rotation @ x + translation, colours turning along; rotation [3,3], scale > 0."""
        quat = matrix_to_quat(rotation).to(self.quats)
        return Gaussians(
            means=scale * self.means @ rotation.T.to(self.means) + translation.to(self.means),
            log_scales=self.log_scales + math.log(scale),
            quats=quat_multiply(quat.expand_as(self.quats), self.quats),
            opacity_logits=self.opacity_logits,
            sh=rotate(self.sh, rotation),
        )

    def finite(self) -> Tensor:
        """[N] True where every parameter is finite."""
        flags = [t.isfinite()[:, None].flatten(1).all(dim=1) for t in self.tensors().values()]
        return torch.stack(flags).all(dim=0)


def concat(parts: list[Gaussians]) -> Gaussians:
    """Join sets with equal SH degree."""
    return Gaussians(**{name: torch.cat([p.tensors()[name] for p in parts]) for name in parts[0].tensors()})


def logit(p: float) -> float:
    """Inverse of the sigmoid, for p in (0,1)."""
    return math.log(p / (1 - p))


def nearest_distance(points: Tensor, k: int = 3) -> Tensor:
    """[N] root mean square distance of each point [N,3] to its k nearest others (the initial scale of 3DGS)."""
    array = points.detach().cpu().double().numpy()
    neighbours = min(k + 1, len(array))
    if neighbours < 2:
        return torch.full((len(array),), 0.01)
    distance, _ = cKDTree(array).query(array, k=neighbours, workers=1)
    mean_square = np.square(distance[:, 1:]).mean(axis=1)
    return torch.from_numpy(np.sqrt(np.maximum(mean_square, 1e-14))).float()


def from_points(points: Tensor, colors: Tensor, opacity: float = 0.1, sh_degree: int = 0) -> Gaussians:
    """Isotropic Gaussians at points [N,3] with sRGB colors [N,3]; scale from the 3 nearest neighbours."""
    n = points.shape[0]
    sh = torch.zeros(n, (sh_degree + 1) ** 2, 3)
    sh[:, 0] = rgb_to_dc(colors)
    quats = torch.zeros(n, 4)
    quats[:, 0] = 1
    return Gaussians(
        means=points.float().clone(),
        log_scales=nearest_distance(points).log()[:, None].repeat(1, 3),
        quats=quats,
        opacity_logits=torch.full((n,), logit(opacity)),
        sh=sh,
    )


def in_ball(
    count: int, radius: float, generator: torch.Generator, color: float = 0.5, opacity: float = 0.1, sh_degree: int = 0
) -> Gaussians:
    """Gaussians uniform in a ball (the start of DreamGaussian, section 3.1: 5,000 points, radius 0.5, grey)."""
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    distance = radius * torch.rand(count, 1, generator=generator) ** (1 / 3)
    return from_points(direction * distance, torch.full((count, 3), color), opacity, sh_degree)
