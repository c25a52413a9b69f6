"""Pictures drawn by ``ptylive align``, with Thon rings where the optics produce them."""

from dataclasses import replace

import numpy as np
import pytest

import ptylive
from ptylive.schema.calibration import Origin, Quantity


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    path = tmp_path_factory.mktemp("thon") / "scan.h5"
    return ptylive.simulate(
        path, seed=6, specimen="atoms", coverage=0.2, energy_eV=200e3, convergence_semiangle_mrad=20,
        scan_shape=(24, 24), scan_step_A=(1.2, 1.2), defocus_A=200, rotation_deg=25,
    ).align()  # fmt: skip


def test_the_rings_of_the_picture_are_those_of_the_optics(aligned):
    measured, model = aligned.thon()
    assert aligned.upsample == 3
    assert measured.shape == model.shape == (72, 72)
    n = np.fft.fftshift(np.fft.fftfreq(72)) * 72
    near = (np.hypot(n[:, None], n) > 4) & (np.hypot(n[:, None], n) < 30)
    dark, bright = (near & (model < 0.1 * model.max()), near & (model > 0.5 * model.max()))
    assert np.median(measured[bright]) > 4 * np.median(measured[dark])


def test_the_picture_has_both_parts(aligned):
    page = aligned.picture()
    assert page.shape[1] > 2 * 480
    for half in np.array_split(page, 2, axis=1):
        assert half.std() > 10


def test_the_limit_of_each_aberration_is_told(aligned):
    told = aligned.to_plain()["aberrations"]["C10"]
    assert told["limit_A"] == pytest.approx(0.0251 / (4 * 0.02**2), rel=0.05)


@pytest.mark.parametrize("errors", [0.0, -1.5, 1.5, -2.5, 4.0])
def test_a_defocus_far_from_the_one_in_use_is_doubted(aligned, errors):
    found, error_A = aligned.shifts.aberrations["C10"], aligned.shifts.errors_A["C10"]
    in_use = Quantity(found + errors * error_A, Origin.GIVEN)
    told = replace(aligned, calibration=aligned.calibration.having(C10=in_use)).to_plain()["doubt"]
    assert told.startswith(f"C10 is {abs(errors):.1f} standard errors from the value in use") == (abs(errors) > 2)
    assert bool(told) == (abs(errors) > 2)
