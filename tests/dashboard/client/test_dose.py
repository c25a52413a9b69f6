"""The dose curve as the page shows it."""

from dataclasses import replace

import pytest
from repeated_maps import place, scanned

from ptylive.dashboard.client.dose import curve_of, points, texts
from ptylive.dashboard.client.state import ServerState
from ptylive.engine.repeats import Places
from ptylive.schema.advice.dose_curve import DosePoint, Verdict


@pytest.fixture(scope="module")
def curve():
    places, field = Places(), place(1)
    return [places.take(scanned(field, (k, 0), 2.0, k)) for k in range(3)][-1]


def state(curve):
    return ServerState.model_validate({"dose": {"per_A2": 3.0, "curve": None if curve is None else curve.to_plain()}})


def test_a_short_line_and_the_sentence(curve):
    said = texts(state(curve))
    assert said["enough_line"] == curve.line
    assert said["enough"].startswith("3 scans: ")
    assert "4 × dose: " in said["enough"]


def test_what_it_says_where_more_brings_nothing(curve):
    changes = replace(curve, verdict=Verdict.CHANGES, agreement=(0.6, 0.01), expected=())
    assert texts(state(changes))["enough"].endswith("; the specimen changes")
    full = replace(curve, measured=(*curve.measured[:-1], replace(curve.measured[-1], finer=True)))
    assert texts(state(full))["enough"].endswith(", the limit of the scan step")
    unknown = replace(curve, measured=(DosePoint(3),), expected=())
    assert texts(state(unknown))["enough"] == "3 scans: cannot tell"


def test_the_plot_has_what_is_known_of_repeated_scans(curve):
    shown = points(state(curve))
    assert [len(shown[name]) for name in ("measured", "predicted", "expected")] == [3, 3, 2]
    assert shown["measured"][-1] == [
        3.0,
        *(getattr(curve.measured[-1], n) for n in ("limit_A", "finest_A", "coarsest_A")),
    ]
    alone = replace(curve, series=("a",), measured=curve.measured[:1])
    assert points(state(alone)) == {"measured": [], "predicted": [], "expected": []}


@pytest.mark.parametrize("damage", [None, {}, {"measured": 3}, {"shift_A": [1]}])
def test_what_cannot_be_read_is_not_shown(curve, damage):
    plain = None if damage is None else {**curve.to_plain(), **damage} if damage else {}
    found = ServerState.model_validate({"dose": {"curve": plain}})
    assert curve_of(found) is None
    assert texts(found) == {"enough": "–", "enough_line": ""}
    assert points(found)["measured"] == []
