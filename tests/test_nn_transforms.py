"""Layers under tracing, compilation, export and function transforms: each works, or raises an error with an
alternative."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
import torch._dynamo  # at import: it lists torch's functions, which other tests monkeypatch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils.rnn import PackedSequence
from torch.utils.checkpoint import checkpoint

import charlstm.nn as ours
from charlstm.errors import UserError

LAYERS = ["RNN", "LSTM", "GRU", "PeepholeLSTM", "CoupledLSTM", "Leaky"]
I, H, T, B = 3, 4, 3, 2  # noqa: E741
QUIET = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:Iterating over a tensor:torch.jit.TracerWarning",
    "ignore:Dynamo detected a call to a .functools.lru_cache",
)


def assert_close(actual: Any, expected: Any) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def traced(layer: Any, x: Tensor) -> None:
    result = torch.jit.trace(layer, (x,))
    assert_close(result(x), layer(x))
    more = torch.cat([x, x], 1)
    assert_close(result(more), layer(more))
    longer = torch.cat([x, x])
    if layer.executor == "vendor" or (
        layer.executor == "auto" and layer.cell.name == "lstm"
    ):  # torch's layer, for any length
        assert_close(result(longer), layer(longer))
    else:
        with pytest.raises(RuntimeError, match=f"Expected {T} elements in a list but found {2 * T}"):
            result(longer)


def exported(layer: Any, x: Tensor) -> None:
    assert_close(torch.export.export(layer, (x,)).module()(x), layer(x))


def recorded(layer: Any, x: Tensor) -> None:
    assert_close(make_fx(lambda v: layer(v)[0])(x)(x + 1), layer(x + 1)[0])


def compiled(layer: Any, x: Tensor) -> None:
    torch._dynamo.reset()
    assert_close(torch.compile(layer, fullgraph=True, backend="eager")(x), layer(x))


def over_a_batch(layer: Any, x: Tensor) -> None:
    many = torch.stack([x, x + 1])
    assert_close(vmap(layer)(many)[0], torch.stack([layer(each)[0] for each in many]))


def per_sample_gradients(layer: Any, x: Tensor) -> None:
    weights = dict(layer.named_parameters())

    def loss(weights: Any, x: Tensor) -> Tensor:
        return functional_call(layer, weights, (x,))[0].square().sum()

    actual = vmap(grad(loss), (None, 0))(weights, torch.stack([x, x + 1]))
    expected = torch.autograd.grad(loss(weights, x + 1), list(weights.values()))
    assert_close([d[1] for d in actual.values()], list(expected))


def directional(layer: Any, x: Tensor) -> Tensor:
    """The derivative of the outputs in the direction of ones, by finite differences in float64."""
    twin = type(layer)(I, H, executor="reference").double()
    twin.load_state_dict(layer.state_dict())
    ahead, behind = (twin(x.double() + e)[0] for e in (1e-5, -1e-5))
    return ((ahead - behind) / 2e-5).to(x.dtype)


def jacobian_product(layer: Any, x: Tensor) -> None:
    assert_close(jvp(lambda v: layer(v)[0], (x,), (torch.ones_like(x),))[1], directional(layer, x))


def dual_numbers(layer: Any, x: Tensor) -> None:
    with forward_ad.dual_level():
        y, _ = layer(forward_ad.make_dual(x, torch.ones_like(x)))
        assert_close(forward_ad.unpack_dual(y).tangent, directional(layer, x))


TRANSFORMS = (traced, recorded, exported, compiled, over_a_batch, per_sample_gradients, jacobian_product, dual_numbers)


def make(name: str, executor: str) -> tuple[Any, Tensor]:
    torch.manual_seed(2)
    layer = getattr(ours, name)(I, H, executor=executor)
    return layer, torch.randn(T, B, I)


@QUIET
@pytest.mark.parametrize(
    ("name", "executor", "transform"),
    [
        pytest.param(
            *(name, executor, transform),
            id=f"{name}-{executor}-{transform.__name__}",
            marks=pytest.mark.slow if transform is compiled and name not in ("LSTM", "Leaky") else (),
        )
        for name, executor, transform in product(LAYERS, ["auto", "eager"], TRANSFORMS)
        if transform not in (exported, compiled) or executor == "eager" or name == "LSTM"  # about a second each
    ],
)
@pytest.mark.few(20)
def test_works_transformed(name, executor, transform):
    transform(*make(name, executor))


@QUIET
@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("executor", ["cpp", "vendor"])
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
@pytest.mark.few(16)
def test_kernels_support_transforms_or_refuse(name, executor, transform):
    layer, x = make(name, executor)
    if executor == "vendor" and transform in (traced, recorded, exported, compiled):
        transform(layer, x)
        return
    with pytest.raises(Exception, match="Use executor: auto") as raised:
        transform(layer, x)
    assert raised.type is UserError or transform is compiled


@QUIET
@pytest.mark.parametrize("name", LAYERS)
def test_scripting_is_refused_with_an_alternative(name):
    with pytest.raises(RuntimeError, match=rf"does not support {name}: use torch\.jit\.trace"):
        torch.jit.script(torch.nn.ModuleList([getattr(ours, name)(I, H)]))


class Packed(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = ours.GRU(I, H)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(PackedSequence(x, torch.ones(T, dtype=torch.int64)))[0].data


@QUIET
def test_a_trace_of_packed_sequences_is_refused():
    with pytest.raises(RuntimeError, match="would be valid for their lengths only"):
        torch.jit.trace(Packed(), (torch.randn(T, I),))


@pytest.mark.parametrize("executor", ["cpp", "eager"])
@pytest.mark.parametrize("name", LAYERS)
def test_functional_call_takes_other_weights(name, executor):
    layer, x = make(name, executor)
    weights = {key: (p.detach() * 0.5).requires_grad_() for key, p in layer.named_parameters()}
    result = functional_call(layer, weights, (x,))
    result[0].sum().backward()
    layer.load_state_dict(weights)
    assert_close(result, layer(x))
    layer(x)[0].sum().backward()
    assert_close([w.grad for w in weights.values()], [p.grad for p in layer.parameters()])


@pytest.mark.parametrize("executor", ["cpp", "eager"])
def test_checkpointing_gives_the_same_gradients(executor):
    layer, x = make("PeepholeLSTM", executor)
    actual, expected = (
        torch.autograd.grad(run(x).square().sum(), list(layer.parameters()))
        for run in (lambda v: checkpoint(lambda w: layer(w)[0], v, use_reentrant=False), lambda v: layer(v)[0])
    )
    assert_close(actual, expected)


@pytest.mark.parametrize("executor", ["cpp", "eager"])
@pytest.mark.parametrize("name", LAYERS)
def test_batched_gradients_equal_single_ones(name, executor):
    layer, x = make(name, executor)
    many = torch.randn(3, T, B, H)
    leaves = list(layer.parameters())
    result = torch.autograd.grad(layer(x)[0], leaves, many, is_grads_batched=True)
    one_by_one = [torch.autograd.grad(layer(x)[0], leaves, d) for d in many]
    assert_close(list(result), [torch.stack(each) for each in zip(*one_by_one, strict=True)])
