"""Sampling one text piece by piece, for live output."""

from __future__ import annotations

from collections.abc import Iterator

from charlstm.generation.controls import NO_CONTROLS, Controls
from charlstm.generation.mixture import Predictor
from charlstm.generation.sampler import LeadIns, draw_until, prompt_ids
from charlstm.generation.sampling import Sampling
from charlstm.text.vocabulary import Unknown, Vocabulary


def stream(
    model: Predictor,
    vocabulary: Vocabulary,
    prime: str,
    length: int,
    sampling: Sampling,
    seed: int,
    until: str = "",
    unknown: Unknown = "error",
    leave_out_until: bool = False,
    lead_ins: LeadIns = (),
    controls: Controls = NO_CONTROLS,
) -> Iterator[list[int]]:
    """The ids of a text in pieces: first the prompt ``prime``, then what a forward model samples after it.

    Together they are the ``ids`` of the text of :func:`~charlstm.generation.generate` with the same arguments. With
    ``leave_out_until``, ids that may belong to ``until`` wait until it is known whether they do.

    Raises UserError as :func:`~charlstm.generation.generate` does, for prompt and pattern before the first piece.
    """
    prompt, end = prompt_ids(model, vocabulary, prime, until, unknown)
    if controls.automaton is not None:
        controls.automaton.check_length(length)
    max_pending = len(end) if leave_out_until and controls.automaton is None else 0
    return _pieces(model, prompt, length, sampling, seed, end, max_pending, lead_ins, controls)


def _pieces(
    model: Predictor,
    prompt: list[int],
    length: int,
    sampling: Sampling,
    seed: int,
    end: list[int],
    max_pending: int,
    lead_ins: LeadIns,
    controls: Controls,
) -> Iterator[list[int]]:
    yield prompt
    pending: list[int] = []
    for (character,) in draw_until(model, prompt, length, sampling, seed, 1, end, lead_ins, controls):
        if character is not None:
            pending.append(character[0])
            ready = max(0, len(pending) - max_pending)
            yield pending[:ready]
            del pending[:ready]
    if pending != end:
        yield pending
