from __future__ import annotations

import pytest

import cuvee.methods
from cuvee.base.errors import UsageError
from cuvee.methods.registry import METHODS, citation, load


def test_every_listed_method_loads_under_its_name() -> None:
    for name in METHODS:
        assert load(name).name == name


def test_a_method_of_another_module() -> None:
    assert load("cuvee.methods.random:Random").name == "random"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("regresion", "did you mean 'regression'"),
        ("no_such_module:Mine", "no_such_module"),
        ("cuvee.methods.random:Mine", "Mine"),
        ("collections:OrderedDict", "lacks name"),
    ],
)
def test_errors_name_the_next_move(name: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        load(name)
    assert words in str(caught.value)


def test_the_package_exports_what_it_lists_and_nothing_else() -> None:
    assert all(hasattr(cuvee.methods, name) for name in cuvee.methods.__all__)
    assert not hasattr(cuvee.methods, "Nothing")


def test_methods_say_what_to_cite() -> None:
    assert any("2407.01492" in line for line in citation("regression"))
    assert any("2304.09151" in line for line in citation("unimax"))
    assert any("2504.13161" in line for line in citation("climb"))
    assert citation("natural") == ()
    assert citation("nothing of that name") == ()
