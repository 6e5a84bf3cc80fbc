"""Whether a model predicts answers: in separate strings, and in one running text without state resets."""

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

CHARACTERS = 1 << 15  # per batch
CHUNK = 128  # characters of a running text per forward pass


@dataclass(frozen=True)
class Answers:
    """Results for N strings; a character is correct if it is the most probable one, given the true text before it.

    correct             [N], whether every character of a string's answer is correct
    character_accuracy  fraction of the answers' characters that are correct
    nats                -ln p, mean per character of the answers
    """

    correct: npt.NDArray[np.bool_]
    character_accuracy: float
    nats: float

    @property
    def accuracy(self) -> float:
        """Fraction of the strings answered correctly."""
        return float(self.correct.mean())


@dataclass(frozen=True)
class ContinualReberAccuracy:
    """Results for a running Reber text.

    accuracy       fraction of the repeated keys for which the actual one of T and P is more probable than the other
    positions      number of repeated keys
    max_abs_state  the largest absolute value of the cell state over the text; for cells without one, of the state
    """

    accuracy: float
    positions: int
    max_abs_state: float


@torch.no_grad()
def score_answers(model: LanguageModel, vocabulary: Vocabulary, strings: Sequence[str], mark: str | None) -> Answers:
    """Encode each string from a zero state and compare the model's predictions with the characters after the first
    ``mark``, or with all characters if it is None.

    The model, its mode and the random state are not changed.

    Raises:
        UserError: the model's direction is not forward, or a character is not in the vocabulary.
        ValueError: there are no strings, or a string has no answer.
    """
    check_forward(model)
    if not strings:
        raise ValueError("there are no strings to answer")
    answer_starts = np.array([0 if mark is None else _answer_start(string, mark) for string in strings])
    correct, nats, characters = np.empty(len(strings), bool), 0.0, 0
    correct_count = 0
    with eval_mode(model), torch.autocast(model.head.weight.device.type, enabled=False):
        for indices in _batches(np.array([len(string) for string in strings])):
            ids = [torch.from_numpy(vocabulary.encode(strings[number])) for number in indices]
            targets = torch.nn.utils.rnn.pad_sequence(ids, padding_value=model.vocabulary_size)
            positions = torch.arange(len(targets))[:, None]
            is_answer = (positions >= torch.from_numpy(answer_starts[indices])) & (targets < model.vocabulary_size)
            is_correct, answer_nats = _answer_statistics(model, targets, is_answer)
            is_wrong = torch.zeros_like(is_answer)
            is_wrong[is_answer] = ~is_correct
            correct[indices] = ~is_wrong.any(0).numpy()
            correct_count += int(is_correct.sum())
            nats += float(answer_nats.double().sum())
            characters += len(is_correct)
    return Answers(correct, correct_count / characters, nats / characters)


def check_forward(model: LanguageModel) -> None:
    """Raises UserError if the model does not read from left to right."""
    if model.direction != "forward":
        raise UserError(
            f"answers are measured from left to right: take a model with direction: forward, not {model.direction}"
        )


def _answer_start(string: str, mark: str) -> int:
    position = string.find(mark) + len(mark)
    if not len(mark) <= position < len(string):
        raise ValueError(f"{string!r:.60} has nothing after {mark!r}")
    return position


def _batches(lengths: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the indices of strings for each batch: strings of similar length."""
    if not lengths.min():
        raise ValueError("a string is empty")
    order, first = np.argsort(-lengths, kind="stable"), 0
    while first < len(order):
        last = first + max(1, CHARACTERS // int(lengths[order[first]]))
        yield order[first:last]
        first = last


def _answer_statistics(model: LanguageModel, targets: Tensor, is_answer: Tensor) -> tuple[Tensor, Tensor]:
    """For each character of the answers, position by position: whether it is the most probable, and its -ln p."""
    device = model.head.weight.device
    y, _ = model.hidden(_previous(model, targets).to(device))
    logits, answers = model.head(y[is_answer.to(device)]), targets[is_answer].to(device)
    return (logits.argmax(-1) == answers).cpu(), F.cross_entropy(logits, answers, reduction="none").cpu()


def _previous(model: LanguageModel, targets: Tensor) -> Tensor:
    return torch.cat([torch.full_like(targets[:1], model.vocabulary_size), targets[:-1]])


@torch.no_grad()
def reber_accuracy(model: LanguageModel, vocabulary: Vocabulary, strings: Sequence[str]) -> float:
    """Fraction of embedded Reber strings, each encoded from a zero state, whose repeated key is the more probable of
    T and P. Raises like :func:`score_answers`."""
    check_forward(model)
    t, p = vocabulary.encode(KEYS).tolist()
    device, correct = model.head.weight.device, 0
    with eval_mode(model), torch.autocast(device.type, enabled=False):
        for indices in _batches(np.array([len(string) for string in strings])):
            ids = [torch.from_numpy(vocabulary.encode(strings[number])) for number in indices]
            targets = torch.nn.utils.rnn.pad_sequence(ids, padding_value=model.vocabulary_size)
            positions = torch.tensor([len(string) - 2 for string in ids])
            y, _ = model.hidden(_previous(model, targets).to(device))
            logits = model.head(y[positions.to(device), torch.arange(len(ids), device=device)])
            answers = targets[positions, torch.arange(len(ids))]
            correct += int(((logits[:, t] > logits[:, p]).cpu() == (answers == t)).sum())
    return correct / len(strings)


@torch.no_grad()
def continual_reber_accuracy(model: LanguageModel, vocabulary: Vocabulary, text: str) -> ContinualReberAccuracy:
    """Encode a continual Reber text as one stream with carried state and evaluate its repeated keys.

    The text is encoded twice: first chunk by chunk for the states between chunks, then all chunks as a batch from those
    states, step by step, to get the state after every character.

    The model, its mode and the random state are not changed.

    Raises:
        UserError: the model's direction is not forward, or a character is not in the vocabulary.
        ValueError: the text does not follow the grammar from the beginning of a string, or has no repeated key.
    """
    check_forward(model)
    positions = ContinualReber().repeated_key_positions(text)
    if not len(positions):
        raise ValueError("the text has no repeated key")
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
        logits = model.head(torch.cat(outputs)[torch.from_numpy(positions).to(device)])
        max_abs_state = _max_abs_state(model, previous, tuple(torch.cat(part, 1) for part in zip(*states, strict=True)))
    prefers_t = (logits[:, t] > logits[:, p]).cpu().numpy()
    is_t = ids.numpy()[positions] == t
    return ContinualReberAccuracy(float((prefers_t == is_t).mean()), len(positions), max_abs_state)


def _max_abs_state(model: LanguageModel, previous: Tensor, state: State) -> float:
    """The largest absolute value in the cell state over the chunks of a text that start from these states."""
    names = model.recurrent.cell.state
    part = names.index("c") if "c" in names else 0
    chunks = torch.nn.utils.rnn.pad_sequence(list(torch.split(previous, CHUNK)), padding_value=model.vocabulary_size)
    last_length, max_abs_state = len(previous) - CHUNK * (chunks.shape[1] - 1), 0.0
    for step, row in enumerate(chunks):
        _, state = model.encode(row[None], state)
        part_state = state[part] if step < last_length else state[part][:, :-1]
        max_abs_state = max(max_abs_state, float(part_state.abs().max()) if part_state.numel() else 0.0)
    return max_abs_state
