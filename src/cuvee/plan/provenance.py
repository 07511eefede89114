"""What a figure rests on: the scale, the pools, the noise, blocks and seed, and the code that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Provenance:
    """What the runs behind a figure were.

    Args:
        size: Parameters of the runs, a named size.
        tokens, target_tokens: r of a run and R of the target run.
        smallest_pool: Sequences of the smallest domain's pool; 100 are sound.
        smallest_pool_domain: Whose it is.
        paired_noise: Standard deviation between blocks of the objective's difference to natural, bits/byte; None where no
            mixture ran in two blocks.
        blocks: Their numbers; runs of one share initial weights, data order and pools.
        runs: How many ended well.
        seed: The study's.
        fingerprint: The corpus's.
        tokenizer: Its tokenizer's hash; empty where the corpus was not at hand.
        recipe: Number of the training code.
        versions: What the runs recorded: versions, commit, hardware. Where runs differ, all values.
    """

    size: str
    tokens: int
    target_tokens: int
    smallest_pool: int
    smallest_pool_domain: str
    paired_noise: float | None
    blocks: tuple[int, ...]
    runs: int
    seed: int
    fingerprint: str
    tokenizer: str
    recipe: int
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """r/R."""
        return self.tokens / self.target_tokens
