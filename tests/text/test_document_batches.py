"""Document batches: every character of every document is a target exactly once per epoch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from charlstm.errors import UserError
from charlstm.text import document_batches, epochs
from charlstm.text.document_batches import DocumentBatches
from charlstm.text.documents import Documents, permutation, split_documents
from charlstm.text.streams import IGNORE, Batch
from charlstm.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary.from_text("abcdefgh\n")
V = VOCABULARY.size


def documents_of(contents: list[str], separator: str = "newline") -> Documents:
    end = "\n\n" if separator == "blank_line" else "\n"
    return split_documents(VOCABULARY.encode(end.join(contents)).astype(np.uint8), VOCABULARY, separator)


def random_documents(seed: int, count: int, longest: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("abcdefgh"), rng.integers(1, longest + 1))) for _ in range(count)]


def epoch_of(batches: DocumentBatches) -> list[Batch]:
    epoch, chunks = batches.epoch, []
    while batches.epoch == epoch:
        chunks.append(batches.next_batch())
    return chunks


def equal(a: Batch, b: Batch) -> bool:
    tensors = (a.previous, a.targets, a.following, a.lengths), (b.previous, b.targets, b.following, b.lengths)
    return all(torch.equal(x, y) for x, y in zip(*tensors, strict=True)) and (a.reset_state, a.count) == (
        b.reset_state,
        b.count,
    )


def read_documents(chunks: list[Batch]) -> list[list[int]]:
    """The targets of each document, concatenated from the chunks, in any order."""
    documents: list[list[int]] = []
    rows: list[list[int]] = []
    for chunk in chunks:
        if chunk.reset_state:
            documents += rows
            rows = [[] for _ in range(chunk.targets.shape[1])]
        for row, column in zip(rows, chunk.targets.T, strict=True):
            row += column[column != IGNORE].tolist()
    return [row for row in documents + rows if row]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text("abc", min_size=1, max_size=13), min_size=1, max_size=40),
    st.integers(1, 9),
    st.integers(1, 15),
    st.sampled_from(["forward", "backward", "bidirectional"]),
    st.sampled_from(["newline", "blank_line"]),
    st.integers(0, 99),
)
def test_every_character_is_a_target_once_per_epoch(contents, batch_size, length, direction, separator, seed) -> None:
    batches = DocumentBatches(documents_of(contents, separator), V, batch_size, length, direction, seed)
    end = "\n\n" if separator == "blank_line" else "\n"
    readings = {"forward": lambda c: c + end, "backward": lambda c: c[::-1] + end, "bidirectional": lambda c: c}
    expected = Counter(tuple(VOCABULARY.encode(readings[direction](content))) for content in contents)
    for epoch in (0, 1):
        steps = batches.steps_per_epoch
        chunks = epoch_of(batches)
        assert len(chunks) == steps
        assert Counter(map(tuple, read_documents(chunks))) == expected
        assert batches.progress == epoch + 1
        for chunk in chunks:
            counts = chunk.targets != IGNORE
            assert chunk.count == counts.sum() > 0
            assert chunk.lengths is not None
            assert (counts == (torch.arange(len(counts))[:, None] < chunk.lengths)).all()
            assert chunk.lengths.max() == len(counts) <= length
            assert chunk.targets.shape[1] == min(batch_size, len(contents))


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_inputs_and_targets_belong_to_one_document(direction: str) -> None:
    batches = DocumentBatches(documents_of(random_documents(1, 50, 20)), V, 4, 6, direction)
    before = after = torch.full((4,), V)
    for chunk in epoch_of(batches):
        counts = chunk.targets != IGNORE
        previous = torch.cat([torch.full((1, 4), V) if chunk.reset_state else before[None], chunk.targets[:-1]])
        assert torch.equal(chunk.previous[counts], previous[counts])
        if not chunk.reset_state:
            continued = chunk.lengths > 0
            assert torch.equal(after[continued], chunk.targets[0][continued])
        assert torch.equal(chunk.following[:-1][counts[1:]], chunk.targets[1:][counts[1:]])
        ends = (~counts[1:] & counts[:-1]).nonzero()
        assert all(chunk.following[t, b] == V for t, b in ends)
        padding = torch.arange(len(counts))[:, None] > chunk.lengths
        assert (chunk.previous[padding] == V).all()
        assert (chunk.following[padding] == V).all()
        before, after = chunk.targets[-1], chunk.following[-1]


def test_batches_of_two_documents() -> None:
    batches = DocumentBatches(documents_of(["a", "bcd"]), V, 2, 3)
    first, second = epoch_of(batches)
    column = int(first.targets[0, 0] != VOCABULARY.encode("a")[0])  # the column of the short document
    a, b, c, d, n = (int(VOCABULARY.encode(symbol)[0]) for symbol in "abcd\n")
    assert first.previous[:, column].tolist() == [V, a, n]
    assert first.targets[:, column].tolist() == [a, n, IGNORE]
    assert first.following[:, column].tolist() == [n, V, V]
    assert first.targets[:, 1 - column].tolist() == [b, c, d]
    assert first.following[:, 1 - column].tolist() == [c, d, n]
    assert (first.reset_state, first.count) == (True, 5)
    assert second.previous[:, 1 - column].tolist() == [d]
    assert second.targets.T.tolist()[1 - column] == [n]
    assert second.targets[:, column].tolist() == [IGNORE]
    assert (second.reset_state, second.count) == (False, 1)


def test_order_depends_on_epoch_and_seed() -> None:
    contents = documents_of(random_documents(2, 60, 5))
    orders = []
    for seed in (1, 1, 2):
        batches = DocumentBatches(contents, V, 4, 8, seed=seed)
        orders.append([[tuple(row) for row in read_documents(epoch_of(batches))] for _ in range(2)])
    assert orders[0] == orders[1]
    assert len({str(order) for epochs in orders[1:] for order in epochs}) == 4


def test_documents_and_batches_are_shuffled_independently(monkeypatch) -> None:
    """With the same permutation for documents and batches, the order of batches of one document would not be random."""
    calls = []
    monkeypatch.setattr(document_batches, "permutation", lambda *a: (calls.append(a), permutation(*a))[1])
    batches = DocumentBatches(documents_of(random_documents(2, 60, 5)), V, 1, 8)
    epoch_of(batches)
    assert [count for count, *_ in calls] == [60] * 4
    assert len({tuple(permutation(*arguments)) for arguments in calls}) == 4


def test_batches_have_documents_of_similar_length() -> None:
    chunks = epoch_of(DocumentBatches(documents_of(random_documents(3, 2000, 30)), V, 8, 64))
    density = sum(chunk.count for chunk in chunks) / sum(chunk.targets.numel() for chunk in chunks)
    assert density > 0.95
    longest = [len(chunk.targets) for chunk in chunks]
    assert abs(np.corrcoef(longest[:-1], longest[1:])[0, 1]) < 0.2, "short and long batches are mixed"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 30), st.integers(1, 7), st.integers(1, 9), st.integers(0, 60))
def test_resumed_batches_equal_uninterrupted_ones(count: int, batch_size: int, length: int, steps: int) -> None:
    contents = documents_of(random_documents(count, count, 12))
    uninterrupted = DocumentBatches(contents, V, batch_size, length, seed=7)
    for _ in range(steps):
        uninterrupted.next_batch()
    state = uninterrupted.state_dict()
    assert all(type(value) is int for value in state.values())
    resumed = DocumentBatches(contents, V, batch_size, length, seed=7)
    resumed.next_batch()
    resumed.load_state_dict(state)
    assert resumed.progress == uninterrupted.progress
    for _ in range(25):
        assert equal(uninterrupted.next_batch(), resumed.next_batch())
        assert (resumed.state_dict(), resumed.progress) == (uninterrupted.state_dict(), uninterrupted.progress)


def test_fewer_documents_than_a_batch_make_a_smaller_batch() -> None:
    batches = DocumentBatches(documents_of(["a", "bc", "def"]), V, 64, 10)
    assert (batches.batch_size, batches.sequence_length, batches.steps_per_epoch) == (3, 4, 1)
    assert batches.notice is not None
    assert "only 3 documents" in batches.notice
    assert DocumentBatches(documents_of(["a", "bc", "def"]), V, 3, 10).notice is None


def test_state_of_other_documents_is_an_error() -> None:
    contents = documents_of(random_documents(1, 20, 9))
    state = DocumentBatches(contents, V, 4, 10, seed=3).state_dict()
    for changes, words in [
        ({"batch_size": 5}, "batch_size was 4, is 5"),
        ({"sequence_length": 11}, "sequence_length was 10, is 11"),
        ({"seed": 4}, "seed was 3, is 4"),
        ({"direction": "backward"}, "backward was 0, is 1"),
        ({"documents": documents_of(["a"] * 20)}, "characters"),
        ({"documents": documents_of(["a"] * 19)}, "documents was 20, is 19"),
    ]:
        options = {"documents": contents, "batch_size": 4, "sequence_length": 10, "seed": 3, **changes}
        with pytest.raises(UserError, match=f"cannot resume: .*{words}"):
            DocumentBatches(vocabulary_size=V, **options).load_state_dict(state)


@pytest.mark.parametrize("damage", [{"position": 2}, {"position": -1}, {"epoch": -1}])
def test_damaged_position_is_an_error(damage: dict[str, int]) -> None:
    batches = DocumentBatches(documents_of(["a", "bc"]), V, 1, 10)
    with pytest.raises(UserError, match="damaged"):
        batches.load_state_dict({**batches.state_dict(), **damage})


def test_no_documents_is_an_error() -> None:
    with pytest.raises(UserError, match="no document to read"):
        DocumentBatches(documents_of(["a"]).select(slice(0, 0)), V, 4, 10)
    with pytest.raises(ValueError, match="at least 1"):
        DocumentBatches(documents_of(["a"]), V, 0, 10)


def answers_of(contents: list[str]) -> Documents:
    return split_documents(
        VOCABULARY.encode("\n".join(contents)).astype(np.uint8), VOCABULARY, "newline", score_after="h"
    )


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_only_characters_after_the_mark_are_targets(direction):
    contents = ["abchde", "hg", "aaaaahbhc", "bha"]
    batches = DocumentBatches(answers_of(contents), V, 2, 16, direction)
    assert batches.characters == sum(len(text) - text.index("h") - 1 for text in contents)
    chunks = epoch_of(batches)
    assert sum(chunk.count for chunk in chunks) == batches.characters
    answers = sorted(VOCABULARY.decode(row) for row in read_documents(chunks))
    step = -1 if direction == "backward" else 1
    assert answers == sorted(text[text.index("h") + 1 :][::step] for text in contents)
    for chunk in chunks:  # inputs are the targets of the previous time step
        before = chunk.previous[1:][chunk.targets[:-1] != IGNORE]
        assert torch.equal(before, chunk.targets[:-1][chunk.targets[:-1] != IGNORE])


def test_document_with_score_after_must_fit_a_chunk():
    documents = answers_of(["abchde", "bha"])
    with pytest.raises(UserError, match=r"the longest has 7 characters.*Set training.sequence_length to 7"):
        DocumentBatches(documents, V, 2, 6)
    DocumentBatches(documents, V, 2, 7)


def test_reading_releases_memory_map_pages(monkeypatch):
    released = []
    monkeypatch.setattr(epochs, "RELEASE_AFTER", 50)
    monkeypatch.setattr(epochs, "release", released.append)
    chunks = epoch_of(DocumentBatches(documents_of(random_documents(1, 40, 9)), V, 4, 10))
    read = sum(4 * (len(chunk.targets) + 2) for chunk in chunks)
    assert read / 100 < len(released) <= read / 50


def test_progress_is_restored_within_an_epoch():
    batches = DocumentBatches(answers_of(["abhde", "bha", "hhh", "gfhedcb"]), V, 1, 16)
    again = DocumentBatches(answers_of(["abhde", "bha", "hhh", "gfhedcb"]), V, 1, 16)
    for _ in range(6):
        again.load_state_dict(batches.state_dict())
        assert again.progress == batches.progress
        assert equal(again.next_batch(), batches.next_batch())


@pytest.mark.parametrize(("text", "number"), [("ab", 1), ("abh", 1), ("bha\nb\nc", 2)])
def test_document_without_an_answer_is_an_error(text, number):
    with pytest.raises(UserError, match=rf"corpus.score_after: 'h': nothing follows it in .* number {number}, "):
        answers_of([*text.split("\n"), "ch"] if "h" not in text else text.split("\n"))


def test_missing_score_after_text_is_an_error():
    with pytest.raises(UserError, match=r"corpus.score_after: '\?': there is no such text"):
        split_documents(VOCABULARY.encode("ab\n").astype(np.uint8), VOCABULARY, "newline", "?")
