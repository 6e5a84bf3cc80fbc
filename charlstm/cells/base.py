"""What a cell is: its equations, its gates, its state and how it starts.

A cell is declared once, as a function of one time step:

    @cell(gates="ifgo", state="hc", torch="LSTM", forget_gate="f", input_gate="i")
    def lstm(x, r, h, c):
        i, f, o = (sigmoid(x[k] + r[k]) for k in "ifo")
        c = f * c + i * tanh(x.g + r.g)
        return o * tanh(c), c

``x[k]`` is the input side of gate k, ``W_k x_t + b_k``; ``r[k]`` is the recurrent side, ``U_k h + b'_k``, and
``r.of(v)[k]`` the same product with v in place of h. All entries have the shape [B, H]. Further arguments are
the state, then the per-unit parameters of the cell, each [H] per entry. The function returns the new state, whose
first part is the output. It may use ``+ - *``, numbers, ``sigmoid``, ``tanh`` and ``relu``; whatever offers these
can run it: tensors (the reference executor) or symbols (all others, which derive the backward pass from it).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

CELLS: dict[str, Cell] = {}

STARTS = ("zero", "identity", "reservoir", "input_scaling", "leak_rate", "leak_logit")
"""How a parameter may start, other than uniform in +-1/sqrt(H); :mod:`charlstm.model.start` says what each means."""

LEARNT_LEAK_LIMIT = 0.99
"""Where a learnt leaking rate starts at most: it is a sigmoid, which never reaches 1."""

CHRONO_LENGTH = 100
"""``chrono_length`` where it is left out."""


@dataclass(frozen=True, eq=False)
class Cell:
    """A recurrent cell, declared with :func:`cell`.

    gates       one letter each, in the order of the rows of the weight matrices (torch's order where torch has it)
    state       one letter each; the first is the output h, the one that the recurrent product reads
    parameters  per-unit parameters: name -> the letters of their entries, each H long (``weight_peephole: "ifo"``)
    torch       the class in torch.nn with the same equations, if there is one, and ``torch_options`` for it
    forget_gate the gate that is the share of the old state which is kept; its bias starts at ``forget_bias``
    input_gate  the gate, apart from it, that is the share of the candidate which is written
    starts      parameter -> how it starts, one of ``STARTS``; the others start as in torch.nn
    start_options    option of the start -> its value where it is left out
    fixed       the parameters that never learn, by name: ``weight_hh``, ``bias_ih``, or the cell's own
    stopped     letters of the state along which no gradient goes from a step to the one before: each step sees this
                part of the old state as if it were given. What reads it still learns: with h stopped, U gets its
                gradient d h^T, and only U^T d is not handed on
    base, options    the name and the options by which a configuration asks for this cell; every cell of a base has
                the same options, and those of the cell whose name is the base are their defaults
    """

    name: str
    equations: Callable[..., Any]
    gates: str
    state: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    torch: str | None = None
    torch_options: Mapping[str, Any] = field(default_factory=dict)
    forget_gate: str | None = None
    input_gate: str | None = None
    starts: Mapping[str, str] = field(default_factory=dict)
    start_options: Mapping[str, Any] = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    stopped: str = ""
    base: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __deepcopy__(self, memo: Any) -> Cell:
        return self

    def __reduce__(self) -> Any:
        return _declared, (self.name,)

    @property
    def summary(self) -> str:
        """What the cell is, with its source: the first sentence of its file."""
        text = sys.modules[self.equations.__module__].__doc__ or self.name
        return " ".join(text.split("\n\n")[0].split())

    @property
    def reservoir(self) -> bool:
        """Whether nothing of the cell learns."""
        return self.fixed >= self.parameter_shapes(1, 1).keys()

    @property
    def options_of_start(self) -> frozenset[str]:
        """The options that say how it starts."""
        return frozenset(self.start_options) | ({"chrono_length"} if self.forget_gate else frozenset())

    def step(self, x: Any, r: Any, *state_and_parameters: Any) -> tuple[Any, ...]:
        """One time step: the new state, always as a tuple."""
        new = self.equations(x, r, *state_and_parameters)
        return new if isinstance(new, tuple) else (new,)

    def parameter_shapes(self, input_size: int, hidden_size: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every parameter of one layer, in torch's order and layout."""
        rows = len(self.gates) * hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, hidden_size),
        }
        if bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        return shapes | {name: (len(entries) * hidden_size,) for name, entries in self.parameters.items()}


def cell(
    *,
    gates: str,
    state: str,
    parameters: Mapping[str, str] | None = None,
    torch: str | None = None,
    torch_options: Mapping[str, Any] | None = None,
    forget_gate: str | None = None,
    input_gate: str | None = None,
    starts: Mapping[str, str] | None = None,
    start_options: Mapping[str, Any] | None = None,
    fixed: Iterable[str] = (),
    stopped: str = "",
    base: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], Cell]:
    """Declare the decorated equations as a cell and put it into ``CELLS`` under the function's name.

    With a forget gate and no ``start_options``, ``forget_bias`` is 1 where it is left out.
    """
    if odd := set((starts or {}).values()) - set(STARTS):
        raise ValueError(f"no way to start: {', '.join(sorted(odd))}; there are {', '.join(STARTS)}")
    if strange := set(stopped) - set(state):
        raise ValueError(f"stopped names no part of the state {state}: {', '.join(sorted(strange))}")
    if stopped and torch:
        raise ValueError(f"torch.nn.{torch} stops no gradient: a cell has either torch or stopped")
    if start_options is None and forget_gate:
        start_options = {"forget_bias": 1.0}

    def declare(equations: Callable[..., Any]) -> Cell:
        name = equations.__name__
        declared = Cell(
            name=name,
            equations=equations,
            gates=gates,
            state=state,
            parameters=dict(parameters or {}),
            torch=torch,
            torch_options=dict(torch_options or {}),
            forget_gate=forget_gate,
            input_gate=input_gate,
            starts=dict(starts or {}),
            start_options=dict(start_options or {}),
            fixed=frozenset(fixed),
            stopped=stopped,
            base=base or name,
            options=dict(options or {}),
        )
        CELLS[name] = declared
        return declared

    return declare


def find(base: str, **options: Any) -> Cell:
    """The cell that a configuration asks for; options that are left out mean their defaults, and options that the
    cells of this base do not declare are no concern of it.

    Raises KeyError if there is none.
    """
    if base in CELLS:
        wanted = {name: options.get(name, default) for name, default in CELLS[base].options.items()}
        for candidate in CELLS.values():
            if candidate.base == base and candidate.options == wanted:
                return candidate
    raise KeyError(f"no cell {base} with {options}; there are {', '.join(sorted(CELLS))}")


def _declared(name: str) -> Cell:
    return CELLS[name]


def sigmoid(a: Any) -> Any:
    """1 / (1 + exp(-a)), elementwise."""
    return a.sigmoid()


def tanh(a: Any) -> Any:
    """Hyperbolic tangent, elementwise."""
    return a.tanh()


def relu(a: Any) -> Any:
    """max(a, 0), elementwise."""
    return a.relu()
