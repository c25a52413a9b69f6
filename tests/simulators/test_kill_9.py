"""kill -9 again and again, of the server or the sender: acknowledged frames survive, and the scan ends complete."""

import json
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np
import pytest
from replay_tools import control_of
from stream_tools import digest, digests_of_file, running

from ptylive.schema.model import Array
from ptylive.server.cli.commands.demo import free_addresses
from ptylive.simulators.replay import ReplaySettings, replay
from ptylive.streamer.recording.recovery import journals, remove_never_begun
from ptylive.streamer.storage.journal_reader import JournalReader
from ptylive.streamer.wire import FrameLayout, decode_frames

CHILD = Path(__file__).with_name("acknowledging_server.py")
UID = "0f7c3d1e-kills"
LIFE_S = (0.02, 0.45)
"""How long a server lives once it listens, or has acknowledged something."""
LONGEST_LIFE_S = 5.0


def scan_file(path: Path, side: int) -> tuple[Path, Array]:
    frames = np.random.default_rng(2).poisson(3, (side, side, 24, 24)).astype("<u2")
    with h5py.File(path, "w") as file:
        file["data"] = frames
    return path, frames.reshape(-1, 24, 24)


class Sending(threading.Thread):
    """A listening sender that sends one scan after the other until told to stop."""

    def __init__(self, path: Path, data: str, control: str) -> None:
        super().__init__(daemon=True)  # a failed test must not leave it sending for good
        self.path, self.data, self.control = path, data, control
        self.last = threading.Event()
        self.uids: list[str] = []
        self.problem: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            while not self.last.is_set():
                self.uids.append(str(uuid.uuid4()))
                replay(
                    self.path,
                    ReplaySettings(
                        to=self.data,
                        control=self.control,
                        uid=self.uids[-1],
                        batch=4,
                        rate=4000.0,
                        timeout_s=60.0,
                        safe_timeout_s=600.0,
                    ),
                )
        except Exception as error:
            self.problem = error


@contextmanager
def child(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen([sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def one_life(folder: Path, data: str, control: str, loop: str, seconds: float, *, early: bool) -> dict[str, set[int]]:
    """Start a server, kill -9 it after a while; return which frames of which scans it had last acknowledged.

    ``early``: the while begins when the server is ready and still reads what its predecessor left; otherwise when it
    first acknowledges something.
    """
    with child(CHILD, folder, data, control, loop) as server:
        assert server.stdout is not None
        assert json.loads(server.stdout.readline())["ready"]
        killer, latest = threading.Timer(seconds, server.kill), threading.Timer(LONGEST_LIFE_S, server.kill)
        latest.start()
        said = []
        if early:
            killer.start()
        for line in server.stdout:
            if line.endswith("\n"):
                said.append(json.loads(line))
                if said[-1]["safe"] and killer.ident is None:
                    killer.start()
        for timer in (killer, latest):
            timer.cancel()
    return {word["uid"]: {n for first, last in word["safe"] for n in range(first, last)} for word in said}


def recovered(folder: Path, uids: Iterable[str]) -> dict[str, dict[int, bytes]]:
    """SHA-256 of every frame of some scans that the next start would find, in journals and recordings.

    The next start removes empty journals: the server was killed before it wrote what scan they are of.
    """
    found: dict[str, dict[int, bytes]] = {uid: {} for uid in uids}
    remove_never_begun(folder)
    for path in journals(folder):
        with suppress(FileNotFoundError), JournalReader(path) as reader:  # a killed server's recorder is done
            seen = found.get(reader.header.uid, {})
            for message in reader.messages():
                frames, good, _ = decode_frames(message, FrameLayout.of(reader.header))
                seen.update({message.first + int(n): digest(frames[n]) for n in np.flatnonzero(good)})
    for path in folder.glob("*.h5"):
        with h5py.File(path) as file:
            uid = file["metadata"].attrs["uid"]
        if uid in found:
            found[uid].update(digests_of_file(path))
    return found


def killed_again_and_again(folder: Path, kills: int, seed: int) -> int:
    """Scans during which the server is killed n times; return how many acknowledged frames were checked."""
    path, frames = scan_file(folder / "scan.h5", 40)
    recordings = folder / "recordings"
    recordings.mkdir()
    data, control = free_addresses()
    chance = random.Random(seed)
    wanted = {number: digest(frame) for number, frame in enumerate(frames)}
    sending, tested = Sending(path, data, control), 0
    for number in range(kills):
        loop = "compiled" if number % 5 == 4 else "plain"
        safe = one_life(recordings, data, control, loop, chance.uniform(*LIFE_S), early=number % 4 == 3)
        found = recovered(recordings, safe)
        for uid, numbers in safe.items():
            assert numbers <= found[uid].keys(), f"seed {seed}, kill {number}: an acknowledged frame of {uid} is gone"
            assert found[uid].items() <= wanted.items(), "a torn frame was taken for a whole one"
            tested += len(numbers)
        assert sending.problem is None, sending.problem
    sending.last.set()
    with running(recordings, data=data, recovery_grace_s=60.0) as last, control_of(last.receiver.safe_ranges, control):
        sending.join(180)
        assert not sending.is_alive()
        assert sending.problem is None, sending.problem
    give_up = time.monotonic() + 60
    while journals(recordings) and time.monotonic() < give_up:
        time.sleep(0.1)  # recorders of killed servers finish their work
    whole = recovered(recordings, sending.uids)
    assert all(scan == wanted for scan in whole.values())
    assert len(list(recordings.glob("*.h5"))) == len(sending.uids)
    assert not journals(recordings)
    return tested


@pytest.mark.slow
def test_the_server_is_killed_twenty_times(tmp_path: Path) -> None:
    assert killed_again_and_again(tmp_path, kills=20, seed=11) > 1000


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_the_server_is_killed_two_hundred_times(tmp_path: Path) -> None:
    assert killed_again_and_again(tmp_path, kills=200, seed=12) > 10_000


SENDER = """
import sys
from pathlib import Path
from ptylive.simulators.replay import ReplaySettings, replay
replay(Path(sys.argv[1]), ReplaySettings(to=sys.argv[2], uid=sys.argv[3], rate=800.0, batch=4))
"""


def test_a_sender_that_is_killed_and_started_again_completes_its_scan(tmp_path: Path) -> None:
    path, frames = scan_file(tmp_path / "scan.h5", 24)
    with running(tmp_path / "recordings") as run:
        with child("-c", SENDER, path, run.address, UID):
            run.wait(lambda: run.receiver.status().frames > 60)
        before = run.receiver.status().frames
        assert before < len(frames)
        replay(path, ReplaySettings(to=run.address, uid=UID))
        run.wait_for_state("complete")
        status = run.receiver.status()
        assert (status.frames, status.lost) == (len(frames), 0)
        assert status.duplicates >= before
        assert run.frames[UID] == {number: digest(frame) for number, frame in enumerate(frames)}


@pytest.mark.slow
def test_a_sender_that_hangs_for_a_while_is_waited_for(tmp_path: Path) -> None:
    """SIGSTOP for less than the idle time-out."""
    path, frames = scan_file(tmp_path / "scan.h5", 24)
    with (
        running(tmp_path / "recordings", idle_timeout_s=4.0) as run,
        child("-c", SENDER, path, run.address, UID) as sender,
    ):
        run.wait(lambda: run.receiver.status().frames > 60)
        subprocess.run(["kill", "-STOP", str(sender.pid)], check=True)
        time.sleep(1.5)
        assert run.receiver.status().state == "scanning"
        subprocess.run(["kill", "-CONT", str(sender.pid)], check=True)
        run.wait_for_state("complete")
        assert run.receiver.status().frames == len(frames)
