"""Token counts as people write them."""

from __future__ import annotations

from cuvee.base.codec import SchemaError, from_json
from cuvee.base.errors import UsageError


def token_count(text: str, option: str = "--tokens") -> int | None:
    """`30M`, `3e7` or `30_000_000` as a number; None for an empty text.

    Raises:
        UsageError: not a whole number of at least 1.
    """
    if not text:
        return None
    try:
        found = from_json(int, text)
    except SchemaError:
        found = 0
    if found < 1:
        raise UsageError(f"{option} got {text!r}", wanted="a whole number such as 30M, 3e7 or 30_000_000")
    return found


def start_tokens(text: str) -> int:
    """The token count at which a phase begins: as `token_count`, 0 too.

    Raises:
        UsageError: not a whole number.
    """
    return 0 if text.strip() == "0" else token_count(text) or 0
