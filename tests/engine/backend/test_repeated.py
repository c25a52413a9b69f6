"""Steps that a device replays: when they are recorded, which recordings are kept, when the step is called instead."""

import numpy as np
import pytest

from ptylive.engine.backend.repeated import KEPT, MOST_BYTES, Repeated


class Tape:
    """A device that logs its recordings and replays; the step itself does the arithmetic."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.recorded, self.repeated, self.called = error, 0, 0, 0

    def step(self, *arrays):
        self.called += 1
        return (sum(array.sum() for array in arrays),)

    def record(self, step, arrays):
        self.recorded += 1
        if self.error is not None:
            raise self.error

        def repeat(*arrays):
            self.repeated += 1
            return (sum(array.sum() for array in arrays),)

        return repeat


def test_the_first_is_called_the_second_recorded_and_all_later_ones_repeated():
    tape = Tape()
    repeated = Repeated(tape.record)
    found = [repeated("key", tape.step, np.full(2, value), np.ones(1)) for value in range(5)]
    assert found == [(2 * value + 1,) for value in range(5)]
    assert (tape.called, tape.recorded, tape.repeated) == (1, 1, 4)


def test_each_key_has_its_own():
    tape = Tape()
    repeated = Repeated(tape.record)
    for _ in range(3):
        for key in range(KEPT):
            repeated(key, tape.step, np.ones(1))
    assert (tape.called, tape.recorded, tape.repeated) == (KEPT, KEPT, 2 * KEPT)


def test_those_used_last_are_kept():
    tape = Tape()
    repeated = Repeated(tape.record)
    for key in [0, 0, *range(1, KEPT), 0, KEPT, 0]:  # key KEPT displaces key 1
        repeated(key, tape.step, np.ones(1))
    assert (tape.recorded, tape.called) == (1, KEPT + 1)
    repeated(1, tape.step, np.ones(1))
    assert tape.called == KEPT + 2


@pytest.mark.parametrize("error", [RuntimeError("the current stream is capturing"), MemoryError("full")])
def test_what_cannot_be_recorded_is_called_and_not_tried_again(error):
    tape = Tape(error)
    repeated = Repeated(tape.record)
    assert [repeated("key", tape.step, np.full(1, value)) for value in range(4)] == [(0,), (1,), (2,), (3,)]
    assert (tape.called, tape.recorded) == (4, 1)


def test_an_error_of_the_step_itself_is_raised():
    repeated = Repeated(Tape(ValueError("no such pattern")).record)
    repeated("key", Tape().step, np.ones(1))
    with pytest.raises(ValueError, match="no such pattern"):
        repeated("key", Tape().step, np.ones(1))


def test_large_arrays_and_hosts_are_not_recorded():
    tape = Tape()
    for repeated, array in ((Repeated(tape.record), np.ones(MOST_BYTES // 8 + 1)), (Repeated(None), np.ones(1))):
        for _ in range(3):
            assert repeated("key", tape.step, array) == (array.sum(),)
    assert tape.recorded == 0
