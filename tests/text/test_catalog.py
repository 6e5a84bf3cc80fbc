"""The catalog of named corpora and its downloads."""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path
from urllib.error import URLError

import pytest

from charlstm.errors import UserError
from charlstm.text import catalog as module
from charlstm.text.catalog import Entry, catalog, catalog_names, fetch

TEXT = b"a small corpus\n"
ENTRY = Entry(
    "small", "small.txt", "https://example.org/s.txt", hashlib.sha256(TEXT).hexdigest(), len(TEXT), 15, "", ""
)


class Network:
    """A fake of urllib with a fixed answer, which records the requested URLs."""

    def __init__(self, answer: bytes | Exception) -> None:
        self.answer = answer
        self.requests: list[str] = []

    def __call__(self, request: object, timeout: float) -> io.BytesIO:
        self.requests.append(request.full_url)  # type: ignore[attr-defined]
        assert timeout > 0
        if isinstance(self.answer, Exception):
            raise self.answer
        return io.BytesIO(self.answer)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "catalog.json").write_text("{}")
    monkeypatch.setattr(module, "CHECKOUT_DATA", folder)
    monkeypatch.setattr(module, "catalog", lambda: {"small": ENTRY})
    return folder


def network(monkeypatch: pytest.MonkeyPatch, answer: bytes | Exception) -> Network:
    fake = Network(answer)
    monkeypatch.setattr("urllib.request.urlopen", fake)
    return fake


def test_shipped_catalog_is_complete() -> None:
    assert {"tinyshakespeare", "warpeace", "names"} <= set(catalog())
    assert "python-stdlib" in catalog_names()
    for entry in catalog().values():
        assert entry.url.startswith("https://")
        assert re.fullmatch(r"[0-9a-f]{64}", entry.sha256)
        assert entry.bytes >= entry.characters > 0
        assert entry.license
        assert entry.description
        assert Path(entry.file).name == entry.file


@pytest.mark.usefixtures("checkout")
def test_corpus_is_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = network(monkeypatch, TEXT)
    progress: list[tuple[str, int, int]] = []
    path = fetch("small", tmp_path / "cache", lambda *event: progress.append(event))
    assert path.read_bytes() == TEXT
    assert progress[-1] == ("downloading small", len(TEXT), len(TEXT))
    assert fetch("small", tmp_path / "cache") == path
    assert fake.requests == [ENTRY.url]
    assert [file.name for file in path.parent.iterdir()] == ["small.txt"]


def test_file_in_the_checkout_is_used(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = network(monkeypatch, TEXT)
    (checkout / "small.txt").write_bytes(TEXT)
    assert fetch("small", tmp_path / "cache") == checkout / "small.txt"
    assert not fake.requests
    (checkout / "small.txt").write_bytes(TEXT.upper())
    assert fetch("small", tmp_path / "cache") == tmp_path / "cache" / "corpora" / "small.txt"


@pytest.mark.usefixtures("checkout")
def test_damaged_cache_file_is_downloaded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network(monkeypatch, TEXT)
    path = fetch("small", tmp_path / "cache")
    path.write_bytes(TEXT.upper())
    assert fetch("small", tmp_path / "cache").read_bytes() == TEXT


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("answer", [TEXT.upper(), TEXT[:-1], TEXT * 1000])
def test_file_with_wrong_checksum_is_discarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes) -> None:
    network(monkeypatch, answer)
    with pytest.raises(UserError, match="the file at its URL has changed"):
        fetch("small", tmp_path / "cache")
    assert not list((tmp_path / "cache" / "corpora").iterdir())


def test_offline_error_says_what_to_do(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network(monkeypatch, URLError("Name or service not known"))
    with pytest.raises(UserError) as caught:
        fetch("small", tmp_path / "cache")
    message = str(caught.value)
    manual_paths = f"{checkout / 'small.txt'} or {tmp_path / 'cache' / 'corpora' / 'small.txt'}"
    for part in (ENTRY.url, "Name or service not known", manual_paths, ENTRY.sha256):
        assert part in message
    assert "exists, but" not in message
    (checkout / "small.txt").write_bytes(b"something else")
    with pytest.raises(UserError, match=r"small\.txt exists, but it is another text"):
        fetch("small", tmp_path / "cache")


@pytest.mark.usefixtures("checkout")
def test_interrupted_download_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.BytesIO):
        def read(self, _size: int | None = -1, /) -> bytes:
            raise ConnectionResetError("Connection reset by peer")

    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Broken())
    with pytest.raises(UserError, match=r"was interrupted \(Connection reset by peer\)"):
        fetch("small", tmp_path / "cache")
    assert not list((tmp_path / "cache" / "corpora").iterdir())
