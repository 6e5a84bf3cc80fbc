"""The command ``charlstm evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli import completion
from charlstm.cli.options import (
    CheckpointOption,
    DeviceOption,
    RunArgument,
    RunsOption,
    check_choice,
    expand_home,
    find_run,
    output_folder,
    refuse,
)
from charlstm.cli.text_arguments import file_argument, unless_text_is_given
from charlstm.paths import RUNS

if TYPE_CHECKING:
    from charlstm.api import LoadedRun
    from charlstm.evaluation.restoration import Ids
    from charlstm.text.documents import Documents


MAX_NATS = 700.0
"""Above it, the perplexity overflows a float."""


def evaluate(
    context: typer.Context,
    run: RunArgument,
    text: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Text file to score instead of a split; - reads standard input."),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            autocompletion=completion.words("validation", "test", "train"),
            help="Split of the run's corpus: validation, test or train.",
        ),
    ] = "validation",
    unknown: Annotated[
        str,
        typer.Option(
            autocompletion=completion.words("error", "skip"),
            help="What to do about characters of --text that the model does not know: error or skip.",
        ),
    ] = "error",
    runs: RunsOption = RUNS,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "auto",
    window: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Score windows of this many characters, each from a zero state with one character before it, as "
            "models with a limited context are scored (nanoGPT: 256).",
            show_default="the whole text before a character counts",
        ),
    ] = None,
    restore: Annotated[
        str,
        typer.Option(
            help="Instead of scoring, delete gaps of these lengths in characters, such as 1,3,8, and print the "
            "fraction of the deleted characters that the model restores.",
            show_default=False,
        ),
    ] = "",
    gaps: Annotated[int, typer.Option(min=1, help="Number of gaps of each length. Only with --restore.")] = 200,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Seed of the positions of the gaps. Only with --restore.")
    ] = 1,
    dynamic: Annotated[
        bool,
        typer.Option(
            "--dynamic",
            help="Also print the score of a model that keeps training on what it has just read (dynamic evaluation, "
            "Krause et al. 2018).",
        ),
    ] = False,
    rule: Annotated[
        str,
        typer.Option(
            autocompletion=completion.words("rms", "sgd"),
            help="How weights are updated: sgd, or rms, which scales each by the size of its gradients. Only with "
            "--dynamic.",
        ),
    ] = "rms",
    segment: Annotated[
        int, typer.Option(min=1, help="Characters between two updates of the weights. Only with --dynamic.")
    ] = 20,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0, help="Learning rate of --dynamic.", show_default="tuned, with --decay, on the validation split"
        ),
    ] = None,
    decay: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Fraction by which the weights return to the trained ones at each update of --dynamic.",
            show_default="tuned",
        ),
    ] = None,
    tune_temperature: Annotated[
        bool,
        typer.Option(
            "--tune-temperature",
            help="Also print the score at the temperature that predicts the validation split best (Guo et al. 2017).",
        ),
    ] = False,
    map_: Annotated[
        bool,
        typer.Option(
            "--map",
            help="Also show the text, each character shaded by its surprise, on the terminal and as a page, beside "
            "the scores of compressors and of an n-gram model of the training text.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(callback=expand_home, help="Folder for the page of --map.", show_default="RUN/surprise/TEXT"),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Score a text or a split, every character once, or restore deleted characters (--restore).

    For example: charlstm evaluate latest --text other.txt.
    """
    from charlstm import console
    from charlstm.errors import UserError
    from charlstm.progress_line import ProgressLine

    check_choice("--split", split, "train", "validation", "test")
    check_choice("--unknown", unknown, "error", "skip")
    check_choice("--rule", rule, "rms", "sgd")
    lengths = _lengths(restore)
    if not dynamic:
        refuse(context, "without --dynamic", "rule", "segment", "rate", "decay")
    if lengths or dynamic:
        refuse(context, "with --restore" if lengths else "with --dynamic", "tune_temperature")
    if lengths:
        refuse(context, "with --restore", "dynamic")
    if lengths or dynamic or tune_temperature:
        other = "restore" if lengths else "dynamic" if dynamic else "tune-temperature"
        refuse(context, f"with --{other}", "map_")
        refuse(context, f"with --{other}", "window")
    if not map_:
        refuse(context, "without --map", "output")
    if not lengths:
        refuse(context, "without --restore", "gaps", "seed")
    if text is None:
        refuse(context, "without --text", "unknown")
    else:
        refuse(context, "with --text, all of which is scored", "split")
    run = find_run(context, run, checkpoint, device, runs)
    name = f"{split} split" if text is None else text
    page = f"surprise/{split if text is None else Path(text).stem}"
    page_folder = output_folder("--output", output, run, page) if map_ else None

    from charlstm.api import load
    from charlstm.cli.evaluate_map import write_map
    from charlstm.cli.evaluate_tuned import Dynamic, print_dynamic, print_tempered
    from charlstm.evaluation.score import mean_score, nats_per_character
    from charlstm.text.blocks import windows
    from charlstm.text.documents import Documents

    loaded = load(run, checkpoint, device)
    if text is None and split == "validation" and not loaded.config.corpus.has_validation:
        test = ", the test split with --split test" if loaded.config.corpus.test_fraction else ""
        raise UserError(
            f"{run} has no validation split: corpus.validation_fraction is 0. Score its training text with --split "
            f"train{test}, or another text with --text FILE"
        )
    with unless_text_is_given():
        content = loaded.corpus().split(split) if text is None else _read(loaded, text, unknown)
    if lengths:
        if isinstance(content, Documents):
            if content.is_running_text:
                raise UserError("--restore needs one contiguous text, not blocks of one: give it one with --text FILE")
            raise UserError("--restore needs one running text; this model was trained on independent documents")
        _restore(loaded, content, name, lengths, gaps, seed, json_)
        return
    scored_split = split if text is None else None
    if dynamic:
        how = Dynamic("sgd" if rule == "sgd" else "rms", segment, rate, decay)
        print_dynamic(loaded, content, scored_split, name, how, json_)
        return
    if tune_temperature:
        print_tempered(loaded, content, scored_split, name, json_)
        return
    scored = content
    if window is not None:
        if isinstance(content, Documents) and not content.is_running_text:
            raise UserError("--window needs one running text: independent documents are each read from a zero state")
        scored = windows(content, window, loaded.model.direction == "backward")
    with ProgressLine(on_stderr=True) as line:
        nats = nats_per_character(loaded.model, scored, line.fractions(f"scoring {name}"))
    result = mean_score(nats, loaded.model.bidirectional)
    if not result.nats < MAX_NATS:
        raise UserError(f"{name}: {result.nats:.3g} nats per character: the model's weights are too large to be used")
    unit = loaded.vocabulary.unit
    shown = None if page_folder is None else write_map(loaded, scored, nats, name, page_folder, run)
    if json_:
        record = {
            "text": name,
            "nats_per_" + unit: result.nats,
            "bits_per_" + unit: result.bits_per_character,
            "perplexity": result.perplexity,
            f"{unit}s_scored": result.characters,
            **({} if window is None else {"window": window}),
            "pseudo_likelihood": result.is_pseudo_likelihood,
            **({} if shown is None else shown.record()),
        }
        console.out_json(record)
        return
    if result.is_pseudo_likelihood:
        console.out_wrapped(
            "pseudo-likelihood: each character given both sides of it; not comparable with a one-directional score"
        )
    ends = "" if loaded.document_end == "" or result.is_pseudo_likelihood else ", including the end of each document"
    in_windows = "" if window is None else f" in windows of {window:,}"
    console.out(f"{name}: {result.characters:,} {unit}s scored{ends}{in_windows}")
    console.out(f"nats per {unit}  {result.nats:.4f}")
    console.out(f"bits per {unit}  {result.bits_per_character:.4f}")
    console.out(f"perplexity per {unit}  {result.perplexity:.3f}")
    if shown is not None:
        shown.print()


def _lengths(listed: str) -> list[int]:
    """Parse gap lengths: ``8,1,3`` gives [1, 3, 8]. Raises BadParameter."""
    parts = [part.strip() for part in listed.split(",")] if listed else []
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{listed!r} is not a list of lengths such as 1,3,8", param_hint="--restore")
    return sorted({int(part) for part in parts})


def _read(loaded: LoadedRun, text: str, unknown: str) -> Ids | Documents:
    """Read the text of a file. Raises UserError if that fails, or if it is empty."""
    return loaded.read(file_argument("--text", text, loaded.decode), "skip" if unknown == "skip" else "error")


def _restore(loaded: LoadedRun, ids: Ids, name: str, lengths: list[int], gaps: int, seed: int, as_json: bool) -> None:
    from dataclasses import asdict

    from charlstm import console
    from charlstm.evaluation import restore

    contexts = {"bidirectional": "both sides", "forward": "the left context", "backward": "the right context"}
    seen, results = contexts[loaded.model.direction], list(restore(loaded.model, ids, lengths, gaps, seed))
    if as_json:
        record = {"text": name, "seed": seed, "seen": seen, "restoration": [asdict(r) for r in results]}
        console.out_json(record)
        return
    greedy = not loaded.model.bidirectional
    console.out_wrapped(
        f"{name}: {loaded.vocabulary.unit}s restored from {seen}, {gaps:,} gaps of each length, seed {seed}"
    )
    header = ["gap", "restored", "95% interval", *(["greedy"] if greedy else []), "most frequent"]
    rows = [
        [
            str(r.length),
            f"{r.restored:.1%}",
            f"{r.low:.1%} to {r.high:.1%}",
            *([] if r.greedy is None else [f"{r.greedy:.1%}"]),
            f"{r.most_frequent:.1%}",
        ]
        for r in results
    ]
    console.table([header, *rows])
