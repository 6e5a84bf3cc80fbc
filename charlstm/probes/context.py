"""Loss against context length (Khandelwal, He, Qi & Jurafsky 2018, "Sharp nearby, fuzzy far away: how neural language
models use context")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

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

Far = Literal["cut", "shuffled", "replaced"]

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
    far: Far = "cut",
) -> ContextCurve:
    """The loss of a forward model at the same targets of a text ids [N] for every length n of context.

    For each target and n, exactly the n characters before the target are encoded from a zero state, without a
    "no character" before them, since they are not the beginning of a text. With n = 0 the output is zero, and p the
    softmax of the head's bias. So the loss with all of the context differs from the ordinary score by the effect of the
    "no character" at the beginning.

    ``far`` is what stands before those n characters, up to the longest length: nothing (``cut``), the characters there
    in random order (``shuffled``), or the characters at the same distances before another position of the text
    (``replaced``), at least the longest length away, so that none of them stands in the target's own context. At the
    longest length the three are the same.

    Each target is drawn from an equal part of the positions that have the longest context before them; the targets
    depend only on N, the longest length, their number and the seed. The result is computed in float32; the model's mode
    and torch's random state are not changed. ``on_chunk`` is called before each chunk; an exception that it raises
    stops the measurement.

    Raises UserError for a model of another direction, without a length or target, for a length below 0, for an unknown
    ``far``, and for a text that is too short.
    """
    if model.direction != "forward":
        raise UserError(f"the context curve needs a model with direction: forward, found {model.direction}")
    if targets < 1 or not lengths or min(lengths) < 0:
        raise UserError(
            f"targets must be 1 or more and lengths 0 or more, found {targets} targets, lengths {list(lengths)}"
        )
    if far not in get_args(Far):
        raise UserError(f"far must be {', '.join(get_args(Far))}, found {far}")
    context_lengths = np.unique(np.asarray(lengths, np.int64))
    longest = int(context_lengths[-1])
    positions = _targets(len(ids), targets, longest, seed)
    nats = np.empty((len(context_lengths), targets), np.float32)
    with torch.no_grad(), eval_mode(model), torch.autocast(model.head.weight.device.type, enabled=False):
        for row, length in zip(nats, context_lengths.tolist(), strict=True):
            read = _positions_read(len(ids), positions, length, longest, far, seed)
            for part in (slice(first, first + BATCH) for first in range(0, targets, BATCH)):
                row[part] = _nats(model, ids, positions[part], read[:, part], on_chunk)
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


def _positions_read(characters: int, targets: Positions, length: int, longest: int, far: Far, seed: int) -> Positions:
    """The positions of the characters that are read for each target [M], in order, [length or longest, M]."""
    read = targets + np.arange(-length if far == "cut" else -longest, 0)[:, None]
    changed = len(read) - length
    if far == "shuffled":
        read[:changed] = np.random.default_rng([seed, length]).permuted(read[:changed], axis=0)
    elif far == "replaced" and changed:
        read[:changed] += _elsewhere(characters, targets, longest, seed) - targets
    return read


def _elsewhere(characters: int, targets: Positions, longest: int, seed: int) -> Positions:
    """For each target another position with ``longest`` characters before it, none of them before the target."""
    before, after = (targets - 2 * longest + 1).clip(0), (characters - targets - longest + 1).clip(0)
    if not (before + after).all():
        raise UserError(
            f"to replace {longest:,} characters of context the text needs as many elsewhere, found {characters:,} in "
            f"all; take a shorter context"
        )
    drawn = np.random.default_rng([seed, longest]).integers(before + after)
    positions: Positions = np.where(drawn < before, longest + drawn, targets + longest + drawn - before)
    return positions


def _nats(
    model: LanguageModel, ids: Ids, targets: Positions, read: Positions, on_chunk: Callable[[], None]
) -> npt.NDArray[np.float32]:
    """-ln p of the targets [M] after the characters at the positions ``read`` [n, M]."""
    device, state = model.head.weight.device, model.initial_state(len(targets))
    output = state[0].new_zeros(1, len(targets), model.config.hidden_size)
    for begin in range(0, len(read), CHUNK):
        on_chunk()
        window = ids[read[begin : begin + CHUNK]].astype(np.int64)
        y, state = model.hidden(torch.from_numpy(window).to(device), state)
        output = y[-1:]
    truth = torch.from_numpy(ids[targets].astype(np.int64)).to(device)
    nats: npt.NDArray[np.float32] = (
        target_nats(output, model.head.weight, model.head.bias, truth[None])[0].cpu().numpy()
    )
    return nats
