"""The loss that a short real training reaches; fails if training becomes worse anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from charlstm.config import load_config
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import load_corpus
from charlstm.training.trainer import Trainer

QUICKSTART = Path(__file__).parent.parent / "configs" / "quickstart.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru", "peephole", "coupled"])
def test_quickstart_reaches_170_nats_in_600_steps(tmp_path, cell):
    settings = [f"model.cell={cell}", "training.budget={steps: 600}", "training.evaluate_every=600"]
    config = load_config(QUICKSTART, settings)
    corpus = load_corpus(**config.corpus.model_dump(), cache=tmp_path / "cache")
    directory = RunDirectory(tmp_path / "run")
    directory.create(config)
    trainer = Trainer(config, corpus, directory)
    *_, ended = trainer.run()
    assert ended.best_nats is not None
    assert ended.best_nats < 1.70
