"""Resolution of a corpus source (names, paths, globs) to files."""

from __future__ import annotations

import glob
import os
import re
import shlex
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from charlstm.errors import UserError
from charlstm.files import read_error
from charlstm.paths import check_recordable, expand_home, is_folder
from charlstm.spelling import FILE_CUTOFF, near, near_file
from charlstm.text.catalog import catalog, catalog_names, fetch

if TYPE_CHECKING:
    from charlstm.text.reading import Progress, Source

MAX_NAME_LENGTH = 1000
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def resolve(source: str | Sequence[str], cache: Path, on_progress: Progress | None = None) -> list[Source]:
    """The files of a corpus, in order.

    Each item is a name of the catalog, else an existing path, else a glob (sorted, ``**`` for any depth); several are
    concatenated in the order given. ``./name`` is always a file, even if the catalog has this name. A folder stands for
    the text files in it and below it, sorted; hidden, empty and other files are left out, and so are runs and
    comparisons.

    Args:
        cache: the cache folder, for downloads.

    Raises:
        UserError: an item is none of these, is a URL or not a regular file, or a download failed.
    """
    names = [source] if isinstance(source, str) else list(source)
    if not names:
        raise UserError("the corpus has no source: set corpus.source to a file, a glob, or a name of the catalog")
    return [file for name in names for file in _resolve_one(name, cache, on_progress)]


def absolute_source(source: str | Sequence[str], folder: Path | None = None) -> str | list[str]:
    """The same source with absolute paths, independent of the working directory; catalog names are not changed.

    Args:
        folder: where relative paths are looked for, before the working directory; then a source that is missing is an
            error.

    Raises UserError for a path that is not UTF-8, and with a folder as :func:`resolve` does, before a text is read.
    """
    if not isinstance(source, str):
        return [str(absolute_source(part, folder)) for part in source]
    if folder is not None:
        _check_name(source)
    if source in catalog_names() or ADDRESS.match(source) or len(source) > MAX_NAME_LENGTH:
        return source
    path, bases = expand_home(source), [Path()]
    if folder is not None and not path.is_absolute() and folder.absolute() != Path().absolute():
        bases = [folder, Path()]
    base = next((one for one in bases if _matches(one / path)), None)
    if base is None and folder is not None:
        looked = f". Looked in {folder}, where the configuration is, and in {Path().absolute()}"
        raise UserError(_missing(source, path) + (looked if len(bases) > 1 else ""))
    full = ((base or Path()) / path).absolute()
    check_recordable(full)
    return str(full)


def _resolve_one(name: str, cache: Path, on_progress: Progress | None) -> list[Source]:
    from charlstm.text.reading import Source, check_file  # loads numpy: a missing text is refused without it

    if name in catalog_names():
        return [Source(name, fetch(name, cache, on_progress))]
    _check_name(name)
    path = expand_home(name)
    if is_folder(path):
        return [Source(str(file), file) for file in _text_files(path)]
    files = _matches(path)
    for file in files:
        check_file(file)
    if files:
        return [Source(name if file == path else str(file), file) for file in files]
    raise UserError(_missing(name, path))


def _check_name(name: str) -> None:
    """Raises UserError for a text or an address in place of a name or a path."""
    if not name.strip() or "\0" in name:
        raise UserError(f"a corpus source must be a name or a path, not {name!r}")
    if len(name) > MAX_NAME_LENGTH:
        raise UserError(f"a corpus source must be a name or a path, not a text of {len(name):,} characters")
    if ADDRESS.match(name):
        raise UserError(_address(name))


def _missing(name: str, path: Path) -> str:
    """The message for a path that does not exist, or a glob that nothing matches."""
    base, pattern = _split(path)
    if glob.has_magic(pattern):
        return f"no file matches {name!r} (looked for {pattern} in {base.absolute()})"
    return _not_found(name, path)


def _matches(path: Path) -> list[Path]:
    """The path, if it exists; else the files that match it as a glob, sorted."""
    base, pattern = _split(path)
    if not pattern:
        return [path]
    if not glob.has_magic(pattern):
        return []
    matches = sorted(glob.glob(pattern, root_dir=base, recursive=True))  # noqa: PTH207 (hidden files do not match)
    return [base / match for match in matches if not (base / match).is_dir()]


def _text_files(folder: Path) -> list[Path]:
    """The text files in a folder and below it, without those of runs. Raises UserError if there are none."""
    files = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not (name.startswith(".") or _is_of_run(Path(parent, name))))
        files += [Path(parent) / name for name in names if not name.startswith(".")]
    texts = [file for file in sorted(files) if file.is_file() and _is_text(file)]
    if not texts:
        raise UserError(f"{folder}: this is a folder without text files (hidden and empty files do not count)")
    return texts


def _is_of_run(folder: Path) -> bool:
    """Whether a folder is that of a run or a comparison: after ``charlstm train .``, the folder has one."""
    is_run = (folder / "config.yaml").is_file() and (folder / "metrics.jsonl").is_file()
    return is_run or (folder / "report" / "report.json").is_file()


def _is_text(file: Path) -> bool:
    """Whether a file is text, possibly in another encoding than the expected one, and not empty."""
    from charlstm.text.reading import read_pieces
    from charlstm.text.recognition import HEAD, detect_mismatch

    head = b"".join(islice(read_pieces(file), 1))[:HEAD]
    mismatch = detect_mismatch(head, "utf-8")
    return bool(head) and (mismatch is None or bool(mismatch.encodings))


def _split(path: Path) -> tuple[Path, str]:
    """The longest existing part of the path, and the rest, in which ``*``, ``?`` and ``[`` are patterns."""
    for base in (path, *path.parents):
        if _exists(base):
            return base, "" if base == path else str(path.relative_to(base))
    return Path(), str(path)


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise read_error(path, error) from None
    return True


def _address(name: str) -> str:
    known = next((entry.name for entry in catalog().values() if entry.url == name), None)
    if known:
        return f"{name} is the address of {known!r} in the catalog: use that name instead"
    if name.lower().startswith("file://"):
        return f"{name} is an address: use the path, {name[len('file://') :]}"
    return (
        f"{name} is an address; only corpora of the catalog are downloaded ({', '.join(catalog_names())}). "
        f"Download it first: curl -fLO {shlex.quote(name)}, and set corpus.source to the file"
    )


def _not_found(name: str, path: Path) -> str:
    hints = []
    known = near(path.stem, catalog_names(), FILE_CUTOFF)
    if known:
        hints.append(f"the catalog has {known!r}")
    similar = _nearest_file(path)
    if similar:
        hints.append(f"there is a file {similar!r}")
    if hints:
        return f"no corpus {name!r}: no file of that name, and no entry of the catalog; {', and '.join(hints)}"
    entries = ", ".join(catalog_names())
    return f"no corpus {name!r}: no file of that name, and no entry of the catalog ({entries})"


def _nearest_file(path: Path) -> str | None:
    try:
        siblings = sorted(file.name for file in path.parent.iterdir() if file.is_file())
    except OSError:
        return None
    match = near_file(path.name, siblings)
    return str(path.parent / match) if match else None
