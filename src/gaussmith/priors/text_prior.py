"""A published text-conditioned diffusion model as a prior: the one implementation for all of them.

What differs between Stable Diffusion, SDXL and DeepFloyd IF is how texts are embedded and what is noised; their modules
put those together and leave the rest to `TextPrior`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gaussmith.accelerator import constant, onto
from gaussmith.diffusion.guidance import Predictions, guide
from gaussmith.diffusion.prompts import PERP_NEG_VIEWS, VIEWS, Prompts, perp_neg_weights, view_weights
from gaussmith.diffusion.schedule import Level, NoiseSchedule, eps_from_v, eps_from_x0, x0_from_eps
from gaussmith.events import OnEvent, UserError, ignore
from gaussmith.priors.base import Trainable
from gaussmith.priors.files import weight_files
from gaussmith.priors.graphs import Graphs
from gaussmith.priors.networks import weight_bytes
from gaussmith.priors.pictures import Background, Latents, Pixels
from gaussmith.priors.texts import Texts, concat
from gaussmith.views import OrbitView

Embed = Callable[..., Texts]  # (folder, texts, dtype, device, on_event)


@dataclass(frozen=True)
class TextCondition:
    """The embedded prompt of a job.

    Attributes:
        positives, nulls: one text for each of `prompts.VIEWS`, mixed by `view_weights`.
        avoided: one for each of `prompts.PERP_NEG_VIEWS`, or None where Perp-Neg is off.
        smooth: whether views pass into each other or jump (`view_weights`).
    """

    positives: Texts
    nulls: Texts
    avoided: Texts | None
    smooth: bool = True


@dataclass(frozen=True)
class Memory:
    """How much memory a prior may take, and what it takes.

    Attributes:
        limit: bytes, or None for what there is.
        each: bytes that one picture takes on its way through the denoiser, estimated.
    """

    limit: int | None
    each: int

    def at_once(self, held: int, name: str) -> int | None:
        """How many pictures may go through the denoiser together beside the `held` bytes; None for any number.

        Raises:
            UserError: the weights and one picture are more than the limit; says what to lower.
        """
        if self.limit is None:
            return None
        if held + self.each > self.limit:
            raise UserError(
                f"{name} needs {(held + self.each) / 1e9:.3g} GB, more than the {self.limit / 1e9:.3g} GB allowed; "
                "raise --max-memory, or choose a smaller prior (`gaussmith priors` lists what each needs)"
            )
        return (self.limit - held) // self.each


def _call(network: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    return network(*inputs)


class TextPrior:
    """A prior told of by words; see `priors.base.EpsPrior`.

    Attributes:
        unet: the denoiser, frozen. space: what it noises (VAE latents or pixels).
        predicts: what the denoiser's output is: "eps", "v" or "x0".
    """

    sees_alpha = False
    group = 1
    from_reference = False
    told_in_words = True

    def __init__(
        self,
        name: str,
        folder: Path,
        unet: Any,
        space: Latents | Pixels,
        embed: Embed,
        schedule: NoiseSchedule,
        predicts: str,
        guidance_scale: float,
        memory: Memory,
    ) -> None:
        self.name, self.folder, self.unet, self.space = name, folder, unet, space
        self.schedule, self.predicts, self.guidance_scale = schedule, predicts, guidance_scale
        self.size, self.bounded = space.size, isinstance(space, Pixels)
        first = next(unet.parameters())
        self.device, self.dtype = first.device, first.dtype
        self._embed, self._memory, self._graphs = embed, memory, Graphs(memory.limit is None)
        self._embedded: dict[str, Texts] = {}
        self._trained: list[Any] = []
        self._at_once = memory.at_once(weight_bytes(unet) + space.needs(), name)
        if isinstance(space, Latents) and memory.limit is not None:
            space.slices = 1

    def condition(
        self, reference: Tensor, elevation: float, prompts: Prompts | None = None, on_event: OnEvent = ignore
    ) -> TextCondition:
        """The words alone: it sees no reference. `UserError` without words."""
        if prompts is None:
            raise UserError(f"the prior {self.name} follows words; say what the picture shows with --prompt")
        return self.text_condition(prompts, on_event=on_event)

    def trainable(self, seed: int) -> Trainable:
        """A network to train beside it: an adapter in its denoiser until `release`, see `lora.attach_lora`."""
        from gaussmith.priors.lora import attach_lora

        self._trained.append(attach_lora(self, seed=seed))
        trained: Trainable = self._trained[-1]
        return trained

    def text_condition(self, prompts: Prompts, smooth: bool = True, on_event: OnEvent = ignore) -> TextCondition:
        """Embed the prompt with the words of each view, once a job; each distinct text is embedded once a prior.

        The text encoder is loaded for this and let go. What its token limit cuts off is told to `on_event`.
        """
        self._graphs.on_event = on_event
        positives, nulls = prompts.positives(), prompts.negatives()
        new = [text for text in dict.fromkeys((*positives, *nulls)) if text not in self._embedded]
        if new:
            device, dtype = self._where_to_embed()
            texts = self._embed(self.folder, new, dtype, device, on_event)
            for i, text in enumerate(new):
                one = texts[i : i + 1]
                pooled = None if one.pooled is None else one.pooled.to(self.device, self.dtype)
                self._embedded[text] = Texts(one.tokens.to(self.device, self.dtype), pooled)
            self._empty_cache()
        of_views = {view: self._embedded[text] for view, text in zip(VIEWS, positives)}
        avoided = concat([of_views[view] for view in PERP_NEG_VIEWS]) if prompts.avoids_views else None
        nulls_of_views = concat([self._embedded[text] for text in nulls])
        return TextCondition(concat(list(of_views.values())), nulls_of_views, avoided, smooth)

    def _where_to_embed(self) -> tuple[torch.device, torch.dtype]:
        """On the prior's device, or on the CPU where an encoder would not fit beside the denoiser (IF's T5)."""
        parts = [p for p in ("text_encoder", "text_encoder_2") if (self.folder / p).is_dir()]
        half = self.dtype != torch.float32
        largest = max(sum(f.stat().st_size for f in weight_files(self.folder, p, half)) for p in parts)
        if self._memory.limit is None or weight_bytes(self.unet) + largest <= self._memory.limit:
            return self.device, self.dtype
        return torch.device("cpu"), torch.bfloat16 if half else torch.float32

    def encode(self, pictures: Tensor, background: Background = 1.0) -> Tensor:
        """Premultiplied RGBA [B,4,H,W] in [0,1] over `background` (grey level, or colour [3] or [B,3]; white unless the
        recipe says otherwise), at the network's size, as what is noised [B,C,h,w]; differentiable."""
        return self.space.encode(pictures, background)

    def decode(self, clean: Tensor) -> Tensor:
        """[B,C,h,w] -> RGBA [B,4,size,size] in [0,1], opaque: these networks know no alpha."""
        with torch.no_grad():
            return self.space.decode(clean)

    def predict(
        self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Any, guidance_scale: float | None = None
    ) -> Tensor:
        """The guided x0 prediction [B,C,h,w]; see `Prior.predict`."""
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        return x0_from_eps(noisy, guide(self.eps(noisy, t, views, condition), scale), self.schedule.level(t))

    @torch.no_grad()
    def eps(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: TextCondition) -> Predictions:
        """See `EpsPrior.eps`: null (or negative) prompt, prompt, and the avoided views' prompts if there are any."""
        batch = len(views)
        weights = view_weights(views, condition.smooth)
        texts = [condition.nulls.mixed(weights), condition.positives.mixed(weights)]
        if condition.avoided is not None:
            texts += [condition.avoided[[k] * batch] for k in range(len(condition.avoided))]
        kinds = len(texts)
        out = self.denoise(noisy.repeat(kinds, 1, 1, 1), t.repeat(kinds), concat(texts))
        null, cond, *negatives = out.chunk(kinds)
        if not negatives:
            return Predictions(null, cond)
        return Predictions(null, cond, torch.stack(negatives), onto(perp_neg_weights(views), out.device))

    def denoise(self, noisy: Tensor, t: Tensor, texts: Texts) -> Tensor:
        """The eps [N,C,h,w] (float32) of the denoiser for noisy [N,C,h,w] at times t [N], told N texts; gradients flow
        where something requires them. In as many runs as the memory allows."""
        count = self._at_once or len(noisy)
        outs = [
            self.run(noisy[i : i + count], t[i : i + count], texts[i : i + count], self._graphs.run)
            for i in range(0, len(noisy), count)
        ]
        return outs[0] if len(outs) == 1 else torch.cat(outs)

    def run(self, noisy: Tensor, t: Tensor, texts: Texts, call: Callable[..., Tensor] = _call) -> Tensor:
        """`denoise` in one run. call: (network, *inputs) -> its output; the plain call also where an adapter is on."""
        step = onto(self.schedule.index(t), self.device)
        x = noisy.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
        out = call(self._ask, x, step, texts.tokens, *(() if texts.pooled is None else (texts.pooled,)))
        out = out[:, : noisy.shape[1]].float()  # IF predicts its variance too, after the noise
        return to_eps(noisy.float(), out, self.schedule.level(t), self.predicts)

    def _ask(self, x: Tensor, step: Tensor, tokens: Tensor, *pooled: Tensor) -> Tensor:
        told = {"added_cond_kwargs": self._sizes(*pooled)} if pooled else {}
        out: Tensor = self.unet(x, step, encoder_hidden_states=tokens, return_dict=False, **told)[0]
        return out

    def _sizes(self, pooled: Tensor) -> dict[str, Tensor]:
        """SDXL's micro-conditioning (Podell et al. 2023, section 2.2): original size, crop corner and target size."""
        ids = constant((self.size, self.size, 0, 0, self.size, self.size), pooled.to(self.dtype))
        return {"text_embeds": pooled, "time_ids": ids.expand(len(pooled), -1)}

    def release(self) -> None:
        """Let go what a job leaves: networks trained beside it, and the VAE, which can be read again. (Text encoders
        are kept no longer than the prompt takes.)"""
        while self._trained:
            self._trained.pop().remove()
        self._graphs.release()
        self.space.release()
        self._empty_cache()

    def _empty_cache(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def to_eps(noisy: Tensor, out: Tensor, level: Level, predicts: str) -> Tensor:
    """A denoiser's output as eps, whatever it predicts ("eps", "v" or "x0")."""
    if predicts == "eps":
        return out
    return eps_from_v(noisy, out, level) if predicts == "v" else eps_from_x0(noisy, out, level)
