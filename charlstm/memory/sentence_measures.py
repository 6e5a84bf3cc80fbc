"""The measures of runs that were trained on sentences."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch

from charlstm.api import LoadedRun
from charlstm.probes.answers import score_answers
from charlstm.probes.candidates import candidate_log_probabilities
from charlstm.probes.gates import gates
from charlstm.probes.tasks import Sentences

JsonObject = dict[str, Any]


def sentence_answers(
    run: LoadedRun, language: str, kind: str, filler: str, distances: list[int], strings: int, seed: int
) -> JsonObject:
    """Answers to test sentences by distance; each list has one value per distance.

    accuracy     fraction of the sentences whose whole answer is the most probable one, character by character
    candidates   fraction of the sentences whose answer is the most probable of all possible answers
    probability  mean probability of the correct answer among all possible answers
    unigram      fraction that the most frequent answer gets correct
    recency      fraction that the answer of the last cue before the question gets correct
    """
    result: JsonObject = {name: [] for name in ("accuracy", "candidates", "probability", "unigram", "recency")}
    for distance in distances:
        task = Sentences(language, kind, [distance], filler)
        texts = task.strings(strings, seed)
        answers = [task.answer(text) for text in texts]
        scores = candidate_log_probabilities(
            run.model,
            run.vocabulary,
            [text.removesuffix(answer) for text, answer in zip(texts, answers, strict=True)],
            task.candidates,
        )
        correct = np.array([task.candidates.index(answer) for answer in answers])
        p_correct = np.exp(scores[np.arange(strings), correct] - np.logaddexp.reduce(scores, 1))
        result["accuracy"].append(score_answers(run.model, run.vocabulary, texts, task.mark).accuracy)
        result["candidates"].append(float((scores.argmax(1) == correct).mean()))
        result["probability"].append(float(np.clip(p_correct, 0, 1).mean()))
        result["unigram"].append(max(Counter(answers).values()) / strings)
        result["recency"].append(
            sum(task.recency_answer(text) == answer for text, answer in zip(texts, answers, strict=True)) / strings
        )
    return result


def sentence_gates(
    run: LoadedRun, language: str, kind: str, filler: str, distance: int, strings: int, seed: int
) -> JsonObject:
    """The gates of the last layer while each part of test sentences is processed.

    means   gate -> part of the sentence -> mean over its characters, the units and the sentences
    letter  the forget gate, or else the first gate; null for a cell without gates
    series  that gate over a sentence up to its answer, [characters, units]
    text    the sentence: one whose last cue does not decide, where there is one, with the cues of most answers
    """
    task = Sentences(language, kind, [distance], filler)
    whole = task.parts(strings, seed)
    shown = max(range(strings), key=lambda number: _misleading(task, "".join(part for _, part in whole[number])))
    sentences = [parts[:-1] for parts in whole]
    texts = ["".join(part for _, part in sentence) for sentence in sentences]
    none = run.model.vocabulary_size
    ids = [torch.from_numpy(run.vocabulary.encode(text)) for text in texts]
    padded = torch.nn.utils.rnn.pad_sequence(ids, padding_value=none)  # what follows a text does not change its gates
    values = gates(run.model, torch.cat([torch.full_like(padded[:1], none), padded])).values
    sums: dict[str, dict[str, list[float]]] = {}
    for gate, steps in values.items():
        for number, sentence in enumerate(sentences):
            position = 1  # after the start
            for name, part in sentence:
                if part:
                    mean = float(steps[position : position + len(part), -1, number].mean())
                    sums.setdefault(gate, {}).setdefault(name, []).append(mean)
                position += len(part)
    letter = run.model.recurrent.cell.forget_gate or next(iter(values)) if values else None
    return {
        "means": {gate: {name: float(np.mean(x)) for name, x in by_part.items()} for gate, by_part in sums.items()},
        "letter": letter,
        "series": [] if letter is None else values[letter][1 : 1 + len(texts[shown]), -1, shown].round(4).tolist(),
        "text": texts[shown],
    }


def _misleading(task: Sentences, text: str) -> tuple[bool, int]:
    """Whether the last cue in a sentence decides for a wrong answer, and for how many answers there are cues."""
    cued = sum(any(cue in text for cue in cues) for cues in task.grammar.cues.values())
    return task.recency_answer(text) != task.answer(text), cued
