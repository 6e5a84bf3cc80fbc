"""``charlstm sample``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from charlstm.cli.options import given_of, home_expanded, load_run, one_of, refuse
from charlstm.cli.text_arguments import LARGEST_PROMPT, TEXT_HELP, file_argument, text_argument

if TYPE_CHECKING:
    from charlstm.api import LoadedRun
    from charlstm.generation import Infilled, Sample, Sampling


def sample(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(callback=home_expanded, help="A run's folder, or a checkpoint.")],
    prime: Annotated[str, typer.Option(help=f"Text to go on from; {TEXT_HELP}.")] = "",
    suffix: Annotated[
        str, typer.Option(help="For a backward model: text to write the beginning of; @FILE, - and @@ as for --prime.")
    ] = "",
    infill: Annotated[
        str | None,
        typer.Option(
            help="For a bidirectional model: text with gaps to fill from both sides, such as 'To be, ___ not to be'; "
            "@FILE, - and @@ as for --prime."
        ),
    ] = None,
    infill_file: Annotated[
        Path | None,
        typer.Option(
            callback=home_expanded, help="The same with the text in this file: --infill @FILE by another name."
        ),
    ] = None,
    gap: Annotated[
        str, typer.Option(help="Stands for one character to fill in, even if the model knows it as a character.")
    ] = "_",
    sweeps: Annotated[
        int | None,
        typer.Option(min=1, help="How often every open place is drawn anew; more: slower, better.", show_default="40"),
    ] = None,
    length: Annotated[int, typer.Option(min=0, help="Characters to write.")] = 400,
    temperature: Annotated[
        float, typer.Option(help="Below 1: safer, above 1: wilder; 0: always the most probable.")
    ] = 1.0,
    top_k: Annotated[int, typer.Option(help="Only the k most probable characters; 0: all.")] = 0,
    top_p: Annotated[
        float, typer.Option(help="Only the most probable characters that make up this share; 1: all.")
    ] = 1.0,
    min_p: Annotated[
        float, typer.Option(help="Only characters at least this fraction as probable as the best; 0: all.")
    ] = 0.0,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Same seed, same text; else a new one each time.")
    ] = None,
    num_samples: Annotated[int, typer.Option(min=1, help="Number of texts, written side by side.")] = 1,
    until: Annotated[
        str | None,
        typer.Option(help="End a text early, after it has written this; a model of documents ends each by itself."),
    ] = None,
    unknown: Annotated[
        str, typer.Option(help="Characters of the given text that the model has never seen: error or skip.")
    ] = "error",
    stream: Annotated[
        bool | None,
        typer.Option("--stream/--no-stream", help="Show text as it is written; by default on a terminal."),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print JSON: texts and the log-probability of each character.")
    ] = False,
    checkpoint: Annotated[str, typer.Option(help="Which checkpoint of the run: best or last.")] = "best",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "cpu",
    precision: Annotated[
        str, typer.Option(help="Of the products: float32, or bfloat16, faster and nearly the same.")
    ] = "float32",
) -> None:
    """Write text with a trained model.

    The text goes to standard output, all else to standard error. A forward model goes on from --prime, a backward one
    writes what comes before --suffix, a bidirectional one fills the gaps of --infill.
    """
    import random

    import torch

    from charlstm import console
    from charlstm.generation import Sampling
    from charlstm.generation import infill as fill
    from charlstm.generation.infilling import SWEEPS
    from charlstm.text import decoding

    mode: Literal["error", "skip"] = "skip" if one_of("--unknown", unknown, "error", "skip") == "skip" else "error"
    loaded = load_run(context, run, checkpoint, device)
    _check(context, loaded.model.direction, temperature, num_samples, json_)
    sampling = Sampling(temperature, top_k, top_p, min_p)
    encoding = loaded.config.corpus.encoding
    number = random.randrange(2**31) if seed is None else seed

    def decode(content: bytes, name: str) -> str:
        return decoding.decode(content, encoding, name)

    def note_seed() -> None:  # not before anything that may fail
        if seed is None:
            console.note(f"seed {number}")

    if infill_file is not None:
        infill = file_argument("--infill-file", infill_file, decode, LARGEST_PROMPT)
    elif infill is not None:
        infill = text_argument("--infill", infill, decode)
    if infill is not None:
        text, often = infill, SWEEPS if sweeps is None else sweeps
        _note_separator(loaded, text)
        filled = fill(loaded.model, loaded.vocabulary, text, gap, sampling, number, num_samples, often, mode)
        note_seed()
        _print(loaded, number, filled, [_filled(f) for f in filled], json_)
        return
    text = text_argument("--suffix", suffix, decode) if suffix else text_argument("--prime", prime, decode)
    _note_separator(loaded, text)
    live = console.is_terminal() if stream is None else stream
    low = one_of("--precision", precision, "float32", "bfloat16") == "bfloat16"
    with torch.autocast(loaded.model.head.weight.device.type, torch.bfloat16, enabled=low):
        if live and not json_ and num_samples == 1 and loaded.model.direction == "forward":
            _stream(loaded, text, length, sampling, number, until, mode, note_seed)
            return
        samples = loaded.generate(
            text,
            length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            seed=number,
            num_samples=num_samples,
            until=until,
            unknown=mode,
        )
    note_seed()
    documents = until is None and loaded.document_end != ""
    novel = novelty(loaded, samples) if documents and (json_ or num_samples > 1) else None
    records = [
        {
            **_written(s),
            **({"complete": s.ended, "novel": None if novel is None else novel[place]} if documents else {}),
        }
        for place, s in enumerate(samples)
    ]
    apart = loaded.document_end if documents and not loaded.document_end.strip("\n") else ""
    _print(loaded, number, samples, records, json_, apart)


def novelty(loaded: LoadedRun, samples: list[Sample]) -> list[bool] | None:
    """For each document, whether it is none that the model was trained on, with a note that counts them; None if the
    corpus is gone."""
    from charlstm import console
    from charlstm.errors import UserError

    cut_off = sum(not s.ended for s in samples)
    if cut_off:
        console.note(f"{cut_off} of {len(samples)} came to no end within --length and are cut off")
    try:
        novel = loaded.novel(samples)
    except UserError as error:
        console.note(f"how many are new is not known: {error}")
        return None
    share = f"{sum(novel)} of {len(novel)} ({sum(novel) / len(novel):.0%})"
    known = sum(bool(s.ids) and not new for s, new in zip(samples, novel, strict=True))
    empty = f"; empty: {blank}" if (blank := sum(not s.ids for s in samples)) else ""
    console.note(f"new documents: {share}; in the text that the model was trained on: {known}{empty}")
    return novel


def _as_bytes(loaded: LoadedRun) -> bool:
    """Whether standard output gets the very bytes that the model wrote."""
    from charlstm import console

    return loaded.vocabulary.kind == "bytes" and not console.is_terminal()


def _check(context: typer.Context, direction: str, temperature: float, num_samples: int, as_json: bool) -> None:
    """Raises UserError for an option that has no effect with this model, or with the others."""
    from charlstm.errors import UserError

    if temperature == 0:
        refuse(context, "with --temperature 0, which always takes the most probable", "top_k", "top_p", "min_p")
    if filling := given_of(context, "infill", "infill_file"):
        if len(filling) > 1:
            raise UserError("--infill and --infill-file both give the text: leave one out")
        why = f"with {filling[0]}, which fills gaps and writes nothing else"
        refuse(context, why, "prime", "suffix", "length", "until", "stream", "precision")
        return
    refuse(context, "without --infill", "gap", "sweeps")
    if context.params["stream"] and (as_json or num_samples > 1):
        beside = "--json" if as_json else "--num-samples"
        refuse(context, f"with {beside}, which shows nothing before all is written", "stream")
    if direction == "forward" and given_of(context, "suffix"):
        raise UserError("--suffix is for a model with direction: backward; this one reads forward: give it a --prime")
    if direction == "backward" and given_of(context, "prime"):
        raise UserError("this model has direction: backward and writes what comes before a text: give it as --suffix")
    if not given_of(context, "prime", "suffix"):
        refuse(context, f"without a {'--suffix' if direction == 'backward' else '--prime'}", "unknown")


def _note_separator(loaded: LoadedRun, text: str) -> None:
    """Tell of the end of a document in a given text, such as the line end that a file or echo puts behind a name."""
    from charlstm import console

    end = loaded.document_end
    if end and end in text:
        console.note(f"note: the given text holds {end!r}, which ends a document: this model never met it within one")


def _written(sample: Sample) -> dict[str, Any]:
    return {
        "suffix" if sample.backward else "prime": sample.prime,
        "written": sample.text,
        "log_probabilities_nats": sample.log_probabilities,
    }


def _filled(infilled: Infilled) -> dict[str, Any]:
    return {
        "gaps": [
            {"place": gap.place, "text": gap.text, "pseudo_log_probabilities_nats": gap.log_probabilities}
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
    apart: str = "",
) -> None:
    """The texts, each with its record for JSON. Several are told apart by notes, or by the text ``apart``."""
    from charlstm import console

    exact = loaded.vocabulary.decode_bytes
    if as_json:
        raw = loaded.vocabulary.kind == "bytes"
        whole = [
            {"text": text.whole, **record, **({"hex": exact(text.ids).hex()} if raw else {})}
            for text, record in zip(texts, records, strict=True)
        ]
        console.out_json({"seed": seed, "samples": whole})
        return
    end = (apart or "\n") if len(texts) > 1 else ""
    for place, text in enumerate(texts):
        if len(texts) > 1 and not apart:
            console.note(f"--- {place + 1} of {len(texts)}")
        if _as_bytes(loaded):
            console.out_bytes(exact(text.ids) + end.encode())
        else:
            console.out(console.shown(text.whole), end=end or "\n")


def _stream(
    loaded: LoadedRun,
    prime: str,
    length: int,
    sampling: Sampling,
    seed: int,
    until: str | None,
    unknown: Literal["error", "skip"],
    begin: Callable[[], None],
) -> None:
    from charlstm import console
    from charlstm.generation.sampler import prompt_ids, write

    document_end = loaded.document_end if until is None else ""
    given, end = prompt_ids(loaded.model, loaded.vocabulary, prime, until or document_end, unknown)
    raw = _as_bytes(loaded)
    decode, exact = loaded.vocabulary.incremental_decoder(), loaded.vocabulary.decode_bytes

    def show(ids: list[int]) -> None:
        if raw:
            console.out_bytes(exact(ids))
        else:
            console.out(console.shown(decode(ids)), end="")

    begin()
    show(given)
    held: list[int] = []  # what may be the end of a document, which is not shown
    keep = len(end) if document_end else 0
    for (piece,) in write(loaded.model, given, length, sampling, seed, 1, end):
        if piece is not None:
            held.append(piece[0])
            done = max(0, len(held) - keep)
            show(held[:done])
            del held[:done]
    if held != end:
        show(held)
    if not raw:
        console.out("")
