"""The choice of an executor and its reasons."""

from __future__ import annotations

import pytest
import torch
from test_laws import make

from charlstm.cells import CELLS
from charlstm.errors import UserError
from charlstm.executors import candidates, choose, executors, explain_trials
from charlstm.executors.choose import preference_order
from charlstm.executors.vendor import ONE_HOT_LIMIT


@pytest.mark.parametrize("name", CELLS)
def test_choice_runs_the_cell_and_explains_all_others(name):
    weights, x, state = make(CELLS[name], (2, 2, 3, 4), dtype=torch.float32)
    choice = choose("auto", CELLS[name], weights, x)
    assert choice.executor.refuses(CELLS[name], weights, x) is None
    assert {choice.executor.name, *choice.others} == set(executors())
    assert choice.reason == "the first on cpu that can run the cell"
    assert all(choice.others.values())
    choice.executor.run(CELLS[name], weights, x, state)


def test_refusal_is_the_reason():
    weights, x, _ = make(CELLS["peephole"], (2, 2, 3, 4))
    choice = choose("auto", CELLS["peephole"], weights, x)
    assert choice.executor.name == "eager"
    assert choice.others["vendor"] == "torch has no peephole"
    assert choice.others["reference"] == "comes after eager on cpu"
    assert {"vendor", "cpp"} <= set(choice.refusing) <= {"vendor", "cpp", "triton"}


def test_auto_never_chooses_the_reference():
    for cell in CELLS.values():
        weights, x, _ = make(cell, (2, 2, 3, 4))
        assert choose("auto", cell, weights, x).executor.name != "reference"


@pytest.mark.parametrize("name", ["reference", "eager", "vendor"])
def test_requested_executor_is_chosen(name):
    weights, x, _ = make(CELLS["gru"], (2, 2, 3, 4))
    choice = choose(name, CELLS["gru"], weights, x)
    assert (choice.executor.name, choice.reason, choice.others) == (name, "requested", {})


@pytest.mark.parametrize("name", ["gru_reset_before", "peephole", "coupled", "lstm_no_cell_gradient"])
def test_requested_executor_that_refuses_is_an_error(name):
    weights, x, _ = make(CELLS[name], (2, 2, 3, 4))
    with pytest.raises(UserError, match=f"executor vendor cannot run cell {name} here: torch has no {name}"):
        choose("vendor", CELLS[name], weights, x)


def test_vendor_refuses_ids_of_large_vocabularies():
    weights, ids, _ = make(CELLS["lstm"], (2, 2, 1, ONE_HOT_LIMIT + 1), ids=True)
    with pytest.raises(UserError, match="one-hot vectors of 1025 symbols"):
        choose("vendor", CELLS["lstm"], weights, ids)
    assert "one-hot" in choose("auto", CELLS["lstm"], weights, ids).others["vendor"]
    weights, ids, _ = make(CELLS["lstm"], (2, 2, 1, ONE_HOT_LIMIT), ids=True)
    assert choose("vendor", CELLS["lstm"], weights, ids).executor.name == "vendor"


def test_unknown_executor_is_an_error_that_lists_them():
    weights, x, _ = make(CELLS["lstm"], (2, 2, 3, 4))
    with pytest.raises(
        UserError, match="unknown executor 'fastest'; choose one of auto, reference, eager, vendor, cpp"
    ):
        choose("fastest", CELLS["lstm"], weights, x)


def test_bfloat16_keeps_the_cell_state_in_float32():
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
    ("device", "reduced_precision", "expected"),
    [
        ("cuda", False, {"lstm": "vendor triton eager", "peephole": "vendor triton eager"}),
        ("cuda", True, {"lstm": "triton eager", "peephole": "triton eager"}),
        ("cpu", False, {"lstm": "cpp vendor eager", "gru": "cpp eager vendor"}),
        ("cpu", True, {"lstm": "cpp eager", "gru": "cpp eager"}),
        ("mps", False, {"lstm": "eager"}),
        ("mps", True, {"lstm": "eager"}),
    ],
)
def test_preference_order_on_each_device(device, reduced_precision, expected):
    for name, names in expected.items():
        assert " ".join(preference_order(device, reduced_precision, CELLS[name])) == names


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_reasons_do_not_claim_speed_without_measurement(device, monkeypatch):
    weights, x, _ = make(CELLS["lstm"], (2, 2, 3, 4), dtype=torch.float32)
    monkeypatch.setattr(torch.Tensor, "device", property(lambda _: torch.device(device)))
    for name, executor in executors().items():
        refusal = None if name in ("eager", "reference") else "not here"
        monkeypatch.setattr(type(executor), "refuses", lambda *_, refusal=refusal: refusal)
    choice = choose("auto", CELLS["lstm"], weights, x)
    assert (choice.reason, choice.others["reference"]) == (
        f"the first on {device} that can run the cell",
        f"comes after eager on {device}",
    )


def test_preferred_executor_is_chosen_if_it_can_run():
    weights, x, _ = make(CELLS["gru"], (2, 2, 3, 4))
    choice = choose("auto", CELLS["gru"], weights, x, "vendor")
    assert (choice.executor.name, choice.others["eager"]) == ("vendor", "the run started with vendor")
    assert choose("eager", CELLS["gru"], weights, x, "vendor").executor.name == "eager"
    weights, x, _ = make(CELLS["peephole"], (2, 2, 3, 4))
    assert choose("auto", CELLS["peephole"], weights, x, "vendor").executor.name == "eager"


@pytest.mark.parametrize(
    ("eager_seconds", "expected"),
    [(3.0, "took 1.50 times as long"), (1.96, "was at most 2% faster, within the noise, and comes after vendor")],
)
def test_trials_are_the_reasons(eager_seconds, expected):
    weights, x, _ = make(CELLS["gru"], (2, 2, 3, 4))
    choice = choose("auto", CELLS["gru"], weights, x, "vendor")
    explained = explain_trials(choice, {"vendor": 2.0, "eager": eager_seconds})
    assert explained.executor.name == "vendor"
    assert "timed on this machine" in explained.reason
    assert explained.others["eager"] == expected
    assert explained.others["reference"] == "auto never takes it: the others are tested against it"
    assert explained.others["triton"] == choice.others["triton"]  # a refusal is the reason all the same
    assert explain_trials(choice, {"eager": 1.0}) == choice


def test_candidates_exclude_reference_and_refusals():
    weights, x, _ = make(CELLS["gru"], (2, 2, 3, 4))
    assert candidates(CELLS["gru"], weights, x) == ["eager", "vendor"]  # cpp has no float64
