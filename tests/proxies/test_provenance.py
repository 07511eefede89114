from __future__ import annotations

import torch

import cuvee
from cuvee.proxies.provenance import provenance


def test_says_what_it_ran_on() -> None:
    found = provenance(3)
    assert found["cuvee"] == cuvee.__version__
    assert found["torch"] == torch.__version__
    assert found["members"] == "3"
    assert found["threads"] == "1"
    assert all(found.values())
