"""Speed of every cell on every executor that can run it, against torch.nn layers, in one process.

Machines are shared and noisy, so candidates run in turns, the median of the rounds counts, and ratios are the result;
absolute speeds hold for this machine only.
"""

from charlstm.benchmark.candidates import BASELINE, CAPTURED, TORCH, Key
from charlstm.benchmark.environment import default_precisions, describe_machine, machine_facts
from charlstm.benchmark.networks import PRECISIONS, Size
from charlstm.benchmark.plan import TEXTS, Plan, Progress, measure
from charlstm.benchmark.results import Measurement, Result
from charlstm.benchmark.round_robin import NO_MEMORY, NO_TIME

__all__ = [
    "BASELINE",
    "CAPTURED",
    "NO_MEMORY",
    "NO_TIME",
    "PRECISIONS",
    "TEXTS",
    "TORCH",
    "Key",
    "Measurement",
    "Plan",
    "Progress",
    "Result",
    "Size",
    "default_precisions",
    "describe_machine",
    "machine_facts",
    "measure",
]
