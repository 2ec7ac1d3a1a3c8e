"""CUDA graphs without a GPU: what is recorded when, with tensors that only say where they lie, and a false recorder."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from gaussmith.events import Warned
from gaussmith.priors.graphs import MOST, Graphs


class Recorder:
    """Captures like `graphs.capture`, on any device: a fixed output that every replay fills from the fixed inputs."""

    def __init__(self) -> None:
        self.captured: list[tuple[torch.Size, ...]] = []
        self.replays = 0

    def __call__(self, network: Any, inputs: tuple[Tensor, ...]) -> tuple[Any, Tensor]:
        self.captured.append(tuple(x.shape for x in inputs))
        output = network(*inputs)

        def replay() -> None:
            self.replays += 1
            output.copy_(network(*inputs))

        return replay, output


class OnGpu(torch.Tensor):
    """A CPU tensor that says it lies on a GPU."""

    device = torch.device("cuda", 0)  # type: ignore[assignment]


def on_gpu(*values: float) -> Tensor:
    return torch.tensor(values).as_subclass(OnGpu)


def double(x: Tensor) -> Tensor:
    return 2 * x


def test_elsewhere_it_is_the_network_itself() -> None:
    recorder = Recorder()
    graphs, x = Graphs(capture=recorder), torch.ones(2)
    with torch.no_grad():
        assert torch.equal(graphs.run(double, x), double(x)) and graphs.run(lambda x: x, x) is x
    assert not recorder.captured


def test_where_a_gradient_is_wanted_it_is_the_network_itself() -> None:
    recorder, x = Recorder(), on_gpu(1.0, 2.0).requires_grad_()
    Graphs(capture=recorder).run(double, x).sum().backward()
    assert x.grad is not None and not recorder.captured


@torch.no_grad()
def test_each_shape_is_recorded_once_and_replayed_with_the_new_numbers() -> None:
    recorder = Recorder()
    graphs = Graphs(capture=recorder)
    first, second = graphs.run(double, on_gpu(1.0, 2.0)), graphs.run(double, on_gpu(3.0, 4.0))
    # The first result is the caller's own: the second call has not written over it.
    assert first.tolist() == [2.0, 4.0] and second.tolist() == [6.0, 8.0]
    assert graphs.run(double, on_gpu(5.0)).tolist() == [10.0]
    assert graphs.run(double, on_gpu(7.0, 8.0)).tolist() == [14.0, 16.0]
    assert len(recorder.captured) == 2 and recorder.replays == 4


@torch.no_grad()
def test_the_caller_s_tensors_are_not_kept() -> None:
    graphs, x = Graphs(capture=Recorder()), on_gpu(1.0, 2.0)
    graphs.run(double, x)
    alive = weakref.ref(x)
    del x
    gc.collect()
    assert alive() is None


@torch.no_grad()
def test_few_graphs_are_kept_and_none_after_the_release() -> None:
    recorder = Recorder()
    graphs = Graphs(capture=recorder)
    for size in [*range(1, MOST + 2), MOST + 1, 1]:
        graphs.run(double, on_gpu(*range(size)))
    assert len(recorder.captured) == MOST + 2  # the last one is recorded again: it was the longest not used
    graphs.release()
    graphs.run(double, on_gpu(0.0))
    assert len(recorder.captured) == MOST + 3


@pytest.mark.parametrize("error", [RuntimeError("operation not permitted\nwhen capturing"), torch.OutOfMemoryError("")])
@torch.no_grad()
def test_a_failed_recording_is_told_once_and_changes_nothing_else(error: Exception) -> None:
    tries, told = [], []

    def fail(network: Any, inputs: Any) -> Any:
        tries.append(inputs)
        raise error

    graphs = Graphs(capture=fail, on_event=told.append)
    for value in (1.0, 2.0):
        assert graphs.run(double, on_gpu(value)).tolist() == [2 * value]
    assert len(tries) == 1 and len(told) == 1 and isinstance(told[0], Warned) and "\n" not in told[0].message


@torch.no_grad()
def test_a_bound_on_the_memory_records_nothing() -> None:
    recorder = Recorder()
    assert Graphs(False, capture=recorder).run(double, on_gpu(1.0)).tolist() == [2.0] and not recorder.captured
