"""A refinement of a scan that nobody recorded, on a GPU, so that a first one there does not wait for compilers.

cupy compiles each of its kernels when it is first asked for, and keeps it on disk: of a refinement about a hundred, a
quarter of a minute in all, whatever its size. A small one asks for most of them.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from ptylive.engine.backend import device
from ptylive.engine.backend.multislice import gpu
from ptylive.engine.backend.multislice.fast_sizes import padded_size
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.schema import Calibration, Origin, PtyliveError, Quantity
from ptylive.schema.model import Array, ComplexArray, DoubleArray
from ptylive.schema.preset import Preset

ENERGY_EV, WAVELENGTH_A, SEMIANGLE_MRAD = 80e3, 0.0418, 20.0
POINTS, STEP_A, DEFOCUS_A = 12, 0.8, 60.0
RADIUS_SHARE = 0.25
"""Of the disc, in the detector's side."""
ELECTRONS = 4000
"""A pattern."""
STRENGTH = 0.3
"""Of the specimen's phase, rad."""


def warm_up_gpu(pixels: int) -> None:
    """Have compiled what a refinement of patterns of n x n pixels asks of a GPU; nothing where there is none.

    Half a minute the first time. Where it fails nothing is said: whoever refines there is told.
    """
    if device.missing():
        return
    gpu.warm_up(padded_size(pixels))
    with suppress(PtyliveError, *device.current_gpu().failures):
        refine(made_up_scan(pixels), Preset(), backend="gpu")


def made_up_scan(pixels: int) -> Dataset:
    """12 x 12 points of a rough phase object."""
    rng = np.random.default_rng(0)
    pixel_invA = 1e-3 * SEMIANGLE_MRAD / WAVELENGTH_A / (RADIUS_SHARE * pixels)
    sampling_A = 1 / (pixels * pixel_invA)
    corners = np.rint(STEP_A / sampling_A * np.indices((POINTS, POINTS)).reshape(2, -1).T).astype(int)
    transmission = np.exp(1j * STRENGTH * rng.normal(size=corners.max(axis=0) + pixels))
    values = {
        "energy_eV": ENERGY_EV,
        "convergence_semiangle_mrad": SEMIANGLE_MRAD,
        "detector_pixel_invA": pixel_invA,
        "C10": -DEFOCUS_A,
        "rotation_deg": 0.0,
        "beam_center_px": (pixels // 2, pixels // 2),
    }
    return Dataset(
        patterns=_counts(transmission, _probe(pixels, pixel_invA), corners, rng),
        point=np.arange(len(corners)),
        positions_A=corners * sampling_A,
        bad_pixels=np.zeros((pixels, pixels), bool),
        beam_center_px=np.full(2, float(pixels // 2)),
        scan_shape=(POINTS, POINTS),
        calibration=Calibration({name: Quantity(value, Origin.GIVEN) for name, value in values.items()}),
    )


def _probe(pixels: int, pixel_invA: float) -> ComplexArray:
    """(P, P) in real space, in the middle."""
    along = pixel_invA * np.fft.fftfreq(pixels, 1 / pixels)
    square = along[:, None] ** 2 + along**2
    aperture = square <= (1e-3 * SEMIANGLE_MRAD / WAVELENGTH_A) ** 2
    wave: ComplexArray = np.fft.fftshift(
        np.fft.ifft2(aperture * np.exp(1j * np.pi * WAVELENGTH_A * DEFOCUS_A * square))
    )
    return wave


def _counts(transmission: ComplexArray, probe: ComplexArray, corners: DoubleArray, rng: np.random.Generator) -> Array:
    """(N, P, P), the undiffracted beam in the middle."""
    side = len(probe)
    windows = np.stack([transmission[row : row + side, col : col + side] for row, col in corners])
    far = abs(np.fft.fftshift(np.fft.fft2(probe * windows), axes=(1, 2))) ** 2
    counts: Array = rng.poisson(ELECTRONS / far.sum((1, 2), keepdims=True) * far).astype(np.uint16)
    return counts
