"""The power of a study before it is spent: which blocks, runs and costs a gain needs to be found, beside the study as written.

Letters: B blocks, `sd` the paired noise between blocks.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Self

from cuvee.base.errors import UsageError
from cuvee.predict.detect import detectable
from cuvee.study.cost import Bill, CostEstimate, arms, total
from cuvee.study.judge import CONFIDENCE
from cuvee.study.pilot import Noise, measured
from cuvee.study.study import Study

MOST_BLOCKS = 200
"""Blocks beyond which a gain is called out of reach."""
SEARCH_BLOCKS = 4
"""Least blocks of a search with usable intervals (design section 4.5)."""
_GAIN = re.compile(r"((?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?) ?(%|b?)")
WIDER = "1.4 times that (four times in five 0.7 to 3.4)"
"""A method's own interval against `half_width`: the median and the middle four fifths of 120 worlds (docs/run.md)."""


@dataclass(frozen=True)
class Gain:
    """A gain over natural to find: a percentage of natural's loss, or bits/byte."""

    value: float
    unit: Literal["%", "bits/byte"]

    @classmethod
    def parse(cls, text: str) -> Self:
        """`0.5%`, `0.004` or `0.004b`.

        Raises:
            UsageError: anything else, or a gain that is not positive and finite.
        """
        found = _GAIN.fullmatch(text.strip())
        value = float(found[1]) if found else 0.0
        if not found or not 0 < value < (100 if found[2] == "%" else math.inf):
            raise UsageError(
                f"--detect got {text!r}",
                wanted="a percentage of natural's loss such as 0.5%, or bits/byte such as 0.004 (or 0.004b), above 0",
            )
        return cls(value, "%" if found[2] == "%" else "bits/byte")

    def bits(self, natural: float) -> float:
        """In bits/byte, given natural's loss.

        Raises:
            UsageError: a percentage of a loss that is not positive.
        """
        if self.unit == "bits/byte":
            return self.value
        if not natural > 0:
            raise UsageError(
                f"natural's objective is {natural:.4g}, of which a percentage means nothing",
                wanted="the gain in the objective's own unit",
                fix="--detect 0.004",
            )
        return self.value / 100 * natural

    def __str__(self) -> str:
        return f"{self.value:g} % of natural's loss" if self.unit == "%" else f"{self.value:g} bits/byte"


@dataclass(frozen=True)
class Layout:
    """A search and a verification from beginning to end, with runs that are finished.

    Args:
        search_blocks, search_runs, verify_blocks, verify_runs: How many; runs are proxies.
        half_width: Of the predicted 90 % interval of choice minus natural, about; None for fewer than two blocks.
        finds: The gain that the verification finds with 80 % power, bits/byte; None for fewer than two blocks.
        bill: What it takes in all.
    """

    search_blocks: int
    search_runs: int
    half_width: float | None
    verify_blocks: int
    verify_runs: int
    finds: float | None
    bill: Bill


@dataclass(frozen=True)
class Detection:
    """What it takes to find a gain.

    Args:
        gain: As asked for.
        bits: In bits/byte; None for a percentage while natural's loss is not known.
        noise: The proxies' paired noise; None before anything measured it.
        pilot_runs: Runs of the pilot that measures it; 0 where the method's first round cannot.
        pilot: What they take.
        as_written: The study as its file has it, at the noise measured.
        cautious_as_written: The same at the noise's upper 80 % limit.
        needed: What finds the gain at the noise measured; None when out of reach or not known.
        cautious: What finds it at the noise's upper 80 % limit; None likewise.
        larger: The paired noise at the larger scale, where a verification there has measured it.
    """

    gain: Gain
    bits: float | None
    noise: Noise | None
    pilot_runs: int
    pilot: Bill
    as_written: Layout
    cautious_as_written: Layout
    needed: Layout | None
    cautious: Layout | None
    larger: Noise | None

    def __str__(self) -> str:
        if self.noise is None or self.bits is None:
            return f"to find a gain of {self.gain}: the noise of these proxies is not measured yet"
        asked = f"{self.gain}" + (f" ({self.bits:.4f} bits/byte)" if self.gain.unit == "%" else "")
        return "\n".join(
            [
                f"to find a gain of {asked} with 80 % power (one-sided paired t test at 5 %):",
                f"{self.noise}",
                f"{'':<24}{'search':>22}{'verification':>24}",
                f"{'':<24}{'blocks':>7}{'runs':>6}{'interval':>9}{'blocks':>9}{'runs':>7}{'finds':>8}   in all",
                _line("as written", self.as_written),
                _line("  at the noise's limit", self.cautious_as_written),
                self._needed("needed", self.needed, self.noise.sd),
                self._needed("  at the noise's limit", self.cautious, self.noise.cautious),
                f"interval: half the {100 * CONFIDENCE:g} % interval of choice minus natural, each block counted as one pair of runs, "
                f"at least {SEARCH_BLOCKS} blocks; a method's own is about {WIDER}",
                "the choice of held-out documents adds to the interval what no number of blocks takes away",
                *self._advice(),
            ]
        )

    def _needed(self, name: str, layout: Layout | None, sd: float) -> str:
        if layout is not None:
            return _line(name, layout)
        return f"{name:<24}out of reach: {MOST_BLOCKS} blocks of these proxies find {detectable(sd, MOST_BLOCKS):.4f} bits/byte"

    def _advice(self) -> list[str]:
        if self.needed is None:
            known = (
                f"the larger runs' noise was measured: {self.larger.sd:.4f} bits/byte in {self.larger.blocks} blocks, "
                f"where {_fewest_to_find(self.larger.sd, self.bits or 0) or f'more than {MOST_BLOCKS}'} blocks find the gain"
                if self.larger
                else "how much less they have is known once a study with such proxies has run its own --pilot"
            )
            return [f"larger or longer proxies may have less noise; {known}"]
        lines = []
        if self.needed.verify_blocks > self.as_written.verify_blocks:
            lines.append(f"verify: {{seeds: {self.needed.verify_blocks}}} can be changed in this study at any time")
        if self.needed.search_blocks > self.as_written.search_blocks:
            lines.append(
                f"method: {{blocks: {self.needed.search_blocks}, runs: {self.needed.search_runs}}} needs another study "
                "folder, with reuse: [this one] to take over its runs"
            )
        return lines


def detect(study: Study, gain: Gain, spend: CostEstimate, verify_seeds: int) -> Detection:
    """What it takes to find `gain`, priced as `spend` prices the study.

    Args:
        spend: The study's cost with a verification of `verify_seeds` fresh blocks.

    Raises:
        UsageError: a percentage of a loss that is not positive; a method that makes runs of several lengths.
    """
    if spend.rungs:
        raise UsageError(
            "what it takes to find a gain is reckoned for runs of one length, and this method makes several",
            wanted="a method whose runs are all of the proxies' tokens",
            fix="method: auto",
        )
    noise = study.noise()
    plan = _Planner(spend, arms(study.problem), (spend.runs + spend.finished), verify_seeds)
    pilot = total([(spend.pilot_runs, spend.each, spend.blocks)], spend.workers)
    if noise is None:
        bits = gain.value if gain.unit == "bits/byte" else None
        unknown = plan.as_written(math.nan)
        return Detection(gain, bits, None, spend.pilot_runs, pilot, unknown, unknown, None, None, None)
    bits = gain.bits(noise.natural)
    return Detection(
        gain,
        bits,
        noise,
        spend.pilot_runs,
        pilot,
        plan.as_written(noise.sd),
        plan.as_written(noise.cautious),
        plan.needed(noise.sd, bits),
        plan.needed(noise.cautious, bits),
        measured(study.problem, study.verification_trials("large")),
    )


def half_width(sd: float, blocks: int) -> float:
    """Half the 90 % interval of a mean of `blocks` paired differences: the rule for a search's predicted interval.

    A method fits all runs of a block, not one pair, at a mixture that is not the centre: its own interval may be narrower
    or wider.
    """
    from scipy import special

    return float(special.stdtrit(blocks - 1, 0.5 + CONFIDENCE / 2)) * sd / math.sqrt(blocks)


@dataclass(frozen=True)
class _Planner:
    """Prices layouts of one study: runs per block of the search, and arms, as they are written."""

    spend: CostEstimate
    arms: int
    runs: int
    seeds: int

    def as_written(self, sd: float) -> Layout:
        return self._layout(sd, self.spend.blocks, self.runs, self.seeds)

    def needed(self, sd: float, gain: float) -> Layout | None:
        verify = _fewest_to_find(sd, gain)
        search = _fewest(lambda blocks: half_width(sd, blocks) <= gain, SEARCH_BLOCKS)
        if verify is None or search is None:
            return None
        if not self.spend.blocks:  # a method without runs
            return self._layout(sd, 0, 0, verify)
        return self._layout(sd, search, -(-self.runs * search // self.spend.blocks), verify)

    def _layout(self, sd: float, search: int, runs: int, verify: int) -> Layout:
        known = not math.isnan(sd)
        return Layout(
            search_blocks=search,
            search_runs=runs,
            half_width=half_width(sd, search) if known and search > 1 else None,
            verify_blocks=verify,
            verify_runs=verify * self.arms,
            finds=detectable(sd, verify) if known and verify > 1 else None,
            bill=total(
                [(runs, self.spend.each, search), (verify * self.arms, self.spend.each, verify)], self.spend.workers
            ),
        )


def _fewest_to_find(sd: float, gain: float) -> int | None:
    return _fewest(lambda blocks: detectable(sd, blocks) <= gain, 2)


def _fewest(enough: Callable[[int], bool], least: int) -> int | None:
    """The fewest blocks that are enough; None when MOST_BLOCKS are not."""
    blocks = least + bisect_left(range(least, MOST_BLOCKS + 1), True, key=enough)
    return blocks if blocks <= MOST_BLOCKS else None


def _line(name: str, layout: Layout) -> str:
    width = "-" if layout.half_width is None else f"±{layout.half_width:.4f}"
    finds = "-" if layout.finds is None else f"{layout.finds:.4f}"
    runs = layout.search_runs + layout.verify_runs
    return (
        f"{name:<24}{layout.search_blocks:>7}{layout.search_runs:>6}{width:>9}"
        f"{layout.verify_blocks:>9}{layout.verify_runs:>7}{finds:>8}   {runs:,} runs, {layout.bill}"
    )
