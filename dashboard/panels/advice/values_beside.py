"""Notes on values in use: what the header sent instead of a pinned value, and what the data say about a given one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.client.state import FINAL_STATES, CalibrationEntry, ServerState
from ptylive.dashboard.panels.advice.advisor import Quiet, Seen, Takers
from ptylive.dashboard.readouts import CALIBRATION_ROWS, origin_word, quantity
from ptylive.dashboard.requests import Request
from ptylive.schema.maps import Strength

FIRST_LOOK = 0.1
"""Fraction of a scan after which the data are evaluated; again at its end, and when a value has changed."""
ESTIMATED = ("C10", "detector_pixel_invA", "descan_px")
"""Rows for which the data yield an independent estimate."""
DEPENDS_ON = (*ESTIMATED, "depth_A", "rotation_deg", "detector_transform", "energy_eV", "convergence_semiangle_mrad")
GIVEN = "given"
RETRY_S = 5.0
"""Delay before asking again after a refusal."""


@dataclass(frozen=True)
class Remark:
    """A line below a value; ``command``: what the button sends, none if there is nothing to take over."""

    text: str
    state: str
    """``sent``, ``agrees`` or ``differs``."""
    label: str = ""
    command: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    source: str = GIVEN
    """Who gave the value."""


class ValuesBeside(Quiet):
    """One line for each row of the calibration about which there is something to report."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        self._requested: tuple[object, ...] = ()
        self._retry_time = 0.0
        self._estimates: Mapping[str, Any] = {}
        self.strength = Strength()
        """Strength of the specimen, as far as it is known."""
        self._rows: dict[str, Remark] = {}

    def follow(self, seen: Seen) -> None:
        """Request the estimates; nothing is reported about an earlier scan."""
        state = seen.view.state
        key = _stage(state) if time.monotonic() >= self._retry_time else self._requested
        if key != self._requested:
            if key[:1] != self._requested[:1]:
                self.strength = Strength()
            self._requested, self._estimates = key, {}
            if key and seen.view.connected:
                self._orders.ask("estimates", lambda reply: self._take(reply, key), on_refusal=self._refused)
        remarks = {} if seen.looking_back else {**of_data(state, self._estimates), **of_header(state)}
        self._rows = {name: remarks[name] for name, _, _ in CALIBRATION_ROWS if name in remarks}

    def _refused(self, _line: str) -> None:
        """Ask again later: while results are being made nobody can access the scan's frames."""
        self._requested, self._retry_time = (), time.monotonic() + RETRY_S

    def _take(self, reply: Reply, key: tuple[object, ...]) -> None:
        estimates = reply.get("estimates")
        if key == self._requested and isinstance(estimates, Mapping):
            self._estimates = estimates
            values = (reply.get(name) for name in ("modulation", "explained"))
            self.strength = Strength(*(float(value) if isinstance(value, int | float) else None for value in values))

    def use(self, request: Request) -> None:
        """Use the value suggested for a row."""
        row = self._rows.get(request.name)
        if row is not None and row.command:
            self._orders.send(row.command, "values adopted; undo reverts them", **row.arguments)

    def texts(self) -> Mapping[str, str]:
        """A tick in place of the origin if the data agree with the given value."""
        return {
            f"cal_{name}_origin": f"{remark.source} ✓"
            for name, remark in self._rows.items()
            if remark.state == "agrees"
        }

    def lists(self) -> Mapping[str, Any]:
        """Data for the page to draw."""
        rows = {
            name: {"text": remark.text, "state": remark.state, "label": remark.label}
            for name, remark in self._rows.items()
        }
        return {"beside": rows}

    def takers(self) -> Takers:
        """Handlers of clicks on the buttons."""
        return {"use_row": self.use}


def _stage(state: ServerState) -> tuple[object, ...]:
    """Key of the state for which an estimate holds; empty while there is nothing to request."""
    ended = state.state in FINAL_STATES
    if not state.uid or not (ended or state.progress >= FIRST_LOOK):
        return ()
    return (state.uid, ended, *(str(state.calibrated(name)) for name in DEPENDS_ON))


def of_header(state: ServerState) -> dict[str, Remark]:
    """Pinned values that differ from those in the header of this scan."""
    rows = {name: unit for name, _, unit in CALIBRATION_ROWS}
    found = {}
    for name, sent in state.contradicted.items():
        if name in rows:
            pinned = quantity(name, CalibrationEntry(value=state.calibrated(name)), rows[name])
            received = quantity(name, CalibrationEntry(value=sent), rows[name])
            values = {name: list(sent) if isinstance(sent, list | tuple) else sent}
            text = f"typed {pinned}, sent {received}"
            found[name] = Remark(text, "sent", "use sent", "configure", {"values": values})
    return found


def of_data(state: ServerState, estimates: Mapping[str, Any]) -> dict[str, Remark]:
    """What the data say, with a button if that differs from the value in use."""
    units = {name: unit for name, _, unit in CALIBRATION_ROWS}
    found = {}
    for name in ESTIMATED:
        data = estimates.get(name)
        if not isinstance(data, Mapping) or state.calibration.get(name, CalibrationEntry()).origin != GIVEN:
            continue
        doubt = data.get("uncertainty")
        entry = CalibrationEntry(value=data.get("value"), uncertainty=float(doubt) if doubt is not None else None)
        text = quantity(name, entry, units[name])
        if name == "descan_px":
            apart = float(data.get("apart_px") or 0.0)
            text = f"{text}; patterns are up to {apart:.1f} px from where the value in use puts them"
        subject = "disc and semi-angle say" if name == "detector_pixel_invA" else "data say"
        if data.get("agrees"):
            found[name] = Remark(f"{subject} {text}", "agrees", source=origin_word(state, name))
        else:
            found[name] = Remark(f"{subject} {text}", "differs", "use", "calibrate", {"names": [name]})
    return found
