"""Executors run a cell along a sequence; all compute the same function."""

from charlstm.executors.base import Executor, StackRunner, State, Weights
from charlstm.executors.choose import Choice, candidates, choose, executors, explain_trials, permits, stack_runner
from charlstm.executors.triton import clear_plan_cache

__all__ = [
    "Choice",
    "Executor",
    "StackRunner",
    "State",
    "Weights",
    "candidates",
    "choose",
    "clear_plan_cache",
    "executors",
    "explain_trials",
    "permits",
    "stack_runner",
]
