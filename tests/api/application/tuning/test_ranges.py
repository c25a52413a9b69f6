"""How far each value is varied: as typed, with units, and by default around its current value."""

import pytest

from ptylive.application.tuning.ranges import Range, parse_over, ranges
from ptylive.engine.refine.validation.settings_trial import Judge
from ptylive.schema import MetadataError, Origin, Quantity
from ptylive.schema.preset import Preset

HELD = Judge.HELD_OUT
THICK = Preset.from_mapping({"num_slices": 4, "total_thickness_A": 100.0})


def of(dataset, *typed, preset=THICK, judge=HELD):
    return {one.name: one for one in ranges(parse_over(typed, judge), dataset, preset)}


def test_ranges_are_typed_with_or_without_units(simulated):
    found = of(
        simulated.dataset, "defocus=-30 nm:30nm,thickness=50 Å:0.2 µm", "num_slices=2:8", "semi-angle=20 mrad:0.03 rad"
    )
    ends = {name: (one.low, one.high) for name, one in found.items()}
    assert ends["defocus_A"] == (-300.0, 300.0)
    assert ends["total_thickness_A"] == (50.0, 2000.0)
    assert ends["convergence_semiangle_mrad"] == (20.0, 30.0)
    assert ends["num_slices"] == (2, 8)
    assert found["defocus_A"].spoken(-12.345) == "-12.35 Å"


def test_one_unit_counts_for_both_ends(simulated):
    one = of(simulated.dataset, "defocus=-30:30 nm")["defocus_A"]
    assert (one.low, one.high) == (-300.0, 300.0)


def test_by_default_a_start_40_per_cent_wrong_is_within(simulated):
    found = of(simulated.dataset, "defocus,thickness,num_slices,tilt,rotation,scale")
    assert found["total_thickness_A"].low <= 0.6 * 100 and found["total_thickness_A"].high >= 100 / 0.6
    for one in found.values():
        assert one.low < one.start < one.high, one
    defocus = found["defocus_A"]
    assert defocus.low <= 0.6 * defocus.start and defocus.high >= defocus.start / 0.6
    assert (found["num_slices"].low, found["num_slices"].high) == (2, 8)
    assert found["tilt_row_mrad"].high == 10.0


def test_a_value_that_was_estimated_is_varied_by_its_uncertainty(simulated):
    calibration = simulated.dataset.calibration.having(C10=Quantity(-60.0, Origin.ESTIMATED, 500.0))
    dataset = simulated.dataset.__class__(**{**vars(simulated.dataset), "calibration": calibration})
    one = of(dataset, "defocus")["defocus_A"]
    assert (one.low, one.high) == (60.0 - 2000.0, 60.0 + 2000.0)


def test_slices_leave_the_ends_of_a_specimen_open(simulated):
    found = of(simulated.dataset, "defocus,thickness,rotation")
    assert [found[name].blur for name in ("defocus_A", "total_thickness_A", "rotation_deg")] == [25.0, 12.5, 0.0]
    assert [found[name].share for name in ("defocus_A", "total_thickness_A", "rotation_deg")] == [0.0, 0.1, 0.0]
    assert of(simulated.dataset, "defocus", preset=Preset())["defocus_A"].blur == 0.0


def test_words_are_chosen_among(simulated):
    assert of(simulated.dataset, "phase_only_obj")["phase_only_obj"].choices == (False, True)
    one = of(simulated.dataset, "algorithm=lsq_sqrt|lsq", judge=Judge.HALVES)["algorithm"]
    assert one.choices == ("lsq_sqrt", "lsq")
    assert one.place("lsq") == 1.0 and one.value(0.3) == "lsq_sqrt"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("defocus=300", "has no range"), ("defocus=3:1", "3 is not below 1"), ("defocus=a:b", "'a'"),
        ("defocus=-3 mrad:3", "defocus_A"), ("defocus,defocus=1:2", "lists defocus_A twice"), ("", "lists 0 values"),
        ("num_slices=0:3", "num_slices"), ("atv_weight", "has no current value to vary"),
        ("thickness=-5:10", "total_thickness_A"), ("phase_only_obj=yes|no", "two or more of false, true"),
        ("semi-angle=1:9 rad", "convergence_semiangle_mrad"),
        ("semi-angle=0.02:0.03", "= 0.02 mrad? did you mean 0.02 rad?"),
    ],
)  # fmt: skip
def test_impossible_ranges_are_one_line(simulated, typed, said):
    with pytest.raises(MetadataError) as caught:
        of(simulated.dataset, typed)
    assert said in caught.value.line() and "\n" not in caught.value.line()


def test_places_run_along_a_range_and_back():
    number = Range("defocus_A", "defocus", "Å", "number", -100.0, 300.0)
    wide = Range("atv_weight", "atv_weight", "", "number", 1e-3, 10.0, log=True)
    whole = Range("num_slices", "num_slices", "", "whole number", 2, 6)
    assert number.place(0.0) == 0.25 and number.value(0.25) == 0.0 and number.value(7.0) == 300.0
    assert wide.value(0.5) == pytest.approx(0.1) and wide.place(0.1) == pytest.approx(0.5)
    assert [whole.value(place) for place in (0.0, 0.3, 1.0)] == [2, 3, 6]
    assert number.holds(300.0) and not number.holds(301.0) and not number.holds(None)
