"""The process that opens untrusted files: one bad file costs only that file, whatever it does to its reader."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest
from odd_files import fill_with_odd_things, put_loop
from stream_tools import make_frames, make_header, stored_recording

from ptylive.schema import InputFileError
from ptylive.streamer.source import open_recording
from ptylive.streamer.vetting import process
from ptylive.streamer.vetting import worker as worker_module
from ptylive.streamer.vetting.tasks import describe_recording, frames, walk
from ptylive.streamer.vetting.worker import FileWorker, Limits
from ptylive.streamer.wire.armmap import arm_from_map

GIVEN_UP = r"could not be read in (0\.4 s of computing|30 s)"
"""The second limit applies if other programs leave it less than a seventieth of a processor."""


@pytest.fixture(scope="module")
def worker():
    with FileWorker(Limits(cpu_s=0.4)) as started:
        yield started


def test_a_recording_is_described_as_it_is(tmp_path, worker):
    header = make_header()
    path = stored_recording(tmp_path, header, make_frames(header), missing=slice(3, 7))
    said = worker.read(describe_recording, path)
    described, problems = arm_from_map(said["arm"], said["parts"])
    with open_recording(path) as source:
        assert described == source.header
        assert not problems
        assert np.array_equal(np.unpackbits(said["received"])[: header.frames] > 0, source.received)


def test_a_process_that_was_prepared_does_the_first_task(tmp_path):
    path = stored_recording(tmp_path, make_header(), make_frames(make_header()))
    with FileWorker() as prepared:
        prepared.prepare()
        begun = prepared.process_id
        assert begun is not None
        prepared.read(describe_recording, path)
        assert prepared.process_id == begun


def test_a_process_that_cannot_be_prepared_is_reported_by_the_first_task(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_module.sys, "executable", str(tmp_path / "no python"))
    path = stored_recording(tmp_path, make_header(), make_frames(make_header()))
    with FileWorker() as broken:
        broken.prepare()
        with pytest.raises(InputFileError, match="the process that reads files does not start"):
            broken.read(describe_recording, path)


def test_frames_come_through(tmp_path, worker):
    header = make_header()
    stored = make_frames(header)
    path = stored_recording(tmp_path, header, stored, missing=slice(3, 7))
    found, number = {}, 0
    while number is not None:
        part = worker.read(frames, path, first=number, most_bytes=5 * stored[0].nbytes)
        found.update(zip(part["index"].tolist(), part["frames"], strict=True))
        number = part["next"]
    assert sorted(found) == [k for k in range(header.frames) if not 3 <= k < 7]
    assert all(np.array_equal(found[k], stored[k]) for k in found)


def test_a_file_that_is_read_for_ever_is_given_up_and_not_opened_again(tmp_path, worker):
    loop = put_loop(tmp_path)
    header = make_header()
    good = stored_recording(tmp_path, header, make_frames(header))
    with pytest.raises(InputFileError, match=GIVEN_UP):
        worker.read(describe_recording, loop)
    assert worker.read(describe_recording, good)["arm"]["uid"] == header.uid
    process = worker.process_id
    with pytest.raises(InputFileError, match=GIVEN_UP):
        worker.read(walk, loop)
    assert worker.process_id == process, "the file was opened again"
    loop.write_bytes(good.read_bytes())
    assert worker.read(describe_recording, loop)["arm"]["uid"] == header.uid


def test_no_files_time_is_spent_on_imports(monkeypatch):
    """A busy machine may need longer for them than a file may be read, which would condemn the file."""
    running = {}

    def find(name):
        running["import"] = signal.getitimer(signal.ITIMER_PROF)[0]
        return lambda path: signal.getitimer(signal.ITIMER_PROF)[0]

    monkeypatch.setattr(process, "_function", find)
    request = {"task": "ptylive.x:y", "path": "a.h5", "cpu_s": 3.0, "wall_s": 30.0, "arguments": {}}
    assert process._answer(request, 2**30)["value"] > 0
    assert running["import"] == 0


def test_odd_things_are_refused_by_name(tmp_path, worker):
    for name in fill_with_odd_things(tmp_path):
        with pytest.raises(InputFileError, match=name):
            worker.read(describe_recording, tmp_path / name)


def test_a_name_that_is_no_unicode_is_a_name(tmp_path, worker):
    header = make_header()
    good = stored_recording(tmp_path, header, make_frames(header))
    odd = good.rename(os.fsdecode(os.fsencode(tmp_path) + b"/scan\xff.h5"))
    assert worker.read(describe_recording, odd)["arm"]["uid"] == header.uid
    odd.write_text("this is no recording")
    with pytest.raises(InputFileError, match="scan\udcff"):
        worker.read(describe_recording, odd)


def test_functions_of_others_are_no_tasks(tmp_path, worker):
    path = tmp_path / "there"
    path.touch()
    with pytest.raises(InputFileError, match="is not a task"):
        worker.read(os.path.exists, path)


def test_memory_is_bounded(tmp_path):
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        side = 2**14  # 2 GiB: four times the limit, but no more than a machine has
        file.create_dataset("data", (1, 1, side, side), np.uint8, chunks=(1, 1, 64, 64))
        file.create_dataset("metadata/vacuum_pattern", (side, side), np.float64, chunks=(64, 64))
    with FileWorker(Limits(memory_bytes=2**29)) as worker, pytest.raises(InputFileError, match="in 512 MiB"):
        worker.read(describe_recording, path)


def test_a_worker_killed_by_somebody_else_costs_nothing(tmp_path, worker):
    header = make_header()
    path = stored_recording(tmp_path, header, make_frames(header))
    worker.read(walk, path)
    os.kill(worker.process_id, signal.SIGKILL)
    assert worker.read(describe_recording, path)["arm"]["uid"] == header.uid


def test_it_does_not_outlive_its_parent(tmp_path):
    code = (
        "import sys, threading\nfrom pathlib import Path\n"
        "from ptylive.streamer.vetting.worker import FileWorker\nfrom ptylive.streamer.vetting.tasks import walk\n"
        "worker = FileWorker()\n"
        "threading.Thread(target=worker.read, args=(walk, Path(sys.argv[1])), daemon=True).start()\n"
        "while worker.process_id is None: pass\n"
        "print(worker.process_id, flush=True)\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(put_loop(tmp_path))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        give_up = time.monotonic() + 60
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < give_up, "the worker lives on"
            time.sleep(0.05)


class Deaf:
    """A process that accepts what it is sent and never answers."""

    returncode, pid = 0, 1

    def __init__(self):
        self.stdin, self.killed = io.BytesIO(), False

    def poll(self):
        return None

    def kill(self):
        self.killed = True


@pytest.fixture
def deaf(monkeypatch):
    """A worker with such a process, without waiting for its answer."""
    made = FileWorker()
    made._process = Deaf()

    def silent(_process, _patience_s):
        raise EOFError

    monkeypatch.setattr(made, "_next", silent)
    monkeypatch.setattr(made, "_end", lambda: None)
    monkeypatch.setattr(worker_module, "_GRACE_S", 0.0)
    return made


def test_closed_while_it_reads_it_kills_and_starts_no_other(tmp_path, deaf):
    (tmp_path / "a.h5").touch()
    with deaf._lock:
        deaf.close()
    assert deaf._process.killed
    with pytest.raises(InputFileError, match="the process that reads it was killed"):
        deaf.read(describe_recording, tmp_path / "a.h5")


def test_closed_before_it_has_a_process_nothing_is_killed(deaf):
    deaf._process = None
    with deaf._lock:
        deaf.close()
    assert not deaf._closed


def test_a_disk_that_is_waited_for_too_long_condemns_no_file(tmp_path, deaf):
    (tmp_path / "a.h5").touch()
    with pytest.raises(InputFileError, match=r"could not be read in 0 s") as caught:
        deaf.read(describe_recording, tmp_path / "a.h5", Limits(wall_s=0.0))
    assert "is its disk connected?" in caught.value.line()
    assert not deaf._condemned


def test_condemned_files_of_long_ago_are_tried_again(tmp_path, deaf, monkeypatch):
    monkeypatch.setattr(worker_module, "_MOST_REMEMBERED", 2)
    for name in "abc":
        deaf._condemn(tmp_path / name, (0, 0, 0), Limits(), -signal.SIGSEGV)
    assert [Path(name).name for name in deaf._condemned] == ["b", "c"]
