"""The declaration of a cell: its equations, gates, state, options and initialization.

A cell is declared once, as a function of one time step:

    @cell(gates="ifgo", state="hc", torch="LSTM", forget_gate="f", input_gate="i")
    def lstm(x: Gates, r: Recurrent, h: Array, c: Array) -> tuple[Array, Array]:
        i, f, o = (sigmoid(x[k] + r[k]) for k in "ifo")
        c = f * c + i * tanh(x.g + r.g)
        return o * tanh(c), c

``x[k]`` is the input side of gate k, ``W_k x_t + b_k``; ``r[k]`` is the recurrent side, ``U_k h + b'_k``, and
``r.of(v)[k]`` is the recurrent side for v in place of h. All entries have shape [B, H]. The further arguments are the
state, then the per-unit parameters of the cell (also ``Gates``), [H] per entry. The function returns the new state,
whose first part is the output. It may use ``+ - *``, numbers, ``sigmoid``, ``tanh`` and ``relu``, and is called on
tensors (the reference executor) or on symbols (all others, which derive the backward pass from it).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, wraps
from pkgutil import resolve_name
from typing import Any

from charlstm.cells.initializers import Initializer
from charlstm.cells.options import FORGET_GATE_OPTIONS, RECURRENT_OPTIONS, Option
from charlstm.cells.values import Array, Gates, Recurrent, relu, sigmoid, tanh

__all__ = [
    "CELLS",
    "Array",
    "Cell",
    "Gates",
    "Option",
    "Recurrent",
    "cell",
    "derived_cell",
    "find",
    "from_recipe",
    "relu",
    "sigmoid",
    "tanh",
]

CELLS: dict[str, Cell] = {}


@dataclass(frozen=True, eq=False)
class Cell:
    """A recurrent cell, declared with :func:`cell`.

    gates       one letter each, in the order of the rows of the weight matrices (torch's order where torch has it)
    state       one letter each; the first is the output h, which the recurrent matmul reads
    parameters  per-unit parameters: name -> the letters of their entries, [H] each (``weight_peephole: "ifo"``)
    torch       the class in torch.nn with the same equations, if there is one, and ``torch_options`` for it
    forget_gate the gate that multiplies the old state; its bias is initialized to ``forget_bias``
    input_gate  the separate gate, if any, that multiplies the candidate
    initializers parameter -> its initializer (:mod:`charlstm.cells.initializers`); ``bias_ih.f`` names a parameter and
                one of its gates or entries; all others are initialized as in torch.nn
    init_options the options that the initializers take, by name
    frozen      the parameters that are never trained, by name: ``weight_hh``, ``bias_ih``, or a per-unit parameter
    per_step    the parameters that have a value for each step and text, [T, B, nH], and no gradient, such as masks
    stop_gradient letters of the state that each step reads detached, so that no gradient reaches the previous step
                through them. Weights that read them are still trained: with h detached, U gets its gradient d h^T, and
                only U^T d is dropped
    base, options    the name and the options that select this cell in a configuration; every cell of a base has the
                same options, and those of the cell named like the base are their defaults
    option_docs the :class:`~charlstm.cells.options.Option` of each of the ``options``, in the cell of the base
    recipe      how another process finds the cell (:func:`from_recipe`): the name under which it is declared, then, if
                it was derived from that, each function with its arguments (:func:`derived_cell`)
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
    initializers: Mapping[str, Initializer] = field(default_factory=dict)
    init_options: Mapping[str, Option] = field(default_factory=dict)
    frozen: frozenset[str] = frozenset()
    per_step: frozenset[str] = frozenset()
    stop_gradient: str = ""
    base: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    option_docs: Mapping[str, Option] = field(default_factory=dict)
    recipe: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        shapes = self.parameter_shapes(1, 1)
        for key, initializer in self.initializers.items():
            name, _, part = key.partition(".")
            if name not in shapes or part not in ("", *self.parts_of(name)):
                raise ValueError(f"initializers: cell {self.name} has no parameter {key}; it has {', '.join(shapes)}")
            if missing := [option for option in option_names(initializer) if option not in self.init_options]:
                raise ValueError(f"initializers: {initializer.__name__} needs init_options: {', '.join(missing)}")

    def __deepcopy__(self, memo: Any) -> Cell:
        return self

    def __reduce__(self) -> Any:
        if not self.has_recipe:
            raise TypeError(f"cell {self.name} cannot be pickled: another process could not find it by a recipe")
        return from_recipe, (self.recipe,)

    @property
    def has_recipe(self) -> bool:
        """Whether the recipe makes this cell, here and in a process that imports the same modules."""
        try:
            return from_recipe(self.recipe) is self
        except (AttributeError, ImportError, KeyError, ValueError):
            return False

    @property
    def summary(self) -> str:
        """The first paragraph of the docstring of the cell's equations, or of the module that declares it, with its
        source."""
        text = self.equations.__doc__ or sys.modules[self.equations.__module__].__doc__ or self.name
        return " ".join(text.split("\n\n")[0].split())

    @property
    def is_reservoir(self) -> bool:
        """Whether all parameters of the cell are frozen."""
        return self.frozen >= self.parameter_shapes(1, 1).keys()

    def parts_of(self, parameter: str) -> str:
        """The letters of the blocks of a parameter, H rows each, in order."""
        return self.parameters.get(parameter, self.gates)

    def step(self, x: Any, r: Any, *state_and_parameters: Any) -> tuple[Any, ...]:
        """Run one time step; returns the new state, always as a tuple."""
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
    initializers: Mapping[str, Initializer] | None = None,
    init_options: Mapping[str, Option] | None = None,
    frozen: Iterable[str] = (),
    stop_gradient: str = "",
    base: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], Cell]:
    """Declare the decorated equations as a cell and register it in ``CELLS`` under the function's name.

    In the cell of a base each of the ``options`` is an :class:`~charlstm.cells.options.Option`; in its other cells they
    are plain values. A forget gate adds ``forget_bias`` and ``chrono_length`` to ``init_options``; recurrent weights
    that are trained and have no initializer of their own add ``recurrent_init``.

    Raises ValueError for a parameter, option or part of the state that the cell does not have, and for an option that
    another cell declares with a different type, range or description.
    """
    if unknown := set(stop_gradient) - set(state):
        raise ValueError(f"stop_gradient: the state {state} has no part {', '.join(sorted(unknown))}")
    if stop_gradient and torch:
        raise ValueError(f"torch.nn.{torch} does not stop gradients: declare either torch or stop_gradient")
    all_init_options = {
        **(FORGET_GATE_OPTIONS if forget_gate else {}),
        **({} if "weight_hh" in {*(initializers or {}), *frozen} else RECURRENT_OPTIONS),
        **(init_options or {}),
    }
    option_docs = {name: value for name, value in (options or {}).items() if isinstance(value, Option)}
    values = {name: value.default if isinstance(value, Option) else value for name, value in (options or {}).items()}

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
            initializers=dict(initializers or {}),
            init_options=all_init_options,
            frozen=frozenset(frozen),
            stop_gradient=stop_gradient,
            base=base or name,
            options=values,
            option_docs=option_docs,
            recipe=(name,),
        )
        for option, declaration in {**all_init_options, **option_docs}.items():
            _check_consistent(declared, option, declaration)
        CELLS[name] = declared
        return declared

    return declare


def find(base: str, **options: Any) -> Cell:
    """The cell that a configuration selects; missing options take their defaults, and options that the cells of this
    base do not declare are ignored.

    Raises KeyError if there is no such cell.
    """
    if base in CELLS:
        wanted = {name: options.get(name, default) for name, default in CELLS[base].options.items()}
        for candidate in CELLS.values():
            if candidate.base == base and candidate.options == wanted:
                return candidate
    raise KeyError(f"no cell {base} with {options}; there are {', '.join(sorted(CELLS))}")


def derived_cell(make: Callable[..., Cell]) -> Callable[..., Cell]:
    """Declare a function that makes a cell of another one, and of texts and numbers. It returns the same object for
    equal arguments, as kernels are compiled once for each cell."""
    function = f"{make.__module__}:{make.__qualname__}"

    @cache
    @wraps(make)
    def derive(cell: Cell, *arguments: str | float) -> Cell:
        return replace(make(cell, *arguments), recipe=(*cell.recipe, (function, *arguments)))

    return derive


def from_recipe(recipe: Sequence[Any]) -> Cell:
    """The cell with this :attr:`Cell.recipe`, which may come from JSON. Raises KeyError if no such cell is
    declared."""
    name, *derivations = recipe or [""]
    found = CELLS[name]
    for function, *arguments in derivations:
        found = resolve_name(function)(found, *arguments)
    return found


def option_names(initializer: Initializer) -> list[str]:
    """The options that an initializer takes: its arguments after the parameter."""
    return list(inspect.signature(initializer).parameters)[1:]


def _check_consistent(declared: Cell, name: str, option: Option) -> None:
    for other in CELLS.values():
        other_option = {**other.init_options, **other.option_docs}.get(name) if other.name != declared.name else None
        if other_option is not None and other_option.with_default(None) != option.with_default(None):
            raise ValueError(
                f"option {name} of cell {declared.name} differs from that of {other.name} in more than its default"
            )
