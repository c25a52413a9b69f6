"""Checks of scan and settings before a refinement: overlap, sampling, defocus, rotation, thickness, memory, time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import psutil

from ptylive.application.extensions import Preset
from ptylive.engine.analysis.settled_half_turn import settled_half_turn
from ptylive.engine.calibrate.independent import (
    MeasuredRotation,
    contradicts_half_turn,
    half_turn_given_by,
    half_turn_is_comparable,
    measured_rotation,
)
from ptylive.engine.calibrate.scan import MOST_DEPTH_A
from ptylive.engine.planning.detector_window import GOOD_SHARE
from ptylive.engine.planning.probe_and_step import GOOD_OVERLAP, LEAST_OVERLAP, linear_overlap, probe_diameter_A
from ptylive.engine.refine.tuning.depth.depth_choice import slices_of_thickness
from ptylive.engine.refine.tuning.depth.depth_trials import FIRST, THICKEST_A
from ptylive.schema import Calibration, CommandError, InputFileError, Origin, ScanHeader
from ptylive.schema.advice.words import with_doubt
from ptylive.schema.units import depth_of_focus_A
from ptylive.server.commands.library_commands import Stage
from ptylive.server.process.config import ServerConfig
from ptylive.server.session.finisher import Finisher
from ptylive.server.session.library import LARGE
from ptylive.server.session.scan_session import ScanSession

GOOD_ANGLE_DEG, BAD_ANGLE_DEG = 5.0, 20.0
"""Distance of the rotation in use from the measured one. On the shared scans it is below 3 if the rotation is right."""
FINE_SPREAD_DEG = 0.05
"""Uncertainty below which hundredths of a degree of an angle mean something."""
SECONDS_PER_PIXEL = 5e-9
"""Time of a pass over the data, per pattern pixel, probe mode and slice, on one core: 2.4e-9 with 512-bit vectors,
twice that with 256-bit vectors."""
USUAL_EPOCHS, USUAL_MODES = 20, 4
WITH_TRIALS = 2
"""Factor on the work of the epochs: the trials before the run cost about as much as the run."""
LEAST_S = 3.0
"""Time to start the process and measure the patterns."""
MEMORY_SHARE = 0.7
BYTES_PER_PIXEL = 12
"""Memory for patterns in single precision and the working arrays of a batch."""
AWAITS_DEFOCUS = "the defocus is not estimated yet"

CheckState = Literal["ok", "warn", "bad", "unknown"]


def graded(*, ok: bool, bad: bool) -> CheckState:
    """Return the state of a check: ok, bad, or otherwise warn."""
    return "ok" if ok else "bad" if bad else "warn"


@dataclass(frozen=True)
class Check:
    """One finding: ``state`` ok, warn, bad, or unknown; ``text`` a few words with the number."""

    name: str
    state: CheckState
    text: str
    use: tuple[str, ...] = ()
    """Quantities that `calibrate` would estimate instead, if the data contradict the values in use."""

    def to_plain(self) -> dict[str, Any]:
        """Return plain values for a reply."""
        return asdict(self) | {"use": list(self.use)}


@dataclass(frozen=True)
class Checked:
    """Inputs of the checks; ``available_bytes``: memory free now, ``saturated``: frames with saturated pixels."""

    header: ScanHeader
    calibration: Calibration
    preset: Preset
    frames: int
    available_bytes: int
    saturated: int = 0
    measured: MeasuredRotation | None = None
    """Rotation measured from the scan."""
    settled: tuple[str, float] | None = None
    """A stored run of this scan that settles the half turn, and the rotation with which it ended."""
    inverted: bool = False
    """Whether the dark field shows the opposite of the phase, whose sign a given rotation or defocus determines."""
    in_memory: bool = True
    """Whether the scan's frames are in memory, so that its rotation can be measured."""

    def all(self) -> list[Check]:
        """Return every check, in order of importance."""
        found = [self.overlap(), self.sampling(), self.defocus(), self.rotation(), self.saturation()]
        return [*found, self.thickness(), self.memory(), self.time()]

    @property
    def probe_diameter_A(self) -> float | None:
        """Geometric disc of the defocus plus the diffraction limit 1.22 wavelength / semi-angle."""
        angle, wavelength = self.calibration.get("convergence_semiangle_mrad"), self.calibration.wavelength_A
        if angle is None or wavelength is None:
            return None
        rim_shift_A = abs(float(self.calibration.get("C10") or 0.0)) * float(angle) * 1e-3
        return probe_diameter_A(wavelength, float(angle), rim_shift_A)

    @property
    def _awaits_defocus(self) -> bool:
        """Whether the defocus is neither given nor estimated or assumed yet, which takes the first patterns."""
        return "C10" not in self.calibration.entries and not self.calibration.of_patterns

    def overlap(self) -> Check:
        """Check the linear overlap of neighbouring probes."""
        step, diameter = self.header.scan.step_A, self.probe_diameter_A
        if self._awaits_defocus:
            return Check("overlap", "unknown", AWAITS_DEFOCUS)
        if step is None or diameter is None:
            return Check("overlap", "unknown", "needs scan step, energy and semi-angle")
        share = linear_overlap(max(step), diameter)
        state = graded(ok=share >= GOOD_OVERLAP, bad=share < LEAST_OVERLAP)
        return Check("overlap", state, f"{100 * max(share, 0):.0f} %: probe {diameter:.3g} Å, step {max(step):.3g} Å")

    def sampling(self) -> Check:
        """Check that the window of the forward model, 1 / detector pixel, holds the probe."""
        pixel, diameter = self.calibration.get("detector_pixel_invA"), self.probe_diameter_A
        if self._awaits_defocus:
            return Check("sampling", "unknown", AWAITS_DEFOCUS)
        if pixel is None or diameter is None:
            return Check("sampling", "unknown", "needs the pixel size of the detector")
        window = 1 / float(pixel)
        state = graded(ok=diameter < GOOD_SHARE * window, bad=diameter >= window)
        return Check("sampling", state, f"probe {diameter:.3g} Å in a window of {window:.3g} Å")

    def defocus(self) -> Check:
        """Check where the defocus comes from."""
        if self._awaits_defocus:
            return Check("defocus", "unknown", "not estimated yet")
        origin = self.calibration.origin("C10")
        if origin in (None, Origin.DEFAULT):
            return Check("defocus", "warn", "not known: 0 is assumed")
        if origin is Origin.UNDECIDED:
            found = self.calibration.entries["C10"]
            doubt = found.uncertainty if found.uncertainty is None or math.isfinite(found.uncertainty) else None
            size = with_doubt(abs(float(found.value)), doubt)
            return Check("defocus", "warn", f"{size} under or over: the sign changes with half a turn of the scan")
        if self.inverted and "C10" in half_turn_given_by(self.calibration):
            said = "the dark field shows the other sign, but it can be wrong in thick crystals"
            return Check("defocus", "warn", f"{origin}, {said}", ("C10",))
        return Check("defocus", "ok", str(origin))

    def rotation(self) -> Check:
        """Check the rotation and detector orientation in use against the centre of mass."""
        origin = self.calibration.origin("rotation_deg")
        used = f"{origin or 'not known'}: {_degrees(self.calibration.rotation_deg)}°"
        if self.measured is None:
            why = "too few points or no scan step" if self.in_memory else "its frames are read when a value is changed"
            return Check("rotation", "unknown", f"{used}, not compared with the data: {why}")
        fit = self.measured.fit
        if not self.measured.trusted and self.inverted and "rotation_deg" in half_turn_given_by(self.calibration):
            return self._half_turn(f"{used}, the dark field says half a turn more")
        if not self.measured.trusted:
            remark = f"{100 * fit.curl:.0f} % curl left at best"
            return Check("rotation", "unknown", f"{used}, the data do not determine it ({remark})")
        spread = self.measured.spread_deg or 0.0
        angle = f"{_degrees(fit.rotation_deg, 2 if 0 < spread < FINE_SPREAD_DEG else 1)}"
        angle += f" ± {spread:.1g}°" if spread else "°"  # it cannot be told from a few rows
        if fit.transposed:
            text = f"{used}, the data say {angle} and a transposed detector"
            return Check("rotation", "bad", text, ("rotation_deg", "detector_transform"))
        apart_deg = abs((fit.rotation_deg - self.calibration.rotation_deg + 180) % 360 - 180)
        along = min(apart_deg, 180 - apart_deg)  # only the dark field determines the half turn
        state = graded(ok=along < max(GOOD_ANGLE_DEG, 3 * spread), bad=along >= max(BAD_ANGLE_DEG, 3 * spread))
        if state == "ok" and apart_deg > 90 and fit.sign_trusted:
            return self._half_turn(f"{used}, the dark field says half a turn more")
        alternative = "" if fit.sign_trusted else " or half a turn more"
        return Check(
            "rotation", state, f"{used}, the data say {angle}{alternative}", () if state == "ok" else ("rotation_deg",)
        )

    def _half_turn(self, said: str) -> Check:
        """Weigh the dark field, which errs in thick crystals, against refinements through depth and the known focus."""
        if self.settled is not None:
            run, rotation_deg = self.settled
            apart_deg = abs((rotation_deg - self.calibration.rotation_deg + 180) % 360 - 180)
            if apart_deg < 90:
                return Check("rotation", "ok", f"{said}, but {run} leaves less with this one: it is a thick crystal")
            return Check("rotation", "bad", f"{said}, and {run} leaves less with it", ("rotation_deg",))
        if self._only_this_half_turn_is_inside():
            return Check("rotation", "ok", f"{said}, but then the plane in focus would lie outside the specimen")
        return Check("rotation", "warn", f"{said}, but it can be wrong in thick crystals", ("rotation_deg",))

    @property
    def half_turn_is_in_doubt(self) -> bool:
        """Whether the dark field contradicts the half turn in use, and nothing else settles it."""
        found = self.rotation()
        return found.state == "warn" and "half a turn more" in found.text

    def _only_this_half_turn_is_inside(self) -> bool:
        """Whether the plane in focus lies inside the specimen, and outside after half a turn.

        The bright field shows how far this plane is out of focus, with a sign that the half turn reverses; the given
        defocus is that of the entrance surface.
        """
        depth, entrance = self.calibration.entries.get("depth_A"), self.calibration.entries.get("C10")
        if depth is None or entrance is None or (depth.origin, entrance.origin) != (Origin.ESTIMATED, Origin.GIVEN):
            return False
        thickness_A = self.preset.object.total_thickness_A
        thickest_A = MOST_DEPTH_A if thickness_A is None else float(thickness_A)
        below_A, turned_A = float(depth.value), -2 * float(entrance.value) - float(depth.value)
        return 0 < below_A < thickest_A and not 0 <= turned_A <= thickest_A

    def thickness(self) -> Check:
        """Check the number of slices: as given, or as found by trials at the start of the run."""
        form = self.preset.object
        angle, wavelength = self.calibration.get("convergence_semiangle_mrad"), self.calibration.wavelength_A
        depth_A = None if angle is None or wavelength is None else depth_of_focus_A(wavelength, float(angle))
        thickness_A, given = form.total_thickness_A, form.num_slices
        if given == "auto" and thickness_A is None and form.slices == 1:
            if depth_A is None:
                return Check("thickness", "unknown", "needs energy and semi-angle, or a thickness")
            if depth_A * FIRST > THICKEST_A:
                return Check("thickness", "ok", "one slice: no specimen counts as thick at this semi-angle")
            return Check("thickness", "ok", f"one slice, unless trials see depth (depth of focus {depth_A:.2g} Å)")
        if given == "auto" and thickness_A is not None:
            slices = 1 if depth_A is None else slices_of_thickness(thickness_A / depth_A)
        else:
            slices, thickness_A = form.slices, sum(form.slice_thickness_A)
        if slices == 1:
            return Check("thickness", "ok", "given: one slice")
        state = graded(ok=depth_A is None or thickness_A / slices < depth_A, bad=False)
        text = f"given: {thickness_A:.3g} Å, {slices} slices of {thickness_A / slices:.2g} Å"
        if given == "auto" and form.slice_distances_A is None:
            text += ", or one slice, depending on trials"
        return Check("thickness", state, text)

    def saturation(self) -> Check:
        """Check for saturated pixels, which report fewer counts than they received and falsify every map there."""
        most = self.header.detector.saturation_value
        if most is None:
            return Check(
                "saturation", "unknown", "not checked: the largest count of a pixel is not given (saturation_value)"
            )
        if not (self.saturated or self.in_memory):
            return Check("saturation", "unknown", "not counted: its frames are read when a value is changed")
        if not self.saturated:
            return Check("saturation", "ok", f"no pixel reached {most:.6g} counts")
        return Check("saturation", "warn", f"pixels of {self.saturated} frames are saturated ({most:.6g} counts)")

    @property
    def _pattern_pixels(self) -> int:
        if isinstance(self.preset.patterns.window_px, int):
            return self.preset.patterns.window_px**2
        return math.prod(self.header.detector.shape or (0, 0))

    def memory(self) -> Check:
        """Check the size of patterns and working arrays against the free memory."""
        need = self.frames * self._pattern_pixels * BYTES_PER_PIXEL
        share = need / max(self.available_bytes, 1)
        state = graded(ok=share < MEMORY_SHARE, bad=share >= 1)
        return Check("memory", state, f"about {_size(need)} of {self.available_bytes / 1e9:.3g} GB free")

    def time(self) -> Check:
        """Estimate the time on one processor core, to an order of magnitude only; a GPU is far quicker."""
        epochs = self.preset.solver.epoch_max if isinstance(self.preset.solver.epoch_max, int) else USUAL_EPOCHS
        modes = self.preset.probe.probe_modes if isinstance(self.preset.probe.probe_modes, int) else USUAL_MODES
        passes = WITH_TRIALS * epochs * modes * self.preset.object.slices
        seconds = LEAST_S + self.frames * self._pattern_pixels * passes * SECONDS_PER_PIXEL
        open_depth = self.preset.object.num_slices == "auto" and self.preset.object.slices == 1
        more = ", longer if thick" if open_depth else ""
        return Check("time", "ok" if seconds < 3600 else "warn", f"about {_spoken(seconds)}{more}")


def _degrees(angle_deg: float, decimals: int = 1) -> str:
    """An angle to a tenth of a degree, or with other decimals, with a true minus sign."""
    return f"{angle_deg:.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def _size(size: int) -> str:
    """Return a size in bytes with two digits, in MB below 1 GB."""
    return f"{size / 1e9:.2g} GB" if size >= 0.995e9 else f"{max(1.0, float(f'{size / 1e6:.2g}')):.0f} MB"


def _spoken(seconds: float) -> str:
    """Return a time rounded to one digit if below a minute, in the unit a person would use."""
    if seconds < 60:
        return f"{float(f'{seconds:.1g}'):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class _Measured:
    """What the patterns say of the rotation in use; it takes seconds where a fine phase is filtered."""

    uid: str
    frames: int
    calibration: Calibration
    comparable: bool
    """Whether dark field and phase can be compared."""
    in_memory: bool
    rotation: MeasuredRotation | None = None
    inverted: bool = False

    def is_of(self, other: _Measured) -> bool:
        """Whether both are of the same frames under the same values."""
        same = self.uid == other.uid and self.calibration is other.calibration
        return same and (self.frames, self.comparable, self.in_memory) == (
            other.frames,
            other.comparable,
            other.in_memory,
        )


class CheckCommands:
    """The command that checks the scan that ``stage`` shows, and settings."""

    def __init__(self, config: ServerConfig, stage: Stage, finisher: Finisher) -> None:
        self._config, self._stage, self._finisher = config, stage, finisher
        self._measured: _Measured | None = None
        """Of the last check: most differ in their settings only."""

    def command_check(self, preset: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Check scan and settings before a refinement: [{name, state: ok, warn, bad or unknown, text}]."""
        chosen = Preset.from_mapping({**self._config.refine, **(preset or {})})
        scan = self._stage.shown
        if scan is None:
            raise CommandError("there is no scan yet")
        measured = self._measured_of(scan)
        free = int(psutil.virtual_memory().available)
        inputs = (scan.header, measured.calibration, chosen.final, measured.frames, free, scan.saturated_frames)
        checked = Checked(*inputs, measured.rotation, inverted=measured.inverted, in_memory=measured.in_memory)
        if checked.half_turn_is_in_doubt and scan.results is not None:
            with suppress(InputFileError):
                checked = replace(checked, settled=self._finisher.files.read(settled_half_turn, scan.results, LARGE))
        return {"checks": [check.to_plain() for check in checked.all()]}

    def _measured_of(self, scan: ScanSession) -> _Measured:
        """What the patterns say, measured once as long as neither they nor the values in use change."""
        with scan.lock:  # frames wait for it: what takes long is done with a copy
            known, maps, frames = scan.known, scan.rendering.maps, int(np.count_nonzero(scan.coverage))
            store = None if scan.engine is None else scan.engine.store
            comparable = store is not None and half_turn_is_comparable(known, store, maps)
            now = _Measured(scan.uid, frames, known, comparable, in_memory=store is not None)
            if self._measured is not None and self._measured.is_of(now):
                return self._measured
            store = None if store is None else store.snapshot(coefficients=comparable)
        if store is not None:
            inverted = comparable and contradicts_half_turn(known, store, maps)
            now = replace(now, rotation=measured_rotation(known, store), inverted=inverted)
        self._measured = now
        return now
