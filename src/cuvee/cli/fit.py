"""The answer of `cuvee fit` as text."""

from __future__ import annotations

import math

from cuvee.cli.render import table
from cuvee.tables.holdout import Holdout
from cuvee.tables.result import Fitted, Share

PREDICTED = 30
"""Targets that are shown; JSON has all."""


def fit_text(found: Fitted) -> str:
    """The mixture, what is predicted of it, the reasons, how far to trust them."""
    shares = sorted(found.shares, key=lambda s: (-s.share, s.domain))
    parts = [
        table([_row(s) for s in shares]),
        f"best: the 90 % interval of the best share; near: shares that cost less than {found.tolerance:g} {found.unit}",
        "",
        table(_levels(found)),
        *(
            [f"and {len(found.predicted) - PREDICTED} more targets (--json)"]
            if len(found.predicted) > PREDICTED
            else []
        ),
        "",
        f"gain over natural ({found.natural_from}): {found.gain.mean:.4f} {found.unit}, 90 % interval {found.gain.low:.4f} to "
        f"{found.gain.high:.4f}, P(better) {found.p_better:.2f}",
        f"left out of the fit, runs are ranked with a correlation of {found.cv.spearman:.3f} and missed by {found.cv.rmse:.4f}",
        *([_holdout(found.holdout)] if found.holdout else []),
        *([_free(found)] if found.unconstrained else []),
        "",
        *found.choice.why,
    ]
    return "\n".join(parts)


def _row(s: Share) -> dict[str, str]:
    row = {
        "domain": s.domain,
        "share": f"{s.share:.1%}",
        "best": "not known" if math.isnan(s.low) else f"{s.low:.1%} to {s.high:.1%}",
        "near": f"{s.near_low:.1%} to {s.near_high:.1%}",
        "natural": f"{s.natural:.1%}",
        "runs had": f"{s.tried[0]:.1%} to {s.tried[1]:.1%}",
    }
    return row if s.epochs is None else {**row, "epochs": f"{s.epochs:.2f}"}


def _levels(found: Fitted) -> list[dict[str, str]]:
    weights = {t.name: t.weight for t in found.objective}
    return [
        {
            "target": name,
            "weight": f"{weights[name]:.3g}" if name in weights else "guard",
            "predicted": f"{level.mean:.4g}",
            "90 % interval": "not known" if math.isnan(level.low) else f"{level.low:.4g} to {level.high:.4g}",
            "better is": "more" if name in found.maximised else "less",
        }
        for name, level in list(found.predicted.items())[:PREDICTED]
    ]


def _holdout(h: Holdout) -> str:
    regret = "unknown" if math.isnan(h.regret) else f"{h.regret:.4f}"
    return (
        f"{h.runs} held-out runs: rank correlation {h.spearman_mean:.3f} (Kendall {h.kendall_mean:.3f}), regret of the one "
        f"predicted best {regret}, {h.coverage:.0%} of values within their 90 % intervals"
    )


def _free(found: Fitted) -> str:
    assert found.unconstrained is not None
    largest = sorted(found.unconstrained.mixture.items(), key=lambda pair: -pair[1])[:4]
    shares = ", ".join(f"{d} {s:.1%}" for d, s in largest)
    return f"without bounds and guards the gain would be {found.unconstrained.gain:.4f}: {shares}, ..."
