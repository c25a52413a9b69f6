"""The aliases of a frequency together explain what no single one of them does."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.linalg import lapack

from ptylive.engine.bases import BinnedPixels
from ptylive.engine.calibrate.aliases.joint import JointCriteria, solved
from ptylive.engine.calibrate.criteria import Aliases, Criteria
from ptylive.engine.calibrate.modulation import Modulation
from ptylive.engine.geometry import DetectorGrid
from ptylive.engine.imaging.imaging_conditions import ImagingConditions
from ptylive.engine.probe import Probe
from ptylive.schema.model import DoubleArray
from ptylive.schema.units import wavelength_A

ENERGY_EV, SEMIANGLE_MRAD, SIDE, POINTS, STEP_A = 200e3, 20.0, 32, 24, 1.7
FREQUENCIES = 30
TRUE = np.array([-160.0, 0.0, 0.0, math.radians(25.0)])
"""C10, C12a, C12b and rotation, in the order that criteria use."""


def conditions(step_A: float = STEP_A, bins: int = 200) -> ImagingConditions:
    wavelength = wavelength_A(ENERGY_EV)
    radius = SEMIANGLE_MRAD * 1e-3 / wavelength
    pixel = 2.4 * radius / SIDE
    grid = DetectorGrid.of((SIDE, SIDE), (SIDE // 2,) * 2, "none", pixel)
    basis = BinnedPixels.of(grid, radius, np.zeros((SIDE, SIDE), bool), bins)
    probe = Probe.of(wavelength, SEMIANGLE_MRAD, pixel, {})
    return ImagingConditions(probe, grid, basis, (POINTS, POINTS), (step_A, step_A), 0.0)


def frequencies(seed: int, step_A: float = STEP_A) -> DoubleArray:
    """Half of the frequencies of a scan, chosen at random."""
    places = np.random.default_rng(seed).choice(POINTS * POINTS // 2 - 1, FREQUENCIES, replace=False) + 1
    return (np.stack(np.divmod(places, POINTS), -1) / POINTS - [0.0, 0.5]) / step_A


def seen(seed: int, *, transposed: bool = False, noise: float = 0.05, step_A: float = STEP_A) -> Criteria:
    """A scan of randomly placed atoms, so that every alias has energy; ``noise`` is relative to the rms coefficient."""
    rng, given = np.random.default_rng(seed), conditions(step_A)
    q, count = frequencies(seed, step_A), given.basis.count
    empty = Modulation(q, np.zeros((count, FREQUENCIES), np.complex64), np.full(count, 1 / count), POINTS * step_A)
    optics = Criteria(empty, given, {})
    optics = optics.transposed() if transposed else optics
    aliases = Aliases.of(q, (step_A, step_A), 2 * given.probe.semiangle_invA)
    waves = optics.transfer(TRUE, aliases.q) * np.exp(2j * math.pi * rng.random(len(aliases.q)))
    spectra = np.add.reduceat(waves, aliases.first, axis=1)
    scatter = rng.normal(size=(2, *spectra.shape)) * noise * np.sqrt(np.mean(np.abs(spectra) ** 2) / 2)
    return Criteria(replace(empty, spectra=(spectra + scatter[0] + 1j * scatter[1]).astype(np.complex64)), given, {})


def joint(criteria: Criteria) -> JointCriteria:
    found = JointCriteria.of(criteria)
    assert found is not None
    return found


def test_together_they_explain_what_the_best_one_does_not() -> None:
    criteria = seen(0)
    alone = criteria.with_aliases()
    assert alone is not None
    assert np.median(alone.unexplained(TRUE)) > 0.5
    left = joint(criteria).unexplained(TRUE)
    assert np.median(left) < 0.1
    assert left.min() > 1e-3  # energy shared by two aliases is not counted twice


@pytest.mark.parametrize("aside", [(100.0, 0.0), (0.0, 0.5)], ids=["defocus", "rotation"])
def test_wrong_optics_do_not(aside: tuple[float, float]) -> None:
    wrong = TRUE + np.array([aside[0], 0.0, 0.0, aside[1]])
    assert np.median(joint(seen(1)).unexplained(wrong)) > 0.4


@pytest.mark.parametrize("transposed", [False, True])
def test_nor_does_the_wrong_handedness(transposed: bool) -> None:
    own = joint(seen(2, transposed=transposed))
    right, wrong = (own.transposed(), own) if transposed else (own, own.transposed())
    assert np.median(right.unexplained(TRUE)) < 0.1 < 0.4 < np.median(wrong.unexplained(TRUE))


def test_swapping_the_axes_before_or_afterwards_is_the_same() -> None:
    criteria = seen(3)
    assert joint(criteria).transposed().unexplained(TRUE) == pytest.approx(
        joint(criteria.transposed()).unexplained(TRUE), rel=1e-4
    )


def test_scans_without_aliases_and_with_too_many_are_not_asked() -> None:
    assert JointCriteria.of(seen(0, step_A=0.3)) is None  # finer than half the resolution
    each = joint(seen(0)).aliases.each
    assert 8 < each < 40
    few = conditions(bins=round(2 * each))
    modulation = seen(0).modulation
    fewer = replace(modulation, spectra=modulation.spectra[: few.basis.count], mean=modulation.mean[: few.basis.count])
    assert JointCriteria.of(Criteria(fewer, few, {})) is None


def test_the_brightest_frequencies_are_kept_with_all_their_aliases(monkeypatch: pytest.MonkeyPatch) -> None:
    criteria = seen(0)
    whole = joint(criteria)
    monkeypatch.setattr("ptylive.engine.calibrate.aliases.joint.MOST_TOGETHER", round(26 * whole.aliases.each))
    fewer = joint(criteria)
    assert len(fewer.modulation.q_scan) == 26
    assert fewer.unexplained(TRUE) == pytest.approx(whole.unexplained(TRUE)[:26])
    assert whole.evenly_explained(TRUE, 26) == pytest.approx(fewer.evenly_explained(TRUE))


def test_noise_is_explained_by_as_many_parts_as_there_are_aliases() -> None:
    """Hidden parts of aliases lower the ratio to chance; it exceeds 1 by at most a tenth of the required margin."""
    criteria, rng = seen(0), np.random.default_rng(4)
    size = criteria.modulation.spectra.shape
    noise = (rng.normal(size=size) + 1j * rng.normal(size=size)).astype(np.complex64)
    blind = joint(Criteria(replace(criteria.modulation, spectra=noise), criteria.conditions, {}))
    chance = blind.over_chance(blind.explained_share(TRUE))
    assert 0.7 < chance < 1.05 < blind.above_chance < 1.5
    assert blind.above_chance == pytest.approx(1 + 6.5 / math.sqrt(len(blind.aliases.q)))
    told = joint(criteria)
    assert told.over_chance(told.explained_share(TRUE)) > 3 * told.above_chance


def test_what_single_precision_takes_for_no_longer_positive_is_solved_in_double():
    """Similar aliases with strong transfer; what they explain still cannot exceed the observed energy."""
    rng = np.random.default_rng(0)
    transfer = (3e4 * np.repeat(rng.normal(size=(40, 1)) + 1j * rng.normal(size=(40, 1)), 6, axis=1)).astype(
        np.complex64
    )
    seen = transfer[:, 0] / 3e4
    image, information = transfer.conj().T @ seen, transfer.conj().T @ transfer
    information.flat[:: len(information) + 1] += np.complex64(0.02)
    assert lapack.cposv(information, image)[2] > 0
    explained = np.vdot(image, solved(information, image)).real
    assert explained == pytest.approx(np.vdot(seen, seen).real, rel=1e-3)
