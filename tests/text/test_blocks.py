"""Splits by blocks and by files: exact, without leaks, and trained without running over the holes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from charlstm.errors import UserError
from charlstm.text import epochs
from charlstm.text.block_streams import BlockStreams
from charlstm.text.blocks import blocks, cut_blocks, sample_of_documents, sample_of_text, windows
from charlstm.text.corpus import Corpus, load_corpus
from charlstm.text.documents import Documents, Sequences, split_documents
from charlstm.text.splits import (
    SPLITS,
    blocks_of_documents,
    blocks_of_text,
    cumulative_fractions,
    spans_of_files,
    splits_of_files,
    spread_blocks,
)
from charlstm.text.streams import IGNORE, Batch
from charlstm.text.vocabulary import Vocabulary

V = 40_000
FRACTIONS = [(0.1, 0.0), (0.1, 0.05), (0.3, 0.3), (0.02, 0.2), (0.5, 0.0)]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CHARLSTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def distinct(n: int) -> np.ndarray:
    """A text in which every id is its position."""
    return np.arange(n, dtype=np.uint16)


def counted(documents: Documents, direction: str = "forward") -> np.ndarray:
    """The ids that count in the loss, document by document."""
    sequences = Sequences(documents, V, direction)
    which = np.arange(len(documents))
    longest = int(sequences.lengths.max())
    window, counts = sequences.window(which, 0, longest), sequences.counted(which, 0, longest)
    return np.concatenate([window[:, d][counts[:, d]] for d in which])


# where the blocks are


@given(st.integers(0, 500), st.lists(st.integers(0, 99), min_size=1, max_size=2), st.integers(1, 12))
@example(1, [5], 8)
@example(2, [11], 8)
@example(0, [24, 62], 9)
def test_blocks_are_equally_long_and_equally_spaced(free: int, lengths: list[int], count: int) -> None:
    total = free + sum(lengths)
    spans = spread_blocks(total, lengths, count)
    for length, part in zip(lengths, spans, strict=True):
        sizes = part[:, 1] - part[:, 0]
        assert sizes.sum() == length
        assert len(part) == min(count, length)
        assert length < count or sizes.max() - sizes.min() <= 1
    edges = np.sort(np.concatenate(spans), 0)
    assert (edges[1:, 0] >= edges[:-1, 1]).all()
    assert not len(edges) or (edges[0, 0] >= 0 and edges[-1, 1] <= total)


@given(st.integers(700, 30_000), st.sampled_from(FRACTIONS))
def test_block_splits_are_exact_and_apart(total: int, fractions: tuple[float, float]) -> None:
    """Held out is as much as at the end of the text; every character is in one split or in a gap."""
    boundaries = cumulative_fractions(*fractions)
    if total * min(f for f in fractions if f) < 66:
        return  # test_text_without_space_for_blocks_is_an_error
    spans, gap = blocks_of_text(total, boundaries, "a.txt")
    split_of = np.full(total, -1)
    for number, split in enumerate(SPLITS):
        for begin, end in spans[split]:
            assert (split_of[begin:end] == -1).all()
            split_of[begin:end] = number
    train, validation = (int(total * fraction) for fraction in boundaries)
    assert (split_of == 1).sum() == validation - train
    assert (split_of == 2).sum() == total - validation
    held_out = len(spans["validation"]) + len(spans["test"])
    assert (split_of == -1).sum() == 2 * gap * held_out
    for begin, end in np.concatenate([spans["validation"], spans["test"]]):
        assert (split_of[begin - gap : begin] == -1).all()
        assert (split_of[end : end + gap] == -1).all()
        assert split_of[begin - gap - 1] == split_of[end + gap] == 0


@pytest.mark.parametrize(("total", "blocks"), [(100_000, 10), (1_000_000, 31), (10_000_000, 100)])
def test_number_of_blocks_grows_with_the_text(total: int, blocks: int) -> None:
    spans, gap = blocks_of_text(total, cumulative_fractions(0.1, 0.0), "a.txt")
    assert (len(spans["validation"]), gap) == (blocks, min(128, total // 10 // blocks // 8))


@pytest.mark.parametrize(
    ("total", "validation", "test", "message"),
    [
        (500, 0.1, 0.0, "of the 500 characters of a.txt, 50 are held out, which is too short for two blocks"),
        (9000, 0.3, 0.005, "45 are held out"),
        (9000, 0.9, 0.0, "no training text between the blocks"),
        (512, 0.8, 0.0, "no training text between the blocks"),  # one character between them, and none before the first
    ],
)
def test_text_without_space_for_blocks_is_an_error(total: int, validation: float, test: float, message: str) -> None:
    with pytest.raises(UserError, match=rf"^corpus\.validation: blocks.* {message}|{message}"):
        blocks_of_text(total, cumulative_fractions(validation, test), "a.txt")


@given(st.integers(3, 2000), st.sampled_from(FRACTIONS))
@example(3, (0.1, 0.05))
def test_document_blocks_are_a_partition(count: int, fractions: tuple[float, float]) -> None:
    numbers = blocks_of_documents(count, cumulative_fractions(*fractions))
    assert sorted(np.concatenate(numbers).tolist()) == list(range(count))
    for part, fraction in zip(numbers[1:], fractions, strict=True):
        assert len(part) == (max(1, count - int(count * (1 - fraction))) if fraction else 0) or sum(fractions) > 0.1
        assert bool(len(part)) == bool(fraction)
    assert len(numbers[0]) >= 1
    if count > 1000:
        assert np.mean(numbers[1]) == pytest.approx(count / 2, rel=0.2)


@pytest.mark.parametrize(
    ("count", "fractions", "lengths"),
    [
        (2, (0.9, 0.0), [1, 1, 0]),
        (3, (0.5, 0.4), [1, 1, 1]),
        (3, (0.0, 0.9), [1, 0, 2]),
        (5, (0.9, 0.05), [1, 3, 1]),
        (7, (0.0, 0.0), [7, 0, 0]),
    ],
)
def test_one_document_at_least_is_left_for_training(
    count: int, fractions: tuple[float, float], lengths: list[int]
) -> None:
    numbers = blocks_of_documents(count, cumulative_fractions(*fractions))
    assert [len(part) for part in numbers] == lengths
    assert sorted(np.concatenate(numbers).tolist()) == list(range(count))


def test_documents_are_held_out_in_at_least_ten_blocks() -> None:
    validation = blocks_of_documents(200, cumulative_fractions(0.1, 0.0))[1]
    assert np.diff(validation).tolist() == [1, *[19, 1] * 9]


def test_files_are_held_out_whole() -> None:
    sizes = [10] * 20 + [0, 0] + [10] * 20
    ends = np.cumsum(sizes).tolist()
    splits = splits_of_files(ends, cumulative_fractions(0.2, 0.1))
    assert [(splits == n).sum() for n in range(3)] == [30, 8, 4]  # empty files count for training
    assert (splits[-12:] == 0).any()  # they are shuffled
    spans = spans_of_files(ends, splits)
    assert {name: int((part[:, 1] - part[:, 0]).sum()) for name, part in spans.items()} == {
        "train": 280,
        "validation": 80,
        "test": 40,
    }
    assert (spans["validation"][:, 1] - spans["validation"][:, 0] == 10).all()
    merged = spans["train"][:, 0][1:] - spans["train"][:, 1][:-1]
    assert (merged > 0).all()  # training files side by side are one span
    with pytest.raises(UserError, match="needs at least 3 files that are not empty, found 2"):
        splits_of_files([5, 5, 9], cumulative_fractions(0.2, 0.1))


# training


def epoch_of(streams: BlockStreams) -> list[Batch]:
    return [streams.next_batch() for _ in range(streams.steps_per_epoch)]


@st.composite
def texts_with_holes(draw: st.DrawFn) -> Documents:
    lengths = draw(st.lists(st.tuples(st.integers(2, 9), st.integers(1, 60)), min_size=1, max_size=8))
    edges = np.cumsum([part for pair in lengths for part in pair]).reshape(-1, 2)
    return blocks(distinct(int(edges[-1, 1]) + 3), edges)


shapes = st.tuples(texts_with_holes(), st.integers(1, 12), st.integers(1, 20), st.booleans())


@given(shapes)
def test_every_training_character_is_a_target_once_per_epoch(shape: tuple[Documents, int, int, bool]) -> None:
    text, batch_size, length, reverse = shape
    streams = BlockStreams(text, V, batch_size, length, reverse)
    for _ in range(2):
        batches = epoch_of(streams)
        targets = torch.cat([batch.targets.reshape(-1) for batch in batches])
        assert sorted(targets[targets != IGNORE].tolist()) == sorted(counted(text).tolist())
        for batch in batches:
            assert batch.count == int((batch.targets != IGNORE).sum()) > 0
            assert batch.targets.shape[1] == streams.batch_size <= batch_size
            assert batch.lengths is not None
            assert torch.equal(batch.lengths, (batch.targets != IGNORE).sum(0))


@given(shapes)
def test_streams_begin_again_after_each_hole(shape: tuple[Documents, int, int, bool]) -> None:
    """Held-out characters are never read, and the state that a character sees comes from its own block."""
    text, batch_size, length, reverse = shape
    step = -1 if reverse else 1
    firsts = set((text.ends - 1 if reverse else text.starts).tolist())
    lasts = set((text.starts if reverse else text.ends - 1).tolist())
    inside = {*counted(text).tolist(), V}
    carried: list[int | None] = []  # per stream, the character before, if the state is carried
    for batch in epoch_of(BlockStreams(text, V, batch_size, length, reverse)):
        if batch.reset_state:
            assert batch.fresh is None
            carried = [None] * batch.targets.shape[1]
        fresh = torch.zeros(len(carried), dtype=torch.bool) if batch.fresh is None else batch.fresh
        assert {*batch.previous.reshape(-1).tolist(), *batch.following.reshape(-1).tolist()} <= inside
        assert batch.lengths is not None
        padding = batch.lengths == 0
        assert (batch.previous[:, padding] == V).all()
        assert not (fresh & padding).any()
        for column, targets in enumerate(batch.targets.T.tolist()):
            carried[column] = None if fresh[column] else carried[column]
            for row, t in enumerate(targets):
                if t == IGNORE:
                    carried[column] = None
                    continue
                assert batch.previous[row, column] == (V if t in firsts else t - step)
                assert batch.following[row, column] == (V if t in lasts else t + step)
                assert carried[column] in (None, t - step)
                assert t not in firsts or carried[column] is None
                carried[column] = t


@given(shapes, st.data())
def test_resumed_block_streams_equal_uninterrupted_ones(
    shape: tuple[Documents, int, int, bool], data: st.DataObject
) -> None:
    streams, resumed = BlockStreams(*shape[:1], V, *shape[1:]), BlockStreams(*shape[:1], V, *shape[1:])
    for _ in range(data.draw(st.integers(0, 2 * streams.steps_per_epoch))):
        streams.next_batch()
    resumed.load_state_dict(json.loads(json.dumps(streams.state_dict())))
    assert resumed.progress == streams.progress
    for _ in range(streams.steps_per_epoch + 1):
        ours, theirs = streams.next_batch(), resumed.next_batch()
        assert torch.equal(ours.targets, theirs.targets)
        assert torch.equal(ours.previous, theirs.previous)
        assert (ours.reset_state, ours.count) == (theirs.reset_state, theirs.count)
        assert (ours.fresh is None) == (theirs.fresh is None)


TWO_BLOCKS = blocks(distinct(90), np.array([[0, 40], [50, 90]]))


def test_block_streams_of_other_blocks_cannot_resume() -> None:
    state = BlockStreams(TWO_BLOCKS, V, 2, 8).state_dict()
    other = BlockStreams(blocks(distinct(90), np.array([[0, 80]])), V, 2, 8)
    with pytest.raises(UserError, match="blocks was 2, is 1"):
        other.load_state_dict(state)
    with pytest.raises(UserError, match="reverse was 0, is 1"):
        BlockStreams(TWO_BLOCKS, V, 2, 8, reverse=True).load_state_dict(state)


@pytest.mark.parametrize("damage", [{"position": 5}, {"position": -1}, {"epoch": -1}])
def test_damaged_position_in_blocks_is_an_error(damage: dict[str, int]) -> None:
    streams = BlockStreams(TWO_BLOCKS, V, 2, 8)
    with pytest.raises(UserError, match="damaged"):
        streams.load_state_dict({**streams.state_dict(), **damage})


@pytest.mark.parametrize(("batch_size", "length"), [(0, 8), (2, 0)])
def test_block_streams_of_no_size_are_an_error(batch_size: int, length: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        BlockStreams(TWO_BLOCKS, V, batch_size, length)


def test_reading_blocks_releases_memory_map_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[np.ndarray] = []
    monkeypatch.setattr(epochs, "RELEASE_AFTER", 40)
    monkeypatch.setattr(epochs, "release", released.append)
    epoch_of(BlockStreams(TWO_BLOCKS, V, 2, 8))  # reads 5 times 2 * (8 + 2) characters
    assert len(released) == 2


@given(shapes, st.integers(0, 15))
def test_washout_ignores_the_first_targets_of_each_block(shape: tuple[Documents, int, int, bool], washout: int) -> None:
    plain, washed = BlockStreams(*shape[:1], V, *shape[1:]), BlockStreams(*shape[:1], V, *shape[1:], washout)
    limit = int(np.minimum(shape[0].ends - shape[0].starts, shape[2]).min()) - 1
    for all_, some in zip(epoch_of(plain), epoch_of(washed), strict=True):
        is_reset = torch.full((plain.batch_size,), all_.reset_state) if all_.fresh is None else all_.fresh
        ignored = (torch.arange(len(all_.targets))[:, None] < min(washout, limit)) & is_reset
        assert torch.equal(some.targets, torch.where(ignored, IGNORE, all_.targets))
        assert some.count > 0


# scoring


@given(texts_with_holes(), st.integers(0, 1), st.integers(1, 5), st.integers(0, 6), st.booleans())
def test_cut_blocks_count_the_same_characters(
    text: Documents, gap: int, count: int, context: int, is_reversed: bool
) -> None:
    text = blocks(text.ids, np.stack([text.starts, text.ends], 1), gap)
    direction = "backward" if is_reversed else "forward"
    pieces = cut_blocks(text, count, context, is_reversed)
    np.testing.assert_array_equal(counted(pieces, direction), counted(text, direction))
    assert pieces.characters == text.characters
    assert pieces.scored is not None
    assert pieces.scored_ends is not None
    assert (pieces.scored_ends - pieces.scored <= max(2 * context, -(-text.characters // count))).all()
    block = np.searchsorted(text.starts, pieces.scored, side="right") - 1
    assert (pieces.starts >= text.starts[block]).all()
    assert (pieces.ends <= text.ends[block]).all()


@given(texts_with_holes(), st.integers(1, 300))
def test_sample_of_a_text_is_spread_and_inside_it(text: Documents, size: int) -> None:
    spans = np.stack([text.starts, text.ends], 1)
    sample = sample_of_text(text.ids, spans, size)
    ids = counted(sample)
    assert len(ids) == len(set(ids.tolist())) == sample.characters == min(size, text.characters)
    assert set(ids.tolist()) <= set(counted(text).tolist())
    read = [i for a, b in zip(sample.starts, sample.ends, strict=True) for i in range(a, b)]
    assert set(read) <= set(counted(text).tolist())  # no context from a hole


def test_sample_of_documents_is_spread() -> None:
    vocabulary = Vocabulary.from_text("0123456789\n")
    text = vocabulary.encode("".join(f"{n:03}\n" for n in range(1000)))
    documents = split_documents(text, vocabulary, "newline")
    sample = sample_of_documents(documents, 200)
    assert sample.characters <= 200 < sample.characters + 8
    assert sample.starts.mean() == pytest.approx(2000, rel=0.05)
    assert len(sample_of_documents(documents, 1)) == 1
    assert len(sample_of_documents(documents, 5000)) == 1000


# a corpus


def held_out_text(corpus: Corpus, split: str) -> str:
    part = corpus.split(split)
    assert isinstance(part, Documents)
    first, last = part.starts if part.scored is None else part.scored, part.ends
    last = last if part.scored_ends is None else part.scored_ends
    return "|".join(corpus.vocabulary.decode(part.ids[a:b]) for a, b in zip(first, last, strict=True))


def test_corpus_in_blocks_describes_its_gaps(folder: Path) -> None:
    (folder / "a.txt").write_text("abcdefghij" * 1000)
    corpus = load_corpus("a.txt", validation="blocks", test_fraction=0.05)
    assert corpus.describe() == (
        "a.txt: 10,000 characters, 10 distinct (8,260 train, 1,000 validation in 3 blocks, 500 test in 3 blocks, "
        "240 in gaps of 20 around them)"
    )
    assert len(held_out_text(corpus, "validation").replace("|", "")) == 1000
    with pytest.raises(UserError, match=r"the test split of a\.txt.* is empty: raise corpus\.test_fraction"):
        load_corpus("a.txt", validation="blocks").split("test")


def test_training_sample_is_within_the_training_blocks(folder: Path) -> None:
    (folder / "a.txt").write_text("abcd" * 10_000)
    corpus = load_corpus("a.txt", validation="blocks")
    train, sample = corpus.split("train"), corpus.training_sample()
    assert isinstance(train, Documents)
    assert train.scored is None
    assert sample.characters == corpus.length("validation") == 4000
    block = np.searchsorted(train.starts, sample.starts, side="right") - 1
    assert (sample.ends <= train.ends[block]).all()


def test_corpus_of_held_out_files(folder: Path) -> None:
    for number in range(10):
        (folder / f"{number}.txt").write_text(f"text {number} " * 10)
    corpus = load_corpus("*.txt", validation="files", validation_fraction=0.2)
    assert corpus.describe().endswith("(560 train, 140 validation in 2 files)")
    parts = held_out_text(corpus, "validation").split("|")
    assert all(part == f"text {part[5]} " * 10 for part in parts)
    assert not any(f"text {part[5]} " in held_out_text(corpus, "train") for part in parts)
    documents = load_corpus("*.txt", validation="files", validation_fraction=0.2, documents=" ")
    assert held_out_text(documents, "validation") == "|".join(f"text|{part[5]}" for part in parts for _ in range(10))
    with pytest.raises(UserError, match="needs at least 2 files"):
        load_corpus("1.txt", validation="files")


@pytest.mark.parametrize(("documents", "joint"), [("newline", ""), ("blank_line", "\n"), ("\n%\n", "\n")])
@pytest.mark.parametrize("score_after", [None, "="])
def test_no_document_is_of_a_training_file_and_a_held_out_one(folder: Path, documents, joint, score_after) -> None:
    separator = {"newline": "\n", "blank_line": "\n\n"}.get(documents, documents)
    for number in range(10):
        texts = [f"file {number} = text {n}" for n in range(4)]
        (folder / f"{number}.txt").write_text(separator.join(texts) + joint + "\r\n" * (number == 9))
    (folder / "empty.txt").write_text("")
    options = {"validation": "files", "validation_fraction": 0.3, "test_fraction": 0.2}
    corpus = load_corpus("*.txt", documents=documents, score_after=score_after, **options)
    files = list[set[str]]()
    for split in map(corpus.split, corpus.splits):
        texts = [corpus.vocabulary.decode(split.ids[a:b]) for a, b in zip(split.starts, split.ends, strict=True)]
        assert all(text.count("file") == 1 for text in texts)
        files.append({text[5] for text in texts})
    assert sum(map(len, files)) == len(set.union(*files)) == 10, "no file is in two splits"
    if score_after:
        train = corpus.split("train")
        assert {corpus.vocabulary.decode(train.ids[at - 1 : at + 5]) for at in train.scored} == {"= text"}


def test_documents_in_blocks_keep_their_order(folder: Path) -> None:
    (folder / "a.txt").write_text("".join(f"{n}\n" for n in range(100)))
    corpus = load_corpus("a.txt", validation="blocks", documents="newline", validation_fraction=0.2)
    assert corpus.describe().endswith("100 documents (80 train, 20 validation)")
    assert held_out_text(corpus, "validation").startswith("4|5|14|15|24")
    assert held_out_text(corpus, "train").startswith("0|1|2|3|6|7|8")
    with pytest.raises(UserError, match="splits it into 1 document: too few"):
        load_corpus("a.txt", validation="blocks", documents="\n98\n99\n")


@pytest.mark.parametrize("size", [1, 3, 10, 100])
def test_windows_score_each_character_once_with_one_before(size):
    ids = np.arange(40)
    spans = np.array([[4, 14], [20, 21], [25, 38]])
    cut = windows(blocks(ids, spans, gap=2), size)
    scored = [ids[a:b] for a, b in zip(cut.scored, cut.scored_ends, strict=True)]
    assert np.concatenate(scored).tolist() == [i for a, b in spans for i in range(a, b)]
    assert max(map(len, scored)) <= size
    assert (cut.scored - cut.starts == 1).all()
    assert (cut.ends == cut.scored_ends).all()
    reverse = windows(blocks(ids, spans, gap=2), size, is_reversed=True)
    assert (reverse.scored == cut.scored).all()
    assert (reverse.scored_ends == cut.scored_ends).all()
    assert (reverse.ends - reverse.scored_ends == 1).all()
    assert (reverse.starts == reverse.scored).all()
    first, *others = windows(ids, size).starts
    assert first == 0
    assert [start % size for start in others] == [size - 1] * len(others)
