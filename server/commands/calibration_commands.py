"""Commands that set, undo and pin values of the calibration: `configure`, `calibrate` and `undo` (docs/protocol.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ptylive.engine.live.unestimated import in_words, why_impossible
from ptylive.schema import CommandError, MetadataError, Scan, ScanHeader
from ptylive.schema.errors import brief
from ptylive.schema.metadata import STEP_NAMES, fill_in, flat_name, overlay, typed
from ptylive.server.session.scan_session import ScanSession

MOST_STEPS_BACK = 50
MOST_KEPT = 16
"""Number of scans whose own values are remembered."""
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
"""Groups of names for the same quantity; of several given, the last one counts."""
SAID: Mapping[str, Callable[[ScanHeader], Any]] = {
    "energy_eV": lambda header: header.optics.energy_eV,
    "convergence_semiangle_mrad": lambda header: header.optics.convergence_semiangle_mrad,
    "scan_step_A": lambda header: header.scan.step_A,
    "rotation_deg": lambda header: header.scan.rotation_deg,
    "C10": lambda header: header.optics.aberrations.get("C10"),
}
"""Values whose pin is compared with the value in a header."""
ALSO_SENT: Mapping[str, Callable[[ScanHeader], Any]] = {
    "beam_center_px": lambda header: header.detector.beam_center_px,
    "descan_px": lambda header: header.detector.descan_px,
    "detector_pixel_invA": lambda header: header.detector.pixel_invA or header.detector.pixel_mrad,
    "detector_transform": lambda header: header.detector.transform_given or None,
}
"""Further values that a header may hold."""
_PLACES = frozenset({"scan_shape", "flyback_frames", "skip_first", "repeats"})
"""Names that determine which frame belongs to which point."""
ESTIMATED_TOGETHER = ("rotation_deg", "detector_transform", "beam_center_px")
"""Quantities estimated when none is named; a given defocus is kept until it is requested by name."""


@dataclass(frozen=True)
class _Step:
    """Values before a command, for undo."""

    uid: str
    """Uid of the scan that was shown; empty: none."""
    values: Mapping[str, Any]
    pinned: Mapping[str, Any]


class CalibrationCommands:
    """The user's values, which override those of the stream, with undo.

    A value belongs to the scan it was given for; the next scan starts from its own header. Pinned values (the
    configuration's ``overrides`` are pinned from the start) also override the headers of later scans, until they are
    released. ``current`` returns the scan being shown, ``again`` remakes the results of a finished scan.
    """

    def __init__(
        self,
        defaults: Mapping[str, Any],
        overrides: Mapping[str, Any],
        current: Callable[[], ScanSession | None],
        again: Callable[[ScanSession], None],
        tell: Callable[[str, str], None] = lambda level, line: None,
    ) -> None:
        """``tell``: takes level and line about changes to pins."""
        self._defaults = defaults
        self._configured = _flat(overrides)
        self._pinned = dict(self._configured)
        self._current, self._refresh, self._tell = current, again, tell
        self._arrived: ScanHeader | None = None
        self._earlier: list[_Step] = []
        self._own: Mapping[str, Mapping[str, Any]] = {}
        """Own values of the last scans received, by uid, kept for a scan that is resumed. Replaced, never modified."""

    @property
    def pinned(self) -> dict[str, Any]:
        """Values for this and all later scans."""
        return dict(self._pinned)

    def contradicted(self, scan: ScanSession | None) -> dict[str, Any]:
        """Return values sent with a scan that differ from the pinned values used instead, by row name."""
        if scan is None or scan.stored is not None:
            return {}
        rows = [row for row in SAID if not {row, *SPELLINGS.get(row, ())}.isdisjoint(self._pinned)]
        found = {row: SAID[row](scan.source) for row in rows}
        return {row: stated for row, stated in found.items() if stated is not None and stated != SAID[row](scan.header)}

    def origins(self, scan: ScanSession | None) -> dict[str, Any]:
        """Return ``pinned``, ``contradicted`` and ``given``, as shown in the status."""
        return {"pinned": self.pinned, "contradicted": self.contradicted(scan), "given": self.given(scan)}

    def given(self, scan: ScanSession | None) -> dict[str, str]:
        """Return the source of each given value of a scan, by row name: ``typed``, ``sent`` or ``configured``."""
        if scan is None:
            return {}
        typed_names = {
            name for name, value in _overriding(scan, scan.values, self._pinned).items() if value is not None
        }
        found = {}
        for row, stated in {**SAID, **ALSO_SENT}.items():
            spellings = _spellings_of([row])
            if not spellings.isdisjoint(typed_names):
                found[row] = "typed"
            elif stated(scan.source) is not None:
                found[row] = "sent"
            elif not spellings.isdisjoint(_flat(self._defaults)):
                found[row] = "configured"
        return found

    @property
    def own(self) -> Mapping[str, Mapping[str, Any]]:
        """Values given for single scans, by uid, for the most recent scans."""
        return self._own

    def restore(self, pinned: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> None:
        """Restore the values of the server process that this one replaces."""
        self._pinned = dict(pinned)
        self._own = {uid: dict(values) for uid, values in own.items()}

    def prepare(self, header: ScanHeader) -> ScanHeader:
        """Complete a header from the configuration, and override it with pinned values and the scan's own values."""
        return overlay(fill_in(header, self._defaults), _laid_over(self._pinned, self._own.get(header.uid, {})))

    def arriving(self, header: ScanHeader) -> ScanHeader:
        """Prepare the header of an arriving scan; another detector or energy drops the pins set by users."""
        before, self._arrived = self._arrived, header
        why = "" if before is None else _changed(before, self.prepare(before), header)
        still_pinned = {name: value for name, value in self._pinned.items() if self._configured.get(name) == value}
        if why and still_pinned != self._pinned:
            dropped = ", ".join(name for name in self._pinned if name not in still_pinned)
            self._earlier = [*self._earlier[1 - MOST_STEPS_BACK :], _Step("", {}, self._pinned)]
            self._pinned = still_pinned
            self._tell("warning", f"{why}: {dropped} no longer pinned; undo pins them again")
        return self.prepare(header)

    def take_up(self, scan: ScanSession) -> None:
        """Give a scan, whose header has been prepared, the values set for it alone."""
        scan.values = dict(self._own.get(scan.uid, scan.values))

    def command_configure(self, values: Mapping[str, Any], pin: bool = False) -> dict[str, Any]:
        """Set metadata of this scan; calibration, filters and maps follow. ``pin``: also for all later scans.

        If there is no scan yet, values are pinned.
        """
        values = _understood(values)
        if not isinstance(pin, bool):
            raise CommandError(f"pin must be true or false, not {pin!r}")
        scan = self._current()
        own = {} if scan is None else scan.values
        if pin or scan is None:
            own = {name: value for name, value in own.items() if name not in _spellings_of(values)}
            return self._adopt(scan, own, _laid_over(self._pinned, values))
        return self._adopt(scan, _laid_over(own, values), self._pinned)

    def header_with(self, scan: ScanSession, values: Mapping[str, Any]) -> ScanHeader:
        """Return the header of a scan with further values of its own. Raises MetadataError; nothing changes."""
        return self._header(scan, _laid_over(scan.values, _understood(values)), self._pinned)

    @contextmanager
    def provisionally(self, scan: ScanSession, values: Mapping[str, Any]) -> Iterator[None]:
        """Set metadata of a scan for what is done with it; if that is refused, they are as before, also for undo."""
        if not values:
            yield
            return
        before = dict(scan.values)
        self._adopt(scan, _laid_over(before, _understood(values)), self._pinned)
        step = self._earlier[-1]
        try:
            yield
        except Exception:
            self._earlier = [each for each in self._earlier if each is not step]
            self._use(scan, before, dict(self._pinned))
            raise

    def command_release(self, names: Iterable[str] = ()) -> dict[str, Any]:
        """Release pinned values (all without ``names``): they stay with the scan being shown, not with later scans."""
        chosen = _spellings_of(dict.fromkeys([names] if isinstance(names, str) else names)) or set(self._pinned)
        released = {name: value for name, value in self._pinned.items() if name in chosen}
        if not released:
            raise CommandError("none of these values is pinned", f"pinned: {', '.join(self._pinned) or 'no values'}")
        still_pinned = {name: value for name, value in self._pinned.items() if name not in released}
        scan = self._current()
        return self._adopt(scan, {**released, **({} if scan is None else scan.values)}, still_pinned)

    def command_calibrate(self, names: Iterable[str] = ESTIMATED_TOGETHER) -> dict[str, Any]:
        """Estimate quantities from the data, whatever was given for them; `undo` restores the given values.

        Those for which other values are missing stay as they are: ``not_estimated`` gives the reason. What the data do
        not show is known only after the fit, and is logged.
        """
        names = [names] if isinstance(names, str) else list(names)
        unknown = [str(name) for name in names if name not in SPELLINGS]
        if unknown:
            raise CommandError(f"cannot estimate {', '.join(unknown)}", f"choose from {', '.join(SPELLINGS)}")
        scan = self._current()
        if scan is None:
            raise CommandError("there is no scan to estimate anything from", "wait for a scan, or open one")
        impossible = why_impossible(names, scan.header, scan.calibration)
        if names and len(impossible) == len(set(names)):
            raise CommandError(in_words(impossible), "give these values first")
        possible = tuple(name for name in names if name not in impossible)
        taken_back = {spelling: None for name in possible for spelling in SPELLINGS[name]}
        if scan.ended is not None:  # the fit may end before this method does
            scan.estimating = (possible, scan.calibration)
        reply = self._adopt(scan, _laid_over(scan.values, taken_back), self._pinned)
        if scan.ended is None:  # the calibration still is the one before the fit, with the values that are left
            scan.estimating = (possible, scan.calibration)
        return {**reply, "not_estimated": impossible}

    def command_reset(self) -> dict[str, Any]:
        """Return typed values, and pinned values that contradict the header, to what was sent with this scan."""
        scan = self._current()
        if scan is None:
            raise CommandError("there is no scan whose sent values could be restored")
        return self._adopt(
            scan, {name: _listed(stated) for name, stated in self.contradicted(scan).items()}, self._pinned
        )

    def command_undo(self) -> dict[str, Any]:
        """Restore the values before the last `configure`, `release` or `calibrate` of this scan."""
        scan = self._current()
        uid = "" if scan is None else scan.uid
        while self._earlier:
            step = self._earlier.pop()
            if step.uid == uid or step.pinned != self._pinned:
                own = step.values if step.uid == uid or scan is None else scan.values
                self._use(scan, dict(own), dict(step.pinned))
                return self._reply(scan)
        raise CommandError("there is nothing to undo")

    def _adopt(self, scan: ScanSession | None, own: Mapping[str, Any], pinned: Mapping[str, Any]) -> dict[str, Any]:
        before = _Step("" if scan is None else scan.uid, {} if scan is None else scan.values, self._pinned)
        self._use(scan, dict(own), dict(pinned))
        self._earlier = [*self._earlier[1 - MOST_STEPS_BACK :], before]
        return self._reply(scan)

    def _reply(self, scan: ScanSession | None) -> dict[str, Any]:
        own = {} if scan is None else scan.values
        return {"overrides": _overriding(scan, own, self._pinned), "pinned": self.pinned}

    def _header(self, scan: ScanSession, own: Mapping[str, Any], pinned: Mapping[str, Any]) -> ScanHeader:
        """Return the header of a scan with these values. Raises MetadataError."""
        _check_names(own, pinned)
        header = overlay(fill_in(scan.source, self._defaults), _overriding(scan, own, pinned))
        if not _PLACES.isdisjoint(own):
            _check_places(header)
        return header

    def _use(self, scan: ScanSession | None, own: dict[str, Any], pinned: dict[str, Any]) -> None:
        """Apply values to the scan and to later scans. Raises MetadataError before anything has changed."""
        if scan is None:
            _check_names(own, pinned)
            self._pinned = pinned
            return
        header, self._pinned = self._header(scan, own, pinned), pinned
        scan.values = own
        if scan.stored is None:
            self._keep(scan.uid, own)
        if scan.ended is not None:
            scan.remake(header)
            self._refresh(scan)
        else:
            scan.configure(header)

    def _keep(self, uid: str, own: dict[str, Any]) -> None:
        """Remember the values of a scan in case it is resumed."""
        earlier = [(name, values) for name, values in self._own.items() if name != uid]
        self._own = dict([*earlier, *([(uid, dict(own))] if own else [])][-MOST_KEPT:])


def _overriding(scan: ScanSession | None, own: Mapping[str, Any], pinned: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that override a scan's header. A past scan of the library has only its own values."""
    return dict(own) if scan is not None and scan.stored is not None else _laid_over(pinned, own)


def _check_names(own: Mapping[str, Any], pinned: Mapping[str, Any]) -> None:
    """Raise MetadataError for values that no scan can be given."""
    if {"distortion", "detector.distortion"} & {*own, *pinned}:
        raise MetadataError(
            "the distortion is corrected as frames arrive", "give it at the start of the server, with --set"
        )
    nothing = ScanHeader(uid="", series="", frames=0, scan=Scan())
    overlay(nothing, pinned)
    overlay(nothing, own)


def _changed(before: ScanHeader, used: ScanHeader, now: ScanHeader) -> str:
    """Return how detector or energy differ from the previous scan, whose values were ``used``; empty if they do not."""
    if None not in (before.detector.shape, now.detector.shape) and before.detector.shape != now.detector.shape:
        return "the detector has {} × {} pixels now, {} × {} before".format(*now.detector_shape, *before.detector_shape)
    known = [header.optics.energy_eV for header in (before, used) if header.optics.energy_eV is not None]
    energy_eV = now.optics.energy_eV
    if energy_eV is not None and known and energy_eV not in known:
        return f"the energy is {1e-3 * energy_eV:g} keV now, {1e-3 * known[0]:g} keV before"
    return ""


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _check_places(header: ScanHeader) -> None:
    """Raise MetadataError for a scan that has fewer frames than its points and flybacks need."""
    if header.scan.shape is not None and header.scan.frames > header.frames:
        rows, columns = header.scan.shape
        raise MetadataError(
            f"impossible scan_shape {rows} x {columns}: it needs {header.scan.frames} frames,"
            f" the scan has {header.frames}",
            "correct scan_shape, flyback_frames, skip_first or repeats",
        )


def _understood(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a command under flat names. Raises CommandError, MetadataError."""
    if not isinstance(values, Mapping):
        raise CommandError("values must be a map of metadata names to values")
    return _plain(_flat(typed(values)))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return values that can be passed as JSON to a process replacing this one. Raises CommandError for bytes."""
    for name, value in values.items():
        try:
            json.dumps(value)
        except TypeError:
            raise CommandError(
                f"{name} = {brief(value)} is not a valid value", "give a number, text, a list of them, or null"
            ) from None
    return values


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values under flat names, however they were spelt."""
    return {flat_name(name): value for name, value in values.items()}


def _spellings_of(values: Iterable[str]) -> set[str]:
    """Return the names together with all other names of the same quantities."""
    names = {name if name in SPELLINGS else flat_name(name) for name in values}
    return (
        names
        | {s for spellings in _ONE_QUANTITY if names & {*spellings} for s in spellings}
        | {s for name in names for s in SPELLINGS.get(name, ())}
    )


def _laid_over(overrides: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Merge values; later values win, also over other spellings of the same quantity."""
    superseded = {spelling for spellings in _ONE_QUANTITY if set(spellings) & set(values) for spelling in spellings}
    return {**{name: value for name, value in overrides.items() if name not in superseded}, **values}
