from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.errors import DataError
from cuvee.corpus import examples as module
from cuvee.corpus.examples import Example, Examples, read_examples
from cuvee.corpus.words import WordHasher
from tests.corpus.writing import jsonl, sentences

ARC = {"question": "Which is wet?", "choices": {"text": ["stone", "water"], "label": ["1", "2"]}, "answerKey": "2"}


def read(folder: Path, *rows: Any, name: str = "t.jsonl", text_field: str = "text") -> Examples:
    return read_examples(jsonl(folder / name, list(rows)), text_field)


@pytest.mark.parametrize("name", ["t.jsonl", "t.json", "t.jsonl.gz", "t.ndjson"])
def test_texts_of_rows(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, {"body": "one", "id": 1}, "", {"body": "two"}, {"body": "one"}, name=name, text_field="body")
    assert (found.kind, found.name, found.duplicates) == ("text", name, 1)
    assert found.examples == (Example("", ("one",)), Example("", ("two",)), Example("", ("one",)))
    assert found.texts == ("one", "two", "one")


def test_plain_text_and_parquet(tmp_path: Path) -> None:
    text = "\ufeffA line.\n\nAnother.\n"
    (tmp_path / "t.md.gz").write_bytes(gzip.compress(text.encode()))
    assert read_examples(tmp_path / "t.md.gz").examples == (Example("", (text[1:],)),)
    table = pa.table({"question": ["Q", "R"], "choices": [["a", "b"], ["c", "d"]], "answer": [0, 1]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_examples(tmp_path / "t.parquet").texts == ("Q a", "R d")


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"prompt": "f(", "continuation": "x)"}, "f(x)"),
        ({"context": "a ", "continuation": "b"}, "a b"),
        ({"question": "Who?", "answer": "He."}, "Who? He."),
        ({"question": "Who?\n", "answer": "He."}, "Who?\nHe."),
        ({"input": "Who?", "target": "\nHe."}, "Who?\nHe."),
        ({"prompt": "", "continuation": "x"}, "x"),
    ],
)
def test_continuations(tmp_path: Path, row: dict[str, str], text: str) -> None:
    found = read(tmp_path, row)
    assert found.kind == "continuation"
    assert found.texts == (text,)
    assert len(found.examples[0].continuations) == 1


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"prompt": "p", "choices": ["a", "b"], "answer": 1}, 1),
        ({"question": "p", "choices": ["a", "b"], "answer": "B"}, 1),
        ({"prompt": "p", "choices": ["a", "b"], "answer": "b"}, 1),
        ({"prompt": "p", "choices": ["a", "b"], "answer": "0"}, 0),
        ({"prompt": "p", "choices": ["2", "1", "0"], "answer": "0"}, 2),
        (ARC, 1),
        ({**ARC, "answerKey": 2}, 1),
        ({**ARC, "answerKey": "stone"}, 0),
        ({**ARC, "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": 1}, 1),
    ],
)
def test_choices(tmp_path: Path, row: dict[str, Any], gold: int) -> None:
    found = read(tmp_path, row)
    assert (found.kind, found.examples[0].gold) == ("choice", gold)
    assert all(c.startswith(" ") for c in found.examples[0].continuations)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "choices": ["a", "b"], "answer": 2}, "none of the 2 choices"),
        ({"prompt": "p", "choices": ["a", "b"], "answer": -1}, "none of the 2 choices"),
        ({"prompt": "p", "choices": ["a", "b"], "answer": True}, "none of the 2 choices"),
        ({"prompt": "p", "choices": ["a", "b"], "answer": "C"}, "none of the 2 choices"),
        ({"prompt": "p", "choices": ["a", "b"]}, "answer None"),
        ({**ARC, "answerKey": "A"}, "none of the 2 choices"),
        ({"prompt": "p", "choices": ["a"], "answer": 0}, "1 choices"),
        ({"prompt": "p", "choices": ["a", 3], "answer": 0}, "choices are"),
        ({"prompt": "p", "choices": {"text": ["a", "b"], "label": ["A"]}, "answer": 0}, "labels"),
        ({"prompt": "p", "choices": ["a", " "], "answer": 0}, "empty continuation"),
        ({"choices": ["a", "b"], "answer": 0}, "no field 'question'"),
        ({"prompt": "p", "continuation": ""}, "empty continuation"),
        ({"prompt": 3, "continuation": "c"}, "'prompt' is int"),
        ({"prompt": "p", "continuation": "\ud800"}, "surrogate"),
        ({"prompt": "p"}, "no known fields, only prompt"),
        ({"text": "t", "question": "q", "answer": "a"}, "both a text"),
        ({"text": " \n"}, "empty text"),
        ({"text": "t"}, "kind text after continuation"),
        (["a"], "a row is list"),
        ('{"prompt": ', "not JSON"),
    ],
)
def test_bad_rows_are_refused_with_their_line(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path, {"prompt": "p", "continuation": "c"}, "", row)
    assert error.value.what.startswith("t.jsonl:3: ")


def test_unusable_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no examples"):
        read(tmp_path)
    with pytest.raises(DataError, match="no such target file"):
        read_examples(tmp_path / "none.jsonl")
    (tmp_path / "t.txt").write_bytes(b"good\nb\xff")
    with pytest.raises(DataError, match=r"t.txt:2: not UTF-8"):
        read_examples(tmp_path / "t.txt")
    (tmp_path / "t.png").write_bytes(b"\x89PNG\0\0")
    with pytest.raises(DataError, match="is no text"):
        read_examples(tmp_path / "t.png")


def test_halves_are_balanced_disjoint_and_follow_from_content_and_seed(tmp_path: Path) -> None:
    rows = [{"prompt": text, "continuation": f" {i}"} for i, text in enumerate(sentences(40, 1, words=8))]
    found = read(tmp_path, *rows)
    search, verify = found.split(0)
    assert len(search.examples) == len(verify.examples) == 20
    assert set(search.examples) | set(verify.examples) == set(found.examples)
    assert [e for e in found.examples if e in set(search.examples)] == list(search.examples)
    backwards = read(tmp_path, *rows[::-1]).split(0)
    assert [set(half.examples) for half in backwards] == [set(search.examples), set(verify.examples)]
    assert set(found.split(1)[0].examples) != set(search.examples)


def test_equal_and_overlapping_prompts_stay_on_one_side(tmp_path: Path) -> None:
    passages = sentences(60, 2, words=30)
    rows = []
    for i, passage in enumerate(passages):
        rows += [
            {"prompt": f"{passage} Question {i}?", "continuation": " a"},
            {"prompt": f"{passage.upper()}, question {i}!", "continuation": " b"},
            {"prompt": f"Read this. {passage} And now?", "continuation": " c"},
        ]
    for seed in range(3):
        for half in read(tmp_path, *rows).split(seed):
            counts = [sum(passage in e.context.lower() for e in half.examples) for passage in passages]
            assert set(counts) == {0, 3}
            assert len(half.examples) >= 81


def test_a_shared_instruction_joins_nothing(tmp_path: Path) -> None:
    instruction = " ".join(f"word{i}" for i in range(30))
    rows = [{"prompt": f"{instruction} {text}", "continuation": "x"} for text in sentences(50, 3, words=9)]
    assert [len(half.examples) for half in read(tmp_path, *rows).split(0)] == [25, 25]


def test_too_few_on_a_side(tmp_path: Path) -> None:
    rows = [{"prompt": text, "continuation": "x"} for text in sentences(39, 4, words=8)]
    with pytest.raises(DataError, match="39 in 39 groups"):
        read(tmp_path, *rows).split(0)
    same = [{"prompt": "Say it:", "continuation": f"x{i}"} for i in range(100)]
    with pytest.raises(DataError, match="100 in 1 groups"):
        read(tmp_path, *same).split(0)


def test_a_long_text_is_cut_at_line_ends(tmp_path: Path) -> None:
    text = "".join(f"{line}\n" for line in sentences(300, 5, words=40))
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    found = read_examples(tmp_path / "t.txt")
    assert len(found.examples) == 1
    search, verify = found.split(0)
    pieces = [e.text for half in (search, verify) for e in half.examples]
    assert sum(map(len, pieces)) == len(text)
    assert all(piece in text and piece.endswith("\n") for piece in pieces)
    assert sorted(map(len, pieces))[1] >= 2000
    assert max(map(len, pieces)) < 3000
    with pytest.raises(DataError, match="1 in 1 groups"):
        Examples.of("t", "text", [Example("", ("short",))]).split(0)


@given(st.lists(st.tuples(st.sampled_from("ab \n\r\u2028"), st.integers(1, 9000)), max_size=8))
def test_pieces_lose_nothing(parts: list[tuple[str, int]]) -> None:
    text = "".join(character * times for character, times in parts)
    pieces = list(module._pieces(text))
    assert "".join(pieces) == text
    assert all(2000 <= len(piece) < 10_000 for piece in pieces[:-1])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), min_size=80, max_size=200), st.integers(0, 3))
def test_no_prompt_is_on_both_sides(pairs: list[tuple[int, int]], seed: int) -> None:
    examples = [Example(f"prompt {a}", (f" {b}",)) for a, b in pairs]
    try:
        halves = Examples.of("t", "continuation", examples).split(seed)
    except DataError:
        return
    words = WordHasher()
    left, right = ({tuple(words.hashes(e.context)) for e in half.examples} for half in halves)
    assert not left & right
    assert sum(len(half.examples) for half in halves) == len(examples)


def test_rows_are_json_as_the_documentation_shows_them() -> None:
    page = (Path(__file__).parents[2] / "docs" / "targets.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("{")]
    assert len(rows) >= 6
    assert {module._example(json.loads(row), "text")[0] for row in rows} == {"text", "continuation", "choice"}
