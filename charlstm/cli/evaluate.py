"""``charlstm evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from charlstm.cli.options import home_expanded, load_run, one_of, refuse
from charlstm.cli.text_arguments import file_argument

if TYPE_CHECKING:
    from charlstm.api import LoadedRun
    from charlstm.evaluation.restoration import Ids
    from charlstm.text.documents import Documents


MOST_NATS = 700.0
"""Beyond it the perplexity has no floating-point number."""


def evaluate(
    context: typer.Context,
    run: Annotated[Path, typer.Argument(callback=home_expanded, help="A run's folder, or a checkpoint.")],
    text: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Score this file, or - for standard input, instead of a split of the corpus."
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split of the run's own corpus: validation, test or train.")
    ] = "validation",
    unknown: Annotated[
        str, typer.Option(help="Characters of --text that the model has never seen: error or skip.")
    ] = "error",
    checkpoint: Annotated[str, typer.Option(help="Which checkpoint of the run: best or last.")] = "best",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    restore: Annotated[
        str,
        typer.Option(
            help="Instead of scoring: delete gaps of these lengths, such as 1,3,8, and print the share of the deleted "
            "characters that the model restores.",
            show_default=False,
        ),
    ] = "",
    gaps: Annotated[int, typer.Option(min=1, help="With --restore: gaps of each length.")] = 200,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="With --restore: same seed and text, same gaps.")] = 1,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a text or a split: every character once, with real context before it. Or delete some and restore them."""
    from charlstm import console
    from charlstm.errors import UserError
    from charlstm.evaluation import score
    from charlstm.text.documents import Documents

    one_of("--split", split, "train", "validation", "test")
    one_of("--unknown", unknown, "error", "skip")
    loaded = load_run(context, run, checkpoint, device)
    lengths = _lengths(restore)
    if not lengths:
        refuse(context, "without --restore", "gaps", "seed")
    if text is None:
        refuse(context, "without --text", "unknown")
    else:
        refuse(context, "with --text, which is scored whole", "split")
    content = loaded.corpus().split(split) if text is None else _read(loaded, text, unknown)
    what = f"{split} split" if text is None else text
    if lengths:
        if isinstance(content, Documents):
            raise UserError("--restore needs a running text around each gap; this model learnt independent documents")
        _restore(loaded, content, what, lengths, gaps, seed, json_)
        return
    result = score(loaded.model, content)
    if not result.nats < MOST_NATS:
        raise UserError(f"{what}: {result.nats:.3g} nats per character: the model's weights are too large to be used")
    unit = loaded.vocabulary.unit
    if json_:
        record = {
            "text": what,
            "nats_per_" + unit: result.nats,
            "bits_per_" + unit: result.bits_per_character,
            "perplexity": result.perplexity,
            f"{unit}s_scored": result.characters,
            "pseudo_likelihood": result.pseudo,
        }
        console.out_json(record)
        return
    if result.pseudo:
        console.out("pseudo-likelihood: each character given both sides of it; not comparable with a causal score")
    marks = "" if loaded.document_end == "" or result.pseudo else ", the end of each document among them"
    console.out(f"{what}: {result.characters:,} {unit}s scored{marks}")
    console.out(f"nats per {unit}  {result.nats:.4f}")
    console.out(f"bits per {unit}  {result.bits_per_character:.4f}")
    console.out(f"perplexity per {unit}  {result.perplexity:.3f}")


def _lengths(listed: str) -> list[int]:
    """The lengths of gaps, ascending: 1, 3 and 8 of ``1,3,8``."""
    parts = [part.strip() for part in listed.split(",")] if listed else []
    if not all(part.isascii() and part.isdecimal() and int(part) > 0 for part in parts):
        raise typer.BadParameter(f"{listed!r} is no list of lengths such as 1,3,8", param_hint="--restore")
    return sorted({int(part) for part in parts})


def _read(loaded: LoadedRun, text: str, unknown: str) -> Ids | Documents:
    """The text in a file. Raises UserError if it cannot be read, or holds no text."""
    from charlstm.text.decoding import decode

    corpus = loaded.config.corpus

    def read(content: bytes, name: str) -> str | bytes:
        return decode(content, corpus.encoding, name) if loaded.vocabulary.kind == "characters" else content

    return loaded.read(file_argument("--text", text, read), "skip" if unknown == "skip" else "error")


def _restore(loaded: LoadedRun, ids: Ids, what: str, lengths: list[int], gaps: int, seed: int, as_json: bool) -> None:
    from dataclasses import asdict

    from charlstm import console
    from charlstm.evaluation import restore

    sides = {"bidirectional": "both sides", "forward": "what stands before", "backward": "what stands behind"}
    seen, found = sides[loaded.model.direction], list(restore(loaded.model, ids, lengths, gaps, seed))
    if as_json:
        record = {"text": what, "seed": seed, "seen": seen, "restoration": [asdict(r) for r in found]}
        console.out_json(record)
        return
    greedy = not loaded.model.bidirectional
    console.out(f"{what}: {loaded.vocabulary.unit}s restored from {seen}, {gaps:,} gaps of each length, seed {seed}")
    header = ["gap", "restored", "95% interval", *(["one by one"] if greedy else []), "most frequent"]
    rows = [
        [
            str(r.length),
            f"{r.restored:.1%}",
            f"{r.low:.1%} to {r.high:.1%}",
            *([] if r.greedy is None else [f"{r.greedy:.1%}"]),
            f"{r.most_frequent:.1%}",
        ]
        for r in found
    ]
    console.table([header, *rows])
