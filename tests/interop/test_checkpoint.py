from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from cuvee.base.errors import DataError
from cuvee.corpus.prepare import prepare
from cuvee.interop.checkpoint import Checkpoint, check_tokenizer, read_checkpoint, save_weights
from cuvee.proxies.evaluate import held_out
from cuvee.proxies.model import Decoder
from cuvee.proxies.start import load_start
from cuvee.proxies.train import train
from cuvee.shards.corpus import Corpus
from cuvee.testing.corpora import synthetic
from tests.hf import transformers
from tests.proxies.tiny import plan

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
SHAPE = {
    "vocab_size": 70,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-3,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 50_000.0},
    "max_position_embeddings": 256,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "shared heads": {},
    "tied": {"tie_word_embeddings": True},
    "a head each": {"num_key_value_heads": 6},
    "one head for all": {"num_key_value_heads": 1, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
}


def model(family: str = "Llama", **changes: Any) -> Any:
    """A model of transformers with random weights, gains that are not all one among them."""
    torch.manual_seed(0)
    made = getattr(transformers(), f"{family}ForCausalLM")(
        getattr(transformers(), f"{family}Config")(**SHAPE | changes)
    )
    with torch.no_grad():
        for name, weight in made.named_parameters():
            weight.copy_(torch.randn_like(weight) * 0.12 + (1.0 if "norm" in name else 0.0))
    return made


def decoder(checkpoint: Checkpoint, members: int = 1) -> Decoder:
    made = Decoder(checkpoint.start.size, checkpoint.start.vocab_size, members, seed=0, block=0)
    made.begin(checkpoint.weights)
    return made


@torch.no_grad()
def logits(theirs: Any, checkpoint: Checkpoint) -> tuple[torch.Tensor, torch.Tensor]:
    tokens_KBL = torch.randint(0, SHAPE["vocab_size"], (2, 3, 100), generator=torch.Generator().manual_seed(1))  # type: ignore[call-overload]
    expected = theirs(tokens_KBL.flatten(0, 1)).logits
    return decoder(checkpoint, members=2)(tokens_KBL).flatten(0, 1), expected


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def retensor(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_computes_what_transformers_does(variant: str, tmp_path: Path) -> None:
    theirs = model(**VARIANTS[variant])
    theirs.save_pretrained(tmp_path)
    checkpoint = read_checkpoint(tmp_path)
    ours, expected = logits(theirs, checkpoint)
    assert expected.std() > 0.3
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    size = checkpoint.start.size
    assert size.all_parameters(70) == sum(w.numel() for w in theirs.parameters())
    assert sum(w.numel() for w in decoder(checkpoint).parameters()) == size.all_parameters(70)
    assert size.tied == ("head" not in checkpoint.weights)


def test_mistral_without_a_window(tmp_path: Path) -> None:
    theirs = model("Mistral", sliding_window=None, head_dim=8)
    theirs.save_pretrained(tmp_path)
    ours, expected = logits(theirs, read_checkpoint(tmp_path))
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def test_the_keys_of_earlier_versions(saved: Path) -> None:
    now = read_checkpoint(saved).start
    config = json.loads((saved / "config.json").read_text())
    for key in ("rope_parameters", "head_dim", "attention_bias", "mlp_bias", "hidden_act"):
        del config[key]
    (saved / "config.json").write_text(json.dumps(config | {"rope_theta": 50_000, "rope_scaling": None}))
    retensor(saved, lambda t: t.update({"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}))
    assert read_checkpoint(saved).start == now
    configure(saved, rope_theta=10_000)
    assert read_checkpoint(saved).start.sha != now.sha


def test_shards_are_the_same_checkpoint(saved: Path, tmp_path: Path) -> None:
    model().save_pretrained(tmp_path / "shards", max_shard_size="30KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert read_checkpoint(tmp_path / "shards").start == read_checkpoint(saved).start


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_become_what_they_stand_for(dtype: torch.dtype, tmp_path: Path) -> None:
    model().to(dtype).save_pretrained(tmp_path)
    checkpoint = read_checkpoint(tmp_path)
    ours, expected = logits(
        transformers().AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32), checkpoint
    )
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)
    assert {a.dtype for a in checkpoint.weights.values()} == {np.dtype(np.float32)}


def test_saved_weights_come_back(saved: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(saved)
    path = save_weights(checkpoint, tmp_path / "study" / "inputs")
    assert path.name == f"{checkpoint.start.sha}.npz"
    back = load_start(path.parent, checkpoint.start)
    assert back.keys() == checkpoint.weights.keys()
    assert all(np.array_equal(back[name], array) for name, array in checkpoint.weights.items())
    before = path.stat().st_mtime_ns
    assert save_weights(checkpoint, path.parent) == path
    assert path.stat().st_mtime_ns == before


def test_other_weights_have_another_hash(saved: Path) -> None:
    before = read_checkpoint(saved).start
    retensor(saved, lambda t: t["model.norm.weight"].mul_(1.01))
    after = read_checkpoint(saved).start
    assert after.sha != before.sha
    assert after.size == before.size


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0}, "rope_parameters": None},
            r"scaled rotary positions \(linear\)",
        ),
        (
            {"rope_parameters": {"rope_type": "llama3", "factor": 8.0, "rope_theta": 5e5}},
            r"rotary positions \(llama3\)",
        ),
        ({"partial_rotary_factor": 0.5}, "rotates 0.5 of each head"),
        ({"rope_parameters": {"rope_theta": "large"}}, "rotary base 'large'"),
        ({"attention_bias": True}, "with biases"),
        ({"mlp_bias": True}, "with biases"),
        ({"sliding_window": 4096}, "sliding window of 4,096 tokens"),
        ({"num_local_experts": 8, "model_type": "mixtral"}, r"mixture of experts \(num_local_experts: 8\)"),
        ({"model_type": "gemma"}, "type 'gemma'"),
        ({"model_type": None}, "type None"),
        ({"head_dim": 16}, "heads of width 16"),
        ({"num_attention_heads": 5}, "heads of width"),
        ({"num_key_value_heads": 4}, "6 heads that share 4"),
        ({"hidden_act": "gelu"}, "activation 'gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
        ({"num_hidden_layers": 0}, "a size below 1"),
        ({"num_hidden_layers": 4}, r"lacks the tensors model.layers.3.input_layernorm.weight.* and 4 more"),
        ({"num_hidden_layers": 2}, r"has besides the tensors model.layers.2.input_layernorm.weight"),
        ({"intermediate_size": 96}, r"down_proj.weight .* the shape \[48, 80\]\n  wanted: \[48, 96\]"),
        ({"tie_word_embeddings": True}, "ties its two tables"),
        ({"hidden_size": "wide"}, "hidden_size: got 'wide'"),
    ],
)
def test_other_models_are_refused(changes: dict[str, Any], what: str, saved: Path) -> None:
    configure(saved, **changes)
    with pytest.raises(DataError, match=rf"(?s){what}"):
        read_checkpoint(saved)


def test_a_mistral_config_must_say_what_it_leaves_to_defaults(saved: Path) -> None:
    configure(saved, model_type="mistral")
    with pytest.raises(DataError, match="does not say sliding_window"):
        read_checkpoint(saved)


def test_a_table_written_twice_is_one(tmp_path: Path) -> None:
    model(tie_word_embeddings=True).save_pretrained(tmp_path)
    before = read_checkpoint(tmp_path).start
    retensor(tmp_path, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    assert read_checkpoint(tmp_path).start == before


def test_tensors_that_do_not_fit(saved: Path) -> None:
    retensor(saved, lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.zeros(48)}))
    with pytest.raises(DataError, match=r"biases \(model.layers.0.self_attn.q_proj.bias\)"):
        read_checkpoint(saved)
    retensor(saved, lambda t: t.pop("model.layers.0.self_attn.q_proj.bias"))
    retensor(saved, lambda t: t["model.norm.weight"].fill_(float("nan")))
    with pytest.raises(DataError, match=r"model.norm.weight of .* not finite"):
        read_checkpoint(saved)
    retensor(saved, lambda t: t.update({"model.norm.weight": torch.ones(48, dtype=torch.float64)}))
    with pytest.raises(DataError, match=r"model.norm.weight of .* is F64"):
        read_checkpoint(saved)


def test_files_that_are_not_whole(saved: Path, tmp_path: Path) -> None:
    data = (saved / "model.safetensors").read_bytes()
    for cut in (0, 4, 200, len(data) - 1):
        (saved / "model.safetensors").write_bytes(data[:cut])
        with pytest.raises(DataError, match="not a whole safetensors file"):
            read_checkpoint(saved)
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"(?s)only pytorch_model.bin, which can run code.*save_pretrained"):
        read_checkpoint(saved)
    (saved / "pytorch_model.bin").unlink()
    with pytest.raises(DataError, match=r"holds no model.safetensors\n"):
        read_checkpoint(saved)
    (saved / "config.json").write_text("[]")
    with pytest.raises(DataError, match="no JSON object"):
        read_checkpoint(saved)
    (saved / "config.json").unlink()
    with pytest.raises(DataError, match=r"no config\.json"):
        read_checkpoint(saved)


def test_a_missing_shard(tmp_path: Path) -> None:
    model().save_pretrained(tmp_path, max_shard_size="30KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    shards[1].unlink()
    with pytest.raises(DataError, match=rf"lacks 1 of {len(shards)} files of weights: {shards[1].name}"):
        read_checkpoint(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "../outside.safetensors"}}))
    with pytest.raises(DataError, match="files beside it"):
        read_checkpoint(tmp_path)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    for name, words in {"low": "the quiet river runs below", "high": "every bright kite flies above"}.items():
        (folder / name).mkdir()
        for i in range(40):
            (folder / name / f"{i}.txt").write_text(
                " ".join(f"{w}{(i * k) % 13}" for k, w in enumerate(words.split() * 30))
            )
    return folder


@pytest.fixture(scope="module")
def trained(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json."""
    return (
        prepare([texts], out=tmp_path_factory.mktemp("bpe") / "corpus", vocab=300, min_held_out_bytes=100).path
        / "tokenizer.json"
    )


def prepared(texts: Path, out: Path, tokenizer: Path | Literal["bytes"]) -> Corpus:
    return prepare([texts], out=out, tokenizer=tokenizer, min_held_out_bytes=100)


def edited(tokenizer: Path, to: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
    content = json.loads(tokenizer.read_text(encoding="utf-8"))
    edit(content)
    to.write_text(json.dumps(content), encoding="utf-8")
    return to


def with_tokenizer(folder: Path, tokenizer: Path | None, vocab: int = 320) -> Checkpoint:
    model(vocab_size=vocab).save_pretrained(folder)
    if tokenizer is not None:
        shutil.copy(tokenizer, folder / "tokenizer.json")
    return read_checkpoint(folder)


def test_the_checkpoints_own_tokenizer_is_accepted(texts: Path, trained: Path, tmp_path: Path) -> None:
    checkpoint = with_tokenizer(tmp_path / "model", trained)
    corpus = prepared(texts, tmp_path / "corpus", tmp_path / "model" / "tokenizer.json")
    check_tokenizer(checkpoint, corpus)
    assert checkpoint.start.vocab_size == 320 > corpus.vocab_size == 300  # rows that no token uses
    padded = edited(trained, tmp_path / "model" / "tokenizer.json", lambda c: c.update(truncation=None, decoder=None))
    assert padded == checkpoint.tokenizer
    check_tokenizer(checkpoint, corpus)  # what does not turn text into ids may differ


def test_another_tokenizer_is_refused(texts: Path, trained: Path, tmp_path: Path) -> None:
    corpus = prepared(texts, tmp_path / "corpus", trained)
    checkpoint = with_tokenizer(tmp_path / "model", trained)
    assert checkpoint.tokenizer is not None

    def swap(content: dict[str, Any]) -> None:
        by_id = {i: token for token, i in content["model"]["vocab"].items()}
        content["model"]["vocab"] |= {by_id[40]: 41, by_id[41]: 40}

    def drop(content: dict[str, Any]) -> None:
        content["model"]["vocab"].popitem()
        content["model"]["merges"].pop()

    for edit, what in (
        (swap, r"vocabulary of 300 entries against the corpus's 300; the first to differ is number 40, \[\("),
        (drop, r"vocabulary of 299 .* number 299, nothing against \[\("),
        (lambda c: c["model"]["merges"].reverse(), "merges of 43 entries .* number 0"),
        (lambda c: c["added_tokens"].pop(), "added tokens of 0 entries against the corpus's 1"),
        (lambda c: c.update(normalizer={"type": "NFC"}), "normalizer .*NFC.* against the corpus's null"),
        (lambda c: c["pre_tokenizer"].update(add_prefix_space=True), "pre_tokenizer"),
        (lambda c: c["model"].update(ignore_merges=True), "ignore_merges True against the corpus's False"),
    ):
        edited(trained, checkpoint.tokenizer, edit)
        with pytest.raises(DataError, match=rf"(?s){what}.*cuvee prepare SOURCES --tokenizer .*model/tokenizer.json"):
            check_tokenizer(checkpoint, corpus)


def test_tokenizers_that_cannot_be_compared(texts: Path, trained: Path, tmp_path: Path) -> None:
    corpus = prepared(texts, tmp_path / "corpus", trained)
    with pytest.raises(DataError, match=r"the checkpoint has no tokenizer.json"):
        check_tokenizer(with_tokenizer(tmp_path / "without", None), corpus)
    with pytest.raises(DataError, match="has 290 embeddings, its tokenizer 300 entries"):
        check_tokenizer(with_tokenizer(tmp_path / "small", trained, vocab=290), corpus)
    checkpoint = with_tokenizer(tmp_path / "model", trained)
    for other in (prepared(texts, tmp_path / "bytes", "bytes"), synthetic(tmp_path / "synthetic", documents=30)):
        with pytest.raises(DataError, match=r"made without a tokenizer.json \(its tokens are '(bytes|external)'"):
            check_tokenizer(checkpoint, other)


def test_a_run_begins_at_the_loss_that_transformers_sees(tmp_path: Path) -> None:
    """A model trained with transformers, converted, and gone on with; what it did not learn is learnt."""
    corpus = synthetic(tmp_path / "corpus", documents=60)
    theirs = model(vocab_size=264)
    theirs.apply(theirs._init_weights)
    optimiser = torch.optim.AdamW(theirs.parameters(), lr=5e-3)
    source = corpus.source("a", "train")
    for step in range(60):
        rows = torch.from_numpy(
            np.stack([source.flat(o := (step * 8 + i) * 97 % (source.tokens - 64), o + 64) for i in range(8)])
        )
        theirs(rows.long(), labels=rows.long()).loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    theirs.save_pretrained(tmp_path / "model")
    checkpoint = read_checkpoint(tmp_path / "model")
    save_weights(checkpoint, tmp_path / "inputs")
    p = replace(plan(0, 0, 1, steps=60, learning_rate=0.003), size="checkpoint", start=checkpoint.start)
    (trial,) = train([p], corpus, inputs=tmp_path / "inputs")
    for curve in trial.curves:
        text = held_out(corpus, curve.target, "search", p.seq_len)
        labels = text.tokens_WL1[:, 1:].masked_fill(~text.counts_WL, -100)
        with torch.no_grad():
            expected = F.cross_entropy(theirs(text.tokens_WL1[:, :-1]).logits.transpose(1, 2), labels)
        assert curve.tokens[0] == 0
        assert curve.nats[0] == pytest.approx(expected.item(), abs=1e-5)
    old, new = trial.curves
    assert old.nats[0] < 3 < new.nats[0]
    assert new.nats[-1] < new.nats[0] - 0.5
    assert old.nats[-1] > old.nats[0] + 0.1  # forgetting: the last minus the first
