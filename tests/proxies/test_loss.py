from __future__ import annotations

import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cuvee.proxies import loss
from cuvee.proxies.loss import cross_entropy, token_nats


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1, loss.PIECE, loss.PIECE + 7])
def test_equals_the_composed_operations_and_their_gradients(tokens: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, tokens, 8, dtype=torch.float64, requires_grad=True)
    table = torch.randn(2, 30, 8, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 30, (2, tokens))
    scale = torch.tensor([1.0, 3.0], dtype=torch.float64)

    ours = cross_entropy(x, table, target)
    grads = torch.autograd.grad((ours * scale).sum(), (x, table))
    nats = F.cross_entropy((x @ table.transpose(1, 2)).flatten(0, 1), target.flatten(), reduction="none").view(
        2, tokens
    )
    expected = torch.autograd.grad((nats.mean(1) * scale).sum(), (x, table))

    torch.testing.assert_close(ours, nats.mean(1))
    torch.testing.assert_close(token_nats(x, table, target), nats)
    for grad, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, other)


def test_logits_far_from_zero_do_not_overflow() -> None:
    x, table = torch.full((1, 3, 1), 1000.0), torch.tensor([[[1.0], [0.0]]])
    target = torch.tensor([[0, 0, 1]])
    assert cross_entropy(x, table, target).item() == pytest.approx(1000 / 3)
    assert token_nats(x, table, target)[0].tolist() == [0, 0, 1000]


def test_no_piece_lies_beside_the_next() -> None:
    """What `memory.LOGIT` counts on."""
    gone = list[weakref.ref[Tensor]]()

    def gradient(logits_KRV: Tensor, target_KR1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert all(ref() is None for ref in gone)
        found = loss.SOFTMAX.gradient(logits_KRV, target_KR1)
        gone.append(weakref.ref(found[2]))
        return found

    x, table = torch.randn(1, 4 * loss.PIECE + 1, 8).bfloat16(), torch.randn(1, 20, 8)
    cross_entropy(x, table, torch.randint(0, 20, x.shape[:2]), loss.Softmax(gradient, loss.SOFTMAX.nats))
    assert len(gone) > 2


@pytest.mark.slow
def test_in_bf16_the_loss_and_its_gradients_are_nearly_those_in_fp64() -> None:
    torch.manual_seed(0)
    x, table = torch.randn(2, loss.PIECE + 7, 32), 0.3 * torch.randn(2, 300, 32)
    target = torch.randint(0, 300, x.shape[:2])
    exact = (x.bfloat16().double().requires_grad_(), table.double().requires_grad_())
    rough = (x.bfloat16().requires_grad_(), table.clone().requires_grad_())
    expected, found = cross_entropy(*exact, target), cross_entropy(*rough, target)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=2e-3, atol=0)
    torch.testing.assert_close(token_nats(*rough, target).double(), token_nats(*exact, target), rtol=0, atol=0.06)
    wanted, got = (torch.autograd.grad(pair[1].sum(), pair[0]) for pair in ((exact, expected), (rough, found)))
    for ours, theirs in zip(got, wanted, strict=True):
        assert torch.linalg.vector_norm(ours.double() - theirs) < 0.01 * torch.linalg.vector_norm(theirs)
