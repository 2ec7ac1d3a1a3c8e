"""Binary glTF 2.0: what `glb_write` and `glb_read` offer, under the name of the format."""

from gaussmith.io.glb_read import load_glb
from gaussmith.io.glb_write import encode_glb, save_glb

__all__ = ["encode_glb", "load_glb", "save_glb"]
