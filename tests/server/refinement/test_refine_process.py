"""Files that a refinement process opens, and how it ends."""

import io
import math
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import h5py
import msgpack
import numpy as np
import pytest
from odd_files import put_loop

from ptylive.application.offline import reconstruct_file
from ptylive.application.outputs import scan_settings
from ptylive.application.presets import files_of
from ptylive.engine.backend import device
from ptylive.engine.refine.results.phase_deviation import PhaseDeviation
from ptylive.engine.refine.results.refinement_result import Preview, Progress
from ptylive.engine.simulation import first_on_gpu
from ptylive.schema import Calibration, Detector, InputFileError, Scan, ScanHeader
from ptylive.schema.errors import RefinementError, StoppedError
from ptylive.schema.plain_errors import ORPHANED
from ptylive.schema.preset import Preset
from ptylive.server.cli.commands.refine_now import refinement_words
from ptylive.server.refinement import refine_follow, refine_inbox, refine_process
from ptylive.server.refinement.job_process import NO_GPU
from ptylive.server.refinement.refine_job import RefineJob, progress_to_plain
from ptylive.server.refinement.refinements import WAITS, RunState
from ptylive.server.refinement.warm_refinement import COMPILING
from ptylive.server.wire.messages import pack
from ptylive.streamer.source import open_source
from ptylive.streamer.vetting import known_files
from ptylive.streamer.vetting.known_files import FileAdmission, known_as
from ptylive.streamer.vetting.worker import FileWorker


@pytest.fixture
def files():
    with FileWorker() as worker:
        yield worker


@pytest.fixture
def keeper(files, monkeypatch):
    monkeypatch.setattr(known_files, "_CPU_S", 0.3)  # limit for a loop that never ends
    return FileAdmission(files)


def job(folder, **values):
    return RefineJob(
        **{
            "recording": folder / "scan.h5",
            "results": folder / "scan_results.h5",
            "run": "run1",
            "preset": Preset(),
            "calibration": Calibration(),
            **values,
        }
    )


def test_files_of_a_preset():
    preset = Preset(start_object="old.h5", start_probe="probe.npy")
    assert [path.name for path in files_of(preset)] == ["old.h5"]
    assert files_of(Preset()) == []


@pytest.mark.parametrize(
    "setting",
    ["start_object", *(pytest.param(name, marks=pytest.mark.slow) for name in ("start_probe", "phase_plate_in_h5"))],
)
def test_files_that_settings_name_are_looked_through_first(tmp_path, keeper, setting):
    loop = put_loop(tmp_path)
    with pytest.raises(InputFileError, match=re.escape("loop.h5 could not be read in 0.3 s")):
        refine_process._refined(job(tmp_path, preset=Preset(**{setting: str(loop)})), None, io.BytesIO(), keeper)


def test_a_recording_that_the_server_does_not_vouch_for_is_looked_through_first(tmp_path, keeper):
    loop = put_loop(tmp_path)
    with pytest.raises(InputFileError, match=re.escape("loop.h5 could not be read in 0.3 s")):
        refine_process._refined(job(tmp_path, recording=loop), None, io.BytesIO(), keeper)


def test_what_the_server_vouches_for_travels_with_the_job(tmp_path):
    path = tmp_path / "scan.h5"
    path.write_bytes(b"frames")
    known_files.note_written(path)
    there = RefineJob.from_plain(job(tmp_path, known=known_as(path)).to_plain())
    assert there.known == known_as(path) != ()


ORPHAN = """
import sys, time
from ptylive.server.refinement import refine_inbox
refine_inbox.GRACE_S = 0.05
inbox = refine_inbox.Inbox(sys.stdin.buffer)
inbox.first_job()
if {begun}:
    inbox.begun.set()
inbox.stop.wait(60)
time.sleep({work_s})
print("written")
"""


@pytest.mark.parametrize(
    ("begun", "work_s", "status", "said"),
    [(True, 0.3, 0, b"written\n"), (False, 60, ORPHANED, b"")],
    ids=["begun: written", "nothing to keep: ended"],
)
def test_a_process_whose_server_is_gone_ends_by_itself(tmp_path, begun, work_s, status, said):
    code = ORPHAN.format(begun=begun, work_s=work_s)
    done = subprocess.run([sys.executable, "-c", code], input=pack(job(tmp_path).to_plain()), capture_output=True)
    assert (done.returncode, done.stdout) == (status, said), done.stderr


COMPILER = """
import sys, time
from ptylive.server.refinement import refine_inbox
refine_inbox.GRACE_S = 0.05
inbox = refine_inbox.Inbox(sys.stdin.buffer)
inbox.first_job()
inbox.compiling = {compiling}
print("ready", flush=True)
inbox.stop.wait(60)
time.sleep({work_s})
print("written", flush=True)
"""


@pytest.mark.parametrize(
    ("compiling", "work_s", "status", "said"),
    [(True, 60, ORPHANED, ""), (False, 0.3, 0, "written")],
    ids=["compiling: ended", "it comes to its next pause"],
)
def test_a_process_that_is_stopped_while_it_compiles_ends_at_once(tmp_path, compiling, work_s, status, said):
    """Regression: it ended when everything was compiled, which takes up to a minute."""
    code = COMPILER.format(compiling=compiling, work_s=work_s)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(pack(job(tmp_path).to_plain()))
        process.stdin.flush()
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(pack({"stop": True}))
        process.stdin.flush()
        assert process.stdout.read().decode().strip() == said  # stdin is open: the server is there
        assert process.wait() == status


def test_making_maps_first_can_be_ended_at_once(tmp_path, monkeypatch):
    inbox = SimpleNamespace(compiling=False, stop=threading.Event())
    seen = []

    def with_maps(*_):
        seen.append(inbox.compiling)
        raise StoppedError("stopped on request")

    monkeypatch.setattr(refine_process, "with_maps", with_maps)
    with pytest.raises(StoppedError):
        refine_process._run(job(tmp_path, methods=("obf",)), inbox, io.BytesIO(), None)
    assert seen == [True]


STANDBY = """
import sys
from ptylive.engine.backend import device
from ptylive.engine.simulation import first_on_gpu
from ptylive.server.refinement import refine_process
device.missing = lambda: {missing!r}
device.is_shared = lambda: {shared}
first_on_gpu.warm_up_gpu = lambda pixels: print("ready for", pixels, file=sys.stderr)
sys.exit(refine_process.main(["40"]))
"""


@pytest.mark.parametrize(
    ("missing", "shared", "ready", "pixels"),
    [("", True, True, [40]), ("none", True, False, []), ("", False, False, [])],
)
def test_a_process_gets_ready_where_there_is_a_gpu_to_share(monkeypatch, missing, shared, ready, pixels):
    warmed = []
    monkeypatch.setattr(device, "missing", lambda: missing)
    monkeypatch.setattr(device, "is_shared", lambda: shared)
    monkeypatch.setattr(first_on_gpu, "warm_up_gpu", warmed.append)
    assert (refine_process._got_ready(40), warmed) == (ready, pixels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missing", "shared", "status", "said"),
    [("", True, ORPHANED, b"ready for 40\n"), ("none", True, NO_GPU, b""), ("", False, NO_GPU, b"")],
    ids=["ready, and nobody wants it", "no GPU", "a GPU of one process"],
)
def test_a_process_gets_ready_before_it_has_a_job_where_there_is_a_gpu_to_share(missing, shared, status, said):
    code = STANDBY.format(missing=missing, shared=shared)
    done = subprocess.run([sys.executable, "-c", code], input=b"", capture_output=True)
    assert (done.returncode, done.stderr) == (status, said)


def test_a_run_on_the_first_rows_of_a_scan_is_nothing_to_keep(tmp_path, monkeypatch):
    monkeypatch.setattr(refine_process, "progress_to_plain", lambda *_: {})
    swept = Progress("running", "sweep", 1, 8, 3.0, 1.0, 7.0, 1.0)
    inbox = refine_inbox.Inbox(io.BytesIO())
    inbox.follows = True
    report = refine_process._Reports(inbox, io.BytesIO())
    report(swept)
    assert not inbox.begun.is_set()
    inbox.whole = job(tmp_path)
    report(swept)
    assert inbox.begun.is_set()


def foreign_scan(path):
    """A scan of another program: without a uid, but with everything that a refinement needs."""
    rows, cols = np.indices((16, 16)) - 7.5
    counts = np.random.default_rng(3).poisson(20.0 * (np.hypot(rows, cols) < 5), (4, 4, 16, 16)).astype(np.uint16)
    with h5py.File(path, "w") as file:
        file["data"] = counts
        values = {"energy_eV": 80e3, "convergence_semiangle_mrad": 20.0, "scan_step_A": 0.5, "rotation_deg": 0.0}
        file.create_group("metadata").attrs.update({**values, "C10": -40.0, "detector_transform": "none"})
    return path


@pytest.fixture
def foreign(tmp_path):
    """A job for such a scan, and what its results have to say about the scan."""
    path = foreign_scan(tmp_path / "scan.h5")
    with open_source(path) as source:
        told = scan_settings(source, tmp_path / "scan_results.h5")
    assert told["scan_path"] == "scan.h5" and len(told["scan_sha256"]) == 64
    return job(tmp_path, recording=path, backend="cpu", preset=Preset(num_slices=1, epoch_max=1, sweeps=1)), told


def said_in(results):
    with h5py.File(results) as file:
        return {name: value for name, value in file["settings"].attrs.items() if name.startswith("scan_")}


def test_results_say_of_which_patterns_they_are(foreign, keeper):
    asked, told = foreign
    asked = replace(asked, calibration=reconstruct_file(asked.recording, {}, ("com",)).calibration)
    ended = refine_process._refined(asked, refine_inbox.Inbox(io.BytesIO()), io.BytesIO(), keeper)
    assert ended["state"] == "done"
    assert said_in(asked.results) == told


def test_a_refinement_during_the_scan_says_so_too_and_is_not_lost_with_the_recording(foreign, keeper):
    asked, told = foreign
    assert refine_process._scan_of(asked, keeper) == told
    asked.recording.write_bytes(b"no scan")
    assert refine_process._scan_of(asked, keeper) == {"scan_file": "scan.h5", "scan_path": "scan.h5"}


def test_trials_are_told_of_in_words_and_are_nothing_to_keep(tmp_path):
    inbox, out = refine_inbox.Inbox(io.BytesIO()), io.BytesIO()
    inbox.whole = job(tmp_path)
    trial = Progress("running", "trial", 0, 1, math.nan, 1.0, math.nan, 0.0, "trying 4 probe modes")
    refine_process._Reports(inbox, out)(trial)
    assert msgpack.unpackb(out.getvalue()) == {"kind": "trial", "message": "trying 4 probe modes"}
    assert not inbox.begun.is_set()


def test_the_first_trial_leaves_the_word_to_the_compiler():
    inbox, out = refine_inbox.Inbox(io.BytesIO()), io.BytesIO()
    inbox.compiling = True
    report = refine_process._Reports(inbox, out)
    for words in ("trying 1 probe mode", "trying 4 probe modes"):
        report(Progress("running", "trial", 0, 1, math.nan, 1.0, math.nan, 0.0, words))
    assert list(msgpack.Unpacker(io.BytesIO(out.getvalue()))) == [{"kind": "trial", "message": "trying 4 probe modes"}]


@pytest.mark.parametrize(
    ("compiled", "backend", "told"),
    [(False, "auto", [{"kind": "note", "message": COMPILING}]), (True, "auto", []), (False, "gpu", [])],
)
def test_the_first_refinement_on_a_machine_says_that_it_compiles(tmp_path, monkeypatch, compiled, backend, told):
    monkeypatch.setattr(refine_process, "is_compiled", lambda pixels: compiled)
    out = io.BytesIO()
    header = ScanHeader(uid="a", series="s", frames=16, scan=Scan(shape=(4, 4)), detector=Detector(shape=(8, 8)))
    assert refine_process._tell_of_compiling(header, job(tmp_path, backend=backend), out) is bool(told)
    unpacker = msgpack.Unpacker(io.BytesIO(out.getvalue()), raw=False)
    assert list(unpacker) == told


def test_status_says_what_a_queued_refinement_waits_for():
    waiting = RunState(state="queued", message=WAITS)
    assert waiting.summary()["message"] == WAITS
    assert waiting.summary("compiling the live maps")["message"] == "compiling the live maps"
    assert RunState(state="queued", message="starting").summary("compiling")["message"] == "starting"
    assert refinement_words(waiting.summary("compiling")) == "refinement queued: compiling"
    assert refinement_words(RunState(state="running", message="one slice").summary()) == "refinement running"


@pytest.mark.parametrize("bound", [False, True])
def test_a_step_says_how_sure_its_picture_is_and_whether_that_is_a_bound(bound):
    phase, deviation = np.zeros((4, 5), np.float32), PhaseDeviation(np.ones((4, 5), np.float32), 0.25, 9, bound)
    seen = Preview(phase, phase[None], np.zeros((1, 3, 3), np.complex64), 0.2, deviation)
    plain = progress_to_plain(Progress("done", "lbfgs", 2, 2, 1.0, 1.0, 0.0, 2.0, preview=lambda: seen))
    assert (plain["object"]["deviation"], plain["object"]["deviation_is_lower_bound"]) == (0.25, bound)


@pytest.mark.parametrize(("error", "stopped"), [(StoppedError("stopped"), True), (RefinementError("broken"), False)])
def test_a_stop_is_told_apart_from_a_failure(tmp_path, monkeypatch, error, stopped):
    sent = []

    def refined(*_):
        raise error

    monkeypatch.setattr(refine_process, "_refined", refined)
    monkeypatch.setattr(refine_process, "_send", lambda _out, message: sent.append(message))
    monkeypatch.setattr(refine_process, "keep_freed_memory", lambda: None)
    monkeypatch.setattr(refine_process, "say_unraisable_in_a_line", lambda _: None)
    monkeypatch.setattr(refine_process.os, "dup", lambda _: os.open(os.devnull, os.O_WRONLY))
    monkeypatch.setattr(refine_process.os, "dup2", lambda *_: None)
    inbox = SimpleNamespace(first_job=lambda: job(tmp_path))
    monkeypatch.setattr(refine_process, "Inbox", lambda _: inbox)
    assert refine_process.main([]) == 1
    assert sent == [{"kind": "failed", "message": str(error), "stopped": stopped}]


@pytest.mark.parametrize(("stops", "state"), [(True, "stopped"), (False, None)])
def test_a_run_that_was_stopped_before_its_scan_failed_was_stopped(monkeypatch, stops, state):
    """Regression: stopped while it compiled, it ended after the scan, without maps, and in red."""
    monkeypatch.setattr(refine_follow, "rounds_until_the_end", lambda *_a: None)
    stop = threading.Event()
    if stops:
        stop.set()
    inbox = SimpleNamespace(stop=stop, problem="the scan has no maps to start from", follows=True)
    job = SimpleNamespace(preset=Preset(), backend="cpu", threads=1)
    message = refine_process._follow(job, inbox, io.BytesIO(), None)
    assert (message["kind"], message.get("state")) == ("ended" if stops else "failed", state)
