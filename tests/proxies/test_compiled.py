from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cuvee.plan.sizes import size
from cuvee.proxies import compiled
from cuvee.proxies.model import Layer, _turns

pytestmark = pytest.mark.slow


def test_no_shape_is_left_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch compiles eight by itself and then runs what it is given, without a word to the caller."""
    made, real = list[Any](), torch.compile

    def spy(graph: Any, _: object) -> Any:
        made.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda function, **options: real(function, backend=spy, **options))
    run = compiled._compiled_layers.__wrapped__("cpu")
    layers = [Layer(size("0.1M"), 1, np.random.default_rng(n)) for n in range(2)]
    turn_Lc = torch.view_as_real(_turns(4, size("0.1M").head_dim, 1e4))
    try:
        for batch in range(1, 13):
            run(layers, torch.randn(1, 4 * batch, 64, requires_grad=True), turn_Lc)
            assert len(made) == batch  # one for both layers
    finally:
        torch._dynamo.reset()
