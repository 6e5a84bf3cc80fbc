"""The command ``charlstm train``."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli import completion
from charlstm.cli.options import expand_home, refuse, repeated_options
from charlstm.paths import RUNS

if TYPE_CHECKING:
    from charlstm.cli.signals import Signals
    from charlstm.cli.train_arguments import Given
    from charlstm.cli.train_plan import Plan
    from charlstm.training.trainer import Trainer


def train(
    context: typer.Context,
    given: Annotated[
        list[str],
        typer.Argument(
            metavar="TEXT...|CONFIG|RUN",
            autocompletion=completion.texts_or_runs,
            help="Texts: files, a glob in quotes, a name of the catalog, or - for standard input. Or a configuration: "
            "a file in YAML, or the name of a ready one, such as quickstart. Or with --resume a run: its folder, its "
            "name in runs/, or latest.",
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            autocompletion=completion.fields,
            help="Set a field of the configuration, such as model.hidden_size=512. May be repeated.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            "-n",
            help="Name of the run. Default: the value of name in the configuration, else the name of the file.",
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes", "-m", help="Short for --set training.budget.minutes=...: train for at most this many minutes."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            "-d",
            autocompletion=completion.devices,
            help="Short for --set training.device=...: auto, cpu, cuda, cuda:N or mps.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", "-s", help="Short for --set training.seed=...: seed of the random numbers.")
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="RUN",
            autocompletion=completion.runs,
            help="Short for --set training.initial_run=...: fine-tune the weights of a run. The new run has its "
            "network, and its vocabulary with the new characters of the text.",
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(callback=expand_home, help="Folder that holds the folder of the run.")] = RUNS,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run from its last checkpoint.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete an existing run of the same name first.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print configuration, parameters, memory and executor; train nothing.")
    ] = False,
    range_test: Annotated[
        bool,
        typer.Option(
            "--range-test",
            help="Find a learning rate (Smith 2017): train some hundred steps while the rate grows until the loss "
            "diverges, and suggest one. The page with the plot is in runs/NAME-range-test; no run is changed.",
        ),
    ] = False,
) -> None:
    """Train a model on a text, or as a configuration says. All files of the run are in runs/NAME.

    For example: charlstm train my-text.txt --minutes 5. Everything else is chosen by the size of the text.

    Ctrl-C, TERM and HUP save and stop; --resume continues as if never stopped. USR1 saves and continues.
    On several GPUs: torchrun --nproc-per-node=N -m charlstm train CONFIG.
    """
    from charlstm import console
    from charlstm.cli.train_arguments import read_arguments
    from charlstm.errors import UserError

    shortcuts = {"training.device": device, "training.seed": seed, "training.budget.minutes": minutes}
    overrides = [*(set_ or []), *(f"{field}={value}" for field, value in shortcuts.items() if value is not None)]
    if from_ is not None:
        overrides.append(f"training.initial_run={json.dumps(from_, ensure_ascii=False)}")

    @cache
    def make_plan(is_rank0: bool) -> Plan:
        arguments = read_arguments(given, resume, name, runs)
        check_options(context, arguments, list(set_ or []))
        from charlstm.cli.train_plan import Plan  # with the models of a configuration: errors above come sooner

        plan = Plan(is_rank0, arguments, overrides, name, runs, resume)
        if resume and not plan.directory.exists:
            raise UserError(
                f"{plan.directory.path} is not a run: there is nothing to resume. Leave out --resume to start it"
            )
        return plan

    if os.environ.get("WORLD_SIZE", "1") == "1":  # errors come before torch is loaded; torchrun's processes share them
        plan = make_plan(True)
        from charlstm.cli import next_steps

        if resume and not dry_run and (lines := next_steps.finished_lines(plan.settings, plan.directory)):
            for line in lines:
                console.out(line)
            return
        if not (resume or dry_run):
            plan.directory.check_new(overwrite)

    from charlstm.cli.distributed import load_shared_corpus, run_distributed
    from charlstm.cli.train_output import (
        print_chosen,
        print_chosen_by,
        print_corpus,
        print_held_out,
        print_hints,
        print_plan,
        print_start,
    )
    from charlstm.config import dump_yaml
    from charlstm.distributed import ProcessGroup
    from charlstm.training.trainer import Trainer

    group = ProcessGroup.from_environment()

    def work() -> int:
        with group.sync_errors():
            plan = make_plan(group.is_rank0)
        config_file = plan.directory.config_file if resume else None
        corpus = load_shared_corpus(group, plan.settings, config_file)
        with group.sync_errors():
            chosen = plan.choose_by_size(corpus)
            settings = plan.settings
        start = None if plan.start is None else plan.start.run
        if "corpus" in chosen:
            corpus = load_shared_corpus(group, settings, config_file)

        def print_settings() -> None:
            print_corpus(corpus)
            if not dry_run:  # which prints all settings
                print_chosen(settings, chosen)
            print_chosen_by(settings, chosen, corpus)
            print_held_out(settings, chosen)
            if start is not None:
                print_start(start, settings, corpus)

        if not dry_run:
            print_settings()
        if range_test:
            from charlstm.cli.range_test import run_range_test

            run_range_test(settings, corpus, runs, ["train", *given, *repeated_options(name, runs, overrides)])
            return 0
        with group.sync_errors():
            trainer = Trainer(settings, corpus, plan.directory, group)
            trainer.execution.choices()  # raises UserError if a requested executor cannot run here
        if group.size > 1:
            items = "streams" if corpus.documents is None else "documents of a batch"
            total = trainer.streams.batch_size
            console.out_wrapped(
                f"{group.size} processes train together, each on {total // group.size} of the {total} {items}"
            )
        if dry_run:
            console.out(dump_yaml(settings))
            print_settings()
            print_plan(trainer)
            print_hints(trainer)
            return 0
        if not resume:
            print_hints(trainer)
        return _run(context.obj, trainer, resume, overwrite)

    with console.as_log(not dry_run):
        run_distributed(group, context.obj, work)


def check_options(context: typer.Context, given: Given, changes: list[str]) -> None:
    """Raises UserError for an option that has no effect."""
    from charlstm.errors import UserError

    options, changed = context.params, {change.partition("=")[0].strip() for change in changes}
    shortcuts = {
        "device": "training.device",
        "seed": "training.seed",
        "minutes": "training.budget.minutes",
        "from_": "training.initial_run",
    }
    for option, field in (*shortcuts.items(), ("name", "name")):
        if options[option] is not None and field in changed:
            raise UserError(f"--{option.strip('_')} and --set {field} both set the same field: leave one out")
    if options["resume"] and options["overwrite"]:
        raise UserError("--resume continues a run and --overwrite deletes it: choose one")
    if options["resume"]:
        refuse(context, "with --resume: a resumed run goes on with its own weights", "from_")
    if options["range_test"]:
        refuse(context, "with --range-test, which changes no run", "overwrite", "resume", "dry_run")
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise UserError("--range-test runs in one process: leave out torchrun")
    if options["dry_run"]:
        refuse(context, "with --dry-run, which deletes nothing", "overwrite")
    if given.run is not None:
        reason = f"with {given.run}, an existing run, whose name and folder are fixed"
        refuse(context, reason, *given.fixed)
        if "name" in changed:
            raise UserError(f"--set name has no effect {reason}")


def _run(signals: Signals, trainer: Trainer, resume: bool, overwrite: bool) -> int:
    """Train; returns the exit code."""
    from charlstm import console
    from charlstm.cli import next_steps
    from charlstm.cli.distributed import sync_signals
    from charlstm.cli.guard import SavedWork
    from charlstm.cli.train_output import print_result, report_and_next_steps
    from charlstm.training_progress import follow

    settings, corpus, directory, group = trainer.config, trainer.corpus, trainer.directory, trainer.group
    # Only now, so that a run that cannot be trained neither leaves nor deletes a folder.
    with ExitStack() as stack:
        with group.sync_errors():
            stack.enter_context(directory.writing())
        with group.sync_errors():
            if resume:
                for difference in trainer.resume():
                    console.note(f"note: {difference}", is_wrapped=True)
                directory.write_config(settings)
            else:
                trainer.start(overwrite)
        trainer.execution.choose_executor()
        with signals.saving(trainer, SavedWork(directory.path, next_steps.resume_command(trainer))):
            choices = trainer.execution.choices()  # again, since a resumed run keeps its precision
            used = ", ".join(sorted({choice.executor.name for choice in choices}))
            count = sum(trainer.model.parameter_counts().values())
            frozen = trainer.model.frozen_count()
            parameters = f"{count:,} trainable parameters, {frozen:,} frozen" if frozen else f"{count:,} parameters"
            console.out_wrapped(f"{parameters}, {trainer.device.type}, {trainer.execution.precision}, executor {used}")
            refusals = ((name, choice.others[name]) for choice in choices for name in choice.made_for_device)
            for executor, reason in dict.fromkeys(refusals):
                console.note(f"note: executor {executor} cannot run here: {reason}", is_wrapped=True)
            ended = follow(trainer.run(), unit=corpus.vocabulary.unit, trainer=trainer)
    sync_signals(group, signals)
    with group.sync_errors():
        if group.is_rank0:
            print_result(ended, trainer)
            report_and_next_steps(ended, trainer, is_interrupted=signals.number is not None)
    if ended.stop_reason == "diverged":
        if group.is_rank0:
            console.error(ended.advice)
        return 3
    return 0 if signals.number is None else signals.exit_code  # also if it came too late to stop this run
