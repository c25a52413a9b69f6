"""Refinements of a session: one at a time, each in its own process, with its progress passed on as events."""

from __future__ import annotations

import math
import subprocess
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ptylive.schema import CommandError, ScanHeader
from ptylive.schema.errors import brief
from ptylive.server.refinement import warm_refinement
from ptylive.server.refinement.job_process import TERMINATE_TIMEOUT_S, JobProcess, Launch, RunningJob
from ptylive.server.refinement.kept_jobs import Kept, keep, keeping, left_checkpoint
from ptylive.server.refinement.refine_job import PICTURES, RefineJob
from ptylive.server.wire.publisher import Publisher

CUT_OFF = "cut off with an earlier server: it can be resumed"
MOST_ENDED = 16
"""Number of runs that have ended of which `status` still says how."""
_REMEDY = ": resume continues from its last checkpoint"
WAITS = "waiting for the end of the scan and its maps"


@dataclass
class RunState:
    """State of a refinement, as reported by `status` and the events."""

    state: str = "none"
    run: str = ""
    uid: str = ""
    series: str = ""
    """Name of its scan."""
    phase: str = ""
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    evaluations: float = 0.0
    message: str = ""
    place: str = ""
    """Cluster worker it runs on, or why it runs on this machine; empty if it runs here as requested."""
    workers: int = 0
    """Number of workers of the cluster it runs on."""
    falling: bool = False
    """Whether the loss of a run that is done was still falling: more epochs help."""
    converged: bool | None = None
    """Whether a run that is done had converged; None: unknown."""
    resumable: bool = False
    """Whether a run that was stopped or failed left something to continue from."""
    found: dict[str, Any] = field(default_factory=dict)
    """Drift and tilts at the end; see :func:`ptylive.server.refinement.found_values.found_values`."""
    warning: str = ""
    """Current problem of the refinement process: a checkpoint or a result that cannot be written."""
    losses: list[float] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    stages: list[int] = field(default_factory=list)
    """Epochs before each stage that has begun; empty if there is only one stage."""
    object: dict[str, Any] | None = None
    probe: dict[str, Any] | None = None
    slices: dict[str, Any] | None = None
    slice_amplitudes: dict[str, Any] | None = None
    object_deviation: dict[str, Any] | None = None
    object_amplitude: dict[str, Any] | None = None

    def summary(self, compiling: str = "") -> dict[str, Any]:
        """Return the part shown in `status`. ``compiling``: message while the awaited results wait for compilation."""
        shown = ("state", "run", "uid", "series", "epoch", "epochs", "loss", "message", "warning")
        described = {name: getattr(self, name) for name in shown}
        if self.state == "queued" and compiling and self.message == WAITS:
            described["message"] = compiling
        return described | ({"place": self.place, "workers": self.workers} if self.place else {})

    def event(self, *, pictures: bool) -> dict[str, Any]:
        """Return the payload of a `refinement` event."""
        plain = {name: value for name, value in vars(self).items() if name not in PICTURES}
        plain.update(losses=list(self.losses), phases=list(self.phases), stages=list(self.stages))
        if pictures and self.object is not None:
            plain |= {name: picture for name in PICTURES if (picture := getattr(self, name)) is not None}
        return plain

    def try_out(self, words: str) -> None:
        """Record a trial before the run."""
        self.state, self.phase, self.message = "running", "trial", words

    def advance(self, step: dict[str, Any]) -> None:
        """Apply one progress message of the process."""
        if self.state == "queued":
            self.state = "running"
        for name in ("phase", "epochs", "seconds", "seconds_left", "evaluations"):
            setattr(self, name, step[name])
        self.stages = [int(first) for first in step.get("stages", ())]
        self.message = "; ".join(words for words in (step["warning"], step["message"]) if words)
        if step["epoch"] < self.epoch:  # restarted: the calibration changed after refining during the scan
            self.epoch, self.loss, self.losses, self.phases = 0, None, [], []
        if step["epoch"] > self.epoch and step["loss"] is not None:
            self.epoch, self.loss = step["epoch"], step["loss"]
            losses, phases = step.get("losses") or [step["loss"]], step.get("phases") or [step["phase"]]
            unknown = max(0, self.epoch - len(losses) - len(self.losses))  # epochs of an earlier process
            before = self.epoch - len(losses)
            self.losses = [*self.losses, *[math.nan] * unknown][:before] + [float(loss) for loss in losses]
            self.phases = [*self.phases, *[step["phase"]] * unknown][:before] + [str(phase) for phase in phases]
        for name in PICTURES:
            setattr(self, name, step.get(name, getattr(self, name)))


class Refinements:
    """Manager that starts, watches and stops refinements.

    ``launch`` starts a job; ``on_ended`` is called in the watching thread.
    """

    def __init__(self, publisher: Publisher, on_ended: Callable[[RunState], None], launch: Launch = JobProcess) -> None:
        self._publisher, self._on_ended, self._launch = publisher, on_ended, launch
        self._lock = threading.Lock()
        self._running: RunningJob | None = None
        self._thread: threading.Thread | None = None
        self.current = RunState()
        self.last_job: RefineJob | None = None
        self.last_uid = ""
        """Uid of the scan of the last job."""
        self.ended: deque[dict[str, Any]] = deque(maxlen=MOST_ENDED)
        """Summaries of the last runs that have ended: those in the queue begin at once after them."""
        self.last_epochs: int | None = None
        """How many epochs the last job has done; None: unknown."""
        self._compiling: dict[tuple[int, int] | None, subprocess.Popen[bytes]] = {}
        """Compiling processes by detector shape; each compiles all variants of the kernel, whichever comes first."""
        self._scan_runs = self._closed = False

    @property
    def busy(self) -> bool:
        """Whether a refinement is running or about to run."""
        return self.current.state in ("queued", "running", "stopping")

    def prepare(self, header: ScanHeader, *, gpu: bool) -> None:
        """Start compiling the kernel for a running scan, once per detector, in a separate process: the part needed
        comes first, that of a ``gpu`` last.
        """
        shape = header.detector.shape
        with self._lock:
            if self.busy or shape in self._compiling:
                return
            process = warm_refinement.start(header, warm_refinement.LOWEST_PRIORITY, ahead=True, gpu=gpu)
            if process is not None:
                self._compiling[shape] = process

    def give_way(self) -> None:
        """Lower the priority of refinements while a scan arrives: its frames come first on the processor, too."""
        with self._lock:
            self._scan_runs = True
            if self._running is not None:
                self._running.lower_priority()

    def scan_over(self) -> None:
        """Let refinements that start from now on run at normal priority: niced, they might wait for other programs."""
        with self._lock:
            self._scan_runs = False

    def _end_compiling(self) -> None:
        """End compiling processes: a starting refinement compiles what it lacks and must not share a core with them."""
        while self._compiling:
            warm_refinement.end(self._compiling.popitem()[1])

    def queue(self, run: str, uid: str, series: str) -> None:
        """Announce a refinement that starts when its scan has finished. Raises CommandError if another one is busy."""
        with self._lock:
            self.require_idle()
            self.current = RunState(state="queued", run=run, uid=uid, series=series, message=WAITS)
        self._publish(pictures=False)

    def start(self, job: RefineJob, uid: str, done: int | None = None, *, announced: bool = False) -> None:
        """Start a process for a job; ``done``: epochs of its checkpoint. Raises CommandError if another one is busy.

        ``announced``: by :meth:`queue`; unless it was stopped meanwhile, which is no error.
        """
        with self._lock:
            self._require_open()
            waits = self.current.state == "queued" and self._running is None
            is_it = waits and (self.current.run, self.current.uid) == (job.run, uid)
            if announced and not is_it:
                return
            if not is_it:
                self.require_idle()
            self._end_compiling()
            self._running = running = self._launch(job)
            self.current = RunState("queued", job.run, uid, job.series, message="starting")
            self.last_job, self.last_uid, self.last_epochs = job, uid, done
            if self._scan_runs:
                running.lower_priority()
            self._thread = threading.Thread(target=self._watch, args=(running, job), name="refine", daemon=True)
            self._thread.start()
        self._publish(pictures=False)

    def adopt(self, run: str, uid: str, series: str) -> None:
        """Report a run that was cut off with an earlier server, unless this one has begun a refinement."""
        with self._lock:
            if self.busy or self.last_job is not None:
                return
            self.current = RunState("stopped", run, uid, series, message=CUT_OFF, resumable=True)
        self._publish(pictures=False)

    def stop(self, run: str = "", uid: str = "") -> None:
        """Ask the running refinement to stop after its current batch. Raises CommandError if none is running, or
        another one than ``run`` of the scan ``uid``.
        """
        with self._lock:
            if not self.busy:
                raise CommandError("no refinement is running")
            if run not in ("", self.current.run) or uid not in ("", self.current.uid):
                now = f"{self.current.run} of {brief(self.current.series)} is {self.current.state} now"
                raise CommandError(f"the command was for another refinement; {now}", "check, and repeat the command")
            running = self._running
            if running is None:
                self.current.state, self.current.message = "stopped", "withdrawn before it started"
            else:
                self.current.state = "stopping"
        if running is not None:
            running.tell({"stop": True})
        self._publish(pictures=False)

    def summary(self, compiling: str = "") -> dict[str, Any]:
        """Return what `status` shows: the newest run, and those that have ended; see :meth:`RunState.summary`."""
        return {**self.current.summary(compiling), "ended": list(self.ended)}

    def tell(self, uid: str, message: dict[str, Any]) -> None:
        """Send a message to the process, if it is still refining this scan."""
        running = self._running
        if running is not None and self.current.uid == uid:
            running.tell(message)

    def follows(self, uid: str) -> bool:
        """Return whether a process began on the first rows of this scan, and waits for the job of the whole scan."""
        with self._lock:
            job = self.last_job if self._running is not None and self.current.uid == uid else None
            return job is not None and job.journal is not None

    def hand_over(self, job: RefineJob, uid: str) -> None:
        """Give the job of a whole scan to the process that began on its first rows."""
        self.last_job = job
        self._keep(Kept(job))
        self.tell(uid, {"whole": job.to_plain()})

    def fail_queued(self, reason: str) -> None:
        """Mark the queued refinement as failed, because the scan it waited for cannot be refined."""
        with self._lock:
            if self.current.state == "queued" and self._running is None:
                self.current.state, self.current.message = "failed", reason
        self._publish(pictures=False)

    def close(self) -> None:
        """End the process in whatever state it is, and start no more; its last checkpoint stays."""
        with self._lock:
            self._closed = True
            self._end_compiling()
            running, thread = self._running, self._thread
        if running is not None:
            running.end()
        if thread is not None:
            thread.join(TERMINATE_TIMEOUT_S)

    def _require_open(self) -> None:
        if self._closed:
            raise CommandError("the server is ending", "refine again when it has been started again")

    def require_idle(self) -> None:
        """Raise CommandError if no refinement could begin now."""
        self._require_open()
        if self.busy:
            doing = f"refinement {self.current.run} is {self.current.state}"
            raise CommandError(doing, "queue this one behind it (queue=true), or stop it first")

    def _watch(self, running: RunningJob, job: RefineJob) -> None:
        """Pass on the messages of a job until it ends, then notify the session."""
        with keeping(job, self._cannot_keep):
            self._keep(self._follow(running, job))
        self._publish(pictures=True)
        self.ended.append(self.current.summary())
        self._on_ended(self.current)

    def _keep(self, kept: Kept) -> None:
        try:
            keep(kept)
        except OSError as error:
            self._cannot_keep(f"{error.filename or 'a file'}: {error.strerror}")

    def _cannot_keep(self, why: str) -> None:
        self._publisher.log("warning", f"refinement {self.current.run} cannot be resumed after a restart: {why}")

    def _follow(self, running: RunningJob, job: RefineJob) -> Kept:
        """Pass on the messages of a job until it has ended; return it, or that of the whole scan, as it is now."""
        ended: dict[str, Any] = {}
        for message in running.messages():
            if message["kind"] == "progress":
                self._warn(message["warning"])
                self.current.advance(message)
                self._publish(pictures="object" in message)
            elif message["kind"] == "trial":
                self.current.try_out(message["message"])
                self._publish(pictures=False)
            elif message["kind"] in ("note", "place"):
                self.current.message = message["message"]
                if message["kind"] == "place":
                    self.current.place, self.current.workers = message["message"], message["workers"]
                self._publish(pictures=False)
            elif message["kind"] == "remark":
                self._publisher.log("info", f"refinement {job.run}: {message['message']}")
            elif message["kind"] == "warning":
                self._warn(message["message"])
                self.current.message = message["message"]
                self._publish(pictures=False)
            elif message["kind"] in ("ended", "failed"):
                ended = message
        resumable = left_checkpoint(self.last_job or job)
        ending = running.ending() + (_REMEDY if resumable else "")
        with self._lock:
            self._running = None
            self._conclude(ended, ending)
            self.current.resumable = resumable
            self.last_epochs = max(self.current.epoch, self.last_epochs or 0) or None
            kept = Kept(self.last_job or job, self.last_epochs)
        if ended.get("problem"):
            self._publisher.log("error", f"refinement {job.run}: {ended['problem']}")
        return kept

    def _conclude(self, ended: dict[str, Any], ending: str) -> None:
        """Set the final state of a run, including one whose process was killed."""
        run = self.current
        if ended.get("kind") == "ended":
            run.state, run.warning = str(ended["state"]), ended["problem"]
            if run.state == "done":
                run.falling, run.converged = bool(ended.get("falling")), ended.get("converged")
            run.found = dict(ended.get("found") or {})
            renamed = f"stored as {ended['run']}" if ended["run"] not in ("", run.run) else ""
            parts = (ended["problem"], renamed, ended["message"], ended["algorithm"], ended["reason"])
            run.message = "; ".join(part for part in parts if part)
        else:
            left = run.state == "stopping" and not ended  # it compiled
            run.state = "stopped" if left or ended.get("stopped") or self._closed else "failed"
            told = "ended with the server" if self._closed else "stopped on request" if left else ending
            run.message = ended.get("message") or told
        run.phase = run.phases[-1] if run.phases else run.phase  # held-out patterns were evaluated after it
        run.seconds_left = 0.0

    def _warn(self, words: str) -> None:
        """Log a warning of the process once, and show it as long as it persists."""
        if words and words != self.current.warning:
            self._publisher.log("warning", f"refinement {self.current.run}: {words}")
        self.current.warning = words

    def _publish(self, *, pictures: bool) -> None:
        self._publisher.publish("refinement", self.current.event(pictures=pictures))
