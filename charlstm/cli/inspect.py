"""The command ``charlstm inspect``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from charlstm import paths
from charlstm.cli import completion
from charlstm.cli.options import (
    RUNS,
    CheckpointOption,
    DeviceOption,
    RunsOption,
    check_choice,
    expand_home,
    find_run,
    given_options,
    refuse,
)
from charlstm.cli.text_arguments import (
    REMOVE,
    TEXT_HELP,
    check_known,
    file_argument,
    text_argument,
    unless_text_is_given,
)
from charlstm.inspection import CHARACTERS, CONTEXT

if TYPE_CHECKING:
    from charlstm.api import LoadedRun
    from charlstm.inspection.passages import InspectedText
    from charlstm.inspection.unit_scores import Unit

FOLDER = "inspection"


def inspect(
    context: typer.Context,
    named: Annotated[
        list[Path],
        typer.Argument(
            callback=expand_home,
            metavar="RUN...",
            autocompletion=completion.runs,
            help="Runs: their folders, their names in runs/, latest, or checkpoint files; several are shown side by "
            "side.",
        ),
    ],
    text: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Text to read: a file, the text itself, or - for standard input; by default a typical passage of "
            "the validation split.",
        ),
    ] = None,
    characters: Annotated[
        int, typer.Option(min=1, max=20_000, help="Largest number of characters to read.")
    ] = CHARACTERS,
    context_: Annotated[
        int,
        typer.Option(
            "--context",
            min=0,
            max=100,
            help="How many characters before each prediction are measured for their influence on it; 0: none, "
            "which is faster.",
        ),
    ] = CONTEXT,
    output: Annotated[
        Path | None,
        typer.Option(
            callback=expand_home, help="Folder for the page, its plots and report.json.", show_default="RUN/inspection"
        ),
    ] = None,
    unit: Annotated[
        int | None,
        typer.Option(min=0, help="Instead of a page, sample text with this unit, counted from 0, held at --set."),
    ] = None,
    layer: Annotated[int, typer.Option(min=1, help="The layer of --unit, counted from 1.")] = 1,
    part: Annotated[
        str, typer.Option(help="The part of the state of --unit, such as h or c.", show_default="the last one")
    ] = "",
    set_: Annotated[
        str,
        typer.Option(
            "--set", metavar="VALUE", help="The value of --unit at every character; mean: its mean over the text."
        ),
    ] = "",
    prime: Annotated[
        str,
        typer.Option(
            help=f"Text to continue, or for a backward model to precede; {TEXT_HELP}. Without it both texts begin from "
            "the zero state. Only with --unit."
        ),
    ] = "",
    length: Annotated[int, typer.Option(min=1, help="Number of characters to sample. Only with --unit.")] = 400,
    temperature: Annotated[float, typer.Option(help="Divides the logits. Only with --unit.")] = 0.6,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the random numbers.")] = 1,
    unknown: Annotated[
        str,
        typer.Option(
            autocompletion=completion.words("error", "skip"),
            help="What to do about characters of --text that the model does not know: error or skip.",
        ),
    ] = "error",
    runs: RunsOption = RUNS,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "cpu",
    json_: Annotated[bool, typer.Option("--json", help="Print the units of interest, or the texts, as JSON.")] = False,
) -> None:
    """See inside a run: a page that colors a text by what each unit does, and shows what predictions depend on.

    Units that represent something, such as being inside quotes, are listed first. With --unit, two texts are
    sampled with the same random numbers instead: one by the unchanged model, one with the unit held at a value.
    """
    skip = check_choice("--unknown", unknown, "error", "skip") == "skip"
    if text is None:
        refuse(context, "without --text", "unknown")
    if unit is None:
        refuse(context, "without --unit", "layer", "part", "set_", "prime", "length", "temperature")
        paths_of_runs = _different([find_run(context, run, checkpoint, device, runs) for run in named])
        words = [*paths_of_runs, *(word for option in _given(context) for word in option)]

        from charlstm.api import load

        loaded = {path: load(path, checkpoint, device) for path in paths_of_runs}
        first = _text(next(iter(loaded.values())), text, characters, skip)
        _write_page(loaded, first, context_, output, seed, words, json_)
        return
    refuse(context, "with --unit, which makes no page", "output", "context_")
    if len(named) > 1:
        raise typer.BadParameter("it holds a unit of one run: give one RUN", param_hint="--unit")
    if not set_:
        raise typer.BadParameter("it needs --set VALUE, at which the unit is held", param_hint="--unit")
    if set_ != "mean":
        refuse(context, "with a number as --set; --set mean is that over a text", "text", "characters", "unknown")
    path = find_run(context, named[0], checkpoint, device, runs)

    from charlstm.api import load

    run = load(path, checkpoint, device)
    held = Held(unit, layer, part, set_, lambda: _text(run, text, characters, skip))
    _sample_held(run, held, prime, length, temperature, seed, json_)


class Held(NamedTuple):
    """The options of a unit that is held, and the text over which its mean is taken."""

    number: int
    layer: int
    part: str
    value: str
    text: Callable[[], InspectedText]


def _different(runs: list[Path]) -> list[Path]:
    """The runs. Raises UserError if one is given twice."""
    from charlstm.errors import UserError

    if len({path.resolve() for path in runs}) < len(runs):
        raise UserError("the same run is named twice: name each run once")
    return runs


def _given(context: typer.Context) -> list[tuple[str, str]]:
    """The options on the command line that a page depends on, to be shown in it."""
    names = ("text", "characters", "context_", "seed", "unknown", "checkpoint")
    return [(option, str(context.params[name])) for name in names for option in given_options(context, name)]


def _write_page(
    loaded: dict[Path, LoadedRun],
    text: InspectedText,
    lags: int,
    output: Path | None,
    seed: int,
    words: list[object],
    json_: bool,
) -> None:
    from charlstm import console
    from charlstm.inspection.inspect import inspect_run
    from charlstm.inspection.page import write_page
    from charlstm.inspection.passages import same_text
    from charlstm.inspection.unit_sections import score_record
    from charlstm.paths import command
    from charlstm.progress_line import ProgressLine

    names = [path.resolve().name for path in loaded]
    if len(set(names)) < len(names):
        names = [str(path) for path in loaded]
    (path, first), *_ = loaded.items()
    others = list(loaded)[1:]
    inspections = []
    stages = list[tuple[str, str]]()
    with ProgressLine(on_stderr=True) as line:
        for number, (run, name) in enumerate(zip(loaded.values(), names, strict=True)):

            def show(fraction: float, stage: str, number: int = number, name: str = name) -> None:
                is_new = stages[-1:] != [(name, stage)]
                if is_new or line.live:
                    line.update((number + fraction) / len(loaded), lambda: f"{name}: {stage}", at_once=is_new)
                stages.append((name, stage))

            passage = text if number == 0 else same_text(first, text, run, name)
            inspections.append(inspect_run(run, name, passage, lags, seed, on_stage=show))
    folder = output or _folder(path, first) / "-".join([FOLDER, *(path.resolve().name for path in others)])
    files = write_page(inspections, folder, command("inspect", *words))
    if json_:
        console.out_json({one.name: [score_record(score) for score in one.scores] for one in inspections})
        return
    for one in inspections:
        of_interest = [score.sentence() for score in one.scores if score.is_represented]
        console.out_wrapped(f"{one.name}: " + ("; ".join(of_interest) or "no unit of interest"))
    console.out(f"page: {files[0]}")


def _folder(path: Path, run: LoadedRun) -> Path:
    """The folder of a run, or that of a checkpoint file without one."""
    return path.parent if run.folder is None else run.folder


def _text(run: LoadedRun, text: str | None, characters: int, skip: bool) -> InspectedText:
    """The text of --text, or of the run's corpus."""
    from charlstm.errors import UserError
    from charlstm.inspection.passages import encode_text, text_of_run

    if text is None:
        with unless_text_is_given():
            return text_of_run(run, characters)
    path = paths.expand_home(Path(text))
    if text == "-" or (text and paths.path_exists(path)):
        source = f"the beginning of {'standard input' if text == '-' else text}"
        return replace(encode_text(run, file_argument("--text", text, run.decode), characters, skip), source=source)
    if path.suffix and not any(character.isspace() for character in text):
        raise UserError(f"--text {text}: there is no such file. A text without spaces can be given in a file")
    return encode_text(run, text, characters, skip)


def _sample_held(
    run: LoadedRun, held: Held, prime: str, length: int, temperature: float, seed: int, json_: bool
) -> None:
    """Print a text by the unchanged model, and one with a unit held."""
    from charlstm import console
    from charlstm.generation import Sampling
    from charlstm.inspection.forcing import Force, check_unit, sample_forced
    from charlstm.inspection.inspect import first_document
    from charlstm.inspection.unit_scores import Unit
    from charlstm.text import decoding

    unit = Unit(held.part or run.model.recurrent.cell.state[-1], held.layer - 1, held.number)
    check_unit(run.model, unit)
    force = Force(unit, _value(run, held, unit))
    encoding = run.config.corpus.encoding
    given = text_argument("--prime", prime, lambda content, name: decoding.decode(content, encoding, name))
    step = -1 if run.model.direction == "backward" else 1
    given = run.prepare(given)
    check_known("--prime", prime, given, run.vocabulary, REMOVE)
    ids = run.vocabulary.encode(given).tolist()[::step]
    sampled = sample_forced(run.model, ids, length, Sampling(temperature), seed, [None, force])
    written = [first_document(run, run.vocabulary.decode(more[::step])) for more in sampled]
    unchanged, changed = (given + text if step == 1 else text + given for text in written)
    if json_:
        record = {**asdict(unit), "layer": held.layer, "value": force.value}
        console.out_json({**record, "unchanged": unchanged, "held": changed})
        return
    console.out(f"unchanged:\n{unchanged}\n")
    console.out(f"{unit} held at {force.value:.3g}:\n{changed}")


def _value(run: LoadedRun, held: Held, unit: Unit) -> float:
    """The number of --set, or the mean of the unit over the text. Raises BadParameter."""
    from charlstm.inspection.recording import record

    if held.value == "mean":
        text = held.text()
        return float(record(run.model, text.ids, text.bounds).states[unit.part][:, unit.layer, unit.unit].mean())
    try:
        number = float(held.value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise typer.BadParameter(f"{held.value!r} is neither a number nor mean", param_hint="--set")
    return number
