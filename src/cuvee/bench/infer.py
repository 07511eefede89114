"""Tokenizer inference on known mixtures: errors, coverage of the intervals, and what happens when things are missing.

Documents of every category are dealt by their content into two pools that share none: tokenizers are trained on mixtures of
the one (by the tokenizers library), samples are the other. Baselines: uniform shares, and the nearest of some tokenizers
trained on random mixtures of the samples.

Letters: n categories.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from cuvee.audit.cache import cached_samples
from cuvee.audit.infer import Inference, infer
from cuvee.audit.merges import read_merges
from cuvee.audit.program import Program
from cuvee.audit.replay import Replay
from cuvee.audit.simulate import simulate
from cuvee.base.errors import DataError
from cuvee.base.progress import Progress, Silent
from cuvee.base.rng import generator
from cuvee.bench import plain_infer
from cuvee.corpus.readers import Document, Fields, read
from cuvee.corpus.sources import find_files
from cuvee.corpus.words import hash64
from cuvee.interop.shardwriters import jsonl

_TRAIN_BYTES = 30_000_000
_PIECE = 20_000
"""Characters of a piece: longer documents are cut before they are dealt out, so that none is a large part of a pool."""
_CANDIDATES = 12
Pools = Mapping[str, list[str]]
NORMALISERS: dict[str, Any] = {
    "plain": None,
    "NFKC, lower case": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}]},
}


@dataclass(frozen=True)
class Row:
    """One inference of a tokenizer whose mixture is known.

    Args:
        setting: What was done.
        seed: Of the mixture.
        log10_mse, mae, largest: Errors of shares of bytes, over the categories that were trained on.
        covered: Share of nominal 90 % intervals that hold the truth.
        uniform, nearest: log10 mean squared error of the baselines; NaN where not made.
        missing: Share of the text that has no samples; `unknown` its estimate.
        residual_ratio: Of the violations to simulated ones.
    """

    setting: str
    categories: int
    seed: int
    log10_mse: float
    mae: float
    largest: float
    covered: float
    uniform: float
    nearest: float
    missing: float
    unknown: float
    residual_ratio: float
    cpu_seconds: float


def run(
    sources: Sequence[Path],
    *,
    mixtures: int = 5,
    merges: int = 1000,
    simulations: int = 6,
    sizes: Sequence[int] = (5,),
    progress: Progress | None = None,
) -> list[Row]:
    """Every setting over `mixtures` mixtures, on the categories under `sources`.

    Raises:
        DataError: fewer than five categories.
    """
    say = progress or Silent()
    train, held = deal(sources)
    names = sorted(held)
    if len(names) < 5:
        raise DataError(f"got {len(names)} categories", wanted="five or more")
    settings = [(f"{k} categories", names[:k]) for k in dict.fromkeys([k for k in sizes if k < len(names)])]
    settings.append((f"{len(names)} categories", names))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as place:
        bench = _Bench(Path(place), train, held, merges, simulations, say)
        for title, chosen in settings:
            rows += [bench.controlled(title, chosen, seed) for seed in range(mixtures)]
        rows += [bench.controlled(f"{3 * merges:,} merges", names, seed, merges=3 * merges) for seed in range(2)]
        rows += [bench.controlled("normalising tokenizer", names, seed, normal="NFKC, lower case") for seed in range(2)]
        rows += [bench.controlled("samples ten times smaller", names, seed, part=0.1) for seed in range(mixtures)]
        rows += [bench.controlled("a category missing", names, seed, missing=1) for seed in range(mixtures)]
        rows += [bench.controlled("another dialect", names, seed, dialect=alike(held)) for seed in range(mixtures)]
    return rows


def alike(pools: Pools) -> tuple[str, str]:
    """The two categories whose byte frequencies are most alike."""
    frequency = {}
    for category, texts in pools.items():
        counts = np.bincount(np.frombuffer("".join(texts[:200]).encode("utf-8"), np.uint8), minlength=256)
        frequency[category] = np.sqrt(counts / counts.sum())
    return max(combinations(sorted(pools), 2), key=lambda p: float(frequency[p[0]] @ frequency[p[1]]))


def deal(sources: Sequence[Path]) -> tuple[Pools, Pools]:
    """Documents of each category in two pools that share none, by a hash of their content; files of plain text stay whole."""
    listing = find_files(sources, "auto", leave_out=Path("/nowhere"), text_field="text")
    pools: tuple[dict[str, list[str]], dict[str, list[str]]] = ({}, {})
    seen = set()
    for file in listing.files:
        for found in read(file, Fields("text", None)):
            if not isinstance(found, Document):
                continue
            # the whole document goes to one pool, cut into pieces there
            identity = hash64(found.text.encode("utf-8"))
            if identity in seen:
                continue
            seen.add(identity)
            key = hash64(file.path.encode("utf-8")) if file.kind == "text" and file.unit != "piece" else identity
            category = file.domain or ""
            pool = pools[key % 2].setdefault(category, [])
            pools[1 - key % 2].setdefault(category, [])
            pool += [found.text[i : i + _PIECE] for i in range(0, len(found.text), _PIECE)]
    return pools


class _Bench:
    def __init__(
        self, place: Path, train: Pools, held: Pools, merges: int, simulations: int, progress: Progress
    ) -> None:
        self._place, self._train, self._held = place, train, held
        self._merges, self._simulations, self._progress = merges, simulations, progress
        self._candidates: dict[tuple[str, ...], list[tuple[np.ndarray[Any, Any], frozenset[str]]]] = {}

    def controlled(
        self,
        title: str,
        names: Sequence[str],
        seed: int,
        *,
        normal: str = "plain",
        part: float = 1.0,
        missing: int = 0,
        dialect: tuple[str, str] | None = None,
        merges: int = 0,
    ) -> Row:
        """One row. `part` of the samples; `missing` categories left out; of the two of `dialect`, the tokenizer sees the first
        only, and its samples are those of the second."""
        merges = merges or self._merges
        names = [c for c in names if dialect is None or c != dialect[1]]
        rng = generator(seed, f"bench infer {len(names)}", 0)
        wanted = rng.dirichlet(np.ones(len(names)))
        tokenizer = self._place / f"{len(names)}-{seed}-{normal[:4]}-{dialect is not None}-{merges}.json"
        truth = train_tokenizer(self._train, names, wanted, tokenizer, merges, NORMALISERS[normal], rng)
        # the category left out is the one whose share is nearest to a tenth
        out = sorted(names, key=lambda c: abs(truth[c] - 0.1))[:missing]
        kept = [c for c in names if c not in out]
        found = infer(
            tokenizer,
            [self._samples(c, part, dialect[1] if dialect and c == dialect[0] else c) for c in kept],
            merges=merges,
            simulations=self._simulations,
            seed=seed,
            domains="file",
            cache=self._place / "cache",
        )
        known = sum(truth[c] for c in kept)
        true_n = np.array([truth[c] / known for c in kept])
        row = _row(title, len(names), seed, found, kept, true_n, missing=1 - known)
        if part == 1.0 and not missing and normal == "plain" and dialect is None and merges == self._merges:
            nearest = self._nearest(tokenizer, kept, true_n)
            row = Row(**{**vars(row), "nearest": nearest})
        self._progress.say(f"{title}, mixture {seed}: log10 MSE {row.log10_mse:.2f}, mean error {row.mae:.4f}")
        self._progress.advance(1)
        return row

    def _samples(self, category: str, part: float, of: str) -> Path:
        folder = self._place / f"samples-{part}-{of}"
        path = folder / f"{category}.jsonl"
        if not path.exists():
            folder.mkdir(exist_ok=True)
            texts = self._held[of][: max(1, round(part * len(self._held[of])))]
            write_jsonl(path, texts)
        return path

    def _nearest(self, tokenizer: Path, names: Sequence[str], true_n: Any) -> float:
        """log10 MSE of the mixture whose tokenizer, trained on the samples, shares most tokens with this one."""
        merges = read_merges(tokenizer, self._merges)
        paths = [self._samples(c, 1.0, c) for c in names]
        fields = Fields("text", None)
        samples = cached_samples(paths, merges, 64_000_000, "file", fields, self._place / "cache", Silent())
        key = tuple(names)
        if key not in self._candidates:
            layout, made = samples.layout(merges), []
            for k in range(_CANDIDATES):
                rng = generator(k, "candidate", len(names))
                share = rng.dirichlet(np.ones(len(names)))
                run = simulate(samples, layout, merges, share, 300, rng)
                made.append((run.truth_n, run.texts))
            self._candidates[key] = made
        mine = frozenset(merges.texts[:300])
        best = max(self._candidates[key], key=lambda c: len(c[1] & mine))[0]
        pairs_n = np.bincount(samples.layout(merges).word_N, minlength=len(samples.words)) - 1
        bytes_n = best * samples.bytes_n / np.maximum(pairs_n @ samples.weights(), 1)
        return float(np.log10(np.mean((bytes_n / bytes_n.sum() - true_n) ** 2)))


def _row(
    title: str, categories: int, seed: int, found: Inference, names: Sequence[str], true_n: Any, missing: float
) -> Row:
    rows = {p.category: p for p in found.proportions}
    error_n = np.array([rows[c].share for c in names]) - true_n
    inside = [rows[c].low <= t <= rows[c].high for c, t in zip(names, true_n, strict=True)]
    return Row(
        setting=title,
        categories=categories,
        seed=seed,
        log10_mse=float(np.log10(np.mean(error_n**2))),
        mae=float(np.abs(error_n).mean()),
        largest=float(np.abs(error_n).max()),
        covered=float(np.mean(inside)),
        uniform=float(np.log10(np.mean((1 / len(names) - true_n) ** 2))),
        nearest=float("nan"),
        missing=missing,
        unknown=found.unknown.share,
        residual_ratio=found.residual.ratio,
        cpu_seconds=found.cpu_seconds,
    )


def train_tokenizer(
    pools: Pools,
    names: Sequence[str],
    wanted_n: Any,
    path: Path,
    merges: int,
    normalizer: Any,
    rng: np.random.Generator,
) -> dict[str, float]:
    """Train byte-level BPE on a mixture of the pools and write it; the shares of bytes that it really saw.

    The text is as long as the scarcest category allows, 30 MB at most.
    """
    from tokenizers import Tokenizer, trainers
    from tokenizers.pre_tokenizers import ByteLevel

    sizes = {c: sum(len(t.encode("utf-8")) for t in pools[c]) for c in names}
    total = min(_TRAIN_BYTES, *(sizes[c] / w for c, w in zip(names, wanted_n, strict=True)))
    chosen: list[str] = []
    seen: dict[str, int] = {}
    for category, weight in zip(names, wanted_n, strict=True):
        seen[category] = 0
        for i in rng.permutation(len(pools[category])).tolist():
            if seen[category] >= weight * total:
                break
            chosen.append(pools[category][i])
            seen[category] += len(chosen[-1].encode("utf-8"))
    split = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    empty = {"type": "BPE", "vocab": {}, "merges": []}
    body = {"model": empty, "normalizer": normalizer, "pre_tokenizer": split, "added_tokens": []}
    tokenizer = Tokenizer.from_str(json.dumps(body))
    alphabet = ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=merges + len(alphabet), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(iter(chosen), trainer)
    tokenizer.save(str(path))
    return {c: n / sum(seen.values()) for c, n in seen.items()}


def write_jsonl(path: Path, texts: Sequence[str]) -> None:
    """One text a line, as `prepare` and `infer` read them."""
    path.write_bytes(jsonl({"text": t} for t in texts))


def summary(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Means of each setting."""
    return [
        {
            "setting": setting,
            "mixtures": len(group),
            "log10 MSE": round(mean(r.log10_mse for r in group), 2),
            "mean error": round(mean(r.mae for r in group), 4),
            "largest": round(max(r.largest for r in group), 4),
            "covered": round(mean(r.covered for r in group), 3),
            "uniform": round(mean(r.uniform for r in group), 2),
            "nearest": round(mean(r.nearest for r in group), 2),
            "missing": round(mean(r.missing for r in group), 3),
            "unknown": round(mean(r.unknown for r in group), 3),
            "residual": round(mean(r.residual_ratio for r in group), 2),
            "cpu s": round(mean(r.cpu_seconds for r in group), 1),
        }
        for setting, group in _grouped(rows)
    ]


def _grouped(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    for setting in dict.fromkeys(r.setting for r in rows):
        yield setting, [r for r in rows if r.setting == setting]


def against_plain(sources: Sequence[Path], merges: int = 200) -> list[dict[str, Any]]:
    """CPU seconds of counting and of solving, ours and the published algorithm as it reads, on the same words and solver."""
    with tempfile.TemporaryDirectory() as place:
        train, held = deal(sources)
        names = sorted(held)
        wanted = np.full(len(names), 1 / len(names))
        path = Path(place) / "tokenizer.json"
        train_tokenizer(train, names, wanted, path, merges, None, generator(0, "plain", 0))
        for name in names:
            write_jsonl(Path(place) / f"{name}.jsonl", held[name])
        listed = read_merges(path, merges)
        texts = [Path(place) / f"{name}.jsonl" for name in names]
        samples = cached_samples(texts, listed, 300_000, "file", Fields("text", None), None, Silent())
    clock = [time.process_time()]
    layout, weight_Wn = samples.layout(listed), samples.weights()
    replay = Replay(layout, weight_Wn, len(names))
    for left, right in listed.pairs:
        replay.merge(replay.find(left, right))
    counts = replay.counts()
    clock.append(time.process_time())
    ours = Program(counts, merges).solve()
    clock.append(time.process_time())
    bounds = np.searchsorted(layout.word_N, np.arange(len(samples.words) + 1))
    words = [tuple(layout.token_N[a:b].tolist()) for a, b in pairwise(bounds.tolist())]
    plain_counts = [
        plain_infer.count({w: int(k) for w, k in zip(words, column, strict=True) if k}, listed.pairs, layout.tokens)
        for column in weight_Wn.T
    ]
    clock.append(time.process_time())
    plain = plain_infer.solve(plain_counts, listed.pairs, epochs=1000)
    clock.append(time.process_time())
    spent = np.diff(clock)
    return [
        {"step": "counting", "ours": float(spent[0]), "plain": float(spent[2]), "ratio": float(spent[2] / spent[0])},
        {"step": "solving", "ours": float(spent[1]), "plain": float(spent[3]), "ratio": float(spent[3] / spent[1])},
        {"step": "largest difference", "ours": float(np.abs(ours.share_n - plain).max()), "plain": 0.0, "ratio": 0.0},
    ]


def timing(sources: Sequence[Path], merges: Sequence[int] = (1000, 5000, 20000)) -> list[dict[str, float]]:
    """CPU seconds of reading, counting and solving, by number of merges, of a tokenizer trained on the samples."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        pools, _ = deal(sources)
        names, path = sorted(pools), Path(place) / "tokenizer.json"
        even = np.full(len(names), 1 / len(names))
        train_tokenizer(pools, names, even, path, max(merges), None, generator(0, "timing", 0))
        for count in merges:
            clock = [time.process_time()]
            listed = read_merges(path, count)
            samples = cached_samples(sources, listed, 64_000_000, "auto", Fields("text", None), None, Silent())
            clock.append(time.process_time())
            replay = Replay(samples.layout(listed), samples.weights(), len(samples.categories))
            for left, right in listed.pairs:
                replay.merge(replay.find(left, right))
            counts = replay.counts()
            clock.append(time.process_time())
            Program(counts, min(count, 1000)).solve()
            clock.append(time.process_time())
            reading, counting, solving = np.diff(clock).tolist()
            megabytes = float(samples.bytes_n.sum() / 1e6)
            rows.append(
                {"merges": count, "MB": megabytes, "reading": reading, "counting": counting, "solving 1,000": solving}
            )
    return rows
