"""Runs as files for another trainer: a plan each, the pools that it may read, the text that it is scored on.

    plans/<id>.json                        one run, everything in it (`PlanFile`)
    next.txt                               paths of the plans that are left, a line each
    pools/block-0003-<tokens>/<slug>.*     the domains' pools in a block, at a scale (tokens of all pools)
    held-out/search/<slug>.*               what targets are scored on; `verify/` appears when a verification begins
    tokenizer.json  corpus.json            the corpus's tokenizer; whose plans these are

Written once, whole or not at all; the same call writes the same files. Paths in a plan start from the plan's folder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cuvee.base.codec import LATER, SchemaError, from_json, to_json
from cuvee.base.errors import DataError, UsageError
from cuvee.base.files import FORMAT, dump_json, load_json, replace, slug
from cuvee.corpus.examples import Example, Examples
from cuvee.interop.shardwriters import decoder, jsonl, write_shard
from cuvee.plan.trial import Measure, Plan, Split
from cuvee.shards.corpus import Corpus
from cuvee.shards.pools import pool_of

Form = Literal["megatron", "jsonl", "none"]
ENDINGS = {"megatron": ".bin", "jsonl": ".jsonl"}
LAST = {"megatron": ".idx", "jsonl": ".jsonl"}
"""The file that is there when all of a shard is."""
Halves = Mapping[str, tuple[Examples, Examples]]
"""Measure -> the search and the verify half of its file."""


@dataclass(frozen=True)
class PoolEntry:
    """A domain's pool: the only text of the domain that the run may read, as often as the mixture asks.

    Args:
        shards: Files; of a Megatron pair the `.bin`. Empty when pools were not asked for.
    """

    tokens: int
    documents: int
    shards: tuple[str, ...]


@dataclass(frozen=True)
class TargetEntry:
    """What the run is scored on by the end.

    Args:
        kind: `domain`, or the kind of the measure.
        unit, direction: Of the value to be told.
        file: The held-out text as JSONL, if the metric has one and the corpus can make text.
        shard: The same as a Megatron shard (`.bin`), for domains where pools are such shards.
        documents, tokens, bytes: Of it; tokens and bytes of domains only.
    """

    kind: Literal["domain", "text", "continuation", "choice", "outside"]
    unit: str
    direction: Literal["minimise", "maximise"]
    file: str | None = None
    shard: str | None = None
    documents: int | None = None
    tokens: int | None = None
    bytes: int | None = None


@dataclass(frozen=True)
class PhaseEntry:
    """From `start` tokens on, these shares of tokens hold, reached in a straight line over `ramp` tokens."""

    start: int
    mixture: Mapping[str, float]
    ramp: int = field(default=0, metadata=LATER)


@dataclass(frozen=True)
class TokenizerEntry:
    """The corpus's tokenizer, which `tokens` counts in; `eos` ends every document. `file` is None for bytes and shards of others."""

    kind: str
    vocab_size: int
    eos: int
    file: str | None


@dataclass(frozen=True)
class PlanFile:
    """One run.

    Args:
        run: Its id, by which its metrics are told.
        stage: `round 0` and so on, `verify`, `transfer`, `verify-large`.
        mixture: Shares of tokens over the whole run.
        schedule: Over training; one phase unless the mixture changes.
        tokens: To train on: steps x batch x seq_len.
        domain_tokens: Of each domain.
        learning_rate, size: What a proxy of Cuvée's would use; a trainer may have its own, the same in all runs of a stage.
        seed, block: Runs of one block share initial weights, data order and pools: seed yours with both.
        split: `search` or `verify`: the half of the held-out text.
    """

    run: str
    stage: str
    mixture: Mapping[str, float]
    schedule: tuple[PhaseEntry, ...]
    tokens: int
    domain_tokens: Mapping[str, int]
    steps: int
    batch: int
    seq_len: int
    learning_rate: float
    size: str
    seed: int
    block: int
    split: str
    targets: Mapping[str, TargetEntry]
    pools: Mapping[str, PoolEntry]
    tokenizer: TokenizerEntry
    format: int = FORMAT


def write_plans(
    folder: Path, stage: str, runs: Mapping[str, Plan], corpus: Corpus, form: Form, halves: Halves
) -> tuple[Path, ...]:
    """Write the plans of a stage, with what they name, into `folder`; their paths in order.

    Args:
        runs: Id -> plan.
        form: Of pools: Megatron token shards, JSONL, or none for a trainer that draws from its own copy of the corpus.
        halves: The examples of measures that have a file.

    Raises:
        UsageError: the folder holds the plans of another corpus or seed.
        DataError: text is asked of a corpus without a tokenizer.
        PartialError: the disk is full; run again to go on.
    """
    if form == "jsonl":
        decoder(corpus)  # refuse before anything is written
    _settle(folder, corpus, {plan.seed for plan in runs.values()})
    tokenizer = _tokenizer(folder, corpus)
    paths = []
    for run, plan in runs.items():
        written = _plan_file(folder, run, stage, plan, corpus, form, halves, tokenizer)
        paths.append(folder / "plans" / f"{run}.json")
        replace(paths[-1], dump_json({"format": FORMAT} | to_json(written)))
    replace(folder / "next.txt", "".join(f"plans/{path.name}\n" for path in paths).encode("utf-8"))
    return tuple(paths)


def _settle(folder: Path, corpus: Corpus, seeds: Iterable[int]) -> None:
    path = folder / "corpus.json"
    for seed in seeds:
        whose = {"format": FORMAT, "corpus": corpus.fingerprint, "seed": seed}
        if path.exists() and load_json(path) != whose:
            raise UsageError(f"{folder} holds plans of another corpus or seed", fix="another folder for --out")
        replace(path, dump_json(whose))


def _plan_file(
    folder: Path,
    run: str,
    stage: str,
    plan: Plan,
    corpus: Corpus,
    form: Form,
    halves: Halves,
    tokenizer: TokenizerEntry,
) -> PlanFile:
    domains, mean = plan.schedule.domains, plan.schedule.mean(plan.tokens)
    targets = {d: _domain(folder, d, plan, corpus, form) for d in plan.targets}
    targets |= {m.name: _measure(folder, m, plan, halves) for m in plan.measures}
    return PlanFile(
        run=run,
        stage=stage,
        mixture=mean.as_dict(),
        schedule=tuple(PhaseEntry(p.start, p.mixture.as_dict(), p.ramp) for p in plan.schedule.phases),
        tokens=plan.tokens,
        domain_tokens=dict(zip(domains, mean.tokens(plan.tokens), strict=True)),
        steps=plan.steps,
        batch=plan.batch,
        seq_len=plan.seq_len,
        learning_rate=plan.learning_rate,
        size=plan.size,
        seed=plan.seed,
        block=plan.block,
        split=plan.split,
        targets=targets,
        pools=_pools(folder, plan, corpus, form),
        tokenizer=tokenizer,
    )


# pools


def _pools(folder: Path, plan: Plan, corpus: Corpus, form: Form) -> dict[str, PoolEntry]:
    """The pools of the plan's block and scale, written now unless their record says that they are."""
    place = f"pools/block-{plan.block:04d}-{sum(plan.pools)}"
    record = folder / place / f"{form}.json"
    if not record.exists():
        pools = {
            domain: _pool(folder, place, domain, tokens, plan, corpus, form)
            for domain, tokens in zip(plan.schedule.domains, plan.pools, strict=True)
        }
        replace(record, dump_json({"format": FORMAT, "pools": to_json(pools)}))
    try:
        return {d: from_json(PoolEntry, p) for d, p in load_json(record)["pools"].items()}
    except (SchemaError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{record} is no record of pools: {error}", fix="remove it to have the pools remade") from error


def _pool(folder: Path, place: str, domain: str, tokens: int, plan: Plan, corpus: Corpus, form: Form) -> PoolEntry:
    pool = pool_of(corpus, domain, tokens, seed=plan.seed, block=plan.block)
    if form == "none":
        return PoolEntry(pool.tokens, pool.documents, ())
    prefix = f"{place}/{corpus.domain(domain).slug}"
    documents = ((domain, pool.document(i)) for i in range(pool.documents))
    write_shard(folder / prefix, form, documents, corpus)
    return PoolEntry(pool.tokens, pool.documents, (f"../{prefix}{ENDINGS[form]}",))


# held-out text


def _domain(folder: Path, domain: str, plan: Plan, corpus: Corpus, form: Form) -> TargetEntry:
    """A domain's held-out split as JSONL if the corpus can make text, as token shards too if pools are."""
    tokenizer, held = corpus.inventory.tokenizer, corpus.domain(domain).split(plan.split)
    text = tokenizer.kind == "bytes" or tokenizer.path is not None
    return TargetEntry(
        kind="domain",
        unit="bits/byte",
        direction="minimise",
        file=_held_out(folder, domain, plan.split, corpus, "jsonl") if text else None,
        shard=_held_out(folder, domain, plan.split, corpus, "megatron") if form == "megatron" or not text else None,
        documents=held.documents,
        tokens=held.tokens,
        bytes=held.bytes,
    )


def _held_out(folder: Path, domain: str, split: Split, corpus: Corpus, form: Literal["megatron", "jsonl"]) -> str:
    prefix, source = f"held-out/{split}/{corpus.domain(domain).slug}", corpus.source(domain, split)
    if not (folder / f"{prefix}{LAST[form]}").exists():
        write_shard(folder / prefix, form, ((domain, source.document(i)) for i in range(source.documents)), corpus)
    return f"../{prefix}{ENDINGS[form]}"


def _measure(folder: Path, measure: Measure, plan: Plan, halves: Halves) -> TargetEntry:
    if measure.name not in halves:
        return TargetEntry(measure.kind, measure.unit, measure.direction)
    half = halves[measure.name][plan.split == "verify"]
    path = f"held-out/{plan.split}/{slug(measure.name)}.jsonl"
    rows = jsonl(_rows(half))
    # a study that was restarted with another file of that name must not be scored on the old one
    if not (folder / path).exists() or (folder / path).read_bytes() != rows:
        replace(folder / path, rows)
    return TargetEntry(measure.kind, measure.unit, measure.direction, f"../{path}", documents=len(half.examples))


def _rows(half: Examples) -> Iterator[dict[str, Any]]:
    """Rows that `cuvee.corpus.examples` reads, too."""

    def row(e: Example) -> dict[str, Any]:
        if half.kind == "text":
            return {"text": e.text}
        if half.kind == "continuation":
            return {"prompt": e.context, "continuation": e.continuations[0]}
        return {"prompt": e.context, "choices": list(e.continuations), "answer": e.gold}

    return map(row, half.examples)


def _tokenizer(folder: Path, corpus: Corpus) -> TokenizerEntry:
    info = corpus.inventory.tokenizer
    if info.path is not None and not (folder / "tokenizer.json").exists():
        replace(folder / "tokenizer.json", (corpus.path / info.path).read_bytes())
    file = "../tokenizer.json" if info.path is not None else None
    return TokenizerEntry(info.kind, info.vocab_size, info.eos, file)


def finished(folder: Path) -> None:
    """Say in `next.txt` that nothing is left."""
    replace(folder / "next.txt", b"")
