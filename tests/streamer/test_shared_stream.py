"""A stride in the frame numbers is recognised, once; order, loss and batches are not mistaken for one."""

import random

import pytest

from ptylive.streamer.shared_stream import SharedStreamWatch


def warnings(runs: list[tuple[int, int]]) -> list[str]:
    """What the watch reports for frames arriving as (first, count)."""
    watch = SharedStreamWatch()
    return [line for first, count in runs if (line := watch.observe(first, count)) is not None]


@pytest.mark.parametrize(("step", "count"), [(2, 1), (3, 1), (10, 5)])
def test_every_kth_message(step: int, count: int) -> None:
    (line,) = warnings([(first, count) for first in range(0, 100 * step, step)])
    assert f"of every {step} frames only {count} arrive" in line


def test_whole_shuffled_repeated_and_lossy_streams_are_not_strided() -> None:
    numbers = list(range(2000))
    chance = random.Random(1)
    assert warnings([(n, 1) for n in numbers]) == []
    assert warnings([(n, 1) for n in numbers if chance.random() > 0.3]) == []
    assert warnings([(n, 1) for n in numbers for _ in range(2)]) == []
    chance.shuffle(numbers)
    assert warnings([(n, 1) for n in numbers]) == []
    assert warnings([(n, 8) for n in range(0, 2000, 8)]) == []
