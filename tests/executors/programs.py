"""The programs of a Triton kernel, interpreted side by side: at a barrier, the next program takes its turn."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import triton.language as tl
from triton.runtime.interpreter import interpreter_builder

from charlstm.executors.triton.kernels import functions

MAX_TURNS = 100
"""Turns of all programs in which one that waits must come back."""


class Programs:
    """Runs ``count`` programs of a kernel in turns. ``barriers`` counts how often one has met the others."""

    def __init__(self, count: int) -> None:
        self._count, self._turn = count, 0
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self._done: set[int] = set()
        self._programs: list[tuple[Any, dict[str, Any]]] = []
        self.barriers = 0

    def add(self, function: Callable[..., None], arguments: dict[str, Any]) -> None:
        """Take a program, which the interpreter would run now; the last one starts all."""
        self._programs.append((interpreter_builder.grid_idx, arguments))
        if len(self._programs) < self._count:
            return
        programs, self._programs, self._turn, self._done = self._programs, [], 0, set()
        threads = [
            threading.Thread(target=self._run, args=(number, function, *program))
            for number, program in enumerate(programs)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._error:
            raise self._error

    def wait(self, counter: Any, goal: Any, patience: Any) -> Any:
        """In the place of the kernel's function of this name."""
        number, index = self._turn, interpreter_builder.grid_idx
        self.barriers += 1
        for _ in range(MAX_TURNS):
            if int(tl.load(counter).handle.data[0]) >= int(goal):
                return patience
            with self._changed:
                self._pass_on(number)
            self._take_turn(number, index)
        raise AssertionError("a program waits for ever")

    def _run(self, number: int, function: Callable[..., None], index: Any, arguments: dict[str, Any]) -> None:
        try:
            self._take_turn(number, index)
            function(**arguments)
        except Exception as error:
            self._error = self._error or error
        with self._changed:
            self._done.add(number)
            self._pass_on(number)

    def _take_turn(self, number: int, index: Any) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._turn == number)
        interpreter_builder.grid_idx = index

    def _pass_on(self, number: int) -> None:
        order = ((number + offset) % self._count for offset in range(1, self._count + 1))
        self._turn = next((other for other in order if other not in self._done), number)
        self._changed.notify_all()


@contextmanager
def side_by_side(source: str, count: int) -> Iterator[Programs]:
    """Within the block, a launch of the source's function ``run`` interprets ``count`` programs in turns."""
    namespace, programs = functions(source), Programs(count)
    run, wait = namespace["run"], namespace["wait"]
    rewrite = run.rewrite

    def deferred() -> Callable[..., None]:
        function = rewrite()

        @functools.wraps(function)
        def add(**arguments: Any) -> None:
            programs.add(function, arguments)

        add.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        return add

    namespace["wait"] = programs.wait  # type: ignore[index]
    run.rewrite = deferred
    try:
        yield programs
    finally:
        namespace["wait"], run.rewrite = wait, rewrite  # type: ignore[index]
