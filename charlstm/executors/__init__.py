"""Executors run a cell along a sequence; all compute the same function."""

from charlstm.executors.base import Executor, StackRunner, State, Weights
from charlstm.executors.choose import Choice, candidates, choose, executors, explain_trials, permits, stack_runner
from charlstm.executors.triton import choices as loop_choices
from charlstm.executors.triton import clear_plan_cache, refuse_kernels_that_gave_up
from charlstm.executors.triton import refused as refused_loops
from charlstm.executors.triton import restore_choices as restore_loop_choices

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
    "loop_choices",
    "permits",
    "refuse_kernels_that_gave_up",
    "refused_loops",
    "restore_loop_choices",
    "stack_runner",
]
