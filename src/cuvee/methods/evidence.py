"""Cheap evidence as a part of methods: which experts to ask for, and a predictor that knows what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cuvee.base.errors import DataError, UsageError
from cuvee.plan.experts import ExpertKind, experts
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan, Trial, Want
from cuvee.predict.evidence import EnsembleSurface, Informed, Level, ensemble
from cuvee.predict.power import PowerLaw
from cuvee.predict.process import Process
from cuvee.predict.stack import Stack

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


def informed(surface: EnsembleSurface) -> Stack:
    """The stack of what runs say with a surface and without: its weights tell how much the surface is worth."""
    with_it = (Informed((surface,), Process()), Informed((surface,), Level()))
    return Stack((*with_it, PowerLaw()))


def check_trainer(problem: Problem) -> None:
    """Refuse an outside trainer, which reports metrics only.

    Raises:
        UsageError: an outside trainer makes the runs.
    """
    if problem.trainer == "outside":
        raise UsageError(
            "experts are proxies of this machine, and an outside trainer makes the runs",
            fix="leave trainer: outside out, or evidence: ngrams",
        )


def check_likelihoods(problem: Problem) -> None:
    """Refuse a problem of which experts can say nothing.

    Raises:
        UsageError: an outside trainer, or a target that is no likelihood of a text.
    """
    check_trainer(problem)
    margins = {m.name for m in problem.measures if m.kind == "choice"}
    named = [t.name for mean in (problem.objective, *(g.targets for g in problem.guards)) for t in mean]
    if found := [name for name in dict.fromkeys(named) if name in margins]:
        raise UsageError(
            f"experts give likelihoods of texts, and the value of {', '.join(found)} is a margin between answers",
            wanted="targets that are domains, texts or continuations",
        )
