"""``python -m ptylive.server.tune.tune_process``: a tuning in a separate process, for a server
(:mod:`ptylive.server.refinement.side_process`).

It sends ``doing`` (its current activity), ``standing`` (the trials), ``curves`` (the loss over each value) and at the
end ``found``: the same, sentences, and settings and metadata with the best values; this is also kept with the trials.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.application.tuning import plain_state
from ptylive.application.tuning.ranges import parse_over
from ptylive.engine.refine.validation.settings_trial import Judge
from ptylive.schema import PtyliveError
from ptylive.server.cluster.places import places
from ptylive.server.cluster.transfer import copy_maps
from ptylive.server.cluster.where import WorkersAsked
from ptylive.server.refinement.side_process import Send, run
from ptylive.server.tune.beginning import Begun, Wanted
from ptylive.server.tune.coordinator import Standing
from ptylive.server.tune.run import Listener, tune_scan

CURVES_S, CURVES_SHARE = 3.0, 5.0
"""Minimum seconds between two curves, and minimum as a multiple of the time one curve took."""


class Speaker:
    """Sender of the progress of a tuning."""

    def __init__(self, send: Send, sweeps: int) -> None:
        self._send, self._sweeps = send, sweeps
        self.begun: Begun | None = None
        self._due = 0.0

    def doing(self, words: str) -> None:
        """Send the current activity before the first trial and after the last."""
        self._send({"kind": "doing", "message": words})

    def begin(self, begun: Begun) -> None:
        """Note what is varied, and send an empty standing."""
        self.begun = begun
        self._send({"kind": "standing", **plain_state.standing(begun.over, ()), "under_way": 0})

    def standing(self, now: Standing) -> None:
        """Send the standing after trials have ended or begun."""
        assert self.begun is not None  # noqa: S101  (it precedes the trials)
        over = self.begun.over
        self._send({"kind": "standing", **plain_state.standing(over, now.tried), "under_way": now.under_way})
        began = time.monotonic()
        if now.tried and began > self._due:
            self._send({"kind": "curves", "curves": plain_state.curves(over, now.tried, self._sweeps)})
            self._due = time.monotonic() + max(CURVES_S, CURVES_SHARE * (time.monotonic() - began))


def tune(request: Mapping[str, Any], send: Send, stop: threading.Event) -> None:
    """Make the trials of a request (:class:`ptylive.server.commands.tune_commands.TuneCommands`)."""
    judge = Judge.HELD_OUT
    wanted = Wanted(
        scan=Path(request["scan"]),
        folder=Path(request["folder"]),
        over=parse_over(request["over"], judge),
        preset=Preset.from_mapping(request["preset"]),
        values=request["values"],
        defaults=request["defaults"],
        judge=judge,
        patterns=int(request["patterns"]),
        sweeps=int(request["sweeps"]),
        backend=request["backend"],
        threads=int(request["threads"]),
        command_line=request["command_line"],
    )
    speaker = Speaker(send, wanted.sweeps)
    _take_maps(request.get("maps", ""), wanted)
    where = places(WorkersAsked(*request["where"]), wanted.backend, wanted.threads, speaker.doing)
    listener = Listener(speaker.doing, speaker.begin, speaker.standing, stop.is_set)
    tuned = tune_scan(wanted, int(request["trials"]), 0, where, listener)
    found, begun = tuned.outcome, speaker.begun
    assert begun is not None  # noqa: S101  (it ended)
    shown: dict[str, Any] = {
        **plain_state.standing(begun.over, found.tried),
        **plain_state.findings(found),
        "curves": plain_state.curves(begun.over, found.tried, wanted.sweeps),
        "report": str(tuned.files["report"]),
        "settings": {},
        "corrections": {},
    }
    if found.values is not None:
        settings = Preset.from_mapping(begun.settings(found.values)).model_dump(exclude_unset=True, mode="json")
        shown |= {"settings": settings, "corrections": begun.corrections(found.values)}
    plain_state.keep(wanted.folder, shown)
    send({"kind": "found", **shown})


def _take_maps(maps: str, wanted: Wanted) -> None:
    """Copy the maps and calibration that the server has of the scan, unless trials have begun already."""
    target = wanted.results
    if maps and not target.exists():
        with suppress(PtyliveError, OSError):  # then they are made
            copy_maps(Path(maps), target)


if __name__ == "__main__":
    sys.exit(run(tune, "the tuning"))
