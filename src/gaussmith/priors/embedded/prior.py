"""The embedded prior as recipes use it, and its weights file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gaussmith.accelerator import onto
from gaussmith.diffusion.guidance import Predictions
from gaussmith.diffusion.prompts import Prompts
from gaussmith.diffusion.schedule import CosineTime, Schedule, cfg, eps_from_v, x0_from_v
from gaussmith.events import OnEvent, UserError, Warned, ignore
from gaussmith.priors.embedded import draft
from gaussmith.priors.embedded.domain import Domain
from gaussmith.priors.embedded.network import Encoded, NetworkConfig, PriorNetwork, Told
from gaussmith.priors.embedded.placement import PlacementHead
from gaussmith.priors.embedded.symmetry import Plane, SymmetryHead, find_planes
from gaussmith.priors.embedded.vocabulary import Vocabulary
from gaussmith.priors.graphs import Graphs
from gaussmith.rotation import turned
from gaussmith.views import OrbitView

WEIGHTS = Path(__file__).with_name("weights.safetensors")
NO_WORDS = Vocabulary(())
# How much several references say of a view: e times less for so many degrees of turn, and for a mirrored one, which may
# show what is not so, by this power less. Those are blended that have most to say. Chosen on validation objects.
BLEND, DOUBT, BLENDED = 90.0, 0.8, 2
_MAX_BYTES = 200 * 2**20  # a file over this is not ours
# Before the names of the tensors that are not the network's.
_DOMAIN, _SYMMETRY, _PLACEMENT = "domain.", "symmetry.", "placement."


@dataclass(frozen=True)
class Condition:
    """What a job is about.

    Attributes:
        encoded: R digested reference pictures, or None. caption: [1,L] numbers of a caption's words.
        pictures: [R,4,64,64] the references in [-1,1]. azimuth: [R] degrees of their cameras from the first's.
    """

    encoded: Encoded | None
    caption: Tensor
    pictures: Tensor | None = None
    azimuth: Tensor = field(default_factory=lambda: torch.zeros(1))


class EmbeddedPrior:
    """A 64-pixel RGBA novel-view diffusion prior; see `network.py`. Implements `priors.base.EpsPrior`.

    Azimuths of views are relative to the reference's where there is one, else to the object's front.
    """

    name = "embedded"
    size = 64
    schedule: Schedule = CosineTime()
    guidance_scale = 1.25  # chosen on validation objects; what is over 2 oversaturates
    # Pictures are drawn down to this time, then cleaned in one step: going on from there step by step, the present
    # weights mottle what was flat. Words leave much to choose on the way; of a view of a reference the draft has said
    # nearly all that there is to say (both by eye, and by PSNR and LPIPS on validation objects).
    least_time, least_time_of_reference = 0.65, 0.95
    sees_alpha, bounded, group, from_reference, told_in_words = True, True, 1, True, False
    knows_made_things = True  # it learned from what `synth.procedural` makes: a picture of words may begin with that

    def __init__(
        self,
        network: PriorNetwork,
        vocabulary: Vocabulary = NO_WORDS,
        domain: Domain | None = None,
        symmetry: SymmetryHead | None = None,
        placement: PlacementHead | None = None,
    ) -> None:
        self.network = network.eval()
        self.vocabulary = vocabulary
        self.domain = domain  # None: nobody measured what pictures it learned from
        self.symmetry = symmetry  # None: it was not taught what mirrored pictures are worth
        self.placement = placement  # None: it was not taught where objects stand
        self.device = network.encoder_in.weight.device
        self._graphs = Graphs()

    @torch.no_grad()
    def condition(
        self, reference: Tensor, elevation: float, prompts: Prompts | None = None, on_event: OnEvent = ignore
    ) -> Condition:
        """See `Prior.condition`: reference [4,H,W] premultiplied RGBA in [0,1], prior frame."""
        self._graphs.on_event = on_event
        signed = self.encode(reference[None].to(self.device))
        encoded = self.network.read(signed, torch.tensor([float(elevation)]))
        caption = "" if prompts is None else prompts.text
        self._tell_unknown(caption, on_event)
        return Condition(encoded, self.vocabulary.numbers([caption]).to(self.device), signed)

    def mirror_planes(self, condition: Condition) -> tuple[Plane, ...]:
        """The upright planes in which the reference's object is its own mirror image, see `symmetry.find_planes`."""
        if self.symmetry is None or condition.encoded is None or condition.pictures is None:
            return ()
        return find_planes(self.symmetry, self.network, condition.encoded, condition.pictures)

    @torch.no_grad()
    def with_mirrored(self, condition: Condition, planes: Sequence[Plane]) -> Condition:
        """The condition with the reference's mirrored pictures beside it: all are asked of a view, the nearest most."""
        assert condition.encoded is not None and condition.pictures is not None
        mirrored = condition.pictures.flip(-1).expand(len(planes), -1, -1, -1)
        pictures = torch.cat([condition.pictures, mirrored])
        encoded = self.network.read(pictures, condition.encoded.elevation.repeat(len(pictures)))
        azimuth = torch.tensor([0.0, *(plane.view for plane in planes)])
        return replace(condition, encoded=encoded, pictures=pictures, azimuth=azimuth)

    def text_condition(self, prompts: Prompts, on_event: OnEvent = ignore) -> Condition:
        """The condition of words alone: `prompts.text`, for the camera is told to the network itself.

        Raises:
            UserError: it knows none of the words.
        """
        self._graphs.on_event = on_event
        numbers = self.vocabulary.numbers([prompts.text]).to(self.device)
        if not bool(numbers.any()):
            raise UserError(
                f"The embedded prior knows no word of {prompts.text!r}; name a single object in plain words, such as "
                '"a red wooden chair".'
            )
        self._tell_unknown(prompts.text, on_event)
        return Condition(None, numbers)

    def draft_points(
        self, condition: Condition, count: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor] | None:
        """Points [count,3] where the reference's draft has the object, seen from azimuth 0, and their colours [count,3]
        in [0,1]; None for words alone, of which there is no draft. Of several references each gives a part."""
        if condition.encoded is None:
            return None
        volumes, elevation = condition.encoded.pictured, float(condition.encoded.elevation[0])
        parts = [
            draft.points(volume, elevation, count * (i + 1) // len(volumes) - count * i // len(volumes), generator)
            for i, volume in enumerate(volumes)
        ]
        points = [turned(points, float(azimuth)) for (points, _), azimuth in zip(parts, condition.azimuth)]
        return torch.cat(points), torch.cat([colors for _, colors in parts])

    def _tell_unknown(self, caption: str, on_event: OnEvent) -> None:
        unknown = self.vocabulary.unknown(caption)
        if unknown:
            on_event(
                Warned(f"The embedded prior does not know the words {', '.join(unknown)}; it goes on without them.")
            )

    def encode(self, pictures: Tensor, background: float = 1.0) -> Tensor:
        """Area-average to 64x64 and scale to [-1,1]; differentiable. It sees alpha, so no background is needed."""
        return F.interpolate(pictures, size=(self.size, self.size), mode="area") * 2 - 1

    def decode(self, clean: Tensor) -> Tensor:
        """Back to [0,1]."""
        return (clean * 0.5 + 0.5).clamp(0, 1)

    def release(self) -> None:
        """Let go what a job leaves: the graphs of its calls."""
        self._graphs.release()

    @torch.no_grad()
    def predict(
        self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Condition, guidance_scale: float | None = None
    ) -> Tensor:
        """The guided x0 prediction [B,4,64,64]."""
        scale = self.guidance_scale if guidance_scale is None else guidance_scale
        if scale == 1.0:
            (v,) = self._velocities(noisy, t, views, condition, null=False)
        else:
            cond, null = self._velocities(noisy, t, views, condition)
            v = cfg(null, cond, scale)
        return x0_from_v(noisy, v, self.schedule.level(t)).clamp(-1, 1)

    @torch.no_grad()
    def eps(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Condition) -> Predictions:
        """See `priors.base.EpsPrior.eps`; the null prior is told neither picture nor caption nor pose."""
        level = self.schedule.level(t)
        cond, null = (eps_from_v(noisy, v, level) for v in self._velocities(noisy, t, views, condition))
        return Predictions(null, cond)

    @torch.no_grad()
    def draft(self, views: OrbitView, condition: Condition) -> Tensor:
        """The references' volumes seen from B views, before any denoising: [B,4,64,64], premultiplied RGBA in [0,1]."""
        return self._told(views, condition).draft.clamp(0, 1)

    def _told(self, views: OrbitView, condition: Condition) -> Told:
        """What is told of B views by the references that have most to say of each, blended."""
        turn = (views.azimuth.cpu()[:, None] - condition.azimuth + 180) % 360 - 180  # [B,R] from each of them
        say, best = (-turn.abs() / BLEND - DOUBT * torch.arange(turn.shape[1]).sign()).topk(min(BLENDED, turn.shape[1]))
        batch, count = best.shape
        front, elevation = (x.cpu().repeat_interleave(count) for x in (views.azimuth, views.elevation))
        keep = torch.full((batch * count,), float(condition.encoded is not None), device=self.device)
        caption = condition.caption.expand(batch * count, -1)
        given, azimuth = caption.any(dim=1).float(), turn.gather(1, best).flatten()
        told = self.network.tell(condition.encoded, best.flatten(), azimuth, elevation, keep, caption, given, front)
        return told.blended(onto(torch.softmax(say, dim=1), self.device))

    def _velocities(
        self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Condition, null: bool = True
    ) -> tuple[Tensor, ...]:
        """v [B,4,64,64] under the condition and, if `null`, without it, from one pass."""
        told, t = self._told(views, condition), onto(t, self.device)
        if not null:
            return (self._graphs.run(self._denoise, noisy, t, *vars(told).values()),)
        both = Told(**{k: torch.cat([v, v]) for k, v in vars(told).items()})
        zero = torch.zeros_like(told.keep)
        both = replace(both, keep=torch.cat([told.keep, zero]), keep_caption=torch.cat([told.keep_caption, zero]))
        noisy, t = torch.cat([noisy, noisy]), torch.cat([t, t])
        return self._graphs.run(self._denoise, noisy, t, *vars(both).values()).chunk(2)

    def _denoise(self, noisy: Tensor, t: Tensor, *told: Tensor) -> Tensor:
        return self.network.denoise(noisy, t, Told(*told))


def save_weights(prior: EmbeddedPrior, path: Path, notes: dict[str, str] | None = None) -> None:
    """Write the network as fp16 safetensors, its sizes and `notes` in the header; written beside and renamed."""
    tensors = {k: v.detach().cpu().half().contiguous() for k, v in prior.network.state_dict().items()}
    if prior.domain is not None:
        tensors |= {_DOMAIN + k: v.float().contiguous() for k, v in vars(prior.domain).items()}
    if prior.symmetry is not None:
        tensors |= {_SYMMETRY + k: v.detach().cpu().float() for k, v in prior.symmetry.state_dict().items()}
    if prior.placement is not None:
        tensors |= {_PLACEMENT + k: v.detach().cpu().half() for k, v in prior.placement.state_dict().items()}
    metadata = {
        "format": "gaussmith-prior-1",
        "network": json.dumps(asdict(prior.network.config)),
        "words": json.dumps(prior.vocabulary.words),
        **(notes or {}),
    }
    part = path.with_name(path.name + ".part")
    save_file(tensors, part, metadata)
    part.replace(path)


def load_weights(path: Path = WEIGHTS, device: str | torch.device = "cpu", precision: str = "auto") -> EmbeddedPrior:
    """Read the weights that ship with the package, or a file of the same kind.

    Args:
        precision: "float32", "bfloat16", or "auto" for whichever is quicker on this processor.

    Raises:
        UserError: the file is missing or is not such a file.
    """
    if not path.is_file():
        raise UserError(
            f"The prior's weights are missing at {path}; reinstall gaussmith or run `gaussmith train-prior`."
        )
    if path.stat().st_size > _MAX_BYTES:
        raise UserError(f"{path} is larger than any embedded prior; give the weights.safetensors of `train-prior`.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
        known = {f.name for f in fields(NetworkConfig)}
        sizes: dict[str, Any] = {"refiner_widths": (), **json.loads(metadata["network"])}  # first files had none
        sizes = {k: tuple(v) if isinstance(v, list) else v for k, v in sizes.items()}
        with torch.device("meta"):  # no time is spent on first values that are replaced at once
            network = PriorNetwork(NetworkConfig(**{k: v for k, v in sizes.items() if k in known}))
        known_pictures = {k: tensors.pop(k) for k in list(tensors) if k.startswith(_DOMAIN)}
        domain = Domain(**{k.removeprefix(_DOMAIN): v for k, v in known_pictures.items()}) if known_pictures else None
        symmetry = _head(SymmetryHead(), tensors, _SYMMETRY)
        placement = _head(PlacementHead(), tensors, _PLACEMENT)
        network.load_state_dict(tensors, assign=True)
        vocabulary = Vocabulary(tuple(str(word) for word in json.loads(metadata.get("words", "[]"))))
        if len(vocabulary) != network.config.vocabulary:
            raise ValueError(f"{len(vocabulary)} words for a network of {network.config.vocabulary}")
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} does not hold an embedded prior ({reason}); reinstall gaussmith.") from error
    network = network.to(device).to_channels_last().eval().requires_grad_(False)
    if precision == "bfloat16" or (precision == "auto" and _bfloat16_is_quicker(network.encoder_in.weight.device)):
        network = network.bfloat16()
    symmetry = None if symmetry is None else symmetry.to(device)
    return EmbeddedPrior(network, vocabulary, domain, symmetry, placement)


def load_placement(path: Path = WEIGHTS) -> PlacementHead | None:
    """The head alone that says where objects stand, without the rest of the weights; None where there is none. What is
    wrong with a file, `load_weights` tells."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {k: file.get_tensor(k).float() for k in file.keys() if k.startswith(_PLACEMENT)}  # noqa: SIM118
        return _head(PlacementHead(), tensors, _PLACEMENT)
    except (SafetensorError, RuntimeError, OSError):
        return None


_Head = TypeVar("_Head", bound=torch.nn.Module)


def _head(head: _Head, tensors: dict[str, Tensor], name: str) -> _Head | None:
    """The head with its tensors of a file, which are taken out of them; None where there are none, or those of a head
    that asked something else, before it was changed: the rest of the file is as good as ever."""
    found = {k.removeprefix(name): tensors.pop(k) for k in list(tensors) if k.startswith(name)}
    if {k: t.shape for k, t in found.items()} != {k: t.shape for k, t in head.state_dict().items()}:
        return None
    head.load_state_dict(found)
    return head.eval().requires_grad_(False)


def _bfloat16_is_quicker(device: torch.device) -> bool:
    """Whether the processor has bf16 instructions: it flies where there are AMX or AVX512-BF16, and crawls elsewhere.

    Asked of the processor, not of a stopwatch: the answer decides the bits of every result.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return any(
        getattr(torch.cpu, name, lambda: False)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
