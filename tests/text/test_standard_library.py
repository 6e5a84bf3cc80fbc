"""The corpus python-stdlib: its files, their order, and its cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from charlstm.errors import UserError
from charlstm.text.corpus import load_corpus
from charlstm.text.standard_library import materialize, standard_library_files, standard_library_text


def library(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_excluded_files_are_not_in_the_text(tmp_path: Path) -> None:
    included = {f"m{i}.py": b"x = %d\n" % i for i in range(5)} | {"package/inner/code.py": b"y = 1\r\n"}
    excluded = dict.fromkeys(
        (
            "test/test_x.py",
            "package/tests/test_y.py",
            "site-packages/z.py",
            "encodings/cp037.py",
            "_sysconfigdata__linux.py",
            "config-3.11-x/python-config.py",
            "notes.txt",
        ),
        b"other\n",
    )
    folder = library(tmp_path, included | excluded | {"accents.py": "é = 1\n".encode(), "empty.py": b""})
    text = standard_library_text(folder)
    assert text.isascii()
    assert b"other" not in text
    assert sorted(line for line in text.split(b"\n") if line) == [
        *(b"x = %d" % i for i in range(5)),
        b"y = 1",
    ]
    assert b"\r" not in text


def test_order_depends_only_on_the_names(tmp_path: Path) -> None:
    names = [f"module_{i}.py" for i in range(50)]
    one = library(tmp_path / "one", dict.fromkeys(names, b"a\n"))
    other = library(tmp_path / "elsewhere", dict.fromkeys(reversed(names), b"b\n"))
    assert standard_library_files(one) == standard_library_files(other)
    assert [path.name for path in standard_library_files(one)] != sorted(names)


def test_python_without_source_code_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no source code"):
        standard_library_text(tmp_path)


def test_python_stdlib_is_a_corpus(tmp_path: Path) -> None:
    corpus = load_corpus("python-stdlib", cache=tmp_path)
    assert corpus.sources == ("python-stdlib",)
    assert corpus.ids.size > 1_000_000
    assert corpus.vocabulary.size < 128
    for name in ("train", "validation"):
        text = corpus.vocabulary.decode(corpus.split(name))
        assert text.count("def ") > 500
        assert str(tmp_path) not in text


def test_file_is_written_once_and_repaired(tmp_path: Path) -> None:
    path = materialize(tmp_path)
    before = path.stat().st_mtime_ns
    assert materialize(tmp_path).stat().st_mtime_ns == before
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert materialize(tmp_path) == path
    assert path.read_bytes() == content
