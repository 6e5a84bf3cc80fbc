"""The command ``charlstm sample``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import typer

from charlstm.cli import sample_options as options
from charlstm.cli.interactive.command import write_together
from charlstm.cli.options import (
    CheckpointOption,
    DeviceOption,
    RunArgument,
    RunsOption,
    check_choice,
    find_run,
    given_options,
)
from charlstm.cli.sample_checks import check_options, check_pattern, check_runs_to_average
from charlstm.cli.sample_ends import note_unended, until_argument
from charlstm.cli.temperatures import parse_temperatures
from charlstm.cli.text_arguments import MAX_PROMPT_BYTES, check_known, file_argument, text_argument
from charlstm.paths import RUNS

if TYPE_CHECKING:
    from charlstm.api import LoadedRun


def sample(
    context: typer.Context,
    run: RunArgument,
    prime: options.Prime = "",
    suffix: options.Suffix = "",
    infill: options.Infill = None,
    infill_file: options.InfillFile = None,
    gap: options.Gap = "_",
    sweeps: options.Sweeps = None,
    length: options.Length = 400,
    temperature: options.Temperature = "1.0",
    top_k: options.TopK = 0,
    top_p: options.TopP = 1.0,
    min_p: options.MinP = 0.0,
    no_repeat: options.NoRepeat = None,
    average_with: options.AverageWith = None,
    seed: options.Seed = None,
    num_samples: options.NumSamples = 1,
    until: options.Until = None,
    regex: options.Regex = None,
    best_of: options.BestOf = None,
    beam: options.Beam = None,
    unknown: options.Unknown = "error",
    lead_in: options.LeadIn = True,
    interactive: options.Interactive = False,
    stream: options.Stream = None,
    separator: options.Separator = None,
    json_: options.Json = False,
    novelty: options.Novelty = False,
    runs: RunsOption = RUNS,
    checkpoint: CheckpointOption = "best",
    device: DeviceOption = "cpu",
    precision: options.Precision = "float32",
) -> None:
    """Sample text from a trained model.

    For example: charlstm sample latest --prime "Once" --temperature 0.8. The text goes to standard output, messages to
    standard error. A forward model continues --prime, a backward model writes what comes before --suffix, and a
    bidirectional model fills the gaps of --infill.
    """
    import random

    from charlstm import console
    from charlstm.paths import is_folder
    from charlstm.runs import names
    from charlstm.runs.directory import RunDirectory
    from charlstm.runs.naming import is_step
    from charlstm.standard_streams import is_pipe

    on_unknown: Literal["error", "skip"] = (
        "skip" if check_choice("--unknown", unknown, "error", "skip") == "skip" else "error"
    )
    use_bfloat16 = check_choice("--precision", precision, "float32", "bfloat16") == "bfloat16"
    temperatures = parse_temperatures(temperature)
    run = find_run(context, run, checkpoint, device, runs)
    others = [names.find_run(other, runs) for other in average_with or ()]
    if is_folder(run) and (directory := RunDirectory(run)).exists:  # before torch is loaded
        direction = directory.config().model.direction
        check_options(context, direction)
        check_runs_to_average(direction, others)
    check_pattern(regex)

    import torch

    from charlstm.api import load
    from charlstm.cli import sample_output
    from charlstm.generation import Samples, Sampling
    from charlstm.generation import infill as fill
    from charlstm.generation.infilling import SWEEPS
    from charlstm.generation.streaming import stream as stream_ids
    from charlstm.text import decoding

    loaded = load(run, checkpoint, device)
    check_options(context, loaded.model.direction)
    sampling = Sampling(temperatures[0].first, top_k, top_p, min_p)
    encoding = loaded.config.corpus.encoding
    seed_used = random.randrange(2**31) if seed is None else seed

    def decode(content: bytes, name: str) -> str:
        return decoding.decode(content, encoding, name)

    def check_given(option: str, given: str, text: str, gap: str | None = None) -> None:
        if on_unknown == "error":
            check_known(option, given, text, loaded.vocabulary, gap=gap)

    def note_seed() -> None:  # after everything that may fail
        if seed is None and beam is None:
            console.note(f"seed {seed_used}")

    if infill is not None or infill_file is not None:
        if infill is not None:
            option, given, text = "--infill", infill, text_argument("--infill", infill, decode)
        else:
            assert infill_file is not None
            text = file_argument("--infill-file", infill_file, decode, MAX_PROMPT_BYTES)
            option, given = f"--infill-file {infill_file}", ""
        text, sweep_count = loaded.prepare_with_gaps(text, gap), SWEEPS if sweeps is None else sweeps
        check_given(option, given, text, gap)
        _note_separator(loaded, text)
        filled = fill(
            loaded.model, loaded.vocabulary, text, gap, sampling, seed_used, num_samples, sweep_count, on_unknown
        )
        note_seed()
        sample_output.print_infilled(loaded, seed_used, filled, json_, separator)
        return
    option, given = ("--suffix", suffix) if suffix else ("--prime", prime)
    text = loaded.prepare(text_argument(option, given, decode))
    check_given(option, given, text)
    if interactive:
        ids = loaded.vocabulary.encode(text, on_unknown).tolist()
        note_seed()
        with torch.autocast(loaded.model.head.weight.device.type, torch.bfloat16, enabled=use_bfloat16):
            write_together(loaded, ids, sampling, seed_used, length if given_options(context, "length") else 0, lead_in)
        return
    _note_separator(loaded, text)
    end = None if until is None else until_argument(until, loaded, decode)
    averaged = [load(other, "best" if is_step(checkpoint) else checkpoint, device) for other in others]
    live = console.is_terminal() or is_pipe() if stream is None else stream
    live = live and loaded.model.direction == "forward" and not (num_samples * len(temperatures) > 1 or best_of or beam)
    shared: dict[str, Any] = {
        "until": end,
        "unknown": on_unknown,
        "lead_in": lead_in,
        "no_repeat": no_repeat or 0,
        "regex": regex,
    }
    with torch.autocast(loaded.model.head.weight.device.type, torch.bfloat16, enabled=use_bfloat16):
        if live and not json_ and not novelty:
            request = loaded.request(text, length, final_temperature=temperatures[0].final, **shared)
            pieces = stream_ids(loaded.predictor(averaged), loaded.vocabulary, request, sampling, seed_used)
            note_seed()
            ended = sample_output.print_stream(loaded, pieces, end or "")
            note_unended(until or "", end or "", loaded, not ended, 1)
            return
        if beam is not None:
            samples = loaded.beam_search(
                text, length, width=beam, num_samples=num_samples, average_with=averaged, **shared
            )
        else:
            texts: dict[str, Any] = {"top_k": top_k, "top_p": top_p, "min_p": min_p}
            texts |= {"seed": seed_used, "num_samples": num_samples, "best_of": best_of, "average_with": averaged}
            samples = Samples()
            for each in temperatures:
                samples += loaded.generate(text, length, temperature=each.value, **texts, **shared)
    note_seed()
    is_documents = until is None and loaded.document_end != ""
    report = sample_output.measure_novelty(loaded, samples) if novelty else None
    seed_shown = seed_used if beam is None else None
    sample_output.print_samples(
        loaded, seed_shown, samples, is_documents, json_, report, separator=separator, temperatures=temperatures
    )
    note_unended(until or "", end or "", loaded, sum(not s.ended for s in samples), len(samples))


def _note_separator(loaded: LoadedRun, text: str) -> None:
    """Print a note if a given text contains the end of a document, such as the newline that ends most files."""
    from charlstm import console

    end = loaded.document_end
    if end and end in text:
        console.note(f"note: the given text contains {end!r}, which ends a document: no training document contains it")
