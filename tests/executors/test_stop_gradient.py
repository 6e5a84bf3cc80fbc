"""Cells that stop the gradient along a part of their state, compared to a hand-written LSTM and to formulas."""

from __future__ import annotations

import pytest
import torch
from test_laws import FLOAT32_TOLERANCE, FLOAT64_TOLERANCE, SUPPORT_BFLOAT16, device_of, dtype_and_device, leaves, make
from torch import Tensor

from charlstm.cells import CELLS
from charlstm.config import ModelConfig
from charlstm.executors import State, Weights, executors
from charlstm.model import LanguageModel

LSTM, NO_CELL, NO_HIDDEN = (CELLS[name] for name in ("lstm", "lstm_no_cell_gradient", "lstm_no_hidden_gradient"))
STOPPING = [NO_CELL, NO_HIDDEN]
stopping = pytest.mark.parametrize("cell", STOPPING, ids=lambda c: c.name)
executors_and_reference = pytest.mark.parametrize(
    "executor", [executors()["reference"], *(executors()[name] for name in SUPPORT_BFLOAT16)], ids=lambda e: e.name
)


def gates(w: Weights, x: Tensor, h: Tensor) -> list[Tensor]:
    i, f, g, o = (x @ w.weight_ih.t() + w.bias_ih + h @ w.weight_hh.t() + w.bias_hh).chunk(4, -1)
    return [torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)]


def plain_lstm(w: Weights, x: Tensor, state: State, stopped: str) -> tuple[Tensor, State]:
    (h, c), outputs = state, []
    for x_t in x:
        h, c = (h.detach() if "h" in stopped else h), (c.detach() if "c" in stopped else c)
        i, f, g, o = gates(w, x_t, h)
        c = f * c + i * g
        h = o * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), (h, c)


def tolerance(executor) -> dict[str, float]:
    return FLOAT32_TOLERANCE if executor.name == "cpp" else FLOAT64_TOLERANCE


@executors_and_reference
@stopping
def test_gradients_equal_those_of_an_lstm_with_detached_state(cell, executor):
    weights, x, state = make(cell, (7, 3, 5, 4), **dtype_and_device(executor))

    def gradients(y: Tensor, new: State) -> tuple[Tensor, ...]:
        scale = torch.linspace(-1, 2, y.numel(), dtype=y.dtype, device=y.device).view(y.shape)
        loss = (y * scale).sum() + sum((part * part).sum() for part in new)
        return torch.autograd.grad(loss, leaves(weights, x, state), allow_unused=True, materialize_grads=True)

    actual, expected, unstopped = (
        gradients(*executor.run(cell, weights, x, state)),
        gradients(*plain_lstm(weights, x, state, cell.stop_gradient)),
        gradients(*plain_lstm(weights, x, state, "")),
    )
    for f, e in zip(actual, expected, strict=True):
        torch.testing.assert_close(f, e, **tolerance(executor))
    assert not any(torch.allclose(f, w, rtol=1e-2) for f, w in zip(actual[:4], unstopped[:4], strict=True))


@executors_and_reference
@pytest.mark.parametrize("lag", [1, 2, 9])
def test_no_hidden_gradient_flows_through_forget_gates_only(executor, lag):
    """d(v h_t) / dc_{t-k} = v o_t (1 - tanh^2 c_t) f_t ... f_{t-k+1}; the gradient of h_{t-k} is zero."""
    weights, x, state = make(NO_HIDDEN, (lag, 2, 5, 4), **dtype_and_device(executor))
    v = torch.linspace(-1, 2, 10, dtype=x.dtype, device=x.device).view(2, 5)
    y, _ = executor.run(NO_HIDDEN, weights, x, state)
    d_h, d_c = torch.autograd.grad((y[-1] * v).sum(), state)
    with torch.no_grad():
        h, c = state
        product = torch.ones_like(c)
        for x_t in x:
            i, f, g, o = gates(weights, x_t, h)
            c = f * c + i * g
            h, product = o * torch.tanh(c), product * f
        expected = v * o * (1 - torch.tanh(c) ** 2) * product
    torch.testing.assert_close(d_c, expected, **tolerance(executor))
    assert torch.equal(d_h, torch.zeros_like(d_h))


@executors_and_reference
@pytest.mark.parametrize("lag", [1, 2, 9])
def test_no_cell_gradient_flows_through_output_jacobians_only(executor, lag):
    """d(v h_t) / dh_{t-k} = v J_t ... J_{t-k+1}, J_t = dh_t / dh_{t-1} at fixed c_{t-1}; that of c_{t-k} is zero."""
    weights, x, state = make(NO_CELL, (lag, 1, 5, 4), **dtype_and_device(executor))
    v = torch.linspace(-1, 2, 5, dtype=x.dtype, device=x.device)
    y, _ = executor.run(NO_CELL, weights, x, state)
    d_h, d_c = torch.autograd.grad((y[-1] @ v).sum(), state)
    U = weights.weight_hh.detach()
    with torch.no_grad():
        (h, c), jacobian = state, torch.eye(5, dtype=x.dtype, device=x.device)
        for x_t in x:
            i, f, g, o = gates(weights, x_t, h)
            new = f * c + i * g
            slopes = (i - i * i, f - f * f, 1 - g * g, o - o * o)
            d_i, d_f, d_g, d_o = (slope.t() * part for slope, part in zip(slopes, U.chunk(4), strict=True))
            d_new = c.t() * d_f + g.t() * d_i + i.t() * d_g
            step = torch.tanh(new).t() * d_o + (o * (1 - torch.tanh(new) ** 2)).t() * d_new
            h, c, jacobian = o * torch.tanh(new), new, step @ jacobian
    torch.testing.assert_close(d_h[0], v @ jacobian, **tolerance(executor))
    assert torch.equal(d_c, torch.zeros_like(d_c))


@executors_and_reference
@stopping
def test_chunks_of_one_step_have_the_gradients_of_the_lstm(cell, executor):
    weights, x, state = make(cell, (4, 3, 5, 4), **dtype_and_device(executor))
    matrices_and_biases = [weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh]
    results = []
    for one in (cell, LSTM):
        carried, losses = state, []
        for chunk in x.split(1):
            y, new = executor.run(one, weights, chunk, carried)
            carried = tuple(part.detach() for part in new)
            losses.append((y * y).sum())
        results.append(torch.autograd.grad(sum(losses), matrices_and_biases))
    for actual, expected in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("bfloat16", [False, True], ids=["float32", "bfloat16"])
@executors_and_reference
@stopping
def test_forward_pass_is_bit_identical_to_the_lstm(cell, executor, bfloat16):
    weights, x, state = make(cell, (6, 3, 33, 4), dtype=torch.float32, device=device_of(executor.name))
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bfloat16):
        (y, new), (expected, last) = (executor.run(one, weights, x, state) for one in (cell, LSTM))
    assert all(map(torch.equal, (y, *new), (expected, *last)))


@pytest.mark.parametrize("part", ["cell_gradient", "hidden_gradient"])
def test_initial_parameters_equal_those_of_an_lstm(part):
    actual, expected = ({}, {})
    for states, options in ((actual, {"ablate": part}), (expected, {})):
        torch.manual_seed(5)
        states |= LanguageModel(ModelConfig(hidden_size=6, forget_bias="chrono", **options), 9).state_dict()
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
