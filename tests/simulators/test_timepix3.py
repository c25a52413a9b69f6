"""The simulated Timepix3 sends packets that match the patterns of a scan."""

import socket
import threading
from dataclasses import replace

import numpy as np
import pytest

from ptylive.schema import Detector, InputFileError, Scan, ScanHeader
from ptylive.simulators.outlet import SendPatience
from ptylive.simulators.timepix3 import RawTimepix3
from ptylive.streamer.timepix3.live import LineFrames, LivePackets
from ptylive.streamer.timepix3.packets import Place, decode
from ptylive.streamer.wire import EndMessage, FramesMessage

HEADER = ScanHeader("u", "s", 6, scan=Scan(shape=(2, 3)), detector=Detector(shape=(20, 30)))


def test_frames_arrive_where_they_belong():
    patterns = np.random.default_rng(1).poisson(0.1, (6, 20, 30)).astype("<u2")
    received = []
    with RawTimepix3("tcp://127.0.0.1:0", SendPatience(5, 5, 5)) as detector:
        host, port = detector.address.removeprefix("tcp://").split(":")

        def read():
            with socket.create_connection((host, int(port))) as connection:
                while data := connection.recv(2**16):
                    received.append(data)

        reader = threading.Thread(target=read)
        reader.start()
        detector.arm(HEADER)
        detector.frames(FramesMessage("u", 0, 4, "none", (patterns[:4].tobytes(),)))
        detector.frames(FramesMessage("u", 5, 1, "none", (patterns[5].tobytes(),)))  # one is lost
        detector.end(EndMessage("u", 6, "complete"))
        detector.close()
        reader.join()
    packets, _ = decode(np.frombuffer(b"".join(received), "<u8"), Place())
    found = np.zeros((6, 256, 256), dtype="<u2")
    live = LivePackets(HEADER.scan)
    for one in [*live.take(packets), *live.end()]:
        if isinstance(one, LineFrames):
            found[one.first : one.first + len(one.frames.ends)] = one.frames.dense()
    patterns[4] = 0
    np.testing.assert_array_equal(found[:, 118:138, 113:143], patterns)
    assert found.sum() == patterns.sum()


@pytest.mark.parametrize(
    ("detector", "said"), [({"shape": (600, 600)}, "600 x 600"), ({"shape": (8, 8), "dtype": "<f4"}, "cannot send <f4")]
)
def test_patterns_no_such_detector_makes(detector, said):
    with (
        RawTimepix3("tcp://127.0.0.1:0", SendPatience(5, 5, 5)) as sender,
        pytest.raises(InputFileError, match=said),
    ):
        sender.arm(replace(HEADER, detector=Detector(**detector)))
