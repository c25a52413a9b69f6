"""A thick crystal that is refined into its negative begins anew from the negative of that."""

from dataclasses import replace

import numpy as np
import pytest

import ptylive
from ptylive.application.offline import reconstruct_file, refinable
from ptylive.engine.refine import refine
from ptylive.engine.refine.problem.prepare import prepare
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_SETTINGS
from ptylive.engine.refine.tuning.parameter_search import Tuned
from ptylive.engine.refine.tuning.start import inverted_contrast
from ptylive.engine.refine.tuning.start.inverted_contrast import PEAK_RAD, inverted, is_better, with_right_contrast
from ptylive.schema.preset import Preset
from ptylive.streamer.source import open_source

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
SLICES = Preset.from_mapping(
    {"num_slices": 4, "total_thickness_A": THICKNESS_A, "refine_drift": False, "probe_modes": 1}
)


@pytest.fixture(scope="module")
def crystal(tmp_path_factory):
    """A scan of SrTiO3 that an empty object falls into the negative of, as the data set of its true optics."""
    return simulated_crystal(tmp_path_factory.mktemp("crystal") / "sto.h5")


def simulated_crystal(path, **changed):
    ptylive.simulate(path, seed=1, **{**SIMULATED, **changed})
    made = reconstruct_file(path, {}, ["obf"])
    with open_source(path, {}) as source:
        return refinable(source, made.calibration)


def trial(dataset, context=CONTEXT):
    return Trial.of(dataset, SLICES.model_copy(update=TRIAL_SETTINGS), context)


def loss_after(one, sweeps, context=CONTEXT):
    return one.continued(None, sweeps, sweeps, context)[1].mean


def test_a_crystal_that_was_refined_into_its_negative_begins_from_the_negative_of_that(crystal):
    tuned = with_right_contrast(Tuned(crystal, SLICES), CONTEXT)
    assert "begun from the negative of what was found first" in tuned.words[-1]
    right = trial(crystal, replace(CONTEXT, begun=tuned.begun))
    assert loss_after(right, 8) < 0.9 * loss_after(trial(crystal), 16)


def test_another_field_and_detector_show_it_later(tmp_path):
    """After one sweep the inverted object of these predicts worse by more than its own loss, after two by a third."""
    dataset = simulated_crystal(tmp_path / "sto.h5", scan_shape=(24, 24), detector_shape=(40, 40))
    assert with_right_contrast(Tuned(dataset, SLICES), CONTEXT).begun is not None


def test_the_run_begins_from_it_and_says_so(crystal):
    preset = SLICES.model_copy(update={"epoch_max": 8, "sweeps": 8})
    found = refine(crystal, preset, backend="cpu")
    assert "begun from the negative of what was found first" in found.reason
    assert found.loss[-1] < 0.9 * loss_after(trial(crystal), 16)


def test_one_that_has_the_right_contrast_is_not_inverted(crystal):
    begun = replace(CONTEXT, begun=with_right_contrast(Tuned(crystal, SLICES), CONTEXT).begun)
    assert inverted_contrast._gain(trial(crystal, begun), begun).share < inverted_contrast.STAGES[1][1]


def test_a_negative_has_peaks_where_the_object_had_holes_and_only_where_the_scan_has_been(simulated):
    preset = Preset.from_mapping(
        {"window_px": 24, "probe_modes": 1, "num_slices": 2, "total_thickness_A": 20.0, "phase_only_obj": False}
    )
    problem = prepare(simulated.dataset, preset, None)
    middle = np.round((problem.positions_A.mean(axis=0) - problem.grid.origin_A) / problem.grid.pixel_A).astype(int)
    rows, columns = np.indices(problem.grid.shape)
    hole = np.hypot(rows - middle[0], columns - middle[1]) < 4
    phase = np.where(hole, -0.3, 0.1)
    phase[:3, :3] = -0.6  # of the rim, which no pattern knows
    start = inverted(problem, problem.layout.start(np.stack([phase, phase]) / 2))
    found = np.angle(start.object)
    assert start.object.shape == (1, 2, *problem.grid.shape)
    np.testing.assert_array_equal(found[0, 0], found[0, 1])
    assert np.unravel_index(np.argmax(found[0, 0]), hole.shape) in list(zip(*np.nonzero(hole), strict=True))
    assert 2 * found.max() == pytest.approx(PEAK_RAD, rel=0.1)  # the highest percentile is a little below the peak
    assert not found[0, :, 0, 0].any()
    tuned = start.applied(problem)
    assert tuned.strategy.reason == problem.strategy.reason  # whoever takes it says why


@pytest.mark.parametrize("several", [False, True], ids=["the scan made twice", "two scans of the same place"])
def test_positions_that_lie_on_each_other_count_once(crystal, several):
    """The distance between those is none."""
    problem = trial(crystal).problem
    dataset, grid = problem.measured.dataset, problem.grid
    moved_A = 0.3 * several  # the second scan lies beside the first
    twice_A = np.concatenate([dataset.positions_A, dataset.positions_A + moved_A])
    scan_of = np.repeat([0, 1], len(dataset.positions_A)) if several else None
    found = inverted_contrast._lit(grid, replace(dataset, scan_of=scan_of, positions_A=twice_A))
    np.testing.assert_array_equal(found, inverted_contrast._lit(grid, dataset))
    assert found.any()


@pytest.mark.parametrize(
    ("share", "deviation", "better"), [(0.2, 0.04, True), (0.2, 0.06, False), (0.09, 0.001, False), (-0.3, 0.01, False)]
)
def test_it_is_taken_beyond_doubt_only(share, deviation, better):
    assert is_better(Gain(share, deviation)) is better


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
def test_nothing_is_tried_of_one_slice_nor_where_something_else_is_begun_from(crystal, monkeypatch, settings):
    monkeypatch.setattr(inverted_contrast, "_gain", lambda *_: pytest.fail("it was tried"))
    tuned = Tuned(crystal, SLICES.model_copy(update=settings))
    assert with_right_contrast(tuned, CONTEXT) is tuned


def test_a_thickness_that_is_left_open_is_found_from_the_right_contrast(crystal):
    """Refined into its negative it shows no depth."""
    from ptylive.engine.refine.tuning.depth_choice import with_found_depth

    found = with_found_depth(Tuned(crystal, Preset.from_mapping({"refine_drift": False, "probe_modes": 1})), CONTEXT)
    assert found.begun is not None
