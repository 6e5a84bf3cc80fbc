"""Generated C++ kernels for the CPU."""

from charlstm.executors.native.executor import Native
from charlstm.executors.native.writing import Writer

__all__ = ["Native", "Writer"]
