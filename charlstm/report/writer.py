"""A report on the disk: the page, its plots as PNG, and report.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charlstm import atomic_io
from charlstm.errors import UserError
from charlstm.report.document import Document, render
from charlstm.units import finite

REPORT = "report.json"


def write_document(document: Document, record: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write index.html, report.json and the plots as PNG into `folder`, which is made if need be.

    report.json holds the record, the headline, and the sections' data; a figure that is not finite becomes null.
    Returns the files written, index.html first.

    Raises:
        UserError: it cannot be written.
        ValueError: two sections or two figures share a name.
    """
    check_names("section", [section.anchor for section in document.sections])
    drawn = [figure for figure in document.figures if not figure.lacking]
    check_names("figure", [figure.name for figure in drawn])
    whole = dict(record)
    whole["headline"] = document.headline
    whole["sections"] = {section.anchor: finite(section.data) for section in document.sections if section.data}
    files = {
        "index.html": render(document).encode("utf-8"),
        REPORT: (json.dumps(whole, indent=1, allow_nan=False) + "\n").encode("utf-8"),
        **{f"{figure.name}.png": figure.png for figure in drawn},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in reversed(files.items()):  # the page last: where it is, all of the report is
            atomic_io.write_atomic(folder / name, content)
    except OSError as error:
        raise UserError(f"{folder}: cannot write the report: {error.strerror or error}") from error
    return [folder / name for name in files]


def check_names(kind: str, names: Sequence[str]) -> None:
    """Raises ValueError if two are the same."""
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"more than one {kind} named {', '.join(sorted(twice))}")
