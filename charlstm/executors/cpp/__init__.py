"""Runs generated C++ kernels on the CPU."""

from charlstm.executors.cpp.bfloat16_speed import bfloat16_speedup, emulates_bfloat16
from charlstm.executors.cpp.build import kernels
from charlstm.executors.cpp.executor import Cpp

__all__ = [
    "Cpp",
    "bfloat16_speedup",
    "emulates_bfloat16",
    "kernels",
]
