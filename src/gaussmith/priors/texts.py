"""Prompts to embeddings: the text encoders of the published priors, loaded for the prompt and let go after it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaussmith.accelerator import onto
from gaussmith.diffusion.prompts import split_view_words
from gaussmith.events import OnEvent, UserError, Warned, ignore
from gaussmith.priors.files import load_config
from gaussmith.priors.networks import first_line, library, load_transformers

_MAX_TOKENIZER_BYTES = 64 << 20  # the largest published file, a tokenizer.json, has 3 MB
_T5_TOKENS = 77  # what DeepFloyd IF was trained with; T5 itself has no limit


@dataclass(frozen=True)
class Texts:
    """Embedded texts.

    Attributes:
        tokens: [N,L,D], what the denoiser's cross-attention sees, one row of D a token.
        pooled: [N,P], one row a text (SDXL), or None.
    """

    tokens: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def __getitem__(self, index: slice | Tensor | list[int]) -> Texts:
        return Texts(self.tokens[index], None if self.pooled is None else self.pooled[index])

    def mixed(self, weights: Tensor) -> Texts:
        """[B,N] weights -> B texts, each a weighted sum of these."""

        def mix(x: Tensor) -> Tensor:  # in float32: weights rounded to halves would not sum to 1
            return torch.einsum("bn,n...->b...", onto(weights.float(), x.device), x.float()).to(x.dtype)

        return Texts(mix(self.tokens), None if self.pooled is None else mix(self.pooled))


def concat(parts: Sequence[Texts]) -> Texts:
    """Join along the batch."""
    pooled = [p.pooled for p in parts if p.pooled is not None]
    return Texts(torch.cat([p.tokens for p in parts]), torch.cat(pooled) if pooled else None)


def embed_clip(
    folder: Path, texts: Sequence[str], dtype: torch.dtype, device: torch.device, on_event: OnEvent = ignore
) -> Texts:
    """Stable Diffusion 1.x and 2.x: the last hidden states, normalised, of one CLIP text encoder."""
    encoder = load_transformers("CLIPTextModel", folder, "text_encoder", dtype, device)
    ids = tokenize(folder, "tokenizer", "CLIPTokenizer", texts, encoder.config.max_position_embeddings, on_event)
    with torch.no_grad():
        return Texts(encoder(ids["input_ids"].to(device))[0])


def embed_sdxl(
    folder: Path, texts: Sequence[str], dtype: torch.dtype, device: torch.device, on_event: OnEvent = ignore
) -> Texts:
    """SDXL (Podell et al. 2023, section 2.1): the hidden states before the last of two CLIP text encoders side by side,
    and the second one's pooled, projected embedding. "" is all zeros where the pipeline says so."""
    parts, pooled = [], torch.empty(0)
    for suffix, kind, say in (("", "CLIPTextModel", ignore), ("_2", "CLIPTextModelWithProjection", on_event)):
        encoder = load_transformers(kind, folder, f"text_encoder{suffix}", dtype, device)
        limit = encoder.config.max_position_embeddings
        ids = tokenize(folder, f"tokenizer{suffix}", "CLIPTokenizer", texts, limit, say)
        with torch.no_grad():
            out = encoder(ids["input_ids"].to(device), output_hidden_states=True)
        parts.append(out.hidden_states[-2])
        pooled = out[0]
    tokens = torch.cat(parts, dim=-1)
    if load_config(folder, "", "model_index.json").get("force_zeros_for_empty_prompt"):
        keep = torch.tensor([bool(text) for text in texts], device=device).to(tokens)
        tokens, pooled = tokens * keep[:, None, None], pooled * keep[:, None]
    return Texts(tokens, pooled)


def embed_t5(
    folder: Path, texts: Sequence[str], dtype: torch.dtype, device: torch.device, on_event: OnEvent = ignore
) -> Texts:
    """DeepFloyd IF: the hidden states of a T5 encoder over the lower-case text, padding masked."""
    encoder = load_transformers("T5EncoderModel", folder, "text_encoder", dtype, device)
    lower = [text.lower().strip() for text in texts]
    ids = tokenize(folder, "tokenizer", "T5Tokenizer", lower, _T5_TOKENS, on_event)
    with torch.no_grad():
        return Texts(encoder(ids["input_ids"].to(device), attention_mask=ids["attention_mask"].to(device))[0])


def tokenize(
    folder: Path, part: str, kind: str, texts: Sequence[str], limit: int, on_event: OnEvent = ignore
) -> dict[str, Tensor]:
    """Texts as token ids and attention mask, both [N,limit] int64, padded; tells of what the limit cuts off, which is
    from the end, but before the words of a view: without those a long prompt would have a face on every side.

    Raises:
        UserError: the tokenizer's files cannot be read.
    """
    tokenizer = _tokenizer(folder / part, kind)
    # One by one, without any special tokens: what is over the room that they leave is lost.
    room = limit - tokenizer.num_special_tokens_to_add()
    fitting, lost = [], []
    for text in texts:
        kept, cut = _fit(tokenizer, text, room)
        fitting.append(kept)
        lost += [cut] if cut else []
    padded = tokenizer(fitting, padding="max_length", max_length=limit, truncation=True, return_tensors="pt")
    for tail in dict.fromkeys(lost):
        on_event(Warned(f"the prompt is longer than the {room} tokens that the prior reads; cut off: {tail!r}"))
    return {"input_ids": padded["input_ids"], "attention_mask": padded["attention_mask"]}


def _fit(tokenizer: Any, text: str, room: int) -> tuple[str, str]:
    """The text without as many words before its view's as it takes to fit into `room` tokens, and what was cut off."""

    def tokens(part: str) -> list[int]:
        ids: list[int] = tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    if len(ids := tokens(text)) <= room:
        return text, ""
    asked, view = split_view_words(text)
    words = asked.split()
    kept = bisect_right(range(len(words)), room, key=lambda n: len(tokens(" ".join(words[:n]) + view))) - 1
    if not view or kept < 1:  # a limit in the middle of a word is the tokenizer's own affair
        return text, tokenizer.decode(ids[room:]).strip()
    return " ".join(words[:kept]) + view, " ".join(words[kept:])


def _tokenizer(home: Path, kind: str) -> Any:
    for path in home.iterdir():
        if path.is_file() and path.stat().st_size > _MAX_TOKENIZER_BYTES:
            raise UserError(f"{path} is larger than any tokenizer; fetch or copy the pipeline again")
    cls = getattr(library("transformers"), kind)
    try:
        return cls.from_pretrained(str(home), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the library raises whatever its parsers do
        raise UserError(f"the tokenizer in {home} cannot be read: {first_line(error)}") from error
