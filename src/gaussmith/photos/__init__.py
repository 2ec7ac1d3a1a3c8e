"""Photos of a scene: finding them, their cameras, and the upright, undistorted, normalised scene to train on."""

from gaussmith.photos.find import open_capture
from gaussmith.photos.frame import Similarity
from gaussmith.photos.scene import Scene, View, load_scene

__all__ = ["Scene", "Similarity", "View", "load_scene", "open_capture"]
