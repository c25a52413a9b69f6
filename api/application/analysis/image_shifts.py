"""Images from parts of the bright field aligned with each other, for ``ptylive align``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ptylive.application.offline import reconstruct_source
from ptylive.engine.calibrate.alignment.image_shifts import AlignmentOptions, ImageShifts, measure_shifts
from ptylive.engine.imaging.accumulation.store import Store
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.probe import Probe
from ptylive.pictures.colours import ColourMap
from ptylive.pictures.sheet import Cell, sheet
from ptylive.pictures.snapshot import Rgb, png
from ptylive.pictures.vectors import vectors
from ptylive.schema import Calibration, MetadataError
from ptylive.schema.advice.limits import quarter_pi_limit_A
from ptylive.schema.files.atomic import replacing
from ptylive.schema.model import DoubleArray, FloatArray
from ptylive.schema.scan import rotation_matrix

if TYPE_CHECKING:
    from ptylive.streamer.source import FileSource

SMOOTHED, LEVEL_SHARE = 1.5, 8
"""Frequencies over which a power spectrum is averaged, so that rings are visible in its speckle; and the share of its
width over which its level is computed."""
DOUBTFUL = 2.0
"""Standard errors from the defocus in use: one of twenty alignments lies further away by chance."""
RINGS_TO, MOST_UPSAMPLE = 1.5, 4
"""Semi-angles up to which rings are shown; and the largest refinement of the scan step."""


@dataclass(frozen=True, eq=False)
class AlignedImages:
    """Shifts of images with the optics that explain them, and the calibration used for the maps."""

    shifts: ImageShifts
    calibration: Calibration
    conditions: ImagingConditions

    def to_plain(self) -> dict[str, Any]:
        """Values and standard errors in Å and degrees, the pi/4 limit of each, and the agreement of the images."""
        probe = self.conditions.probe
        mrad = 1e3 * probe.semiangle_invA * probe.wavelength_A
        aberrations = {
            name: {
                "value_A": round(value, 1),
                "error_A": round(self.shifts.errors_A[name], 1),
                "limit_A": round(quarter_pi_limit_A(name[:3], probe.wavelength_A, mrad), 1),
            }
            for name, value in self.shifts.aberrations.items()
        }
        return {
            "bins": len(self.shifts.k),
            "correlation": round(float(self.shifts.agreement.mean()), 3),
            "left_A": round(self.shifts.rms_A, 3),
            "rotation_deg": round(self.shifts.rotation_deg, 2),
            "rotation_error_deg": round(self.shifts.rotation_error_deg, 2),
            "aberrations": aberrations,
            "doubt": self.doubt,
            "set": self.assignments(),
        }

    @property
    def doubt(self) -> str:
        """A warning if the defocus differs from that of the maps; empty if it does not."""
        measured, in_use = self.shifts.aberrations.get("C10"), self.calibration.get("C10")
        error_A = self.shifts.errors_A.get("C10", 0.0)
        if measured is None or in_use is None or abs(measured - in_use) <= DOUBTFUL * error_A:
            return ""
        distance = f"{abs(measured - in_use) / error_A:.1f} standard errors from" if error_A else "not"
        return (
            f"C10 is {distance} the value in use, {in_use:.4g} Å: shifts mislead near focus, compare the maps of both"
        )

    @property
    def values(self) -> dict[str, float]:
        """The optics found, by their metadata names."""
        found = {**self.shifts.aberrations, "rotation_deg": self.shifts.rotation_deg}
        return {name: float(f"{value:.5g}") for name, value in found.items()}

    def assignments(self) -> str:
        """Arguments that give these optics to other commands, after each ``--set``."""
        return " ".join(f"--set {name}={value:.5g}" for name, value in self.values.items())

    @property
    def upsample(self) -> int:
        """How much finer than the scan rings are searched for: as far as bright-field images resolve them."""
        finest_A = 1 / (RINGS_TO * self.conditions.probe.semiangle_invA)
        return min(MOST_UPSAMPLE, max(1, math.ceil(2 * max(self.shifts.step_A) / finest_A)))

    def thon(self) -> tuple[FloatArray, FloatArray]:
        """Power of the aligned bright field (rows, cols) over frequencies, the zero frequency in the middle, and of the
        fitted optics' transfer function: dark rings of one belong on dark rings of the other.
        """
        total, step = self.shifts.aligned(self.upsample), self.shifts.step_A
        axes = [np.fft.fftfreq(n, size / self.upsample) for n, size in zip(total.shape, step, strict=True)]
        scan = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(2, -1).T
        q = np.asarray(scan @ rotation_matrix(self.shifts.rotation_deg).T)
        probe = self.conditions.probe
        mrad = 1e3 * probe.semiangle_invA * probe.wavelength_A
        fitted = Probe.of(probe.wavelength_A, mrad, probe.edge_invA, self.shifts.aberrations)
        conditions = self.conditions.with_probe(fitted)
        transfer = np.empty(len(q))
        for part in np.array_split(np.arange(len(q)), max(1, len(q) // 4096)):
            weights = conditions.aligned_shifts(q[part])
            transfer[part] = np.einsum("nq,nq->q", weights, conditions.transfer(q[part])).real ** 2
        return _centred(np.abs(total) ** 2), _centred(transfer.reshape(total.shape))

    def picture(self) -> Rgb:
        """Arrows on the disc, and next to them the power spectrum; its left half is the fitted optics' transfer."""
        shifts = self.shifts
        rotation = rotation_matrix(shifts.rotation_deg)  # into the frame of the detector, like the disc
        arrows = vectors(
            shifts.k, shifts.shift_A @ rotation.T, shifts.fitted_A @ rotation.T, shifts.semiangle_invA, "Å"
        )
        measured, model = self.thon()
        composite = _levelled(measured)
        half = composite.shape[1] // 2
        composite[:, :half] = _logarithm(model)[:, :half]
        edge = 0.5 * self.upsample / max(shifts.step_A)
        lines = ["left: transfer function of the optics found", f"right: aligned bright field, to {edge:.3g} 1/Å"]
        rings = sheet([Cell(composite, "Thon rings", lines, ColourMap.GRAY)])
        rows = max(arrows.shape[0], rings.shape[0])
        page = np.full((rows, arrows.shape[1] + rings.shape[1], 3), 255, dtype=np.uint8)
        page[: arrows.shape[0], : arrows.shape[1]] = arrows
        page[: rings.shape[0], arrows.shape[1] :] = rings
        return page

    def write(self, path: Path) -> None:
        """Write the picture as a PNG. Raises OSError."""
        with replacing(Path(path).expanduser()) as temporary:
            temporary.write_bytes(png(self.picture()))


def align_source(
    source: FileSource,
    values: Mapping[str, Any],
    alignment: AlignmentOptions,
    on_progress: Callable[[int, int, str], None] | None = None,
) -> AlignedImages:
    """Align the images of an open scan of frames; a given ``rotation_deg`` is forced. Raises MetadataError."""
    reconstruction = reconstruct_source(source, values, ["bf"], on_progress=on_progress)
    if reconstruction.engine.store is None:
        raise MetadataError("no frame of a scan point arrived", "give the whole recording")
    return align_store(reconstruction.engine.store, reconstruction.calibration, alignment)


def align_store(store: Store, calibration: Calibration, alignment: AlignmentOptions) -> AlignedImages:
    """Align the images of a scan whose frames are already reduced. Raises MetadataError."""
    header = store.header
    step = calibration.require("scan_step_A", "the alignment of images")
    shapes = (header.detector_shape, header.scan.require_shape())
    basis = store.reduction.basis
    conditions = ImagingConditions.of(calibration, basis, *shapes, (float(step[0]), float(step[1])))
    forced = header.scan.rotation_deg
    return AlignedImages(measure_shifts(store, conditions, alignment, forced), calibration, conditions)


def _centred(field: DoubleArray) -> FloatArray:
    return np.fft.fftshift(field).astype(np.float32)


def _levelled(power: FloatArray) -> FloatArray:
    """A power spectrum without speckle and without its slow fall-off from the middle, from 0 to 1."""
    from scipy import ndimage

    plain = np.log10(np.maximum(ndimage.gaussian_filter(power, SMOOTHED), 1e-30))
    level = ndimage.gaussian_filter(plain, max(power.shape) / LEVEL_SHARE)
    low, high = np.quantile(plain - level, (0.02, 0.98))
    return np.asarray(np.clip((plain - level - low) / max(high - low, 1e-12), 0, 1), dtype=np.float32)


def _logarithm(power: FloatArray) -> FloatArray:
    """Decades below the largest value, at most two, scaled from 0 to 1."""
    top = float(np.quantile(power, 0.995)) or 1.0
    return np.asarray(np.clip(1 + np.log10(np.maximum(power / top, 1e-2)) / 2, 0, 1), dtype=np.float32)
