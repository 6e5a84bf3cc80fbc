"""Property test: any configuration trains a step or gives clear error lines, never a traceback."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charlstm import cli
from charlstm.config import Config
from charlstm.config.fields import choices, iter_fields

TEXTS = {
    "plain.txt": b"the cat sat on the mat\nand saw two dogs run home\n" * 4,
    "two.txt": b"abbabaab" * 12,
    "short.txt": b"ab",
    "one.txt": b"a",
    "same.txt": b"a" * 100,
    "empty.txt": b"",
    "mark.txt": b"\xef\xbb\xbf",
    "latin.txt": b"caf\xe9 na\xefve\n" * 10,
    "nul.txt": b"a\0b\0c\r\n" * 20,
    "wide.txt": "寒随穷律变\n".encode() * 9,
    "utf16.txt": "hello there\n".encode("utf-16") * 3,
    "table.csv": b"a,b\n" + b"one,the cat\ntwo,sat on\n" * 9,
}
CODECS = (
    "utf-8 bytes latin-1 ascii utf-8-sig utf-16 utf-16-le utf-32 utf-7 cp037 cp1252 shift_jis gb18030 hz "
    "iso2022_jp idna punycode unicode_escape raw_unicode_escape charmap undefined rot13 hex zlib_codec mbcs oem"
)
SMALL: dict[str, st.SearchStrategy[Any]] = {
    "corpus.source": st.sampled_from(sorted(TEXTS)) | st.lists(st.sampled_from(sorted(TEXTS)), max_size=3),
    "corpus.encoding": st.sampled_from(CODECS.split()),
    "corpus.documents": st.sampled_from(["newline", "blank_line", "file", " ", "at", "z"]),
    "corpus.column": st.sampled_from(["a", "b", "c"]),
    "corpus.context_column": st.sampled_from(["a", "b", "c"]),
    "corpus.context_separator": st.sampled_from(["|", "e"]),
    "corpus.characters": st.text(st.sampled_from("atz\n\xe9\u5bd2"), max_size=4),
    "corpus.normalize": st.booleans() | st.lists(st.sampled_from(["line_ends", "spaces", "unicode"]), max_size=3),
    "model.hidden_size": st.integers(1, 6),
    "model.num_layers": st.integers(1, 3),
    "model.embedding_size": st.integers(1, 6),
    "model.kernel_sizes": st.lists(st.integers(1, 5), max_size=3),
    "model.filters": st.integers(1, 6),
    "training.batch_size": st.integers(1, 6) | st.just(2**20),
    "training.sequence_length": st.integers(1, 12) | st.just(2**20),
    "training.sample_length": st.integers(0, 4),
    "training.budget.steps": st.integers(1, 2),
    "training.budget.epochs": st.floats(0, 1, exclude_min=True),
    "training.budget.minutes": st.floats(0, 0.001, exclude_min=True),
    "training.initial_run": st.sampled_from(["nowhere", "latest", "plain.txt"]),
    "training.device": st.sampled_from(["auto", "cpu", "cpu", "cpu", "cuda", "cuda:7", "cuda:999", "mps"]),
    "training.seed": st.integers(0, 2**32 - 1),
    "name": st.sampled_from(["run", "a run", "名", "x" * 100]),
}
"""Valid values for which a training step is fast."""
EDGES = [0, 1, -1, 2**20, 2**31, 2**63, -(2**63), 10**60, 0.5, 1.0, 1e-300, 1e300, -0.0, float("nan"), float("inf")]
ODD = st.one_of(
    st.sampled_from(EDGES),
    st.none(),
    st.booleans(),
    st.text(max_size=6),
    st.sampled_from(
        [1e42, "no", "1e-4", "~", "a/b", "..", "\x1b[2J", "~nobody/x", "/dev/zero", "y" * 5000, "**", "[", "cuda:"]
    ),
    st.lists(st.integers(0, 3), max_size=2),
    st.dictionaries(st.sampled_from(["a", "cell", "steps"]), st.integers(0, 3), max_size=2),
)
UNKNOWN = [
    "lr",
    "model.lr",
    "training.hidden_size",
    "training.budget.step",
    "corpus.encodng",
    "x.y",
    "training.",
    "\x1b",
]
FIELDS = {".".join(path): field for path, field in iter_fields(Config)}


def valid_values(name: str) -> st.SearchStrategy[Any]:
    """Values that the field allows."""
    field = FIELDS[name]
    if name in SMALL:
        return SMALL[name]
    if choices(field):
        return st.sampled_from(choices(field))
    if field.annotation is bool:
        return st.booleans()
    bounds = {
        kind: getattr(item, kind) for item in field.metadata for kind in ("ge", "gt", "le", "lt") if hasattr(item, kind)
    }
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if "int" in str(field.annotation):
        return st.integers(low, min(20, high or 20)) | st.just(2**63)
    numbers = st.floats(low, high, exclude_min="gt" in bounds, exclude_max="lt" in bounds, allow_nan=False)
    return numbers | st.floats(0.001, 0.9)


@st.composite
def configurations(draw: st.DrawFn, compiled: bool) -> tuple[dict[str, Any], list[str]]:
    """A configuration with a few fields, most of them valid, some of them as overrides."""
    chosen = {"corpus.source": draw(st.sampled_from(["plain.txt"] * 5 + sorted(TEXTS))), "training.device": "cpu"}
    chosen |= {"training.budget.steps": 1, "training.sample_length": 2, "model.hidden_size": 4}
    chosen |= {} if compiled else {"model.executor": "eager"}
    wrong = draw(st.integers(0, 9)) < 4
    for name in draw(st.lists(st.sampled_from(sorted(FIELDS)), max_size=7, unique=True)):
        chosen[name] = draw(valid_values(name))
    if not compiled and chosen["model.executor"] in ("auto", "cpp"):  # seconds for each kind of cell
        chosen["model.executor"] = "vendor"
    for name in draw(st.lists(st.sampled_from([*sorted(FIELDS), *UNKNOWN]), max_size=2)) if wrong else []:
        chosen[name] = draw(ODD)
    overrides = [name for name in chosen if draw(st.integers(0, 19)) == 0]
    return nested({k: v for k, v in chosen.items() if k not in overrides}), [
        override_text(n, chosen[n]) for n in overrides
    ]


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, leaf = name.split(".")
        target = config
        for section in sections:
            target = target.setdefault(section, {})
        target[leaf] = value
    return config


def override_text(name: str, value: Any) -> str:
    return f"{name}={yaml.safe_dump(value, default_flow_style=True, width=10**9).removesuffix('...' + chr(10)).strip()}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("any")
    for name, content in TEXTS.items():
        (path / name).write_bytes(content)
    with contextlib.chdir(path) if sys.version_info >= (3, 11) else _chdir(path):
        yield path


@contextlib.contextmanager
def _chdir(path: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        yield


def train(config: dict[str, Any], overrides: list[str]) -> tuple[int, str]:
    """The exit code and standard error of ``charlstm train``."""
    out, err = io.StringIO(), io.StringIO()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as runs, pytest.MonkeyPatch.context() as patch:
        path = Path(runs) / "any.yaml"
        path.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        sets = [part for override in overrides for part in ("--set", override)]
        patch.setattr(sys, "argv", ["charlstm", "train", str(path), "--runs", str(Path(runs) / "runs"), *sets])
        patch.setattr(
            "charlstm.cli.train_output._write_report", lambda trainer: trainer.directory.path
        )  # plots take half a second
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as exited:
            cli.main()
        trained = list(Path(runs).glob("runs/*/metrics.jsonl"))
    code = exited.value.code or 0
    assert isinstance(code, int)
    assert (code in (0, 3)) == bool(trained), (code, err.getvalue())
    return code, err.getvalue()


LEAVES = {path.rpartition(".")[2] for path in FIELDS} | {"corpus", "model", "training", "text"}


def check(case: tuple[dict[str, Any], list[str]]) -> None:
    code, err = train(*case)
    assert code in (0, 2, 3)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", err), repr(err)
    assert all(len(line) < 1000 for line in err.splitlines()), err
    if code == 2:
        first, *_ = lines = err.removeprefix("error: ").splitlines()
        assert first
        located = [line for line in lines if re.search(r"any\.yaml:\d+: |--set ", line)]
        assert located == lines or ".txt" in err or any(re.search(rf"\b{leaf}\b", err) for leaf in LEAVES), err


@given(configurations(compiled=False))
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_any_config_trains_a_step_or_gives_an_error(folder: Path, case: tuple[dict[str, Any], list[str]]) -> None:
    check(case)


@pytest.mark.slow
@given(configurations(compiled=True))
@settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
def test_ten_thousand_configs(folder: Path, case: tuple[dict[str, Any], list[str]]) -> None:
    check(case)
