"""The corpus ``python-stdlib``: the source of the running Python's own standard library.

It needs no download. Which files, and why in this order:

- every ``.py`` file of the library that is pure ASCII (for a small vocabulary), with ``\\n`` line ends;
- no tests, no bundled applications and tools (idlelib, lib2to3, turtledemo, ensurepip), no mere tables
  (encodings, pydoc_data, msilib), nothing that differs from machine to machine (site-packages, build
  settings);
- ordered by the SHA-256 of the relative path. A split cuts by position: in alphabetical order the validation
  text would be ``unittest``, ``urllib``, ``xml`` and ``zipfile``, unlike the rest. This fixed shuffle
  spreads every package over the whole text, and it is the same on every machine.

Two Pythons of one version give the same text, save for packages that a distribution leaves out.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sysconfig
from pathlib import Path

from charlstm.cache import writable_folder, written_whole
from charlstm.errors import UserError

NAME = "python-stdlib"
LEFT_OUT_FOLDERS = frozenset(
    {"__pycache__", "dist-packages", "lib-dynload", "site-packages"}
    | {"test", "tests", "idle_test"}
    | {"ensurepip", "idlelib", "lib2to3", "turtledemo"}
    | {"encodings", "msilib", "pydoc_data"}
)
LEFT_OUT_FILES = frozenset({"sitecustomize.py", "usercustomize.py", "__phello__.foo.py"})
LEFT_OUT_BEGINNINGS = ("_sysconfigdata", "_sysconfig_vars", "config-")


def standard_library_files(folder: Path) -> list[Path]:
    """The chosen files under `folder`, relative to it, in the corpus's order."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT_FOLDERS and not _machine_made(name)]
        found += [
            (Path(parent) / name).relative_to(folder)
            for name in files
            if name.endswith(".py") and name not in LEFT_OUT_FILES and not _machine_made(name)
        ]
    return sorted(found, key=lambda path: hashlib.sha256(path.as_posix().encode()).digest())


def standard_library_text(folder: Path | None = None) -> bytes:
    """The corpus as bytes, the files joined by a newline.

    Args:
        folder: where the library lies; the running Python's own by default.

    Raises:
        UserError: there is no source in it (some Pythons come without).
    """
    folder = folder or Path(sysconfig.get_path("stdlib"))
    texts = []
    for path in standard_library_files(folder):
        try:
            text = (folder / path).read_bytes().replace(b"\r\n", b"\n")
        except OSError:
            continue
        if text and text.isascii():
            texts.append(text)
    if not texts:
        raise UserError(f"this Python carries no source of its standard library (looked in {folder})")
    return b"\n".join(texts)


def materialise(cache: Path) -> Path:
    """The file that holds the corpus, written to the cache folder unless it is there already."""
    text = standard_library_text()
    digest = hashlib.sha256(text).hexdigest()
    folder = writable_folder(cache / "corpora")
    path = folder / f"{NAME}-{platform.python_version()}-{digest[:16]}.txt"
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return path
    except OSError:
        pass
    with written_whole(path) as file:
        file.write(text)
    return path


def _machine_made(name: str) -> bool:
    return name.startswith(LEFT_OUT_BEGINNINGS)
