"""Compiled code for the parts of a step that are many small operations: a layer, the softmax of a piece of logits.

On a CPU one layer is compiled, forward and backward, and serves every layer of every model of its shape in this process; what
is compiled is kept in the user's cache folder, so another process only loads it. On a GPU all layers are one piece, replayed
as a CUDA graph, since there launches are what takes time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cache

import torch
from torch import Tensor, nn

from cuvee.proxies.loss import SOFTMAX, Softmax
from cuvee.proxies.way import Way, cache_folder

Layers = Callable[[Iterable[nn.Module], Tensor, Tensor], Tensor]
"""Layers, the stream, rotary positions -> the stream after them."""
SHAPES = 1 << 10
"""Of one function that a process compiles, at most; of more the rest would run as it is written, which nobody would be told. torch's own
limit is 8: a size takes two (training, scoring) for each K, precision and batch, so a comparison of two sizes was over it."""


def layers_of(way: Way) -> Layers:
    """What runs the layers of a model."""
    if way.backend == "eager":
        return _all
    return _compiled_layers("cuda" if way.device == "cuda" else "cpu")


def softmax_of(way: Way) -> Softmax:
    """What turns logits into nats and gradients."""
    # compiled in fp32 it takes longer than the operations one by one, which work in place (docs/benchmarks.md)
    if way.backend == "eager" or (way.precision, way.device) == ("fp32", "cpu"):
        return SOFTMAX
    return _compiled_softmax()


def _one(layer: nn.Module, x_KTd: Tensor, turn_Lc: Tensor) -> Tensor:
    result: Tensor = layer(x_KTd, turn_Lc)
    return result


def _all(layers: Iterable[nn.Module], x_KTd: Tensor, turn_Lc: Tensor) -> Tensor:
    for layer in layers:
        x_KTd = layer(x_KTd, turn_Lc)
    return x_KTd


@cache
def _compiled_layers(device: str) -> Layers:
    _prepare()
    if device == "cuda":
        return torch.compile(_all, dynamic=False, mode="reduce-overhead")
    one = torch.compile(_one, dynamic=False)

    def run(layers: Iterable[nn.Module], x_KTd: Tensor, turn_Lc: Tensor) -> Tensor:
        for layer in layers:
            x_KTd = one(layer, x_KTd, turn_Lc)
        return x_KTd

    return run


@cache
def _compiled_softmax() -> Softmax:
    _prepare()
    return Softmax(torch.compile(SOFTMAX.gradient, dynamic=False), torch.compile(SOFTMAX.nats, dynamic=False))


def _prepare() -> None:
    """Where compiled code is kept, for how many shapes, and no helper processes: a worker has one core, and its helpers' time is not its
    own."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder()))
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
    import torch._dynamo.config as limits  # the compiler, which an eager run does without

    limits.recompile_limit = limits.accumulated_recompile_limit = SHAPES
