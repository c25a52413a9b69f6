"""Frames wait in the ring while their code is compiled in another process; the server keeps answering."""

import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from running import server

from ptylive.schema import CodedFrames, Detector, EventBatch, EventFrames, FrameBatch, Scan, ScanHeader
from ptylive.schema.basis import Basis
from ptylive.server.process.compilation import Compilation, CompiledReader, pieces_for
from ptylive.simulators.data import bundled
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.events import ArmEvent, EndEvent, ScanSummary
from ptylive.streamer.ring import Ring

HEADER = ScanHeader("one", "one", 4, Scan(shape=(2, 2)), detector=Detector(shape=(4, 4)))
BATCH = FrameBatch("one", np.arange(4), np.zeros((4, 4, 4), np.uint16))
END = EndEvent("one", "complete", ScanSummary(4, 4, 0, 0, 0, 1.0))


class ByHand(Compilation):
    """Compiles nothing; the test says what has been compiled."""

    def _ask(self, pieces):
        pass


@pytest.fixture
def reading():
    ring, compilation = Ring(), ByHand()
    reader = CompiledReader(ring.reader(), compilation)
    for item in (ArmEvent(HEADER), BATCH, END):
        ring.put(item)
    ring.close()
    return reader, compilation


CODED = FrameBatch("one", np.arange(4), BATCH.frames, CodedFrames(np.zeros(1, np.uint8), np.ones(4, int), 1, 1))
EVENTS = EventBatch("one", np.arange(4), EventFrames(np.zeros(4, int), *np.zeros((2, 0), np.uint32), (4, 4)))


def test_what_a_scan_needs():
    assert pieces_for(HEADER) == pieces_for(HEADER, BATCH) == {"maps", "frames_u2"}
    assert pieces_for(HEADER, CODED) == {"maps", "frames_u2", "coded_u2"}
    assert pieces_for(HEADER, EVENTS) == {"maps", "frames_u2", "events_u2"}
    assert pieces_for(replace(HEADER, basis=Basis(kind="zernike", n_bright=3)), BATCH) == {"maps", "vectors"}


def test_frames_in_another_form_wait_for_its_code_too(reading):
    reader, compilation = reading
    reader.take(0.01)
    compilation._settle(("maps", "frames_u2"))
    assert reader.take(0.01) is BATCH
    reader._held = CODED
    assert reader.take(0.01) is None
    compilation._settle(("coded_u2",))
    assert reader.take(0.01) is CODED


def test_frames_wait_for_their_code(reading):
    reader, compilation = reading
    assert isinstance(reader.take(0.01), ArmEvent)
    assert reader.take(0.01) is None
    assert compilation.word.startswith("compiling")
    assert not reader.finished
    compilation._settle(("maps", "frames_u2"))
    assert reader.take(0.01) is BATCH
    assert compilation.word == ""
    assert reader.take(0.01) is END
    assert reader.finished


def test_a_server_that_stops_waits_for_no_compiler(reading):
    reader, compilation = reading
    reader.take(0.01)
    assert reader.take(0.01) is None
    compilation.close()
    items = []
    while not reader.finished:
        items.append(reader.take(0.01))
    assert [item for item in items if item is not None] == [END]


@pytest.fixture
def marks(monkeypatch, tmp_path):
    """A folder for the marks of compiled code. What this process itself compiles goes to the usual place."""
    monkeypatch.setattr("ptylive.server.process.compilation.compiled_mark", tmp_path.joinpath)
    return tmp_path


@pytest.mark.usefixtures("marks")
def test_where_the_compiling_process_dies_it_is_compiled_here(monkeypatch):
    made = []
    monkeypatch.setattr("ptylive.server.process.compilation.sys.executable", "/bin/false")
    monkeypatch.setattr("ptylive.server.process.compilation._compile", made.append)
    compilation = Compilation()
    assert compilation.wait(frozenset(("frames_u2",)), lambda: False)
    assert made == ["frames_u2"]
    compilation.close()


def test_what_is_compiled_is_loaded_before_it_counts_as_there(monkeypatch, marks):
    loading, go_on = threading.Event(), threading.Event()

    def load(_piece):
        loading.set()
        go_on.wait(30)

    monkeypatch.setattr("ptylive.server.process.compilation._compile", load)
    (marks / "frames_u2").touch()
    compilation, needed = Compilation(), frozenset(("frames_u2",))
    assert not compilation.has(needed)
    assert loading.wait(30)
    assert not compilation.has(needed)
    go_on.set()
    assert compilation.wait(needed, lambda: False)
    compilation.close()


@pytest.mark.slow
def test_the_first_scan_of_a_machine_is_received_mapped_and_told_of(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    with server(tmp_path) as running:
        settings = ReplaySettings(to=running.data, rate=1000.0)
        thread = threading.Thread(target=replay, args=(bundled("mos2_svac_80kV_focus"), settings))
        thread.start()
        status = running.wait_for(lambda s: "compiling" in s["message"])
        assert status["state"] in ("armed", "scanning", "complete", "finishing")
        status = running.wait_for_results()
        thread.join()
        assert (status["frames"], status["lost"]) == (4096, 0)
    left = [p for p in Path("/proc").iterdir() if p.name.isdigit() and _is_compiler(p)]
    assert not left


def _is_compiler(process: Path) -> bool:
    try:
        told = (process / "cmdline").read_bytes()
        where = (process / "environ").read_bytes()
    except OSError:
        return False
    return b"ptylive.server.process.compilation" in told and str(os.environ["NUMBA_CACHE_DIR"]).encode() in where
