"""Which executor runs a layer, and why."""

from __future__ import annotations

import pytest
import torch
from test_laws import make

from charlstm.cells import CELLS
from charlstm.errors import UserError
from charlstm.executors import candidates, choose, executors
from charlstm.executors.choose import preference_order
from charlstm.executors.vendor import ONE_HOT_LIMIT


@pytest.mark.parametrize("name", CELLS)
def test_the_choice_can_run_the_cell_and_accounts_for_all_others(name):
    weights, x, state = make(CELLS[name], (2, 2, 3, 4), dtype=torch.float32)
    choice = choose("auto", CELLS[name], weights, x)
    assert choice.executor.refuses(CELLS[name], weights, x) is None
    assert {choice.executor.name, *choice.others} == set(executors())
    assert choice.reason == "the first willing on cpu"
    assert all(choice.others.values())
    choice.executor.run(CELLS[name], weights, x, state)


def test_a_refusal_is_given_as_the_reason():
    weights, x, _ = make(CELLS["peephole"], (2, 2, 3, 4))
    choice = choose("auto", CELLS["peephole"], weights, x)
    assert choice.executor.name == "eager"
    assert choice.others["vendor"] == "torch has no peephole"
    assert choice.others["reference"] == "comes after sequence on cpu"
    assert {"vendor", "cpp"} <= set(choice.refusing) <= {"vendor", "cpp", "triton"}


def test_auto_is_never_the_reference():
    for cell in CELLS.values():
        weights, x, _ = make(cell, (2, 2, 3, 4))
        assert choose("auto", cell, weights, x).executor.name != "reference"


@pytest.mark.parametrize("name", ["reference", "eager", "vendor"])
def test_the_requested_one_is_taken(name):
    weights, x, _ = make(CELLS["gru"], (2, 2, 3, 4))
    choice = choose(name, CELLS["gru"], weights, x)
    assert (choice.executor.name, choice.reason, choice.others) == (name, "asked for", {})


@pytest.mark.parametrize("name", ["gru_reset_before", "peephole", "coupled", "lstm_no_cell_gradient"])
def test_a_requested_one_that_refuses_is_an_error_and_no_fallback(name):
    weights, x, _ = make(CELLS[name], (2, 2, 3, 4))
    with pytest.raises(UserError, match=f"executor vendor cannot run cell {name} here: torch has no {name}"):
        choose("vendor", CELLS[name], weights, x)


def test_library_refuses_large_vocabularies_as_ids():
    weights, ids, _ = make(CELLS["lstm"], (2, 2, 1, ONE_HOT_LIMIT + 1), ids=True)
    with pytest.raises(UserError, match="one-hot vectors of 1025 symbols"):
        choose("vendor", CELLS["lstm"], weights, ids)
    assert "one-hot" in choose("auto", CELLS["lstm"], weights, ids).others["vendor"]
    weights, ids, _ = make(CELLS["lstm"], (2, 2, 1, ONE_HOT_LIMIT), ids=True)
    assert choose("vendor", CELLS["lstm"], weights, ids).executor.name == "vendor"


def test_an_executor_that_does_not_exist_is_an_error_that_lists_them():
    weights, x, _ = make(CELLS["lstm"], (2, 2, 3, 4))
    with pytest.raises(UserError, match="no executor 'fastest'; there are auto, reference, sequence, library"):
        choose("fastest", CELLS["lstm"], weights, x)


def test_under_bfloat16_the_cell_state_stays_in_float32():
    weights, x, state = make(CELLS["lstm"], (2, 2, 3, 4), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        choice = choose("auto", CELLS["lstm"], weights, x)
        y, new = choice.executor.run(CELLS["lstm"], weights, x, state)
        refused = executors()["cpp"].refuses(CELLS["lstm"], weights, x)
    assert choice.executor.name == ("eager" if refused else "cpp")
    assert y.dtype == (torch.float32 if refused else torch.bfloat16)
    assert "bfloat16" in choice.others["vendor"]
    assert {t.dtype for t in new} == {torch.float32}


@pytest.mark.parametrize(
    ("device", "low", "expected"),
    [
        ("cuda", False, {"lstm": "library triton sequence", "peephole": "library triton sequence"}),
        ("cuda", True, {"lstm": "triton sequence", "peephole": "triton sequence"}),
        ("cpu", False, {"lstm": "native library sequence", "gru": "native sequence library"}),
        ("cpu", True, {"lstm": "native sequence", "gru": "native sequence"}),
        ("mps", False, {"lstm": "eager"}),
        ("mps", True, {"lstm": "eager"}),
    ],
)
def test_the_order_on_each_device(device, low, expected):
    for name, names in expected.items():
        assert " ".join(preference_order(device, low, CELLS[name])) == names


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_no_executor_is_called_faster_unmeasured(device, monkeypatch):
    weights, x, _ = make(CELLS["lstm"], (2, 2, 3, 4), dtype=torch.float32)
    monkeypatch.setattr(torch.Tensor, "device", property(lambda _: torch.device(device)))
    for name, executor in executors().items():
        refusal = None if name in ("eager", "reference") else "not here"
        monkeypatch.setattr(type(executor), "refuses", lambda *_, refusal=refusal: refusal)
    choice = choose("auto", CELLS["lstm"], weights, x)
    assert (choice.reason, choice.others["reference"]) == (
        f"the first willing on {device}",
        f"comes after sequence on {device}",
    )


def test_a_preferred_executor_is_taken_where_it_is_willing():
    weights, x, _ = make(CELLS["gru"], (2, 2, 3, 4))
    choice = choose("auto", CELLS["gru"], weights, x, "vendor")
    assert (choice.executor.name, choice.others["eager"]) == ("vendor", "this run takes library")
    assert choose("eager", CELLS["gru"], weights, x, "vendor").executor.name == "eager"
    weights, x, _ = make(CELLS["peephole"], (2, 2, 3, 4))
    assert choose("auto", CELLS["peephole"], weights, x, "vendor").executor.name == "eager"


def test_candidates_are_all_willing_ones_but_reference():
    weights, x, _ = make(CELLS["gru"], (2, 2, 3, 4))
    assert candidates(CELLS["gru"], weights, x) == ["eager", "vendor"]  # native has no float64
