"""The corpus ``python-stdlib``: the source code of the standard library of the running Python.

It needs no download. Its files, and their order:

- every ``.py`` file of the library that is pure ASCII (for a small vocabulary), with ``\\n`` line ends;
- no tests, no bundled applications and tools (idlelib, lib2to3, turtledemo, ensurepip), no data tables
  (encodings, pydoc_data, msilib), nothing that differs between machines (site-packages, build settings);
- ordered by the SHA-256 of the relative path. Splits are cut by position: in alphabetical order the validation
  text would be ``unittest``, ``urllib``, ``xml`` and ``zipfile``, unlike the rest. This fixed shuffle
  spreads every package over the whole text, and it is the same on every machine.

Two Pythons of the same version give the same text, except for packages that a distribution omits.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sysconfig
from pathlib import Path

from charlstm.cache import open_atomic, writable_folder
from charlstm.errors import UserError

NAME = "python-stdlib"
LICENSE = "Python Software Foundation License"
DESCRIPTION = "the source of this Python's standard library, which needs no download"
EXCLUDED_FOLDERS = frozenset(
    {"__pycache__", "dist-packages", "lib-dynload", "site-packages"}
    | {"test", "tests", "idle_test"}
    | {"ensurepip", "idlelib", "lib2to3", "turtledemo"}
    | {"encodings", "msilib", "pydoc_data"}
)
EXCLUDED_FILES = frozenset({"sitecustomize.py", "usercustomize.py", "__phello__.foo.py"})
EXCLUDED_PREFIXES = ("_sysconfigdata", "_sysconfig_vars", "config-")


def standard_library_files(folder: Path) -> list[Path]:
    """The files of the corpus under `folder`, relative to it, in the order of the corpus."""
    paths = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in EXCLUDED_FOLDERS and not _is_generated(name)]
        paths += [
            (Path(parent) / name).relative_to(folder)
            for name in files
            if name.endswith(".py") and name not in EXCLUDED_FILES and not _is_generated(name)
        ]
    return sorted(paths, key=lambda path: hashlib.sha256(path.as_posix().encode()).digest())


def standard_library_text(folder: Path | None = None) -> bytes:
    """The corpus as bytes, the files joined by a newline.

    Args:
        folder: the folder of the library; by default that of the running Python.

    Raises:
        UserError: the folder has no source code (some Pythons are distributed without it).
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
        raise UserError(f"this Python has no source code of its standard library (searched {folder})")
    return b"\n".join(texts)


def materialize(cache: Path) -> Path:
    """The file of the corpus, written to the cache folder if it is not there yet."""
    text = standard_library_text()
    digest = hashlib.sha256(text).hexdigest()
    folder = writable_folder(cache / "corpora")
    path = folder / f"{NAME}-{platform.python_version()}-{digest[:16]}.txt"
    try:
        if hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            return path
    except OSError:
        pass
    with open_atomic(path) as file:
        file.write(text)
    return path


def _is_generated(name: str) -> bool:
    return name.startswith(EXCLUDED_PREFIXES)
