"""What a study refuses before it spends anything on it, and what it says of its power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from cuvee.base.errors import DataError, UsageError
from cuvee.plan.problem import Problem, Proxy
from cuvee.plan.trial import WANTS, Plan, Trial
from cuvee.proxies.start import Weights, path_of, save_start
from cuvee.shards.corpus import Corpus
from cuvee.shards.examples import Tokenised
from cuvee.study.judge import FIRST_BLOCK
from cuvee.study.layout import Config
from cuvee.study.store import Store


def keep_inputs(problem: Problem, folder: Path, inputs: Sequence[Tokenised], weights: Weights | None) -> None:
    """Write what the measures score and what proxies start from into the study's folder, and refuse a study whose runs
    would miss some of it."""
    given = {examples.sha: examples for examples in inputs}
    for measure in problem.measures:
        for sha in filter(None, (measure.search, measure.verify)):
            path = folder / f"{sha}.npz"
            if sha in given and not path.exists():
                given[sha].save(path)
            if not path.exists():
                raise DataError(
                    f"the examples of {measure.name!r} are not in {folder}",
                    wanted=path.name,
                    fix="give them again: Study.open(..., inputs=(target.search, target.verify)), or run the study's file",
                )

    start = problem.proxy.start
    if start is None:
        return
    if weights is not None:
        save_start(folder, start, weights)
    if not path_of(folder, start).exists():
        raise DataError(
            f"the weights of the checkpoint are not in {folder}",
            wanted=path_of(folder, start).name,
            fix="give them again: Study.open(..., weights=checkpoint.weights), or run the study's file",
        )


def check_reuse(problem: Problem, reuse: Sequence[Path | str]) -> None:
    """Refuse to take over runs of an outside trainer: nothing says that it was the same one."""
    if reuse and problem.trainer == "outside":
        raise UsageError(
            f"runs of an outside trainer are to be taken over from {', '.join(map(str, reuse))}",
            wanted="runs of this study's own trainer",
            fix="leave reuse: out, and tell the runs to this study",
        )


def check_corpus(store: Store, config: Config, corpus: Corpus | None) -> None:
    """Refuse a corpus that is not the study's."""
    if corpus is not None and corpus.fingerprint != config.corpus.fingerprint:
        raise DataError(
            f"the study in {store.folder} is about another corpus: got the fingerprint {corpus.fingerprint}",
            wanted=config.corpus.fingerprint,
        )


def check_larger(at: Proxy, proxy: Proxy) -> None:
    """Refuse larger runs that are not larger, or whose sequences are not the proxies'."""
    if at.seq_len != proxy.seq_len or at.shape.parameters < proxy.shape.parameters or at.tokens < proxy.tokens:
        raise UsageError(
            f"the larger runs are {at.size}, {at.tokens:,} tokens, sequences of {at.seq_len}",
            wanted=f"at least the proxies' {proxy.size} and {proxy.tokens:,} tokens, in sequences of {proxy.seq_len}",
        )
    if (at.size, at.tokens) == (proxy.size, proxy.tokens):
        raise UsageError("the larger runs are as large as the proxies", fix="a larger size, or more tokens")


def power(detectable: float) -> str:
    """What gain a verification can find, for a person."""
    if math.isfinite(detectable):
        return f"gains from {detectable:.4f} bits/byte on are detectable (80 % power)"
    return "what gain is detectable is not known: too few mixtures ran in several blocks, or one block is verified"


def check_some_done(number: int, trials: Sequence[Trial]) -> None:
    """Refuse to go on after a round of which no run ended well."""
    if not any(t.status == "done" for t in trials):
        raise DataError(
            f"none of the {len(trials)} runs of round {number} ended well; the first: {trials[0].message}",
            wanted="runs that can be compared",
            fix="mend the cause (diverged: a lower proxy.learning_rate); removed trial files are made again",
        )


def check_plan(plan: Plan, problem: Problem) -> None:
    """Refuse what a method may not propose."""
    wrong = []
    if plan.split != "search":
        wrong.append(f"it scores the split {plan.split!r}")
    if not 0 <= plan.block < FIRST_BLOCK:
        wrong.append(f"its block is {plan.block}")
    if plan.schedule.domains != problem.domains:
        wrong.append(f"its domains are {', '.join(plan.schedule.domains)}")
    if plan.requires:
        wrong.append("it requires other runs, which this version cannot order")
    if unknown := [want for want in plan.wants if want not in WANTS]:
        wrong.append(f"it wants {', '.join(unknown)} recorded; this version can record {', '.join(WANTS)}")
    if plan.trainer == "outside" and (plan.wants or plan.kind not in ("train", "short")):
        wrong.append("an outside trainer makes it, which reports metrics only: no arrays, no experts")
    if plan.kind == "train" and plan.tokens != problem.proxy.trained_tokens:
        wrong.append(f"it sees {plan.tokens:,} tokens, not the proxies' {problem.proxy.trained_tokens:,}")
    if plan.kind == "ngram" and sum(pool > 0 for pool in plan.pools) != 1:
        wrong.append("an n-gram model of other than one domain")
    if wrong:
        raise UsageError(
            f"the method proposes a run that a study cannot make: {'; '.join(wrong)}",
            wanted=f"the search split, blocks 0 to {FIRST_BLOCK - 1}, the problem's domains",
            fix="build plans with problem.plan(mixture, block), others with cuvee.plan.rungs and experts",
        )
