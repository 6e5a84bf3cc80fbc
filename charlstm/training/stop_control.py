"""What is asked of a training run from outside."""

from __future__ import annotations

from charlstm.distributed import ProcessGroup


class StopControl:
    """A stop or a save: asked for at any moment, from a signal handler; heeded by all processes of a team at once.

    ``stop_here`` and ``save_here`` are what was asked of this process; ``stop`` and ``save`` what is to be done, which
    in a team is what all of them have agreed upon.
    """

    def __init__(self, team: ProcessGroup) -> None:
        self._team = team
        self.stop_here = self.save_here = False
        self._agreed_stop = self._agreed_save = False

    @property
    def stop(self) -> bool:
        return self._agreed_stop if self._team.size > 1 else self.stop_here

    @property
    def save(self) -> bool:
        return self._agreed_save if self._team.size > 1 else self.save_here

    def agree(self, seconds: float) -> float:
        """Agree with the other processes; gives the largest of their seconds, with which all go on."""
        seconds, stop, save = self._team.all_reduce_max(seconds, self.stop_here, self.save_here)
        self._agreed_stop, self._agreed_save = bool(stop), bool(save)
        return seconds

    def saving(self) -> None:
        """A save is at hand: what was asked for so far is met by it."""
        self.save_here = self._agreed_save = False
