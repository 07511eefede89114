"""The exception tree. Every error says what was got, what was wanted and the next move.

    CuveeError
    ├── UsageError        exit 2   the command, the call or the study file is off
    ├── DataError         exit 3   the input cannot be used as it is
    ├── InfeasibleError   exit 4   no mixture satisfies the constraints, or no sound proxy exists for them
    └── PartialError      exit 5   some of the work was done, some was not; running again goes on

Programmers' mistakes are plain `assert`s and `TypeError`s; they are not part of the tree.
"""

from __future__ import annotations


class CuveeError(Exception):
    """Base of all errors that a user can mend.

    Args:
        what: What is wrong, in a sentence, with the value that was got.
        wanted: What would have been right.
        fix: The next move.
    """

    exit_code = 1

    def __init__(self, what: str, *, wanted: str = "", fix: str = "") -> None:
        self.what, self.wanted, self.fix = what, wanted, fix
        super().__init__(what, wanted, fix)

    def __str__(self) -> str:
        lines = [self.what]
        if self.wanted:
            lines.append(f"  wanted: {self.wanted}")
        if self.fix:
            lines.append(f"  try:    {self.fix}")
        return "\n".join(lines)


class UsageError(CuveeError):
    """The command, the call or the study file is off."""

    exit_code = 2


class DataError(CuveeError):
    """The input cannot be used as it is."""

    exit_code = 3


class InfeasibleError(CuveeError):
    """No mixture satisfies the constraints, or no sound proxy exists for them."""

    exit_code = 4


class PartialError(CuveeError):
    """Some of the work was done and some was not; running the same command again goes on."""

    exit_code = 5


def missing_extra(package: str, extra: str, purpose: str) -> UsageError:
    """The error for an optional package that is not installed, with the exact install line."""
    return UsageError(
        f"{purpose} needs {package}, which is not installed",
        wanted=f"{package} importable in this environment",
        fix=f"pip install 'cuvee[{extra}]'",
    )
