"""One step of every cell against formulas written out gate by gate, with explicit slices of the weights."""

from __future__ import annotations

import pytest
import torch
from shipped import SHIPPED
from torch import Tensor

from charlstm.cells import CELLS
from charlstm.executors import State, Weights, executors

I, H, B = 3, 4, 2  # noqa: E741


class Example:
    """Random weights, input and state; ``side(k, h)`` is W_k x + b_k + U_k h + b'_k for the k-th block of rows."""

    def __init__(self, gates: int, states: int, parameter: str | None = None, entries: int = 1) -> None:
        generator = torch.Generator().manual_seed(gates)

        def draw(*size: int) -> Tensor:
            return torch.randn(*size, generator=generator, dtype=torch.float64)

        self.W, self.U = draw(gates * H, I), draw(gates * H, H)
        self.b, self.bb = draw(gates * H), draw(gates * H)
        self.parameters = {parameter: draw(entries * H)} if parameter else {}
        self.x, self.state = draw(B, I), tuple(draw(B, H) for _ in range(states))

    def input(self, k: int) -> Tensor:
        rows = slice(k * H, k * H + H)
        return torch.einsum("hi,bi->bh", self.W[rows], self.x) + self.b[rows]

    def recurrent(self, k: int, h: Tensor) -> Tensor:
        rows = slice(k * H, k * H + H)
        return torch.einsum("hj,bj->bh", self.U[rows], h) + self.bb[rows]

    def side(self, k: int, h: Tensor) -> Tensor:
        return self.input(k) + self.recurrent(k, h)

    def run(self, name: str, executor: str) -> State:
        weights = Weights(self.W, self.U, self.b, self.bb, self.parameters)
        y, new = executors()[executor].run(CELLS[name], weights, self.x[None], self.state)
        assert torch.equal(y[0], new[0])
        return new


def sigma(a: Tensor) -> Tensor:
    return 1 / (1 + (-a).exp())


def tanh(a: Tensor) -> Tensor:
    return (a.exp() - (-a).exp()) / (a.exp() + (-a).exp())


def rnn() -> tuple[Example, State]:
    d = Example(1, 1)
    return d, (tanh(d.side(0, d.state[0])),)


def irnn() -> tuple[Example, State]:
    d = Example(1, 1)
    a = d.side(0, d.state[0])
    return d, (torch.where(a > 0, a, 0 * a),)


def lstm() -> tuple[Example, State]:
    d = Example(4, 2)
    h, c = d.state
    i, f, o = sigma(d.side(0, h)), sigma(d.side(1, h)), sigma(d.side(3, h))
    c = f * c + i * tanh(d.side(2, h))
    return d, (o * tanh(c), c)


def gru() -> tuple[Example, State]:
    d = Example(3, 1)
    (h,) = d.state
    r, z = sigma(d.side(0, h)), sigma(d.side(1, h))
    n = tanh(d.input(2) + r * d.recurrent(2, h))
    return d, ((1 - z) * n + z * h,)


def gru_reset_before() -> tuple[Example, State]:
    d = Example(3, 1)
    (h,) = d.state
    r, z = sigma(d.side(0, h)), sigma(d.side(1, h))
    n = tanh(d.input(2) + d.recurrent(2, r * h))
    return d, ((1 - z) * n + z * h,)


def peephole() -> tuple[Example, State]:
    d = Example(4, 2, "weight_peephole", 3)
    h, old = d.state
    p_i, p_f, p_o = d.parameters["weight_peephole"].split(H)
    i, f = sigma(d.side(0, h) + p_i * old), sigma(d.side(1, h) + p_f * old)
    c = f * old + i * tanh(d.side(2, h))
    o = sigma(d.side(3, h) + p_o * c)
    return d, (o * tanh(c), c)


def coupled() -> tuple[Example, State]:
    d = Example(3, 2)
    h, c = d.state
    f, o = sigma(d.side(0, h)), sigma(d.side(2, h))
    c = f * c + (1 - f) * tanh(d.side(1, h))
    return d, (o * tanh(c), c)


def capped() -> tuple[Example, State]:
    d = Example(4, 2)
    h, c = d.state
    i, f, g, o = sigma(d.side(0, h)), sigma(d.side(1, h)), tanh(d.side(2, h)), sigma(d.side(3, h))
    c = f * c + torch.minimum(i, 1 - f) * g
    return d, (o * tanh(c), c)


def leaky() -> tuple[Example, State]:
    d = Example(1, 1, "leak_logit")
    (h,), a = d.state, sigma(d.parameters["leak_logit"])
    return d, (h - a * h + a * tanh(d.side(0, h)),)


def leaky_fixed() -> tuple[Example, State]:
    d = Example(1, 1, "leak_rate")
    (h,), a = d.state, d.parameters["leak_rate"]
    return d, (h - a * h + a * tanh(d.side(0, h)),)


def esn() -> tuple[Example, State]:
    return leaky_fixed()


def lstm_no_forget_gate() -> tuple[Example, State]:
    d = Example(3, 2)
    h, c = d.state
    c = c + sigma(d.side(0, h)) * tanh(d.side(1, h))
    return d, (sigma(d.side(2, h)) * tanh(c), c)


def lstm_no_input_gate() -> tuple[Example, State]:
    d = Example(3, 2)
    h, c = d.state
    c = sigma(d.side(0, h)) * c + tanh(d.side(1, h))
    return d, (sigma(d.side(2, h)) * tanh(c), c)


def lstm_no_output_gate() -> tuple[Example, State]:
    d = Example(3, 2)
    h, c = d.state
    c = sigma(d.side(1, h)) * c + sigma(d.side(0, h)) * tanh(d.side(2, h))
    return d, (tanh(c), c)


def lstm_no_input_activation() -> tuple[Example, State]:
    d = Example(4, 2)
    h, c = d.state
    c = sigma(d.side(1, h)) * c + sigma(d.side(0, h)) * d.side(2, h)
    return d, (sigma(d.side(3, h)) * tanh(c), c)


def lstm_no_output_activation() -> tuple[Example, State]:
    d = Example(4, 2)
    h, c = d.state
    c = sigma(d.side(1, h)) * c + sigma(d.side(0, h)) * tanh(d.side(2, h))
    return d, (sigma(d.side(3, h)) * c, c)


def lstm_no_cell_gradient() -> tuple[Example, State]:
    return lstm()


def lstm_no_hidden_gradient() -> tuple[Example, State]:
    return lstm()


ABLATIONS = (
    lstm_no_forget_gate,
    lstm_no_input_gate,
    lstm_no_output_gate,
    lstm_no_input_activation,
    lstm_no_output_activation,
    lstm_no_cell_gradient,
    lstm_no_hidden_gradient,
)
OTHERS = (rnn, irnn, lstm, gru, gru_reset_before, peephole, coupled, capped, leaky, leaky_fixed, esn)
FORMULAS = {f.__name__: f for f in (*OTHERS, *ABLATIONS)}


def test_every_shipped_cell_has_its_formula_here():
    assert FORMULAS.keys() == set(SHIPPED) <= CELLS.keys()


@pytest.mark.parametrize("executor", ["reference", "eager"])
@pytest.mark.parametrize("name", FORMULAS)
def test_one_step_equals_the_formula(name, executor):
    example, expected = FORMULAS[name]()
    for actual, part in zip(example.run(name, executor), expected, strict=True):
        torch.testing.assert_close(actual, part, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", ["gru", "gru_reset_before"])
def test_gru_with_update_gate_at_one_keeps_its_state(name):
    example = Example(3, 1)
    example.b[H : 2 * H] = 1000.0
    assert torch.equal(example.run(name, "reference")[0], example.state[0])


def test_reset_before_and_after_differ():
    example = Example(3, 1)
    assert not torch.allclose(example.run("gru", "reference")[0], example.run("gru_reset_before", "reference")[0])


@pytest.mark.parametrize("reset_after", [True, False])
def test_negating_update_gate_weights_swaps_z_and_one_minus_z(reset_after):
    """Chung et al. 2014: h = (1 - z) h + z n."""
    example = Example(3, 1)
    (h,) = example.state
    r, z = sigma(example.side(0, h)), sigma(example.side(1, h))
    n = tanh(example.input(2) + (r * example.recurrent(2, h) if reset_after else example.recurrent(2, r * h)))
    expected = (1 - z) * h + z * n
    name = "gru" if reset_after else "gru_reset_before"
    assert not torch.allclose(example.run(name, "reference")[0], expected)
    for parameter in (example.W, example.U, example.b, example.bb):
        parameter[H : 2 * H] *= -1
    torch.testing.assert_close(example.run(name, "reference")[0], expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_leaking_rate_weights_the_new_activation(rate):
    example = Example(1, 1, "leak_rate")
    example.parameters["leak_rate"].fill_(rate)
    (output,) = example.run("leaky_fixed", "reference")
    expected = example.state[0] if rate == 0 else tanh(example.side(0, example.state[0]))
    torch.testing.assert_close(output, expected)


@pytest.mark.parametrize(("ablated", "gate"), [("forget_gate", "f"), ("input_gate", "i"), ("output_gate", "o")])
def test_lstm_without_a_gate_equals_lstm_with_gate_at_one(ablated, gate):
    full = Example(4, 2)
    block = slice("ifgo".index(gate) * H, "ifgo".index(gate) * H + H)
    full.b[block] = 1000.0
    ablation = Example(3, 2)
    rest = [k for k in range(4 * H) if not block.start <= k < block.stop]
    ablation.W, ablation.U, ablation.b, ablation.bb = (t[rest] for t in (full.W, full.U, full.b, full.bb))
    ablation.x, ablation.state = full.x, full.state
    for a, b in zip(ablation.run(f"lstm_no_{ablated}", "reference"), full.run("lstm", "reference"), strict=True):
        torch.testing.assert_close(a, b)
