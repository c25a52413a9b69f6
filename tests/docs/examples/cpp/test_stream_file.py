"""The C++ sender: what it sends, what it sends again, and what it reports if that is impossible."""

import random
import subprocess
import time
from pathlib import Path

import h5py
import msgpack
import numpy as np
import pytest
import zmq
from addresses import bind_when_free
from cpp_sender import ODDITIES, LossyServer, damaged, stream_file
from quick_first import quick_first
from running import Server, frame_hashes, server

from ptylive.schema import ScanHeader
from ptylive.simulators.data import bundled
from ptylive.streamer.sockets.security import ServerKeys
from ptylive.streamer.wire import FramesMessage

SOURCE = bundled("mos2_svac_80kV_focus")
FRAMES = np.random.default_rng(3).poisson(3.0, (40, 8, 6)).astype("<u2")
SMALL = ("--scan", "5,8", "--detector", "8,6", "--resend_s", "0.05", "--wait_s", "60")
NOBODY = "tcp://127.0.0.1:9"


@pytest.fixture(scope="module")
def program() -> Path:
    return stream_file()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.raw"
    FRAMES.tofile(path)
    return path


def start(program: Path, path: Path, data: str, control: str, *options: str) -> "subprocess.Popen[str]":
    command = [program, path, "--to", data, "--control", control, *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(program: Path, path: Path, *arguments: str) -> tuple[int | None, str, str]:
    """Exit status and output of a program with addresses and options."""
    process = start(program, path, *arguments)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def test_a_scan_arrives_as_it_is_with_everything_that_is_known(program, small):
    options = ("--energy_eV", "80e3", "--step_A", "0.4", "--rotation_deg", "-15", "--pixel_mrad", "1.5")
    with LossyServer(about=ODDITIES) as lossy:
        all_options = (*SMALL, "--resend_s", "60", *options, "--series", "gold")
        status, out, err = run(program, small, lossy.data, lossy.control, *all_options)
        assert (status, err) == (0, "")
        assert lossy.patterns() == [frame.tobytes() for frame in FRAMES]
        header: ScanHeader = lossy.arm.header
        end = lossy.wait_for_end()
    assert out == f"40 frames as {header.uid}, 0 sent again\n"
    assert lossy.arm.problems == ()
    assert (header.series, header.frames, header.scan.shape) == ("gold", 40, (5, 8))
    assert (header.detector.shape, header.detector.dtype, header.detector.pixel_mrad) == ((8, 6), "<u2", 1.5)
    assert (header.optics.energy_eV, header.scan.step_A, header.scan.rotation_deg) == (80e3, (0.4, 0.4), -15.0)
    assert (end.frames, end.reason, end.sender) == (40, "complete", lossy.arm.sender)
    assert lossy.arm.sender > 0


def test_rows_of_flyback_and_repeats_in_any_order(program, small):
    geometry = ("--scan", "3,4", "--skip_first", "4", "--repeats", "2", "--flyback_frames", "2", "--pattern", "snake")
    with LossyServer() as lossy:
        done = run(program, small, lossy.data, lossy.control, *SMALL, *geometry, "--order", "shuffled")
        assert done[0] == 0, done[2]
        scan = lossy.arm.header.scan
        assert (scan.frames, scan.frames_per_row, scan.pattern) == (40, 12, "snake")
        assert lossy.patterns() == [frame.tobytes() for frame in FRAMES]
        assert [m.first for m in lossy.messages if isinstance(m, FramesMessage)] not in ([0, 4, 16, 28], [28, 16, 4, 0])


def test_what_is_lost_is_sent_again(program, small):
    with LossyServer(loses=lambda message, time: message.first % 3 == 1 and time < 3) as lossy:
        status, out, err = run(program, small, lossy.data, lossy.control, *SMALL)
        assert (status, err) == (0, "")
        assert out.endswith(" sent again\n")
        assert not out.endswith(" 0 sent again\n")
        assert lossy.patterns() == [frame.tobytes() for frame in FRAMES]


def test_without_a_control_address_it_sends_and_asks_nothing(program, small):
    with LossyServer() as lossy:
        assert run(program, small, lossy.data, "", *SMALL)[0] == 0
        lossy.wait_for_end()
        assert lossy.patterns() == [frame.tobytes() for frame in FRAMES]


def test_a_server_with_keys(program, small, tmp_path):
    ServerKeys.open(tmp_path / "keys")
    with LossyServer(keys=tmp_path / "keys") as lossy:
        done = run(program, small, lossy.data, lossy.control, *SMALL, "--keys", str(tmp_path / "keys"))
        assert done[0] == 0, done[2]
        assert lossy.patterns() == [frame.tobytes() for frame in FRAMES]
        done = run(program, small, lossy.data, lossy.control, *SMALL, "--keys", str(tmp_path))
    assert done[0] == 1
    assert "needs server.key and client.key_secret" in done[2]


@pytest.mark.parametrize(
    ("data", "control", "options", "words"),
    [
        ("foo", "", (), "'foo' is no data address: Invalid argument (it is tcp://HOST:PORT)"),
        ("{data}", "bar", (), "'bar' is no control address: Invalid argument (it is tcp://HOST:PORT)"),
        (NOBODY, NOBODY, (), f"no server answers at {NOBODY} (waited 0.2 s): start one with ptylive serve"),
        (NOBODY, "", (), f"no server takes data at {NOBODY} (waited 0.2 s): start one with ptylive serve"),
        pytest.param(
            NOBODY,
            "{control}",
            ("--wait_s", "8"),
            f"no server takes data at {NOBODY} (waited 8 s)",
            marks=pytest.mark.slow,
        ),
        ("{data}", "", ("--detector", "8,7"), "small.raw has 3840 bytes, not 40 patterns of 112"),
        ("{data}", "", ("--scan", "5,7"), "small.raw has 3840 bytes, not 35 patterns of 96"),
        ("{data}", "", ("--type", "<u3"), "small.raw has 3840 bytes, not 40 patterns of 0"),
        ("{data}", "", ("--scan", "nonsense"), "small.raw has 3840 bytes, not 0 patterns of 96"),
        ("{data}", "", ("--step_A", "inf"), "step_A is not a finite number"),
        ("{data}", "", ("--uid", "x" * 65), "uid and pattern 64"),
    ],
)
def test_what_cannot_be_sent_is_one_line_and_an_exit_status(program, small, data, control, options, words):
    with LossyServer() as lossy:
        addresses = (one.format(data=lossy.data, control=lossy.control) for one in (data, control))
        status, out, err = run(program, small, *addresses, *SMALL, "--wait_s", "0.2", *options)
        assert not lossy.frames
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert words in err


def test_a_command_line_that_is_wrong(program, small):
    assert run(program, small, NOBODY, "", "--colour", "red")[0] == 2
    assert run(program, small, NOBODY, "", "--scan")[0] == 2
    assert run(program, small.with_name("absent"), NOBODY, "", *SMALL)[::2] == (
        1,
        f"stream_file: cannot read {small.with_name('absent')}\n",
    )


def test_frames_that_the_server_refuses_are_not_sent_for_ever(program, small):
    with LossyServer(loses=lambda message, time: message.first == 8, refuses="truncated") as lossy:
        status, _, err = run(program, small, lossy.data, lossy.control, *SMALL)
    assert status == 1
    assert err.startswith("stream_file: the server refuses what is sent: truncated ")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_server_that_goes_for_good(program, small):
    with LossyServer(loses=lambda message, time: message.first == 8) as lossy:
        process = start(program, small, lossy.data, lossy.control, *SMALL, "--wait_s", "8")
        lossy.wait(lambda: len(lossy.frames) == 32 or process.poll() is not None)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.count("\n") == 1
    assert any(words in err for words in ("no server takes data", "no server answers", "did not become safe"))


def noisy(seed: int, much: int):
    chance = random.Random(seed)
    return lambda reply: [damaged(reply, chance) for _ in range(much)]


def fuzz(program: Path, small: Path, seed: int, much: int) -> None:
    """Replies with any fault are skipped; the valid ones among them count."""
    with LossyServer(loses=lambda message, time: time < 2, noise=noisy(seed, much)) as lossy:
        status, out, err = run(program, small, lossy.data, lossy.control, *SMALL)
        assert (status, err) == (0, "")
        assert out.startswith("40 frames as ")


def test_damaged_replies_do_no_harm(program, small):
    fuzz(program, small, seed=1, much=20)


def test_ranges_that_touch_are_one(program, small):
    def split(reply: bytes) -> list[bytes]:
        told = msgpack.unpackb(reply)
        if "ranges" not in told:
            return []
        return [
            msgpack.packb(
                {**told, "ranges": [[n, n + 1] for first, last in told["ranges"] for n in range(first, last)]}
            )
        ]

    with LossyServer(noise=split) as lossy:
        assert run(program, small, lossy.data, lossy.control, *SMALL, "--resend_s", "60")[::2] == (0, "")
        assert lossy.patterns() == [frame.tobytes() for frame in FRAMES]


@pytest.mark.parametrize(
    "lie",
    quick_first(
        [
            {"id": "r0", "ranges": [[0, 40]]},
            {"id": 0, "ranges": [[0, 40]]},
            {"ok": False, "ranges": [[0, 40]]},
            {"ranges": [[0, 41]]},
            {"ranges": [[0, 2**64 - 1]]},
            {"ranges": [[30, 40], [0, 30]]},
            {"ranges": [[0, 40, 80]]},
            {"ranges": [[-1, 40]]},
            {"ranges": {"0": 40}},
        ],
        4,
    ),
)
def test_an_answer_to_another_question_or_that_cannot_be_is_not_believed(program, small, lie):
    def lying(reply: bytes) -> list[bytes]:
        told = msgpack.unpackb(reply)
        return [msgpack.packb({**told, **lie})] if "ranges" in told else []

    with LossyServer(loses=lambda message, time: time < 2, noise=lying) as lossy:
        assert run(program, small, lossy.data, lossy.control, *SMALL)[::2] == (0, "")
        assert lossy.patterns() == [frame.tobytes() for frame in FRAMES]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_many_damaged_replies_under_the_sanitizers(small, seed):
    program = stream_file("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    fuzz(program, small, seed=100 + seed, much=100)


def test_a_server_that_is_started_again_has_the_whole_scan(program, small):
    with LossyServer(loses=lambda message, time: message.first in (8, 16)) as first:
        process = start(program, small, first.data, first.control, *SMALL)
        first.wait(lambda: len(first.frames) == 24 or process.poll() is not None)
    with LossyServer(follows=first) as second:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert second.patterns() == [frame.tobytes() for frame in FRAMES]
    assert not out.endswith(" 0 sent again\n")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [zmq.REP, zmq.PUB], ids=["REP", "PUB"])
def test_other_programs_at_the_addresses_while_the_server_is_away_do_not_keep_it_away(program, small, kind):
    with LossyServer(loses=lambda message, time: message.first in (8, 16)) as first:
        process = start(program, small, first.data, first.control, *SMALL)
        first.wait(lambda: len(first.frames) == 24 or process.poll() is not None)
    with zmq.Context() as context:
        strangers = context.socket(kind), context.socket(kind)
        for stranger, address in zip(strangers, (first.data, first.control), strict=True):
            bind_when_free(stranger, address)
        time.sleep(4)
        context.destroy(linger=0)
    with LossyServer(follows=first) as second:
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        assert second.patterns() == [frame.tobytes() for frame in FRAMES]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    path = tmp_path_factory.mktemp("raw") / "mos2.raw"
    with h5py.File(SOURCE) as file:
        np.ascontiguousarray(file["data"][()], dtype="<u2").tofile(path)
    return path


MOS2 = ("--scan", "64,64", "--detector", "64,64", "--energy_eV", "80e3", "--order", "shuffled")
REFUSED = "stream_file: the server refuses the header of the scan (impossible_value 1): its log says more\n"


@pytest.mark.slow
def test_the_recording_of_a_server_is_bit_for_bit(program, raw, tmp_path):
    """A header that the server refuses is reported, too."""
    with server(tmp_path) as running:
        addresses = (running.data, running.control)
        assert run(program, raw, *addresses, *MOS2, "--type", "<c2") == (1, "", REFUSED)
        status, out, err = run(program, raw, *addresses, *MOS2)
        assert (status, err) == (0, "")
        found = running.wait_for(lambda s: s["state"] == "complete" and Path(s["recording"]).is_file())
        assert (found["uid"], found["frames"]) == (out.split()[3][:-1], 4096)
        assert frame_hashes(found["recording"]) == frame_hashes(SOURCE)


@pytest.mark.slow
def test_killed_and_started_again_in_between_the_recording_is_bit_for_bit(program, raw, tmp_path):
    first = Server(tmp_path)
    try:
        process = start(program, raw, first.data, first.control, *MOS2, "--rate", "1500", "--wait_s", "120")
        first.wait_for(lambda s: s["frames"] > 1000)
        first.kill()
    finally:
        first.stop()
    with server(tmp_path, data=first.data, control=first.control) as second:
        out, err = process.communicate(timeout=200)
        assert (process.returncode, err) == (0, "")
        assert out.startswith("4096 frames as ")
        status = second.wait_for_results()
        assert (status["uid"], status["state"], status["frames"]) == (out.split()[3][:-1], "complete", 4096)
        assert frame_hashes(status["recording"]) == frame_hashes(SOURCE)
