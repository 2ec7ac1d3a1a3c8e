"""Colour names: one small palette that the procedural objects are painted from and that real colours are named by.

Colours are sRGB. A name stands for a few anchors (sRGB 0..255); the name of a colour is that of the anchor nearest to
it in CIE L*a*b* (D65), lightness counting for less than hue does: a dark red is still red.
"""

from __future__ import annotations

import numpy as np

# Chosen by eye on the objects' own colours; several shades a name, because names are not balls in any colour space.
ANCHORS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "red": ((205, 40, 40), (150, 25, 30), (226, 78, 70)),
    "orange": ((236, 126, 32), (216, 98, 32), (246, 162, 80)),
    "yellow": ((246, 208, 52), (250, 228, 115), (216, 178, 42)),
    "green": ((70, 150, 60), (40, 92, 50), (134, 192, 92), (112, 128, 52), (36, 140, 96)),
    "teal": ((40, 160, 164), (112, 212, 212), (22, 108, 114)),
    "blue": ((45, 95, 200), (32, 52, 120), (98, 162, 226), (25, 45, 235)),
    "purple": ((122, 62, 166), (82, 42, 112), (164, 122, 206)),
    "pink": ((236, 122, 170), (246, 178, 196), (216, 72, 132)),
    "brown": ((122, 76, 46), (84, 54, 36), (160, 106, 66)),
    "tan": ((206, 176, 136), (226, 206, 172)),
    "white": ((246, 246, 242), (228, 230, 230)),
    "grey": ((140, 140, 142), (96, 97, 100), (184, 185, 188)),
    "black": ((30, 30, 33), (52, 50, 53)),
}
NAMES = tuple(ANCHORS)
LIGHTNESS_WEIGHT = 0.6  # 1 calls dark greens black and light browns tan; 0 cannot tell white from black


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65, 2 degrees) [...,3] of sRGB colours [...,3] in [0,1]; IEC 61966-2-1 and CIE 15."""
    rgb = np.asarray(rgb, np.float64)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = linear @ _TO_XYZ.T
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])],
        axis=-1,
    )


_RGB_TO_XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
_TO_XYZ = np.array(_RGB_TO_XYZ) / np.array([[0.95047], [1.0], [1.08883]])  # relative to the white point
_STRETCH = np.array([LIGHTNESS_WEIGHT, 1.0, 1.0])
_OWNER = np.concatenate([[i] * len(anchors) for i, anchors in enumerate(ANCHORS.values())])
_ANCHOR_LAB = lab(np.concatenate([np.array(anchors) for anchors in ANCHORS.values()]) / 255) * _STRETCH


def name_indices(rgb: np.ndarray) -> np.ndarray:
    """Index into NAMES [N] of each sRGB colour [N,3] in [0,1]."""
    offsets = lab(np.clip(rgb, 0, 1))[:, None] * _STRETCH - _ANCHOR_LAB
    return _OWNER[np.square(offsets).sum(axis=-1).argmin(axis=1)]


def colour_name(rgb: np.ndarray | tuple[float, float, float]) -> str:
    """The basic colour name of one sRGB colour in [0,1]."""
    return NAMES[int(name_indices(np.asarray(rgb, np.float64)[None, :3])[0])]
