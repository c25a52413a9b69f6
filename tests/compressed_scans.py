"""Scans of frames as compressed recordings deliver them."""

from dataclasses import replace

import numpy as np

from ptylive.engine.bases.choice import make_basis, parse_basis
from ptylive.engine.bases.compressor import Compressor
from ptylive.engine.bases.field import DetectorField
from ptylive.engine.dataset import Dataset


def compressed(dataset: Dataset, basis: str, sample: int = 320) -> tuple[Dataset, float]:
    """Coefficients and extras of a data set of frames in a basis (``zernike:45+1``), and the compression C."""
    calibration = dataset.calibration
    pixel = float(calibration.get("detector_pixel_invA"))
    radius = float(calibration.get("convergence_semiangle_mrad")) * 1e-3 / float(calibration.wavelength_A) / pixel
    centre = (float(dataset.beam_center_px[0]), float(dataset.beam_center_px[1]))
    field = DetectorField(centre, radius, ~dataset.bad_pixels)
    drawn = np.random.default_rng(3).choice(len(dataset.patterns), min(sample, len(dataset.patterns)), replace=False)
    choice = parse_basis(basis)
    made = make_basis(choice, field, np.where(dataset.bad_pixels, 0, dataset.patterns[np.sort(drawn)]))
    compressor = Compressor(made, field, choice.square_root)
    frames = np.where(dataset.bad_pixels, 0, dataset.patterns)
    vectors = np.concatenate([compressor.vectors(part) for part in np.array_split(frames, max(1, len(frames) // 512))])
    return replace(dataset, patterns=vectors, masks=made.masks, basis=compressor.words), compressor.ratio
