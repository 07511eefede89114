"""Which mixtures to taste first: RegMix's Dirichlet design, D-optimal choices among candidates, and the anchors.

Letters: D domains, N mixtures, M candidates, P = 2 D features. Every mixture returned lies in the feasible set, except natural.
"""

from __future__ import annotations

import numpy as np

from cuvee.mixture.feasible import FeasibleSet
from cuvee.mixture.tree import Tree
from cuvee.mixture.weights import Array

TEMPER = 0.5
STRENGTHS = np.logspace(np.log10(0.1), np.log10(5.0), 15)
TINY = 2e-4
TRIES = 20
ROUNDING = 1e-9
EPS = 1e-3
"""Added to shares before the logarithm: below it a share counts as absent."""
DESIGN_RIDGE = 0.1
CORNERS = 256


def dirichlet(
    center_D: Array,
    feasible: FeasibleSet,
    n: int,
    rng: np.random.Generator,
    tree: Tree | None = None,
    natural_D: Array | None = None,
) -> Array:
    """RegMix's design around `center_D`: `n` mixtures, shape N x D (Liu et al. 2024, synthesize_mixture.py).

    The centre is tempered (power 0.5) and each mixture drawn from Dirichlet(strength x centre), the strength one of 15
    log-spaced values from 0.1 (near the corners) to 5 (near the centre). Shares under 2e-4 become 0. Departures: the
    feasible set takes the place of the bound of 15 times the prior (token caps are what that bound stood for); a draw
    outside the set, or one that is there already, is drawn again up to 20 times, and then projected or kept; shares are
    not rounded, so every row sums to 1. With a `tree` draws vary level by level, and inside its frozen groups they are
    `natural_D` (the centre when left out).
    """
    if feasible.high_D.sum() <= 1 + ROUNDING or feasible.low_D.sum() >= 1 - ROUNDING:
        return np.tile(feasible.project(center_D), (n, 1))  # there is one mixture, which no draw would find
    tempered_D = np.maximum(center_D, 0.0) ** TEMPER
    tempered_D /= tempered_D.sum()
    rows: list[Array] = []
    seen: set[bytes] = set()
    for _ in range(n):
        for _ in range(TRIES):
            w_D = _one(tempered_D, feasible, rng, tree, center_D if natural_D is None else natural_D)
            key = np.round(w_D, 6).tobytes()
            if key not in seen:
                break
        seen.add(key)
        rows.append(w_D)
    return np.array(rows, np.float64).reshape(n, len(center_D))


def _one(
    tempered_D: Array, feasible: FeasibleSet, rng: np.random.Generator, tree: Tree | None, natural_D: Array
) -> Array:
    w_D = tempered_D
    for _ in range(TRIES):
        if tree is not None:
            w_D = tree.draw(tempered_D, natural_D, float(rng.choice(STRENGTHS)), rng)
        else:
            w_D = np.zeros(len(tempered_D))
            support = tempered_D > 0
            w_D[support] = rng.dirichlet(np.maximum(rng.choice(STRENGTHS) * tempered_D[support], 1e-3))
        if tree is None or not tree.frozen:  # rounding small shares away would break frozen proportions
            w_D[w_D < TINY] = 0.0
        w_D /= w_D.sum()
        if feasible.contains(w_D, 1e-9):
            return w_D
    return feasible.project(w_D)


def cloud(center_D: Array, feasible: FeasibleSet, n: int, rng: np.random.Generator) -> Array:
    """Many mixtures around `center_D` in the feasible set, shape N x D: Dirichlet(strength x centre), strengths as in the design.

    A draw outside the set is moved towards the middle of the set until it is inside, which is cheap for any linear bounds but
    misses the corners that bounds make; so every other draw is mixed with three of those.
    """
    strength_N = rng.choice(STRENGTHS, n) * rng.choice([1.0, 10.0, 100.0], n)
    raw_ND = rng.standard_gamma(np.maximum(strength_N[:, None] * np.maximum(center_D, 0.0), 1e-3)) + 1e-300
    corner_CD = np.array([feasible.project(center_D + 1e3 * rng.normal(size=len(center_D))) for _ in range(CORNERS)])
    middle_D = 0.5 * feasible.project(center_D) + 0.5 * corner_CD.mean(0)
    draw_ND = _inside(middle_D, raw_ND / raw_ND.sum(1, keepdims=True), feasible)
    mixed_ND = draw_ND[1::2]
    part_N4 = rng.dirichlet(np.full(4, 0.3), len(mixed_ND))
    three_N3D = corner_CD[rng.integers(0, CORNERS, (len(mixed_ND), 3))]
    draw_ND[1::2] = part_N4[:, :1] * mixed_ND + np.einsum("nc,ncd->nd", part_N4[:, 1:], three_N3D)
    return draw_ND


def _inside(middle_D: Array, draw_ND: Array, feasible: FeasibleSet) -> Array:
    """The draws, each moved towards `middle_D`, which is in the set, until it is in the set."""
    away_ND = draw_ND - middle_D
    normal_MD, bound_M = feasible.halfspaces
    sum_MD, least_M, most_M = feasible.sums
    if np.any(least_M == most_M):  # what is fixed, such as the proportions in a frozen group, leaves no room to move
        fixed_KD = np.vstack([np.ones(len(middle_D)), sum_MD[least_M == most_M]])
        away_ND -= away_ND @ np.linalg.pinv(fixed_KD) @ fixed_KD
    rooms = [
        (away_ND, feasible.high_D - middle_D),
        (-away_ND, middle_D - feasible.low_D),
        (-away_ND @ normal_MD.T, normal_MD @ middle_D - bound_M),
    ]
    step_N = np.ones(len(draw_ND))
    with np.errstate(divide="ignore", invalid="ignore"):
        for going, room in rooms:
            steps = np.where(going > 1e-12, np.maximum(room, 0.0) / going, np.inf)
            step_N = np.minimum(step_N, steps.min(1, initial=1.0))
    # up to rounding a share may be a little below 0
    return np.maximum(middle_D + step_N[:, None] * away_ND, 0.0)


def d_optimal(candidates_MD: Array, have_ND: Array, n: int) -> Array:
    """The `n` candidates that, beside `have_ND`, tell most of a regression on [w, log(w + 0.001)]. Shape n x D.

    Greedy: each pick is where the regression's prediction has the largest variance, which raises the determinant of its
    information matrix most (Fedorov 1972, Theory of Optimal Experiments). A ridge makes the first picks defined. All
    candidates when there are no more than `n`.
    """
    both_ND = np.vstack([candidates_MD, have_ND])
    features_NP = np.hstack([both_ND, np.log(np.maximum(both_ND, 0.0) + EPS)])
    features_NP = features_NP - features_NP[: len(candidates_MD)].mean(0)
    features_NP /= np.maximum(features_NP.std(0), 1e-9) * np.sqrt(features_NP.shape[1])
    x_MP, have_NP = features_NP[: len(candidates_MD)], features_NP[len(candidates_MD) :]
    inverse_PP = np.linalg.inv(DESIGN_RIDGE * np.eye(x_MP.shape[1]) + have_NP.T @ have_NP)
    free_M, picks = np.ones(len(x_MP), bool), list[int]()
    for _ in range(min(n, len(x_MP))):
        variance_M = np.einsum("mp,pq,mq->m", x_MP, inverse_PP, x_MP)
        pick = int(np.argmax(np.where(free_M, variance_M, -1.0)))
        free_M[pick] = False
        picks.append(pick)
        along_P = inverse_PP @ x_MP[pick]
        inverse_PP = inverse_PP - np.outer(along_P, along_P) / (1 + x_MP[pick] @ along_P)
    return candidates_MD[picks]


def anchors(natural_D: Array, feasible: FeasibleSet) -> dict[str, Array]:
    """Mixtures that every study should taste, by name.

    `natural` is as given, even outside the set: differences are taken to it. `centre` is the geometric mean of natural
    and uniform, `uniform` the flat mixture, and `without NAME` the centre with one domain left out as far as its floor
    lets it, all projected onto the set.
    """
    centre_D = np.sqrt(natural_D)
    centre_D /= centre_D.sum()
    named = {
        "natural": np.array(natural_D, np.float64),
        "centre": feasible.project(centre_D),
        "uniform": feasible.project(np.full(len(natural_D), 1.0 / len(natural_D))),
    }
    for i, domain in enumerate(feasible.domains):
        without_D = centre_D.copy()
        without_D[i] = 0.0
        named[f"without {domain}"] = feasible.project(without_D / without_D.sum())
    return named
