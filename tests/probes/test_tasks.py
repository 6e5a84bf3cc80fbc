"""Tasks: their strings, and the chance and baseline of the best guess."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from charlstm.probes.tasks import Adding, Copying, Counting, Reber, Recall, Task, TemporalOrder

TASKS = [
    Recall(7),
    Recall(0, keys=2),
    Recall(30, keys=26, letters=1),
    Recall(5, mixed=True),
    Copying(9),
    Copying(0, length=2, symbols=3),
    TemporalOrder(20),
    TemporalOrder(33),
    Adding(2),
    Adding(13),
    Counting(),
    Counting("abc", 2, 5),
    Reber(),
    Reber(20),
]
MARKED = [task for task in TASKS if task.mark is not None]


@pytest.mark.parametrize("task", TASKS, ids=str)
def test_strings_depend_on_the_seed_alone(task: Task):
    strings = task.strings(50, 3)
    assert len(strings) == 50
    assert strings == task.strings(50, 3)
    assert strings != task.strings(50, 4)
    assert not any(set(string) & set("\r\n\0 ") for string in strings)


def test_strings_of_a_seed_are_pinned():
    assert Recall(5).strings(4, 1) == ["Eegngi?E", "Hamifm?H", "Behcgd?B", "Hemehp?H"]
    bits = np.random.PCG64(9).random_raw(3) >> np.uint64(32)
    expected = [1 + int(bit) * 50 // 2**32 for bit in bits.tolist()]
    assert [(len(string) - 1) / 2 for string in Counting().strings(3, 9)] == expected


@pytest.mark.parametrize("task", MARKED, ids=str)
def test_mark_occurs_once_before_the_answer(task: Task):
    for string in task.strings(200, 1):
        assert string.count(task.mark) == 1
        assert task.answer(string) == string[string.index(task.mark) + 1 :] != ""


@pytest.mark.parametrize("task", [t for t in MARKED if t.chance > 0.01], ids=str)
def test_chance_and_baseline_match_the_answer_frequencies(task: Task):
    """Against counted answers: the frequency of the most common one, and their entropy per character."""
    count = 40_000
    answers = Counter(task.answer(string) for string in task.strings(count, 5))
    frequencies = [number / count for number in answers.values()]
    assert max(frequencies) == pytest.approx(task.chance, abs=0.01)
    length = len(next(iter(answers)))
    assert -sum(p * math.log(p) for p in frequencies) / length == pytest.approx(task.baseline_nats, abs=0.005)


@pytest.mark.parametrize("task", [t for t in MARKED if not isinstance(t, Adding)], ids=str)
def test_answers_are_evenly_spread(task: Task):
    characters = Counter("".join(task.answer(string) for string in task.strings(20_000, 6)))
    assert len(characters) == round(math.exp(task.baseline_nats))
    mean = characters.total() / len(characters)
    assert max(abs(n - mean) for n in characters.values()) < 6 * math.sqrt(mean)


@pytest.mark.parametrize("mixed", [False, True])
def test_recall_repeats_its_key_after_the_lag(mixed):
    for string in Recall(40, keys=3, letters=5, mixed=mixed).strings(300, 2):
        assert len(string) == 43
        assert string[0] == string[-1] in "ABC"
        assert string[-2] == "?"
        assert set(string[1:-2]) <= set("ABC" if mixed else "abcde")


def test_copying_repeats_all_symbols_after_the_blanks():
    for string in Copying(25, length=4, symbols=5).strings(300, 2):
        assert string == string[:4] + "_" * 25 + "?" + string[:4]
        assert set(string[:4]) <= set("abcde")


@pytest.mark.parametrize("length", [10, 57, 100])
def test_temporal_order_names_the_two_marks(length):
    first_places, second_places = set(), set()
    for string in TemporalOrder(length).strings(2000, 2):
        positions = [position for position, character in enumerate(string) if character in "XY"]
        assert len(positions) == 2
        first, second = positions
        first_places.add(first)
        second_places.add(second)
        assert string[-2] == "?"
        assert len(string) == length + 2
        assert string[-1] == {"XX": "Q", "XY": "R", "YX": "S", "YY": "U"}[string[first] + string[second]]
        assert set(string[:-2]) <= set("abcdXY")
    assert first_places == set(range(length // 10, length // 5 + 1))
    assert second_places == set(range(length // 2, length * 6 // 10 + 1))


@pytest.mark.parametrize("length", [2, 9, 50])
def test_adding_adds_the_starred_digits_one_in_each_half(length):
    positions = set()
    for string in Adding(length).strings(3000, 2):
        numbers, total = string.split("=")
        starred = [int(part[0]) for part in numbers.split("*")[1:]]
        assert len(starred) == 2
        assert int(total) == sum(starred)
        assert len(total) == 2
        assert len(numbers.replace("*", "")) == length
        first, second = (len(part.replace("*", "")) for part in (numbers.split("*")[0], numbers.rpartition("*")[0]))
        assert first < length // 2 <= second < length
        positions |= {first, second}
    assert positions == set(range(length))


def test_counting_counts():
    strings = Counting("xyz", 3, 6).strings(2000, 1)
    assert Counter(strings).keys() == {"x" * n + "y" * n + "z" * n + "." for n in range(3, 7)}
    assert Counting("ab", 1000, 1000).strings(1, 0) == ["a" * 1000 + "b" * 1000 + "."]


def test_counting_baseline_is_the_entropy_of_the_length():
    """p(c | k letters b) = p(n = k | n >= k) along the second letter, and certainty from there on."""
    task = Counting("abc", 2, 9)
    nats, characters = 0.0, 0
    for n in range(2, 10):
        for k in range(2, n + 1):
            stops = 1 / (10 - k)
            nats -= math.log(stops if k == n else 1 - stops)
        characters += len("b" * (n - 1) + "c" * n + ".")
    assert task.baseline_nats == pytest.approx(nats / characters)
    assert task.score_after == "b"
    assert task.chance == 1 / 8
    assert Counting(shortest=4, longest=4).baseline_nats == 0


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Recall(-1), "lag: expected 0 or more, found -1"),
        (lambda: Recall(1, keys=1), "keys: expected 2 or more, at most 26, found 1"),
        (lambda: Recall(1, letters=27), "letters: expected 1 or more, at most 26, found 27"),
        (lambda: Copying(1, length=0), "length: expected 1 or more, found 0"),
        (lambda: Copying(1, symbols=1), "symbols: expected 2 or more"),
        (lambda: TemporalOrder(9), "length: expected 10 or more, found 9"),
        (lambda: Adding(1), "length: expected 2 or more, found 1"),
        (lambda: Counting("aa"), "letters: expected two or more different ones, found 'aa'"),
        (lambda: Counting(shortest=0), "shortest: expected 1 or more"),
        (lambda: Counting(shortest=5, longest=4), "longest: expected 5 or more, found 4"),
    ],
)
def test_impossible_tasks_are_refused(make, complaint):
    with pytest.raises(ValueError, match=complaint):
        make()
