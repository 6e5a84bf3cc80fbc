"""The measures of instruments, on a run that is not trained: their JSON results match their schemas."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from charlstm.cells import CELLS
from charlstm.config import ModelConfig
from charlstm.errors import UserError
from charlstm.memory.measures import MEASURES
from charlstm.memory.schemas import SCHEMAS
from charlstm.memory.text_measures import segments, segments_of_halves
from charlstm.model import LanguageModel
from charlstm.text.documents import Documents
from charlstm.text.vocabulary import Vocabulary

PROSE = "ANN:\nthe (cat) said yes\n  and said it\n\nBO:\nno\n\nANN:\nsaid who?\n" * 12
RECALL = {"task": "Recall", "lag": 8, "keys": 3, "letters": 2}


def run_of(text: str, symbols: str = "", documents: bool = False, **fields):
    """An untrained run on a text, which is all of its splits."""
    vocabulary = Vocabulary.from_text(text + symbols)
    config = ModelConfig(**{"hidden_size": 4, **fields})
    torch.manual_seed(1)
    model, ids = LanguageModel(config, vocabulary.size), vocabulary.encode(text).astype(np.uint8)
    ends = np.flatnonzero(ids == vocabulary.encode("\n")[0]) if documents else None
    split = ids if ends is None else Documents(ids, np.concatenate([[0], ends[:-1] + 1]), ends, np.array([0]))
    corpus = SimpleNamespace(split={"train": split, "validation": split, "test": split}.get, vocabulary=vocabulary)
    return SimpleNamespace(
        model=model,
        vocabulary=vocabulary,
        config=SimpleNamespace(model=config, training=SimpleNamespace(seed=1)),
        corpus=lambda: corpus,
    )


def measured(name: str, run, **arguments):
    """The result as it is read from its file."""
    result = json.loads(json.dumps(MEASURES[name](run, **arguments), allow_nan=False))
    SCHEMAS[name].validate_python(result)
    return result


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("name", CELLS)
def test_dynamics_of_every_cell(name, trained):
    run = run_of(PROSE, cell=CELLS[name].base, **CELLS[name].options)
    result = measured("state_dynamics", run, steps=6, texts=2, trained=trained, warm_up=2, exponents=3)
    assert np.shape(result["exponents"]) == (2, 3)
    assert result["largest"] >= result["median"] >= result["smallest"] >= 0
    assert set(result["spectral_radius"]) == set(CELLS[name].gates)


def test_dynamics_on_the_strings_of_a_task():
    result = measured(
        "state_dynamics", run_of("ABC?ab", cell="gru"), steps=9, texts=3, trained=True, exponents=1, task=RECALL
    )
    assert np.shape(result["exponents"]) == (3, 1)


@pytest.mark.parametrize("random", [True, False])
def test_capacity_has_a_value_for_every_delay(random):
    result = measured("memory_capacity", run_of(PROSE), delays=4, steps=40, texts=6, random=random)
    assert set(result) == {"state", "last_character", "shuffled"}
    assert all(len(one["accuracy"]) == len(one["r_squared"]) == 5 for one in result.values())


@pytest.mark.parametrize("size", [82, 83, 200, 245, 246, 247, 300, 5000])
@pytest.mark.parametrize("count", [2, 5, 6])
def test_readouts_are_tested_on_other_characters_than_they_are_trained_on(size, count):
    chosen = segments_of_halves(np.arange(size), 40, count).numpy()
    assert chosen.shape == (41, count)
    assert (np.diff(chosen, axis=0) == 1).all()
    assert chosen[:, : count // 2].max() < chosen[:, count // 2 :].min()
    if size == 5000:  # the figures that were measured on long texts stay what they are
        np.testing.assert_array_equal(chosen, segments(np.arange(size), 40, count))


def test_capacity_needs_two_halves_with_a_segment_each():
    run = run_of(PROSE[:80])
    with pytest.raises(UserError, match="the first half of the test split has 40 characters, but 41 are needed"):
        measured("memory_capacity", run, delays=4, steps=40, texts=6, random=False)


def test_far_contexts_have_the_same_targets():
    results = {
        far: measured("far_context_loss", run_of(PROSE), context_lengths=[2, 20], targets=30, far=far)["nats"]
        for far in ("cut", "shuffled", "replaced")
    }
    assert results["cut"][1] == results["shuffled"][1] == results["replaced"][1]
    assert results["cut"][0] != results["shuffled"][0] != results["replaced"][0]


@pytest.mark.parametrize(("name", "arguments"), [("dependency_loss", {}), ("ngram_dependency_loss", {"order": 3})])
def test_dependency_losses_are_paired(name, arguments):
    result = measured(name, run_of(PROSE), max_positions=20, **arguments)
    assert set(result) == {"closing bracket", "line end", "indentation", "speaker", "repeated word", "new word"}
    other = measured("dependency_loss", run_of(PROSE, cell="rnn"), max_positions=20)
    for kind, bins in result.items():
        for one, another in zip(bins, other[kind], strict=True):
            assert one["positions"] == another["positions"]
            assert len(one["nats"]) == len(one["correct"]) == len(one["positions"]) == min(20, one["count"])


def test_units_are_ablated_at_closing_characters():
    result = measured("unit_ablation", run_of(PROSE), steps=100, texts=2)
    assert set(result) == {"bracket"}, "the text has no quotes"
    assert result["bracket"]["count"] in (2, 3, 4)
    assert np.shape(result["bracket"]["change"]) == (1, 4)
