"""A scan that is computed frame by frame: the source of a scan file, with the ground truth."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ptylive.engine.backend.multislice.compiled_backend import CompiledMultislice
from ptylive.engine.backend.multislice.problem import DataTerm, DataTermKind, MultisliceProblem
from ptylive.engine.memory import check_fits
from ptylive.engine.simulation.illumination import Illumination
from ptylive.engine.simulation.object_grid import ObjectGrid, Window, detector_pixel_mrad
from ptylive.engine.simulation.readout import Readout
from ptylive.engine.simulation.specimen import Specimen
from ptylive.engine.simulation.trajectory import Trajectory
from ptylive.schema import Detector, Optics, Scan, ScanHeader
from ptylive.schema.metadata import build
from ptylive.schema.model import Array, BoolArray, ComplexArray, FloatArray, IndexArray
from ptylive.schema.simulation.settings import SimulationSettings

WORK_BYTES = 64 * 2**20
"""Intensities held in memory at a time."""
BYTES_PER_FRAME = 400
"""Memory per frame for positions and the like."""
SpecimenMaker = Callable[[SimulationSettings, ObjectGrid, Window], Specimen]


@dataclass(eq=False)
class SimulatedScan:
    """A scan file that does not exist yet: header, received frames, and each frame computed on request."""

    settings: SimulationSettings
    path: Path
    header: ScanHeader
    window: Window
    grid: ObjectGrid
    trajectory: Trajectory
    illumination: Illumination
    specimen: Specimen
    readout: Readout
    _propagators: ComplexArray
    _totals: dict[str, float] = field(default_factory=lambda: {"frames": 0.0, "electrons": 0.0, "full": 0.0})

    @classmethod
    def of(cls, settings: SimulationSettings, path: Path) -> SimulatedScan:
        """Everything but the frames. Raises MetadataError for impossible settings, InputFileError for structures."""
        return cls.with_specimen(settings, path, Specimen.of)

    @classmethod
    def with_specimen(cls, settings: SimulationSettings, path: Path, specimen_of: SpecimenMaker) -> SimulatedScan:
        """Like :meth:`of` with a specimen that ``specimen_of`` makes on the model's grid, whatever the settings say."""
        window = Window.of(settings)
        readout = Readout.of(settings, window)
        header = header_of(settings, readout)
        check_fits(float(header.frames) * BYTES_PER_FRAME, f"a scan of {header.frames} frames", "use fewer points")
        trajectory = Trajectory.of(settings, header.scan)
        readout.check_descan(trajectory.descan_px)
        grid = ObjectGrid.around(trajectory.positions_A, window)
        illumination = Illumination.of(settings, window)
        specimen = specimen_of(settings, grid, window)
        propagators = _propagators(window, specimen)
        return cls(settings, path, header, window, grid, trajectory, illumination, specimen, readout, propagators)

    @property
    def received(self) -> BoolArray:
        """Which frames arrived, in acquisition order."""
        return self.trajectory.received

    @property
    def detected_fraction(self) -> float:
        """Fraction of the electrons that hit the detector, averaged over the frames computed so far."""
        return self._totals["electrons"] / max(self._totals["frames"], 1.0)

    @property
    def full_pixels(self) -> int:
        """Number of saturated values in good pixels, in the frames computed so far."""
        return int(self._totals["full"])

    def frames(self, index: IndexArray) -> Array:
        """Patterns (n, Qy, Qx) as recorded, by acquisition number; independent of which others are requested."""
        parts = [
            self.readout.recorded(mean, part) for part, mean in self._mean_patterns(np.asarray(index, dtype=np.int64))
        ]
        good = ~self.readout.bad_pixels
        self._totals["full"] += sum(int(np.count_nonzero((part >= self.readout.full) & good)) for part in parts)
        return np.concatenate(parts)

    def expected(self, index: IndexArray) -> FloatArray:
        """Fraction of the electrons in each pixel (n, Qy, Qx), without noise."""
        return np.concatenate([mean for _, mean in self._mean_patterns(np.asarray(index, dtype=np.int64))])

    def _mean_patterns(self, index: IndexArray) -> Any:
        """Yield the mean patterns of a few frames at a time."""
        at_a_time = max(1, WORK_BYTES // (12 * self.window.size**2))
        for start in range(0, len(index), at_a_time):
            part = index[start : start + at_a_time]
            mean = self.readout.expected(self._intensities(part))
            self._totals["frames"] += len(part)
            self._totals["electrons"] += float(mean.sum(dtype=np.float64))
            yield part, mean

    def _intensities(self, index: IndexArray) -> FloatArray:
        """Far-field intensities (n, P, P), zero frequency first, sum 1 before the specimen."""
        size = self.window.size
        corners, shifts = self.grid.placed(self.trajectory.positions_A[index], self.window)
        problem = MultisliceProblem(
            patterns=np.zeros((len(index), size, size), np.uint8),
            weights=self._weights,
            corners=corners,
            shifts_px=shifts,
            object_shape=(self.specimen.slices, *self.grid.shape),
            propagators=self._propagators,
            data_term=DataTerm(DataTermKind.AMPLITUDE, 0.0),
            offsets_px=self.readout.offsets_px(self.trajectory.descan_px[index]),
        )
        backend = CompiledMultislice(problem)
        total = np.zeros((len(index), size, size), np.float32)
        for planes in self.specimen.planes:
            for mode in self.illumination.modes:
                total += backend.intensities(planes, np.stack([mode.real, mode.imag])[:, None])
        backend.close()
        return total / np.float32(len(self.specimen.planes))

    @cached_property
    def _weights(self) -> FloatArray:
        return np.ones((self.window.size, self.window.size), np.float32)

    def truth(self) -> tuple[dict[str, Array], dict[str, Any]]:
        """Arrays and attributes of the group ``/truth``, in the frame of the object's pixel (0, 0)."""
        scan, first = self.header.scan, np.asarray(self.grid.origin_A)
        points = (scan.require_shape()[0], scan.frames_per_row)
        arrays: dict[str, Array] = {
            "phase": self.specimen.phase.sum(axis=0),
            "slices": self.specimen.phase,
            "probe": _real_space(self.illumination.nominal),
            "positions_A": (self.trajectory.positions_A - first).reshape(*points, 2),
            "nominal_positions_A": (self.trajectory.nominal_A - first).reshape(*points, 2),
            "descan_px": self.trajectory.descan_px.reshape(*points, 2),
            "flyback_mask": np.broadcast_to(np.arange(points[1]) >= scan.require_shape()[1], points).copy(),
        }
        if self.settings.detector.gain_spread:
            arrays["gain"] = self.readout.gain
        attributes: dict[str, Any] = {
            "object_sampling_A": self.grid.pixel_A,
            "first_point_A": -first,
            "probe_sampling_A": self.window.side_A / self.window.size,
            "slice_thickness_A": self.specimen.slice_thickness_A,
            "thickness_A": self.specimen.slice_thickness_A * self.specimen.slices,
            "detected_fraction": self.detected_fraction,
            "electrons_per_pattern": self.settings.electrons_per_pattern,
            "wavelength_A": self.window.wavelength_A,
            "aberrations": json.dumps(self.settings.aberrations),
            "settings": json.dumps(self.settings.model_dump()),
            "seed": self.settings.model.seed,
            "model_pixels": self.window.size,
            "beam_center_px": np.asarray(self.readout.center_px),
            "phase_units": "rad",
            "note": "phase[r, c] sits at (r, c) * object_sampling_A in the frame of positions_A, detector axes, frames "
            "in the order of acquisition, flyback included; slices: entrance side first, averaged over the frozen"
            " phonons, before the band limit of the model; probe: on pixel P // 2, at the entrance plane,"
            " without source size and focal spread, sum |probe|^2 = 1; descan_px as recorded",
        }
        return arrays, attributes


def header_of(settings: SimulationSettings, readout: Readout) -> ScanHeader:
    """Metadata of the file. Raises MetadataError for an impossible scan."""
    scan_settings, probe, detector = settings.scan, settings.probe, settings.detector
    blind = settings.model.tell == "microscope"
    scan: dict[str, Any] = {
        "shape": scan_settings.scan_shape,
        "step_A": scan_settings.scan_step_A,
        "pattern": scan_settings.scan_pattern,
        "flyback_frames": scan_settings.flyback_frames,
        "dwell_time_us": scan_settings.dwell_time_us,
        "rotation_deg": None if blind else scan_settings.rotation_deg,
    }
    optics: dict[str, Any] = {
        "energy_eV": probe.energy_eV,
        "convergence_semiangle_mrad": probe.convergence_semiangle_mrad,
    }
    detector_part: dict[str, Any] = {
        "shape": detector.detector_shape,
        "dtype": readout.dtype.str,
        "pixel_mrad": detector_pixel_mrad(settings),
        "saturation_value": detector.saturation_value,
    }
    if not blind:
        optics |= {"C10": 0.0, **settings.aberrations}
        detector_part |= {
            "beam_center_px": readout.center_px,
            "transform": detector.detector_transform,
            "descan_px": detector.descan_px,
            "counts_per_electron": detector.counts_per_electron,
        }
    arrays = _arrays(readout)
    text = json.dumps([settings.model_dump(), sorted(arrays)], sort_keys=True)
    uid = f"simulated-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    parts = {
        name: build(name, values, "simulation")
        for name, values in (("scan", scan), ("optics", optics), ("detector", detector_part))
    }
    built: tuple[Scan, Optics, Detector] = (parts["scan"], parts["optics"], parts["detector"])
    return ScanHeader(uid, "simulated", built[0].frames, *built, arrays=arrays)


def _arrays(readout: Readout) -> Mapping[str, Array]:
    """Masks and references stored in a file."""
    arrays: dict[str, Array] = {}
    if readout.bad_pixels.any():
        arrays["bad_pixel_mask"] = readout.bad_pixels
    if readout.settings.gain_spread:
        arrays["gain_reference"] = (1 / readout.gain).astype(np.float32)
    if readout.settings.dark_counts:
        arrays["dark_reference"] = np.full(readout.gain.shape, readout.settings.dark_counts, np.float32)
    return arrays


def _propagators(window: Window, specimen: Specimen) -> ComplexArray:
    """Free-space propagators behind each slice but the last, (slices - 1, P, P), zero beyond the model's limit."""
    count = specimen.slices - 1
    check_fits(48.0 * count * window.size**2, f"{count} propagators", "use thicker slices")
    rows, cols = window.frequencies()
    q2 = rows**2 + cols**2
    free = np.exp(-1j * np.pi * window.wavelength_A * specimen.slice_thickness_A * q2) * (q2 <= window.limit_invA**2)
    return np.asarray(np.broadcast_to(free, (count, *free.shape)))


def _real_space(wave: ComplexArray) -> ComplexArray:
    """The probe (P, P) in real space, on pixel P // 2, sum of squares 1."""
    return np.asarray(np.fft.ifft2(wave, norm="ortho"), dtype=np.complex64)
