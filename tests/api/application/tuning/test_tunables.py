"""Values that can be tuned: their names, what they change in data set and preset, and what is refused."""

import numpy as np
import pytest

from ptylive.application.tuning.tunables import (
    Kind,
    applied,
    metadata_of,
    order_length_A,
    present,
    settings_of,
    tunables,
    uncertainty,
)
from ptylive.engine.refine.validation.settings_trial import Judge
from ptylive.schema import MetadataError, Origin, Quantity
from ptylive.schema.preset import Preset

HELD, HALVES = Judge.HELD_OUT, Judge.HALVES
THICK = Preset.from_mapping({"num_slices": 4, "slice_distances_A": [20.0]})


def names(typed, judge=HELD):
    return [one.name for one in tunables(typed, judge)]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("defocus", ["defocus_A"]), ("thickness", ["total_thickness_A"]),
        ("semi-angle", ["convergence_semiangle_mrad"]),
        ("tilt", ["tilt_row_mrad", "tilt_col_mrad"]), ("astigmatism", ["C12a", "C12b"]), ("num_slices", ["num_slices"]),
        ("num-slices", ["num_slices"]), ("source_blur_A", ["source_blur_A"]),
        ("atv_weight", ["atv_weight"]), ("rotation_deg", ["rotation_deg"]),
    ],
)  # fmt: skip
def test_names_are_understood_as_people_type_them(typed, found):
    assert names(typed) == found


def test_kinds_are_those_of_the_settings():
    kinds = {name: tunables(name, HALVES)[0] for name in ("num_slices", "source_size_A", "phase_only_obj", "algorithm")}
    assert [one.kind for one in kinds.values()] == [Kind.WHOLE, Kind.NUMBER, Kind.CHOICE, Kind.CHOICE]
    assert kinds["phase_only_obj"].choices == (False, True)
    assert "auto" not in kinds["algorithm"].choices and "lsq_sqrt" in kinds["algorithm"].choices
    assert [one.unit for one in kinds.values()] == ["", "Å", "", ""]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("defcus", "did you mean 'defocus'"), ("num_slice", "did you mean 'num_slices'"),
        ("qqqqqq", "for example defocus"), ("epoch_max", "no effect in trials"), ("opr_components", "no effect in"),
        ("sequence", "--by halves"), ("algorithm", "--by halves"),
        ("slice_distances_A", "neither a number nor a choice of words"),
    ],
)  # fmt: skip
def test_what_cannot_be_tuned_is_one_line_with_the_remedy(typed, said):
    with pytest.raises(MetadataError) as caught:
        names(typed)
    assert said in caught.value.line() and "\n" not in caught.value.line()


def test_optics_change_the_data_set_and_nothing_else(simulated):
    dataset, _ = applied(simulated.dataset, THICK, {"defocus_A": 77.0, "C12a": 5.0})
    assert dataset.calibration.aberrations["C10"] == -77.0 and dataset.calibration.aberrations["C12a"] == 5.0
    assert dataset.calibration.origin("C10") is Origin.GIVEN  # so it is not moved to the middle of the specimen
    np.testing.assert_array_equal(dataset.positions_A, simulated.dataset.positions_A)
    assert present("defocus_A", dataset, THICK) == 77.0 and present("C21a", dataset, THICK) == 0.0


def test_a_pixel_that_was_told_from_the_disc_goes_with_the_semiangle(simulated):
    calibration = simulated.dataset.calibration
    pixel, angle = calibration.get("detector_pixel_invA"), calibration.get("convergence_semiangle_mrad")
    dataset, _ = applied(simulated.dataset, THICK, {"convergence_semiangle_mrad": 1.1 * angle})
    assert dataset.calibration.get("detector_pixel_invA") == pixel  # it was given
    told = calibration.having(detector_pixel_invA=Quantity(pixel, Origin.ESTIMATED))
    simulated_ = simulated.dataset.__class__(**{**vars(simulated.dataset), "calibration": told})
    dataset, _ = applied(simulated_, THICK, {"convergence_semiangle_mrad": 1.1 * angle})
    assert dataset.calibration.get("detector_pixel_invA") == pytest.approx(1.1 * pixel)


def test_the_scan_is_turned_and_stretched_about_its_middle(simulated):
    before = simulated.dataset.positions_A
    turned, _ = applied(simulated.dataset, THICK, {"rotation_deg": simulated.dataset.calibration.rotation_deg + 90})
    stretched, _ = applied(simulated.dataset, THICK, {"scan_scale": 1.1})
    np.testing.assert_allclose(np.ptp(turned.positions_A, axis=0), np.ptp(before, axis=0)[::-1], atol=1e-9)
    np.testing.assert_allclose(np.ptp(stretched.positions_A, axis=0), 1.1 * np.ptp(before, axis=0), atol=1e-9)
    np.testing.assert_allclose(stretched.positions_A.mean(axis=0), before.mean(axis=0), atol=1e-9)


def test_settings_say_the_same(simulated):
    assert settings_of(THICK, {"total_thickness_A": 90.0}) == {"total_thickness_A": 90.0, "slice_distances_A": None}
    assert settings_of(THICK, {"num_slices": 8})["total_thickness_A"] == 80.0  # unchanged thickness
    assert settings_of(THICK, {"tilt_col_mrad": 3.0}) == {"tilts_mrad": ((0.0, 0.0, 0.0, 3.0, 0.0, 0.0),)}
    assert settings_of(THICK, {"defocus_A": 3.0}) == {}
    _, preset = applied(simulated.dataset, THICK, {"num_slices": 8, "tilt_row_mrad": 2.0, "atv_weight": 0.5})
    assert (preset.object.slices, preset.object.spacings_A[0], preset.value("atv_weight")) == (8, 10.0, 0.5)
    assert preset.propagation.tilts_mrad == ((0.0, 0.0, 2.0, 0.0, 0.0, 0.0),)


def test_metadata_say_the_same(simulated):
    steps = simulated.dataset.calibration.get("scan_step_A")
    found = metadata_of(simulated.dataset, {"defocus_A": 3, "num_slices": 2, "scan_scale": 2.0})
    assert found == {"defocus_A": 3.0, "scan_step_A": [2 * float(step) for step in steps]}


def test_only_what_was_estimated_is_uncertain(simulated):
    calibration = simulated.dataset.calibration.having(
        C10=Quantity(5.0, Origin.ESTIMATED, 3.0), rotation_deg=Quantity(1.0, Origin.GIVEN, 2.0)
    )
    dataset = simulated.dataset.__class__(**{**vars(simulated.dataset), "calibration": calibration})
    assert uncertainty("defocus_A", dataset) == 3.0
    assert uncertainty("rotation_deg", dataset) is None and uncertainty("num_slices", dataset) is None


def test_lengths_of_aberrations_are_phases_of_pi():
    """chi = 2 pi / lambda * C alpha^(n+1) / (n+1)."""
    for name, order in (("defocus_A", 1), ("C12a", 1), ("C30", 3)):
        length = order_length_A(name, 0.025, 20.0)
        assert 2 * np.pi / 0.025 * length * 0.02 ** (order + 1) / (order + 1) == pytest.approx(np.pi)
