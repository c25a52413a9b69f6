"""Arrays of values shared by several tests are read-only, including views and their bases; others are not."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from shared_values import freeze


@dataclass(frozen=True)
class Record:
    values: np.ndarray


@pytest.fixture(scope="module")
def shared():
    return Record(np.zeros(3))


def test_a_fixture_of_several_tests_is_read_only(shared):
    with pytest.raises(ValueError, match="read-only"):
        shared.values[0] = 1


@pytest.mark.parametrize(
    "hold",
    [
        lambda a: a,
        lambda a: (a,),
        lambda a: [{"a": a}],
        lambda a: SimpleNamespace(a=Record(a)),
        lambda a: Record(a[1:]),
    ],
)
def test_arrays_are_found_where_they_are_held(hold):
    array = np.zeros(3)
    freeze(hold(array))
    assert not array.flags.writeable


def test_what_holds_itself_has_an_end():
    held = [np.zeros(3)]
    held.append(held)
    freeze(held)
    assert not held[0].flags.writeable
