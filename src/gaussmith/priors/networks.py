"""Building the networks of a pipeline folder: diffusers and transformers give the modules, `files` reads the weights.

Networks are made empty and take the tensors read, so that loading costs the weights' own memory, no random numbers, and
every missing, unexpected or misshapen tensor is found. Neither library opens a weights file or the network itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gaussmith.diffusion.schedule import NoiseSchedule, cosine, linear, scaled_linear, zero_terminal_snr
from gaussmith.events import UserError
from gaussmith.priors.files import MAX_PART_BYTES, load_config, load_safetensors_part

INSTALL = 'pip install "gaussmith[hub]"'
MIXED = "they are not of one pipeline: fetch or copy it again"
MAX_NUMBER = 10_000_000  # in a configuration: over any vocabulary's size, far under what would fill the memory
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
# Names that older versions gave to the tensors of an attention block (the VAEs of Stable Diffusion have them).
_OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
# Prefixes that transformers wrote before version 5 and has no more (or the other way round).
_PREFIXES = ("text_model.", "vision_model.")


def library(name: str) -> Any:
    """Import diffusers, transformers, accelerate or peft; `UserError` if the extra is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"published priors need {error.name or name}; install it with {INSTALL}") from error


def load_diffusers(class_name: str, folder: Path, part: str, dtype: torch.dtype, device: torch.device) -> Any:
    """A network of diffusers (UNet2DConditionModel, AutoencoderKL) from folder/part: frozen, evaluating, channels
    last, in `dtype` on `device`."""
    cls = getattr(library("diffusers"), class_name)
    config = model_config(folder, part)
    return load_module(lambda: cls.from_config(config), folder, part, dtype, device)


def load_transformers(class_name: str, folder: Path, part: str, dtype: torch.dtype, device: torch.device) -> Any:
    """A network of transformers (CLIPTextModel, CLIPVisionModelWithProjection, T5EncoderModel, ...), as above."""
    cls = getattr(library("transformers"), class_name)
    config = model_config(folder, part)
    return load_module(lambda: cls(cls.config_class(**config)), folder, part, dtype, device)


def model_config(folder: Path, part: str) -> dict[str, Any]:
    """config.json of a part, less what could lead a library elsewhere (private keys, code to fetch, quantisers).

    Raises:
        UserError: no such file, or numbers that no prior has.
    """
    config = load_config(folder, part)
    led_elsewhere = ("auto_map", "attn_implementation", "quantization_config", "dtype", "torch_dtype")
    config = {k: v for k, v in config.items() if not k.startswith("_") and k not in led_elsewhere}
    for key, value in config.items():
        limit = 200 if "layers" in key else MAX_NUMBER
        for number in value if isinstance(value, list) else [value]:
            # Token ids may be anything; they build nothing.
            if isinstance(number, int) and number > limit and not key.endswith("_id"):
                raise UserError(f"{folder / part / 'config.json'} asks for {key} = {number}, which no prior has")
        if isinstance(value, list) and len(value) > 200:
            raise UserError(f"{folder / part / 'config.json'} lists {len(value)} numbers as {key}, which no prior does")
    return config


def whole_number(config: Mapping[str, Any], key: str, where: Path) -> int:
    """A positive whole number of a configuration; `UserError` if it is not there."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{where / 'config.json'} gives no whole number as {key}; it is no part of a known prior")
    return value


def default_dtype(device: torch.device) -> torch.dtype:
    """float16 on GPUs, as the published weights are stored, and float32 on the CPU."""
    return torch.float16 if device.type in ("cuda", "mps") else torch.float32


def check_text_fits(folder: Path, key: str, *encoders: str) -> None:
    """`UserError` unless the denoiser's `key` is the width of what its text encoders give together."""
    widths = []
    for part in encoders:
        config = model_config(folder, part)
        widths.append(whole_number(config, "d_model" if "d_model" in config else "hidden_size", folder / part))
    wanted = whole_number(model_config(folder, "unet"), key, folder / "unet")
    if sum(widths) != wanted:
        raise UserError(
            f"{folder}: the text encoder gives {sum(widths)} numbers a token, the denoiser takes {wanted}; {MIXED}"
        )


def load_module(
    make: Callable[[], nn.Module], folder: Path, part: str, dtype: torch.dtype, device: torch.device
) -> nn.Module:
    """The module that `make` builds, with the tensors of folder/part in it.

    Raises:
        UserError: the configuration builds nothing, or tensors are missing, unexpected or misshapen (names the first).
    """
    accelerate = library("accelerate")
    try:
        with accelerate.init_empty_weights(include_buffers=False):
            module = make()
    except UserError:
        raise
    except Exception as error:  # whatever a constructor makes of a configuration that somebody else wrote
        raise UserError(f"{folder / part / 'config.json'} builds no network: {first_line(error)}") from error
    tensors = load_safetensors_part(folder, part, MAX_PART_BYTES, half=dtype != torch.float32)
    fill(module, tensors, folder / part, dtype, device)
    module = module.to(device).eval().requires_grad_(False)
    return module.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def fill(
    module: nn.Module, tensors: dict[str, Tensor], where: Path | str, dtype: torch.dtype, device: torch.device
) -> None:
    """Give an empty module its tensors, renamed where older files name them otherwise, in `dtype` on `device`;
    `UserError` unless every key and shape matches (`where` is named in it)."""
    wanted = module.state_dict()
    found = renamed(tensors, wanted)
    missing = [k for k in wanted if k not in found]
    unexpected = [k for k in found if k not in wanted]
    wrong = [f"{k} {_size(found[k])} for {_size(v)}" for k, v in wanted.items() if k in found and _differ(found[k], v)]
    for what, keys in (("lack", missing), ("have unknown", unexpected), ("have a wrong shape in", wrong)):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise UserError(f"the weights in {where} {what} {', '.join(keys[:3])}{more}; they are of another network")
    tensors.clear()  # so that each tensor goes as soon as its converted copy is there
    ready = {k: found.pop(k).to(device, dtype if v.is_floating_point() else v.dtype) for k, v in wanted.items()}
    module.load_state_dict(ready, strict=True, assign=True)


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _differ(a: Tensor, b: Tensor) -> bool:
    return a.shape != b.shape


def renamed(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names that the module `wanted` has, whichever version wrote them."""
    found = {}
    for key, tensor in tensors.items():
        if key.endswith("position_ids") and key not in wanted:
            continue  # a constant that older versions of transformers stored
        found[next((name for name in _names(key) if name in wanted), key)] = tensor
    if "encoder.embed_tokens.weight" in wanted:  # T5 has one embedding under two names; files hold either or both
        shared = found.get("shared.weight", found.get("encoder.embed_tokens.weight"))
        if shared is not None:
            found["shared.weight"] = found["encoder.embed_tokens.weight"] = shared
    return found


def _names(key: str) -> list[str]:
    """What a stored key may be called in a module: itself first."""
    names = [key] + [key.removeprefix(prefix) for prefix in _PREFIXES] + [prefix + key for prefix in _PREFIXES]
    return names + [name.replace(old, new) for name in names for old, new in _OLD_NAMES.items()]


def noise_schedule(folder: Path, part: str = "scheduler") -> tuple[NoiseSchedule, str]:
    """The noise levels that a prior was trained with, and what its network predicts: "eps", "v" or "x0".

    Raises:
        UserError: a schedule or a prediction that is not known here.
    """
    config = load_config(folder, part, "scheduler_config.json")
    where = folder / part / "scheduler_config.json"
    prediction = PREDICTIONS.get(str(config.get("prediction_type", "epsilon")))
    if prediction is None:
        raise UserError(f"{where}: prediction type {config['prediction_type']!r} is none of {', '.join(PREDICTIONS)}")
    try:
        steps = int(config.get("num_train_timesteps", 1000))
        if not 1 <= steps <= 100_000:
            raise ValueError(f"{steps} steps")
        schedule = _levels(config, steps)
        if config.get("rescale_betas_zero_snr"):
            schedule = zero_terminal_snr(schedule)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where} describes no noise schedule: {first_line(error)}") from error
    return schedule, prediction


def _levels(config: Mapping[str, Any], steps: int) -> NoiseSchedule:
    """Of diffusers' schedulers, whose defaults are those of Ho et al. 2020."""
    trained = config.get("trained_betas")
    if trained is not None:
        return NoiseSchedule((1 - torch.tensor(trained, dtype=torch.float64)).cumprod(0))
    first, last = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
    name = config.get("beta_schedule", "linear")
    if name == "linear":
        return linear(steps, first, last)
    if name == "scaled_linear":
        return scaled_linear(steps, first, last)
    if name == "squaredcos_cap_v2":
        return cosine(steps)
    raise ValueError(f"unknown beta_schedule {name!r}; known are linear, scaled_linear, squaredcos_cap_v2")


def first_line(error: BaseException) -> str:
    """An error's first line, for a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def weight_bytes(*modules: nn.Module | None) -> int:
    """Memory that the parameters and buffers of modules take."""
    owned = (t for m in modules if m is not None for t in (*m.parameters(), *m.buffers()))
    return sum(t.numel() * t.element_size() for t in owned)
