"""Predictors by name, and how well a fit foretells runs that it did not see.

Letters: N runs or mixtures, D domains, T targets.
"""

from __future__ import annotations

import math
from importlib import import_module
from typing import cast

import numpy as np
from scipy.stats import spearmanr

from cuvee.base.codec import nearest
from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array
from cuvee.predict.posterior import Posterior, Predictor
from cuvee.predict.table import Table

PREDICTORS: dict[str, str] = {
    "stack": "cuvee.predict.stack:Stack",
    "process": "cuvee.predict.process:Process",
    "power-law": "cuvee.predict.power:PowerLaw",
    "log-linear": "cuvee.predict.loglinear:LogLinear",
    "ridge-log": "cuvee.predict.ridge:RidgeLog",
    "corrected-law": "cuvee.predict.corrected:Corrected",
    "bimix": "cuvee.predict.bimix:BiMix",
    "autoscale": "cuvee.predict.autoscale:AutoScale",
    "quadratic": "cuvee.predict.quadratic:Quadratic",
    "lightgbm": "cuvee.predict.trees:Trees",
}
"""Name -> where its class is; imported when asked for."""
DEFAULT = "stack"


def named(name: str) -> Predictor:
    """The predictor of that name with its defaults; `auto` is the default one.

    Raises:
        UsageError: no such predictor.
    """
    where = PREDICTORS.get(DEFAULT if name == "auto" else name)
    if where is None:
        known = ["auto", *PREDICTORS]
        raise UsageError(f"no predictor {name!r}", wanted=f"one of {', '.join(known)}", fix=nearest(name, known))
    module, _, attribute = where.partition(":")
    return cast(Predictor, getattr(import_module(module), attribute)())


def predict_blocks(posterior: Posterior, table: Table, a_T: Array) -> Array:
    """Each row's weighted mean of targets as predicted without its group, up to a constant per block. Shape N.

    Groups are the blocks, but parts of the mixtures with one block, or where blocks hold the same mixtures. NaN for a table of
    one run.
    """
    if posterior.unseen_NT is None:
        return np.full(len(table.ids), np.nan)
    return np.asarray(posterior.unseen_NT @ a_T, np.float64)


def block_error(posterior: Posterior, table: Table, a_T: Array) -> float:
    """Root mean square error in bits/byte of predicting each group (of today) from the others; NaN for one run."""
    predicted_N, measured_N, judged = _judged(posterior, table, a_T)
    return float(np.sqrt(judged.mean((predicted_N - measured_N) ** 2))) if judged.ids else math.nan


def block_spearman(posterior: Posterior, table: Table, a_T: Array) -> float:
    """Rank correlation of what is predicted of each group from the others; NaN where nothing varies."""
    predicted_N, measured_N, _ = _judged(posterior, table, a_T)
    return correlation(predicted_N, measured_N)


def correlation(predicted_N: Array, measured_N: Array) -> float:
    """Rank correlation; NaN for fewer than three values, or where nothing varies."""
    varied = len(measured_N) > 2 and np.ptp(predicted_N) > 0 and np.ptp(measured_N) > 0
    return float(spearmanr(predicted_N, measured_N).statistic) if varied else math.nan


def _judged(posterior: Posterior, table: Table, a_T: Array) -> tuple[Array, Array, Table]:
    """Predicted without their group and measured, both minus their blocks' means, of the runs that are judged, and those."""
    pair_N2 = np.stack([predict_blocks(posterior, table, a_T), table.objective(a_T)], axis=1)
    known_N = np.asarray(table.judged_N & np.isfinite(pair_N2).all(1))
    judged = table.rows(known_N)
    predicted_N, measured_N = judged.centred(pair_N2[known_N]).T
    return predicted_N, measured_N, judged
