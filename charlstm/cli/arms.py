"""The command ``charlstm compare`` for a file with arms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from charlstm.cli.signals import Signals
    from charlstm.comparison.results import Comparison
    from charlstm.config import CompareConfig


def train_arms(
    signals: Signals,
    config: CompareConfig,
    folder: Path,
    title: str,
    overwrite: bool,
    number: int,
    cluster: str | None,
) -> tuple[Comparison, dict[str, Path]]:
    """Train the runs that are not trained yet, so many at a time; returns the results of all, and the first run of each
    arm."""
    from charlstm import console
    from charlstm.cli.pool import saved_pool
    from charlstm.cli.runs_progress import OneByOne, Several
    from charlstm.cli.train_output import print_corpus
    from charlstm.comparison.arms import ArmComparison
    from charlstm.comparison.training_job import TrainingJob

    experiment = ArmComparison(config, folder, title, overwrite)
    jobs = [TrainingJob(trial) for trial in experiment.trials()]
    done = {job.key for job in jobs if job.done()}
    print_corpus(experiment.corpus)
    for line in experiment.describe():
        console.out_wrapped(line)
    display = OneByOne if number == 1 and cluster is None else Several
    progress = display(jobs, len(jobs) - len(done), experiment.corpus.vocabulary.unit)
    with saved_pool(signals, number, cluster, folder, overwrite) as pool:
        if overwrite:
            experiment.delete_runs()
            jobs = [TrainingJob(trial) for trial in experiment.trials()]
        with progress:
            for job in pool.do(jobs, progress.show):
                if job.key in done:
                    console.out(f"[{job.trial.label}] already done")
    runs: dict[str, Path] = {}
    for job in jobs:
        runs.setdefault(job.trial.arm, job.key)
    return experiment.comparison(), runs


def print_arms_plan(config: CompareConfig, folder: Path, title: str) -> None:
    """Print what would be trained."""
    from charlstm import console
    from charlstm.cli.train_output import print_corpus
    from charlstm.comparison.arms import ArmComparison

    experiment = ArmComparison(config, folder, title)
    print_corpus(experiment.corpus)
    for line in experiment.describe():
        console.out_wrapped(line)
    done = [trial.done for trial in experiment.trials()]
    complete = f", {sum(done):,} of them complete" if any(done) else ""
    console.out_wrapped(f"{len(done):,} runs in {folder}{complete}")
