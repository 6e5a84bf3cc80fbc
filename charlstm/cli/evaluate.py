"""``charlstm evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charlstm.cli.sample import one_of


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run's folder, or a checkpoint.")],
    text: Annotated[Path | None, typer.Option(help="Score this file instead of a split of the corpus.")] = None,
    split: Annotated[
        str, typer.Option(help="Split of the run's own corpus: validation, test or train.")
    ] = "validation",
    unknown: Annotated[
        str, typer.Option(help="Characters of --text that the model has never seen: error or skip.")
    ] = "error",
    checkpoint: Annotated[str, typer.Option(help="Which checkpoint of the run: best or last.")] = "best",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a text or a split: every character once, with real context before it."""
    import json

    from charlstm import console
    from charlstm.errors import UserError
    from charlstm.evaluation import score
    from charlstm.files import open_regular
    from charlstm.training.loaded import load

    one_of("--split", split, "train", "validation", "test")
    one_of("--unknown", unknown, "error", "skip")
    loaded = load(run, one_of("--checkpoint", checkpoint, "best", "last"), device)
    if text is None:
        result, what = score(loaded.model, loaded.corpus().split(split)), f"{split} split"
    else:
        try:
            with open_regular(text) as file:
                raw = file.readall()
            content = raw.decode(loaded.config.corpus.encoding) if loaded.vocabulary.kind == "characters" else raw
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{text}: cannot read it: {error}") from error
        result, what = loaded.score(content, "skip" if unknown == "skip" else "error"), str(text)
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
        console.out(json.dumps(record))
        return
    if result.pseudo:
        console.out("pseudo-likelihood: each character given both sides of it; not comparable with a causal score")
    marks = "" if loaded.document_end == "" or result.pseudo else ", the end of each document among them"
    console.out(f"{what}: {result.characters:,} {unit}s scored{marks}")
    console.out(f"nats per {unit}  {result.nats:.4f}")
    console.out(f"bits per {unit}  {result.bits_per_character:.4f}")
    console.out(f"perplexity per {unit}  {result.perplexity:.3f}")
