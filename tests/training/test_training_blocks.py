"""Training on a text whose held-out blocks are spread over it."""

from __future__ import annotations

import pytest
import torch
from test_checkpoint_manager import assert_same

from charlstm.text.block_streams import BlockStreams
from charlstm.text.corpus import load_corpus
from charlstm.training.events import Evaluated

BLOCKS = {"validation": "blocks", "validation_fraction": 0.3, "test_fraction": 0.1}


@pytest.fixture
def make(make_config, make_trainer, tmp_path):
    def trainer(name="run", model=None, **training):
        config = make_config(model, BLOCKS, **{"sequence_length": 16, "budget": {"steps": 40}, **training})
        return make_trainer(config, tmp_path / name, load_corpus(**config.corpus.model_dump()))

    return trainer


@pytest.mark.parametrize(
    "model",
    [
        {"direction": "forward", "dropout": 0.3},
        {"direction": "backward", "cell": "esn", "washout": 5},
        {"direction": "bidirectional", "cell": "gru"},
        {"front_end": "convolution", "kernel_sizes": [2, 4], "filters": 3},
    ],
    ids=str,
)
def test_resumed_run_equals_uninterrupted_run(make, tmp_path, model):
    list(make("uninterrupted", model).run())
    for stop in (13, 25, None):
        trainer = make("stopped", model)
        if trainer.directory.checkpoints.exists():
            assert trainer.resume() == []
        for event in trainer.run():
            if getattr(event, "step", None) == stop:
                trainer.request_stop()
    assert_same(tmp_path / "uninterrupted", tmp_path / "stopped")


def test_state_is_reset_where_a_block_begins(make, monkeypatch):
    trainer = make()
    assert isinstance(trainer.streams, BlockStreams)
    batches, states = [], []
    next_batch, loss = trainer.streams.next_batch, trainer.step.loss
    monkeypatch.setattr(trainer.streams, "next_batch", lambda: batches.append(next_batch()) or batches[-1])
    monkeypatch.setattr(trainer.step, "loss", lambda batch, state: states.append(state) or loss(batch, state))
    list(trainer.run())
    resets = 0
    for batch, state in zip(batches, states, strict=True):
        is_reset = torch.full((4,), batch.reset_state) if batch.fresh is None else batch.fresh
        for part in state:
            assert torch.equal((part == 0).all(2).all(0), is_reset)
        resets += int(is_reset.sum()) * (not batch.reset_state)
    assert resets > 10


def test_evaluation_scores_held_out_characters_once(make):
    trainer = make()
    scored = [event.characters_scored for event in trainer.run() if isinstance(event, Evaluated)]
    assert set(scored) == {450}
