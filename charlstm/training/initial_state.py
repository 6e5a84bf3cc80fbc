"""Builds the state from which a training run starts."""

from __future__ import annotations

import numpy as np
import torch

from charlstm.config import Config
from charlstm.distributed import ProcessGroup
from charlstm.hardware.device import free_memory, retain_freed_memory
from charlstm.hardware.out_of_memory import check_weights_fit, report_out_of_memory
from charlstm.model import LanguageModel
from charlstm.optimization import make_optimizer
from charlstm.text.corpus import Corpus
from charlstm.text.statistics import training_frequencies
from charlstm.training.averaging import WeightAverage
from charlstm.training.loader import make_batch_source, training_batches
from charlstm.training.memory_estimate import estimate_weights
from charlstm.training.schedule import Schedule
from charlstm.training.state import TrainingState


def initial_model(config: Config, corpus: Corpus, device: torch.device) -> LanguageModel:
    """The network before the first step, with the random numbers of ``training.seed``."""
    torch.manual_seed(config.training.seed)
    model = LanguageModel(config.model, corpus.vocabulary.size).to(device)
    if config.model.unigram_bias:
        with torch.no_grad():
            model.head.bias.copy_(torch.from_numpy(np.log(training_frequencies(corpus, config.model.direction))))
    return model


def untrained_model(config: Config, corpus: Corpus, device: torch.device) -> LanguageModel:
    """As :func:`initial_model`, but the state of the random numbers on the CPU stays what it is."""
    state = torch.get_rng_state()
    model = initial_model(config, corpus, device)
    torch.set_rng_state(state)
    return model


def initial_state(config: Config, corpus: Corpus, device: torch.device, group: ProcessGroup) -> TrainingState:
    """The state before the first step, with the random numbers of ``training.seed``.

    Raises UserError if the weights do not fit into memory, the training split is empty, or the processes of the group
    cannot share a batch.
    """
    training = config.training
    retain_freed_memory()
    weights = estimate_weights(config, corpus.vocabulary.size)
    check_weights_fit(device, weights)
    with report_out_of_memory(device, lambda: ("for the weights", weights)):
        model = initial_model(config, corpus, device)
        streams = make_batch_source(training_batches(config, corpus), device, free_memory(device))
        group.check(streams.batch_size, training.batch_size)
        columns = group.columns(streams.batch_size)
        return TrainingState(
            settings=training,
            model=model,
            optimizer=make_optimizer(training, model),
            schedule=Schedule(training),
            streams=streams,
            carried=model.initial_state(columns.stop - columns.start),
            columns=columns,
            average=WeightAverage(training, model) if training.averages_weights else None,
        )
