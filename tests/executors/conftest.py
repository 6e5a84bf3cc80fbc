"""A C++ compiler that is quick rather than good, for cells that only tests have."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from charlstm.cells import CELLS
from charlstm.executors.cpp import build


@pytest.fixture(scope="session")
def unoptimized(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A command for CXX that takes a third of the time: without optimization, and with the standard headers parsed
    once. The optimized kernels of the real cells have tests of their own."""
    if not shutil.which("c++"):
        pytest.skip("there is no C++ compiler")
    headers = tmp_path_factory.mktemp("headers") / "standard.h"
    headers.write_text("\n".join(re.findall(r"#include <\S+>", build.source(CELLS["rnn"]))))
    options = [option for option in build.OPTIONS if option != "-shared"]
    compiler = ["c++", *options, "-O0", "-x", "c++-header"]
    subprocess.run([*compiler, str(headers), "-o", f"{headers}.gch"], check=True)
    return f"c++ -O0 -include {headers}"


@pytest.fixture
def quick_compiler(unoptimized: str) -> Iterator[None]:
    """Kernels are compiled by ``unoptimized`` in this test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", unoptimized)
        yield
