"""The settings that are chosen by the size of a text."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from charlstm.config import CorpusConfig, Document, parse_config
from charlstm.text.corpus import load_corpus
from charlstm.training.advice import ending_advice
from charlstm.training.events import Ended
from charlstm.training.size_defaults import (
    FRACTION,
    TABLE,
    WHOLE,
    chosen_by,
    chosen_fraction,
    chosen_sections,
    fill_left_out,
    size_defaults,
)


@pytest.fixture
def corpus_of(tmp_path, monkeypatch):
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))

    def load(content, **options):
        path = tmp_path / "text.txt"
        path.write_text(content)
        return load_corpus(str(path), **options)

    return load


@pytest.mark.parametrize(
    ("size", "fraction"),
    [(WHOLE, 0.0), (WHOLE + 1, 0.1), (1_900_000, 0.1), (4_000_000, 0.05), (22_000_000, 0.009), (3_000_000_000, 7e-5)],
)
def test_held_out_fraction_suits_the_size(size, fraction):
    assert chosen_fraction(SimpleNamespace(ids=SimpleNamespace(size=size))) == fraction
    assert CorpusConfig(source="x").validation_fraction == FRACTION


def test_rows_rise_and_cover_every_size():
    sizes = [row.characters for row in TABLE]
    assert sizes == sorted(sizes)
    assert sizes[-1] == float("inf")
    assert [size_defaults(int(size), 80) for size in sizes[:-1]] == list(TABLE[:-1])
    assert [size_defaults(int(size) + 1, 80) for size in sizes[:-1]] == list(TABLE[1:])


@pytest.mark.parametrize(
    ("characters", "symbols", "units"),
    [
        (2_000, 600, 64),
        (6_300, 1_280, 128),
        (6_300, 1_362, 64),
        (63_000, 3_084, 128),
        (900_000, 300, 256),
        (900_000, 2_560, 256),
        (900_000, 2_561, 128),
        (10**9, 5_387, 128),
    ],
)
def test_large_alphabets_get_half_of_the_units(characters, symbols, units):
    row = size_defaults(characters, symbols)
    assert row.hidden_size == units
    assert replace(row, hidden_size=0) == replace(size_defaults(characters, 80), hidden_size=0)


def test_choice_by_the_alphabet_is_explained(corpus_of):
    corpus = corpus_of("".join(chr(0x4E00 + n % 1_300) for n in range(6_000)))
    assert chosen_sections(corpus)["model"]["hidden_size"] == 64
    assert chosen_by(corpus, 64) == (
        "chosen by the size of the text, with 64 units in place of 128 for its 1,300 different characters, whose "
        "output layer takes most of a step"
    )
    assert chosen_by(corpus, 100) == "chosen by the size of the text"  # set by the user
    assert chosen_by(corpus_of("a line\n" * 1_000), 128) == "chosen by the size of the text"


@pytest.mark.parametrize("length", [3, 200, 20_000])
@pytest.mark.parametrize("documents", [None, "newline"])
def test_chosen_sections_are_a_valid_configuration(corpus_of, length, documents):
    corpus = corpus_of(("a line\nanother one, longer\nb\n" * length)[: max(length, 20)], documents=documents)
    config = parse_config({"corpus": {"source": "x"}, **chosen_sections(corpus)}, "test")
    row = size_defaults(corpus.length("train"), corpus.vocabulary.size)
    assert config.model.hidden_size == row.hidden_size
    assert config.training.budget.epochs == row.epochs


def test_batches_of_documents_are_as_large_as_those_of_text(corpus_of):
    lines = "".join(f"name {n}\n" for n in range(20_000))
    batch = chosen_sections(corpus_of(lines, documents="newline"))["training"]["batch_size"]
    row = size_defaults(len(lines), 80)
    assert batch * 10 == pytest.approx(row.batch_size * row.sequence_length, rel=0.1)


def test_batches_of_long_documents_have_as_many_chunks_as_those_of_text(corpus_of):
    pages = "a page of a book, which is longer than a chunk of it\n" * 20 + "\n"
    training = chosen_sections(corpus_of(pages * 400, documents="blank_line"))["training"]
    row = size_defaults(len(pages) * 360, 80)
    assert (training["batch_size"], training["sequence_length"]) == (row.batch_size, row.sequence_length)


def test_row_is_that_of_the_split_which_is_read(corpus_of):
    text = "a text of five million characters\n"
    corpus = corpus_of(text * (5_300_000 // len(text)))
    assert corpus.length("train") < TABLE[-2].characters < 0.96 * corpus.ids.size
    settings = parse_config({"corpus": {"source": "x"}}, "test")
    document, filled = fill_left_out(Document("test", {"corpus": {"source": "x"}}), settings, corpus)
    assert filled == ["model", "training", "corpus"]
    assert document.data["corpus"]["validation_fraction"] == 0.04
    assert document.data["training"]["budget"]["epochs"] == TABLE[-1].epochs


@pytest.mark.parametrize(
    ("end", "corpus", "is_fine_tuned", "normalize"),
    [
        ("\r\n", {}, False, ["line_ends"]),
        ("\n", {}, False, None),
        ("\r\n", {"normalize": False}, False, False),
        ("\r\n", {}, True, None),
        ("\r\n", {"encoding": "bytes"}, False, None),
    ],
    ids=["CR LF", "LF", "given", "fine-tuned", "bytes"],
)
def test_line_ends_of_a_text_without_a_configuration_become_lf(tmp_path, end, corpus, is_fine_tuned, normalize):
    path = tmp_path / "text.txt"
    path.write_bytes(("some words on a line" + end).encode() * 500)
    data = {"corpus": {"source": str(path), **corpus}}
    settings = parse_config(data, "test")
    loaded = load_corpus(**settings.corpus.model_dump())
    document, _ = fill_left_out(Document("test", data), settings, loaded, is_fine_tuned)
    assert document.data["corpus"].get("normalize") == normalize
    document, _ = fill_left_out(Document("test", {**data, "model": {}}), settings, loaded, is_fine_tuned)
    assert document.data["corpus"].get("normalize") == corpus.get("normalize")


@pytest.mark.parametrize(
    ("settings", "best_step", "characters", "words"),
    [
        ({}, 100, 50_000, []),
        ({}, 20, 50_000, ["by heart", "more dropout", "--checkpoint last"]),
        ({}, 20, 300, ["very short"]),
        ({}, 100, 300, ["very short"]),
        ({"warmup_steps": 100}, 100, 50_000, ["within its warmup of 100 steps"]),
    ],
)
def test_advice_at_the_end_fits_the_run(settings, best_step, characters, words):
    config = parse_config({"corpus": {"source": "x"}, "training": settings}, "test")
    records = [{"kind": "evaluation", "nats": 1.5, "step": 10 * n, "epoch": n, "seconds": n} for n in range(10)]
    lines = ending_advice(config, Ended("budget", 100, 1.5, best_step, 1.0, 1000), characters, records)
    assert len(lines) == bool(words)
    assert all(word in lines[0] for word in words)


@pytest.mark.parametrize("length", [30, 2_000])
def test_fine_tuning_takes_the_network_of_the_run_and_its_own_rate(corpus_of, length):
    corpus = corpus_of("a line\nanother one, longer\nb\n" * length)
    row = size_defaults(corpus.length("train"), corpus.vocabulary.size)
    usual, sections = chosen_sections(corpus), chosen_sections(corpus, is_fine_tuned=True)
    assert sections["model"] == {"dropout": row.dropout}
    assert sections["training"] == {**usual["training"], "learning_rate": row.fine_tuning_rate}
    assert row.fine_tuning_rate <= row.learning_rate


def test_rates_of_fine_tuning_rise_with_the_size_to_the_usual_ones():
    rates = [row.fine_tuning_rate for row in TABLE]
    assert rates == sorted(rates)
    assert TABLE[-1].fine_tuning_rate == TABLE[-1].learning_rate
