"""The prior that ships with the package: a small pose-conditioned diffusion model over 64-pixel RGBA views."""
