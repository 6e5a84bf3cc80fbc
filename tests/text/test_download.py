"""Downloads over connections that break, from servers with and without ranges, and with other content."""

from __future__ import annotations

import hashlib
import os
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from charlstm.errors import UserError
from charlstm.locking import lock
from charlstm.text import download as module
from charlstm.text.download import DownloadError, download

TEXT = random.Random(1).randbytes(300_000)
SHA = hashlib.sha256(TEXT).hexdigest()


class Server(HTTPServer):
    """Serves `content`; each connection breaks after as many bytes as the next item of `breaks`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.breaks, self.has_ranges, self.has_length, self.error = TEXT, list[int](), True, True, 0
        self.ranges: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/text.txt"

    def handle_error(self, *_: object) -> None:
        pass


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, asked = self.server, self.headers.get("Range")
        server.ranges.append(asked)
        if server.error:
            self.send_error(server.error)
            return
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.has_ranges else 0
        if begin >= len(server.content):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(server.content) - 1}/{len(server.content)}")
        if server.has_length:
            self.send_header("Content-Length", str(len(server.content) - begin))
        self.end_headers()
        end = begin + server.breaks.pop(0) if server.breaks else None
        self.wfile.write(server.content[begin:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(module, "PIECE", 1 << 12)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "text.txt"


def fetch(server: Server, target: Path) -> list[int]:
    progress: list[int] = []
    download(server.url, target, len(TEXT), SHA, progress.append)
    return progress


def test_whole_file(server, target):
    progress = fetch(server, target)
    assert target.read_bytes() == TEXT
    assert progress == sorted(progress)
    assert progress[-1] == len(TEXT)
    assert [path.name for path in target.parent.iterdir()] == ["text.txt"]


def test_broken_connections_are_continued(server, target):
    server.breaks = [100_000, 50_000]
    progress = fetch(server, target)
    assert target.read_bytes() == TEXT
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-"]
    assert progress == sorted(progress)


def test_server_without_ranges_starts_again(server, target):
    server.has_ranges, server.breaks = False, [100_000]
    fetch(server, target)
    assert target.read_bytes() == TEXT
    assert server.ranges == [None, "bytes=100000-"]


def test_next_download_continues_what_an_interrupted_one_received(server, target):
    server.breaks = [100_000, 0]
    with pytest.raises(DownloadError, match=r"was interrupted.*100,000 bytes are kept, and the same command continues"):
        fetch(server, target)
    assert not target.exists()
    server.ranges.clear()
    fetch(server, target)
    assert server.ranges == ["bytes=100000-"]
    assert target.read_bytes() == TEXT
    assert [path.name for path in target.parent.iterdir()] == ["text.txt"]


@pytest.mark.parametrize("beginning", [b"another version" * 1000, TEXT + b"more", bytes(len(TEXT))])
def test_beginning_of_another_version_is_replaced(server, target, beginning):
    target.with_name("text.txt.download").write_bytes(beginning)
    fetch(server, target)
    assert target.read_bytes() == TEXT


@pytest.mark.parametrize("content", [TEXT[::-1], TEXT[:-1], TEXT + b"x" * 100_000, b"<html>"])
@pytest.mark.parametrize("has_length", [True, False])
def test_other_content_is_refused_and_deleted(server, target, content, has_length):
    server.content, server.has_length = content, has_length
    with pytest.raises(DownloadError, match=r"the file at its URL has changed \(the SHA-256 differs\)"):
        fetch(server, target)
    assert not list(target.parent.iterdir())


def test_error_of_the_server(server, target):
    server.error = 404
    with pytest.raises(DownloadError, match=r"could not be downloaded \(Not Found\)"):
        fetch(server, target)
    assert not list(target.parent.iterdir())


def test_no_server(server, target):
    url = server.url.replace(str(server.server_port), "1")
    with pytest.raises(DownloadError, match=r"could not be downloaded.*refused"):
        download(url, target, len(TEXT), SHA, lambda _: None)


def test_endless_breaks_end(server, target):
    server.breaks = [10_000] * 100
    with pytest.raises(DownloadError, match="was interrupted 10 times; 100,000 bytes are kept"):
        fetch(server, target)


def test_two_processes_download_at_once(server, target):
    part = target.with_name("text.txt.download")
    with part.open("wb") as file:
        lock(file.fileno())
        fetch(server, target)
        assert target.read_bytes() == TEXT
        assert part.exists()


def test_folder_that_cannot_be_written(server, target):
    with pytest.raises(UserError, match="cannot write the download: No such file"):
        fetch(server, target.parent / "nowhere" / "text.txt")


def test_full_disk(server, target, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"No space left on device\. Set CHARLSTM_CACHE"):
        fetch(server, target)
    assert not target.exists()
