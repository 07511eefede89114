from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.errors import UsageError
from cuvee.plan.sizes import size
from cuvee.proxies.memory import FREE, free_memory, members

GB = 10**9
PEAK = """
import resource, sys, torch
from cuvee.plan.sizes import size
from cuvee.proxies.model import Decoder
from cuvee.proxies.optimise import Optimiser

torch.set_num_threads(1)
count = int(sys.argv[1])
model = Decoder(size("0.3M"), 1024, count, seed=0, block=0)
optimiser = Optimiser(model, [1e-3] * count)
for step in range(2):
    loss_K = model.loss(torch.zeros(count, 64, 65, dtype=torch.int64))
    loss_K.sum().backward()
    optimiser.step(1.0, loss_K.detach())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_members_by_free_memory() -> None:
    small, large = (members(size(name), 8192, 1024, "fp32", 80 * GB) for name in ("1M", "10M"))
    assert small > large > 10
    assert members(size("1M"), 8192, 1024, "fp32", 40 * GB) == pytest.approx(small / 2, rel=0.03)
    assert members(size("1M"), 8192, 1024, "bf16", 80 * GB) < small
    with pytest.raises(UsageError, match=r"needs about 0.\d GB"):
        members(size("1M"), 8192, 1024, "fp32", 10**6)


def test_the_arithmetic() -> None:
    """A weight takes 16 bytes; a token and layer 13 widths and 6 hidden ones; a logit 4, of 192 tokens a member at least."""
    shape, vocab, tokens = size("0.1M"), 4096, 2048
    weights = 16 * (shape.parameters + 2 * vocab * 64)
    each = weights + 4 * tokens * (2 * (13 * 64 + 6 * 176) + 8 * 64)
    free = 12 * (each + 4 * tokens * vocab) / FREE  # few members: the logits of all tokens at a time
    assert members(shape, vocab, tokens, "fp32", round(free)) == 12
    assert members(shape, vocab, tokens, "fp32", round(free) - 10**6) == 11


@given(st.integers(2 * GB, 200 * GB), st.integers(0, 50 * GB))
def test_more_memory_is_never_less_members(free: int, more: int) -> None:
    assert 1 <= members(size("1M"), 8192, 4096, "fp32", free) <= members(size("1M"), 8192, 4096, "fp32", free + more)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units")
def test_a_member_takes_about_what_is_said() -> None:
    def peak(count: int) -> int:
        said = subprocess.run(
            [sys.executable, "-c", PEAK, str(count)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
        )
        return 1024 * int(said.stdout)

    shape = size("0.3M")
    said = 16 * shape.all_parameters(1024) + 4 * 64 * 64 * (3 * (13 * shape.dim + 6 * shape.hidden) + 8 * shape.dim)
    # the peak also has pages of libraries, of which the machine keeps more or fewer: that is why the bounds are wide
    assert 0.6 * said < (peak(6) - peak(2)) / 4 < 1.2 * said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_there_is_nothing_to_ask() -> None:
    with pytest.raises(UsageError, match=r"(?s)no CUDA device.*by hand"):
        free_memory()
