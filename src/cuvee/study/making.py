"""Making the runs that are missing: jobs for workers, progress, and the end of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from cuvee.base.errors import PartialError
from cuvee.base.progress import Progress
from cuvee.shards.corpus import Corpus
from cuvee.study.layout import Planned
from cuvee.study.outside import Waiting
from cuvee.study.pace import pace
from cuvee.study.runners.local import Runner
from cuvee.study.store import Store
from cuvee.study.worker import check_applies, together

EVERY = 5.0
"""Seconds between words of how long it will take, while no run ends."""


def make(
    store: Store,
    corpus: Corpus,
    reuse: Sequence[Store],
    planned: Sequence[Planned],
    workers: int,
    progress: Progress,
    runner: Runner,
) -> None:
    """Make the runs of `planned` that neither this study nor those to reuse have, and return when all have ended.

    Raises:
        Waiting: an outside trainer is to make them.
        UsageError: a run planned for another corpus or by another version of the training code.
        PartialError: some have not ended.
    """
    for trial, bad in store.take_stock(planned, reuse):
        progress.say(f"trial {trial} could not be read; set aside as {bad.name}, running it again")
    left = {p.id for p in planned if not store.has(p.id)}
    missing = tuple(p for p in planned if p.id in left)
    for run in missing:
        check_applies(run, corpus.fingerprint)
    if any(p.plan.trainer == "outside" for p in missing):
        raise Waiting(missing, len(planned) - len(left))

    told = time.monotonic()

    def poll() -> None:
        nonlocal told
        landed = {i for i in left if store.has(i)}
        left.difference_update(landed)
        if landed or time.monotonic() - told >= EVERY:
            told = time.monotonic()
            now = pace(store, [planned], store.trials(planned), corpus.vocab_size)
            progress.foresee(now.left)
            progress.advance(
                len(landed), "" if now.tokens_per_second is None else f"{now.tokens_per_second:,.0f} tokens/s"
            )

    if left:
        # a worker without a batch of its own would only start and wait
        batches = sum(any(p.id in left for p in batch) for batch in together(planned))
        count = max(1, min(workers, batches))
        ids = [p.id for p in planned]
        starts = [len(ids) * k // count for k in range(count)]
        runner.run([store.write_job(corpus.path, (*ids[s:], *ids[:s])) for s in starts], poll)
        poll()
    if left:
        raise PartialError(
            f"{len(left)} of {len(planned)} runs have not ended", fix="run the same command again; it goes on"
        )
    store.sweep(planned)
