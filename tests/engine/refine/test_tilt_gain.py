"""A crystal of 200 Å with two heavy layers 35 Å apart: one scan sees one, three scans at 0 and ±20 mrad see both.

Atoms are moved for each tilt, in slices of 4 Å (tests/tilted_scans.py); the product refines 24 slices of 8.3 Å from an
empty object, phases only, with the same settings for one scan and for three. Depths are those of the columns' phase.
"""

import numpy as np
import pytest
from tilted_scans import TiltedScans

from ptylive.engine.refine import refine
from ptylive.schema.preset import Preset

CELL_A, THICKNESS_A, LAYERS_A, SLICES = 3.9, 200.0, (76.1, 111.2), 24
COLUMNS_A = np.arange(-4, 7) * CELL_A
TILTS = [(0, 0), (20, 0), (-20, 0)]
SETTINGS = {
    "num_slices": SLICES, "total_thickness_A": THICKNESS_A, "probe_modes": 1, "window_px": 48, "epoch_max": 80,
    "phase_only_obj": True, "anchor": 0.0, "refine_drift": False, "start_from_map": False, "scan_defocus": False,
}  # fmt: skip


def crystal(seed):
    """Columns along the beam, 0.12 rad an atom, 0.45 in the layers, 0.06 Å of disorder."""
    places = np.stack(np.meshgrid(COLUMNS_A, COLUMNS_A, np.arange(51) * CELL_A + 2, indexing="ij"), -1).reshape(-1, 3)
    heavy = np.any([np.abs(places[:, 2] - depth) < CELL_A / 2 for depth in LAYERS_A], axis=0)
    places[:, :2] += np.random.default_rng(seed).normal(scale=0.06, size=(len(places), 2))
    return TiltedScans(
        places, np.where(heavy, 0.45, 0.12), THICKNESS_A, points=12, step_A=0.7, pixels=48, pixel_mrad=2.0,
        defocus_A=100.0, counts=3e5, width_A=0.3, seed=seed,
    )  # fmt: skip


def depth_profile(result):
    """(slices,) phase on the columns between the outermost positions."""
    phase, weights = np.angle(result.object[0]), []
    for axis, pixels in enumerate(phase.shape[1:]):
        places = np.arange(pixels) * result.object_sampling_A[axis] + result.origin_A[axis]
        low, high = result.positions_A[:, axis].min(), result.positions_A[:, axis].max()
        seen = COLUMNS_A[(COLUMNS_A > low - 0.5) & (COLUMNS_A < high + 0.5)]
        weights.append(np.exp(-((places[:, None] - seen) ** 2) / 2 / 0.3**2).sum(axis=1))
    return np.einsum("zyx,y,x->z", phase, *weights) / (weights[0].sum() * weights[1].sum())


def dip(profile):
    """How far the phase falls between the layers, as a share of what it rises by: 0 for one maximum, 1 for two."""
    inner = profile[3:-3]  # what the probe cannot tell from the object lies at the faces
    depths = (np.arange(SLICES)[3:-3] + 0.5) * THICKNESS_A / SLICES
    near = [inner[np.abs(depths - layer) < 12].max() for layer in LAYERS_A]
    between = inner[(depths > LAYERS_A[0]) & (depths < LAYERS_A[1])].min()
    return max(0.0, (min(near) - between) / (min(near) - np.median(inner)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_three_tilts_resolve_layers_that_one_scan_does_not(seed):
    specimen = crystal(seed)
    one = refine(specimen.scan(), Preset.from_mapping(SETTINGS), backend="cpu")
    asked = Preset.from_mapping({**SETTINGS, "scan_tilts_mrad": TILTS})
    three = refine(specimen.together(TILTS), asked, backend="cpu")
    dips = [dip(depth_profile(result)) for result in (one, three)]
    print(f"seed {seed}: dip between the layers {dips[0]:.2f} with one scan, {dips[1]:.2f} with three")
    print(*(np.round(depth_profile(result), 3).tolist() for result in (one, three)), sep="\n")
    assert dips[0] < 0.1 and dips[1] > 0.26  # Rayleigh's criterion
    assert three.backend.startswith("cpu, 3 tilts")
