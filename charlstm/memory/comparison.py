"""A comparison of memories from its file: trained, measured, judged, and told."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from pydantic_core import from_json

from charlstm import __version__, atomic_io
from charlstm.config import MemoryConfig, as_yaml
from charlstm.config.experiments import Claim, Experiment
from charlstm.errors import UserError
from charlstm.files import MissingError, read_regular
from charlstm.memory.experiments import make_studies
from charlstm.memory.experiments.base import Chapter, Figures, Study
from charlstm.memory.grid import Grid, Series
from charlstm.memory.jobs import Job
from charlstm.memory.workers import Workers
from charlstm.paths import command
from charlstm.report.document import Document, Section, Table, Verdict
from charlstm.report.writer import write_document
from charlstm.text.visible import visible
from charlstm.units import finite

FORMAT = 1
CLAIMS = "claims.json"
"""In the comparison's folder: what was claimed before the first run."""

CLAIMS_LIMIT = 1 << 24


@dataclass(frozen=True)
class Step:
    """A piece of work that is done: which, of what, and how many of how many."""

    phase: str
    label: str
    done: int
    total: int


class MemoryComparison:
    """The experiments of a file, or some of them, in a folder that keeps every run and every measurement.

    Args:
        words: the command line that makes it, to be shown beside each experiment; without ``charlstm`` and ``--only``.
        only: names of experiments; none is all.

    Raises:
        UserError: an experiment is not in the file, or a claim is about a figure that its experiment does not have.
    """

    def __init__(
        self,
        config: MemoryConfig,
        folder: Path,
        title: str,
        words: Sequence[object],
        only: Sequence[str] = (),
        overwrite: bool = False,
    ) -> None:
        self.config, self.folder, self.title = config, folder, config.name or title
        self._command, self._only = list(words), list(only)
        present = config.experiments.present()
        if odd := [name for name in only if name not in present]:
            raise UserError(f"--only {odd[0]}: there is no such experiment in the file; it has {', '.join(present)}")
        self._overwrite, self._grid = overwrite, Grid(config, folder, overwrite)
        self._studies = make_studies(config, self._grid, self._only)
        for name, study in self._studies.items():
            known = {_kind(figure) for figure in study.names()}
            for claim in present[name].claims:
                if _kind(claim.metric) not in known:
                    raise UserError(
                        f"experiments.{name}.claims: there is no figure {claim.metric!r}. "
                        f"Figures: {', '.join(study.names())}"
                    )

    def describe(self) -> list[str]:
        """What there is to do, in a few lines."""
        series, config = self._series(), self.config
        runs = sum(
            len(config.rates(one.experiment)) * config.rate_seeds + config.seeds - config.rate_seeds for one in series
        )
        return [
            f"{', '.join(self._studies)}: {len(series)} pairs of a text and a network, {runs:,} runs",
            f"kept in {self.folder}: "
            + ("everything is done anew" if self._overwrite else "what is done is not done again"),
        ]

    def run(self, workers: Workers) -> Iterator[Step]:
        """Train and measure what is not done yet. Raises Stopped, with all that was done kept."""
        self._note_claims()
        if self._overwrite:
            self._grid.forget(self._series())
        for phase, jobs in self._grid.rounds(self._series()):
            yield from _counted(phase, workers, jobs)
        measures = {one.key: one for study in self._studies.values() for one in study.measures()}
        yield from _counted("measuring", workers, list(measures.values()))

    def _series(self) -> list[Series]:
        """Each once: experiments share what they can."""
        found = {(one.lesson.name, one.arm): one for study in self._studies.values() for one in study.series()}
        return list(found.values())

    def write(self, folder: Path) -> tuple[list[Path], Document]:
        """Judge and tell: index.html, report.json and the plots; the files, index.html first, and the document.

        With some experiments only, the others are told of too where all of them is done.
        """
        line = command(*self._command)
        chapters = {
            name: study.chapter()
            for name in self.config.experiments.present()
            if (study := self._studies.get(name) or self._complete(name)) is not None
        }
        sections = [
            replace(chapter.section, command=command(*self._command, "--only", name), plots_first=True)
            for name, chapter in chapters.items()
        ]
        verdicts = [
            verdict
            for name, section in self.config.experiments.present().items()
            for verdict in _verdicts(section, chapters.get(name))
        ]
        document = Document(
            self.title, _headline(chapters), [*sections, self._method()], self._changed_claims(), verdicts
        )
        record = {
            "format": FORMAT,
            "title": self.title,
            "command": line,
            "verdicts": [
                {
                    "claim": one.claim,
                    "criterion": one.criterion,
                    "figure": one.figure,
                    "interval": one.interval,
                    "held": one.held,
                }
                for one in verdicts
            ],
            "config": finite(self.config.model_dump(mode="json")),
        }
        return write_document(document, record, folder), document

    def _complete(self, name: str) -> Study | None:
        """An experiment, if all of it is trained and measured already, with just these settings."""
        try:
            study = make_studies(self.config, self._grid, [name])[name]
            trained = all(job.done() for _, jobs in self._grid.rounds(study.series()) for job in jobs)
        except UserError:
            return None
        return study if trained and all(job.done() for job in study.measures()) else None

    @property
    def _judged(self) -> dict[str, object]:
        """What the verdicts depend on beside the figures."""
        config = self.config
        claims = {
            name: [claim.model_dump() for claim in each.claims] for name, each in config.experiments.present().items()
        }
        return {
            "solve_threshold": config.solve_threshold,
            "min_seed_fraction": config.min_seed_fraction,
            "claims": claims,
        }

    def _note_claims(self) -> None:
        """Write down what is claimed before anything is run."""
        file = self.folder / CLAIMS
        try:
            atomic_io.make_directory(self.folder)
            if self._overwrite or not os.path.lexists(file):
                atomic_io.write_atomic(file, json.dumps(self._judged, indent=1).encode())
        except OSError as error:
            raise UserError(f"{file}: cannot write the claims: {error.strerror or error}") from error

    def _changed_claims(self) -> list[str]:
        """What to say where the claims are no longer those that were written down then."""
        file = self.folder / CLAIMS
        try:
            if from_json(read_regular(file, CLAIMS_LIMIT)) == self._judged:
                return []
        except MissingError:
            return []
        except ValueError:
            raise UserError(
                f"{file}: not JSON any more: put back the claims that were made before the first run"
            ) from None
        return [f"Claims or thresholds were changed after the first run: those that it began with are in {file}."]

    def _method(self) -> Section:
        config = self.config
        facts = [
            ("Made by", command(*self._command, *(word for name in self._only for word in ("--only", name)))),
            (
                "Seeds",
                f"{config.seeds} for each arm at its best learning rate; that is chosen by the validation score of "
                f"{config.rate_seeds} of them at every rate of the grid, "
                f"{', '.join(f'{rate:g}' for rate in config.learning_rates)} unless an experiment has its own",
            ),
            (
                "Fair",
                "All arms of an experiment have the same budget, grid, batches and clipping, and as many parameters as "
                "its first arm, as nearly as a whole number of units allows, unless the file gives an arm its "
                "hidden_size. Every claim is about this budget",
            ),
            (
                "Solved",
                f"{config.solve_threshold:.0%} of {config.test_strings:,} fresh strings answered right; the longest "
                f"lag is the longest that {config.min_seed_fraction:.0%} of the seeds solve",
            ),
            (
                "Claims",
                f"Written to {CLAIMS} before the first run; a change after that is said at the top of this page",
            ),
            ("Made with", f"charlstm {__version__}, torch {torch.__version__}; {time.strftime('%Y-%m-%d')}"),
        ]
        rows = [
            [
                visible(arm),
                visible("; ".join(f"{key}: {as_yaml(value)}" for key, value in changes.items()) or "as shared"),
            ]
            for arm, changes in config.arms.items()
        ]
        shared = "; ".join(f"{key}: {as_yaml(value)}" for key, value in config.shared.items())
        return Section(
            title="How it was measured",
            facts=[*facts, ("Shared", visible(shared))],
            tables=[Table(["arm", "its network"], rows, caption="The arms", folded=True)],
        )


def _counted(phase: str, workers: Workers, jobs: Sequence[Job]) -> Iterator[Step]:
    for number, job in enumerate(workers.do(jobs), start=1):
        yield Step(phase, job.label, number, len(jobs))


def _verdicts(experiment: Experiment, chapter: Chapter | None) -> Iterator[Verdict]:
    figures: Figures = {} if chapter is None else chapter.figures
    for claim in experiment.claims:
        found = figures.get((claim.metric, claim.arm))
        if found is None or chapter is None:
            yield Verdict(claim.statement, criterion(claim))
        else:
            held = claim.held(found.value)
            yield Verdict(claim.statement, criterion(claim), found.text, found.interval, held, chapter.section.anchor)


def _kind(figure: str) -> str:
    """The figure's name, whatever lag or length it is about."""
    return re.sub(r"\d+", "N", figure)


def criterion(claim: Claim) -> str:
    """``lstm: longest lag at least 100``."""
    at, threshold = ("at least", claim.at_least) if claim.at_least is not None else ("at most", claim.at_most)
    return f"{claim.arm}: {claim.metric} {at} {threshold:g}"


def _headline(chapters: dict[str, Chapter]) -> list[str]:
    """The longest lags, longest first."""
    if "recall" not in chapters:
        return []
    lags = {arm: found.value for (figure, arm), found in chapters["recall"].figures.items() if figure == "longest lag"}
    parts = [f"{visible(arm)}: {lag:g}" for arm, lag in sorted(lags.items(), key=lambda one: -one[1])]
    return [f"Over how many characters a key is recalled: {'; '.join(parts)}."]
