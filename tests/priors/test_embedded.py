"""The embedded prior: its file, its contract, its guidance convention."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from tiny_prior import TINY, tiny_prior

from gaussmith.diffusion.guidance import Guidance, guide
from gaussmith.diffusion.prompts import Prompts
from gaussmith.diffusion.schedule import x0_from_eps
from gaussmith.events import UserError
from gaussmith.priors.base import crop_to_prior
from gaussmith.priors.embedded.network import PriorNetwork, negative
from gaussmith.priors.embedded.prior import WEIGHTS, EmbeddedPrior, load_weights, save_weights
from gaussmith.priors.embedded.vocabulary import Vocabulary
from gaussmith.recipes.train_prior import initial_network
from gaussmith.views import random_orbit


@pytest.fixture
def tiny() -> EmbeddedPrior:
    return tiny_prior()


def inputs(batch: int = 3):
    random = torch.Generator().manual_seed(5)
    views = random_orbit(batch, random)
    return torch.rand(4, 64, 64, generator=random), torch.randn(batch, 4, 64, 64, generator=random), views


def test_guidance_is_null_plus_scale_times_difference(tiny):
    reference, noisy, views = inputs()
    condition, t = tiny.condition(reference, 10.0), torch.full((3,), 0.4)
    # Where nothing is clamped, x0 is affine in the scale.
    zero, one, two = (tiny.predict(noisy * 0.1, t, views, condition, s) for s in (0.0, 1.0, 2.0))
    assert (zero - one).abs().max() > 1e-3
    free = two.abs() < 1
    assert free.float().mean() > 0.5
    assert torch.allclose(two[free], (one + (one - zero))[free], atol=2e-4)


def test_the_parts_make_up_the_prediction(tiny):
    reference, noisy, views = inputs()
    condition, t = tiny.condition(reference, 10.0), torch.tensor([0.2, 0.5, 0.9])
    parts, level = tiny.eps(0.1 * noisy, t, views, condition), tiny.schedule.level(t)
    for scale in (0.0, 1.0, 2.0):
        x0 = x0_from_eps(0.1 * noisy, guide(parts, scale), level).clamp(-1, 1)
        torch.testing.assert_close(x0, tiny.predict(0.1 * noisy, t, views, condition, scale), atol=2e-5, rtol=1e-4)
        clipped = Guidance(scale, quantile=0.0)(tiny.eps(noisy, t, views, condition), noisy, level)
        torch.testing.assert_close(
            x0_from_eps(noisy, clipped, level), tiny.predict(noisy, t, views, condition, scale), atol=2e-5, rtol=1e-4
        )


def test_condition_and_pose_matter(tiny):
    reference, noisy, views = inputs()
    t = torch.full((3,), 0.9)
    base = tiny.predict(noisy, t, views, tiny.condition(reference, 10.0), 1.0)
    other = tiny.predict(noisy, t, views, tiny.condition(reference.flip(-1), 10.0), 1.0)
    turned = tiny.predict(noisy, t, views[[1, 2, 0]], tiny.condition(reference, 10.0), 1.0)
    assert (base - other).abs().max() > 1e-4
    assert (base - turned).abs().max() > 1e-4


def test_views_of_a_batch_do_not_mix(tiny):
    reference, noisy, views = inputs()
    condition = tiny.condition(reference, 0.0)
    together = tiny.predict(noisy, torch.tensor([0.2, 0.5, 0.9]), views, condition, 2.0)
    alone = tiny.predict(noisy[1:2], torch.tensor([0.5]), views[1], condition, 2.0)
    assert torch.allclose(together[1:2], alone, atol=1e-4)


def test_encode_decode_and_gradient(tiny):
    pictures = torch.rand(2, 4, 64, 64, requires_grad=True)
    assert torch.allclose(tiny.decode(tiny.encode(pictures)), pictures, atol=1e-6)
    large = torch.rand(1, 4, 128, 128, requires_grad=True)
    tiny.encode(large).sum().backward()
    assert torch.allclose(large.grad, torch.full_like(large, 0.5))


def test_weights_round_trip(tiny, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(tiny, path)
    again = load_weights(path, precision="float32")
    assert again.network.config == TINY
    for (name, a), (_, b) in zip(tiny.network.state_dict().items(), again.network.state_dict().items()):
        assert torch.equal(a.half().float(), b), name
    assert list(tmp_path.iterdir()) == [path]


def test_bfloat16_stays_close(tiny, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(tiny, path)
    reference, noisy, views = inputs()
    full, half = (load_weights(path, precision=p) for p in ("float32", "bfloat16"))
    a, b = (m.predict(noisy, torch.full((3,), 0.5), views, m.condition(reference, 0.0), 1.0) for m in (full, half))
    assert (a - b).abs().mean() < 0.03


def test_shipped_weights_are_small_and_sound():
    assert WEIGHTS.stat().st_size <= 40 * 2**20
    prior = load_weights(precision="float32")
    reference, noisy, views = inputs()
    out = prior.predict(noisy, torch.full((3,), 0.7), views, prior.condition(reference, 10.0), 2.0)
    assert out.isfinite().all()
    assert out.abs().max() <= 1


def test_missing_and_foreign_files_are_one_sentence(tmp_path):
    with pytest.raises(UserError, match="missing"):
        load_weights(tmp_path / "none.safetensors")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="does not hold"):
        load_weights(tmp_path / "other.safetensors")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(tmp_path, data):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(data)
    with pytest.raises(UserError):
        load_weights(path)


def test_crop_is_an_exact_zoom():
    """A horizontal ramp stays a ramp, tan(18) / tan(24.55) as steep across the cropped frame."""
    size = 256
    ramp = ((torch.arange(size) + 0.5) / size * 2 - 1).expand(1, size, size)
    crop = crop_to_prior(ramp)
    share = 0.711315
    assert crop.shape[-1] == round(size * share)
    n = crop.shape[-1]
    expected = ((torch.arange(n) + 0.5) / n * 2 - 1) * share
    assert torch.allclose(crop[0, 10], expected, atol=1e-3)


@pytest.fixture
def reader() -> EmbeddedPrior:
    """A small network that knows three words, with every parameter random."""
    network = PriorNetwork(replace(TINY, vocabulary=3))
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=random) * 0.1)
    return EmbeddedPrior(network.requires_grad_(False), Vocabulary(("blue", "chair", "red")))


def test_words_and_their_order_matter_with_and_without_a_picture(reader):
    reference, noisy, views = inputs()
    t = torch.full((3,), 0.8)

    def of(text: str, picture: bool) -> torch.Tensor:
        told = Prompts(text)
        condition = reader.condition(reference, 10.0, told) if picture else reader.text_condition(told)
        return reader.predict(noisy, t, views, condition, 1.0)

    for picture in (False, True):
        base = of("a red chair", picture)
        assert (base - of("a blue chair", picture)).abs().max() > 1e-4
        assert (base - of("chair red", picture)).abs().max() > 1e-4
        assert torch.equal(base, of("the red chairs", picture))
    without = reader.predict(noisy, t, views, reader.condition(reference, 10.0), 1.0)
    assert (without - of("red", True)).abs().max() > 1e-4


def test_the_camera_counts_from_the_front_where_there_are_only_words(reader):
    _, noisy, views = inputs()
    t, condition = torch.full((3,), 0.8), reader.text_condition(Prompts("red chair"))
    base = reader.predict(noisy, t, views, condition, 1.0)
    turned = reader.predict(noisy, t, views[[1, 2, 0]], condition, 1.0)
    assert (base - turned).abs().max() > 1e-4
    parts = reader.eps(noisy, t, views, condition)
    other = reader.eps(noisy, t, views, reader.text_condition(Prompts("blue")))
    assert torch.allclose(parts.null, other.null) and not torch.allclose(parts.cond, other.cond)


def test_unknown_words_are_told_and_all_unknown_is_refused(reader):
    events: list = []
    reader.text_condition(Prompts("a red dragonfruit chair"), events.append)
    assert len(events) == 1 and "dragonfruit" in events[0].message and "red" not in events[0].message
    reader.condition(torch.rand(4, 64, 64), 0.0, Prompts("zeppelin"), events.append)
    assert "zeppelin" in events[1].message
    with pytest.raises(UserError, match="knows no word"):
        reader.text_condition(Prompts("dragonfruit"))


def test_words_travel_with_the_weights(reader, tmp_path):
    save_weights(reader, tmp_path / "w.safetensors")
    again = load_weights(tmp_path / "w.safetensors", precision="float32")
    assert again.vocabulary == reader.vocabulary and again.network.config == reader.network.config


def test_the_draft_is_the_guess_that_the_denoiser_begins_from():
    """With a denoiser that has learned nothing, x0 at t = 1 is the draft."""
    prior = EmbeddedPrior(initial_network(TINY, seed=2).requires_grad_(False))
    reference, noisy, views = inputs()
    condition = prior.condition(reference, 10.0)
    assert condition.encoded is not None
    owner = torch.zeros(3, dtype=torch.int64)
    draft = prior.network.draft(condition.encoded, owner, views.azimuth, views.elevation)
    assert draft.shape == (3, 4, 64, 64) and draft.std() > 1e-3
    clean = prior.decode(prior.predict(noisy, torch.ones(3), views, condition, 1.0))
    torch.testing.assert_close(clean, draft.clamp(0, 1), atol=1e-5, rtol=0)


def test_a_negative_is_the_same_thing_in_other_colours():
    alpha, color = torch.rand(2, 1, 8, 8), torch.rand(2, 3, 8, 8)
    signed = torch.cat([alpha * color, alpha], dim=1) * 2 - 1
    inverted = torch.cat([alpha * (1 - color), alpha], dim=1) * 2 - 1
    torch.testing.assert_close(negative(signed), inverted)
    torch.testing.assert_close(negative(inverted), signed)


def test_the_mirrored_negative_is_read_as_the_mirrored_negative(tiny):
    """The network itself says something else of it; the mean of both opinions does not."""
    reference = inputs()[0][None]
    reference[:, :3] *= reference[:, 3:]
    signed, elevation = reference * 2 - 1, torch.tensor([10.0])
    other = negative(signed).flip(-1)
    once, twice = (
        [said(x, elevation).pictured for x in (signed, other)] for said in (tiny.network.encode, tiny.network.read)
    )
    for (plain, turned), same in ((once, False), (twice, True)):
        turned = turned.flip(3)
        back = torch.cat([turned[..., :1], 1 - turned[..., 1:]], dim=-1)
        assert torch.allclose(plain, back, atol=1e-5) == same
    read = tiny.network.read(signed, elevation)
    # What the denoiser reads beside the draft is as it was.
    torch.testing.assert_close(read.volume, tiny.network.encode(signed, elevation).volume, atol=1e-5, rtol=0)
