"""Sequences of different lengths in one batch, as torch.nn.utils.rnn packs them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

import torch
from torch import Tensor

from charlstm.executors import State


def run_packed(
    run: Callable[[Tensor, State], tuple[Tensor, State]],
    x: Tensor,
    batch_sizes: Tensor,
    state: State,
    reverse: bool,
) -> tuple[Tensor, State]:
    """One layer in one direction along packed sequences, longest first.

    x [N, I] holds the steps one after the other, ``batch_sizes[t]`` rows for step t. Steps of equal size are run
    together. Going forward, sequences leave the state as they end; in reverse each joins at its own end, with its
    first state.
    Returns y [N, H] and the last states, each part [B, H].
    """
    pieces = [(size, len(list(steps))) for size, steps in groupby(batch_sizes.tolist())]
    parts = list(torch.split(x, [size * steps for size, steps in pieces]))
    if reverse:
        pieces.reverse()
        parts.reverse()
    now = tuple(part[: pieces[0][0]] for part in state)
    outputs: list[Tensor] = []
    ended: list[State] = []
    for (size, steps), part in zip(pieces, parts, strict=True):
        running = len(now[0])
        if running > size:
            ended.append(tuple(s[size:] for s in now))
            now = tuple(s[:size] for s in now)
        elif running < size:
            now = tuple(torch.cat([s, first[running:size]]) for s, first in zip(now, state, strict=True))
        steps_x = part.reshape(steps, size, -1)
        y, now = run(steps_x.flip(0) if reverse else steps_x, now)
        outputs.append((y.flip(0) if reverse else y).reshape(steps * size, -1))
    if reverse:
        outputs.reverse()
    last = zip(*reversed([*ended, now]), strict=True)
    return torch.cat(outputs), tuple(torch.cat(rows) for rows in last)
