"""A low-rank adapter (LoRA; Hu et al. 2022) on a frozen text prior: the network that VSD, BSD and DSD train beside it.

The base weights are shared: the adapter is switched on for its own predictions and off for everybody else's. It is told
the camera as ProlificDreamer's (Wang et al. 2023, section 4.3): an embedding of the camera-to-world matrix is added to
that of the time. It starts as the prior itself: both the adapter's second matrix and the camera's last layer are zero.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gaussmith.accelerator import onto
from gaussmith.diffusion.prompts import view_weights
from gaussmith.priors.networks import library
from gaussmith.priors.text_prior import TextCondition, TextPrior
from gaussmith.views import OrbitView

_TARGETS = ["to_q", "to_k", "to_v", "to_out.0"]  # the attention's projections, as in ProlificDreamer


class Lora:
    """A trained copy of a prior that is only its difference; see `priors.base.Trainable`. Made by `attach_lora`."""

    def __init__(self, prior: TextPrior, name: str, layers: dict[str, Any], camera: nn.Sequential) -> None:
        self.prior, self.name, self._layers, self._camera = prior, name, layers, camera
        self._views: Tensor | None = None
        self._hook = prior.unet.time_embedding.register_forward_hook(self._add_camera)

    def parameters(self) -> dict[str, Tensor]:
        """See `Trainable.parameters`: float32, whatever the type of the prior."""
        found: dict[str, Tensor] = {}
        for path, layer in self._layers.items():
            found[f"{path}.down"] = layer.lora_A[self.name].weight
            found[f"{path}.up"] = layer.lora_B[self.name].weight
        return found | {f"camera.{name}": tensor for name, tensor in self._camera.named_parameters()}

    def variational_eps(
        self, noisy: Tensor, t: Tensor, views: OrbitView, condition: TextCondition, null: bool = False
    ) -> Tensor:
        """See `Trainable.variational_eps`; [B,C,h,w] float32."""
        texts = condition.nulls if null else condition.positives
        with self._switched_on(views):
            return self.prior.run(noisy, t, texts.mixed(view_weights(views, condition.smooth)))

    def remove(self) -> None:
        """Take the adapter out of the denoiser, which is the prior's own again; of no use after that."""
        self._hook.remove()
        with warnings.catch_warnings():  # peft tells which other adapter it makes the active one; all are off
            warnings.filterwarnings("ignore", "Adapter .* was active which is now deleted")
            for layer in self._layers.values():
                layer.delete_adapter(self.name)
        self.prior.unet.peft_config.pop(self.name)
        switch_off(self._layers)

    @contextmanager
    def _switched_on(self, views: OrbitView) -> Iterator[None]:
        self._views = onto(views.camera().c2w.flatten(1), self.prior.device)
        for layer in self._layers.values():
            layer.enable_adapters(True)
            layer.set_adapter(self.name)
        try:
            yield
        finally:
            self._views = None
            switch_off(self._layers)

    def _add_camera(self, module: nn.Module, inputs: Any, embedded: Tensor) -> Tensor | None:
        """After the time embedding of the denoiser [N,D]; nothing unless this adapter is the one that is on."""
        return None if self._views is None else embedded + self._camera(self._views).to(embedded)


def attach_lora(prior: TextPrior, rank: int = 4, seed: int = 0, camera_dim: int = 256) -> Lora:
    """Put an adapter into the prior's denoiser, off until it is asked. Several may be attached, each with its weights.

    Args:
        rank: of the adapter (4: ProlificDreamer). seed: of its weights. camera_dim: hidden width of the camera's
            embedding.

    Raises:
        UserError: peft is not installed.
    """
    peft = library("peft")
    if rank < 1 or camera_dim < 1:
        raise ValueError(f"rank and camera_dim must be positive, got {rank} and {camera_dim}")
    taken = {name for layer in lora_layers(prior.unet).values() for name in layer.lora_A}
    name = next(name for i in range(len(taken) + 1) if (name := f"gaussmith{i}") not in taken)
    config = peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=_TARGETS)
    # peft draws weights of its own, which are replaced below, and warns of a second adapter, which is what we want.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config` attribute")
        peft.inject_adapter_in_model(config, prior.unet, adapter_name=name)
        first, last = nn.Linear(16, camera_dim), nn.Linear(camera_dim, prior.unet.time_embedding.linear_2.out_features)
    generator = torch.Generator().manual_seed(seed)
    layers = lora_layers(prior.unet)
    for layer in layers.values():
        down, up = layer.lora_A[name].float().weight, layer.lora_B[name].float().weight
        _draw(down, generator)
        nn.init.zeros_(up)
    _draw(first.weight, generator)
    for tensor in (first.bias, last.weight, last.bias):
        nn.init.zeros_(tensor)
    switch_off(layers)
    return Lora(prior, name, layers, nn.Sequential(first, nn.SiLU(), last).to(prior.device))


def lora_layers(unet: nn.Module) -> dict[str, Any]:
    """The layers of a denoiser that adapters have been put into, by path."""
    return {path: module for path, module in unet.named_modules() if hasattr(module, "lora_A")}


def switch_off(layers: dict[str, Any]) -> None:
    """Let the layers be the prior's again. What is trained stays marked so: peft unmarks what is off."""
    for layer in layers.values():
        layer.enable_adapters(False)
        for weights in (*layer.lora_A.values(), *layer.lora_B.values()):
            weights.requires_grad_(True)


def _draw(weight: Tensor, generator: torch.Generator) -> None:
    """Uniform within 1 / sqrt(fan in), torch's and peft's own way, from our generator."""
    bound = 1 / math.sqrt(weight.shape[1])
    with torch.no_grad():
        weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) * bound)
