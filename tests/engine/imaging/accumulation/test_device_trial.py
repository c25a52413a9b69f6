"""CPU and device take batches in turn until the faster one is known."""

import pytest

from ptylive.engine.imaging.accumulation import device_trial
from ptylive.engine.imaging.accumulation.device_trial import ROUNDS, DeviceTrial


@pytest.mark.parametrize(("seconds", "faster"), [({"gpu": 1.0, "cpu": 2.0}, "gpu"), ({"gpu": 2.0, "cpu": 1.0}, "cpu")])
def test_the_faster_side_by_the_frame_without_its_first_batch(monkeypatch, seconds, faster):
    now = [0.0]
    monkeypatch.setattr(device_trial, "perf_counter", lambda: now[0])
    trial, turns = DeviceTrial(), []
    while not trial.decided:
        turns.append(side := trial.turn)
        first = turns.count(side) == 1
        with trial.timed(side, 10 if side == "gpu" else 20):
            now[0] += (100 if first and side == faster else seconds[side]) * (1 if side == "gpu" else 2)
    assert turns == ["gpu", "cpu"] * ROUNDS
    assert trial.turn == faster
    if faster == "cpu":
        assert trial.words == "faster here: 100000.0 µs a frame, 200000.0 on the GPU"


def test_batches_of_no_frames_tell_nothing():
    trial = DeviceTrial()
    for _ in range(10):
        with trial.timed("gpu", 0):
            pass
    assert trial.turn == "gpu"
    assert not trial.decided
