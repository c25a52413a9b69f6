"""A crystal of 200 Å with two heavy layers 35 Å apart, one scan of it and three at 0 and ±20 mrad, and the picture.

    python tests/tilted_crystal.py docs/pictures/tilt-series.png     # with tests and checkout on the path

For each tilt the atoms are moved, in slices of 4 Å (tests/tilted_scans.py); the product refines 24 slices of 8.3 Å from
an empty object, phases only, with the same settings for one scan and for three.
"""

import sys
from dataclasses import replace

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from tilted_scans import LAMBDA_A, TiltedScans

from ptylive.engine.refine import refine
from ptylive.pictures.sheet import Cell, sheet
from ptylive.schema.preset import Preset

CELL_A, THICKNESS_A, LAYERS_A, SLICES = 3.9, 200.0, (76.1, 111.2), 24
COLUMNS_A = np.arange(-4, 7) * CELL_A
TILTS = [(0, 0), (20, 0), (-20, 0)]
SETTINGS = {
    "num_slices": SLICES, "total_thickness_A": THICKNESS_A, "probe_modes": 1, "window_px": 48, "epoch_max": 80,
    "phase_only_obj": True, "anchor": 0.0, "refine_drift": False, "start_from_map": False, "scan_defocus": False,
}  # fmt: skip


def crystal(seed):
    """Columns along the beam, 0.12 rad per atom, 0.45 rad in the layers, 0.06 Å of disorder."""
    places = np.stack(np.meshgrid(COLUMNS_A, COLUMNS_A, np.arange(51) * CELL_A + 2, indexing="ij"), -1).reshape(-1, 3)
    heavy = np.any([np.abs(places[:, 2] - depth) < CELL_A / 2 for depth in LAYERS_A], axis=0)
    places[:, :2] += np.random.default_rng(seed).normal(scale=0.06, size=(len(places), 2))
    return TiltedScans(
        places, np.where(heavy, 0.45, 0.12), THICKNESS_A, points=12, step_A=0.7, pixels=48, pixel_mrad=2.0,
        defocus_A=100.0, counts=3e5, width_A=0.3, seed=seed,
    )  # fmt: skip


def depth_profile(result):
    """Phase (slices,) on the columns between the outermost positions."""
    phase, weights = np.angle(result.object[0]), []
    for axis, pixels in enumerate(phase.shape[1:]):
        places = np.arange(pixels) * result.object_sampling_A[axis] + result.origin_A[axis]
        low, high = result.positions_A[:, axis].min(), result.positions_A[:, axis].max()
        seen = COLUMNS_A[(COLUMNS_A > low - 0.5) & (COLUMNS_A < high + 0.5)]
        weights.append(np.exp(-((places[:, None] - seen) ** 2) / 2 / 0.3**2).sum(axis=1))
    return np.einsum("zyx,y,x->z", phase, *weights) / (weights[0].sum() * weights[1].sum())


def dip(profile):
    """Fall of the phase between the layers as a fraction of its rise: 0 for one maximum, 1 for two."""
    inner = profile[3:-3]  # at the faces, object and probe cannot be separated
    depths = (np.arange(SLICES)[3:-3] + 0.5) * THICKNESS_A / SLICES
    near = [inner[np.abs(depths - layer) < 12].max() for layer in LAYERS_A]
    between = inner[(depths > LAYERS_A[0]) & (depths < LAYERS_A[1])].min()
    return max(0.0, (min(near) - between) / (min(near) - np.median(inner)))


def refined(specimen):
    """Refinements of one scan, and of three."""
    one = refine(specimen.scan(), Preset.from_mapping(SETTINGS), backend="cpu")
    asked = Preset.from_mapping({**SETTINGS, "scan_tilts_mrad": TILTS})
    return one, refine(specimen.together(TILTS), asked, backend="cpu")


def section(result):
    """Phase (slices, columns) in the planes of the rows of columns, averaged."""
    phase, low, high = np.angle(result.object[0]), *(result.positions_A[:, 0].min(), result.positions_A[:, 0].max())
    rows = COLUMNS_A[(COLUMNS_A > low - 0.5) & (COLUMNS_A < high + 0.5)]
    at = np.rint((rows - result.origin_A[0]) / result.object_sampling_A[0]).astype(int)
    return phase[:, at].mean(axis=1)


def true_section(specimen):
    """The same of the specimen itself, on the columns' pixels of a refined object, each slice with its neighbours."""
    pixel_A, thin = LAMBDA_A / (specimen.pixels * specimen.pixel_mrad * 1e-3), THICKNESS_A / SLICES / 8
    columns = np.arange(0.0, specimen.points * specimen.step_A, pixel_A)
    fine = replace(specimen, slice_A=thin).slices(np.array([0.0, CELL_A, 2 * CELL_A]), columns).mean(axis=1)
    blurred = gaussian_filter1d(
        fine, 6, axis=0, mode="nearest"
    )  # atoms of a column are 3.9 Å apart, so no slice has the same number
    return blurred.reshape(SLICES, 8, -1).sum(axis=1)


def draw(path, seed=1):
    """Sections along the beam, which comes from above."""
    specimen, cells = crystal(seed), []
    results = refined(specimen)
    planes = [(true_section(specimen), "specimen", "two heavy layers")]
    for result, title in zip(results, ("one scan", "three scans, 0 and ±20 mrad"), strict=True):
        places = np.arange(result.object.shape[-1]) * result.object_sampling_A[1] + result.origin_A[1]
        seen = (places >= 0) & (places < specimen.points * specimen.step_A)
        planes.append((section(result)[:, seen], title, f"dip between the layers {dip(depth_profile(result)):.2f}"))
    for plane, title, line in planes:
        wide = np.repeat(np.repeat(plane, 16, axis=0), 8, axis=1)
        brightest = float(plane[3:-3].max())
        cells.append(Cell(wide, title, (line,), limits=(0.2 * brightest, brightest)))
    Image.fromarray(sheet(cells, 3)).convert("L").reduce(2).quantize(32).save(path, optimize=True)


if __name__ == "__main__":
    draw(sys.argv[1])
