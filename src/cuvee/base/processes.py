"""Worker processes on this machine: their environment, and what to say of one that has died."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

TAIL = 2000
"""Bytes of a worker's standard error that are shown."""
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMEXPR_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
    "MALLOC_TOP_PAD_": str(1 << 26),
}
"""glibc's malloc gives large blocks back to the system and a training step asks for the same ones again, page by page: 13 of
468 ms a step at 1M parameters were spent in the kernel, and none with these."""


def environment() -> dict[str, str]:
    """This process's environment, with one thread, this very package, and no modules from the current folder."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**KEEP_MEMORY, **os.environ, **ONE_THREAD, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def tail(stderr: IO[bytes]) -> str:
    """The last of what a process wrote to the file `stderr`."""
    size = stderr.seek(0, os.SEEK_END)
    stderr.seek(max(0, size - TAIL))
    return stderr.read().decode("utf-8", errors="replace").strip()


def how(code: int) -> str:
    """How a process with this return code ended: `by signal 9`, `with exit code 1`."""
    return f"by signal {-code}" if code < 0 else f"with exit code {code}"
