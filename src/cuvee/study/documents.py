"""What other held-out documents would have said: the document bootstrap of paired differences.

Blocks tell how far initial weights, order and pools move a difference. All blocks are scored on the same documents, so the
luck of those is in none of that; it is estimated apart, by drawing documents anew, and added to the intervals.

Letters: J documents or examples of a target, S draws.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cuvee.base.rng import generator
from cuvee.mixture.weights import Array
from cuvee.plan.problem import Target
from cuvee.plan.trial import Trial

DRAWS = 400


def text_error(targets: Sequence[Target], pairs: Sequence[tuple[Trial, Trial]]) -> float:
    """Standard error, over draws of documents, of the mean difference between the trials of `pairs`.

    Targets are drawn apart from each other (their texts share no document), the documents of one in all trials alike.
    Where the trials hold standard errors instead of parts (`Curve.errors`, of an outside trainer), the root of the sum of the
    squares of both sides': the same examples are behind all blocks, so blocks do not average it, and how far pairing
    cancels it cannot be known. 0 where they hold neither, or where a text is one document.

    Args:
        targets: The weighted mean asked for; the result is in its unit.
        pairs: A trial and natural's in the same block.
    """
    total = sum(t.weight for t in targets)
    errors = [t.weight / total * _one(t.name, pairs) for t in targets]
    return math.sqrt(sum(e**2 for e in errors))


def forgetting_error(targets: Sequence[Target], trials: Sequence[Trial]) -> float:
    """As `text_error`, of the mean difference between runs and the checkpoint that they start from."""
    return text_error(targets, [(t, _at_start(t)) for t in trials])


def _at_start(trial: Trial) -> Trial:
    return replace(trial, curves=tuple(replace(c, sample_sums=c.start_sums, errors=()) for c in trial.curves))


def _one(target: str, pairs: Sequence[tuple[Trial, Trial]]) -> float:
    found = [(a.curve(target), b.curve(target)) for a, b in pairs]
    parts = [(a.sample_sums, b.sample_sums) for a, b in found if a and b and a.sample_sums and b.sample_sums]
    if len(parts) < len(found) or not found or found[0][0] is None:
        both = [(a.errors[-1], b.errors[-1]) for a, b in found if a and b and a.errors and b.errors]
        told = [pair for pair in both if all(map(math.isfinite, pair))]  # NaN: not known
        return math.sqrt(sum(e**2 + f**2 for e, f in told) / len(told)) if told else 0.0
    sizes_J = np.array(found[0][0].sample_sizes)
    change_J = np.mean([np.subtract(a, b) for a, b in parts], axis=0)
    return ratio_error(change_J, sizes_J)


def ratio_error(sums_J: Array, sizes_J: Array) -> float:
    """Bootstrap standard error of sum(sums) / sum(sizes) over draws of the J items; 0 for fewer than two, which say nothing.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 6.
    """
    count = len(sums_J)
    if count < 2:
        return 0.0
    drawn_SJ = generator(0, "document bootstrap", count).multinomial(count, np.full(count, 1 / count), DRAWS)
    return float(np.std((drawn_SJ @ sums_J) / (drawn_SJ @ sizes_J), ddof=1))
