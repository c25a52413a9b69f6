"""An open thickness is determined again if columns of the result lead to a better minimum."""

from dataclasses import replace

import numpy as np
import pytest
from columns import scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.tuning.depth import columns_of_depth, depth_choice
from ptylive.engine.refine.tuning.depth.depth_choice import with_found_depth
from ptylive.engine.refine.tuning.depth.unexplained import NEXT_TO_NOTHING, OneSlice, Unexplained
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
COLUMNS = WarmStart(np.exp(1j * np.arange(12.0)).reshape(1, 1, 3, 4).astype(np.complex64), 0.5, (1.0, 2.0))
FROM_MAPS = ("again from the defocus that the maps had",)
OPEN, THICK = Preset(probe_modes=1), {"num_slices": 3, "total_thickness_A": 60.0}


@pytest.fixture(scope="module")
def scan():
    return scan_of_columns(points=16)


@pytest.fixture
def asked(monkeypatch):
    """Starts used to determine the thickness: 60 angstrom in three slices at first, 90 from columns."""
    from_where = []

    def install(*, columns=COLUMNS, turned=False, worth_it=True, seen=True, several_at_first=True, in_many=None):
        def thickness(tuned, begun, why, context, depth_A):
            from_where.append(begun.warm_start)
            if begun.warm_start is None and several_at_first:
                found = replace(tuned, half_turn=turned, words=("found",))
                return replace(found, preset=tuned.preset.model_copy(update=THICK))
            if not worth_it or begun.warm_start is None:
                return replace(tuned, preset=tuned.preset.model_copy(update={"num_slices": 1}), warm_start=None)
            thick = tuned.preset.model_copy(update=THICK | {"total_thickness_A": 90.0})
            return replace(begun, preset=thick, words=(*begun.words, "found again"))

        def with_columns(tuned, context):
            return replace(tuned, warm_start=columns) if columns is not None else tuned

        def of_some_depth(candidates, context):
            assert not (seen and several_at_first), "depth was seen"
            return columns

        monkeypatch.setattr(depth_choice, "depth_seen", lambda tuned, *_: (tuned if seen else None, "depth shows"))
        monkeypatch.setattr(depth_choice, "depth_in_many_slices", lambda tuned, why, *_: (in_many and tuned, why))
        monkeypatch.setattr(OneSlice, "left", None)
        monkeypatch.setattr(depth_choice, "in_its_own_plane", lambda thin, context: thin)
        monkeypatch.setattr(depth_choice, "_with_thickness", thickness)
        monkeypatch.setattr(depth_choice, "with_columns", with_columns)
        monkeypatch.setattr(columns_of_depth, "columns_of_some_depth", of_some_depth)
        return from_where

    return install


def test_it_is_asked_again_from_columns_of_what_was_found(scan, asked):
    from_where = asked()
    tuned = with_found_depth(Tuned(scan, OPEN), CPU)
    assert from_where == [None, COLUMNS]
    assert tuned.warm_start is COLUMNS and tuned.preset.object.total_thickness_A == 90
    assert tuned.words == ("found again",)


def test_columns_of_the_other_half_turn_are_turned_back(scan, asked):
    from_where = asked(turned=True)
    with_found_depth(Tuned(scan, OPEN), CPU)
    np.testing.assert_array_equal(from_where[1].object, COLUMNS.half_turned().object)


def test_what_was_found_stands_where_columns_lead_nowhere_better(scan, asked):
    from_where = asked(columns=None)
    tuned = with_found_depth(Tuned(scan, OPEN), CPU)
    assert from_where == [None]
    assert tuned.warm_start is None and tuned.preset.object.total_thickness_A == 60


def test_several_slices_stand_where_the_second_answer_is_one(scan, asked):
    asked(worth_it=False)
    tuned = with_found_depth(Tuned(scan, OPEN), CPU)
    assert tuned.warm_start is COLUMNS and tuned.preset.object.total_thickness_A == 60


def test_slices_not_worth_it_from_an_empty_object_may_be_from_columns(scan, asked):
    from_where = asked(several_at_first=False)
    tuned = with_found_depth(Tuned(scan, OPEN), CPU)
    assert from_where == [None, COLUMNS]
    assert tuned.warm_start is COLUMNS and tuned.preset.object.total_thickness_A == 90
    from_where = asked(several_at_first=False, columns=None)
    assert with_found_depth(Tuned(scan, OPEN), CPU).preset.object.num_slices == 1


def test_where_no_depth_is_seen_it_is_asked_once_from_columns(scan, asked):
    from_where = asked(seen=False)
    tuned = with_found_depth(Tuned(scan, OPEN), CPU)
    assert from_where == [COLUMNS]
    assert tuned.warm_start is COLUMNS and tuned.words == ("found again",)


def test_no_depth_and_no_columns_are_one_slice(scan, asked):
    assert asked(seen=False, columns=None) == []
    tuned = with_found_depth(Tuned(scan, OPEN), CPU)
    assert tuned.preset.object.num_slices == 1 and tuned.words == ("one slice: depth shows",)


@pytest.mark.parametrize(
    ("specimen", "columns", "slices", "begun"),
    [({}, None, 3, [None]), ({}, COLUMNS, 3, [COLUMNS]), ({"atoms_at_random": True}, None, 1, [])],
    ids=["without columns", "columns first", "films not"],
)
def test_without_columns_many_slices_may_show_depth(scan, asked, specimen, columns, slices, begun):
    from_where = asked(seen=False, columns=columns, in_many=True)
    assert with_found_depth(Tuned(scan, OPEN, **specimen), CPU).preset.object.num_slices == slices
    assert from_where == begun


@pytest.fixture
def seen_from(scan, monkeypatch):
    """Result if an empty object shows depth and columns appear under one half turn only (None: must not be tried)."""

    def seen(under, *, is_open=True, **known):
        def of_some_depth(candidates, context):
            assert under is not None, "columns were tried"
            less, *more = candidates
            assert [sum(one.preset.object.slice_thickness_A) for one in (less, *more)] == pytest.approx(
                [56.6, 113.1, 226.3], 1e-3
            )
            half = int(less.dataset.positions_A[-1, 0] < 0)
            return COLUMNS if half == under else None

        monkeypatch.setattr(
            depth_choice, "depth_seen", lambda tuned, *_: (replace(tuned, words=FROM_MAPS), "depth shows")
        )
        monkeypatch.setattr(columns_of_depth, "columns_of_some_depth", of_some_depth)
        origin = Origin.ESTIMATED if is_open else Origin.GIVEN
        values = {"C10": Quantity(-25.0, origin), "rotation_deg": Quantity(0.0, origin)}
        dataset = replace(scan, calibration=scan.calibration.having(**values))
        tuned = Tuned(dataset, OPEN, half_turn_settled=True, **known)
        return depth_choice._depth_base(tuned, OneSlice(tuned, CPU), CPU, 80.0)

    return seen


def test_columns_of_the_other_half_turn_leave_it_open_again(seen_from):
    """The skewness that settled it belonged to a phase in the wrong minimum."""
    begun, why = seen_from(1)
    np.testing.assert_array_equal(begun.warm_start.object, COLUMNS.half_turned().object)
    assert not begun.half_turn_settled and not begun.half_turn
    assert "better from columns than from an empty object" in why


def test_columns_of_this_half_turn_leave_it_as_it_is(seen_from):
    begun, _ = seen_from(0)
    assert begun.warm_start is COLUMNS and begun.half_turn_settled
    assert begun.words == FROM_MAPS


def test_depth_stands_where_neither_has_columns(seen_from):
    begun, why = seen_from(2)
    assert begun.warm_start is None and begun.half_turn_settled and why == "depth shows"


def test_no_columns_are_tried_where_no_half_turn_is_open_or_of_a_film(seen_from):
    assert seen_from(None, is_open=False)[0].warm_start is None
    assert seen_from(None, atoms_at_random=True)[0].warm_start is None


@pytest.mark.parametrize("seen", [False, True])
@pytest.mark.parametrize("left", [None, NEXT_TO_NOTHING - 0.01, NEXT_TO_NOTHING + 0.01])
def test_nothing_more_is_looked_for_where_one_slice_leaves_next_to_nothing(scan, monkeypatch, seen, left):
    """Columns and many slices took half of the time of thin specimens, and cannot gain what is not left."""
    tried = []
    monkeypatch.setattr(depth_choice, "depth_seen", lambda tuned, *_: (tuned if seen else None, "no depth"))
    monkeypatch.setattr(depth_choice, "columns_of_depth", lambda *told: tried.append("columns"))
    monkeypatch.setattr(
        depth_choice, "depth_in_many_slices", lambda tuned, why, *_: (tried.append("many") or None, why)
    )
    monkeypatch.setattr(OneSlice, "left", None if left is None else Unexplained((left,), left))
    origin = Quantity(0.0, Origin.ESTIMATED)  # depth may be seen under the wrong half turn: columns are tried then
    dataset = replace(scan, calibration=scan.calibration.having(C10=origin, rotation_deg=origin))
    tuned = Tuned(dataset, OPEN)
    base, why = depth_choice._depth_base(tuned, OneSlice(tuned, CPU), CPU, 80.0)
    little = left is not None and left < NEXT_TO_NOTHING and not seen
    assert tried == ([] if little else ["columns"] if seen else ["columns", "many"])
    assert why == ("no depth, and one slice leaves next to nothing but counting noise" if little else "no depth")
    assert (base is not None) is seen
