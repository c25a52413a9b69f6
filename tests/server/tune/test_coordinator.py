"""A tuning with fake workers: what is tried, stopped, resumed, given up, and compared at the end."""

import threading
from pathlib import Path

import pytest
from quick_first import quick_first
from tuning_trials import DEFOCUS, SWEEPS, THICKNESS, tried

from ptylive.application.tuning.trials import JOURNAL, Trials
from ptylive.schema import Calibration, PtyliveError
from ptylive.schema.preset import Preset
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.tune import coordinator
from ptylive.server.tune.coordinator import SPLIT, TuneRequest, Tuning

pytest.importorskip("optuna", reason="needs the extra 'tune'")
OVER = (DEFOCUS, THICKNESS)
START = {"defocus_A": -60.0, "total_thickness_A": 140.0}
JOB = RefineJob(Path("scan.h5"), Path("results.h5"), "", Preset(), Calibration(), trials={"sweeps": SWEEPS})
ENDED = {"kind": "ended"}


class Worker:
    """Answers like :mod:`ptylive.server.refinement.trial_worker`, with known losses.

    ``dies``: numbers of trials in which it is killed the first time; ``failing``: message sent instead of being ready.
    """

    def __init__(self, job, log, dies=(), failing=""):
        self.job, self._log, self._dies, self._failing = job, log, dies, failing
        self.told, self._awake, self.over = [], threading.Condition(), False
        log.append(self)

    def messages(self):
        if self._failing:
            yield {"kind": "failed", "message": self._failing}
            return
        yield {"kind": "ready"}
        while True:
            with self._awake:
                assert self._awake.wait_for(lambda: self.told, 30)
                message = self.told.pop(0)
            if "try" in message:
                number, values = message["try"]["trial"], message["try"]["values"]
                if number in self._dies:
                    self._dies.remove(number)
                    return
                self.tried.append(message["try"])
                yield from self._trial(number, values)
            elif message.get("stop"):
                yield ENDED
                return

    def _trial(self, number, values):
        state = "done"
        for sweep, groups in tried(number, values).groups.items():
            yield {"kind": "sweep", "trial": number, "sweep": sweep, "groups": list(groups)}
            if {"prune": number} in self.told:
                self.told.remove({"prune": number})
                state = "pruned"
                break
        yield {"kind": "tried", "trial": number, "state": state, "reason": "", "seconds": 0.1}

    tried: list[dict] = []  # noqa: RUF012

    def tell(self, message):
        with self._awake:
            self.told.append(message)
            self._awake.notify_all()

    def ending(self):
        return "killed"

    def lower_priority(self):
        pass

    def end(self):
        self.over = True
        self.tell({"stop": True})


@pytest.fixture
def tuning(tmp_path, monkeypatch):
    """Runs trials in a folder, repeatedly; ``log``: the workers that were started."""
    monkeypatch.setattr(coordinator, "POLL_S", 0.01)
    monkeypatch.setattr(Worker, "tried", [])

    class Run:
        log: list[Worker] = []  # noqa: RUF012

        def trials(self):
            return Trials(tmp_path / JOURNAL, {"plan": 1}, OVER, SWEEPS, seed=0)

        def __call__(self, number, *, places=1, should_stop=lambda: False, start=START, **worker):
            self.log.clear()
            kept = self.trials()
            request = TuneRequest(OVER, number, SWEEPS, start, JOB)
            made = Tuning(request, kept, lambda job: Worker(job, self.log, **worker), lambda: places)
            found = made.run(should_stop)
            return found, kept

    return Run()


@pytest.mark.parametrize("places", quick_first([3, 1]))
def test_so_many_trials_are_made_the_start_first_and_compared_at_the_end(tuning, places):
    found, kept = tuning(14, places=places)
    assert len(found) == 14 and len({one.number for one in found}) == 14
    assert found[0].values == START and found[0].state == "done"
    assert 1 <= len(tuning.log) <= places
    assert [one["split"] for one in Worker.tried].count(SPLIT) == 2
    assert kept.confirmed["start"]["values"] == START
    assert len(kept.confirmed["best"]["groups"]) == len(kept.confirmed["start"]["groups"]) == 16
    assert sum(kept.confirmed["best"]["groups"]) < sum(kept.confirmed["start"]["groups"])


def test_bad_trials_are_told_to_end(tuning):
    found, _ = tuning(20)
    pruned = [one for one in found if one.state == "pruned"]
    assert pruned and all(max(one.groups) < SWEEPS for one in pruned)


def test_a_second_call_does_nothing_and_a_larger_one_goes_on(tuning):
    first, _ = tuning(8)
    again, _ = tuning(8)
    assert again == first and tuning.log == []
    more, _ = tuning(10)
    assert more[:8] == first and len(more) == 10


def test_a_stop_loses_no_trial_that_had_ended(tuning):
    asked = iter([False] * 12)
    stopped, _ = tuning(40, should_stop=lambda: next(asked, True))
    assert len(stopped) < 40
    done, _ = tuning(14)
    kept = [one for one in done if one.number in {each.number for each in stopped}]
    assert kept == stopped and len(done) == 14


def test_a_worker_that_is_killed_is_followed_by_another_with_the_same_trial(tuning):
    found, _ = tuning(8, start=None, dies=[3])
    assert len(tuning.log) == 2 and len(found) == 8
    assert [one.number for one in found] == list(range(8))


def test_trials_that_kill_every_worker_end_the_tuning(tuning):
    with pytest.raises(PtyliveError, match="3 processes in a row died during a trial"):
        tuning(8, dies=[0, 0, 0])
    assert len(tuning.log) == 3


def test_a_scan_that_cannot_be_tried_is_the_line_that_says_so(tuning):
    with pytest.raises(PtyliveError, match=r"scan.h5 is damaged"):
        tuning(8, failing="scan.h5 is damaged: restore it")
    assert len(tuning.log) == 1


def test_few_trials_are_not_compared(tuning):
    _, kept = tuning(4)
    assert kept.confirmed == {}
