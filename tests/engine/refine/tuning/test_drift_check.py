"""A drift indicated by the lattice, judged by held-out patterns."""

from dataclasses import replace

import numpy as np
import pytest
from quick_first import quick_first

from ptylive.engine.refine.data.drift import Drift, without_drift
from ptylive.engine.refine.problem.prepare import measure, prepare
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning import drift_check
from ptylive.engine.refine.tuning.drift_check import HeldOutEvidence, from_given_object, with_checked_drift
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.orientation import Orientation
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin
from ptylive.schema.preset import Preset

DRIFT_A = (3.2, -1.6)
PRESET = Preset(num_slices=1, probe_modes=1)
GIVEN = {"window_px": 24, "probe_modes": 1, "algorithm": "lsq_sqrt", "phase_only_obj": True, "refine_drift": False}
CONTEXT = TrialContext("cpu", 1)


def found(*, deviations, applied, drift_A=DRIFT_A):
    words = "corrected" if applied else "not significant, not corrected"
    return Drift(drift_A, (0.5, 0.5), 60.0, 0.0, applied, f"drift Å along slow and fast axis: {words}", deviations)


def checked(dataset, drift, preset=PRESET):
    """The outcome for a measurement with this drift, and its data set."""
    return tuned_and_checked(dataset, drift, preset)[1]


def tuned_and_checked(dataset, drift, preset=PRESET, **how):
    given = without_drift(dataset, drift) if drift.applied else dataset
    measured = replace(measure(given, preset.model_copy(update={"refine_drift": False})), drift=drift)
    return with_checked_drift(measured, Tuned(dataset, preset), TrialContext("cpu"), **how)


@pytest.fixture(scope="module")
def moving(drifted):
    return drifted(DRIFT_A, 5)


@pytest.fixture(scope="module")
def still(drifted):
    return drifted((0.0, 0.0), 5)


@pytest.mark.slow
def test_a_drift_that_the_lattice_is_not_sure_of_is_taken_where_patterns_are(moving):
    measured = checked(moving, found(deviations=1.5, applied=False))
    assert measured.drift.applied
    assert "corrected, held-out patterns are predicted better than with the opposite drift, by" in measured.drift.reason
    np.testing.assert_allclose(measured.dataset.positions_A, without_drift(moving, measured.drift).positions_A)


def test_a_drift_that_is_not_there_is_left_alone_however_sure_the_lattice_is(still):
    measured = checked(still, found(deviations=5.0, applied=True))
    assert not measured.drift.applied
    assert measured.drift.reason.count("not corrected") == 1
    np.testing.assert_array_equal(measured.dataset.positions_A, still.positions_A)


@pytest.mark.parametrize(
    ("drift", "asked"),
    [
        (found(deviations=5.0, applied=True), {"refine_drift": True}),
        (found(deviations=0.9, applied=False), {}),
        (found(deviations=0.0, applied=False), {}),
    ],
)
def test_what_was_asked_for_or_says_nothing_is_not_tried(still, drift, asked):
    measured = checked(still, drift, PRESET.model_copy(update=asked))
    assert measured.drift is drift


class Told:
    """Trials with prescribed results, in standard deviations; None: must not be made."""

    def __init__(self, monkeypatch, short, long, over_none):
        made = {drift_check.SHORT: short, drift_check.LONG: long}
        monkeypatch.setattr(drift_check._Trials, "over_opposite", lambda own, _: gain_of(made[own._length]))
        monkeypatch.setattr(drift_check._Trials, "over_none", lambda own, _: gain_of(over_none))


def gain_of(deviations):
    return Gain(1e-3 * deviations, 1e-3)


@pytest.mark.parametrize(
    ("short", "long", "applied"),
    [(6.1, None, True), (0.5, None, False), (2.0, 6.1, True), (5.9, 4.0, False)],
)
def test_a_longer_trial_decides_what_a_short_one_does_not(moving, monkeypatch, short, long, applied):
    Told(monkeypatch, short, long, over_none=1.0 if applied else None)
    assert checked(moving, found(deviations=2.0, applied=False)).drift.applied == applied


@pytest.mark.parametrize(
    ("over_none", "applied"),
    [
        (5.0, True),  # all of it: 12 * (2 - 1) / 4 is 3
        (0.0, True),  # half, as a trial of a real drift shows
        (-2.0, True),  # 12 / (2 * (12 + 4)) is 0.375
        (-4.0, False),  # 0.3
        (8.0, True),  # a loss that is not a parabola: better than both
    ],
)
def test_a_drift_that_is_mostly_not_there_is_left_alone(moving, monkeypatch, over_none, applied):
    Told(monkeypatch, 12.0, None, over_none)
    drift = checked(moving, found(deviations=2.0, applied=False)).drift
    assert drift.applied == applied
    assert applied or "not corrected, held-out patterns are not predicted better with the correction" in drift.reason


def test_the_share_of_a_drift_is_read_from_a_parabola():
    def loss(t):
        return 3 * (t - 0.7) ** 2 + 100

    over_opposite, over_none = (Gain((loss(t) - loss(1)) / 100, 0.0) for t in (-1, 0))
    assert drift_check.HeldOutEvidence(over_opposite, over_none).share == pytest.approx(0.7)


@pytest.mark.parametrize("slices", [1, 3])
@pytest.mark.parametrize(
    ("opposite", "none", "applied"),
    [
        (3.7, 2.0, False),  # twisted MoS2 without drift, blind: held-out patterns of other trials give 0.5 to 4.8
        (5.9, 3.5, False),  # a crystal of 93 angstrom without drift, its thickness 4 % off
        (10.0, -1.3, True),  # a drifting one of 101
    ],
)
def test_as_much_is_asked_of_one_slice_as_of_several(moving, monkeypatch, slices, opposite, none, applied):
    monkeypatch.setattr(drift_check._Trials, "over_opposite", lambda own, _: gain_of(opposite))
    monkeypatch.setattr(drift_check._Trials, "over_none", lambda own, _: gain_of(none))
    preset = Preset(num_slices=slices, total_thickness_A=20.0 if slices > 1 else None, probe_modes=1)
    drift = checked(moving, found(deviations=2.0, applied=False), preset).drift
    assert drift.applied == applied
    assert ("do not prefer it to the opposite drift beyond doubt" in drift.reason) == (not applied)


@pytest.mark.parametrize(
    ("slices", "origin", "film", "refined"),
    [
        (3, Origin.ESTIMATED, True, ("C10",)),
        (3, Origin.ESTIMATED, False, None),
        (3, Origin.GIVEN, True, None),
        (1, Origin.ESTIMATED, True, None),
    ],
)
def test_optics_that_nobody_stated_are_refined_with_several_slices_of_a_film(
    still, monkeypatch, slices, origin, film, refined
):
    """A false drift would compensate a wrong astigmatism; trials of one slice were calibrated with fixed optics."""
    tried = []

    class Ended(Exception):
        pass

    def of(dataset, preset, *others):
        tried.append(preset.refined)
        raise Ended

    monkeypatch.setattr(drift_check.Trial, "of", of)
    defocus = replace(still.calibration.entries["C10"], origin=origin)
    dataset = replace(still, calibration=still.calibration.having(C10=defocus))
    preset = Preset(num_slices=slices, total_thickness_A=20.0 if slices > 1 else None, probe_modes=1)
    drift = found(deviations=2.5, applied=True)
    not_looked_for = preset.model_copy(update={"refine_drift": False})
    measured = replace(measure(without_drift(dataset, drift), not_looked_for), drift=drift)
    with pytest.raises(Ended):
        with_checked_drift(measured, Tuned(dataset, preset, atoms_at_random=film), TrialContext("cpu"))
    assert tried[0].update_aberrations is (refined is not None)
    assert refined is None or tried[0].refined_aberrations == refined


def test_a_drift_is_preferred_to_its_opposite_where_trials_prefer_none_to_it(drifted):
    """The drift given is slightly more than twice the real one: removing all of it leaves as much as before."""
    dataset = drifted(DRIFT_A, 5)
    more = tuple(2.2 * one for one in DRIFT_A)
    trials = drift_check._Trials(drift_check.SHORT, Tuned(dataset, PRESET), TrialContext("cpu"))
    drift = found(deviations=3.0, applied=True, drift_A=more)
    assert trials.over_opposite(drift).exceeds(3)
    assert not trials.over_none(drift).exceeds(0)


def turned_by(dataset, turn_deg):
    """The data set under a rotation found with this error."""
    turned = Orientation(transposed=False, turn_deg=turn_deg).of(dataset)
    rotation = replace(turned.calibration.entries["rotation_deg"], origin=Origin.ESTIMATED, uncertainty=0.002)
    return replace(turned, calibration=turned.calibration.having(rotation_deg=rotation))


def test_a_rotation_that_was_found_on_the_drift_is_found_with_it(moving):
    off = turned_by(moving, 4.0)
    drift = replace(found(deviations=3.0, applied=True), turn_deg=-4.0, turn_uncertainty_deg=0.7)
    tuned, measured = tuned_and_checked(off, drift)
    rotation = tuned.dataset.calibration.entries["rotation_deg"]
    assert rotation.value == pytest.approx(moving.calibration.rotation_deg)
    assert (rotation.origin, rotation.uncertainty) == (Origin.ESTIMATED, 0.7)
    assert tuned.orientation == Orientation(False, -4.0)
    assert f"rotation {rotation.value:.1f} ± 0.7°, changed by -4° along with the drift" in tuned.words[-1]
    still = without_drift(moving, replace(drift, applied=True))
    np.testing.assert_allclose(measured.dataset.positions_A, still.positions_A, atol=1e-9)
    assert measured.dataset.calibration is not None
    assert measured.dataset.calibration.rotation_deg == pytest.approx(moving.calibration.rotation_deg)


@pytest.mark.parametrize(
    ("turn_deg", "changed", "how"),
    [
        (4.0, {}, {}),  # the wrong way
        (-4.0, {}, {"may_turn": False}),
        (-4.0, {"start_positions": "positions.npy"}, {}),
    ],
)
def test_a_turn_that_patterns_do_not_want_or_nothing_may_take_is_left(moving, monkeypatch, turn_deg, changed, how):
    if changed or how:  # trials are not to turn it, whatever they say of the drift
        Told(monkeypatch, 12.0, 12.0, over_none=5.0)
    drift = replace(found(deviations=3.0, applied=True), turn_deg=turn_deg, turn_uncertainty_deg=0.7)
    off = turned_by(moving, 4.0)
    tuned, measured = tuned_and_checked(off, drift, PRESET.model_copy(update=changed), **how)
    assert tuned.dataset is off
    assert tuned.orientation is None
    assert measured.drift.applied


@pytest.mark.parametrize(("turn_deg", "applied"), quick_first([(-4.0, True), (0.0, False), (4.0, False)], 2))
def test_a_drift_that_only_the_turned_scan_shows_is_taken_with_the_turn(moving, monkeypatch, turn_deg, applied):
    """A rotation found with half of a drift in it replaces the drift, so no drift seems better than the drift alone."""
    monkeypatch.setattr(drift_check._Trials, "over_opposite", lambda own, _: gain_of(12.0))
    monkeypatch.setattr(drift_check._Trials, "over_none", lambda own, _: gain_of(-4.0))
    off = turned_by(moving, 4.0)
    drift = replace(found(deviations=3.0, applied=True), turn_deg=turn_deg, turn_uncertainty_deg=0.7)
    tuned, measured = tuned_and_checked(off, drift)
    assert measured.drift.applied == applied
    assert ("predicted better with the scan also rotated, by" in measured.drift.reason) == applied
    assert (tuned.orientation is not None) == applied


@pytest.mark.parametrize(
    ("as_it_is", "turned", "decides"),
    [
        ((103.0, 0.1), (101.0, 0.1), "turned"),
        ((101.0, 0.1), (103.0, 0.1), "as it is"),
        ((103.0, 0.1), (99.0, 0.1), "turned"),
        ((103.0, 2.0), (101.0, 0.1), "as it is"),
    ],
    ids=["little over the turn", "little over neither", "worse than the turn", "much but uncertain"],
)
def test_a_drift_with_its_turn_has_to_be_better_than_either_alone(still, monkeypatch, as_it_is, turned, decides):
    """Losses are told as the mean of two groups of patterns and their distance from it; the drift's are both 100."""
    drift = replace(found(deviations=3.0, applied=True), turn_deg=-8.0, turn_uncertainty_deg=0.7)
    alone = Orientation(False, -8.0).of(still)
    told = {"as it is": (still, as_it_is), "turned": (alone, turned), "both": (without_drift(alone, drift), (100.0, 0))}
    losses = {name: (mean - off, mean + off) for name, (_, (mean, off)) in told.items()}

    def tried(own, positions_A):
        return losses[next(name for name, (placed, _) in told.items() if np.allclose(placed.positions_A, positions_A))]

    monkeypatch.setattr(drift_check._Trials, "_losses", tried)
    trials = drift_check._Trials(drift_check.SHORT, Tuned(still, PRESET), CONTEXT)
    assert trials.over_either(drift) == Gain.over(losses[decides], losses["both"])


@pytest.mark.slow
def test_a_turn_alone_that_explains_as_much_is_no_drift(still):
    """With the turn, a small false drift predicts better than the positions as they are, too."""
    off = turned_by(still, 8.0)
    drift = found(deviations=3.0, applied=True, drift_A=(1.6, -0.8))
    drift = replace(drift, turn_deg=-8.0, turn_uncertainty_deg=0.7)
    trials = drift_check._Trials(drift_check.SHORT, Tuned(off, PRESET), TrialContext("cpu"))
    assert not trials.over_either(drift).exceeds(0)


@pytest.mark.parametrize(("slices", "given", "starts"), [(2, True, True), (1, True, False), (2, False, False)])
def test_trials_of_several_slices_start_from_a_given_object(simulated, tmp_path, slices, given, starts):
    """From an empty one, 81 Å of SrTiO3 was corrected for a drift that is not there: 0.957 became 0.853."""
    np.save(tmp_path / "co.npy", np.full((40, 40, 2, 1), np.exp(0.5j)))
    several = {"num_slices": 2, "total_thickness_A": 20.0} if slices == 2 else {}
    start = {"start_object": str(tmp_path / "co.npy")} if given else {}
    preset = Preset.from_mapping({**GIVEN, **several, **start, "start_depth_A": 3.0})
    measured = prepare(simulated.dataset, preset, None).measured
    context = from_given_object(measured, preset, CONTEXT)
    assert (context.warm_start is not None) is starts
    if context.warm_start is not None:
        part = context.cache.central_part(simulated.dataset, 25)
        problem = Trial.of(part, preset, context).problem
        phase = np.angle(problem.layout.to_complex(problem.start)[0])
        np.testing.assert_allclose(phase[0, :, 20, 20], [0.35, 0.65], atol=1e-5)  # 3 of 10 Å are vacuum in front


def test_trials_keep_a_start_that_they_found(simulated):
    found = replace(CONTEXT, warm_start=WarmStart(np.ones((1, 2, 4, 4), np.complex64), 0.5, (0.0, 0.0)))
    several = {"num_slices": 2, "total_thickness_A": 20.0, "start_object": "none.npy"}
    preset = Preset.from_mapping({**GIVEN, **several})
    measured = prepare(simulated.dataset, preset, None).measured
    assert from_given_object(measured, preset, found) is found


def test_a_drift_is_tested_from_the_given_object(still, tmp_path, monkeypatch):
    contexts = []

    def evidence(tuned, drift, context):
        contexts.append(context)
        return HeldOutEvidence(Gain(0.0, 1.0), None), None

    monkeypatch.setattr(drift_check, "_evidence", evidence)
    np.save(tmp_path / "co.npy", np.ones((40, 40, 2, 1), np.complex64))
    several = {"num_slices": 2, "total_thickness_A": 20.0, "start_object": str(tmp_path / "co.npy")}
    checked(still, found(deviations=5.0, applied=False), PRESET.model_copy(update=several))
    assert [context.warm_start is not None for context in contexts] == [True]
