"""Clients that save, configure, calibrate, refine and browse, all at once and without regard for each other."""

import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos.asking import Caller
from chaos.processes import ServerUnderTest
from ptylive.server.wire.client import EventStream

CLIENTS = 3
PAUSE_S = (0.1, 2.0)
PRESET = {"epoch_max": 2}
"""Keeps a refinement to a tenth of a second of work, so that many finish before something is killed."""
MAPS = ("obf", "tcbf", "idpc", "adf", "wdd_phase")
VALUES: tuple[dict[str, Any], ...] = (
    {"energy_eV": 80e3},
    {"defocus_A": 40.0},
    {"C10": -60.0, "C12a": 5.0},
    {"rotation_deg": 3.0},
    {"convergence_semiangle_mrad": 24.0},
    {"step_A": "seven"},
    {"no_such_thing": 1},
    {},
)


class Client(threading.Thread):
    """One client; the same seed gives the same commands in the same order."""

    def __init__(self, server: ServerUnderTest, seed: str, name: str, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self._server, self._stop_all = server, stop
        self._chance = random.Random(seed)
        self._recordings: list[str] = []

    def run(self) -> None:
        """Run until told to stop."""
        names, weights = zip(*WEIGHTS.items(), strict=True)
        with Caller(self._server, self.name) as caller:
            while not self._stop_all.wait(self._chance.uniform(*PAUSE_S)):
                command = self._chance.choices(names, weights)[0]
                arguments = ARGUMENTS.get(command, lambda _client, _chance: {})(self, self._chance)
                reply = caller.ask(command, **arguments)
                if reply is not None:
                    self._learn(command, reply)

    def _learn(self, command: str, reply: dict[str, Any]) -> None:
        if command == "history":
            self._recordings = [Path(str(scan["recording"])).name for scan in reply["scans"] if scan.get("recording")]
        elif command in ("refine", "refine_resume"):
            self._server.history.note(f"{command}_accepted", run=reply["run"], state=reply.get("state", ""))

    def recording(self) -> str:
        """Either a listed name, or one that does not exist."""
        return self._chance.choice(self._recordings) if self._recordings else "nothing.h5"


def _refine(_client: Client, chance: random.Random) -> dict[str, Any]:
    preset = {**PRESET, **chance.choice(({}, {"sweeps": 1}, {"sweeps": "one"}, {"update_probe": False}))}
    return {"preset": preset, "queue": chance.random() < 0.7, "during_scan": chance.random() < 0.3}


def _detectors(_client: Client, chance: random.Random) -> dict[str, Any]:
    centre = [chance.uniform(0, 32), chance.uniform(0, 32)]
    one = {"name": "spot", "center_px": centre, "inner_px": 0.0, "outer_px": chance.uniform(1, 9)}
    return {"detectors": [one]} if chance.random() < 0.7 else {}


Arguments = Callable[[Client, random.Random], dict[str, Any]]
WEIGHTS = {
    "status": 4, "save": 5, "configure": 4, "calibrate": 2, "undo": 2, "refine": 9, "refine_stop": 0.3,
    "refine_resume": 0.7, "refine_withdraw": 0.4, "runs": 2, "history": 2, "open": 1, "note": 1, "snapshot": 1,
    "export": 1, "check": 1, "trotter": 1, "detectors": 1, "analyse": 0.5, "watch": 1, "scans": 1, "replay": 0.2,
    "delete": 0.3, "received": 1, "no_such_command": 0.2,
}  # fmt: skip
ARGUMENTS: dict[str, Arguments] = {
    "configure": lambda _client, chance: {"values": chance.choice(VALUES)},
    "calibrate": lambda _client, chance: {"names": [chance.choice(("rotation_deg", "C10", "beam_center_px"))]},
    "refine": _refine,
    "refine_withdraw": lambda _client, chance: {"run": f"run{chance.randint(1, 4)}"},
    "runs": lambda _client, chance: {"pictures": chance.choice(([], ["run1"], ["run2", "no_such_run"]))},
    "open": lambda client, chance: {"recording": client.recording()} if chance.random() < 0.6 else {},
    "note": lambda client, _chance: {"text": "a note", "recording": client.recording()},
    "export": lambda _client, chance: {"map": chance.choice((*MAPS, "object"))},
    "check": lambda _client, _chance: {"preset": PRESET},
    "detectors": _detectors,
    "analyse": lambda _client, _chance: {"run": "run1", "line_A": [-1.0, -1.0, 1.0, 1.0]},
    "watch": lambda _client, chance: {"viewer": "chaos", "maps": chance.sample(MAPS, 2)},
    "replay": lambda client, _chance: {"recording": client.recording(), "rate": 200},
    "delete": lambda client, chance: {"recording": client.recording(), "sure": chance.random() < 0.5},
    "received": lambda _client, _chance: {"uid": "nobody"},
}


class Listener(threading.Thread):
    """Records how refinements end, and the server's notifications."""

    def __init__(self, server: ServerUnderTest, stop: threading.Event) -> None:
        super().__init__(name="listener", daemon=True)
        self._server, self._stop_all = server, stop
        self._last: tuple[Any, ...] = ()

    def run(self) -> None:
        """Run until told to stop."""
        with EventStream(self._server.control, topics=("refinement", "log"), queue=1000) as events:
            while not self._stop_all.is_set():
                if (event := events.next(0.2)) is not None:
                    self._heard(*event)

    def _heard(self, topic: str, payload: dict[str, Any]) -> None:
        if topic == "log":
            self._server.history.note("said", level=payload["level"], message=payload["message"])
            return
        loss = payload["losses"][-1] if payload.get("losses") else None
        found = (payload["uid"], payload["run"], payload["state"], loss)
        if payload["state"] in ("done", "stopped", "failed") and found != self._last:
            names = ("uid", "run", "state", "loss")
            self._server.history.note(
                "refinement", **dict(zip(names, found, strict=True)), message=payload.get("message", "")
            )
        self._last = found
