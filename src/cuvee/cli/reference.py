"""Reference pages made from the code: `python -m cuvee.cli.reference docs/reference` writes the commands (`cli.md`) and the
schema of `choice.json` (`choice.schema.json`)."""

from __future__ import annotations

import inspect
import json
import sys
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.models import ArgumentInfo, OptionInfo

from cuvee.base.schema import file_schema
from cuvee.cli.app import app
from cuvee.plan.choice import Choice

HEAD = """# Commands

Made from the commands themselves (`make docs`). Results go to stdout, everything else to stderr. Every command takes
`--json` for one JSON object on stdout: `{"format": 1, "ok": true, ...}`, or `{"format": 1, "ok": false, "error": {"type",
"what", "wanted", "fix"}}`. Exit codes: 0 ok, 2 usage or config, 3 data, 4 infeasible, 5 partly done.
"""


def markdown() -> str:
    """The page."""
    callbacks = [c.callback for c in app.registered_commands if c.callback is not None]
    return HEAD + "".join(_section(callback) for callback in sorted(callbacks, key=lambda c: c.__name__))


def _section(callback: Callable[..., Any]) -> str:
    hints = typing.get_type_hints(callback, include_extras=True)
    rows, arguments = [], []
    for name, parameter in inspect.signature(callback).parameters.items():
        info = hints[name].__metadata__[0]
        assert isinstance(info, ArgumentInfo | OptionInfo)
        shown = info.metavar or name.upper() if isinstance(info, ArgumentInfo) else _option(info, name)
        arguments += [shown] if isinstance(info, ArgumentInfo) else []
        default = parameter.default
        value = "required" if default is parameter.empty else "" if default in (None, False, "") else f"`{default}`"
        rows.append(f"| `{shown}` | {value} | {info.help or ''} |")
    usage = " ".join(["cuvee", callback.__name__, *arguments, "[OPTIONS]"])
    lines = ["", f"## {callback.__name__}", "", "```", usage, "```", "", inspect.getdoc(callback) or "", ""]
    return "\n".join([*lines, "| argument or option | default | meaning |", "|---|---|---|", *rows, ""])


def _option(info: OptionInfo, name: str) -> str:
    # inside Annotated, typer keeps a name that was given in the place of the default
    given = [
        word for word in (info.default, *(info.param_decls or ())) if isinstance(word, str) and word.startswith("--")
    ]
    return given[0] if given else "--" + name.replace("_", "-")


def choice_schema() -> str:
    """The JSON Schema of a study's `choice.json`."""
    return json.dumps(file_schema(Choice, "choice.json of a Cuvée study"), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "cli.md").write_text(markdown(), encoding="utf-8")
    (folder / "choice.schema.json").write_text(choice_schema(), encoding="utf-8")
