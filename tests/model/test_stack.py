"""Stacks, dropout and incremental steps."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from charlstm.cells import CELLS, find
from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.generation.incremental import IncrementalModel
from charlstm.model import LanguageModel, RecurrentStack
from charlstm.model.dropout import dropout, part_of_batch


def test_locked_dropout_is_one_mask_for_all_steps():
    x = torch.randn(50, 4, 30)
    torch.manual_seed(0)
    is_nonzero = dropout(x, 0.4, "locked", True) != 0
    assert (is_nonzero == is_nonzero[0]).all()
    assert not (is_nonzero[0] == is_nonzero[0, :1]).all(), "each text has a separate mask"
    assert 0.4 < is_nonzero.double().mean() < 0.8


def test_elementwise_dropout_is_drawn_for_every_step():
    torch.manual_seed(0)
    is_nonzero = dropout(torch.ones(50, 4, 30), 0.4, "elementwise", True) != 0
    assert (is_nonzero != is_nonzero[0]).any(0).all()
    assert 0.55 < is_nonzero.double().mean() < 0.65


@pytest.mark.parametrize("kind", ["locked", "elementwise"])
def test_dropout_keeps_the_mean_and_is_off_in_evaluation(kind):
    torch.manual_seed(0)
    x = torch.ones(20, 40, 100)
    dropped = dropout(x, 0.25, kind, True)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert abs(dropped.mean() - 1) < 0.02
    assert dropout(x, 0.25, kind, False) is x
    assert dropout(x, 0.0, kind, True) is x


@pytest.mark.parametrize("kind", ["locked", "elementwise"])
def test_dropout_keeps_the_dtype_and_can_drop_everything(kind):
    x = torch.ones(5, 3, 4, dtype=torch.bfloat16)
    assert dropout(x, 0.25, kind, True).dtype == torch.bfloat16
    assert not dropout(x, 1.0, kind, True).any()


def test_dropout_acts_on_every_layer_but_the_last():
    stack = RecurrentStack(find("lstm"), 3, 4, 3, dropout=0.5, dropout_kind="locked")
    layers = []
    for n in range(3):
        layers.append(RecurrentStack(find("lstm"), 3 if n == 0 else 4, 4))
        layer_state = {
            name.replace(f"_l{n}", "_l0"): p for name, p in stack.state_dict().items() if name.endswith(f"_l{n}")
        }
        layers[n].load_state_dict(layer_state)
    x = torch.randn(6, 2, 3)
    torch.manual_seed(1)
    result, _ = stack(x)
    torch.manual_seed(1)
    y, _ = layers[0](x)
    for layer in layers[1:]:
        y, _ = layer(y * F.dropout(torch.ones(1, 2, 4), 0.5))
    torch.testing.assert_close(result, y)


@pytest.mark.parametrize("executor", ["eager", "cpp"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda c: c.name)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_residual_adds_the_input_and_dropout_acts_on_the_sum(cell, bidirectional, executor):
    hidden_size = 8 if bidirectional else 4
    options = {"bidirectional": bidirectional, "executor": executor}
    stack = RecurrentStack(cell, 3, 4, 3, dropout=0.5, residual=True, **options)
    layers = []
    for n in range(3):
        layers.append(RecurrentStack(cell, 3 if n == 0 else hidden_size, 4, **options))
        layer_state = {name.replace(f"_l{n}", "_l0"): p for name, p in stack.state_dict().items() if f"_l{n}" in name}
        layers[n].load_state_dict(layer_state)
    x = torch.randn(6, 2, 3)
    torch.manual_seed(1)
    actual, last = stack(x)
    torch.manual_seed(1)
    h, first = layers[0](x)
    states = [first]
    for layer in layers[1:]:
        h = h * F.dropout(torch.ones(1, 2, hidden_size), 0.5)
        y, state = layer(h)
        states.append(state)
        h = h + y
    torch.testing.assert_close(actual, h)
    for part, expected in zip(last, zip(*states, strict=True), strict=True):
        torch.testing.assert_close(part, torch.cat(expected))


@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda c: c.name)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_parameters_and_states_of_every_cell(cell, bidirectional):
    stack = RecurrentStack(cell, 3, 4, 2, bidirectional=bidirectional)
    directions = 2 if bidirectional else 1
    y, state = stack(torch.randn(5, 2, 3))
    assert y.shape == (5, 2, 4 * directions)
    assert [tuple(s.shape) for s in state] == [(2 * directions, 2, 4)] * len(cell.state)
    top = state[0].view(2, directions, 2, 4)[1]
    assert torch.equal(y[-1, :, :4], top[0])
    if bidirectional:
        assert torch.equal(y[0, :, 4:], top[1])
    names = list(cell.parameter_shapes(3, 4))
    suffixes = ["_l0", "_l0_reverse", "_l1", "_l1_reverse"] if bidirectional else ["_l0", "_l1"]
    assert list(stack.state_dict()) == [n + s for s in suffixes for n in names]


def test_choices_name_an_executor_for_every_layer():
    stack = RecurrentStack(find("lstm"), 2000, 4, 2)
    bottom, top = stack.choices(torch.zeros(3, 2, dtype=torch.long))
    assert "one-hot vectors of 2000" in bottom.others["vendor"]
    refused = "cpp" in bottom.refusing
    assert bottom.executor.name == ("eager" if refused else "cpp")
    assert top.executor.refuses(find("lstm"), stack.weights("_l1"), torch.zeros(1, 1, 4)) is None


def test_requested_executor_that_refuses_is_an_error():
    stack = RecurrentStack(find("peephole"), 3, 4, executor="vendor")
    with pytest.raises(UserError, match="executor vendor cannot run cell peephole"):
        stack(torch.randn(5, 2, 3))


@pytest.mark.parametrize(
    "front",
    [
        {"front_end": "one_hot"},
        {"front_end": "embedding", "embedding_size": 5},
        {"front_end": "convolution", "kernel_sizes": [1, 3], "filters": 2, "highway": True},
        {"front_end": "convolution", "kernel_sizes": [1], "filters": 2},
    ],
    ids=["one_hot", "embedding", "convolution", "convolution of one"],
)
@pytest.mark.parametrize(
    "depth",
    [{}, {"num_layers": 3}, {"num_layers": 3, "residual": True}, {"num_layers": 3, "output": "sum"}],
    ids=str,
)
@pytest.mark.parametrize("cell", CELLS.values(), ids=lambda c: c.name)
@pytest.mark.few(100)
def test_incremental_steps_equal_the_full_sequence(cell, depth, front):
    torch.manual_seed(4)
    front_end_fields = {"front_end": "one_hot"} if cell.is_reservoir else front
    config = ModelConfig(cell=cell.base, hidden_size=6, dropout=0.5, **depth, **cell.options, **front_end_fields)
    network = LanguageModel(config, 7).double()
    ids = torch.randint(8, (10, 3))
    expected, last = network.eval()(ids)
    incremental = IncrementalModel(network.train(), 3)
    middle = None
    for t, row in enumerate(ids):
        torch.testing.assert_close(incremental(row), expected[t])
        middle = incremental.state if t == 4 else middle
    for a, b in zip(incremental.state, last, strict=True):
        torch.testing.assert_close(a, b)
    incremental.state = middle
    torch.testing.assert_close(incremental(ids[5]), expected[5])


def test_bidirectional_model_cannot_be_incremental():
    with pytest.raises(UserError, match="cannot continue a text"):
        IncrementalModel(LanguageModel(ModelConfig(direction="bidirectional", hidden_size=4), 5))


@pytest.mark.parametrize("kind", ["locked", "elementwise"])
def test_part_of_batch_drops_the_same_elements_as_the_whole(kind):
    x = torch.randn(7, 6, 5)
    torch.manual_seed(3)
    full, after = dropout(x, 0.4, kind, True), torch.get_rng_state()
    for columns in (slice(0, 2), slice(2, 6)):
        torch.manual_seed(3)
        with part_of_batch(columns, 6):
            assert torch.equal(dropout(x[:, columns], 0.4, kind, True), full[:, columns])
        assert torch.equal(torch.get_rng_state(), after)
        with part_of_batch(columns, 6):
            dropped = dropout(x[:, columns].requires_grad_(), 0.4, kind, True)
        assert dropped.grad_fn._saved_other.untyped_storage().nbytes() <= 4 * dropped.numel()  # not the full batch
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.4, kind, True), full)
