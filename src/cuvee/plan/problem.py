"""The question: domains and their tokens, the target run, constraints, objective, guards, and the proxies to taste with.

Letters: D domains, R tokens of the target run, r tokens of a proxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np

from cuvee.base.codec import nearest
from cuvee.base.errors import DataError, InfeasibleError, UsageError
from cuvee.mixture.feasible import FeasibleSet, Group
from cuvee.mixture.rows import Row
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.tree import Tree
from cuvee.mixture.weights import Array, Mixture
from cuvee.plan.past import Past
from cuvee.plan.proxy import Proxy as Proxy
from cuvee.plan.trial import Measure, Plan, Split

POOL_FLOOR = 100
"""Sequences below which a pool is no sample of its domain (design section 4.4)."""
TRANSFER_FLOOR = 1 / 16
"""r/R below which it is unproven that what proxies find holds in the target run (design section 4.4)."""
ALL_DOMAINS = "all-domains"


class TokenCounts(Protocol):
    """What a problem needs of a corpus: training tokens per domain, in the corpus's order of domains."""

    @property
    def train_tokens(self) -> Mapping[str, int]:
        """Domain -> tokens of its train split."""


@dataclass(frozen=True)
class Target:
    """A domain whose held-out text the model should be good at, or a measure, with its weight in a mean."""

    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class Guard:
    """The weighted mean loss of `targets` may exceed natural's by at most `tolerance` (relative), with `probability`.

    `against` the checkpoint that proxies start from, it bounds forgetting: its loss before training takes natural's place.
    """

    name: str
    targets: tuple[Target, ...]
    tolerance: float
    probability: float = 0.9
    against: Literal["natural", "checkpoint"] = "natural"

    def __post_init__(self) -> None:
        if not self.targets or self.tolerance < 0 or not 0.5 <= self.probability < 1:
            raise UsageError(
                f"guard {self.name!r}: got {len(self.targets)} targets, tolerance {self.tolerance}, probability {self.probability}",
                wanted="at least one target, a tolerance >= 0 such as 0.01, a probability in [0.5, 1)",
            )


@dataclass(frozen=True)
class Limit:
    """Bounds of one domain at the target run; the tightest of the upper ones holds."""

    domain: str
    min_share: float = 0.0
    max_share: float = 1.0
    max_tokens: int | None = None
    max_epochs: float | None = None


@dataclass(frozen=True)
class Problem:
    """One question about one corpus. All token counts are training tokens; shares are shares of tokens.

    Args:
        domains: Names, in the corpus's order.
        tokens: Training tokens available per domain, n_i.
        target_tokens: R, the tokens of the run that the mixture is for.
        objective: Targets with weights; the value is their weighted mean of bits/byte minus natural's in the same block.
        proxy: The small runs. r/R below 1/16 is allowed and reported as unproven transfer.
        max_epochs: Largest epochs of any domain at R; None for no such cap.
        limits: Bounds of single domains.
        groups: Bounds of sums over disjoint sets of domains.
        guards: What must not get worse than natural.
        small_pools: What to do with a domain whose matched pool n_i r/R is under 100 sequences: `refuse` it, or `cap`
            it at one epoch at R, where no proxy repeats its pool and a small one is only a small sample.
        seed: Seeds everything: blocks, designs, pools, orders, initial weights.
        present: What the team trains on today: a baseline of the verification and a start of the search; None when not given.
        measures: What is scored besides the domains' held-out text.
        trainer: `proxies`, or `outside`: another trainer makes the runs and reports the objective's and guards' targets.
        reference: What "natural" means where it is not the corpus's own shares: the mixture that a checkpoint comes from.
        rows: Linear bounds on the shares, such as at most twice as much code as math.
        tree: Groups of domains in groups: designs vary at every level, frozen groups have one weight.
        past: Runs of earlier studies about other domains, lifted onto these: what predictors learn from besides the trials.

    Raises:
        UsageError: unknown names, weights that are not positive, r above R.
        DataError: fewer than two domains, or one without training tokens.
        InfeasibleError: a pool under the floor with `refuse`, or bounds that no mixture meets.
    """

    domains: tuple[str, ...]
    tokens: tuple[int, ...]
    target_tokens: int
    objective: tuple[Target, ...]
    proxy: Proxy
    max_epochs: float | None = None
    limits: tuple[Limit, ...] = ()
    groups: tuple[Group, ...] = ()
    guards: tuple[Guard, ...] = ()
    small_pools: Literal["refuse", "cap"] = "refuse"
    seed: int = 0
    present: Mixture | None = None
    measures: tuple[Measure, ...] = ()
    trainer: Literal["proxies", "outside"] = "proxies"
    reference: Mixture | None = None
    rows: tuple[Row, ...] = ()
    past: tuple[Past, ...] = ()
    tree: Tree | None = None

    def __post_init__(self) -> None:
        self._check_names()
        self._check_measures()
        for past in self.past:
            past.check(self.domains)
        if self.tree is not None and len(self.tree.paths) != len(self.domains):
            raise UsageError(f"a tree over {len(self.tree.paths)} domains", wanted=f"one over {len(self.domains)}")
        if not self.objective or min(t.weight for t in self.objective) <= 0:
            raise UsageError(
                "the objective has no targets, or one with a weight that is not positive",
                wanted="what the model should be good at",
                fix=f"targets: {{name: weight}}, or targets: {ALL_DOMAINS}",
            )
        if not 0 < self.proxy.tokens <= self.target_tokens:
            raise UsageError(
                f"proxy tokens {self.proxy.tokens:,} against {self.target_tokens:,} of the target run",
                wanted="0 < proxy tokens <= target tokens",
                fix="a proxy stands for a larger run: lower proxy.tokens or raise target_tokens",
            )
        self._check_pools()
        self.feasible()

    @classmethod
    def from_corpus(
        cls,
        corpus: TokenCounts,
        *,
        target_tokens: int,
        targets: Mapping[str, float] | Literal["all-domains"],
        max_epochs: float | None = None,
        proxy: Proxy | None = None,
        limits: tuple[Limit, ...] = (),
        groups: tuple[Group, ...] = (),
        guards: tuple[Guard, ...] = (),
        small_pools: Literal["refuse", "cap"] = "refuse",
        seed: int = 0,
        present: Mixture | None = None,
        measures: tuple[Measure, ...] = (),
        trainer: Literal["proxies", "outside"] = "proxies",
        reference: Mixture | None = None,
        rows: tuple[Row, ...] = (),
        past: tuple[Past, ...] = (),
        tree: Tree | None = None,
    ) -> Self:
        """The problem of mixing the domains of `corpus` for a run of `target_tokens`.

        Without `proxy`, proxies of size 0.6M see the larger of R/16 and the smallest r with sound pools, at most R.
        """
        counts = dict(corpus.train_tokens)
        names = dict.fromkeys(counts, 1.0) if isinstance(targets, str) else dict(targets)
        if proxy is None:
            sound = smallest_sound_proxy(tuple(counts.values()), target_tokens, Proxy(tokens=1).seq_len)
            proxy = Proxy(tokens=max(1, min(target_tokens, max(target_tokens // 16, sound))))
        return cls(
            domains=tuple(counts),
            tokens=tuple(counts.values()),
            target_tokens=target_tokens,
            objective=tuple(Target(name, weight) for name, weight in names.items()),
            proxy=proxy,
            max_epochs=max_epochs,
            limits=limits,
            groups=groups,
            guards=guards,
            small_pools=small_pools,
            seed=seed,
            present=present,
            measures=measures,
            trainer=trainer,
            reference=reference,
            rows=rows,
            past=past,
            tree=tree,
        )

    def _check_names(self) -> None:
        if len(self.domains) < 2 or len(self.domains) != len(self.tokens) or min(self.tokens) < 1:
            raise DataError(
                f"got {len(self.domains)} domain(s) with {list(self.tokens)} training tokens",
                wanted="at least two domains, each with training tokens: one domain leaves nothing to choose",
                fix="give prepare more folders, files or values of the domain field",
            )
        for what, mixture in (("present blend", self.present), ("reference", self.reference)):
            if mixture is not None and mixture.domains != self.domains:
                raise UsageError(
                    f"the {what} mixes {', '.join(mixture.domains)}",
                    wanted=f"the corpus's domains in their order: {', '.join(self.domains)}",
                )
        bounded = [li.domain for li in self.limits] + [d for g in self.groups for d in g.domains]
        bounded += [d for row in self.rows for d, _ in row.coefficients]
        targets = (*self.domains, *(m.name for m in self.measures))
        for names, known in ((bounded, self.domains), (self._named_targets(), targets)):
            for name in names:
                if name not in known:
                    wanted = f"one of {', '.join(known)}"
                    raise UsageError(f"no domain or target {name!r}", wanted=wanted, fix=nearest(name, known))

    def _named_targets(self) -> tuple[str, ...]:
        """Targets of the objective and the guards, each once."""
        return tuple(
            dict.fromkeys(t.name for mean in (self.objective, *(g.targets for g in self.guards)) for t in mean)
        )

    def _check_measures(self) -> None:
        names = [*self.domains, *(m.name for m in self.measures)]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise UsageError(
                f"the name {twice[0]!r} stands for two targets", wanted="measures with names that no domain has"
            )
        outside = {m.name for m in self.measures if m.kind == "outside"}
        if outside and self.trainer == "proxies":
            raise UsageError(
                f"proxies cannot score {', '.join(sorted(outside))}, which another trainer reports",
                wanted="a text file, prompts with continuations, or choices",
                fix="trainer: outside",
            )
        if self.trainer == "outside" and self.proxy.start is not None:
            raise UsageError(
                "a checkpoint for proxies to start from, and an outside trainer that makes the runs",
                fix="leave checkpoint: out; the outside trainer starts from its own",
            )
        forgetting = [g.name for g in self.guards if g.against == "checkpoint"]
        if forgetting and self.proxy.start is None:
            raise UsageError(
                f"guard {forgetting[0]!r} is against a checkpoint, and the proxies start from none",
                fix="checkpoint: {path: FOLDER}, or against: natural",
            )
        choices = {m.name for m in self.measures if m.kind == "choice"}
        for guard in self.guards:
            if found := choices & {t.name for t in guard.targets}:
                raise UsageError(
                    f"guard {guard.name!r} bounds {', '.join(sorted(found))} relative to natural, but a margin may be zero",
                    wanted="a guard on text or continuations",
                )

    @property
    def unit(self) -> str:
        """The unit of the objective, as sentences say it; several where targets of several units are averaged."""
        of = {m.name: m.unit + (", sign turned" if m.direction == "maximise" else "") for m in self.measures}
        return " and ".join(dict.fromkeys(of.get(t.name, "bits/byte") for t in self.objective))

    @property
    def scored(self) -> tuple[str, ...]:
        """What every run is scored on, in order: all domains and measures; with an outside trainer only what is asked for."""
        if self.trainer == "outside":
            return self._named_targets()
        return (*self.domains, *(m.name for m in self.measures))

    def _check_pools(self) -> None:
        small = self.small_pool_domains()
        empty = [d for d, p in zip(self.domains, self.pools, strict=True) if p <= self.proxy.seq_len]
        if empty:
            raise InfeasibleError(
                f"the pools of {', '.join(empty)} are shorter than one sequence of {self.proxy.seq_len} tokens",
                wanted="pools that natural, the reference of every block, can be trained on",
                fix="more proxy tokens, a shorter seq_len, or a corpus without these domains",
            )
        if small and self.small_pools == "refuse":
            pools = ", ".join(
                f"{d} {p // self.proxy.seq_len}" for d, p in zip(self.domains, self.pools, strict=True) if d in small
            )
            sound = smallest_sound_proxy(self.tokens, self.target_tokens, self.proxy.seq_len)
            raise InfeasibleError(
                f"pools matched to r/R = {self.proxy.tokens / self.target_tokens:.4f} are too small: {pools} sequences",
                wanted=f"at least {POOL_FLOOR} sequences of {self.proxy.seq_len} tokens in every domain's pool",
                fix=f"proxy tokens of at least {sound:,}, a shorter seq_len, or small_pools: cap (at most one epoch of them)",
            )

    @property
    def smallest_pool(self) -> tuple[str, int]:
        """The domain with the smallest pool, and that pool in sequences."""
        pool, domain = min(zip(self.pools, self.domains, strict=True))
        return domain, pool // self.proxy.seq_len

    def small_pool_domains(self) -> tuple[str, ...]:
        """Domains whose matched pool is under the floor."""
        floor = POOL_FLOOR * self.proxy.seq_len
        return tuple(d for d, p in zip(self.domains, self.pools, strict=True) if p < floor)

    @property
    def pools(self) -> tuple[int, ...]:
        """Tokens of each domain's pool, n_i r/R: a proxy repeats it as often as the target run repeats the domain.

        r is what is really trained on, whole steps; at most all of the domain.
        """
        return tuple(min(n, n * self.proxy.trained_tokens // self.target_tokens) for n in self.tokens)

    @property
    def natural(self) -> Mixture:
        """The corpus's own shares of tokens, or the reference."""
        if self.reference is not None:
            return self.reference
        return Mixture.from_array(self.domains, np.array(self.tokens, np.float64))

    @property
    def around(self) -> Array:
        """The shares that designs are drawn around, shape D: natural's; with a reference the mean of its and the corpus's own.

        A checkpoint's own mixture may have next to nothing of a domain that is new to it, and around that alone a search would
        hardly taste the domain that it is about.
        """
        tokens_D = np.array(self.tokens, np.float64)
        return self.natural.shares if self.reference is None else (self.natural.shares + tokens_D / tokens_D.sum()) / 2

    def epochs(self, mixture: Mixture) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Passes over each domain at R, shape D."""
        return mixture.shares * self.target_tokens / np.array(self.tokens, np.float64)

    def feasible(self) -> FeasibleSet:
        """The mixtures that meet every bound.

        Raises:
            InfeasibleError: there are none; says which bounds clash and by how much.
        """
        n_D, total = np.array(self.tokens, np.float64), float(self.target_tokens)
        low_D, high_D = np.zeros(len(n_D)), np.ones(len(n_D))
        if self.max_epochs is not None:
            high_D = np.minimum(high_D, self.max_epochs * n_D / total)
        for domain in self.small_pool_domains():
            i = self.domains.index(domain)
            high_D[i] = min(high_D[i], n_D[i] / total)
        for limit in self.limits:
            i = self.domains.index(limit.domain)
            low_D[i] = max(low_D[i], limit.min_share)
            caps = [limit.max_share]
            caps += [limit.max_tokens / total] if limit.max_tokens is not None else []
            caps += [limit.max_epochs * n_D[i] / total] if limit.max_epochs is not None else []
            high_D[i] = min(high_D[i], *caps)
        rows = (*self.rows, *(self.tree.rows(self.domains, self.natural.shares) if self.tree else ()))
        return FeasibleSet(self.domains, tuple(low_D.tolist()), tuple(high_D.tolist()), self.groups, rows)

    def plan(self, mixture: Mixture, block: int, split: Split = "search") -> Plan:
        """The self-contained proxy run of `mixture` in `block`, scored on the held-out `split` of all that is scored."""
        return Plan(
            schedule=Schedule.constant(mixture),
            size=self.proxy.size,
            steps=self.proxy.steps,
            seq_len=self.proxy.seq_len,
            batch=self.proxy.sequences_per_step,
            learning_rate=self.proxy.peak_learning_rate,
            precision=self.proxy.precision,
            seed=self.seed,
            block=block,
            pools=self.pools,
            targets=tuple(name for name in self.scored if name in self.domains),
            split=split,
            eval_points=self.proxy.eval_points,
            measures=tuple(m for m in self.measures if m.name in self.scored),
            start=self.proxy.start,
            trainer=self.trainer,
            backend=self.proxy.backend,
            device=self.proxy.device,
            together=self.proxy.members,
        )


def smallest_sound_proxy(tokens: tuple[int, ...], target_tokens: int, seq_len: int) -> int:
    """The smallest r whose matched pools n_i r/R all hold 100 sequences."""
    return -(-POOL_FLOOR * seq_len * target_tokens // min(tokens))
