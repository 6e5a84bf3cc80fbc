"""The command ``charlstm corpus``: list, get and show."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli import completion
from charlstm.cli.options import check_choice, refuse
from charlstm.paths import command, path_exists

if TYPE_CHECKING:
    from charlstm.progress_line import ProgressLine
    from charlstm.text.reading import Progress
    from charlstm.text.statistics import TextStatistics

FREQUENT, LISTED_RARE = 10, 40
TERM = 22
"""Characters of the column of terms."""
NOT_FIXED = "–"
LARGE = 1 << 20
"""Bytes of a text with a progress line."""
ORDERS = range(1, 6)
HELD_OUT = 0.1

ACTIONS = ("list", "get", "show")


def corpus(
    context: typer.Context,
    action: Annotated[
        str,
        typer.Argument(
            autocompletion=completion.words(*ACTIONS),
            help="list: the texts of the catalog; get NAME: download one and print its path; show NAME or FILE: the "
            "statistics of a text.",
        ),
    ] = "list",
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            autocompletion=completion.corpora_or_files,
            help="A name of the catalog; for show also a file, a glob in quotes, or several of these, concatenated.",
        ),
    ] = None,
    encoding: Annotated[
        str,
        typer.Option(
            help="Encoding of the files: a text codec of Python, or bytes to read single bytes. Only with show."
        ),
    ] = "utf-8",
    ngrams: Annotated[
        bool,
        typer.Option(
            "--ngrams/--no-ngrams",
            help="Score the last tenth by n-gram models of the rest, which takes seconds. Only with show.",
        ),
    ] = True,
    json_: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """List the texts of the catalog, download one, or print the statistics of any text.

    For example: charlstm corpus show my-text.txt. It prints sizes, frequent and rare characters, lines, repetitions,
    and the bits of 1- to 5-gram models, with which a trained model can be compared.

    A download that was interrupted continues, and a text is used only if its SHA-256 is that of the catalog. Training
    downloads what it needs by itself.
    """
    from charlstm.errors import UserError

    check_choice("ACTION", action, *ACTIONS)
    given = sources or []
    if action != "show":
        refuse(context, f"with {action}, only with show", "encoding", "ngrams")
    if action == "list":
        if given:
            raise UserError(
                f"list takes no name. To see the statistics of a text:  {command('corpus', 'show', *given)}"
            )
        _list(json_)
    elif action == "get":
        if len(given) != 1:
            raise UserError("get takes one name of the catalog:  charlstm corpus list")
        _get(given[0], json_)
    else:
        if not given:
            raise UserError("show takes a name of the catalog, or a file")
        _show(given, encoding, ngrams, json_)


def _list(json_: bool) -> None:
    """Print the catalog."""
    from charlstm import console
    from charlstm.cache import user_cache_folder
    from charlstm.text.catalog import catalog, existing_file
    from charlstm.text.standard_library import DESCRIPTION, LICENSE, NAME

    files = {name: existing_file(name, user_cache_folder()) for name in catalog()}
    if json_:
        entries = [
            {
                "name": entry.name,
                "bytes": entry.bytes,
                "characters": entry.characters,
                "license": entry.license,
                "description": entry.description,
                "url": entry.url,
                "sha256": entry.sha256,
                "file": None if files[entry.name] is None else str(files[entry.name]),
            }
            for entry in catalog().values()
        ]
        # Its text is that of the running Python: nothing is fixed before it is read.
        unknown = dict.fromkeys(("bytes", "characters", "url", "sha256", "file"))
        entries.append({**unknown, "name": NAME, "license": LICENSE, "description": DESCRIPTION})
        console.out_json(entries, indent=2)
        return
    rows = [
        [entry.name, f"{entry.bytes / 1e6:,.1f} MB", "yes" if files[entry.name] else "no", entry.license]
        for entry in catalog().values()
    ]
    rows.append([NAME, NOT_FIXED, "yes", LICENSE])
    console.table([["name", "size", "here", "license"], *rows], prose=True)
    for entry in catalog().values():
        console.out_wrapped(f"{entry.name}: {entry.description}")
    console.out_wrapped(f"{NAME}: {DESCRIPTION}")


def _get(name: str, json_: bool) -> None:
    """Download a text, unless it is here, and print its path."""
    from charlstm import console
    from charlstm.cache import user_cache_folder
    from charlstm.errors import UserError
    from charlstm.progress_line import ProgressLine
    from charlstm.spelling import near
    from charlstm.text.catalog import catalog_names, fetch

    if name not in catalog_names():
        match = near(name, catalog_names())
        hint = f"Did you mean {match}? " if match else ""
        if path_exists(Path(name)):
            hint = f"It is a file, which needs no download; its statistics:  {command('corpus', 'show', name)}. "
        raise UserError(f"{name}: not in the catalog. {hint}Names: {', '.join(catalog_names())}")
    with ProgressLine(on_stderr=True) as line:
        path = fetch(name, user_cache_folder(), _show_progress(line))
    if json_:
        console.out_json({"name": name, "file": str(path)})
        return
    console.out(str(path))


def _show_progress(line: ProgressLine) -> Progress:
    """A callback that shows the bytes done in a progress line."""

    def show(what: str, done: int, total: int) -> None:
        if total >= LARGE:
            line.update(done / total, lambda: f"{what}: {done / 1e6:,.1f} of {total / 1e6:,.1f} MB")

    return show


def _show(sources: list[str], encoding: str, ngrams: bool, json_: bool) -> None:
    """Print the statistics of a text."""
    from charlstm import console
    from charlstm.progress_line import ProgressLine
    from charlstm.text.corpus import load_corpus
    from charlstm.text.statistics import text_statistics

    with ProgressLine(on_stderr=True) as line:
        loaded = load_corpus(sources, encoding, HELD_OUT, on_progress=_show_progress(line))
        statistics = text_statistics(loaded)
        scores: dict[int, float] = {}
        if ngrams and loaded.ids.size >= 1 / HELD_OUT:
            from charlstm.probes.ngram_scores import ngram_bits

            def show_order(order: int) -> None:
                if loaded.ids.size >= LARGE:
                    line.update(order / ORDERS[-1], lambda: f"scored by a {order}-gram model")

            train, held_out = (loaded.ids[loaded.splits[name]] for name in ("train", "validation"))
            scores = ngram_bits(train, held_out, loaded.vocabulary.size, ORDERS, show_order)
    if json_:
        console.out_json(_record(statistics, scores, loaded.vocabulary.unit), indent=2)
        return
    for term, meaning in _lines(statistics, scores, loaded.vocabulary.unit):
        console.out_wrapped(f"{term:<{TERM}}{meaning}", " " * TERM)


def _record(s: TextStatistics, scores: dict[int, float], unit: str) -> dict[str, object]:
    from dataclasses import asdict

    return {
        **asdict(s),
        "rare": s.rare,
        "uniform_bits": s.uniform_bits,
        "entropy_bits": s.entropy_bits,
        f"held_out_ngram_bits_per_{unit}": {str(order): score for order, score in scores.items()},
    }


def _lines(s: TextStatistics, scores: dict[int, float], unit: str) -> list[tuple[str, str]]:
    """The statistics as terms and meanings."""
    from charlstm.text.statistics import RARE

    frequent = list(s.counts.items())[:FREQUENT]
    bits, nats = f"bits per {unit}", s.uniform_bits * math.log(2)
    lines = [
        (f"{unit}s", f"{s.characters:,}"),
        ("bytes", f"{s.bytes:,}"),
        ("alphabet", f"{s.alphabet_size:,} {unit}s; ln V = {nats:.3f} nats, {s.uniform_bits:.3f} bits"),
        (
            "most frequent",
            " ".join(f"{_shown(c)} {n / s.characters:.1%}" for c, n in frequent),
        ),
    ]
    if s.rare:
        more = f" and {len(s.rare) - LISTED_RARE:,} more" if len(s.rare) > LISTED_RARE else ""
        shown = " ".join(map(_shown, s.rare[:LISTED_RARE]))
        lines.append((f"fewer than {RARE} times", f"{len(s.rare):,}: {shown}{more}"))
    if s.lines is not None:
        n = s.lines
        ends = f", {n.carriage_returns:,} end in CR LF" if n.carriage_returns else ""
        lines += [
            ("lines", f"{n.count:,}, {n.empty:,} of them empty{ends}"),
            ("line length", f"{n.shortest:,} to {n.longest:,} characters, median {n.median:,.0f}"),
            (
                "repeated lines",
                f"{n.repeated:,}, {n.repeated / max(1, n.count - n.empty):.1%} of those that are not empty",
            ),
        ]
    lines.append(("entropy", f"{s.entropy_bits:.3f} {bits}, of the frequencies of single {unit}s"))
    if scores:
        lines.append(
            ("n-grams, held out", ", ".join(f"{order}: {score:.3f}" for order, score in scores.items()) + f" {bits}")
        )
    return lines


def _shown(character: str) -> str:
    """A character as it can be seen: spaces and control characters in quotes."""
    return character if character.isprintable() and not character.isspace() else ascii(character)
