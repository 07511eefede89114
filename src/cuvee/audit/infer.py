"""The proportions of categories in the text that a BPE tokenizer was trained on, from its merges (Hayase et al. 2024)."""

from __future__ import annotations

import time
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from scipy.stats import t as student

from cuvee.audit.cache import cached_samples
from cuvee.audit.merges import BYTES, Merges, read_merges
from cuvee.audit.program import Fit, Program
from cuvee.audit.replay import F64, Counts, Replay
from cuvee.audit.simulate import Simulated, halves_hold_text, simulate
from cuvee.audit.words import READING, Samples
from cuvee.base.errors import DataError, UsageError
from cuvee.base.progress import Progress, Silent
from cuvee.base.rng import generator
from cuvee.corpus.readers import Fields

_SIMULATED = 400
"""Merges of a simulation, at most: errors are as large as with a thousand, at half the price."""
_LEAST_SHARE = 0.01
"""Categories below this are not left out to see what it does."""
_LISTED = 10
_COUNTING = 0.1
"""The part of an inference that counting is, about, for progress."""


@dataclass(frozen=True)
class Proportion:
    """A category's share of the bytes, with its 90 % interval; without simulations the interval is the whole range."""

    category: str
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Residual:
    """How much the merges disagree with the answer, in millionths of all pairs, over the merges of a simulation.

    Args:
        violation: The objective: what merges and pairs had to be forgiven.
        simulated: The same in simulations, the lowest, median and highest.
        ratio: `violation` over their median; NaN without simulations.
    """

    violation: float
    simulated: tuple[float, ...]
    ratio: float


@dataclass(frozen=True)
class Disagreement:
    """A merge that the answer expects later (`merge`, its number) or a pair that it expects sooner (`merge` None)."""

    merge: int | None
    left: str
    right: str
    forgiven: float


@dataclass(frozen=True)
class Unknown:
    """The share of the text that no category explains, roughly: what is like a known category is not seen.

    Args:
        share, low, high: From merges in no sample and the excess of the residual over the simulations', by the median, the
            most and the least telling of three known categories; without simulations from the merges alone.
        missing: Merges that occur in no sample, and (as words) what they are made of: script -> merges.
    """

    share: float
    low: float
    high: float
    missing: int
    scripts: dict[str, int]


@dataclass(frozen=True)
class Inference:
    """What a tokenizer was trained on, as far as the samples tell.

    Args:
        proportions: By category, shares of bytes.
        by_merges: Merges used -> category -> share: how much the answer depends on their number.
        overlap: Tokens that the tokenizer shares with simulated ones, and those with each other; empty without simulations.
        bytes: Of samples, by category.
        redundant, unreachable: Entries of the merge list that were left out.
        warnings: Sentences that a reader must not miss.
    """

    proportions: tuple[Proportion, ...]
    residual: Residual
    merges_used: int
    merges_available: int
    by_merges: dict[int, dict[str, float]]
    disagreements: tuple[Disagreement, ...]
    unknown: Unknown
    overlap: tuple[float, ...]
    bytes: dict[str, int]
    redundant: int
    unreachable: int
    simulations: int
    warnings: tuple[str, ...]
    cpu_seconds: float

    def share(self, category: str) -> float:
        """The estimate of that category."""
        return next(p.share for p in self.proportions if p.category == category)


def infer(
    tokenizer: str | Path,
    samples: Sequence[str | Path],
    *,
    merges: int = 1000,
    simulations: int = 6,
    seed: int = 0,
    domains: str = "auto",
    text_field: str = "text",
    most_bytes: int = 64_000_000,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> Inference:
    """Infer the mixture behind `tokenizer` from samples of the categories it may have seen.

    Args:
        tokenizer: tokenizer.json, merges.txt or tiktoken ranks of a BPE tokenizer.
        samples: Folders and files of text, a category each by the rules of `prepare` (`domains`).
        merges: The first so many are used; more say little more and cost more.
        simulations: For intervals, the residual's reference and the unknown; 0 leaves them out.
        most_bytes: Read of each category at most.
        cache: A folder that keeps the counted words of these samples for the next time.
        progress: Advanced by fractions of the whole.

    Raises:
        DataError: no BPE tokenizer, merges in no order, a category without text.
        UsageError: fewer than two categories, or numbers that make no sense.
    """
    started, say = time.process_time(), progress or Silent()
    if merges < 10 or simulations < 0:
        raise UsageError(
            f"got merges {merges}, simulations {simulations}", wanted="at least 10 merges, 0 simulations or more"
        )
    listed = read_merges(Path(tokenizer), merges)
    field = domains.removeprefix("field:") if domains.startswith("field:") else None
    found = cached_samples(
        [Path(s) for s in samples],
        listed,
        most_bytes,
        domains,
        Fields(text_field, field),
        Path(cache) if cache is not None else None,
        say,
    )
    study = _Study(listed, found, say)
    runs = study.simulate(simulations, seed)
    return study.answer(runs, started)


class _Study:
    def __init__(self, merges: Merges, samples: Samples, progress: Progress) -> None:
        self.merges, self.samples, self.progress = merges, samples, progress
        self.layout = samples.layout(merges)
        progress.say(f"{len(samples.words):,} distinct words; counting {len(merges.pairs):,} merges")
        replay = Replay(self.layout, samples.weights(), len(samples.categories))
        for t, (left, right) in enumerate(merges.pairs):
            replay.merge(replay.find(left, right))
            if t % 100 == 0:
                progress.advance(_COUNTING * 100 / len(merges.pairs), f"merge {t:,}")
        self.counts: Counts = replay.counts()
        silent = [c for c, pairs in zip(samples.categories, self.counts.initial_C, strict=True) if not pairs]
        if silent or not self.counts.merged_TC.any():
            raise DataError(
                f"no pair of the tokenizer's symbols in {', '.join(silent)}"
                if silent
                else "no merge occurs in any sample",
                wanted="samples of text that the tokenizer may have been trained on",
                fix="leave the category out" if silent else "samples in its languages",
            )
        self.bytes_per_pair_n = samples.bytes_n / np.maximum(self.counts.initial_C, 1)
        self.few = min(_SIMULATED, len(merges.pairs))
        self.program = Program(self.counts, self.few)
        self.fits: dict[int, Fit] = {}
        share_n = None
        for count in sorted({min(self.few, max(10, len(merges.pairs) // 4)), self.few, len(merges.pairs)}):
            self.fits[count] = Program(self.counts, count).solve(share_n)
            share_n = self.fits[count].share_n

    @property
    def fit(self) -> Fit:
        return self.fits[len(self.merges.pairs)]

    def of_bytes(self, share_n: F64) -> F64:
        bytes_n: F64 = share_n * self.bytes_per_pair_n
        shares: F64 = bytes_n / bytes_n.sum()
        return shares

    def simulate(self, count: int, seed: int) -> list[Simulated]:
        runs: list[Simulated] = []
        if not halves_hold_text(self.samples):
            return runs
        for k in range(count):
            rng = generator(seed, "simulation", k)
            runs.append(simulate(self.samples, self.layout, self.merges, self.fit.share_n, self.few, rng))
            self.progress.advance((1 - READING - _COUNTING) / count, f"simulation {k + 1} of {count}")
        return runs

    def answer(self, runs: list[Simulated], started: float) -> Inference:
        share_n, merges = self.of_bytes(self.fit.share_n), self.merges
        names = self.samples.categories
        residual = self._residual(runs)
        unknown = self._unknown(runs, residual)
        overlap = _overlap(frozenset(merges.texts[: self.few]), [r.texts for r in runs])
        return Inference(
            proportions=self._intervals(share_n, runs, max(1.0, residual.ratio)),
            residual=residual,
            merges_used=int(self.counts.merged_TC.any(1).sum()),
            merges_available=merges.available,
            by_merges={
                c: dict(zip(names, self.of_bytes(f.share_n).tolist(), strict=True)) for c, f in self.fits.items()
            },
            disagreements=self._disagreements(),
            unknown=unknown,
            overlap=overlap,
            bytes=dict(zip(names, self.samples.bytes_n.tolist(), strict=True)),
            redundant=merges.redundant,
            unreachable=merges.unreachable,
            simulations=len(runs),
            warnings=tuple(self._warnings(residual, unknown, overlap)),
            cpu_seconds=time.process_time() - started,
        )

    def _intervals(self, share_n: F64, runs: list[Simulated], misfit: float) -> tuple[Proportion, ...]:
        """Student's quantile of the root mean square of simulated errors: their mean is error too.

        Wider by the residual's ratio where that is above 1: the samples are further from the text than halves of them are from
        each other, and shares move in proportion to that.
        """
        half_n = np.ones_like(share_n)
        if runs:
            error_Kn = np.array([self.of_bytes(r.found_n) - self.of_bytes(r.truth_n) for r in runs])
            half_n = misfit * student.ppf(0.95, len(runs)) * np.sqrt((error_Kn**2).mean(0))
        low_n, high_n = np.maximum(share_n - half_n, 0), np.minimum(share_n + half_n, 1)
        rows = zip(self.samples.categories, share_n.tolist(), low_n.tolist(), high_n.tolist(), strict=True)
        return tuple(Proportion(*row) for row in rows)

    def _residual(self, runs: list[Simulated]) -> Residual:
        violation = self.fits[self.few].violation
        simulated = sorted(r.fit.violation for r in runs)
        if not simulated:
            return Residual(violation, (), float("nan"))
        middle = median(simulated)
        return Residual(violation, (simulated[0], middle, simulated[-1]), violation / max(middle, 1e-9))

    def _unknown(self, runs: list[Simulated], residual: Residual) -> Unknown:
        """What merges in no sample weigh, and the residual's excess over simulations, as odds against the known text.

        A merge in no sample was about as frequent as its neighbours in the list. An excess is measured by what leaving out
        a known category adds to the residual, per share of it.
        """
        pairs, fit = len(self.merges.pairs), self.fit
        frequency_T = self.counts.merged_TC / np.maximum(self.counts.initial_C, 1) @ fit.share_n
        used = np.flatnonzero(self.counts.merged_TC.any(1))
        missing = np.setdiff1d(np.arange(pairs), used)
        of_missing = float(np.interp(missing, used, frequency_T[used]).sum() / frequency_T[used].sum())
        excess = residual.violation - residual.simulated[-1] if runs else 0.0
        odds = [0.0]
        if excess > 0:
            few, share_n = self.fits[self.few], self.of_bytes(self.fits[self.few].share_n)
            # those nearest to a tenth: the largest one says little of a missing part, and costs most to solve without
            known = sorted(
                np.flatnonzero(share_n > _LEAST_SHARE).tolist(), key=lambda i: abs(np.log(share_n[i] / 0.1))
            )[:3]
            added = [self.program.solve(few.share_n, leave_out=i).violation - few.violation for i in known]
            odds = [excess / a * share_n[i] for i, a in zip(known, added, strict=True) if a > 0] or odds
        share, low, high = (
            float((o + of_missing) / (1 + o + of_missing)) for o in (median(odds), min(odds), max(odds))
        )
        scripts = Counter(_script(self.merges.texts[t]) for t in missing.tolist())
        return Unknown(share, low, high, len(missing), dict(scripts))

    def _disagreements(self) -> tuple[Disagreement, ...]:
        texts = [*self.merges.alphabet, *self.merges.texts]
        fit, pairs = self.fit, self.merges.pairs
        found = [
            Disagreement(int(t), readable(texts[pairs[t][0]]), readable(texts[pairs[t][1]]), float(fit.merge_T[t]))
            for t in np.argsort(-fit.merge_T)[:_LISTED].tolist()
            if fit.merge_T[t] > 0
        ]
        left_P, right_P = self.counts.pairs
        for pair in sorted(fit.pair, key=lambda p: -fit.pair[p])[:_LISTED]:
            words = readable(texts[left_P[pair]]), readable(texts[right_P[pair]])
            found.append(Disagreement(None, *words, fit.pair[pair]))
        return tuple(sorted(found, key=lambda d: -d.forgiven)[:_LISTED])

    def _warnings(self, residual: Residual, unknown: Unknown, overlap: tuple[float, ...]) -> list[str]:
        found = []
        if not halves_hold_text(self.samples):
            found.append("a category has too few documents to be halved: no simulations, so no intervals")
        if self.samples.passed_over:
            found.append(f"{self.samples.passed_over:,} files hold no text and were passed over")
        if self.samples.bad:
            found.append(f"{self.samples.bad:,} rows of the samples could not be read")
        if self.merges.assumed:
            found.append(self.merges.assumed)
        small = [c for c, b in zip(self.samples.categories, self.samples.bytes_n, strict=True) if b < 1_000_000]
        if small:
            found.append(f"under 1 MB of samples of {', '.join(small)}: their shares are rough")
        if residual.ratio > 2:
            found.append(
                f"the merges disagree with the samples {residual.ratio:.1f} times as much as in simulations: the tokenizer saw "
                "text that none of the categories is like; read the shares as those of the nearest categories"
            )
        if overlap and overlap[0] < overlap[1] - 0.2:
            found.append(
                f"{overlap[0]:.0%} of its first tokens are those of simulated tokenizers, which share {overlap[1]:.0%} with "
                "each other: the samples differ from any plausible training text"
            )
        if unknown.missing > 0.02 * len(self.merges.pairs):
            kinds = ", ".join(f"{k} {n}" for k, n in Counter(unknown.scripts).most_common(4))
            found.append(
                f"{unknown.missing} merges occur in no sample ({kinds}): a category is missing, or samples are too small"
            )
        return found


def _overlap(texts: frozenset[str], others: list[frozenset[str]]) -> tuple[float, ...]:
    if len(others) < 2:
        return ()
    mine = median(len(texts & o) / len(texts) for o in others)
    theirs = median(len(a & b) / len(a) for i, a in enumerate(others) for b in others[:i])
    return (mine, theirs)


_BYTE_OF = {letter: byte for byte, letter in BYTES.items()}


def readable(token: str) -> str:
    """A token as text: byte-level letters decoded, where they are whole characters."""
    if all(c in _BYTE_OF for c in token):
        data = bytes(_BYTE_OF[c] for c in token)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            return repr(data)[2:-1]
    return token


def _script(token: str) -> str:
    """The script that most of a token's letters are of, by their Unicode names."""
    text = readable(token)
    if not text or "\\x" in text:
        return "parts of characters"
    kinds = Counter(
        unicodedata.name(c, "UNNAMED").split()[0].lower() if c.isalpha() else "marks" for c in text.strip("▁ ")
    )
    return kinds.most_common(1)[0][0] if kinds else "spaces"
