"""Arguments that name a file of bytes to read, and the one to write."""

from __future__ import annotations

import os
from pathlib import Path

from charlstm.cli.options import check_writable
from charlstm.paths import expand_home, is_folder

STREAM = "-"


def read_bytes(argument: str, given: str, limit: int) -> bytes:
    """The content of a regular file, or of standard input for ``-``. Raises UserError."""
    from charlstm.cli.text_arguments import file_argument

    return file_argument(argument, given, lambda content, _: content, limit)


def output_path(given: str, overwrite: bool) -> Path | None:
    """The file to write; None for ``-``, standard output.

    Raises UserError if it exists, or cannot be written, or if standard output is a terminal.
    """
    from charlstm import console
    from charlstm.errors import UserError

    if given == STREAM:
        if console.is_terminal():
            raise UserError("the result is bytes, which a terminal cannot show: redirect it (> FILE), or use --output")
        return None
    path = expand_home(given)
    if is_folder(path):
        raise UserError(f"{path}: this is a folder: give --output the name of a file")
    if not is_folder(path.parent):
        raise UserError(f"{path}: there is no folder {path.parent}")
    check_writable(path.parent, "name another file: --output FILE")
    if os.path.lexists(path) and not overwrite:
        raise UserError(f"{path}: this file exists: replace it with --overwrite, or write another with --output")
    return path


def write_bytes(path: Path | None, content: bytes) -> None:
    """Write the file, complete or not at all; None: to standard output. Raises UserError."""
    from charlstm import console
    from charlstm.atomic_io import write_atomic
    from charlstm.errors import UserError

    if path is None:
        console.out_bytes(content)
        return
    try:
        write_atomic(path, content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
