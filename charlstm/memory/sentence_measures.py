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
    series  that gate over the first sentence up to its answer, [characters, units]
    text    the sentence
    """
    parts = Sentences(language, kind, [distance], filler).parts(strings, seed)
    sums: dict[str, dict[str, list[float]]] = {}
    series: list[list[float]] = []
    letter: str | None = None
    for number, sentence in enumerate(parts):
        text = "".join(text for _, text in sentence[:-1])
        ids = torch.from_numpy(run.vocabulary.encode(text))[:, None]
        start = torch.full_like(ids[:1], run.model.vocabulary_size)
        values = gates(run.model, torch.cat([start, ids])).values
        if not number and values:
            letter = run.model.recurrent.cell.forget_gate or next(iter(values))
            series = values[letter][1:, -1, 0].round(4).tolist()
        for gate, steps in values.items():
            position = 1  # after the start
            for name, part in sentence[:-1]:
                if part:
                    mean = float(steps[position : position + len(part), -1, 0].mean())
                    sums.setdefault(gate, {}).setdefault(name, []).append(mean)
                position += len(part)
    means = {gate: {name: float(np.mean(x)) for name, x in by_part.items()} for gate, by_part in sums.items()}
    return {
        "means": means,
        "letter": letter,
        "series": series,
        "text": "".join(text for _, text in parts[0][:-1]),
    }
