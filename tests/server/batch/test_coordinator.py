"""A batch with fake refinements: what is done, resumed and retried, and what the table says."""

import threading
from pathlib import Path

import pytest

from ptylive.application.batch.figures import Figures
from ptylive.application.batch.rows import STATE_FILE, Row, State, read_rows, write_rows
from ptylive.application.batch.table import CSV_FILE
from ptylive.schema import PtyliveError
from ptylive.schema.files.filelock import FileBusyError, locked
from ptylive.schema.preset import Preset
from ptylive.server.batch import coordinator
from ptylive.server.batch.coordinator import Batch, BatchRequest
from ptylive.server.refinement.running_jobs import RunningJobs

DONE = {
    "kind": "ended", "state": "done", "run": "run1", "algorithm": "", "reason": "", "message": "", "problem": "",
    "backend": "cpu", "loss": 2.5, "results": "",
}  # fmt: skip


def progress(epoch: int) -> dict:
    return {"kind": "progress", "epoch": epoch, "epochs": 9, "loss": 4.0 - epoch}


class MadeUp:
    """A job whose messages are scripted by the name of its scan."""

    def __init__(self, job, says, log):
        self.job, self._says, self._log = job, says, log
        self.told, self.stopped, self.over = [], threading.Event(), False
        log.append(self)

    def messages(self):
        for message in self._says.get(self.job.recording.stem, [DONE]):
            if message == "checkpoint":
                self.job.checkpoint.write_bytes(b"state")
            elif message == "until stopped":
                assert self.stopped.wait(30)
            else:
                yield message

    def tell(self, message):
        self.told.append(message)
        self.stopped.set()

    def ending(self):
        return "the refinement process was killed (signal 9)"

    def lower_priority(self):
        pass

    def end(self):
        self.over = True
        self.stopped.set()


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """Runs scans by name; ``says``: the messages of each scan's refinement. Started jobs are in ``log``."""
    monkeypatch.setattr(coordinator.figures, "draw", lambda *_: Figures("obf", 0.75))
    monkeypatch.setattr(coordinator, "POLL_S", 0.01)

    class Run:
        log: list[MadeUp] = []  # noqa: RUF012
        out = tmp_path / "out"

        def __call__(self, names, says=None, *, places=2, should_stop=lambda: False, **request):
            scans = [tmp_path / f"{name}.h5" for name in names]
            for path in scans:
                if not path.exists():
                    path.write_bytes(b"frames")
            self.log.clear()
            asked = BatchRequest(self.out, Preset(), ("obf",), **request)
            made = Batch(asked, lambda job: MadeUp(job, says or {}, self.log), lambda: places)
            return made.run(scans, should_stop)

        def names(self):
            return sorted(job.job.recording.stem for job in self.log)

    return Run()


def test_every_scan_is_done_once_and_a_second_call_does_nothing(batch):
    rows = batch("abc", {"a": [{"kind": "remark", "message": "odd"}, progress(1), progress(9), DONE]})
    assert [row.state for row in rows] == [State.DONE] * 3
    assert (rows[0].epoch, rows[0].loss, rows[0].information_limit_A, rows[0].remarks) == (9, 2.5, 0.75, ("odd",))
    assert batch.names() == ["a", "b", "c"]
    assert batch("abc") == rows
    assert batch.log == []


def test_a_damaged_scan_fails_with_its_reason_and_the_others_go_on(batch):
    rows = batch("abc", {"b": [{"kind": "failed", "message": "b.h5 is damaged: restore it"}]})
    assert [row.state for row in rows] == [State.DONE, State.FAILED, State.DONE]
    assert (rows[1].reason, rows[1].run) == ("b.h5 is damaged: restore it", "")
    assert "b.h5 is damaged" in (batch.out / CSV_FILE).read_text(encoding="utf-8")
    assert batch("abc") == rows and batch.log == []
    assert [row.state for row in batch("abc", retry=True)] == [State.DONE] * 3
    assert batch.names() == ["b"]


def test_maps_that_are_wanted_otherwise_are_made_anew(batch):
    (first,) = batch("a", map_settings={"wdd.epsilon": 0.1}, detectors={"haadf": "lost"})
    given = batch.log[0].job
    assert (given.map_settings, given.detectors) == ({"wdd.epsilon": 0.1}, {"haadf": "lost"})
    assert batch("a", map_settings={"wdd.epsilon": 0.1}, detectors={"haadf": "lost"}) == [first] and batch.log == []
    batch("a", map_settings={"wdd.epsilon": 0.2}, detectors={"haadf": "lost"})
    assert batch.names() == ["a"]
    batch("a", map_settings={"wdd.epsilon": 0.2})
    assert batch.names() == ["a"]


def test_a_detector_drawn_on_a_page_refines_nothing_again(batch):
    """If existing maps are used, a refinement depends only on its own settings; those of a form are in the preset."""
    (first,) = batch("a", takes_maps=True, detectors={"ring": "ring:8,8,3,5"})
    moved = {"map_settings": {"wdd.epsilon": 0.1}, "detectors": {"ring": "ring:8,9,3,5"}}
    assert batch("a", takes_maps=True, **moved) == [first] and batch.log == []


def test_a_folder_of_recordings_may_be_moved_and_its_scans_keep_their_names(batch, tmp_path):
    """Like a server's recording folder: scans and results share a folder, and existing maps are used."""
    batch.out = tmp_path
    (first,) = batch("a", takes_maps=True)
    assert batch.log[0].job.takes_maps and first.results(tmp_path) == tmp_path / "a_results.h5"
    elsewhere = Row(**{**first.model_dump(), "scan": "/mnt/before/a.h5"})
    write_rows(tmp_path, [elsewhere])
    (again,) = batch("a", takes_maps=True)
    assert (again.name, again.state, batch.log) == ("a", State.DONE, [])


def test_a_refinement_that_was_killed_says_so_and_is_gone_on_with_from_its_checkpoint(batch):
    (row,) = batch("a", {"a": [progress(3), "checkpoint"]})
    assert (row.state, row.run) == (State.FAILED, "run1")
    assert "signal 9" in row.reason
    (row,) = batch("a", retry=True)
    assert (row.state, batch.log[0].job.resume, batch.log[0].job.run) == (State.DONE, True, "run1")
    assert not row.checkpoint(batch.out).exists(), "nobody needs the checkpoint of a scan that is done"


def test_a_batch_that_was_killed_goes_on_with_the_same_run(batch, monkeypatch):
    """The files on disk at that point are what the call had written while the first refinement ran."""
    seen = []
    batch("a", {"a": [progress(1), DONE]})
    monkeypatch.setattr(RunningJobs, "end", lambda self: seen.extend(read_rows(batch.out)))
    with pytest.raises(KeyboardInterrupt):
        batch("ab", {"b": ["checkpoint", "until stopped"]}, should_stop=interrupts_when(batch, "b"))
    assert [(row.name, row.state, row.run) for row in seen] == [("b", State.RUNNING, "run1")] or seen[1].run == "run1"
    batch.log[0].stopped.set()


def interrupts_when(batch, name):
    """Acts like Ctrl-C twice, once a refinement runs."""

    def asked():
        if any(job.job.recording.stem == name and job.job.checkpoint.exists() for job in batch.log):
            raise KeyboardInterrupt
        return False

    return asked


def test_what_was_asked_to_stop_is_gone_on_with_later(batch):
    says = {"a": ["checkpoint", "until stopped", {**DONE, "state": "stopped"}]}
    rows = batch("abc", says, places=1, should_stop=lambda: any(job.job.checkpoint.exists() for job in batch.log))
    assert [row.state for row in rows] == [State.STOPPED, State.WAITING, State.WAITING]
    assert batch.log[0].told == [{"stop": True}]
    rows = batch("abc")
    assert [row.state for row in rows] == [State.DONE] * 3
    assert [job.job.resume for job in batch.log if job.job.recording.stem == "a"] == [True]


def test_a_stop_while_a_refinement_fails_condemns_no_scan(batch):
    says = {"a": ["until stopped", {"kind": "failed", "message": "stopped on request before the maps were made"}]}
    (row,) = batch("a", says, should_stop=lambda: bool(batch.log))
    assert (row.state, row.reason) == (State.STOPPED, "")


def test_other_settings_are_another_refinement_of_all(batch):
    batch("a")
    (row,) = batch("a", values={"energy_eV": 80e3})
    assert (row.state, batch.names()) == (State.DONE, ["a"])
    assert not batch.log[0].job.resume


def test_no_more_at_a_time_than_there_are_places(batch):
    running, most = set(), []
    lock = threading.Lock()

    class Counted(MadeUp):
        def messages(self):
            with lock:
                running.add(self)
                most.append(len(running))
            yield from super().messages()
            with lock:
                running.discard(self)

    scans = [Path(batch.out.parent / f"{name}.h5") for name in "abcdef"]
    for path in scans:
        path.write_bytes(b"frames")
    request = BatchRequest(batch.out, Preset(), ("obf",))
    Batch(request, lambda job: Counted(job, {}, []), lambda: 2).run(scans)
    assert max(most) <= 2


def test_a_cluster_that_is_gone_ends_the_batch_and_condemns_no_scan(batch):
    gone = {"kind": "failed", "message": "the Dask scheduler has gone", "place_gone": True}
    with pytest.raises(PtyliveError, match="scheduler has gone"):
        batch("abc", {"a": [gone]}, places=1)
    assert [row.state for row in read_rows(batch.out)] == [State.STOPPED, State.WAITING, State.WAITING]


def test_a_result_that_found_no_room_is_no_success(batch):
    (row,) = batch("a", {"a": [{**DONE, "problem": "disk full; the refinement is complete in x.pending"}]})
    assert (row.state, row.reason) == (State.FAILED, "disk full; the refinement is complete in x.pending")


def test_a_scan_that_cannot_be_shown_is_done_all_the_same(batch, monkeypatch):
    def fails(*_):
        raise PtyliveError("the scale of its maps is not known")

    monkeypatch.setattr(coordinator.figures, "draw", fails)
    (row,) = batch("a")
    assert (row.state, row.remarks) == (
        State.DONE,
        ("pictures could not be drawn: the scale of its maps is not known",),
    )


def test_a_fault_of_our_own_costs_one_scan(batch):
    rows = batch("ab", {"a": [{"kind": "progress"}]}, places=1)
    assert [row.state for row in rows] == [State.FAILED, State.DONE]
    assert rows[0].reason == "the refinement failed: KeyError('epoch')"


def test_one_call_at_a_time_writes_into_a_folder(batch):
    batch.out.mkdir()
    with locked(batch.out / STATE_FILE, 0.0), pytest.raises(FileBusyError, match=r"batch\.json is being written"):
        batch("a")


def test_scans_of_earlier_calls_stay_in_the_table(batch):
    batch("a")
    batch("b")
    assert [row.name for row in read_rows(batch.out)] == ["b", "a"]
    assert "a.h5" in (batch.out / CSV_FILE).read_text(encoding="utf-8")
