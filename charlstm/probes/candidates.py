"""Which of several possible answers a model finds most probable."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode
from charlstm.probes.answers import check_forward
from charlstm.text.vocabulary import Vocabulary

CHARACTERS = 1 << 16  # per batch


@torch.no_grad()
def candidate_log_probabilities(
    model: LanguageModel, vocabulary: Vocabulary, prefixes: Sequence[str], candidates: Sequence[str]
) -> npt.NDArray[np.float64]:
    """ln p of each candidate as the continuation of each prefix, [prefixes, candidates].

    Each prefix is read from a zero state; ln p of a candidate is the sum over its characters.

    Raises:
        UserError: the model's direction is not forward, or a character is not in the vocabulary.
        ValueError: a candidate is empty.
    """
    check_forward(model)
    if not all(candidates):
        raise ValueError("a candidate is empty")
    by_length: dict[int, list[int]] = {}
    for index, prefix in enumerate(prefixes):
        by_length.setdefault(len(prefix), []).append(index)
    continuations = [torch.from_numpy(vocabulary.encode(candidate)) for candidate in candidates]
    scores = np.empty((len(prefixes), len(candidates)))
    with eval_mode(model), torch.autocast(model.head.weight.device.type, enabled=False):
        for length, indices in by_length.items():
            size = max(1, CHARACTERS // (length + 1))
            for batch in (indices[first : first + size] for first in range(0, len(indices), size)):
                ids = np.stack([vocabulary.encode(prefixes[index]) for index in batch], 1)
                scores[batch] = _score(model, torch.from_numpy(ids), continuations)
    return scores


def _score(model: LanguageModel, prefixes: torch.Tensor, continuations: list[torch.Tensor]) -> npt.NDArray[np.float64]:
    """ln p of the continuations after each of the prefixes [T, B], [B, continuations]."""
    device, batch = model.head.weight.device, prefixes.shape[1]
    start = prefixes.new_full((1, batch), model.vocabulary_size)
    y, state = model.hidden(torch.cat([start, prefixes]).to(device))
    first, columns = y[-1:], []
    for ids in continuations:
        following = ids[:-1, None].expand(-1, batch).to(device)
        outputs = torch.cat([first, model.hidden(following, state)[0]]) if len(ids) > 1 else first
        log_p = model.head(outputs).double().log_softmax(-1)
        columns.append(log_p.gather(-1, ids.to(device)[:, None, None].expand(-1, batch, 1)).sum(0)[:, 0])
    return torch.stack(columns, 1).cpu().numpy()
