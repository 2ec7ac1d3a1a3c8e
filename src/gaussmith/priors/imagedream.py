"""ImageDream: a picture, and words if there are any -> four views of the object (Wang & Shi 2023, arXiv 2312.02201).

MVDream (see `mvdream.py` for cameras and frame) that looks at a reference picture in two ways: its cross-attention sees
tokens gathered from CLIP's patches, and its latents join each group as a fifth view whose camera is all zeros. Read
from the folder ashawkey/imagedream-ipmv-diffusers. The reference is taken for the front of the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gaussmith.diffusion.guidance import Predictions
from gaussmith.diffusion.prompts import Prompts, view_weights
from gaussmith.events import OnEvent, ignore
from gaussmith.priors import denoiser
from gaussmith.priors.denoiser import Denoiser, look, read
from gaussmith.priors.hub import Located
from gaussmith.priors.mvdream import GROUP, SIZE, Told, Words, denoise_groups, embed_prompts, multiview_unet
from gaussmith.priors.pictures import over, resize
from gaussmith.views import OrbitView


@dataclass(frozen=True)
class Condition:
    """The digested reference and words.

    Attributes:
        cond, null: [1,T,D] tokens of the picture, and of no picture.
        latents: [1,4,h,w] of the picture.
    """

    words: Words
    cond: Tensor
    null: Tensor
    latents: Tensor


class ImageDream:
    """Implements `priors.base.EpsPrior` for batches that are groups of four views a quarter turn apart.

    Attributes:
        group: how many views belong together.
    """

    guidance_scale = 5.0  # the authors' and DreamGaussian's public settings
    sees_alpha, bounded, group, from_reference, told_in_words = False, False, GROUP, True, False

    def __init__(self, net: Denoiser) -> None:
        self.net = net
        self.name, self.size, self.schedule, self.device = net.located.name, net.space.size, net.schedule, net.device

    def condition(
        self, reference: Tensor, elevation: float, prompts: Prompts | None = None, on_event: OnEvent = ignore
    ) -> Condition:
        """See `Prior.condition`; words are optional, and the network is not told the reference's elevation.

        The text and image encoders are loaded for this and let go.
        """
        words = embed_prompts(self.net, prompts, on_event)
        picture = resize(reference[None].to(self.device, torch.float32), self.size)
        features = look(self.net, "CLIPVisionModel", over(picture), lambda out: out.hidden_states[-2])
        with torch.no_grad():
            # No picture is zeros before the tokens are made of it, so its tokens are not zeros.
            cond, null = self.net.unet.image_tokens(torch.cat([features, torch.zeros_like(features)])).split(1)
            return Condition(words, cond, null, self.net.space.encode(picture))

    encode, decode = denoiser.encode, denoiser.decode
    predict, release = denoiser.predict, denoiser.release

    def eps(self, noisy: Tensor, t: Tensor, views: OrbitView, condition: Condition) -> Predictions:
        """See `EpsPrior.eps`; the null is the negative words and no picture, in either of its places.

        Raises:
            ValueError: the views are not groups of four a quarter turn apart.
        """
        weights, words = view_weights(views), condition.words
        null, cond = (texts.mixed(weights).tokens for texts in (words.nulls, words.positives))
        nothing = Told(null, condition.null, torch.zeros_like(condition.latents))
        told = [nothing, Told(cond, condition.cond, condition.latents)]
        return Predictions(*denoise_groups(self.net, noisy, t, views, told))


def load(
    located: Located,
    device: torch.device,
    dtype: torch.dtype | None = None,
    max_memory: int | None = None,
    size: int = SIZE,
) -> ImageDream:
    """ImageDream from its pipeline folder; arguments and errors as `zero123.load`."""
    return ImageDream(
        read(located, device, dtype, max_memory, multiview_unet(located, device, image=True), size, GROUP + 1)
    )
