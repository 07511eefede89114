"""Examples to windows of tokens in which exactly the continuations are scored.

The boundary between context and continuation is lm-evaluation-harness's (`TemplateLM._encode_pair` in lm_eval/api/model.py):
whitespace at the end of the context goes to the continuation, context and context + continuation are encoded each as a
whole, and what is longer than the context's tokens is the continuation. An empty context is the end-of-text token.
Windows of what is too long follow its `loglikelihood_rolling`: each token once, every window full to the left.

Letters: N tokens of one context and continuation, W windows, L tokens that a model reads at once, E examples, C
continuations of the example that has most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuvee.base.errors import DataError, UsageError
from cuvee.corpus.examples import Example, Examples
from cuvee.corpus.tokenizer import Encode, check_has_tokenizer, encoder
from cuvee.shards.corpus import Corpus
from cuvee.shards.examples import Tokenised

_BATCH = 256
"""Examples encoded at one time."""


def tokenise(examples: Examples, corpus: Corpus, seq_len: int) -> Tokenised:
    """The windows of all examples, by the corpus's tokenizer.

    Of a context, as many of its last tokens are read as fit beside the continuation; a continuation of more than `seq_len`
    tokens takes several windows. Of a text every token counts, the first one after an end of text.

    Args:
        examples: At least one.
        corpus: Whose tokenizer it is.
        seq_len: L, tokens that the model reads at once; 2 or more.

    Raises:
        UsageError: a `seq_len` below 2.
        DataError: a corpus that came tokenised; a continuation of which the tokenizer leaves nothing.
    """
    if seq_len < 2:
        raise UsageError(f"got seq_len={seq_len}", wanted="2 or more")
    info = corpus.inventory.tokenizer
    check_has_tokenizer(info)
    encode = encoder(info, corpus.path)
    most = max(len(example.continuations) for example in examples.examples)
    bytes_EC = np.zeros((len(examples.examples), most), np.int64)
    tokens: list[NDArray[np.int32]] = []
    counts: list[NDArray[np.bool_]] = []
    of: list[tuple[int, int]] = []
    for e, c, size, ids_N, first in _rows(examples, encode, info.eos):
        bytes_EC[e, c] = size
        for start, counted, stop in spans(len(ids_N), first, seq_len):
            row = np.full(seq_len + 1, info.eos, np.int32)
            row[: stop - start] = ids_N[start:stop]
            count = np.zeros(seq_len, np.bool_)
            count[counted - start - 1 : stop - start - 1] = True
            tokens.append(row)
            counts.append(count)
            of.append((e, c))
    example_W, choice_W = np.array(of, np.int32).T
    gold_E = np.array([example.gold for example in examples.examples], np.int32)
    return Tokenised(examples.kind, np.stack(tokens), np.stack(counts), example_W, choice_W, gold_E, bytes_EC)


def spans(length: int, first: int, seq_len: int) -> Iterator[tuple[int, int, int]]:
    """Windows of at most `seq_len + 1` of `length` tokens, in which together the tokens from `first` (>= 1) on count once.

    Yields:
        Where the window starts, where counting starts in it, where it stops.
    """
    assert 1 <= first < length, (length, first)
    for counted in range(first, length, seq_len):
        stop = min(counted + seq_len, length)
        yield max(0, stop - seq_len - 1), counted, stop


def _rows(examples: Examples, encode: Encode, eos: int) -> Iterator[tuple[int, int, int, NDArray[Any], int]]:
    """Of every continuation: its example, its number, bytes, tokens with those of the context, where its own begin."""
    for begin in range(0, len(examples.examples), _BATCH):
        batch = examples.examples[begin : begin + _BATCH]
        pairs = [
            (begin + e, c, *_moved(example, c))
            for e, example in enumerate(batch)
            for c in range(len(example.continuations))
        ]
        contexts = dict(zip(used := sorted({p[2] for p in pairs}), _encoded(encode, used), strict=True))
        wholes = _encoded(encode, [context + continuation for _, _, context, continuation in pairs])
        for (e, c, context, continuation), whole in zip(pairs, wholes, strict=True):
            if not len(whole):
                raise DataError(
                    f"{examples.name}: the tokenizer leaves nothing of {continuation[:60]!r}",
                    wanted="continuations that the corpus's tokenizer can write",
                )
            # a token over the boundary belongs to the context, unless it is all that there is
            first = min(len(contexts[context]), len(whole) - 1)
            ids_N, first = (whole, first) if first else (np.append(eos, whole), 1)
            yield e, c, len(continuation.encode("utf-8")), ids_N, first


def _moved(example: Example, choice: int) -> tuple[str, str]:
    context = example.context.rstrip()
    return context, example.context[len(context) :] + example.continuations[choice]


def _encoded(encode: Encode, texts: Sequence[str]) -> list[NDArray[Any]]:
    return [ids[:-1] for ids in encode(texts)]
