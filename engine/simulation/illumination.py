"""The beam as incoherent modes: probes at the displacements and defoci that sample source and focal spread.

Source and focal spread are Gaussian and integrated by Gauss-Hermite quadrature: n nodes integrate polynomials of the
displacement up to order 2 n - 1 exactly. Intensities of patterns are summed, each computed with the whole probe
displaced or defocused; nothing is approximated by a convolution over the scan.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ptylive.engine.memory import check_fits
from ptylive.engine.probe import Probe
from ptylive.engine.simulation.object_grid import Window
from ptylive.schema.errors import MetadataError
from ptylive.schema.model import ComplexArray, DoubleArray
from ptylive.schema.simulation.settings import SimulationSettings

FWHM_PER_SIGMA = 2 * math.sqrt(2 * math.log(2))


@dataclass(frozen=True, eq=False)
class Illumination:
    """Modes (n, P, P) in Fourier space, zero frequency first, probe on pixel P // 2; |.|^2 sums to 1 over all modes."""

    modes: ComplexArray
    nominal: ComplexArray
    """(P, P): the probe without source and focal spread."""

    @classmethod
    def of(cls, settings: SimulationSettings, window: Window) -> Illumination:
        """The modes for some settings. Raises MetadataError if aperture or probe do not fit into the model."""
        probe, aberrations = settings.probe, settings.aberrations
        source = hermite(probe.source_points, probe.source_size_A / FWHM_PER_SIGMA)
        focus = hermite(probe.focal_points, probe.focal_spread_A)
        count = len(focus[0]) * len(source[0]) ** 2
        check_fits(16.0 * count * window.size**2, f"{count} modes of the probe", "use fewer points for source or focus")
        rows, cols = window.frequencies()
        to_centre = np.exp(-2j * np.pi * (rows + cols) * (window.size // 2) * window.pixel_A)
        modes = []
        for spread, share in zip(*focus, strict=True):
            wave = _wave(settings, window, {**aberrations, "C10": aberrations.get("C10", 0.0) - float(spread)})
            wave = wave * to_centre
            for y, a in zip(*source, strict=True):
                for x, b in zip(*source, strict=True):
                    modes.append(math.sqrt(share * a * b) * wave * np.exp(-2j * np.pi * (rows * y + cols * x)))
        nominal = _wave(settings, window, aberrations) * to_centre
        return cls(np.asarray(modes, dtype=np.complex64), nominal.astype(np.complex64))


def hermite(points: int, sigma: float) -> tuple[DoubleArray, DoubleArray]:
    """Gauss-Hermite nodes and weights (n,) of a normal distribution of that standard deviation; one node if it is 0."""
    if not sigma or points == 1:
        return np.zeros(1), np.ones(1)
    nodes, weights = np.polynomial.hermite_e.hermegauss(points)
    return nodes * sigma, weights / weights.sum()


def _wave(settings: SimulationSettings, window: Window, aberrations: dict[str, float]) -> ComplexArray:
    """The probe (P, P) in the aperture plane, sum of squares 1."""
    semiangle = settings.probe.convergence_semiangle_mrad
    probe = Probe.of(window.wavelength_A, semiangle, window.detector_pixel_invA, aberrations)
    probe.check_sampled("a simulation")
    edge = probe.semiangle_invA + probe.edge_invA / 2
    if edge > window.limit_invA:
        raise MetadataError(
            f"the aperture of {semiangle:.3g} mrad is larger than the model, which ends at"
            f" {1e3 * window.limit_invA * window.wavelength_A:.3g} mrad",
            "increase detector_pixel_mrad or reach",
        )
    specimen = settings.specimen
    thick = specimen.structure_file or specimen.specimen in ("crystal", "particles")
    thickness = specimen.thickness_A if thick else 0.0
    source = hermite(settings.probe.source_points, settings.probe.source_size_A / FWHM_PER_SIGMA)[0].max()
    wide = 2 * (probe.rim_shift_A + 1e-3 * semiangle * thickness + source)
    if not wide < window.side_A:
        raise MetadataError(
            f"the probe is {wide:.3g} Å wide, and the model's window {window.side_A:.3g} Å",
            "reduce detector_pixel_mrad, defocus, thickness or source, or increase oversampling",
        )
    wave = probe.wave(*window.frequencies())
    return np.asarray(wave / np.sqrt((np.abs(wave) ** 2).sum()))
