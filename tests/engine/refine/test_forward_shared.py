"""Acceptance of the forward model on shared data: recovered aberrations, and coefficients compared with frames."""

from dataclasses import replace

import pytest
from compressed_scans import compressed
from scoring import object_correlation
from shared_data import shared_data

from ptylive.engine.refine import refine
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

pytestmark = pytest.mark.data


@pytest.mark.slow
def test_astigmatism_and_coma_of_the_start_are_found(read_dataset):
    """C12 and C21 added to the start of mos2_edge are recovered within 20 %."""
    dataset = read_dataset(shared_data("mos2_edge_80kV_defocus"))
    added = {"C12a": 40.0, "C12b": -25.0, "C21a": 600.0, "C21b": -400.0}
    wrong = dataset.calibration.having(**{name: Quantity(value, Origin.GIVEN) for name, value in added.items()})
    names = ("C10", *added)
    preset = Preset(update_aberrations=True, refined_aberrations=names, update_probe=False, epoch_max=40, sweeps=16)
    result = refine(replace(dataset, calibration=wrong), preset, backend="cpu")
    found = dict(zip(result.refined.aberration_names, result.refined.aberrations_A, strict=True))
    assert {name: found[name] for name in added} == {name: pytest.approx(-a, rel=0.2) for name, a in added.items()}


@pytest.mark.slow
@pytest.mark.parametrize(("basis", "least_ratio"), [("zernike:45+1", 70), ("data:15+1", 180)])
def test_coefficients_serve_nearly_as_well_as_frames(read_dataset, basis, least_ratio):
    """They give at least 0.95 of the correlation from the frames of mos2_svac, with a fraction of the numbers."""
    path = shared_data("mos2_svac_80kV_focus")
    frames = read_dataset(path)
    coefficients, ratio = compressed(frames, basis)
    of_frames = object_correlation(path, refine(frames, Preset(), backend="cpu"))
    of_coefficients = object_correlation(path, refine(coefficients, Preset(), backend="cpu"))
    assert ratio > least_ratio
    assert of_coefficients >= 0.95 * of_frames
