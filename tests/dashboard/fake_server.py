"""A server with nothing behind it: speaks the control protocol and publishes what a test supplies."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import Any

import numpy as np
import zmq

from ptylive.engine.imaging import registry
from ptylive.server.wire.messages import array_to_plain, events_address, pack, unpack

MAP_KINDS = registry.describe(sorted(registry.own_methods(), key=lambda one: one.rank))
"""What a real server reports about its maps."""


def map_payload(name: str, data: np.ndarray, **more: Any) -> dict[str, Any]:
    """A `maps` event."""
    payload = {
        "uid": "scan-1",
        "name": name,
        "rows": [0, data.shape[0]],
        "units": "rad",
        "sampling_A": [0.5, 0.5],
        "frames": int(data.size),
        "method": "",
    }
    return {**payload, **array_to_plain(data), **more}


def state_payload(**more: Any) -> dict[str, Any]:
    """A `state` event in the middle of a scan."""
    state = {
        "state": "scanning",
        "series": "0142",
        "uid": "scan-1",
        "expected": 4096,
        "received": 2048,
        "frames": 2048,
        "lost": 0,
        "late": 0,
        "duplicates": 0,
        "rejected": {},
        "frames_per_s": 1024.0,
        "lag_s": 0.02,
        "ring_fill": 0.12,
        "recording": "/data/0142.h5",
        "results": None,
        "refinement": {"state": "none", "run": None, "epoch": None, "loss": None},
        "scan": {"shape": [64, 64], "step_A": [0.5, 0.5]},
        "optics": {"energy_eV": 80e3, "convergence_semiangle_mrad": 25.0},
        "calibration": {
            "rotation_deg": {"value": -15.2, "origin": "estimated", "uncertainty": 0.4},
            "C10": {"value": -150.0, "origin": "estimated", "uncertainty": 5.0},
            "beam_center_px": {"value": [31.5, 31.5], "origin": "estimated", "uncertainty": None},
            "disc_radius_px": {"value": 15.0, "origin": "estimated", "uncertainty": None},
        },
        "message": "",
    }
    return {**state, **more}


class FakeServer:
    """ROUTER at `control`, PUB one port below; answers `snapshot` with what was last published."""

    def __init__(self, control: str | None = None) -> None:
        self._context = zmq.Context()
        self._router = self._context.socket(zmq.ROUTER)
        self._pub = self._context.socket(zmq.PUB)
        for socket in (self._router, self._pub):
            socket.setsockopt(zmq.LINGER, 0)
        self.control = self._bind(control)
        self.commands: list[dict[str, Any]] = []
        self.state = state_payload()
        self.maps: dict[str, dict[str, Any]] = {}
        self.refinement: dict[str, Any] | None = None
        self.replies: dict[str, dict[str, Any]] = {}
        self._outbox: list[tuple[str, dict[str, Any]]] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _bind(self, control: str | None) -> str:
        for _ in range(200):
            address = control or f"tcp://127.0.0.1:{random.randrange(20001, 32000)}"
            with contextlib.suppress(zmq.ZMQError):  # taken, or not yet released by the previous server
                self._router.bind(address)
                try:
                    self._pub.bind(events_address(address))
                except zmq.ZMQError:
                    self._router.unbind(address)
                    raise
                return address
            time.sleep(0.05)
        raise RuntimeError("no two free ports side by side")

    def publish(self, topic: str, payload: dict[str, Any]) -> None:
        """Publish an event and keep it for clients that join later."""
        with self._lock:
            if topic == "maps":
                self.maps[payload["name"]] = payload
            elif topic == "state":
                self.state = payload
            elif topic == "refinement":
                self.refinement = {**(self.refinement or {}), **payload}
            self._outbox.append((topic, payload))

    def maps_of(self, **arrays: np.ndarray) -> None:
        """Publish several maps."""
        for name, data in arrays.items():
            self.publish("maps", map_payload(name, data))

    def received(self, command: str) -> list[dict[str, Any]]:
        """Commands of one kind received so far."""
        return [c for c in self.commands if c["command"] == command]

    def _run(self) -> None:
        next_state = 0.0
        while not self._stop.is_set():
            while self._router.poll(5):
                self._answer()
            with self._lock:
                outbox, self._outbox = self._outbox, []
            for topic, payload in outbox:
                self._pub.send_multipart([topic.encode(), pack(payload)])
            if time.monotonic() > next_state:
                next_state = time.monotonic() + 0.25
                self._pub.send_multipart([b"state", pack(self.state)])
        self._context.destroy(linger=0)

    def _answer(self) -> None:
        *envelope, body = self._router.recv_multipart()
        message = unpack(body)
        self.commands.append(message)
        reply: dict[str, Any] = {"id": message["id"], "ok": True, **self.replies.get(message["command"], {})}
        if message["command"] == "snapshot":
            reply.update(state=self.state, maps=list(self.maps.values()), refinement=self.refinement)
            reply.setdefault("map_kinds", MAP_KINDS)
        self._router.send_multipart([*envelope, pack(reply)])

    def close(self) -> None:
        """Stop at once."""
        self._stop.set()
        self._thread.join(timeout=60)
