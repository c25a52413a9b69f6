"""The dose curve as text and as a message."""

import math
from dataclasses import replace

import pytest

from ptylive.schema.advice.dose_curve import DoseCurve, DosePoint, Verdict

ONE = DosePoint(1, 100.0, 1.4, 1.3, 1.5)
TWO = DosePoint(2, 200.0, 1.2, 1.1, 1.3)
CURVE = DoseCurve(
    "obf", ("a", "b"), "e", (ONE, TWO), (ONE, TWO), (replace(TWO, scans=4), replace(TWO, scans=8, limit_A=1.1))
)
STEADY = replace(CURVE, verdict=Verdict.STEADY)


def test_a_dose_curve_is_told_in_one_sentence():
    assert STEADY.line == (
        "2 scans of one place: information limit 1.2 Å (1.1 to 1.3); "
        "with 2 × the dose 1.2 Å (1.1 to 1.3), 4 × the dose 1.1 Å (1.1 to 1.3)"
    )
    alone = replace(CURVE, series=("a",), measured=(DosePoint(1),), expected=())
    assert alone.line == "one scan: the information limit cannot be determined"
    assert replace(STEADY, apart="another place").line.endswith("; another place")


def test_where_all_is_carried_more_brings_nothing():
    full = replace(STEADY, measured=(ONE, replace(TWO, finer=True)))
    assert "1.2 Å (or finer); all that the scan step can show" in full.line
    assert "× the dose" not in full.line


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fading": (0.12, 0.02), "drifting": (0.01, 0.01)}, "the signal fades by 12 ± 2 % a scan: damage"),
        ({"fading": (-0.12, 0.02), "drifting": (0.01, 0.01)}, "the signal grows by 12 ± 2 % a scan"),
        ({"fading": (0.01, 0.01), "drifting": (0.052, 0.004)}, "scans differ by 5.2 ± 0.4 % more with every scan"),
        ({"agreement": (0.62, 0.05)}, "the scans agree only by 62 ± 5 %"),
    ],
)
def test_what_changes_is_said_and_nothing_is_promised(values, words):
    line = replace(CURVE, verdict=Verdict.CHANGES, **values).line
    assert words in line
    assert "× the dose" not in line


def test_it_travels_with_what_is_not_known():
    curve = replace(STEADY, measured=(DosePoint(1), TWO), agreement=(0.9, math.inf), shift_A=(1.0, -2.0), apart="no")
    plain = curve.to_plain()
    assert plain["fading"] == [0.0, None]
    assert plain["line"] == curve.line
    assert DoseCurve.from_plain(plain) == curve


@pytest.mark.parametrize(
    "damage", [{"measured": None}, {"fading": 3}, {"verdict": "splendid"}, {"shift_A": []}, {"measured": [{"dose": 1}]}]
)
def test_what_is_no_curve_is_refused(damage):
    with pytest.raises((KeyError, TypeError, ValueError, IndexError)):
        DoseCurve.from_plain({**STEADY.to_plain(), **damage})
