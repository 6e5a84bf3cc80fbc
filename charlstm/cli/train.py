"""The command ``charlstm train``."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli import completion
from charlstm.cli.options import expand_home, refuse
from charlstm.paths import command, is_folder, path_exists

if TYPE_CHECKING:
    from charlstm.cli.signals import Signals
    from charlstm.config import Config
    from charlstm.runs.directory import RunDirectory
    from charlstm.training.trainer import Trainer

YAML = (".yaml", ".yml")


def train(
    context: typer.Context,
    config: Annotated[
        Path,
        typer.Argument(
            callback=expand_home,
            autocompletion=completion.configurations_or_runs,
            help="A configuration in YAML; with --resume also a run: its folder, its name in runs/, or latest.",
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
        typer.Option(help="Name of the run. Default: the value of name in the configuration, else the file's name."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            autocompletion=completion.devices,
            help="Short for --set training.device=...: auto, cpu, cuda, cuda:N or mps.",
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Short for --set training.seed=...")] = None,
    runs: Annotated[Path, typer.Option(callback=expand_home, help="Folder that holds the folder of the run.")] = Path(
        "runs"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run from its last checkpoint.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete an existing run of the same name first.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print configuration, parameters, memory and executor; train nothing.")
    ] = False,
) -> None:
    """Train a model. All files of the run are in runs/NAME.

    Ctrl-C, TERM and HUP save and stop; --resume continues as if never stopped. USR1 saves and continues.
    On several GPUs: torchrun --nproc-per-node=N -m charlstm train CONFIG.
    """
    from charlstm import console
    from charlstm.cli import next_steps
    from charlstm.config import dump_yaml
    from charlstm.errors import UserError
    from charlstm.runs.names import find_run

    overrides = list(set_ or [])
    overrides += [] if device is None else [f"training.device={device}"]
    overrides += [] if seed is None else [f"training.seed={seed}"]

    @cache
    def plan(is_rank0: bool) -> tuple[Config, RunDirectory]:
        path = find_run(config, runs) if resume and config.suffix not in YAML else config
        check_options(context, path, list(set_ or []), is_named=path != config)
        settings, directory = _plan(is_rank0, path, overrides, name, runs)
        if resume and not directory.exists:
            raise UserError(
                f"{directory.path} is not a run: there is nothing to resume. Leave out --resume to start it"
            )
        return settings, directory

    if os.environ.get("WORLD_SIZE", "1") == "1":  # errors come before torch is loaded; torchrun's processes share them
        settings, directory = plan(True)
        if resume and not dry_run and (lines := next_steps.finished_lines(settings, directory)):
            for line in lines:
                console.out(line)
            return

    from charlstm.cli.distributed import load_shared_corpus, run_distributed
    from charlstm.cli.train_output import print_plan
    from charlstm.distributed import ProcessGroup
    from charlstm.training.trainer import Trainer

    group = ProcessGroup.from_environment()

    def work() -> int:
        with group.sync_errors():
            settings, directory = plan(group.is_rank0)
        corpus = load_shared_corpus(group, settings)
        if not dry_run:
            console.out(corpus.describe())
        with group.sync_errors():
            trainer = Trainer(settings, corpus, directory, group)
            trainer.execution.choices()  # raises UserError if a requested executor cannot run here
        if group.size > 1:
            items = "streams" if corpus.documents is None else "documents of a batch"
            total = trainer.streams.batch_size
            console.out(f"{group.size} processes train together, each on {total // group.size} of the {total} {items}")
        if dry_run:
            console.out(dump_yaml(settings))
            console.out(corpus.describe())
            print_plan(trainer)
            return 0
        return _run(context.obj, trainer, resume, overwrite)

    with console.as_log(not dry_run):
        run_distributed(group, context.obj, work)


def check_options(context: typer.Context, config: Path, changes: list[str], is_named: bool = False) -> None:
    """Raises UserError for an option that has no effect, or if ``config`` is not a configuration.

    is_named: it is a run that was found by its name in the folder ``--runs``.
    """
    from charlstm.errors import UserError

    given, changed = context.params, {change.partition("=")[0].strip() for change in changes}
    for option, field in (("device", "training.device"), ("seed", "training.seed"), ("name", "name")):
        if given[option] is not None and field in changed:
            raise UserError(f"--{option} and --set {field} both set the same field: leave one out")
    if given["resume"] and given["overwrite"]:
        raise UserError("--resume continues a run and --overwrite deletes it: choose one")
    if given["dry_run"]:
        refuse(context, "with --dry-run, which deletes nothing", "overwrite")
    if is_folder(config):
        if not given["resume"]:
            if path_exists(config / "config.yaml"):
                raise UserError(f"{config} is a run. To resume it:  {command('train', config, '--resume')}")
            raise UserError(f"{config}: this is a folder without a run: give a configuration in YAML")
        fixed = ("name",) if is_named else ("name", "runs")
        refuse(context, f"with {config}, an existing run, whose name and folder are fixed", *fixed)
        if "name" in changed:
            raise UserError(f"--set name has no effect with {config}, an existing run, whose name and folder are fixed")


def _plan(
    is_rank0: bool, config: Path, overrides: list[str], name: str | None, runs: Path
) -> tuple[Config, RunDirectory]:
    """The configuration and the folder of the run."""
    from charlstm.config import load_config, suggest_config
    from charlstm.errors import UserError
    from charlstm.runs.directory import RunDirectory
    from charlstm.runs.read_only import ReadOnlyRunDirectory
    from charlstm.text.catalog import catalog_names
    from charlstm.text.sources import absolute_source

    directory_class = RunDirectory if is_rank0 else ReadOnlyRunDirectory
    if is_folder(config):
        directory = directory_class(config)
        directory.config()
        settings = load_config(directory.config_file, overrides)
        source = _current_source(settings.corpus.source, directory)
    else:
        if str(config) in catalog_names() and not config.exists():
            raise UserError(f"{config} is a corpus of the catalog. {suggest_config(str(config), str(config))}")
        settings = load_config(config, overrides)
        settings = settings.model_copy(update={"name": folder_name(name or settings.name or config.stem)})
        directory, source = directory_class(runs / str(settings.name)), settings.corpus.source
    corpus = settings.corpus.model_copy(update={"source": absolute_source(source)})
    return settings.model_copy(update={"corpus": corpus}), directory


def _current_source(source: str | list[str], directory: RunDirectory) -> str | list[str]:
    """The path of a run's text; prints a note if the text was moved."""
    from charlstm import console
    from charlstm.config import as_yaml
    from charlstm.text.relocation import relocate_source

    def recorded_digest() -> str:
        from charlstm.api import load

        return str(load(directory.path).header["corpus_digest"])

    if not directory.checkpoints.exists():
        return source
    current = relocate_source(source, directory.path.absolute(), recorded_digest)
    if current != source:
        console.note(f"note: {as_yaml(source)} does not exist; the same text is {as_yaml(current)}")
    return current


def folder_name(name: str) -> str:
    """Returns the name. Raises UserError if it cannot be the name of a folder under runs/."""
    from charlstm.config.sections import check_name
    from charlstm.errors import UserError

    try:
        return check_name(name)
    except ValueError as error:
        raise UserError(f"the name {name!r}: {error}. Give another one: --name NAME") from None


def _run(signals: Signals, trainer: Trainer, resume: bool, overwrite: bool) -> int:
    """Train; returns the exit code."""
    from charlstm import console
    from charlstm.cli import next_steps
    from charlstm.cli.distributed import sync_signals
    from charlstm.cli.guard import SavedWork
    from charlstm.cli.progress import follow
    from charlstm.cli.train_output import print_result, report_and_next_steps

    settings, corpus, directory, group = trainer.config, trainer.corpus, trainer.directory, trainer.group
    # Only now, so that a run that cannot be trained neither leaves nor deletes a folder.
    with ExitStack() as stack:
        with group.sync_errors():
            stack.enter_context(directory.writing())
        with group.sync_errors():
            if resume:
                for difference in trainer.resume():
                    console.note(f"note: {difference}")
                directory.write_config(settings)
            else:
                directory.create(settings, overwrite)
        trainer.execution.choose_executor()
        choices = trainer.execution.choices()  # again, since a resumed run keeps its precision
        used = ", ".join(sorted({choice.executor.name for choice in choices}))
        count = sum(trainer.model.parameter_counts().values())
        frozen = trainer.model.frozen_count()
        parameters = f"{count:,} trainable parameters, {frozen:,} frozen" if frozen else f"{count:,} parameters"
        console.out(f"{parameters}, {trainer.device.type}, {trainer.execution.precision}, executor {used}")
        refusals = ((name, choice.others[name]) for choice in choices for name in choice.made_for_device)
        for executor, reason in dict.fromkeys(refusals):
            console.note(f"note: executor {executor} cannot run here: {reason}")
        with signals.saving(trainer, SavedWork(directory.path, next_steps.resume_command(trainer))):
            ended = follow(trainer.run(), unit=corpus.vocabulary.unit)
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
