"""The texts that a comparison trains on: strings of a task, drawn with the seed of each run, or an existing text."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from charlstm import atomic_io
from charlstm.config.corpus import CorpusConfig
from charlstm.errors import UserError
from charlstm.files import read_regular
from charlstm.memory.task_measures import TEST_SEED, make_task
from charlstm.text.sources import absolute_source

VALIDATION = 0.03
"""Fraction of a task's strings for validation: they select the learning rate and end a run at its target score."""

DRAWS = 20
"""Maximum number of strings that are drawn for each training string, where test strings are left out."""

SETTINGS_LIMIT = 1 << 16
TEXTS = "texts"
"""The folder of the texts of tasks, in that of the comparison."""


@dataclass(frozen=True)
class Dataset:
    """What the runs of an arm are trained on; its name is unique within the comparison.

    Attributes:
        corpus: the settings of the text. For generated texts, `source` is the folder of the texts.
        text: the text for a seed; None for an existing text, which all seeds share.
        baseline_nats: the loss of the best guess without memory; None if it is not known.
    """

    name: str
    corpus: CorpusConfig
    text: Callable[[int], str] | None = None
    baseline_nats: float | None = None

    def corpus_for(self, seed: int) -> CorpusConfig:
        """The settings of the training text of a seed."""
        if self.text is None:
            return self.corpus
        return self.corpus.model_copy(update={"source": str(self._file(seed))})

    def write(self, seed: int) -> None:
        """Write the training text of a seed, unless it exists. Raises UserError on failure."""
        if self.text is None or os.path.lexists(file := self._file(seed)):
            return
        try:
            atomic_io.make_directory(file.parent)
            atomic_io.write_atomic(file, self.text(seed).encode())
        except OSError as error:
            raise UserError(f"{file}: cannot write the text: {error.strerror or error}") from error

    def _file(self, seed: int) -> Path:
        return Path(str(self.corpus.source)) / f"{self.name}-seed{seed}.txt"


class Texts:
    """The datasets of a comparison. The texts of tasks are files in ``folder``/texts, one for each seed."""

    def __init__(self, folder: Path, test_strings: int) -> None:
        self._folder, self._test_strings = folder.absolute() / TEXTS, test_strings

    def task(self, name: str, task: Mapping[str, Any], strings: int, exclude_test: bool = True) -> Dataset:
        """The dataset of a task's strings. None of its test strings is in a training text, if ``exclude_test``."""
        instance = make_task(task)
        excluded = self._test_strings if exclude_test else 0

        def text(seed: int) -> str:
            return "".join(f"{string}\n" for string in training_strings(instance, strings, seed, excluded))

        settings = {"task": dict(task), "strings": strings, "excluded": excluded}
        options = {"documents": "newline", "score_after": instance.score_after, "shuffle_documents": False}
        return self._dataset(name, settings, text, options, instance.baseline_nats)

    def running(self, name: str, settings: Mapping[str, Any], text: Callable[[int], str]) -> Dataset:
        """The dataset of a running text that depends on a seed and on the settings."""
        return self._dataset(name, settings, text, {}, None)

    def existing(self, name: str, corpus: CorpusConfig) -> Dataset:
        """The dataset of an existing text."""
        return Dataset(name, corpus.model_copy(update={"source": absolute_source(corpus.source)}))

    def write(self, name: str, text: str) -> Path:
        """Write a text that all seeds share, unless it is there. Raises UserError if another text is, or on failure."""
        file, content = self._folder / f"{name}.txt", text.encode()
        try:
            if not os.path.lexists(file):
                atomic_io.make_directory(self._folder)
                atomic_io.write_atomic(file, content)
            elif read_regular(file, len(content)) != content:
                raise UserError(f"{file} has another text. Choose another name: --name NAME. Train again: --overwrite")
        except OSError as error:
            raise UserError(f"{file}: cannot write the text: {error.strerror or error}") from error
        return file

    def _dataset(
        self,
        name: str,
        settings: Mapping[str, Any],
        text: Callable[[int], str],
        options: Mapping[str, Any],
        baseline_nats: float | None,
    ) -> Dataset:
        self._check_settings(name, settings)
        fields = {"source": str(self._folder), "validation_fraction": VALIDATION, **options}
        corpus = CorpusConfig.model_validate({key: value for key, value in fields.items() if value is not None})
        return Dataset(name, corpus, text, baseline_nats)

    def _check_settings(self, name: str, settings: Mapping[str, Any]) -> None:
        """Write the settings of a text, or compare them with those of an earlier run. Raises UserError if they differ,
        since the runs in the folder were trained on another text."""
        file = self._folder / f"{name}.json"
        if os.path.lexists(file):
            try:
                same = from_json(read_regular(file, SETTINGS_LIMIT)) == settings
            except ValueError:
                same = False
            if not same:
                raise UserError(
                    f"{file} has other settings, so the training text would differ. Choose another name: --name NAME. "
                    "Train again: --overwrite"
                )
            return
        try:
            atomic_io.make_directory(self._folder)
            for old in self._folder.glob(f"{name}-seed*.txt"):
                old.unlink()
            atomic_io.write_atomic(file, json.dumps(settings).encode())
        except OSError as error:
            raise UserError(f"{file}: cannot write the settings of the text: {error.strerror or error}") from error


def delete_texts(folder: Path, names: Iterable[str]) -> None:
    """Delete the datasets of these names from the folder of a comparison. Raises OSError."""
    for name in names:
        texts = folder / TEXTS
        for path in (texts / f"{name}.json", texts / f"{name}.txt", *texts.glob(f"{name}-seed*.txt")):
            path.unlink(missing_ok=True)


def training_strings(task: Any, count: int, seed: int, excluded: int) -> list[str]:
    """``count`` strings of a task, drawn with the seed, without its first ``excluded`` test strings.

    Raises ValueError if the task has too few other strings.
    """
    if not excluded:
        strings: list[str] = task.strings(count, seed)
        return strings
    test = set(task.strings(excluded, TEST_SEED))
    drawn = task.strings(count, seed)
    if test.isdisjoint(drawn):
        return list(drawn)
    kept = list(islice((string for string in task.strings(DRAWS * count, seed) if string not in test), count))
    if len(kept) < count:
        raise ValueError(
            f"{task.name}: nearly all of its strings are test strings. Reduce test_strings, or make the task longer"
        )
    return kept
