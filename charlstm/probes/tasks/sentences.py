"""Sentences whose last word is decided far before it: a birthplace, a replaced subject, and a control."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from charlstm.files import read_regular
from charlstm.probes.tasks.base import Draws, Task, check
from charlstm.probes.tasks.sentence_words import GRAMMARS, SEPARATORS, Grammar, forbidden_words

HEADS = {"en": (50, 56, 62, 68), "zh": (24, 28, 32, 36)}
"""Possible numbers of characters up to the end of the cause's cue; the longest start of a sentence is shorter."""

ATTEMPTS = 1000
FILLER_LIMIT = 1 << 28

Part = tuple[str, str]


@dataclass(frozen=True)
class Sentences(Task):
    """Sentences of a small grammar, with filler from a real text, in which one earlier word decides the last one.

    birthplace        I saw Spain, ... I was born in France, ... I saw Italy, ... I speak French
    replaced_subject  Mary ran, ... Peter ran, ... without Anna, ... yet he
    control           the fish are far, ... the clouds are in the sky: the cause is directly before the answer

    There can be another cue before the cause, and one after it where the distance has room for it. Answers and cues are
    drawn independently and uniformly, so that no other cue contains information about the answer.

    language   en or zh
    kind       birthplace, control or replaced_subject
    distances  characters between the cue and the answer (control: of filler before the cause); one is drawn for each
               sentence, uniformly
    filler     path of a text without any of the words of the grammar (``sentence_words.clean_filler``)
    other_cues probability of each of the other cues; filler stands in the place of those that are left out

    Raises ValueError for an unknown language or kind, for a distance that is shorter than the words of the question,
    and for a filler that is too short or cannot fill a sentence. Reading the filler raises UserError.
    """

    name: ClassVar[str] = "sentences"

    language: str
    kind: str
    distances: Sequence[int]
    filler: str
    other_cues: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in GRAMMARS.get(self.language, {}):
            raise ValueError(f"there are no sentences of the kind {self.kind!r} in the language {self.language!r}")
        for distance in self.distances:
            check("distance", distance, shortest_distance(self.language, self.kind))

    @property
    def grammar(self) -> Grammar:
        return GRAMMARS[self.language][self.kind]

    @property
    def mark(self) -> str:  # type: ignore[override]
        return self.grammar.question

    @property
    def candidates(self) -> list[str]:
        """All possible answers; none is the beginning of another."""
        return list(self.grammar.cues)

    @property
    def chance(self) -> float:
        return 1 / len(self.candidates)

    @property
    def baseline_nats(self) -> float:
        return math.log(len(self.candidates)) / statistics.fmean(map(len, self.candidates))

    def strings(self, count: int, seed: int) -> list[str]:
        return ["".join(text for _, text in parts) for parts in self.parts(count, seed)]

    def parts(self, count: int, seed: int) -> list[list[Part]]:
        """The parts of each string in order: pairs of a name and a text.

        The names are before, other cue, cause, cue, filler, question and answer; some occur several times.
        """
        draws, grammar, filler = Draws(seed), self.grammar, _read(self.filler)
        sentences = []
        for distance in [self.distances[i] for i in draws.below(len(self.distances), count).tolist()]:
            answer, cue = self._cue(draws)
            before, mention = (
                _filled(name, template, self._cue(draws)[1]) if self._chosen(draws) else []
                for name, template in (("before", grammar.before), ("filler", grammar.mention))
            )
            head = HEADS[self.language][int(draws.below(len(HEADS[self.language]), 1)[0])]
            head += distance if grammar.near else 0
            head -= sum(len(text) for _, text in before) + len(grammar.cause + cue)
            gap = 0 if grammar.near else distance - len(grammar.suffix + grammar.question)
            room = gap - sum(len(text) for _, text in mention)
            if room < 0 or not mention:
                middle = [("filler", self._piece(filler, gap, draws))]
            else:
                first = int(draws.below(room + 1, 1)[0])
                middle = [
                    ("filler", self._piece(filler, first, draws)),
                    *mention,
                    ("filler", self._piece(filler, room - first, draws)),
                ]
            sentences.append(
                [
                    *before,
                    ("before", self._piece(filler, head, draws)),
                    ("cause", grammar.cause),
                    ("cue", cue),
                    ("filler", grammar.suffix),
                    *middle,
                    ("question", grammar.question),
                    ("answer", answer),
                ]
            )
        return sentences

    def recency_answer(self, string: str) -> str:
        """The answer that the last cue in a string decides for: a guess from the most recent candidate alone."""
        last = {
            answer: max(string.rfind(cue, 0, string.find(self.mark)) for cue in cues)
            for answer, cues in self.grammar.cues.items()
        }
        return max(last, key=lambda answer: last[answer])

    def _chosen(self, draws: Draws) -> bool:
        """Whether a sentence has one of the other cues."""
        return float(draws.below(1000, 1)[0]) < 1000 * self.other_cues

    def _cue(self, draws: Draws) -> tuple[str, str]:
        """An answer and one of its cues."""
        answer = self.candidates[int(draws.below(len(self.candidates), 1)[0])]
        cues = self.grammar.cues[answer]
        return answer, cues[int(draws.below(len(cues), 1)[0])]

    def _piece(self, filler: str, length: int, draws: Draws) -> str:
        """``length`` characters of filler from the beginning of a word on, ended by a separator."""
        separator = SEPARATORS[self.language]
        size = length - len(separator)
        if size <= 0:
            return separator[:1] * length
        if size >= len(filler):
            raise ValueError(f"filler: expected more than {size:,} characters, found {len(filler):,}")
        forbidden = forbidden_words(self.language)
        for _ in range(ATTEMPTS):
            start = int(draws.below(len(filler) - size + 1, 1)[0])
            if self.language == "en":
                start = filler.find(" ", start) + 1
            piece = filler[start : start + size]
            if len(piece) == size and not forbidden.search(piece):
                return piece + separator
        raise ValueError(f"filler: no {size:,} characters without a cue, an answer or a question: use a longer text")


def shortest_distance(language: str, kind: str) -> int:
    """The smallest distance that the words between the cue and the answer leave room for."""
    grammar = GRAMMARS[language][kind]
    return 0 if grammar.near else len(grammar.suffix + grammar.question)


def _filled(name: str, template: str, cue: str) -> list[Part]:
    """A template with its cue as parts."""
    if not template:
        return []
    left, _, right = template.partition("{}")
    return [(name, left), ("other cue", cue), (name, right)]


def _read(path: str) -> str:
    return read_regular(Path(path), FILLER_LIMIT).decode()
