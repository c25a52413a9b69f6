"""A lattice finer than the scan can sample: the aligned bright field resolves it, whereas the scan alone aliases it.

Gold, 20 Å thick, far out of focus, with a step twice too coarse for its lattice; the reference is the true phase.
Between 360 and 410 Å of underfocus the atoms' absorption decides the sign of the aligned bright field at this spacing.
A flip by the sign of the phase contrast alone would invert the lattice, so OBF, which has the right sign, is used.
"""

import h5py
import numpy as np
import pytest

import ptylive
from ptylive.schema.maps import LiveMap

SPACING_A = 2.039
"""Lattice spacing of (200)."""


def simulated(path, seed, defocus_A):
    return ptylive.simulate(
        path,
        seed=seed,
        tell="everything",
        specimen="crystal",
        material="Au",
        thickness_A=20,
        energy_eV=300e3,
        convergence_semiangle_mrad=20,
        detector_pixel_mrad=0.6,
        detector_shape=(96, 96),
        scan_shape=(32, 32),
        scan_step_A=(2.0, 2.0),
        defocus_A=defocus_A,
        rotation_deg=-15,
        dose_e_per_A2=5e4,
    )


def truth_on(path, live_map: LiveMap):
    """The true phase at the pixels of a map, in the frame of the scan."""
    from scipy import ndimage

    with h5py.File(path) as file:
        phase, positions = file["truth/phase"][()], file["truth/positions_A"][()]
        sampling = float(file["truth"].attrs["object_sampling_A"])
    rows, cols = live_map.data.shape
    finer = rows / positions.shape[0]
    grid = np.stack(np.meshgrid(np.arange(rows) / finer, np.arange(cols) / finer, indexing="ij"))
    at = [ndimage.map_coordinates(positions[..., axis], grid, order=1, mode="nearest") / sampling for axis in (0, 1)]
    return ndimage.map_coordinates(phase.reshape(phase.shape[-2:]), at, order=1, mode="grid-wrap")


def ring_correlation(one, other, pixel_A, spacing_A, width=0.1):
    """Correlation of two pictures over the frequencies within a tenth of a spacing."""
    window = np.outer(np.hanning(one.shape[0]), np.hanning(one.shape[1]))
    first, second = (np.fft.fft2((a - a.mean()) * window) for a in (one, other))
    q = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, pixel_A) for n in one.shape), indexing="ij"))
    ring = np.abs(q * spacing_A - 1) < width
    power = np.sqrt((np.abs(first[ring]) ** 2).sum() * (np.abs(second[ring]) ** 2).sum())
    return float((first[ring] * second[ring].conj()).real.sum() / power)


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "defocus_A"), [(11, 350), (14, 370), (15, 400), (12, 450), (13, 500)])
def test_the_lattice_of_gold_is_in_the_map_four_times_finer(seed, defocus_A, tmp_path):
    path = tmp_path / "gold.h5"
    maps = simulated(path, seed, defocus_A).reconstruct(
        ["tcbf", "obf"], settings={"tcbf.upsample": 4, "obf.upsample": 4}
    )
    inside = slice(16, -16), slice(16, -16)
    for name in ("tcbf", "obf"):
        assert maps[name].data.shape == (128, 128)
        true = truth_on(path, maps[name])
        assert ring_correlation(maps[name].data[inside], true[inside], 0.5, SPACING_A) >= 0.5, name
