from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import charlstm
from charlstm.compression import codec, layout
from charlstm.compression.codec import Coder, coder_of, compress, decompress, default_streams
from charlstm.compression.container import Container, unpack
from charlstm.compression.fixed_model import Reading
from charlstm.compression.predictions import Predictions
from charlstm.errors import UserError
from charlstm.evaluation import score
from charlstm.model import LanguageModel


@pytest.fixture(scope="module")
def coder(tiny_run) -> Coder:
    run = charlstm.load(tiny_run, device="cpu")
    return coder_of(run.model, run.vocabulary, run.config, 90)


def coded_bits(container: Container) -> int:
    """The bits of the coded symbols, without the header."""
    return 8 * sum(map(len, container.blocks)) + 8 * len(container.codes)


def restored(coder, content, streams=None):
    container = compress(coder, content, streams)
    return decompress(coder, unpack(container.pack(), "x"), "x")


@pytest.mark.parametrize(
    "content",
    [b"", b"t", b"the cat\nsat", b"THE", bytes(range(256)), "日本 🎉\r\n".encode(), b"\xff" * 50],
    ids=repr,
)
def test_every_file_is_restored(coder, content):
    for streams in (None, 1, 3, 4096):
        assert restored(coder, content, streams) == content


def test_size_is_that_of_the_measured_bits(coder, text):
    """Within 0.5% and the state of the stream; the header has less than 80 bytes."""
    container = compress(coder, text.encode(), 1)
    bits = score(coder.model, coder.vocabulary.encode(text)).bits_per_character * len(text)
    assert bits < coded_bits(container) < bits * 1.005 + 64
    assert len(container.pack()) * 8 - coded_bits(container) < 80 * 8


@pytest.mark.parametrize("streams", [2, 10])
def test_each_stream_costs_its_first_characters(coder, text, streams):
    one, many = (coded_bits(compress(coder, text.encode(), count)) for count in (1, streams))
    assert 0 < many - one < 130 * streams


def test_long_text_is_coded_in_blocks(coder, text, monkeypatch):
    monkeypatch.setattr(layout, "BLOCK", 100)
    container = compress(coder, text.encode(), 3)
    assert len(container.blocks) == math.ceil(500 / 33)
    assert decompress(coder, unpack(container.pack(), "x"), "x") == text.encode()


def test_unknown_characters_cost_less_as_they_repeat(coder, text):
    def bits(content):
        return coded_bits(compress(coder, content.encode(), 1))

    once = bits(text[:300] + "Z" + text[300:])
    often = bits("".join(c + "Z" for c in text[:300]))
    assert once - bits(text) < 60
    assert often - bits(text[:300]) < 300 * 8


@pytest.mark.parametrize(
    "reading", [Reading(True, ()), Reading(False, (0,)), Reading(False, (0, 1)), Reading(True, (1, 0))], ids=str
)
def test_documents_and_backward_texts_are_restored(coder, text, reading):
    assert restored(replace(coder, reading=reading), text.encode(), 4) == text.encode()


def test_shorter_streams_have_no_symbol_in_the_last_step():
    assert layout.Layout(7, 3).counts.tolist() == [3, 3, 1]


def test_document_is_predicted_like_the_first(coder):
    predictions = Predictions(coder.model, Reading(False, (0, 1)), 1, 0)
    symbol = np.array([2])
    first = predictions.intervals(symbol)
    for read in (3, 1, 0):
        predictions.read(np.array([read]))
        assert predictions.intervals(symbol) != first
    predictions.read(np.array([1]))
    assert predictions.intervals(symbol) == first


def test_documents_are_coded_from_a_zero_state(coder, text):
    (newline,) = coder.vocabulary.encode("\n")
    line = b"the cat sat\n"
    documents = replace(coder, reading=Reading(False, (int(newline),)))
    sizes = [coded_bits(compress(documents, line * count, 1)) for count in (10, 20, 30)]
    assert sizes[2] - sizes[1] == pytest.approx(sizes[1] - sizes[0], abs=32)


@pytest.mark.parametrize("streams", [1, 5])
def test_learning_coder_restores_the_file(coder, text, streams):
    content = ("Z" + text[:200]).encode()
    container = compress(coder, content, streams, rate=5)
    assert decompress(coder, unpack(container.pack(), "x"), "x") == content
    assert container.blocks != compress(coder, content, streams).blocks


def test_learning_makes_a_repetition_smaller(coder):
    content = b"tac eht " * 60
    fixed, learning = (coded_bits(compress(coder, content, 1, rate=rate)) for rate in (0, 5))
    assert learning < 0.8 * fixed


def test_another_model_is_refused(coder):
    container = compress(coder, b"the cat")
    with torch.no_grad():
        coder.model.head.bias[0] += 1e-3
    try:
        with pytest.raises(UserError, match=r"x: it was compressed by another model\. Give the run"):
            decompress(coder, container, "x")
        with pytest.raises(UserError, match=r"\(step 90 of its training, not 7\)"):
            decompress(replace(coder, step=7), container, "x")
    finally:
        with torch.no_grad():
            coder.model.head.bias[0] -= 1e-3


def test_content_that_does_not_fit_is_damage(coder, text):
    container = compress(coder, text[:300].encode(), 2)
    for change in (
        {"length": 3},
        {"original": bytes(16)},
        {"symbols": 299},
        {"symbols": 1 << 40},
        {"streams": 3},
        {"streams": 0},
        {"streams": 301},
        {"rate": 8},
        {"rate": 31},
        {"escapes": 1},
        {"codes": b"\0abc"},
        {"encoding": "latin-9000"},
        {"blocks": ()},
        {"blocks": (bytes(40),)},
        {"blocks": (container.blocks[0][:-4],)},
        {"blocks": (container.blocks[0][::-1],)},
    ):
        with pytest.raises(UserError, match="x: the file is damaged"):
            decompress(coder, replace(container, **change), "x")


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ({"direction": "bidirectional"}, {}, "a bidirectional model cannot compress"),
        ({}, {"documents": "newline", "score_after": " "}, "score_after cannot compress"),
    ],
)
def test_unsuitable_model_is_refused(model, settings, message, make_config, coder):
    config = make_config(model, settings)
    network = LanguageModel(config.model, coder.vocabulary.size)
    with pytest.raises(UserError, match=message):
        coder_of(network, coder.vocabulary, config, 0)


def test_backward_run_reads_from_the_end(make_config, coder):
    config = make_config({"direction": "backward"}, {"documents": "blank_line"})
    network = LanguageModel(config.model, coder.vocabulary.size)
    (newline,) = coder.vocabulary.encode("\n").tolist()
    assert coder_of(network, coder.vocabulary, config, 0).reading == Reading(True, (newline, newline))


def test_streams_grow_with_the_text():
    assert [default_streams(n) for n in (0, 1, 8192, 100_000, 10**9)] == [1, 1, 1, 12, 128]


def test_too_long_file_is_refused(coder, monkeypatch):
    monkeypatch.setattr(codec, "MAX_BYTES", 3)
    with pytest.raises(UserError, match="the file has 4 bytes; the limit is 3"):
        compress(coder, b"home")


def test_progress_ends_with_all_characters(coder, text):
    calls = []
    container = compress(coder, text.encode(), 7, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (1500, 1500)
    assert np.all(np.diff([done for done, _ in calls]) > 0)
    again = []
    decompress(coder, container, "x", lambda done, total: again.append((done, total)))
    assert again == calls
