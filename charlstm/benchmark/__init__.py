"""Speed, side by side: every cell on every willing executor against torch.nn layers, in one process, by turns.

Machines are shared and noisy, so contenders take turns, the median of the rounds counts, and ratios are the result;
absolute figures are this machine's.
"""

from charlstm.benchmark.candidates import BASELINE, PRECISIONS, Key, Size
from charlstm.benchmark.environment import described, machine, usual_precisions
from charlstm.benchmark.plan import TEXTS, Plan, Progress, measure
from charlstm.benchmark.results import Measurement, Result
from charlstm.benchmark.round_robin import NO_MEMORY, NO_TIME

__all__ = [
    "BASELINE",
    "NO_MEMORY",
    "NO_TIME",
    "PRECISIONS",
    "TEXTS",
    "Key",
    "Measurement",
    "Plan",
    "Progress",
    "Result",
    "Size",
    "described",
    "machine",
    "measure",
    "usual_precisions",
]
