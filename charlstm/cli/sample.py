"""``charlstm sample``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from charlstm.generation import Sample, Sampling
    from charlstm.training.loaded import LoadedRun


def sample(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a checkpoint.")],
    prime: Annotated[
        str, typer.Option(help="Text to go on from; @FILE reads it from a file, - from standard input.")
    ] = "",
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
        str, typer.Option(help="Characters of the prime that the model has never seen: error or skip.")
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

    The text goes to standard output, all else to standard error. A backward model writes what comes before --prime.
    """
    import json
    import random

    import torch

    from charlstm import console
    from charlstm.generation import Sampling
    from charlstm.training.loaded import load

    loaded = load(run, one_of("--checkpoint", checkpoint, "best", "last"), device)
    mode: Literal["error", "skip"] = "skip" if one_of("--unknown", unknown, "error", "skip") == "skip" else "error"
    sampling = Sampling(temperature, top_k, top_p, min_p)
    text = _read(prime, raw=loaded.vocabulary.kind == "bytes")
    number = random.randrange(2**31) if seed is None else seed
    if seed is None:
        console.note(f"seed {number}")
    live = console.is_terminal() if stream is None else stream
    low = one_of("--precision", precision, "float32", "bfloat16") == "bfloat16"
    with torch.autocast(loaded.model.head.weight.device.type, torch.bfloat16, enabled=low):
        if live and not json_ and num_samples == 1 and loaded.model.direction == "forward":
            _stream(loaded, text, length, sampling, number, until, mode)
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
    documents = until is None and loaded.document_end != ""
    novel = novelty(loaded, samples) if documents and (json_ or num_samples > 1) else None
    if json_:
        records = [
            {
                "text": s.whole,
                "prime": s.prime,
                "written": s.text,
                "log_probabilities_nats": s.log_probabilities,
                **({"hex": loaded.vocabulary.decode_bytes(s.ids).hex()} if loaded.vocabulary.kind == "bytes" else {}),
                **({"complete": s.ended, "novel": None if novel is None else novel[place]} if documents else {}),
            }
            for place, s in enumerate(samples)
        ]
        console.out(json.dumps({"seed": number, "samples": records}, ensure_ascii=False))
        return
    apart = loaded.document_end if documents and not loaded.document_end.strip("\n") else "\n"
    for place, s in enumerate(samples):
        if num_samples > 1 and not (documents and apart == loaded.document_end):
            console.note(f"--- {place + 1} of {num_samples}")
        if _as_bytes(loaded):
            console.out_bytes(loaded.vocabulary.decode_bytes(s.ids) + (apart.encode() if num_samples > 1 else b""))
        else:
            console.out(console.shown(s.whole), end=apart if num_samples > 1 else "\n")


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
    console.note(f"{share} are not in the text that the model was trained on")
    return novel


def _as_bytes(loaded: LoadedRun) -> bool:
    """Whether standard output gets the very bytes that the model wrote."""
    from charlstm import console

    return loaded.vocabulary.kind == "bytes" and not console.is_terminal()


def one_of(option: str, value: str, *allowed: str) -> str:
    """The value, if it is allowed; else a usage error."""
    if value not in allowed:
        raise typer.BadParameter(f"{value!r} is none of: {', '.join(allowed)}", param_hint=option)
    return value


def _read(prime: str, raw: bool) -> str:
    """The prime itself, or what it points to, line ends as they are; ``raw`` bytes that are no UTF-8 are kept."""
    from charlstm.errors import UserError

    if prime != "-" and not prime.startswith("@"):
        return prime
    try:
        content = sys.stdin.buffer.read() if prime == "-" else Path(prime[1:]).read_bytes()
        return content.decode("utf-8", "surrogateescape" if raw else "strict")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--prime {prime}: cannot read it: {error}") from error


def _stream(
    loaded: LoadedRun,
    prime: str,
    length: int,
    sampling: Sampling,
    seed: int,
    until: str | None,
    unknown: Literal["error", "skip"],
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
