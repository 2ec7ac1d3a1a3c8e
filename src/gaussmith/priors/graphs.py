"""CUDA graphs: a network that is asked again and again with pictures of one size runs as one launch.

A denoiser is hundreds of small kernels, and a GPU is done with each before the host has launched the next. A graph
holds them all and is launched at once. It computes what the network does; its inputs and outputs lie at fixed places,
so the ones are copied in and the others out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from gaussmith.events import OnEvent, Warned, ignore

MOST = 4
"""Shapes of inputs whose graphs are kept: a job has two or three, each with its own intermediate results."""
WARM_UP = 3
"""Plain calls before a capture, in which libraries choose their kernels and take their workspaces (torch's advice)."""

Network = Callable[..., Tensor]
Capture = Callable[[Network, tuple[Tensor, ...]], tuple[Callable[[], object], Tensor]]


def capture(network: Network, inputs: tuple[Tensor, ...]) -> tuple[Callable[[], object], Tensor]:
    """Record network(*inputs) on their CUDA device: what repeats it, and the tensor that it fills."""
    with torch.cuda.device(inputs[0].device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                network(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads, such as the viewer's, may go on using the GPU meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            output = network(*inputs)
    return graph.replay, output


@dataclass
class Graphs:
    """The graphs of one network, which is frozen and computes the same for equal inputs, on its device alone.

    The network is given at every call, so that no graph keeps a prior alive; it must always be the same one. When it
    cannot be recorded (a library that may not be, or too little memory), one warning is told and it is called plainly
    from then on.

    Attributes:
        wanted: whether to record at all; not under a bound on the memory, for every graph keeps its own results.
        on_event: who is warned. capture: how it is recorded.
    """

    wanted: bool = True
    on_event: OnEvent = ignore
    capture: Capture = capture
    _kept: OrderedDict[Any, tuple[tuple[Tensor, ...], Callable[[], object], Tensor]] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    def run(self, network: Network, *inputs: Tensor) -> Tensor:
        """network(*inputs), replayed where all of them lie on a CUDA device and no gradient is wanted. The result is
        the caller's own."""
        if not self.wanted or torch.is_grad_enabled() or any(x.device.type != "cuda" for x in inputs):
            return network(*inputs)
        key = tuple((x.shape, x.stride(), x.dtype, x.device) for x in inputs)
        if key not in self._kept and not self._captured(key, network, inputs):
            return network(*inputs)
        self._kept.move_to_end(key)
        places, replay, output = self._kept[key]
        for place, x in zip(places, inputs):
            place.copy_(x)
        replay()
        return output.clone()

    def release(self) -> None:
        """Let the graphs and their memory go; they are recorded again when they are wanted."""
        self._kept.clear()

    def _captured(self, key: Any, network: Network, inputs: tuple[Tensor, ...]) -> bool:
        while len(self._kept) >= MOST:
            self._kept.popitem(last=False)
        try:
            places = tuple(x.clone() for x in inputs)
            self._kept[key] = (places, *self.capture(network, places))
        except RuntimeError as error:  # torch's own class for whatever CUDA says, out of memory included
            self.wanted = False
            self.release()
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self.on_event(Warned(f"The prior runs without CUDA graphs, which is slower: {reason}"))
        return self.wanted
