"""gaussmith: a picture becomes a textured, watertight mesh and a Gaussian splat."""

__version__ = "0.1.0"
