"""Experiments on memory: train the networks, measure them, check the claims, write the report."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from charlstm.comparison.readout_start import readout_start_notes
from charlstm.comparison.step import Step
from charlstm.config import MemoryConfig
from charlstm.config.claims import Claim
from charlstm.config.experiments.base import Experiment
from charlstm.errors import UserError
from charlstm.jobs.base import Pool
from charlstm.memory.claims import changes, claims_record, write_claims
from charlstm.memory.experiments import make_experiments
from charlstm.memory.experiments.base import ExperimentResult, MemoryExperiment
from charlstm.memory.grid import Grid
from charlstm.memory.groups import RunGroup, networks_table
from charlstm.memory.method import method, revised_claims
from charlstm.memory.metrics import Metrics
from charlstm.memory.quick import has_evidence
from charlstm.paths import command
from charlstm.report.document import Document, Verdict
from charlstm.report.writer import write_document
from charlstm.runs.directory import RunDirectory
from charlstm.text.visible import visible
from charlstm.units import finite

FORMAT = 1
DECIDING_SEEDS = 5
"""The least number of seeds that can decide a claim about half of them, or about a median: 0.5**5 < 1 - 95%."""


class MemoryComparison:
    """The experiments of a file, or some of them, and the folder with their runs and measurements.

    Args:
        words: the command line, to be shown with each experiment; without ``charlstm`` and ``--only``.
        only: names of experiments; empty for all.
        keep: what to keep of runs that are measured: `all`; `weights`, the best checkpoint; `nothing`, only metrics and
            measurements.
        full: for a quick form, the configuration of the full one, whose claims it judges as far as it has evidence.

    Raises:
        UserError: an experiment is not in the file, or the metric of a claim does not exist.
    """

    def __init__(
        self,
        config: MemoryConfig,
        folder: Path,
        title: str,
        words: Sequence[object],
        only: Sequence[str] = (),
        keep: str = "all",
        full: MemoryConfig | None = None,
    ) -> None:
        self._full = full
        self.config, self.folder, self.title = config, folder, config.name or title
        self._command, self._only, self._keep = list(words), list(only), keep
        present = config.experiments.present()
        if unknown := [name for name in only if name not in present]:
            of_full = full is not None and unknown[0] in full.experiments.present()
            what = "--quick leaves this experiment out" if of_full else "there is no such experiment in the file"
            raise UserError(f"--only {unknown[0]}: {what}; it has {', '.join(present)}")
        self._grid = Grid(config, folder)
        self._experiments = make_experiments(config, self._grid, self._only)
        for name, experiment in self._experiments.items():
            known = {_template(metric) for metric in experiment.metric_names()}
            for claim in present[name].claims:
                if _template(claim.metric) not in known and full is None:  # a quick form may leave it out
                    raise UserError(
                        f"experiments.{name}.claims: there is no metric {claim.metric!r}. "
                        f"Metrics: {', '.join(experiment.metric_names())}"
                    )

    def describe(self) -> list[str]:
        """Summarize what will be trained, in a few lines."""
        groups = self.run_groups()
        done, runs = self._grid.expected_runs(groups)
        return [
            f"{', '.join(self._experiments)}: {len(groups)} pairs of a text and an arm, about {runs:,} runs"
            + (f", {done:,} of them complete" if done else ""),
            *self._unmeasured_claims(),
            *readout_start_notes((m.model for g in groups for m in g.members), "shared.model.unigram_bias"),
        ]

    def networks(self) -> list[list[str]]:
        """The table of `networks_table`, of all experiments."""
        return networks_table(self.run_groups())

    def _unmeasured_claims(self) -> Iterator[str]:
        """A line for each claim about a length that is not among those of its experiment. In the quick form, they need
        the full run."""
        for name, experiment in self._experiments.items() if self._full is None else ():
            for claim in self.config.experiments.present()[name].claims:
                if claim.metric not in experiment.metric_names():
                    yield (
                        f"experiments.{name}: {claim.metric!r} is not measured with these settings, so this claim will "
                        f"not be judged: {claim.statement}"
                    )

    def run(self, pool: Pool) -> Iterator[Step]:
        """Train and measure the incomplete runs. Raises Stopped on a stop request; completed work is saved."""
        write_claims(self.config, self.folder)
        groups = self.run_groups()
        while jobs := self._grid.next_jobs(groups):
            done, total = self._grid.expected_runs(
                groups
            )  # it changes while grids widen and hopeless runs are left out
            for number, job in enumerate(pool.do(jobs), start=done + 1):
                if self._keep != "all":
                    RunDirectory(job.key).prune(keep_best=True)  # all that a measurement needs
                yield Step("training", job.label, number, max(total, number))
        jobs_by_key = {
            job.key: job for experiment in self._experiments.values() for job in experiment.measurement_jobs()
        }
        measurements = list(jobs_by_key.values())
        for number, measurement in enumerate(pool.do(measurements), start=1):
            yield Step("measuring", measurement.label, number, len(measurements))
        self._prune()

    def _prune(self) -> None:
        """Delete the checkpoints that are not needed of the complete runs, which are measured."""
        if self._keep != "all":
            for run in self._grid.complete_runs():
                run.prune(keep_best=self._keep == "weights")

    def size_on_disk(self) -> int:
        """The bytes of all files in the folder."""
        return sum(path.lstat().st_size for path in self.folder.rglob("*") if path.is_file())

    def run_groups(self) -> list[RunGroup]:
        """The run groups of all experiments, without duplicates: experiments can use the same runs."""
        groups = {
            (group.dataset.name, group.arm): group
            for experiment in self._experiments.values()
            for group in experiment.run_groups()
        }
        return list(groups.values())

    def write(self, folder: Path) -> tuple[list[Path], Document]:
        """Check the claims and write index.html, report.json and the plots.

        An experiment that was not selected is included if all its runs and measurements are complete.

        Returns the files, index.html first, and the document.
        """
        line = command(*self._command)
        results = {
            name: experiment.result()
            for name in self.config.experiments.present()
            if (experiment := self._experiments.get(name) or self._complete_experiment(name)) is not None
        }
        sections = [
            replace(result.section, command=command(*self._command, "--only", name), plots_first=True)
            for name, result in results.items()
        ]
        verdicts = [
            verdict
            for name, section in (self._full or self.config).experiments.present().items()
            for verdict in self._verdicts(name, section, results.get(name))
        ]
        made_by = command(*self._command, *(word for name in self._only for word in ("--only", name)))
        document = Document(
            self.title,
            headline(results, self.config),
            [*sections, method(self.config, self.folder, made_by), *revised_claims(self.config)],
            [*changes(self.config, self.folder), *self.remarks(verdicts)],
            verdicts,
        )
        record = {
            "format": FORMAT,
            "title": self.title,
            "command": line,
            "verdicts": [
                {
                    "claim": verdict.claim,
                    "criterion": verdict.criterion,
                    "measured": verdict.measured,
                    "interval": verdict.interval,
                    "reason": verdict.reason,
                    "verdict": verdict.word,
                }
                for verdict in verdicts
            ],
            "config_sha256": claims_record(self.config)["configuration_sha256"],
            "config": finite(self.config.model_dump(mode="json")),
        }
        return write_document(document, record, folder), document

    def remarks(self, verdicts: Sequence[Verdict]) -> list[str]:
        """Why claims are undecided whatever was measured: there are too few seeds for bounds."""
        if self.config.seeds >= DECIDING_SEEDS or all(verdict.word != "undecided" for verdict in verdicts):
            return []
        seeds = f"{self.config.seeds} seeds decide" if self.config.seeds > 1 else "1 seed decides"
        return [
            f"{seeds} no claim about half of the seeds or a median: that takes {DECIDING_SEEDS} seeds, since each "
            "bound is right in 95% of all repetitions."
        ]

    def _complete_experiment(self, name: str) -> MemoryExperiment | None:
        """The experiment, if all its runs and measurements with these settings are complete."""
        try:
            experiment = make_experiments(self.config, self._grid, [name])[name]
            trained = not self._grid.next_jobs(experiment.run_groups())
        except UserError:
            return None
        return experiment if trained and all(job.done() for job in experiment.measurement_jobs()) else None

    def _verdicts(self, name: str, experiment: Experiment, result: ExperimentResult | None) -> Iterator[Verdict]:
        metrics: Metrics = {} if result is None else result.metrics
        for claim in experiment.claims:
            metric = metrics.get((claim.metric, claim.arm))
            if self._full is not None and not has_evidence(self.config, self._full, name, claim):
                yield Verdict(claim.statement, criterion(claim), word="needs the full run")
            elif metric is None or result is None:
                yield Verdict(claim.statement, criterion(claim))
            else:
                yield Verdict(
                    claim.statement,
                    criterion(claim),
                    metric.text,
                    metric.interval,
                    claim.verdict(metric),
                    result.section.anchor,
                    metric.reason,
                )


def _template(metric: str) -> str:
    """The name of a metric, with every number replaced by N."""
    return re.sub(r"\d+", "N", metric)


def criterion(claim: Claim) -> str:
    """``lstm: longest lag at least 100``."""
    bound, threshold = ("at least", claim.at_least) if claim.at_least is not None else ("at most", claim.at_most)
    return f"{claim.arm}: {claim.metric} {bound} {threshold:g}"


def headline(results: dict[str, ExperimentResult], config: MemoryConfig) -> list[str]:
    """The longest lag of each arm, from its worst initialization to its best, that with the longest first."""
    if "recall" not in results:
        return []
    lags = {arm: metric for (name, arm), metric in results["recall"].metrics.items() if name == "longest lag"}
    shown = [arm for arm in config.arms if arm in lags] or list(lags)
    parts = []
    for arm in sorted(shown, key=lambda arm: -lags[arm].value):
        each = [lags[one] for one in config.initializations(arm) if one in lags] or [lags[arm]]
        worst, best = (choose(each, key=lambda metric: metric.value) for choose in (min, max))
        if worst.value < best.value:
            text = f"{worst.text.removesuffix(' or more')} to {best.text}, by its initialization"
        else:
            text = best.text + (" with every initialization" if len(each) > 1 else "")
        parts.append(f"{visible(arm)}: {text}")
    return [f"Over how many characters a key is recalled: {'; '.join(parts)}."]
