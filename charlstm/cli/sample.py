"""The command ``charlstm sample``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from charlstm.cli.options import check_choice, expand_home, given_options, load_run, refuse
from charlstm.cli.text_arguments import MAX_PROMPT_BYTES, TEXT_HELP, file_argument, text_argument

if TYPE_CHECKING:
    from charlstm.api import LoadedRun
    from charlstm.generation import Infilled, Sample, Sampling


def sample(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(callback=expand_home, help="The folder of a run, or a checkpoint file.")],
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
        str, typer.Option(help="For characters of the given text that the model does not know: error or skip.")
    ] = "error",
    stream: Annotated[
        bool | None,
        typer.Option("--stream/--no-stream", help="Print the text while it is sampled; by default on a terminal."),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the texts and the log-probability of each character as JSON.")
    ] = False,
    checkpoint: Annotated[str, typer.Option(help="Checkpoint of the run: best or last.")] = "best",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps; auto: a GPU if there is one.")] = "cpu",
    precision: Annotated[
        str,
        typer.Option(help="Precision of the matrix products: float32, or bfloat16, which is faster and nearly equal."),
    ] = "float32",
) -> None:
    """Sample text from a trained model.

    The text goes to standard output, messages to standard error. A forward model continues --prime, a backward model
    writes what comes before --suffix, and a bidirectional model fills the gaps of --infill.
    """
    import random

    import torch

    from charlstm import console
    from charlstm.generation import Sampling
    from charlstm.generation import infill as fill
    from charlstm.generation.infilling import SWEEPS
    from charlstm.text import decoding

    on_unknown: Literal["error", "skip"] = (
        "skip" if check_choice("--unknown", unknown, "error", "skip") == "skip" else "error"
    )
    loaded = load_run(context, run, checkpoint, device)
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
        text, sweep_count = infill, SWEEPS if sweeps is None else sweeps
        _note_separator(loaded, text)
        filled = fill(
            loaded.model, loaded.vocabulary, text, gap, sampling, seed_used, num_samples, sweep_count, on_unknown
        )
        note_seed()
        _print(loaded, seed_used, filled, [_filled(f) for f in filled], json_)
        return
    text = text_argument("--suffix", suffix, decode) if suffix else text_argument("--prime", prime, decode)
    _note_separator(loaded, text)
    live = console.is_terminal() if stream is None else stream
    use_bfloat16 = check_choice("--precision", precision, "float32", "bfloat16") == "bfloat16"
    with torch.autocast(loaded.model.head.weight.device.type, torch.bfloat16, enabled=use_bfloat16):
        if live and not json_ and num_samples == 1 and loaded.model.direction == "forward":
            _stream(loaded, text, length, sampling, seed_used, until, on_unknown, note_seed)
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
        )
    note_seed()
    documents = until is None and loaded.document_end != ""
    novel = novelty(loaded, samples) if documents and (json_ or num_samples > 1) else None
    records = [
        {
            **_written(s),
            **({"complete": s.ended, "novel": None if novel is None else novel[index]} if documents else {}),
        }
        for index, s in enumerate(samples)
    ]
    separator = loaded.document_end if documents and not loaded.document_end.strip("\n") else ""
    _print(loaded, seed_used, samples, records, json_, separator)


def novelty(loaded: LoadedRun, samples: list[Sample]) -> list[bool] | None:
    """For each document, whether it is not in the training text; None if the corpus cannot be read. Prints counts."""
    from charlstm import console
    from charlstm.errors import UserError

    cut_off = sum(not s.ended for s in samples)
    if cut_off:
        console.note(f"{cut_off} of {len(samples)} documents did not end within --length and are cut off")
    try:
        novel = loaded.novel(samples)
    except UserError as error:
        console.note(f"new documents cannot be counted: {error}")
        return None
    new = f"{sum(novel)} of {len(novel)} ({sum(novel) / len(novel):.0%})"
    known = sum(bool(s.ids) and not is_new for s, is_new in zip(samples, novel, strict=True))
    empty = f"; empty: {count}" if (count := sum(not s.ids for s in samples)) else ""
    console.note(f"new documents: {new}; in the training text: {known}{empty}")
    return novel


def _as_bytes(loaded: LoadedRun) -> bool:
    """Whether standard output gets the bytes that the model wrote, unchanged."""
    from charlstm import console

    return loaded.vocabulary.kind == "bytes" and not console.is_terminal()


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
        refuse(context, reason, "prime", "suffix", "length", "until", "stream", "precision")
        return
    refuse(context, "without --infill", "gap", "sweeps")
    if context.params["stream"] and (as_json or num_samples > 1):
        option = "--json" if as_json else "--num-samples"
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


def _written(sample: Sample) -> dict[str, Any]:
    return {
        "suffix" if sample.backward else "prime": sample.prime,
        "written": sample.text,
        "log_probabilities_nats": sample.log_probabilities,
    }


def _filled(infilled: Infilled) -> dict[str, Any]:
    return {
        "gaps": [
            {"position": gap.position, "text": gap.text, "pseudo_log_probabilities_nats": gap.log_probabilities}
            for gap in infilled.gaps
        ],
        "pseudo_nats_per_filled_character": infilled.pseudo_nats,
        "pseudo_bits_per_filled_character": infilled.pseudo_bits,
    }


def _print(
    loaded: LoadedRun,
    seed: int,
    texts: Sequence[Sample | Infilled],
    records: Sequence[dict[str, Any]],
    as_json: bool,
    separator: str = "",
) -> None:
    """Print the texts, or as JSON each with its record. Several are separated by ``separator``, else by notes."""
    from charlstm import console

    decode_bytes = loaded.vocabulary.decode_bytes
    if as_json:
        raw = loaded.vocabulary.kind == "bytes"
        samples = [
            {"text": text.full_text, **record, **({"hex": decode_bytes(text.ids).hex()} if raw else {})}
            for text, record in zip(texts, records, strict=True)
        ]
        console.out_json({"seed": seed, "samples": samples})
        return
    end = (separator or "\n") if len(texts) > 1 else ""
    for index, text in enumerate(texts):
        if len(texts) > 1 and not separator:
            console.note(f"--- {index + 1} of {len(texts)}")
        if _as_bytes(loaded):
            console.out_bytes(decode_bytes(text.ids) + end.encode())
        else:
            console.out(console.escape_for_terminal(text.full_text), end=end or "\n")


def _stream(
    loaded: LoadedRun,
    prime: str,
    length: int,
    sampling: Sampling,
    seed: int,
    until: str | None,
    unknown: Literal["error", "skip"],
    on_start: Callable[[], None],
) -> None:
    from charlstm import console
    from charlstm.generation.sampler import prompt_ids, write

    document_end = loaded.document_end if until is None else ""
    prompt, end = prompt_ids(loaded.model, loaded.vocabulary, prime, until or document_end, unknown)
    raw = _as_bytes(loaded)
    decode, decode_bytes = loaded.vocabulary.incremental_decoder(), loaded.vocabulary.decode_bytes

    def show(ids: list[int]) -> None:
        if raw:
            console.out_bytes(decode_bytes(ids))
        else:
            console.out(console.escape_for_terminal(decode(ids)), end="")

    on_start()
    show(prompt)
    pending: list[int] = []  # may be the end of a document, which is not printed
    max_pending = len(end) if document_end else 0
    for (piece,) in write(loaded.model, prompt, length, sampling, seed, 1, end):
        if piece is not None:
            pending.append(piece[0])
            ready = max(0, len(pending) - max_pending)
            show(pending[:ready])
            del pending[:ready]
    if pending != end:
        show(pending)
    if not raw:
        console.out("")
