"""The note about compared networks whose readouts are initialized differently."""

from __future__ import annotations

import pytest

from charlstm.comparison.readout_start import readout_start_notes
from charlstm.config import ModelConfig

LSTM, GRU = {"cell": "lstm"}, {"cell": "gru"}
TRUE, FALSE = {"unigram_bias": True}, {"unigram_bias": False}


def test_note_does_not_say_where_other_biases_are():
    """With init_range they are not at zero."""
    networks = [ModelConfig(**fields, init_range=0.08) for fields in (LSTM, GRU)]
    (note,) = readout_start_notes(networks, "model.unigram_bias")
    assert "zero" not in note


@pytest.mark.parametrize(
    ("networks", "is_noted"),
    [
        ([LSTM, GRU], True),
        ([GRU, LSTM | TRUE, LSTM], True),
        ([LSTM, GRU | FALSE], True),
        ([LSTM, LSTM | {"num_layers": 2}], False),
        ([GRU, {"cell": "rnn"}], False),
        ([LSTM | TRUE, GRU | FALSE], False),
        ([LSTM | FALSE, GRU], False),
        ([LSTM, GRU | TRUE], False),
    ],
    ids=str,
)
def test_note_where_only_a_default_differs(networks, is_noted):
    notes = readout_start_notes((ModelConfig(**fields) for fields in networks), "model.unigram_bias")
    assert len(notes) == is_noted
    assert all("output biases of lstm" in note and note.endswith("--set model.unigram_bias=false") for note in notes)
