"""The example in docs/protocol.md is what the program sends and understands."""

import re
from pathlib import Path

from stream_tools import running

from ptylive.schema import Detector, Optics, Scan, ScanHeader
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, decode, encode

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")


def example(name: str) -> bytes:
    """The bytes of one block: leading groups of hexadecimal digits of each line, without the remark."""
    (block,) = re.findall(rf"```hex {name}\n(.*?)```", TEXT, re.DOTALL)
    return b"".join(bytes.fromhex(re.match(r"\s{0,9}((?:[0-9a-f]{2,} ?)*)", line)[1]) for line in block.splitlines())


def test_the_bytes_are_the_messages() -> None:
    uid = "8c0e8a1e-57b5-4a53-9d38-6f2b0c1f7f11"
    scan, detector = Scan(shape=(2, 2), step_A=0.5), Detector(shape=(2, 2), dtype="|u1")
    header = ScanHeader(uid, "demo", 4, scan, Optics(energy_eV=80e3), detector)
    assert [example("arm")] == encode(ArmMessage(header))
    frames = FramesMessage(uid, 0, 2, "none", (bytes(range(1, 9)),))
    assert [example("frames"), example("pixels")] == encode(frames)
    assert [example("end")] == encode(EndMessage(uid, 4, "complete"))
    assert isinstance(decode([example("arm")]), ArmMessage)


def test_the_python_sender_is_understood() -> None:
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL) if "zmq.PUSH" in block)
    with running() as run:
        names: dict[str, object] = {}
        exec(code.replace("tcp://127.0.0.1:9999", run.address), names)
        (end,) = run.wait_for_ends()
        assert (end.reason, end.summary.placed) == ("complete", 4)
        assert run.receiver.status().rejected == {}
        names["push"].close()  # type: ignore[attr-defined]
