"""Batches on another device equal those of the CPU, and so do their positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_checkpoint_manager import assert_same

from charlstm.text.document_batches import DocumentBatches
from charlstm.text.documents import Documents
from charlstm.text.streams import Streams
from charlstm.training import initial_state
from charlstm.training import loader as loader_module
from charlstm.training.loader import MAX_TEXT_FRACTION, PrefetchLoader, make_batch_source, training_batches

V = 11
CPU, META = torch.device("cpu"), torch.device("meta")


def make_streams() -> Streams:
    return Streams(np.arange(307) % V, V, 3, 8, washout=2)


def make_documents() -> DocumentBatches:
    starts = np.arange(0, 300, 15)
    return DocumentBatches(
        Documents(np.arange(300) % V, starts, starts + 3 + np.arange(20) % 11, np.array([1])), V, 3, 4
    )


def is_same_batch(a, b) -> bool:
    assert vars(a).keys() == vars(b).keys()
    return all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        for x, y in zip(vars(a).values(), vars(b).values(), strict=True)
    )


def position_of(streams):
    return streams.state_dict(), streams.progress, streams.steps_per_epoch, streams.batch_size, streams.sequence_length


@pytest.mark.parametrize("make", [make_streams, make_documents])
def test_prefetch_loader_equals_its_streams(make):
    plain, loader = make(), PrefetchLoader(make(), CPU)
    positions = []
    for _ in range(2 * plain.steps_per_epoch + 3):
        assert position_of(loader) == position_of(plain)
        positions.append(loader.state_dict())
        assert is_same_batch(loader.next_batch(), plain.next_batch())
    for position in positions[:: len(positions) // 5]:
        plain.load_state_dict(position)
        loader.load_state_dict(position)
        for _ in range(3):
            assert position_of(loader) == position_of(plain)
            assert is_same_batch(loader.next_batch(), plain.next_batch())


def test_cuda_copies_run_on_a_side_stream_without_cpu_waits(monkeypatch):
    """With recorded calls in place of a GPU: only these order a batch and its copy."""
    calls = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            calls.append("copy stream: enter")

        def __exit__(self, *_):
            calls.append("copy stream: exit")

        def wait_stream(self, other):
            calls.append(f"{self.name} waits for {other.name}")

    current = Stream("main")
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Stream("copy stream"))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: current)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda _, stream: calls.append(f"used by {stream.name}"))
    monkeypatch.setattr(loader_module, "to_device", lambda t, device: (calls.append(f"to {device}"), t)[1])
    copy = ["copy stream: enter", *["to cuda"] * 3, "copy stream: exit"]
    loader, plain = PrefetchLoader(make_streams(), torch.device("cuda")), make_streams()
    assert is_same_batch(loader.next_batch(), plain.next_batch())
    assert calls == [*copy, "main waits for copy stream", *["used by main"] * 3, *copy]
    calls.clear()
    assert is_same_batch(loader.next_batch(), plain.next_batch())
    assert calls == ["main waits for copy stream", *["used by main"] * 3, *copy]


def test_prefetched_batch_is_entirely_on_the_device():
    batch = PrefetchLoader(make_documents(), META).next_batch()
    assert {name: t.device.type for name, t in vars(batch).items() if isinstance(t, torch.Tensor)} == dict.fromkeys(
        ("previous", "targets", "following", "lengths"), "meta"
    )


def test_text_is_resident_if_it_fits():
    size = make_streams().required_bytes
    assert isinstance(make_batch_source(make_streams(), META, int(size / MAX_TEXT_FRACTION) + 1), Streams)
    assert isinstance(make_batch_source(make_streams(), META, int(size / MAX_TEXT_FRACTION) - 1), PrefetchLoader)
    assert isinstance(make_batch_source(make_streams(), META, None), PrefetchLoader)
    assert isinstance(make_batch_source(make_documents(), META, 1 << 40), PrefetchLoader)
    streams = make_streams()
    assert make_batch_source(streams, CPU, 1 << 40) is streams
    assert streams.resident_bytes == 0


@pytest.mark.parametrize("source", ["resident", "prefetched"])
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
@pytest.mark.few(2)
def test_run_does_not_depend_on_the_batch_source(make_trainer, make_config, tmp_path, monkeypatch, source, direction):
    config = make_config({"direction": direction, "dropout": 0.2}, input_masking=0.2, budget={"steps": 24})
    list(make_trainer(config, tmp_path / "plain").run())

    def make_other_source(streams, device, free):
        if source == "prefetched":
            return PrefetchLoader(streams, device)
        streams.to_device(device)
        return streams

    monkeypatch.setattr(initial_state, "make_batch_source", make_other_source)
    for stop in (5, 17, None):  # an epoch has 17 steps
        trainer = make_trainer(config, tmp_path / "other")
        if trainer.directory.checkpoints.exists():
            assert trainer.resume() == []
        for event in trainer.run():
            if getattr(event, "step", None) == stop:
                trainer.request_stop()
    assert_same(tmp_path / "plain", tmp_path / "other")


def test_text_without_documents_gives_streams(make_config, corpus, corpus_file):
    assert isinstance(training_batches(make_config(), corpus), Streams)
