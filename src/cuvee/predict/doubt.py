"""How far runs from before miss what runs of today say of a revised or merged domain.

What changed in a domain bends the losses by something in proportion to its share, to first order. So the runs from before
predict those of today, and what they miss is regressed on the shares of the domains in doubt: the slope, beyond what noise
alone would make, is the noise that lifted runs carry per unit of share. Few runs say little, and the default counts for
`PRIOR` targets.

Letters: N runs, D columns of shares, T targets, K doubts, P features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cuvee.mixture.edits import DOUBT, Doubt
from cuvee.mixture.weights import Array

if TYPE_CHECKING:
    from cuvee.predict.table import Table

PRIOR = 4.0
PENALTY = 3.0
EPS = 1e-3


def noises(table: Table, doubts: Sequence[Doubt], lifted_N: NDArray[np.bool_]) -> list[float]:
    """The noise of every doubt, stated, estimated or the default, in units of the noise of one run.

    Args:
        table: Runs of today and lifted ones, all of weight 1.
        doubts: Of the lifted runs.
        lifted_N: Which runs those are.
    """
    found = _estimated(table, doubts, lifted_N) if any(d.noise is None for d in doubts) else [DOUBT] * len(doubts)
    return [noise if doubt.noise is None else doubt.noise for doubt, noise in zip(doubts, found, strict=True)]


def _estimated(table: Table, doubts: Sequence[Doubt], lifted_N: NDArray[np.bool_]) -> list[float]:
    # runs of another study before may lack a target that these have
    both = table.rows(lifted_N | table.today_N)
    whole = both.known([t for t in range(len(table.targets)) if np.isfinite(table.loss_NT[lifted_N, t]).all()])
    before, today = whole.rows(~whole.today_N), whole.rows(whole.today_N)
    share_NK = np.stack(
        [today.shares_ND[:, [today.domains.index(d) for d in doubt.domains]].sum(1) for doubt in doubts], axis=1
    )
    x_NK = today.centred(share_NK)
    freedom = len(today.ids) - len(today.blocks) - len(doubts)
    if freedom < 2 or not whole.targets or np.linalg.matrix_rank(x_NK) < len(doubts):
        return [DOUBT] * len(doubts)
    missed_NT = today.centred(today.loss_NT - _smooth(before, today.shares_ND))
    slope_KT = np.linalg.lstsq(x_NK, missed_NT, rcond=None)[0]
    noise_T = np.maximum(np.sum((missed_NT - x_NK @ slope_KT) ** 2, axis=0) / freedom, 1e-18)
    by_chance_K = np.diag(np.linalg.inv(x_NK.T @ x_NK))
    square_K = np.maximum(slope_KT**2 / noise_T - by_chance_K[:, None], 0.0).mean(1)
    size = len(whole.targets)
    return [float(np.sqrt((PRIOR * DOUBT**2 + size * square) / (PRIOR + size))) for square in square_K]


def _smooth(table: Table, w_ND: Array) -> Array:
    """What the runs of `table` foretell at `w_ND`, up to a constant: ridge on shares and their logarithms. Shape N x T."""
    x_NP, new_NP = (np.hstack([shares, np.log(shares + EPS)]) for shares in (table.shares_ND, w_ND))
    centred_NP = table.centred(x_NP)
    scale_P = np.sqrt(np.mean(centred_NP**2, axis=0))
    scale_P[scale_P < 1e-9] = np.inf
    scaled_NP = centred_NP / scale_P
    squares_PP = scaled_NP.T @ scaled_NP + PENALTY * np.eye(len(scale_P))
    coefficients_PT = np.linalg.solve(squares_PP, scaled_NP.T @ table.centred(table.loss_NT))
    return np.asarray((new_NP / scale_P) @ coefficients_PT, np.float64)
