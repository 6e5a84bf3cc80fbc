"""What ``charlstm train`` was given: a run to resume, a configuration, or texts to train on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charlstm.paths import command, expand_home, is_folder, path_exists
from charlstm.runs.naming import run_name

if TYPE_CHECKING:
    from charlstm.config import Document

STANDARD_INPUT, STDIN = "-", "stdin"


@dataclass(frozen=True)
class Given:
    """What a run is made from.

    document: the fields that are given; the others are chosen by the size of the text, or have their defaults.
    name: the name of the run, if none is given elsewhere.
    folder: the folder in which a relative path of a text is searched first; None: only the current one.
    run: the run to resume.
    fixed: the options that the way of naming that run leaves without effect.
    """

    document: Document
    name: str
    folder: Path | None = None
    run: Path | None = None
    fixed: tuple[str, ...] = ()


def read_arguments(arguments: Sequence[str], resume: bool, name: str | None, runs: Path) -> Given:
    """Read the positional arguments of ``charlstm train``.

    A single argument is a run (its folder), a configuration (YAML, or the name of a ready one), or a text: a file, a
    folder, a glob, a name of the catalog, or ``-``, standard input. Several are texts.

    Raises UserError if they are none of these.
    """
    from charlstm.config import Document, read_recorded, read_yaml
    from charlstm.config.misplaced import SUFFIXES, reject_other_command
    from charlstm.errors import UserError

    first = expand_home(arguments[0])
    if len(arguments) == 1:
        if resume and first.suffix.lower() not in SUFFIXES and (is_folder(first) or not path_exists(first)):
            from charlstm.runs.contents import why_no_run
            from charlstm.runs.names import find_run

            run = find_run(first, runs)
            if not path_exists(run / "config.yaml"):
                raise UserError(why_no_run(run))
            fixed = ("name", "runs") if run == first else ("name",)
            return Given(read_recorded(run / "config.yaml"), run.name, run=run, fixed=fixed)
        if is_folder(first) and path_exists(first / "config.yaml"):
            raise UserError(f"{first} is a run. To resume it:  {command('train', first, '--resume')}")
        if (file := configuration_file(arguments[0])) is not None:
            document = read_yaml(file)
            reject_other_command(file, document.data, "train")
            return Given(document, file.stem, file.parent)
        if is_folder(first) and next(first.glob("*/metrics.jsonl"), None) is not None:
            raise UserError(f"{first}: this is a folder of runs, not of texts. To resume one of them: --resume")
    elif configs := [one for one in arguments if configuration_file(one) is not None]:
        raise UserError(f"{configs[0]} is a configuration: train takes one configuration, or texts")
    name = name or (STDIN if arguments[0] == STANDARD_INPUT else run_name(arguments))
    if resume:
        directory = runs / name
        if not path_exists(directory / "config.yaml"):
            raise UserError(f"{directory} is not a run: there is nothing to resume. Leave out --resume to start it")
        return Given(read_recorded(directory / "config.yaml"), name, run=directory)
    sources = [_text(one, runs / f"{name}.txt", len(arguments)) for one in arguments]
    return Given(Document("the text", {"corpus": {"source": sources[0] if len(sources) == 1 else sources}}), name)


def configuration_file(argument: str) -> Path | None:
    """The file of the configuration that the argument names, which may not exist; None if it is a text."""
    from charlstm.config.misplaced import SUFFIXES, is_configuration
    from charlstm.config.ready import ready_configs
    from charlstm.files import open_regular, read_error

    path = expand_home(argument)
    if argument == STANDARD_INPUT or is_folder(path):
        return None
    if path_exists(path):
        try:
            with open_regular(path) as file:
                beginning = file.read(1 << 16) or b""
        except OSError as error:
            raise read_error(path, error) from None
        is_empty_text = not beginning.strip() and path.suffix.lower() not in SUFFIXES
        return path if is_configuration(path, beginning) and not is_empty_text else None
    if path.suffix.lower() in SUFFIXES:
        return path
    return ready_configs().get(argument)


def _text(argument: str, copy: Path, count: int) -> str:
    """The source of one text; standard input is first written to ``copy``."""
    from charlstm import atomic_io
    from charlstm.cli.text_arguments import MAX_TEXT_BYTES
    from charlstm.config.misplaced import reject_address
    from charlstm.errors import UserError
    from charlstm.files import read_regular
    from charlstm.standard_streams import read_stdin

    if argument != STANDARD_INPUT:
        reject_address(Path(argument))
        if (hint := _misspelled_configuration(argument)) is not None:
            raise UserError(f"no text and no ready configuration {argument!r}: did you mean {hint}?")
        return argument
    if count > 1:
        raise UserError("-, standard input, must be the only text")
    content = read_stdin(MAX_TEXT_BYTES + 1)
    if not content:
        raise UserError("standard input is empty: there is nothing to train on")
    if len(content) > MAX_TEXT_BYTES:
        raise UserError(f"standard input is longer than {MAX_TEXT_BYTES:,} bytes: save it as a file")
    if path_exists(copy):
        if copy.is_file() and read_regular(copy, MAX_TEXT_BYTES) == content:
            return str(copy)
        raise UserError(f"{copy} exists, where standard input would be saved: give the run another name: --name NAME")
    atomic_io.make_directory(copy.parent)
    atomic_io.write_atomic(copy, content)
    return str(copy)


def _misspelled_configuration(argument: str) -> str | None:
    """The ready configuration that was probably meant; None if the argument can be a text."""
    from charlstm.config.ready import ready_configs
    from charlstm.spelling import near
    from charlstm.text.catalog import catalog_names

    if argument in catalog_names() or path_exists(expand_home(argument)) or re.search(r"[*?\[/\\.]", argument):
        return None
    return near(argument, {*ready_configs()} - {*catalog_names()}, 0.75)
