"""transformers, imported when a test asks for it: at collection it would cost every run of the fast tests seconds."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import pytest


@cache
def transformers() -> Any:
    """The package; the test is skipped where it is not installed."""
    with warnings.catch_warnings():  # what other people's packages warn of when they are imported is theirs
        warnings.simplefilter("ignore")
        return pytest.importorskip("transformers")
