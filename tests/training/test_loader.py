"""Batches for another device: the same batches, and a place that is that of what was trained on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_training_resume import assert_same

from charlstm.text.document_batches import DocumentBatches
from charlstm.text.documents import Documents
from charlstm.text.streams import Streams
from charlstm.training import loader as feed_module
from charlstm.training import trainer as trainer_module
from charlstm.training.loader import SHARE, PrefetchLoader, make_batch_source, training_batches

V = 11
CPU, META = torch.device("cpu"), torch.device("meta")


def running() -> Streams:
    return Streams(np.arange(307) % V, V, 3, 8, washout=2)


def documents() -> DocumentBatches:
    starts = np.arange(0, 300, 15)
    return DocumentBatches(
        Documents(np.arange(300) % V, starts, starts + 3 + np.arange(20) % 11, np.array([1])), V, 3, 4
    )


def same(a, b) -> bool:
    assert vars(a).keys() == vars(b).keys()
    return all(
        torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y
        for x, y in zip(vars(a).values(), vars(b).values(), strict=True)
    )


def stand(streams):
    return streams.state_dict(), streams.progress, streams.steps_per_epoch, streams.batch_size, streams.sequence_length


@pytest.mark.parametrize("make", [running, documents])
def test_copied_ahead_are_the_same_batches_and_the_place_is_that_of_those_given(make):
    plain, ahead = make(), PrefetchLoader(make(), CPU)
    places = []
    for _ in range(2 * plain.steps_per_epoch + 3):
        assert stand(ahead) == stand(plain)
        places.append(ahead.state_dict())
        assert same(ahead.next_batch(), plain.next_batch())
    for place in places[:: len(places) // 5]:
        plain.load_state_dict(place)
        ahead.load_state_dict(place)
        for _ in range(3):
            assert stand(ahead) == stand(plain)
            assert same(ahead.next_batch(), plain.next_batch())


def test_on_cuda_a_copy_has_a_stream_of_its_own_and_is_waited_for_by_the_gpu_alone(monkeypatch):
    """With the calls written down in place of a GPU: nothing but these stands between a batch and its copy."""
    done = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            done.append("beside: on")

        def __exit__(self, *_):
            done.append("beside: off")

        def wait_stream(self, other):
            done.append(f"{self.name} waits for {other.name}")

    current = Stream("main")
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Stream("side"))
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: current)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda _, stream: done.append(f"used by {stream.name}"))
    monkeypatch.setattr(feed_module, "to_device", lambda t, device: (done.append(f"to {device}"), t)[1])
    copy = ["beside: on", *["to cuda"] * 3, "beside: off"]
    ahead, plain = PrefetchLoader(running(), torch.device("cuda")), running()
    assert same(ahead.next_batch(), plain.next_batch())
    assert done == [*copy, "main waits for side", *["used by main"] * 3, *copy]
    done.clear()
    assert same(ahead.next_batch(), plain.next_batch())
    assert done == ["main waits for side", *["used by main"] * 3, *copy]


def test_a_batch_that_is_copied_is_wholly_on_the_device():
    batch = PrefetchLoader(documents(), META).next_batch()
    assert {name: t.device.type for name, t in vars(batch).items() if isinstance(t, torch.Tensor)} == dict.fromkeys(
        ("previous", "targets", "following", "lengths"), "meta"
    )


def test_a_text_is_put_on_a_device_where_it_fits_well():
    size = running().bytes_to_lay
    assert isinstance(make_batch_source(running(), META, int(size / SHARE) + 1), Streams)
    assert isinstance(make_batch_source(running(), META, int(size / SHARE) - 1), PrefetchLoader)
    assert isinstance(make_batch_source(running(), META, None), PrefetchLoader)
    assert isinstance(make_batch_source(documents(), META, 1 << 40), PrefetchLoader)
    streams = running()
    assert make_batch_source(streams, CPU, 1 << 40) is streams
    assert streams.bytes_laid == 0


@pytest.mark.parametrize("way", ["put there", "copied ahead"])
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_a_run_is_the_same_either_way_also_stopped_and_resumed(
    make_trainer, make_config, tmp_path, monkeypatch, way, direction
):
    config = make_config({"direction": direction, "dropout": 0.2}, input_masking=0.2, budget={"steps": 24})
    list(make_trainer(config, tmp_path / "plain").run())

    def other(streams, device, free):
        if way == "copied ahead":
            return PrefetchLoader(streams, device)
        streams.put_on(device)
        return streams

    monkeypatch.setattr(trainer_module, "make_batch_source", other)
    for stop in (5, 17, None):  # an epoch is of 17 steps
        trainer = make_trainer(config, tmp_path / "other")
        if trainer.directory.checkpoints.any():
            assert trainer.resume() == []
        for event in trainer.run():
            if getattr(event, "step", None) == stop:
                trainer.request_stop()
    assert_same(tmp_path / "plain", tmp_path / "other")


def test_documents_are_read_as_documents(make_config, corpus, corpus_file):
    assert isinstance(training_batches(make_config(), corpus), Streams)
