"""The command ``charlstm init``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from charlstm.cli.options import expand_home

SCHEMA = ".charlstm-schema.json"


def init(
    texts: Annotated[
        list[str], typer.Argument(metavar="TEXT...", help="Files, a glob in quotes, or a name of the catalog.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", callback=expand_home, help="The file to write. Default: NAME.yaml here."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write a configuration for a text, in which a comment explains each field.

    For example: charlstm init my-text.txt. Its settings are chosen by the size of the text, as charlstm train chooses
    them without a configuration. Editors check the file while you type, by a JSON Schema that is written next to it.
    """
    import json

    from charlstm import atomic_io, console
    from charlstm.cli.train_arguments import STANDARD_INPUT, configuration_file
    from charlstm.config import Config, Document, json_schema, validate
    from charlstm.config.commented import commented_yaml
    from charlstm.errors import UserError
    from charlstm.paths import command, path_exists
    from charlstm.runs.naming import run_name
    from charlstm.text.catalog import catalog_names
    from charlstm.text.corpus import load_corpus
    from charlstm.text.sources import absolute_source
    from charlstm.training.size_defaults import FRACTION, chosen_by, chosen_sections, chosen_text

    if STANDARD_INPUT in texts:
        raise UserError("init needs texts in files: save standard input as a file first")
    if configs := [text for text in texts if configuration_file(text) is not None and text not in catalog_names()]:
        raise UserError(f"{configs[0]} is a configuration: init takes texts")
    file = out or Path(f"{run_name(texts)}.yaml")
    if path_exists(file) and not overwrite:
        raise UserError(f"{file} exists. Choose another file: --out FILE; or replace it: --overwrite")
    source = texts[0] if len(texts) == 1 else texts
    corpus = load_corpus(source)
    text = chosen_text(corpus)
    if text != {"validation_fraction": FRACTION}:
        corpus = load_corpus(source, **text)
    if file.parent.absolute() != Path().absolute():
        source = absolute_source(source)
    sections = chosen_sections(corpus)
    data = {
        "corpus": {"source": source, **text, "documents": None},
        **sections,
    }
    validate(Config, Document(str(file), data))
    heading = [
        f"The text is {corpus.describe()}.",
        f"C{chosen_by(corpus, sections['model']['hidden_size'])[1:]}.",
        f"To train:  {command('train', file)}  All other fields:  charlstm config",
    ]
    try:
        atomic_io.make_directory(file.parent.absolute())
        atomic_io.write_atomic(file.parent / SCHEMA, json.dumps(json_schema(), indent=1).encode())
        atomic_io.write_atomic(file, commented_yaml(data, SCHEMA, heading).encode())
    except OSError as error:
        raise UserError(f"{file}: cannot write it: {error.strerror or error}") from None
    console.out(f"wrote {file}")
    console.out(f"next:   {command('train', file)}")
