"""Runs over the domains before some edits, for a question about the domains after them.

Letters: N runs, D domains after the edits, T targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cuvee.base.codec import from_json
from cuvee.base.errors import DataError
from cuvee.base.yamlfile import load_yaml
from cuvee.interop.metrics import listed
from cuvee.mixture.edits import Edit, Lift, Merge, lift
from cuvee.mixture.weights import Array
from cuvee.plan.past import Past, PastRun
from cuvee.predict.table import Bools, Table
from cuvee.tables.asking import Asked, Wishes, ask, natural_of, rows_of
from cuvee.tables.columns import Layout, Source, opened
from cuvee.tables.reading import Runs, read_runs
from cuvee.tables.values import Values

Edits = Sequence[Edit] | Path | str
"""Edits, or the YAML file that lists them."""


def read_edits(given: Edits) -> tuple[Edit, ...]:
    """The edits in their order.

    Raises:
        UsageError: no such file, or one that lists something else.
    """
    if not isinstance(given, Path | str):
        return tuple(given)
    return load_yaml(Path(given), lambda data: from_json(tuple[Edit, ...], data), "a list of edits")


@dataclass(frozen=True, eq=False)
class Before:
    """Runs, and what became of their domains since.

    Args:
        runs: Over the old domains.
        source: Their file, for people.
        natural_D: Old natural shares.
        edits: In order.
        lift: What the edits make of shares.
    """

    runs: Runs
    source: str
    natural_D: Array
    edits: tuple[Edit, ...]
    lift: Lift

    @classmethod
    def of(cls, runs: Runs, source: Source, edits: Edits, natural: Values | None, notes: list[str]) -> Before:
        """The runs of the table `source`; `natural` counts where it is the id of one of them.

        Raises:
            UsageError: edits that do not apply.
        """
        known = natural if isinstance(natural, str) and rows_of(natural, runs) else None
        natural_D, origin = natural_of(runs, known, [])
        done = read_edits(edits)
        if any(isinstance(edit, Merge) for edit in done):
            notes.append(f"how merged domains mix when left alone is taken from {origin} before the edits")
        name = Path(source).name if isinstance(source, Path | str) else "the table"
        return cls(runs, name, natural_D, done, lift(tuple(runs.domains), done, natural_D))

    @property
    def seen_ND(self) -> Array:
        """The runs in shares of today's domains, shape N x D, in the order of `lift.after`; without those that had none."""
        w_ND = self._left_ND[self._some_N]
        return np.asarray(w_ND / w_ND.sum(1, keepdims=True), np.float64)

    @property
    def _left_ND(self) -> Array:
        """What the runs had of today's domains: rows sum to less than 1 where domains are gone."""
        return self.lift.shares(self.runs.shares_ND)[:, : len(self.lift.after)]

    @property
    def _some_N(self) -> Bools:
        return np.asarray(self._left_ND.sum(1) > 0)

    def alone(self, notes: list[str]) -> Runs:
        """The runs as if they were of today: what may be asked about the domains after the edits.

        Metrics on the text of domains that are still the same are called as these; those on the text of another domain that
        now has the name are left out.
        """
        runs, after = self.runs, self.lift.after
        names = {before: new for new, before in self.lift.same.items()}
        lost = [m for m in runs.metrics if m in runs.domains and m not in names and m in after]
        if lost:
            notes.append(f"left out, as the domains of that name are other texts now: {listed(lost)}")
        kept = [m for m in runs.metrics if m not in lost]
        some_N = self._some_N
        return replace(
            runs,
            ids=tuple(run for run, some in zip(runs.ids, some_N, strict=True) if some),
            domains={d: runs.domains.get(self.lift.same.get(d, d), d) for d in after},
            metrics={names.get(m, m): runs.metrics[m] for m in kept},
            shares_ND=self.seen_ND,
            value_NM=runs.value_NM[some_N][:, [list(runs.metrics).index(m) for m in kept]],
            block_N=runs.block_N[some_N],
        )

    def tried_ND(self, domains: Sequence[str]) -> Array:
        """`seen_ND` in the order of `domains`.

        Raises:
            UsageError: these are not the domains after the edits.
        """
        self.bare.check(domains)
        return self.seen_ND[:, [self.lift.after.index(d) for d in domains]]

    @property
    def bare(self) -> Past:
        """The edits as a problem carries them, without runs."""
        return Past(self.source, tuple(self.runs.domains), (), tuple(self.natural_D.tolist()), self.edits, ())

    def joined(self, asked: Asked, table: Table, notes: list[str]) -> tuple[Asked, Table]:
        """`table` with these runs below it, as far as they have what was asked, and the question that carries them.

        Raises:
            DataError: no run has a value of a target.
        """
        runs = self.runs
        found = {}
        for target, factor in zip(asked.scored, asked.factor_T, strict=True):
            name = self.lift.same.get(target, None if target in asked.domains else target)
            if name is not None and name in runs.metrics:
                found[name] = factor * runs.value_NM[:, list(runs.metrics).index(name)]
        if not found:
            raise DataError(
                f"{self.source} has values of none of the targets: {listed(list(asked.scored))}",
                wanted="a metric that the runs of today have too",
            )
        value_NT = np.stack([*found.values()], axis=1)
        whole_N = np.isfinite(value_NT).all(1)
        if not whole_N.all():
            notes.append(f"{int((~whole_N).sum())} run(s) from before without a value of every target are left out")
        done = tuple(
            PastRun(runs.ids[i], int(runs.block_N[i]), tuple(runs.shares_ND[i].tolist()), tuple(value_NT[i].tolist()))
            for i in np.flatnonzero(whole_N)
        )
        past = replace(self.bare, targets=tuple(found), runs=done)
        return replace(asked, past=(past,)), table.after((past,))


def read_past(mixtures: Source, metrics: Source, layout: Layout) -> Runs:
    """The runs from before; of the columns that the tables of today name only those that are there too.

    Raises:
        UsageError, DataError: as `read_runs`.
    """
    left, right = opened(mixtures, "mixtures from before"), opened(metrics, "metrics from before")
    return read_runs(left, right, layout.within(left, right))


def posed(
    runs: Runs, before: Before | None, beside: bool, wishes: Wishes, notes: list[str]
) -> tuple[Runs, Asked, Table]:
    """The runs that are asked about, the question, and the table to learn from.

    Args:
        before: Runs from before; they are `runs` themselves where they are not `beside` these.
    """
    if before is None:
        asked = ask(runs, wishes, notes, runs.shares_ND)
        return runs, asked, asked.table(runs, notes)
    if beside:
        asked = ask(runs, wishes, notes, np.vstack([runs.shares_ND, before.tried_ND(tuple(runs.domains))]))
        return runs, *before.joined(asked, asked.table(runs, notes), notes)
    runs = before.alone(notes)
    asked = ask(runs, wishes, notes, runs.shares_ND)
    today = asked.table(runs, notes)
    return runs, *before.joined(asked, today.rows(np.zeros(len(today.ids), bool)), [])
