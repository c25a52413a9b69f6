"""Refinements of the scan: checks before a run, the list of runs, and a run to compare with the present one."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Mapping
from itertools import count
from pathlib import PurePath
from typing import Any, TypeGuard

import numpy as np
from bokeh.models import ColumnDataSource

from ptylive.dashboard.client.feed import FeedView, raw_picture, surroundings_of
from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.client.state import BUSY
from ptylive.dashboard.panels.picture import PictureFigure, Window
from ptylive.dashboard.pictures import Picture, Surroundings, prepare
from ptylive.dashboard.present import OF_THE_SHOWN_SCAN
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import REFINEMENT_WORDS, UNKNOWN, number, refinement_word
from ptylive.pictures.colours import ColourMap
from ptylive.schema.model import DoubleArray

CHECKED = ("C10", "rotation_deg", "scan_step_A", "detector_pixel_invA", "convergence_semiangle_mrad", "energy_eV")
"""Calibration values that the checks depend on."""
OPENS_WITHIN_S = 20.0
"""How long to wait for a scan that is opened for comparison."""
logger = logging.getLogger(__name__)


class RunsPanel:
    """Requests checks and runs when their input has changed, and shows one run for comparison."""

    def __init__(self, orders: Orders, window: Window) -> None:
        self._orders = orders
        self.view = PictureFigure("compare", window, ColourMap.MAGMA, dims=True)
        self.losses = ColumnDataSource(data={"epoch": [], "loss": []})
        self.compared = ""
        self._picture: Picture | None = None
        self._versions = count(1)
        self._checks: list[dict[str, str]] = []
        self.findings: list[Mapping[str, Any]] = []
        """The checks as the server reported them."""
        self._runs: dict[str, dict[str, Any]] = {}
        self._waiting: list[dict[str, str]] = []
        self._checked: str = ""
        self._listed: tuple[object, ...] = ()
        self._uid: str | None = None
        self._present = ""
        self._around = Surroundings()
        self._awaited, self._awaited_until = "", 0.0

    @property
    def known(self) -> Mapping[str, Any]:
        """Runs of the displayed scan, by name."""
        return self._runs

    @property
    def roots(self) -> tuple[object, ...]:
        """Models that the page places."""
        return (self.view.plot,)

    def follow(self, view: FeedView, preset: Mapping[str, Any]) -> None:
        """Request what may have changed."""
        state = view.state
        if not view.connected or not state.uid:
            return
        if state.uid != self._uid:
            if self._uid:
                self._orders.outlived(OF_THE_SHOWN_SCAN)
            self._uid, self._runs, self._checks, self.findings = state.uid, {}, [], []
            self._leave()
            self._orders.outdated("take", "replay")
            self._show_awaited()
        self._present = "" if view.refinement is None else str(view.refinement.run or "")
        self._waiting = [
            {"run": queued.run, "uid": queued.uid, "series": "" if queued.uid == state.uid else queued.series}
            for queued in state.refinement.waiting
        ]
        self._around = surroundings_of(state, None)
        values = [state.calibrated(name) for name in CHECKED]
        signature = json.dumps([state.uid, state.state, dict(preset), values, self._orders.round], default=str)
        if signature != self._checked and state.frames:
            self._checked = signature
            self._orders.ask("check", self._take_checks, preset=dict(preset))
        listed = (state.uid, state.results, state.refinement.run, state.refinement.state, self._orders.round)
        if listed != self._listed:
            self._listed = listed
            if state.refinement.state not in BUSY:
                self._orders.outdated("refine", "refine_stop", "refine_resume")
            self._orders.ask("runs", self._take_runs)

    def _take_checks(self, reply: Reply) -> None:
        self.findings = [check for check in reply.get("checks", []) if isinstance(check, Mapping)]
        self._checks = [{key: str(check.get(key, "")) for key in ("name", "state", "text")} for check in self.findings]

    def _take_runs(self, reply: Reply) -> None:
        runs = reply.get("runs")
        runs = runs if isinstance(runs, Mapping) else {}
        self._runs = {str(name): dict(run) for name, run in runs.items() if isinstance(run, Mapping)}

    def compare(self, request: Request) -> None:
        """Show a run next to the present one, or hide it."""
        if request.name == self.compared or request.name not in self._runs:
            self._leave()
            return
        self.compared = request.name
        self._orders.send("runs", f"comparing with {request.name}", self._take_run, pictures=[request.name])

    def beside(self, request: Request) -> None:
        """Show the last run of another scan of the library next to the present one, and report its name."""
        self.compared = f"{PurePath(request.name).stem} last run"
        message = f"{PurePath(request.name).stem} is shown next to it"
        self._orders.send("runs_of", message, self._take_other, recording=request.name, pictures=["last"])

    def want_beside(self, name: str) -> None:
        """Arrange for the last run of that scan to be shown next to the run of the scan about to be displayed."""
        self._awaited, self._awaited_until = name, time.monotonic() + OPENS_WITHIN_S

    def _show_awaited(self) -> None:
        name, self._awaited = self._awaited, ""
        if name and time.monotonic() < self._awaited_until:
            self.beside(Request(what="beside", name=name))

    def _take_other(self, reply: Reply) -> None:
        self._around = Surroundings()
        self._take_run(reply)

    def _take_run(self, reply: Reply) -> None:
        try:
            run = reply["pictures"][0]
            raw = raw_picture("object", {**run["object"], "units": "rad"})
            losses = [float(v) for v in run["losses"]]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            logger.warning("a run could not be read: %s", error)
            return
        self._picture = prepare(raw, next(self._versions), self._around)
        self.losses.data = {"epoch": [i + 1 for i in range(len(losses))], "loss": losses}

    def _leave(self) -> None:
        self.compared, self._picture = "", None
        self.losses.data = {"epoch": [], "loss": []}

    def show(self, limits: tuple[float, float], present: Picture | None) -> None:
        """Offer the picture of the compared run at the contrast of the ``present`` one.

        A phase is known up to a constant: the contrast is shifted by the difference of the medians.
        """
        if self._picture is None:
            return
        offset = 0.0 if present is None else float(np.median(self._picture.data) - np.median(present.data))
        self.view.locked = (limits[0] + offset, limits[1] + offset)
        self.view.offer(self._picture)
        self.view.measure()

    def withdraw(self, request: Request) -> None:
        """Remove a refinement from the line."""
        done = f"{request.name} withdrawn"
        self._orders.send("refine_withdraw", done, run=request.name, uid=request.value)

    def scans_beside(self, run: str) -> list[str]:
        """Names of the scans that a run used in addition to the first; empty if it used one."""
        scans = self._runs.get(run, {}).get("scans") or []
        return [str(scan.get("name", "")) for scan in scans[1:] if isinstance(scan, Mapping)]

    def texts(self) -> dict[str, str]:
        """The findings in one line for the session view, and the name of the compared run."""
        worst = [c for c in self._checks if c["state"] in ("warn", "bad")]
        line = " · ".join(f"{c['name']}: {c['text']}" for c in worst) or ("checks ok" if self._checks else "")
        return {"checks_line": line, "compare_name": self.compared, "present_name": self._present * bool(self.compared)}

    def lists(self, shown: str = "") -> dict[str, Any]:
        """Checks and runs for the page to draw; ``shown``: the run on display."""
        runs = [
            {
                "name": name,
                "text": _progress_text(run),
                "made": _method_text(run),
                "loss": _loss_text(run),
                "quality": ", ".join(filter(None, [held_out_words(name, self._runs), _quality_text(run)])),
                "shown": name == shown,
                "on": name == self.compared,
            }
            for name, run in self._runs.items()
        ]
        scans = scan_rows(self._runs.get(shown, {}).get("scans"))
        return {"checks": self._checks, "runs": {"known": runs, "waiting": self._waiting, "scans": scans}}

    def marks(self) -> dict[str, str]:
        """Whether two runs are shown side by side, and how the checks went."""
        states = {c["state"] for c in self._checks}
        return {
            "compare": "on" if self.compared else "off",
            "checks": "bad" if "bad" in states else "warn" if "warn" in states else "ok",
        }


def held_out_words(name: str, runs: Mapping[str, Mapping[str, Any]]) -> str:
    """How well a run predicts held-out patterns: its loss, and by how much it is worse than the best run of the scan.

    Runs are compared group by group of these patterns, which are the same for all runs of a scan: variations common to
    the groups are not scatter. Empty if the loss was not measured.
    """
    groups = {run: found for run, told in runs.items() if (found := _groups(told)) is not None}
    if name not in groups:
        return ""
    losses = groups[name]
    loss = f"held out {number(float(losses.mean()), 5)}"
    scans = _scan_names(runs[name])
    alike = {
        run: group for run, group in groups.items() if group.size == losses.size and _scan_names(runs[run]) == scans
    }
    best = min(alike, key=lambda run: float(alike[run].mean()))
    if len(alike) == 1:
        return loss
    if best == name:
        return f"{loss} (best)"
    excess = losses - alike[best]
    scale = abs(float(alike[best].mean())) or 1.0
    share, deviation = float(excess.mean()) / scale, float(excess.std(ddof=1)) / math.sqrt(losses.size) / scale
    told = f"{_per_cent(share, 2)} ± {_per_cent(deviation, 1)} %"
    return (
        f"{loss} (worse than {best} by {told})"
        if share > 2 * deviation
        else f"{loss} ({told} above {best}, not significant)"
    )


def _per_cent(share: float, digits: int) -> str:
    """A fraction in per cent, with ``digits`` figures or as the nearest whole number."""
    value = 100 * share
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def _scan_names(run: Mapping[str, Any]) -> list[str]:
    """Names of the scans of a run; empty for a run of one scan."""
    scans = run.get("scans")
    return [str(scan.get("name")) for scan in scans if isinstance(scan, Mapping)] if isinstance(scans, list) else []


def _groups(run: Mapping[str, Any]) -> DoubleArray | None:
    held_out = run.get("held_out")
    groups = held_out.get("groups") if isinstance(held_out, Mapping) else None
    if not isinstance(groups, list) or len(groups) < 2 or not all(isinstance(value, int | float) for value in groups):
        return None
    return np.asarray(groups, dtype=np.float64)


def scan_rows(scans: object) -> list[dict[str, str]]:
    """Results of a run for each of several scans: its ``name``, and ``text`` with tilt, shift, current and drift."""
    plain = scans if isinstance(scans, list) else []
    return [
        {"name": PurePath(str(scan.get("name", ""))).stem, "text": _scan_text(scan)}
        for scan in plain
        if isinstance(scan, Mapping)
    ]


def _scan_text(scan: Mapping[str, Any]) -> str:
    words = [
        f"tilt {_pair(scan.get('tilt_mrad'), 1)} mrad",
        f"moved by {_pair(scan.get('shift_A'), 2)} Å",
        f"current {number(scan.get('beam_current'), 3)}",
    ]
    if scan.get("drift_A") is None:
        return ", ".join([*words, "drift not determined"])
    done = "corrected" if scan.get("drift_applied") else "not corrected"
    return ", ".join([*words, f"drift {_pair(scan['drift_A'], 2, scan.get('drift_uncertainty_A'))} Å ({done})"])


def _pair(values: object, digits: int, doubts: object = None) -> str:
    """Two numbers, row and column, and the uncertainty of each if known."""
    if not _is_pair(values):
        return UNKNOWN
    unsure = [f" ± {doubt:.{digits}f}" for doubt in doubts] if _is_pair(doubts) else ["", ""]
    rounded = [f"{value:.{digits}f}" for value in values]
    tidy = ["0" if float(word) == 0 else word.replace("-", "\N{MINUS SIGN}") for word in rounded]
    return ", ".join(f"{word}{suffix}" for word, suffix in zip(tidy, unsure, strict=True))


def _is_pair(values: Any) -> TypeGuard[list[float]]:
    return isinstance(values, list) and len(values) == 2 and all(isinstance(value, int | float) for value in values)


def _progress_text(run: Mapping[str, Any]) -> str:
    """Epochs of a run, and its state if it was not completed."""
    state = str(run.get("state", ""))
    word = refinement_word(state, run.get("converged"))
    return f"{run.get('epochs', 0)} epochs{'' if word == REFINEMENT_WORDS['done'] else f', {word}'}"


def _loss_text(run: Mapping[str, Any]) -> str:
    """Loss, and its ratio to that of counting noise alone, which is about 1 if the model explains the patterns."""
    loss, ratio = run.get("loss"), run.get("loss_over_noise")
    text = number(loss if isinstance(loss, int | float) else None, 5)
    return f"{text} ({number(ratio, 2)} × counting noise)" if isinstance(ratio, int | float) else text


def _quality_text(run: Mapping[str, Any]) -> str:
    """Measures that are comparable between runs whatever their loss: phase noise, agreement of halves of the data."""
    noise, halves = run.get("deviation_rad"), run.get("halves")
    least = "at least " if run.get("deviation_is_lower_bound") else ""
    words = [f"noise {least}{number(noise, 2)} rad"] if isinstance(noise, int | float) else []
    words += [f"correlation of halves {halves:.2f}"] if isinstance(halves, int | float) else []
    return ", ".join(words)


def _method_text(run: Mapping[str, Any]) -> str:
    """Slices, their thickness, probe modes and data term, as far as the file gives them."""
    slices, thickness, modes = run.get("slices"), run.get("thickness_A"), run.get("modes")
    words = [str(run.get("algorithm") or "").partition(",")[0]]
    if isinstance(modes, int):
        words.insert(0, f"{modes} mode{'' if modes == 1 else 's'}")
    if isinstance(slices, int) and slices > 1 and isinstance(thickness, int | float) and thickness > 0:
        words.insert(0, f"{slices} × {number(thickness / slices)} Å")
    elif isinstance(slices, int):
        words.insert(0, "1 slice" if slices == 1 else f"{slices} slices")
    return ", ".join(filter(None, words))
