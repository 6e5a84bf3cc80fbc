"""Ways to run a cell along a sequence, all with the same result."""

from charlstm.executors.base import Executor, StackRunner, State, Weights
from charlstm.executors.choose import Choice, candidates, choose, executors, permits, stack_runner
from charlstm.executors.triton import forget

__all__ = [
    "Choice",
    "Executor",
    "StackRunner",
    "State",
    "Weights",
    "candidates",
    "choose",
    "executors",
    "forget",
    "permits",
    "stack_runner",
]
