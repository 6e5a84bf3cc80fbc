"""The section on gates: how often they are saturated, and how long units remember."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charlstm.compiler.graph import trace
from charlstm.inspection.inspect import Inspection
from charlstm.model.stack import RecurrentStack
from charlstm.probes.dynamics import spectral_radii
from charlstm.probes.gates import Gates, zoneout_rates
from charlstm.report.document import Section, Table
from charlstm.report.gate_plots import half_life_plot, saturation_plot

MAX_HALF_LIFE = 1e9
SATURATED = 0.9

GATES = "How often each unit's gates are closed (below 0.1) and open (above 0.9; Karpathy, Johnson & Fei-Fei 2015)."
HALF_LIVES = (
    "A unit's half-life is the number of characters after which half of its state is left, at the mean rate at which "
    "its forget gate reduces it over this text."
)
NO_GATES = (
    "This cell has no gates: its state reaches the next character through its recurrent weights, whose spectral radius "
    "is the largest absolute eigenvalue of their matrix: near 1, what the units hold can last."
)
SATURATION = (
    "A tanh unit is saturated while the absolute value of its output is above 0.9: its slope is then below 0.19, and "
    "little gradient passes."
)
LEAK = (
    "Each unit has a leak a, the weight of the new activation in its state: what it held is multiplied by 1 - a at "
    "each character, so half of it is left after -ln 2 / ln(1 - a) characters. The spectral radius is the largest "
    "absolute eigenvalue of the recurrent weights, which feed the activation."
)
ZONEOUT = (
    "With zoneout d, here {d:g}, a unit keeps d of its old state at each character and takes 1 - d of the new one "
    "(Krueger et al. 2017)"
)
KEPT_BY = {"gates": ": d + (1 - d) f of it is left, f its forget gate.", "leak": ": 1 - (1 - d) a of it is left."}


def gates_section(one: Inspection, prefix: str = "", number: int = 0) -> Section:
    """Saturation and half-lives of the gates."""
    recording = one.recording
    if not recording.gates:
        return _ungated_section(one, prefix, number)
    stacked = {letter: values[:, :, None].astype(np.float64) for letter, values in recording.gates.items()}
    half_lives = recording.half_lives
    gates = Gates(stacked, half_lives)
    saturation = {letter: gates.saturation(letter) for letter in stacked}
    rows = [
        [f"{letter}, layer {layer + 1}", f"{closed.mean():.0%}", f"{opened.mean():.0%}", f"{mean.mean():.2f}"]
        for letter, s in saturation.items()
        for layer, (closed, opened, mean) in enumerate(zip(s.left, s.right, s.mean, strict=True))
    ]
    plots = [
        saturation_plot(
            {f"gate {letter}": (s.left.ravel().tolist(), s.right.ravel().tolist()) for letter, s in saturation.items()},
            f"{prefix}saturation",
            number=number,
        )
    ]
    if half_lives is not None:
        by_layer = {
            f"layer {layer + 1}": np.minimum(row, MAX_HALF_LIFE).tolist() for layer, row in enumerate(half_lives)
        }
        plots.append(half_life_plot(by_layer, {name: n for n, name in enumerate(by_layer)}, name=f"{prefix}half-lives"))
    table = Table(["gate", "closed", "open", "mean"], rows, caption="Fraction of steps, mean over units")
    data = {
        "saturation": {k: {"closed": s.left.tolist(), "open": s.right.tolist()} for k, s in saturation.items()},
        "half_lives": None if half_lives is None else half_lives.tolist(),
    }
    paragraphs = [GATES] if half_lives is None else [GATES, HALF_LIVES, *_zoneout(one, KEPT_BY["gates"])]
    return Section("Gates", paragraphs, [p for p in plots if p is not None], [table], data=data, plots_first=True)


def _ungated_section(one: Inspection, prefix: str, number: int) -> Section:
    """What keeps the state of a cell without gates: its leak, or its recurrent weights."""
    stack, recording = one.run.model.recurrent, one.recording
    leaks = _leaks(stack)
    radii = spectral_radii(one.run.model)
    h = stack.cell.state[0]
    # A leak or zoneout also mixes the old state into h, which then says nothing about the slope of the tanh.
    is_tanh = trace(stack.cell).new_state[0].op == "tanh"
    saturated = (np.abs(recording.states[h]) > SATURATED).mean((0, 2))
    rows = [
        [f"layer {layer + 1}", *(f"{values[layer]:.2f}" for values in radii.values())]
        + ([f"{saturated[layer]:.0%}"] if is_tanh else [])
        for layer in range(stack.num_layers)
    ]
    header = ["layer", *(f"spectral radius{f' of {gate}' if len(radii) > 1 else ''}" for gate in radii)]
    header += ["saturated"] if is_tanh else []
    table = Table(header, rows, caption="The recurrent weights of each layer")
    plots, data = [], dict[str, object]()
    if leaks:
        with np.errstate(divide="ignore"):
            half_lives = {
                name: np.minimum(-np.log(2) / np.log1p(-new * a), MAX_HALF_LIFE).tolist()
                for (name, a), new in zip(leaks.items(), _weights_of_new_state(one), strict=True)
            }
        plots.append(
            half_life_plot(half_lives, {name: number + n for n, name in enumerate(leaks)}, name=f"{prefix}half-lives")
        )
        data["half_lives"] = half_lives
    data |= {
        "leaks": {name: a.tolist() for name, a in leaks.items()},
        "spectral_radius": {gate: values.tolist() for gate, values in radii.items()},
    }
    paragraphs = [LEAK if leaks else NO_GATES, *_zoneout(one, KEPT_BY["leak"] if leaks else ".")]
    paragraphs += [SATURATION] if is_tanh else []
    return Section("Gates", paragraphs, [p for p in plots if p is not None], [table], data=data, plots_first=True)


def _zoneout(one: Inspection, effect: str) -> list[str]:
    """What zoneout does to half-lives; empty without it."""
    rates = zoneout_rates(one.run.model)
    return [] if rates is None else [ZONEOUT.format(d=rates.mean().item()) + effect]


def _weights_of_new_state(one: Inspection) -> npt.NDArray[np.float64]:
    """1 - d for zoneout d, [L, H]."""
    stack, rates = one.run.model.recurrent, zoneout_rates(one.run.model)
    if rates is None:
        return np.ones((stack.num_layers, stack.hidden_size))
    kept: npt.NDArray[np.float64] = 1 - rates.double().cpu().numpy()
    return kept


def _leaks(stack: RecurrentStack) -> dict[str, npt.NDArray[np.float64]]:
    """The leaks of each layer, [H]; empty for a cell without."""
    leaks = {}
    for layer in range(stack.num_layers):
        for name, parameter in stack.weights(f"_l{layer}").parameters.items():
            values = parameter.detach().double().cpu()
            if name in ("leak_logit", "leak_rate"):
                leaks[f"layer {layer + 1}"] = (values.sigmoid() if name == "leak_logit" else values).numpy()
    return leaks
