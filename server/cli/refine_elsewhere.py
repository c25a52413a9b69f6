"""``ptylive refine --cluster``: the same refinement on a worker of a Dask cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ptylive.schema import PtyliveError, RefinementError
from ptylive.server.cli.output import Shown
from ptylive.server.cluster.places import places
from ptylive.server.cluster.where import WorkersAsked
from ptylive.server.refinement.refine_job import RefineJob
from ptylive.server.refinement.refinements import RunState


@dataclass(frozen=True)
class Elsewhere:
    """Outcome of a refinement on a cluster. ``ended``: the last message of the refinement."""

    ended: dict[str, Any]
    run: RunState

    def outcome(self) -> dict[str, Any]:
        """Return the values for the answer of the command."""
        names = ("state", "loss", "algorithm", "reason", "message", "backend")
        summary = {**{name: self.ended[name] for name in names}, "epochs": self.run.epoch}
        return {**summary, **self.ended.get("outcome", {}), "place": self.run.place}

    def sentences(self) -> list[str]:
        """Return the outcome as sentences; empty for a refinement stopped before it began."""
        return list(self.ended.get("sentences", ()))


def refine_elsewhere(
    job: RefineJob, where: WorkersAsked, shown: Shown, stop: threading.Event, tell: Callable[[str], None]
) -> Elsewhere:
    """Run a job on a cluster to its end; ``stop`` ends it.

    Raises PtyliveError if the job failed, or if the cluster is missing and not waited for.
    """
    state = RunState(run=job.run)
    with places(where, job.backend, job.threads, tell) as (launch, _):
        running = launch(job)
        finished = threading.Event()
        threading.Thread(target=_pass_on, args=(stop, finished, running.tell), name="stop", daemon=True).start()
        ended: dict[str, Any] = {}
        try:
            for message in running.messages():
                ended = _handle(message, state, shown, tell) or ended
        finally:
            finished.set()
            running.end()
    if ended.get("kind") != "ended":
        reason = str(ended.get("message") or running.ending())
        raise RefinementError(reason) if stop.is_set() else PtyliveError(reason)
    return Elsewhere(ended, state)


def _handle(message: dict[str, Any], state: RunState, shown: Shown, tell: Callable[[str], None]) -> dict[str, Any]:
    """Show a message; return it if it is the last one, otherwise an empty map."""
    kind = message["kind"]
    if kind == "progress":
        state.advance(message)
        loss = "" if message["loss"] is None else f" loss {message['loss']:.6g}"
        shown.update(message["epoch"], message["epochs"], f"{message['phase']}{loss}")
    elif kind in ("remark", "warning") or message.get("lost"):
        tell(message["message"])
    elif kind in ("ended", "failed"):
        return message
    elif "message" in message:
        if kind == "place":
            state.place = message["message"]
        shown.update(0, None, message["message"])
    return {}


def _pass_on(stop: threading.Event, finished: threading.Event, tell: Callable[[dict[str, Any]], None]) -> None:
    """Pass Ctrl-C on as a stop message to the worker."""
    while not finished.wait(0.1):
        if stop.is_set():
            tell({"stop": True})
            return
