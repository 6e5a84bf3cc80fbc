"""torch.nn's public behaviors on its layers and on ours: the same results, or both raise an error."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, parametrizations, parametrize, vector_to_parameters

import charlstm.nn as ours
from charlstm.executors import executors

TORCH = ["RNN", "LSTM", "GRU"]
ALL = [*TORCH, "PeepholeLSTM", "CoupledLSTM", "Leaky"]
I, H, T, B = 3, 4, 5, 2  # noqa: E741


class Twice(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def flat(result: Any) -> list[Any]:
    return [part for each in result for part in flat(each)] if isinstance(result, (tuple, list)) else [result]


def gradients(layer: Any, y: Tensor) -> list[Any]:
    y.sum().backward()
    return [p.grad for p in layer.parameters()]


def changed_in_place(layer: Any, x: Tensor) -> Any:
    y, _ = layer(x)
    y.mul_(y.detach().cos())
    return y, gradients(layer, y)


def relu_in_place(layer: Any, x: Tensor) -> Any:
    return gradients(layer, torch.relu_(layer(x)[0]))


def memory_layout(layer: Any, x: Tensor) -> Any:
    y, last = layer(x)
    return [(t.shape, t.stride(), t.untyped_storage().nbytes() == t.nbytes) for t in flat((y, last))]


def saved(layer: Any, x: Tensor) -> Any:
    file = io.BytesIO()
    torch.save(layer(x)[0], file)
    return torch.load(io.BytesIO(file.getvalue())), len(file.getvalue()) < 4096


def partly_frozen(layer: Any, x: Tensor) -> Any:
    layer.weight_hh_l0.requires_grad_(False)
    layer.bias_ih_l0.requires_grad_(False)
    return gradients(layer, layer(x)[0])


def all_frozen(layer: Any, x: Tensor) -> Any:
    y, _ = layer.requires_grad_(False)(x)
    return y, y.requires_grad, y.grad_fn


def as_vector(layer: Any, x: Tensor) -> Any:
    vector_to_parameters(parameters_to_vector(layer.parameters()) * 0.5, layer.parameters())
    return layer(x)


def replaced(layer: Any, x: Tensor) -> Any:
    layer.weight_ih_l0 = nn.Parameter(layer.weight_ih_l0.detach() * 2)
    return layer(x), layer.all_weights[0][0].data_ptr() == layer.weight_ih_l0.data_ptr()


def shared(layer: Any, x: Tensor) -> Any:
    layer.weight_hh_l1 = layer.weight_hh_l0
    return gradients(layer, layer(x)[0])


def plain_tensor(layer: Any, x: Tensor) -> Any:
    """As in DropConnect: a weight replaced by a plain tensor."""
    raw = layer.weight_hh_l0
    del layer.weight_hh_l0
    layer.register_parameter("raw", raw)
    layer.weight_hh_l0 = layer.raw * 0.5
    y, _ = layer(x)
    return y, torch.autograd.grad(y.sum(), raw)


def parametrized(layer: Any, x: Tensor) -> Any:
    parametrize.register_parametrization(layer, "weight_hh_l0", Twice())
    y, _ = layer(x)
    return y, gradients(layer, y)


def weight_norm(layer: Any, x: Tensor) -> Any:
    parametrizations.weight_norm(layer, "weight_hh_l0")
    return layer(x), gradients(layer, layer(x)[0])


def hooks(layer: Any, x: Tensor) -> Any:
    received: list[Any] = []
    layer.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 2,))
    layer.register_forward_hook(lambda *arguments: (arguments[2][0] + 1, arguments[2][1]))
    layer.register_full_backward_hook(lambda *arguments: received.extend(arguments[2][:1]))
    return layer(x)[0], gradients(layer, layer(x)[0]), received


def no_grad(layer: Any, x: Tensor) -> Any:
    with torch.no_grad():
        y, last = layer(x)
    return y, last, y.requires_grad, y.is_inference()


def inference_mode(layer: Any, x: Tensor) -> Any:
    with torch.inference_mode():
        y, _ = layer(x)
        return y.clone(), y.is_inference(), y.view(T, -1).shape


def copied(layer: Any, x: Tensor) -> Any:
    layer(x)[0].sum().backward()
    twin = copy.deepcopy(layer)
    return twin(x), [p.grad for p in twin.parameters()], copy.copy(layer)(x)


def pickled(layer: Any, x: Tensor) -> Any:
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)(x), pickle.loads(pickle.dumps(layer))(x)


def drawn_again(layer: Any, x: Tensor) -> Any:
    before = parameters_to_vector(layer.parameters()).detach().clone()
    result = layer.reset_parameters()
    return result, torch.equal(before, parameters_to_vector(layer.parameters()))


def replica(layer: Any, x: Tensor) -> Any:
    """As torch.nn.parallel.replicate makes it: no parameters, and copies of them as plain attributes."""
    twin = layer._replicate_for_data_parallel()
    for name, p in layer.named_parameters():
        setattr(twin, name, p.view_as(p))
    y, last = twin(x)
    return list(twin.parameters()), y, last, gradients(layer, y)


def penalty(layer: Any, x: Tensor) -> Any:
    x = x.requires_grad_()
    (g,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
    return g, gradients(layer, g * g)


def names(layer: Any, x: Tensor) -> Any:
    every = {p.data_ptr(): name for name, p in layer.named_parameters()}
    return [[every[p.data_ptr()] for p in part] for part in [*layer.all_weights, layer._flat_weights]]


def attributes(layer: Any, x: Tensor) -> Any:
    sizes = [layer.input_size, layer.hidden_size, layer.num_layers, layer.proj_size]
    return layer.mode, *sizes, layer.bias, layer.batch_first, layer.dropout, layer.bidirectional, layer.training


def moved(kind: torch.dtype) -> Any:
    def run(layer: Any, x: Tensor) -> Any:
        y, last = layer.to(kind)(x.to(kind))
        return [(t.dtype, t.shape) for t in flat((y, last))]

    return run


def state(change: Any) -> Any:
    """Run with a modified initial state."""

    def run(layer: Any, x: Tensor) -> Any:
        h = x.new_ones(layer.num_layers, x.shape[1], H)
        changed = change(h)
        return layer(x, (changed, changed) if layer.mode == "LSTM" else changed)

    return run


BEHAVIORS = {
    "a batch of none": lambda layer, x: [t.shape for t in flat(layer(x[:, :0]))],
    "a batch of none, backward": lambda layer, x: gradients(layer, layer(x[:, :0])[0]),
    "no time step": lambda layer, x: layer(x[:0]),
    "no time step, no batch": lambda layer, x: layer(x[:0, 0]),
    "one vector": lambda layer, x: layer(x[0, 0]),
    "four dimensions": lambda layer, x: layer(x[None]),
    "too wide": lambda layer, x: layer(torch.cat([x, x], -1)),
    "another type": lambda layer, x: layer(x.half()),
    "whole numbers": lambda layer, x: layer(x.long()),
    "a list": lambda layer, x: layer(x.tolist()),
    "by name": lambda layer, x: layer(input=x, hx=None),
    "strided input": lambda layer, x: layer(x.transpose(0, 1).contiguous().transpose(0, 1)),
    "a state": state(lambda h: h),
    "a strided state": state(lambda h: h.transpose(0, 1).contiguous().transpose(0, 1)),
    "a state of another type": state(lambda h: h.half()),
    "a state of another batch": state(lambda h: h[:, :1]),
    "a state of one layer": state(lambda h: h[:1]),
    "a state without a batch": state(lambda h: h[:, 0]),
    "half": moved(torch.float16),
    "bfloat16": moved(torch.bfloat16),
    "viewed": lambda layer, x: layer(x)[0].view(T, -1),
    "flattened": lambda layer, x: (layer.flatten_parameters(), layer(x)),
    "eval": lambda layer, x: (layer.eval()(x), layer.training, layer.train().training),
    "shared memory": lambda layer, x: (layer.share_memory()(x), layer.weight_ih_l0.is_shared()),
    "wrong state dictionary": lambda layer, x: layer.load_state_dict({"weight_ih_l0": x}),
    **{
        f.__name__: f
        for f in (
            changed_in_place,
            relu_in_place,
            memory_layout,
            saved,
            partly_frozen,
            all_frozen,
            as_vector,
            replaced,
            shared,
            plain_tensor,
            parametrized,
            weight_norm,
            hooks,
            no_grad,
            inference_mode,
            copied,
            pickled,
            drawn_again,
            replica,
            penalty,
            names,
            attributes,
        )
    },
}


def outcome(behavior: Any, layer: Any) -> list[Any] | Exception:
    torch.manual_seed(3)
    x = torch.randn(T, B, I).to(layer.weight_ih_l0.dtype)
    try:
        return flat(behavior(layer, x))
    except Exception as error:
        return error


@pytest.mark.parametrize("executor", ["cpp", "eager"])
@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("behavior", BEHAVIORS.values(), ids=BEHAVIORS)
@pytest.mark.few(141)
def test_behaves_as_torch(behavior, name, executor):
    torch.manual_seed(1)
    torch_layer = getattr(nn, name)(I, H, 2).double()
    our_layer = getattr(ours, name)(I, H, 2, executor=executor)
    our_layer.load_state_dict(torch_layer.state_dict())
    if refusal := executors()[executor].refuses(our_layer.cell, our_layer.weights(), torch.ones(1, 1, I)):
        pytest.skip(refusal)
    if executor != "cpp":
        our_layer = our_layer.double()
    if behavior in (BEHAVIORS["half"], BEHAVIORS["bfloat16"]):
        our_layer.executor = "eager"
    actual, expected = outcome(behavior, our_layer), outcome(behavior, torch_layer)
    if isinstance(expected, Exception):
        assert isinstance(actual, Exception), f"torch refuses: {expected}"
        assert str(actual)
        return
    if isinstance(actual, Exception):
        raise actual
    for f, e in zip(actual, expected, strict=True):
        if isinstance(e, Tensor):
            torch.testing.assert_close(f, e, check_dtype=False, rtol=1e-4, atol=1e-5)
        else:
            assert f == e


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize(
    "options",
    [
        {"hidden_size": 0},
        {"hidden_size": -4},
        {"hidden_size": 4.0},
        {"input_size": 0},
        {"input_size": "3"},
        {"num_layers": 0},
        {"bias": 1},
        {"batch_first": "yes"},
        {"dropout": 1.5},
        {"dropout": -0.1},
        {"dropout": True},
        {"proj_size": -1},
        {"hiden_size": 4},
        {"dtype": torch.int64},
        {"device": "nowhere"},
    ],
    ids=str,
)
def test_refuses_what_torch_refuses(name, options):
    errors = []
    for module in (nn, ours):
        with pytest.raises((ValueError, TypeError, RuntimeError)) as raised:
            getattr(module, name)(**{"input_size": I, "hidden_size": H, **options})
        errors.append(raised.type)
    assert errors[0] is errors[1] or "dtype" in options


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "bias": False, "batch_first": True, "dropout": 0.5, "bidirectional": True},
        {"num_layers": 3, "dropout": 1},
        {"proj_size": 0, "batch_first": True},
    ],
    ids=str,
)
def test_repr_equals_torch(name, options):
    if name != "LSTM":
        options = {key: value for key, value in options.items() if key != "proj_size"}
    our_layer, torch_layer = getattr(ours, name)(I, H, **options), getattr(nn, name)(I, H, **options)
    assert repr(our_layer) == repr(torch_layer)
    assert attributes(our_layer, Tensor()) == attributes(torch_layer, Tensor())
    assert names(our_layer, Tensor()) == names(torch_layer, Tensor())


def test_repr_shows_non_default_options_that_torch_lacks():
    assert repr(ours.GRU(I, H, reset_after=False)) == "GRU(3, 4, reset_after=False)"
    assert repr(ours.LSTM(I, H, executor="eager")) == "LSTM(3, 4, executor=eager)"
    assert repr(ours.Leaky(I, H, learn_leak=False)) == "Leaky(3, 4, learn_leak=False)"


@pytest.mark.parametrize("name", TORCH)
def test_dropout_on_one_layer_warns_as_in_torch(name):
    with pytest.warns(UserWarning, match="num_layers"):
        getattr(nn, name)(I, H, dropout=0.5)
    with pytest.warns(UserWarning, match="num_layers") as warnings:
        getattr(ours, name)(I, H, dropout=0.5)
    assert warnings[0].filename == __file__


def test_positional_arguments_up_to_dtype():
    arguments = (I, H, 2, True, True, 0.5, True, 0, "cpu", torch.float64)
    our_layer, torch_layer = ours.LSTM(*arguments), nn.LSTM(*arguments)
    assert repr(our_layer) == repr(torch_layer)
    assert our_layer.weight_ih_l0.dtype == torch_layer.weight_ih_l0.dtype


def test_projections_are_refused():
    with pytest.raises(ValueError, match="no projections: proj_size must be 0, found 2"):
        ours.LSTM(I, H, proj_size=2)


@pytest.mark.parametrize("name", ALL)
def test_wrong_device_or_dtype_is_a_clear_error(name):
    layer, x = getattr(ours, name)(I, H, executor="eager"), torch.randn(T, B, I)
    first = layer.initial_state(B)
    with pytest.raises(ValueError, match=r"input is torch\.float64 and the weights are torch\.float32"):
        layer(x.double())
    with pytest.raises(ValueError, match="input is on meta and the weights are on cpu"):
        layer(x.to("meta"))
    with pytest.raises(ValueError, match=r"initial state is torch\.float64"):
        layer(x, tuple(part.double() for part in first))
    with pytest.raises(ValueError, match="initial state is on meta"):
        layer(x, tuple(part.to("meta") for part in first))
    with pytest.raises(TypeError, match="initial state of tensors, found NoneType"):
        layer(x, (None,) * len(first))
    with torch.autocast("cpu", torch.bfloat16):
        layer(x.bfloat16())


@pytest.mark.parametrize("name", ALL)
def test_no_time_step_is_a_clear_error(name):
    for x in (torch.zeros(0, B, I), torch.zeros(0, I)):
        with pytest.raises(ValueError, match="at least one time step"):
            getattr(ours, name)(I, H)(x)
    with pytest.raises(ValueError, match=r"at least one time step.*\[2, 0, 3\]"):
        getattr(ours, name)(I, H, batch_first=True)(torch.zeros(B, 0, I))
