"""Synthetic tasks that need memory, as texts with one string per line."""

from charlstm.probes.tasks.adding import Adding
from charlstm.probes.tasks.base import Task
from charlstm.probes.tasks.copying import Copying
from charlstm.probes.tasks.counting import Counting
from charlstm.probes.tasks.reber import ContinualReber, Reber
from charlstm.probes.tasks.recall import Recall
from charlstm.probes.tasks.sentences import Sentences
from charlstm.probes.tasks.temporal_order import TemporalOrder

__all__ = [
    "Adding",
    "ContinualReber",
    "Copying",
    "Counting",
    "Reber",
    "Recall",
    "Sentences",
    "Task",
    "TemporalOrder",
]
