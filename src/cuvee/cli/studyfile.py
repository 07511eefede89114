"""The study file: one YAML that holds the whole question. Parsed strictly into typed values here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cuvee.base.codec import SchemaError, from_json
from cuvee.base.errors import UsageError
from cuvee.base.yamlfile import load_yaml
from cuvee.interop.mixturefile import ordered, read_mixture
from cuvee.methods.contract import Method
from cuvee.methods.registry import load as load_method
from cuvee.mixture.feasible import Group
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.plan.problem import Guard, Limit, Problem, Proxy, Target
from cuvee.shards.corpus import Corpus


@dataclass(frozen=True)
class LimitEntry:
    """Bounds of one domain: shares of tokens, tokens or epochs of the target run."""

    min_share: float = 0.0
    max_share: float = 1.0
    max_tokens: int | None = None
    max_epochs: float | None = None


@dataclass(frozen=True)
class GroupEntry:
    """Bounds of the sum over some domains; groups are disjoint."""

    domains: tuple[str, ...]
    min_share: float = 0.0
    max_share: float = 1.0


@dataclass(frozen=True)
class GuardEntry:
    """What must not get worse: the weighted mean loss of `targets`, at most `tolerance` (relative) above natural's."""

    targets: Mapping[str, float]
    tolerance: float
    probability: float = 0.9


@dataclass(frozen=True)
class VerifyEntry:
    """Verification at proxy scale: `seeds` fresh blocks on the verify split; 0 leaves it out."""

    seeds: int = 4

    def __post_init__(self) -> None:
        if self.seeds == 1 or self.seeds < 0:
            raise UsageError(
                f"got seeds {self.seeds}", wanted="0 (no verification) or at least 2; five for published figures"
            )


@dataclass(frozen=True)
class StudyFile:
    """Every key of the study file. Paths are relative to the file.

    Args:
        corpus: The folder that `cuvee prepare` made.
        study: The folder of the study; made at the first run, resumed afterwards.
        target_tokens: R, the tokens of the run that the mixture is for (`30M` and `3e7` are fine).
        targets: What the model should be good at: `all-domains`, or domain: weight.
        max_epochs: The largest number of passes over any domain at R; leave out for none.
        limits: Bounds of single domains, by name.
        groups: Bounds of sums over domains, by a name of yours.
        guards: What must not get worse than natural, by a name of yours.
        proxy: The small runs.
        small_pools: What to do with domains whose matched pool is under 100 sequences: `refuse` or `cap` (one epoch).
        method: A method's name, or `name:` with the method's own options beside it.
        verify: Verification on fresh blocks.
        workers: Worker processes, one thread each. Not part of the question.
        reuse: Other study folders whose runs may be taken over when they are the very same runs.
        present: What the team trains on today, domain: share, or a mixture file such as `cuvee import-mix` writes: a baseline of the
            verification and a start of the search.
        report: Where the report goes; `report.html` in the study's folder when left out.
        seed: Seeds everything.
    """

    corpus: str
    study: str
    target_tokens: int
    targets: Mapping[str, float] | Literal["all-domains"]
    proxy: Proxy
    max_epochs: float | None = None
    limits: Mapping[str, LimitEntry] = field(default_factory=dict)
    groups: Mapping[str, GroupEntry] = field(default_factory=dict)
    guards: Mapping[str, GuardEntry] = field(default_factory=dict)
    small_pools: Literal["refuse", "cap"] = "refuse"
    method: Mapping[str, Any] | str = "regression"
    verify: VerifyEntry = VerifyEntry()
    workers: int = 1
    reuse: tuple[str, ...] = ()
    present: Mapping[str, float] | str | None = None
    report: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Question:
    """A study file, resolved against its corpus: what `Study.open` takes."""

    file: StudyFile
    corpus: Corpus
    problem: Problem
    method: Method
    folder: Path
    report: Path
    reuse: tuple[Path, ...]


def load(path: Path) -> Question:
    """Read the study file and the corpus it names.

    Raises:
        UsageError: a key, a type or a name is off; says the line and the nearest known name.
        DataError: the corpus cannot be used.
        InfeasibleError: no mixture meets the bounds, or a pool is too small.
    """
    file, method = load_yaml(path, _parse)
    base = path.resolve().parent
    corpus = Corpus.open(base / file.corpus)
    folder = base / file.study
    return Question(
        file=file,
        corpus=corpus,
        problem=_problem(file, corpus, base),
        method=method,
        folder=folder,
        report=base / file.report if file.report else folder / "report.html",
        reuse=tuple(base / other for other in file.reuse),
    )


def _parse(data: Any) -> tuple[StudyFile, Method]:
    file = from_json(StudyFile, data)
    if isinstance(file.method, str):
        name, options = file.method, {}
    else:
        options = dict(file.method)
        name = str(options.pop("name", ""))
        if not name:
            raise SchemaError("missing", ("method", "name"), wanted="the method's name", fix="cuvee methods lists them")
    try:
        cls = load_method(name)
    except UsageError as error:
        raise SchemaError(error.what, ("method",), wanted=error.wanted, fix=error.fix) from error
    return file, from_json(cls, options, ("method",))


def _present(file: StudyFile, corpus: Corpus, base: Path) -> Mixture | None:
    if file.present is None:
        return None
    given = file.present
    schedule = read_mixture(base / given) if isinstance(given, str) else Schedule.constant(Mixture.from_shares(given))
    if len(schedule.phases) > 1:
        raise UsageError(f"present: {file.present} has {len(schedule.phases)} phases", wanted="a mixture of one phase")
    return ordered(schedule, corpus.domains).phases[0].mixture


def _problem(file: StudyFile, corpus: Corpus, base: Path) -> Problem:
    return Problem.from_corpus(
        corpus,
        target_tokens=file.target_tokens,
        targets=file.targets,
        max_epochs=file.max_epochs,
        proxy=file.proxy,
        limits=tuple(
            Limit(domain, e.min_share, e.max_share, e.max_tokens, e.max_epochs) for domain, e in file.limits.items()
        ),
        groups=tuple(Group(name, e.domains, e.min_share, e.max_share) for name, e in file.groups.items()),
        guards=tuple(
            Guard(name, tuple(Target(t, w) for t, w in e.targets.items()), e.tolerance, e.probability)
            for name, e in file.guards.items()
        ),
        small_pools=file.small_pools,
        seed=file.seed,
        present=_present(file, corpus, base),
    )
