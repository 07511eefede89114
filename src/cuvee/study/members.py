"""What `together: auto` is in a study: a number that is found when the study begins and kept in its config and plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from cuvee.base.rng import generator
from cuvee.methods.contract import Method
from cuvee.plan.problem import Problem
from cuvee.plan.trial import Plan
from cuvee.shards.corpus import Corpus
from cuvee.study.store import Store


def free_memory() -> int:
    """Of the GPU of this machine; imports torch."""
    from cuvee.proxies import memory

    return memory.free_memory()


def settled(
    store: Store, problem: Problem, corpus: Corpus, method: Method, free: Callable[[], int] = free_memory
) -> Problem:
    """The problem with K as a number: the one that the study began with, if its runs are the same otherwise.

    A new study on a CPU trains one run at a time, which is as fast there; one on a GPU as many as `even` says.

    Raises:
        UsageError: there is no GPU to ask, or not even one run fits.
    """
    proxy = problem.proxy
    if proxy.together != "auto":
        return problem
    if store.exists():
        began = store.config()
        if began.corpus.fingerprint == corpus.fingerprint and replace(began.problem.proxy, together="auto") == proxy:
            return replace(problem, proxy=began.problem.proxy)
    alone = replace(problem, proxy=replace(proxy, together=1))
    if proxy.device == "cpu":
        return alone
    from cuvee.proxies.memory import members

    vocab = corpus.vocab_size if proxy.start is None else proxy.start.vocab_size
    fit = members(proxy.shape, vocab, proxy.sequences_per_step * proxy.seq_len, proxy.precision, free())
    plans = method.propose(alone, (), generator(problem.seed, "propose", 0))
    return replace(problem, proxy=replace(proxy, together=even(_alike(plans), fit)))


def even(runs: int, fit: int) -> int:
    """K for so many runs of a block of which `fit` fit at a time: the least that makes no more batches of them.

    A batch that is short of runs is filled with copies (`study.worker`), which cost as much as runs.
    """
    batches = -(-runs // fit)
    return -(-runs // batches)


def _alike(plans: Sequence[Plan]) -> int:
    """Runs of the largest set that differ in nothing but mixture; at least 1."""
    alike = Counter(replace(plan, schedule=plans[0].schedule) for plan in plans if plan.kind != "ngram")
    return max(alike.values(), default=1)
