"""A model in the Hugging Face format as the start of proxies: its shape, its weights in our layout, its tokenizer.

Read are models of the types `llama` and `mistral` in safetensors files; the names of tensors and keys are those of
transformers 5.23 (`models/llama/modeling_llama.py`, `configuration_llama.py`) and earlier. Other types are refused even where their
tensors have the same names: gemma adds one to the gains of its norms, granite scales embeddings and residuals,
smollm3 leaves some layers without positions, and none of it shows in the names.

Letters: H heads, G heads of keys and of values, c width of a head, d width, h hidden width, V rows of the embedding.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuvee.base.codec import SchemaError, from_json
from cuvee.base.errors import DataError, missing_extra
from cuvee.base.files import load_json
from cuvee.corpus.tokenizer import FILE, definition
from cuvee.plan.sizes import Size
from cuvee.plan.trial import Start
from cuvee.proxies.start import Weights, save_start, start_of
from cuvee.shards.corpus import Corpus

NAME = "checkpoint"
"""The size that plans of such a start name."""
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_TYPES = ("llama", "mistral")
_DTYPES = ("F32", "F16", "BF16")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_PREPARE = "cuvee prepare SOURCES --tokenizer {}"

F32 = NDArray[np.float32]
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A model to go on from.

    Args:
        start: What a plan says of it: content hash, shape, rows of the embedding.
        weights: Every parameter of `proxies.model.Decoder` by name, fp32, without the leading K.
        tokenizer: Its `tokenizer.json`, if it has one.
    """

    start: Start
    weights: Weights
    tokenizer: Path | None


def read_checkpoint(folder: Path | str) -> Checkpoint:
    """The model in `folder`, exactly: fp16 and bf16 weights become the fp32 numbers they stand for.

    Raises:
        DataError: no such model there, one that computes something else than the proxies do, or a file that is not whole.
        UsageError: safetensors or torch are not installed.
    """
    path = Path(folder)
    config = _read_config(path)
    size = _size(config)
    shapes = _expected(size, config.vocab_size)
    found = _headers(path)
    if size.tied and (head := found.get("lm_head.weight")) is not None:  # written by some, though it is the embedding
        shapes["lm_head.weight"] = head.shape
    _check_tensors(path, shapes, found)
    tensors = _load(found)
    weights = _ours(size, tensors)
    tokenizer = path / FILE
    return Checkpoint(start_of(size, config.vocab_size, weights), weights, tokenizer if tokenizer.is_file() else None)


def save_weights(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write the weights as `<sha>.npz` into `folder`, where `proxies.train` finds them; the path of the file.

    Raises:
        PartialError: the disk is full.
    """
    return save_start(folder, checkpoint.start, checkpoint.weights)


def check_tokenizer(checkpoint: Checkpoint, corpus: Corpus) -> None:
    """Refuse a corpus whose tokens mean something else to the model than what it was trained on.

    Equal must be what turns text into ids: vocabulary, merges, added tokens, normalisation, splitting. The embedding may
    have more rows than the tokenizer has entries.

    Raises:
        DataError: the tokenizers differ (says where), there is none on one side, or the embedding is too small.
    """
    if checkpoint.tokenizer is None:
        raise DataError(
            f"the checkpoint has no {FILE}",
            wanted="the tokenizer that it was trained with, as a file of the tokenizers library",
            fix=f"save it there: transformers.AutoTokenizer.from_pretrained(...).save_pretrained(...) writes {FILE}",
        )
    fix = _PREPARE.format(checkpoint.tokenizer)
    info = corpus.inventory.tokenizer
    if info.path is None:
        raise DataError(
            f"the corpus {corpus.path} was made without a {FILE} (its tokens are {info.kind!r}, {info.vocab_size:,} different)",
            wanted="tokens of the checkpoint's tokenizer",
            fix=fix,
        )
    theirs, ours = definition(checkpoint.tokenizer), definition(corpus.path / info.path)
    if difference := next(_differences(theirs, ours), None):
        raise DataError(
            f"the corpus {corpus.path} has another tokenizer than the checkpoint: {difference}",
            wanted="tokens of the checkpoint's tokenizer",
            fix=fix,
        )
    if checkpoint.start.vocab_size < corpus.vocab_size:
        raise DataError(
            f"the checkpoint has {checkpoint.start.vocab_size:,} embeddings, its tokenizer {corpus.vocab_size:,} entries",
            wanted="an embedding of every token",
            fix="give the tokenizer that the model was trained with",
        )


def _differences(checkpoint: Mapping[str, Any], corpus: Mapping[str, Any]) -> Iterator[str]:
    """What differs between two definitions, the most telling first; what does not turn text into ids is passed over."""
    model, other = checkpoint["model"], corpus["model"]
    if model["type"] != other["type"]:
        yield f"{model['type']} against the corpus's {other['type']}"
    for name, these, those in (
        ("vocabulary", *(_by_id(m.get("vocab", ())) for m in (model, other))),
        ("merges", *(m.get("merges", ()) for m in (model, other))),
        ("added tokens", *(d["added_tokens"] for d in (checkpoint, corpus))),
    ):
        if these != those:
            pairs = zip(these, those, strict=False)
            at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(these), len(those)))
            first = " against ".join(str(list(side[at : at + 1]) or "nothing") for side in (these, those))
            yield f"{name} of {len(these):,} entries against the corpus's {len(those):,}; the first to differ is number {at}, {first}"
    for key in ("normalizer", "pre_tokenizer"):
        if checkpoint[key] != corpus[key]:
            yield f"{key} {json.dumps(checkpoint[key])} against the corpus's {json.dumps(corpus[key])}"
    for key in sorted({*model, *other} - {"vocab", "merges"}):
        if model.get(key) != other.get(key):
            yield f"{key} {model.get(key)!r} against the corpus's {other.get(key)!r}"


def _by_id(vocab: Any) -> list[Any]:
    return sorted(vocab.items(), key=lambda entry: entry[1]) if isinstance(vocab, dict) else list(vocab)


@dataclass(frozen=True)
class _Config:
    """The keys of `config.json` that decide what is computed, at transformers' defaults for `llama`."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    rms_norm_eps: float
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    rope_theta: float = 10_000.0
    rope_scaling: Mapping[str, Any] | None = None
    rope_parameters: Mapping[str, Any] | None = None
    partial_rotary_factor: float | None = None
    sliding_window: int | None = None
    quantization_config: Mapping[str, Any] | None = None

    @property
    def rope(self) -> dict[str, Any]:
        """Everything said of positions; transformers 5 gathers it under `rope_parameters`, earlier ones do not."""
        said = {"rope_theta": self.rope_theta, "partial_rotary_factor": self.partial_rotary_factor}
        return said | dict(self.rope_scaling or {}) | dict(self.rope_parameters or {})


def _read_config(folder: Path) -> _Config:
    path = folder / "config.json"
    if not path.is_file():
        raise DataError(
            f"{folder} is no checkpoint: it has no config.json",
            wanted="a folder as save_pretrained of transformers writes it",
        )
    data = load_json(path)
    if not isinstance(data, dict):
        raise DataError(f"{path} is no JSON object", wanted="the config of a model")
    if experts := [key for key in _EXPERTS if data.get(key)]:
        raise _refused(f"a mixture of experts ({experts[0]}: {data[experts[0]]})", "a dense model")
    if data.get("model_type") not in _TYPES:
        raise _refused(f"a model of type {data.get('model_type')!r}", f"one of the types {', '.join(_TYPES)}")
    # the heads of keys and the window default to other values for mistral, so it must say them
    unsaid = [k for k in ("num_key_value_heads", "sliding_window") if k not in data and data["model_type"] == "mistral"]
    if unsaid:
        raise _refused(f"a mistral model whose config does not say {unsaid[0]}", "a config that says it, or null")
    try:
        return from_json(_Config, {f.name: data[f.name] for f in fields(_Config) if f.name in data})
    except SchemaError as error:
        raise DataError(f"{path}: {error.what}", wanted=error.wanted, fix="restore the file") from error


def _refused(what: str, wanted: str) -> DataError:
    return DataError(
        f"the checkpoint is {what}, which proxies do not compute",
        wanted=wanted,
        fix="start from another checkpoint, or leave it out and train proxies from scratch",
    )


def _size(config: _Config) -> Size:
    """The shape, once nothing in the config asks for more than it can say."""
    rope = config.rope
    kind, base = rope.get("rope_type", rope.get("type", "default")), rope["rope_theta"]
    if kind != "default":
        raise _refused(f"a model with scaled rotary positions ({kind})", "rope_type default")
    if not isinstance(base, int | float) or base <= 0:
        raise _refused(f"a model with the rotary base {base!r}", "a positive rope_theta")
    if rope["partial_rotary_factor"] not in (None, 1):
        raise _refused(f"a model that rotates {rope['partial_rotary_factor']} of each head", "all of it rotated")
    if config.sliding_window is not None:
        raise _refused(
            f"a model with a sliding window of {config.sliding_window:,} tokens", "attention to all tokens before"
        )
    if config.attention_bias or config.mlp_bias:
        raise _refused("a model with biases", "attention_bias: false and mlp_bias: false")
    if config.hidden_act != "silu":
        raise _refused(f"a model with the activation {config.hidden_act!r}", "silu")
    if config.quantization_config is not None:
        raise _refused("a quantised model", "weights in fp32, fp16 or bf16")
    dim, heads = config.hidden_size, config.num_attention_heads
    shared = config.num_key_value_heads or heads
    if min(dim, heads, shared, config.intermediate_size, config.num_hidden_layers, config.vocab_size) < 1:
        raise _refused("a model with a size below 1", "positive sizes")
    if dim % heads or dim // heads % 2 or config.head_dim not in (None, dim // heads):
        got = config.head_dim or f"{dim}/{heads}"
        raise _refused(f"a model with heads of width {got}", f"width / heads = {dim}/{heads}, and even")
    if heads % shared:
        raise _refused(f"a model of {heads} heads that share {shared} of keys", "a whole number of heads for each")
    return Size(
        name=NAME,
        layers=config.num_hidden_layers,
        dim=dim,
        heads=heads,
        hidden=config.intermediate_size,
        kv_heads=shared,
        rotary_base=float(base),
        epsilon=config.rms_norm_eps,
        tied=config.tie_word_embeddings,
    )


def _expected(size: Size, vocab: int) -> Shapes:
    """Every tensor that such a model has, and its shape: rows are outputs, columns inputs."""
    d, h, keys = size.dim, size.hidden, size.key_value_heads * size.head_dim
    shapes: Shapes = {"model.embed_tokens.weight": (vocab, d), "model.norm.weight": (d,)}
    if not size.tied:
        shapes["lm_head.weight"] = (vocab, d)
    for i in range(size.layers):
        layer = {
            "self_attn.q_proj": (d, d),
            "self_attn.k_proj": (keys, d),
            "self_attn.v_proj": (keys, d),
            "self_attn.o_proj": (d, d),
            "mlp.gate_proj": (h, d),
            "mlp.up_proj": (h, d),
            "mlp.down_proj": (d, h),
            "input_layernorm": (d,),
            "post_attention_layernorm": (d,),
        }
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor lies and what it is."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


def _files(folder: Path) -> list[Path]:
    """The safetensors files of the model, in one piece or as its index names them."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth") for p in folder.glob(pattern))
        raise DataError(
            f"{folder} holds no {WEIGHTS}"
            + (f", only {pickles[0]}, which can run code when it is read" if pickles else ""),
            wanted="weights as safetensors",
            fix="load the model with transformers and save it again with save_pretrained"
            if pickles
            else "check the path",
        )
    index = load_json(folder / INDEX)
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not all(isinstance(n, str) and Path(n).name == n for n in names.values()):
        raise DataError(f"{folder / INDEX} does not map tensors to files beside it", fix="restore the file")
    shards = [folder / name for name in sorted(set(names.values()))]
    if missing := [p.name for p in shards if not p.is_file()]:
        raise DataError(
            f"{folder} lacks {len(missing)} of {len(shards)} files of weights: {', '.join(missing[:5])}",
            wanted=f"every file that {INDEX} names",
            fix="download or copy them again",
        )
    return shards


def _headers(folder: Path) -> dict[str, _Tensor]:
    found: dict[str, _Tensor] = {}
    for file in _files(folder):
        with _opened(file) as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                if not name.endswith(".rotary_emb.inv_freq"):  # written by old versions, follows from the config
                    part = tensors.get_slice(name)
                    found[name] = _Tensor(file, tuple(part.get_shape()), part.get_dtype())
    return found


def _opened(file: Path) -> Any:
    try:
        import torch  # noqa: F401 - numpy knows no bf16
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise missing_extra(error.name or "safetensors", "train", "reading a checkpoint") from None
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file} is not a whole safetensors file: {error}", fix="download or copy it again") from error


def _check_tensors(folder: Path, shapes: Shapes, found: Mapping[str, _Tensor]) -> None:
    """Exactly the expected tensors, each of its shape and of a type that fp32 holds."""
    extra, missing = sorted(found.keys() - shapes.keys()), sorted(shapes.keys() - found.keys())
    if biases := [name for name in extra if name.endswith(".bias")]:
        raise _refused(f"a model with biases ({biases[0]})", "none")
    for what, names in (("lacks", missing), ("has besides", extra)):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise DataError(
                f"the checkpoint {folder} {what} the tensors {', '.join(names[:5])}{more}",
                wanted=f"exactly the {len(shapes)} tensors of the model that its config.json describes",
                fix="download or copy it again; if it is whole, it is another architecture, from which proxies cannot start",
            )
    for name, tensor in found.items():
        if tensor.shape != shapes[name]:
            raise DataError(
                f"{name} of {tensor.file} has the shape {list(tensor.shape)}",
                wanted=f"{list(shapes[name])} by its config.json",
                fix="take config.json and weights from one model",
            )
        if tensor.dtype not in _DTYPES:
            raise DataError(
                f"{name} of {tensor.file} is {tensor.dtype}",
                wanted=f"one of {', '.join(_DTYPES)}",
                fix="save the model in one of these types",
            )


def _load(found: Mapping[str, _Tensor]) -> dict[str, F32]:
    tensors: dict[str, F32] = {}
    for file in sorted({t.file for t in found.values()}):
        with _opened(file) as opened:
            for name in (n for n, t in found.items() if t.file == file):
                tensors[name] = opened.get_tensor(name).float().numpy()
                if not np.isfinite(tensors[name]).all():
                    raise DataError(
                        f"{name} of {file} holds numbers that are not finite", fix="take another checkpoint"
                    )
    return tensors


def _ours(size: Size, tensors: Mapping[str, F32]) -> dict[str, F32]:
    """The weights by the names and in the layout of `proxies.model.Decoder`; matrices there map rows to columns."""
    table = tensors["model.embed_tokens.weight"]
    head = tensors.get("lm_head.weight", table)
    if size.tied and not np.array_equal(head, table):
        raise DataError(
            "the checkpoint's config.json ties its two tables, but lm_head.weight is not model.embed_tokens.weight",
            wanted="one table, or tie_word_embeddings: false",
            fix="correct config.json, or save the model again",
        )
    weights = {"table": table, "norm": tensors["model.norm.weight"][None]} | ({} if size.tied else {"head": head})
    for i in range(size.layers):
        name = f"model.layers.{i}.{{}}.weight".format
        q, k, v = (tensors[name(f"self_attn.{part}_proj")] for part in "qkv")
        qkv = np.concatenate([_interleaved(q, size.head_dim), _interleaved(k, size.head_dim), v])
        weights |= {
            f"layers.{i}.qkv": qkv.T,
            f"layers.{i}.out": tensors[name("self_attn.o_proj")].T,
            f"layers.{i}.gate": tensors[name("mlp.gate_proj")].T,
            f"layers.{i}.up": tensors[name("mlp.up_proj")].T,
            f"layers.{i}.down": tensors[name("mlp.down_proj")].T,
            f"layers.{i}.attention_norm": tensors[name("input_layernorm")][None],
            f"layers.{i}.mlp_norm": tensors[name("post_attention_layernorm")][None],
        }
    return {name: np.ascontiguousarray(array) for name, array in weights.items()}


def _interleaved(rows_Hcd: F32, width: int) -> F32:
    """Rows of queries or keys, head by head: theirs rotates numbers i and i + c/2 of a head together, ours 2i and 2i + 1."""
    outputs, inputs = rows_Hcd.shape
    return rows_Hcd.reshape(-1, 2, width // 2, inputs).swapaxes(1, 2).reshape(outputs, inputs)
