"""Samplers and rings of views."""

import pytest
import torch

from gaussmith.views import (
    TEXT_HEIGHTS,
    Heights,
    OrbitView,
    baking_ring,
    elevation_range,
    four_view_ring,
    random_orbit,
    reference_view,
    stratified_orbit,
    turntable,
)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_elevation_range_is_the_papers():
    assert elevation_range(0.0) == (-30.0, 30.0)
    assert elevation_range(20.0) == (-30.0, 50.0)
    assert elevation_range(-20.0) == (-50.0, 30.0)
    assert elevation_range(70.0) == (-30.0, 80.0)
    assert elevation_range(-85.0) == (-80.0, 30.0)


def test_random_orbit_is_uniform_in_its_range():
    views = random_orbit(4000, _generator(), (-10.0, 40.0))
    assert float(views.azimuth.min()) >= -180 and float(views.azimuth.max()) < 180
    assert float(views.elevation.min()) >= -10 and float(views.elevation.max()) <= 40
    # Four standard errors of the mean of 4,000 uniform numbers are 0.018 of the range.
    assert abs(float(views.azimuth.mean())) < 0.018 * 360
    assert abs(float(views.elevation.mean()) - 15) < 0.018 * 50


@pytest.mark.parametrize("sampler", [random_orbit, stratified_orbit])
def test_heights_on_the_sphere_share_it_by_area(sampler):
    elevation = sampler(4000, _generator(), TEXT_HEIGHTS).elevation
    assert float(elevation.min()) >= -20 and float(elevation.max()) <= 80
    sines = torch.sin(torch.deg2rad(elevation.double()))
    low, high = (float(torch.tensor(a).deg2rad().sin()) for a in (-20.0, 80.0))
    assert abs(float(sines.mean()) - (low + high) / 2) < 0.018 * (high - low)
    # The shares that TEXT_HEIGHTS states, to three standard errors.
    assert float((elevation > 50).float().mean()) == pytest.approx(0.165, abs=0.018)
    assert float((elevation > 60).float().mean()) == pytest.approx(0.090, abs=0.014)


def test_heights_are_even_in_degrees_unless_told():
    plain, named = (random_orbit(8, _generator(), heights) for heights in ((-10.0, 40.0), Heights(-10.0, 40.0)))
    assert torch.equal(plain.elevation, named.elevation)
    assert torch.equal(random_orbit(3, _generator(), Heights(5.0, 5.0, True)).elevation, torch.full((3,), 5.0))


@pytest.mark.parametrize("sampler", [random_orbit, stratified_orbit])
def test_samplers_repeat_with_the_seed(sampler):
    first, again, other = (sampler(8, _generator(s)) for s in (1, 1, 2))
    assert torch.equal(first.azimuth, again.azimuth) and torch.equal(first.elevation, again.elevation)
    assert not torch.equal(first.azimuth, other.azimuth)


@pytest.mark.parametrize("seed", range(5))
def test_stratified_has_one_view_a_sector_and_a_band(seed):
    views = stratified_orbit(8, _generator(seed), (-40.0, 40.0))
    gaps = views.azimuth.sort().values
    gaps = torch.cat([gaps, gaps[:1] + 360]).diff()
    assert float(gaps.max()) < 90 + 1e-3  # Neighbouring sectors of 45 degrees: never two sectors apart.
    bands = ((views.elevation + 40) / 10).floor()
    assert sorted(bands.tolist()) == list(range(8))


def test_four_view_ring():
    ring = four_view_ring(_generator(), (5.0, 15.0))
    assert len(ring) == 4 and torch.equal(ring.elevation, ring.elevation[:1].expand(4))
    turns = (ring.azimuth - ring.azimuth[0]) % 360
    torch.testing.assert_close(turns, torch.tensor([0.0, 90, 180, 270]), atol=1e-3, rtol=0)


def test_turntable_goes_once_round_without_repeating_the_first():
    views = turntable(4, 12.0, start=45.0)
    assert views.azimuth.tolist() == [45.0, 135.0, -135.0, -45.0]
    assert views.elevation.tolist() == [12.0] * 4


def test_baking_ring_is_the_papers_26():
    views = baking_ring(size=32)
    assert len(views) == 26
    assert (views.azimuth[0], views.elevation[0]) == (0, 0)
    elevations, counts = views.elevation.unique(return_counts=True)
    assert elevations.tolist() == [-90, -45, 0, 45, 90] and counts.tolist() == [1, 8, 8, 8, 1]
    places = views.camera().position
    apart = torch.cdist(places, places).fill_diagonal_(9)
    assert float(apart.min()) > 0.5  # No view twice.


def test_cameras_stand_where_the_angles_say():
    views = OrbitView(torch.tensor([0.0, 90.0]), torch.tensor([0.0, 30.0]), radius=3.0, fovy=36.0, size=20)
    camera = views.camera()
    assert (camera.width, camera.height) == (20, 20)
    expected = torch.tensor([[0.0, 0, 3], [3 * 0.75**0.5, 1.5, 0]])
    torch.testing.assert_close(camera.position, expected, atol=1e-6, rtol=0)
    wide = views.camera(size=40, fovy=49.1)
    assert wide.width == 40 and float(wide.K[0, 0, 0]) < 2 * float(camera.K[0, 0, 0])
    torch.testing.assert_close(wide.position, camera.position)


def test_selection():
    views = turntable(6)
    assert len(views[2]) == 1 and views[2].azimuth.tolist() == views.azimuth[2:3].tolist()
    assert len(views[1:3]) == 2 and views[1:3].size == views.size
    assert reference_view(12.0).camera().position[0, 1] > 0


def test_bad_arguments():
    with pytest.raises(ValueError, match="elevation range"):
        random_orbit(2, _generator(), (30.0, -30.0))
    with pytest.raises(ValueError, match="elevation range"):
        stratified_orbit(2, _generator(), (-100.0, 0.0))
    with pytest.raises(ValueError, match="angles"):
        OrbitView(torch.zeros(2), torch.zeros(3))
