"""The runs of another study, as evidence for a problem about other domains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.edits import Edit
from cuvee.plan.experts import mixtures
from cuvee.plan.past import Past, PastRun
from cuvee.plan.problem import Problem, Proxy
from cuvee.plan.trial import Measure
from cuvee.study.store import Store

LONGER = 2.0
"""Runs that saw more than this many times the tokens of others, or fewer, are another scale."""


def past_of(
    folder: Path,
    edits: Sequence[Edit],
    proxy: Proxy,
    *,
    trainer: str = "proxies",
    measures: Sequence[Measure] = (),
    source: str = "",
) -> Past:
    """The done runs of the search in the study `folder`, and the edits from its domains to others.

    Args:
        folder: The study; its verification is not read, which scored another split.
        edits: In order.
        proxy: The runs of the problem that they are to be evidence for.
        trainer: Who makes its runs.
        measures: Its measures: losses on files that are not the very same are left out.
        source: How the study is called; its folder when left out.

    Raises:
        DataError: no study there, or no run of it is done.
        UsageError: its runs were another model or another length, or edits do not apply.
    """
    store = Store(folder)
    before = store.config().problem
    _check_scale(before, proxy, trainer, source or str(folder))
    targets = tuple(name for name in before.scored if name in before.domains or _measure(before, name) in measures)
    runs_of_mixtures = mixtures(store.trials(p for r in store.rounds() for p in r.plans))
    done = [t for t in runs_of_mixtures if t.status == "done"]
    if not done:
        raise DataError(f"no run of {source or folder} is done", wanted="a study that has searched")
    runs = tuple(PastRun.of(trial, targets) for trial in done)
    natural = tuple(before.natural.shares.tolist())
    return Past(source or folder.name, before.domains, targets, natural, tuple(edits), runs)


def _measure(problem: Problem, name: str) -> Measure:
    return next(m for m in problem.measures if m.name == name)


def _check_scale(before: Problem, proxy: Proxy, trainer: str, source: str) -> None:
    old, differ = before.proxy, list[str]()
    if before.trainer != trainer:
        differ.append(f"the trainer {before.trainer!r}, not {trainer!r}")
    if old.size != proxy.size:
        differ.append(f"size {old.size}, not {proxy.size}")
    elif old.start != proxy.start:
        differ.append("another checkpoint to start from")
    if not 1 / LONGER <= old.tokens / proxy.tokens <= LONGER:
        differ.append(f"{old.tokens:,} tokens, not {proxy.tokens:,}")
    if differ:
        raise UsageError(
            f"the runs of {source} had {' and '.join(differ)}",
            wanted=f"runs of the same model and at most {LONGER:g} times as long or short: other scales have other slopes",
            fix="use the proxy of that study, or leave it out of past:",
        )
