"""The viewer in the browser, for files and for running jobs."""

from gaussmith.viewer.items import Item, load_items
from gaussmith.viewer.server import Viewer

__all__ = ["Item", "Viewer", "load_items"]
