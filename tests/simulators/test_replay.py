"""Replaying: the file's content arrives at the requested rate, whatever happens to the server meanwhile."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
import zmq
from quick_first import quick_first
from replay_tools import control_of, native
from shared_data import shared_data
from stream_tools import digests_of_file, make_frames, make_header, messages_of, running

from ptylive.schema import InputFileError, MetadataError, ServerGoneError
from ptylive.simulators.data import BUNDLED, bundled
from ptylive.simulators.faults import Faults
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.simulators.sender import Sender, SendPatience
from ptylive.streamer.receiver import Receiver
from ptylive.streamer.recording.journal import Journal
from ptylive.streamer.recording.recording_writer import record
from ptylive.streamer.source import open_source


@pytest.mark.data
@pytest.mark.parametrize("name", quick_first(["tiny_mos2_80kV_focus", "rotavirus_300kV_cryo_west"]))
def test_a_file_arrives_frame_by_frame_and_is_recorded_identically(tmp_path: Path, name: str) -> None:
    path = shared_data(name)
    wanted = digests_of_file(path)
    with running(tmp_path) as run:
        report = replay(path, ReplaySettings(to=run.address))
        run.wait_for_state("complete", timeout_s=60)
        status = run.receiver.status()
        assert report.frames == len(wanted) == status.frames
        assert (status.lost, status.duplicates, status.rejected) == (0, 0, {})
        assert run.frames[report.uids[0]] == wanted
        assert digests_of_file(Path(status.recording)) == wanted
        with open_source(path) as source, open_source(Path(status.recording)) as copy:
            assert copy.header.scan == source.header.scan
            assert copy.header.optics == source.header.optics
            assert copy.header.detector == source.header.detector


@pytest.mark.slow
def test_shuffled_repeated_and_lost_messages(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5")
    wanted = digests_of_file(path)
    faults = Faults(seed=3, shuffle=40, duplicate=0.2, loss=0.01)
    with running(tmp_path / "out", idle_timeout_s=1.0) as run:
        report = replay(path, ReplaySettings(to=run.address, batch=1, faults=faults))
        run.wait_for_state("incomplete")
        status = run.receiver.status()
        got = run.frames[report.uids[0]]
        assert 0 < status.lost < 20
        assert status.late > 100
        assert 40 < status.duplicates < 120
        assert len(got) == 400 - status.lost
        assert got.items() <= wanted.items()
        assert digests_of_file(Path(status.recording)) == got


def test_loops_are_scans_of_their_own_and_progress_is_reported(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5")
    seen: list[tuple[int, int]] = []
    with running() as run:
        report = replay(path, ReplaySettings(to=run.address, loops=3), lambda sent, total: seen.append((sent, total)))
        ends = run.wait_for_ends(3)
    assert report.frames == 1200
    assert tuple(end.uid for end in ends) == report.uids
    assert {end.reason for end in ends} == {"complete"}
    assert seen[-1] == (1200, 1200)


def test_patterns_of_no_known_scan_are_sent_and_said_to_give_no_maps(tmp_path: Path) -> None:
    """Regression: nothing was said of a list of patterns, of which the server makes no maps."""
    np.save(tmp_path / "list.npy", np.ones((60, 8, 8), np.uint16))
    with running() as run:
        bare = replay(tmp_path / "list.npy", ReplaySettings(to=run.address))
        told = replay(tmp_path / "list.npy", ReplaySettings(to=run.address, values={"scan_shape": (6, 10)}))
    (line,) = bare.doubts
    assert line.startswith("scan list has no scan_shape") and line.endswith("--set scan_shape=ROWS,COLUMNS")
    assert told.doubts == ()


def test_the_rate_is_kept(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5", dwell_time_us=1000.0)
    with running() as run:
        for rate in (1000.0, "recorded"):
            report = replay(path, ReplaySettings(to=run.address, rate=rate))  # type: ignore[arg-type]
            assert report.seconds > 0.3  # 400 patterns at 1000 a second, less the head start of the first batches
    with running() as run, pytest.raises(MetadataError, match="dwell_time_us"):
        replay(native(tmp_path / "b.h5"), ReplaySettings(to=run.address, rate="recorded"))


def test_stored_chunks_are_sent_as_they_are(tmp_path: Path) -> None:
    header = make_header()
    frames = make_frames(header)
    journal = Journal(tmp_path / "a.journal", header)
    for message in messages_of(header, frames):
        journal.append(message)
    journal.close()
    record(tmp_path / "a.journal", tmp_path / "a.h5")
    with running(tmp_path / "out") as run:
        replay(tmp_path / "a.h5", ReplaySettings(to=run.address, codec="bslz4"))
        run.wait_for_state("complete")
        with open_source(tmp_path / "a.h5") as one, open_source(Path(run.receiver.status().recording)) as two:
            assert [one.stored_pattern(k) for k in range(42)] == [two.stored_pattern(k) for k in range(42)]


def test_patterns_that_are_not_stored_so_are_compressed_on_the_way(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5")
    with running() as run:
        report = replay(path, ReplaySettings(to=run.address, codec="bslz4"))
        run.wait_for_state("complete")
        assert run.frames[report.uids[0]] == digests_of_file(path)


def test_what_is_lost_on_the_way_is_sent_again(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5")
    with running(tmp_path / "out") as run, control_of(run.receiver.safe_ranges) as control:
        faults = Faults(seed=4, loss=0.3)
        report = replay(path, ReplaySettings(to=run.address, control=control, batch=4, faults=faults))
        run.wait_for_state("complete")
        assert report.resent > 0
        assert run.receiver.status().lost == 0
        assert run.frames[report.uids[0]] == digests_of_file(path)


def test_a_server_restarted_during_the_scan_gets_all_of_it(tmp_path: Path) -> None:
    path = native(tmp_path / "a.h5")
    wanted = digests_of_file(path)
    servers: list[Receiver] = []
    reports = []

    def safe_ranges(uid: str) -> list[tuple[int, int]]:
        return servers[-1].safe_ranges(uid) if servers else []

    with control_of(safe_ranges) as control:
        with running(tmp_path / "one") as first:
            address = first.address
            servers.append(first.receiver)
            settings = ReplaySettings(to=address, control=control, rate=400.0, batch=4)
            sending = threading.Thread(target=lambda: reports.append(replay(path, settings)))
            sending.start()
            first.wait(lambda: first.receiver.status().frames > 100)
            uid = first.arms()[0].header.uid
            first.wait(lambda: bool(first.receiver.safe_ranges(uid)))  # a separate thread writes the journal
            (journal,) = (tmp_path / "one").glob("*.journal")
            crashed = journal.read_bytes()  # as kill -9 would leave it; the running server still holds the original
        folder = tmp_path / "two"
        folder.mkdir()
        (folder / journal.name).write_bytes(crashed)
        with running(folder, data=address) as second:
            servers.append(second.receiver)
            sending.join(60)
            assert not sending.is_alive()
            second.wait_for_state("complete")
            assert second.arms()[0].resumed
            assert second.receiver.status().lost == 0
            assert second.frames[reports[0].uids[0]] == wanted
            assert digests_of_file(Path(second.receiver.status().recording)) == wanted


def test_without_a_server_it_gives_up_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(ServerGoneError) as caught:
        replay(native(tmp_path / "a.h5"), ReplaySettings(to="tcp://127.0.0.1:9", timeout_s=0.5))
    assert "no server takes data at tcp://127.0.0.1:9" in caught.value.line()


def test_without_a_control_socket_it_gives_up_with_one_line(tmp_path: Path) -> None:
    settings = {"control": "tcp://127.0.0.1:9", "safe_timeout_s": 0.5}
    with running() as run, pytest.raises(ServerGoneError) as caught:
        replay(native(tmp_path / "a.h5"), ReplaySettings(to=run.address, **settings))  # type: ignore[arg-type]
    assert "no server answers at tcp://127.0.0.1:9" in caught.value.line()


def test_frames_that_never_become_safe_are_an_error(tmp_path: Path) -> None:
    with running() as run, control_of(lambda uid: [(0, 10)]) as control, pytest.raises(ServerGoneError) as caught:
        replay(native(tmp_path / "a.h5"), ReplaySettings(to=run.address, control=control, safe_timeout_s=1.0))
    assert "390 of 400 frames did not become safe" in caught.value.line()
    assert caught.value.hint == "is the server's disk full?"


def test_a_server_that_cannot_record_says_why(tmp_path: Path) -> None:
    """Regression: of a folder that had become read-only, the sender asked whether the disk was full."""
    why = "/data: Read-only file system"
    settings = {"safe_timeout_s": 0.5}
    with running() as run, control_of(lambda uid: [], trouble=why) as control, pytest.raises(ServerGoneError) as caught:
        replay(native(tmp_path / "a.h5"), ReplaySettings(to=run.address, control=control, **settings))  # type: ignore[arg-type]
    assert caught.value.line().endswith(f": {why}")


def test_a_server_that_dies_while_the_last_messages_leave_does_not_hang_the_sender() -> None:
    context = zmq.Context()
    deaf = context.socket(zmq.PULL)
    deaf.rcvhwm = 1
    deaf.rcvbuf = 2**16
    port = deaf.bind_to_random_port("tcp://127.0.0.1")
    header = make_header((10, 10), pixels=(512, 512))
    (message,) = messages_of(header, make_frames(header)[:10], batch=10)
    killer = threading.Timer(0.7, lambda: context.destroy(linger=0))
    sender = Sender(f"tcp://127.0.0.1:{port}", SendPatience(first_s=1.0, away_s=1.0, stalled_s=200.0))
    sender.arm(header)
    for _ in range(6):
        sender.frames(message)
    started = time.monotonic()
    killer.start()
    sender.close()
    # it waited for the server that was still there, but not as long as for one that is stalled
    assert 0.3 < time.monotonic() - started < 200
    killer.join()


@pytest.mark.parametrize("settings", [ReplaySettings(rate=-1.0), ReplaySettings(batch=0), ReplaySettings(to="here")])
def test_impossible_settings_are_refused(tmp_path: Path, settings: ReplaySettings) -> None:
    with pytest.raises((MetadataError, ServerGoneError)):
        replay(native(tmp_path / "a.h5"), settings)


def test_bundled_data_sets_are_there() -> None:
    for name in BUNDLED:
        with open_source(bundled(name)) as source:
            assert source.header.optics.energy_eV is not None
    with pytest.raises(InputFileError, match="no bundled data set"):
        bundled("something else")


def test_faults_are_repeatable_and_lose_nothing_unless_told() -> None:
    header = make_header()
    messages = messages_of(header, make_frames(header), batch=1)
    shuffled = list(Faults(seed=1, shuffle=10).apply(messages))
    assert shuffled != messages
    assert sorted(message.first for message in shuffled) == list(range(42))
    assert shuffled == list(Faults(seed=1, shuffle=10).apply(messages))
    assert list(Faults().apply(messages)) == messages
    assert len(list(Faults(seed=1, duplicate=1.0).apply(messages))) == 84
