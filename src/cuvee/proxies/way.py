"""How a training is executed on this machine: what its plans ask for, as far as the machine has it, and why not otherwise.

Compiled code and bf16 are means to be faster, so a machine where they are missing or slower does without them, and the
trial's provenance says so. A device is another matter: a plan for a GPU waits for one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import tempfile
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch

from cuvee.base.errors import PartialError
from cuvee.plan.trial import Backend, Device, Plan, Precision

COMPILERS: dict[Device, tuple[str, ...]] = {"cpu": ("c++", "g++", "clang++"), "cuda": ("cc", "gcc", "clang")}
GEMM = 384
"""Rows of the square matrices by which bf16 is tried: 0.1 GFLOP, a few milliseconds a product."""
FASTER = 1.1
"""How much faster bf16 products must be than fp32 to be worth their rounding."""


@dataclass(frozen=True)
class Way:
    """What is really used; `notes` say where that is not what was planned."""

    precision: Precision = "fp32"
    backend: Backend = "eager"
    device: Device = "cpu"
    notes: tuple[str, ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        """Of the factors of matrix products."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def autocast(self) -> AbstractContextManager[object]:
        """The context in which models run."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device, dtype=torch.bfloat16)

    @property
    def name(self) -> str:
        """What numbers depend on."""
        return " ".join((self.precision, self.backend, self.device))

    def __str__(self) -> str:
        return "; ".join((self.name, *self.notes))


def way_of(plan: Plan) -> Way:
    """How `plan` is trained here.

    Raises:
        PartialError: it is for a GPU and there is none.
    """
    if plan.device == "cuda" and not torch.cuda.is_available():
        raise PartialError(
            "the runs are planned for a CUDA device, and torch sees none here",
            wanted="a worker on a machine with a GPU and torch built for it",
            fix="make them there, or plan with `device: cpu`",
        )
    precision, backend, notes = plan.precision, plan.backend, []
    if precision == "bf16" and plan.device == "cpu" and (gain := bf16_gain()) < FASTER:
        precision = "fp32"
        notes.append(f"fp32 instead of bf16, whose products take {1 / gain:.1f} times as long on this processor")
    if backend == "compile" and (lacking := _lacking(plan.device)):
        backend = "eager"
        notes.append(f"not compiled: {lacking}")
    return Way(precision, backend, plan.device, tuple(notes))


def _lacking(device: Device) -> str:
    """What compiled code needs there and this machine has not; empty where it has all."""
    if not compiler(device):
        return f"none of {', '.join(COMPILERS[device])} is installed"
    if device == "cuda" and importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody knows the home of this user
        why = error.strerror if isinstance(error, OSError) else error
        return f"the folder for compiled code cannot be written ({why}; TORCHINDUCTOR_CACHE_DIR names another)"


def compiler(device: Device = "cpu") -> str:
    """The compiler that compiled code is made with, on a GPU what starts it; empty where there is none."""
    own = os.environ.get("CXX" if device == "cpu" else "CC", "")
    return next((c for c in (own, *COMPILERS[device]) if c and shutil.which(c)), "")


def cache_folder() -> Path:
    """Of compiled code: `TORCHINDUCTOR_CACHE_DIR` if set, else in the user's cache."""
    if given := os.environ.get("TORCHINDUCTOR_CACHE_DIR"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cuvee" / "compiled"


@cache
def bf16_gain() -> float:
    """How much faster this processor multiplies bf16 matrices than fp32: the best of five, alternated. CPU time."""
    pairs = [(a, a.clone()) for a in (torch.randn(GEMM, GEMM), torch.randn(GEMM, GEMM).bfloat16())]
    best = [float("inf")] * len(pairs)
    for _ in range(6):  # the first is warm-up that counts for nothing, being slower
        for i, (a, b) in enumerate(pairs):
            started = time.process_time()
            a @ b
            best[i] = min(best[i], time.process_time() - started)
    return best[0] / best[1]
