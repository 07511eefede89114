"""The optimum of a prediction without gradients, such as trees: the mean of the best of many draws.

RegMix's rule (Liu et al. 2024, regression notebook): 100,000 draws of a Dirichlet with natural's shares, the 128 with the
lowest prediction averaged; single draws are sparse and lucky. Here strengths vary as in the design, a draw outside the
feasible set is moved towards its middle until it is inside, and what is unsure or breaks a guard is seen to for the best.

Letters: N draws, D domains.
"""

from __future__ import annotations

import numpy as np

from cuvee.base.rng import generator
from cuvee.mixture.designs import cloud
from cuvee.mixture.weights import Array
from cuvee.predict.question import Question

DRAWS, CHUNK = 100_000, 10_000
BEST = 128
LOOKED_AT = 2_048
"""Of the draws with the lowest predictions so many are valued with their error and held against guards, one by one."""


def simulate(question: Question, others: list[Array]) -> tuple[Array, bool]:
    """The mean of the best draws, or the best of these and `others` where the mean breaks a guard; whether guards hold."""
    draw_ND, value_N = _draws(question, question.base_D)
    order_N = np.argsort(value_N, kind="stable")[:LOOKED_AT]
    if question.guards or question.averse or question.pull:
        near = [*others, *draw_ND[order_N]]
        allowed = [w_D for w_D in near if question.holds(w_D)]
        if not allowed:
            return max(near, key=lambda w_D: min(question.room(rule, w_D) for rule in question.guards)), False
        best = sorted(allowed, key=question.value)[:BEST]
    else:
        best = list(draw_ND[order_N[:BEST]])
    mean_D = question.feasible.project(np.mean(best, axis=0))
    return (mean_D if question.holds(mean_D) else best[0]), True


def simulated_ranges(question: Question, optimum_D: Array, tolerance: float) -> tuple[Array, Array]:
    """Least and largest shares among draws around the optimum that cost at most `tolerance` and keep the guards, shape D.

    Draws find less than all, so the ranges are wider in truth.
    """
    limit = question.value(optimum_D) + tolerance
    draw_ND, value_N = _draws(question, optimum_D)
    near_ND = draw_ND[np.argsort(value_N, kind="stable")][: np.count_nonzero(value_N <= limit)]
    if question.guards or question.averse or question.pull:
        kept = [w_D for w_D in near_ND[:LOOKED_AT] if question.value(w_D) <= limit and question.holds(w_D)]
        near_ND = np.array(kept).reshape(-1, len(optimum_D))
    all_ND = np.vstack([optimum_D, near_ND])
    return all_ND.min(0), all_ND.max(0)


def _draws(question: Question, centre_D: Array) -> tuple[Array, Array]:
    """Draws in the feasible set around `centre_D`, shape N x D, and their predictions against the base, shape N."""
    draw_ND = cloud(centre_D, question.feasible, DRAWS, generator(0, "simulate", 0))
    base = float(question.posterior.mean(question.base_D[None])[0] @ question.a_T)
    parts = [question.posterior.mean(part_ND) @ question.a_T for part_ND in np.split(draw_ND, DRAWS // CHUNK)]
    return draw_ND, np.concatenate(parts) - base
