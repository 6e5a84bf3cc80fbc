"""The formats of an export, and the path of each; without torch."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from charlstm.errors import UserError
from charlstm.paths import is_folder, path_exists
from charlstm.spelling import near

FOLDER = "export"


class Format(NamedTuple):
    """What an export is: the suffix of its file, or of the name of its folder; and the package that it needs."""

    description: str
    suffix: str
    is_folder: bool = False
    package: str = ""


FORMATS = {
    "html": Format("a page that writes text in any browser, offline", ".html"),
    "onnx": Format("a step of the model with its state in and out", ".onnx", package="onnx"),
    "torch": Format("weights for torch.nn, and a script that samples with them", "-torch", is_folder=True),
    "hub": Format("a folder as model hubs expect it, with a model card", "-hub", is_folder=True),
}
DEFAULT = "html"


def check_format(to: str, out: Path | None, overwrite: bool) -> None:
    """Raises UserError for an unknown format, if the package that it needs is missing, and if ``out`` cannot be
    written: it exists and may not be replaced, its folder does not exist, or its name is that of another format."""
    if to not in FORMATS:
        hint = f". Did you mean {meant}?" if (meant := near(to, FORMATS)) else ""
        raise UserError(f"--to {to}: there is no such format; there are {', '.join(FORMATS)}{hint}")
    package = FORMATS[to].package
    if package and find_spec(package) is None:
        raise UserError(f"--to {to} needs the package {package}: pip install 'charlstm[{package}]'")
    if out is None:
        return
    suffixes = {one.suffix: name for name, one in FORMATS.items() if not one.is_folder}
    if (other := suffixes.get(out.suffix, to)) != to:
        raise UserError(f"--out {out} is a name for --to {other}, and this export is {to}: change one of them")
    if not is_folder(out.parent):
        raise UserError(f"--out {out}: there is no folder {out.parent}: create it first")
    if path_exists(out) and not is_folder(out) and not out.is_file():
        raise UserError(f"--out {out}: it is a pipe or a device, and an export is a file: give the path of one")
    if FORMATS[to].is_folder:
        if is_folder(out) and any(out.iterdir()) and not overwrite:
            raise UserError(f"--out {out}: the folder is not empty; --overwrite replaces the files of an export in it")
        if path_exists(out) and not is_folder(out):
            raise UserError(f"--out {out}: it is a file; --to {to} writes a folder")
    elif path_exists(out) and not is_folder(out) and not overwrite:
        raise UserError(f"--out {out}: it exists; --overwrite replaces it")


def target(to: str, out: Path | None, home: Path, name: str, overwrite: bool) -> Path:
    """The path of the export: ``out``, or NAME.html and so on in it if it is a folder and the export a file; by default
    in the folder ``export`` of ``home``, where it replaces an earlier one.

    Raises as :func:`check_format` does.
    """
    check_format(to, out, overwrite)
    file = f"{name}{FORMATS[to].suffix}"
    if out is None:
        return home / FOLDER / file
    if is_folder(out) and not FORMATS[to].is_folder:
        check_format(to, out / file, overwrite)
        return out / file
    return out
