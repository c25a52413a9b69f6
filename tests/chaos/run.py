"""A plan carried out on a real server; then faults are removed, and the server is ended as a person would end it."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psutil

from chaos.asking import PATIENCE_S, Caller
from chaos.clients import CLIENTS, Client, Listener
from chaos.damage import drop
from chaos.history import History
from chaos.libc_faults import CLOCK_NS, FULL, SYNC_US, WRITE_US, LibcFaults
from chaos.pages import get, visit
from chaos.patterns import FRAMES, PIXELS, SCAN
from chaos.plan import Event
from chaos.processes import MARK, ServerUnderTest
from chaos.stored import TEMPORARY
from ptylive.simulators.proxy import FaultyProxy, ProxyFaults

SENDER_S = 45.0
"""A sender's patience: despite all faults, most scans become safe within it."""
FIND_S = 6.0
"""How long to wait for a process that exists only at times, in order to kill it."""
CALM_S = 180.0
"""Time after the last fault for senders to end, recordings to be made and queued refinements to run."""
LEAVE_S = 15.0
"""Processes may outlive the server by this long before they count as orphans."""
NETWORK = {
    "cut": ProxyFaults(),
    "cut_often": ProxyFaults(reset_after_bytes=20_000),
    "stalled": ProxyFaults(stalled=True),
    "slow": ProxyFaults(latency_s=0.1, jitter_s=0.1, bandwidth=5e4),
    "sliced": ProxyFaults(slice_bytes=100),
}


def compile_ahead() -> None:
    """Fill the compile cache, so that a run does not measure the compiler."""
    code = "from ptylive.engine.backend.cache import use_persistent_cache as use; use()\n"
    live = "from ptylive.engine.live.warm_up import warm_up; warm_up()"
    for command in (["-c", code + live], ["-m", "ptylive.server.refinement.warm_refinement", str(PIXELS)]):
        with subprocess.Popen(
            [sys.executable, *command], stdin=subprocess.PIPE
        ) as process:  # they end with their stdin
            process.wait()


class Run:
    """One chaos run in a folder of its own, which holds all its evidence in ``history.jsonl``."""

    def __init__(self, work: Path, seed: int, plan: list[Event], seconds: float) -> None:
        self.work, self.seed, self.plan, self.seconds = work, seed, plan, seconds
        self.folder = work / "recordings"
        self.folder.mkdir(parents=True)
        self.history = History(work / "history.jsonl")
        self.libc = LibcFaults.build(work, self.folder)
        temporary = work / TEMPORARY
        temporary.mkdir()
        environment = {"TMPDIR": str(temporary), **({} if self.libc is None else self.libc.environment)}
        self.server = ServerUnderTest(self.folder, work / "server.log", self.history, environment)
        self._over, self._unheard = threading.Event(), threading.Event()
        self._pending: list[threading.Thread] = []
        self._senders: list[subprocess.Popen[bytes]] = []
        self._chance = random.Random(f"{seed}-run")
        self._proxies: dict[str, FaultyProxy] = {}

    def carry_out(self) -> None:
        """Carry out the whole run; afterwards only files are left."""
        with ExitStack() as stack:
            stack.callback(self._kill_what_is_left)
            for way, target in (("data", self.server.data), ("control", self.server.control)):
                self._proxies[way] = stack.enter_context(FaultyProxy(target, ProxyFaults(seed=self.seed)))
            self.server.begin()
            self._wait_for_server()
            listener = Listener(self.server, self._unheard)
            names = [f"client{number}" for number in range(CLIENTS)]
            clients = [Client(self.server, f"{self.seed}-{name}", name, self._over) for name in names]
            for thread in (listener, *clients):
                thread.start()
            self._play()
            self._over.set()
            for thread in clients:
                thread.join(PATIENCE_S + 10)
            self._heal()
            self._settle()
            self._unheard.set()  # not earlier: senders are at work until the server is at rest
            listener.join(5.0)
            self._finish()

    # -- the plan ---------------------------------------------------------------------------------------------------

    def _play(self) -> None:
        began = time.monotonic()
        self.history.note("began", seed=self.seed)
        for event in self.plan:
            time.sleep(max(0.0, began + event.at - time.monotonic()))
            self.history.note("event", what=event.kind, at=event.at, facts=event.facts)
            self._later(getattr(self, f"_do_{event.kind}"), event.facts)
        time.sleep(max(0.0, began + self.seconds - time.monotonic()))

    def _later(self, what: Callable[[dict[str, Any]], None], facts: dict[str, Any]) -> None:
        """Run each fault in its own thread, since faults overlap."""
        thread = threading.Thread(target=what, args=(facts,), daemon=True)
        self._pending = [one for one in self._pending if one.is_alive()] + [thread]
        thread.start()

    def _do_scan(self, facts: dict[str, Any]) -> None:
        token, variant = facts["token"], facts["variant"]
        uid = f"chaos-{token}"
        if variant == "stray":
            self._send(uid, token, facts, last=0)
            return
        if variant == "beside":
            half = FRAMES // 2
            self._send(uid, token, facts, last=half)
            self._send(uid, token, facts, first=half)
            return
        first = self._send(uid, token, facts)
        if variant == "duplicate":
            time.sleep(facts["killed_after"])
            other = token + 50_000
            if facts["other_header"]:
                rows = SCAN[0] - 2
                self._send(uid, other, facts, series=f"s{other}", rows=rows, last=rows * SCAN[1])
            else:
                self._send(uid, other, facts, series=f"s{token}")
        elif variant == "sender":
            time.sleep(facts["killed_after"])
            first.kill()
            self.history.note("sender_killed", uid=uid, token=token)
            if facts["returns"]:
                self._send(uid, token, facts)

    def _send(
        self,
        uid: str,
        token: int,
        facts: dict[str, Any],
        *,
        series: str = "",
        rows: int = SCAN[0],
        first: int = 0,
        last: int = FRAMES,
    ) -> "subprocess.Popen[bytes]":
        spec = {
            "uid": uid,
            "token": token,
            "series": series or f"s{token}",
            "rows": rows,
            "first": first,
            "last": last,
            "data": self._proxies["data"].address,
            "control": self._proxies["control"].address,
            "frames_per_s": facts["frames_per_s"],
            "seconds": SENDER_S,
            "history": str(self.history.path),
        }
        environment = {**os.environ, MARK: self.server.mark, "PYTHONPATH": str(Path(__file__).parents[1])}
        with (self.work / "senders.log").open("ab") as log:
            command = [sys.executable, "-m", "chaos.sender", json.dumps(spec)]
            sender = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._senders.append(sender)
        return sender

    def _do_kill(self, facts: dict[str, Any]) -> None:
        if (process := self._found(facts)) is not None:
            self.history.note("killed", target=facts["target"], pid=process.pid)
            self.server.kill(process, facts["target"])

    def _do_pause(self, facts: dict[str, Any]) -> None:
        if (process := self._found(facts)) is None:
            return
        self.history.note("paused", target=facts["target"], pid=process.pid, seconds=facts["seconds"])
        with suppress(psutil.Error):
            process.suspend()
        self._over.wait(facts["seconds"])
        with suppress(psutil.Error):
            process.resume()
        self.history.note("resumed", target=facts["target"], pid=process.pid)

    def _found(self, facts: dict[str, Any]) -> psutil.Process | None:
        """A process to be disturbed; rare ones are waited for."""
        give_up = time.monotonic() + FIND_S
        while time.monotonic() < give_up and not self._over.is_set():
            if found := self.server.find(facts["target"]):
                return found[facts.get("chosen", 0) % len(found)]
            time.sleep(0.02)
        return None

    def _do_disk_full(self, facts: dict[str, Any]) -> None:
        self._switched({FULL: 1}, facts["seconds"])

    def _do_disk_slow(self, facts: dict[str, Any]) -> None:
        self._switched({WRITE_US: facts["write_ms"] * 1000, SYNC_US: facts["sync_ms"] * 1000}, facts["seconds"])

    def _do_clock(self, facts: dict[str, Any]) -> None:
        self._switched({CLOCK_NS: int(facts["jump_s"] * 1e9)}, facts["seconds"])

    def _switched(self, values: dict[int, int], seconds: float) -> None:
        if self.libc is None:
            return
        for switch, value in values.items():
            self.libc.set(switch, value)
        self._over.wait(seconds)
        for switch in values:
            self.libc.set(switch, 0)

    def _do_network(self, facts: dict[str, Any]) -> None:
        proxy = self._proxies[facts["way"]]
        proxy.faults = NETWORK[facts["how"]]
        if facts["how"] == "cut":
            proxy.reset()
        self._over.wait(facts["seconds"])
        proxy.faults = ProxyFaults()

    def _do_damage(self, facts: dict[str, Any]) -> None:
        self.history.note("dropped", what=facts["what"], name=drop(self.folder, facts["what"], facts["seed"]))

    def _do_page(self, facts: dict[str, Any]) -> None:
        visit(self.server, facts["how"], facts["seconds"])

    # -- afterwards -------------------------------------------------------------------------------------------------

    def _wait_for_server(self) -> None:
        with Caller(self.server, "starter") as caller:
            while caller.ask("status") is None:
                time.sleep(0.5)

    def _heal(self) -> None:
        """Remove every fault at the end of the plan."""
        for thread in self._pending:
            thread.join(FIND_S + PATIENCE_S)
        for proxy in self._proxies.values():
            proxy.faults = ProxyFaults()
        if self.libc is not None:
            self.libc.heal()
        for process in self.server.marked():
            with suppress(psutil.Error):
                process.resume()
        self.history.note("healed")

    def _settle(self) -> None:
        """Wait until nothing is left to do, and one more scan has gone through undisturbed."""
        give_up = time.monotonic() + CALM_S
        with Caller(self.server, "healer") as caller:
            while time.monotonic() < give_up and not self._calm(caller):
                time.sleep(0.5)
            self.history.note("calm", reached=time.monotonic() < give_up, journals=self._journals())
            last = self._send("chaos-last", self.seed * 100_000, {"frames_per_s": 300})
            with suppress(subprocess.TimeoutExpired):
                last.wait(SENDER_S + 20)
            while time.monotonic() < give_up + 60 and not self._calm(caller):
                time.sleep(0.5)
            self.history.note("last", status=caller.ask("status"))
        self.history.note("page_at_last", answered=get(self.server, f"http://{self.server.page}/"))

    def _calm(self, caller: Caller) -> bool:
        self._senders = [sender for sender in self._senders if sender.poll() is None]
        status = caller.ask("status")
        if self._senders or status is None or self._journals():
            return False
        refinement = status["refinement"]
        busy = refinement["state"] in ("queued", "running", "stopping") or refinement["waiting"]
        return status["state"] in ("waiting", "complete", "incomplete", "aborted", "failed") and not busy

    def _journals(self) -> list[str]:
        """Journals still to be converted."""
        return [path.name for path in self.folder.glob("*.journal") if not path.name.startswith("damaged_")]

    def _finish(self) -> None:
        """End the server; processes that remain are orphans. Start and end it again, to check that this tidies up."""
        for _ in range(2):
            status = self.server.end()
            give_up = time.monotonic() + LEAVE_S
            while (left := self.server.marked()) and time.monotonic() < give_up:
                time.sleep(0.2)
            names = [" ".join(_command(process)) for process in left]
            self.history.note("stopped", status=status, orphans=names)
            if _ == 0:
                self._kill_what_is_left()
                self.server.start_again()
                self._wait_for_server()
                give_up = time.monotonic() + LEAVE_S
                while self._journals() and time.monotonic() < give_up:
                    time.sleep(0.2)
        self.history.note("left", names=[path.name for path in self.folder.iterdir()])

    def _kill_what_is_left(self) -> None:
        for process in self.server.marked():
            with suppress(psutil.Error):
                os.kill(process.pid, signal.SIGKILL)


def _command(process: psutil.Process) -> list[str]:
    try:
        return [str(word)[:80] for word in process.cmdline()]
    except psutil.Error:
        return ["?"]
