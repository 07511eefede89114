"""Boosted trees with RegMix's settings (Liu et al. 2024, RegMix), by the package `lightgbm` (an extra).

Trees want runs: with `min_child_samples` of 20 they cannot split fewer than 40, and say one loss for every mixture. They are flat
between their splits, so there is no gradient to follow; optimise by simulation. All rounds are made: stopping early needs
data to judge by, and rows that are judged by must not be those that are reported.

Letters: N runs, D domains, T targets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cuvee.base.errors import UsageError, missing_extra
from cuvee.mixture.weights import Array
from cuvee.predict.posterior import Fit, Posterior, groups, jackknife
from cuvee.predict.table import Table


@dataclass(frozen=True, eq=False)
class TreesFit:
    """loss = level + the sum of a target's trees. Flat between splits: there is no gradient."""

    level_T: Array
    boosters: tuple[Any, ...]

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        rises = [booster.predict(w_ND, num_threads=1) for booster in self.boosters]
        return np.asarray(self.level_T + np.stack(rises, axis=1), np.float64)


@dataclass(frozen=True)
class Trees:
    """Gradient boosted trees on losses less their block's mean, one forest per target.

    Args:
        learning_rate, trees, leaves, least_rows: Of LightGBM; RegMix's.
        seed: Of LightGBM.
    """

    learning_rate: float = 0.01
    trees: int = 1000
    leaves: int = 31
    least_rows: int = 20
    seed: int = 42

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and self.trees > 0 and self.leaves > 1 and self.least_rows > 0):
            raise UsageError(
                f"trees: got learning rate {self.learning_rate}, {self.trees} trees of {self.leaves} leaves of "
                f"{self.least_rows} rows or more",
                wanted="a rate > 0, a tree or more, two leaves or more, a row or more",
            )

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table: means and errors, no slopes.

        Without errors where the fits to all groups but one have fewer rows than two leaves need: those predict a constant
        each, and that they agree says nothing.
        """
        found = jackknife(table, self.fit_once)
        rows = min((np.count_nonzero(groups(table) != g) for g in found.replicates), default=0)
        return found if rows >= 2 * self.least_rows else replace(found, replicates={})

    def fit_once(self, table: Table, start: Fit | None) -> TreesFit:
        """One fit to all rows; `start` does not matter.

        Raises:
            UsageError: the package `lightgbm` is not installed.
        """
        lightgbm = _lightgbm()
        settings = {
            "objective": "l2",
            "boosting": "gbdt",
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_child_samples": self.least_rows,
            "seed": self.seed,
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }
        options = {"feature_pre_filter": False, "verbosity": -1}
        y_NT = table.centred(table.loss_NT)
        boosters = []
        for y_N in y_NT.T:
            data = lightgbm.Dataset(table.shares_ND, y_N, weight=table.weight_N, params=options)
            boosters.append(lightgbm.train(settings, data, num_boost_round=self.trees))
        return TreesFit(table.level(table.loss_NT), tuple(boosters))


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise missing_extra("lightgbm", "lightgbm", "predicting with boosted trees") from error
    return lightgbm
