"""Every word and number on the page outside pictures: maps the server's state to texts by field name.

The page's HTML names its fields (`data-text="rate"`); the browser sets them as plain text, so nothing that came over
the network is ever interpreted as HTML.
"""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ptylive.dashboard.client.feed import FeedView
from ptylive.dashboard.client.state import RESTARTING, CalibrationEntry, Dose, Drift, LogLine, ServerState
from ptylive.dashboard.words import (
    AS_RECORDED,
    LABELS,
    NO_FRAMES,
    THIN_SPACE,
    UNKNOWN,
    aberration,
    angle,
    clock,
    count,
    defocus,
    energy,
    file_name,
    number,
    pair,
    percent,
    recording,
    rejected,
    seconds,
    signed,
    state_word,
    typeset,
    with_doubt,
)
from ptylive.schema import Calibration, Origin
from ptylive.schema.advice import Advice, Verdict, advise
from ptylive.schema.advice.words import dose_text
from ptylive.schema.detector import Descan
from ptylive.server.process.ports import DEFAULT_CONTROL, DEFAULT_DATA
from ptylive.server.wire.news import news

RESTARTED = (
    "the receiving process died and was restarted: it is reading its scan from the disk; the pictures are the last ones"
)
LEAST_DRIFT_A = 0.01
"""Drift below this is below what rounding leaves of any scan."""
LOG_SHOWN_S = 120.0
"""How long a warning of the log counts as news."""
_ROW_UNITS = {
    "rotation_deg": "°",
    "energy_eV": " eV",
    "convergence_semiangle_mrad": " mrad",
    "beam_center_px": " px",
    "disc_radius_px": " px",
    "descan_px": " px",
    "detector_pixel_invA": " 1/Å",
    "scan_step_A": " Å",
}
CALIBRATION_ROWS = tuple((name, label, _ROW_UNITS.get(name, "")) for name, label in LABELS.items())
"""Metadata name, label and unit of each row of the calibration table."""
_SPELLINGS = {
    "C10": ("defocus_A",),
    "detector_pixel_invA": ("detector_pixel_mrad",),
    "scan_step_A": ("field_of_view_A",),
}
"""Other names under which the value of a row may be pinned."""
FOUND_OR_ASSUMED: Mapping[str, str] = {Origin.ESTIMATED: "found", Origin.DEFAULT: "assumed"}
"""The page's words for the origin of a value that nobody gave."""
SENDERS = {
    "native": "a script at the microscope, or ptylive replay, sends them",
    "dectris-v1": "a DECTRIS detector sends them (stream interface, version 1)",
    "dectris-v2": "a DECTRIS detector sends them (stream interface, version 2)",
    "merlin": "a Merlin detector sends them (MIB over TCP)",
    "tpx3-raw": "a Timepix3 detector sends them (raw packets of Serval over TCP)",
    "tpx3": "a Timepix3 detector sends them (ASI, events over TCP)",
}
"""Who sends to a server of each protocol."""
_COEFFICIENT = re.compile(r"^C\d\d[ab]?$")


def header_texts(state: ServerState) -> dict[str, str]:
    """Texts of the header line."""
    return {
        "series": state.series or "no scan yet",
        "beam": " · ".join(_beam_words(state)),
        "state": NO_FRAMES if state.silent else state_word(state.state),
        "rows": _rows(state),
        "left": f"{seconds(state.seconds_left)} left" if state.seconds_left is not None else "",
    }


def _rows(state: ServerState) -> str:
    if state.scan.shape is None:
        return f"{count(state.frames)} frames" if state.frames else ""
    rows = state.scan.shape[0]
    return f"row {round(state.progress * rows):>{len(str(rows))}}/{rows}".replace(" ", "\u2007")


def welcome_texts(state: ServerState) -> dict[str, str]:
    """Texts shown over the maps until the first scan arrives."""
    number = sum(state.rejected.values())
    return {
        "welcome_where": state.data,
        "welcome_who": SENDERS.get(state.protocol, f"a detector with protocol {state.protocol} sends them"),
        "welcome_refused": f"refused so far: {rejected(state.rejected)}" if number else "",
    }


def _beam_words(state: ServerState) -> list[str]:
    """Energy and semi-angle; empty before either is known."""
    words = (energy(state.optics.energy_eV), angle(state.optics.convergence_semiangle_mrad))
    return list(words) if any(word != UNKNOWN for word in words) else []


def stream_texts(state: ServerState) -> dict[str, str]:
    """Texts of the stream box."""
    lag = UNKNOWN if state.lag_s is None else f"{state.lag_s:.2f}{THIN_SPACE}s"
    return {
        "rate": count(state.frames_per_s),
        "lag": lag,
        "frames": f"{count(state.frames)} of {count(state.expected)}",
        "dose": dose(state.dose),
        "drift": drift(state.drift),
        "lost": count(state.lost),
        "late": count(state.late),
        "duplicates": count(state.duplicates),
        "rejected": rejected(state.rejected),
        "ring": percent(state.ring_fill),
        "recording": recording(state.recording, state.recording_state, wanted=bool(state.record)),
        "results": file_name(state.results),
    }


def dose(value: Dose) -> str:
    """The mean dose; in counts if the calibration of a count is unknown. None follows from negative counts."""
    if value.per_A2 is None or value.per_A2 < 0:
        return UNKNOWN
    full = f", {value.saturated_frames} frames saturated" if value.saturated_frames else ""
    return f"{dose_text(value.per_A2, value.unit)}{full}"


def drift(found: Drift | None) -> str:
    """How far the scan has drifted from the first scan of its place."""
    if found is None:
        return UNKNOWN
    too_much = f" (> {found.bound_A:.3g} Å)" if found.A > found.bound_A else ""
    size = number(found.A) if found.A >= LEAST_DRIFT_A else f"< {LEAST_DRIFT_A:g}"
    return f"{size} Å since scan {found.since}{too_much}"


def calibration_texts(state: ServerState) -> dict[str, str]:
    """Texts of the calibration table: value and origin of each row."""
    out: dict[str, str] = {}
    for name, _, unit in CALIBRATION_ROWS:
        entry = state.calibration.get(name)
        out[f"cal_{name}"] = UNKNOWN if entry is None else quantity(name, entry, unit)
        out[f"cal_{name}_origin"] = "" if entry is None or entry.value is None else origin_word(state, name)
        if is_pinned(state, name):
            out[f"cal_{name}_origin"] = "pinned"
    out["cal_other"], out["cal_other_origin"] = aberrations(state)
    found = advice(state)
    out["advice"] = "" if found is None else found.line if found.brief == Verdict.CANNOT_TELL else found.brief
    out["advice_line"] = "" if found is None else found.line
    return out


def origin_word(state: ServerState, name: str) -> str:
    """Word for the origin of a value: sent, typed, configured; found in the data; assumed."""
    origin = state.calibration.get(name, CalibrationEntry()).origin
    return state.given.get(name, origin) if origin == Origin.GIVEN else FOUND_OR_ASSUMED.get(origin, origin)


def advice(state: ServerState) -> Advice | None:
    """What to change at the microscope; None before the first patterns, or if the calibration cannot be read."""
    if not state.of_patterns:
        return None
    plain = {name: entry.model_dump() for name, entry in state.calibration.items() if entry.origin in list(Origin)}
    return advise(Calibration.from_plain(plain)) if plain else None


def is_pinned(state: ServerState, name: str) -> bool:
    """Whether the value of a row also applies to later scans."""
    return any(spelling in state.pinned for spelling in (name, *_SPELLINGS.get(name, ())))


def aberrations(state: ServerState) -> tuple[str, str]:
    """Astigmatism, coma and all other non-zero aberrations in one line, and their origin."""
    parts: dict[str, dict[str, float]] = {}
    origins: list[str] = []
    for name, entry in state.calibration.items():
        if _COEFFICIENT.match(name) and name != "C10" and isinstance(entry.value, int | float) and entry.value:
            parts.setdefault(name[:3], {})[name[3:]] = float(entry.value)
            origins.append(entry.origin)
    if not parts:
        return "none", ""
    ordered = sorted(parts)
    text = ", ".join(aberration(n, parts[n].get("a", parts[n].get("", 0.0)), parts[n].get("b", 0.0)) for n in ordered)
    if len(set(origins)) > 1:
        return text, "mixed"
    return text, FOUND_OR_ASSUMED.get(origins[0], origins[0])


def quantity(name: str, entry: CalibrationEntry, unit: str) -> str:
    """A calibrated value with its uncertainty; the defocus in words."""
    value, doubt = entry.value, entry.uncertainty
    if value is None:
        return UNKNOWN
    if name == "detector_transform" and value == "none":
        return AS_RECORDED
    if isinstance(value, str):
        return value.replace("_", " ").replace("+", " + ")
    try:
        if name == "C10":
            return defocus(float(value), doubt)
        if name == "energy_eV":
            return energy(float(value))
        if name == "descan_px":
            descan = Descan.of(list(value))
            return f"{descan.extent_px:.1f}{unit} over the field{', lines jump' if descan.lines else ''}"
        return f"{_figures(name, value, doubt)}{unit}"
    except (TypeError, ValueError):
        return str(value)


def _figures(name: str, value: Any, doubt: float | None) -> str:
    """The number or numbers of a row, with their uncertainty; angles have at least one decimal."""
    if isinstance(value, Sequence):
        text = pair(value, same_once=name == "scan_step_A")
        return f"{text} ± {number(doubt, 2)}" if doubt else text
    if doubt:
        return with_doubt(float(value), doubt, 4, decimals=1 if name == "rotation_deg" else None)
    return signed(float(value), 1) if name == "rotation_deg" else number(float(value), 4)


def marks(view: FeedView) -> dict[str, str]:
    """Values that style sheets depend on: state, connection, alarms."""
    state = view.state
    return {
        "state": state.state,
        "link": "up" if view.connected and not view.ended else "gone",
        "ended": "on" if view.ended else "off",
        "silent": "alarm" if state.silent else "",
        "lost": "alarm" if state.lost else "",
        "late": "alarm" if state.late else "",
        "rejected": "alarm" if sum(state.rejected.values()) else "",
        "recorded": state.recording_state if state.recording_state in ("failed", "waiting") else "",
        "ring": "alarm" if (state.ring_fill or 0) > 0.8 else "",
        "drift": "" if state.drift is None else "alarm" if state.drift.A > state.drift.bound_A else "known",
        "refinement": state.refinement.state,
        "record": "on" if state.record else "off",
        "protocol": state.protocol,
        "welcome": "on" if view.connected and state.state == "waiting" and not state.uid else "off",
    }


def role_marks(*, read_only: bool) -> dict[str, str]:
    """What the visitor may do."""
    return {"role": "viewer" if read_only else "operator"}


def first_content(*, read_only: bool) -> str:
    """What a page shows before it has heard of the server: it offers a viewer nothing, from its first moment."""
    return json.dumps({"marks": role_marks(read_only=read_only)})


def heard(state: ServerState) -> dict[str, Any]:
    """Texts of the tab and of the browser's notifications about the displayed scan."""
    run = state.refinement.model_dump()
    moved = None if state.drift is None else state.drift.model_dump()
    announcements = news(state.state, state.series or "", state.lost or 0, run, moved, state.silent_s)
    return {
        "title": _title(state),
        "of": state.uid or "",
        "live": state.state in ("scanning", "finishing"),
        "told": announcements,
    }


def _title(state: ServerState) -> str:
    """The shortest possible summary of the state."""
    if state.state == "scanning":
        alarm = "(no frames) " if state.silent else "(frames lost) " if state.lost else ""
        word = f"{100 * state.progress:.0f}% {alarm}"
    elif state.refinement.state == "running":
        word = "refining "
    else:
        word = {"complete": "✓ ", "incomplete": "✗ ", "aborted": "✗ ", "failed": "✗ "}.get(state.state, "")
    word = f"(not recorded) {word}" if state.recording_state == "failed" else word
    drifts = state.drift is not None and state.drift.A > state.drift.bound_A
    return f"{'(drift) ' if drifts else ''}{word}{state.series or ''}".strip()


def styles(view: FeedView) -> dict[str, str]:
    """Lengths of the bars."""
    fill = min(1.0, max(0.0, view.state.ring_fill or 0.0))
    return {"--progress": f"{100 * view.state.progress:.1f}%", "--ring": f"{100 * fill:.0f}%"}


def banner(view: FeedView, control: str) -> str:
    """The line that reports since when the server has been silent, that it was ended, or that it is being restarted."""
    if view.connected and not view.ended:
        return RESTARTED if view.state.state == RESTARTING else ""
    if view.last_contact is None and not view.ended:
        return f"no server at {control} yet: start one with ptylive serve; this page then connects automatically"
    last, kept, command = clock(view.last_contact or time.time()), saved(view.state), restart_line(view.state, control)
    if view.ended:
        return f"the server was stopped at {last}: {kept}; restart it with {command}, then this page reconnects"
    hint = f"ptylive serve restarts it automatically; if it does not: {command}"
    return f"server lost at {last} ({control}): {kept}; {hint}. This page then reconnects"


def saved(state: ServerState) -> str:
    """What is kept of the last scan, whatever happened to the server."""
    if not state.recording:
        return "nothing was being recorded"
    file = file_name(state.recording)
    if state.recording_state == "failed":
        return f"the recording {file} had failed"
    if state.state not in ("armed", "scanning", "finishing"):
        return f"{file} holds the last scan"
    arrived = f"{count(state.received)} of {count(state.expected)} frames of {state.series} had arrived"
    return f"{arrived} and are on disk; the next start writes them to {file}"


def restart_line(state: ServerState, control: str) -> str:
    """The command that starts a server with this one's folder and addresses; its other options are not known here."""
    folder = str(PurePath(state.recording).parent) if state.recording else ""
    words = ["ptylive", "serve", *(["--record", folder] if folder not in ("", ".") else [])]
    words += ["--protocol", state.protocol] if state.protocol != "native" else []
    words += ["--data", state.data] if state.data not in ("", DEFAULT_DATA) else []
    words += ["--control", control] if control != DEFAULT_CONTROL else []
    return f"{shlex.join(words)} (and its other options)"


def shortfall(state: ServerState) -> str:
    """Which frames of a scan that has ended are missing, and how many were refused; empty if none."""
    words = []
    if state.state in ("incomplete", "aborted"):
        missing = None if state.expected is None or state.frames is None else state.expected - state.frames
        frames = "frames" if missing is None else f"{count(missing)} of {count(state.expected)} frames"
        ended = "is incomplete" if state.state == "incomplete" else "was aborted"
        words.append(f"this scan {ended}" + (f": {frames} did not arrive" if missing != 0 else ""))
    if state.refused:
        refused = "1 frame or message was" if state.refused == 1 else f"{count(state.refused)} frames or messages were"
        words.append(f"{refused} refused, see “rejected”")
    return ", ".join(words)


def remarks(message: str) -> list[str]:
    """The remarks in a message of the server, which separates them by semicolons."""
    return [remark for remark in message.split("; ") if remark]


def sentence(view: FeedView, reply: str, reply_age_s: float = 0.0) -> str:
    """The line at the bottom: a command's reply, what went wrong since, what needs attention, or the log.

    Unrelated remarks go on separate lines.
    """
    return typeset(_sentence(view, reply, reply_age_s))


def _sentence(view: FeedView, reply: str, reply_age_s: float) -> str:
    refinement = "\n".join(remarks(view.refinement.message or "")) if view.refinement else None
    if reply and view.log is not None and view.log.level != "info" and _age_s(view.log) < reply_age_s:
        return view.log.message
    if reply:
        return reply
    told = map(view.kinds.labelled, remarks(view.state.message or ""))
    if words := [*filter(None, (shortfall(view.state),)), *told]:
        return "\n".join(words)
    if view.state.refinement.state in ("queued", "running", "failed", "stopping") and refinement:
        return f"{_which(view.state)}: {refinement}"
    if view.log is not None and _age_s(view.log) < LOG_SHOWN_S:
        return f"{clock(view.log.time)} {view.log.level}: {view.log.message}"
    return f"{_which(view.state)}: {refinement}" if refinement and _of_another(view.state) else refinement or ""


def _age_s(line: LogLine) -> float:
    return time.monotonic() - line.arrived


def _which(state: ServerState) -> str:
    """How the last refinement is called at the bottom of the page: it may be that of another scan."""
    name = f"refinement of another scan ({state.refinement.series})" if _of_another(state) else "refinement"
    return f"{name} failed" if state.refinement.state == "failed" else name


def _of_another(state: ServerState) -> bool:
    return bool(state.refinement.uid and state.uid and state.refinement.uid != state.uid)
