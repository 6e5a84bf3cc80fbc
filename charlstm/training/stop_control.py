"""Requests to stop or save a training run."""

from __future__ import annotations

from charlstm.distributed import ProcessGroup


class StopControl:
    """Requests to stop or save, which a signal handler may set at any time; all processes act on them at the same step.

    ``stop_requested`` and ``save_requested`` are the requests to this process; ``should_stop`` and ``should_save`` are
    what to do now: with several processes, what they have agreed on.
    """

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group
        self.stop_requested = self.save_requested = False
        self._agreed_stop = self._agreed_save = False

    @property
    def should_stop(self) -> bool:
        return self._agreed_stop if self._group.size > 1 else self.stop_requested

    @property
    def should_save(self) -> bool:
        return self._agreed_save if self._group.size > 1 else self.save_requested

    def sync(self, seconds: float) -> float:
        """Synchronize the requests of all processes; returns the maximum of their ``seconds``."""
        seconds, stop, save = self._group.all_reduce_max(seconds, self.stop_requested, self.save_requested)
        self._agreed_stop, self._agreed_save = bool(stop), bool(save)
        return seconds

    def clear_save_request(self) -> None:
        """Called before a save, which fulfills all requests so far."""
        self.save_requested = self._agreed_save = False
