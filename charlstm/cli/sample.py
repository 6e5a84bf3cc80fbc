"""The command ``charlstm sample``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from charlstm.cli import completion
from charlstm.cli.options import (
    RUN_HELP,
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
from charlstm.cli.text_arguments import MAX_PROMPT_BYTES, TEXT_HELP, file_argument, text_argument

if TYPE_CHECKING:
    from charlstm.api import LoadedRun


def sample(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(callback=expand_home, autocompletion=completion.runs, help=RUN_HELP)],
    prime: Annotated[str, typer.Option(help=f"Text to continue; {TEXT_HELP}.")] = "",
    suffix: Annotated[
        str, typer.Option(help="Text to write the beginning of (backward models); @FILE, - and @@ as for --prime.")
    ] = "",
    infill: Annotated[
        str | None,
        typer.Option(
            help="Text with gaps to fill (bidirectional models), such as 'To be, ___ not to be'; @FILE, - and @@ as "
            "for --prime."
        ),
    ] = None,
    infill_file: Annotated[
        Path | None,
        typer.Option(callback=expand_home, help="File with the text to fill; the same as --infill @FILE."),
    ] = None,
    gap: Annotated[
        str, typer.Option(help="Character that marks one character to fill, even if it is in the vocabulary.")
    ] = "_",
    sweeps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Gibbs sweeps: how often each gap character is resampled. More are slower and better.",
            show_default="40",
        ),
    ] = None,
    length: Annotated[int, typer.Option(min=0, help="Number of characters to write.")] = 400,
    temperature: Annotated[
        float,
        typer.Option(
            help="Divides the logits: below 1 safer, above 1 more varied; 0: always the most probable character."
        ),
    ] = 1.0,
    top_k: Annotated[int, typer.Option(help="Sample from the k most probable characters; 0: from all.")] = 0,
    top_p: Annotated[
        float,
        typer.Option(help="Sample from the most probable characters whose probabilities add up to this; 1: from all."),
    ] = 1.0,
    min_p: Annotated[
        float,
        typer.Option(help="Sample from characters at least this fraction as probable as the best one; 0: from all."),
    ] = 0.0,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**63 - 1, help="Seed of the random numbers; by default another one each time."),
    ] = None,
    num_samples: Annotated[int, typer.Option(min=1, help="Number of texts, sampled in parallel.")] = 1,
    until: Annotated[
        str | None,
        typer.Option(
            help="End a text once it has written this; by default, a model of documents stops at the end of one."
        ),
    ] = None,
    unknown: Annotated[
        str,
        typer.Option(
            autocompletion=completion.words("error", "skip"),
            help="For characters of the given text that the model does not know: error or skip.",
        ),
    ] = "error",
    lead_in: Annotated[
        bool,
        typer.Option(
            "--lead-in/--no-lead-in",
            help="Let the model first read a passage of its training text, which is not printed; without, it starts "
            "from the zero state, from which a young model writes noise. Models of documents need none.",
        ),
    ] = True,
    stream: Annotated[
        bool | None,
        typer.Option("--stream/--no-stream", help="Print the text while it is sampled; by default on a terminal."),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the texts and the log-probability of each character as JSON.")
    ] = False,
    novelty: Annotated[
        bool,
        typer.Option(
            "--novelty",
            help="Show which passages of the texts stand in the training text: marked on a terminal, and in a table.",
        ),
    ] = False,
    runs: RunsOption = RUNS,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "cpu",
    precision: Annotated[
        str,
        typer.Option(
            autocompletion=completion.words("float32", "bfloat16"),
            help="Precision of the matrix products: float32, or bfloat16, which is faster and nearly equal.",
        ),
    ] = "float32",
) -> None:
    """Sample text from a trained model.

    The text goes to standard output, messages to standard error. A forward model continues --prime, a backward model
    writes what comes before --suffix, and a bidirectional model fills the gaps of --infill.
    """
    import random

    from charlstm import console
    from charlstm.paths import is_folder
    from charlstm.runs.directory import RunDirectory

    on_unknown: Literal["error", "skip"] = (
        "skip" if check_choice("--unknown", unknown, "error", "skip") == "skip" else "error"
    )
    use_bfloat16 = check_choice("--precision", precision, "float32", "bfloat16") == "bfloat16"
    run = find_run(context, run, checkpoint, device, runs)
    if is_folder(run) and (directory := RunDirectory(run)).exists:  # before torch is loaded
        _check(context, directory.config().model.direction, temperature, num_samples, json_)

    import torch

    from charlstm.api import load
    from charlstm.cli import sample_output
    from charlstm.generation import Sampling
    from charlstm.generation import infill as fill
    from charlstm.generation.infilling import SWEEPS
    from charlstm.generation.streaming import stream as stream_ids
    from charlstm.text import decoding

    loaded = load(run, checkpoint, device)
    _check(context, loaded.model.direction, temperature, num_samples, json_)
    sampling = Sampling(temperature, top_k, top_p, min_p)
    encoding = loaded.config.corpus.encoding
    seed_used = random.randrange(2**31) if seed is None else seed

    def decode(content: bytes, name: str) -> str:
        return decoding.decode(content, encoding, name)

    def note_seed() -> None:  # after everything that may fail
        if seed is None:
            console.note(f"seed {seed_used}")

    if infill_file is not None:
        infill = file_argument("--infill-file", infill_file, decode, MAX_PROMPT_BYTES)
    elif infill is not None:
        infill = text_argument("--infill", infill, decode)
    if infill is not None:
        text, sweep_count = loaded.prepare(infill), SWEEPS if sweeps is None else sweeps
        _note_separator(loaded, text)
        filled = fill(
            loaded.model, loaded.vocabulary, text, gap, sampling, seed_used, num_samples, sweep_count, on_unknown
        )
        note_seed()
        sample_output.print_infilled(loaded, seed_used, filled, json_)
        return
    text = text_argument("--suffix", suffix, decode) if suffix else text_argument("--prime", prime, decode)
    text = loaded.prepare(text)
    _note_separator(loaded, text)
    live = console.is_terminal() if stream is None else stream
    with torch.autocast(loaded.model.head.weight.device.type, torch.bfloat16, enabled=use_bfloat16):
        if live and not json_ and not novelty and num_samples == 1 and loaded.model.direction == "forward":
            end = loaded.document_end if until is None else until
            pieces = stream_ids(
                loaded.model,
                loaded.vocabulary,
                text,
                length,
                sampling,
                seed_used,
                end,
                on_unknown,
                until is None,
                loaded.lead_ins if lead_in else (),
            )
            note_seed()
            sample_output.print_stream(loaded, pieces)
            return
        samples = loaded.generate(
            text,
            length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=seed_used,
            num_samples=num_samples,
            until=until,
            unknown=on_unknown,
            lead_in=lead_in,
        )
    note_seed()
    is_documents = until is None and loaded.document_end != ""
    report = sample_output.measure_novelty(loaded, samples) if novelty else None
    sample_output.print_samples(loaded, seed_used, samples, is_documents, json_, report)


def _check(context: typer.Context, direction: str, temperature: float, num_samples: int, as_json: bool) -> None:
    """Raises UserError for an option that has no effect with this model, or with other options."""
    from charlstm.errors import UserError

    if temperature == 0:
        refuse(
            context, "with --temperature 0, which always takes the most probable character", "top_k", "top_p", "min_p"
        )
    if given := given_options(context, "infill", "infill_file"):
        if len(given) > 1:
            raise UserError("--infill and --infill-file both give the text: leave one out")
        reason = f"with {given[0]}, which only fills gaps"
        refuse(context, reason, "prime", "suffix", "length", "until", "lead_in", "stream", "precision", "novelty")
        return
    refuse(context, "without --infill", "gap", "sweeps")
    if context.params["stream"] and (as_json or num_samples > 1 or context.params["novelty"]):
        option = "--json" if as_json else "--num-samples" if num_samples > 1 else "--novelty"
        refuse(context, f"with {option}, which prints only complete texts", "stream")
    if direction == "forward" and given_options(context, "suffix"):
        raise UserError(
            "--suffix is for a model with direction: backward; this model has direction: forward: use --prime"
        )
    if direction == "backward" and given_options(context, "prime"):
        raise UserError(
            "--prime is for a model with direction: forward; this model has direction: backward: use --suffix"
        )
    if not given_options(context, "prime", "suffix"):
        refuse(context, f"without a {'--suffix' if direction == 'backward' else '--prime'}", "unknown")


def _note_separator(loaded: LoadedRun, text: str) -> None:
    """Print a note if a given text contains the end of a document, such as the newline that ends most files."""
    from charlstm import console

    end = loaded.document_end
    if end and end in text:
        console.note(f"note: the given text contains {end!r}, which ends a document: no training document contains it")
