"""`cuvee`: the commands. Results go to stdout (`--json` for machines), everything else to stderr.

Exit codes: 0 ok, 2 usage or config, 3 data, 4 infeasible, 5 partly done (run again to go on).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from cuvee.base.errors import CuveeError
from cuvee.cli.command import app
from cuvee.cli.commands import answer, corpus, fit, measure, mixtures, outside, study

__all__ = ["answer", "app", "corpus", "fit", "main", "measure", "mixtures", "outside", "study"]


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point: run the command, render errors, exit with the documented code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        app(given)
    except CuveeError as error:
        if "--json" in given:
            body = {"type": type(error).__name__, "what": error.what, "wanted": error.wanted, "fix": error.fix}
            print(json.dumps({"format": 1, "ok": False, "error": body}, ensure_ascii=False))
        print(f"cuvee: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    except KeyboardInterrupt:
        print("cuvee: stopped; the same command goes on from here", file=sys.stderr)
        raise SystemExit(5) from None
