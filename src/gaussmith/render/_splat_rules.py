"""What every backend of the splat rasteriser agrees on: the same cut-offs give the same picture and gradients.

Sources: Kerbl et al. 2023, section 6 and its public rasteriser; Zwicker et al. 2001 for the projection (EWA splatting).
"""

from __future__ import annotations

TILE = 16
"""Side of a screen tile in pixels."""
NEAR = 0.2
"""Gaussians whose centre is not farther than this in front of the camera are not drawn (3DGS)."""
LOW_PASS = 0.3
"""Added to both screen variances, px^2, so that no Gaussian falls between two pixel centres (3DGS)."""
ALPHA_MIN = 1 / 255
"""Smaller alphas are dropped: they could not change an 8-bit picture."""
ALPHA_MAX = 0.99
"""Alphas are clamped here, which keeps 1 / (1 - alpha) in the gradient bounded."""
T_STOP = 1e-4
"""A pixel takes no further Gaussian once its transmittance is below this."""
FRUSTUM_MARGIN = 0.3
"""The linearisation of the perspective is clamped at the picture plus this share of its half size (3DGS: 1.3 tan)."""
LIMIT = 1e12
"""A Gaussian is skipped, with zero gradient, when a projected quantity is not finite or larger than this: then no sum
over a picture can overflow float32."""
