"""The parent process of a running server: starts acquire and dashboard, restarts them if they die, and reports it.

A receiving process that died resumes its journal after the restart, and senders reconnect. A process that keeps dying
is given up after a while, and one that fails to start in the first place is not started again.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ptylive.schema import InputFileError, PtyliveError
from ptylive.schema.plain_errors import ctrl_c_held
from ptylive.server.process.config import ServerConfig
from ptylive.server.process.exit_codes import ExitCode
from ptylive.server.process.operators import TOKENS_VARIABLE, token_of_each, tokens_for
from ptylive.server.process.recording_folder import require_recordable
from ptylive.streamer.sockets.security import KEYS_VARIABLE, ServerKeys

STOP_TIMEOUT_S = 25.0
RESTART_PAUSE_S = 1.0
MOST_RESTARTS, RESTARTS_WITHIN_S = 5, 120.0
"""Deaths allowed, and the period in which they are counted; a process that dies more often is given up."""
FIRST_PAUSE_S = 0.25
"""Pause before the first restart; it doubles before each further restart."""
POLL_S = 0.2
MOST_STATE = 100_000
"""Maximum length of the user state in characters: it is passed as an argument, which the system limits to 128 KiB."""
HEAR_S = 2.0
"""How long to wait for the last output of a process that has died."""
DASHBOARD_TIMEOUT_S = 60.0
"""How long startup waits for the dashboard to report that it serves; a hanging dashboard delays only its own page."""


_USES = {"watch": "watch", "files": "open files of"}
"""Option that names a folder -> what the server does with that folder, in words for messages."""


@dataclass
class Supervisor:
    """One server: ``start`` returns once the server accepts data, ``watch`` once it has ended.

    ``say`` is called with lines for the person at the terminal.
    """

    config: ServerConfig
    command_line: str = "ptylive serve"
    say: Callable[[str], None] = lambda _line: None
    data_address: str = ""
    dashboard_url: str = ""
    _tokens: tuple[str, ...] = field(default=(), init=False, repr=False)
    _acquire: subprocess.Popen[str] | None = field(default=None, init=False)
    _dashboard: subprocess.Popen[str] | None = field(default=None, init=False)
    _restart_at: float = field(default=0.0, init=False)
    _deaths: list[float] = field(default_factory=list, init=False)
    _restarts: int = field(default=0, init=False)
    _images: TemporaryDirectory[str] | None = field(default=None, init=False)
    """Copies of the detector images; deleted with this object."""
    _ready: bool = field(default=False, init=False)
    """Whether acquire has reported that it accepts data."""
    _user_state: str = field(default="{}", init=False)
    """What users have set in acquire, as last reported by it; JSON."""
    _listener: threading.Thread | None = field(default=None, init=False)

    def start(self) -> None:
        """Start the processes. Raises PtyliveError with the message of a process that failed to start."""
        if self.config.dashboard is not None:
            self.config = self.config.model_copy(update={"dashboard": _free_address(self.config.dashboard)})
            if self.config.security.token:
                self._tokens = tokens_for(self.config.security.operators, os.environ.get(TOKENS_VARIABLE, ""))
        if self.config.key_folder is not None:
            ServerKeys.open(self.config.key_folder)  # report a faulty folder before anything starts
        if self.config.recording_folder is not None:
            require_recordable(self.config.recording_folder)
        for option, folder in (("watch", self.config.watched_folder), ("files", self.config.open_folder)):
            if folder is not None and not folder.is_dir():
                problem = f"cannot {_USES[option]} {folder}: it is not a folder"
                hint = f"create it, or give another with --{option} DIR ({option} under [server] in a file)"
                raise PtyliveError(problem, hint)
        if self.config.detector_files:
            self._keep_images(self.config.detector_files)
        self._start_acquire()
        if self.config.dashboard is not None:
            self._start_dashboard(self.config.dashboard).join(DASHBOARD_TIMEOUT_S)

    def _keep_images(self, files: dict[str, str]) -> None:
        """Read and copy the detector images once, so that a restarted receiving process finds them unchanged.

        Raises PtyliveError for a file that is not an image.
        """
        from ptylive.streamer.detector_arrays import read_detector_arrays
        from ptylive.streamer.vetting.whole_file import vet_images

        try:
            vet_images(files)
            images = read_detector_arrays(files)
        except InputFileError as error:
            raise InputFileError(str(error), _with_folder(error.hint, files.values())) from None
        if any(image.ndim for image in images.values()):
            self._images = TemporaryDirectory(prefix="ptylive-images-")
        paths: dict[str, str] = {}
        for name, image in images.items():
            if not image.ndim or self._images is None:  # a number
                paths[name] = str(float(image))
                continue
            paths[name] = str(Path(self._images.name) / f"{name}.npy")
            np.save(paths[name], image, allow_pickle=False)
        self.config = self.config.model_copy(update={"detector_files": paths})

    def _start_acquire(self, *history: str) -> None:
        """Start acquire and wait until it accepts data. Raises PtyliveError with its message when it does not."""
        arguments = ["ptylive.server.serve.acquire", self.config.model_dump_json(), self.command_line, *history]
        self._ready = False
        self._acquire = _python(arguments, stdin=subprocess.PIPE)
        line = _first_line(self._acquire)
        answer = json.loads(line) if line.startswith("{") else {"error": "the acquire process did not start"}
        if not answer.get("ready"):
            self._acquire.wait()
            raise PtyliveError(str(answer.get("error", "the acquire process did not start")))
        self._ready, self.data_address = True, str(answer["data"])
        self._listener = threading.Thread(target=self._hear_acquire, args=(self._acquire,), daemon=True)
        self._listener.start()

    def _hear_acquire(self, process: subprocess.Popen[str]) -> None:
        """Keep the user state that acquire reports, until the process ends."""
        assert process.stdout is not None  # noqa: S101  (we asked for the pipe)
        for line in process.stdout:
            with suppress(ValueError, KeyError, TypeError):  # output printed by a library
                state = json.dumps(json.loads(line)["user_state"])
                self._user_state = state if len(state) <= MOST_STATE else self._user_state

    def _start_dashboard(self, address: str) -> threading.Thread:
        """Start the dashboard; the thread ends when its address is known, or when it has ended without printing one.

        A dashboard that does not come up is started again later; acquisition is supervised in the meantime.
        """
        host, _, port = address.rpartition(":")
        options = ["--control", self.config.control, "--address", host, "--port", port]
        options += ["--exit-with-parent", str(os.getpid())]
        for name in self.config.security.names:
            options += ["--allow-host", name]
        if self.config.security.viewers_fetch:
            options.append("--viewers-fetch")
        if self.config.prefix:
            options += ["--prefix", self.config.prefix]
        self._dashboard = _python(["ptylive.dashboard", *options], keys=self.config.key_folder, tokens=self._tokens)
        thread = threading.Thread(target=self._hear_dashboard, args=(self._dashboard,), daemon=True)
        thread.start()
        return thread

    def _hear_dashboard(self, process: subprocess.Popen[str]) -> None:
        line = _first_line(process)
        if line.startswith("dashboard:"):
            self.dashboard_url = line.removeprefix("dashboard:").strip()

    @property
    def logins(self) -> dict[str, str]:
        """Dashboard address for each role and each named operator; empty without tokens."""
        known = token_of_each(self._tokens)
        return {who: f"{self.dashboard_url}/login?token={token}" for who, token in known.items()}

    @property
    def running(self) -> bool:
        """Whether frames are being received."""
        return self._acquire is not None and self._acquire.poll() is None

    def watch(self) -> int:
        """Supervise the processes until acquire ends for good; return the exit status of the program."""
        while True:
            while self.running:
                self._look_after_dashboard()
                time.sleep(POLL_S)
            assert self._acquire is not None  # noqa: S101  (it was started)
            if self._acquire.returncode in (ExitCode.DONE, ExitCode.PARTIAL) or not self._restart():
                return self._ended()

    def _restart(self) -> bool:
        """Restart acquire after it died; return False when it has died too often."""
        assert self._acquire is not None  # noqa: S101  (it died)
        if self.config.protocol == "native":  # senders use this address; for DECTRIS it is the detector's
            self.config = self.config.model_copy(update={"data": self.data_address})
        cause = f"the receiving process died ({_end_of(self._acquire.returncode)})"
        while True:
            now = time.monotonic()
            self._deaths = [death for death in self._deaths if now - death < RESTARTS_WITHIN_S] + [now]
            if len(self._deaths) > MOST_RESTARTS:
                self.say(f"{cause}, {len(self._deaths)} times in {RESTARTS_WITHIN_S:.0f} s: giving up")
                return False
            self.say(f"{cause.upper()}: restarting it; the received frames are in its journal")
            time.sleep(FIRST_PAUSE_S * 2 ** (len(self._deaths) - 1))
            if self._listener is not None:
                self._listener.join(HEAR_S)
            self._restarts += 1
            notice = f"{cause} at {time.strftime('%H:%M:%S')} and was restarted; its scan was recovered from the disk"
            try:
                self._start_acquire(str(self._restarts), notice, self._user_state)
            except PtyliveError as error:
                cause = f"the receiving process did not restart ({error.line()})"
                continue
            self.say(f"receiving again at {self.data_address}")
            return True

    def _look_after_dashboard(self) -> None:
        """Restart a dashboard that has died, at most once a second."""
        if self._dashboard is None or self._dashboard.poll() is None or time.monotonic() < self._restart_at:
            return
        self._restart_at = time.monotonic() + RESTART_PAUSE_S
        self.say(f"the dashboard ended with status {self._dashboard.returncode}: restarting it")
        self._start_dashboard(self.config.dashboard or "")

    def _ended(self) -> int:
        status = 0 if self._acquire is None else int(self._acquire.wait())
        if self._dashboard is not None and self._dashboard.poll() is None:
            self._dashboard.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._dashboard.wait(5.0)
        if not self._ready and status == -signal.SIGTERM:
            return ExitCode.DONE  # told to end before it accepted data
        if status == ExitCode.PARTIAL:
            self.say("NOT EVERYTHING WAS RECORDED: see the lines above")
            return ExitCode.PARTIAL
        if status != ExitCode.DONE:
            self.say(f"ACQUISITION ENDED with {_end_of(status)}: frames sent now are not received")
            return ExitCode.FAILED
        return ExitCode.DONE

    def stop(self) -> int:
        """Ask the server to finish recording and results, then end it."""
        if self.running:
            assert self._acquire is not None  # noqa: S101  (it is running)
            self._acquire.terminate()  # a signal also reaches a process that is busy or still starting
            try:
                self._acquire.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._acquire.kill()
        return self._ended()


def _free_address(address: str) -> str:
    """Return the dashboard's address with port 0 replaced by a free port. Raises PtyliveError if the port is taken."""
    host, _, port = address.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            return f"{host}:{probe.getsockname()[1]}"
        except OSError as error:
            problem = f"cannot serve the dashboard at {address}: {error.strerror}"
            raise PtyliveError(problem, "choose another port with --dashboard") from None


def _python(
    arguments: list[str], *, stdin: int | None = None, keys: Path | None = None, tokens: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Start a ptylive module as a process with the given client keys and tokens; its standard output is a pipe."""
    environment = {name: value for name, value in os.environ.items() if name != TOKENS_VARIABLE}
    if keys is not None:
        environment[KEYS_VARIABLE] = str(keys)
    if tokens:
        environment[TOKENS_VARIABLE] = " ".join(tokens)
    command = [sys.executable, "-m", *arguments]
    with ctrl_c_held():
        return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True, env=environment)


def _end_of(status: int) -> str:
    """Return an exit status in words."""
    if status >= 0:
        return f"status {status}"
    with suppress(ValueError):
        return f"signal {signal.Signals(-status).name}"
    return f"signal {-status}"


def _first_line(process: subprocess.Popen[str]) -> str:
    """Return the first line a process prints; empty when it ends without printing any."""
    assert process.stdout is not None  # noqa: S101  (we asked for the pipe)
    return process.stdout.readline().strip()


def _with_folder(hint: str, paths: Iterable[str]) -> str:
    """Add to a hint where relative paths start: a configuration may have been written for another folder."""
    if all(Path(path).expanduser().is_absolute() for path in paths):
        return hint
    remark = f"relative paths start at {Path.cwd()}, the working directory of the server"
    return f"{hint or 'check the path'} ([detector] of a file, or --set): {remark}"
