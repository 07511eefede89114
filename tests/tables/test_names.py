"""Short names: what all columns share is left out, and a loss on a domain is known as the domain's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuvee.base.errors import UsageError
from cuvee.tables.names import looks_better_higher, resolve, short_metrics, shorter

PILE = {"arxiv": "train_the_pile_arxiv", "pile_cc": "train_the_pile_pile_cc", "github": "train_the_pile_github"}


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (list(PILE.values()), list(PILE)),
        (["mixture.web", "mixture.code"], ["web", "code"]),
        (["web_share", "code_share"], ["web", "code"]),
        (["dclm:art", "dclm:crime_and_law"], ["art", "crime_and_law"]),
        (["web", "web_code"], ["web", "web_code"]),  # nothing would be left
        (["domain_0", "domain_1"], ["domain_0", "domain_1"]),  # a number is no name
        (["code_c", "code_python"], ["code_c", "code_python"]),  # nor is a letter
        (["webster", "website"], ["webster", "website"]),  # never cut inside a part
        (["alone_share"], ["alone_share"]),
    ],
)
def test_what_all_names_share_is_left_out(names: list[str], short: list[str]) -> None:
    assert shorter(names) == dict(zip(short, names, strict=True))


def test_losses_on_domains_have_their_names() -> None:
    metrics = ["metric/the_pile_arxiv_val_loss", "metric/the_pile_pile_cc_val_loss"]
    assert short_metrics(metrics, PILE) == {"arxiv": metrics[0], "pile_cc": metrics[1]}
    assert short_metrics(metrics[1:], PILE) == {"pile_cc": metrics[1]}, "one column shares everything with itself"
    web = {"web": "web", "code": "code"}
    assert short_metrics(["loss_web", "code_bpb", "mmlu_acc"], web) == {
        "web": "loss_web", "code": "code_bpb", "mmlu_acc": "mmlu_acc",
    }  # fmt: skip
    assert set(short_metrics(["loss_web", "web_bpb", "code"], web)) == {"loss_web", "web_bpb", "code"}, "two claim it"


@given(st.lists(st.text("abx_/. 01", min_size=1, max_size=12), min_size=1, max_size=6, unique=True))
def test_short_names_are_one_to_one(names: list[str]) -> None:
    found = shorter(names)
    assert sorted(found.values()) == sorted(names)
    metrics = short_metrics(names, shorter(names))
    assert sorted(metrics.values()) == sorted(names)


def test_a_name_finds_its_column_long_or_short() -> None:
    assert resolve("arxiv", PILE, "domain") == resolve("train_the_pile_arxiv", PILE, "domain") == "arxiv"
    with pytest.raises(UsageError, match=r"no domain 'arxv'(?s:.*)did you mean 'arxiv'"):
        resolve("arxv", PILE, "domain")
    assert resolve("b", {"a": "b", "b": "c"}, "domain") == "a", "a column's own name comes first"


def test_names_of_scores() -> None:
    assert all(map(looks_better_higher, ["arc_easy_acc", "gsm8k/exact_match", "arc/acc,none", "humaneval:pass@1"]))
    assert not any(map(looks_better_higher, ["val_loss", "arc_acc_bpb", "passage_loss", "web", "emails"]))
