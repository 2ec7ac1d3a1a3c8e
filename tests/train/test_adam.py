"""Our Adam against torch.optim.Adam, and what torch's cannot do."""

import math

import pytest
import torch

from gaussmith.train.adam import Adam


def _tensors(n: int = 6) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return {
        "means": torch.randn(n, 3, generator=g),
        "logits": torch.randn(n, generator=g),
        "sh": torch.randn(n, 1, 3, generator=g),
    }


RATES = {"means": 0.01, "logits": 0.05, "sh": 0.1}


def _gradients(tensors: dict[str, torch.Tensor], step: int) -> None:
    g = torch.Generator().manual_seed(100 + step)
    for t in tensors.values():
        t.grad = torch.randn(t.shape, generator=g) * 10.0 ** (-step)


def _run(optim: Adam, tensors: dict[str, torch.Tensor], steps: range) -> None:
    for step in steps:
        _gradients(tensors, step)
        optim.step(tensors)


def test_steps_equal_torchs():
    ours, theirs = _tensors(), _tensors()
    optim = Adam(dict(RATES))
    groups = [{"params": [theirs[k].requires_grad_()], "lr": rate} for k, rate in RATES.items()]
    reference = torch.optim.Adam(groups, eps=1e-15)
    for step in range(5):
        _gradients(ours, step)
        _gradients(theirs, step)
        optim.step(ours)
        reference.step()
        optim.rates["means"] = reference.param_groups[0]["lr"] = 0.01 * 0.9**step
    for name in RATES:
        torch.testing.assert_close(ours[name], theirs[name].detach(), rtol=1e-5, atol=1e-6)
        assert ours[name].grad is None


def test_leaves_that_require_grad_are_moved_in_place():
    leaf = torch.tensor([1.0, -2.0], requires_grad=True)
    leaf.square().sum().backward()
    Adam({"x": 0.1}).step({"x": leaf})
    torch.testing.assert_close(leaf.detach(), torch.tensor([0.9, -1.9]))
    assert leaf.requires_grad and leaf.is_leaf


def test_a_tensor_without_gradient_or_rate_stays():
    tensors = _tensors()
    before = {k: t.clone() for k, t in tensors.items()}
    tensors["means"].grad, tensors["sh"].grad = torch.ones(6, 3), torch.ones(6, 1, 3)
    Adam({"means": 0.1, "logits": 0.1}).step(tensors)
    assert not torch.equal(tensors["means"], before["means"])
    assert torch.equal(tensors["logits"], before["logits"]) and torch.equal(tensors["sh"], before["sh"])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_gradients_touch_only_their_rows_and_are_counted(bad):
    tensors, clean = _tensors(), _tensors()
    _gradients(tensors, 0)
    _gradients(clean, 0)
    tensors["means"].grad[2, 1] = tensors["logits"].grad[4] = bad
    before = tensors["means"][2].clone()
    optim = Adam(dict(RATES))
    optim.step(tensors)
    assert (optim.bad_rows(), optim.bad_rows()) == (2, 0)
    Adam(dict(RATES)).step(clean)
    assert torch.equal(tensors["means"][2], before)
    others = [0, 1, 3, 4, 5]
    assert torch.equal(tensors["means"][others], clean["means"][others])
    assert bool(tensors["logits"].isfinite().all())


def test_rows_carry_state_along_and_new_ones_start_from_nothing():
    tensors, optim = _tensors(), Adam(dict(RATES))
    _run(optim, tensors, range(3))
    before = {k: (optim.first[k].clone(), optim.second[k].clone()) for k in RATES}
    source = torch.tensor([5, 0, -1, 3])
    optim.rows(source)
    for name, (first, second) in before.items():
        for i, s in enumerate(source.tolist()):
            assert torch.equal(optim.first[name][i], first[s] if s >= 0 else torch.zeros_like(first[0]))
            assert torch.equal(optim.second[name][i], second[s] if s >= 0 else torch.zeros_like(second[0]))
    optim.rows(torch.zeros(0, dtype=torch.int64))
    assert all(len(t) == 0 for t in optim.first.values())


def test_reordering_the_rows_changes_nothing_else():
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    plain, mixed = _tensors(), _tensors()
    a, b = Adam(dict(RATES)), Adam(dict(RATES))
    _run(a, plain, range(3))
    _run(b, mixed, range(2))
    b.rows(order)
    mixed = {k: t[order].clone() for k, t in mixed.items()}
    _gradients(mixed, 2)
    for t in mixed.values():
        t.grad = t.grad[order]
    b.step(mixed)
    assert all(torch.equal(mixed[k], plain[k][order]) for k in RATES)


def test_a_restored_optimiser_continues_to_the_same_bits():
    straight, optim = _tensors(), Adam(dict(RATES))
    _run(optim, straight, range(2))
    saved = {k: t.clone() for k, t in optim.state().items()}
    resumed = {k: t.clone() for k, t in straight.items()}
    _run(optim, straight, range(2, 5))
    other = Adam(dict(RATES))
    other.restore(saved)
    _run(other, resumed, range(2, 5))
    assert all(torch.equal(straight[k], resumed[k]) for k in RATES)


def test_forget():
    tensors, optim = _tensors(), Adam(dict(RATES))
    _run(optim, tensors, range(2))
    optim.forget("logits")
    assert "logits" not in optim.first and "means" in optim.first
    _run(optim, tensors, range(2, 3))
    assert optim.count == 3


@pytest.mark.parametrize("shares", [{}, {"sh": torch.tensor([[1.0], [0.05], [0.0]])}])
def test_the_compiled_step_is_the_one_of_torch(shares):
    # float64 takes the path of torch.
    results = []
    for dtype in (torch.float32, torch.float64):
        g = torch.Generator().manual_seed(1)
        tensors = {"a": torch.randn(40, 3, generator=g), "sh": torch.randn(4000, 3, 3, generator=g)}
        tensors = {name: t.to(dtype) for name, t in tensors.items()}
        optim, bad = Adam({"a": 0.01, "sh": 0.1}, shares={k: v.to(dtype) for k, v in shares.items()}), 0
        for step in range(4):
            for t in tensors.values():
                t.grad = torch.randn(t.shape, generator=g).to(dtype)
            tensors["sh"].grad[step * 1000 : step * 1000 + 2, 1, 1] = math.nan
            optim.step(tensors)
            bad += optim.bad_rows()
        assert bad == 8
        results.append((tensors, optim.state()))
    for single, double in zip(*results):
        for name, expected in double.items():
            torch.testing.assert_close(single[name].double(), expected.double(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_bits_do_not_depend_on_the_number_of_threads(storage):
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            g = torch.Generator().manual_seed(1)
            tensors = {"sh": torch.randn(5001, 7, generator=g)}
            optim = Adam({"sh": 0.1}, storage=storage)
            for _ in range(2):
                tensors["sh"].grad = torch.randn(5001, 7, generator=g)
                optim.step(tensors)
            results.append(tensors["sh"])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(result, results[0]) for result in results[1:])


def test_half_means_follow_changes_too_small_for_them():
    # Rounded to the nearest, a running mean of squares would stay at 1: each step takes a thousandth from it.
    tensors, optim = {"x": torch.zeros(4000, 3)}, Adam({"x": 0.1}, storage="bfloat16")
    optim.first["x"] = torch.ones(4000, 3, dtype=torch.bfloat16)
    optim.second["x"] = torch.ones(4000, 3, dtype=torch.bfloat16)
    for _ in range(200):
        tensors["x"].grad = torch.zeros(4000, 3)
        optim.step(tensors)
    assert optim.second["x"].dtype == optim.first["x"].dtype == torch.bfloat16
    assert float(optim.second["x"].float().mean()) == pytest.approx(0.999**200, rel=2e-3)
    assert float(optim.first["x"].float().mean()) == pytest.approx(0.9**200, rel=0.05)
    assert bool((optim.second["x"] >= 0).all())


def test_half_means_take_the_steps_of_whole_ones():
    results = {}
    for storage in ("float32", "bfloat16"):
        g = torch.Generator().manual_seed(2)
        tensors, optim = {"sh": torch.zeros(5000, 4, 3)}, Adam({"sh": 0.1}, storage=storage)
        for _ in range(30):
            tensors["sh"].grad = 1 + torch.randn(5000, 4, 3, generator=g)
            optim.step(tensors)
        results[storage] = tensors["sh"], optim
    whole, half = (results[s][0] for s in ("float32", "bfloat16"))
    assert float((whole - half).abs().mean()) < 0.01 * float(whole.abs().mean())
    sizes = [sum(t.nbytes for n, t in optim.state().items() if n != "count") for _, optim in results.values()]
    assert sizes[0] == 2 * sizes[1]


def test_half_means_are_saved_and_taken_up_again():
    straight, optim = _tensors(), Adam(dict(RATES), storage="bfloat16")
    _run(optim, straight, range(2))
    saved = {k: t.clone() for k, t in optim.state().items()}
    resumed = {k: t.clone() for k, t in straight.items()}
    _run(optim, straight, range(2, 5))
    other = Adam(dict(RATES), storage="bfloat16")
    other.restore(saved)
    _run(other, resumed, range(2, 5))
    assert all(torch.equal(straight[k], resumed[k]) for k in RATES)
    optim.rows(torch.tensor([1, -1]))
    assert optim.first["means"].dtype == torch.bfloat16 and not optim.first["means"][1].any()
