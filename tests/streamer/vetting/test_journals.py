"""What a file worker reports about journals, run in this process: their content, and their frames piece by piece."""

import numpy as np
import pytest
from stream_tools import compressed, make_frames, make_header, messages_of

from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.vetting.journals import journal_frames, read_journal
from ptylive.streamer.wire import EndMessage, FramesMessage
from ptylive.streamer.wire.armmap import arm_from_map


@pytest.fixture
def header():
    return make_header()


def written(path, header, messages):
    journal = Journal(path, header)
    for message in messages:
        journal.append(message)
    journal.close()
    return path


def all_frames(path, most_bytes):
    """Number -> frame, read in pieces; and the number of pieces."""
    got, at, pieces = {}, (0, 0), 0
    while at is not None:
        part = journal_frames(path, *at, most_bytes)
        for numbers, frames in part["batches"]:
            got |= dict(zip(np.asarray(numbers).tolist(), frames, strict=True))
        at, pieces = part["next"], pieces + 1
    return got, pieces


def test_a_journal_says_what_it_holds(tmp_path, header):
    frames = make_frames(header)
    path = written(
        tmp_path / "a.journal", header, [*messages_of(header, frames)[1:3], EndMessage(header.uid, 10, "aborted")]
    )
    said = read_journal(path)
    got, _ = arm_from_map(said["arm"], said["parts"])
    assert (got.uid, said["busy"], said["end"]) == (header.uid, False, [10, "aborted"])
    assert np.flatnonzero(np.unpackbits(said["received"], count=header.frames)).tolist() == list(range(5, 15))
    assert (said["damaged"], said["torn"], said["keep_bytes"]) == (0, 0, path.stat().st_size)


def test_a_journal_that_is_written_is_busy_and_one_that_was_cut_is_torn(tmp_path, header):
    journal = Journal(tmp_path / "a.journal", header)
    journal.append(messages_of(header, make_frames(header))[0])
    assert journal.opened.wait(60)
    assert read_journal(tmp_path / "a.journal")["busy"]
    journal.close()
    whole = (tmp_path / "a.journal").stat().st_size
    with (tmp_path / "a.journal").open("r+b") as file:
        file.truncate(whole - 3)
    said = read_journal(tmp_path / "a.journal")
    assert (said["busy"], said["end"], said["damaged"]) == (False, None, 0)
    assert said["torn"] == whole - 3 - said["keep_bytes"] > 0


@pytest.mark.parametrize(("most_bytes", "pieces"), [(2**20, 1), (8 * 8 * 2, None), (3 * 8 * 8 * 2, None)])
def test_frames_come_in_pieces_that_end_anywhere(tmp_path, header, most_bytes, pieces):
    frames = make_frames(header)
    path = written(tmp_path / "a.journal", header, messages_of(header, frames))
    got, found = all_frames(path, most_bytes)
    assert sorted(got) == list(range(header.frames))
    assert all((got[n] == frames[n]).all() for n in got)
    assert found == pieces or found > header.frames * 8 * 8 * 2 / most_bytes / 2


def test_frames_that_do_not_decode_or_belong_nowhere_are_left_out(tmp_path, header):
    frames = make_frames(header)
    parts = [compressed(frame) for frame in frames[:4]]
    parts[2] = parts[2][:-3]
    strange = [
        FramesMessage(header.uid, 0, 4, "bslz4", tuple(parts)),
        FramesMessage(header.uid, header.frames - 1, 2, "none", (frames[:2].tobytes(),)),
        FramesMessage(header.uid, 20, 1, "none", (b"too short",)),
        FramesMessage(header.uid, 30, 1, "none", (frames[30].tobytes(),)),
    ]
    got, _ = all_frames(written(tmp_path / "a.journal", header, strange), 2**20)
    assert sorted(got) == [0, 1, 3, 30]
