from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from cuvee.plan.sizes import size
from cuvee.proxies.model import Decoder
from cuvee.proxies.optimise import BETAS, CLIP, EPSILON, WEIGHT_DECAY, Optimiser

pytestmark = pytest.mark.slow

VOCAB = 50
RATES = (0.01, 0.003, 0.02)


def decoder(members: int) -> Decoder:
    return Decoder(size("0.1M"), VOCAB, members, seed=0, block=0)


def tokens(members: int, step: int) -> Tensor:
    return torch.randint(0, VOCAB, (members, 2, 17), generator=torch.Generator().manual_seed(step))


def steps(model: Decoder, optimiser: Optimiser, first: int, last: int) -> list[list[bool]]:
    sound = []
    for step in range(first, last):
        loss_K = model.loss(tokens(model.members, step))
        loss_K.sum().backward()  # type: ignore[no-untyped-call]
        sound.append(optimiser.step(0.9**step, loss_K.detach()).tolist())
    return sound


def test_one_model_is_torchs_adamw() -> None:
    model, other = decoder(1), decoder(1)
    steps(model, Optimiser(model, [RATES[0]]), 0, 4)
    weights = list(other.parameters())
    groups = [
        {"params": [w for w in weights if w.shape[1] > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [w for w in weights if w.shape[1] == 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON, fused=True)
    for step in range(4):
        other.loss(tokens(1, step)).sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, CLIP, error_if_nonfinite=True)
        for group in adam.param_groups:
            group["lr"] = RATES[0] * 0.9**step
        adam.step()
        adam.zero_grad()
    for weight, expected in zip(model.parameters(), weights, strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-5)  # the clip adds norms in another order


def test_several_models_are_each_as_alone() -> None:
    together = decoder(3)
    steps(together, Optimiser(together, RATES), 0, 4)
    for k, rate in enumerate(RATES):
        alone = decoder(1)
        optimiser = Optimiser(alone, [rate])
        for step in range(4):
            loss_K = alone.loss(tokens(3, step)[k : k + 1])
            loss_K.sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step(0.9**step, loss_K.detach())
        for weight, expected in zip(together.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(weight[k : k + 1], expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("members", [1, 3])
def test_a_step_that_is_not_finite_is_not_taken_and_none_after_it(members: int) -> None:
    """One member's gradient is NaN once: its weights and moments stop, the others' are those of a run without it, to the bit."""
    sound, spoilt = decoder(members), decoder(members)
    well, ill = Optimiser(sound, RATES[:members]), Optimiser(spoilt, RATES[:members])
    steps(sound, well, 0, 2)
    steps(spoilt, ill, 0, 2)
    bad = members // 2
    before = [w[bad].clone() for w in spoilt.parameters()]
    moments = [w[bad].clone() for w in (*ill.state()["first"], *ill.state()["second"])]
    loss_K = spoilt.loss(tokens(members, 2))
    loss_K.sum().backward()  # type: ignore[no-untyped-call]
    assert spoilt.norm.grad is not None
    spoilt.norm.grad[bad, 0, 3] = math.nan
    assert ill.step(0.9**2, loss_K.detach()).tolist() == [k != bad for k in range(members)]
    assert steps(spoilt, ill, 3, 5) == [[k != bad for k in range(members)]] * 2
    steps(sound, well, 2, 5)
    for weight, kept in zip(spoilt.parameters(), before, strict=True):
        assert torch.equal(weight[bad], kept)
    for moment, kept in zip((*ill.state()["first"], *ill.state()["second"]), moments, strict=True):
        assert torch.equal(moment[bad], kept)
    others = [k for k in range(members) if k != bad]
    for weight, expected in zip(spoilt.parameters(), sound.parameters(), strict=True):
        assert torch.equal(weight[others], expected[others])


@pytest.mark.parametrize("members", [1, 2])
def test_goes_on_from_its_state(members: int) -> None:
    whole, first = decoder(members), decoder(members)
    steps(whole, Optimiser(whole, RATES[:members]), 0, 5)
    optimiser = Optimiser(first, RATES[:members])
    steps(first, optimiser, 0, 2)
    second = decoder(members)
    second.load_state_dict(first.state_dict())
    restored = Optimiser(second, RATES[:members])
    restored.restore(optimiser.state())
    steps(second, restored, 2, 5)
    for weight, expected in zip(second.parameters(), whole.parameters(), strict=True):
        assert torch.equal(weight, expected)
