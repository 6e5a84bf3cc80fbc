"""The passage that is inspected by default is a typical one of the held-out text."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from charlstm.api import LoadedRun
from charlstm.config import ModelConfig
from charlstm.evaluation import score
from charlstm.inspection import passages
from charlstm.inspection.passages import text_of_run
from charlstm.inspection.recording import record
from charlstm.model import LanguageModel
from charlstm.text.corpus import load_corpus

ALPHABET = "abcdefgh"


@pytest.fixture
def make_run(make_config, tmp_path):
    def make(text, direction="forward", **corpus):
        """A run whose model gives each letter of the alphabet, from the first on, half the probability of the last."""
        (tmp_path / "text.txt").write_text(text)
        config = make_config({"direction": direction}, {"source": str(tmp_path / "text.txt"), **corpus})
        loaded = load_corpus(**config.corpus.model_dump())
        model = LanguageModel(ModelConfig(hidden_size=3, direction=direction), loaded.vocabulary.size)
        with torch.no_grad():
            model.head.weight.zero_()
            for number, symbol in enumerate(ALPHABET):
                if symbol in loaded.vocabulary.symbols:
                    model.head.bias[loaded.vocabulary.symbols.index(symbol)] = -number * np.log(2)
        return LoadedRun(model.eval(), loaded.vocabulary, config, {"corpus_digest": loaded.digest}, None)

    return make


def letters(count, symbols, seed):
    return "".join(np.random.default_rng(seed).choice(list(symbols), count))


def numbers(source):
    return [int(number.replace(",", "")) for number in re.findall(r"[\d,]+\d|\d", source)][:2]


def test_the_beginning_is_not_chosen_if_it_is_unlike_the_rest(make_run):
    held_out = "h" * 300 + letters(2700, "abcd", 2)
    run = make_run(letters(3000, ALPHABET, 1) + held_out, validation_fraction=0.5)
    text = text_of_run(run, 250)
    first, last = numbers(text.source)
    assert first > 300
    assert run.vocabulary.decode(text.ids) == held_out[first - 1 : last]
    assert text.source.startswith(f"characters {first:,} to {last:,} of the validation split, the passage of 12 ")
    assert text_of_run(run, 250).source == text.source


def test_the_loss_of_the_chosen_passage_is_nearest_to_that_of_the_split(make_run):
    held_out = "".join(letters(200, ALPHABET[n : n + 3], n) for n in range(6))
    run = make_run(letters(1200, ALPHABET, 1) + held_out, validation_fraction=0.5)
    ids = run.corpus().split("validation")
    mean = record(run.model, ids).nats.mean()
    chosen = text_of_run(run, 200)
    distance = abs(record(run.model, chosen.ids).nats.mean() - mean)
    for start in np.linspace(0, 1000, 12).astype(int):
        assert distance <= abs(record(run.model, ids[start : start + 200]).nats.mean() - mean) + 1e-6


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_losses_of_passages_of_documents(make_run, direction):
    lines = [f"{letters(int(n), ALPHABET, int(n))}?{letters(1, ALPHABET, int(n))}" for n in range(3, 60)]
    settings = {"documents": "newline", "score_after": "?", "shuffle_documents": False, "validation_fraction": 0.5}
    run = make_run("\n".join(lines) + "\n", direction, **settings)
    text = run.corpus().split("validation")
    starts = passages._starts(text, 300)
    assert len(starts) == 12
    taken = [passages._beginning(passages._from(text, start), 300, direction) for start in starts]
    expected = [record(run.model, one.ids, one.bounds, one.scored) for one in taken]
    losses = [one.nats[one.scored].mean() for one in expected]
    np.testing.assert_allclose(passages._losses(run.model, taken), losses, rtol=1e-5)
    first, last = numbers(text_of_run(run, 300).source)
    chosen = text_of_run(run, 300)
    assert last - first == len(chosen.bounds)
    assert chosen.source.startswith(f"documents {first} to {last} of the validation split")
    held_out = [line for line in lines if run.vocabulary.encode(line).tolist() in _contents(text)]
    assert held_out[first - 1] in run.vocabulary.decode(chosen.ids)


def test_no_more_of_long_documents_with_short_answers_is_read(make_run, monkeypatch):
    line = f"{letters(500, ALPHABET, 1)}?a\n"
    run = make_run(line * 400, documents="newline", score_after="?", validation_fraction=0.5)
    read = []
    monkeypatch.setattr(passages, "score", lambda model, text: read.append(text) or score(model, text))
    text_of_run(run, 2000)
    (sample,) = read
    assert 10_000 < (sample.ends - sample.starts).sum() <= passages.SAMPLE


def _contents(text):
    return [text.ids[a:b].tolist() for a, b in zip(text.starts, text.ends, strict=True)]


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_passages_of_held_out_blocks(make_run, direction):
    run = make_run(letters(60_000, ALPHABET, 1), direction, validation="blocks", validation_fraction=0.2)
    text = run.corpus().split("validation")
    counted = np.concatenate([text.ids[a:b] for a, b in zip(text.scored, text.scored_ends, strict=True)])
    chosen = text_of_run(run, 1000)
    first, last = numbers(chosen.source)
    scored = chosen.ids if chosen.scored is None else chosen.ids[chosen.scored]
    np.testing.assert_array_equal(scored, counted[first - 1 : last])


@pytest.mark.parametrize("validation", ["tail", "blocks"])
@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("separator", ["\n", " "])
def test_a_model_begins_to_read_at_the_beginning_of_a_line_or_word(make_run, separator, direction, validation):
    words = [letters(9 + n % 5, ALPHABET, n) for n in range(4000)]
    run = make_run(separator.join(words), direction, validation=validation, validation_fraction=0.3)
    chosen = text_of_run(run, 1000)
    text = run.vocabulary.decode(chosen.ids)
    assert len(text) == 1000
    if direction == "backward":
        assert text.endswith(separator)
        assert text.split(separator)[-2] in words
    else:
        assert text.split(separator)[0] in words
    assert text_of_run(run, 1000).source == chosen.source


def test_a_line_break_is_preferred_to_a_space_and_within_reach(make_run):
    text = "abc " * 200 + "abc\nabc " + "abc " * 200
    run = make_run(text, validation_fraction=0)
    ids, line = run.corpus().split("train"), text.index("\n") + 1
    aligned = lambda start, last=1500: passages._aligned(run, ids, start, last, 100)  # noqa: E731
    assert aligned(line - 50) == aligned(line) == aligned(line + 50) == line
    assert aligned(101) == aligned(104) == 104
    assert aligned(line - 50, line - 10) == line - 48
    assert aligned(103, 103) == 100


def test_a_short_split_is_read_from_its_beginning(make_run):
    run = make_run(letters(200, ALPHABET, 1), validation_fraction=0.3)
    assert text_of_run(run, 1000).source == "characters 1 to 60 of the validation split"
    training = make_run(letters(200, ALPHABET, 1), validation_fraction=0)
    assert text_of_run(training, 1000).source == "characters 1 to 200 of the training split"
    assert text_of_run(training, 1000).is_training_text
