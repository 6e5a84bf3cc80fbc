"""Loss against context length (Khandelwal, He, Qi & Jurafsky 2018, "Sharp nearby, fuzzy far
away: how neural language models use context")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode
from charlstm.model.head_loss import target_nats

LENGTHS = (0, 1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)
TARGETS = 2000
BATCH = 256  # targets per batch
CHUNK = 128  # characters per forward pass

Ids = npt.NDArray[np.integer]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ContextCurve:
    """lengths: characters of context, ascending, [L]; targets: positions in the text, ascending, [M];
    nats: -ln p of each target given exactly that much context, [L, M]."""

    lengths: Positions
    targets: Positions
    nats: npt.NDArray[np.float32]

    @property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean over the targets, nats per character, [L]."""
        means: npt.NDArray[np.float64] = self.nats.mean(1, dtype=np.float64)
        return means


def context_curve(
    model: LanguageModel,
    ids: Ids,
    lengths: Sequence[int] = LENGTHS,
    targets: int = TARGETS,
    seed: int = 1,
    on_chunk: Callable[[], None] = lambda: None,
) -> ContextCurve:
    """The loss of a forward model at the same targets of a text ids [N] for every length n of context.

    For each target and n, exactly the n characters before the target are encoded from a zero state, without a
    "no character" before them, since they are not the beginning of a text. With n = 0 the output is zero, and p the
    softmax of the head's bias. So the loss with all of the context differs from the ordinary score by the effect of the
    "no character" at the beginning.

    Each target is drawn from an equal part of the positions that have the longest context before them; the targets
    depend only on N, the longest length, their number and the seed. The result is computed in float32; the model's mode
    and torch's random state are not changed. ``on_chunk`` is called before each chunk; an exception that it raises
    stops the measurement.

    Raises UserError for a model of another direction, without a length or target, for a length below 0, and for a text
    that is too short.
    """
    if model.direction != "forward":
        raise UserError(f"the context curve needs a model with direction: forward, found {model.direction}")
    if targets < 1 or not lengths or min(lengths) < 0:
        raise UserError(
            f"targets must be 1 or more and lengths 0 or more, found {targets} targets, lengths {list(lengths)}"
        )
    context_lengths = np.unique(np.asarray(lengths, np.int64))
    positions = _targets(len(ids), targets, int(context_lengths[-1]), seed)
    nats = np.empty((len(context_lengths), targets), np.float32)
    with torch.no_grad(), eval_mode(model), torch.autocast(model.head.weight.device.type, enabled=False):
        for row, length in zip(nats, context_lengths.tolist(), strict=True):
            for part in (slice(first, first + BATCH) for first in range(0, targets, BATCH)):
                row[part] = _nats(model, ids, positions[part], length, on_chunk)
    return ContextCurve(context_lengths, positions, nats)


def _targets(characters: int, count: int, longest: int, seed: int) -> Positions:
    """Positions, ascending: each is random within an equal part of the text beyond the longest context."""
    if characters - longest < count:
        raise UserError(
            f"{count:,} targets after {longest:,} characters of context need a text of {longest + count:,} characters, "
            f"found {characters:,}; take fewer targets or a shorter context"
        )
    bounds = longest + (characters - longest) * np.arange(count + 1) // count
    return np.random.default_rng(seed).integers(bounds[:-1], bounds[1:])


def _nats(
    model: LanguageModel, ids: Ids, targets: Positions, length: int, on_chunk: Callable[[], None]
) -> npt.NDArray[np.float32]:
    device, state = model.head.weight.device, model.initial_state(len(targets))
    output = state[0].new_zeros(1, len(targets), model.config.hidden_size)
    for begin, end in _chunks(length):
        on_chunk()
        window = ids[targets + np.arange(begin, end)[:, None]].astype(np.int64)
        y, state = model.hidden(torch.from_numpy(window).to(device), state)
        output = y[-1:]
    truth = torch.from_numpy(ids[targets].astype(np.int64)).to(device)
    nats: npt.NDArray[np.float32] = (
        target_nats(output, model.head.weight, model.head.bias, truth[None])[0].cpu().numpy()
    )
    return nats


def _chunks(length: int) -> Iterator[tuple[int, int]]:
    """Offsets from the target, -length to 0, in chunks."""
    return ((begin, min(begin + CHUNK, 0)) for begin in range(-length, 0, CHUNK))
