from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cuvee.base.errors import DataError
from cuvee.shards.inventory import DomainInfo, Inventory, Shard, SplitInfo, TokenizerInfo

SHARD = Shard("shards/x", 2, 10, 40, "ab")
TRAIN = SplitInfo((SHARD, replace(SHARD, path="shards/y", tokens=5, hash="cd")))
DOMAIN = DomainInfo("C/C++", "c-c", TRAIN, SplitInfo((SHARD,)), SplitInfo())
INVENTORY = Inventory((DOMAIN,), TokenizerInfo("bpe", 4096, 0, "ef", "tokenizer.json"), {"lines skipped": "3"})


def test_totals_are_sums_over_shards() -> None:
    assert (TRAIN.documents, TRAIN.tokens, TRAIN.bytes) == (4, 15, 80)
    assert DOMAIN.split("verify").tokens == 0
    assert DOMAIN.split("search") == DOMAIN.search


def test_it_survives_its_file_with_what_was_not_measured(tmp_path: Path) -> None:
    INVENTORY.save(tmp_path)
    again = Inventory.load(tmp_path)
    assert repr(again) == repr(INVENTORY)
    assert json.loads((tmp_path / "inventory.json").read_text(encoding="utf-8"))["format"] == 1


def test_the_fingerprint_is_pinned() -> None:
    assert INVENTORY.fingerprint == PINNED


def test_the_fingerprint_sees_content_and_neither_paths_nor_notes() -> None:
    elsewhere = replace(DOMAIN, slug="z", train=SplitInfo(tuple(replace(s, path=s.path + "2") for s in TRAIN.shards)))
    assert replace(INVENTORY, domains=(elsewhere,), notes={}).fingerprint == INVENTORY.fingerprint
    others = [
        replace(INVENTORY, domains=(replace(DOMAIN, name="C"),)),
        replace(INVENTORY, domains=(replace(DOMAIN, search=SplitInfo(), verify=DOMAIN.search),)),
        replace(INVENTORY, domains=(replace(DOMAIN, search=SplitInfo((replace(SHARD, hash="ac"),))),)),
        replace(INVENTORY, domains=(replace(DOMAIN, train=SplitInfo(TRAIN.shards[::-1])),)),
        replace(INVENTORY, tokenizer=replace(INVENTORY.tokenizer, sha="ee")),
    ]
    assert len({i.fingerprint for i in (INVENTORY, *others)}) == 1 + len(others)


def test_no_domains_or_two_alike_are_refused() -> None:
    for domains in ((), (DOMAIN, DOMAIN), (DOMAIN, replace(DOMAIN, name="c"))):
        with pytest.raises(DataError):
            replace(INVENTORY, domains=domains)


def test_what_is_no_inventory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no corpus"):
        Inventory.load(tmp_path)
    file = tmp_path / "inventory.json"
    for text, message in (("{", "not valid JSON"), ('{"domain": []}', "unknown key"), ('{"format": 2}', "format 2")):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=message):
            Inventory.load(tmp_path)


PINNED = "bbfcc7c66de9ae285ec454d8f74f536a"
