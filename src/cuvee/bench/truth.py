"""Does a predicted gain come true? Real corpora, real proxies: prediction against two verifications on fresh blocks.

Three studies of ten domains: every domain alike; math and C code with the rest guarded; the answers of math problems held
out. Then twenty cheap ones (six domains, smaller runs, other seeds, targets and caps) for how often intervals hold. All
runs are kept under one folder, so a second call goes on, and studies take over each other's runs where they are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuvee.base.progress import Bar
from cuvee.bench.domains import GUARDED, VOCAB, slug, ten_domains
from cuvee.corpus.prepare import prepare
from cuvee.interop.targets import TargetFile, load_target
from cuvee.methods.regression import Regression
from cuvee.plan.choice import Estimate
from cuvee.plan.problem import Guard, Limit, Problem, Proxy, Target
from cuvee.plan.trial import Measure
from cuvee.shards.corpus import Corpus
from cuvee.shards.examples import Tokenised
from cuvee.study.study import Study
from cuvee.study.transfer import Transfer

SEEDS, CHEAP_SEEDS = 5, 3
"""Fresh blocks of a verification."""
PROXY = Proxy(tokens=300_000, size="0.1M", seq_len=128, eval_points=1)
LARGE = Proxy(tokens=500_000, size="0.3M", seq_len=128, eval_points=1)
CHEAP = Proxy(tokens=100_000, size="0.1M", seq_len=128, eval_points=1)
TARGETS_TOKENS, RUNS = (4_800_000, 1_600_000), (48, 20)
"""R and proxies of the search, of the main and of the cheap studies."""
SMALL = ("math", "code_c", "dialogue", "medical", "scripture", "encyclopedia")
"""Domains of the cheap studies."""


@dataclass(frozen=True)
class Question:
    """A study of the bench."""

    name: str
    targets: Mapping[str, float]
    max_epochs: float = 4.0
    limits: tuple[Limit, ...] = ()
    guards: tuple[Guard, ...] = ()


MAIN = (
    Question("every domain alike", {}),
    Question(
        "math and C code, the rest guarded",
        {"math": 1.0, "code_c": 1.0},
        guards=(Guard("rest", tuple(map(Target, GUARDED)), 0.02),),
    ),
    Question("answers of math problems", {"problems": 1.0}),
)
TIGHT = (Limit("code_c", max_share=0.1),)
QUESTIONS = (
    Question("math", {"math": 1.0}),
    Question("C code and medical", {"code_c": 1.0, "medical": 1.0}),
    Question("all six", {}),
    Question("dialogue and scripture, two epochs", {"dialogue": 1.0, "scripture": 1.0}, 2.0, TIGHT),
    Question("encyclopedia, two epochs", {"encyclopedia": 1.0}, 2.0, TIGHT),
)
"""Of every cheap seed; five."""


@dataclass(frozen=True)
class Outcome:
    """One study: the objective's difference to natural in bits/byte, predicted, and verified at one or two scales."""

    study: str
    seeds: int
    predicted: Estimate
    proxy: Estimate
    large: Estimate | None
    best_baseline: Estimate
    transfer: Transfer | None


def run(corpora: Path, work: Path, workers: int = 2, cheap_seeds: Sequence[int] = (1, 2, 3, 4)) -> dict[str, Any]:
    """Make what is missing, and the figures.

    Args:
        corpora: A folder with the domains as JSONL.gz; `math` with rows `Question: ...` newline `Answer: ...`.
        work: Where corpora and studies are kept.
        workers: Worker processes.
        cheap_seeds: Seeds of the cheap studies, five studies each.

    Raises:
        DataError: no such corpora.
    """
    corpus, problems = ten_domains(corpora, work)
    # every study scores the problems, so that a run is the same run in all of them
    target = load_target("problems", problems, corpus, seq_len=PROXY.seq_len)
    studies = [_searched(_main(q, corpus, target, work), SEEDS, workers) for q in MAIN]
    small = _small_corpus(work)
    cheap = [
        _outcome(f"{q.name}, seed {seed}", _searched(_cheap(q, seed, small, work), CHEAP_SEEDS, workers))
        for seed in cheap_seeds
        for q in QUESTIONS
    ]
    for study in studies:  # the dearest last
        _enlarged(study, workers)
    return figures([_outcome(q.name, study) for q, study in zip(MAIN, studies, strict=True)], cheap)


def figures(main: Sequence[Outcome], cheap: Sequence[Outcome]) -> dict[str, Any]:
    """The tables: `rows`, `cheap`, `transfer`, and the shares `sign_agreement` and `coverage`."""
    both = [*main, *cheap]
    signs = [_same_sign(o.predicted, o.proxy) for o in both]
    signs += [_same_sign(o.proxy, o.large) for o in main if o.large is not None]
    return {
        "rows": [_row(o) for o in main],
        "cheap": [_row(o) for o in cheap],
        "transfer": [
            {"study": o.study, "mixtures": len(t.pairs), "spearman": t.spearman, "low": t.low, "high": t.high}
            for o in main
            if (t := o.transfer) is not None
        ],
        "sign_agreement": sum(signs) / len(signs) if signs else math.nan,
        "coverage": _share([_agree(o.predicted, o.proxy) for o in cheap]),
        "coverage_of_the_mean": _share([o.predicted.low <= o.proxy.mean <= o.predicted.high for o in cheap]),
    }


def _row(o: Outcome) -> dict[str, Any]:
    large: dict[str, float | None] = {"verified_large": None, "large_low": None, "large_high": None}
    if o.large is not None:
        large = {
            "verified_large": o.large.mean,
            "large_low": o.large.low,
            "large_high": o.large.high,
        }
    return {
        "study": o.study,
        "predicted": o.predicted.mean,
        "low": o.predicted.low,
        "high": o.predicted.high,
        "verified_proxy": o.proxy.mean,
        "proxy_low": o.proxy.low,
        "proxy_high": o.proxy.high,
        **large,
        "best_baseline": o.best_baseline.mean,
        "seeds": o.seeds,
    }


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else math.nan


def _same_sign(a: Estimate, b: Estimate) -> bool:
    return a.mean * b.mean > 0


def _agree(predicted: Estimate, verified: Estimate) -> bool:
    """Whether the two differ by no more than their 90 % half-widths in squares: the verification has an error too."""
    half = math.hypot(predicted.high - predicted.low, verified.high - verified.low) / 2
    return abs(predicted.mean - verified.mean) <= half


def _small_corpus(work: Path) -> Corpus:
    files = [work / "texts" / f"{name}.jsonl" for name in SMALL]
    with Bar("prepare", 1) as bar:
        return prepare(files, out=work / "corpus-small", vocab=VOCAB, progress=bar)


def _main(question: Question, corpus: Corpus, target: TargetFile, work: Path) -> Study:
    problem = _problem(question, corpus, PROXY, TARGETS_TOKENS[0], seed=0, measures=(target.measure,))
    names = [q.name for q in MAIN]
    return _opened(
        question.name, names, work, problem, corpus, Regression(runs=RUNS[0]), (target.search, target.verify)
    )


def _cheap(question: Question, seed: int, corpus: Corpus, work: Path) -> Study:
    problem = _problem(question, corpus, CHEAP, TARGETS_TOKENS[1], seed=seed)
    names = [f"{q.name}, seed {seed}" for q in QUESTIONS]
    return _opened(
        f"{question.name}, seed {seed}", names, work, problem, corpus, Regression(runs=RUNS[1], rounds=1), ()
    )


def _problem(
    question: Question,
    corpus: Corpus,
    proxy: Proxy,
    target_tokens: int,
    *,
    seed: int,
    measures: tuple[Measure, ...] = (),
) -> Problem:
    return Problem.from_corpus(
        corpus,
        target_tokens=target_tokens,
        targets=question.targets or "all-domains",
        max_epochs=question.max_epochs,
        proxy=proxy,
        limits=question.limits,
        guards=question.guards,
        small_pools="cap",
        seed=seed,
        measures=measures,
    )


def _opened(
    name: str,
    names: Sequence[str],
    work: Path,
    problem: Problem,
    corpus: Corpus,
    method: Regression,
    inputs: tuple[Tokenised, ...],
) -> Study:
    """The study of that name, which takes over what the others have made."""
    others = [work / "studies" / slug(other) for other in names if other != name]
    made = [other for other in others if (other / "study.json").exists()]
    return Study.open(work / "studies" / slug(name), problem, corpus, method, inputs=inputs, reuse=made)


def _searched(study: Study, seeds: int, workers: int) -> Study:
    """Searched, chosen and verified at the proxies' scale."""
    with Bar(study.path.name, 0) as bar:
        study.run(workers=workers, progress=bar)
        study.verify(study.choose(), seeds, workers, bar)
    return study


def _enlarged(study: Study, workers: int) -> None:
    """Checked for transfer and verified at the larger scale."""
    choice = study.choice()
    assert choice is not None
    with Bar(study.path.name, 0) as bar:
        study.check_transfer(LARGE, workers=workers, progress=bar)
        study.verify(choice, SEEDS, workers, bar, at=LARGE)


def _outcome(name: str, study: Study) -> Outcome:
    choice, proxy, large = study.choice(), study.verification(), study.verification("large")
    assert choice is not None
    assert proxy is not None
    baselines = [a.estimates[0] for a in proxy.arms if a.name in ("uniform", "unimax")]
    return Outcome(
        study=name,
        seeds=len(proxy.arm("choice").blocks),
        predicted=choice.predicted[0],
        proxy=proxy.arm("choice").estimates[0],
        large=large.arm("choice").estimates[0] if large else None,
        best_baseline=min(baselines, key=lambda e: e.mean),
        transfer=study.transfer(),
    )
