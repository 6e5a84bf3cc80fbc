"""What the counters of a run say after an evaluation and at the start of a record."""

from __future__ import annotations

import math

from charlstm.checkpoints.counters import Counters


def test_best_score_is_the_first_of_the_lowest():
    counters, seen = Counters(), []
    for step, nats in enumerate([math.inf, 2.0, 2.0, 3.0, 1.0, math.nan]):
        counters.step, counters.evaluation_due = step, True
        is_best = counters.add_score(nats)
        assert not counters.evaluation_due
        seen.append((is_best, counters.best_nats, counters.best_step, counters.evaluations_without_improvement))
    assert seen == [
        (False, None, None, 1),
        (True, 2.0, 1, 0),
        (False, 2.0, 1, 1),
        (False, 2.0, 1, 2),
        (True, 1.0, 4, 0),
        (False, 1.0, 4, 1),
    ]


def test_evaluation_without_held_out_text_is_never_the_best():
    counters = Counters(evaluation_due=True)
    assert not counters.add_score(None)
    assert counters == Counters()


def test_record_starts_at_zero():
    counters = Counters(sum_nats=3.0, sum_count=2, seconds=4.0, characters=5)
    counters.start_record()
    assert (counters.sum_nats, counters.sum_count) == (0.0, 0)
    assert (counters.recorded_seconds, counters.recorded_characters) == (4.0, 5)
