"""gaussmith: a picture becomes a textured, watertight mesh and a Gaussian splat.

    import gaussmith

    result = gaussmith.image_to_3d("chest.png")
    result.save("out")                      # GLB, splat, preview, turntable, report
    print(len(result.gaussians), len(result.mesh.faces), result.report["mesh"]["watertight"])

Everything public is named here; modules are loaded when first used, so `import gaussmith` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gaussmith.api import edit as edit
    from gaussmith.api import image_to_3d as image_to_3d
    from gaussmith.api import load as load
    from gaussmith.api import load_photos as load_photos
    from gaussmith.api import mesh_from_gaussians as mesh_from_gaussians
    from gaussmith.api import reconstruct as reconstruct
    from gaussmith.api import refine_mesh as refine_mesh
    from gaussmith.api import save as save
    from gaussmith.api import text_to_3d as text_to_3d
    from gaussmith.camera import Camera as Camera
    from gaussmith.camera import orbit as orbit
    from gaussmith.editing import Edits as Edits
    from gaussmith.events import UserError as UserError
    from gaussmith.gaussians import Gaussians as Gaussians
    from gaussmith.mesh import Mesh as Mesh
    from gaussmith.picture import prepare as prepare
    from gaussmith.preview import contact_sheet as contact_sheet
    from gaussmith.preview import turntable as turntable
    from gaussmith.render.mesh import render_mesh as render_mesh
    from gaussmith.render.splat import rasterize as rasterize

__version__ = "0.1.0"

_HOME = {
    "edit": "gaussmith.api",
    "image_to_3d": "gaussmith.api",
    "load": "gaussmith.api",
    "load_photos": "gaussmith.api",
    "mesh_from_gaussians": "gaussmith.api",
    "reconstruct": "gaussmith.api",
    "refine_mesh": "gaussmith.api",
    "save": "gaussmith.api",
    "text_to_3d": "gaussmith.api",
    "Camera": "gaussmith.camera",
    "orbit": "gaussmith.camera",
    "Edits": "gaussmith.editing",
    "UserError": "gaussmith.events",
    "Gaussians": "gaussmith.gaussians",
    "Mesh": "gaussmith.mesh",
    "prepare": "gaussmith.picture",
    "contact_sheet": "gaussmith.preview",
    "turntable": "gaussmith.preview",
    "render_mesh": "gaussmith.render.mesh",
    "rasterize": "gaussmith.render.splat",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gaussmith' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
