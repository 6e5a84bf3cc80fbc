"""Executors run a cell along a sequence; all compute the same function."""

from charlstm.executors.base import Executor, StackRunner, State, Weights
from charlstm.executors.choose import Choice, candidates, choose, executors, explain_trials, permits, stack_runner
from charlstm.executors.triton import clear_plan_cache, loop_facts, refuse_kernels_that_gave_up, restore_loops

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
    "loop_facts",
    "permits",
    "refuse_kernels_that_gave_up",
    "restore_loops",
    "stack_runner",
]
