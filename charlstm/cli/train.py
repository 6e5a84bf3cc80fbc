"""``charlstm train``."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli.options import home_expanded, refuse
from charlstm.paths import command, is_folder, is_there

if TYPE_CHECKING:
    from charlstm.cli.signals import Signals
    from charlstm.config import Config
    from charlstm.distributed import ProcessGroup
    from charlstm.runs.directory import RunDirectory
    from charlstm.training.events import Ended
    from charlstm.training.trainer import Trainer


def train(
    context: typer.Context,
    config: Annotated[
        Path, typer.Argument(callback=home_expanded, help="A configuration in YAML; with --resume also a run's folder.")
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Set a field, such as model.hidden_size=512. May be repeated.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run; else the configuration's own, or its file's name.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Short for --set training.device=...: auto, cpu, cuda, cuda:1, mps.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Short for --set training.seed=...")] = None,
    runs: Annotated[
        Path, typer.Option(callback=home_expanded, help="Folder in which the run's own folder is made.")
    ] = Path("runs"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with this run where it was stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete a run of the same name first.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show configuration, size, memory and executor; train nothing.")
    ] = False,
) -> None:
    """Train a model. Everything of the run is put into runs/NAME.

    Ctrl-C saves and ends; --resume goes on as if nothing had happened. So do TERM and HUP; USR1 saves and goes on.
    On several GPUs: torchrun --nproc-per-node=N -m charlstm train CONFIG.
    """
    from charlstm import console
    from charlstm.cli.distributed import load_together, work_together
    from charlstm.config import dump_yaml
    from charlstm.distributed import ProcessGroup
    from charlstm.errors import UserError
    from charlstm.training.trainer import Trainer

    overrides = list(set_ or [])
    overrides += [] if device is None else [f"training.device={device}"]
    overrides += [] if seed is None else [f"training.seed={seed}"]
    team = ProcessGroup.from_environment()

    def work() -> int:
        with team.sync_errors():
            check_options(context, config, list(set_ or []))
            settings, directory = _plan(team, config, overrides, name, runs)
            if resume and not directory.exists:
                raise UserError(
                    f"{directory.path} is no run: there is nothing to resume. Leave out --resume to begin it"
                )
        corpus = load_together(team, settings)
        if not dry_run:
            console.out(corpus.describe())
        with team.sync_errors():
            trainer = Trainer(settings, corpus, directory, team)
            trainer.choices()  # fails if an executor that was asked for refuses
        if team.size > 1:
            what = "streams" if corpus.documents is None else "documents of a batch"
            total = trainer.streams.batch_size
            console.out(f"{team.size} processes train together, each on {total // team.size} of the {total} {what}")
        if dry_run:
            console.out(dump_yaml(settings))
            console.out(corpus.describe())
            _describe(trainer)
            return 0
        return _run(context.obj, trainer, resume, overwrite)

    with console.as_log(not dry_run):
        work_together(team, context.obj, work)


def check_options(context: typer.Context, config: Path, changes: list[str]) -> None:
    """Raises UserError for an option that has no effect beside the others, or for what is no configuration."""
    from charlstm.errors import UserError

    given, changed = context.params, {change.partition("=")[0].strip() for change in changes}
    for option, field in (("device", "training.device"), ("seed", "training.seed"), ("name", "name")):
        if given[option] is not None and field in changed:
            raise UserError(f"--{option} and --set {field} both set the same: leave one out")
    if given["resume"] and given["overwrite"]:
        raise UserError("--resume goes on with a run and --overwrite deletes it: choose one")
    if given["dry_run"]:
        refuse(context, "with --dry-run, which deletes nothing", "overwrite")
    if is_folder(config):
        if not given["resume"]:
            if is_there(config / "config.yaml"):
                raise UserError(f"{config} is a run. To go on with it:  {command('train', config, '--resume')}")
            raise UserError(f"{config}: this is a folder, and no run's: name a configuration in YAML")
        refuse(context, f"with {config}, a run that keeps its name and place", "name", "runs")
        if "name" in changed:
            raise UserError(f"--set name has no effect with {config}, a run that keeps its name and place")


def _plan(
    team: ProcessGroup, config: Path, overrides: list[str], name: str | None, runs: Path
) -> tuple[Config, RunDirectory]:
    """What to train, and where it is kept."""
    from charlstm.config import for_text, load_config
    from charlstm.errors import UserError
    from charlstm.runs.directory import RunDirectory
    from charlstm.runs.read_only import ReadOnlyRunDirectory
    from charlstm.text.catalogue import catalogue_names
    from charlstm.text.sources import absolute

    folder = RunDirectory if team.first else ReadOnlyRunDirectory
    if is_folder(config):
        directory = folder(config)
        directory.config()
        settings = load_config(directory.config_file, overrides)
        source = _located(settings.corpus.source, directory)
    else:
        if str(config) in catalogue_names() and not config.exists():
            raise UserError(f"{config} is a corpus of the catalogue. {for_text(str(config), str(config))}")
        settings = load_config(config, overrides)
        settings = settings.model_copy(update={"name": folder_name(name or settings.name or config.stem)})
        directory, source = folder(runs / str(settings.name)), settings.corpus.source
    place = settings.corpus.model_copy(update={"source": absolute(source)})
    return settings.model_copy(update={"corpus": place}), directory


def _located(source: str | list[str], directory: RunDirectory) -> str | list[str]:
    """Where the text of a run lies now, with a note if that is another place."""
    from charlstm import console
    from charlstm.api import load
    from charlstm.config import as_yaml
    from charlstm.text.relocation import relocated

    if not directory.checkpoints.any():
        return source
    found = relocated(source, directory.path.absolute(), lambda: str(load(directory.path).header["corpus_digest"]))
    if found != source:
        console.note(f"note: {as_yaml(source)} is not there; the same text is {as_yaml(found)}")
    return found


def folder_name(name: str) -> str:
    """The name, if it may be one of a folder under runs/. Raises UserError."""
    from charlstm.config.sections import check_name
    from charlstm.errors import UserError

    try:
        return check_name(name)
    except ValueError as error:
        raise UserError(f"the name {name!r}: {error}. Give another one: --name NAME") from None


def _run(signals: Signals, trainer: Trainer, resume: bool, overwrite: bool) -> int:
    """Train; gives the exit code."""
    from charlstm import console
    from charlstm.cli import next_steps
    from charlstm.cli.distributed import agree
    from charlstm.cli.guard import Work
    from charlstm.cli.progress import follow

    settings, corpus, directory, team = trainer.config, trainer.corpus, trainer.directory, trainer.team
    # Only now: what cannot be trained leaves no folder behind, and deletes none.
    with ExitStack() as stack:
        with team.sync_errors():
            stack.enter_context(directory.writing())
        with team.sync_errors():
            if resume:
                for difference in trainer.resume():
                    console.note(f"note: {difference}")
                directory.write_config(settings)
            else:
                directory.create(settings, overwrite)
        trainer.choose_executor()
        choices = trainer.choices()  # a resumed run has the precision that it began with
        used = ", ".join(sorted({choice.executor.name for choice in choices}))
        count = sum(trainer.model.parameter_counts().values())
        fixed = f" that learn, {held:,} fixed" if (held := trainer.model.fixed_count()) else ""
        console.out(f"{count:,} parameters{fixed}, {trainer.device.type}, {trainer.precision}, executor {used}")
        refusals = ((name, choice.others[name]) for choice in choices for name in choice.made_for_device)
        for executor, reason in dict.fromkeys(refusals):
            console.note(f"note: executor {executor} cannot run here: {reason}")
        with signals.saving(trainer, Work(directory.path, next_steps.resume(trainer))):
            ended = follow(trainer.run(), unit=corpus.vocabulary.unit)
    agree(team, signals)
    with team.sync_errors():
        if team.first:
            _report(ended, trainer, leaving=signals.number is not None)
    if ended.why == "diverged":
        if team.first:
            console.error(ended.advice)
        return 3
    return 0 if signals.number is None else signals.exit_code  # also where it came too late to cut this run short


def _report(ended: Ended, trainer: Trainer, leaving: bool) -> None:
    from charlstm import console
    from charlstm.cli import next_steps

    directory, pseudo, unit = trainer.directory, trainer.model.bidirectional, trainer.corpus.vocabulary.unit
    speed = ended.characters / ended.seconds if ended.seconds else 0
    console.out(
        f"{ended.step:,} steps, {ended.characters:,} {unit}s in {console.duration(ended.seconds)} of training "
        f"({speed:,.0f} {unit}s per second)"
    )
    if ended.why == "early_stopping":
        console.out("stopped early: the held-out score did not improve any more")
    if ended.why == "good_enough":
        console.out("ended: the held-out score has reached training.budget.target_nats")
    kind = "pseudo-likelihood (each character given both sides)" if pseudo else "score"
    if ended.best_nats is not None:
        console.out(
            f"best held-out {kind}: {ended.best_nats:.4f} nats, "
            f"{ended.best_bits_per_character:.4f} bits per {unit}, at step {ended.best_step:,}"
        )
    console.out(f"run: {directory.path}")
    if ended.why in ("stopped", "diverged"):
        console.out(f"saved at step {ended.step:,}" if ended.why == "stopped" else "the last good checkpoint is kept")
        if (line := next_steps.go_on(ended, trainer)) is not None:
            console.out(f"go on:  {line}")
    elif leaving:
        console.out(f"trained to its end and saved; its report:  {command('compare', directory.path)}")
    else:
        console.out(f"report: {_write_report(directory)}")
        for line, start in zip(next_steps.after(trainer), ("next:  ", "       "), strict=True):
            console.out(f"{start} {line}")


def _write_report(directory: RunDirectory) -> Path:
    """The run's own report page: learning curve, sample, settings. Raises UserError: the run is whole without it."""
    from charlstm.comparison.collect import compare_runs
    from charlstm.comparison.report import write_report
    from charlstm.errors import UserError

    try:
        return write_report(compare_runs([directory.path]), directory.report_folder)[0]
    except UserError as problem:
        raise UserError(
            f"the run is complete and saved, only its report is missing: {problem}. "
            f"Make it: charlstm compare {directory.path}"
        ) from problem


def _describe(trainer: Trainer) -> None:
    from charlstm import console
    from charlstm.hardware.device import memory

    counts = trainer.model.parameter_counts()
    console.table(
        [
            ["parameters", ""],
            *([k, f"{v:,}"] for k, v in counts.items()),
            ["all", f"{sum(counts.values()):,}"],
            *([["fixed, beside them", f"{held:,}"]] if (held := trainer.model.fixed_count()) else []),
        ]
    )
    parts = trainer.memory_estimate()
    console.table(
        [
            ["memory (estimate)" if trainer.team.size == 1 else "memory of each process (estimate)", "MB"],
            *([k, f"{v / 1e6:,.1f}"] for k, v in parts.items()),
            ["all", f"{sum(parts.values()) / 1e6:,.1f}"],
        ]
    )
    if (found := memory(trainer.device)) is not None:
        free, total = (f"{size / 1e6:,.1f}" for size in (found.free + found.held, found.total))
        console.out(f"free on {trainer.device}: {free} MB of {total} MB")
    console.out(f"device {trainer.device}, precision {trainer.precision}")
    trainer.choose_executor()
    for layer, choice in enumerate(trainer.choices()):
        console.out(f"layer {layer}: executor {choice.executor.name}: {choice.reason}")
        for other, why in choice.others.items():
            console.out(f"         not {other}: {why}")
    if trainer.streams.notice:
        console.out(trainer.streams.notice)
    console.out(f"{trainer.streams.steps_per_epoch:,} steps an epoch; the run would be {trainer.directory.path}")
