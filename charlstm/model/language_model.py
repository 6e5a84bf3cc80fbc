"""A character-level language model: front end, recurrent stack(s), linear head over the vocabulary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from charlstm.cells import Cell, find
from charlstm.config import ModelConfig
from charlstm.executors import Choice, State
from charlstm.model.dropout import drop_symbols, dropout, dropped_symbols
from charlstm.model.front_end import FrontEnd, make_front_end
from charlstm.model.initialization import Initializer
from charlstm.model.stack import Project, RecurrentStack


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

    Ids are [T, B], 0 to V-1; V is "no character". In training, :meth:`hidden` drops symbols, elements of the input of
    the first layer, of the outputs between layers, of recurrent matrices and of the head's input, each with a
    probability of its own. With ``tie_weights`` the head's matrix is the embedding.

    The first layer's input weights are initialized by the front end's ``input_bound``, unless the cell declares their
    initialization, and the head as in torch.nn.Linear, but with zero biases. With ``init_range`` r, front end and head
    are initialized uniform in +-r instead, biases included, and the recurrent layers as
    :class:`~charlstm.model.initialization.Initializer` describes. A training with ``unigram_bias`` sets the head's
    biases.
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
                dropout=config.dropout if config.hidden_dropout is None else config.hidden_dropout,
                dropout_kind=config.dropout_kind,
                initializer=Initializer(
                    init_range=config.init_range, **{option: getattr(config, option) for option in cell.init_options}
                ),
                executor=config.executor,
                residual=config.residual,
                sum_outputs=config.output == "sum",
                weight_drop=config.weight_drop,
                state_dropout=config.state_dropout,
                zoneout={s: rate for s, rate in zip("hc", (config.zoneout_h, config.zoneout_c), strict=True) if rate},
            )

        self.recurrent = stack()
        self.recurrent_backward = stack() if self.bidirectional else None
        two_front_ends = self.bidirectional and self.front_end.per_direction
        self.front_end_backward = make_front_end(config, vocabulary_size) if two_front_ends else None
        self.head = nn.Linear(config.hidden_size * (2 if self.bidirectional else 1), vocabulary_size)
        nn.init.zeros_(self.head.bias)
        if config.init_range is not None:
            for module in filter(None, (self.front_end, self.front_end_backward, self.head)):
                for parameter in module.parameters():
                    nn.init.uniform_(parameter, -config.init_range, config.init_range)
        if config.tie_weights:
            self.front_end.tie(self.head.get_parameter("weight"))
            self.register_load_state_dict_post_hook(_tie_again)  # type: ignore[no-untyped-call]
        bound = self.front_end.input_bound if config.init_range is None else None
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

    def encode(
        self, previous: Tensor, state: State | None = None, dropped: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """The forward stack's outputs [T, B, H] after each of the characters ``previous`` [T, B], and its final
        state; ``dropped``: see :func:`~charlstm.model.dropout.dropped_symbols`."""
        return self._run(self.front_end, self.recurrent, previous, state, dropped)

    def encode_backward(
        self,
        following: Tensor,
        state: State | None = None,
        lengths: Tensor | None = None,
        dropped: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """The backward stack's outputs [T, B, H] over ``following`` [T, B] from its end, in text order, and its final
        state.

        With ``lengths`` [B] each column is reversed within its length; the padding comes last.
        """
        assert self.recurrent_backward is not None
        front_end = self.front_end if self.front_end_backward is None else self.front_end_backward
        y, last = self._run(front_end, self.recurrent_backward, _reversed_time(following, lengths), state, dropped)
        return _reversed_time(y, lengths), last

    def _run(
        self,
        front_end: FrontEnd,
        stack: RecurrentStack,
        ids: Tensor,
        state: State | None,
        dropped: Tensor | None,
    ) -> tuple[Tensor, State]:
        initial: State = self.initial_state(ids.shape[1]) if state is None else state
        parts = len(stack.cell.state)
        ids, window = front_end.with_window(ids, initial[parts:])
        scale = 1.0
        if dropped is not None:
            ids, scale = drop_symbols(ids, dropped), 1 / (1 - self.config.embedding_dropout)
        x, project = self._read(front_end, ids, scale)
        x = dropout(x, self.config.input_dropout, self.config.dropout_kind, self.training)
        y, last = stack(x, initial[:parts], project)
        return y, (*last, *window)

    def _read(self, front_end: FrontEnd, ids: Tensor, scale: float = 1.0) -> tuple[Tensor, Project | None]:
        """The output of the front end with the vectors of the symbols scaled; if elements of the vectors will be
        dropped, the vectors, not ids."""
        x, project = front_end(ids) if scale == 1 else front_end.scaled(ids, scale)
        if self.training and self.config.input_dropout and not x.is_floating_point():
            vectors = front_end.symbol_vectors()
            assert vectors is not None
            return F.embedding(x, F.pad(scale * vectors, (0, 0, 0, 1))), None
        return x, project

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
        return self._read(self.front_end, torch.cat([none, ids]))[0]

    def hidden(
        self,
        previous: Tensor,
        state: State | None = None,
        following: Tensor | None = None,
        state_after: State | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """The input of the head, [T, B, H], or [T, B, 2H] if bidirectional, and the forward stack's final state:
        :meth:`outputs` after dropout."""
        y, last = self.outputs(previous, state, following, state_after, lengths)
        return self.drop_output(y), last

    def drop_output(self, y: Tensor) -> Tensor:
        """Dropout on the input of the head."""
        config = self.config
        probability = config.dropout if config.output_dropout is None else config.output_dropout
        return dropout(y, probability, config.dropout_kind, self.training)

    def outputs(
        self,
        previous: Tensor,
        state: State | None = None,
        following: Tensor | None = None,
        state_after: State | None = None,
        lengths: Tensor | None = None,
    ) -> tuple[Tensor, State]:
        """The outputs of the recurrent layers, [T, B, H] or [T, B, 2H], and the forward stack's final state.

        previous [T, B]: the character before each position. following [T, B]: the one after it, for a bidirectional
        model; ``state_after``: the backward stack's state beyond the last position (default: zeros); ``lengths`` [B]:
        length of each text, if not T; the backward stack starts at the end of each.

        Raises ValueError for a bidirectional model without ``following``.
        """
        dropped = None
        if self.training and self.config.embedding_dropout:
            dropped = dropped_symbols(previous, self.vocabulary_size, self.config.embedding_dropout)
        y, last = self.encode(previous, state, dropped)
        if self.bidirectional:
            if following is None:
                raise ValueError("a bidirectional model needs the characters after each position: pass following")
            y = torch.cat([y, self.encode_backward(following, state_after, lengths, dropped)[0]], -1)
        return y, last

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
        """Number of trainable parameters of each submodule; a tied matrix counts once, in the front end."""
        counts: dict[str, int] = {}
        for name, p in self.named_parameters():  # a parameter that two submodules share once, in the first
            if p.requires_grad:
                part = name.partition(".")[0]
                counts[part] = counts.get(part, 0) + p.numel()
        return counts

    def frozen_count(self) -> int:
        """Number of frozen parameters."""
        return sum(p.numel() for p in self.parameters() if not p.requires_grad)


def _tie_again(model: LanguageModel, _keys: object) -> None:
    """Loading with ``assign=True`` gives each module a parameter of its own."""
    model.front_end.weight = model.head.weight


def _reversed_time(x: Tensor, lengths: Tensor | None) -> Tensor:
    """x [T, B, ...] reversed in time: all of it, or in each column b the first ``lengths[b]`` rows."""
    if lengths is None:
        return x.flip(0)
    t = torch.arange(len(x), device=x.device)[:, None]
    rows = torch.where(t < lengths, lengths - 1 - t, t)
    return x.take_along_dim(rows.view(*rows.shape, *[1] * (x.dim() - 2)), 0)
