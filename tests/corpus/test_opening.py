from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

import cuvee
from cuvee.base.errors import DataError, UsageError
from cuvee.mixture.schedule import Schedule
from cuvee.mixture.weights import Mixture
from cuvee.shards.indexed import IndexedWriter
from cuvee.stream.loader import Loader
from tests.corpus.store import PROTOCOLS, Folders, Store, serving

EOS = 99
MDS = Path(__file__).parent / "mds"


def documents(seed: int = 0, count: int = 30, most: int = 99) -> list[NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return [np.append(rng.integers(0, most, rng.integers(1, 80)), EOS) for _ in range(count)]


def megatron(folder: Path, rows: list[NDArray[np.int64]]) -> Path:
    half = len(rows) // 2
    for name, part in (("s_0", rows[:half]), ("s_1", rows[half:])):
        with IndexedWriter(folder / name, np.uint16) as writer:
            for row in part:
                writer.add(row)
    return folder


def raw(path: Path, rows: list[NDArray[np.int64]], dtype: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.concatenate(rows).astype(dtype).tofile(path)
    return path


def npy(path: Path, rows: list[NDArray[np.int64]]) -> Path:
    np.save(path, np.concatenate(rows).astype("<u4"))
    return path


def datatrove(path: Path, rows: list[NDArray[np.int64]]) -> Path:
    raw(path, rows, "<u2")
    np.cumsum([len(r) for r in rows]).astype("<u8").tofile(f"{path}.index")
    Path(f"{path}.metadata").write_text("gpt2|2\n")
    return path


def table(rows: list[NDArray[np.int64]], column: str = "input_ids") -> pa.Table:
    return pa.table({column: pa.array([r.tolist() for r in rows], pa.list_(pa.int32())), "n": list(range(len(rows)))})


def parquet(path: Path, rows: list[NDArray[np.int64]]) -> Path:
    pq.write_table(table(rows), path, row_group_size=7)
    return path


def arrow(path: Path, rows: list[NDArray[np.int64]]) -> Path:
    data = table(rows, "tokens")
    with pa.ipc.new_file(path, data.schema) as writer:
        writer.write_table(data, max_chunksize=7)
    return path


def hugging_face(folder: Path, rows: list[NDArray[np.int64]]) -> Path:
    import datasets

    datasets.Dataset.from_dict({"input_ids": [r.tolist() for r in rows]}).save_to_disk(folder)
    return folder


MAKERS: dict[str, Callable[[Path, list[NDArray[np.int64]]], Path]] = {
    "megatron": lambda p, rows: megatron(p / "m", rows),
    "nanogpt": lambda p, rows: raw(p / "n" / "train.bin", rows, "<u2"),
    "olmo": lambda p, rows: raw(p / "o.npy", rows, "<u4"),
    "int64": lambda p, rows: raw(p / "i.bin", rows, "<i8"),
    "npy": lambda p, rows: npy(p / "real.npy", rows),
    "datatrove": lambda p, rows: datatrove(p / "d.ds", rows),
    "parquet": lambda p, rows: parquet(p / "x.parquet", rows),
    "arrow": lambda p, rows: arrow(p / "x.arrow", rows),
    "hugging face": lambda p, rows: hugging_face(p / "hf", rows),
}


def spec(tmp_path: Path, domains: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"domains": domains, "cache": str(tmp_path / "cache"), **more}


@pytest.mark.slow
def test_the_same_tokens_in_every_format_give_the_same_batches(tmp_path: Path) -> None:
    rows = documents()
    paths = {name: make(tmp_path, rows) for name, make in MAKERS.items()}
    sources = cuvee.open_sources(spec(tmp_path, paths, vocab_size=100, eos=EOS))
    schedule = Schedule.constant(Mixture.from_shares({"x": 1.0}))
    batches = {}
    for name, source in sources.items():
        assert [source.document(i).tolist() for i in range(source.documents)] == [r.tolist() for r in rows], name
        alone = cuvee.open_sources(spec(tmp_path, {"x": paths[name]}, vocab_size=100, eos=EOS))
        loader = Loader(alone, schedule, seq_len=32, seed=1, batch=2)
        batches[name] = [next(loader).tokens.tolist() for _ in range(5)]
    assert all(found == batches["megatron"] for found in batches.values())
    assert {n: f.format for n, f in sources.facts.items()} == {
        **dict.fromkeys(("nanogpt", "olmo", "int64", "npy", "datatrove"), "raw"),
        **dict.fromkeys(("arrow", "hugging face"), "arrow"),
        "megatron": "megatron",
        "parquet": "parquet",
    }
    assert str(sources["olmo"].dtype) == "uint32"
    assert "widest type" in sources.facts["olmo"].evidence


@pytest.mark.parametrize("name", ["bytes", "bytes_zstd", "nd", "nd16", "nd32"])
def test_mds_is_read_packed_or_not_through_a_small_cache(tmp_path: Path, name: str) -> None:
    flat = np.fromfile(MDS / "tokens.bin", "<u2")
    source = cuvee.open_sources(spec(tmp_path, {"x": MDS / name}, vocab_size=50257, cache_bytes=8000))["x"]
    for start in range(0, flat.size, 100):
        assert np.array_equal(source.flat(start, min(start + 50, flat.size)), flat[start : start + 50])
    cached = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert bool(cached) == (name == "bytes_zstd")


def test_shards_that_a_merged_index_lists_again_are_read_once(tmp_path: Path) -> None:
    index, merged = json.loads((MDS / "nd" / "index.json").read_text()), []
    for part in ("1", "0"):
        shutil.copytree(MDS / "nd", tmp_path / "m" / part)
        for shard in index["shards"]:
            raw_data = {**shard["raw_data"], "basename": f"{part}/{shard['raw_data']['basename']}"}
            merged.append({**shard, "raw_data": raw_data})
    (tmp_path / "m" / "index.json").write_text(json.dumps({**index, "shards": merged}))
    flat, files = np.fromfile(MDS / "tokens.bin", "<u2"), [f"{p}/shard.0000{k}.mds" for p in "10" for k in (0, 1)]
    source = cuvee.open_sources(spec(tmp_path, {"x": tmp_path / "m"}))["x"]
    assert [s.name for s in source.shards] == [str(tmp_path / "m" / f) for f in files]
    assert np.array_equal(source.flat(0, source.tokens), np.tile(flat, 2))


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    shutil.copytree(MDS / "bytes_zstd", tmp_path / "z")
    shard = tmp_path / "z" / "shard.00000.mds.zstd"
    data = bytearray(shard.read_bytes())
    data[40:60] = bytes(20)
    shard.write_bytes(data)
    with pytest.raises(DataError, match=r"cannot be unpacked|unpacks to"):
        cuvee.open_sources(spec(tmp_path, {"x": tmp_path / "z"}))
    shard.write_bytes(data[:100])
    with pytest.raises(DataError, match="has 100 bytes"):
        cuvee.open_sources(spec(tmp_path, {"x": tmp_path / "z"}))


def test_paths_may_be_prefixes_patterns_lists_and_unicode(tmp_path: Path) -> None:
    rows = documents()
    folder = megatron(tmp_path / "Ünï 网", rows)
    flat = np.concatenate(rows)
    (tmp_path / "s.yaml").write_text(
        "eos: 99\ncache: c\ndomains:\n  'C/C++': Ünï 网\n  網: [Ünï 网/s_0, Ünï 网/s_1.bin]\n  p: {path: 'Ünï 网/s_*'}\n",
        encoding="utf-8",
    )
    sources = cuvee.open_sources(tmp_path / "s.yaml")
    assert list(sources) == ["C/C++", "網", "p"]
    assert all(np.array_equal(s.flat(0, s.tokens), flat) for s in sources.values())
    one = cuvee.open_sources(spec(tmp_path, {"x": folder / "s_1"}))["x"]
    assert one.tokens == sum(len(r) for r in rows[15:])


def test_relative_paths_count_from_the_file_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    np.arange(300, dtype=np.uint16).tofile(tmp_path / "data" / "a.bin")
    (tmp_path / "data" / "sources.yaml").write_text("vocab_size: 300\ndomains: {a: a.bin}\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    source = cuvee.open_sources(Path("data", "sources.yaml"))["a"]
    monkeypatch.chdir("/")
    assert source.flat(0, 300).tolist() == list(range(300))


def test_what_map_keeps_beside_a_hugging_face_dataset_is_not_data(tmp_path: Path) -> None:
    import datasets

    rows = documents()
    folder = hugging_face(tmp_path / "hf", rows)
    datasets.load_from_disk(str(folder)).map(lambda row: {"n": len(row["input_ids"])})
    kept = next(folder.glob("cache-*.arrow"))
    flat = np.concatenate(rows)
    for path in (folder, folder / "*.arrow"):
        source = cuvee.open_sources(spec(tmp_path, {"x": path}))["x"]
        assert np.array_equal(source.flat(0, source.tokens), flat)
    assert cuvee.open_sources(spec(tmp_path, {"x": kept}))["x"].tokens == flat.size  # asked for by its name


def test_splits_saved_together_are_refused(tmp_path: Path) -> None:
    import datasets

    rows = {"input_ids": [r.tolist() for r in documents()]}
    both = {split: datasets.Dataset.from_dict(rows) for split in ("train", "test")}
    datasets.DatasetDict(both).save_to_disk(tmp_path / "dd")
    with pytest.raises(DataError, match=r"dataset_dict\.json belongs to several splits") as caught:
        cuvee.open_sources(spec(tmp_path, {"x": tmp_path / "dd"}))
    assert str(tmp_path / "dd" / "train") in caught.value.fix
    assert cuvee.open_sources(spec(tmp_path, {"x": tmp_path / "dd" / "train"}))["x"].documents == 30


def test_a_readme_beside_tokens_is_not_data(tmp_path: Path) -> None:
    path = raw(tmp_path / "d" / "a.npy", documents(), "<u2")
    (path.parent / "README.md").write_text("# tokens")
    assert cuvee.open_sources(spec(tmp_path, {"x": path.parent}))["x"].tokens > 0


def test_several_formats_in_one_place_are_named(tmp_path: Path) -> None:
    folder = megatron(tmp_path / "m", documents())
    raw(folder / "extra.npy", documents(), "<u2")
    with pytest.raises(DataError, match="several formats: ") as caught:
        cuvee.open_sources(spec(tmp_path, {"x": folder}))
    assert "1 of format raw (extra.npy)" in caught.value.what
    assert "2 of format megatron (s_0.bin, ...)" in caught.value.what
    source = cuvee.open_sources(spec(tmp_path, {"x": {"path": folder, "format": "raw"}}))["x"]
    assert [s.name for s in source.shards] == [str(folder / "extra.npy")]


@pytest.mark.parametrize("token", [0, 65_000])
def test_a_dtype_that_does_not_show_is_asked_for(tmp_path: Path, token: int) -> None:
    path = tmp_path / "x.bin"
    np.full(50, token, "<u2").tofile(path)
    with pytest.raises(DataError, match="does not show the dtype") as caught:
        cuvee.open_sources(spec(tmp_path, {"x": path}, vocab_size=60_000))
    assert "dtype:" in caught.value.fix


def test_bytes_of_text_are_not_taken_for_pairs(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(b"An array of byte tokens can be read as one of uint16: every pair is an id. " * 100)
    with pytest.raises(DataError, match="does not show the dtype") as caught:
        cuvee.open_sources(spec(tmp_path, {"x": path}))
    assert "uint8" in caught.value.fix
    assert cuvee.open_sources(spec(tmp_path, {"x": path}, vocab_size=256))["x"].tokens == path.stat().st_size


@pytest.mark.parametrize(("magic", "dtype"), [(20240520, "<u2"), (20240801, "<u4")])
def test_the_header_of_llm_c_is_not_read_as_tokens(tmp_path: Path, magic: int, dtype: str) -> None:
    path, header = tmp_path / "x.bin", np.zeros(256, "<i4")
    header[:3] = magic, 1, 98
    path.write_bytes(header.tobytes() + np.arange(1, 99).astype(dtype).tobytes())
    for entry in ({"path": path}, {"path": path, "dtype": np.dtype(dtype).name}):
        with pytest.raises(DataError, match=r"header of llm\.c") as caught:
            cuvee.open_sources(spec(tmp_path, {"x": entry}))
        assert "+1025" in caught.value.fix
    path.write_bytes(path.read_bytes()[1024:])
    assert cuvee.open_sources(spec(tmp_path, {"x": path}, vocab_size=100))["x"].flat(0, 3).tolist() == [1, 2, 3]


def test_a_wrong_dtype_shows_in_the_ids(tmp_path: Path) -> None:
    path = raw(tmp_path / "x.bin", documents(), "<u2")
    with path.open("ab") as file:
        file.write(b"\0\0" * (path.stat().st_size % 4 // 2))
    with pytest.raises(DataError, match="has the token id") as caught:
        cuvee.open_sources(spec(tmp_path, {"x": {"path": path, "dtype": "uint32"}}, vocab_size=100))
    assert "dtype" in caught.value.fix


def test_tokens_narrower_than_the_vocabulary_have_another_tokenizer(tmp_path: Path) -> None:
    path = raw(tmp_path / "x.bin", documents(), "<u2")
    with pytest.raises(DataError, match="holds uint16 tokens") as caught:
        cuvee.open_sources(spec(tmp_path, {"x": path}, vocab_size=128_256))
    assert "another tokenizer" in caught.value.fix
    stated = {"path": path, "dtype": "uint16"}
    assert cuvee.open_sources(spec(tmp_path, {"x": stated}, vocab_size=128_256))["x"].tokens


def test_shards_of_two_dtypes_in_one_domain_are_refused(tmp_path: Path) -> None:
    megatron(tmp_path / "m", documents())
    with IndexedWriter(tmp_path / "m" / "s_2", np.int32) as writer:
        writer.add(np.array([1, EOS]))
    with pytest.raises(DataError, match="holds int32 tokens"):
        cuvee.open_sources(spec(tmp_path, {"x": tmp_path / "m"}))


@pytest.mark.parametrize(("large", "small"), [("<u2", "<u4"), ("<u4", "<u2"), ("<u4", "<i8")])
def test_raw_arrays_of_two_dtypes_in_one_domain_are_refused(tmp_path: Path, large: str, small: str) -> None:
    rows = [np.arange(1, 99)]
    raw(tmp_path / "d" / "a.bin", rows * 30, large)
    other = raw(tmp_path / "d" / "b.bin", rows * 2, small)
    with pytest.raises(DataError, match=rf"b\.bin does not hold {np.dtype(large)} .* but {np.dtype(small)}") as caught:
        cuvee.open_sources(spec(tmp_path, {"x": tmp_path / "d"}, vocab_size=100))
    assert "domain of its own" in caught.value.fix
    raw(other, rows * 2, large)
    assert cuvee.open_sources(spec(tmp_path, {"x": tmp_path / "d"}, vocab_size=100))["x"].tokens


def test_few_ids_and_zeros_are_taken_for_what_the_other_arrays_are(tmp_path: Path) -> None:
    raw(tmp_path / "d" / "a.bin", documents(count=300), "<u2")
    raw(tmp_path / "d" / "b.bin", [np.array([7, 0])], "<u2")
    raw(tmp_path / "d" / "c.bin", [np.zeros(64, np.int64)], "<u2")
    shards = cuvee.open_sources(spec(tmp_path, {"x": tmp_path / "d"}, vocab_size=100))["x"].shards
    assert [s.tokens for s in shards[1:]] == [2, 64]


def test_missing_cut_and_empty_files_are_refused(tmp_path: Path) -> None:
    def refused(path: Path, match: str) -> None:
        with pytest.raises(DataError, match=match) as caught:
            cuvee.open_sources(spec(tmp_path, {"x": path}))
        assert caught.value.wanted
        assert caught.value.fix

    folder = megatron(tmp_path / "m", documents())
    refused(tmp_path / "nowhere", "nothing lies at")
    (folder / "s_0.bin").write_bytes((folder / "s_0.bin").read_bytes()[:-6])
    refused(folder, "has .* bytes")
    (folder / "s_0.bin").unlink()
    refused(folder, "no such file")
    (tmp_path / "e.npy").write_bytes(b"")
    refused(tmp_path / "e.npy", "is empty")
    real = npy(tmp_path / "real.npy", documents())
    real.write_bytes(real.read_bytes()[:-4])
    refused(real, "has .* bytes")
    table_ = parquet(tmp_path / "x.parquet", documents())
    table_.write_bytes(table_.read_bytes()[:-9])
    refused(table_, "cannot read")
    (tmp_path / "z").mkdir()
    refused(tmp_path / "z", "nothing lies at")
    (tmp_path / "z" / "photo.jpg").write_bytes(b"x")
    refused(tmp_path / "z", "no known format")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "inventory.json").write_text("{}")
    refused(tmp_path / "c", "held-out splits")
    (tmp_path / "z" / "index.json").write_text(json.dumps({"chunks": []}))
    refused(tmp_path / "z", "litdata")


def test_columns_are_looked_for_and_checked(tmp_path: Path) -> None:
    pq.write_table(table(documents(), "ids"), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="has the columns ids, n") as caught:
        cuvee.open_sources(spec(tmp_path, {"x": tmp_path / "x.parquet"}))
    assert "column:" in caught.value.fix
    with pytest.raises(DataError, match="'n' is int64"):
        cuvee.open_sources(spec(tmp_path, {"x": {"path": tmp_path / "x.parquet", "column": "n"}}))
    assert (
        cuvee.open_sources(spec(tmp_path, {"x": {"path": tmp_path / "x.parquet", "column": "ids"}}))["x"].documents
        == 30
    )


def test_rows_without_tokens_are_left_out_and_told(tmp_path: Path) -> None:
    lists = pa.array([[1, 2], None, [], [3]], pa.large_list(pa.int64()))
    pq.write_table(pa.table({"tokens": lists}), tmp_path / "x.parquet")
    sources = cuvee.open_sources(spec(tmp_path, {"x": tmp_path / "x.parquet"}))
    assert sources["x"].flat(0, 3).tolist() == [1, 2, 3]
    assert "2 rows left out, the first: x.parquet:2" in sources.facts["x"].evidence


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("domains: {a: {path: x, fromat: raw}}", r"s\.yaml:1: domains\.a\.fromat: unknown key"),
        ("domains: {a: {path: x, format: rwa}}", "got 'rwa'"),
        ("domains: {a: {path: x, dtype: float}}", "got dtype 'float'"),
        ("domains: {a: {format: raw}}", "missing"),
        ("domains: {}", "no domains"),
        ("vocab_size: 3", "no domains"),
        ("domains: {a: x}\nvocab: 3", "unknown key"),
    ],
)
def test_a_bad_sources_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        cuvee.open_sources(tmp_path / "s.yaml")


@pytest.mark.slow
def test_a_thousand_domains_open(tmp_path: Path) -> None:
    one = np.arange(1, 90, dtype="<u2")
    names = [f"d{i}" for i in range(1000)]
    for i, name in enumerate(names):
        np.roll(one, i).tofile(tmp_path / f"{name}.bin")
    sources = cuvee.open_sources(spec(tmp_path, {n: str(tmp_path / f"{n}.bin") for n in names}, vocab_size=100))
    assert list(sources) == names
    schedule = Schedule.constant(Mixture.from_shares(dict.fromkeys(names, 1 / 1000)))
    assert len(set(next(Loader(sources, schedule, seq_len=8, seed=0, batch=8)).domains.tolist())) == 8


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served") as server:
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_store_that_is_busy_for_a_moment_does_not_change_what_is_read(
    store: Store, tmp_path: Path, protocol: str
) -> None:
    rows = documents()
    megatron(store.folder, rows)
    datatrove(store.folder / "d.ds", rows)
    root = f"{protocol}://127.0.0.1:{store.server_address[1]}"
    far = spec(tmp_path, {"m": f"{root}/s_0.bin", "d": f"{root}/d.ds"}, attempts=4)
    near = spec(tmp_path, {"m": store.folder / "s_0.bin", "d": store.folder / "d.ds"})
    store.busy = {"s_0.idx": 2, "d.ds.index": 2}
    sources = cuvee.open_sources(far)
    assert sources.fingerprint == cuvee.open_sources(near).fingerprint
    assert sources.facts["m"].format == "megatron"
    store.busy = {"s_0.idx": 100}
    with pytest.raises(DataError, match=r"could not read .*s_0\.idx: 2 attempt"):
        cuvee.open_sources({**far, "attempts": 2})
    stated = {"path": f"{root}/s_0.bin", "format": "raw"}  # then nothing is asked
    assert cuvee.open_sources(spec(tmp_path, {"x": stated}, eos=EOS))["x"].documents == 15


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_store_that_forbids_what_is_not_there_is_read_all_the_same(
    store: Store, tmp_path: Path, protocol: str
) -> None:
    np.arange(1000, dtype=np.uint16).tofile(store.folder / "a.bin")
    np.arange(1000, dtype=np.uint16).tofile(store.folder / "b.ds")
    root = f"{protocol}://127.0.0.1:{store.server_address[1]}"
    store.absent = 403
    sources = cuvee.open_sources(spec(tmp_path, {"a": f"{root}/a.bin", "b": f"{root}/b.ds"}, vocab_size=1000))
    assert [s.tokens for s in sources.values()] == [1000, 1000]
    with pytest.raises(DataError, match="403"):
        cuvee.open_sources(spec(tmp_path, {"c": f"{root}/c.npy"}))


@pytest.mark.parametrize("protocol", ["folders", "plain"])
def test_many_megatron_shards_named_by_their_bin_are_read_by_their_indexes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setattr(Folders, "root", store.folder)
    megatron(store.folder, documents(count=6))
    for k in range(33):
        for end in ("bin", "idx"):
            shutil.copy(store.folder / f"s_0.{end}", store.folder / f"m_{k:02d}.{end}")
    web = [f"plain://127.0.0.1:{store.server_address[1]}/m_{k:02d}.bin" for k in range(33)]
    path = "folders://m_*.bin" if protocol == "folders" else web  # a web server has no patterns and no listings
    sources = cuvee.open_sources(spec(tmp_path, {"x": path}, vocab_size=100))
    assert (sources.facts["x"].format, sources["x"].documents) == ("megatron", 99)


@pytest.mark.slow
def test_a_store_feeds_training_and_a_stall_in_the_middle_ends_in_an_error(store: Store, tmp_path: Path) -> None:
    rows = documents(count=2000)
    megatron(store.folder, rows)
    raw(store.folder / "o.npy", rows, "<u4")
    shutil.copytree(MDS / "bytes_zstd", store.folder / "z")
    root = f"plain://127.0.0.1:{store.server_address[1]}"
    domains = {"m": [f"{root}/s_0", f"{root}/s_1"], "o": f"{root}/o.npy", "z": f"{root}/z/index.json"}
    far = spec(tmp_path, domains, block=4096, timeout=0.5, attempts=2)
    sources = cuvee.open_sources(far)
    flat, packed = np.concatenate(rows), np.fromfile(MDS / "tokens.bin", "<u2")
    assert np.array_equal(sources["m"].flat(0, flat.size), flat)
    assert np.array_equal(sources["z"].flat(0, packed.size), packed)
    near = {"m": store.folder / "s_*", "o": store.folder / "o.npy", "z": store.folder / "z"}
    assert cuvee.open_sources(spec(tmp_path, near)).fingerprint == sources.fingerprint
    schedule = Schedule.constant(Mixture.from_shares({"o": 1.0}))
    loader = Loader(sources, schedule, seq_len=32, seed=0, batch=2)
    for _ in range(3):
        next(loader)
    store.always = "stall"
    with pytest.raises(DataError, match=r"no answer within 0.5 s") as caught:
        list(islice(loader, 1000))
    assert f"{root}/o.npy" in caught.value.what
    assert "goes on from what is cached" in caught.value.fix
