"""Ways to run a cell along a sequence, all with the same result."""

from charlstm.executors.base import Executor, State, Weights
from charlstm.executors.choose import Choice, candidates, choose, executors
from charlstm.executors.triton import forget

__all__ = ["Choice", "Executor", "State", "Weights", "candidates", "choose", "executors", "forget"]
