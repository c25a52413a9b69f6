"""Virtual detectors as text, for ``ptylive reconstruct --detector`` and notebooks.

::

    haadf=ring:60mrad,200mrad        around the beam; radii in pixels or as angles
    left=disc:31.5,12,6              centre (row, column) and radius on the recorded pattern, pixels
    segment=mask.npy                 weights (Qy, Qx), any numbers
    bright=above:0.5                 pixels whose mean is at least this share of the brightest; below: the other pixels
    haadf=lost                       electrons that missed the detector
    rings=profiles:3                 three principal components of the radial profiles: vd_rings_1, vd_rings_2, …
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from ptylive.engine.imaging.radial_profiles import MOST_COMPONENTS, PlacedProfiles
from ptylive.engine.imaging.virtual_detectors import (
    MOST_DETECTORS,
    NAME_PATTERN,
    DetectorBank,
    DetectorContext,
    LostElectrons,
    MaskDetector,
    SummableDetector,
    UnplacedDetector,
    VirtualDetector,
)
from ptylive.schema import Calibration, CommandError, MetadataError
from ptylive.schema.model import Array
from ptylive.schema.units import mrad_to_invA, number_and_unit, unit_factor
from ptylive.streamer.foreign.arrays import mapped_array

RADII = {"disc": 1, "ring": 2}
"""Number of radii of each kind."""
BY_THRESHOLD, LOST, PROFILES = ("above", "below"), "lost", "profiles"
HINT = (
    "write for example haadf=ring:60mrad,200mrad, left=disc:31.5,12,6 (row, column, radius in pixels),"
    " segment=mask.npy, bright=above:0.5, haadf=lost or rings=profiles:3"
)
MOST_MASK_PIXELS = 8192**2


@dataclass(frozen=True)
class Length:
    """A distance on the detector, in pixels or, as an angle, in mrad."""

    value: float
    is_angle: bool

    def pixels(self, calibration: Calibration, needed_for: str) -> float:
        """Convert to pixels. Raises MetadataError if the calibration is insufficient."""
        if not self.is_angle:
            return self.value
        pixel = float(calibration.require("detector_pixel_invA", needed_for))
        calibration.require("energy_eV", needed_for)
        return mrad_to_invA(self.value, calibration.wavelength_A or 0.0) / pixel


@dataclass(frozen=True)
class DiscOrRing:
    """A disc or a ring whose place on the detector follows from the calibration of the scan."""

    name: str
    text: str
    center: tuple[Length, ...]
    """Row and column; empty: the beam."""
    radii: tuple[Length, ...]

    def placed(self, by: DetectorContext) -> VirtualDetector:
        """Place it on the recorded pattern. Raises MetadataError."""
        calibration, needed_for = by.calibration, f"detector {self.name}"
        if self.center:
            row, column = (length.pixels(calibration, needed_for) for length in self.center)
        else:
            row, column = calibration.require("beam_center_px", needed_for)
        radii = [length.pixels(calibration, needed_for) for length in self.radii]
        inner, outer = (0.0, *radii)[-2:]
        try:
            return VirtualDetector(
                name=self.name, center_px=(float(row), float(column)), inner_px=inner, outer_px=outer
            )
        except ValidationError:
            written_radii = ", ".join(f"{radius:.4g}" for radius in radii)
            problem = f"detector {self.name}={self.text}: radii of {written_radii} pixels are impossible"
            raise MetadataError(problem, "give increasing radii between 0 and 8192 pixels") from None


@dataclass(frozen=True)
class ThresholdDetector:
    """Pixels selected by their mean counts, relative to the brightest pixel."""

    name: str
    share: float
    brighter: bool

    def placed(self, by: DetectorContext) -> MaskDetector:
        """Place it on the mean pattern, relative to its brightest good pixel. Raises MetadataError."""
        mean_pattern, bad = by.mean_pattern, by.bad_pixels
        good = np.ones(mean_pattern.shape, dtype=bool) if bad is None else ~np.asarray(bad, dtype=bool)
        inside = good & ((mean_pattern >= self.share * mean_pattern[good].max(initial=0.0)) == self.brighter)
        description = f"{'above' if self.brighter else 'below'} {self.share:g} of the brightest"
        if not inside.any():
            raise MetadataError(f"detector {self.name}: no pixel is {description}", "give a different share")
        return MaskDetector(self.name, inside.astype(float), description)


@dataclass(frozen=True)
class ProfileComponents:
    """Radial profiles, reduced to their ``count`` strongest principal components."""

    name: str
    count: int

    def placed(self, by: DetectorContext) -> PlacedProfiles:
        """Place them around the beam. Raises MetadataError."""
        row, col = by.calibration.require("beam_center_px", "radial profiles")
        return PlacedProfiles(self.name, self.count, (float(row), float(col)))


DescribedDetector = DiscOrRing | MaskDetector | LostElectrons | ThresholdDetector | ProfileComponents


def read_detectors(asked: Mapping[str, str | Array]) -> list[DescribedDetector]:
    """Parse detectors by name, each given as text or as weights (Qy, Qx). Raises MetadataError, InputFileError."""
    if len(asked) > MOST_DETECTORS:
        raise MetadataError(f"{len(asked)} virtual detectors", f"at most {MOST_DETECTORS} at a time")
    return [_read(name, text) for name, text in asked.items()]


def text_of(drawn: VirtualDetector) -> str:
    """A drawn detector as text for :func:`read_detectors`: the same pixels on every scan."""
    kind, radii = ("ring", (drawn.inner_px, drawn.outer_px)) if drawn.inner_px else ("disc", (drawn.outer_px,))
    return f"{kind}:{','.join(map(repr, (*drawn.center_px, *radii)))}"


def named(texts: Iterable[str]) -> dict[str, str]:
    """{name: what} from NAME=WHAT texts. Raises MetadataError."""
    texts_by_name: dict[str, str] = {}
    for text in texts:
        name, equals, description = text.partition("=")
        if not equals:
            raise MetadataError(f"detector {text!r} has no name", HINT)
        if name.strip() in texts_by_name:
            raise MetadataError(f"two detectors are called {name.strip()!r}", "give each a different name")
        texts_by_name[name.strip()] = description.strip()
    return texts_by_name


def named_detectors(
    plain: Iterable[Mapping[str, Any]], drawn: Iterable[VirtualDetector], known: Mapping[str, str]
) -> dict[str, str]:
    """{name: what} of detectors from a command, in addition to ``drawn`` ones. Raises MetadataError, CommandError.

    Files are not opened on behalf of a client, except those already ``known``.
    """
    drawn_names = [entry.name for entry in drawn]
    found: dict[str, str] = {}
    for entry in plain:
        name, text = entry.get("name"), entry.get("what")
        if not isinstance(name, str) or not isinstance(text, str) or entry.keys() > {"name", "what"}:
            raise CommandError("a detector needs a name and a description, both as text", HINT)
        if text.strip().endswith(".npy") and known.get(name) != text:
            raise CommandError(
                f"detector {name}={text!r}: masks are given at the start of the server: --detector", HINT
            )
        if name in found or name in drawn_names:
            raise CommandError(f"two detectors are called {name!r}", "give each a different name")
        found[name] = text.strip()
    read_detectors(found)
    if len(found) + len(drawn_names) > MOST_DETECTORS:
        raise CommandError(f"at most {MOST_DETECTORS} detectors, each with its own name")
    return found


def equip(bank: DetectorBank, detectors: Iterable[DescribedDetector], drawn: Iterable[SummableDetector] = ()) -> None:
    """Add these detectors, and ``drawn`` ones, to a bank. Raises MetadataError for an unsuitable one."""
    fixed: list[SummableDetector] = []
    waiting: list[UnplacedDetector] = []
    for detector in detectors:
        if isinstance(detector, MaskDetector | LostElectrons):
            fixed.append(detector)
        else:
            waiting.append(detector)
    bank.use([*drawn, *fixed], waiting)


def _read(name: str, text: str | Array) -> DescribedDetector:
    if not re.fullmatch(NAME_PATTERN, name):
        raise MetadataError(f"detector name {name!r}", "use 1 to 24 letters, digits, _ and -")
    if not isinstance(text, str):
        return _mask(name, np.asarray(text), "array")
    kind, colon, arguments = text.partition(":")
    if colon and kind in RADII:
        return _written(name, text, kind, arguments)
    if colon and kind in BY_THRESHOLD:
        return _threshold(name, text, kind, arguments)
    if colon and kind == PROFILES:
        return _profiles(name, text, arguments)
    if text == LOST:
        return LostElectrons(name)
    if text.endswith(".npy"):
        return _mask(name, mapped_array(Path(text)), Path(text).name)
    raise MetadataError(f"detector {name}={text!r} is neither a disc, a ring nor a mask", HINT)


def _profiles(name: str, text: str, arguments: str) -> ProfileComponents:
    if not (arguments.strip().isdecimal() and 1 <= int(arguments) <= MOST_COMPONENTS):
        problem = f"detector {name}={text!r}: profiles need a number of components, 1 to {MOST_COMPONENTS}"
        raise MetadataError(problem, HINT)
    return ProfileComponents(name, int(arguments))


def _threshold(name: str, text: str, kind: str, arguments: str) -> ThresholdDetector:
    read = number_and_unit(arguments)
    if read is None or read[1] or not 0 < read[0] <= 1:
        raise MetadataError(f"detector {name}={text!r}: {kind} needs a share of the brightest pixel, 0 to 1", HINT)
    return ThresholdDetector(name, float(read[0]), kind == "above")


def _written(name: str, text: str, kind: str, arguments: str) -> DiscOrRing:
    lengths = [_length(part) for part in arguments.split(",")]
    valid = tuple(length for length in lengths if length is not None)
    radii = RADII[kind]
    if len(valid) < len(lengths) or len(valid) not in (radii, radii + 2):
        expected = f"{radii} radi{'us' if radii == 1 else 'i'}, or row, column and {'it' if radii == 1 else 'them'}"
        raise MetadataError(f"detector {name}={text!r}: a {kind} needs {expected}", HINT)
    return DiscOrRing(name, text, valid[:-radii], valid[-radii:])


def _length(text: str) -> Length | None:
    """``12``, ``12 px`` or ``30 mrad``; None for anything else."""
    read = number_and_unit(text)
    if read is None or not np.isfinite(read[0]):
        return None
    value, unit = read
    if not unit or unit_factor("pixels", unit) is not None:
        return Length(value, is_angle=False)
    factor = unit_factor("angle", unit)
    return None if factor is None else Length(value * factor, is_angle=True)


def _mask(name: str, weights: Array, source: str) -> MaskDetector:
    if weights.ndim != 2 or not 0 < weights.size <= MOST_MASK_PIXELS or weights.dtype.kind not in "biuf":
        shape = " x ".join(map(str, weights.shape)) or "a single number"
        raise MetadataError(
            f"mask {name} ({source}) is {shape} of {weights.dtype}", "give numbers (rows, columns), one for each pixel"
        )
    values = np.array(weights, dtype=float)
    if not np.isfinite(values).all() or not values.any():
        raise MetadataError(
            f"mask {name} ({source}) is empty, or holds values that are not numbers", "give finite weights"
        )
    return MaskDetector(name, values, source)
