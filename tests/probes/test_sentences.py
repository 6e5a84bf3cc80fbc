"""Sentences whose last word is decided far before it, their filler, and the choice between answers."""

from __future__ import annotations

import re
from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from charlstm.config import ModelConfig
from charlstm.model import LanguageModel
from charlstm.probes.answers import score_answers
from charlstm.probes.candidates import candidate_log_probabilities
from charlstm.probes.tasks.sentence_words import GRAMMARS, clean_filler, forbidden_words
from charlstm.probes.tasks.sentences import Sentences, shortest_distance
from charlstm.text.vocabulary import Vocabulary

KINDS = [(language, kind) for language, kinds in GRAMMARS.items() for kind in kinds]
DISTANCES = [12, 40, 90]
TEXTS = {
    "en": "It was a long way.\nHe saw her, and the wind rose; rain fell! Far off, a bell. The Clouds broke: "
    "nobody knew why, not yet, but the other shelter was dry, and then a cart came by. ",
    "zh": "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。法国多山，床前明月光；疑是地上霜！"
    "于是举头望，低头思故乡。\n白日依山尽，",
}


@pytest.fixture(scope="module")
def fillers(tmp_path_factory) -> dict[str, str]:
    """Language -> path of a filler."""
    folder = tmp_path_factory.mktemp("fillers")
    paths = {language: folder / f"{language}.txt" for language in TEXTS}
    for language, path in paths.items():
        path.write_text(clean_filler(TEXTS[language] * 9, language, 400, 1000), encoding="utf-8")
    return {language: str(path) for language, path in paths.items()}


@pytest.mark.parametrize(
    ("language", "text"), [("en", "It was a long way. and the wind rose;"), ("zh", "夜来风雨声，")]
)
def test_filler_leaves_out_clauses_with_cues_and_answers(language, text):
    filler = clean_filler(TEXTS[language], language, 400, 1000)
    assert text in filler
    assert "\n" not in filler
    assert not forbidden_words(language).search(filler)
    for word in {"en": ["He saw", "Clouds", "yet"], "zh": ["法国", "于是"]}[language]:
        assert word in TEXTS[language]
        assert word not in filler


def test_filler_leaves_out_rare_characters_and_is_cut():
    filler = clean_filler("ab cd, " * 9 + "ab qd, ab cd.", "en", 6, 1000)
    assert filler == "ab cd, " * 8 + "ab cd,"
    assert clean_filler("ab cd, " * 9, "en", 6, 10) == "ab cd, ab "
    with pytest.raises(ValueError, match="every clause"):
        clean_filler("he said, she said", "en", 400, 1000)


@pytest.mark.parametrize(("language", "kind"), KINDS)
@pytest.mark.parametrize("other_cues", [0.0, 1.0])
def test_the_cue_alone_decides_the_answer(fillers, language, kind, other_cues):
    task = Sentences(language, kind, DISTANCES, fillers[language], other_cues)
    for parts in task.parts(200, 1):
        (cue,) = (text for name, text in parts if name == "cue")
        answer, question = parts[-1][1], parts[-2][1]
        assert cue in task.grammar.cues[answer]
        assert question == task.mark
        string = "".join(text for _, text in parts)
        assert string.count(task.mark) == 1
        assert task.answer(string) == answer
        others = [text for name, text in parts if name == "other cue"]
        assert len(others) <= 2 * other_cues
        assert len(others) >= other_cues


@pytest.mark.parametrize(("language", "kind"), KINDS)
def test_text_between_the_words_has_no_cue(fillers, language, kind):
    task = Sentences(language, kind, [90], fillers[language])
    words = {*task.candidates, *(cue for cues in task.grammar.cues.values() for cue in cues)}
    pattern = "|".join(rf"\b{word}\b" if language == "en" else word for word in words)
    for parts in task.parts(100, 2):
        text = " ".join(text for name, text in parts if name in ("before", "filler"))
        assert not re.search(pattern, text, re.IGNORECASE)


@pytest.mark.parametrize(("language", "kind"), KINDS)
@pytest.mark.parametrize("distance", [None, 13, 37, 90])
def test_distance_is_exact_in_characters(fillers, language, kind, distance):
    if distance is None:
        distance = shortest_distance(language, kind)
    task = Sentences(language, kind, [distance], fillers[language])
    heads = set()
    for parts in task.parts(100, 3):
        position = [name for name, _ in parts].index("cue")
        before = sum(len(text) for _, text in parts[: position + 1])
        between = sum(len(text) for _, text in parts[position + 1 : -1])
        near = task.grammar.near
        assert between == (len(task.grammar.suffix + task.mark) if near else distance)
        heads.add(before - (distance if near else 0))
    assert len(heads) == 4


@pytest.mark.parametrize(("language", "kind"), KINDS)
def test_guesses_without_memory_are_at_chance(fillers, language, kind):
    task, count = Sentences(language, kind, [60], fillers[language]), 3000
    strings = task.strings(count, 4)
    answers = [task.answer(string) for string in strings]
    margin = 5 * (task.chance / count) ** 0.5
    assert max(Counter(answers).values()) / count == pytest.approx(task.chance, abs=margin)
    recency = np.mean([task.recency_answer(string) == answer for string, answer in zip(strings, answers, strict=True)])
    assert recency == pytest.approx(1 if kind == "control" else task.chance, abs=margin)
    first = [next(text for name, text in parts if name == "other cue") for parts in task.parts(count, 4)]
    matches = [cue in task.grammar.cues[answer] for cue, answer in zip(first, answers, strict=True)]
    assert np.mean(matches) == pytest.approx(task.chance, abs=margin)


def test_distances_are_drawn_uniformly(fillers):
    task = Sentences("en", "birthplace", DISTANCES, fillers["en"])
    gaps = Counter(
        sum(len(text) for _, text in parts[[name for name, _ in parts].index("cue") + 1 : -1])
        for parts in task.parts(3000, 5)
    )
    assert gaps.keys() == set(DISTANCES)
    assert min(gaps.values()) > 850


@pytest.mark.parametrize(("language", "kind"), KINDS)
def test_no_answer_is_the_beginning_of_another(fillers, language, kind):
    candidates = Sentences(language, kind, [90], fillers[language]).candidates
    assert not any(a.startswith(b) for a, b in permutations(candidates, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fr", "birthplace", [20]), "no sentences of the kind 'birthplace' in the language 'fr'"),
        (("en", "weather", [20]), "no sentences of the kind 'weather'"),
        (("en", "birthplace", [9]), "distance: expected 10 or more, found 9"),
    ],
)
def test_impossible_sentences_raise(fillers, arguments, message):
    with pytest.raises(ValueError, match=message):
        Sentences(*arguments, fillers["en"])


def test_filler_that_is_too_short_raises(tmp_path: Path):
    (tmp_path / "short.txt").write_text("far away, far away, ")
    with pytest.raises(ValueError, match="filler: expected more than"):
        Sentences("en", "control", [90], str(tmp_path / "short.txt")).strings(1, 1)


def test_candidate_probabilities_equal_those_of_full_strings():
    """Against score_answers on one string at a time, which sums -ln p of an answer's characters."""
    vocabulary = Vocabulary.from_text("abcd?")
    torch.manual_seed(1)
    model = LanguageModel(ModelConfig(cell="gru", hidden_size=5), vocabulary.size)
    prefixes, candidates = ["ab?", "dcba?", "ca?"], ["a", "bd", "cab"]
    scores = candidate_log_probabilities(model, vocabulary, prefixes, candidates)
    for row, prefix in enumerate(prefixes):
        for column, candidate in enumerate(candidates):
            nats = score_answers(model, vocabulary, [prefix + candidate], "?").nats * len(candidate)
            assert scores[row, column] == pytest.approx(-nats, abs=1e-5)


def test_mark_of_several_characters_starts_the_answer_after_it():
    vocabulary = Vocabulary.from_text("abc: ")
    torch.manual_seed(1)
    model = LanguageModel(ModelConfig(cell="rnn", hidden_size=5), vocabulary.size)
    long_mark, short_mark = (score_answers(model, vocabulary, ["ab: c"], mark).nats for mark in (": ", " "))
    assert long_mark == short_mark
    with pytest.raises(ValueError, match="has nothing after ': '"):
        score_answers(model, vocabulary, ["ab: "], ": ")
