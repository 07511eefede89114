"""What all tests share: one thread a process, and fewer examples of properties in the fast part.

Tests run side by side, and threads that wait for each other's cores take longer than one alone. Variables are set before any
test imports numpy, torch or tokenizers, which read them then.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

from cuvee.base.processes import ONE_THREAD

for variable, value in ONE_THREAD.items():
    os.environ.setdefault(variable, value)

settings.register_profile("all", deadline=None)  # a busy machine is no failure
settings.register_profile("fast", deadline=None, max_examples=10)


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("fast" if config.getoption("markexpr") == "not slow" else "all")
