"""Text that is already there: domains gathered from the files of the running Python installation.

For demonstrations and for trying things without a download. Looks at what the installation holds (distributions leave
parts out) and takes the first kinds of text, in the order of `KINDS`, that have enough of it. Written as one folder per
domain and one plain text file per document, so that nothing of one original file can end up in two splits.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import sysconfig
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cuvee.base.codec import from_json, to_json
from cuvee.base.errors import DataError, UsageError
from cuvee.base.files import dump_json, explained, load_json, replace
from cuvee.base.rng import key64

DOCUMENT_LIMIT = 16_000
"""Bytes of one document: of longer files only the beginning is taken, so that none makes up much of a domain."""
DOCUMENT_FLOOR = 300
LONGEST_LINE = 2_000
MARKER = ".found.json"
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

Document = tuple[str, str]
"""Where it is from (a relative POSIX path), and its text."""


@dataclass(frozen=True)
class FoundDomain:
    """A domain that was gathered: its folder's name, what it is, how much there is of it."""

    name: str
    description: str
    documents: int
    bytes: int


@dataclass(frozen=True)
class Installation:
    """Where to look: the standard library, the packages installed beside it, Python's C headers.

    `seed` orders the files of a kind, so that a limit takes a sample and not the first letters of the alphabet.
    """

    library: Path
    packages: tuple[Path, ...]
    headers: Path
    seed: int = 0

    @classmethod
    def here(cls, seed: int = 0) -> Installation:
        """The installation that is running."""
        paths = sysconfig.get_paths()
        packages = dict.fromkeys(Path(paths[name]) for name in ("purelib", "platlib") if Path(paths[name]).is_dir())
        return cls(Path(paths["stdlib"]), tuple(packages), Path(paths["include"]), seed)

    @cached_property
    def package_files(self) -> tuple[tuple[str, Path], ...]:
        """Files of all installed packages, in the seed's order."""
        return tuple(pair for root in self.packages for pair in self.files(root))

    @cached_property
    def library_files(self) -> tuple[tuple[str, Path], ...]:
        """Files of the standard library, in the seed's order."""
        return tuple(self.files(self.library))

    def files(self, root: Path) -> list[tuple[str, Path]]:
        """Relative path and path of every file under `root`, in the seed's order; links are not followed."""
        found = []
        for folder, inner, names in os.walk(root):
            inner[:] = [n for n in inner if n not in ("__pycache__", "site-packages", "dist-packages", "cuvee")]
            place = Path(folder)
            found += [((place / n).relative_to(root).as_posix(), place / n) for n in names if not n.startswith(".")]
        return sorted(found, key=lambda pair: (key64(self.seed, f"found:{pair[0]}"), pair[0]))


@dataclass(frozen=True)
class Kind:
    """A kind of text: the domain's name, a description, and a function that walks an installation for its documents."""

    name: str
    description: str
    documents: Callable[[Installation], Iterator[Document]]


def gather(
    out: Path,
    *,
    limit_bytes_per_domain: int = 1_500_000,
    least_bytes_per_domain: int = 150_000,
    most_domains: int = 8,
    seed: int = 0,
    installation: Installation | None = None,
) -> tuple[FoundDomain, ...]:
    """Gather domains of real text from the Python installation into `out`, one folder each.

    Deterministic for one installation and seed. Documents are UTF-8, at most 16 kB, without lines of more than 2,000
    characters (minified code), and no text twice. A domain under `least_bytes_per_domain` is left out. A folder that an
    earlier call with the same arguments made is kept and described.

    Raises:
        UsageError: `out` holds something else.
        DataError: fewer than two domains were found.
    """
    made_by = f"limit {limit_bytes_per_domain}, least {least_bytes_per_domain}, most {most_domains}, seed {seed}"
    if (out / MARKER).is_file():
        record = from_json(_Record, load_json(out / MARKER))
        if record.made_by == made_by:
            return record.domains
    if out.is_dir() and any(out.iterdir()):
        raise UsageError(
            f"{out} already holds files", wanted="a new or empty folder", fix="give another folder, or remove this one"
        )
    where = installation or Installation.here(seed)
    draft = out.parent / f".{out.name}.{uuid.uuid4().hex}.tmp"
    try:
        with explained(out):
            domains = _write(draft, where, limit_bytes_per_domain, least_bytes_per_domain, most_domains)
            replace(draft / MARKER, dump_json(to_json(_Record(made_by, domains))))
            if out.is_dir():
                out.rmdir()
            draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return domains


@dataclass(frozen=True)
class _Record:
    made_by: str
    domains: tuple[FoundDomain, ...]
    format: int = 1


def _write(draft: Path, where: Installation, limit: int, least: int, most: int) -> tuple[FoundDomain, ...]:
    domains: list[FoundDomain] = []
    seen: set[bytes] = set()
    for kind in KINDS:
        documents = list(_take(kind.documents(where), limit, seen))
        size = sum(len(text.encode("utf-8")) for _, text in documents)
        if size < least or len(domains) == most:
            continue
        (draft / kind.name).mkdir(parents=True)
        for i, (source, text) in enumerate(documents):
            readable = re.sub(r"[^A-Za-z0-9.]+", "-", source).strip("-.")[-80:]
            (draft / kind.name / f"{i:04d}-{readable}.txt").write_bytes(text.encode("utf-8"))
        domains.append(FoundDomain(kind.name, kind.description, len(documents), size))
    if len(domains) < 2:
        raise DataError(
            f"the installation at {where.library} holds {len(domains)} kinds of text with at least {least:,} bytes",
            wanted="two or more",
            fix="give `cuvee prepare` folders of your own texts instead",
        )
    return tuple(domains)


def _take(documents: Iterable[Document], limit: int, seen: set[bytes]) -> Iterator[Document]:
    """Fit, new documents until `limit` bytes are full."""
    left = limit
    for source, whole in documents:
        text = _shorten(whole)
        size = len(text.encode("utf-8"))
        if size < DOCUMENT_FLOOR or _CONTROL.search(text) or max(map(len, text.splitlines())) > LONGEST_LINE:
            continue
        digest = hashlib.blake2b(" ".join(text.split()).encode("utf-8"), digest_size=16).digest()
        if digest in seen:
            continue
        if size > left:
            return
        seen.add(digest)
        left -= size
        yield source, text


def _shorten(text: str) -> str:
    """The beginning of a text, to the last blank line within the limit."""
    text = text.replace("\r\n", "\n").strip() + "\n"
    raw = text.encode("utf-8")
    if len(raw) <= DOCUMENT_LIMIT:
        return text
    head = raw[:DOCUMENT_LIMIT].decode("utf-8", "ignore")
    cut = head.rfind("\n\n")
    return head[: cut if cut > DOCUMENT_LIMIT // 2 else head.rfind("\n") + 1].strip() + "\n"


def _read(pairs: Iterable[tuple[str, Path]]) -> Iterator[Document]:
    """The text files among `pairs`: UTF-8, readable; a little more than a document's limit of each."""
    for source, path in pairs:
        try:
            with open(path, "rb") as file:
                raw = file.read(DOCUMENT_LIMIT + 4_000)
        except OSError:
            continue
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if error.start < DOCUMENT_LIMIT:
                continue
            text = raw[: error.start].decode("utf-8-sig")
        yield source, text


def _is_test(source: str) -> bool:
    return any(part in ("test", "tests", "testing", "idle_test") for part in source.split("/")[:-1])


def _python_code(where: Installation) -> Iterator[Document]:
    apart = ("encodings/", "pydoc_data/", "config-", "_sysconfigdata", "lib2to3/tests/")
    return _read(
        (s, p) for s, p in where.library_files if s.endswith(".py") and not _is_test(s) and not s.startswith(apart)
    )


def _reference_prose(where: Installation) -> Iterator[Document]:
    """The topics of `help()`: the reference manual, as plain text in a dictionary literal."""
    path = where.library / "pydoc_data" / "topics.py"
    for node in _parse(path).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            for key, value in sorted(ast.literal_eval(node.value).items()):
                yield f"topics/{key}", str(value)


def _c_headers(where: Installation) -> Iterator[Document]:
    suffixes = (".h", ".hpp", ".hh", ".cuh", ".inl")
    own = ((f"include/{s}", p) for s, p in where.files(where.headers) if s.endswith(suffixes))
    yield from _read(own)
    yield from _read((s, p) for s, p in where.package_files if s.endswith(suffixes))


def _docstrings(where: Installation) -> Iterator[Document]:
    """Docstrings of installed packages; the standard library's own are part of its code already."""
    for source, path in where.package_files:
        # generated classes that repeat a few sentences by the thousand
        if source.endswith(".py") and not _is_test(source) and not source.startswith(("plotly/", "_plotly_utils/")):
            defined = (n for n in ast.walk(_parse(path)) if isinstance(n, _WITH_DOCSTRING))
            texts = [text for node in defined if len(text := ast.get_docstring(node) or "") >= 200]
            yield source, "\n\n".join(texts)


_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _parse(path: Path) -> ast.Module:
    """The syntax tree of a file, empty when there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return ast.Module(body=[], type_ignores=[])


def _python_tests(where: Installation) -> Iterator[Document]:
    yield from _read((s, p) for s, p in where.library_files if s.endswith(".py") and _is_test(s))
    yield from _read((s, p) for s, p in where.package_files if s.endswith(".py") and _is_test(s))


def _type_stubs(where: Installation) -> Iterator[Document]:
    return _read((s, p) for s, p in where.package_files if s.endswith(".pyi") and not _is_test(s))


def _character_tables(where: Installation) -> Iterator[Document]:
    return _read((s, p) for s, p in where.library_files if s.startswith("encodings/") and s.endswith(".py"))


def _legal(where: Installation) -> Iterator[Document]:
    pattern = re.compile(r"^(licen[cs]es?|copying|copyright|notice|eula|apache|gpl|lgpl|mpl)\b", re.IGNORECASE)
    named = ((s, p) for s, p in where.package_files if pattern.match(p.name) and p.suffix not in (".py", ".pyi", ".h"))
    yield from _read(named)
    yield from _read((s, p) for s, p in where.library_files if pattern.match(p.name) and p.suffix != ".py")


def _readmes(where: Installation) -> Iterator[Document]:
    """Long descriptions of installed packages (after the first blank line of METADATA) and README files."""
    for source, text in _read((s, p) for s, p in where.package_files if s.endswith(".dist-info/METADATA")):
        yield source, text.partition("\n\n")[2]
    readme = re.compile(r"^(readme|changes|changelog|history|news)\b.*\.(md|rst|txt)$", re.IGNORECASE)
    yield from _read((s, p) for s, p in (*where.package_files, *where.library_files) if readme.match(p.name))


def _arithmetic(where: Installation) -> Iterator[Document]:
    return _read((s, p) for s, p in where.library_files if s.endswith(".decTest"))


def _web_pages(where: Installation) -> Iterator[Document]:
    suffixes = (".html", ".css", ".js", ".jinja", ".j2", ".xml", ".xsl")
    pairs = (*where.library_files, *where.package_files)
    return _read((s, p) for s, p in pairs if s.endswith(suffixes) and ".min." not in p.name)


KINDS: tuple[Kind, ...] = (
    Kind("python_code", "code of the standard library", _python_code),
    Kind("reference", "the language reference in English, from the topics of help()", _reference_prose),
    Kind("c_headers", "C and C++ headers of Python and of installed packages", _c_headers),
    Kind("docstrings", "docstrings of installed packages: English technical prose", _docstrings),
    Kind("python_tests", "tests of the standard library or of installed packages", _python_tests),
    Kind("type_stubs", "type stubs that packages ship", _type_stubs),
    Kind("readmes", "descriptions, READMEs and change logs of installed packages", _readmes),
    Kind("arithmetic", "decimal arithmetic test cases of the standard library", _arithmetic),
    Kind("character_tables", "tables of character encodings", _character_tables),
    Kind("legal", "licences and notices of installed packages", _legal),
    Kind("web_pages", "HTML, CSS, JavaScript and XML that packages ship", _web_pages),
)
"""Kinds of text in order of preference; the later ones, such as licences that say the same thing many times, stand in
where a distribution lacks earlier ones."""
