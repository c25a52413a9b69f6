"""Commands that set, undo and pin values of the calibration: `configure`, `calibrate` and `undo` (docs/protocol.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ptylive.schema import CommandError, MetadataError, Scan, ScanHeader
from ptylive.schema.errors import brief
from ptylive.schema.metadata import STEP_NAMES, fill_in, flat_name, overlay, typed
from ptylive.server.session.scan_session import ScanSession

MOST_STEPS_BACK = 50
MOST_KEPT = 16
"""Scans whose own values are remembered."""
SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "rotation_deg": ("rotation_deg",),
    "detector_transform": ("detector_transform",),
    "beam_center_px": ("beam_center_px",),
    "descan_px": ("descan_px",),
    "detector_pixel_invA": ("detector_pixel_invA", "detector_pixel_mrad"),
    "C10": ("defocus_A", "C10"),
    "C12": ("astigmatism_A", "astigmatism_deg", "C12a", "C12b"),
    "depth_A": ("depth_A",),
}
"""Quantities that can be estimated, and the metadata names under which they may have been given."""
_ONE_QUANTITY = (*SPELLINGS.values(), STEP_NAMES)
"""Names that stand for the same: of several the last one counts."""
SAID: Mapping[str, Callable[[ScanHeader], Any]] = {
    "energy_eV": lambda header: header.optics.energy_eV,
    "convergence_semiangle_mrad": lambda header: header.optics.convergence_semiangle_mrad,
    "scan_step_A": lambda header: header.scan.step_A,
    "rotation_deg": lambda header: header.scan.rotation_deg,
    "C10": lambda header: header.optics.aberrations.get("C10"),
}
"""Values whose pin is compared with what a header says."""
ALSO_SENT: Mapping[str, Callable[[ScanHeader], Any]] = {
    "beam_center_px": lambda header: header.detector.beam_center_px,
    "descan_px": lambda header: header.detector.descan_px,
    "detector_pixel_invA": lambda header: header.detector.pixel_invA or header.detector.pixel_mrad,
    "detector_transform": lambda header: header.detector.transform_given or None,
}
"""Further values that a header may hold."""
_PLACES = frozenset({"scan_shape", "flyback_frames", "skip_first", "repeats"})
"""Names that say which frame belongs to which point."""
ESTIMATED_TOGETHER = ("rotation_deg", "detector_transform", "beam_center_px")
"""What is estimated when nothing is named; a defocus that was given is kept until it is asked for by name."""


@dataclass(frozen=True)
class _Step:
    """Values as they were before a command, to go back to."""

    uid: str
    """Of the scan that was shown; empty: none."""
    values: Mapping[str, Any]
    pinned: Mapping[str, Any]


class CalibrationCommands:
    """The user's values over those of the stream, with the way back.

    A value belongs to the scan it was given for; the next one is what its own header says. Values that are pinned
    (the configuration's ``overrides`` are from the start) win over the headers of later scans too, until they are
    released. ``current`` is the scan that is shown, ``again`` makes the results of one that has finished once more.
    """

    def __init__(
        self,
        defaults: Mapping[str, Any],
        overrides: Mapping[str, Any],
        current: Callable[[], ScanSession | None],
        again: Callable[[ScanSession], None],
        tell: Callable[[str, str], None] = lambda level, line: None,
    ) -> None:
        """``tell``: gets level and line of what has happened to pins."""
        self._defaults = defaults
        self._configured = _flat(overrides)
        self._pinned = dict(self._configured)
        self._current, self._again, self._tell = current, again, tell
        self._arrived: ScanHeader | None = None
        self._earlier: list[_Step] = []
        self._own: Mapping[str, Mapping[str, Any]] = {}
        """Values of the last scans that came in, by uid: one that is taken up again keeps them. Never changed."""

    @property
    def pinned(self) -> dict[str, Any]:
        """Values of this and all later scans."""
        return dict(self._pinned)

    def contradicted(self, scan: ScanSession | None) -> dict[str, Any]:
        """What the sender of a scan said otherwise than the pinned values that the scan has instead, by row names."""
        if scan is None or scan.stored is not None:
            return {}
        rows = [row for row in SAID if not {row, *SPELLINGS.get(row, ())}.isdisjoint(self._pinned)]
        found = {row: SAID[row](scan.source) for row in rows}
        return {row: said for row, said in found.items() if said is not None and said != SAID[row](scan.header)}

    def origins(self, scan: ScanSession | None) -> dict[str, Any]:
        """``pinned``, ``contradicted`` and ``given``, as the status tells them."""
        return {"pinned": self.pinned, "contradicted": self.contradicted(scan), "given": self.given(scan)}

    def given(self, scan: ScanSession | None) -> dict[str, str]:
        """Who gave the values of a scan that were given, by row names: ``typed``, ``sent`` or ``configured``."""
        if scan is None:
            return {}
        typed_names = {name for name, value in self._of(scan, scan.values).items() if value is not None}
        found = {}
        for row, said in {**SAID, **ALSO_SENT}.items():
            spellings = _spellings_of([row])
            if not spellings.isdisjoint(typed_names):
                found[row] = "typed"
            elif said(scan.source) is not None:
                found[row] = "sent"
            elif not spellings.isdisjoint(_flat(self._defaults)):
                found[row] = "configured"
        return found

    @property
    def own(self) -> Mapping[str, Mapping[str, Any]]:
        """Values that were given for one scan alone, by its uid, of the last ones."""
        return self._own

    def restore(self, pinned: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on with the values of a server whose place this one takes."""
        self._pinned = dict(pinned)
        self._own = {uid: dict(values) for uid, values in own.items()}

    def prepare(self, header: ScanHeader) -> ScanHeader:
        """Lay the configuration under, and the pinned and its own values over what a sender said of its scan."""
        return overlay(fill_in(header, self._defaults), _laid_over(self._pinned, self._own.get(header.uid, {})))

    def arriving(self, header: ScanHeader) -> ScanHeader:
        """The same of a scan that comes in: another detector or energy drops the pins that people have set."""
        before, self._arrived = self._arrived, header
        why = "" if before is None else _changed(before, self.prepare(before), header)
        kept = {name: value for name, value in self._pinned.items() if self._configured.get(name) == value}
        if why and kept != self._pinned:
            dropped = ", ".join(name for name in self._pinned if name not in kept)
            self._earlier = [*self._earlier[1 - MOST_STEPS_BACK :], _Step("", {}, self._pinned)]
            self._pinned = kept
            self._tell("warning", f"{why}: {dropped} no longer pinned; undo goes back")
        return self.prepare(header)

    def take_up(self, scan: ScanSession) -> None:
        """Tell a scan, whose header was prepared, which of its values were given for it alone."""
        scan.values = dict(self._own.get(scan.uid, scan.values))

    def command_configure(self, values: Mapping[str, Any], pin: bool = False) -> dict[str, Any]:
        """Set metadata of this scan; calibration, filters and maps follow. ``pin``: of the following ones too.

        While there is no scan yet, values are pinned.
        """
        if not isinstance(values, Mapping):
            raise CommandError("values must be a map of metadata names to values")
        if not isinstance(pin, bool):
            raise CommandError(f"pin is true or false, not {pin!r}")
        values = _plain(_flat(typed(values)))
        scan = self._current()
        own = {} if scan is None else scan.values
        if pin or scan is None:
            own = {name: value for name, value in own.items() if name not in _spellings_of(values)}
            return self._adopt(own, _laid_over(self._pinned, values))
        return self._adopt(_laid_over(own, values), self._pinned)

    def command_release(self, names: Iterable[str] = ()) -> dict[str, Any]:
        """Pinned values (all without ``names``) belong to the scan that is shown, no longer to those that follow."""
        chosen = _spellings_of(dict.fromkeys([names] if isinstance(names, str) else names)) or set(self._pinned)
        released = {name: value for name, value in self._pinned.items() if name in chosen}
        if not released:
            raise CommandError("nothing of that is pinned", f"pinned are {', '.join(self._pinned) or 'no values'}")
        kept = {name: value for name, value in self._pinned.items() if name not in released}
        scan = self._current()
        return self._adopt({**released, **({} if scan is None else scan.values)}, kept)

    def command_calibrate(self, names: Iterable[str] = ESTIMATED_TOGETHER) -> dict[str, Any]:
        """Estimate quantities from the data, whatever was given for them; the given values win again after `undo`."""
        names = [names] if isinstance(names, str) else list(names)
        unknown = [str(name) for name in names if name not in SPELLINGS]
        if unknown:
            raise CommandError(f"cannot estimate {', '.join(unknown)}", f"choose from {', '.join(SPELLINGS)}")
        scan = self._current()
        taken_back = {spelling: None for name in names for spelling in SPELLINGS[name]}
        return self._adopt(_laid_over({} if scan is None else scan.values, taken_back), self._pinned)

    def command_reset(self) -> dict[str, Any]:
        """What was typed for this scan, and what is pinned otherwise than its header says, is what was sent again."""
        scan = self._current()
        if scan is None:
            raise CommandError("there is no scan whose values could go back to what was sent")
        return self._adopt({name: _listed(said) for name, said in self.contradicted(scan).items()}, self._pinned)

    def command_undo(self) -> dict[str, Any]:
        """Go back to the values before the last `configure`, `release` or `calibrate` of this scan."""
        scan = self._current()
        uid = "" if scan is None else scan.uid
        while self._earlier:
            step = self._earlier.pop()
            if step.uid == uid or step.pinned != self._pinned:
                own = step.values if step.uid == uid or scan is None else scan.values
                self._use(dict(own), dict(step.pinned))
                return self._told(scan)
        raise CommandError("there is nothing to undo")

    def _adopt(self, own: Mapping[str, Any], pinned: Mapping[str, Any]) -> dict[str, Any]:
        scan = self._current()
        before = _Step("" if scan is None else scan.uid, {} if scan is None else scan.values, self._pinned)
        self._use(dict(own), dict(pinned))
        self._earlier = [*self._earlier[1 - MOST_STEPS_BACK :], before]
        return self._told(scan)

    def _told(self, scan: ScanSession | None) -> dict[str, Any]:
        return {"overrides": self._of(scan, {} if scan is None else scan.values), "pinned": self.pinned}

    def _of(self, scan: ScanSession | None, own: Mapping[str, Any]) -> dict[str, Any]:
        """What is laid over a scan's header. A past scan of the library has only what is given for it."""
        return dict(own) if scan is not None and scan.stored is not None else _laid_over(self._pinned, own)

    def _use(self, own: dict[str, Any], pinned: dict[str, Any]) -> None:
        """Make the values those of the scan, and of later ones. Raises MetadataError before anything has changed."""
        if {"distortion", "detector.distortion"} & {*own, *pinned}:
            raise MetadataError(
                "frames are freed of a distortion as they come", "give it when the server starts: --set"
            )
        nothing = ScanHeader(uid="", series="", frames=0, scan=Scan())
        overlay(nothing, pinned)
        overlay(nothing, own)
        scan, before = self._current(), self._pinned
        self._pinned = pinned
        if scan is None:
            return
        try:
            header = overlay(fill_in(scan.source, self._defaults), self._of(scan, own))
            if not _PLACES.isdisjoint(own):
                _check_places(header)
        except MetadataError:
            self._pinned = before
            raise
        scan.values = own
        if scan.stored is None:
            self._keep(scan.uid, own)
        if scan.ended is not None:
            scan.remake(header)
            self._again(scan)
        else:
            scan.configure(header)

    def _keep(self, uid: str, own: dict[str, Any]) -> None:
        """Remember the values of a scan, should it be taken up again."""
        others = [(name, values) for name, values in self._own.items() if name != uid]
        self._own = dict([*others, *([(uid, dict(own))] if own else [])][-MOST_KEPT:])


def _changed(before: ScanHeader, used: ScanHeader, now: ScanHeader) -> str:
    """In what a scan is of another microscope than the one before, whose values were ``used``; empty: in nothing."""
    if None not in (before.detector.shape, now.detector.shape) and before.detector.shape != now.detector.shape:
        return "the detector has {} × {} pixels now, {} × {} before".format(*now.detector_shape, *before.detector_shape)
    known = [header.optics.energy_eV for header in (before, used) if header.optics.energy_eV is not None]
    energy_eV = now.optics.energy_eV
    if energy_eV is not None and known and energy_eV not in known:
        return f"the energy is {1e-3 * energy_eV:g} keV now, {1e-3 * known[0]:g} keV before"
    return ""


def _listed(said: Any) -> Any:
    return list(said) if isinstance(said, tuple) else said


def _check_places(header: ScanHeader) -> None:
    """Raise MetadataError for a scan that has fewer frames than its points and flybacks need."""
    if header.scan.shape is not None and header.scan.frames > header.frames:
        rows, columns = header.scan.shape
        raise MetadataError(
            f"impossible scan_shape {rows} x {columns}: it needs {header.scan.frames} frames,"
            f" the scan has {header.frames}",
            "correct scan_shape, flyback_frames, skip_first or repeats",
        )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values that can be told to whoever takes the place of this process. Raises CommandError for bytes."""
    for name, value in values.items():
        try:
            json.dumps(value)
        except TypeError:
            raise CommandError(
                f"{name} = {brief(value)} is no value", "a number, a text, a list of them, or null"
            ) from None
    return values


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values under one name each, however they were spelt."""
    return {flat_name(name): value for name, value in values.items()}


def _spellings_of(values: Iterable[str]) -> set[str]:
    """The names, and those of the same quantities."""
    names = {name if name in SPELLINGS else flat_name(name) for name in values}
    return (
        names
        | {s for spellings in _ONE_QUANTITY if names & {*spellings} for s in spellings}
        | {s for name in names for s in SPELLINGS.get(name, ())}
    )


def _laid_over(overrides: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Later values win, also over other spellings of the same quantity."""
    said_otherwise = {spelling for spellings in _ONE_QUANTITY if set(spellings) & set(values) for spelling in spellings}
    return {**{name: value for name, value in overrides.items() if name not in said_otherwise}, **values}
