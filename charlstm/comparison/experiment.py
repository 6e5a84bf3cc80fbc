"""Arms that differ in what a file says, trained with several seeds on the same text in the same order."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from charlstm.api import load
from charlstm.checkpoints.compatibility import changed_settings
from charlstm.comparison.collect import corpus_text, differing, read_run
from charlstm.comparison.results import Arm, Comparison, RunResult
from charlstm.config import CompareConfig, Config, ModelConfig, as_yaml
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.runs.directory import RunDirectory
from charlstm.text.corpus import Corpus, load_corpus
from charlstm.text.sources import absolute
from charlstm.training.trainer import Trainer

log = logging.getLogger(__name__)

WITHIN = 0.01
WIDEST = 1 << 16


@dataclass(frozen=True)
class Trial:
    """One arm with one seed: an ordinary run."""

    arm: str
    config: Config
    directory: RunDirectory
    overwrite: bool

    @property
    def label(self) -> str:
        return f"{self.arm}, seed {self.config.training.seed}"

    @property
    def finished(self) -> bool:
        """Whether it has been trained to its end already, with just these settings."""
        return self.done and self.directory.finished

    @property
    def done(self) -> bool:
        """Whether it has come to an end by itself already, that of a loss gone bad included."""
        return self._begun and (self.directory.finished or self.directory.ended == "diverged")

    @property
    def _begun(self) -> bool:
        """Whether there is something to go on from. Raises UserError if that has other settings, or another text."""
        if self.overwrite or not self.directory.exists or not self.directory.checkpoints.any():
            return False
        saved = self.directory.config()
        changed = changed_settings(saved, self.config, may_change={"source"})
        if (source := self.config.corpus.source) != saved.corpus.source and not self._same_text():
            changed.append(f"corpus.source was {as_yaml(saved.corpus.source)}, is {as_yaml(source)}, another text")
        if changed:
            raise UserError(
                f"{self.directory.path} was trained with other settings: {'; '.join(changed)}. "
                "Give this comparison another name: --name NAME. Delete all its runs and train again: --overwrite"
            )
        return True

    def _same_text(self) -> bool:
        digest: str = load(self.directory.path, "last", "cpu").header["corpus_digest"]
        return digest == corpus_of(self.config).digest

    def trainer(self) -> Trainer:
        """A trainer at the beginning, or where the run was stopped."""
        begun = self._begun
        trainer = Trainer(self.config, corpus_of(self.config), self.directory)
        if begun:
            for line in trainer.resume():
                log.info("%s: %s", self.label, line)
            self.directory.write_config(self.config)  # its text may have moved
        else:
            self.directory.create(self.config, overwrite=self.directory.exists)
        return trainer

    def forget(self) -> None:
        """Delete what was trained, if anything. Raises UserError if it is being trained."""
        if self.directory.exists:
            with self.directory.writing():
                self.directory.create(self.config, overwrite=True)


class Experiment:
    """A comparison from its file: the arms' configurations, their runs under ``folder``, and the result.

    With ``match: parameters``, every arm but the first gets the hidden_size at which its number of parameters that
    learn is nearest to the first arm's. Raises UserError if that is not within 1%.
    """

    def __init__(self, config: CompareConfig, folder: Path, title: str, overwrite: bool = False) -> None:
        self.config, self.folder, self.title, self._overwrite = (
            config,
            folder,
            config.name or title,
            overwrite,
        )
        c = config.corpus
        self._corpus_config = c.model_copy(update={"source": absolute(c.source)})
        self.corpus = load_corpus(**c.model_dump())
        self.models = {arm: config.arm_config(arm, 0).model for arm in config.arms}
        if config.match == "parameters":
            first = next(iter(self.models.values()))
            goal = parameter_count(first, self.corpus.vocabulary.size)
            self.models = {arm: self._matched(arm, model, goal) for arm, model in self.models.items()}

    def _matched(self, arm: str, model: ModelConfig, goal: int) -> ModelConfig:
        size = self.corpus.vocabulary.size
        matched = match_parameters(model, size, goal)
        count = parameter_count(matched, size)
        if abs(count - goal) > WITHIN * goal:
            raise UserError(
                f"arm {arm}: no hidden_size gives {goal:,} parameters within {WITHIN:.0%}; the nearest is "
                f"{matched.hidden_size} with {count:,}. Give the first arm a larger hidden_size, or use match: width"
            )
        return matched

    def describe(self) -> list[str]:
        """One line for each arm."""
        size = self.corpus.vocabulary.size
        return [
            f"{arm}: {model.cell}, {model.num_layers} x {model.hidden_size}, "
            f"{parameter_count(model, size):,} parameters"
            for arm, model in self.models.items()
        ]

    def arm_config(self, arm: str, seed: int) -> Config:
        """What the arm is trained with, ``seed`` counted from 0."""
        return self.config.arm_config(arm, seed).model_copy(
            update={"model": self.models[arm], "corpus": self._corpus_config}
        )

    def forget(self) -> None:
        """Delete what was trained of all runs, unless an arm cannot be trained: then raise UserError.

        Whether or not it is interrupted afterwards, a comparison without ``overwrite`` goes on from there.
        """
        for arm in self.models:
            Trainer(self.arm_config(arm, 0), self.corpus, RunDirectory(self.folder / arm))
        for trial in self.trials():
            trial.forget()
        self._overwrite = False

    def trials(self) -> Iterator[Trial]:
        """All runs, seed by seed, so that a comparison that is stopped has something of every arm."""
        for seed in range(self.config.seeds):
            for arm in self.models:
                config = self.arm_config(arm, seed)
                directory = RunDirectory(self.folder / f"{arm}-seed{config.training.seed}")
                yield Trial(arm, config, directory, self._overwrite)

    def comparison(self) -> Comparison:
        """The result, from the run directories."""
        runs: dict[str, list[Path]] = {}
        for trial in self.trials():
            runs.setdefault(trial.arm, []).append(trial.directory.path)
        matched = "parameters, within 1%" if self.config.match == "parameters" else "hidden_size as the file gives it"
        configs = [(arm, self.arm_config(arm, 0)) for arm in self.models]
        return Comparison(
            title=self.title,
            arms=[Arm(arm, [self._result(path) for path in paths]) for arm, paths in runs.items()],
            corpus=corpus_text(configs[0][1]),
            difference=differing(configs),
            match=matched,
            notes=["Every arm read the same text in the same order."],
            unit=self.corpus.vocabulary.unit,
        )

    def _result(self, path: Path) -> RunResult:
        result, run = read_run(path, path.name, self.corpus)
        if run.header["corpus_digest"] != self.corpus.digest:
            raise UserError(
                f"{path} was trained on another text than {self.corpus.describe()}. "
                "Give this comparison another name: --name NAME. Delete all its runs and train again: --overwrite"
            )
        return result


def corpus_of(config: Config) -> Corpus:
    """The text of a run; runs of the same text share it."""
    return _loaded(config.corpus.model_dump_json())


@lru_cache(maxsize=4)
def _loaded(settings: str) -> Corpus:
    return load_corpus(**json.loads(settings))


def parameter_count(model: ModelConfig, vocabulary_size: int) -> int:
    """Number of parameters of a language model that learn; none is allocated."""
    with torch.device("meta"):
        return sum(LanguageModel(model, vocabulary_size).parameter_counts().values())


def match_parameters(model: ModelConfig, vocabulary_size: int, goal: int) -> ModelConfig:
    """The model with the hidden_size at which its parameter count is nearest to the goal."""

    def sized(width: int) -> ModelConfig:
        return model.model_copy(update={"hidden_size": width})

    low, high = 1, 1
    while parameter_count(sized(high), vocabulary_size) < goal and high < WIDEST:
        low, high = high, 2 * high
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameter_count(sized(middle), vocabulary_size) < goal else (low, middle)
    return min((sized(low), sized(high)), key=lambda m: abs(parameter_count(m, vocabulary_size) - goal))
