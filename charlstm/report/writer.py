"""Write a report: the page, its plots as PNG, and report.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charlstm import atomic_io
from charlstm.errors import UserError
from charlstm.report.document import REPORT_TEMPLATE, Document, render
from charlstm.units import finite

REPORT = "report.json"


def write_document(
    document: Document, record: Mapping[str, Any], folder: Path, template: str = REPORT_TEMPLATE, **values: object
) -> list[Path]:
    """Write index.html, report.json and the plots as PNG into `folder`, which is created if it does not exist.

    `template` and `values` are those of :func:`charlstm.report.document.render`. report.json has the record, the
    headline and the data of the sections; numbers that are not finite become null.
    Returns the files written, index.html first.

    Raises:
        UserError: the files cannot be written.
        ValueError: two sections or two figures have the same name.
    """
    check_names("section", [section.anchor for section in document.sections])
    drawn = [figure for figure in document.figures if not figure.error]
    check_names("figure", [figure.name for figure in drawn])
    full_record = dict(record)
    full_record["headline"] = document.headline
    full_record["sections"] = {section.anchor: section.data for section in document.sections if section.data}
    files = {
        "index.html": render(document, template, **values).encode("utf-8"),
        REPORT: (json.dumps(finite(full_record), indent=1, allow_nan=False) + "\n").encode("utf-8"),
        **{f"{figure.name}.png": figure.png for figure in drawn},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in reversed(files.items()):  # the page last, so that an existing page is complete
            atomic_io.write_atomic(folder / name, content)
    except OSError as error:
        raise UserError(f"{folder}: cannot write the report: {error.strerror or error}") from error
    return [folder / name for name in files]


def check_names(kind: str, names: Sequence[str]) -> None:
    """Raise ValueError if two names are the same."""
    duplicates = {name for name in names if names.count(name) > 1}
    if duplicates:
        raise ValueError(f"more than one {kind} named {', '.join(sorted(duplicates))}")
