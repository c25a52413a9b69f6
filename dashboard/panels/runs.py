"""Refinements of the scan: checks before one, the list of those that were, and one beside the present one."""

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
from ptylive.dashboard.panels.picture import PictureFigure, Window
from ptylive.dashboard.pictures import Picture, Surroundings, prepare
from ptylive.dashboard.requests import Request
from ptylive.dashboard.words import REFINEMENT_WORDS, UNKNOWN, number
from ptylive.pictures.colours import ColourMap
from ptylive.schema.model import DoubleArray

CHECKED = ("C10", "rotation_deg", "scan_step_A", "detector_pixel_invA", "convergence_semiangle_mrad", "energy_eV")
"""Calibration values that the checks depend on."""
OPENS_WITHIN_S = 20.0
"""How long a scan that is to be compared is waited for."""
logger = logging.getLogger(__name__)


class RunsPanel:
    """Asks for checks and runs when something they depend on has changed, and shows one run for comparison."""

    def __init__(self, orders: Orders, window: Window) -> None:
        self._orders = orders
        self.view = PictureFigure("compare", window, ColourMap.MAGMA, dims=True)
        self.losses = ColumnDataSource(data={"epoch": [], "loss": []})
        self.compared = ""
        self._picture: Picture | None = None
        self._versions = count(1)
        self._checks: list[dict[str, str]] = []
        self.findings: list[Mapping[str, Any]] = []
        """The checks as the server told them."""
        self._runs: dict[str, dict[str, Any]] = {}
        self._waiting: list[dict[str, str]] = []
        self._checked: str = ""
        self._listed: tuple[object, ...] = ()
        self._uid: str | None = None
        self._present = ""
        self._around = Surroundings()
        self._wanted, self._wanted_until = "", 0.0

    @property
    def known(self) -> Mapping[str, Any]:
        """Runs of the scan that is shown, by name."""
        return self._runs

    @property
    def roots(self) -> tuple[object, ...]:
        """What the page places."""
        return (self.view.plot,)

    def follow(self, view: FeedView, preset: Mapping[str, Any]) -> None:
        """Ask again for what may have changed."""
        state = view.state
        if not view.connected or not state.uid:
            return
        if state.uid != self._uid:
            self._uid, self._runs, self._checks, self.findings = state.uid, {}, [], []
            self._leave()
            self._bring_wanted()
        self._present = "" if view.refinement is None else str(view.refinement.run or "")
        self._waiting = [
            {"run": one.run, "uid": one.uid, "series": "" if one.uid == state.uid else one.series}
            for one in state.refinement.waiting
        ]
        self._around = surroundings_of(state, None)
        values = [state.calibrated(name) for name in CHECKED]
        signature = json.dumps([state.uid, state.state, dict(preset), values], default=str)
        if signature != self._checked and state.frames:
            self._checked = signature
            self._orders.ask("check", self._take_checks, preset=dict(preset))
        listed = (state.uid, state.results, state.refinement.run, state.refinement.state)
        if listed != self._listed:
            self._listed = listed
            self._orders.ask("runs", self._take_runs)

    def _take_checks(self, reply: Reply) -> None:
        self.findings = [check for check in reply.get("checks", []) if isinstance(check, Mapping)]
        self._checks = [{key: str(check.get(key, "")) for key in ("name", "state", "text")} for check in self.findings]

    def _take_runs(self, reply: Reply) -> None:
        runs = reply.get("runs")
        self._runs = dict(runs) if isinstance(runs, Mapping) else {}

    def compare(self, request: Request) -> None:
        """Show a run beside the present one, or no longer."""
        if request.name == self.compared or request.name not in self._runs:
            self._leave()
            return
        self.compared = request.name
        self._orders.send("runs", f"comparing with {request.name}", self._take_run, pictures=[request.name])

    def beside(self, request: Request) -> None:
        """Show the last run of another scan of the library beside the present one; what it is called is told."""
        self.compared = f"{PurePath(request.name).stem} last run"
        said = f"{PurePath(request.name).stem} is shown next to it"
        self._orders.send("runs_of", said, self._take_other, recording=request.name, pictures=["last"])

    def want_beside(self, name: str) -> None:
        """The last run of that scan is to stand beside the run of the scan that is about to come on show."""
        self._wanted, self._wanted_until = name, time.monotonic() + OPENS_WITHIN_S

    def _bring_wanted(self) -> None:
        name, self._wanted = self._wanted, ""
        if name and time.monotonic() < self._wanted_until:
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

        A phase is known up to a constant: the contrast is moved by the difference of the medians.
        """
        if self._picture is None:
            return
        apart = 0.0 if present is None else float(np.median(self._picture.data) - np.median(present.data))
        self.view.locked = (limits[0] + apart, limits[1] + apart)
        self.view.offer(self._picture)
        self.view.measure()

    def withdraw(self, request: Request) -> None:
        """Take a refinement out of the line."""
        done = f"{request.name} withdrawn"
        self._orders.send("refine_withdraw", done, run=request.name, uid=request.value)

    def scans_beside(self, run: str) -> list[str]:
        """Names of the scans that a run was made of beside the first; empty where it was one."""
        scans = self._runs.get(run, {}).get("scans") or []
        return [str(one.get("name", "")) for one in scans[1:] if isinstance(one, Mapping)]

    def texts(self) -> dict[str, str]:
        """The findings in one line for the session view, and what is compared."""
        worst = [c for c in self._checks if c["state"] in ("warn", "bad")]
        line = " · ".join(f"{c['name']}: {c['text']}" for c in worst) or ("checks ok" if self._checks else "")
        return {"checks_line": line, "compare_name": self.compared, "present_name": self._present * bool(self.compared)}

    def lists(self, shown: str = "") -> dict[str, Any]:
        """Checks and runs for the page to draw; ``shown``: the run that is looked at."""
        runs = [
            {
                "name": name,
                "text": _how_far(run),
                "made": _how_made(run),
                "loss": number(run.get("loss"), 5),
                "quality": ", ".join(filter(None, [held_out_words(name, self._runs), _how_good(run)])),
                "shown": name == shown,
                "on": name == self.compared,
            }
            for name, run in self._runs.items()
        ]
        scans = scan_rows(self._runs.get(shown, {}).get("scans"))
        return {"checks": self._checks, "runs": {"known": runs, "waiting": self._waiting, "scans": scans}}

    def marks(self) -> dict[str, str]:
        """Whether two runs stand side by side, and how the checks went."""
        states = {c["state"] for c in self._checks}
        return {
            "compare": "on" if self.compared else "off",
            "checks": "bad" if "bad" in states else "warn" if "warn" in states else "ok",
        }


def held_out_words(name: str, runs: Mapping[str, Mapping[str, Any]]) -> str:
    """How well a run predicts patterns held out: its loss, and by how much it is worse than the best run of the scan.

    Runs are compared group by group of these patterns, which are the same in all of the same scans: what groups have in
    common is no scatter. Empty where it was not measured.
    """
    groups = {run: found for run, told in runs.items() if (found := _groups(told)) is not None}
    if name not in groups:
        return ""
    own = groups[name]
    loss = f"held out {number(float(own.mean()), 5)}"
    made_of = _scan_names(runs[name])
    alike = {run: one for run, one in groups.items() if one.size == own.size and _scan_names(runs[run]) == made_of}
    best = min(alike, key=lambda run: float(alike[run].mean()))
    if len(alike) == 1:
        return loss
    if best == name:
        return f"{loss} (best)"
    away = own - alike[best]
    scale = abs(float(alike[best].mean())) or 1.0
    share, deviation = float(away.mean()) / scale, float(away.std(ddof=1)) / math.sqrt(own.size) / scale
    told = f"{_per_cent(share, 2)} ± {_per_cent(deviation, 1)} %"
    return (
        f"{loss} (worse than {best} by {told})" if share > 2 * deviation else f"{loss} (no worse than {best}, {told})"
    )


def _per_cent(share: float, digits: int) -> str:
    """A share in per cent, with ``digits`` figures or as the nearest whole number."""
    value = 100 * share
    return f"{value:.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def _scan_names(run: Mapping[str, Any]) -> list[str]:
    """Of a run of several scans; none where it was one."""
    scans = run.get("scans")
    return [str(one.get("name")) for one in scans if isinstance(one, Mapping)] if isinstance(scans, list) else []


def _groups(run: Mapping[str, Any]) -> DoubleArray | None:
    held_out = run.get("held_out")
    groups = held_out.get("groups") if isinstance(held_out, Mapping) else None
    if not isinstance(groups, list) or len(groups) < 2 or not all(isinstance(one, int | float) for one in groups):
        return None
    return np.asarray(groups, dtype=np.float64)


def scan_rows(scans: object) -> list[dict[str, str]]:
    """What a run of several scans found of each: its ``name``, and ``text`` with tilt, shift, current and drift."""
    plain = scans if isinstance(scans, list) else []
    return [
        {"name": PurePath(str(one.get("name", ""))).stem, "text": _found_of(one)}
        for one in plain
        if isinstance(one, Mapping)
    ]


def _found_of(scan: Mapping[str, Any]) -> str:
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
    """Two numbers, row and column, and how uncertain each is where that is known."""
    if not _are_two(values):
        return UNKNOWN
    unsure = [f" ± {one:.{digits}f}" for one in doubts] if _are_two(doubts) else ["", ""]
    rounded = [f"{value:.{digits}f}" for value in values]
    tidy = ["0" if float(word) == 0 else word.replace("-", "\N{MINUS SIGN}") for word in rounded]
    return ", ".join(f"{word}{more}" for word, more in zip(tidy, unsure, strict=True))


def _are_two(values: Any) -> TypeGuard[list[float]]:
    return isinstance(values, list) and len(values) == 2 and all(isinstance(one, int | float) for one in values)


def _how_far(run: Mapping[str, Any]) -> str:
    """Epochs of a run, and its state where it was not carried to its end."""
    state = str(run.get("state", ""))
    word = "" if state == "done" else f", {REFINEMENT_WORDS.get(state, state)}"
    word = ", not converged" if state == "done" and run.get("falling") else word
    return f"{run.get('epochs', 0)} epochs{word}"


def _how_good(run: Mapping[str, Any]) -> str:
    """What compares with other runs, whatever their loss is: noise of the phase, agreement of halves of the data."""
    noise, halves = run.get("deviation_rad"), run.get("halves")
    least = "at least " if run.get("deviation_is_lower_bound") else ""
    words = [f"noise {least}{number(noise, 2)} rad"] if isinstance(noise, int | float) else []
    words += [f"correlation of halves {halves:.2f}"] if isinstance(halves, int | float) else []
    return ", ".join(words)


def _how_made(run: Mapping[str, Any]) -> str:
    """Slices, their thickness, probe modes and data term, as far as the file says."""
    slices, thickness, modes = run.get("slices"), run.get("thickness_A"), run.get("modes")
    words = [str(run.get("algorithm") or "").partition(",")[0]]
    if isinstance(modes, int):
        words.insert(0, f"{modes} mode{'' if modes == 1 else 's'}")
    if isinstance(slices, int) and slices > 1 and isinstance(thickness, int | float) and thickness > 0:
        words.insert(0, f"{slices} × {number(thickness / slices)} Å")
    elif isinstance(slices, int):
        words.insert(0, "1 slice" if slices == 1 else f"{slices} slices")
    return ", ".join(filter(None, words))
