"""The docs fail the build when they lie: every command, option, key, method and exporter is on its page."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
import yaml

import cuvee
from cuvee.cli.reference import choice_schema, markdown
from cuvee.cli.studyfile import (
    GroupEntry,
    GuardEntry,
    LargeEntry,
    LimitEntry,
    MeasureEntry,
    PastEntry,
    RayEntry,
    StudyFile,
    VerifyEntry,
)
from cuvee.interop.registry import EXPORTERS
from cuvee.methods.registry import METHODS
from cuvee.methods.registry import load as load_method
from cuvee.plan.problem import Proxy

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_command_reference_is_what_the_commands_say() -> None:
    assert page("reference/cli.md") == markdown(), "python -m cuvee.cli.reference docs/reference"


def test_the_published_schema_is_that_of_the_code() -> None:
    assert page("reference/choice.schema.json") == choice_schema(), "python -m cuvee.cli.reference docs/reference"


@pytest.mark.parametrize(
    "cls",
    [StudyFile, LimitEntry, GroupEntry, GuardEntry, MeasureEntry, PastEntry, VerifyEntry, LargeEntry, RayEntry, Proxy],
)
def test_every_key_of_the_study_file_is_documented(cls: type) -> None:
    text = page("study-file.md")
    assert not [f.name for f in dataclasses.fields(cls) if f"| `{f.name}` |" not in text]


def test_every_method_and_its_options_are_documented() -> None:
    text = page("methods.md")
    missing = []
    for name in METHODS:
        section = text.split(f"## {name}\n")[-1].split("\n## ")[0] if f"## {name}\n" in text else ""
        missing += [] if section else [name]
        missing += [f"{name}.{f.name}" for f in dataclasses.fields(load_method(name)) if f"`{f.name}`" not in section]  # type: ignore[arg-type]
    assert not missing


def test_every_exporter_is_documented() -> None:
    pages = "\n".join(p.read_text(encoding="utf-8") for p in sorted((DOCS / "export").glob("*.md")))
    missing = [name for name in EXPORTERS if f"--to {name} " not in pages]
    assert not missing + [name for name in EXPORTERS if f"`{name}`" not in page("export.md")]


def test_every_public_name_is_in_the_reference() -> None:
    text = page("reference/api.md")
    assert not [name for name in cuvee.__all__ if f"::: {cuvee._WHERE[name]}.{name}" not in text]


def test_every_page_is_in_the_navigation() -> None:
    class Loader(yaml.SafeLoader):
        """Ignores the tags that extensions use."""

    nav = str(yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=Loader)["nav"])
    pages = [p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md")]
    assert not [p for p in pages if p not in nav]


def test_links_lead_somewhere() -> None:
    broken = []
    for path in [*DOCS.rglob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8")):
            if "://" not in target and not (path.parent / target).exists():
                broken.append(f"{path.name} -> {target}")
    assert not broken


def test_the_version_is_the_changelogs() -> None:
    assert f"## {cuvee.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
