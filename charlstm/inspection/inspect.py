"""Inspect a run on a text: record it, find the units of interest, and see what its predictions depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from charlstm.api import LoadedRun
from charlstm.errors import UserError
from charlstm.evaluation.score import OnProgress
from charlstm.generation import Sampling
from charlstm.inspection import CHARACTERS, CONTEXT
from charlstm.inspection.attribution import Attribution, gradient_norms, mean_by_distance, measure_attribution
from charlstm.inspection.clamping import Clamp, sample_clamped
from charlstm.inspection.errors import Errors, find_errors
from charlstm.inspection.passages import InspectedText, encode_text, text_of_run
from charlstm.inspection.recording import Recording, record
from charlstm.inspection.text_features import Feature, answer_features, find_features
from charlstm.inspection.unit_scores import FeatureScore, Unit, score_units, top_units
from charlstm.model import LanguageModel
from charlstm.paths import expand_home
from charlstm.text.documents import Documents
from charlstm.training.initial_state import untrained_model

Ids: TypeAlias = npt.NDArray[np.integer]

CLAMPED_UNITS, CLAMPED_LENGTH, TEMPERATURE = 4, 300, 0.6
UNTRAINED = 1000
"""Characters of the text, from its beginning, on which the gradient of the untrained network is measured."""
LOW, HIGH = 0.02, 0.98
"""Quantiles of a unit's value over the text, at which it is held to show what it does."""


@dataclass(frozen=True)
class ClampedUnit:
    """Texts that were sampled with the same random numbers: unchanged, with a unit held low, and held high. Where only
    answers count, they are a question and its answer."""

    feature: str
    unit: Unit
    low: float
    high: float
    texts: tuple[str, str, str]


@dataclass(frozen=True)
class Inspection:
    """What was found in a run on a text.

    source      where the text is from
    recording   what the model computed: surprise, predictions, states and gates
    features    features of the text, and ``scores``: the units that represent them
    attribution   how much each prediction depends on each character before it; None if it was not measured
    untrained_gradient   the mean norms of the gradient of the network at initialization by distance, [K]; empty if it
                is not known
    errors      where the model errs
    clamped     what the units of interest do to sampled text
    """

    run: LoadedRun
    name: str
    source: str
    recording: Recording
    features: list[Feature]
    scores: list[FeatureScore]
    attribution: Attribution | None
    untrained_gradient: list[float]
    errors: Errors
    clamped: list[ClampedUnit]

    def write(self, folder: str | Path) -> Path:
        """Write the page, its plots and report.json into a folder, and return the path of the page.

        Raises UserError if they cannot be written.
        """
        from charlstm.inspection.page import write_page

        return write_page([self], expand_home(Path(folder)))[0]


def inspect(
    run: LoadedRun, text: str | bytes | None = None, characters: int = CHARACTERS, context: int = CONTEXT, seed: int = 1
) -> Inspection:
    """Inspect a run on the first ``characters`` of a text, or without one on a typical passage of its validation split;
    of its training split, if nothing is held out.

        inspection = charlstm.inspect(charlstm.load("runs/quickstart"))
        print(inspection.scores[0].sentence())
        inspection.write("inside")

    Other arguments and errors are those of :func:`inspect_run`.
    """
    chosen = text_of_run(run, characters) if text is None else encode_text(run, text, characters)
    name = "run" if run.directory is None else run.directory.path.name
    return inspect_run(run, name, chosen, context, seed)


def inspect_run(
    run: LoadedRun,
    name: str,
    text: InspectedText,
    context: int = CONTEXT,
    seed: int = 1,
    *,
    with_ngram: bool = True,
    on_stage: Callable[[float, str], None] = lambda *_: None,
) -> Inspection:
    """Inspect a run on a text.

    context: the number of characters before each one whose influence on its prediction is measured; 0: not measured.
    with_ngram: also train an n-gram model on the training split, if that can be found.
    on_stage: called with the fraction that is done, and what is done next, several times for what takes long.

    Raises UserError for a bidirectional model, which has no state that is carried over a text, for a text of which no
    character counts in the loss, and if predictions or states are not finite.
    """
    if text.scored is not None and not text.scored.any():
        raise UserError(
            f"{name}: none of the {len(text.ids):,} characters of the text counts in the loss, so there is no "
            "prediction to inspect: read more of it (--characters)"
        )

    def stage(begin: float, end: float, what: str) -> OnProgress:
        on_stage(begin, what)
        return lambda fraction: on_stage(begin + (end - begin) * fraction, what)

    stage(0.0, 0.05, "reading the text")
    recording = record(run.model, text.ids, text.bounds, text.scored)
    if not np.isfinite(recording.nats).all():
        raise UserError(f"{name}: the model's predictions are not finite: use an earlier checkpoint")
    if not all(np.isfinite(values).all() for values in recording.states.values()):
        raise UserError(f"{name}: the model's state exceeds the range of float32: use an earlier checkpoint")
    stage(0.05, 0.1, "looking for units of interest")
    features = find_features(text.ids, run.vocabulary)
    question = None
    if text.scored is not None and run.document_end and not recording.is_backward:  # which reads the answers first
        features += answer_features(text.ids, run.vocabulary, text.bounds, text.scored)
        question = _question(text)
    scores = score_units(features, recording.states, text.ids, seed=seed, is_backward=recording.is_backward)
    lags, measured, untrained = min(context, len(text.ids) - 1), None, list[float]()
    if lags:
        progress = stage(0.1, 0.7, "measuring what predictions depend on")
        measured = measure_attribution(run.model, recording, lags, seed=seed, on_progress=progress)
        if (model := _untrained(run)) is not None:
            stage(0.7, 0.8, "measuring the gradient before training")
            untrained = _beginning_gradient(model, text, lags)
    training_text = _training_text(run) if with_ngram and not text.is_training_text else None
    what = "looking for its errors" if training_text is None else "comparing with an n-gram model"
    progress = stage(0.8, 0.95, what)
    errors = find_errors(recording, features, run.vocabulary, training_text, progress)
    progress = stage(0.95, 1.0, "sampling with units held")
    clamped = _clamp(run, recording, scores, question, seed, progress)
    return Inspection(run, name, text.source, recording, features, scores, measured, untrained, errors, clamped)


def _untrained(run: LoadedRun) -> LanguageModel | None:
    """The network of this configuration and seed before training; None if its corpus cannot be found, or it began with
    the weights of another run."""
    if run.config.training.initial_run is not None:
        return None
    try:
        model = untrained_model(run.config, run.corpus(), run.model.head.weight.device)
    except UserError:
        return None
    if model.vocabulary_size != run.model.vocabulary_size:
        return None
    model.prefer(run.header.get("preferred_executor"))
    return model.eval()


def _beginning_gradient(model: LanguageModel, text: InspectedText, lags: int) -> list[float]:
    """The mean norms of the gradient by distance, over the beginning of the text; empty if they are not known."""
    bounds = tuple(bound for bound in text.bounds if bound < UNTRAINED)
    recording = record(model, text.ids[:UNTRAINED], bounds, None if text.scored is None else text.scored[:UNTRAINED])
    if not np.isfinite(recording.nats).all() or not recording.scored.any():
        return []
    return mean_by_distance(gradient_norms(model, recording, min(lags, len(recording.ids) - 1)), recording.scored)


def first_document(run: LoadedRun, text: str) -> str:
    """A sampled text up to the end of the first document, beyond which the state of the model must not be carried."""
    end = run.document_end
    if not end:
        return text
    return text.rpartition(end)[2] if run.model.direction == "backward" else text.partition(end)[0]


def _training_text(run: LoadedRun) -> Ids | None:
    """The training split of one running text, or its longest block; None if it cannot be found, or consists of
    documents."""
    try:
        text = run.corpus().split("train")
    except UserError:
        return None
    if not isinstance(text, Documents):
        return text
    longest = int((text.ends - text.starts).argmax())
    return text.ids[text.starts[longest] : text.ends[longest]] if text.is_running_text else None


def _question(text: InspectedText) -> tuple[list[int], int]:
    """The ids of the first document with an answer, up to that, and the length of the answer."""
    assert text.scored is not None
    for begin, end in pairwise((0, *text.bounds, len(text.ids))):
        if (at := begin + np.flatnonzero(text.scored[begin:end])).size:
            return text.ids[begin : at[0]].tolist(), len(at)
    return [], 0


def _clamp(
    run: LoadedRun,
    recording: Recording,
    scores: list[FeatureScore],
    question: tuple[list[int], int] | None,
    seed: int,
    on_progress: OnProgress,
) -> list[ClampedUnit]:
    """Sample with the units of interest held low and high: the answer to a question if there is one, else a text.
    Units that make the network diverge are left out."""
    clamped, sampling = list[ClampedUnit](), Sampling(temperature=TEMPERATURE)
    step = -1 if recording.is_backward else 1
    prime, length = question or ([], CLAMPED_LENGTH)
    units = top_units(scores, CLAMPED_UNITS)
    for number, (feature, unit) in enumerate(units):
        on_progress(number / len(units))
        values = recording.states[unit.part][:, unit.layer, unit.unit]
        low, high = (float(np.quantile(values, q)) for q in (LOW, HIGH))
        clamps = [None, Clamp(unit, low), Clamp(unit, high)]
        try:
            sampled = sample_clamped(run.model, prime, length, sampling, seed, clamps)
        except UserError:  # the probabilities are NaN
            continue
        texts = [first_document(run, run.vocabulary.decode(ids[::step])) for ids in sampled]
        unchanged, held_low, held_high = (run.vocabulary.decode(np.array(prime, np.int64)) + text for text in texts)
        clamped.append(ClampedUnit(feature, unit, low, high, (unchanged, held_low, held_high)))
    return clamped
