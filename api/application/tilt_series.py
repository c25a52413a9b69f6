"""Several recordings of one place at different tilts of the specimen, combined for one refinement.

The refinement itself sees them as :mod:`ptylive.engine.refine.problem.tilt_series` describes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ptylive.application.extensions import Preset
from ptylive.application.offline import refinable, start_guess
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine.data.series.joint_scans import joined, under_one_calibration
from ptylive.engine.refine.data.series.scan_registration import registered
from ptylive.engine.refine.validation.scan_settings import check_scans
from ptylive.schema import Calibration, LiveMap, MetadataError

if TYPE_CHECKING:
    from ptylive.engine.refine.data.start_guess import StartGuess
    from ptylive.streamer.source import FileSource


COMPARED = 16
"""Number of patterns, spread over two scans, by which a copy is recognised."""


@dataclass(frozen=True)
class RecordedScan:
    """One of the scans."""

    name: str
    dataset: Dataset
    guess: StartGuess | None
    """The map used to locate the scan."""
    path: Path | None = None

    @classmethod
    def beside(
        cls, first: RecordedScan, source: FileSource, calibration: Calibration, start_map: LiveMap | None
    ) -> RecordedScan:
        """A later scan, whose file stays open, with its own ``calibration`` and ``start_map``.

        Raises MetadataError for a scan that cannot be combined with the first.
        """
        common = under_one_calibration(first.dataset.calibration, calibration)
        return cls.under(common, source, start_guess(start_map, common))

    @classmethod
    def under(cls, common: Calibration, source: FileSource, guess: StartGuess | None) -> RecordedScan:
        """A later scan whose calibration and map already are the common ones. Raises MetadataError for coefficients."""
        if not source.header.basis.is_raw:
            raise MetadataError(
                f"{source.path.name} holds coefficients", "only scans of frames can be refined together"
            )
        return cls(source.path.name, refinable(source, common), guess, source.path)


def each_once(paths: Iterable[Path]) -> None:
    """Raise MetadataError for a repeated file: its patterns would count for two tilts."""
    seen: set[Path] = set()
    for path in paths:
        real = Path(os.path.realpath(path))  # circular links are reported when the scan is opened
        if path.exists() and real in seen:
            raise MetadataError(f"{path} is listed twice", "name each scan once")
        seen.add(real)


def _copies(scans: Sequence[RecordedScan]) -> list[str]:
    """Remarks on scans whose patterns are those of another one under another name."""
    remarks = []
    for number, scan in enumerate(scans):
        for earlier in scans[:number]:
            a, b = earlier.dataset.patterns, scan.dataset.patterns
            chosen = np.linspace(0, len(a) - 1, COMPARED).astype(np.int64)
            if len(a) == len(b) and np.array_equal(seen := a[chosen], b[chosen]) and seen.any():
                remarks.append(
                    f"{scan.name} holds the same patterns as {earlier.name}: a copy? each tilt needs a scan of its own"
                )
    return remarks


def together(scans: Sequence[RecordedScan], preset: Preset, tell: Callable[[str], None]) -> Dataset:
    """Combine all scans in the frame of the first, shifted according to the settings or to their maps.

    ``tell`` gets a line on where each scan was found. Raises MetadataError for scans that cannot be combined and for
    maps that do not agree.
    """
    each_once(scan.path for scan in scans if scan.path is not None)
    for remark in _copies(scans):
        tell(remark)
    given = preset.scans.scan_shifts_A
    if given is not None and len(given) != len(scans):
        raise MetadataError(f"scan_shifts_A lists {len(given)} scans, there are {len(scans)}", "give one for each")
    shifts_A = np.zeros((len(scans), 2)) if given is None else np.asarray(given, dtype=float)
    names = [scan.name for scan in scans]
    dataset = joined([scan.dataset for scan in scans], names, shifts_A)
    check_scans(dataset, preset)  # before maps are used
    if given is not None:
        return dataset
    for number, scan in enumerate(scans[1:], 1):
        if scans[0].guess is None or scan.guess is None:
            raise MetadataError(
                f"no map {preset.start.start_map} to register {scan.name} with",
                "give scan_shifts_A, or another start_map",
            )
        registration = registered(scans[0].guess, scan.guess)
        shifts_A[number] = registration.shift_A
        row, column = registration.shift_A
        tell(f"{scan.name} lies {row:.2f}, {column:.2f} Å from {names[0]} (correlation {registration.correlation:.2f})")
    return joined([scan.dataset for scan in scans], names, shifts_A)
