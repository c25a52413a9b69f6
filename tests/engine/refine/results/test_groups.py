"""Groups of a results file: what is written can be read back with its meaning."""

from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from ptylive.engine.refine.results.curve import Curve, Scanned
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.results.groups import write_curve, write_judged, write_stage
from ptylive.engine.refine.results.held_out import HeldOutQuality
from ptylive.engine.refine.results.phase_deviation import PhaseDeviation
from ptylive.engine.refine.results.refinement_result import StageEnd
from ptylive.engine.refine.results.ring_correlation import Validation


@pytest.fixture
def group(tmp_path):
    with h5py.File(tmp_path / "results.h5", "w") as file:
        made = file.create_group("refined")
        made["object"] = np.zeros((1, 1, 2, 2))
        made["object"].attrs.update({"sampling_A": (0.2, 0.2), "origin_A": (1.0, 2.0)})
        yield made


def judged(**given):
    nothing = {"validation": None, "phase_deviation": None, "held_out": None, "prior": None}
    return SimpleNamespace(**{**nothing, **given})


def test_nothing_is_written_of_what_was_not_asked_for(group):
    write_judged(group, judged())
    assert set(group) == {"object"}


def test_a_deviation_lies_where_the_object_does(group):
    deviation = PhaseDeviation(np.array([[0.1, np.nan]], np.float32), 0.1, 16, lower_bound=True)
    write_judged(group, judged(phase_deviation=deviation))
    stored = group["phase_deviation"]
    np.testing.assert_array_equal(stored[...], deviation.map_rad)
    assert dict(stored.attrs) | {"sampling_A": None, "origin_A": None} == {
        "units": "rad",
        "long_name": "standard deviation of the phase, rad",
        "median": 0.1,
        "patterns": 16,
        "lower_bound": True,
        "sampling_A": None,
        "origin_A": None,
    }
    np.testing.assert_array_equal(stored.attrs["origin_A"], [1.0, 2.0])
    np.testing.assert_array_equal(stored.attrs["sampling_A"], [0.2, 0.2])


def test_held_out_patterns_are_kept_by_groups(group):
    write_judged(group, judged(held_out=HeldOutQuality((1.0, 3.0), 20, 8)))
    np.testing.assert_array_equal(group["held_out"][...], [1.0, 3.0])
    assert {name: group["held_out"].attrs[name] for name in ("mean", "patterns", "sweeps")} == {
        "mean": 2.0,
        "patterns": 20,
        "sweeps": 8,
    }


def test_rings_are_kept_with_their_summary(group):
    rings = Validation(*(np.array([value]) for value in (0.1, 0.9, 0.2)), np.array([False]), 0.8, (2.0, 1.0))
    write_judged(group, judged(validation=rings))
    assert [group["validation"][name][0] for name in ("frequencies_invA", "halves", "null")] == [0.1, 0.9, 0.2]
    assert group["validation"].attrs["summary"] == rings.summary()


@pytest.mark.parametrize("bands", [None, Gain(0.2, 0.1)])
def test_networks_are_kept_with_their_gains(group, bands):
    prior = SimpleNamespace(
        losses_held=[3.0, 2.0], first_epoch=4, epoch=9, held_out=12, over_pixels=Gain(0.1, 0.01),
        over_chance=Gain(0.3, 0.02), warning="", sentence="better", bands=bands,
    )  # fmt: skip
    write_judged(group, judged(prior=prior))
    attributes = group["prior"].attrs
    np.testing.assert_array_equal(attributes["gain"], [0.1, 0.01])
    np.testing.assert_array_equal(attributes["gain_over_chance"], [0.3, 0.02])
    assert ("gain_of_bands" in attributes) is (bands is not None)
    np.testing.assert_array_equal(group["prior"]["losses_held"][...], [3.0, 2.0])


def test_a_scan_of_values_and_a_stage_keep_all_that_they_have(group):
    curve = Curve(Scanned.DEFOCUS, (1.0, 2.0), (5.0, 4.0), 1.5, 1.9, 0.2, True, "better")
    write_curve(group.create_group("curve"), curve)
    np.testing.assert_array_equal(group["curve/loss"][...], curve.losses)
    stored = dict(group["curve"].attrs)
    assert stored == {"start": 1.5, "best": 1.9, "uncertainty": 0.2, "applied": True, "reason": "better"}
    write_stage(group.create_group("stage"), StageEnd("coarse", 3, "{}", "done", "ml", "why", "ended"))
    assert dict(group["stage"].attrs) == {
        "name": "coarse", "first_epoch": 3, "preset": "{}", "state": "done", "algorithm": "ml", "reason": "why",
        "message": "ended",
    }  # fmt: skip
