"""Cells that stop the gradient along a part of their state, against an LSTM written out here and against formulas."""

from __future__ import annotations

import pytest
import torch
from test_laws import EXACT, LOW, NEAR, device_of, kind, leaves, make
from torch import Tensor

from charlstm.cells import CELLS
from charlstm.config import ModelConfig
from charlstm.executors import State, Weights, executors
from charlstm.model import LanguageModel

LSTM, NO_CELL, NO_HIDDEN = (CELLS[name] for name in ("lstm", "lstm_no_cell_gradient", "lstm_no_hidden_gradient"))
STOPPING = [NO_CELL, NO_HIDDEN]
stopping = pytest.mark.parametrize("cell", STOPPING, ids=lambda c: c.name)
everywhere = pytest.mark.parametrize(
    "executor", [executors()["reference"], *(executors()[name] for name in LOW)], ids=lambda e: e.name
)


def gates(w: Weights, x: Tensor, h: Tensor) -> list[Tensor]:
    i, f, g, o = (x @ w.weight_ih.t() + w.bias_ih + h @ w.weight_hh.t() + w.bias_hh).chunk(4, -1)
    return [torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)]


def plain(w: Weights, x: Tensor, state: State, stopped: str) -> tuple[Tensor, State]:
    (h, c), outputs = state, []
    for now in x:
        h, c = (h.detach() if "h" in stopped else h), (c.detach() if "c" in stopped else c)
        i, f, g, o = gates(w, now, h)
        c = f * c + i * g
        h = o * torch.tanh(c)
        outputs.append(h)
    return torch.stack(outputs), (h, c)


def near(executor) -> dict[str, float]:
    return NEAR if executor.name == "cpp" else EXACT


@everywhere
@stopping
def test_all_gradients_are_those_of_an_lstm_whose_steps_see_a_detached_state(cell, executor):
    weights, x, state = make(cell, (7, 3, 5, 4), **kind(executor))

    def gradients(y: Tensor, new: State) -> tuple[Tensor, ...]:
        scale = torch.linspace(-1, 2, y.numel(), dtype=y.dtype, device=y.device).view(y.shape)
        loss = (y * scale).sum() + sum((part * part).sum() for part in new)
        return torch.autograd.grad(loss, leaves(weights, x, state), allow_unused=True, materialize_grads=True)

    found, expected, whole = (
        gradients(*executor.run(cell, weights, x, state)),
        gradients(*plain(weights, x, state, cell.stop_gradient)),
        gradients(*plain(weights, x, state, "")),
    )
    for f, e in zip(found, expected, strict=True):
        torch.testing.assert_close(f, e, **near(executor))
    assert not any(torch.allclose(f, w, rtol=1e-2) for f, w in zip(found[:4], whole[:4], strict=True))


@everywhere
@pytest.mark.parametrize("lag", [1, 2, 9])
def test_without_the_hidden_gradient_the_cell_state_carries_it_by_its_forget_gates_alone(executor, lag):
    """d(v h_t) / dc_{t-k} = v o_t (1 - tanh^2 c_t) f_t ... f_{t-k+1}, and nothing by h_{t-k}."""
    weights, x, state = make(NO_HIDDEN, (lag, 2, 5, 4), **kind(executor))
    v = torch.linspace(-1, 2, 10, dtype=x.dtype, device=x.device).view(2, 5)
    y, _ = executor.run(NO_HIDDEN, weights, x, state)
    by_h, by_c = torch.autograd.grad((y[-1] * v).sum(), state)
    with torch.no_grad():
        h, c = state
        kept = torch.ones_like(c)
        for now in x:
            i, f, g, o = gates(weights, now, h)
            c = f * c + i * g
            h, kept = o * torch.tanh(c), kept * f
        expected = v * o * (1 - torch.tanh(c) ** 2) * kept
    torch.testing.assert_close(by_c, expected, **near(executor))
    assert torch.equal(by_h, torch.zeros_like(by_h))


@everywhere
@pytest.mark.parametrize("lag", [1, 2, 9])
def test_without_the_cell_gradient_the_output_carries_it_by_its_own_jacobians_alone(executor, lag):
    """d(v h_t) / dh_{t-k} = v J_t ... J_{t-k+1}, J_t = dh_t / dh_{t-1} at a given c_{t-1}, and nothing by c_{t-k}."""
    weights, x, state = make(NO_CELL, (lag, 1, 5, 4), **kind(executor))
    v = torch.linspace(-1, 2, 5, dtype=x.dtype, device=x.device)
    y, _ = executor.run(NO_CELL, weights, x, state)
    by_h, by_c = torch.autograd.grad((y[-1] @ v).sum(), state)
    U = weights.weight_hh.detach()
    with torch.no_grad():
        (h, c), jacobian = state, torch.eye(5, dtype=x.dtype, device=x.device)
        for now in x:
            i, f, g, o = gates(weights, now, h)
            new = f * c + i * g
            slopes = (i - i * i, f - f * f, 1 - g * g, o - o * o)
            d_i, d_f, d_g, d_o = (slope.t() * part for slope, part in zip(slopes, U.chunk(4), strict=True))
            d_new = c.t() * d_f + g.t() * d_i + i.t() * d_g
            step = torch.tanh(new).t() * d_o + (o * (1 - torch.tanh(new) ** 2)).t() * d_new
            h, c, jacobian = o * torch.tanh(new), new, step @ jacobian
    torch.testing.assert_close(by_h[0], v @ jacobian, **near(executor))
    assert torch.equal(by_c, torch.zeros_like(by_c))


@everywhere
@stopping
def test_over_chunks_of_one_step_with_a_detached_state_nothing_is_stopped(cell, executor):
    weights, x, state = make(cell, (4, 3, 5, 4), **kind(executor))
    fixed = [weights.weight_ih, weights.weight_hh, weights.bias_ih, weights.bias_hh]
    results = []
    for one in (cell, LSTM):
        carried, losses = state, []
        for chunk in x.split(1):
            y, new = executor.run(one, weights, chunk, carried)
            carried = tuple(part.detach() for part in new)
            losses.append((y * y).sum())
        results.append(torch.autograd.grad(sum(losses), fixed))
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("low", [False, True], ids=["float32", "bfloat16"])
@everywhere
@stopping
def test_what_is_computed_is_the_lstm_bit_by_bit(cell, executor, low):
    weights, x, state = make(cell, (6, 3, 33, 4), dtype=torch.float32, device=device_of(executor.name))
    with torch.autocast(x.device.type, torch.bfloat16, enabled=low):
        (y, new), (expected, last) = (executor.run(one, weights, x, state) for one in (cell, LSTM))
    assert all(map(torch.equal, (y, *new), (expected, *last)))


@pytest.mark.parametrize("part", ["cell_gradient", "hidden_gradient"])
def test_a_model_has_the_parameters_of_an_lstm_and_starts_as_one(part):
    found, expected = ({}, {})
    for states, options in ((found, {"ablate": part}), (expected, {})):
        torch.manual_seed(5)
        states |= LanguageModel(ModelConfig(hidden_size=6, forget_bias="chrono", **options), 9).state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
