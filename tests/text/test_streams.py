"""Stream batches: every character of a text is a target exactly once per epoch."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from charlstm.errors import UserError
from charlstm.text import streams as streams_module
from charlstm.text.streams import IGNORE, Batch, Streams

V = 2000


def distinct(n: int) -> np.ndarray:
    """A text in which every id is its position."""
    return np.arange(n, dtype=np.uint16)


def epoch_of(streams: Streams) -> list[Batch]:
    return [streams.next_batch() for _ in range(streams.steps_per_epoch)]


def same(a: Batch, b: Batch) -> bool:
    tensors = all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("previous", "targets", "following"))
    return tensors and a.reset_state == b.reset_state and a.count == b.count


shapes = st.tuples(st.integers(1, 300), st.integers(1, 12), st.integers(1, 20), st.booleans())


@given(shapes)
@example((1, 1, 1, False))
@example((2, 64, 64, False))
@example((3, 2, 1, True))
@example((7, 5, 30, False))
@example((64 * 3 + 1, 3, 64, False))
def test_every_character_is_a_target_once_per_epoch(shape: tuple[int, int, int, bool]) -> None:
    n, batch_size, length, reverse = shape
    streams = Streams(distinct(n), V, batch_size, length, reverse)
    for _ in range(2):
        batches = epoch_of(streams)
        targets = torch.cat([batch.targets.reshape(-1) for batch in batches])
        counted = targets[targets != IGNORE]
        assert sorted(counted.tolist()) == list(range(n))
        for batch in batches:
            assert batch.count == int((batch.targets != IGNORE).sum())
            assert batch.previous.shape == batch.targets.shape == batch.following.shape
            assert batch.targets.shape[1] == streams.batch_size
            assert batch.targets.dtype == batch.previous.dtype == batch.following.dtype == torch.int64
            assert all(tensor.is_contiguous() for tensor in (batch.previous, batch.targets, batch.following))
        assert all(len(batch.targets) == length for batch in batches[:-1])


@given(shapes)
def test_previous_and_following_are_neighbors(
    shape: tuple[int, int, int, bool],
) -> None:
    n, batch_size, length, reverse = shape
    step = -1 if reverse else 1
    first, last = (n - 1, 0) if reverse else (0, n - 1)
    for batch in epoch_of(Streams(distinct(n), V, batch_size, length, reverse)):
        counts = batch.targets != IGNORE
        t = batch.targets[counts]
        assert torch.equal(batch.previous[counts], torch.where(t == first, V, t - step))
        assert torch.equal(batch.following[counts], torch.where(t == last, V, t + step))


@given(shapes)
def test_streams_are_contiguous_and_differ_by_at_most_one(shape: tuple[int, int, int, bool]) -> None:
    n, batch_size, length, reverse = shape
    streams = Streams(distinct(n), V, batch_size, length, reverse)
    full = torch.cat([batch.targets for batch in epoch_of(streams)])
    used = streams.batch_size
    text = distinct(n)[::-1] if reverse else distinct(n)
    lengths = []
    for b in range(used):
        column = full[:, b]
        counted = column[column != IGNORE]
        np.testing.assert_array_equal(counted, text[n * b // used : n * (b + 1) // used].astype(np.int64))
        assert (column[len(counted) :] == IGNORE).all()
        lengths.append(len(counted))
    assert max(lengths) - min(lengths) <= 1
    assert min(lengths) >= min(n, length) or used == 1


@given(shapes, st.data())
def test_resumed_streams_equal_uninterrupted_ones(shape: tuple[int, int, int, bool], data: st.DataObject) -> None:
    n, batch_size, length, reverse = shape
    uninterrupted = Streams(distinct(n), V, batch_size, length, reverse)
    steps = uninterrupted.steps_per_epoch
    stop = data.draw(st.integers(0, 2 * steps))
    for _ in range(stop):
        uninterrupted.next_batch()
    state = json.loads(json.dumps(uninterrupted.state_dict()))
    resumed = Streams(distinct(n), V, batch_size, length, reverse)
    resumed.load_state_dict(state)
    assert resumed.progress == uninterrupted.progress == stop / steps
    for _ in range(steps + 1):
        assert same(uninterrupted.next_batch(), resumed.next_batch())
    assert resumed.state_dict() == uninterrupted.state_dict()


def test_batches_of_a_small_text() -> None:
    streams = Streams(np.frombuffer(b"\0\1\2\3\4", np.uint8), 5, batch_size=2, sequence_length=2)
    first, second = epoch_of(streams)
    assert first.previous.tolist() == [[5, 1], [0, 2]]
    assert first.targets.tolist() == [[0, 2], [1, 3]]
    assert first.following.tolist() == [[1, 3], [2, 4]]
    assert (first.reset_state, first.count) == (True, 4)
    assert second.targets.tolist() == [[IGNORE, 4]]
    assert second.previous.tolist()[0][1] == 3
    assert second.following.tolist()[0][1] == 5
    assert (second.reset_state, second.count) == (False, 1)
    assert (streams.epoch, streams.position) == (1, 0)
    assert streams.next_batch().reset_state


def test_id_for_no_character_does_not_overflow() -> None:
    ids = np.arange(256, dtype=np.uint8)
    batch = Streams(ids, 256, 1, 256).next_batch()
    assert batch.previous[0, 0] == 256
    assert batch.following[-1, 0] == 256


def test_text_is_not_modified_and_only_targets_are_ignored() -> None:
    ids = distinct(101)
    ids.flags.writeable = False
    for batch in epoch_of(Streams(ids, V, 2, 10)):
        for ids_read in (batch.previous, batch.following):
            assert (ids_read != IGNORE).all()
    batch.targets.zero_()
    np.testing.assert_array_equal(ids, distinct(101))


@pytest.mark.parametrize(
    ("n", "used", "words"),
    [
        (2, 1, "1 stream is"),
        (63, 1, "1 stream is"),
        (200, 3, "3 streams are"),
        (64 * 64 - 1, 63, "63 streams are"),
    ],
)
def test_short_text_has_fewer_streams_and_a_notice(n: int, used: int, words: str) -> None:
    streams = Streams(np.zeros(n, np.uint8), 2, 64, 64)
    assert streams.batch_size == used
    assert streams.notice is not None
    assert f"{n:,} characters is too short for 64 streams of 64: {words} used instead." in streams.notice


def test_long_enough_text_has_no_notice() -> None:
    streams = Streams(np.zeros(64 * 64, np.uint8), 2, 64, 64)
    assert (streams.batch_size, streams.notice, streams.steps_per_epoch) == (64, None, 1)


def test_state_of_other_settings_is_an_error() -> None:
    state = Streams(distinct(500), V, 4, 10).state_dict()
    for n, batch_size, length, reverse, words in [
        (501, 4, 10, False, "characters was 500, is 501"),
        (500, 5, 10, False, "batch_size was 4, is 5"),
        (500, 4, 11, False, "sequence_length was 10, is 11"),
        (500, 4, 10, True, "reverse was 0, is 1"),
    ]:
        with pytest.raises(UserError, match=f"cannot resume: .*{words}"):
            Streams(distinct(n), V, batch_size, length, reverse).load_state_dict(state)


@pytest.mark.parametrize("damage", [{"position": 13}, {"position": -1}, {"epoch": -1}])
def test_damaged_position_is_an_error(damage: dict[str, int]) -> None:
    streams = Streams(distinct(500), V, 4, 10)
    with pytest.raises(UserError, match="damaged"):
        streams.load_state_dict({**streams.state_dict(), **damage})


def test_empty_text_is_an_error() -> None:
    with pytest.raises(UserError, match="the split is empty"):
        Streams(distinct(0), V, 4, 10)
    with pytest.raises(ValueError, match="at least 1"):
        Streams(distinct(9), V, 0, 10)
    with pytest.raises(ValueError, match="at least 1"):
        Streams(distinct(9), V, 4, 0)


@given(shapes, st.integers(0, 15))
@example((64 * 3 + 1, 3, 64, False), 63)
@example((2, 1, 12, True), 11)
def test_washout_ignores_the_first_targets_of_each_stream(shape: tuple[int, int, int, bool], washout: int) -> None:
    n, batch_size, length, reverse = shape
    plain = Streams(distinct(n), V, batch_size, length, reverse)
    washed = Streams(distinct(n), V, batch_size, length, reverse, washout)
    for _ in range(2):
        for step, (all_, some) in enumerate(zip(epoch_of(plain), epoch_of(washed), strict=True)):
            assert torch.equal(some.previous, all_.previous)
            assert torch.equal(some.following, all_.following)
            ignored = min(washout, len(all_.targets) - 1, length - 1) if step == 0 else 0
            assert (some.targets[:ignored] == IGNORE).all()
            assert torch.equal(some.targets[ignored:], all_.targets[ignored:])
            assert some.count == int((some.targets != IGNORE).sum()) > 0


@given(shapes, st.integers(0, 30), st.sampled_from([200, V, 70_000]))
@example((64 * 3 + 1, 3, 64, False), 5, 200)
def test_batches_on_a_device_are_the_same(shape: tuple[int, int, int, bool], washout: int, symbols: int) -> None:
    n, batch_size, length, reverse = shape
    text = distinct(n).astype(np.uint32) % symbols
    resident, host = (Streams(text, symbols, batch_size, length, reverse, washout) for _ in range(2))
    resident.to_device(torch.device("cpu"))
    for _ in range(2):
        assert all(same(a, b) for a, b in zip(epoch_of(resident), epoch_of(host), strict=True))
    assert resident.state_dict() == host.state_dict()


def test_text_on_a_device_has_the_smallest_dtype(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied a few rows at a time; V needs an id, too."""
    monkeypatch.setattr(streams_module, "COPY_BLOCK", 7)
    for symbols, size in ((255, 1), (256, 2), (32_767, 2), (32_768, 4)):
        text = np.arange(100, dtype=np.uint32) * 327 % symbols
        streams = Streams(text, symbols, 3, 8)
        assert (streams.required_bytes, streams.resident_bytes) == (size * 3 * (34 + 2), 0)
        streams.to_device(torch.device("cpu"))
        assert streams.resident_bytes == streams.required_bytes
        batch = streams.next_batch()
        assert batch.previous[0, 0] == symbols
        assert batch.targets[:, 1].tolist() == text[33:41].tolist()
        assert streams.next_batch().targets[:, 2].tolist() == text[74:82].tolist()


def test_batches_on_a_device_need_no_synchronization() -> None:
    """The meta device has no values, so a synchronization would fail."""
    streams = Streams(distinct(100), V, 3, 8, washout=5)
    streams.to_device(torch.device("meta"))
    for batch in epoch_of(streams):
        assert {batch.previous.device.type, batch.targets.device.type, batch.following.device.type} == {"meta"}
