"""Packed sequences of different lengths, as in torch.nn.utils.rnn."""

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
    """Run one layer in one direction over packed sequences, longest first.

    x [N, I] holds the steps consecutively, ``batch_sizes[t]`` rows for step t. Consecutive steps of equal batch size
    run in one call. In the forward direction, sequences leave the batch as they end; in reverse, each joins at its last
    step with its initial state. Returns y [N, H] and the final states, each part [B, H].
    """
    runs = [(size, len(list(steps))) for size, steps in groupby(batch_sizes.tolist())]
    parts = list(torch.split(x, [size * steps for size, steps in runs]))
    if reverse:
        runs.reverse()
        parts.reverse()
    current = tuple(part[: runs[0][0]] for part in state)
    outputs: list[Tensor] = []
    finished: list[State] = []
    for (size, steps), part in zip(runs, parts, strict=True):
        running = len(current[0])
        if running > size:
            finished.append(tuple(s[size:] for s in current))
            current = tuple(s[:size] for s in current)
        elif running < size:
            current = tuple(torch.cat([s, first[running:size]]) for s, first in zip(current, state, strict=True))
        steps_x = part.reshape(steps, size, -1)
        y, current = run(steps_x.flip(0) if reverse else steps_x, current)
        outputs.append((y.flip(0) if reverse else y).reshape(steps * size, -1))
    if reverse:
        outputs.reverse()
    final = zip(*reversed([*finished, current]), strict=True)
    return torch.cat(outputs), tuple(torch.cat(rows) for rows in final)
