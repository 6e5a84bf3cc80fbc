"""The settings of a run that starts from the weights of another one: what its configuration leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charlstm.config import Config, Document, ModelConfig, as_yaml, given_value
from charlstm.errors import UserError
from charlstm.runs.names import LATEST
from charlstm.runs.naming import initial_run_name
from charlstm.text.corpus import Corpus
from charlstm.training.initial_run import (
    REGULARIZATION,
    InitialRun,
    check_same_network,
    encoding_error,
    load_initial_run,
)


@dataclass(frozen=True)
class StartingPoint:
    """What decides the settings that a configuration with ``training.initial_run`` leaves out.

    Attributes:
        path: the run whose weights training starts from, as the configuration records it.
        model: its network.
        encoding: that of its text.
        characters: those of its vocabulary, or those that a resumed run has kept of it.
        run: the run itself; None for a resumed run, which does not need it any more.
    """

    path: Path
    model: ModelConfig
    encoding: str
    characters: str | None
    run: InitialRun | None = None

    @classmethod
    def at(cls, path: Path) -> StartingPoint:
        """That of a new run that starts from the run at ``path``. Raises UserError if its weights cannot be read."""
        run, _ = load_initial_run(path.absolute())
        model = run.config.model.model_copy(update={"executor": "auto"})  # of this machine, not of that run
        return cls(run.path, model, run.config.corpus.encoding, "".join(run.vocabulary.symbols), run)

    @classmethod
    def recorded(cls, saved: Config, given: str | None) -> StartingPoint:
        """That of a run to resume, by the configuration in its folder, which has ``training.initial_run``.

        Raises UserError if ``given``, the run that is named now, has another name than the recorded one.
        """
        name = str(saved.training.initial_run)
        if given is not None and given != LATEST and initial_run_name(given) != initial_run_name(name):
            raise UserError(f"training.initial_run was {name}, is {given}: it must not change when a run is resumed")
        return cls(Path(name), saved.model, saved.corpus.encoding, saved.corpus.characters)

    def complete(self, document: Document, overrides: Sequence[str]) -> tuple[Document, list[str]]:
        """The document with what it leaves out, and the overrides with the path of the run.

        Raises UserError, with both values, if a given setting contradicts the network of the run.
        """
        data = document.data
        encoding = given_value(document, overrides, "corpus", "encoding") or "utf-8"
        if (encoding == "bytes") != (self.encoding == "bytes"):
            raise encoding_error(str(encoding), self.encoding, self.path)
        if isinstance(given := given_value(document, overrides, "model"), dict):
            check_same_network({k: v for k, v in given.items() if v is not None}, self.model, self.path)
        network = self.model.model_dump()
        if isinstance(given, dict) and "dropout" in given:  # not beside those of the run, which have precedence
            network = {
                name: value for name, value in network.items() if name not in ("hidden_dropout", "output_dropout")
            }
        defaults: dict[str, dict[str, Any]] = {"corpus": {"characters": self.characters}, "model": network}
        filled = {
            name: _merged(fields, data.get(name))
            for name, fields in defaults.items()
            if isinstance(data.get(name), (dict, type(None)))
        }
        path = f"training.initial_run={as_yaml(str(self.path))}"
        return replace(document, data={**data, **filled}), [*overrides, path]


def start_notes(run: InitialRun, settings: Config, corpus: Corpus) -> list[str]:
    """One line for each reason why the run may be of little use for this text: most characters are new, or the text is
    read otherwise than its own."""
    before, now = run.config.corpus, settings.corpus
    new, unit = len(run.new_characters(corpus.vocabulary)), corpus.vocabulary.unit
    notes = []
    if 2 * new > corpus.distinct:
        notes.append(
            f"{new:,} of the {corpus.distinct:,} {unit}s of this text are new: with new weights, without an initial "
            "run, it may be learned better"
        )
    return notes + [
        f"corpus.{name} is {as_yaml(getattr(now, name))}, but was {as_yaml(was)} in the run that training starts from"
        for name in ("documents", "lowercase", "normalize")
        if (was := getattr(before, name)) != getattr(now, name)
    ]


def _merged(fields: dict[str, Any], section: dict[str, Any] | None) -> dict[str, Any]:
    """The fields, replaced by those of a section of plain data. A null in their place stands for them, except for
    regularization, where it is a value."""
    given = section or {}
    return fields | {k: v for k, v in given.items() if v is not None or k not in fields or k in REGULARIZATION}
