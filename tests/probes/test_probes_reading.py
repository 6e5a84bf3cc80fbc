"""Trajectories equal the states of the model's forward."""

from __future__ import annotations

import pytest
import torch
from small_models import V, assert_unchanged, every_kind, model, text

from charlstm.errors import UserError
from charlstm.model.eval_mode import eval_mode
from charlstm.probes.reading import float64_copy, initial_state, layer_output, named_state, probe_mode, trajectory


@every_kind
def test_trajectory_has_the_state_after_each_prefix(fields):
    network, ids = model(**fields), text(6)
    with assert_unchanged(network):
        copy = float64_copy(network)
        states = trajectory(copy, ids, initial_state(copy, 3, None))
    with torch.no_grad(), eval_mode(network):
        for t in range(len(ids)):
            _, state = network.encode(ids[: t + 1])
            for letter, part in named_state(network, state).items():
                torch.testing.assert_close(states[letter][t + 1], part)
    assert all((part[0] == 0).all() for part in states.values())


@every_kind
def test_output_of_the_last_layer_is_the_input_of_the_head(fields):
    network, ids = model(**fields).eval(), text(5)
    h = trajectory(network, ids, initial_state(network, 3, None))[network.recurrent.cell.state[0]]
    with torch.no_grad():
        y, _ = network.encode(ids)
    torch.testing.assert_close(layer_output(network, h[1:], network.recurrent.num_layers - 1), y)


def test_float64_copy_uses_the_reference_executor():
    network = model(executor="eager").float()
    copy = float64_copy(network)
    (row,) = [c.executor.name for c in copy.choices(text(1))][:1]
    assert row == "reference"
    assert {p.dtype for p in copy.parameters()} == {torch.float64}
    assert not any(p.requires_grad for p in copy.parameters())
    assert not any(m.training for m in copy.modules())
    (part,) = {part.dtype for part in initial_state(copy, 3, network.initial_state(3))}
    assert part == torch.float64


def test_model_is_unchanged_after_an_error():
    network = model()
    with assert_unchanged(network), pytest.raises(IndexError), probe_mode(network):
        network.encode(text(1) + V)


@pytest.mark.parametrize("access", [float64_copy, lambda network: probe_mode(network).__enter__()])
def test_bidirectional_model_is_refused(access):
    with pytest.raises(UserError, match="direction: bidirectional has no state"):
        access(model(direction="bidirectional"))
