"""The editor of ``charlstm sample --interactive``, without its terminal: what the keys do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from charlstm.cli.interactive.keys import Key
from charlstm.cli.interactive.suggestion import Suggestion, covering, last_line, last_word, whole_words
from charlstm.generation.session import Character, Session

LENGTH = 80
"""Characters of a continuation."""

COUNT = 4
"""Continuations that are sampled at once."""

STEP, MAX_TEMPERATURE = 0.1, 9.9
TAIL = 200
"""Characters at a time in which the last word or line is searched."""


@dataclass
class _Suggestions:
    """The suggestions at one position of the text, the number of the one that is shown, and the number of batches that
    were sampled."""

    all: list[Suggestion] = field(default_factory=list)
    shown: int = 0
    batches: int = 0


class _Step(NamedTuple):
    """To undo a change: the text is cut to ``length`` ids, and ``removed`` is appended again."""

    length: int
    removed: list[int]
    suggestions: _Suggestions
    is_typing: bool


class Editor:
    """A text, and after its end one of several suggestions of how it may continue.

    ``prepare`` changes typed text as the corpus was changed; ``length`` is that of a suggestion.
    """

    def __init__(self, session: Session, prepare: Callable[[str], str] = str, length: int = LENGTH) -> None:
        self.session, self._prepare, self._length = session, prepare, length
        self.message = ""
        self._suggestions = _Suggestions()
        self._steps: list[_Step] = []

    @property
    def suggestion(self) -> Suggestion | None:
        """The suggestion that is shown, if there is one."""
        return self._suggestions.all[self._suggestions.shown] if self._suggestions.all else None

    @property
    def number(self) -> int:
        """Which suggestion is shown, from 1."""
        return self._suggestions.shown + 1

    def suggest(self, on_chunk: Callable[[], None] = lambda: None) -> None:
        """Make suggestions if there are none. An exception of ``on_chunk`` stops this."""
        if not self._suggestions.all:
            self._suggest_more(on_chunk)

    def press(self, key: Key) -> bool:
        """Do what a key means. Returns whether the text is done."""
        self.message = ""
        if key.name in ("tab", "right", "line", "down"):
            self.suggest()
        suggestion, name = self.suggestion, key.name
        if name == "text":
            self._type(key.text)
        elif name == "enter":
            self._type("\n")
        elif name == "tab" and suggestion:
            self._take(suggestion, len(suggestion.characters))
        elif name == "right" and suggestion:
            self._take(suggestion, suggestion.first_word())
        elif name == "line" and suggestion:
            self._take(suggestion, suggestion.first_line())
        elif name == "down":
            self._show_other()
        elif name == "up":
            self._suggestions.shown = max(0, self._suggestions.shown - 1)
        elif name == "left":
            self._give_back()
        elif name == "undo":
            self._undo()
        elif name in ("hotter", "cooler"):
            self._change_temperature(STEP if name == "hotter" else -STEP)
        elif name == "backspace":
            self._remove(self.session.tail(TAIL)[-1:])
        elif name == "delete word":
            self._remove(last_word(self.session.tail(TAIL)))
        elif name == "delete line":
            self._remove(last_line(self.session.tail(TAIL)))
        return name == "done"

    def _suggest_more(self, on_chunk: Callable[[], None] = lambda: None) -> bool:
        """Returns whether there are new suggestions."""
        made = self._suggestions
        sampled = self.session.continuations(COUNT, self._length, made.batches, on_chunk)
        made.batches += 1
        count, known = len(made.all), {(s.text, s.ends) for s in made.all}
        for characters, ends in sampled:
            suggestion = Suggestion(characters if ends else whole_words(characters), ends)
            if (suggestion.text, ends) not in known:
                known.add((suggestion.text, ends))
                made.all.append(suggestion)
        return len(made.all) > count

    def _show_other(self) -> None:
        if self._suggestions.shown + 1 < len(self._suggestions.all) or self._suggest_more():
            self._suggestions.shown += 1
        else:
            self.message = "no other continuation: raise the temperature with ^T"

    def _take(self, suggestion: Suggestion, count: int, typed: str = "") -> None:
        """Append the first characters of the suggestion; the rest remains one."""
        taken, rest = suggestion.characters[:count], suggestion.characters[count:]
        self._append([i for c in taken for i in c.ids], typed)
        if rest:
            self._suggestions.all.append(Suggestion(rest, suggestion.ends))

    def _append(self, ids: list[int], typed: str = "") -> None:
        """Append ids. Characters that were ``typed`` one after the other are undone word by word."""
        is_word_continued = typed and not typed[0].isspace() and self._steps and self._steps[-1].is_typing
        if not is_word_continued:
            self._steps.append(_Step(len(self.session), [], self._suggestions, bool(typed)))
        self.session.accept(ids)
        self._suggestions = _Suggestions()

    def _remove(self, characters: list[Character]) -> None:
        """Remove the last characters of the text."""
        if characters:
            removed = self.session.rewind(sum(len(c.ids) for c in characters))
            self._steps.append(_Step(len(self.session), removed, self._suggestions, False))
            self._suggestions = _Suggestions()

    def _undo(self) -> None:
        if not self._steps:
            self.message = "nothing to undo"
            return
        step = self._steps.pop()
        self.session.rewind(len(self.session) - step.length)
        self.session.accept(step.removed)
        self._suggestions = step.suggestions

    def _give_back(self) -> None:
        """Make the last word of the text part of the suggestion again."""
        suggestion = self.suggestion or Suggestion([])
        if characters := last_word(self.session.tail(TAIL)):
            self._remove(characters)
            self._suggestions.all.append(Suggestion([*characters, *suggestion.characters], suggestion.ends))

    def _type(self, text: str) -> None:
        text, suggestion = self._prepare(text), self.suggestion
        if suggestion and suggestion.text.startswith(text):
            self._take(suggestion, covering(suggestion.characters, len(text)), text)
            return
        if unknown := self.session.unknown_characters(text):
            text = "".join(c for c in text if c not in unknown)
            self.message = f"not in the vocabulary: {_listed(unknown)}"
        if text:
            self._append(self.session.encode(text), text)

    def _change_temperature(self, step: float) -> None:
        sampling = self.session.sampling
        temperature = round(min(max(sampling.temperature + step, 0.0), MAX_TEMPERATURE), 2)
        self.session.sampling = replace(sampling, temperature=temperature)
        self._suggestions = _Suggestions()


def _listed(characters: list[str]) -> str:
    names = [f"{c!r} (U+{ord(c):04X})" for c in characters[:3]]
    return ", ".join(names) + (f" and {len(characters) - 3} more" if len(characters) > 3 else "")
