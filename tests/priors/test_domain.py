"""How far pictures are from the training domain: what it is made of, what it finds, how it travels with weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from gaussmith.events import UserError
from gaussmith.priors.embedded.domain import NAMES, Distance, Domain, domain_distance, measure_domain, statistics
from gaussmith.priors.embedded.network import NetworkConfig
from gaussmith.priors.embedded.prior import EmbeddedPrior, load_weights, save_weights
from gaussmith.recipes.train_prior import initial_network

TINY = NetworkConfig(
    encoder_widths=(16, 32, 64), denoiser_widths=(16, 32, 64), encoder_blocks=1, denoiser_blocks=1,
    volume_channels=6, volume_depth=6, refiner_widths=(8,), ray_steps=8, embedding=32,
)  # fmt: skip


def toys(count: int, seed: int) -> torch.Tensor:
    """Flat-coloured balls on boxes: [count,4,64,64] premultiplied."""
    random = np.random.default_rng(seed)
    pictures = []
    for _ in range(count):
        image = Image.new("RGBA", (256, 256), (0, 0, 0, 0))
        draw = ImageDraw.Draw(image)
        w, h, r = random.integers(30, 90), random.integers(20, 60), random.integers(20, 55)
        box, ball = ((*random.integers(0, 255, 3).tolist(), 255) for _ in range(2))
        draw.rectangle((128 - w, 128, 128 + w, 128 + h), fill=box)
        draw.ellipse((128 - r, 128 - 2 * r, 128 + r, 128), fill=ball)
        image = image.resize((64, 64), Image.Resampling.BOX)
        pictures.append(torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255)
    rgba = torch.stack(pictures)
    return torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], dim=1)


def outlines(picture: torch.Tensor) -> torch.Tensor:
    """The same as a drawing of thin black lines."""
    smooth = torch.nn.functional.avg_pool2d(picture[None], 3, 1, 1)[0]
    line = ((picture - smooth).abs().amax(dim=0, keepdim=True) > 0.1).float()
    return torch.cat([torch.zeros(3, *line.shape[1:]), line])


@pytest.fixture(scope="module")
def prior():
    domain = measure_domain(toys(150, seed=0), toys(60, seed=1))
    return EmbeddedPrior(initial_network(TINY, seed=0), domain=domain)


def test_what_it_learned_from_is_near_and_the_rest_is_far(prior):
    fresh = [domain_distance(prior, p) for p in toys(40, seed=2)]
    assert sum(d.far for d in fresh) <= 4
    assert 15 < np.median([d.percentile for d in fresh]) < 85
    generator = torch.Generator().manual_seed(0)
    for picture in toys(5, seed=3):
        alpha = picture[3:]
        noise = torch.cat([torch.rand(3, 64, 64, generator=generator) * alpha, alpha])
        assert domain_distance(prior, noise) == Distance(100.0, True)
        assert domain_distance(prior, outlines(picture)).far
        soft = torch.linspace(0.2, 1, 64)[:, None] * picture[:3]
        shaded = domain_distance(prior, torch.cat([soft, alpha]))
        assert shaded.percentile > domain_distance(prior, picture).percentile


def test_larger_pictures_are_judged_at_the_prior_s_size(prior):
    for picture in toys(4, seed=4):
        large = picture.repeat_interleave(3, dim=1).repeat_interleave(3, dim=2)
        assert domain_distance(prior, large) == domain_distance(prior, picture)


def test_statistics_of_a_plain_square_are_what_they_are_by_hand():
    square = torch.zeros(1, 4, 64, 64)
    square[:, :, 16:48, 16:48] = torch.tensor([0.5, 0.5, 0.5, 1.0])[:, None, None] * 1.0
    thin, *details, flat, median, entropy = statistics(square)[0].tolist()
    # Rim: each 3x3 mean differs by 3/9 along a side, inside and outside, and by 5/9 and 1/9 (or 2/9 beside) at corners.
    rim = 4 * (30 * 3 / 9 + 32 * 3 / 9) + 4 * (5 / 9 + 1 / 9) - 4 * 2 * (3 / 9 - 2 / 9)
    assert thin == pytest.approx(np.log(rim / 32**2), abs=1e-4)
    assert details == pytest.approx([np.log(2e-3)] * 3, abs=1e-2)
    assert (flat, entropy) == (1.0, 0.0)
    assert median == pytest.approx(np.log(1e-3), abs=1e-2)
    # Two colours in equal parts: one nat times log 2, and detail along their border only.
    square[:, :3, 16:48, 16:32] = 0.0
    _, *_, flat, median, entropy = statistics(square)[0].tolist()
    assert entropy == pytest.approx(np.log(2), abs=1e-5)
    assert flat == pytest.approx(1 - 2 / 32, abs=1e-6)


def test_nothing_and_nearly_nothing_have_statistics():
    speck = torch.zeros(2, 4, 64, 64)
    speck[1, :, 30, 30] = 1.0
    assert statistics(speck).shape == (2, len(NAMES))
    assert bool(statistics(speck).isfinite().all())


def test_the_domain_travels_with_the_weights(prior, tmp_path):
    save_weights(prior, tmp_path / "w.safetensors")
    again = load_weights(tmp_path / "w.safetensors", precision="float32")
    picture = toys(1, seed=5)[0] * 0.7
    assert torch.equal(again.domain.known, prior.domain.known)
    assert domain_distance(again, picture) == domain_distance(prior, picture)


def test_weights_without_a_domain_still_load_and_do_not_know(tmp_path):
    save_weights(EmbeddedPrior(initial_network(TINY, seed=0)), tmp_path / "old.safetensors")
    old = load_weights(tmp_path / "old.safetensors", precision="float32")
    assert old.domain is None
    assert domain_distance(old, toys(1, seed=0)[0]) is None
    assert domain_distance(object(), toys(1, seed=0)[0]) is None


@pytest.mark.parametrize("broken", [{"domain.known": torch.zeros(9, 3)}, {"domain.held_out": torch.zeros(0)}, None])
def test_a_broken_domain_is_one_sentence(prior, tmp_path, broken):
    path = tmp_path / "w.safetensors"
    save_weights(prior, path)
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    if broken is None:
        del tensors["domain.held_out"]
    else:
        tensors |= broken
    save_file(tensors, path, metadata)
    with pytest.raises(UserError, match="does not hold an embedded prior"):
        load_weights(path, precision="float32")


def test_too_few_pictures_make_no_domain():
    with pytest.raises(ValueError, match="5 training pictures"):
        measure_domain(toys(3, seed=0), toys(3, seed=1))
    with pytest.raises(ValueError, match="a domain is"):
        Domain(torch.zeros(9, len(NAMES)), torch.zeros(0))
