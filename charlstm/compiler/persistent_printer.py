"""A cell's forward and backward pass over all steps, each as one Triton kernel ("persistent": Diamos et al. 2016,
"Persistent RNNs: stashing recurrent weights on-chip").

The recurrent weights stay on the chip. A program holds those of UNITS units for the whole sequence, and computes these
units for ROWS rows of the batch; H / UNITS programs share the rows. As a matmul reads all units of its operand, they
meet at a counter in memory before each (:data:`BARRIER`). Between arriving there and waiting for the others, a program
stores what the others do not read, and loads what the next step needs of its own units.

The buffers are those of :mod:`charlstm.compiler.loops`; states, their gradients and sums over time are in registers
between steps. A matmul for less than four gates is split into PARTS along the sum, for different warps, which would
else compute the same product.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

from charlstm.cells import Cell
from charlstm.compiler.graph import MATMULS, Node
from charlstm.compiler.loops import Loop, Place, RecurrentMatmul, backward_loop, forward_loop, gradient_buffers
from charlstm.compiler.schedule import runs
from charlstm.compiler.stages import levels
from charlstm.compiler.triton_language import BUFFER, TRITON, print_source

PARTS = 4
"""Parts of a sum that are computed side by side, by different warps."""
COUNTERS_APART = 32
"""int32 between the counters of two groups of programs."""
MAX_CHUNK = 256
"""Elements of a sum in one product, at most."""
MIN_CHUNK = 16
"""Elements of a sum in one product, at least: Triton's products have no fewer."""
CONSTANTS = ("H", "ROWS", "UNITS", "VALUE_MASK", "STATE_MASK", "PARAM_DTYPE", "PRECISION")
LANGUAGE = replace(TRITON, load="tl.load({}, mask, 0).to(PARAM_DTYPE)", registers=None)
LOAD = re.compile(r"tl\.load\((.+?), mask, 0\)\.to\(PARAM_DTYPE\)")
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
arrived = 0""".replace("PARTS", str(PARTS)).replace("COUNTERS_APART", str(COUNTERS_APART))
SIDES = """\
if ids is None:
    sides = x + t * (B * (GATES * H)) + row * (GATES * H) + unit
else:
    sides = x + tl.load(ids + t * B + rows, in_batch, 0)[:, None] * (GATES * H) + unit"""


@dataclass(frozen=True)
class PersistentKernel:
    """The source of a pass, the buffers that its function ``run`` takes, in this order, and the number of gates whose
    recurrent weights it holds."""

    source: str
    buffers: tuple[str, ...]
    gates: int


def chunk(total: int) -> int:
    """The largest power of two that divides ``total``, at most `MAX_CHUNK`."""
    return min(total & -total, MAX_CHUNK)


def supports_size(hidden_size: int) -> bool:
    """Whether all sums can be divided into chunks of at least `MIN_CHUNK`."""
    return hidden_size % (PARTS * MIN_CHUNK) == 0


@cache
def persistent_forward(cell: Cell, hidden_size: int, interpreted: bool) -> PersistentKernel:
    """The forward pass, which fills s_, l_ and v_."""
    loop = forward_loop(cell, joined=True)
    level = levels(loop.roots, loop.loads)
    step = _Step(loop, {m.place.buffer.name for m in loop.matmuls})
    products: dict[int, list[_Product]] = {}
    for m in loop.matmuls:
        stage = next(level[n] for n in level if n.op in MATMULS and n.label == m.run[0])
        products.setdefault(stage, []).append(_gate_product(cell, m, hidden_size))
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
        step,
        products,
        first_step="(B * 0).to(tl.int64)",
        next_step="tl.minimum(t + 1, T - 1)",
        advance="t += 1",
        registers={f"state_{s}": (f"tl.load(s_{s} + at, mask, 0)", step.names[n]) for s, n in new.items()},
        after=[f"tl.store(l_{cell.state[0]} + t * (B * H) + at, float('nan'), mask & (no_looks + patience == 0))"],
        meets_after_last=bool(products),
        interpreted=interpreted,
    )


@cache
def persistent_backward(cell: Cell, hidden_size: int, interpreted: bool) -> PersistentKernel:
    """The backward pass, which fills d, e and z_, and leaves the gradients of the initial state in g_."""
    loop = backward_loop(cell, joined=True)
    level = levels(loop.roots, loop.loads)
    d, e = gradient_buffers(cell, joined=True)
    operand = e if e.letters else d
    step = _Step(loop, {operand.name})
    products: dict[int, list[_Product]] = {}

    def matmul(n: Node) -> str:
        stage = products.setdefault(level[n], [])
        name = f"product_{sum(map(len, products.values()))}"
        stage.append(_transposed_product(name, cell.gates, operand.letters, operand.name, n.label, hidden_size))
        return name

    for s in cell.state:
        step.registers[s] = f"after_{s}"
    step.compute(level, matmul)
    sums = {name: f"z_{z} + {index} * B * H + at" for name, (z, index) in step.sums.items()}
    registers = {f"after_{s}": (f"tl.load(g_{s} + (T & 1) * B * H + at, mask, 0)", f"before_{s}") for s in cell.state}
    registers |= dict.fromkeys(sums, ("zeros", ""))
    return _print(
        f"{cell.name}, backward",
        cell,
        step,
        products,
        first_step="(T - 1).to(tl.int64)",
        next_step="tl.maximum(t - 1, 0)",
        advance="t -= 1",
        registers=registers,
        after=[
            *(f"tl.store(g_{s} + at, after_{s}, mask)" for s in cell.state),
            *(f"tl.store({address}, {name}, mask)" for name, address in sums.items()),
            f"tl.store(d + row * ({len(cell.gates)} * H) + unit, float('nan'), mask & (no_looks + patience == 0))",
        ],
        meets_after_last=False,
        interpreted=interpreted,
    )


@dataclass(frozen=True)
class _Product:
    """A matmul: the lines that load its weights before the loop, and those of a step that leave its results in
    ``product_`` names."""

    weights: list[str]
    lines: list[str]
    gates: int


class _Step:
    """The pointwise operations of one step. One program computes all stages for its units, so they share names.

    ``shared`` are the buffers that matmuls read. ``loads`` are the loads of each step, by name, and ``constants`` those
    that are the same in all steps. Each stage has the lines up to the last store to a shared buffer, and the others.
    """

    def __init__(self, loop: Loop, shared: set[str]) -> None:
        self._loop, self._shared = loop, shared
        self.names: dict[Node, str] = {}
        self.registers: dict[str, str] = {}
        self.loads: dict[str, str] = {}
        self.constants: dict[str, str] = {}
        self.sums: dict[str, tuple[str, int]] = {}
        self.stages: list[tuple[list[str], list[str]]] = []

    def compute(self, level: Mapping[Node, int], matmul: Callable[[Node], str]) -> None:
        for number in range(max(level.values(), default=0) + 1):
            lines: list[tuple[str, bool]] = []
            deferred: list[str] = []
            for n in [n for n in level if level[n] == number]:
                if n not in self.names:
                    lines.append((self._define(n, matmul), False))
                self._store(n, lines, deferred)
            if number == 0:
                for n in self._loop.stores:
                    if n not in level:
                        self._store(n, lines, deferred)
            last = max((at for at, (_, is_shared) in enumerate(lines) if is_shared), default=len(lines) - 1)
            text = [line for line, _ in lines]
            self.stages.append((text[: last + 1], [*text[last + 1 :], *deferred]))

    def _define(self, n: Node, matmul: Callable[[Node], str]) -> str:
        if n in self._loop.loads:
            expression = self._hoist(LANGUAGE.load_sum(p for p in self._loop.loads[n] if p.buffer.layout != "carry"))
            terms = [self.registers[n.label]] if n.op == "gradient" else []
            expression = " + ".join([*terms, *([expression] if expression else [])])
        elif n.op in MATMULS:
            expression = self._hoist(matmul(n))
        else:
            expression = LANGUAGE.expressions[n.op].format(*(self._use(a) for a in n.args))
        self.names[n] = f"n{len(self.names)}"
        return f"{self.names[n]} = {expression}"

    def _use(self, n: Node) -> str:
        return LANGUAGE.constant.format(n.label) if n.op == "constant" else self.names[n]

    def _hoist(self, expression: str) -> str:
        """The expression with names in place of its loads."""

        def name(match: re.Match[str]) -> str:
            is_constant = not re.search(r"\b(t|sides)\b", match[1])
            known, letter = (self.constants, "k") if is_constant else (self.loads, "p")
            for name, load in known.items():
                if load == match[0]:
                    return name
            known[f"{letter}{len(known)}"] = match[0]
            return f"{letter}{len(known) - 1}"

        return LOAD.sub(name, expression)

    def _store(self, n: Node, lines: list[tuple[str, bool]], deferred: list[str]) -> None:
        for place in self._loop.stores.get(n, ()):
            buffer, value = place.buffer, self._use(n)
            if buffer.layout == "carry":
                lines.append((f"before_{buffer.letters} = zeros + {value}", False))
            elif buffer.layout == "sum":
                index = buffer.letters.index(place.letter)
                name = f"sum_{buffer.name}_{index}"
                self.sums[name] = buffer.name.removeprefix("z_"), index
                lines.append((f"{name} += {value}", False))
            elif buffer.name in self._shared:
                lines.append((LANGUAGE.store_to(place).format(value), True))
            else:
                deferred.append(LANGUAGE.store_to(place).format(value))


def _gate_product(cell: Cell, m: RecurrentMatmul, hidden_size: int) -> _Product:
    """The results ``product_k`` of a run of gates, [ROWS, UNITS] each, from all units of the operand.

    Columns of different gates alternate, so that a warp has all gates of its units.
    """
    count = len(m.run)
    width = 1 << (count - 1).bit_length()
    parts = 1 if width == PARTS else PARTS
    size = chunk(hidden_size // parts)
    is_used = "" if width == count else f", column % {width} < {count}, 0"
    weight_row = f"({cell.gates.index(m.run[0])} + column % {width}) * H + first_unit + column // {width}"
    column = f"tl.arange(0, {width} * UNITS)"
    operand = f"{m.place.buffer.name} + {_index(m.place)} * B * H"
    total = f"total_{m.run}"
    weights, lines = [], []
    for number in range(hidden_size // parts // size):
        k, name = f"({number * size} + tl.arange(0, {size}))", f"weight_{m.run}_{number}"
        if parts == 1:
            weights += [
                f"column = {column}[None, :]",
                _load(f"weight + ({weight_row}) * H + {k}[:, None]", is_used, name),
            ]
            address, batch = f"{operand} + rows[:, None] * H + {k}[None, :]", "in_batch[:, None]"
        else:
            k = f"(part * (H // {PARTS}) + {number * size} + tl.arange(0, {size})[None, {{}}])"
            weights += [
                f"column = {column}[None, None, :]",
                _load(f"weight + ({weight_row}) * H + {k.format(':, None')}", is_used, name),
            ]
            address = f"{operand} + rows[None, :, None] * H + {k.format('None, :')}"
            batch = "in_batch[None, :, None]"
        lines += _dot(total, name, address, batch, is_first=number == 0)
    if parts > 1:
        lines.append(f"{total} = tl.sum({total}, 0)")
    return _Product(weights, [*lines, *_split(total, m.run, width)], count)


def _split(total: str, run: str, width: int) -> list[str]:
    """``total`` [ROWS, width UNITS] with alternating gates as a result for each gate."""
    names = [f"product_{k}" for k in run] + [f"unused_{number}" for number in range(width - len(run))]
    if width == 1:
        return [f"{names[0]} = {total}"]
    if width == 2:
        return [f"{names[0]}, {names[1]} = tl.split({total}.reshape(ROWS, UNITS, 2))"]
    return [
        f"even, odd = tl.split({total}.reshape(ROWS, UNITS, 2, 2))",
        f"{names[0]}, {names[2]} = tl.split(even)",
        f"{names[1]}, {names[3]} = tl.split(odd)",
    ]


def _transposed_product(name: str, gates: str, letters: str, buffer: str, label: str, hidden_size: int) -> _Product:
    """``name`` [ROWS, UNITS], the sum over gates k of U_k^T d_k; the buffer has the gradients of gates ``letters``."""
    weights: list[str] = []
    lines: list[str] = []
    for run in runs(gates, label):
        total = len(run) * hidden_size // PARTS
        size = chunk(total)
        for number in range(total // size):
            k = f"(part * {total} + {number * size} + tl.arange(0, {size})[None, {{}}])"
            weight = f"weight_{name}_{run}_{number}"
            unit = "(first_unit + tl.arange(0, UNITS))[None, None, :]"
            row = f"{gates.index(run[0])} * H + {k.format(':, None')}"
            weights.append(_load(f"weight + ({row}) * H + {unit}", "", weight))
            width = f"({len(letters)} * H)"
            address = (
                f"{buffer} + t * (B * {width}) + rows[None, :, None] * {width} + {letters.index(run[0])} * H + "
                f"{k.format('None, :')}"
            )
            lines += _dot(name, weight, address, "in_batch[None, :, None]", is_first=not lines)
    return _Product(weights, [*lines, f"{name} = tl.sum({name}, 0)"], len(label))


def _load(address: str, mask: str, name: str) -> str:
    return f"{name} = tl.load({address}{mask})"


def _dot(total: str, weight: str, address: str, batch: str, is_first: bool) -> list[str]:
    """Add a chunk's product to ``total``. What other programs have written is read past the cache of the processor."""
    accumulator = "" if is_first else f", {total}"
    return [
        f'operand = tl.load({address}, {batch}, 0, cache_modifier=".cg")',
        f"{total} = tl.dot(operand, {weight}{accumulator}, input_precision=PRECISION)",
    ]


def _index(place: Place) -> str:
    return f"(t & {LANGUAGE.masks[place.mask]})" if place.mask in LANGUAGE.masks else "t"


def _print(
    title: str,
    cell: Cell,
    step: _Step,
    products: Mapping[int, Sequence[_Product]],
    *,
    first_step: str,
    next_step: str,
    advance: str,
    registers: Mapping[str, tuple[str, str]],
    after: Sequence[str],
    meets_after_last: bool,
    interpreted: bool,
) -> PersistentKernel:
    """The kernel of a pass. ``registers``: names that are kept between steps, the expressions before the first and
    those after each ("" if the step changes them itself)."""
    all_products = [p for stage in products.values() for p in stage]
    loads = [f"{name} = {load}" for name, load in step.loads.items()]
    if any("sides" in line for line in loads):
        loads = [*SIDES.replace("GATES", str(len(cell.gates))).splitlines(), *loads]
    before = [
        *INDICES.splitlines(),
        "zeros = tl.zeros([ROWS, UNITS], PARAM_DTYPE)",
        "no_looks = tl.zeros([ROWS, UNITS], tl.int32)",
        *(line for p in all_products for line in p.weights),
        *(f"{name} = {load}" for name, load in step.constants.items()),
        *(f"{name} = {initial}" for name, (initial, _) in registers.items()),
        f"t = {first_step}",
        *loads,
    ]
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
    lines = [*before, "for _ in range(T):", *(f"    {line}" for line in body), *after]
    buffers = sorted({b for line in lines for b in BUFFER.findall(line)})
    arguments = ", ".join(
        ["T", "B", "patience", "counter", "weight", *buffers, *(f"{c}: tl.constexpr" for c in CONSTANTS)]
    )
    function = "\n".join(
        [
            '@triton.jit(do_not_specialize=["T", "B", "patience"])',
            f"def run({arguments}):",
            *(f"    {line}" for line in lines),
        ]
    )
    source = print_source(title, [INTERPRETED_BARRIER if interpreted else BARRIER, function])
    return PersistentKernel(source, tuple(buffers), sum(p.gates for p in all_products))


def _of_next_step(line: str) -> str:
    line = re.sub(r"\bt\b", "next_t", line)
    return re.sub(r"\b(sides|p\d+)\b", r"next_\1", line)
