"""Dropout of symbols, on the input of the first layer, between layers and on the output; tied weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from charlstm.config import ModelConfig
from charlstm.model import LanguageModel
from charlstm.model.dropout import drop_symbols, dropout, dropped_symbols, part_of_batch

V = 7
FRONT_ENDS = [
    {"front_end": "one_hot"},
    {"front_end": "embedding", "embedding_size": 5},
    {"front_end": "convolution", "embedding_size": 5, "kernel_sizes": [1, 3], "filters": 4, "highway": True},
]
TABLES = {"one_hot": "recurrent.weight_ih_l0", "embedding": "front_end.weight", "convolution": "front_end.embedding"}
"""The parameter with the vector of each symbol."""


def make(**fields) -> LanguageModel:
    torch.manual_seed(1)
    return LanguageModel(ModelConfig(**{"hidden_size": 6, "executor": "eager", **fields}), V).double().train()


def ids(steps: int = 9, batch: int = 3) -> torch.Tensor:
    return torch.randint(V + 1, (steps, batch), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("direction", ["backward", "bidirectional"])
@pytest.mark.parametrize("steps", [1, 9])  # fewer characters than symbols, and more
@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=lambda f: f["front_end"])
def test_embedding_dropout_drops_rows_of_the_embedding(front_end, steps, direction):
    """In a stream, a dropped symbol is the zero vector in all of the chunk, and the others are scaled up."""
    model, text = make(**front_end, direction=direction, embedding_dropout=0.4), ids(steps)
    torch.manual_seed(3)
    y, _ = model.hidden(text, following=text)
    torch.manual_seed(3)
    dropped = dropped_symbols(text, V, 0.4)[:V]
    assert dropped.any()
    assert not dropped.all()
    for stream in range(3):
        expected = copy.deepcopy(model).eval()
        name = TABLES[front_end["front_end"]]
        for table in (name, name.replace(".", "_backward.", 1)):
            if table in dict(expected.named_parameters()):
                vectors = expected.get_parameter(table).data
                vectors = vectors.t() if "weight_ih" in table else vectors
                vectors *= ~dropped[:, stream, None] / 0.6
        column = text[:, stream : stream + 1]
        torch.testing.assert_close(y[:, stream : stream + 1], expected.hidden(column, following=column)[0])


def test_state_of_a_window_has_the_characters_that_were_dropped():
    model, text = make(**FRONT_ENDS[2], embedding_dropout=0.5), ids()
    torch.manual_seed(3)
    _, (*_, window) = model.hidden(text)
    assert torch.equal(window, model.eval().hidden(text)[1][-1])


@pytest.mark.parametrize("kind", ["locked", "elementwise"])
@pytest.mark.parametrize("front_end", FRONT_ENDS[1:], ids=lambda f: f["front_end"])
def test_input_dropout_acts_on_the_vectors_of_the_first_layer(front_end, kind):
    model, text = make(**front_end, input_dropout=0.4, dropout_kind=kind), ids()
    torch.manual_seed(3)
    y, _ = model.hidden(text)
    torch.manual_seed(3)
    if front_end["front_end"] == "embedding":
        x = F.embedding(text, F.pad(model.front_end.weight, (0, 0, 0, 1)))
    else:
        x, _ = model.front_end(torch.cat([torch.full((2, 3), V), text]))
    expected, _ = model.recurrent(dropout(x, 0.4, kind, True))
    torch.testing.assert_close(y, expected)
    assert torch.equal(model.eval().hidden(text)[0], make(**front_end).eval().hidden(text)[0])


@pytest.mark.parametrize(
    ("rates", "hidden", "output"),
    [
        ({}, 0.3, 0.3),
        ({"hidden_dropout": 0.0}, 0.0, 0.3),
        ({"output_dropout": 0.0}, 0.3, 0.0),
        ({"dropout": 0.0, "hidden_dropout": 0.6, "output_dropout": 0.9}, 0.6, 0.9),
    ],
    ids=str,
)
def test_rates_between_layers_and_on_the_output_default_to_dropout(rates, hidden, output):
    model = make(num_layers=2, **{"dropout": 0.3, **rates})
    assert model.recurrent.dropout == hidden
    ones = torch.ones(2, 400, 6)
    torch.manual_seed(3)
    dropped = model.drop_output(ones)
    torch.manual_seed(3)
    assert torch.equal(dropped, dropout(ones, output, "locked", True))
    torch.manual_seed(3)
    y, _ = model.hidden(ids())
    torch.manual_seed(3)
    assert torch.equal(y, model.drop_output(model.outputs(ids())[0]))


def test_part_of_batch_drops_the_same_symbols_as_the_whole():
    text = ids(5, 6)
    torch.manual_seed(3)
    whole, after = drop_symbols(text, dropped_symbols(text, V, 0.4)), torch.get_rng_state()
    for columns in (slice(0, 2), slice(2, 6)):
        torch.manual_seed(3)
        with part_of_batch(columns, 6):
            part = drop_symbols(text[:, columns], dropped_symbols(text[:, columns], V, 0.4))
        assert torch.equal(part, whole[:, columns])
        assert torch.equal(torch.get_rng_state(), after)


@pytest.mark.parametrize("executor", ["eager", "vendor"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_sum_of_outputs_is_of_all_layers_before_dropout(executor, bidirectional):
    direction = "bidirectional" if bidirectional else "forward"
    torch.manual_seed(1)
    fields = {"num_layers": 3, "hidden_size": 6, "executor": executor, "direction": direction, "dropout": 0.5}
    summed = LanguageModel(ModelConfig(**fields, output="sum", output_dropout=0.0), V)
    outputs = []
    for layers in (1, 2, 3):  # the first layers of the same stack
        fields |= {"num_layers": layers, "dropout": 0.5 if layers > 1 else 0.0}
        part = LanguageModel(ModelConfig(**fields, output_dropout=0.0), V)
        part.load_state_dict(summed.state_dict(), strict=False)
        torch.manual_seed(3)
        outputs.append(part.encode(ids())[0])
    torch.manual_seed(3)
    torch.testing.assert_close(summed.encode(ids())[0], outputs[0] + outputs[1] + outputs[2])


def test_tied_matrix_is_one_parameter():
    model = make(tie_weights=True)
    assert model.parameter_counts() == {"front_end": 6 * V, "recurrent": 4 * 6 * (6 + 6 + 2), "head": V}
    untied = make(embedding_size=6)
    with torch.no_grad():
        for name, p in untied.named_parameters():
            p.copy_(model.state_dict()[name])
    for one in (model, untied):
        F.cross_entropy(one(ids())[0].flatten(0, 1), ids().clamp(max=V - 1).flatten()).backward()
    torch.testing.assert_close(model.head.weight.grad, untied.head.weight.grad + untied.front_end.weight.grad)
    with torch.device("meta"):
        loaded = LanguageModel(model.config, V)
    loaded.load_state_dict(model.state_dict(), assign=True)
    for one in (model, loaded, copy.deepcopy(model), model.float()):
        assert one.head.weight is one.front_end.weight


def test_tied_model_starts_with_inputs_of_the_usual_variance():
    torch.manual_seed(1)
    sides = []
    for tied in ({"tie_weights": True}, {"embedding_size": 128}):
        model = LanguageModel(ModelConfig(hidden_size=128, **tied), 50)
        sides.append(float(model.front_end.one_hot_weights(model.recurrent.weights().weight_ih).detach().std()))
    assert sides[0] == pytest.approx(sides[1], rel=0.05)
