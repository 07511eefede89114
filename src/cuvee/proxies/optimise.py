"""AdamW with a learning rate and a gradient clip for each of K models, of which one that went wrong stops alone.

A step whose loss is twice that of a uniform guess, or whose loss or gradient is not finite, is not taken, and neither is any
later one of that model: its weights and moments stay as they are, the others go on as if nothing had been.

Letters: K models, W weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cuvee.proxies.model import Decoder

BETAS = (0.9, 0.95)
EPSILON = 1e-8
WEIGHT_DECAY = 0.1
CLIP = 1.0
WORST = 2.0
"""A loss diverges above so many times ln V, that of a uniform guess. At a rate far too high it comes down again and looks
like a poor mixture's."""
LEAST = 256
"""V here at least: in a few tokens twice ln V is soon reached."""


class Optimiser:
    """Updates the weights of K models.

    One model on a CPU goes through torch's fused kernel, one pass over everything; more, or a GPU, through operations on
    whole stacks of weights, as many for K models as for one, none of which waits for the device. The kernel is called as it
    is: `torch.optim.AdamW` around it gives the same bits and imports 1.8 s of compiler that an eager run has no use for.

    Args:
        learning_rates: The peak of each model.
    """

    def __init__(self, model: Decoder, learning_rates: Sequence[float]) -> None:
        self._weights = list(model.parameters())
        self._rates = learning_rates
        self.worst = WORST * math.log(max(model.vocab, LEAST))
        device = self._weights[0].device
        self._rate_K = torch.tensor(learning_rates, device=device)
        self._first, self._second = ([torch.zeros_like(w) for w in self._weights] for _ in range(2))
        self._count = torch.zeros((), device=device)
        self._sound_K = torch.ones(model.members, dtype=torch.bool, device=device)
        self._alone = model.members == 1 and model.way.device == "cpu"
        self._update: Callable[..., None] = torch.compile(_update) if model.way.backend == "compile" else _update

    @torch.no_grad()
    def step(self, factor: float, loss_K: Tensor) -> Tensor:
        """Clip, update at `factor` times the peak learning rates, drop the gradients; which models are sound so far, shape K.

        A model is sound as long as its losses have been at most `worst` nats and its gradients finite.
        """
        grads = [w.grad for w in self._weights if w.grad is not None]
        norms_WK = torch.stack([torch.linalg.vector_norm(g, dim=(1, 2)) for g in grads])
        norm_K = torch.linalg.vector_norm(norms_WK, dim=0)
        scale_K11 = (CLIP / norm_K).clamp(max=1.0)[:, None, None]
        self._sound_K &= (loss_K <= self.worst) & norm_K.isfinite()
        self._count += 1
        for grad in grads:
            grad.mul_(scale_K11)
        if not self._alone:
            self._all(grads, factor)
        elif self._sound_K:
            self._fused(grads, self._rates[0] * factor)
        for weight in self._weights:
            weight.grad = None
        return self._sound_K.clone()

    def _fused(self, grads: Sequence[Tensor], rate: float) -> None:
        for decay in (WEIGHT_DECAY, 0.0):
            mine = [i for i, weight in enumerate(self._weights) if _decay(weight) == decay]
            torch._fused_adamw_(
                [self._weights[i] for i in mine],
                [grads[i] for i in mine],
                [self._first[i] for i in mine],
                [self._second[i] for i in mine],
                [],
                [self._count] * len(mine),
                lr=rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )

    def _all(self, grads: Sequence[Tensor], factor: float) -> None:
        sound_K11, rate_K11 = self._sound_K[:, None, None], (self._rate_K * factor)[:, None, None]
        for weight, grad, first, second in zip(self._weights, grads, self._first, self._second, strict=True):
            self._update(weight, grad, first, second, rate_K11, self._count, sound_K11, _decay(weight))

    def state(self) -> dict[str, Any]:
        """Tensors only."""
        return {"first": self._first, "second": self._second, "count": self._count, "sound": self._sound_K}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        mine = (*self._first, *self._second, self._count, self._sound_K)
        theirs = (*state["first"], *state["second"], state["count"], state["sound"])
        for tensor, saved in zip(mine, theirs, strict=True):
            tensor.copy_(saved)


def _decay(weight: Tensor) -> float:
    # a gain has the shape K x 1 x d; decay pulls towards zero, which is no natural place for a gain
    return WEIGHT_DECAY if weight.shape[1] > 1 else 0.0


def _update(
    weight: Tensor,
    grad: Tensor,
    first: Tensor,
    second: Tensor,
    rate_K11: Tensor,
    count: Tensor,
    sound_K11: Tensor,
    decay: float,
) -> None:
    """One weight of all models; of those that are not sound nothing changes."""
    new_first = torch.lerp(first, grad, 1 - BETAS[0])
    new_second = torch.lerp(second, grad * grad, 1 - BETAS[1])
    unbiased = (new_second / (1 - BETAS[1] ** count)).sqrt() + EPSILON
    new = weight * (1 - rate_K11 * decay) - rate_K11 / (1 - BETAS[0] ** count) * new_first / unbiased
    for old, found in ((first, new_first), (second, new_second), (weight, new)):
        old.copy_(torch.where(sound_K11, found, old))
