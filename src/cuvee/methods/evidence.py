"""Cheap evidence as a part of methods: which experts to ask for, and a predictor that knows what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cuvee.base.errors import DataError, UsageError
from cuvee.plan.experts import ExpertKind, experts
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial, Want
from cuvee.predict.evidence import EnsembleSurface, ensemble

Experts = Literal["proxies", "ngrams"]
Unit = Literal["tokens", "examples"]
KINDS: dict[Experts, ExpertKind] = {"proxies": "expert", "ngrams": "ngram"}
WANTED: dict[Unit, Want] = {"tokens": "token_log_likelihoods", "examples": "example_log_likelihoods"}


def missing(problem: Problem, trials: Sequence[Trial], kind: Experts, unit: Unit, blocks: int) -> tuple[Plan, ...]:
    """The plans of experts that have not ended yet, however they ended."""
    known = {t.plan for t in trials}
    return tuple(p for p in experts(problem, blocks, KINDS[kind], WANTED[unit]) if p not in known)


def surface(problem: Problem, trials: Sequence[Trial], kind: Experts, unit: Unit) -> EnsembleSurface | None:
    """What the experts among the trials say of mixtures; None where one of a domain is missing or did not end well."""
    try:
        return ensemble(problem.domains, trials, KINDS[kind], WANTED[unit])
    except DataError:
        return None


def check_likelihoods(problem: Problem) -> None:
    """Refuse a problem of which experts can say nothing.

    Raises:
        UsageError: an outside trainer, or a target that is no likelihood of a text.
    """
    if problem.trainer == "outside":
        raise UsageError(
            "experts are proxies of this machine, and an outside trainer makes the runs",
            fix="leave trainer: outside out",
        )
    margins = {m.name for m in problem.measures if m.kind == "choice"}
    named = [t.name for mean in (problem.objective, *(g.targets for g in problem.guards)) for t in mean]
    if found := [name for name in dict.fromkeys(named) if name in margins]:
        raise UsageError(
            f"experts give likelihoods of texts, and the value of {', '.join(found)} is a margin between answers",
            wanted="targets that are domains, texts or continuations",
        )
