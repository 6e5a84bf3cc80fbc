"""A text that a person and a model write together: it can be extended, rewound, and continued in several ways."""

from __future__ import annotations

import codecs
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from charlstm.errors import UserError
from charlstm.executors import State
from charlstm.generation.incremental import IncrementalModel
from charlstm.generation.requests import LeadIns
from charlstm.generation.sampler import UniformDraws, check_not_nan
from charlstm.generation.sampling import Sampling, sample_ids
from charlstm.model import LanguageModel
from charlstm.text.vocabulary import Vocabulary

SPACING = 64
"""Symbols between two snapshots: a rewind reads at most as many again, however long the text is."""


class Character(NamedTuple):
    """A decoded character and its ids, several if the symbols are bytes."""

    text: str
    ids: list[int]


class Continuation(NamedTuple):
    """``ends``: its last element is not one character, but the separator that ends a document."""

    characters: list[Character]
    ends: bool


@dataclass(frozen=True)
class _Snapshot:
    """The model after ``length`` ids of the text: its state, and the logits [1, V] of the next one. The document that
    contains the next one began after ``start`` ids."""

    length: int
    start: int
    state: State
    logits: Tensor


class Session:
    """A text of a forward model, as ids. The model's state after it is known: no call reads the whole text again.

    ``lead_ins`` are as for :class:`~charlstm.generation.TextRequest`. ``end`` ends a document; the next one starts from
    the zero state, as in training. Assign to ``sampling`` to change the temperature and the filters.

    Raises UserError for a model of another direction.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: LanguageModel,
        vocabulary: Vocabulary,
        sampling: Sampling | None = None,
        seed: int = 1,
        lead_ins: LeadIns = (),
        end: str = "",
    ) -> None:
        if model.direction != "forward":
            raise UserError(f"a model with direction: {model.direction} cannot continue a text to the right")
        self.sampling = sampling or Sampling()
        self._model, self._vocabulary, self._seed = model, vocabulary, seed
        self._end: list[int] = vocabulary.encode(end).tolist()
        self._symbols = frozenset(vocabulary.symbols)
        self._ids: list[int] = []
        self._steppers: dict[int, IncrementalModel] = {}
        lead_in = lead_ins[seed % len(lead_ins)] if lead_ins else []
        self._snapshots = [self._snapshot(0, 0, [model.vocabulary_size, *lead_in], None)]

    def __len__(self) -> int:
        """The number of symbols of the text."""
        return len(self._ids)

    @property
    def ids(self) -> list[int]:
        """The ids of the text."""
        return list(self._ids)

    @property
    def text(self) -> str:
        return self._vocabulary.decode(self._ids)

    @property
    def unit(self) -> str:
        """The name of a symbol: character or byte."""
        return self._vocabulary.unit

    @property
    def symbols_per_character(self) -> int:
        """At most: 4 bytes in UTF-8."""
        return 4 if self._vocabulary.kind == "bytes" else 1

    def unknown_characters(self, text: str) -> list[str]:
        """The distinct characters of a text that are not in the vocabulary, in their order."""
        known = self._symbols
        if self._vocabulary.kind == "characters":
            return [c for c in dict.fromkeys(text) if c not in known]
        return [c for c in dict.fromkeys(text) if not known.issuperset(map(chr, c.encode("utf-8", "surrogatepass")))]

    def tail(self, count: int) -> list[Character]:
        """The characters of the last ``count`` symbols; of bytes, the first one may be incomplete."""
        return characters(self._ids[max(0, len(self._ids) - count) :], self._vocabulary)

    def encode(self, text: str) -> list[int]:
        """The ids of a text. Raises UserError for unknown characters."""
        return list(self._vocabulary.encode(text).tolist())

    @torch.no_grad()
    def accept(self, ids: Sequence[int]) -> None:
        """Append ids, such as those of a continuation or of its beginning."""
        remaining = list(ids)
        while remaining:
            last = self._snapshots[-1]
            count, ended = self._first_end(remaining[: SPACING - last.length % SPACING])
            block, remaining = remaining[:count], remaining[count:]
            self._ids += block
            length = len(self._ids)
            if ended:
                first = self._snapshots[0]
                new = _Snapshot(length, length, first.state, first.logits)
            else:
                new = self._snapshot(length, last.start, block, last.state)
            if last.length % SPACING and last.length != last.start:
                self._snapshots.pop()
            self._snapshots.append(new)

    def rewind(self, count: int) -> list[int]:
        """Remove the last ``count`` symbols, or all if there are fewer. Returns their ids."""
        length = max(0, len(self._ids) - count)
        removed = self._ids[length:]
        while self._snapshots[-1].length > length:
            self._snapshots.pop()
        begin = self._snapshots[-1].length
        again = self._ids[begin:length]
        del self._ids[begin:]
        self.accept(again)
        return removed

    @torch.no_grad()
    def continuations(
        self, count: int, length: int, number: int = 0, on_chunk: Callable[[], None] = lambda: None
    ) -> list[Continuation]:
        """Up to ``count`` different continuations of at most ``length`` symbols, sampled in parallel.

        They depend only on the arguments, the text, ``sampling`` and the seed; another ``number`` gives others.
        Incomplete characters at their ends are left out. ``on_chunk`` is called after each step; an exception that it
        raises stops the sampling.
        """
        last, stepper = self._snapshots[-1], self._stepper(count)
        stepper.state = tuple(part.expand(-1, count, -1) for part in last.state)
        seed = random.Random(f"{self._seed} {len(self)} {number}").getrandbits(63)
        draws, logits = UniformDraws(seed, count).take(length), last.logits.expand(count, -1)
        columns: list[list[int]] = [[] for _ in range(count)]
        ended = [False] * count
        for step in range(length):
            ids = sample_ids(logits, self.sampling, draws[step])
            for n, i in enumerate(ids.tolist()):
                if not ended[n]:
                    columns[n].append(i)
                    ended[n] = bool(self._end) and self._ends(columns[n])
            on_chunk()
            if all(ended):
                break
            logits = stepper(ids)
        distinct = {tuple(ids): self._continuation(ids, ends) for ids, ends in zip(columns, ended, strict=True)}
        return [continuation for continuation in distinct.values() if continuation.characters]

    def next_probabilities(self, count: int) -> list[tuple[str, float]]:
        """The ``count`` most probable next symbols with their probabilities, as they are sampled: after temperature,
        top-k, top-p and min-p. Bytes that are not ASCII are named as 0xE2."""
        logits = self._snapshots[-1].logits
        if self.sampling.temperature == 0:
            return [(self._vocabulary.symbol_name(int(logits.argmax())), 1.0)]
        p = self.sampling.probabilities(logits)[0]
        values, ids = (p / p.sum()).topk(min(count, len(p)))
        pairs = zip(ids.tolist(), values.tolist(), strict=True)
        return [(self._vocabulary.symbol_name(i), value) for i, value in pairs if value > 0]

    def _snapshot(self, length: int, start: int, ids: list[int], state: State | None) -> _Snapshot:
        """After reading ids from a state. Raises UserError for NaN."""
        device = self._model.head.weight.device
        previous = torch.tensor(ids, device=device)[:, None]
        y, state = self._model.encode(previous, state)
        logits = self._model.head(y[-1]).float()
        check_not_nan(logits)
        return _Snapshot(length, start, tuple(part.clone() for part in state), logits)

    def _stepper(self, batch_size: int) -> IncrementalModel:
        if batch_size not in self._steppers:
            self._steppers[batch_size] = IncrementalModel(self._model, batch_size)
        return self._steppers[batch_size]

    def _first_end(self, ids: list[int]) -> tuple[int, bool]:
        """How many of these ids come before the end of the document, and whether it ends there."""
        if self._end:
            for count in range(1, len(ids) + 1):
                if self._ends(ids[:count]):
                    return count, True
        return len(ids), False

    def _ends(self, more: list[int]) -> bool:
        """Whether the document ends after these ids."""
        missing = max(0, len(self._end) - len(more))
        start = max(self._snapshots[-1].start, len(self._ids) - missing)
        before = self._ids[start:] if missing else []
        return [*before, *more][-len(self._end) :] == self._end

    def _continuation(self, ids: list[int], ends: bool) -> Continuation:
        if not ends:
            return Continuation(characters(ids, self._vocabulary, incomplete=False), False)
        end = min(len(self._end), len(ids))  # the text may end in the beginning of the separator
        body, rest = ids[: len(ids) - end], ids[len(ids) - end :]
        last = Character(self._vocabulary.decode(rest), rest)
        return Continuation([*characters(body, self._vocabulary), last], True)


def characters(ids: Sequence[int], vocabulary: Vocabulary, incomplete: bool = True) -> list[Character]:
    """The characters of a text. Bytes that are not UTF-8 become U+FFFD; ``incomplete``: also those of a character that
    may still be completed."""
    if vocabulary.kind == "characters":
        return [Character(vocabulary.symbols[i], [i]) for i in ids]
    decoder, pending, result = codecs.getincrementaldecoder("utf-8")("replace"), list[int](), list[Character]()
    for i, byte in zip(ids, vocabulary.decode_bytes(ids), strict=True):
        text = decoder.decode(bytes([byte]))
        if pending and len(text) + bool(decoder.getstate()[0]) > 1:  # it does not continue the bytes before it
            result.append(Character(text[0], pending))
            text, pending = text[1:], []
        pending.append(i)
        if text:
            result.append(Character(text, pending))
            pending = []
    if pending and incomplete:
        result.append(Character("\N{REPLACEMENT CHARACTER}", pending))
    return result
