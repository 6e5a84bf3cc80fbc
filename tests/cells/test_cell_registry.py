"""Looking cells up, and the checks of a declaration."""

from __future__ import annotations

import copy
import json
import pickle
import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

import charlstm.cells
from charlstm.cells import CELLS, Cell, cell, find, from_recipe
from charlstm.cells.initializers import zeros
from charlstm.cells.options import Option
from charlstm.model import RecurrentStack
from charlstm.model.state_dropout import StateDropout


@pytest.mark.parametrize(
    ("base", "options", "name"),
    [
        ("rnn", {}, "rnn"),
        ("rnn", {"nonlinearity": "tanh"}, "rnn"),
        ("rnn", {"nonlinearity": "relu"}, "irnn"),
        ("gru", {}, "gru"),
        ("gru", {"reset_after": True, "nonlinearity": "relu"}, "gru"),
        ("gru", {"reset_after": False}, "gru_reset_before"),
        ("lstm", {"reset_after": False, "nonlinearity": "relu"}, "lstm"),
        ("peephole", {}, "peephole"),
        ("coupled", {}, "coupled"),
        ("capped", {}, "capped"),
        ("lstm", {}, "lstm"),
        ("lstm", {"ablate": None}, "lstm"),
        ("lstm", {"ablate": "forget_gate"}, "lstm_no_forget_gate"),
        ("lstm", {"ablate": "cell_gradient"}, "lstm_no_cell_gradient"),
        ("lstm", {"ablate": "hidden_gradient"}, "lstm_no_hidden_gradient"),
        ("leaky", {}, "leaky"),
        ("leaky", {"learn_leak": False}, "leaky_fixed"),
        ("esn", {"learn_leak": False}, "esn"),
    ],
)
def test_find_selects_the_cell_with_these_options(base, options, name):
    assert find(base, **options) is CELLS[name]


def test_unknown_cell_is_an_error_that_lists_the_cells():
    with pytest.raises(KeyError, match=r"no cell lsmt.*coupled, esn, gru, .*lstm"):
        find("lsmt")
    with pytest.raises(KeyError, match="sine"):
        find("rnn", nonlinearity="sine")
    with pytest.raises(KeyError, match="forget"):
        find("lstm", ablate="forget")


def test_every_module_of_the_folder_declares_a_cell():
    helpers = {"__init__", "base", "initializers", "options", "values"}
    files = {p.stem for p in Path(charlstm.cells.__file__).parent.glob("*.py")} - helpers
    declared = {
        name: [v for v in vars(import_module(f"charlstm.cells.{name}")).values() if isinstance(v, Cell)]
        for name in files
    }
    assert all(declared.values())
    assert {c.name for cells in declared.values() for c in cells} == set(CELLS)


def test_cell_is_registered_under_its_function_name():
    @cell(gates="ab", state="hc", parameters={"weight_extra": "uv"})
    def invented_for_the_registry(x, r, h, c, p):
        return x.a + r.b * p.u, c

    try:
        assert find("invented_for_the_registry") is invented_for_the_registry
        assert invented_for_the_registry.parameter_shapes(3, 5) == {
            "weight_ih": (10, 3),
            "weight_hh": (10, 5),
            "bias_ih": (10,),
            "bias_hh": (10,),
            "weight_extra": (10,),
        }
        assert "bias_ih" not in invented_for_the_registry.parameter_shapes(3, 5, bias=False)
    finally:
        del CELLS["invented_for_the_registry"]


def test_gate_orders_equal_those_of_torch():
    assert (CELLS["lstm"].gates, CELLS["gru"].gates, CELLS["gru_reset_before"].gates) == ("ifgo", "rzn", "rzn")
    assert CELLS["peephole"].parameters == {"weight_peephole": "ifo"}


@pytest.mark.parametrize("declared", CELLS.values(), ids=lambda c: c.name)
def test_copying_or_pickling_a_cell_returns_the_same_object(declared):
    assert copy.deepcopy(declared) is declared
    assert pickle.loads(pickle.dumps(declared)) is declared
    with pytest.raises(AttributeError):
        declared.gates = "x"


def test_derived_cell_is_pickled_by_its_recipe():
    masked = StateDropout(CELLS["lstm"], 0.2).training_cell
    assert pickle.loads(pickle.dumps(masked)) is masked
    assert from_recipe(json.loads(json.dumps(masked.recipe))) is masked
    other = replace(CELLS["lstm"], name="other")
    assert not other.has_recipe
    with pytest.raises(TypeError, match="cell other cannot be pickled"):
        pickle.dumps(other)


def test_cells_of_a_base_differ_only_in_option_values():
    for base in {c.base for c in CELLS.values()}:
        family = [c for c in CELLS.values() if c.base == base]
        assert {tuple(c.options) for c in family} == {tuple(CELLS[base].options)}
        assert len({tuple(c.options.values()) for c in family}) == len(family)


@pytest.mark.parametrize("declared", CELLS.values(), ids=lambda c: c.name)
def test_declarations_refer_to_existing_gates_and_parameters(declared):
    shapes = declared.parameter_shapes(3, 4)
    assert {declared.forget_gate, declared.input_gate} - {None} <= set(declared.gates)
    assert declared.initializers.keys() <= shapes.keys()
    assert declared.frozen <= shapes.keys()
    assert ("forget_bias" in declared.init_options) == (declared.forget_gate is not None)
    assert ("recurrent_init" in declared.init_options) == (
        "weight_hh" not in {*declared.initializers, *declared.frozen}
    )
    assert declared.is_reservoir == (declared.name == "esn")


@pytest.mark.parametrize(
    ("name", "defaults", "more_defaults"),
    [
        ("rnn", {"recurrent_init": "uniform"}, {}),
        ("irnn", {"identity_scale": 1.0}, {}),
        ("lstm", {"forget_bias": None, "recurrent_init": "uniform"}, {"chrono_length": 100}),
        ("gru", {"forget_bias": None, "recurrent_init": "uniform"}, {"chrono_length": 100}),
    ],
)
def test_init_options_have_these_defaults(name, defaults, more_defaults):
    assert {option: o.default for option, o in CELLS[name].init_options.items()} == defaults | more_defaults


def test_summary_is_the_start_of_the_docstring():
    assert CELLS["leaky_fixed"].summary == CELLS["leaky"].summary
    assert CELLS["irnn"].summary.startswith("The IRNN: "), "its equations have a docstring of their own"
    for declared in CELLS.values():
        text = declared.equations.__doc__ or import_module(declared.equations.__module__).__doc__
        assert declared.summary
        assert "\n" not in declared.summary
        assert " ".join(text.split()).startswith(declared.summary)


def test_stop_gradient_must_name_a_state_of_a_non_torch_cell():
    assert {name: CELLS[f"lstm_no_{name}_gradient"].stop_gradient for name in ("cell", "hidden")} == {
        "cell": "c",
        "hidden": "h",
    }
    with pytest.raises(ValueError, match="stop_gradient: the state hc has no part m, x"):
        cell(gates="a", state="hc", stop_gradient="cxm")
    with pytest.raises(ValueError, match=r"torch.nn.LSTM does not stop gradients"):
        cell(gates="ifgo", state="hc", torch="LSTM", stop_gradient="c")


def scaled(parameter, scale):
    parameter.fill_(scale)


SCALE = Option(1.0, "A factor.", gt=0)


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        (
            {"initializers": {"weight_hi": zeros}},
            "cell wrong has no parameter weight_hi; it has weight_ih, weight_hh",
        ),
        ({"initializers": {"bias_ih.b": zeros}}, "cell wrong has no parameter bias_ih.b;"),
        ({"initializers": {"weight_hh": scaled}}, "initializers: scaled needs init_options: scale"),
        (
            {"init_options": {"density": SCALE}},
            "option density of cell wrong differs from that of esn in more than its default",
        ),
    ],
    ids=["parameter", "part", "options", "other cell"],
)
def test_wrong_initializer_is_an_error_at_declaration(declaration, message):
    with pytest.raises(ValueError, match=re.escape(message)):

        @cell(gates="a", state="h", **declaration)
        def wrong(x, r, h):
            return x.a + r.a

    assert "wrong" not in CELLS


def test_initializer_gets_the_named_part_and_options(monkeypatch):
    monkeypatch.setattr("charlstm.cells.base.CELLS", dict(CELLS))

    @cell(
        gates="ab",
        state="h",
        initializers={"weight_hh": zeros, "bias_ih.b": scaled},
        init_options={"scale": SCALE.with_default(3.0)},
    )
    def with_initializers(x, r, h):
        return x.a + r.b

    stack = RecurrentStack(with_initializers, 2, 4)
    assert not stack.weight_hh_l0.any()
    assert stack.bias_ih_l0[:4].abs().max() <= 0.5
    assert (stack.bias_ih_l0[4:] == 3).all()
