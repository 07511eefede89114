"""Numbers by name as people give them: in a mapping, as `web=0.3,code=20%`, or in a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cuvee.base.codec import SchemaError, from_json
from cuvee.base.errors import CuveeError, DataError, UsageError
from cuvee.interop.mixturefile import read_mixture
from cuvee.interop.tablefile import read_table
from cuvee.interop.texts import json_mapping, yaml_mapping
from cuvee.tables.names import resolve

Values = Mapping[str, float] | Path | str
"""Numbers by name, or the file that they are in, or `NAME=NUMBER,...`."""
_WANTED = "NAME=NUMBER,... or a file: JSON or YAML with {name: number}, a mixture file, a table with a name and a number a row"


def by_name(given: Values, names: Mapping[str, str], what: str) -> dict[str, float]:
    """Short name -> number, for the names that `given` has.

    Args:
        names: Short name -> name, those that there are.
        what: The option, for messages.

    Raises:
        UsageError: a name that is unknown or there twice, a number that is none.
        DataError: a file that is none of these.
    """
    found: dict[str, float] = {}
    for name, value in _items(given, what).items():
        short = resolve(name, names, f"domain for {what},")
        if short in found:
            raise UsageError(f"{what} names {name} twice", wanted="each name once")
        found[short] = value
    return found


def split_number(text: str, default: float) -> tuple[str, float]:
    """`NAME=NUMBER` as both; where no number ends it, the whole is a name, with the default."""
    name, _, number = text.rpartition("=")
    try:
        return (name, as_share(number, name)) if name else (text, default)
    except UsageError:
        return text, default


def as_share(value: object, what: str) -> float:
    """A number as people write it: 0.2, 20%, 30M.

    Raises:
        UsageError: it is none.
    """
    text = value.strip() if isinstance(value, str) else value
    try:
        if isinstance(text, str) and text.endswith("%"):
            return float(text[:-1]) / 100
        # 30M and 1_000 are the codec's, .5 is Python's
        return float(from_json(float, f"0{text}" if isinstance(text, str) and text.startswith(".") else text))
    except (SchemaError, ValueError) as error:
        raise UsageError(f"{what}: got {value!r}", wanted="a number such as 0.2, 20% or 30M") from error


def _items(given: Values, what: str) -> dict[str, float]:
    if isinstance(given, Mapping):
        return {str(name): as_share(value, f"{what} {name}") for name, value in given.items()}
    if Path(given).is_file():
        try:
            return {str(n): as_share(v, f"{what} {n}") for n, v in _file(Path(given)).items()}
        except CuveeError as error:
            raise DataError(f"{given}: {error.what}", wanted=error.wanted or _WANTED, fix=error.fix) from error
    if "=" not in str(given):
        raise UsageError(f"{what}: no such file: {given}", wanted=_WANTED)
    found: dict[str, float] = {}
    for entry in str(given).split(","):
        name, equals, number = entry.strip().rpartition("=")
        if not equals or not name or name in found:
            raise UsageError(f"{what} got {entry!r}", wanted=f"{_WANTED}; each name once")
        found[name] = as_share(number, f"{what} {name}")
    return found


def _file(path: Path) -> Mapping[str, object]:
    ending = path.suffix.lower()
    if ending in (".json", ".yaml", ".yml"):
        read = json_mapping if ending == ".json" else yaml_mapping
        data = read(path.name, path.read_text(encoding="utf-8"), _WANTED)
        return read_mixture(path).phases[0].mixture.as_dict() if "phases" in data else data
    table = read_table(path)
    texts = [c for c in table.columns if not table.has_numbers(c)]
    numbers = [c for c in table.columns if c not in texts]
    if len(texts) != 1 or len(numbers) != 1:
        raise DataError(f"it has the columns {', '.join(table.columns)}", wanted="one of names and one of numbers")
    found = dict(zip(map(str, table.columns[texts[0]]), table.numbers(numbers[0]), strict=True))
    if len(found) < len(table.lines):
        raise DataError("a name is there twice", wanted="each name once")
    return found
