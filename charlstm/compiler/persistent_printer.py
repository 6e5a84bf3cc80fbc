"""A cell's forward and backward pass over all steps, each as one Triton kernel ("persistent": Diamos et al. 2016,
"Persistent RNNs: stashing recurrent weights on-chip").

The recurrent weights stay on the chip. A program holds those of UNITS units for the whole sequence, and computes these
units for ROWS rows of the batch; H / UNITS programs share the rows. As a matmul reads all units of its operand, they
meet at a counter in memory before each (:data:`BARRIER`). Between arriving there and waiting for the others, a program
stores what the others do not read, and loads what the next step needs of its own units.

The buffers are those of :mod:`charlstm.compiler.loops`; states, their gradients and sums over time are in registers
between steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from charlstm.cells import Cell
from charlstm.compiler.graph import MATMULS, Node
from charlstm.compiler.loops import Loop, backward_loop, forward_loop, gradient_buffers
from charlstm.compiler.persistent_products import Product, gate_product, transposed_product
from charlstm.compiler.persistent_step import LANGUAGE, PointwiseStep
from charlstm.compiler.stages import levels
from charlstm.compiler.triton_language import BUFFER, print_source

COUNTERS_APART = 32
"""int32 between the counters of two groups of programs."""
CONSTANTS = ("H", "ROWS", "UNITS", "VALUE_MASK", "STATE_MASK", "PARAM_DTYPE", "PRECISION")
BARRIER = '''\
@triton.jit
def arrive(counter):
    tl.debug_barrier()  # after the stores of all threads of the program
    tl.atomic_add(counter, 1, sem="release", scope="gpu")


@triton.jit
def look(counter):
    # Triton's own load would synchronize the threads of the program twice each time.
    return tl.inline_asm_elementwise(
        "ld.acquire.gpu.global.s32 $0, [$1];", "=r,l", [counter], dtype=tl.int32, is_pure=False, pack=1
    )


@triton.jit
def wait(counter, goal, patience):
    """Wait until ``goal`` programs have arrived, looking at most ``patience`` times. Returns 0 if that was not
    enough."""
    looks = 0
    while (look(counter) < goal) & (looks < patience):
        looks += 1
    tl.debug_barrier()
    return tl.where(looks < patience, patience, 0)'''
ROUNDED = '''\
@triton.jit
def rounded(x, PRECISION: tl.constexpr):
    """To the nearest number in TF32: tensor cores would ignore the further digits."""
    if PRECISION == "tf32" and x.dtype == tl.float32:
        x = tl.inline_asm_elementwise(
            "cvt.rna.tf32.f32 $0, $1;", "=r,r", [x], dtype=tl.float32, is_pure=True, pack=1
        )
    return x'''
INTERPRETED_ROUNDED = """\
@triton.jit
def rounded(x, PRECISION: tl.constexpr):
    return x"""
INTERPRETED_BARRIER = """\
@triton.jit
def arrive(counter):
    tl.atomic_add(counter, 1)


@triton.jit
def wait(counter, goal, patience):
    return patience"""
INDICES = """\
group = tl.program_id(0) // (H // UNITS)
first_unit = tl.program_id(0) % (H // UNITS) * UNITS
rows = (group * ROWS + tl.arange(0, ROWS)).to(tl.int64)
in_batch = rows < B
row = tl.broadcast_to(rows[:, None], [ROWS, UNITS])
unit = tl.broadcast_to((first_unit + tl.arange(0, UNITS))[None, :], [ROWS, UNITS])
mask = row < B
at = row * H + unit
part = tl.arange(0, PARTS)[:, None, None]
counter += group * COUNTERS_APART
arrived = 0""".replace("COUNTERS_APART", str(COUNTERS_APART))
SIDES = """\
if ids is None:
    sides = x + t * (B * (GATES * H)) + row * (GATES * H) + unit
else:
    sides = x + tl.load(ids + t * B + rows, in_batch, 0)[:, None] * (GATES * H) + unit"""


@dataclass(frozen=True)
class PersistentKernel:
    """The source of a pass, the buffers that its function ``run`` takes, in this order, and for how many gates its
    programs hold recurrent weights."""

    source: str
    buffers: tuple[str, ...]
    gates: int


@cache
def persistent_forward(cell: Cell, hidden_size: int, parts: int, interpreted: bool) -> PersistentKernel:
    """The forward pass, which fills s_, l_ and v_; ``parts`` are those of each sum, side by side."""
    loop = forward_loop(cell, joined=True)
    level = levels(loop.roots, loop.loads)
    step = PointwiseStep(loop, {m.place.buffer.name for m in loop.matmuls})
    products: dict[int, list[Product]] = {}
    for m in loop.matmuls:
        stage = next(level[n] for n in level if n.op in MATMULS and n.label == m.run[0])
        products.setdefault(stage, []).append(gate_product(cell, m, hidden_size, parts))
    for n in loop.loads:
        if n.op == "state":
            step.names[n] = f"state_{n.label}"

    def matmul(n: Node) -> str:
        return f"{LANGUAGE.load_sum(loop.addends[n])} + product_{n.label}"

    step.compute(level, matmul)
    new = dict(zip(cell.state, loop.roots, strict=True))
    return _print(
        f"{cell.name}, forward",
        cell,
        parts,
        step,
        products,
        loop,
        is_backward=False,
        registers={f"state_{s}": (f"tl.load(s_{s} + at, mask, 0)", step.names[n]) for s, n in new.items()},
        after=[],
        meets_after_last=0 in products,
        interpreted=interpreted,
    )


@cache
def persistent_backward(cell: Cell, hidden_size: int, parts: int, interpreted: bool) -> PersistentKernel:
    """The backward pass, which fills d, e and z_, and leaves the gradients of the initial state in g_."""
    loop = backward_loop(cell, joined=True)
    level = levels(loop.roots, loop.loads)
    d, e = gradient_buffers(cell, joined=True)
    operand = e if e.letters else d
    step = PointwiseStep(loop, {operand.name})
    products: dict[int, list[Product]] = {}

    def matmul(n: Node) -> str:
        stage = products.setdefault(level[n], [])
        name = f"product_{sum(map(len, products.values()))}"
        letters = operand.letters
        stage.append(transposed_product(name, cell.gates, letters, operand.name, n.label, hidden_size, parts))
        return name

    for s in cell.state:
        step.registers[s] = f"after_{s}"
    step.compute(level, matmul)
    sums = {
        f"sum_{b.name}_{index}": f"{b.name} + {index} * B * H + at"
        for b in loop.outputs
        if b.layout == "sum"
        for index in range(len(b.letters))
    }
    registers = {f"after_{s}": (f"tl.load(g_{s} + (T & 1) * B * H + at, mask, 0)", f"before_{s}") for s in cell.state}
    registers |= dict.fromkeys(sums, ("zeros", ""))
    return _print(
        f"{cell.name}, backward",
        cell,
        parts,
        step,
        products,
        loop,
        is_backward=True,
        registers=registers,
        after=[
            *(f"tl.store(g_{s} + at, after_{s}, mask)" for s in cell.state),
            *(f"tl.store({address}, {name}, mask)" for name, address in sums.items()),
        ],
        meets_after_last=False,
        interpreted=interpreted,
    )


def _print(
    title: str,
    cell: Cell,
    parts: int,
    step: PointwiseStep,
    products: Mapping[int, Sequence[Product]],
    loop: Loop,
    *,
    is_backward: bool,
    registers: Mapping[str, tuple[str, str]],
    after: Sequence[str],
    meets_after_last: bool,
    interpreted: bool,
) -> PersistentKernel:
    """The kernel of a pass. ``registers``: names that are kept between steps, the expressions before the first and
    those after each ("" if the step changes them itself). ``after``: the lines after the last step."""
    advance, go_back = ("t -= 1", "t += 1") if is_backward else ("t += 1", "t -= 1")
    all_products = [p for stage in products.values() for p in stage]
    loads = [f"{name} = {load}" for name, load in step.loads.items()]
    if any("sides" in line for line in loads):
        loads = [*SIDES.replace("GATES", str(len(cell.gates))).splitlines(), *loads]
    before = [
        *INDICES.replace("PARTS", str(parts)).splitlines(),
        "zeros = tl.zeros([ROWS, UNITS], PARAM_DTYPE)",
        *(line for p in all_products for line in p.weights),
        *(f"{name} = {load}" for name, load in step.constants.items()),
        *(f"{name} = {initial}" for name, (initial, _) in registers.items()),
        "t = (T - 1).to(tl.int64)" if is_backward else "t = (B * 0).to(tl.int64)",
        *loads,
    ]
    next_step = "tl.maximum(t - 1, 0)" if is_backward else "tl.minimum(t + 1, T - 1)"
    prefetch = [f"next_t = {next_step}", *(_of_next_step(line) for line in loads)]
    last = len(step.stages) - 1
    meets = {stage for stage in range(last + 1) if stage < last or meets_after_last}
    body: list[str] = []
    for number, (lines, later) in enumerate(step.stages):
        body += [line for p in products.get(number, ()) for line in p.lines]
        body += lines
        if number not in meets:
            body += later
            continue
        body += ["arrive(counter)", "arrived += H // UNITS", *later]
        if number == max(meets):
            body += prefetch
        body.append("patience = wait(counter, arrived, patience)")
    if not meets:
        body += prefetch
    body += [f"{name} = {new}" for name, (_, new) in registers.items() if new]
    body += [f"{name} = next_{name}" for name in step.loads]
    body.append(advance)
    # All results are made NaN, since not everyone reads the flag; the barrier orders the stores of different threads.
    stores = [LANGUAGE.store_to(place).format("float('nan')") for places in loop.stores.values() for place in places]
    not_numbers = ["for _ in range(T):", *(f"    {line}" for line in (go_back, *stores))]
    on_giving_up = ["tl.store(gave_up, 1)", "tl.debug_barrier()", *not_numbers]
    after = [*after, "if patience == 0:", *(f"    {line}" for line in on_giving_up)]
    lines = [*before, "for _ in range(T):", *(f"    {line}" for line in body), *after]
    buffers = sorted({b for line in lines for b in BUFFER.findall(line)})
    arguments = ", ".join(
        ["T", "B", "patience", "counter", "gave_up", "weight", *buffers, *(f"{c}: tl.constexpr" for c in CONSTANTS)]
    )
    function = "\n".join(
        [
            '@triton.jit(do_not_specialize=["T", "B", "patience"])',
            f"def run({arguments}):",
            *(f"    {line}" for line in lines),
        ]
    )
    helpers = (INTERPRETED_BARRIER, INTERPRETED_ROUNDED) if interpreted else (BARRIER, ROUNDED)
    source = print_source(title, [*helpers, function])
    return PersistentKernel(source, tuple(buffers), sum(p.gates for p in all_products))


def _of_next_step(line: str) -> str:
    line = re.sub(r"\bt\b", "next_t", line)
    return re.sub(r"\b(sides|p\d+)\b", r"next_\1", line)
