"""Numbers as people read them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from cuvee.plan.choice import Estimate


def signed(value: float, digits: int = 4) -> str:
    """A difference with its sign; a true minus, no sign for what rounds to zero."""
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "\u2212∞" if value < 0 else "+∞"
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else ("\u2212" if value < 0 else "+") + text


def percent(share: float) -> str:
    """A share in percent, with more digits for small ones."""
    points = 100 * share
    if points == 0:
        return "0 %"
    return "< 0.01 %" if 0 < points < 0.01 else f"{points:.{1 if points >= 1 else 2}f} %"


def count(value: float) -> str:
    """A large number in short: 1.9M, 30M, 1.2B."""
    value = float(f"{value:.3g}")
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.0f}"


def seconds(value: float) -> str:
    """A duration in the unit that fits."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if value >= 2 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} s"


def flops(value: float) -> str:
    """Floating point operations: 1.2 × 10^15 as text."""
    if value <= 0:
        return "not recorded"
    power = math.floor(math.log10(value))
    return f"{value / 10**power:.1f} × 10^{power}"


def interval(estimate: Estimate) -> str:
    """`-0.0310 (-0.0370 to -0.0250)`."""
    return f"{signed(estimate.mean)} ({signed(estimate.low)} to {signed(estimate.high)})"


def relative_interval(estimate: Estimate) -> str:
    """The same for relative differences, in percent without the sign."""
    mean, low, high = (signed(100 * v, 2) for v in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low} to {high})"


def probability(value: float) -> str:
    """A probability that never rounds to certainty."""
    if math.isnan(value):
        return "unknown"
    return "> 0.99" if value > 0.99 else "< 0.01" if value < 0.01 else f"{value:.2f}"


def plural(number: int, word: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def ratio(value: float) -> str:
    """r/R as `1/16` when the proxy is smaller."""
    return f"1/{1 / value:.3g}" if 0 < value < 1 else f"{value:.3g}"


def listed(names: Sequence[str], most: int = 6) -> str:
    """Names in a row; of many, the first few and how many more."""
    return (
        ", ".join(names) if len(names) <= most else f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    )


def runs_of(numbers: Sequence[int]) -> str:
    """Whole numbers in order, neighbours as one: `0 to 3, 7`."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in found) or "none"


def finite(value: float | None) -> float | None:
    """None for what is not a number: JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None
