"""Chooses for each size whether a time loop is a CUDA graph or one kernel, by measuring both on the device."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from charlstm.compiler.persistent_printer import persistent_backward, persistent_forward
from charlstm.executors.base import Weights
from charlstm.executors.measurement_cache import cached_measurement
from charlstm.executors.triton.persistent import Limits, Tiles, tiles
from charlstm.executors.triton.plans import Plan, Shape

STEPS = 64
"""Steps of a measured loop."""
ROUNDS = 7
"""Measurements of each loop, which take turns."""
GAIN = 0.97
"""The kernel is chosen if it takes at most this fraction of the graph's time: timings are noisy."""
TOLERANCES = {torch.bfloat16: 5e-2, torch.float32: 5e-3}
"""Largest difference between the results of both loops, relative to the largest value; TF32 counts as float32."""

_is_kernel: dict[str, bool] = {}


def choices() -> dict[str, bool]:
    """For each size that was measured, or restored, whether its loops are one kernel each."""
    return dict(_is_kernel)


def restore_choices(saved: Mapping[str, bool]) -> None:
    """Choose as in another process, such as the one that a run was stopped in: both loops round differently."""
    _is_kernel.update(saved)


def choose_division(shape: Shape) -> Tiles | None:
    """How the loops of a shape are divided into the programs of one kernel; None if they are CUDA graphs.

    A size is measured when it is used first, unless ``CHARLSTM_MEASURE`` is 0, and the result is cached on this
    machine. The kernel is taken where it is faster and gives the same results as the graph.
    """
    if shape.device.type != "cuda" or not (isinstance(division := division_of(shape), Tiles)):
        return None
    size = _size(shape)
    if size not in _is_kernel:
        if os.environ.get("CHARLSTM_MEASURE") == "0" or torch.cuda.is_current_stream_capturing():
            return None
        _is_kernel[size] = _is_faster(shape, division, size)
    return division if _is_kernel[size] else None


def division_of(shape: Shape) -> Tiles | str:
    """How one kernel would be divided, or why it cannot run there."""
    kernels = [persistent_forward(shape.cell, shape.hidden_size, False)]
    if shape.training:
        kernels.append(persistent_backward(shape.cell, shape.hidden_size, False))
    if shape.param_dtype != torch.float32 or shape.compute_dtype not in TOLERANCES:
        return "it sums in float32"
    gates = max(kernel.gates for kernel in kernels)
    limits = Limits.of(shape.device)
    return tiles(shape.batch, shape.hidden_size, gates, shape.compute_dtype.itemsize, limits)


def _size(shape: Shape) -> str:
    kind = "training" if shape.training else "inference"
    rows = "vectors" if shape.symbols is None else "symbols"
    dtype = str(shape.compute_dtype).removeprefix("torch.")
    return f"{shape.cell.name}, {shape.batch} x {shape.hidden_size}, {rows}, {dtype}, {shape.fp32_precision}, {kind}"


def _is_faster(shape: Shape, division: Tiles, size: str) -> bool:
    import triton

    facts = (torch.cuda.get_device_name(shape.device), torch.version.cuda, triton.__version__, size)
    try:
        measured = cached_measurement("loops", facts, lambda: measure_loops(replace(shape, steps=STEPS), division))
    except Exception:  # too little memory now, or a compiler or driver that refuses the kernel
        return False
    seconds, kernel_seconds = measured.get("graph"), measured.get("kernel")
    if not isinstance(seconds, float) or not isinstance(kernel_seconds, float):
        return False
    return measured.get("agree") is True and kernel_seconds <= GAIN * seconds


def measure_loops(shape: Shape, division: Tiles) -> dict[str, Any]:
    """Seconds per step of both loops, forward and backward together, and whether their results agree."""
    plans = {"graph": Plan(shape, capture=True), "kernel": Plan(shape, capture=True, division=division)}
    run = Example(shape)
    results = {name: run(plan) for name, plan in plans.items()}
    seconds: dict[str, list[float]] = {name: [] for name in plans}
    for _ in range(ROUNDS):
        for name, plan in plans.items():
            begin, end = (_event() for _ in range(2))
            begin.record()
            for loop in plan.loops:
                loop()
            end.record()
            end.synchronize()
            seconds[name].append(begin.elapsed_time(end) / 1e3 / shape.steps)
    tolerance = TOLERANCES[shape.compute_dtype]
    return {
        **{name: statistics.median(times) for name, times in seconds.items()},
        "agree": all(agree(a, b, tolerance) for a, b in zip(*results.values(), strict=True)),
    }


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]


def agree(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two tensors differ by at most ``tolerance`` times the largest absolute value; false if one is not
    finite."""
    difference = (a.float() - b.float()).abs().max()
    return bool(difference <= tolerance * a.float().abs().max())


class Example:
    """Random inputs of a shape."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._generator = torch.Generator(shape.device).manual_seed(1)
        cell, H = shape.cell, shape.hidden_size
        inputs = shape.symbols or 16
        rows, bound = len(cell.gates) * H, 1 / math.sqrt(H)
        parameters = {
            name: self._uniform(0.5, *((shape.steps, shape.batch) if name in cell.per_step else ()), len(letters) * H)
            for name, letters in cell.parameters.items()
        }
        weight_ih, weight_hh = (self._uniform(bound, rows, size) for size in (inputs, H))
        bias_ih, bias_hh = (self._uniform(bound, rows) for _ in range(2))
        self._weights = Weights(weight_ih, weight_hh, bias_ih, bias_hh, parameters)
        size = (shape.steps, shape.batch)
        ids = torch.randint(inputs, size, device=shape.device, generator=self._generator)
        self._x = self._uniform(1, *size, inputs) if shape.symbols is None else ids
        self._state = tuple(self._uniform(1, shape.batch, H) for _ in cell.state)
        self._d_output = self._uniform(1, *size, H)
        self._d_state = tuple(self._uniform(1, shape.batch, H) for _ in cell.state)

    def _uniform(self, bound: float, *size: int) -> Tensor:
        values = torch.rand(size, device=self._shape.device, generator=self._generator)
        return (2 * values - 1) * bound

    def __call__(self, plan: Plan) -> list[Tensor]:
        """All results of a plan for these inputs."""
        y, state = plan.forward(self._weights, self._x, self._state)
        if not self._shape.training:
            return [y, *state]
        d_initial = plan.backward(self._d_output, self._d_state)
        sums = (plan.buffers[f"z_{name}"] for name in self._shape.cell.parameters if f"z_{name}" in plan.buffers)
        return [y, *state, *d_initial, plan.buffers["d"], *sums]
