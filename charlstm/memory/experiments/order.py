"""Temporal order and adding, with a plain RNN that is helped."""

from __future__ import annotations

from charlstm.config import MemoryConfig
from charlstm.memory.experiments.arms_by_task import ArmsByTask
from charlstm.memory.experiments.base import Chapter, highest, percent, runs_table, share, solved_share, study
from charlstm.memory.grid import Grid
from charlstm.memory.measures import Figures as Values
from charlstm.memory.measures import make_task
from charlstm.report.document import Section, Table
from charlstm.report.estimate_plots import bars_plot
from charlstm.text.visible import visible

TASKS = {"temporal order": "TemporalOrder", "adding": "Adding"}

WHAT = (
    "Temporal order (Hochreiter & Schmidhuber 1997, experiment 6): two marks, each X or Y, stand among random letters, "
    "and the answer says which came first and which second. Adding (experiment 4, with digits): of many digits, the "
    "two after a star are to be added. A plain RNN is not helpless by nature: Pascanu, Mikolov & Bengio 2013 solved "
    "temporal order with one by clipping the gradient and penalising a gradient that shrinks or grows on its way back. "
    "That RNN is an arm here, and its figure stands as it came out."
)


@study("order")
class OrderStudy(ArmsByTask[str]):
    def __init__(self, config: MemoryConfig, grid: Grid) -> None:
        section = config.experiments.order
        assert section is not None
        self._section = section
        self._tasks = {
            f"{words} {length}": {"task": task, "length": length}
            for words, task in TASKS.items()
            for length in sorted(set(section.lengths))
        }
        series = {}
        for name, task in self._tasks.items():
            lesson = grid.task_lesson(name.replace(" ", "-"), task, section.strings)
            series[name] = grid.series("order", lesson, section.arms)
        super().__init__(config, grid, series)

    def names(self) -> list[str]:
        return [*self._tasks, *(f"{name} of any seed" for name in self._tasks)]

    def measure(self, key: str) -> tuple[str, Values]:
        return "answers", {"task": self._tasks[key], "strings": self._config.test_strings}

    def chapter(self) -> Chapter:
        config, arms = self._config, self._section.arms
        shares = {
            arm: {name: [one["share"] for one in self._results(name, arm)] for name in self._tasks} for arm in arms
        }
        estimates = {arm: [share(own, config.test_strings)[0] for own in each.values()] for arm, each in shares.items()}
        figures = {
            (name, arm): share(own, config.test_strings)[1]
            for arm, each in shares.items()
            for name, own in each.items()
        }
        figures |= {
            (f"{name} of any seed", arm): highest(own) for arm, each in shares.items() for name, own in each.items()
        }
        chances = {words: make_task({"task": task, "length": 50}).chance for words, task in TASKS.items()}
        plot = bars_plot(
            list(self._tasks),
            estimates,
            self._colours,
            name="order-and-adding",
            title="Right answers by task and length",
            thresholds={"solved": config.solve_threshold},
        )
        rows = [
            [visible(arm), *(solved_share(own, config.solve_threshold) for own in each.values())]
            for arm, each in shares.items()
        ]
        guesses = ", ".join(f"{words} {percent(chance)}" for words, chance in chances.items())
        table = Table(
            ["arm", *self._tasks],
            rows,
            caption=f"Right answers to fresh strings, mean over seeds (seeds that solve it); by guessing: {guesses}",
            colours=self._arm_colours(arms),
        )
        section = Section(
            title="Temporal order and adding",
            paragraphs=[WHAT],
            figures=[plot] if plot else [],
            tables=[table, runs_table(self._grid, self.series())],
            data={"shares": shares, "chance": chances},
        )
        return Chapter(section, figures)
