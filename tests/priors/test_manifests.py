"""The manifests, and what we make of them, against what the hub says of the published files: their sizes in bytes.

A safetensors file is its tensors' bytes and a header that spells out every name and shape, so that the size of a whole
file says whether all names and shapes together are right. Where the sizes come from: manifests/README.md.
"""

from __future__ import annotations

import json
import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from gaussmith.priors.multiview_unet import MultiViewConfig, read_config

published = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("published.py"))))
# The sizes in MVDream's config.json, as diffusers writes them; ImageDream's has ip_dim too.
MVDREAM = {
    "_class_name": "MultiViewUNetModel",
    "_diffusers_version": "0.25.0",
    "attention_resolutions": [4, 2, 1],
    "camera_dim": 16,
    "channel_mult": [1, 2, 4, 4],
    "context_dim": 1024,
    "image_size": 32,
    "in_channels": 4,
    "model_channels": 320,
    "num_head_channels": 64,
    "num_res_blocks": 2,
    "out_channels": 4,
    "transformer_depth": 1,
}
HUGE = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}


def file_size(shapes: dict[str, list[int]], itemsize: int = 2) -> int:
    """Bytes of the file that safetensors writes of tensors with these names and shapes."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(shapes):
        start, end = end, end + itemsize * math.prod(shapes[name])
        kind = {2: "F16", 4: "F32"}[itemsize]
        header[name] = {"dtype": kind, "shape": shapes[name], "data_offsets": [start, end]}
    text = len(json.dumps(header, separators=(",", ":")))
    return 8 + text + -text % 8 + end


def manifest(name: str, part: str = "unet") -> dict[str, list[int]]:
    shapes: dict[str, list[int]] = json.loads((published.MANIFESTS / f"{name}.json").read_text())[part]
    return shapes


def test_sizes_are_those_that_safetensors_writes(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    shapes = {"b.weight": [3, 5], "a": [7], "scale": []}
    for dtype, itemsize in ((torch.float16, 2), (torch.float32, 4)):
        tensors = {name: torch.zeros(shape, dtype=dtype) for name, shape in shapes.items()}
        save_file(tensors, tmp_path / "file", metadata={"format": "pt"})
        assert file_size(shapes, itemsize) == (tmp_path / "file").stat().st_size


def test_imagedream_s_denoiser_is_the_published_file_to_the_byte() -> None:
    assert file_size(manifest("imagedream")) == 1_883_435_904


def test_zero123_s_denoiser_is_diffusers_own_with_eight_channels_to_the_byte() -> None:
    """A float32 file of the same network (InstructPix2Pix is one) has this size at several places."""
    assert file_size(manifest("zero123"), itemsize=4) == 3_438_213_624


@pytest.mark.parametrize(
    ("name", "part", "listed"),
    [("mvdream", "unet", 1.74e9), ("zero123", "unet", 1.72e9), ("zero123", "clip_camera_projection", 1.19e6)],
)
def test_what_the_hub_lists_rounded(name: str, part: str, listed: float) -> None:
    assert file_size(manifest(name, part)) == pytest.approx(listed, rel=5e-3)


@pytest.mark.parametrize(("more", "size"), [({}, 387), ({"ip_dim": 16}, 403)])
def test_multi_view_configurations_have_the_published_sizes(more: dict[str, int], size: int) -> None:
    content = MVDREAM | more
    assert len(json.dumps(content, indent=2, sort_keys=True) + "\n") == size
    assert read_config(content, "here") == MultiViewConfig(ip_dim=more.get("ip_dim", 0))


def test_the_other_parts_of_imagedream_are_the_published_files_to_the_byte() -> None:
    import diffusers
    import transformers

    with torch.device("meta"):
        parts = {
            1_261_595_704: transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**HUGE, patch_size=14)),
            680_820_392: transformers.CLIPTextModel(
                transformers.CLIPTextConfig(hidden_size=1024, intermediate_size=4096, num_hidden_layers=23)
            ),
            167_335_342: diffusers.AutoencoderKL(
                block_out_channels=(128, 256, 512, 512),
                down_block_types=("DownEncoderBlock2D",) * 4,
                up_block_types=("UpDecoderBlock2D",) * 4,
                layers_per_block=2,
            ),
        }
    prefixes = ("vision_model.", "text_model.", "")  # which transformers wrote before version 5
    for (size, module), prefix in zip(parts.items(), prefixes):
        names = {prefix + key.removeprefix(prefix): list(v.shape) for key, v in module.state_dict().items()}
        names = {key: shape for key, shape in names.items() if not key.endswith("position_ids")}
        assert file_size(names) == size, type(module).__name__
