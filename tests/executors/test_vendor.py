"""torch's recurrent layers: whole stacks in one call, and weights in cuDNN's layout."""

from __future__ import annotations

import copy

import pytest
import torch
from test_laws import SHAPES, make, outputs_and_gradients

from charlstm.cells import CELLS
from charlstm.errors import UserError
from charlstm.executors import choose, executors, vendor
from charlstm.model.stack import RecurrentStack

TORCH_CELLS = [c for c in CELLS.values() if c.torch]


@pytest.fixture
def cudnn(monkeypatch):
    """Simulates a GPU with cuDNN on the CPU: a fake moves the weights into one buffer, and records for each call in how
    many storages its weights are."""
    flattened, storages = [], []

    def flatten_weight(weights, stride, input_size, mode, hidden, proj, layers, batch_first, bidirectional):
        assert len(weights) == stride * layers
        assert (weights[0].shape[1], weights[1].shape[1], proj, batch_first, bidirectional) == (
            input_size,
            hidden,
            0,
            False,
            False,
        )
        buffer = torch.cat([w.reshape(-1) for w in weights])
        for w, part in zip(weights, buffer.split([w.numel() for w in weights]), strict=True):
            w.set_(part.view(w.shape))
        flattened.append((mode, layers))
        return buffer

    def recording(original):
        def run(x, hx, weights, *options):
            storages.append(len({w.untyped_storage().data_ptr() for w in weights}))
            assert len({t.dtype for t in (x, *weights, *(hx if isinstance(hx, list) else [hx]))}) == 1
            return original(x, hx, weights, *options)

        return run

    monkeypatch.setattr(vendor, "_cudnn_runs", lambda *_: True)
    monkeypatch.setattr(torch.backends.cudnn.rnn, "get_cudnn_mode", lambda name: name)
    monkeypatch.setattr(torch, "_cudnn_rnn_flatten_weight", flatten_weight)
    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu"):
        monkeypatch.setattr(torch, name, recording(getattr(torch, name)))
    monkeypatch.setattr("charlstm.executors.vendor.Vendor.stack_devices", ("cpu",))
    return flattened, storages


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
@pytest.mark.parametrize("cell", TORCH_CELLS, ids=lambda c: c.name)
def test_flat_copy_changes_neither_results_nor_weights(cell, shape, ids, bias, cudnn):
    weights, x, state = make(cell, shape, bias=bias, ids=ids)
    expected = outputs_and_gradients(executors()["reference"], cell, weights, x, state)
    parameters = vendor.flat_weight_list([weights])
    before = [(w.data_ptr(), w._version) for w in parameters]
    actual = outputs_and_gradients(executors()["vendor"], cell, weights, x, state)
    for e, f in zip(expected, actual, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-9, atol=1e-11)
    assert [(w.data_ptr(), w._version) for w in parameters] == before
    flattened, storages = cudnn
    assert flattened == [({"lstm": "LSTM", "gru": "GRU", "rnn": "RNN_TANH", "irnn": "RNN_RELU"}[cell.name], 1)]
    assert storages == [1]


def stack_pair(cell, layers, **options):
    """The same stack on ``reference`` and on ``vendor``."""
    torch.manual_seed(1)
    stack = RecurrentStack(cell, 5, 7, layers, executor="reference", **options).double()
    other = RecurrentStack(cell, 5, 7, layers, executor="vendor", **options).double()
    other.load_state_dict(stack.state_dict())
    return stack, other


def run(stack, x, state):
    y, last = stack(x, state)
    loss = y.square().sum() + sum((part * (k + 2)).sum() for k, part in enumerate(last))
    gradients = torch.autograd.grad(loss, [*stack.parameters()])
    return [y, *last, *gradients]


@pytest.mark.parametrize("ids", [False, True], ids=["vectors", "ids"])
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("cell", TORCH_CELLS, ids=lambda c: c.name)
def test_whole_stack_runs_in_one_call(cell, layers, ids, cudnn):
    reference, stack = stack_pair(cell, layers)
    x = torch.randint(6, (4, 3)) if ids else torch.randn(4, 3, 5, dtype=torch.float64)
    state = tuple(torch.randn(layers, 3, 7, dtype=torch.float64) for _ in cell.state)
    cudnn[0].clear()
    for expected, actual in zip(run(reference, x, state), run(stack, x, state), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-11)
    assert cudnn == ([], [1])  # the parameters are flat already


@pytest.mark.parametrize("executor", ["vendor", "eager"])
def test_projection_and_choice_happen_once_per_layer(executor, cudnn, monkeypatch):
    stack, projected, chosen = RecurrentStack(CELLS["gru"], 5, 7, 3, executor=executor), [], []

    def project(weight):
        projected.append(weight)
        return 2 * weight

    def recording_choose(*arguments):
        chosen.append(choose(*arguments))
        return chosen[-1]

    monkeypatch.setattr("charlstm.model.stack.choose", recording_choose)
    stack(torch.randint(6, (4, 3)), project=project)
    assert [w is stack.weight_ih_l0 for w in projected] == [True]
    assert [choice.executor.name for choice in chosen] == [executor] * 3
    assert len(cudnn[1]) == (executor == "vendor")


def test_parameters_stay_flat_during_training_and_loading(cudnn):
    _, stack = stack_pair(CELLS["lstm"], 2)
    names = list(stack.state_dict())
    optimizer = torch.optim.AdamW(stack.parameters(), lr=0.1)
    cudnn[0].clear()
    x = torch.randn(3, 2, 5, dtype=torch.float64)
    for _ in range(2):
        stack(x)[0].sum().backward()
        optimizer.step()
        stack.load_state_dict({name: p.clone() for name, p in stack.state_dict().items()})
    assert cudnn == ([], [1, 1])
    assert list(stack.state_dict()) == names
    assert len({p.untyped_storage().data_ptr() for p in stack.parameters()}) == 1


def test_moved_or_copied_weights_are_flattened_again(cudnn):
    reference, stack = stack_pair(CELLS["gru"], 2)
    x = torch.randn(3, 2, 5, dtype=torch.float64)
    twin = copy.deepcopy(stack)
    with torch.no_grad():
        for p in (*stack.parameters(), *reference.parameters()):
            p.mul_(2)
    stack.weight_hh_l1.data = stack.weight_hh_l1.data.clone()
    cudnn[0].clear()
    torch.testing.assert_close(stack(x)[0], reference(x)[0])
    assert not torch.allclose(twin(x)[0], reference(x)[0])
    assert [layers for _, layers in cudnn[0]] == [2, 2]


@pytest.mark.parametrize(
    ("options", "calls"),
    [({}, 1), ({"dropout": 0.5}, 2), ({"residual": True}, 2), ({"bidirectional": True}, 4)],
    ids=str,
)
def test_layers_with_operations_between_them_run_separately(options, calls, cudnn):
    stack = RecurrentStack(CELLS["lstm"], 5, 7, 2, executor="vendor", **options)
    x = torch.randn(3, 2, 5)
    stack(x)
    assert len(cudnn[1]) == calls
    cudnn[1].clear()
    stack.eval()(x)
    assert len(cudnn[1]) == (1 if "dropout" in options else calls)


def test_projected_weights_are_used_in_the_flat_copy(cudnn):
    reference, stack = stack_pair(CELLS["lstm"], 2)
    vectors = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    ids = torch.randint(10, (4, 3))
    cudnn[0].clear()
    actual = []
    for each in (reference, stack):
        y, _ = each(ids, None, lambda weight: (vectors @ weight.t()).t())
        actual.append([y, *torch.autograd.grad(y.square().sum(), [vectors, *each.parameters()])])
    for e, f in zip(*actual, strict=True):
        torch.testing.assert_close(f, e, rtol=1e-9, atol=1e-11)
    assert cudnn == ([("LSTM", 2)], [1])


@pytest.mark.usefixtures("cudnn")
def test_bfloat16_casts_all_inputs_and_returns_float32_state(monkeypatch):
    monkeypatch.setattr(vendor, "TORCH_CASTS", ())
    weights, x, state = make(CELLS["lstm"], (6, 4, 16, 8), dtype=torch.float32)
    expected = outputs_and_gradients(executors()["reference"], CELLS["lstm"], weights, x, state)
    with torch.autocast("cpu", torch.bfloat16):
        actual = outputs_and_gradients(executors()["vendor"], CELLS["lstm"], weights, x, state)
    assert [t.dtype for t in actual] == [torch.bfloat16, *[torch.float32] * (len(actual) - 1)]
    for e, f in zip(expected, actual, strict=True):
        assert torch.linalg.norm(f.float() - e) <= 0.05 * torch.linalg.norm(e)


def test_bfloat16_needs_new_cudnn_and_supporting_gpu(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    gpu = torch.device("cuda", 0)
    for version, runs in ((91002, False), (91300, True)):
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda version=version: version)
        assert vendor._cudnn_runs(torch.bfloat16, gpu) == runs
        assert vendor._cudnn_runs(torch.float32, gpu)
        assert not vendor._cudnn_runs(torch.float32, torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    assert not vendor._cudnn_runs(torch.bfloat16, gpu)


def test_refused_request_is_an_error_for_stacks_too(cudnn):
    stack = RecurrentStack(CELLS["peephole"], 5, 7, 2, executor="vendor")
    with pytest.raises(UserError, match="torch has no peephole"):
        stack(torch.randn(3, 2, 5))
    weights, x, _ = make(CELLS["peephole"], (2, 2, 3, 4))
    assert choose("auto", CELLS["peephole"], weights, x).executor.name == "eager"
