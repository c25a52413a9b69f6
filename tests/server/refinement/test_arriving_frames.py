"""Frames read from a journal while it is being written."""

import io
import os
import time
from dataclasses import replace

import numpy as np
import pytest
from stream_tools import make_frames, make_header, messages_of

from ptylive.schema import Basis, Calibration, InputFileError, Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.server.refinement.arriving_frames import ArrivingFrames
from ptylive.server.refinement.refine_inbox import Inbox
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.wire.messages import pack
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.wire import EndMessage


def written(journal):
    """Wait until appended data are in the file: the journal syncs in its own time."""
    give_up = time.monotonic() + 60
    size = -1
    while time.monotonic() < give_up:
        time.sleep(0.15)
        size, before = journal.path.stat().st_size, size
        if size == before:
            return


def calibration(header):
    values = {"beam_center_px": (4.0, 4.0), "rotation_deg": 0.0}
    return Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()})


def test_frames_arrive_while_the_journal_grows_and_after_it_is_gone(tmp_path):
    header = make_header()
    frames = make_frames(header)
    messages = messages_of(header, frames)
    journal = Journal(tmp_path / "a.journal", header)
    journal.append(messages[0])
    written(journal)
    with ArrivingFrames(journal.path) as arriving:
        arriving.read()
        assert arriving.share == pytest.approx(messages[0].count / header.frames)
        for message in messages[2:]:
            journal.append(message)
        journal.append(EndMessage(header.uid, header.frames, "complete"))
        journal.close()
        journal.path.unlink()
        arriving.read()
        missing = slice(messages[1].first, messages[1].first + messages[1].count)
        expected = np.ones(header.frames, bool)
        expected[missing] = False
        np.testing.assert_array_equal(arriving.received, expected)
        dataset = arriving.dataset(calibration(header), {"scan_step_A": 0.7})
    np.testing.assert_array_equal(dataset.patterns, frames[expected])
    assert np.ptp(dataset.positions_A[:, 0]) == pytest.approx(0.7 * (header.scan.shape[0] - 1))


def test_a_torn_record_is_read_once_it_is_whole(tmp_path):
    header = make_header()
    messages = messages_of(header, make_frames(header))
    journal = Journal(tmp_path / "a.journal", header)
    for message in messages:
        journal.append(message)
    journal.close()
    whole = journal.path.read_bytes()
    growing = tmp_path / "b.journal"
    growing.write_bytes(whole[: len(whole) // 2])
    with ArrivingFrames(growing) as arriving:
        arriving.read()
        assert 0 < arriving.share < 1
        with growing.open("ab") as file:
            file.write(whole[len(whole) // 2 :])
        arriving.read()
        assert arriving.share == 1


def test_coefficients_are_refused(tmp_path):
    header = replace(make_header(), basis=Basis(kind="zernike", n_bright=3, n_dark=0, of="intensity"))
    header = replace(header, arrays={"masks": np.zeros((3, 8, 8), np.float32)})
    Journal(tmp_path / "a.journal", header).close()
    with pytest.raises(InputFileError, match="coefficients"):
        ArrivingFrames(tmp_path / "a.journal")


class Pipe:
    """An object from which messages can be read."""

    def __init__(self):
        self.source, self.sink = os.pipe()

    def fileno(self):
        return self.source

    def say(self, message):
        os.write(self.sink, pack(message))


def until(condition):
    give_up = time.monotonic() + 60
    while not condition() and time.monotonic() < give_up:
        time.sleep(0.01)
    assert condition()


def test_news_of_a_scan_and_its_end(tmp_path):
    pipe = Pipe()
    inbox = Inbox(pipe)
    job = RefineJob(tmp_path / "a.h5", tmp_path / "r.h5", "run1", Preset(), Calibration(), journal=tmp_path / "j")
    pipe.say(job.to_plain())
    assert inbox.first_job() == job
    pipe.say({"calibration": calibration(None).to_plain(), "values": {"scan_step_A": 0.7}})
    until(lambda: inbox.known is not None)
    assert inbox.known.values == {"scan_step_A": 0.7}
    assert not inbox.settled
    pipe.say({"whole": replace(job, journal=None).to_plain()})
    until(lambda: inbox.whole is not None)
    assert inbox.settled
    inbox.begun.set()  # otherwise this process, which is that of the tests, would end a second after its server
    os.close(pipe.sink)  # the server is gone
    until(inbox.stop.is_set)


def test_nothing_to_read_is_the_end():
    empty = io.BytesIO()
    empty.fileno = lambda: os.open(os.devnull, os.O_RDONLY)  # type: ignore[method-assign]
    with pytest.raises(EOFError):
        Inbox(empty).first_job()
