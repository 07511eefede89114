"""The plain average of predictors, the error of predicting a block from the others, and the choice by that error.

Letters: N runs or mixtures, D domains, T targets.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from cuvee.base.codec import nearest
from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.corrected import Corrected
from cuvee.predict.loglinear import LogLinear
from cuvee.predict.posterior import Fit, Posterior, Predictor, Rivals, smooth
from cuvee.predict.ridge import RidgeLog
from cuvee.predict.table import Table


@dataclass(frozen=True, eq=False)
class AverageFit:
    """The mean of several fits."""

    fits: tuple[Fit, ...]

    def loss(self, w_ND: Array) -> Array:
        """Losses in bits/byte, shape N x T."""
        return np.asarray(np.mean([fit.loss(w_ND) for fit in self.fits], axis=0), np.float64)

    def gradient(self, w_D: Array) -> Array:
        """Derivatives, shape T x D."""
        return np.asarray(np.mean([smooth(fit).gradient(w_D) for fit in self.fits], axis=0), np.float64)

    def convex(self, a_T: Array) -> bool:
        """Convex where every fit is."""
        return all(smooth(fit).convex(a_T) for fit in self.fits)


@dataclass(frozen=True)
class Average:
    """The plain average of a law and a flexible model: the law bounds the model where runs are few."""

    predictors: tuple[Predictor, ...] = field(default_factory=lambda: (RidgeLog(), Corrected()))

    def fit(self, table: Table) -> Posterior:
        """The posterior of the table."""
        return average([predictor.fit(table) for predictor in self.predictors], table)


PREDICTORS: dict[str, Predictor] = {
    "ridge-log": RidgeLog(),
    "log-linear": LogLinear(),
    "corrected-law": Corrected(),
    "average": Average(),
}
CANDIDATES = ("corrected-law", "ridge-log")
"""What `select` chooses between, with their average; the bare law is too sure of itself where it does not hold."""
CLEARLY = 0.85
"""The others need an error under this share of the corrected law's: at the optimum ridge promises too much."""


def average(posteriors: list[Posterior], table: Table) -> Posterior:
    """The posterior whose fits are the means of the fits of `posteriors`, block by block."""
    blocks = posteriors[0].replicates
    return Posterior.of(
        AverageFit(tuple(p.full for p in posteriors)),
        {block: AverageFit(tuple(p.replicates[block] for p in posteriors)) for block in blocks},
        table.shares_ND,
    )


def named(name: str) -> Predictor:
    """The predictor of that name.

    Raises:
        UsageError: no such predictor.
    """
    if name not in PREDICTORS:
        known = ["auto", *PREDICTORS]
        raise UsageError(f"no predictor {name!r}", wanted=f"one of {', '.join(known)}", fix=nearest(name, known))
    return PREDICTORS[name]


def predict_blocks(posterior: Posterior, table: Table, a_T: Array) -> Array:
    """Each row's weighted mean of targets as predicted from the other blocks, up to a constant per block. Shape N."""
    return np.asarray(_unseen(posterior, table) @ a_T, np.float64)


def _unseen(posterior: Posterior, table: Table) -> Array:
    """Each row's losses as predicted from the other blocks, shape N x T; NaN with one block."""
    predicted_NT = np.full(table.loss_NT.shape, np.nan)
    for block, fit in posterior.replicates.items():
        inside = table.block_N == block
        predicted_NT[inside] = fit.loss(table.shares_ND[inside])
    return predicted_NT


def block_error(posterior: Posterior, table: Table, a_T: Array) -> float:
    """Root mean square error in bits/byte of predicting each block from the others; NaN with one block."""
    error_N = table.centred(predict_blocks(posterior, table, a_T)[:, None] - (table.loss_NT @ a_T)[:, None])
    return float(np.sqrt(np.mean(error_N**2)))


def select(table: Table, a_T: Array) -> tuple[str, Posterior]:
    """The corrected law, unless ridge or their average clearly predicts each block better from the others.

    Judged on the weighted mean of targets. With one block there is nothing to judge by, and the average is taken. The
    posterior's intervals know both candidates, whichever is chosen.
    """
    posteriors = {name: PREDICTORS[name].fit(table) for name in CANDIDATES}
    posteriors["average"] = average(list(posteriors.values()), table)
    if len(table.blocks) < 2:
        return "average", posteriors["average"]
    errors = {name: block_error(posterior, table, a_T) for name, posterior in posteriors.items()}
    best = min(errors, key=lambda name: errors[name])
    chosen = best if errors[best] < CLEARLY * errors["corrected-law"] else "corrected-law"
    return chosen, replace(posteriors[chosen], rivals=_rivals([posteriors[name] for name in CANDIDATES], table))


def _rivals(candidates: list[Posterior], table: Table) -> Rivals:
    one, other = candidates
    one_NT, other_NT = _unseen(one, table), _unseen(other, table)
    parted_NT, error_NT = table.centred(other_NT - one_NT), table.centred(one_NT - table.loss_NT)
    return Rivals(one.full, other.full, parted_NT.T @ parted_NT, parted_NT.T @ error_NT)
