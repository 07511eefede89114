"""Versions and hardware: recorded with a trial, no part of its id; the report warns when a study mixes them."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import torch

from cuvee import __version__


def provenance(members: int) -> dict[str, str]:
    """What a training of `members` models runs on here."""
    return {
        "cuvee": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
        "members": str(members),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
