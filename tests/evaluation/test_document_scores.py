"""Each document is scored from its beginning, every character and end mark once, in any batch."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_evaluation_score import V, make_model, naive, naive_both_sides

from charlstm.evaluation import documents as module
from charlstm.evaluation import nats_per_character, score
from charlstm.text.blocks import blocks
from charlstm.text.documents import Documents, Sequences

END = V - 1


def make_documents(lengths: list[int], end_mark: tuple[int, ...] = (END,)) -> Documents:
    ids = np.random.default_rng(1).integers(V - 1, size=sum(lengths)).astype(np.uint16)
    ends = np.cumsum(lengths)
    order = np.random.default_rng(2).permutation(len(lengths))
    return Documents(ids, (ends - lengths)[order], ends[order], np.array(end_mark))


def contents(documents: Documents) -> list[np.ndarray]:
    return [documents.ids[a:b] for a, b in zip(documents.starts, documents.ends, strict=True)]


LENGTHS = [1, 1, 2, 3, 3, 3, 7, 40, 127, 128, 129, 129, 300]


def expected(model, documents: Documents) -> np.ndarray:
    nats = []
    for content in contents(documents):
        if model.bidirectional:
            nats.append(naive_both_sides(model, content))
        else:
            content_in_order = content[::-1] if model.direction == "backward" else content
            mark = documents.end_mark[::-1] if model.direction == "backward" else documents.end_mark
            nats.append(naive(model, np.concatenate([content_in_order, mark])))
    return np.concatenate(nats)


@pytest.mark.parametrize(
    ("direction", "end_mark"),
    [
        ("forward", (END,)),
        ("backward", (END, 0, END)),
        ("bidirectional", (END,)),
        pytest.param("forward", (END, 0, END), marks=pytest.mark.slow),
        pytest.param("backward", (END,), marks=pytest.mark.slow),
        pytest.param("bidirectional", (END, 0, END), marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.few(1)
def test_document_scores_equal_the_naive_scores(direction, end_mark):
    model, documents = make_model(direction=direction, cell="gru"), make_documents(LENGTHS, end_mark)
    actual = nats_per_character(model, documents)
    np.testing.assert_allclose(actual, expected(model, documents), rtol=1e-4, atol=1e-5)
    result = score(model, documents)
    marks = 0 if direction == "bidirectional" else len(LENGTHS) * len(end_mark)
    assert result.characters == sum(LENGTHS) + marks
    assert result.nats == pytest.approx(actual.astype(float).mean())


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
@pytest.mark.parametrize(("rows", "characters", "chunk"), [(1, 1, 128), (3, 1, 5), (2, 600, 1000)])
def test_batch_size_does_not_change_scores(monkeypatch, direction, rows, characters, chunk):
    model, documents = make_model(direction=direction), make_documents(LENGTHS)
    before = nats_per_character(model, documents)
    monkeypatch.setattr(module, "DOCUMENTS", rows)
    monkeypatch.setattr(module, "CHARACTERS", characters)
    monkeypatch.setattr(sys.modules[score.__module__], "CHUNK", chunk)
    np.testing.assert_allclose(nats_per_character(model, documents), before, rtol=1e-4, atol=1e-5)


def test_documents_are_batched_by_length_each_once():
    model, documents = make_model(), make_documents(LENGTHS * 30)
    groups = list(module.document_pieces(model, Sequences(documents, V, "forward")))
    read = np.concatenate([group._indices for group in groups])
    assert sorted(read.tolist()) == list(range(len(documents)))
    assert len(groups) < 8
    assert groups[0].longest == 301
    both = make_model(direction="bidirectional")
    sequences = Sequences(documents, V, "bidirectional")
    for group in module.document_pieces(both, sequences):
        assert len(set(sequences.lengths[group._indices].tolist())) == 1


def test_a_long_document_is_read_in_chunks(monkeypatch):
    model, documents, steps = make_model(), make_documents([5000, 3]), []
    hidden = type(model).hidden
    monkeypatch.setattr(
        type(model), "hidden", lambda self, x, *rest: (steps.append(x.shape), hidden(self, x, *rest))[1]
    )
    nats_per_character(model, documents)
    assert max(t for t, _ in steps) == 128


def test_document_order_does_not_change_the_score():
    model, documents = make_model(), make_documents(LENGTHS)
    reversed_documents = documents.select(np.arange(len(LENGTHS))[::-1].copy())
    assert score(model, reversed_documents).nats == pytest.approx(score(model, documents).nats, rel=1e-6)


def test_backward_stack_starts_at_the_end_of_each_text():
    """A batch of texts of several lengths gives the same logits as each text alone."""
    model, generator = make_model(direction="bidirectional"), torch.Generator().manual_seed(3)
    lengths = [1, 4, 9, 6]
    texts = [torch.randint(V, (n,), generator=generator) for n in lengths]
    previous, following = (torch.full((9, 4), V) for _ in "pf")
    for b, text in enumerate(texts):
        previous[1 : len(text), b], following[: len(text) - 1, b] = text[:-1], text[1:]
    batched = model(previous, following=following, lengths=torch.tensor(lengths))[0]
    for b, n in enumerate(lengths):
        alone = model(previous[:n, b : b + 1], following=following[:n, b : b + 1])[0]
        torch.testing.assert_close(batched[:n, b : b + 1], alone)
    without = model(previous, following=following)[0]
    assert (without[0, 0] - batched[0, 0]).abs().max() > 1e-3


def test_gradients_of_padded_texts_equal_those_of_each_alone():
    model = make_model(direction="bidirectional")
    previous, following = torch.randint(V, (5, 2)), torch.randint(V, (5, 2))
    model(previous, following=following, lengths=torch.tensor([5, 3]))[0][:3, 1].sum().backward()
    batched = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(previous[:3, 1:], following=following[:3, 1:])[0].sum().backward()
    for parameter, grad in zip(model.parameters(), batched, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_only_the_answers_are_scored(direction):
    model, documents = make_model(direction=direction), make_documents([7, 3, 300, 12])
    begins = (documents.starts + documents.ends) // 2
    all_nats, answers = (nats_per_character(model, d) for d in (documents, replace(documents, scored=begins)))
    sequences = Sequences(documents, V, direction)
    expected = []
    for d, (start, length) in enumerate(zip(sequences.offsets, sequences.lengths, strict=True)):
        document_nats, content = all_nats[start : start + length], int(documents.ends[d] - documents.starts[d])
        skipped = int(begins[d] - documents.starts[d])
        expected.append(
            document_nats[: content - skipped] if direction == "backward" else document_nats[skipped:content]
        )
    np.testing.assert_allclose(answers, np.concatenate(expected), rtol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_block_scores_equal_the_naive_scores(direction, monkeypatch):
    """Each block with its gaps as context, of which no character counts."""
    monkeypatch.setattr(sys.modules["charlstm.evaluation.score"], "STREAMS", 4)
    model = make_model(direction=direction, cell="gru")
    ids = np.random.default_rng(1).integers(V, size=1000).astype(np.uint16)
    spans = np.array([[100, 180], [300, 301], [500, 590]])
    nats, one = [], 7
    for begin, end in spans:
        content = ids[begin - one : end + one]
        if direction == "bidirectional":
            nats.append(naive_both_sides(model, content)[one:-one])
        else:
            nats.append(naive(model, content[::-1] if direction == "backward" else content)[one:-one])
    text = blocks(ids, spans, one)
    np.testing.assert_allclose(nats_per_character(model, text), np.concatenate(nats), atol=1e-5)
    assert score(model, text).characters == 171


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_long_blocks_are_scored_in_pieces_with_context(direction, monkeypatch):
    monkeypatch.setattr(sys.modules["charlstm.evaluation.score"], "STREAMS", 8)
    monkeypatch.setattr(sys.modules["charlstm.evaluation.score"], "WARM_UP", 60)
    model = make_model(direction=direction, cell="gru")
    ids = np.random.default_rng(1).integers(V, size=900).astype(np.uint16)
    pieces = nats_per_character(model, blocks(ids, np.array([[0, 900]])))
    expected = naive(model, ids[::-1] if direction == "backward" else ids)
    np.testing.assert_allclose(pieces, expected, atol=0.02)  # the state forgets what is 60 characters ago
