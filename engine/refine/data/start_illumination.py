"""A start probe built as in PyPty: amplitude from a measured pattern, aperture by threshold, modes of given orders.

Everything not requested is as in ``start_probe``: soft disc, aberrations, modes of source size and
focal spread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from numpy.polynomial import hermite_e

from ptylive.engine.dataset import Dataset
from ptylive.engine.earlier_results.formats import read_earlier
from ptylive.engine.probe import ComplexPlane, Probe
from ptylive.engine.refine.data.model_window import ModelWindow
from ptylive.engine.refine.data.pattern_statistics import mean_pattern
from ptylive.engine.refine.data.probe_resampling import in_number, in_window
from ptylive.engine.refine.data.scan_window import ScanWindow
from ptylive.engine.refine.data.start_probe import Coherence, centring, coherent_modes, nominal_wave, with_counts
from ptylive.schema.errors import MetadataError
from ptylive.schema.files.npy import read_npy
from ptylive.schema.model import DoubleArray
from ptylive.schema.preset.probe import ProbeSettings

MODE_FALLOFF = 0.25
"""Ratio of the powers of Hermite modes of successive orders."""


@dataclass(frozen=True)
class StartIllumination:
    """The settings of the start probe."""

    settings: ProbeSettings
    pattern: DoubleArray
    """(P, P) mean or vacuum pattern on the model's pixels, zero frequency at [0, 0]."""
    depth_A: float = 0.0
    """Depth below the entrance to which a given probe refers."""

    @classmethod
    def of(
        cls, settings: ProbeSettings, dataset: Dataset, window: ScanWindow, model: ModelWindow, depth_A: float = 0.0
    ) -> StartIllumination | None:
        """None if the settings request nothing. Raises MetadataError if the vacuum pattern is missing."""
        names = (
            "start_probe",
            "aperture_mask",
            "bright_threshold",
            "estimate_aperture_based_on_binary",
            "beam_ctf",
            "n_hermite_probe_modes",
        )
        default = settings.probe_amplitude == "aperture" and settings.defocus_spread_modes_A is None
        if default and settings.extra_probe_defocus_A == 0 and all(getattr(settings, name) is None for name in names):
            return None
        if settings.probe_amplitude == "vacuum_pattern":
            pattern = _vacuum(dataset, window.size)
        else:
            pattern = mean_pattern(window)
        repeat = model.size // window.size
        return cls(settings, np.asarray(np.kron(pattern, np.ones((repeat, repeat))), dtype=np.float64), depth_A)

    def modes(self, probe: Probe, model: ModelWindow, coherence: Coherence, counts: float) -> ComplexPlane:
        """Start modes (modes, P, P) in Fourier space, ``counts`` in total. Raises MetadataError for unusable files."""
        k_squared = model.k_row**2 + model.k_col**2
        if self.settings.start_probe is not None:
            q = np.fft.fftfreq(model.size, model.object_pixel_A)  # of free space between slices
            back = np.exp(1j * np.pi * probe.wavelength_A * self.depth_A * (q[:, None] ** 2 + q**2))
            modes = given_modes(self.settings.start_probe, model) * self._turn(probe, model) * back
            requested = self.settings.probe_modes
            if isinstance(requested, int):
                modes = in_number(modes, requested, model, probe.wavelength_A, coherence)
            return with_counts(modes, counts)
        wave = self._wave(probe, model)
        if self.settings.n_hermite_probe_modes is not None:
            return with_counts(hermite_modes(wave, self.settings.n_hermite_probe_modes), counts)
        if self.settings.defocus_spread_modes_A is not None:
            added = np.asarray(self.settings.defocus_spread_modes_A)[:, None, None]
            return with_counts(wave * np.exp(1j * np.pi * probe.wavelength_A * added * k_squared), counts)
        return coherent_modes(wave, model, probe.wavelength_A, coherence, counts)

    def _wave(self, probe: Probe, model: ModelWindow) -> ComplexPlane:
        """Amplitude and phase of the start probe (P, P)."""
        settings = self.settings
        aperture = self._aperture()
        if settings.probe_amplitude != "aperture":
            amplitude = np.sqrt(np.maximum(self.pattern, 0)) * (1 if aperture is None else aperture)
        elif aperture is not None:
            amplitude = aperture
        else:
            amplitude = None
        if amplitude is None:
            wave = nominal_wave(probe, model)
        else:
            chi = probe.chi(model.k_row, model.k_col)
            wave = np.asarray(amplitude * np.exp(-1j * chi) * centring(model.size))
        return np.asarray(wave * self._turn(probe, model))

    def _turn(self, probe: Probe, model: ModelWindow) -> ComplexPlane:
        """Extra defocus and given phase (P, P); underfocus rotates the phase of frequency k by +pi lam df k^2."""
        k_squared = model.k_row**2 + model.k_col**2
        turn = np.pi * probe.wavelength_A * self.settings.extra_probe_defocus_A * k_squared
        if self.settings.beam_ctf is not None:
            turn = turn - centred_array("beam_ctf", self.settings.beam_ctf, model.size)
        return np.asarray(np.exp(1j * turn))

    def _aperture(self) -> DoubleArray | None:
        """A given mask, or 1 where the pattern is bright and 0 elsewhere; None if neither is given."""
        settings = self.settings
        if settings.aperture_mask is not None:
            return centred_array("aperture_mask", settings.aperture_mask, len(self.pattern))
        level = 0.0
        if settings.bright_threshold is not None:
            level = settings.bright_threshold * float(self.pattern.max())
        elif settings.estimate_aperture_based_on_binary is not None:
            level = settings.estimate_aperture_based_on_binary * float(self.pattern.mean())
        if level == 0:
            return None
        bright = self.pattern > level
        if not bright.any():
            raise MetadataError("no pixel of the mean pattern is above the aperture's threshold", "lower it")
        return bright.astype(np.float64)


def hermite_modes(wave: ComplexPlane, orders: tuple[int, int]) -> ComplexPlane:
    """Modes (orders[0] * orders[1], P, P) of a wave in Fourier space, in ascending order.

    In real space P(r) He_m(y / s_y) He_n(x / s_x), with the probabilists' Hermite polynomials He and the standard
    deviations s of |P|^2 about its centre; orthogonalised (Gram-Schmidt), with power falling by ``MODE_FALLOFF`` per
    order.
    """
    probe = np.fft.ifft2(wave)
    power = np.abs(probe) ** 2
    axes = [np.arange(n, dtype=float) for n in probe.shape]
    scaled = []
    for axis, coordinates in enumerate(axes):
        weights = power.sum(axis=1 - axis)
        centre = float((weights * coordinates).sum() / weights.sum())
        spread = float(np.sqrt((weights * (coordinates - centre) ** 2).sum() / weights.sum()))
        scaled.append((coordinates - centre) / max(spread, 1e-9))
    indices = sorted(product(range(orders[0]), range(orders[1])), key=lambda index: (sum(index), index))
    columns = [
        (probe * np.outer(_hermite(m, scaled[0]), _hermite(n, scaled[1]))).ravel() for m, n in indices
    ]  # fmt: skip
    directions, _ = np.linalg.qr(np.stack(columns, axis=1))
    weights = np.sqrt([MODE_FALLOFF ** sum(index) for index in indices])
    modes = (directions * weights).T.reshape(len(indices), *probe.shape)
    return np.asarray(np.fft.fft2(modes))


def given_modes(path: str, model: ModelWindow) -> ComplexPlane:
    """Modes (modes, P, P) in Fourier space from a file with a probe in real space, centred on pixel P // 2.

    npy: (P, P), (modes, P, P) or PyPty's (P, P, modes) and (P, P, modes, probes); otherwise a result of this program or
    another, converted to this window. Of several probes the first is used. Raises MetadataError for an array of another
    window, InputFileError.
    """
    if not path.endswith(".npy"):
        probe, pixel_A = read_earlier(Path(path)).require_probe(path)
        return in_window(probe, pixel_A, model.size, model.object_pixel_A)
    size = model.size
    stored = read_npy("start_probe", path, "give an npy file, or a results file")
    stored = stored[None] if stored.ndim == 2 else stored
    if stored.ndim == 4 and stored.shape[:2] == (size, size):
        stored = stored[..., 0]
    if stored.ndim == 3 and stored.shape[0] == stored.shape[1] == size != stored.shape[2]:
        stored = np.moveaxis(stored, -1, 0)
    if stored.ndim != 3 or stored.shape[1:] != (size, size):
        raise MetadataError(
            f"start_probe {path} has shape {stored.shape}",
            f"the window has {size} x {size} pixels; only a results file, which states its pixel size, may differ",
        )
    return np.asarray(np.fft.fft2(stored, norm="ortho"), dtype=np.complex128)


def _hermite(order: int, at: DoubleArray) -> DoubleArray:
    coefficients = np.zeros(order + 1)
    coefficients[order] = 1
    return np.asarray(hermite_e.hermeval(at, coefficients))


def _vacuum(dataset: Dataset, size: int) -> DoubleArray:
    if dataset.vacuum is None:
        raise MetadataError(
            "probe_amplitude = vacuum_pattern, but the recording holds no vacuum pattern", "use mean_pattern"
        )
    vacuum_only = replace(dataset, patterns=dataset.vacuum[None].astype(np.float32))
    return np.asarray(ScanWindow.of(vacuum_only, size).patterns[0], dtype=np.float64)


def centred_array(name: str, path: str, size: int) -> DoubleArray:
    """An array (P, P), centred in the file on pixel P // 2, smaller ones padded with 0; FFT order."""
    values = read_npy(name, path, "give an npy file of numbers", dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or values.shape[0] > size:
        raise MetadataError(f"{name} {path} has shape {values.shape}", f"the window has {size} x {size} pixels")
    before = size // 2 - values.shape[0] // 2
    after = size - values.shape[0] - before
    return np.asarray(np.fft.ifftshift(np.pad(values, (before, after))))
