"""Handovers for tests of exporters: three domains with documents of very different lengths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cuvee.interop.record import Handover, Source, Stage

TOKENS = {"web": 6_000_000, "code": 5_000_000, "math": 1_800_000}
ROW_TOKENS = {"web": 400.0, "code": 2_500.0, "math": 9_000.0}


def handover(
    *phases: Mapping[str, float],
    starts: Sequence[int] = (),
    pattern: str = "/d/{slug}",
    tokens: int = 4_096_000,
    caps: Mapping[str, float] | None = None,
) -> Handover:
    """A run of `tokens` tokens; without phases one of web 0.6, code 0.3, math 0.1. Phases start at `starts`, else evenly."""
    shares = phases or ({"web": 0.6, "code": 0.3, "math": 0.1},)
    begins = list(starts) or [tokens * i // len(shares) for i in range(len(shares))]
    ends = [*begins[1:], tokens]
    stages = tuple(
        Stage(b, e, {d: s for d, s in w.items() if s > 0}, 42 + n)
        for n, (b, e, w) in enumerate(zip(begins, ends, shares, strict=True))
    )
    used = [d for d in TOKENS if any(d in stage.shares for stage in stages)]
    sources = tuple(
        Source(
            domain=d,
            slug=d,
            tokens=TOKENS[d],
            documents=round(TOKENS[d] / ROW_TOKENS[d]),
            row_tokens=ROW_TOKENS[d],
            paths=((pattern.format(slug=d), TOKENS[d]),),
            cap=(caps or {}).get(d),
        )
        for d in used
    )
    return Handover(sources, stages, tokens, seq_len=1024, batch=8, seed=42, tokenizer="")
