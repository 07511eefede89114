"""What people call a column: names without what all of them share, and how a name that is asked for finds its column."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from os.path import commonprefix

from cuvee.base.codec import nearest
from cuvee.base.errors import UsageError

_SEPARATORS = "_/:.- "
_PART = re.compile(f"[^{re.escape(_SEPARATORS)}@]+")
_OF_A_METRIC = frozenset((
    "metric", "metrics", "eval", "evaluation", "val", "valid", "validation", "test", "train", "the", "loss", "losses", "bpb",
    "nll", "ppl", "perplexity", "ce", "cross", "entropy", "bits", "per", "byte",
))  # fmt: skip
"""Parts of a metric's name that may stand beside the domain whose held-out text it is on."""
_BETTER_HIGHER = frozenset((
    "acc", "accuracy", "f1", "em", "match", "bleu", "rouge", "score", "pass", "win", "winrate", "auc", "mcc",
))  # fmt: skip


def shorter(names: Sequence[str]) -> dict[str, str]:
    """Short name -> name: without the parts that all names begin or end with.

    Names are cut only between parts, never to less than two characters or to digits alone, and only where all stay distinct;
    else they stay as they are.
    """
    same = {name: name for name in names}
    if len(names) < 2:
        return same
    head = commonprefix(names)  # noqa: RUF071  names, no paths
    head = head[: 1 + max((head.rfind(s) for s in _SEPARATORS), default=-1)]
    tails = commonprefix([name[len(head) :][::-1] for name in names])[::-1]  # noqa: RUF071  as above
    cut = min((at for s in _SEPARATORS if (at := tails.find(s)) >= 0), default=len(tails))
    tail = tails[cut:]
    found = {name[len(head) : len(name) - len(tail)]: name for name in names}
    fine = all(len(short) > 1 and re.search(r"[^\W\d_]", short) for short in found)
    return found if fine and len(found) == len(names) else same


def own_domains(metrics: Sequence[str], domains: Mapping[str, str]) -> dict[str, str]:
    """Metric -> the domain (short name) on whose held-out text it is, for metrics whose name says so.

    The metric's name must hold the domain's, beside words such as `val` and `loss` and what all domains' names share, and be
    the only metric that does.
    """
    shared = set.intersection(*(set(_PART.findall(name.lower())) for name in domains.values())) if domains else set()
    known = sorted(((_PART.findall(short.lower()), short) for short in domains), key=lambda pair: -len(pair[0]))
    found: dict[str, str] = {}
    for metric in metrics:
        parts = _PART.findall(metric.lower())
        own = next((short for words, short in known if _beside(parts, words) <= _OF_A_METRIC | shared), None)
        if own is not None:
            found[metric] = own
    claimed = list(found.values())
    return {metric: own for metric, own in found.items() if claimed.count(own) == 1}


def _beside(parts: Sequence[str], words: Sequence[str]) -> set[str]:
    """The parts beside the last run of `words` among them; something that nothing allows where there is none."""
    for at in reversed(range(len(parts) - len(words) + 1)):
        if words and list(parts[at : at + len(words)]) == list(words):
            return {*parts[:at], *parts[at + len(words) :]}
    return {""}


def short_metrics(metrics: Sequence[str], domains: Mapping[str, str]) -> dict[str, str]:
    """Short name -> metric: the domain's name for a metric on a domain, else what `shorter` makes of all of them."""
    owned = own_domains(metrics, domains)
    plain = {metric: short for short, metric in ({m: m for m in metrics} if owned else shorter(metrics)).items()}
    found = {owned.get(metric, plain[metric]): metric for metric in metrics}
    return found if len(found) == len(metrics) else {metric: metric for metric in metrics}


def looks_better_higher(name: str) -> bool:
    """Whether a metric's name is that of a score of which more is better, such as `arc_easy_acc` or `gsm8k/exact_match`."""
    parts = _PART.findall(name.partition(",")[0].lower())
    return bool(_BETTER_HIGHER & set(parts)) and not {"loss", "bpb", "nll", "ppl", "perplexity"} & set(parts)


def resolve(name: str, names: Mapping[str, str], what: str) -> str:
    """The short name that `name`, long or short, means.

    Raises:
        UsageError: nothing is called so.
    """
    byname = {long: short for short, long in names.items()}
    if name in byname:
        return byname[name]
    if name in names:
        return name
    raise UsageError(
        f"no {what} {name!r}", wanted=f"one of {_some(names)}", fix=nearest(name, [*names, *byname]) or "check the name"
    )


def _some(names: Iterable[str], most: int = 30) -> str:
    listed = list(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")
