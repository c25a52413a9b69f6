"""Made-up scans of the zoo, without abTEM. The benchmarks, at the repository's root, are put on the path here."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # after everything else, since its names are common ones

from benchmarks.zoo.draws import draw  # noqa: E402
from benchmarks.zoo.files import write  # noqa: E402
from benchmarks.zoo.simulate import Scan, scan_positions, transformed  # noqa: E402

SAMPLING_A = 0.2


def small_draw(**changes):
    """A draw with few points and pixels."""
    usual = {
        "shape": (10, 12),
        "step_A": 1.5,
        "pixels": 16,
        "pattern": "raster",
        "flyback": 0,
        "drift_A": (0.0, 0.0),
        "jitter_A": 0.0,
        "rotation_deg": 0.0,
        "transform": "none",
        "beam_offset_px": (0.0, 0.0),
        "slices": 1,
    }
    return replace(draw("development", 3), **{**usual, **changes})


def made_scan(drawn, seed=0):
    """Phase blobs, and patterns of one electron per pixel with a brighter corner."""
    rng = np.random.default_rng(seed)
    nominal, positions = scan_positions(drawn, rng)
    corner = positions.reshape(-1, 2).min(0) - 4
    extent = positions.reshape(-1, 2).max(0) + 4 - corner
    size = np.ceil(extent / SAMPLING_A).astype(int)
    phase = ndimage.gaussian_filter(rng.normal(size=(drawn.slices, *size)), (0, 4, 4), mode="wrap")
    frames = (*positions.shape[:2], drawn.pixels, drawn.pixels)
    counts = np.ones(frames, np.uint16)
    counts[..., 2, 5] = 7
    bad = np.zeros(frames[2:], bool)
    bad[1, 3] = True
    centre = tuple(drawn.pixels // 2 + offset for offset in drawn.beam_offset_px)
    counts, bad, centre = transformed(drawn.transform, counts, bad, centre)
    probe = np.zeros(frames[2:], np.complex64)
    return Scan(
        counts, bad, centre, positions - corner, nominal - corner, phase, SAMPLING_A, probe, 10.0 * drawn.slices, 1.0
    )


def written_scan(folder, drawn, seed=0):
    """Path of such a scan in a file, and the scan."""
    scan = made_scan(drawn, seed)
    path = folder / f"{drawn.name}.h5"
    write(path, drawn, scan)
    return path, scan
