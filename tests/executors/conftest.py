"""A fast C++ compiler without optimization, for cells that exist only in tests."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from charlstm.executors.cpp import build


@pytest.fixture(scope="session")
def unoptimized(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A value of CXX that compiles in a third of the time: without optimization, and with precompiled standard headers.
    Other tests cover the optimized kernels of the shipped cells."""
    if not shutil.which("c++"):
        pytest.skip("no C++ compiler")
    headers = tmp_path_factory.mktemp("headers") / "standard.h"
    folder = Path(build.__file__).parent
    sources = [(folder / name).read_text(encoding="utf-8") for name in ("vectors.h", "runtime.h")]
    headers.write_text("\n".join(re.findall(r"#include <\S+>", "\n".join(sources))))
    options = [option for option in build.OPTIONS if option != "-shared"]
    compiler = ["c++", *options, "-O0", "-x", "c++-header"]
    subprocess.run([*compiler, str(headers), "-o", f"{headers}.gch"], check=True)
    return f"c++ -O0 -include {headers}"


@pytest.fixture
def quick_compiler(unoptimized: str) -> Iterator[None]:
    """Compile kernels with ``unoptimized`` in this test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", unoptimized)
        yield
