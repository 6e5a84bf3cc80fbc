"""Generated C++ kernels for the CPU."""

from charlstm.executors.cpp.bfloat16_speed import bfloat16_gain, imitates_bfloat16
from charlstm.executors.cpp.build import kernels
from charlstm.executors.cpp.executor import Cpp
from charlstm.generation.cpp_decoder import CppDecoder
from charlstm.generation.cpp_window import Convolved

__all__ = [
    "Convolved",
    "Cpp",
    "CppDecoder",
    "bfloat16_gain",
    "imitates_bfloat16",
    "kernels",
]
