"""`serve` and `replay` with DECTRIS protocols: a simulated detector's scan becomes maps; commands drive a detector."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args

import pytest
from running import frame_hashes, last_json, ptylive_here, server

from ptylive.schema import MetadataError
from ptylive.server.process.config_file import load_config
from ptylive.simulators.data import bundled
from ptylive.streamer.protocols.inlet import ProtocolName
from ptylive.streamer.protocols.simplon import DetectorError, Simplon


class FakeSimplon(BaseHTTPRequestHandler):
    """Remembers its requests; knows a few values."""

    asked: list[tuple[str, str, Any]]

    def _answer(self, value: Any, status: int = 200) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        known = {"/detector/api/version/": "1.8.0", "/detector/api/1.8.0/config/trigger_mode": "ints"}
        known["/detector/api/1.8.0/status/state"] = "idle"
        self._answer({"value": known[self.path]} if self.path in known else {"error": "no such thing"}, 200)

    def do_PUT(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        value = json.loads(text)["value"] if text else None
        self.asked.append((self.path.removeprefix("/"), str(value or ""), value))
        if self.path.endswith("/format") or self.path.endswith("/config/nonsense"):
            self._answer({"error": "not here"}, 404)
        else:
            self._answer({"sequence id": 7} if self.path.endswith("/arm") else None)

    def log_message(self, *arguments: Any) -> None:
        pass


@contextmanager
def fake_detector() -> Iterator[tuple[str, list[Any]]]:
    """A SIMPLON interface on loopback, and the requests it received."""
    handler = type("Handler", (FakeSimplon,), {"asked": []})
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_address[1]}", handler.asked  # type: ignore[attr-defined]
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def test_simplon_configures_arms_and_triggers() -> None:
    with fake_detector() as (address, asked):
        detector = Simplon(address)
        detector.stream("legacy")
        detector.configure({"ntrigger": 100, "trigger_mode": "ints"})
        assert detector.arm() == 7
        detector.trigger()
        detector.disarm()
        detector.abort()
        assert (detector.get("trigger_mode"), detector.state) == ("ints", "idle")
        assert [path.rpartition("1.8.0/")[2] for path, *_ in asked] == [
            "config/mode",
            "config/header_detail",
            "config/format",
            "config/ntrigger",
            "config/trigger_mode",
            "command/arm",
            "command/trigger",
            "command/disarm",
            "command/abort",
        ]
        for refused in (
            lambda: detector.stream("cbor"),
            lambda: detector.configure({"nonsense": 1}),
            lambda: detector.get("nonsense"),
        ):
            with pytest.raises(DetectorError) as caught:
                refused()
            assert address in caught.value.line()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "http://", "nothing"])
def test_impossible_detector_addresses(address: str) -> None:
    with pytest.raises(DetectorError, match="not the address of a detector"):
        Simplon(address)


def test_a_detector_that_is_not_there() -> None:
    with pytest.raises(DetectorError, match=r"version/: .*refused"):
        Simplon("http://127.0.0.1:9").arm()


def test_a_detector_may_be_anywhere_and_protocols_are_named() -> None:
    options = {"protocol": "dectris-v2", "data": "tcp://detector.lab:31001"}
    assert load_config(None, options, {}).data == "tcp://detector.lab:31001"
    with pytest.raises(MetadataError, match="protocol"):
        load_config(None, {"protocol": "dectris"}, {})


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["dectris-v1", "dectris-v2"])
def test_a_detector_is_served(tmp_path: Path, protocol: str) -> None:
    file = bundled("mos2_svac_80kV_focus")
    with fake_detector() as (address, asked):
        options = ("--protocol", protocol, "--set", f"detector_api={address}", "--set", "scan.step_A=0.5")
        with server(tmp_path, *options) as running:
            if protocol == "dectris-v1":
                reply = running.call("arm", frames=64)
                assert (reply["detector_series"], reply["trigger_mode"]) == (7, "ints")
                assert ("detector/api/1.8.0/config/ntrigger", "64", 64) in asked
            report = last_json(ptylive_here("replay", file, "--to", running.data, "--protocol", protocol, "--json"))
            status = running.wait_for_results()
            assert (status["state"], status["lost"], status["rejected"]) == ("complete", 0, {})
            assert report["frames"] == status["frames"]
            assert status["scan"]["step_A"] == [0.5, 0.5]  # the command line overrides the stream
            assert frame_hashes(Path(status["recording"])) == frame_hashes(file)


def test_impossible_protocols_are_refused_with_one_line() -> None:
    done = ptylive_here("replay", bundled("mos2_svac_80kV_focus"), "--protocol", "dectris-v3")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].endswith(f"use {', '.join(get_args(ProtocolName))}")
