"""Refuses options of ``charlstm sample`` that have no effect with the model or with other options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charlstm.cli.interactive.command import check_interactive
from charlstm.cli.options import given_options, refuse
from charlstm.cli.temperatures import parse_temperatures

if TYPE_CHECKING:
    import typer


def check_options(context: typer.Context, direction: str) -> None:
    """Check the options for a model of this direction. Raises UserError."""
    from charlstm.errors import UserError

    options = context.params
    temperatures = parse_temperatures(options["temperature"])
    is_one_number = len(temperatures) == 1 and temperatures[0].final is None
    if all(temperature.is_greedy for temperature in temperatures):
        reason = "with --temperature 0, which always takes the most probable character"
        refuse(context, reason, "top_k", "top_p", "min_p", "best_of")
    if options["interactive"]:
        if not is_one_number:
            raise UserError(
                f"--temperature {options['temperature']}: with --interactive, keys change the temperature: give one"
            )
        check_interactive(context, direction)
    if given := given_options(context, "infill", "infill_file"):
        if len(given) > 1:
            raise UserError("--infill and --infill-file both give the text: leave one out")
        reason = f"with {given[0]}, which only fills gaps"
        refuse(context, reason, "prime", "suffix", "length", "until", "lead_in", "stream", "precision", "novelty")
        refuse(context, reason, "no_repeat", "average_with", "regex", "best_of", "beam")
        if not is_one_number:
            raise UserError(
                f"--temperature {options['temperature']}: {given[0]} fills gaps in turns, at one temperature: give one"
            )
        _check_separator(context, 1)
        return
    refuse(context, "without --infill", "gap", "sweeps")
    _check_choice_of_texts(context, len(temperatures))
    _check_separator(context, len(temperatures))
    if direction == "forward" and given_options(context, "suffix"):
        raise UserError(
            "--suffix is for a model with direction: backward; this model has direction: forward: use --prime"
        )
    if direction == "backward" and given_options(context, "prime"):
        raise UserError(
            "--prime is for a model with direction: forward; this model has direction: backward: use --suffix"
        )
    if direction == "backward" and options["stream"]:
        refuse(context, "with direction: backward: the model writes the end of its text first", "stream")
    if not given_options(context, "prime", "suffix"):
        refuse(context, f"without a {'--suffix' if direction == 'backward' else '--prime'}", "unknown")


def check_pattern(pattern: str | None) -> None:
    """Raises UserError if the pattern of --regex is not one, before the model is loaded."""
    if pattern is not None:
        from charlstm.text.pattern import parse_pattern

        parse_pattern(pattern)


def check_runs_to_average(direction: str, runs: Sequence[Path]) -> None:
    """Raises UserError, before they are loaded, if runs to average with one of this direction have another one."""
    from charlstm.errors import UserError
    from charlstm.paths import is_folder
    from charlstm.runs.directory import RunDirectory

    for run in runs:
        if is_folder(run) and (directory := RunDirectory(run)).exists:
            other = directory.config().model.direction
            if other != direction:
                raise UserError(f"--average-with {run}: it has direction: {other}, RUN has direction: {direction}")


def _check_choice_of_texts(context: typer.Context, temperatures: int) -> None:
    """Check the options that determine which texts are printed, and when. Raises UserError."""
    from charlstm.errors import UserError

    options = context.params
    num_samples, beam, best_of = options["num_samples"], options["beam"], options["best_of"]
    if beam is not None:
        reason = "with --beam, which takes the most probable texts and samples nothing"
        refuse(context, reason, "temperature", "top_k", "top_p", "min_p", "seed", "best_of")
        if num_samples > beam:
            raise UserError(f"--beam {beam} gives at most {beam} texts, --num-samples is {num_samples}: widen the beam")
    if best_of is not None and best_of <= num_samples:
        raise UserError(f"--best-of {best_of} has no effect with --num-samples {num_samples}: sample more than that")
    if options["regex"] is not None:
        refuse(context, "with --regex, whose pattern says where a text ends", "until")
    if options["stream"]:
        names = {"json_": "--json", "novelty": "--novelty", "best_of": "--best-of", "beam": "--beam"}
        given = [option for name, option in names.items() if options[name]]
        if num_samples > 1:
            given.insert(0, "--num-samples")
        if temperatures > 1:
            given.insert(0, f"{temperatures} temperatures")
        if given:
            refuse(context, f"with {given[0]}: only complete texts are printed", "stream")


def _check_separator(context: typer.Context, temperatures: int) -> None:
    """Raises UserError if --separator has no effect."""
    if context.params["json_"]:
        refuse(context, "with --json, which takes the texts apart", "separator")
    if context.params["num_samples"] * temperatures == 1:
        refuse(context, "on a single text: ask for several by --num-samples", "separator")
