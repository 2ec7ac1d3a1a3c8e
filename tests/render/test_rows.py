"""Taking rows and putting them back: sums whose bits do not depend on their order."""

from __future__ import annotations

import pytest
import torch

from gaussmith.render._rows import put, sum_rows, take


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_are_exact_to_rounding_and_independent_of_the_order(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(20_000, 3, generator=generator, dtype=dtype) * 10.0 ** torch.arange(-3, 0)
    index = torch.randint(50, (20_000,), generator=generator)
    expected = torch.zeros(51, 3, dtype=torch.float64).index_add_(0, index, rows.double())
    order = torch.randperm(20_000, generator=generator)
    found = sum_rows(rows, index, 51)
    assert torch.equal(found, sum_rows(rows[order], index[order], 51)) and found.dtype == dtype
    torch.testing.assert_close(found, expected.to(dtype), rtol=0, atol=1e-6 if dtype == torch.float32 else 1e-9)


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e-30, 3.4e38, 1e300])
def test_no_size_overflows(size: float) -> None:
    rows = torch.full((1000, 1), size / 1000, dtype=torch.float64)
    found = sum_rows(rows, torch.zeros(1000, dtype=torch.int64), 2)
    assert found[0].item() == pytest.approx(size, rel=1e-9, abs=1e-290) and found[1] == 0


def test_no_rows_add_nothing_and_what_is_not_finite_shows() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    assert torch.equal(sum_rows(torch.zeros(0, 2), nothing, 3), torch.zeros(3, 2))
    for bad in (torch.inf, torch.nan):
        assert sum_rows(torch.tensor([[1.0], [bad]]), torch.tensor([0, 0]), 1).isnan().all()


def test_each_is_the_gradient_of_the_other() -> None:
    table = torch.randn(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    index = torch.tensor([0, 4, 4, 1, 0, 0])
    assert torch.autograd.gradcheck(lambda t: take(t, index), (table,))
    assert torch.autograd.gradcheck(lambda t: put(take(t, index) ** 2, index, 6), (table,))
    assert torch.autograd.gradgradcheck(lambda t: put(take(t, index) ** 2, index, 6), (table,))
