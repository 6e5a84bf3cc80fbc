"""Caches plans for reuse."""

from __future__ import annotations

import threading
from collections import OrderedDict

import torch

from charlstm.executors.triton.choice import choose_division
from charlstm.executors.triton.plans import Plan, Shape

MAX_SHAPES = 16  # cached shapes; each holds the buffers of its layers
PATIENCE = 500  # runs of layers since its last use before a shape may be evicted
PLANS = 16  # cached plans of one shape: layers of one size, or forward passes whose backward pass is pending
MAX_SEEN = 1024  # shapes remembered as used once


class Lease:
    """Exclusive use of a plan until :meth:`release`, or until the lease is garbage-collected.

    ``plan`` is None after the release: the lease may outlive it, while another lease uses the plan.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan: Plan | None = plan
        plan.busy = True

    def release(self) -> None:
        """Return the plan, once. May run at any time in any thread (as ``__del__``), so it takes no lock."""
        plan, self.plan = self.plan, None
        if plan is not None:
            plan.busy = False

    __del__ = release


class Pool:
    """A cache of plans by shape.

    The first use of a shape gets a temporary plan, as every text may have another length; from the second use on its
    plans are captured and cached, one for each layer or pass that needs one at the same time, at most ``PLANS``. The
    least recently used shape is evicted, unless it was used within the last ``patience`` runs: then the new shape keeps
    getting temporary plans.
    """

    def __init__(self, shapes: int = MAX_SHAPES, patience: int = PATIENCE) -> None:
        self._limit, self._patience = shapes, patience
        self._lock = threading.Lock()
        self._seen: OrderedDict[Shape, None] = OrderedDict()
        self._plans: OrderedDict[Shape, list[Plan]] = OrderedDict()
        self._used: dict[Shape, int] = {}
        self._runs = 0

    def take(self, shape: Shape) -> Lease:
        """Lease a plan for the shape that is not busy. On out of memory, drop the cached plans and try again."""
        try:
            return self._take(shape)
        except torch.OutOfMemoryError:
            self.clear()
        return self._take(shape)

    def clear(self) -> None:
        """Drop all plans; those in use are freed with their leases."""
        with self._lock:
            self._plans.clear()
            self._used.clear()

    def _take(self, shape: Shape) -> Lease:
        # Captures do not nest, and memory allocated during an outer capture belongs to its graph.
        division = choose_division(shape)
        if shape.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return Lease(Plan(shape, False, division))
        with self._lock:
            self._runs += 1
            if not self._is_cached(shape):
                return Lease(Plan(shape, False, division))
            self._plans.move_to_end(shape)
            self._used[shape] = self._runs
            plans = self._plans[shape]
            idle = next((plan for plan in plans if not plan.busy and plan.division == division), None)
            if idle is None and len(plans) >= PLANS:
                return Lease(Plan(shape, False, division))
            if idle is None:
                idle = Plan(shape, True, division)
                plans.append(idle)
            return Lease(idle)

    def _is_cached(self, shape: Shape) -> bool:
        if shape in self._plans:
            return True
        was_seen = shape in self._seen
        self._seen[shape] = None
        self._seen.move_to_end(shape)
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        if not was_seen:
            return False
        if len(self._plans) >= self._limit:
            oldest = next(iter(self._plans))
            if self._runs - self._used[oldest] <= self._patience:
                return False
            del self._plans[oldest], self._used[oldest]
        self._plans[shape] = []
        return True
