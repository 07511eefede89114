"""The proxy: a LLaMA-style decoder, K of them trained together.

RMSNorm before attention and SwiGLU, rotary positions, causal attention, no biases. Every weight has a leading dimension
K, one slice a model; no operation mixes them. The output projection is a table of its own: tied to the embedding it
cost 0.03 (0.1M parameters) to 0.14 bits/byte (0.6M), mean of ten domains, at the better learning rate (`docs/benchmarks.md`).

Where the way says so, layers run compiled (one compilation serves all layers and models of a shape) or in bf16: factors of
products are rounded; the stream, norms, positions and the loss stay fp32.

A checkpoint of the same architecture (`Size` says what may differ) takes the place of the initial weights by `begin`.

Letters: K models, B sequences, L tokens of a sequence, T = BL, H heads, G heads of keys and of values, A = H + 2G,
c width of a head, d width, h hidden width, V vocabulary, n = KB.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cuvee.base.rng import generator
from cuvee.plan.sizes import Size
from cuvee.proxies.compiled import layers_of, softmax_of
from cuvee.proxies.loss import cross_entropy, token_nats
from cuvee.proxies.way import Way

EMBEDDING_STD = 0.5
HEAD_STD = 0.02
PLAIN = Way()


class Layer(nn.Module):
    """Attention and SwiGLU, each on the normed stream and added to it."""

    def __init__(self, size: Size, members: int, rng: np.random.Generator) -> None:
        super().__init__()
        self.size = size
        # widths of 64 to 320 want their own scale: a flat 0.02 starts every layer too small and cost 0.1 to 0.2 bits/byte.
        # The two that write to the stream start smaller, so that its variance does not grow with depth (GPT-2).
        std, hidden_std, quiet = size.dim**-0.5, size.hidden**-0.5, (2 * size.layers) ** -0.5
        self.qkv = _matrix(members, (size.dim, size.attention_width), std, rng)
        self.out = _matrix(members, (size.dim, size.dim), std * quiet, rng)
        self.gate = _matrix(members, (size.dim, size.hidden), std, rng)
        self.up = _matrix(members, (size.dim, size.hidden), std, rng)
        self.down = _matrix(members, (size.hidden, size.dim), hidden_std * quiet, rng)
        self.attention_norm = _gain(members, size.dim)
        self.mlp_norm = _gain(members, size.dim)

    def forward(self, x_KTd: Tensor, turn_Lc: Tensor) -> Tensor:
        """The stream after this layer."""
        y_KTd = _rms_norm(x_KTd, self.attention_norm, self.size.epsilon)
        x_KTd = x_KTd + _product(self._attend(_product(y_KTd, self.qkv), turn_Lc), self.out)
        y_KTd = _rms_norm(x_KTd, self.mlp_norm, self.size.epsilon)
        return x_KTd + _product(F.silu(_product(y_KTd, self.gate)) * _product(y_KTd, self.up), self.down)

    def _attend(self, qkv_KTAc: Tensor, turn_Lc: Tensor) -> Tensor:
        members, tokens, _ = qkv_KTAc.shape
        length = turn_Lc.shape[0]
        n = members * tokens // length  # K and B are one dimension here: attention has no weights
        heads, shared = self.size.heads, self.size.key_value_heads
        qkv_nLAc = qkv_KTAc.view(n, length, heads + 2 * shared, -1)
        qk_nLAc, v_nGLc = _rotate(qkv_nLAc[:, :, :-shared], turn_Lc), qkv_nLAc[:, :, -shared:].transpose(1, 2)
        q_nHLc, k_nGLc = qk_nLAc[:, :, :heads].transpose(1, 2), qk_nLAc[:, :, heads:].transpose(1, 2)
        if qkv_KTAc.device.type == "cpu":  # whose bf16 kernel takes five times as long on the way back
            q_nHLc, k_nGLc, v_nGLc = q_nHLc.float(), k_nGLc.float(), v_nGLc.float()
            with torch.autocast("cpu", enabled=False):
                y_nHLc = F.scaled_dot_product_attention(
                    q_nHLc, k_nGLc, v_nGLc, is_causal=True, enable_gqa=shared < heads
                )
        else:
            y_nHLc = F.scaled_dot_product_attention(q_nHLc, k_nGLc, v_nGLc, is_causal=True, enable_gqa=shared < heads)
        return y_nHLc.transpose(1, 2).reshape(members, tokens, -1)


class Decoder(nn.Module):
    """K decoders of one size that start from the same weights.

    Args:
        size: The shape of each.
        vocab: V.
        members: K.
        seed, block: Initial weights are a function of these and the shapes only.
        way: How to compute.

    Parameters are named `table`, `head` (the table itself if they are tied), `norm` and `layers.0.qkv` and so on. A matrix maps
    rows to columns; `qkv` holds the queries of all heads, then keys, then values; a head's numbers 2i and 2i + 1 are
    one rotary pair.
    """

    def __init__(self, size: Size, vocab: int, members: int, *, seed: int, block: int, way: Way = PLAIN) -> None:
        super().__init__()
        rng = generator(seed, "initial weights", block)
        self.size, self.vocab, self.members, self.way = size, vocab, members, way
        self.table = _matrix(members, (vocab, size.dim), EMBEDDING_STD, rng)
        self.head = self.table if size.tied else _matrix(members, (vocab, size.dim), HEAD_STD, rng)
        self.layers = nn.ModuleList(Layer(size, members, rng) for _ in range(size.layers))
        self.norm = _gain(members, size.dim)
        self._run_layers, self._softmax = layers_of(way), softmax_of(way)
        self.to(way.device)

    @torch.no_grad()
    def begin(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Give every model these weights: every parameter by its name, without the leading K."""
        for name, parameter in self.named_parameters():
            parameter.copy_(torch.from_numpy(weights[name]).expand_as(parameter))

    def hidden(self, tokens_KBL: Tensor) -> Tensor:
        """The normed stream after the last layer, shape KTd, fp32."""
        members, batch, length = tokens_KBL.shape
        offset_K11 = torch.arange(members, device=tokens_KBL.device)[:, None, None] * self.vocab
        x_KTd = F.embedding(tokens_KBL + offset_K11, self.table.flatten(0, 1)).view(members, batch * length, -1)
        turn_Lc = _turns(length, self.size.head_dim, self.size.rotary_base).to(tokens_KBL.device)
        if self.way.backend == "compile" or self.way.precision == "bf16":  # neither has complex numbers
            turn_Lc = torch.view_as_real(turn_Lc)
        with self.way.autocast():
            x_KTd = self._run_layers(self.layers, x_KTd, turn_Lc)
        return _rms_norm(x_KTd, self.norm, self.size.epsilon)

    def forward(self, tokens_KBL: Tensor) -> Tensor:
        """Logits of each next token, shape KBLV. Training does not come here: `loss` never holds them all."""
        logits_KTV = self.hidden(tokens_KBL) @ self.head.transpose(1, 2)
        return logits_KTV.view(*tokens_KBL.shape, self.vocab)

    def loss(self, tokens_KBL1: Tensor) -> Tensor:
        """Mean nats per token of sequences of L + 1 tokens, shape K."""
        target_KT = tokens_KBL1[..., 1:].flatten(1)
        hidden_KTd = self.hidden(tokens_KBL1[..., :-1]).to(self.way.dtype)
        return cross_entropy(hidden_KTd, self.head, target_KT, self._softmax)

    @torch.no_grad()
    def nats(self, tokens_KBL1: Tensor) -> Tensor:
        """Nats of every token but the first of each sequence, shape KBL, without gradients."""
        targets_KBL = tokens_KBL1[..., 1:]
        hidden_KTd = self.hidden(tokens_KBL1[..., :-1]).to(self.way.dtype)
        nats_KT = token_nats(hidden_KTd, self.head, targets_KBL.flatten(1), self._softmax)
        return nats_KT.view(targets_KBL.shape)


def _matrix(members: int, shape: tuple[int, int], std: float, rng: np.random.Generator) -> nn.Parameter:
    values = torch.from_numpy(rng.standard_normal(shape, np.float32)) * std
    return nn.Parameter(values.repeat(members, 1, 1))


def _gain(members: int, dim: int) -> nn.Parameter:
    return nn.Parameter(torch.ones(members, 1, dim))


def _product(x_KTi: Tensor, matrix_Kio: Tensor) -> Tensor:
    """Of K factors each. One is no stack of one, whose bf16 gradients take a CPU twice as long."""
    if x_KTi.shape[0] > 1:
        return x_KTi @ matrix_Kio
    return (x_KTi[0] @ matrix_Kio[0])[None]


def _rms_norm(x_KTd: Tensor, gain_K1d: Tensor, epsilon: float) -> Tensor:
    return F.rms_norm(x_KTd, x_KTd.shape[-1:], eps=epsilon) * gain_K1d


def _turns(length: int, width: int, base: float) -> Tensor:
    """Rotary positions as unit complex numbers, shape L x c/2 (Su et al. 2021)."""
    rate = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * rate
    return torch.polar(torch.ones_like(angle), angle).to(torch.complex64)


def _rotate(x_nLAc: Tensor, turn_Lc: Tensor) -> Tensor:
    """Turned by complex numbers, or by pairs of real ones."""
    if not turn_Lc.is_complex():
        a_nLA, b_nLA = x_nLAc.float().view(*x_nLAc.shape[:-1], -1, 2).unbind(-1)
        cos_L1, sin_L1 = turn_Lc[:, None].unbind(-1)
        turned = torch.stack((a_nLA * cos_L1 - b_nLA * sin_L1, a_nLA * sin_L1 + b_nLA * cos_L1), -1)
        return turned.flatten(-2).to(x_nLAc.dtype)
    pairs = torch.view_as_complex(x_nLAc.view(*x_nLAc.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn_Lc[:, None]).flatten(-2)
