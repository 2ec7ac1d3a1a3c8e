"""The house rules that a parser can check: imports point down; nothing prints below the shells or seeds globally."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "gaussmith"

FLOORS = {
    0: {
        *("camera", "views", "gaussians", "mesh", "rotation", "sh", "events", "framing", "threads", "capture", "lens"),
        "accelerator",
    },
    1: {"render", "density", "fields", "surface", "texture", "losses", "metrics", "io"},
    2: {"diffusion", "priors", "picture", "background", "photos"},
    3: {"train", "synth", "preview", "asset", "editing"},
    4: {"recipes"},
    5: {
        *("api", "progress", "batch", "server", "viewer", "__init__", "__main__"),
        *(
            "cli",
            "cli_options",
            "cli_priors",
            "cli_train_prior",
            "cli_reconstruct",
            "cli_view",
            "cli_edit",
            "cli_convert",
        ),
    },
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}

# Neighbours on one floor that may be used, beside one's own package. What is not here needs a reason to be added.
SIDEWAYS = {
    ("losses", "metrics"),  # a loss and the figure it is reported as share their formula
    ("surface", "render"),  # the level of a surface is chosen by its silhouettes
    ("texture", "render"),  # baking renders: the views that colour a mesh, and what they can see
    ("picture", "background"),  # preparing a picture cuts its object out
    ("priors", "diffusion"),  # a prior is a network with a noise schedule
    ("asset", "preview"),
    ("train", "preview"),  # what a training shows as it goes stands on the same sheets
    ("train", "asset"),  # a reconstruction's report names the same versions as an asset's
    ("train", "synth"),  # and is told of the views that it learns from
    ("cli", "api"),
    ("cli", "cli_priors"),
    ("cli", "cli_train_prior"),
    *(("cli", f"cli_{name}") for name in ("options", "reconstruct", "view", "edit", "convert")),
    *(
        (f"cli_{name}", shell)
        for name in ("reconstruct", "view", "edit", "convert", "train_prior")
        for shell in ("api", "cli_options", "progress")
    ),
    ("cli_view", "viewer"),
    ("cli_reconstruct", "viewer"),  # --view shows the running job
    ("photos", "picture"),  # photos are decoded as single pictures are
    ("cli", "progress"),
    ("cli", "__init__"),
    ("__init__", "api"),
    ("__main__", "cli"),
}
# What a package may not use although the floors allow it.
FORBIDDEN = {("priors", "gaussians"), ("diffusion", "gaussians"), ("density", "render")}
SHELL_FLOOR = 5


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def package_of(path: Path) -> str:
    """The part of the house that a file belongs to: its top folder, or its own name."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return parts[0]


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import of gaussmith, wherever it stands, `from gaussmith import x` resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, a.name) for a in node.names if a.name.split(".")[0] == "gaussmith")
        elif isinstance(node, ast.ImportFrom) and node.level > 0:
            yield node.lineno, "relative"
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "gaussmith":
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def import_faults(package: str, tree: ast.AST, own_module: str = "") -> list[str]:
    """Imports of one file of `package` that do not point down (or sideways where that is allowed)."""
    faults = []
    for line, target in imported(tree):
        if target == "relative":
            faults.append(f"line {line}: relative import; write the full name")
            continue
        parts = target.split(".")
        other = parts[1] if len(parts) > 1 and parts[1] in FLOOR_OF else "__init__"
        if target == "gaussmith.__version__":
            continue
        own = other == package
        recipes_mix = own and package == "recipes" and own_module and f"recipes.{own_module}" not in target
        down = FLOOR_OF[other] < FLOOR_OF[package]
        io_up = package == "io" and not own and FLOOR_OF[other] > 0
        ground = FLOOR_OF[other] == FLOOR_OF[package] == 0  # the modules of floor 0 are one package in all but name
        allowed = own or down or ground or (package, other) in SIDEWAYS
        if not allowed or recipes_mix or io_up or (package, other) in FORBIDDEN:
            faults.append(f"line {line}: {package} may not import {target}")
    return faults


def call_faults(package: str, tree: ast.AST) -> list[str]:
    """Calls that the rules forbid: print below the shells, .cuda(), and seeding or drawing from global generators."""
    faults = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        global_numpy = name.startswith(("np.random.", "numpy.random.")) and not name.endswith(
            (".default_rng", ".Generator", ".PCG64", ".SeedSequence")
        )
        printing = name == "print" and FLOOR_OF[package] < SHELL_FLOOR
        seeding = name in ("torch.manual_seed", "torch.cuda.manual_seed", "torch.seed", "random.seed")
        if printing or seeding or global_numpy or name.endswith(".cuda"):
            faults.append(f"line {node.lineno}: {name}()")
    return faults


def compiled_faults(tree: ast.AST) -> list[str]:
    """Fast-math helpers of kernels that are not inlined.

    Where they are linked instead, a process that compiles a kernel and one that loads it from the cache may run
    differently optimised copies of the helper, which add in another order: other bits on a user's first run.
    """
    faults = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        for call in node.decorator_list:
            if not (isinstance(call, ast.Call) and ast.unparse(call.func).endswith("njit")):
                continue
            options = {k.arg: ast.unparse(k.value) for k in call.keywords}
            kernel = options.get("nogil") == "True"
            if options.get("fastmath") == "True" and not kernel and options.get("inline") != "'always'":
                faults.append(f"line {node.lineno}: {node.name} is fast-math and not inline='always'")
    return faults


def test_linked_fastmath_helpers_are_found() -> None:
    source = "@nb.njit(cache=True, {0})\ndef f(x):\n    return x"
    assert len(compiled_faults(ast.parse(source.format("fastmath=True")))) == 1
    assert not compiled_faults(ast.parse(source.format("fastmath=True, inline='always'")))
    assert not compiled_faults(ast.parse(source.format("fastmath=True, nogil=True")))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_file_keeps_the_rules(path: Path) -> None:
    package = package_of(path)
    assert package in FLOOR_OF, f"{package} has no floor; give it one in this test and in the README"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert import_faults(package, tree, path.stem) + call_faults(package, tree) + compiled_faults(tree) == []


def test_the_house_is_not_empty() -> None:
    assert {"cli", "camera", "render", "recipes", "io"} <= {package_of(path) for path in modules()}


@pytest.mark.parametrize(
    ("package", "module", "source"),
    [
        ("camera", "camera", "from gaussmith.render.splat import rasterize"),
        ("render", "splat", "import gaussmith.recipes.dreamgaussian"),
        ("density", "ops", "from gaussmith.render.splat import Render"),
        ("priors", "base", "from gaussmith import gaussians"),
        ("priors", "base", "def late():\n    from gaussmith.gaussians import Gaussians"),
        ("io", "gltf", "from gaussmith.losses import ssim"),
        ("recipes", "mesh_splat", "from gaussmith.recipes.dreamgaussian import run"),
        ("mesh", "mesh", "from . import camera"),
        ("recipes", "mesh_splat", "from gaussmith import image_to_3d"),
    ],
)
def test_upward_imports_are_found(package: str, module: str, source: str) -> None:
    assert len(import_faults(package, ast.parse(source), module)) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("recipes", "print('step')"),
        ("cli", "torch.manual_seed(0)"),
        ("render", "np.random.seed(1)"),
        ("train", "np.random.rand(3)"),
        ("priors", "network.cuda()"),
    ],
)
def test_forbidden_calls_are_found(package: str, source: str) -> None:
    assert len(call_faults(package, ast.parse(source))) == 1


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("recipes", "from gaussmith.surface import extract_mesh\nfrom gaussmith import __version__"),
        ("cli", "print('done')\nimport gaussmith"),
        ("texture", "from gaussmith.render.splat import rasterize"),
        ("synth", "generator = np.random.default_rng(3)"),
    ],
)
def test_downward_imports_are_allowed(package: str, source: str) -> None:
    tree = ast.parse(source)
    assert import_faults(package, tree, "x") + call_faults(package, tree) == []
