"""Whether a model knows the answers: of strings each by itself, and in one running text without resets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from charlstm.errors import UserError
from charlstm.executors import State
from charlstm.model import LanguageModel
from charlstm.model.eval_mode import eval_mode
from charlstm.probes.tasks.reber import KEYS, ContinualReber
from charlstm.text.vocabulary import Vocabulary

CHARACTERS = 1 << 15  # read side by side
CHUNK = 128  # characters of a running text that are read at a time


@dataclass(frozen=True)
class Answers:
    """How N strings were answered; a character is right if it is the most probable, given the true text before it.

    right             [N], whether every character of a string's answer is right
    characters_right  share of all answers' characters
    nats              -ln p, mean per character of the answers
    """

    right: npt.NDArray[np.bool_]
    characters_right: float
    nats: float

    @property
    def share(self) -> float:
        """Share of the strings answered right."""
        return float(self.right.mean())


@dataclass(frozen=True)
class Critical:
    """How a running Reber text was read.

    accuracy  share of the critical places where the symbol of T and P that stands there is the more probable one
    places    how many critical places there were
    largest   the largest absolute value of the cell state, or of the state of a cell that has no other, on the way
    """

    accuracy: float
    places: int
    largest: float


@torch.no_grad()
def answered(model: LanguageModel, vocabulary: Vocabulary, strings: Sequence[str], mark: str | None) -> Answers:
    """Read each string from a zero state and compare what the model expects with what stands after the first ``mark``,
    or everywhere if there is none.

    The model, its mode and the random state are left alone.

    Raises:
        UserError: the model does not read from left to right alone, or does not know a character.
        ValueError: there is no string, or a string without an answer.
    """
    _reads_forward(model)
    if not strings:
        raise ValueError("there is no string to answer")
    firsts = np.array([0 if mark is None else _after(string, mark) for string in strings])
    right, nats, characters = np.empty(len(strings), bool), 0.0, 0
    hits = 0
    with eval_mode(model), torch.autocast(model.head.weight.device.type, enabled=False):
        for which in _batches(np.array([len(string) for string in strings])):
            ids = [torch.from_numpy(vocabulary.encode(strings[number])) for number in which]
            targets = torch.nn.utils.rnn.pad_sequence(ids, padding_value=model.vocabulary_size)
            places = torch.arange(len(targets))[:, None]
            asked = (places >= torch.from_numpy(firsts[which])) & (targets < model.vocabulary_size)
            hit, cost = _expected(model, targets, asked)
            missed = torch.zeros_like(asked)
            missed[asked] = ~hit
            right[which] = ~missed.any(0).numpy()
            hits, nats, characters = hits + int(hit.sum()), nats + float(cost.double().sum()), characters + len(hit)
    return Answers(right, hits / characters, nats / characters)


def _reads_forward(model: LanguageModel) -> None:
    if model.direction != "forward":
        raise UserError(f"an answer comes after its string, for a model that reads so: not {model.direction}")


def _after(string: str, mark: str) -> int:
    place = string.find(mark) + 1
    if not 0 < place < len(string):
        raise ValueError(f"{string!r:.60} has nothing after {mark!r}")
    return place


def _batches(lengths: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Which strings are read side by side: those of similar length."""
    if not lengths.min():
        raise ValueError("a string is empty")
    order, first = np.argsort(-lengths, kind="stable"), 0
    while first < len(order):
        last = first + max(1, CHARACTERS // int(lengths[order[first]]))
        yield order[first:last]
        first = last


def _expected(model: LanguageModel, targets: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Of the characters that are asked for, place by place: whether each is the most probable, and its -ln p."""
    device = model.head.weight.device
    y, _ = model.hidden(_previous(model, targets).to(device))
    logits, wanted = model.head(y[asked.to(device)]), targets[asked].to(device)
    return (logits.argmax(-1) == wanted).cpu(), F.cross_entropy(logits, wanted, reduction="none").cpu()


def _previous(model: LanguageModel, targets: Tensor) -> Tensor:
    return torch.cat([torch.full_like(targets[:1], model.vocabulary_size), targets[:-1]])


@torch.no_grad()
def critical_share(model: LanguageModel, vocabulary: Vocabulary, strings: Sequence[str]) -> float:
    """Share of embedded Reber strings, each read from a zero state, whose critical symbol is the more probable of T and
    P. Raises as :func:`answered` does."""
    _reads_forward(model)
    t, p = vocabulary.encode(KEYS).tolist()
    device, right = model.head.weight.device, 0
    with eval_mode(model), torch.autocast(device.type, enabled=False):
        for which in _batches(np.array([len(string) for string in strings])):
            ids = [torch.from_numpy(vocabulary.encode(strings[number])) for number in which]
            targets = torch.nn.utils.rnn.pad_sequence(ids, padding_value=model.vocabulary_size)
            places = torch.tensor([len(string) - 2 for string in ids])
            y, _ = model.hidden(_previous(model, targets).to(device))
            logits = model.head(y[places.to(device), torch.arange(len(ids), device=device)])
            wanted = targets[places, torch.arange(len(ids))]
            right += int(((logits[:, t] > logits[:, p]).cpu() == (wanted == t)).sum())
    return right / len(strings)


@torch.no_grad()
def critical_accuracy(model: LanguageModel, vocabulary: Vocabulary, text: str) -> Critical:
    """Read a continual Reber text as one stream, the state carried all the way, and look at its critical places.

    The text is read twice: once chunk by chunk for the states between chunks, then all chunks side by side, from those
    states, step by step: so the state is seen after every character.

    The model, its mode and the random state are left alone.

    Raises:
        UserError: the model does not read from left to right alone, or does not know a character.
        ValueError: the text is not of the grammar from the beginning of a string, or has no critical place.
    """
    _reads_forward(model)
    places = ContinualReber().critical(text)
    if not len(places):
        raise ValueError("the text has no critical place")
    device, ids = model.head.weight.device, torch.from_numpy(vocabulary.encode(text))
    t, p = vocabulary.encode(KEYS).tolist()
    with eval_mode(model), torch.autocast(device.type, enabled=False):
        previous = _previous(model, ids).to(device)
        outputs, states = [], []
        state = model.initial_state(1)
        for chunk in torch.split(previous, CHUNK):
            states.append(state)
            y, state = model.hidden(chunk[:, None], state)
            outputs.append(y[:, 0])
        logits = model.head(torch.cat(outputs)[torch.from_numpy(places).to(device)])
        largest = _largest(model, previous, tuple(torch.cat(part, 1) for part in zip(*states, strict=True)))
    prefers_t = (logits[:, t] > logits[:, p]).cpu().numpy()
    is_t = ids.numpy()[places] == t
    return Critical(float((prefers_t == is_t).mean()), len(places), largest)


def _largest(model: LanguageModel, previous: Tensor, state: State) -> float:
    """The largest absolute value in the cell state, of the chunks of a text that begin in these states."""
    names = model.recurrent.cell.state
    part = names.index("c") if "c" in names else 0
    chunks = torch.nn.utils.rnn.pad_sequence(list(torch.split(previous, CHUNK)), padding_value=model.vocabulary_size)
    lasts, largest = len(previous) - CHUNK * (chunks.shape[1] - 1), 0.0
    for step, row in enumerate(chunks):
        _, state = model.read(row[None], state)
        seen = state[part] if step < lasts else state[part][:, :-1]
        largest = max(largest, float(seen.abs().max()) if seen.numel() else 0.0)
    return largest
