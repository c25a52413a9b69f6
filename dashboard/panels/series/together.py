"""Scans of one place at several tilts, ticked in the library and refined together: the form of their tilts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from ptylive.application.extensions import Preset
from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.orders import Orders, Reply
from ptylive.dashboard.client.state import BUSY
from ptylive.dashboard.requests import Request
from ptylive.schema import PtyliveError
from ptylive.schema.preset.patterns import LARGEST_TILT_MRAD, MOST_SCANS
from ptylive.schema.settings_text import read_json
from ptylive.schema.units import number_and_unit, unit_factor

FORM = "form"
"""Key of messages that concern all scans."""
Tilt = tuple[float, float]


@dataclass(frozen=True)
class TiltedScan:
    """A line of the form; ``tilt``: row and column as typed."""

    recording: str
    tilt: tuple[str, str] = ("0", "0")

    def tilt_mrad(self) -> Tilt:
        """The tilt in mrad, whatever angle was typed. Raises ValueError with a message for the field."""
        return _angle_mrad(self.tilt[0], "row"), _angle_mrad(self.tilt[1], "column")


class TogetherPanel:
    """The form of tilted scans. ``preset``: settings of the refine form; ``started``: shows the Refine view."""

    def __init__(self, orders: Orders, preset: Callable[[], dict[str, Any]], started: Callable[[], None]) -> None:
        self._orders, self._preset, self._started = orders, preset, started
        self._scans: list[TiltedScan] = []
        self._wrong: dict[str, str] = {}
        self._can = self._queues = False
        self._shown = ""

    def follow(self, view: FeedView, *, free: bool) -> None:
        """Follow which recording is displayed and whether a refinement runs; ``free``: whether buttons can be used."""
        self._can, self._queues = free, view.state.refinement.state in BUSY
        self._shown = PurePath(view.state.recording or "").name

    def takers(self) -> dict[str, Callable[[Request], None]]:
        """Handlers of requests, by kind."""
        return {"together": self.press}

    def press(self, request: Request) -> None:
        """Open the form for the ticked scans, close it, or begin."""
        lines = scans_of(request.value)
        if request.key == "close":
            self._scans, self._wrong = [], {}
        elif request.key == "open":
            self._open(lines)
        elif not self._can:
            self._orders.say("not now: wait a moment")
        elif request.key == "start":
            self._start(lines)

    def _open(self, lines: list[TiltedScan]) -> None:
        if not 2 <= len(lines) <= MOST_SCANS:
            self._orders.say(f"tick 2 to {MOST_SCANS} scans of the same place with different tilts of the specimen")
            return
        self._scans, self._wrong = lines, {}

    def _start(self, lines: list[TiltedScan]) -> None:
        """Start with the least tilted scan as the frame of the others: it is displayed, and gets the result."""
        tilts, self._wrong = self._checked(lines)
        if self._wrong:
            return
        order = sorted(range(len(lines)), key=lambda k: max(map(abs, tilts[k])))
        first, *others = (lines[k].recording for k in order)
        preset = {**self._preset(), "scan_tilts_mrad": [list(tilts[k]) for k in order]}
        self._scans = []

        def refine(reply: Reply) -> None:
            self._started()
            options: dict[str, Any] = {"if_shown": str(reply["uid"])} if reply.get("uid") else {}
            if self._queues:
                options["queue"] = True
            message = f"{len(lines)} scans are refined together, {PurePath(first).stem} is the reference frame"
            self._orders.send("refine", message, preset=preset, beside=others, **options)

        if first == self._shown:
            refine({})
        else:
            self._orders.send("open", f"{PurePath(first).stem} opened", refine, recording=first)

    def _checked(self, lines: list[TiltedScan]) -> tuple[list[Tilt], dict[str, str]]:
        """Tilts in mrad, and what is wrong by recording; faults common to all are under :data:`FORM`."""
        tilts: list[Tilt] = []
        wrong: dict[str, str] = {}
        for scan in lines:
            try:
                tilts.append(scan.tilt_mrad())
            except ValueError as error:
                wrong[scan.recording] = str(error)
        if wrong:
            return tilts, wrong
        if len(set(tilts)) == 1:
            return tilts, {FORM: "all tilts are the same: give each scan its own"}
        try:
            preset = Preset.from_mapping({**self._preset(), "scan_tilts_mrad": tilts})
        except PtyliveError as error:
            return tilts, {FORM: f"settings of the Refine view: {error.line()}"}
        if preset.object.num_slices == 1:
            return tilts, {FORM: "the Refine view has slices = 1: tilts need several slices"}
        return tilts, {}

    def marks(self) -> dict[str, str]:
        """Whether the form can be sent."""
        return {"together_start": "on" if self._can else "off"}

    def lists(self) -> dict[str, Any]:
        """The form: which scans, and what is wrong."""
        rows = [{"recording": scan.recording, "title": PurePath(scan.recording).stem} for scan in self._scans]
        form = self._preset() if rows else {}
        words = [f"{label} {form.get(key, 'not given')}" for key, label in _SHOWN_SETTINGS]
        sentence = f"Other settings as in the Refine view: {', '.join(words)}." if rows else ""
        return {"together": {"rows": rows, "said": sentence}, "together_wrong": self._wrong}


_SHOWN_SETTINGS = (("num_slices", "slices"), ("total_thickness_A", "thickness / Å"), ("epoch_max", "epochs"))


def scans_of(text: str) -> list[TiltedScan]:
    """Parse the form that the page sent: names, or names with tilts. What is not understood is left out."""
    try:
        plain = read_json(text or "[]", "the form")
    except (PtyliveError, ValueError):
        return []
    return [scan for entry in plain if (scan := _scan(entry)) is not None] if isinstance(plain, list) else []


def _scan(plain: object) -> TiltedScan | None:
    if isinstance(plain, str):
        return TiltedScan(plain)
    if isinstance(plain, list) and len(plain) == 3 and all(isinstance(word, str) for word in plain):
        return TiltedScan(plain[0], (plain[1], plain[2]))
    return None


def _angle_mrad(text: str, axis: str) -> float:
    """Typed angle, in mrad unless a unit is given. Raises ValueError naming which of the two is wrong."""
    if not text.strip():
        raise ValueError(f"{axis}: give a tilt, 0 for none")
    number, unit = number_and_unit(text) or (math.nan, "")
    factor = unit_factor("angle", unit) if unit else 1.0
    if factor is None or not math.isfinite(number):
        raise ValueError(f"{axis}: {text.strip()[:20]} is not an angle; write 20, 20 mrad or 1.15°")
    if abs(number * factor) > LARGEST_TILT_MRAD:
        raise ValueError(
            f"{axis}: at most {LARGEST_TILT_MRAD:g} mrad, which is {math.degrees(LARGEST_TILT_MRAD / 1e3):.1f}°"
        )
    return number * factor
