"""What a changed question means for a study that exists: which keys differ, and whether its trials still apply.

Keys of the evidence decide what a run measures, keys of the question decide what is asked of the runs (design 5.5).
Where things lie and how they are run is neither.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cuvee.base.codec import canonical
from cuvee.plan.problem import Problem
from cuvee.study.layout import Config

EVIDENCE = ("domains", "tokens", "target_tokens", "proxy", "seed")


@dataclass(frozen=True)
class Changes:
    """Names of the keys that differ, of the question and of the evidence."""

    question: tuple[str, ...]
    evidence: tuple[str, ...]


def changes(old: Config, new: Config) -> Changes:
    """The keys in which two configs differ."""
    before, after = _keys(old.problem), _keys(new.problem)
    differ = [name for name in before if before[name] != after[name]]
    question = [n for n in differ if n not in EVIDENCE]
    evidence = [n for n in differ if n in EVIDENCE]
    if (old.method.name, old.method.text) != (new.method.name, new.method.text):
        question.append("method")
    if old.corpus.fingerprint != new.corpus.fingerprint:
        evidence.append("corpus")
    if old.recipe != new.recipe:
        evidence.append("recipe")
    return Changes(tuple(question), tuple(evidence))


def _keys(problem: Problem) -> dict[str, Any]:
    """The canonical form of every key, in which 4 and 4.0 are the same."""
    found: dict[str, Any] = json.loads(canonical(problem))
    return found
