"""Generated C++ kernels for the CPU."""

from charlstm.executors.native.build import kernels
from charlstm.executors.native.executor import Native
from charlstm.executors.native.speed import bfloat16_gain, imitates_bfloat16
from charlstm.executors.native.windows import Convolved
from charlstm.executors.native.writing import Writer

__all__ = [
    "Convolved",
    "Native",
    "Writer",
    "bfloat16_gain",
    "imitates_bfloat16",
    "kernels",
]
