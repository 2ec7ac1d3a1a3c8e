"""Photos of a textured box on a textured floor, drawn by tracing rays."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gaussmith.camera import Camera, orbit

SIZE = (288, 216)
AZIMUTHS = (0, 18, 36, 54, 72, 90, 108)


def _texture(seed: int) -> np.ndarray:
    """[96,96,3] blobs of several sizes, rich in corners."""
    generator = np.random.default_rng(seed)
    layers = [generator.random((n, n, 3)).repeat(96 // n, 0).repeat(96 // n, 1) for n in (12, 24, 48)]
    return np.clip(0.55 * layers[0] + 0.35 * layers[1] + 0.2 * layers[2] - 0.05, 0, 1)


def draw(camera: Camera, samples: int = 2) -> np.ndarray:
    """[H,W,3] uint8: a box of half-width 0.5 standing on the floor y = -0.5."""
    big = camera.resized(camera.width * samples, camera.height * samples)
    origin, direction = big.rays()
    o, d = origin[0].double().numpy(), direction[0].double().numpy()
    near, far = (-0.5 - o) / d, (0.5 - o) / d
    enter, leave = np.minimum(near, far), np.maximum(near, far)
    axis, depth = enter.argmax(-1), enter.max(-1)
    box = depth < leave.min(-1)
    floor = np.where(d[..., 1] < 0, (-0.5 - o[1]) / d[..., 1], np.inf)
    box &= depth < floor
    depth, axis = np.where(box, depth, floor), np.where(box, axis, 3)
    hit = o + np.where(np.isfinite(depth), depth, 0)[..., None] * d
    color = np.full(hit.shape, 0.6)
    for face in range(4):
        u, v = (hit[..., (face + 1) % 3], hit[..., (face + 2) % 3]) if face < 3 else (hit[..., 0] / 4, hit[..., 2] / 4)
        place = [((c + 0.5) % 1 * 96).astype(int).clip(0, 95) for c in (u, v)]
        side = (hit[..., face] > 0).astype(int) if face < 3 else 0
        both = np.stack([_texture(face), _texture(face + 7)])
        color = np.where(
            (axis == face)[..., None] & np.isfinite(depth)[..., None], both[side, place[0], place[1]], color
        )
    mean = color.reshape(camera.height, samples, camera.width, samples, 3).mean((1, 3))
    return np.rint(255 * mean).astype(np.uint8)


@pytest.fixture(scope="session")
def cameras() -> Camera:
    return orbit(torch.tensor([float(a) for a in AZIMUTHS]), 30.0, 2.2, 50.0, *SIZE)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory, cameras: Camera) -> Path:
    """A folder of photos of the box, a.png and so on."""
    folder = tmp_path_factory.mktemp("photos")
    for i in range(len(cameras)):
        Image.fromarray(draw(cameras[i])).save(folder / f"{chr(ord('a') + i)} .png")
    return folder
