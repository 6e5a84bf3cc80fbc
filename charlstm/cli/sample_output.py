"""Prints the texts of ``charlstm sample``: as text, as the exact bytes, or as JSON."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from charlstm import console
from charlstm.api import LoadedRun
from charlstm.cli import novelty_output
from charlstm.cli.sample_layout import headings_and_ends
from charlstm.cli.temperatures import Temperature
from charlstm.colored_text import marked
from charlstm.errors import UserError
from charlstm.generation import Infilled, Sample
from charlstm.novelty.novelty import Report, measure
from charlstm.progress_line import ProgressLine


def print_samples(
    loaded: LoadedRun,
    seed: int | None,
    samples: Sequence[Sample],
    is_documents: bool,
    as_json: bool,
    report: Report | None = None,
    *,
    separator: str | None = None,
    temperatures: Sequence[Temperature],
) -> None:
    """Print sampled texts, equally many for each of the temperatures, one after the other.

    A line with ``separator`` is between them; without it, documents are separated as in the corpus. Notes count
    documents that are new. With a report on their novelty, copied passages are marked on a terminal, and listed in a
    table or in the JSON records.
    """
    novel = _novelty(loaded, samples) if is_documents and (as_json or len(samples) > 1) else None
    records = []
    for index, s in enumerate(samples):
        record: dict[str, Any] = {
            "suffix" if s.backward else "prime": s.prime,
            "written": s.text,
            "log_probabilities_nats": s.log_probabilities,
            "mean_log_probability_nats": s.score,
        }
        if len(temperatures) > 1:
            record["temperature"] = temperatures[index * len(temperatures) // len(samples)].value
        if is_documents:
            record |= {"complete": s.ended, "novel": None if novel is None else novel[index]}
        if report is not None:
            written = novelty_output.symbols_of(loaded.vocabulary, written_ids(s))
            record["novelty"] = novelty_output.novelty_record(report.texts[index], written)
        records.append(record)
    document_end = loaded.document_end if is_documents and not loaded.document_end.strip("\n") else ""
    layout = headings_and_ends(len(samples), separator, document_end, temperatures)
    if report is None:
        _print(loaded, seed, samples, records, as_json, layout)
        return
    extra = {"held_out": novelty_output.held_out_record(report.held_out)}
    texts = None if as_json or not console.is_terminal() else _marked(loaded, samples, report)
    _print(loaded, seed, samples, records, as_json, layout, texts, extra)
    if not as_json:
        characters = [novelty_output.symbols_of(loaded.vocabulary, written_ids(s)) for s in samples]
        name = "this text" if len(samples) == 1 else f"{len(samples)} texts"
        console.out("")
        novelty_output.print_report(report, characters, name, loaded.vocabulary.unit)


def measure_novelty(loaded: LoadedRun, samples: Sequence[Sample]) -> Report:
    """Compare what was sampled, without the prompts, with the training text. Raises UserError."""
    with ProgressLine(on_stderr=True) as line:
        texts = [written_ids(s) for s in samples]
        return measure(
            loaded.corpus(), texts, lambda done: line.update(done, lambda: "comparing with the training text")
        )


def written_ids(s: Sample) -> npt.NDArray[np.int64]:
    """The ids of the sampled text without the prompt."""
    ids = np.array(s.ids, np.int64)
    return ids[: len(ids) - s.prompt_length] if s.backward else ids[s.prompt_length :]


def _marked(loaded: LoadedRun, samples: Sequence[Sample], report: Report) -> list[str]:
    """The texts for a terminal, in which copied passages are marked."""
    decode, texts = loaded.vocabulary.decode, []
    for s, result in zip(samples, report.texts, strict=True):
        ids = written_ids(s)
        segments = novelty_output.marked_segments(result.copied, len(ids))
        parts = [
            marked(decode(ids[part])) if is_copied else console.escape_for_terminal(decode(ids[part]))
            for part, is_copied in segments
        ]
        prompt = console.escape_for_terminal(s.prime)
        texts.append("".join([*parts, prompt] if s.backward else [prompt, *parts]))
    return texts


def print_infilled(
    loaded: LoadedRun, seed: int, texts: Sequence[Infilled], as_json: bool, separator: str | None
) -> None:
    """Print texts whose gaps are filled; a line with ``separator`` is between them."""
    layout = headings_and_ends(len(texts), separator, "")
    _print(loaded, seed, texts, [_infilled_record(text) for text in texts], as_json, layout)


def print_stream(loaded: LoadedRun, pieces: Iterable[list[int]], end: str = "") -> bool:
    """Print one text piece by piece, given its ids, of which the first piece is the prompt's.

    Returns whether what was sampled ends with ``end``.
    """
    raw, expected = _as_bytes(loaded), list[int](loaded.vocabulary.encode(end))
    last: deque[int] = deque(maxlen=len(expected))
    decode, decode_bytes = loaded.vocabulary.incremental_decoder(), loaded.vocabulary.decode_bytes
    for number, ids in enumerate(pieces):
        last.extend(ids if number else ())
        if raw:
            console.out_bytes(decode_bytes(ids))
        else:
            console.out(console.escape_for_terminal(decode(ids)), end="")
    if not raw:
        console.out("")
    return list(last) == expected


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
    seed: int | None,
    texts: Sequence[Sample | Infilled],
    records: Sequence[dict[str, Any]],
    as_json: bool,
    layout: Iterable[tuple[str, str]],
    marked: Sequence[str] | None = None,
    extra: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Print the texts, or as JSON each with its record, and ``extra``.

    ``marked``: the texts as they are written to a terminal.
    """
    decode_bytes = loaded.vocabulary.decode_bytes
    if as_json:
        has_bytes = loaded.vocabulary.kind == "bytes"
        entries = [
            {"text": text.full_text, **record, **({"hex": decode_bytes(text.ids).hex()} if has_bytes else {})}
            for text, record in zip(texts, records, strict=True)
        ]
        console.out_json({"seed": seed, "samples": entries, **extra})
        return
    for index, (text, (heading, end)) in enumerate(zip(texts, layout, strict=True)):
        if heading:
            console.note(heading)
        if marked is not None:
            console.out_styled(marked[index] + (end or "\n"))
        elif _as_bytes(loaded):
            console.out_bytes(decode_bytes(text.ids) + end.encode("utf-8", "surrogateescape"))
        else:
            console.out(console.escape_for_terminal(text.full_text), end=end or "\n")
