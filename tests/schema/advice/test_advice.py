"""Which values become a correction, and what is said about the others."""

import json
import math

import msgpack
import pytest

from ptylive.schema import Calibration, Origin, Quantity
from ptylive.schema.advice import Advice, Item, Verdict, advise
from ptylive.schema.optics import aberrations_from

OPTICS = {"energy_eV": Quantity(80e3, Origin.GIVEN), "convergence_semiangle_mrad": Quantity(25.0, Origin.GIVEN)}
"""The pi/4 limit of the defocus is 16.7 Å."""


def found(origin=Origin.ESTIMATED, doubt=11.0, optics=OPTICS, **values):
    """A calibration with some aberrations of one origin and one uncertainty."""
    return Calibration({**optics, **{name: Quantity(value, origin, doubt) for name, value in values.items()}})


def item(advice, name):
    return next(one for one in advice.items if one.name == name)


def test_what_the_operator_reads():
    values = aberrations_from({"defocus_A": -145.0, "astigmatism_A": 63.0, "astigmatism_deg": 29.0})
    advice = advise(found(**values))
    assert advice.line == "defocus −145 ± 11 Å: focus up 14.5 nm; astigmatism 63 ± 11 Å at 29°"
    assert advice.brief == "focus up 14.5 nm; astigmatism 63 Å at 29°"
    assert advice.verdict is Verdict.CORRECT
    assert advice.correction == pytest.approx({name: -value for name, value in values.items()})


def test_corrections_bring_everything_to_zero_and_positive_is_underfocus():
    advice = advise(found(C10=-300.0, C12a=0.0, C12b=-80.0))
    assert "defocus 300 ± 11 Å: focus down 30.0 nm" in advice.line
    assert advice.correction == {"C10": 300.0, "C12a": 0.0, "C12b": 80.0}
    assert item(advice, "C12").angle_deg == pytest.approx(135.0)


@pytest.mark.parametrize(("size", "verdict"), [(22.0, Verdict.NOTHING_TO_CORRECT), (22.1, Verdict.CORRECT)])
@pytest.mark.parametrize("sign", [1, -1])
def test_only_what_exceeds_twice_its_uncertainty_is_corrected(size, verdict, sign):
    advice = advise(found(C10=sign * size, C12a=0.6 * size, C12b=sign * 0.8 * size))
    assert [one.verdict for one in advice.items] == [verdict] * 2
    assert set(advice.correction) == (set() if verdict is Verdict.NOTHING_TO_CORRECT else {"C10", "C12a", "C12b"})


def test_a_loop_may_follow_what_is_just_above_its_uncertainty():
    calibration = found(C10=-12.0, C12a=10.0, C12b=0.0)
    assert advise(calibration).correction == {}
    assert advise(calibration, significant=1.0).correction == {"C10": 12.0}


def test_the_uncertainty_of_a_direction_is_that_along_it():
    quantities = {"C12a": Quantity(30.0, Origin.ESTIMATED, 4.0), "C12b": Quantity(-40.0, Origin.ESTIMATED, 2.0)}
    along = math.hypot(0.6 * 4.0, 0.8 * 2.0)
    assert item(advise(Calibration({**OPTICS, **quantities})), "C12").uncertainty == pytest.approx(along)


def test_what_is_below_a_quarter_pi_is_said_not_to_matter_and_is_still_known_to_a_loop():
    advice = advise(found(doubt=1.0, C10=-12.0, C12a=20.0, C12b=0.0))
    assert advice.line == "defocus 12 ± 1 Å: does not matter (π/4 at 16.7 Å); astigmatism 20 ± 1 Å at 0°"
    assert [one.matters for one in advice.items] == [False, True]
    assert advice.brief == "astigmatism 20 Å at 0°"
    assert advise(found(doubt=1.0, C10=-12.0, C12a=2.0, C12b=0.0)).brief == "nothing to correct"
    assert advice.correction == {"C10": 12.0, "C12a": -20.0, "C12b": 0.0}


@pytest.mark.parametrize("calibration", [Calibration(), found(Origin.DEFAULT, None, C10=0.0), found(C12a=3.0)])
def test_what_was_not_found_cannot_be_told(calibration):
    advice = advise(calibration)
    assert advice.line == "defocus: cannot tell; astigmatism: cannot tell"
    assert (advice.verdict, advice.correction, advice.brief) == (Verdict.CANNOT_TELL, {}, "cannot tell")


def test_what_is_undecided_is_no_correction():
    advice = advise(found(Origin.UNDECIDED, C10=-145.0, C12a=63.0, C12b=0.0))
    assert advice.verdict is Verdict.CANNOT_TELL
    assert "145 ± 11 Å: cannot tell under- from overfocus (give the scan rotation)" in advice.line
    assert advice.correction == {}


@pytest.mark.parametrize("doubt", [None, math.inf, math.nan])
def test_without_an_uncertainty_nothing_is_corrected(doubt):
    advice = advise(found(doubt=doubt, C10=-145.0))
    assert item(advice, "C10").verdict is Verdict.CANNOT_TELL
    assert advice.correction == {}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_not_corrected(value):
    assert advise(found(C10=value, C12a=value, C12b=0.0)).verdict is Verdict.CANNOT_TELL


def test_what_was_given_is_no_advice():
    advice = advise(found(Origin.GIVEN, None, C10=-145.0, C12a=3.0, C12b=1.0))
    assert (advice.items, advice.verdict, advice.brief) == ((), Verdict.NOTHING_TO_CORRECT, "")
    assert advice.line == "no advice: defocus and astigmatism were given"


def test_higher_aberrations_are_told_where_they_were_fitted():
    advice = advise(found(doubt=5.0, C10=-145.0, C12a=3.0, C12b=1.0, C21a=0.0, C21b=900.0, C30=2e4))
    assert [one.title for one in advice.items] == ["defocus", "astigmatism", "coma", "spherical aberration"]
    assert item(advice, "C21").angle_deg == pytest.approx(90.0)
    assert item(advice, "C30").words == "spherical aberration 2.0000 ± 0.0005 µm: does not matter (π/4 at 5.34 µm)"
    assert advice.correction["C30"] == -2e4


def test_without_optics_everything_matters():
    advice = advise(found(optics={}, C10=-145.0, C12a=0.0, C12b=0.0))
    assert item(advice, "C10").limit is None
    assert item(advice, "C10").matters


def test_the_correction_of_one_leaves_what_cannot_be_told():
    advice = advise(found(C10=-145.0))
    assert (advice.verdict, advice.correction) == (Verdict.CORRECT, {"C10": 145.0})
    assert item(advice, "C12").verdict is Verdict.CANNOT_TELL


@pytest.mark.parametrize("pack", [lambda p: msgpack.unpackb(msgpack.packb(p)), lambda p: json.loads(json.dumps(p))])
def test_it_travels_as_plain_values(pack):
    advice = advise(found(C10=-145.0, C12a=63.0, C12b=0.0))
    plain = pack(advice.to_plain())
    assert Advice.from_plain(plain) == advice
    assert (plain["verdict"], plain["line"]) == ("correct", advice.line)


ODD = {**Item("C10", "", Verdict.CORRECT, "").to_plain(), "verdict": "?"}


@pytest.mark.parametrize("broken", [{}, {"items": [{}]}, {"items": [ODD]}])
def test_what_is_no_advice_is_refused(broken):
    with pytest.raises((KeyError, ValueError)):
        Advice.from_plain(broken)


@pytest.mark.parametrize("name", ["C10", "C12a", "C30", "energy_eV", "convergence_semiangle_mrad"])
@pytest.mark.parametrize("value", ["x", (), (1.0, 2.0), {"a": 1}, float("nan"), -5, 0, 1e300])
@pytest.mark.parametrize("uncertainty", [None, "x", float("nan"), 1.0])
def test_what_a_foreign_file_calls_a_calibration_breaks_no_page(name: str, value: object, uncertainty: object) -> None:
    known = {
        "C10": Quantity(-100.0, Origin.ESTIMATED, 5.0),
        "C12b": Quantity(3.0, Origin.ESTIMATED, 1.0),
        "energy_eV": Quantity(80e3, Origin.GIVEN),
        "convergence_semiangle_mrad": Quantity(25.0, Origin.GIVEN),
    }
    odd = Quantity(value, Origin.ESTIMATED, uncertainty)  # type: ignore[arg-type]
    found = advise(Calibration({**known, name: odd}))
    assert found.line
    assert found.to_plain()["items"]
