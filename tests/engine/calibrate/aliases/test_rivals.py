"""Orientations that explain a scan nearly as well as the one that was adopted are noted, and no others."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.calibrate.aberrations import AberrationFit, Search
from ptylive.engine.calibrate.aliases.all_aliases import UndersampledScan
from ptylive.engine.calibrate.aliases.rivals import note_rivals
from ptylive.engine.calibrate.criteria import Criteria
from ptylive.engine.calibrate.modulation import Modulation
from ptylive.engine.calibrate.rotation import RotationFit
from ptylive.engine.calibrate.sign import Agreement
from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.calibration import RIVALS
from ptylive.schema.model import DoubleArray
from tests.engine.calibrate.aliases.test_joint import FREQUENCIES, POINTS, TRUE, conditions, frequencies

STEP_A = 0.55
"""So short that no frequency has an alias."""
OTHER = np.array([110.0, 0.0, 0.0, math.radians(70.0)])
"""Optics of the other handedness."""
FIT = AberrationFit({"C10": -160.0, "C12a": 0.0, "C12b": 0.0}, 25.0, 5.0, 1.0, 0.3, 0.5)


def lattice(share: float, *, other: DoubleArray = OTHER, mirrored: bool = True, peaked: bool = True) -> Criteria:
    """A scan whose frequencies are explained by the optics ``TRUE``, except a random ``share``, by others."""
    given, q = conditions(STEP_A), frequencies(3, STEP_A)
    field_A, count = POINTS * STEP_A, given.basis.count
    empty = Modulation(q, np.zeros((count, FREQUENCIES), np.complex64), np.full(count, 1 / count), field_A, peaked)
    optics = Criteria(empty, given, {})
    spectra = optics.transfer(TRUE, q)
    rng = np.random.default_rng(1)
    foreign = rng.permutation(FREQUENCIES) < share * FREQUENCIES
    spectra[:, foreign] = (optics.transposed() if mirrored else optics).transfer(other, q)[:, foreign]
    rms = np.sqrt(np.mean(np.abs(spectra) ** 2, axis=0))
    noise = rng.normal(size=(2, *spectra.shape)) * 1.2 * rms
    return Criteria(replace(empty, spectra=(spectra + noise[0] + 1j * noise[1]).astype(np.complex64)), given, {})


def entries(*, transform: Origin = Origin.ESTIMATED, rotation: Origin = Origin.ESTIMATED) -> dict[str, Quantity]:
    return {"detector_transform": Quantity("none", transform), "rotation_deg": Quantity(25.0, rotation)}


def noted(
    criteria: Criteria,
    known: dict[str, Quantity],
    curl: RotationFit | None = None,
    fit: AberrationFit = FIT,
    c10_A: float | None = None,
) -> Calibration:
    search = replace(Search.of(criteria, None), largest_defocus_A=200.0, defocus_step_A=40.0, c10_A=c10_A)
    note_rivals(known, UndersampledScan(criteria, search, {False: None, True: None}, "none", curl), fit)
    return Calibration(known)


@pytest.fixture(scope="module")
def torn() -> Criteria:
    """Half of its frequencies belong to the other handedness."""
    return lattice(0.5)


def test_what_explains_as_much_is_noted_with_its_handedness(torn: Criteria) -> None:
    first = noted(torn, entries()).rivals[0]
    assert first.mirrored
    half_turn = 1.0 if first.c10_A > 0 else -1.0  # the half turn is not determined
    assert half_turn * first.c10_A == pytest.approx(OTHER[0], abs=8.0)
    assert half_turn * math.cos(math.radians(first.rotation_deg) - OTHER[3]) > math.cos(math.radians(2.0))


def test_a_clear_orientation_has_no_rivals() -> None:
    assert RIVALS not in noted(lattice(0.0), entries()).entries


@pytest.mark.parametrize("fit", quick_first([FIT.turned(), FIT]), ids=["turned by half a turn", "as it is"])
def test_the_adopted_orientation_is_no_rival_of_itself(fit: AberrationFit) -> None:
    """Nor is one that is two degrees away."""
    near = TRUE + np.array([30.0, 0.0, 0.0, math.radians(2.0)])
    assert not noted(lattice(0.5, other=near, mirrored=False), entries(), fit=fit).rivals


def test_a_given_handedness_is_kept(torn: Criteria) -> None:
    assert not any(rival.mirrored for rival in noted(torn, entries(transform=Origin.GIVEN)).rivals)


def test_a_given_rotation_has_no_rivals(torn: Criteria) -> None:
    assert not noted(torn, entries(rotation=Origin.GIVEN)).rivals


def test_only_a_lattice_has_rivals() -> None:
    assert not noted(lattice(0.5, peaked=False), entries()).rivals


@pytest.mark.parametrize(("share", "some"), [(0.5, False), (0.85, True)], ids=["as much", "most of it"])
def test_what_the_centre_of_mass_confirms_has_to_be_left_behind(share: float, some: bool) -> None:
    curl = RotationFit(25.0, transposed=False, curl=0.1, curl_other=0.4, sign=Agreement(0.5))
    assert bool(noted(lattice(share), entries(), curl).rivals) == some


def test_a_centre_of_mass_of_another_angle_confirms_nothing(torn: Criteria) -> None:
    curl = RotationFit(80.0, transposed=False, curl=0.1, curl_other=0.4, sign=Agreement(0.5))
    assert noted(torn, entries(), curl).rivals


def test_at_a_given_defocus_half_a_turn_is_another_orientation() -> None:
    """The defocus is kept, and angles all around are tried."""
    half_a_turn_away = TRUE + np.array([0.0, 0.0, 0.0, math.pi])
    criteria = lattice(0.5, other=half_a_turn_away, mirrored=False)
    rivals = noted(criteria, entries(), c10_A=float(TRUE[0])).rivals
    assert {rival.c10_A for rival in rivals} == {TRUE[0]}
    assert rivals[0].rotation_deg == pytest.approx(25.0 - 180.0, abs=3.0)
    assert not rivals[0].mirrored
