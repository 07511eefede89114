"""How sure levels are: draws of the targets' losses themselves, where a posterior tells differences between mixtures.

A posterior's draws may move as a whole. What fixes them are the runs: each draw is moved so that its mean over some runs is theirs,
within what noise and the offsets of blocks leave open.

Letters: N runs, D domains, T targets, M mixtures, S draws, B blocks.
"""

from __future__ import annotations

import numpy as np

from cuvee.mixture.weights import Array
from cuvee.predict.lifted import widened
from cuvee.predict.posterior import LEVEL, Posterior
from cuvee.predict.table import Table

DRAWS = 512
ANCHORS = 64
"""Runs over whose mean draws are held together."""


def level_draws(posterior: Posterior, table: Table, w_MD: Array, rng: np.random.Generator) -> Array:
    """Joint draws of the losses at `w_MD` without noise, at the mean over blocks, shape S x M x T."""
    some = np.unique(np.linspace(0, len(table.ids) - 1, min(ANCHORS, len(table.ids))).astype(int))
    all_ND = np.vstack([widened(w_MD, len(table.domains)), table.shares_ND[some]])
    mean_NT = posterior.mean(all_ND)
    away_SNT = posterior.draws(all_ND, DRAWS, rng) - mean_NT
    away_SNT -= away_SNT[:, len(w_MD) :].mean(1, keepdims=True)
    lifted_S1T = rng.normal(size=(DRAWS, 1, mean_NT.shape[1])) * _level_error(posterior, table)
    return np.asarray(mean_NT[: len(w_MD)] + away_SNT[:, : len(w_MD)] + lifted_S1T, np.float64)


def interval(drawn: Array) -> tuple[Array, Array]:
    """The 90 % interval over draws, the first axis."""
    low, high = np.quantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2], axis=0)
    return low, high


def noise(posterior: Posterior, targets: int) -> Array:
    """Standard deviation of one run around the surface, shape T; 0 where it is not known."""
    return np.zeros(targets) if posterior.noise_T is None else posterior.noise_T


def _level_error(posterior: Posterior, table: Table) -> Array:
    """Standard error of the mean of all runs as that of a run in a new block, shape T."""
    square_T = noise(posterior, len(table.targets)) ** 2 / len(table.ids)
    if len(table.blocks) > 1:
        missed_NT = table.loss_NT - posterior.mean(table.shares_ND)
        offset_BT = np.array([missed_NT[table.block_N == b].mean(0) for b in table.blocks])
        square_T = square_T + offset_BT.var(0, ddof=1) / len(offset_BT)
    return np.asarray(np.sqrt(square_T), np.float64)
