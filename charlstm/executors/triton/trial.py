"""Measures both time loops of a size, and compares their results."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from typing import Any

import torch
from torch import Tensor

from charlstm.cells import Cell, from_recipe
from charlstm.executors.base import Weights
from charlstm.executors.precision import float32_matmul_precision
from charlstm.executors.triton.persistent import Division, Tiles
from charlstm.executors.triton.plans import Plan, Shape

STEPS = 64
"""Steps of a measured loop."""
ROUNDS = 7
"""Measurements of each loop, which take turns."""
TOLERANCES = {torch.bfloat16: 5e-2, torch.float32: 5e-2}
"""Largest difference between the results of both loops, relative to the largest value; TF32 counts as float32. cuBLAS
may round to TF32 in another way than the kernels: on a CPU, truncated operands instead of rounded ones changed a result
of lstm_no_forget_gate by 0.024 in 64 steps, as those in bfloat16 did whose products are rounded."""
LAUNCHING = 2_000_000
"""Cycles for which the GPU sleeps, about a millisecond, while the CPU launches what is timed."""
METHOD = (STEPS, ROUNDS, LAUNCHING, *TOLERANCES.values())
"""What the result of a trial depends on, beside the kernels and the machine."""
TIME_LIMIT = 180
"""Seconds that a trial may take; compiling the kernels takes some of them."""
TRANSIENT = ("out of memory", "alloc_failed", "busy")
"""Parts of the messages of errors that say nothing about the kernels, and may not occur again."""
SAVED = ("l_", "s_", "v_")
"""Prefixes of the names of the buffers that a forward pass fills."""
COMMAND = "from charlstm.executors.triton.trial import main; main()"


class TrialError(Exception):
    """A trial that says nothing about the kernel: too little memory, too little time, or no process."""


def trial_in_process(shape: Shape, division: Division) -> dict[str, Any]:
    """The result of :func:`compare_loops` in another process: a kernel that fails on this GPU then does no harm here.

    ``{"error": reason}`` if a kernel cannot be compiled, or fails. Raises TrialError if the process cannot find out.
    """
    request = {
        "cell": shape.cell.recipe,
        "batch": shape.batch,
        "hidden_size": shape.hidden_size,
        "symbols": shape.symbols,
        "compute_dtype": str(shape.compute_dtype).removeprefix("torch."),
        "device": str(shape.device),
        "tf32": shape.fp32_precision == "tf32",
        "division": [tiles and astuple(tiles) for tiles in division],
    }
    command, text = [sys.executable, "-c", COMMAND], json.dumps(request)
    try:
        # In a session of its own, which Ctrl-C does not reach.
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=TIME_LIMIT, check=False, start_new_session=True
        )
    except subprocess.TimeoutExpired as error:
        raise TrialError(f"it took more than {TIME_LIMIT} seconds") from error
    except OSError as error:
        raise TrialError(str(error)) from error
    try:
        result: dict[str, Any] = json.loads(done.stdout)
    except ValueError as error:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise TrialError(last[:200]) from error
    return result


def main() -> None:
    """Read a request of :func:`trial_in_process` from standard input, and print the result."""
    request = json.load(sys.stdin)
    cell = from_recipe(request["cell"])
    try:
        result = _try(request, cell)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        if any(words in text.lower() for words in TRANSIENT):
            raise
        result = {"error": text[:200]}
    sys.stdout.write(json.dumps(result))


def _try(request: Mapping[str, Any], cell: Cell) -> dict[str, Any]:
    device = torch.device(request["device"])
    torch.cuda.set_device(device)
    shape = Shape(
        cell,
        STEPS,
        request["batch"],
        request["hidden_size"],
        request["symbols"],
        getattr(torch, request["compute_dtype"]),
        torch.float32,
        True,
        device,
        torch.cuda.current_stream(device).cuda_stream,
        "tf32" if request["tf32"] else "ieee",
    )
    with torch.no_grad(), float32_matmul_precision(device, tf32=request["tf32"]):
        return compare_loops(shape, Division(*(tiles and Tiles(*tiles) for tiles in request["division"])))


def compare_loops(shape: Shape, division: Division) -> dict[str, Any]:
    """Seconds per step of the forward and the backward loop of both kinds, and whether their results agree: those of
    the kernels with those of the graphs, and with their own after the measurements. If not, ``differs`` says which
    results, and from what; those that differ from the graphs' are not measured."""
    graph = Plan(shape, capture=True)
    plans = {"graph": graph, "kernel": Plan(shape, capture=True, division=division)}
    run = Example(shape)
    results = {name: run(plan, graph) for name, plan in plans.items()}
    if differs := differing(run.names, results["graph"], results["kernel"], TOLERANCES[shape.compute_dtype]):
        return {"agree": False, "differs": f"from those of the CUDA graph: {differs}"}
    seconds: dict[str, list[list[float]]] = {name: [[], []] for name in plans}
    for _ in range(ROUNDS):
        for name, plan in plans.items():
            for times, loop in zip(seconds[name], plan.loops, strict=True):
                times.append(gpu_seconds(loop) / shape.steps)
    differs = differing(run.names, results["kernel"], run(plans["kernel"], graph), 0.0)
    if differs:
        return {"agree": False, "differs": f"from one time to the next: {differs}"}
    medians = {name: [statistics.median(times) for times in passes] for name, passes in seconds.items()}
    return {**medians, "agree": True}


def gpu_seconds(run: Callable[[], object]) -> float:
    """Seconds that the GPU takes for what a function launches, without waiting for the launches."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda._sleep(LAUNCHING)  # type: ignore[no-untyped-call]
    begin.record()
    run()
    end.record()
    end.synchronize()
    milliseconds: float = begin.elapsed_time(end)
    return milliseconds / 1e3


def differing(names: Sequence[str], a: Sequence[Tensor], b: Sequence[Tensor], tolerance: float) -> str:
    """The results with a :func:`difference` above ``tolerance``, or that are not finite, in words; empty if none."""
    differences = ((name, difference(x, y)) for name, x, y in zip(names, a, b, strict=True))
    return ", ".join(f"{name} by {value:.2g}" for name, value in differences if not value <= tolerance)


def difference(a: Tensor, b: Tensor) -> float:
    """The largest difference between two tensors, relative to the largest absolute value of ``a``; nan if one is not
    finite."""
    largest = (a.float() - b.float()).abs().max()
    return float(largest / a.float().abs().max()) if bool(largest) else 0.0


class Example:
    """Random inputs of a shape."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._generator = torch.Generator(shape.device).manual_seed(1)
        cell, H = shape.cell, shape.hidden_size
        sums = [f"z_{name}" for name in cell.parameters if name not in cell.per_step]
        self.names = ["y", *cell.state]
        if shape.training:
            self.names += [*(f"gradient of {s}" for s in cell.state), "d", *sums]
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

    def __call__(self, plan: Plan, forward: Plan | None = None) -> list[Tensor]:
        """All results of a plan for these inputs. Its buffers are NaN before, so that what is read too early is not
        what was there in an earlier call.

        The backward pass starts from what ``forward``, by default the plan itself, has saved: where a derivative jumps,
        as that of relu, a rounding in the forward pass would else change a gradient by all of its value.
        """
        for name, buffer in plan.buffers.items():
            if name in ("d", "e") or name.startswith(SAVED):
                buffer.fill_(math.nan)
        y, state = plan.forward(self._weights, self._x, self._state)
        if not self._shape.training:
            return [y, *state]
        if forward is not None:
            for name, buffer in plan.buffers.items():
                if name.startswith(SAVED):
                    buffer.copy_(forward.buffers[name])
        d_initial = plan.backward(self._d_output, self._d_state)
        others = self.names[1 + len(state) + len(d_initial) :]
        return [y, *state, *d_initial, *(plan.buffers[name].clone() for name in others)]
