"""Prints the texts of ``charlstm sample``: as text, as the exact bytes, or as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from charlstm import console
from charlstm.api import LoadedRun
from charlstm.errors import UserError
from charlstm.generation import Infilled, Sample


def print_samples(loaded: LoadedRun, seed: int, samples: Sequence[Sample], is_documents: bool, as_json: bool) -> None:
    """Print sampled texts. Documents are separated as in the corpus, and notes count those that are new."""
    novel = _novelty(loaded, samples) if is_documents and (as_json or len(samples) > 1) else None
    records = []
    for index, s in enumerate(samples):
        record: dict[str, Any] = {
            "suffix" if s.backward else "prime": s.prime,
            "written": s.text,
            "log_probabilities_nats": s.log_probabilities,
        }
        if is_documents:
            record |= {"complete": s.ended, "novel": None if novel is None else novel[index]}
        records.append(record)
    separator = loaded.document_end if is_documents and not loaded.document_end.strip("\n") else ""
    _print(loaded, seed, samples, records, as_json, separator)


def print_infilled(loaded: LoadedRun, seed: int, texts: Sequence[Infilled], as_json: bool) -> None:
    """Print texts whose gaps are filled."""
    _print(loaded, seed, texts, [_infilled_record(text) for text in texts], as_json)


def print_stream(loaded: LoadedRun, pieces: Iterable[list[int]]) -> None:
    """Print one text piece by piece, given its ids."""
    raw = _as_bytes(loaded)
    decode, decode_bytes = loaded.vocabulary.incremental_decoder(), loaded.vocabulary.decode_bytes
    for ids in pieces:
        if raw:
            console.out_bytes(decode_bytes(ids))
        else:
            console.out(console.escape_for_terminal(decode(ids)), end="")
    if not raw:
        console.out("")


def _infilled_record(infilled: Infilled) -> dict[str, Any]:
    return {
        "gaps": [
            {"position": gap.position, "text": gap.text, "pseudo_log_probabilities_nats": gap.log_probabilities}
            for gap in infilled.gaps
        ],
        "pseudo_nats_per_filled_character": infilled.pseudo_nats,
        "pseudo_bits_per_filled_character": infilled.pseudo_bits,
    }


def _novelty(loaded: LoadedRun, samples: Sequence[Sample]) -> list[bool] | None:
    """For each document, whether it is not in the training text; None if the corpus cannot be read. Prints counts as
    notes."""
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
    return loaded.vocabulary.kind == "bytes" and not console.is_terminal()


def _print(
    loaded: LoadedRun,
    seed: int,
    texts: Sequence[Sample | Infilled],
    records: Sequence[dict[str, Any]],
    as_json: bool,
    separator: str = "",
) -> None:
    """Print the texts, or as JSON each with its record. Several are separated by ``separator``, else by notes."""
    decode_bytes = loaded.vocabulary.decode_bytes
    if as_json:
        has_bytes = loaded.vocabulary.kind == "bytes"
        entries = [
            {"text": text.full_text, **record, **({"hex": decode_bytes(text.ids).hex()} if has_bytes else {})}
            for text, record in zip(texts, records, strict=True)
        ]
        console.out_json({"seed": seed, "samples": entries})
        return
    end = (separator or "\n") if len(texts) > 1 else ""
    for index, text in enumerate(texts):
        if len(texts) > 1 and not separator:
            console.note(f"--- {index + 1} of {len(texts)}")
        if _as_bytes(loaded):
            console.out_bytes(decode_bytes(text.ids) + end.encode())
        else:
            console.out(console.escape_for_terminal(text.full_text), end=end or "\n")
