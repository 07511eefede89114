"""From a schedule and a corpus to what an exporter is told: sources with paths and caps, stages in tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from cuvee.base.codec import nearest
from cuvee.base.errors import InfeasibleError, UsageError
from cuvee.interop.record import Exporter, Handover, Source, Stage
from cuvee.mixture.schedule import Schedule
from cuvee.plan.problem import Problem
from cuvee.shards.corpus import Corpus


def hand_over(
    schedule: Schedule,
    corpus: Corpus,
    exporter: Exporter,
    *,
    tokens: int | None,
    data: str | None,
    caps: Mapping[str, float],
    seq_len: int,
    batch: int,
    seed: int,
    row_limit: int | None,
) -> Handover:
    """The run as `exporter` is told it; domains without a share in any phase are left out.

    Args:
        tokens: Of the run; None for as many as the corpus has for training.
        data: The pattern of paths, with {slug}; None for the exporter's own.
        caps: Domain -> most passes over it in the run.
        row_limit: Tokens at which the trainer cuts documents, for weights that count documents; None for none, or for
            `seq_len` where the files written make the trainer cut there.

    Raises:
        UsageError: other domains than the corpus has, a pattern that is the same for all domains, phases beyond the run.
        InfeasibleError: a cap that the schedule breaks at `tokens`, or a ramp, which no other format has.
    """
    _check_domains(schedule, corpus, caps)
    if any(p.ramp for p in schedule.phases):
        raise InfeasibleError(
            "the schedule has ramps, and outside the loader weights hold for a whole phase",
            wanted="phases of constant weights",
            fix="Schedule.stepped(8) cuts each ramp into 8 phases of its mean weights (--ramp-steps 8 in cuvee export)",
        )
    total = tokens if tokens is not None else sum(corpus.train_tokens.values())
    last = schedule.phases[-1].start
    if not (total > last and seq_len > 0 and batch > 0):
        raise UsageError(
            f"a run of {total:,} tokens whose last phase starts at {last:,}, seq_len {seq_len}, batch {batch}",
            wanted="more tokens than the last phase's start, seq_len and batch of at least 1",
            fix="give the run's length: --tokens",
        )
    pattern = data or exporter.data
    if pattern != "shards" and not any(p in pattern for p in ("{slug}", "{domain}")):
        raise UsageError(
            f"the path {pattern!r} is the same for every domain", wanted="a pattern with {slug} or {domain}"
        )
    row_limit = seq_len if exporter.cuts and row_limit is None else row_limit
    ends = [*(p.start for p in schedule.phases[1:]), total]
    stages = tuple(
        Stage(p.start, end, {d: s for d, s in p.mixture.as_dict().items() if s > 0}, seed + n)
        for n, (p, end) in enumerate(zip(schedule.phases, ends, strict=True))
    )
    used = [d for d in corpus.domains if any(d in stage.shares for stage in stages)]
    handed = Handover(
        sources=tuple(_source(corpus, d, pattern, caps.get(d), row_limit) for d in used),
        stages=stages,
        tokens=total,
        seq_len=seq_len,
        batch=batch,
        seed=seed,
        tokenizer=str((corpus.path / corpus.inventory.tokenizer.path).resolve())
        if corpus.inventory.tokenizer.path
        else "",
    )
    _check_caps(handed)
    return handed


def caps_of(problem: Problem) -> dict[str, float]:
    """Domain -> most passes over it, whatever the run's length, for the domains with a bound of epochs."""
    caps = dict.fromkeys(problem.domains, math.inf if problem.max_epochs is None else problem.max_epochs)
    for domain in problem.small_pool_domains():
        caps[domain] = min(caps[domain], 1.0)
    for limit in problem.limits:
        tokens = problem.tokens[problem.domains.index(limit.domain)]
        caps[limit.domain] = min(
            caps[limit.domain],
            math.inf if limit.max_epochs is None else limit.max_epochs,
            math.inf if limit.max_tokens is None else limit.max_tokens / tokens,
        )
    return {domain: cap for domain, cap in caps.items() if cap < math.inf}


def _source(corpus: Corpus, domain: str, pattern: str, cap: float | None, row_limit: int | None) -> Source:
    info, train = corpus.domain(domain), corpus.source(domain, "train")
    lengths = np.asarray(train.lengths, np.float64)
    rows = np.minimum(lengths, row_limit) if row_limit else lengths
    if pattern == "shards":
        paths = tuple((str((corpus.path / s.path).resolve()), s.tokens) for s in info.train.shards if s.tokens)
    else:
        paths = ((pattern.replace("{slug}", info.slug).replace("{domain}", domain), train.tokens),)
    return Source(domain, info.slug, train.tokens, train.documents, float(rows.mean()), paths, cap)


def _check_domains(schedule: Schedule, corpus: Corpus, caps: Mapping[str, float]) -> None:
    if schedule.domains != corpus.domains:
        raise UsageError(
            f"the schedule mixes {', '.join(schedule.domains)}; the corpus holds {', '.join(corpus.domains)}",
            wanted="the corpus that the choice was made for",
            fix="open that corpus, or run the study on this one",
        )
    for domain, cap in caps.items():
        if domain not in corpus.domains or not cap > 0:
            raise UsageError(
                f"a cap of {cap} epochs for {domain!r}",
                wanted=f"a positive number for one of {', '.join(corpus.domains)}",
                fix=nearest(domain, corpus.domains),
            )


def _check_caps(handed: Handover) -> None:
    epochs = handed.epochs()
    broken = [s for s in handed.sources if s.cap is not None and epochs[s.domain] > s.cap * (1 + 1e-6)]
    if broken:
        which = ", ".join(f"{s.domain} {epochs[s.domain]:.2f} epochs (cap {s.cap:g})" for s in broken)
        raise InfeasibleError(
            f"in a run of {handed.tokens:,} tokens the mixture repeats more than allowed: {which}",
            wanted="every domain within its cap",
            fix="a shorter run (--tokens), or a study with this run as its target_tokens",
        )
