"""The settings and the folder of a run, from what ``charlstm train`` was given. Loads no torch to plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from charlstm import console
from charlstm.cli.options import folder_name
from charlstm.cli.train_arguments import Given
from charlstm.config import Config, Document, as_yaml, given_value, validate
from charlstm.runs.directory import RunDirectory
from charlstm.runs.names import find_initial_run
from charlstm.runs.read_only import ReadOnlyRunDirectory
from charlstm.text.sources import absolute_source

if TYPE_CHECKING:
    from charlstm.text.corpus import Corpus
    from charlstm.training.fine_tuning import StartingPoint


class Plan:
    """The settings and the folder of a run, from what was given.

    ``start``: what another run, from whose weights this one starts, decides; None if it starts with new weights.
    """

    def __init__(
        self, is_rank0: bool, given: Given, overrides: list[str], name: str | None, runs: Path, resume: bool = False
    ) -> None:
        directory_class = RunDirectory if is_rank0 else ReadOnlyRunDirectory
        self._given, self._overrides, self._name = given, overrides, name
        self.start: StartingPoint | None = None
        if given.run is not None:
            self.directory = directory_class(given.run)
            self.directory.config()
            self.settings = self._resolved(given.document)
            return
        self.start = self._starting_point(runs, resume)
        self.settings = self._resolved(given.document)
        self.directory = directory_class(runs / str(self.settings.name))

    def _starting_point(self, runs: Path, resume: bool) -> StartingPoint | None:
        """What the run that the settings name as ``training.initial_run`` decides; when this run is resumed, what is
        recorded of it."""
        document, overrides = self._given.document, self._overrides
        named = given_value(document, overrides, "training", "initial_run")
        named = named if isinstance(named, str) and named else None
        if resume:
            name = self._name or given_value(document, overrides, "name") or self._given.name
            saved = ReadOnlyRunDirectory(runs / str(name))
            config = saved.config() if saved.exists else None
            if config is None or config.training.initial_run is None:
                return None
            from charlstm.training.fine_tuning import StartingPoint

            return StartingPoint.recorded(config, named)
        if named is None:
            return None
        path = find_initial_run(named, runs)
        from charlstm.training.fine_tuning import StartingPoint  # with torch: errors above come sooner

        return StartingPoint.at(path)

    def choose_by_size(self, corpus: Corpus) -> list[str]:
        """Fill the sections that are left out by the size of the text; returns their names, with ``corpus`` if another
        fraction of it is held out, so that it must be loaded again."""
        from charlstm.training.size_defaults import fill_left_out

        document, missing = fill_left_out(self._given.document, self.settings, corpus, self.start is not None)
        if missing:
            self.settings = self._resolved(document)
        return missing

    def _resolved(self, document: Document) -> Config:
        """The settings of a document, with the name of the run, the path of its text, and what a run decides from whose
        weights it starts."""
        given, overrides = self._given, self._overrides
        if self.start is not None:
            document, overrides = self.start.complete(document, overrides)
        settings = validate(Config, document, overrides)
        if given.run is not None:
            source = _current_source(settings.corpus.source, self.directory)
        else:
            source = absolute_source(settings.corpus.source, given.folder or Path())
            settings = settings.model_copy(update={"name": folder_name(self._name or settings.name or given.name)})
        return settings.model_copy(update={"corpus": settings.corpus.model_copy(update={"source": source})})


def _current_source(source: str | list[str], directory: RunDirectory) -> str | list[str]:
    """The absolute path of a run's text; prints a note if the text was moved."""
    from charlstm.text.relocation import relocate_source  # loads numpy: errors above come sooner

    def recorded_digest() -> str:
        from charlstm.api import load  # with torch

        return str(load(directory.path).header["corpus_digest"])

    if not directory.checkpoints.exists():
        return absolute_source(source)
    current = relocate_source(source, directory.path.absolute(), recorded_digest)
    if current != source:
        console.note(f"note: {as_yaml(source)} does not exist; the same text is {as_yaml(current)}")
    return absolute_source(current)
