"""The command `gaussmith view`."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path

from tyro.conf import Positional

from gaussmith.cli_options import Output, tell, within, writable_folder
from gaussmith.events import UserError


def view(
    files: Positional[tuple[Path, ...]],
    *,
    output: Output = Path(),
    port: int = 8080,
    host: str = "127.0.0.1",
    no_browser: bool = False,
    quiet: bool = False,
) -> None:
    """Look at splats and meshes in the browser: crop them, fly through them, take pictures. Ctrl-C ends it.

    Args:
        files: .ply (splat or mesh), .glb, .obj, .stl and every splat format that `gaussmith convert` reads.
        output: Folder for the pictures, videos and copies that you save from the page.
        port: Where the page is served; 0 takes any free port.
        host: Who can see the page: 127.0.0.1 is this machine alone, 0.0.0.0 everyone who can reach it.
        no_browser: Only print the address.
        quiet: Show nothing but errors.
    """
    within("--port", port, 0, 65535)
    if not files:
        raise UserError("there is nothing to view; name at least one file")
    from gaussmith.viewer import Viewer, load_items

    viewer = Viewer(load_items(files), port=port, host=host, output=writable_folder(output))
    try:
        tell(quiet, f"{viewer.url}  (Ctrl-C ends it)")
        if not no_browser:
            threading.Thread(target=webbrowser.open, args=(viewer.url,), daemon=True).start()  # some browsers block
        viewer.wait()
    except KeyboardInterrupt:
        pass  # the usual way to leave
    finally:
        viewer.close()
