"""Loss against the number of characters of context kept (Khandelwal, He, Qi & Jurafsky 2018, "Sharp nearby, fuzzy far
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
TOGETHER = 256  # targets read side by side
CHUNK = 128  # characters a pass

Ids = npt.NDArray[np.integer]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ContextCurve:
    """lengths: characters of context kept, ascending, [L]; targets: places in the text, ascending, [M];
    nats: -ln p of each target with just so much context before it, [L, M]."""

    lengths: Places
    targets: Places
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
    between: Callable[[], None] = lambda: None,
) -> ContextCurve:
    """The loss of a forward model at the same targets of a text ids [N] for every length n of context.

    For each target and n the state is set to zeros and exactly the n characters before the target are read, and nothing
    else: no sign of a beginning, which a reset in the middle of a text is not. With n = 0 nothing is read: the output
    is zero, and p the softmax of the head's bias. So the figure for all of the context differs from the ordinary score
    by what the one "no character" at the very beginning still does.

    The targets are drawn each from its own equal share of the places that have the longest context before them; they
    depend only on N, the longest length, their number and the seed. The result is float32 arithmetic; the model's mode
    and torch's random state are left alone. ``between`` is called before each chunk; what it raises breaks it off.

    Raises UserError for a model of another direction, for no length or target, a length below 0, and for a text that is
    too short.
    """
    if model.direction != "forward":
        raise UserError(f"the context curve needs a model with direction: forward, found {model.direction}")
    if targets < 1 or not lengths or min(lengths) < 0:
        raise UserError(f"one or more targets and lengths from 0 on are needed, found {targets} and {list(lengths)}")
    kept = np.unique(np.asarray(lengths, np.int64))
    places = _targets(len(ids), targets, int(kept[-1]), seed)
    nats = np.empty((len(kept), targets), np.float32)
    with torch.no_grad(), eval_mode(model), torch.autocast(model.head.weight.device.type, enabled=False):
        for row, length in zip(nats, kept.tolist(), strict=True):
            for part in (slice(first, first + TOGETHER) for first in range(0, targets, TOGETHER)):
                row[part] = _nats(model, ids, places[part], length, between)
    return ContextCurve(kept, places, nats)


def _targets(characters: int, count: int, longest: int, seed: int) -> Places:
    """Places, ascending: each somewhere in its own share of the text beyond the longest context."""
    if characters - longest < count:
        raise UserError(
            f"{count:,} targets after {longest:,} characters of context need a text of {longest + count:,} characters, "
            f"found {characters:,}; take fewer targets or a shorter context"
        )
    bounds = longest + (characters - longest) * np.arange(count + 1) // count
    return np.random.default_rng(seed).integers(bounds[:-1], bounds[1:])


def _nats(
    model: LanguageModel, ids: Ids, targets: Places, length: int, between: Callable[[], None]
) -> npt.NDArray[np.float32]:
    device, state = model.head.weight.device, model.initial_state(len(targets))
    output = state[0].new_zeros(1, len(targets), model.config.hidden_size)
    for begin, end in _chunks(length):
        between()
        window = ids[targets + np.arange(begin, end)[:, None]].astype(np.int64)
        y, state = model.hidden(torch.from_numpy(window).to(device), state)
        output = y[-1:]
    truth = torch.from_numpy(ids[targets].astype(np.int64)).to(device)
    found: npt.NDArray[np.float32] = (
        target_nats(output, model.head.weight, model.head.bias, truth[None])[0].cpu().numpy()
    )
    return found


def _chunks(length: int) -> Iterator[tuple[int, int]]:
    """Offsets from the target: from -length up to 0, some at a time."""
    return ((begin, min(begin + CHUNK, 0)) for begin in range(-length, 0, CHUNK))
