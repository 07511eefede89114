from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from cuvee.plan.sizes import SIZES, Size
from cuvee.proxies.model import Decoder

VOCAB = 50
SMALL = Size("small", layers=2, dim=32, heads=2, hidden=48)
SHARED = Size("shared", layers=2, dim=32, heads=4, hidden=48, kv_heads=2)


def decoder(members: int = 1, *, seed: int = 0, block: int = 0, size: Size = SMALL) -> Decoder:
    return Decoder(size, VOCAB, members, seed=seed, block=block)


def tokens(members: int = 1, batch: int = 2, length: int = 9) -> torch.Tensor:
    return torch.randint(0, VOCAB, (members, batch, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", list(SIZES))
def test_parameters_are_as_many_as_the_size_says(name: str) -> None:
    model = decoder(size=SIZES[name])
    assert sum(w.numel() for w in model.parameters()) == SIZES[name].parameters + 2 * VOCAB * SIZES[name].dim


def test_shapes() -> None:
    model, x = decoder(3), tokens(3)
    assert model(x).shape == (3, 2, 9, VOCAB)
    assert model.loss(x).shape == (3,)
    assert model.nats(x).shape == (3, 2, 8)


def test_loss_is_the_mean_of_nats_is_cross_entropy_of_logits() -> None:
    model, x = decoder(2), tokens(2)
    logits = model(x[..., :-1])
    expected = F.cross_entropy(logits.flatten(0, 2), x[..., 1:].flatten(), reduction="none").view(2, 2, 8)
    torch.testing.assert_close(model.nats(x), expected)
    torch.testing.assert_close(model.loss(x), expected.mean((1, 2)))


def test_untrained_models_know_nothing() -> None:
    assert decoder().loss(tokens(batch=50)).item() == pytest.approx(torch.tensor(VOCAB).log().item(), abs=0.05)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("kv_heads", [None, 1, 2, 4])
def test_parameters_with_shared_heads_and_tables(kv_heads: int | None, tied: bool) -> None:
    size = replace(SHARED, kv_heads=kv_heads, tied=tied)
    assert sum(w.numel() for w in decoder(size=size).parameters()) == size.all_parameters(VOCAB)


def test_shared_heads_are_heads_with_equal_keys_and_values() -> None:
    shared, whole, x = decoder(2, size=SHARED), decoder(2, size=replace(SHARED, kv_heads=None)), tokens(2)
    for name, weight in whole.named_parameters():
        given = shared.get_parameter(name).detach()
        if name.endswith("qkv"):
            q, k, v = given.tensor_split((32, 48), -1)
            given = torch.cat([q, *(part.view(2, 32, 2, 8).repeat_interleave(2, 2).flatten(2) for part in (k, v))], -1)
        weight.data.copy_(given)
    torch.testing.assert_close(shared(x), whole(x))
    loss = shared.loss(x)
    torch.testing.assert_close(loss, whole.loss(x))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in shared.parameters())


def test_a_tied_table_learns_from_both_of_its_uses() -> None:
    tied, untied, x = decoder(2, size=replace(SMALL, tied=True)), decoder(2), tokens(2)
    with torch.no_grad():
        for name, weight in untied.named_parameters():
            weight.copy_(tied.get_parameter(name))
    for model in (tied, untied):
        model.loss(x).sum().backward()  # type: ignore[no-untyped-call]
    assert tied.table.grad is not None
    assert untied.table.grad is not None
    assert untied.head.grad is not None
    torch.testing.assert_close(tied.table.grad, untied.table.grad + untied.head.grad)


@pytest.mark.parametrize("size", [replace(SMALL, rotary_base=100.0), replace(SMALL, epsilon=0.1)])
def test_base_and_epsilon_count(size: Size) -> None:
    assert (decoder(size=size).loss(tokens()) - decoder().loss(tokens())).abs() > 1e-6


def test_every_model_begins_with_the_given_weights() -> None:
    model, source = decoder(3), decoder(block=1)
    model.begin({name: weight[0].detach().numpy() for name, weight in source.named_parameters()})
    for name, weight in model.named_parameters():
        assert torch.equal(weight, source.get_parameter(name).expand_as(weight)), name


@torch.no_grad()
def test_a_token_changes_nothing_before_it() -> None:
    model, x = decoder(), tokens()
    y = x.clone()
    y[..., 5] = (y[..., 5] + 1) % VOCAB
    before, after = model(x), model(y)
    torch.testing.assert_close(before[:, :, :5], after[:, :, :5], rtol=0, atol=0)
    assert (before[:, :, 5:] - after[:, :, 5:]).abs().amax((0, 1, 3)).min() > 0


@torch.no_grad()
def test_order_matters() -> None:
    model = decoder()
    for weight in model.parameters():
        weight.mul_(5)
    x = torch.tensor([[[3, 4, 7], [4, 3, 7]]])
    assert (model(x)[0, 0, 2] - model(x)[0, 1, 2]).abs().max() > 1e-3


@torch.no_grad()
def test_members_use_their_own_weights_only() -> None:
    model, x = decoder(3), tokens(3)
    before = model(x)
    for weight in model.parameters():
        weight[1] *= 1.5
    after = model(x)
    torch.testing.assert_close(before[[0, 2]], after[[0, 2]], rtol=0, atol=0)
    assert (before[1] - after[1]).abs().max() > 0
    alone = decoder()
    for weight, other in zip(alone.parameters(), model.parameters(), strict=True):
        weight.copy_(other[1:2])
    torch.testing.assert_close(alone(x[1:2]), after[1:2])


def test_initial_weights_follow_from_seed_and_block() -> None:
    first = decoder(2, seed=1, block=2).state_dict()
    for name, weight in decoder(3, seed=1, block=2).state_dict().items():
        assert torch.equal(weight[2], first[name][0]), name
        assert torch.equal(first[name][0], first[name][1]), name
    for other in (decoder(seed=1, block=3), decoder(seed=2, block=2)):
        assert not torch.equal(other.table[0], first["table"][0])


def test_the_memory_of_a_training_is_what_the_backward_pass_keeps() -> None:
    shape, kept = SIZES["0.3M"], dict[int, int]()
    model = decoder(size=shape)
    weights = {w.untyped_storage().data_ptr() for w in model.parameters()}
    held = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor)
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    tokens = torch.zeros(model.members, 8, 65, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.loss(tokens)
    found = sum(size for place, size in kept.items() if place not in weights)
    foretold = shape.training_bytes(VOCAB, model.members * 8 * 64) - 16 * shape.all_parameters(VOCAB)
    assert found == pytest.approx(foretold, rel=0.15)
