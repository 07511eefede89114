"""What the commands after a choice are given: a study's folder or a mixture file, resolved to schedule, corpus and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as replace_fields
from pathlib import Path

from cuvee.base.errors import DataError, UsageError
from cuvee.base.files import replace
from cuvee.interop.card import card
from cuvee.interop.handover import caps_of
from cuvee.interop.mixturefile import ordered, read_mixture, written_for
from cuvee.mixture.schedule import Schedule
from cuvee.plan.choice import Choice
from cuvee.shards.corpus import Corpus
from cuvee.study.answer import cited
from cuvee.study.study import Study


@dataclass(frozen=True)
class Mix:
    """A choice or schedule with its corpus; `study` is where it is from, `tokens` and `caps` those of its target run."""

    choice: Choice | Schedule
    corpus: Corpus
    study: Study | None = None
    tokens: int | None = None
    caps: Mapping[str, float] = field(default_factory=dict)

    @property
    def schedule(self) -> Schedule:
        """What to train on."""
        return self.choice.schedule if isinstance(self.choice, Choice) else self.choice

    def stepped(self, steps: int) -> Mix:
        """The same with each ramp cut into `steps` phases; as it is for 0."""
        if not steps:
            return self
        schedule = self.schedule.stepped(steps)
        choice = replace_fields(self.choice, schedule=schedule) if isinstance(self.choice, Choice) else schedule
        return replace_fields(self, choice=choice)


def load_mix(path: Path, corpus: Path | None, tokens: int | None, max_epochs: float | None) -> Mix:
    """The choice of the study in `path`, or the mixture that the file holds.

    Args:
        corpus: The corpus folder; needed for a file, the study's own otherwise.
        tokens: Of the run; the study's target run when left out.
        max_epochs: Most passes over any domain; the study's bounds when left out.

    Raises:
        UsageError: a study without a choice, a file without a corpus.
        DataError: no such file, or no mixture in it.
    """
    if path.is_dir() and (path / "study.json").exists():
        mix = _of_study(path, corpus, tokens)
    else:
        file = path / "mixture.json" if path.is_dir() else path
        if not file.is_file():
            raise DataError(f"nothing at {path}", wanted="a study's folder, an export's folder or a mixture file")
        if corpus is None:
            raise UsageError(f"{path} is no study and names no corpus", fix="--corpus DIR, the corpus it mixes")
        opened = Corpus.open(corpus)
        fingerprint, length = written_for(file)
        if fingerprint and fingerprint != opened.fingerprint:
            raise DataError(
                f"{file} was written for the corpus {fingerprint}, {corpus} is {opened.fingerprint}",
                wanted="the corpus that it mixes",
                fix="--corpus with that one; for another corpus, a plain file of {domain: share}",
            )
        mix = Mix(ordered(read_mixture(file), opened.domains), opened, tokens=tokens or length)
    if max_epochs is not None:
        return Mix(mix.choice, mix.corpus, mix.study, mix.tokens, dict.fromkeys(mix.corpus.domains, max_epochs))
    return mix


def _of_study(path: Path, corpus: Path | None, tokens: int | None) -> Mix:
    study = Study.load(path, Corpus.open(corpus) if corpus else None)
    choice, found = study.choice(), study.corpus
    if choice is None:
        raise UsageError(f"{path} has no choice yet", wanted="a finished search", fix="cuvee run STUDY.yaml")
    if found is None:
        raise UsageError(f"the corpus of {path} is not where the study expects it", fix="move it back, or --corpus DIR")
    return Mix(choice, found, study, tokens or study.problem.target_tokens, caps_of(study.problem))


def pairs(entries: Sequence[str], option: str) -> dict[str, str]:
    """NAME=VALUE options as a mapping, split at the last equals sign.

    Raises:
        UsageError: an entry without one, or a name that is given twice.
    """
    found: dict[str, str] = {}
    for entry in entries:
        name, equals, value = entry.rpartition("=")
        if not equals or not name or not value:
            raise UsageError(f"{option} got {entry!r}", wanted=f"{option} NAME=VALUE")
        if name in found:
            raise UsageError(f"{option} {name} is given twice", wanted="each name once")
        found[name] = value
    return found


def write_card(mix: Mix, out: Path, licences: Sequence[str], name: str) -> None:
    """Write the mixture card to `out`.

    Raises:
        UsageError: a licence for a domain that the corpus lacks, or the run's length is not known.
    """
    if mix.tokens is None:
        raise UsageError("how many tokens the run has is not said", fix="--tokens 30M")
    given = pairs(licences, "--licence")
    unknown = sorted(set(given) - set(mix.corpus.domains))
    if unknown:
        raise UsageError(
            f"--licence names {', '.join(unknown)}", wanted=f"domains of the corpus: {', '.join(mix.corpus.domains)}"
        )
    study, choice = mix.study, mix.choice
    text = card(
        replace_fields(choice, citation=cited(choice)) if isinstance(choice, Choice) else choice,
        mix.corpus,
        target_tokens=mix.tokens,
        problem=study.problem if study else None,
        verification=study.verification() if study else None,
        licences=given,
        name=name,
    )
    replace(out, text.encode("utf-8"))
