"""Text copied from the page works where it is pasted."""

import shlex
import socket
import threading

import pytest
import zmq

from ptylive.dashboard import recipes
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, decode


def test_the_sender_sends_a_scan_as_it_stands() -> None:
    with zmq.Context() as context, context.socket(zmq.PULL) as server:
        server.setsockopt(zmq.RCVTIMEO, 60_000)
        address = f"tcp://127.0.0.1:{server.bind_to_random_port('tcp://127.0.0.1')}"
        text = recipes.clips({}, None, "", address, "native")["sender"].replace("WIDTH = 256, 256", "WIDTH = 8, 8")
        sender = threading.Thread(target=exec, args=(compile(text, "sender", "exec"), {}))
        sender.start()
        messages = [decode(server.recv_multipart())]
        while not isinstance(messages[-1], EndMessage):
            messages.append(decode(server.recv_multipart()))
        sender.join()
    arm = messages[0]
    assert isinstance(arm, ArmMessage)
    assert arm.header.scan.shape == (64, 64)
    frames = [message for message in messages if isinstance(message, FramesMessage)]
    assert [(message.first, message.count) for message in frames] == [(64 * row, 64) for row in range(64)]


@pytest.mark.parametrize(
    ("data", "host"),
    [("tcp://127.0.0.1:9999", "127.0.0.1"), ("tcp://*:9999", ""), ("tcp://0.0.0.0:9999", ""), ("tcp://[::]:9999", "")],
)
def test_an_address_that_listens_everywhere_is_given_by_the_name_of_the_computer(data: str, host: str) -> None:
    assert recipes.reachable(data) == f"tcp://{host or socket.gethostname()}:9999"


@pytest.mark.parametrize(("protocol", "more"), [("native", []), ("merlin", ["--protocol", "merlin"])])
def test_the_replay_command_speaks_as_the_detector_does(protocol: str, more: list[str]) -> None:
    assert shlex.split(recipes.replay_line("tcp://127.0.0.1:6342", protocol)) == [
        "ptylive", "replay", "SCAN.h5", "--to", "tcp://127.0.0.1:6342", *more
    ]  # fmt: skip


def test_what_is_copied_keeps_as_many_pictures_for_a_film() -> None:
    told = recipes.clips({"epoch_max": 3}, "/data/a.h5", "tcp://127.0.0.1:9", "tcp://127.0.0.1:8", "native", 5)
    assert told["command"].endswith("--set epoch_max=3 --history 5")
    assert "preset={'epoch_max': 3}, history=5)" in told["python"]
    without = recipes.clips({"epoch_max": 3}, "/data/a.h5", "tcp://127.0.0.1:9", "tcp://127.0.0.1:8", "native")
    assert "history" not in without["command"] + without["python"]


def test_a_run_of_several_scans_names_all_of_them() -> None:
    tilts, where = {"scan_tilts_mrad": [[0, 0], [20, 0]]}, ("tcp://127.0.0.1:9", "tcp://127.0.0.1:8", "native")
    told = recipes.clips(tilts, "/data/flat.h5", *where, beside=["left.h5"])
    assert shlex.split(told["command"])[2:4] == ["/data/flat.h5", "/data/left.h5"]
    assert "beside=['left.h5']" in told["python"]
