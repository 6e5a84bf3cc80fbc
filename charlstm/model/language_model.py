"""A character-level language model: front end, recurrent stack(s), linear head over the vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from charlstm.cells import Cell, find
from charlstm.config import ModelConfig
from charlstm.executors import Choice, State
from charlstm.model.dropout import dropout
from charlstm.model.front_end import FrontEnd, make_front_end
from charlstm.model.initialization import Initializer
from charlstm.model.stack import RecurrentStack


def cell_of(config: ModelConfig) -> Cell:
    """The configured cell, by its name and options."""
    return find(config.cell, **config.model_dump(exclude={"cell"}))


class LanguageModel(nn.Module):
    """p(character at t | characters before it), or given the characters on both sides.

    ``direction``:
      forward        left to right.
      backward       the same network over reversed text; the caller reverses the text.
      bidirectional  two separate stacks, concatenated only before the head: the character at t is predicted from the
                     forward stack's output after t-1 and the backward stack's output before t+1, so that neither has
                     seen it (Berglund et al. 2015). The score is a pseudo-likelihood, not a likelihood. The stacks
                     share an embedding; a convolution is causal, so each stack has a separate one.

    The state is that of the stack, followed by that of the front end: for a convolution one part, the characters in its
    window. Zeros are the state at the beginning of a text.

    Ids are [T, B], 0 to V-1; V is "no character". Dropout also acts on the output of the last layer. The first layer's
    input weights are initialized by the front end's ``input_bound``, unless the cell declares their initialization.
    """

    def __init__(self, config: ModelConfig, vocabulary_size: int) -> None:
        super().__init__()
        self.config, self.vocabulary_size = config, vocabulary_size
        self.direction: Literal["forward", "backward", "bidirectional"] = config.direction
        cell = cell_of(config)
        self.front_end = make_front_end(config, vocabulary_size)

        def stack() -> RecurrentStack:
            return RecurrentStack(
                cell,
                self.front_end.output_size,
                config.hidden_size,
                config.num_layers,
                dropout=config.dropout,
                dropout_kind=config.dropout_kind,
                initializer=Initializer(**{option: getattr(config, option) for option in cell.init_options}),
                executor=config.executor,
                residual=config.residual,
            )

        self.recurrent = stack()
        self.recurrent_backward = stack() if self.bidirectional else None
        two_front_ends = self.bidirectional and self.front_end.per_direction
        self.front_end_backward = make_front_end(config, vocabulary_size) if two_front_ends else None
        self.head = nn.Linear(config.hidden_size * (2 if self.bidirectional else 1), vocabulary_size)
        nn.init.zeros_(self.head.bias)
        bound = self.front_end.input_bound
        if bound is not None and "weight_ih" not in cell.initializers:
            for recurrent in (self.recurrent, self.recurrent_backward):
                if recurrent is not None:
                    nn.init.uniform_(recurrent.get_parameter("weight_ih_l0"), -bound, bound)

    @property
    def bidirectional(self) -> bool:
        """Whether the model predicts a character from both sides of it."""
        return self.direction == "bidirectional"

    def initial_state(self, batch_size: int) -> State:
        """The state of either stack before its first character: zeros."""
        return (*self.recurrent.initial_state(batch_size), *self.front_end.initial_state(batch_size))

    def encode(self, previous: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The forward stack's outputs [T, B, H] after each of the characters ``previous`` [T, B], and its final
        state."""
        return self._run(self.front_end, self.recurrent, previous, state)

    def encode_backward(
        self, following: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """The backward stack's outputs [T, B, H] over ``following`` [T, B] from its end, in text order, and its final
        state.

        With ``lengths`` [B] each column is reversed within its length; the padding comes last.
        """
        assert self.recurrent_backward is not None
        front_end = self.front_end if self.front_end_backward is None else self.front_end_backward
        y, last = self._run(front_end, self.recurrent_backward, _reversed_time(following, lengths), state)
        return _reversed_time(y, lengths), last

    def _run(
        self, front_end: FrontEnd, stack: RecurrentStack, ids: Tensor, state: State | None
    ) -> tuple[Tensor, State]:
        initial: State = self.initial_state(ids.shape[1]) if state is None else state
        parts = len(stack.cell.state)
        ids, window = front_end.with_window(ids, initial[parts:])
        x, project = front_end(ids)
        y, last = stack(x, initial[:parts], project)
        return y, (*last, *window)

    def choices(self, ids: Tensor) -> Iterator[Choice]:
        """For each layer, the executor chosen for input such as ids [T, B], and the reason."""
        return self.recurrent.choices(self._first_input(ids))

    def candidates(self, ids: Tensor) -> list[str]:
        """The executors that ``auto`` may choose for all layers on input such as ids [T, B]."""
        return self.recurrent.candidates(self._first_input(ids))

    def prefer(self, executor: str | None) -> None:
        """Make ``auto`` choose this executor if it supports the layer; None: the first in order."""
        for stack in (self.recurrent, self.recurrent_backward):
            if stack is not None:
                stack.preferred_executor = executor

    def _first_input(self, ids: Tensor) -> Tensor:
        none = ids.new_full((self.front_end.window, ids.shape[1]), self.vocabulary_size)
        x: Tensor = self.front_end(torch.cat([none, ids]))[0]
        return x

    def hidden(
        self,
        previous: Tensor,
        state: State | None = None,
        following: Tensor | None = None,
        state_after: State | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """The input of the head, [T, B, H], or [T, B, 2H] if bidirectional, and the forward stack's final state.

        previous [T, B]: the character before each position. following [T, B]: the one after it, for a bidirectional
        model; ``state_after``: the backward stack's state beyond the last position (default: zeros); ``lengths`` [B]:
        length of each text, if not T; the backward stack starts at the end of each.

        Raises ValueError for a bidirectional model without ``following``.
        """
        y, last = self.encode(previous, state)
        if self.bidirectional:
            if following is None:
                raise ValueError("a bidirectional model needs the characters after each position: pass following")
            y = torch.cat([y, self.encode_backward(following, state_after, lengths)[0]], -1)
        return dropout(y, self.config.dropout, self.config.dropout_kind, self.training), last

    def forward(
        self,
        previous: Tensor,
        state: State | None = None,
        following: Tensor | None = None,
        state_after: State | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """Logits [T, B, V] and the forward stack's final state; arguments as for :meth:`hidden`."""
        y, last = self.hidden(previous, state, following, state_after, lengths)
        return self.head(y), last

    def parameter_counts(self) -> dict[str, int]:
        """Number of trainable parameters of each submodule."""
        counts = {name: sum(_sizes(part, True)) for name, part in self.named_children()}
        return {name: count for name, count in counts.items() if count}

    def frozen_count(self) -> int:
        """Number of frozen parameters."""
        return sum(_sizes(self, False))


def _sizes(module: nn.Module, requires_grad: bool) -> Iterator[int]:
    return (p.numel() for p in module.parameters() if p.requires_grad == requires_grad)


def _reversed_time(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x [T, B, ...] reversed in time: all of it, or in each column b the first ``lengths[b]`` rows."""
    if lengths is None:
        return x.flip(0)
    t = torch.arange(len(x), device=x.device)[:, None]
    rows = torch.where(t < lengths, lengths - 1 - t, t)
    return x.take_along_dim(rows.view(*rows.shape, *[1] * (x.dim() - 2)), 0)
