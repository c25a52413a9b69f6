"""Aliases: the frequencies a scan frequency may stand for, and what they reveal about lattices finer than the scan."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from ptylive.engine.calibrate.aberrations import Search, fit_by_energy
from ptylive.engine.calibrate.criteria import Aliases, Criteria
from ptylive.engine.calibrate.modulation import Modulation, is_sparse
from ptylive.engine.calibrate.scan import _Work
from ptylive.engine.live.engine import reconstruct
from ptylive.engine.probe import Probe
from ptylive.schema import Calibration, Detector, FrameBatch, Optics, Origin, Scan, ScanHeader
from ptylive.schema.model import Array
from ptylive.schema.scan import rotation_matrix
from ptylive.schema.units import invA_to_mrad, wavelength_A

ENERGY_EV, SEMIANGLE_INVA = 80e3, 0.6
POINTS, STEP_A = 24, 2.0
SIDE, PIXEL_A = 48, 0.4


def test_aliases_are_whole_sampling_frequencies_away_and_within_the_limit() -> None:
    q = np.array([[0.1, 0.0], [-0.2, 0.15], [0.24, 0.24]])
    found = Aliases.of(q, (2.0, 2.5), 1.2)
    moved = (found.q - q[found.owner]) * [2.0, 2.5]
    assert np.allclose(moved, np.round(moved))
    assert (np.hypot(*found.q.T) < 1.2).all()
    expected = sum(
        math.hypot(row + i / 2.0, col + j / 2.5) < 1.2 for row, col in q for i in range(-5, 6) for j in range(-5, 6)
    )
    assert len(found.q) == expected
    assert [int(found.owner[k]) for k in found.first] == [0, 1, 2]
    values = np.arange(len(found.q), dtype=float)
    assert found.largest(values).tolist() == [values[found.owner == k].max() for k in range(3)]
    first = found.of_first(2)
    assert first.owner.max() == 1
    assert np.array_equal(first.spread(q.T[:, :2]), q.T[:, first.owner])


def test_a_frequency_beyond_the_limit_is_itself_at_least() -> None:
    found = Aliases.of(np.array([[0.4, 0.0]]), (0.5, 0.5), 0.3)
    assert found.q.tolist() == [[0.4, 0.0]]
    assert found.chance == 1.0


@pytest.mark.parametrize(("step_A", "least"), [((2.0, 2.5), 12), ((0.5, 90.0), 0), ((30.0, 3.0), 250)])
def test_every_frequency_has_at_least_as_many_aliases_as_fill_a_square(step_A: tuple[float, float], least: int) -> None:
    q = np.random.default_rng(0).uniform(-0.5, 0.5, (30, 2)) / step_A
    assert Aliases.least(step_A, 1.2) == least <= np.bincount(Aliases.of(q, step_A, 1.2).owner).min()


def test_a_scan_of_steps_far_apart_has_too_many_aliases_to_list() -> None:
    """A probe every 0.1 mm: trillions for each frequency."""
    assert Aliases.if_usable(np.zeros((100, 2)), (1e6, 1e6), 1.2, 40) is None


def test_the_best_of_many_explains_more_of_noise() -> None:
    found = Aliases.of(np.array([[0.01, 0.01]]), (2.0, 2.0), 1.2)
    drawn = np.random.default_rng(0).exponential(size=(20_000, len(found.q))).max(axis=1)
    # five standard errors of the mean; the largest of n exponential numbers has a variance below pi^2 / 6
    assert drawn.mean() == pytest.approx(found.chance, abs=5 * math.sqrt(math.pi**2 / 6 / 20_000))


def lattice_scan(
    c10_A: float,
    rotation_deg: float,
    lattice_A: float,
    seed: int,
    step_A: float = STEP_A,
    disorder_A: float = 0.0,
    electrons: float = 2e4,
) -> tuple[ScanHeader, Array]:
    """A triangular lattice with vacancies, usually finer than the scan resolves; ``electrons`` counts those of a
    pattern.

    Atoms are displaced at random from their sites by up to ``disorder_A``.
    """
    rng, wavelength = np.random.default_rng(seed), wavelength_A(ENERGY_EV)
    pixel_invA = 1 / (SIDE * PIXEL_A)
    semiangle_mrad = invA_to_mrad(SEMIANGLE_INVA, wavelength)
    frequency = np.fft.fftfreq(SIDE, PIXEL_A)
    wave = Probe.of(wavelength, semiangle_mrad, pixel_invA, {"C10": c10_A}).wave(
        *np.meshgrid(frequency, frequency, indexing="ij")
    )
    probe = np.fft.fftshift(np.fft.ifft2(wave / np.linalg.norm(wave)))
    reach = int((1.5 * POINTS * step_A + SIDE * PIXEL_A) / lattice_A) + 2
    i, j = np.meshgrid(np.arange(-reach, reach), np.arange(-reach, reach), indexing="ij")
    atoms = lattice_A * np.stack([(i + 0.5 * j).ravel(), math.sqrt(0.75) * j.ravel()], -1) + rng.uniform(0, 3, 2)
    atoms = atoms[rng.random(len(atoms)) > 0.1]
    atoms += disorder_A * rng.uniform(-1, 1, atoms.shape)
    line = (np.arange(POINTS) - (POINTS - 1) / 2) * step_A
    places = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2) @ rotation_matrix(rotation_deg).T
    axis = (np.arange(SIDE) - SIDE // 2) * PIXEL_A
    frames = np.empty((len(places), SIDE, SIDE), "<u2")
    for k, place in enumerate(places):
        near = atoms[(np.abs(atoms - place) < SIDE * PIXEL_A / 2 + 1.5).all(axis=1)] - place
        rows, cols = (np.exp(-((axis[:, None] - near[:, n]) ** 2) / (2 * 0.35**2)) for n in (0, 1))
        pattern = np.abs(np.fft.fft2(probe * np.exp(0.4j * rows @ cols.T))) ** 2
        frames[k] = rng.poisson(np.fft.fftshift(pattern) * electrons / pattern.sum())
    header = ScanHeader(
        "lattice",
        "lattice",
        len(places),
        Scan(shape=(POINTS, POINTS), step_A=step_A),
        optics=Optics(energy_eV=ENERGY_EV, convergence_semiangle_mrad=semiangle_mrad),
        detector=Detector(shape=(SIDE, SIDE), pixel_mrad=invA_to_mrad(pixel_invA, wavelength)),
    )
    return header, frames


@pytest.mark.slow
@pytest.mark.parametrize(
    ("c10_A", "rotation_deg", "lattice_A", "seed", "step_A"),
    [(250, -35, 2.9, 3, 2.0), (-170, 20, 2.5, 0, 2.0), (170, 50, 2.7, 5, 2.6)],
)
def test_a_lattice_finer_than_the_scan_gives_defocus_and_rotation(
    c10_A: float, rotation_deg: float, lattice_A: float, seed: int, step_A: float
) -> None:
    """The last is so coarse that it counts as sparse."""
    assert is_sparse((step_A, step_A), SEMIANGLE_INVA) == (step_A > 2.5)
    header, frames = lattice_scan(c10_A, rotation_deg, lattice_A, seed, step_A)
    engine, _ = reconstruct(header, lambda: [FrameBatch("lattice", np.arange(len(frames)), frames)], ["bf"])
    found = engine.calibration or Calibration()
    assert (found.origin("C10"), found.origin("rotation_deg")) == (Origin.ESTIMATED, Origin.ESTIMATED)
    # twice the uncertainty that the calibration states
    assert float(found.get("C10")) == pytest.approx(c10_A, abs=2 * float(found.entries["C10"].uncertainty or 0))
    assert found.rotation_deg == pytest.approx(rotation_deg, abs=1.0)
    assert found.transform == "none"


@pytest.mark.slow
@pytest.mark.parametrize(("disorder_A", "peaked"), [(0.0, True), (2.0, False)])
def test_frequencies_of_a_lattice_stand_out_of_their_rings(disorder_A: float, peaked: bool) -> None:
    header, frames = lattice_scan(170, 50, 2.7, 5, 2.6, disorder_A)
    engine, _ = reconstruct(header, lambda: [FrameBatch("lattice", np.arange(len(frames)), frames)], ["bf"])
    modulation = Modulation.of(engine.store, (2.6, 2.6), SEMIANGLE_INVA)
    assert modulation is not None
    assert modulation.peaked == peaked


@pytest.mark.slow
@pytest.mark.parametrize(("electrons", "found"), [(150, True), (30, False)])
def test_few_electrons_tell_what_noise_does_not(electrons: float, found: bool) -> None:
    """With 30 electrons a pattern the fit explains one to three times as much as noise does, so no optics are given."""
    header, frames = lattice_scan(100, -35, 2.9, 1, 0.6, 2.0, electrons)
    engine, _ = reconstruct(header, lambda: [FrameBatch("lattice", np.arange(len(frames)), frames)], ["bf"])
    calibration = engine.calibration or Calibration()
    assert (calibration.origin("C10") is Origin.DEFAULT) != found
    if found:  # underfocus is assumed where nothing decides between the half turns
        half_turn = float(calibration.get("C10")) < 0
        assert calibration.origin("C10") is Origin.UNDECIDED
        assert abs(float(calibration.get("C10"))) == pytest.approx(100.0, abs=10.0)
        assert calibration.rotation_deg == pytest.approx(145.0 if half_turn else -35.0, abs=4.0)
        assert calibration.transform == "none"


@pytest.mark.slow
def test_where_the_power_of_the_aligned_image_is_lost_the_energy_is_not() -> None:
    """J1 fails in focus and under noise; the grid of J2 still finds the true values."""
    header, frames = lattice_scan(100, -35, 2.9, 2, 0.6, 2.0, 400)
    engine, _ = reconstruct(header, lambda: [FrameBatch("lattice", np.arange(len(frames)), frames)], ["bf"])
    work = _Work(dict((engine.calibration or Calibration()).entries), engine.store)
    modulation = Modulation.of(engine.store, (0.6, 0.6), SEMIANGLE_INVA)
    assert modulation is not None
    criteria = Criteria(modulation, work.conditions(), {})
    fit = fit_by_energy(criteria, Search.of(criteria, None))
    assert fit is not None
    c10_A, turn = fit.aberrations["C10"], math.copysign(1.0, fit.aberrations["C10"])
    assert abs(c10_A) == pytest.approx(100.0, abs=10.0)
    assert math.cos(math.radians(fit.rotation_deg + 35.0)) * turn > math.cos(math.radians(3.0))
    scrambled = np.exp(2j * np.pi * np.random.default_rng(0).random(modulation.spectra.shape))
    noise = replace(modulation, spectra=(modulation.spectra * scrambled).astype(np.complex64))
    assert fit_by_energy(Criteria(noise, work.conditions(), {}), Search.of(criteria, None)) is None
