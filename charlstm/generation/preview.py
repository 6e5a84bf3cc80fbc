"""Short previews of a model's samples."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from charlstm.errors import UserError
from charlstm.generation.infilling import preview_infilling
from charlstm.generation.requests import LeadIns, TextRequest
from charlstm.generation.sampler import generate
from charlstm.generation.sampling import Sampling
from charlstm.model import LanguageModel
from charlstm.text.documents import Documents, first_characters
from charlstm.text.vocabulary import Vocabulary

DOCUMENTS = 20  # sampled in one batch
SAMPLING = Sampling(temperature=0.8)


def preview(
    model: LanguageModel,
    vocabulary: Vocabulary,
    length: int,
    seed: int,
    end: str = "",
    text: npt.NDArray[np.integer] | Documents | None = None,
    on_chunk: Callable[[], None] = lambda: None,
    lead_ins: LeadIns = (),
) -> str:
    """``length`` characters sampled at temperature 0.8; for a model of documents, which end in ``end``, as many
    complete documents as fit into ``length`` characters, up to 20, and at least the first, truncated if needed.

    For a bidirectional model, the beginning of ``text`` with a gap that the model filled, or "" without one.
    "" also for a network whose probabilities become NaN after some characters, as may those of one without bounds that
    was trained on short documents; raises UserError if those of the first one are. ``on_chunk`` is as for `generate`,
    and ``lead_ins`` as for `TextRequest`.
    """
    if model.bidirectional:
        return (
            "" if text is None else preview_infilling(model, vocabulary, first_characters(text, length), seed, on_chunk)
        )
    count = DOCUMENTS if end else 1
    request = TextRequest(length=length, until=end, leave_out_until=bool(end), lead_ins=lead_ins)
    try:
        samples = generate(model, vocabulary, request, SAMPLING, seed, count, on_chunk)
    except UserError:
        generate(model, vocabulary, TextRequest(length=1, lead_ins=lead_ins), SAMPLING, seed)  # its weights are broken
        return ""
    texts, remaining = [samples[0].full_text], length - len(samples[0].full_text)
    for sample in samples[1:]:
        remaining -= len(end) + len(sample.full_text)
        if remaining < 0:
            break
        texts.append(sample.full_text)
    return end.join(texts)
