"""Documents are scored each from its own beginning, every character and end mark once, in any company."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_evaluation_score import V, make_model, naive, naive_both_sides

from charlstm.evaluation import documents as module
from charlstm.evaluation import nats_per_character, score
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
    found = []
    for content in contents(documents):
        if model.bidirectional:
            found.append(naive_both_sides(model, content))
        else:
            turned = content[::-1] if model.direction == "backward" else content
            mark = documents.end_mark[::-1] if model.direction == "backward" else documents.end_mark
            found.append(naive(model, np.concatenate([turned, mark])))
    return np.concatenate(found)


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
def test_each_document_equals_the_naive_score_of_it_alone(direction, end_mark):
    model, documents = make_model(direction=direction, cell="gru"), make_documents(LENGTHS, end_mark)
    found = nats_per_character(model, documents)
    np.testing.assert_allclose(found, expected(model, documents), rtol=1e-4, atol=1e-5)
    result = score(model, documents)
    marks = 0 if direction == "bidirectional" else len(LENGTHS) * len(end_mark)
    assert result.characters == sum(LENGTHS) + marks
    assert result.nats == pytest.approx(found.astype(float).mean())


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
@pytest.mark.parametrize(("rows", "characters", "chunk"), [(1, 1, 128), (3, 1, 5), (2, 600, 1000)])
def test_how_many_are_read_side_by_side_does_not_matter(monkeypatch, direction, rows, characters, chunk):
    model, documents = make_model(direction=direction), make_documents(LENGTHS)
    before = nats_per_character(model, documents)
    monkeypatch.setattr(module, "DOCUMENTS", rows)
    monkeypatch.setattr(module, "CHARACTERS", characters)
    monkeypatch.setattr(sys.modules[score.__module__], "CHUNK", chunk)
    np.testing.assert_allclose(nats_per_character(model, documents), before, rtol=1e-4, atol=1e-5)


def test_similar_documents_are_read_together_and_each_once():
    model, documents = make_model(), make_documents(LENGTHS * 30)
    groups = list(module.document_pieces(model, Sequences(documents, V, "forward")))
    read = np.concatenate([group._which for group in groups])
    assert sorted(read.tolist()) == list(range(len(documents)))
    assert len(groups) < 8
    assert groups[0].longest == 301
    both = make_model(direction="bidirectional")
    sequences = Sequences(documents, V, "bidirectional")
    for group in module.document_pieces(both, sequences):
        assert len(set(sequences.lengths[group._which].tolist())) == 1


def test_a_long_document_is_read_in_chunks(monkeypatch):
    model, documents, steps = make_model(), make_documents([5000, 3]), []
    hidden = type(model).hidden
    monkeypatch.setattr(
        type(model), "hidden", lambda self, x, *rest: (steps.append(x.shape), hidden(self, x, *rest))[1]
    )
    nats_per_character(model, documents)
    assert max(t for t, _ in steps) == 128


def test_the_order_of_the_documents_does_not_matter():
    model, documents = make_model(), make_documents(LENGTHS)
    turned = documents.chosen(np.arange(len(LENGTHS))[::-1].copy())
    assert score(model, turned).nats == pytest.approx(score(model, documents).nats, rel=1e-6)


def test_the_backward_stack_begins_each_text_at_its_own_end():
    """In training: a batch of texts of several lengths gives what each gives alone."""
    model, generator = make_model(direction="bidirectional"), torch.Generator().manual_seed(3)
    lengths = [1, 4, 9, 6]
    texts = [torch.randint(V, (n,), generator=generator) for n in lengths]
    previous, following = (torch.full((9, 4), V) for _ in "pf")
    for b, text in enumerate(texts):
        previous[1 : len(text), b], following[: len(text) - 1, b] = text[:-1], text[1:]
    together = model(previous, following=following, lengths=torch.tensor(lengths))[0]
    for b, n in enumerate(lengths):
        alone = model(previous[:n, b : b + 1], following=following[:n, b : b + 1])[0]
        torch.testing.assert_close(together[:n, b : b + 1], alone)
    without = model(previous, following=following)[0]
    assert (without[0, 0] - together[0, 0]).abs().max() > 1e-3


def test_gradients_of_texts_of_several_lengths_are_those_of_each_alone():
    model = make_model(direction="bidirectional")
    previous, following = torch.randint(V, (5, 2)), torch.randint(V, (5, 2))
    model(previous, following=following, lengths=torch.tensor([5, 3]))[0][:3, 1].sum().backward()
    together = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(previous[:3, 1:], following=following[:3, 1:])[0].sum().backward()
    for parameter, grad in zip(model.parameters(), together, strict=True):
        torch.testing.assert_close(parameter.grad, grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_only_the_answers_are_scored(direction):
    model, documents = make_model(direction=direction), make_documents([7, 3, 300, 12])
    begins = (documents.starts + documents.ends) // 2
    whole, answers = (nats_per_character(model, d) for d in (documents, replace(documents, scored=begins)))
    sequences = Sequences(documents, V, direction)
    expected = []
    for d, (start, length) in enumerate(zip(sequences.places, sequences.lengths, strict=True)):
        own, content = whole[start : start + length], int(documents.ends[d] - documents.starts[d])
        skipped = int(begins[d] - documents.starts[d])
        expected.append(own[: content - skipped] if direction == "backward" else own[skipped:content])
    np.testing.assert_allclose(answers, np.concatenate(expected), rtol=1e-5)
