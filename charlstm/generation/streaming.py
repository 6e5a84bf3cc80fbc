"""Sampling one text piece by piece, for live output."""

from __future__ import annotations

from collections.abc import Iterator

from charlstm.generation.mixture import Predictor
from charlstm.generation.requests import EncodedRequest, TextRequest
from charlstm.generation.sampler import draw_until
from charlstm.generation.sampling import Sampling
from charlstm.text.vocabulary import Vocabulary


def stream(
    model: Predictor, vocabulary: Vocabulary, request: TextRequest, sampling: Sampling, seed: int
) -> Iterator[list[int]]:
    """The ids of a text in pieces: first the prompt, then what a forward model samples after it.

    Together they are the ``ids`` of the text of :func:`~charlstm.generation.generate` with the same arguments. With
    ``leave_out_until``, ids that may belong to ``until`` wait until it is known whether they do.

    Raises UserError as :func:`~charlstm.generation.generate` does, for prompt and pattern before the first piece.
    """
    return _pieces(model, request.encode(model, vocabulary), sampling, seed)


def _pieces(model: Predictor, encoded: EncodedRequest, sampling: Sampling, seed: int) -> Iterator[list[int]]:
    yield encoded.prompt
    request, end = encoded.request, encoded.end
    max_pending = len(end) if request.leave_out_until and request.controls.automaton is None else 0
    pending: list[int] = []
    for (character,) in draw_until(model, encoded, sampling, seed):
        if character is not None:
            pending.append(character[0])
            ready = max(0, len(pending) - max_pending)
            yield pending[:ready]
            del pending[:ready]
    if not (max_pending and encoded.ends(pending)):
        yield pending
