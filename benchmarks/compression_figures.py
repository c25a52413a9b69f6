"""Two figures of docs/compression.md, modelled on the compression paper: angle by masks, objects by dose and basis.

    python -m benchmarks.compression_figures angles OUT.png
    python -m benchmarks.compression_figures doses OUT.png

A defocused bilayer is simulated with the seed below. Angles: the intact-information angle of the bright field (eq. 18)
against the number of masks, without counting noise and at a low dose. Doses: the phase refined from coefficients of
square roots, one mask for the dark field, with its correlation with the truth, blurred alike.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmarks.compression_trend import NAMES, compressor_of
from ptylive.engine.backend.cache import use_persistent_cache
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import refine
from ptylive.engine.refine.results.refinement_result import RefineResult
from ptylive.engine.simulation.simulated_scan import SimulatedScan
from ptylive.pictures.chart import Series, lines
from ptylive.pictures.sheet import Cell, sheet
from ptylive.pictures.snapshot import png
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.schema.simulation.settings import SimulationSettings

SEED = 20261123
NUMBERS = (1, 3, 6, 10, 15, 21, 28, 36, 45, 66, 91)
KINDS = ("patterns", "pca", "zernike", "binning")
ROWS = (("frames", 0), ("patterns", 15), ("zernike", 36), ("binning", 45))
DOSES = (1e4, 1e5, 1e6)
BLUR_A = 0.25
SCAN = {
    "scan_shape": (24, 24),
    "scan_step_A": (0.5, 0.5),
    "detector_shape": (48, 48),
    "defocus_A": 100.0,
    "vacancies": 0.05,
    "seed": SEED,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["angles", "doses"])
    parser.add_argument("picture", type=Path)
    parser.add_argument(
        "--keep", type=Path, default=Path("compression_figures"), help="folder of what has been refined"
    )
    given = parser.parse_args()
    use_persistent_cache()
    drawn = angles() if given.what == "angles" else doses(given.keep)
    given.picture.write_bytes(png(drawn))


def scan(**values: object) -> tuple[Dataset, SimulatedScan]:
    """A simulated scan as a data set with all of its optics."""
    simulated = SimulatedScan.of(SimulationSettings.of({**SCAN, **values}), Path("unused.h5"))
    optics, header = simulated.header.optics, simulated.header
    known = {
        "energy_eV": optics.energy_eV,
        "convergence_semiangle_mrad": optics.convergence_semiangle_mrad,
        "detector_pixel_invA": simulated.window.detector_pixel_invA,
        "beam_center_px": header.detector.beam_center_px,
        "rotation_deg": 0.0,
        **simulated.settings.aberrations,
    }
    calibration = Calibration({name: Quantity(value, Origin.GIVEN) for name, value in known.items()})
    numbers = np.arange(header.frames)
    return Dataset.of(header, calibration, numbers, simulated.frames(numbers)), simulated


def angles() -> np.ndarray:
    """Mean angle against the number of masks: without noise and, as "low dose", at 1e4 electrons per Å^2."""
    series = []
    for noise, values in (("", {"poisson": False, "dtype": "f4"}), (", low dose", {"dose_e_per_A2": 1e4})):
        dataset = scan(**values)[0]
        for kind in KINDS if not noise else KINDS[:2]:
            found = []
            for number in NUMBERS:
                compressor, sample = compressor_of(dataset, (kind, number, 0), root=True)
                found.append((compressor.basis.n_bright, compressor.intact_angles_deg(sample)[0]))
            masks, degrees = np.array(found).T
            row = {"kind": kind, "noise": noise, "masks": masks.tolist(), "deg": np.round(degrees, 1).tolist()}
            print(json.dumps(row), flush=True)
            series.append(Series(f"{NAMES[kind].split(' (')[0]}{noise}", masks, degrees))
    return lines("masks in the bright field", "intact-information angle, degrees", series)


def doses(folder: Path) -> np.ndarray:
    """A row for each basis, a column for each dose; results in the folder are not refined again."""
    folder.mkdir(parents=True, exist_ok=True)
    cells = []
    for kind, number in ROWS:
        for dose in DOSES:
            file = folder / f"{kind}-{number}-{dose:.0e}.npz"
            if not file.exists():
                phase, correlation, title = refined(kind, number, dose)
                np.savez(file, phase=phase, correlation=correlation, title=title)
            with np.load(file, allow_pickle=False) as found:
                words = f"{found['title']}, 1e{round(np.log10(dose))} e/Å^2"
                cells.append(Cell(found["phase"], words, [f"correlation {float(found['correlation']):.3f}"]))
    page = sheet(cells, in_a_row=len(DOSES)).astype(float)
    rows, cols = page.shape[0] // 2, page.shape[1] // 2
    return page[: 2 * rows, : 2 * cols].reshape(rows, 2, cols, 2, 3).mean(axis=(1, 3)).astype(np.uint8)


def refined(kind: str, number: int, dose: float) -> tuple[np.ndarray, float, str]:
    """Phase and correlation of one refinement, and the label of its row."""
    dataset, simulated = scan(dose_e_per_A2=dose)
    title, start = NAMES.get(kind, kind).split(" (")[0], time.process_time()
    if kind != "frames":
        compressor, _ = compressor_of(dataset, (kind, number, 0), root=True)
        vectors = compressor.vectors(dataset.patterns)
        dataset = replace(dataset, patterns=vectors, masks=compressor.basis.masks, basis=compressor.words)
        title = f"{compressor.basis.n_bright} {title}"
    preset = Preset.from_mapping({"probe_modes": 1, "num_slices": 1, "epoch_max": 20, "scan_defocus": False})
    result = refine(dataset, preset, backend="cpu")
    phase, correlation = compared(result, simulated)
    spent = round(time.process_time() - start, 1)
    print(json.dumps({"kind": kind, "dose": dose, "corr": round(correlation, 4), "cpu_s": spent}), flush=True)
    return phase, correlation, title


def compared(result: RefineResult, simulated: SimulatedScan) -> tuple[np.ndarray, float]:
    """The phase of the scanned field on the truth's pixels, blurred, and its highest correlation with the truth.

    The truth is blurred alike; the maximum is over common shifts of object and probe, to which patterns are
    insensitive.
    """
    truth, pixel = simulated.specimen.phase.sum(axis=0).astype(float), simulated.grid.pixel_A
    origin, places = np.asarray(simulated.grid.origin_A), simulated.trajectory.nominal_A
    low, high = (np.ceil((edge - origin) / pixel).astype(int) for edge in (places.min(axis=0), places.max(axis=0)))
    rows, cols = np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij")
    fine = np.reshape(result.object_sampling_A, (2, 1, 1))
    pixels = (np.stack([rows, cols]) * pixel + origin[:, None, None] - np.reshape(result.origin_A, (2, 1, 1))) / fine
    phase = gaussian_filter(np.angle(result.object[0]).sum(axis=0).astype(float), BLUR_A / result.object_sampling_A[0])
    wanted = gaussian_filter(truth, BLUR_A / pixel)[rows, cols].ravel()
    shifts = np.arange(-8, 9) * 0.1 / result.object_sampling_A[0]
    tried = [map_coordinates(phase, pixels + np.reshape((y, x), (2, 1, 1)), order=1) for y in shifts for x in shifts]
    scores = [float(np.corrcoef(candidate.ravel(), wanted)[0, 1]) for candidate in tried]
    best = int(np.argmax(scores))
    return tried[best], scores[best]


if __name__ == "__main__":
    main()
