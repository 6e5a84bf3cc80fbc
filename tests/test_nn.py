"""charlstm.nn equals torch.nn: constructor arguments, state dictionaries and results."""

from __future__ import annotations

import copy
import inspect
import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence

import charlstm.nn as ours
from charlstm.executors import executors

TORCH = ["RNN", "LSTM", "GRU"]
NOT_IN_TORCH = ["PeepholeLSTM", "CoupledLSTM"]
FORMS = [
    {},
    {"num_layers": 2},
    {"num_layers": 3, "bidirectional": True},
    {"num_layers": 2, "bias": False},
    {"bidirectional": True, "batch_first": True},
    {"num_layers": 2, "batch_first": True, "bias": False, "bidirectional": True},
]
I, H, T, B = 3, 4, 5, 2  # noqa: E741


TOLERANCES = {torch.float32: {"rtol": 1e-4, "atol": 1e-5}}


def pair(name: str, executor: str = "auto", **form: Any) -> tuple[Any, Any]:
    torch.manual_seed(5)
    torch_layer = getattr(torch.nn, name)(I, H, **form).double()
    layer = getattr(ours, name)(I, H, **form, executor=executor).double()
    layer.load_state_dict(torch_layer.state_dict())
    return (layer.float(), torch_layer.float()) if executor == "cpp" else (layer, torch_layer)


def initial_state(layer: Any, batch: int | None = B) -> Any:
    size = (layer.num_layers * (2 if layer.bidirectional else 1), *(() if batch is None else (batch,)), H)
    generator = torch.Generator().manual_seed(8)
    kind = next(layer.parameters()).dtype
    parts = [torch.randn(size, generator=generator, dtype=kind).requires_grad_() for _ in range(2)]
    return tuple(parts) if "LSTM" in type(layer).__name__ else parts[0]


def flat(*values: Any) -> list[Tensor]:
    result: list[Tensor] = []
    for v in values:
        if isinstance(v, PackedSequence):
            result.append(v.data)
        elif isinstance(v, tuple):
            result += flat(*v)
        else:
            result.append(v)
    return result


def assert_equal(layer: Any, torch_layer: Any, x: Any, hx: Any = None) -> None:
    """Compare outputs, final states and all gradients."""
    results = []
    leaves = [*flat(x), *(() if hx is None else flat(hx))]
    for module in (layer, torch_layer):
        outputs = flat(*module(x, hx))
        loss = sum(((n + 1) * (t * t.detach().cos()).sum() for n, t in enumerate(outputs)), torch.zeros(()))
        results.append([*outputs, *torch.autograd.grad(loss, [*module.parameters(), *leaves])])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, **TOLERANCES.get(a.dtype, {}))


def vectors(*size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(4), dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("has_hx", [False, True], ids=["no-hx", "hx"])
@pytest.mark.parametrize("batched", [True, False], ids=["batch", "no-batch"])
@pytest.mark.parametrize("executor", [e for e in executors() if e != "triton"])
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("name", TORCH)
@pytest.mark.few(75)
def test_equals_torch(name, form, executor, batched, has_hx):
    layer, torch_layer = pair(name, executor, **form)
    x = vectors(*((B, T) if form.get("batch_first") else (T, B)), I) if batched else vectors(T, I)
    hx = initial_state(layer, B if batched else None) if has_hx else None
    if executor == "cpp":
        x = x.detach().float().requires_grad_()
    assert_equal(layer, torch_layer, x, hx)


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_state_dicts_go_both_ways(name, form):
    layer, torch_layer = getattr(ours, name)(I, H, **form), getattr(torch.nn, name)(I, H, **form)
    assert list(layer.state_dict()) == list(torch_layer.state_dict())
    assert [p.shape for p in layer.parameters()] == [p.shape for p in torch_layer.parameters()]
    torch_layer.load_state_dict(layer.state_dict())
    for a, b in zip(layer.parameters(), torch_layer.parameters(), strict=True):
        assert torch.equal(a, b)


def test_relu_equals_torch():
    assert_equal(*pair("RNN", nonlinearity="relu", num_layers=2), vectors(T, B, I))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("LSTM", (I, H, 2, False, True, 0.25, True)),
        ("GRU", (I, H, 2, False, True, 0.25, True)),
        ("RNN", (I, H, 2, "relu", False, True, 0.25, True)),
        ("RNN", (I, H, 1, "tanh")),
    ],
)
def test_positional_arguments_match_torch(name, arguments):
    layer, torch_layer = getattr(ours, name)(*arguments), getattr(torch.nn, name)(*arguments)
    attributes = ["input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"]
    for attribute in [*attributes, *(["nonlinearity"] if name == "RNN" else [])]:
        assert getattr(layer, attribute) == getattr(torch_layer, attribute), attribute
    layer.load_state_dict(torch_layer.state_dict())
    x = torch.randn(T, B, I)
    torch.testing.assert_close(layer.eval()(x)[0], torch_layer.eval()(x)[0])


@pytest.mark.parametrize("name", TORCH + NOT_IN_TORCH)
def test_device_and_dtype(name):
    layer = getattr(ours, name)(I, H, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.bfloat16)}


def test_reset_before_differs_from_reset_after():
    after, before = ours.GRU(I, H), ours.GRU(I, H, reset_after=False)
    before.load_state_dict(after.state_dict())
    x = torch.randn(T, B, I)
    assert not torch.allclose(after(x, torch.ones(1, B, H))[0], before(x, torch.ones(1, B, H))[0])


def test_parameters_of_the_peephole_lstm():
    shapes = {name: tuple(p.shape) for name, p in ours.PeepholeLSTM(I, H, 2, bidirectional=True).named_parameters()}
    assert list(shapes)[:5] == ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_peephole_l0"]
    for suffix in ("_l0", "_l0_reverse", "_l1", "_l1_reverse"):
        assert shapes["weight_peephole" + suffix] == (3 * H,)
        assert shapes["weight_ih" + suffix] == (4 * H, I if "l0" in suffix else 2 * H)
    assert len(shapes) == 20


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_without_peepholes_it_is_the_lstm(form):
    plain = torch.nn.LSTM(I, H, **form).double()
    layer = ours.PeepholeLSTM(I, H, **form).double()
    missing, unexpected = layer.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert all(name.startswith("weight_peephole") for name in missing)
    x = vectors(T, T, I)
    before = layer(x)[0]
    with torch.no_grad():
        for name in missing:
            layer.get_parameter(name).zero_()
    actual, expected = layer(x), plain(x)
    for a, b in zip(flat(*actual), flat(*expected), strict=True):
        torch.testing.assert_close(a, b)
    assert not torch.allclose(before, actual[0])


def test_coupled_lstm_input_gate_is_one_minus_forget_gate():
    layer, plain = ours.CoupledLSTM(I, H).double(), torch.nn.LSTM(I, H).double()
    assert [tuple(p.shape) for p in layer.parameters()] == [(3 * H, I), (3 * H, H), (3 * H,), (3 * H,)]
    for name, p in plain.named_parameters():  # sigmoid(-a) = 1 - sigmoid(a)
        f, g, o = layer.get_parameter(name).detach().chunk(3)
        p.data.copy_(torch.cat([-f, f, g, o]))
    x, hx = vectors(T, B, I), initial_state(layer)
    for a, b in zip(flat(*layer(x, hx)), flat(*plain(x, hx)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["LSTM", *NOT_IN_TORCH])
@pytest.mark.parametrize("value", [None, 0.0, 2.5])
def test_forget_bias(name, value):
    layer = getattr(ours, name)(I, H, 2, bidirectional=True, **({} if value is None else {"forget_bias": value}))
    start = layer.cell.gates.index("f") * H
    for suffix in ("_l0", "_l1", "_l0_reverse", "_l1_reverse"):
        total = layer.get_parameter("bias_ih" + suffix) + layer.get_parameter("bias_hh" + suffix)
        gate = total[start : start + H]
        if value is None:
            assert gate.unique().numel() == H
            assert gate.abs().max() <= 2 / math.sqrt(H)
        else:
            assert torch.equal(gate, torch.full((H,), value))
    getattr(ours, name)(I, H, 2, bias=False)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU", *NOT_IN_TORCH])
def test_orthogonal_recurrent_weights(name):
    layer = getattr(ours, name)(I, H, 2, recurrent_init="orthogonal")
    for weight in (layer.weight_hh_l0, layer.weight_hh_l1):
        for block in weight.detach().chunk(len(layer.cell.gates)):
            torch.testing.assert_close(block @ block.T, torch.eye(H), atol=1e-5, rtol=0)


@pytest.mark.parametrize("learn", [True, False])
def test_leaky_units_are_an_rnn_whose_state_leaks(learn):
    torch.manual_seed(6)
    layer, plain = ours.Leaky(I, H, learn_leak=learn, leak_rate=[0.2, 0.8]).double(), torch.nn.RNN(I, H).double()
    plain.load_state_dict({name: p for name, p in layer.state_dict().items() if "leak" not in name})
    rates = torch.tensor([0.2, 0.2 * 4 ** (1 / 3), 0.2 * 4 ** (2 / 3), 0.8]).double()
    x, h = vectors(T, B, I), vectors(1, B, H)
    result, last = layer(x, h)
    for t in range(T):
        h = (1 - rates) * h + rates * plain(x[t : t + 1], h)[1]
        torch.testing.assert_close(result[t], h[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(last, h, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["GRU", "LSTM"])
def test_chrono_initializes_every_layer(name):
    layer = getattr(ours, name)(I, 50, 2, forget_bias="chrono", chrono_length=1000)
    rows = slice(layer.cell.gates.index(layer.cell.forget_gate) * 50, None)
    for suffix in ("_l0", "_l1"):
        total = (layer.get_parameter("bias_ih" + suffix) + layer.get_parameter("bias_hh" + suffix))[rows][:50]
        assert 4 < total.max() <= 7
        assert (total >= 0).all()
    with pytest.raises(TypeError, match="forget_baes"):
        getattr(ours, name)(I, H, forget_baes=2.0)


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("RNN", "forget_bias"),
        ("RNN", "identity_scale"),
        ("RNN", "chrono_length"),
        ("LSTM", "leak_rate"),
        ("Leaky", "spectral_radius"),
    ],
)
def test_unknown_initialization_option_is_refused(name, option):
    with pytest.raises(TypeError, match=f"^{name}.* {option}|^{name}.*'{option}'$"):
        getattr(ours, name)(I, H, **{option: 3})


@pytest.mark.parametrize("name", ours.__all__)
def test_signatures_are_explicit_and_documented(name):
    layer = getattr(ours, name)
    parameters = inspect.signature(layer).parameters
    assert not {p.kind for p in parameters.values()} & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    documented = re.findall(r"^    (\w+(?:, \w+)*): ", inspect.getdoc(layer), re.MULTILINE)
    assert set(parameters) == {one for names in documented for one in names.split(", ")}
    if torch_layer := getattr(torch.nn, name, None):
        torch_parameters = inspect.signature(torch_layer.__init__).parameters
        known = (
            list(inspect.signature(torch.nn.RNNBase.__init__).parameters)[2:]
            if "args" in torch_parameters
            else list(torch_parameters)
        )
        assert [p for p in parameters if p in known] == [p for p in known if p in parameters]


def test_relu_is_initialized_as_irnn_and_others_as_torch():
    layer = ours.RNN(I, H, nonlinearity="relu")
    assert torch.equal(layer.weight_hh_l0, torch.eye(H))
    assert not layer.bias_ih_l0.any()
    assert not layer.bias_hh_l0.any()
    wide = ours.GRU(I, 100)
    for p in wide.parameters():
        assert 0.09 < p.abs().max() <= 0.1
        assert abs(p.mean()) < 0.02


@pytest.mark.parametrize("name", TORCH + NOT_IN_TORCH)
@pytest.mark.parametrize("form", [{}, {"batch_first": True}], ids=str)
def test_wrong_shapes_and_types_are_clear_errors(name, form):
    layer = getattr(ours, name)(I, H, **form)
    parts = 2 if "LSTM" in name else 1
    with pytest.raises(ValueError, match=r"expected \[T, B, 3\] or \[T, 3\], found \[5, 2, 4\]"):
        layer(torch.randn(T, B, I + 1))
    with pytest.raises(ValueError, match=r"found \[1, 5, 2, 3\]"):
        layer(torch.randn(1, T, B, I))
    x = torch.randn(*((B, T) if form else (T, B)), I)
    with pytest.raises(ValueError, match=r"expected an initial state of \[\(1, 2, 4\).*found \[\(1, 3, 4\)"):
        layer(x, (torch.zeros(1, B + 1, H),) * parts)
    with pytest.raises(ValueError, match=r"expected an initial state of \[\(1, 4\).*found \[\(1, 1, 4\)"):
        layer(torch.randn(T, I), (torch.zeros(1, 1, H),) * parts)
    with pytest.raises(ValueError, match="expected an initial state of"):
        layer(x, (torch.zeros(1, B, H),) * (parts + 1))
    with pytest.raises(TypeError, match=r"floating-point tensor .*found torch\.int64"):
        layer(torch.zeros(T, B, I, dtype=torch.int64))
    with pytest.raises(TypeError, match="found list"):
        layer([[1.0]])
    with pytest.raises(ValueError, match=r"packed sequences of \[N, 3\], found \[5, 4\]"):
        layer(pack_sequence([torch.randn(T, I + 1)]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be at least 1, found 0"),
        ({"num_layers": 0}, "num_layers must be at least 1"),
        ({"input_size": -1}, "input_size must be at least 1"),
        ({"dropout": 1.5}, "dropout must be a probability"),
        ({"dropout": -0.1}, "dropout must be a probability"),
        ({"nonlinearity": "sine"}, "nonlinearity must be tanh or relu, found 'sine'"),
    ],
)
def test_wrong_arguments_are_clear_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        ours.RNN(**{"input_size": I, "hidden_size": H, **arguments})


@pytest.mark.parametrize("name", TORCH + NOT_IN_TORCH)
def test_dropout_acts_between_layers_and_only_in_training(name):
    layer = getattr(ours, name)(I, H, 2, dropout=0.5)
    x = torch.randn(T, B, I)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    assert torch.equal(layer.eval()(x)[0], layer(x)[0])
    with pytest.warns(UserWarning, match="dropout acts between layers"):
        top_only = getattr(ours, name)(I, H, 1, dropout=0.5)
    assert torch.equal(top_only(x)[0], top_only(x)[0])
    dropped = getattr(ours, name)(I, H, 2, dropout=1.0)
    first, second = dropped(x)[0], dropped(torch.randn(T, B, I))[0]
    assert torch.equal(first, second), "nothing of the first layer passes at dropout 1"


def test_dropout_is_drawn_for_every_element_as_in_torch():
    layer = ours.GRU(I, H, 2, dropout=0.5)
    x = torch.randn(T, B, I)
    bottom, top = ours.GRU(I, H), ours.GRU(H, H)
    for n, one in enumerate((bottom, top)):
        one.load_state_dict({k.replace(f"_l{n}", "_l0"): p for k, p in layer.state_dict().items() if f"_l{n}" in k})
    torch.manual_seed(3)
    actual = layer(x)[0]
    torch.manual_seed(3)
    expected = top(torch.nn.functional.dropout(bottom(x)[0], 0.5))[0]
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("sort", [True, False], ids=["sorted", "unsorted"])
@pytest.mark.parametrize("has_hx", [False, True], ids=["no-hx", "hx"])
@pytest.mark.parametrize("lengths", [[6, 4, 4, 1], [3, 3, 3], [1], [5, 4, 3, 2, 1]], ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("name", TORCH)
@pytest.mark.few(60)
def test_packed_sequences_equal_torch(name, form, lengths, has_hx, sort):
    layer, torch_layer = pair(name, **form)
    lengths = lengths if sort else [*lengths[1::2], *lengths[::2]]
    packed = pack_padded_sequence(vectors(max(lengths), len(lengths), I), lengths, enforce_sorted=sort)
    packed = packed._replace(data=packed.data.detach().requires_grad_())
    assert_equal(layer, torch_layer, packed, initial_state(layer, len(lengths)) if has_hx else None)
    (actual, _), (expected, _) = layer(packed), torch_layer(packed)
    assert isinstance(actual, PackedSequence)
    for a, b in zip(actual[1:], expected[1:], strict=True):
        assert a is b is None or torch.equal(a, b)


@pytest.mark.parametrize("name", NOT_IN_TORCH)
def test_packed_sequences_equal_single_sequences(name):
    layer = getattr(ours, name)(I, H, 2, bidirectional=True).double()
    sequences = [vectors(n, I) for n in (2, 5, 3)]
    packed, last = layer(pack_sequence(sequences, enforce_sorted=False))
    padded, lengths = pad_packed_sequence(packed)
    for n, x in enumerate(sequences):
        y, alone = layer(x)
        torch.testing.assert_close(padded[: lengths[n], n], y)
        for a, b in zip(flat(last), flat(alone), strict=True):
            torch.testing.assert_close(a[:, n], b)


@pytest.mark.parametrize("name", TORCH + NOT_IN_TORCH)
def test_layers_can_be_copied_and_flattened(name):
    layer = getattr(ours, name)(I, H)
    layer.flatten_parameters()
    twin = copy.deepcopy(layer)
    assert twin.cell is layer.cell
    x = torch.randn(T, B, I)
    assert torch.equal(layer(x)[0], twin(x)[0])
    with torch.no_grad():
        twin.weight_ih_l0.add_(1)
    assert not torch.equal(layer(x)[0], twin(x)[0])
