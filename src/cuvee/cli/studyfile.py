"""The study file: one YAML that holds the whole question. Parsed strictly into typed values here and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cuvee.base.codec import SchemaError, from_json, nearest
from cuvee.base.errors import UsageError
from cuvee.base.yamlfile import load_yaml
from cuvee.interop.mixturefile import ordered, read_mixture
from cuvee.interop.targets import TargetFile, load_target
from cuvee.methods.contract import Method
from cuvee.methods.registry import load as load_method
from cuvee.mixture.edits import Edit
from cuvee.mixture.feasible import Group
from cuvee.mixture.rows import Row
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.tree import Tree
from cuvee.mixture.weights import Mixture
from cuvee.plan.past import Past
from cuvee.plan.problem import Guard, Limit, Problem, Proxy, Target
from cuvee.plan.trial import Measure
from cuvee.proxies.start import Weights
from cuvee.shards.corpus import Corpus
from cuvee.shards.examples import Tokenised
from cuvee.study.cost import Larger
from cuvee.study.past import past_of
from cuvee.study.runners.remote import check_address

if TYPE_CHECKING:
    from cuvee.interop.checkpoint import Checkpoint


RunnerName = Literal["local", "ray"]


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
class RowEntry:
    """Bounds of a sum of coefficient x share; rows may overlap each other and groups."""

    coefficients: Mapping[str, float]
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class GuardEntry:
    """What must not get worse: the weighted mean loss of `targets`, at most `tolerance` (relative) above natural's, or above the
    checkpoint's (forgetting)."""

    targets: Mapping[str, float]
    tolerance: float
    probability: float = 0.9
    against: Literal["natural", "checkpoint"] = "natural"


@dataclass(frozen=True)
class MeasureEntry:
    """A target that is no domain: a `file` of texts, prompts with continuations, or choices; or a metric that an outside
    trainer reports, with its `unit` and `direction`."""

    file: str | None = None
    text_field: str = "text"
    unit: str | None = None
    direction: Literal["minimise", "maximise"] = "minimise"

    def __post_init__(self) -> None:
        if self.file is not None and (self.unit is not None or self.direction != "minimise"):
            raise UsageError(
                "a measure has a file and a unit or direction", wanted="a file, whose loss is in bits/byte, or a metric"
            )


@dataclass(frozen=True)
class PastEntry:
    """A study of other domains whose runs are evidence here too, and what became of its domains since, in order."""

    study: str
    edits: tuple[Edit, ...] = ()


@dataclass(frozen=True)
class CheckpointEntry:
    """What proxies start from: a Hugging Face folder of a Llama-like model."""

    path: str


@dataclass(frozen=True)
class LargeEntry:
    """Runs larger than the proxies: `seeds` fresh blocks of verification, and a check that `transfer` mixtures of the first
    round come in the same order there; 0 leaves one out. `size` is the proxies' when left out: only `tokens` differ."""

    tokens: int
    size: str | None = None
    seeds: int = 4
    transfer: int = 16
    batch: int | None = None
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        _check_seeds(self.seeds)


@dataclass(frozen=True)
class VerifyEntry:
    """Verification at proxy scale: `seeds` fresh blocks on the verify split; 0 leaves it out. `large`: a larger scale."""

    seeds: int = 4
    large: LargeEntry | None = None

    def __post_init__(self) -> None:
        _check_seeds(self.seeds)


@dataclass(frozen=True)
class RayEntry:
    """Where and with what the tasks of `runner: ray` run."""

    address: str | None = None
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    restarts: int = 3
    exchange: str | None = None

    def __post_init__(self) -> None:
        if self.exchange is not None:
            check_address(self.exchange)


def _check_seeds(seeds: int) -> None:
    if seeds == 1 or seeds < 0:
        raise UsageError(f"got seeds {seeds}", wanted="0 (no verification) or at least 2; five for published figures")


@dataclass(frozen=True)
class StudyFile:
    """Every key of the study file. Paths are relative to the file.

    Args:
        corpus: The folder that `cuvee prepare` made.
        study: The folder of the study; made at the first run, resumed afterwards.
        target_tokens: R, the tokens of the run that the mixture is for (`30M` and `3e7` are fine).
        targets: What the model should be good at: `all-domains`, or the name of a domain or measure: weight.
        measures: Targets that are no domains, by a name of yours.
        max_epochs: The largest number of passes over any domain at R; leave out for none.
        limits: Bounds of single domains, by name.
        groups: Bounds of sums over domains, by a name of yours.
        rows: Linear bounds on the shares, by a name of yours.
        guards: What must not get worse than natural, by a name of yours.
        proxy: The small runs.
        small_pools: What to do with domains whose matched pool is under 100 sequences: `refuse` or `cap` (one epoch).
        method: A method's name, or `name:` with the method's own options beside it.
        verify: Verification on fresh blocks.
        workers: Worker processes, one thread each. Not part of the question.
        runner: Where workers run: `local` (this machine) or `ray`. Not part of the question.
        ray: Which cluster, and what a task holds of it. Not part of the question.
        reuse: Other study folders whose runs may be taken over when they are the very same runs.
        tree: Groups of domains: the separator that their names spell them with (`/`), or domain: path such as `web/health`.
        freeze: Groups of the tree whose inner proportions stay natural's.
        past: Studies of other domains whose runs are lifted onto these, with the edits between.
        trainer: `proxies`, or `outside`: `cuvee suggest` and `cuvee tell` take the place of `cuvee run`.
        checkpoint: The model that proxies start from: continued pre-training. `proxy.size` is then left out.
        natural: What "natural" means, domain: share, where it is not the corpus's own shares: a checkpoint's own corpus.
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
    rows: Mapping[str, RowEntry] = field(default_factory=dict)
    guards: Mapping[str, GuardEntry] = field(default_factory=dict)
    small_pools: Literal["refuse", "cap"] = "refuse"
    method: Mapping[str, Any] | str = "auto"
    verify: VerifyEntry = VerifyEntry()
    workers: int = 1
    runner: RunnerName = "local"
    ray: RayEntry = RayEntry()
    reuse: tuple[str, ...] = ()
    past: tuple[PastEntry, ...] = ()
    tree: Mapping[str, str] | str | None = None
    freeze: tuple[str, ...] = ()
    measures: Mapping[str, MeasureEntry] = field(default_factory=dict)
    trainer: Literal["proxies", "outside"] = "proxies"
    checkpoint: CheckpointEntry | None = None
    natural: Mapping[str, float] | None = None
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
    targets: tuple[TargetFile, ...]
    large: Larger | None
    weights: Weights | None

    @property
    def inputs(self) -> tuple[Tokenised, ...]:
        """What the measures score."""
        return tuple(half for target in self.targets for half in (target.search, target.verify))


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
    checkpoint = _checkpoint(file, corpus, base)
    if checkpoint is not None:
        start = checkpoint.start
        file = replace(file, proxy=replace(file.proxy, size=start.size.name, start=start))
    targets = tuple(
        load_target(name, base / e.file, corpus, seq_len=file.proxy.seq_len, seed=file.seed, text_field=e.text_field)
        for name, e in file.measures.items()
        if e.file is not None
    )
    return Question(
        file=file,
        corpus=corpus,
        problem=_problem(file, corpus, base, targets),
        method=method,
        folder=folder,
        report=base / file.report if file.report else folder / "report.html",
        reuse=tuple(base / other for other in file.reuse),
        targets=targets,
        large=_large(file),
        weights=checkpoint.weights if checkpoint else None,
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


def _reference(file: StudyFile, corpus: Corpus) -> Mixture | None:
    if file.natural is None:
        return None
    given = Schedule.constant(Mixture.from_shares(file.natural))
    return ordered(given, corpus.domains).phases[0].mixture


def _large(file: StudyFile) -> Larger | None:
    large = file.verify.large
    if large is None:
        return None
    proxy = Proxy(
        tokens=large.tokens,
        size=large.size or file.proxy.size,
        seq_len=file.proxy.seq_len,
        batch=large.batch,
        learning_rate=large.learning_rate,
        precision=file.proxy.precision,
        eval_points=1,
        start=file.proxy.start,
        backend=file.proxy.backend,
        device=file.proxy.device,
    )
    return Larger(proxy, large.seeds, large.transfer)


def _checkpoint(file: StudyFile, corpus: Corpus, base: Path) -> Checkpoint | None:
    if file.checkpoint is None:
        return None
    from cuvee.interop.checkpoint import check_tokenizer, read_checkpoint

    found = read_checkpoint(base / file.checkpoint.path)
    check_tokenizer(found, corpus)
    return found


def _measures(file: StudyFile, targets: Sequence[TargetFile]) -> tuple[Measure, ...]:
    """In the order of the file: those with a file as read, the others as an outside trainer reports them."""
    read = {target.measure.name: target.measure for target in targets}
    return tuple(
        read.get(name) or Measure(name, "outside", unit=e.unit or "", direction=e.direction)
        for name, e in file.measures.items()
    )


def _tree(file: StudyFile, domains: tuple[str, ...]) -> Tree | None:
    if file.tree is None:
        if file.freeze:
            raise UsageError(f"freeze: {', '.join(file.freeze)}, and there is no tree", fix="tree: /, or domain: path")
        return None
    if isinstance(file.tree, str):
        if not file.tree:
            raise UsageError("tree: the separator is empty", wanted="what names are split at, such as /")
        return Tree.from_names(domains, file.tree, file.freeze)
    for name in file.tree:
        if name not in domains:
            raise UsageError(
                f"tree: no domain {name!r}", wanted=f"one of {', '.join(domains)}", fix=nearest(name, domains)
            )
    paths = (file.tree.get(domain, "") for domain in domains)
    return Tree(tuple(tuple(part for part in path.split("/") if part) for path in paths), file.freeze)


def _past(file: StudyFile, base: Path, measures: Sequence[Measure]) -> tuple[Past, ...]:
    return tuple(
        past_of(base / e.study, e.edits, file.proxy, trainer=file.trainer, measures=measures, source=e.study)
        for e in file.past
    )


def _problem(file: StudyFile, corpus: Corpus, base: Path, targets: Sequence[TargetFile]) -> Problem:
    measures = _measures(file, targets)
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
            Guard(name, tuple(Target(t, w) for t, w in e.targets.items()), e.tolerance, e.probability, e.against)
            for name, e in file.guards.items()
        ),
        small_pools=file.small_pools,
        seed=file.seed,
        present=_present(file, corpus, base),
        measures=measures,
        trainer=file.trainer,
        reference=_reference(file, corpus),
        rows=tuple(Row(name, tuple(e.coefficients.items()), e.low, e.high) for name, e in file.rows.items()),
        past=_past(file, base, measures),
        tree=_tree(file, corpus.domains),
    )
