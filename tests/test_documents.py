"""Lines of the documents that need something around them to run; tests/docs runs all others."""

import re
from pathlib import Path

import numpy as np
import pytest
import zmq
from cpp_sender import LossyServer

from ptylive.schema import Detector, FrameBatch, Optics, Scan, ScanHeader
from ptylive.server.process.config_file import load_config
from ptylive.streamer.wire import ArmMessage, EndMessage, FramesMessage, decode

ROOT = Path(__file__).resolve().parents[1]
FENCED = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.M | re.S)


def snippets(path: Path, language: str) -> list[str]:
    return [body for kind, body in FENCED.findall(path.read_text(encoding="utf-8")) if kind == language]


def test_the_readme_s_configuration_is_taken(tmp_path):
    (text,) = snippets(ROOT / "README.md", "toml")
    (tmp_path / "microscope.toml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "microscope.toml", {}, {})
    assert config.refine_during_scan
    assert config.refine == {"probe_modes": 4}


def test_frames_from_elsewhere_as_the_notebook_document_feeds_them():
    text = snippets(ROOT / "docs" / "notebook.md", "python")[1]
    header = ScanHeader(
        "doc", "doc", 64, Scan(shape=(8, 8), step_A=(0.5, 0.5), rotation_deg=0.0),
        Optics(energy_eV=80e3, convergence_semiangle_mrad=25.0),
        Detector(shape=(24, 24), pixel_mrad=4.0, transform_given=True),
    )  # fmt: skip
    rows, cols = np.indices((24, 24)) - 11.5
    frames = np.random.default_rng(1).poisson(50.0 * (np.hypot(rows, cols) < 6), (64, 24, 24)).astype(np.uint16)
    positions_A = 0.5 * np.stack(np.mgrid[:8, :8], axis=-1).reshape(-1, 2).astype(float)
    names = {"header": header, "batches": [FrameBatch("doc", np.arange(64), frames)], "positions_A": positions_A}
    exec(compile(text, "notebook.md", "exec"), names)
    assert {"bf", "idpc"} <= {live_map.name for live_map in names["maps"]}


def test_the_shortest_sender_of_the_protocol_document_is_understood():
    text = snippets(ROOT / "docs" / "protocol.md", "python")[0]
    context = zmq.Context()
    try:
        pull = context.socket(zmq.PULL)
        pull.setsockopt(zmq.RCVTIMEO, 30_000)
        port = pull.bind_to_random_port("tcp://127.0.0.1")
        names: dict = {}
        exec(compile(text.replace("127.0.0.1:9999", f"127.0.0.1:{port}"), "protocol.md", "exec"), names)
        messages = [decode(pull.recv_multipart()) for _ in range(4)]
        names["push"].close()
    finally:
        context.destroy(linger=0)
    assert [type(message) for message in messages] == [ArmMessage, FramesMessage, FramesMessage, EndMessage]


@pytest.mark.parametrize("number", [0, 1])
def test_the_five_lines_of_the_senders_document_are_understood(number):
    text = snippets(ROOT / "docs" / "senders.md", "python")[number]
    camera = np.arange(64, dtype="<u2")[:, None, None, None] * np.ones((1, 64, 2, 2), "<u2")
    text = text.replace("[256, 256]", "[2, 2]").replace("(256, 256)", "(2, 2)")
    with LossyServer() as lossy:
        text = text.replace("tcp://127.0.0.1:9998", lossy.control)
        exec(compile(text.replace("tcp://127.0.0.1:9999", lossy.data), "senders.md", "exec"), {"camera": camera})
        lossy.wait_for_end()
        assert [lossy.frames[n] for n in (0, 64, 4095)] == [camera[n // 64, 0].tobytes() for n in (0, 64, 4095)]
