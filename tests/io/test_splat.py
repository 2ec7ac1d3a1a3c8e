import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaussmith import io
from gaussmith.events import UserError
from gaussmith.gaussians import Gaussians
from gaussmith.io.splat import load_splat, save_splat
from gaussmith.sh import dc_to_rgb

SETTINGS = settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@SETTINGS
@given(count=st.integers(1, 50), degree=st.integers(0, 3), seed=st.integers(0, 99), spread=st.floats(1e-3, 1e3))
def test_round_trip_is_within_the_steps(tmp_path, make_splat, angle, count, degree, seed, spread):
    splat = make_splat(count, degree, seed, spread)
    save_splat(splat, tmp_path / "a.splat")
    loaded = io.load(tmp_path / "a.splat")
    importance = splat.log_scales.double().sum(dim=1).exp() * splat.opacities
    splat = splat.select(importance.argsort(descending=True, stable=True))
    assert (tmp_path / "a.splat").stat().st_size == 32 * count
    assert torch.equal(loaded.means, splat.means)
    assert torch.allclose(loaded.log_scales, splat.log_scales, atol=2e-6)
    assert float((loaded.opacities - splat.opacities).abs().max()) <= 0.5 / 255 + 1e-5
    seen = dc_to_rgb(splat.sh[:, 0]).clamp(0, 1)
    assert float((dc_to_rgb(loaded.sh[:, 0]) - seen).abs().max()) <= 0.5 / 255 + 1e-5
    assert loaded.sh.shape == (count, 1, 3)
    assert angle(loaded.quats, splat.quats) < 1.3  # a component of 1 is stored as 127/128


def test_layout_is_that_of_antimatter15(tmp_path):
    splat = Gaussians(
        means=torch.tensor([[1.0, 2, 3]]),
        log_scales=torch.tensor([[0.25, 0.5, 2]]).log(),
        quats=torch.tensor([[0.0, -2, 0, 0]]),
        opacity_logits=torch.tensor([0.0]),
        sh=torch.tensor([[[-9.0, 0, 9]]]),
    )
    save_splat(splat, tmp_path / "a.splat")
    values = struct.unpack("<6f8B", (tmp_path / "a.splat").read_bytes())
    assert values == pytest.approx((1, 2, 3, 0.25, 0.5, 2, 0, 128, 255, 128, 128, 0, 128, 128))


def test_scales_of_zero_are_read(tmp_path):
    (tmp_path / "a.splat").write_bytes(struct.pack("<6f8B", 1, 2, 3, 0, 0.5, 2, 0, 128, 255, 0, 128, 128, 128, 128))
    loaded = load_splat(tmp_path / "a.splat")
    assert loaded.finite().all()
    assert loaded.quats.tolist() == [[1, 0, 0, 0]]
    assert 0 < float(loaded.opacities[0]) < 1e-5


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (struct.pack("<6f8B", 1, 2, 3, -1, 1, 1, *range(8)), "negative scale"),
        (struct.pack("<6f8B", 1, float("nan"), 3, 1, 1, 1, *range(8)), "not a finite number"),
        (struct.pack("<6f8B", 1, 2, 3, float("nan"), 1, 1, *range(8)), "not a finite number"),
        (bytes(12) + b"\1\0\x80\x7f" + bytes(16), "not a finite number"),  # a signalling NaN
        (struct.pack("<6f8B", 1, 2, 3, 1, float("inf"), 1, *range(8)), "not a finite number"),
        (struct.pack("<6f8B", 1, 2, 3, 1, 3e38, 1, *range(8)), "scale of exp"),
        (b"x" * 31, "31 bytes are no whole number"),
        (b"", "empty"),
    ],
)
def test_bad_files_are_one_sentence(tmp_path, row, reason):
    (tmp_path / "a.splat").write_bytes(row)
    with pytest.raises(UserError, match=reason) as caught:
        io.load(tmp_path / "a.splat")
    assert "a.splat" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_and_non_finite_splats_are_not_written(tmp_path, make_splat):
    with pytest.raises(UserError, match="empty splat"):
        save_splat(make_splat(0), tmp_path / "a.splat")
    splat = make_splat(2)
    splat.quats[0, 0] = float("nan")
    with pytest.raises(ValueError, match="non-finite"):
        save_splat(splat, tmp_path / "a.splat")
    assert list(tmp_path.iterdir()) == []
