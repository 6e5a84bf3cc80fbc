"""Plans that are kept, to be used again."""

from __future__ import annotations

import threading
from collections import OrderedDict

import torch

from charlstm.executors.triton.plans import Plan, Shape

MAX_SHAPES = 16  # recorded shapes that are kept at most; each holds the memory of its layers
PATIENCE = 500  # runs of layers for which a recorded shape is kept though others would like its place
PLANS = 16  # recorded plans of one shape: layers of one size, or passes that wait for their way back
MAX_SEEN = 1024  # shapes that are known to have been seen


class Lease:
    """A plan that nobody else gets until it is given back, which happens by itself when the lease is dropped.

    ``plan`` is None from then on: a lease may live for long after that, while the plan is another's.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan: Plan | None = plan
        plan.busy = True

    def release(self) -> None:
        """Give the plan back, once. May run at any moment in any thread, so it takes no lock."""
        plan, self.plan = self.plan, None
        if plan is not None:
            plan.busy = False

    __del__ = release


class Pool:
    """Plans by shape.

    A shape that comes for the first time gets a plan that is not kept, as texts may have ever new lengths; from the
    second time on its plans are recorded and kept, one for each layer or pass that needs one at the same time, but no
    more than ``PLANS``. The shape that was not used for longest makes room, unless it was used of late: then the new
    one goes on as at first.
    """

    def __init__(self, shapes: int = MAX_SHAPES, patience: int = PATIENCE) -> None:
        self._limit, self._patience = shapes, patience
        self._lock = threading.Lock()
        self._seen: OrderedDict[Shape, None] = OrderedDict()
        self._kept: OrderedDict[Shape, list[Plan]] = OrderedDict()
        self._used: dict[Shape, int] = {}
        self._runs = 0

    def take(self, shape: Shape) -> Lease:
        """A plan for the shape whose buffers nobody needs. Where the memory does not suffice, those of other shapes are
        given up for it."""
        try:
            return self._take(shape)
        except torch.OutOfMemoryError:
            self.clear()
        return self._take(shape)

    def clear(self) -> None:
        """Forget all plans; those in use go with their leases."""
        with self._lock:
            self._kept.clear()
            self._used.clear()

    def _take(self, shape: Shape) -> Lease:
        # What is made while a graph is recorded around this one belongs to it, and recordings do not nest.
        if shape.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return Lease(Plan(shape, record=False))
        with self._lock:
            self._runs += 1
            if not self._keeps(shape):
                return Lease(Plan(shape, record=False))
            self._kept.move_to_end(shape)
            self._used[shape] = self._runs
            plans = self._kept[shape]
            idle = next((plan for plan in plans if not plan.busy), None)
            if idle is None and len(plans) >= PLANS:
                return Lease(Plan(shape, record=False))
            if idle is None:
                idle = Plan(shape, record=True)
                plans.append(idle)
            return Lease(idle)

    def _keeps(self, shape: Shape) -> bool:
        if shape in self._kept:
            return True
        known = shape in self._seen
        self._seen[shape] = None
        self._seen.move_to_end(shape)
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        if not known:
            return False
        if len(self._kept) >= self._limit:
            oldest = next(iter(self._kept))
            if self._runs - self._used[oldest] <= self._patience:
                return False
            del self._kept[oldest], self._used[oldest]
        self._kept[shape] = []
        return True
