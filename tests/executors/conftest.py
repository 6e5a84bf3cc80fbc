"""A fast C++ compiler without optimization, for cells that exist only in tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from quick_builds import precompile, quick_command

from charlstm.cache import user_cache_folder


@pytest.fixture(scope="session")
def unoptimized(_surroundings: None) -> str:
    """A value of CXX that compiles in a third of the time: without optimization, and with precompiled standard headers.
    Other tests cover the optimized kernels of the shipped cells."""
    if not shutil.which("c++"):
        pytest.skip("no C++ compiler")
    command, header = quick_command("c++ -O0", user_cache_folder().with_name("unoptimized-headers"))
    precompile("c++ -O0", header)
    return command


@pytest.fixture
def quick_compiler(unoptimized: str) -> Iterator[None]:
    """Compile kernels with ``unoptimized`` in this test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", unoptimized)
        yield
