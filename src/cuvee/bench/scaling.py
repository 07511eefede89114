"""Does the local pool cost anything? W workers of a study against W bare trainings started at the same time.

Both make the same runs on one thread each, from the start of the first process to the end of the last. A bare training is
the plainest that can be: a loop over its share of the plans, nothing claimed, kept or published.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cuvee.base.processes import environment
from cuvee.base.progress import Silent
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Problem, Proxy
from cuvee.shards.corpus import Corpus
from cuvee.study.layout import Planned, Round
from cuvee.study.making import make
from cuvee.study.runners.local import Local
from cuvee.study.store import Store
from cuvee.testing.corpora import synthetic

BARE = """
import sys
from pathlib import Path
import torch
from cuvee.proxies.train import train
from cuvee.shards.corpus import Corpus
from cuvee.study.store import Store, read_job

torch.set_num_threads(1)
path = Path(sys.argv[1])
job, planned = read_job(path), Store(path.parent.parent).planned()
corpus = Corpus.open(path.parent / job.corpus)
for run in job.plans:
    train([planned[run].plan], corpus)
"""


@dataclass(frozen=True)
class Scaling:
    """What came out.

    Args:
        workers: W, of the pool and of the bare trainings.
        runs: Made by either in every repetition, of `tokens` tokens each.
        pool, bare: Tokens a second of all workers together, in every repetition; the two alternate.
        ratio: Median over the repetitions of pool over bare.
    """

    size: str
    workers: int
    runs: int
    tokens: int
    pool: tuple[float, ...]
    bare: tuple[float, ...]
    ratio: float


def on_made_up_text() -> Scaling:
    """The default runs, on a corpus made for it."""
    with TemporaryDirectory() as folder:
        return run(synthetic(folder))


def run(
    corpus: Corpus, *, workers: int = 2, runs: int = 2, size: str = "0.1M", tokens: int = 200_000, repetitions: int = 5
) -> Scaling:
    """Time both, alternating.

    Args:
        runs: Of each worker.
        tokens: Of a run; pools are whole domains.
        repetitions: Of either.
    """
    proxy = Proxy(tokens=tokens, size=size, eval_points=1)
    problem = Problem.from_corpus(corpus, target_tokens=tokens, targets="all-domains", proxy=proxy)
    uniform = Mixture.from_shares(dict.fromkeys(corpus.domains, 1.0))
    plans = [problem.plan(uniform, block) for block in range(workers * runs)]
    planned = tuple(Planned(plan.id(corpus.fingerprint), plan) for plan in plans)
    seconds: dict[str, list[float]] = {"pool": [], "bare": []}
    for _ in range(repetitions):
        for kind, took in seconds.items():
            with TemporaryDirectory() as folder:
                store = Store(Path(folder, "study"))
                store.write_round(0, Round(planned))
                took.append(_pool(store, corpus, planned, workers) if kind == "pool" else _bare(store, corpus, workers))
    total = sum(plan.tokens for plan in plans)
    pool, bare = (tuple(total / took for took in seconds[kind]) for kind in ("pool", "bare"))
    ratio = statistics.median(p / b for p, b in zip(pool, bare, strict=True))
    return Scaling(size, workers, len(plans), plans[0].tokens, pool, bare, ratio)


def _pool(store: Store, corpus: Corpus, planned: tuple[Planned, ...], workers: int) -> float:
    started = time.perf_counter()
    make(store, corpus, (), planned, workers, Silent(), Local())
    return time.perf_counter() - started


def _bare(store: Store, corpus: Corpus, workers: int) -> float:
    ids = tuple(store.planned())
    jobs = [store.write_job(corpus.path, ids[k::workers]) for k in range(workers)]
    started = time.perf_counter()
    processes = [subprocess.Popen([sys.executable, "-c", BARE, str(job)], env=environment()) for job in jobs]
    codes = [process.wait() for process in processes]
    assert not any(codes), f"bare trainings ended with {codes}"
    return time.perf_counter() - started
