"""Reading with the state in sight: the states are those of the model's ordinary forward."""

from __future__ import annotations

import pytest
import torch
from small_models import V, every_kind, left_alone, model, text

from charlstm.errors import UserError
from charlstm.model.eval_mode import eval_mode
from charlstm.probes.reading import begin, exact, handed_on, parts, trajectory, undisturbed


@every_kind
def test_the_states_are_those_after_each_prefix(fields):
    network, ids = model(**fields), text(6)
    with left_alone(network):
        copy = exact(network)
        along = trajectory(copy, ids, begin(copy, 3, None))
    with torch.no_grad(), eval_mode(network):
        for t in range(len(ids)):
            _, state = network.read(ids[: t + 1])
            for letter, part in parts(network, state).items():
                torch.testing.assert_close(along[letter][t + 1], part)
    assert all((part[0] == 0).all() for part in along.values())


@every_kind
def test_what_the_last_layer_hands_on_is_what_the_head_reads(fields):
    network, ids = model(**fields).eval(), text(5)
    h = trajectory(network, ids, begin(network, 3, None))[network.recurrent.cell.state[0]]
    with torch.no_grad():
        y, _ = network.read(ids)
    torch.testing.assert_close(handed_on(network, h[1:], network.recurrent.num_layers - 1), y)


def test_the_copy_is_exact_whatever_the_model_is_run_by():
    network = model(executor="eager").float()
    copy = exact(network)
    (row,) = [c.executor.name for c in copy.choices(text(1))][:1]
    assert row == "reference"
    assert {p.dtype for p in copy.parameters()} == {torch.float64}
    assert not any(p.requires_grad for p in copy.parameters())
    assert not any(m.training for m in copy.modules())
    (part,) = {part.dtype for part in begin(copy, 3, network.initial_state(3))}
    assert part == torch.float64


def test_the_model_is_as_it_was_after_an_error():
    network = model()
    with left_alone(network), pytest.raises(IndexError), undisturbed(network):
        network.read(text(1) + V)


@pytest.mark.parametrize("read", [exact, lambda network: undisturbed(network).__enter__()])
def test_a_model_of_both_sides_is_refused(read):
    with pytest.raises(UserError, match="direction: bidirectional has no state"):
        read(model(direction="bidirectional"))
