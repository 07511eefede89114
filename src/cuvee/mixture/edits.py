"""Edits of the set of domains, and the linear map that lifts runs from before them onto the domains after.

A run over the old domains is a run over the new ones where that can be said exactly, and less is believed of it where it
cannot. In shares (columns of `matrix` are old domains, rows new ones):

- Add: old runs have none of it. Exact.
- Remove: the share that a run had stays as a column of its own, of a domain that is gone; mixtures of today have none of
  it. Exact, and no run is lost or renormalised.
- Split: each part gets its share of the old domain's tokens. Exact where runs drew uniformly from the whole domain.
- Merge: the sum. Exact for runs that mixed the parts as they naturally are; the more a run displaced, the less is believed.
- Revise: the same share of what is no longer the same text; the more of it a run had, the less is believed.

After the mixture reuse of Olmix (2602.12237), which holds the ratios inside what did not change fixed; a map keeps them free.

Letters: N runs, D old domains, M domains after the edits with those that are gone, K parts of a merged domain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cuvee.base.codec import nearest
from cuvee.base.errors import UsageError
from cuvee.mixture.weights import Array

DOUBT = 10.0
"""Noise of a revised or merged domain where none is stated: a run with a tenth of it counts for half."""


@dataclass(frozen=True)
class Add:
    """A domain that no run before had."""

    add: str


@dataclass(frozen=True)
class Remove:
    """A domain that is no longer there to train on."""

    remove: str


@dataclass(frozen=True)
class Rename:
    """The same text under another name."""

    rename: str
    to: str


@dataclass(frozen=True)
class Split:
    """A domain in parts: name -> share of the old domain's tokens. One part may keep its name."""

    split: str
    into: Mapping[str, float]

    def __post_init__(self) -> None:
        shares = list(self.into.values())
        if len(shares) < 2 or not min(shares) > 0 or abs(sum(shares) - 1) > 1e-6:
            raise UsageError(
                f"split {self.split!r}: got parts of {', '.join(f'{s:g}' for s in shares) or 'nothing'}, sum {sum(shares):g}",
                wanted="at least two parts, each with its share of the domain's tokens, summing to 1",
            )


@dataclass(frozen=True)
class Merge:
    """Several domains as one, which may have the name of one of them.

    `noise`: as of `Revise`, per share of a run that would have to change hands between the parts to mix them naturally.
    """

    merge: tuple[str, ...]
    into: str
    noise: float | None = None

    def __post_init__(self) -> None:
        if len(self.merge) < 2 or len(set(self.merge)) < len(self.merge):
            raise UsageError(f"merge: got {', '.join(self.merge)}", wanted="at least two domains, each once")
        _check_noise(f"merge into {self.into!r}", self.noise)


@dataclass(frozen=True)
class Revise:
    """A domain whose text was filtered, cleaned or extended.

    `noise`: the standard deviation that the change adds to the loss of a run of nothing but this domain, in units of the
    noise of one run; less with less of it. None: estimated from runs of today where there are any, else 10.
    """

    revise: str
    noise: float | None = None

    def __post_init__(self) -> None:
        _check_noise(f"revise {self.revise!r}", self.noise)


Edit = Add | Remove | Rename | Split | Merge | Revise


@dataclass(frozen=True, eq=False)
class Doubt:
    """Why runs from before are believed less: the part `|rows_KD @ w|`, summed, of a run is not what it is called today.

    Args:
        name: For people.
        rows_KD: Over the old domains.
        domains: What it is about, among the domains after the edits.
        noise: Per unit of that part, in units of the noise of one run; None: not known.
    """

    name: str
    rows_KD: Array
    domains: tuple[str, ...]
    noise: float | None

    def exposure(self, w_ND: Array) -> Array:
        """The part of each run that is in doubt, shape N, at most 1."""
        return np.asarray(np.abs(w_ND @ self.rows_KD.T).sum(1), np.float64)


@dataclass(frozen=True, eq=False)
class Lift:
    """The map from shares before some edits to shares after them.

    Args:
        before: Old domains.
        after: Domains after the edits.
        gone: Domains that were removed, as old runs still have shares of them: the last rows of the matrix.
        matrix_MD: Every column sums to 1.
        doubts: Where the map is not exact.
        same: Domain after -> domain before, where both are the same text, or a revision of it: losses on the held-out text
            of the one stand for the other. Parts of split domains and merged ones are other texts.
    """

    before: tuple[str, ...]
    after: tuple[str, ...]
    gone: tuple[str, ...]
    matrix_MD: Array
    doubts: tuple[Doubt, ...]
    same: Mapping[str, str]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the matrix's rows."""
        return (*self.after, *self.gone)

    def shares(self, w_ND: Array) -> Array:
        """Old runs in shares of `columns`, shape N x M, rows summing to what they did."""
        return np.asarray(w_ND @ self.matrix_MD.T, np.float64)

    def then(self, edit: Edit, natural_D: Array) -> Lift:
        """The map with one more edit.

        Args:
            natural_D: What was natural before all edits: how the parts of a merged domain mix when left alone.

        Raises:
            UsageError: an unknown domain, or a new one with a name that is taken.
        """
        rows = dict(zip(self.columns, self.matrix_MD, strict=True))
        live, gone = list(self.after), list(self.gone)
        doubts, same = list(self.doubts), dict(self.same)
        match edit:
            case Add(name):
                _new(name, live)
                live.append(name)
                rows[name] = np.zeros(len(self.before))
            case Remove(name):
                _known(name, live)
                live.remove(name)
                same.pop(name, None)
                ghost = f"{name} (removed)"
                rows[ghost] = rows.get(ghost, 0.0) + rows.pop(name)
                gone += [ghost] if ghost not in gone else []
                doubts = [_about(doubt, (name,), (ghost,)) for doubt in doubts]
            case Rename(name, to):
                _known(name, live)
                _new(to, [d for d in live if d != name])
                live[live.index(name)] = to
                rows[to] = rows.pop(name)
                same |= {to: same.pop(name)} if name in same else {}
                doubts = [_about(doubt, (name,), (to,)) for doubt in doubts]
            case Split(name, into):
                _known(name, live)
                at, row_D, total = live.index(name), rows.pop(name), sum(into.values())
                live.remove(name)
                same.pop(name, None)
                for part in into:
                    _new(part, live)
                live[at:at] = into
                rows |= {part: row_D * (share / total) for part, share in into.items()}
                doubts = [_about(doubt, (name,), tuple(into)) for doubt in doubts]
            case Merge(names, into):
                for name in names:
                    _known(name, live)
                    same.pop(name, None)
                rows_KD = np.stack([rows.pop(name) for name in names])
                at = min(live.index(name) for name in names)
                live = [d for d in live if d not in names]
                _new(into, live)
                live.insert(at, into)
                rows[into] = rows_KD.sum(0)
                doubts = [_about(doubt, names, (into,)) for doubt in doubts]
                displaced_KD = rows_KD - _ratio(names, rows_KD, natural_D)[:, None] * rows_KD.sum(0)
                doubts.append(Doubt(f"the parts of {into}", displaced_KD / 2, (into,), edit.noise))
            case Revise(name):
                _known(name, live)
                doubts.append(Doubt(f"the revised {name}", rows[name][None], (name,), edit.noise))
        columns = (*live, *gone)
        matrix_MD = np.stack([rows[name] for name in columns]) if columns else np.zeros((0, len(self.before)))
        return Lift(self.before, tuple(live), tuple(gone), matrix_MD, tuple(doubts), same)


def lift(domains: Sequence[str], edits: Sequence[Edit], natural_D: Array) -> Lift:
    """The map that `edits`, in their order, make of shares over `domains`.

    Raises:
        UsageError: an unknown domain, a new one with a name that is taken, parts of a merged domain that are not mixed
            naturally anywhere.
    """
    found = Lift(tuple(domains), tuple(domains), (), np.eye(len(domains)), (), {d: d for d in domains})
    for number, edit in enumerate(edits, 1):
        try:
            found = found.then(edit, natural_D)
        except UsageError as error:
            raise UsageError(f"edit {number}: {error.what}", wanted=error.wanted, fix=error.fix) from error
    return found


def weights(exposure_KN: Sequence[Array], noise_K: Sequence[float]) -> Array:
    """What runs with those parts in doubt count, 1 for a run of today: noise variance over what it is with the doubts.

    Both in units of the noise of one run, so the weight is 1 / (1 + sum of (noise x part)^2). Shape N.
    """
    extra_N = sum(((noise * part_N) ** 2 for noise, part_N in zip(noise_K, exposure_KN, strict=True)), np.float64(0.0))
    return np.asarray(1.0 / (1.0 + extra_N), np.float64)


def describe(edit: Edit) -> str:
    """The edit in a few words."""
    match edit:
        case Add(name):
            return f"{name} added"
        case Remove(name):
            return f"{name} removed"
        case Rename(name, to):
            return f"{name} renamed to {to}"
        case Split(name, into):
            return f"{name} split into {', '.join(into)}"
        case Merge(names, into):
            return f"{', '.join(names)} merged into {into}"
        case Revise(name):
            return f"{name} revised"


def _about(doubt: Doubt, old: Sequence[str], new: tuple[str, ...]) -> Doubt:
    if not set(old) & set(doubt.domains):
        return doubt
    return replace(doubt, domains=(*(d for d in doubt.domains if d not in old), *new))


def _ratio(names: Sequence[str], rows_KD: Array, natural_D: Array) -> Array:
    """How the parts of a merged domain mix naturally, shape K."""
    natural_K = rows_KD @ natural_D
    absent = [name for name, share in zip(names, natural_K, strict=True) if not share > 0]
    if absent:
        raise UsageError(
            f"merge: the runs before had no natural share of {', '.join(absent)}",
            wanted="domains of the corpus that the runs were made with",
            fix="a domain that grew by new text is revised: {revise: NAME}",
        )
    return np.asarray(natural_K / natural_K.sum(), np.float64)


def _known(name: str, live: Sequence[str]) -> None:
    if name not in live:
        raise UsageError(f"no domain {name!r}", wanted=f"one of {', '.join(live)}", fix=nearest(name, live))


def _new(name: str, live: Sequence[str]) -> None:
    if name in live:
        raise UsageError(f"there is a domain {name!r} already", wanted="a name that no domain has")


def _check_noise(what: str, noise: float | None) -> None:
    if noise is not None and not 0 <= noise < float("inf"):
        raise UsageError(
            f"{what}: got noise {noise}", wanted="a number >= 0; 10 where a tenth of it halves a run's worth"
        )
