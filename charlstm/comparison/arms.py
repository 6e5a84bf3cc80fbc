"""Runs of arms that a file configures, with several seeds on the same text in the same order."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from charlstm.api import load
from charlstm.cache import user_cache_folder
from charlstm.checkpoints.compatibility import changed_settings
from charlstm.comparison.collect import corpus_text, differing, read_run
from charlstm.comparison.readout_start import readout_start_notes
from charlstm.comparison.results import Arm, Comparison, RunResult
from charlstm.config import CompareConfig, Config, ModelConfig, TrainingConfig, as_yaml
from charlstm.errors import UserError
from charlstm.model import LanguageModel
from charlstm.runs.directory import RunDirectory
from charlstm.runs.names import LATEST, find_initial_run
from charlstm.runs.naming import initial_run_name
from charlstm.text.catalog import catalog_names
from charlstm.text.corpus import Corpus, load_corpus
from charlstm.text.reading import content_digest
from charlstm.text.sources import absolute_source, resolve
from charlstm.training.trainer import Trainer

log = logging.getLogger(__name__)

TOLERANCE = 0.01
MAX_HIDDEN_SIZE = 1 << 16


@dataclass(frozen=True)
class Trial:
    """One run: an arm with one seed."""

    arm: str
    config: Config
    directory: RunDirectory
    overwrite: bool

    @property
    def label(self) -> str:
        return f"{self.arm}, seed {self.config.training.seed}"

    @property
    def done(self) -> bool:
        """Whether the run with these settings needs no more training: it is finished, or it diverged."""
        return self.can_resume and (self.directory.finished or self.directory.ended == "diverged")

    @property
    def can_resume(self) -> bool:
        """Whether there is a checkpoint to resume, or a complete run whose checkpoints were deleted.

        Raises UserError if it has other settings, or another text.
        """
        if self.overwrite or not self.directory.exists:
            return False
        if not (self.directory.checkpoints.exists() or self.directory.pruned):
            return False
        saved = self.directory.config()
        changed = changed_settings(saved, self.config, may_change={"source", "initial_run"})
        if not self._has_text_of(saved):
            old, new = as_yaml(saved.corpus.source), as_yaml(self.config.corpus.source)
            what = f"was {old}, is {new}, another text" if old != new else f"is {new}, whose content has changed"
            changed.append(f"corpus.source {what}")
        if not self._starts_from(was := saved.training.initial_run):
            now = self.config.training.initial_run
            changed.append(f"training.initial_run was {as_yaml(was)}, is {as_yaml(now)}")
        if changed:
            raise UserError(
                f"{self.directory.path} was trained with other settings: {'; '.join(changed)}. "
                "Choose another name: --name NAME. Delete all runs and train again: --overwrite"
            )
        return True

    @property
    def _runs(self) -> Path:
        """The folder of runs, in which ``training.initial_run`` may be a name."""
        return self.directory.path.parent.parent

    def _starts_from(self, recorded: str | None) -> bool:
        """Whether the run that a trained one records as ``training.initial_run`` is the one that is configured; if that
        is gone, whether it has its name."""
        given = self.config.training.initial_run
        if given is None or recorded is None or given in (recorded, LATEST):
            return (given is None) == (recorded is None)
        try:
            return str(find_initial_run(given, self._runs).absolute()) == recorded
        except UserError:
            return initial_run_name(given) == initial_run_name(recorded)

    def _with_initial_run(self, resume: bool) -> Config:
        """The configuration with the path of ``training.initial_run``, or what is recorded of a run to resume."""
        if (given := self.config.training.initial_run) is None:
            return self.config
        recorded = self.directory.config().training.initial_run if resume else None
        path = recorded or str(find_initial_run(given, self._runs).absolute())
        training = self.config.training.model_copy(update={"initial_run": path})
        return self.config.model_copy(update={"training": training})

    def _has_text_of(self, saved: Config) -> bool:
        """Whether the text is the one that a run of the configuration ``saved`` was trained on, by its content."""
        source = self.config.corpus.source
        digest = self.directory.start.get("corpus_digest")
        if digest is None:  # a run of an earlier version
            if source == saved.corpus.source or self.directory.pruned:
                return True
            digest = load(self.directory.path, "last", "cpu").header["corpus_digest"]
        try:
            return bool(digest == text_digest(source))
        except (UserError, OSError):  # whoever needs the text says that it is missing
            return True

    def trainer(self) -> Trainer:
        """A trainer for a new run, or one that resumes a stopped run. Raises UserError if ``training.initial_run`` is
        not found."""
        resume = self.can_resume
        config = self._with_initial_run(resume)
        trainer = Trainer(config, corpus_of(config), self.directory)
        if resume:
            for line in trainer.resume():
                log.info("%s: %s", self.label, line)
            self.directory.write_config(config)  # the path of its text may have changed
        else:
            trainer.start(overwrite=self.directory.exists)
        return trainer

    def delete(self) -> None:
        """Delete the run, if there is one. Raises UserError while it is being trained."""
        if self.directory.exists:
            with self.directory.writing():
                self.directory.create(self.config, overwrite=True)


class ArmComparison:
    """A comparison of arms: their configurations, their runs under ``folder``, and the result.

    With ``match: parameters``, every arm but the first gets the hidden_size at which its number of trainable parameters
    is nearest to the first arm's. Raises UserError if they differ by more than 1%.
    """

    def __init__(self, config: CompareConfig, folder: Path, title: str, overwrite: bool = False) -> None:
        self.config, self.folder, self.title, self._overwrite = (
            config,
            folder,
            config.name or title,
            overwrite,
        )
        c = config.corpus
        self._corpus_config = c.model_copy(update={"source": absolute_source(c.source)})
        self.corpus = load_corpus(**c.model_dump())
        self.models = {arm: config.arm_config(arm, 0).model for arm in config.arms}
        if config.match == "parameters":
            first = next(iter(self.models.values()))
            target = parameter_count(first, self.corpus.vocabulary.size)
            self.models = {arm: self._matched(arm, model, target) for arm, model in self.models.items()}

    def _matched(self, arm: str, model: ModelConfig, target: int) -> ModelConfig:
        size = self.corpus.vocabulary.size
        matched = match_parameters(model, size, target)
        count = parameter_count(matched, size)
        if abs(count - target) > TOLERANCE * target:
            raise UserError(
                f"arm {arm}: no hidden_size gives {target:,} parameters within {TOLERANCE:.0%}; the nearest is "
                f"{matched.hidden_size} with {count:,}. Give the first arm a larger hidden_size, or use match: width"
            )
        return matched

    def describe(self) -> list[str]:
        """One line per arm: its cell, its size and its number of parameters; a note if readouts differ by default."""
        size = self.corpus.vocabulary.size
        return [
            f"{arm}: {model.cell}, {model.num_layers} x {model.hidden_size}, "
            f"{parameter_count(model, size):,} parameters"
            for arm, model in self.models.items()
        ] + readout_start_notes(self.models.values(), "model.unigram_bias")

    def arm_config(self, arm: str, seed: int) -> Config:
        """The configuration of a run of this arm; ``seed`` counts from 0."""
        return self.config.arm_config(arm, seed).model_copy(
            update={"model": self.models[arm], "corpus": self._corpus_config}
        )

    def delete_runs(self) -> None:
        """Delete all runs, so that training starts again; an interrupted comparison then resumes without ``overwrite``.

        Raises UserError, before anything is deleted, if an arm cannot be trained.
        """
        for arm in self.models:
            Trainer(self.arm_config(arm, 0), self.corpus, RunDirectory(self.folder / arm))
        for trial in self.trials():
            trial.delete()
        self._overwrite = False

    def trials(self) -> Iterator[Trial]:
        """All runs, seed by seed, so that a comparison that is stopped has runs of every arm."""
        for seed in range(self.config.seeds):
            for arm in self.models:
                config = self.arm_config(arm, seed)
                directory = RunDirectory(self.folder / f"{arm}-seed{config.training.seed}")
                yield Trial(arm, config, directory, self._overwrite)

    def comparison(self) -> Comparison:
        """Read the results from the run directories."""
        runs: dict[str, list[Path]] = {}
        for trial in self.trials():
            runs.setdefault(trial.arm, []).append(trial.directory.path)
        matched = "parameters, within 1%" if self.config.match == "parameters" else "hidden_size, as configured"
        configs = [(arm, self.arm_config(arm, 0)) for arm in self.models]
        return Comparison(
            title=self.title,
            arms=[Arm(arm, [self._result(path) for path in paths]) for arm, paths in runs.items()],
            corpus=corpus_text(configs[0][1]),
            difference=differing(configs),
            match=matched,
            notes=[_order_note([config.training for _, config in configs])],
            unit=self.corpus.vocabulary.unit,
        )

    def _result(self, path: Path) -> RunResult:
        result, run = read_run(path, path.name, self.corpus, is_compared=True)
        if run.header["corpus_digest"] != self.corpus.digest:
            raise UserError(
                f"{path} was trained on another text than {self.corpus.describe()}. "
                "Choose another name: --name NAME. Delete all runs and train again: --overwrite"
            )
        return result


def _order_note(arms: Sequence[TrainingConfig]) -> str:
    """In what order the arms read the text."""
    chunks = {(arm.batch_size, arm.sequence_length, arm.sequence_length_std, arm.gradient_accumulation) for arm in arms}
    if len(chunks) == 1:
        return "Every arm was trained on the same text in the same order."
    return (
        "Every arm was trained on the same text; those with batches or chunks of another size read it in another order."
    )


def text_digest(source: str | list[str]) -> str:
    """The digest of the content of a source, which runs record. Raises UserError or OSError if it cannot be read."""
    if isinstance(source, str) and source in catalog_names():
        return _catalog_digest(source, user_cache_folder())
    return content_digest(resolve(source, user_cache_folder()))


@lru_cache(maxsize=16)
def _catalog_digest(name: str, cache: Path) -> str:
    return content_digest(resolve(name, cache))


def corpus_of(config: Config) -> Corpus:
    """The text of a run; runs with the same corpus settings share it."""
    return _load_corpus(config.corpus.model_dump_json())


@lru_cache(maxsize=4)
def _load_corpus(settings: str) -> Corpus:
    return load_corpus(**json.loads(settings))


def parameter_count(model: ModelConfig, vocabulary_size: int) -> int:
    """Number of trainable parameters of a language model, without allocating them."""
    return _parameter_count(model.model_dump_json(), vocabulary_size)


@lru_cache(maxsize=1024)  # a comparison asks for the same sizes at every lag
def _parameter_count(settings: str, vocabulary_size: int) -> int:
    with torch.device("meta"):
        model = LanguageModel(ModelConfig.model_validate_json(settings), vocabulary_size)
        return sum(model.parameter_counts().values())


def match_parameters(model: ModelConfig, vocabulary_size: int, target: int) -> ModelConfig:
    """The model with the hidden_size at which its parameter count is nearest to the target."""

    def with_size(hidden_size: int) -> ModelConfig:
        tied = {"embedding_size": hidden_size} if model.tie_weights else {}
        return model.model_copy(update={"hidden_size": hidden_size, **tied})

    low, high = 1, 1
    while parameter_count(with_size(high), vocabulary_size) < target and high < MAX_HIDDEN_SIZE:
        low, high = high, 2 * high
    while low < high - 1:
        middle = (low + high) // 2
        low, high = (middle, high) if parameter_count(with_size(middle), vocabulary_size) < target else (low, middle)
    return min((with_size(low), with_size(high)), key=lambda m: abs(parameter_count(m, vocabulary_size) - target))
