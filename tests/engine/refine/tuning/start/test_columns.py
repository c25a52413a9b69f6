"""A thick crystal for which an empty object leads to a wrong minimum starts from the columns seen in a single slice."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from simulated_datasets import dataset_of, simulated

from ptylive.engine.refine import refine
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning import mode_choice
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_SETTINGS
from ptylive.engine.refine.tuning.start import columns
from ptylive.engine.refine.tuning.start.columns import (
    PEAK_RAD,
    Image,
    columns_of_some_depth,
    is_better,
    peaks,
    with_columns,
)
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

CONTEXT = TrialContext("cpu", 1)
THICKNESS_A = 88.9
SIMULATED = {
    "specimen": "crystal",
    "material": "SrTiO3",
    "thickness_A": THICKNESS_A,
    "energy_eV": 100e3,
    "convergence_semiangle_mrad": 17.29,
    "defocus_A": -155.4,
    "scan_step_A": (1.023, 1.023),
    "detector_pixel_mrad": 1.3,
    "dose_e_per_A2": 7e4,
    "scan_shape": (18, 18),
    "detector_shape": (48, 48),
}
OF_SLICES = {"num_slices": 4, "total_thickness_A": THICKNESS_A, "refine_drift": False, "probe_modes": 1}
SLICES = Preset.from_mapping(OF_SLICES)
NARROW = SLICES.model_copy(update={"window_px": 32})
"""Takes half as long, where it does not matter what is found."""


@pytest.fixture(scope="module")
def crystal():
    """A scan of SrTiO3 for which an empty object converges to the negative, as a data set with its true optics."""
    return simulated_crystal()


def simulated_crystal(**changed):
    return dataset_of(simulated(seed=1, **{**SIMULATED, **changed}))


@pytest.fixture(scope="module")
def part():
    """Fewer patterns of it, where it does not matter what is found."""
    return simulated_crystal(scan_shape=(9, 9))


@pytest.fixture(scope="module")
def found(crystal):
    return with_columns(Tuned(crystal, SLICES), CONTEXT)


def trial(dataset, context=CONTEXT):
    return Trial.of(dataset, SLICES.model_copy(update=TRIAL_SETTINGS), context)


def loss_after(one, sweeps, context=CONTEXT):
    return one.sweep_to(None, sweeps, sweeps, context)[1].mean


@pytest.mark.slow
def test_a_crystal_that_an_empty_object_misses_begins_from_its_columns(crystal, found):
    assert "started from the columns that one slice shows in the negative of its" in found.warm_start.words
    right = trial(crystal, replace(CONTEXT, warm_start=found.warm_start))
    assert loss_after(right, 8) < 0.9 * loss_after(trial(crystal), 16)


@pytest.mark.slow
def test_so_it_does_in_another_field_and_detector():
    """After one sweep the right start for this data set predicts worse by half."""
    dataset = simulated_crystal(scan_shape=(24, 24), detector_shape=(40, 40))
    assert with_columns(Tuned(dataset, SLICES), CONTEXT).warm_start is not None


@pytest.mark.slow
def test_the_run_begins_from_them_and_says_so(crystal):
    preset = SLICES.model_copy(update={"epoch_max": 8, "sweeps": 8})
    result = refine(crystal, preset, backend="cpu")
    assert "started from the columns that one slice shows" in result.reason
    assert result.loss[-1] < 0.9 * loss_after(trial(crystal), 16)


@pytest.mark.slow
def test_a_run_that_goes_on_from_an_earlier_result_does_not_say_so(crystal):
    """Its columns may determine the thickness, but the object is that of the earlier result."""
    preset = Preset.from_mapping({"refine_drift": False, "probe_modes": 1, "sweeps": 1, "epoch_max": 1})
    no_search = Preset.from_mapping({**OF_SLICES, "optimizer": "epie", "epoch_max": 1})
    earlier = refine(crystal, no_search, backend="cpu")
    result = refine(crystal, preset, backend="cpu", warm=WarmStart.of(earlier))
    assert "better from columns than from an empty object" in result.reason
    assert "started from an earlier refinement" in result.reason
    assert "started from the columns" not in result.reason


@pytest.mark.slow
def test_one_that_comes_to_the_right_minimum_by_itself_is_left_alone(crystal, found):
    begun = replace(CONTEXT, warm_start=found.warm_start)
    best, _ = columns._best(Tuned(crystal, SLICES), begun)
    assert best is None or not is_better(best.gain)


def test_what_is_far_thicker_than_a_focus_is_also_looked_at_out_of_focus(part):
    depth_A = part.calibration.depth_of_focus_A
    for thickness_A, planes_A in ((1.5 * depth_A, {0.0}), (2.5 * depth_A, {0.0, depth_A})):
        tuned = Tuned(part, NARROW.model_copy(update={"total_thickness_A": thickness_A}))
        empty = Trial.of(part, tuned.preset.model_copy(update=TRIAL_SETTINGS), CONTEXT)
        starts = columns._starts(tuned, empty, CONTEXT)
        assert {one.defocused_A for one in starts} == planes_A
        assert len(starts) == len(planes_A) * len(Image)
        assert len({one.trial.problem.start.tobytes() for one in starts}) == len(starts)


def test_columns_are_seen_dark_or_by_either_sign_of_the_phase():
    transmission = np.array([[0.5 * np.exp(0.3j), np.exp(-0.2j)]])
    np.testing.assert_allclose(Image.DARK.of(transmission), [[-0.5, -1.0]])
    np.testing.assert_allclose(Image.PHASE.of(transmission), [[0.3, -0.2]])
    np.testing.assert_allclose(Image.NEGATIVE.of(transmission), [[-0.3, 0.2]])


def test_the_bright_are_peaks_and_only_where_the_scan_has_been(simulated):
    preset = Preset.from_mapping({"window_px": 24, "probe_modes": 1, "num_slices": 1, "phase_only_obj": False})
    problem = prepare(simulated.dataset, preset, None)
    middle = np.round((problem.positions_A.mean(axis=0) - problem.grid.origin_A) / problem.grid.pixel_A).astype(int)
    rows, cols = np.indices(problem.grid.shape)
    column = np.hypot(rows - middle[0], cols - middle[1]) < 4
    image = np.where(column, 0.3, -0.1)
    image[:3, :3] = 0.6  # on the rim, which no pattern covers
    start = peaks(columns._Slice(np.ones(column.shape), problem), image, 2)
    phase = np.angle(start.object)
    assert start.object.shape == (1, 2, *problem.grid.shape)
    np.testing.assert_array_equal(phase[0, 0], phase[0, 1])
    assert np.unravel_index(np.argmax(phase[0, 0]), column.shape) in list(zip(*np.nonzero(column), strict=True))
    assert 2 * phase.max() == pytest.approx(PEAK_RAD, rel=0.1)  # the highest percentile is slightly below the peak
    assert not phase[0, :, 0, 0].any()
    tuned = start.applied(problem)
    assert tuned.strategy.reason == problem.strategy.reason  # the caller states the reason


@pytest.mark.slow
def test_starts_that_fall_behind_are_given_up(crystal, monkeypatch):
    """Some of the trials are continued, and none that is hopeless."""
    followed = []
    real = columns._Start.swept

    def swept(self, sweeps, as_found, context):
        followed.append((sweeps, self.image))
        real(self, sweeps, as_found, context)

    monkeypatch.setattr(columns._Start, "swept", swept)
    best, lead = columns._best(Tuned(crystal, SLICES), CONTEXT)
    assert lead == best.gain and best.image in (Image.DARK, Image.NEGATIVE) and best.gain.share > 0.1
    numbers = [sum(sweeps == stage for sweeps, _ in followed) for stage, *_ in columns.STAGES]
    assert numbers[0] == len(Image)
    assert all(number <= most for number, (*_, most) in zip(numbers[1:], columns.STAGES, strict=False))
    monkeypatch.setattr(columns, "STAGES", ((1, 2.0, 3), *columns.STAGES[1:]))
    followed.clear()
    assert columns._best(Tuned(crystal, SLICES), CONTEXT)[0] is None
    assert len(followed) == len(Image)


def test_the_best_are_followed_to_the_end(part, monkeypatch):
    swept = []

    class Foreseen:
        def __init__(self, *shares):
            self.shares, self.gain = dict(zip((1, 2, 4, 8), shares, strict=True)), Gain(-1.0, 0.0)

        def swept(self, sweeps, as_found, context):
            swept.append(sweeps)
            self.gain = Gain(self.shares[sweeps], 0.01)

    late = Foreseen(-0.5, 0.1, 0.2, 0.3)
    others = [Foreseen(share, 0.0, 0.1, 0.2) for share in (-0.6, -0.4, -0.45, -0.7)]
    monkeypatch.setattr(columns, "_starts", lambda *_: [*others, late])
    assert columns._best(Tuned(part, NARROW), CONTEXT) == (late, late.gain)
    assert [swept.count(sweeps) for sweeps in (1, 2, 4, 8)] == [5, 3, 2, 2]
    monkeypatch.setattr(columns, "_starts", lambda *_: [Foreseen(-0.5, -0.3, share, 0.0) for share in (-0.2, -0.1)])
    assert columns._best(Tuned(part, NARROW), CONTEXT) == (None, Gain(-0.1, 0.01))


@pytest.mark.parametrize("several", [False, True], ids=["the scan made twice", "two scans of the same place"])
def test_positions_that_lie_on_each_other_count_once(part, several):
    """The distance between such positions is 0."""
    problem = trial(part).problem
    dataset, grid = problem.measured.dataset, problem.grid
    moved_A = 0.3 * several  # the second scan is displaced from the first
    twice_A = np.concatenate([dataset.positions_A, dataset.positions_A + moved_A])
    scan_of = np.repeat([0, 1], len(dataset.positions_A)) if several else None
    lit = columns._lit(grid, replace(dataset, scan_of=scan_of, positions_A=twice_A))
    np.testing.assert_array_equal(lit, columns._lit(grid, dataset))
    assert lit.any()


@pytest.mark.parametrize(
    ("share", "deviation", "better"), [(0.2, 0.04, True), (0.2, 0.06, False), (0.09, 0.001, False), (-0.3, 0.01, False)]
)
def test_it_is_taken_beyond_doubt_only(share, deviation, better):
    assert is_better(Gain(share, deviation)) is better


@pytest.mark.parametrize(
    ("early", "late", "another"),
    [(0.16, 0.19, True), (0.146, 0.145, True), (0.18, 0.14, False), (-0.02, 0.02, False), (0.3, 0.05, False)],
)
def test_in_another_minimum_a_lead_stays(early, late, another):
    """A start in the same minimum that merely gets there sooner is overtaken."""
    assert columns.Settling(Gain(early, 0.01), Gain(late, 0.01)).is_another_minimum is another
    assert not columns.Settling(Gain(early, 0.01), Gain(late, 0.06)).is_another_minimum


@pytest.fixture
def judged(part, monkeypatch):
    """Outcome for a start with a given gain after few sweeps and in longer trials (None: must not be made)."""

    def taken(few, course, **asked):
        def settled(_context):
            assert course is not None, "longer trials were made"
            return columns.Settling(*(Gain(share, 0.01) for share in course))

        start = SimpleNamespace(image=Image.PHASE, defocused_A=0.0, gain=Gain(few, 0.02), settled=settled)
        seen = SimpleNamespace(transmission=np.ones((2, 2), np.complex64))
        begun = WarmStart(seen.transmission[None, None], 0.5, (0.0, 0.0))
        monkeypatch.setattr(mode_choice, "LEAST_PATTERNS", len(part.patterns))
        monkeypatch.setattr(columns, "_best", lambda *_: (start, start.gain))
        monkeypatch.setattr(columns, "_one_slice", lambda *_, **__: seen)
        monkeypatch.setattr(columns, "peaks", lambda *_: begun)
        return with_columns(Tuned(part, SLICES), CONTEXT, **asked).warm_start

    return taken


def test_what_few_sweeps_leave_open_longer_trials_judge(judged):
    assert judged(0.3, None) is not None
    assert "better, by 19 ± 1 %" in judged(0.03, (0.16, 0.19)).words
    assert judged(0.15, (0.3, 0.2)) is None
    assert judged(0.15, (0.2, 0.2)) is not None
    assert judged(0.04, (-0.03, -0.01)) is None
    assert judged(-0.01, None) is None  # thin specimens skip trials that are far from succeeding


def test_where_sooner_is_enough_few_sweeps_decide(judged):
    assert judged(0.15, None, sooner=True) is not None
    assert judged(0.09, (0.11, 0.12), sooner=True) is not None
    assert judged(0.09, (0.11, 0.09), sooner=True) is None


@pytest.mark.parametrize(
    ("few", "looked", "taken"),
    [
        ((0.15, 0.3, 0.3), [1], 1),  # getting there sooner suffices
        ((0.08, 0.24, 0.3), [1, 2], 2),
        ((0.08, 0.07, 0.04), [1, 2, 3], None),
        ((-0.07, 0.08, 0.24), [1, 2, 3], 3),
        ((-0.07, 0.03, 0.24), [1, 2], None),  # ahead by chance
        ((-0.09, 0.24, 0.24), [1], None),  # behind beyond doubt
    ],
    ids=["at once", "through more", "nowhere far enough", "behind at first", "behind", "behind beyond doubt"],
)
def test_columns_that_are_not_far_behind_are_looked_for_through_more(part, monkeypatch, few, looked, taken):
    seen = []
    settled = columns.Settling(Gain(0.09, 0.01), Gain(0.08, 0.01))

    def best(tuned, context):
        seen.append(tuned.preset.object.slices)
        share = few[len(seen) - 1]
        gain = Gain(share, 0.02)
        known = SimpleNamespace(image=Image.DARK, defocused_A=0.0, gain=gain, settled=lambda _: settled)
        return (known, gain)

    monkeypatch.setattr(columns, "_best", best)
    monkeypatch.setattr(columns, "_is_open", lambda tuned: True)
    shown = SimpleNamespace(transmission=np.ones((2, 2), np.complex64))
    monkeypatch.setattr(columns, "_one_slice", lambda *_, **__: shown)
    monkeypatch.setattr(columns, "peaks", lambda *_: WarmStart(shown.transmission[None, None], 0.5, (0.0, 0.0)))
    candidates = (Tuned(part, SLICES.model_copy(update={"num_slices": slices})) for slices in (1, 2, 3))
    found = columns_of_some_depth(candidates, CONTEXT)
    assert seen == looked
    assert (None if found is None else seen[-1]) == taken


def test_columns_that_are_far_behind_are_looked_for_through_one_depth(part, monkeypatch):
    uncertain = Gain(-0.11, 0.05)
    tried = []
    monkeypatch.setattr(
        columns, "_with_columns_found", lambda tuned, *_, **__: tried.append(tuned) or (tuned, uncertain)
    )
    assert columns_of_some_depth([Tuned(part, SLICES)] * 3, CONTEXT) is None
    assert len(tried) == 1


def test_a_start_gains_what_it_leaves_less_than_an_empty_object():
    swept = SimpleNamespace(sweep_to=lambda state, sweeps, most, context: ("swept", HeldOutLoss((8.0, 8.0))))
    start = columns._Start(Image.DARK, 0.0, swept, None)
    start.swept(1, HeldOutLoss((10.0, 10.0)), CONTEXT)
    assert (start.state, start.gain.share) == ("swept", pytest.approx(0.2))


def test_longer_trials_begin_with_neither_ahead(part):
    """Empty object and columns are swept as often as in the run, then continue for the same number of epochs."""
    asked = []

    class Known:
        preset = SLICES

        def __init__(self, *losses):
            self.losses = losses

        def lbfgs_losses(self, epochs, context):
            asked.append(tuple(epochs))
            return [HeldOutLoss((loss, loss)) for loss in self.losses]

    course = columns._Start(Image.DARK, 0.0, Known(8.0, 6.0), Known(10.0, 8.0)).settled(CONTEXT)
    assert (course.early.share, course.late.share) == pytest.approx((0.2, 0.25))
    assert asked == [(0, columns.EPOCHS)] * 2


def test_the_trials_are_those_of_an_automatic_run(part, monkeypatch):
    empty = []
    monkeypatch.setattr(columns, "_starts", lambda tuned, one, context: empty.append(one) or [])
    short = SLICES.model_copy(update={"sweeps": 1, "epoch_max": 1})
    assert columns._best(Tuned(part, short), CONTEXT)[0] is None
    assert empty[0].problem.strategy.sweeps == trial(part).problem.strategy.sweeps > 1


@pytest.mark.parametrize(
    "settings",
    [
        {"num_slices": 1, "total_thickness_A": None},
        {"start_object": "earlier.h5"},
        {"start_phase_image": "image.npy"},
        {"start_amplitude_image": "image.npy"},
        {"optimizer": "epie"},
        {"update_obj": False},
    ],
)
def test_nothing_is_tried_of_one_slice_nor_where_something_else_is_begun_from(part, monkeypatch, settings):
    monkeypatch.setattr(mode_choice, "LEAST_PATTERNS", len(part.patterns))
    monkeypatch.setattr(columns, "_best", lambda *_: pytest.fail("it was tried"))
    tuned = Tuned(part, SLICES.model_copy(update=settings))
    assert with_columns(tuned, CONTEXT) is tuned


@pytest.mark.slow
def test_a_thickness_that_is_left_open_is_found_from_the_columns(crystal):
    """In its wrong minimum the crystal shows no depth."""
    from ptylive.engine.refine.tuning.depth.depth_choice import with_found_depth

    tuned = with_found_depth(Tuned(crystal, Preset.from_mapping({"refine_drift": False, "probe_modes": 1})), CONTEXT)
    assert tuned.warm_start is not None


def test_a_wedge_is_seen_in_one_slice(part):
    """Regression: field_terms=thickness was refused in the trial in one slice, although several were given."""
    wedge = SLICES.model_copy(update={"field_order": 1, "field_terms": ("thickness",)})
    found = columns._one_slice(Tuned(part, wedge), 0.0, CONTEXT)
    assert np.isfinite(found.transmission).all()
    assert found.problem.layout.object_shape[0] == 1
