"""Columns for a second run: those that predict best after all sweeps, unless they become the object of the first."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from columns import scan_of_columns

from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial, TrialContext
from ptylive.engine.refine.tuning.mode_choice import TRIAL_SETTINGS
from ptylive.engine.refine.tuning.start import columns
from ptylive.engine.refine.tuning.start.columns import Image, likeliest_columns
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

CONTEXT = TrialContext("cpu", 1)
EARLIER = WarmStart(np.ones((1, 3, 2, 2), np.complex64), 0.5, (0.0, 0.0))
SLICES = Preset.from_mapping({"num_slices": 3, "total_thickness_A": 60.0, "refine_drift": False, "probe_modes": 1})


@pytest.fixture(scope="module")
def crystal():
    return scan_of_columns(points=16)


def trial(dataset):
    return Trial.of(dataset, SLICES.model_copy(update=TRIAL_SETTINGS), CONTEXT)


@pytest.mark.parametrize(
    ("empty", "starts", "similar", "likeliest"),
    [(9.0, (9.5, 8.0, 8.5), 0.8, 1), (7.9, (9.5, 8.0, 8.5), 0.8, None), (9.0, (9.5, 8.0, 8.5), 0.98, None)],
    ids=["the best of all", "none as good as an empty object", "the same object"],
)
def test_the_likeliest_columns_predict_best_after_all_sweeps(crystal, monkeypatch, empty, starts, similar, likeliest):
    """Nothing has a head start, so that the order is that of whole runs."""

    class Known:
        problem = SimpleNamespace()

        def __init__(self, loss):
            self.loss = loss

        def lbfgs_losses(self, epochs, context):
            assert tuple(epochs) == (0,)
            return [HeldOutLoss((self.loss,))]

    def similarity(problem, vector, other):
        assert (vector, other) == (min(starts), EARLIER)
        return similar

    images = [columns._Start(image, 0.0, Known(loss), None) for image, loss in zip(Image, starts, strict=True)]
    shown = SimpleNamespace(transmission=np.ones((2, 2), np.complex64))
    seen = []
    monkeypatch.setattr(columns.Trial, "of", lambda *_: Known(empty))
    monkeypatch.setattr(columns, "_starts", lambda *_: images)
    monkeypatch.setattr(columns, "_after_all_sweeps", lambda one, _: (one.loss, HeldOutLoss((one.loss,))))
    monkeypatch.setattr(columns, "_similarity", similarity)
    monkeypatch.setattr(columns, "_one_slice", lambda tuned, *_, **__: seen.append(tuned.dataset) or shown)
    monkeypatch.setattr(columns, "peaks", lambda *_: WarmStart(shown.transmission[None, None], 0.5, (0.0, 0.0)))
    found = likeliest_columns(Tuned(crystal, SLICES), CONTEXT, EARLIER)
    assert (found is None) is (likeliest is None)
    if found is not None:
        other = replace(crystal)
        words = f"started from the columns that one slice shows in {list(Image)[likeliest]}: so it is"
        assert found(other, "so it is").words == words
        assert seen[0] is other, "made from all patterns that are refined"


def test_an_object_is_like_itself_in_other_slices_and_unlike_its_negative(crystal):
    one = trial(crystal)
    phase = np.random.default_rng(1).normal(0, 0.2, one.problem.grid.shape)
    origin_A = tuple(one.problem.grid.origin_A.tolist())
    earlier = WarmStart(np.exp(1j * phase)[None, None].astype(np.complex64), one.problem.grid.pixel_A, origin_A)
    vector = earlier.applied(one.problem).start
    assert columns._similarity(one.problem, vector, earlier) > 0.99
    assert columns._similarity(one.problem, vector, replace(earlier, object=earlier.object.conj())) < -0.99


def test_all_sweeps_are_those_of_a_trial_to_its_end(crystal):
    vector, loss = columns._after_all_sweeps(trial(crystal), CONTEXT)
    (same,) = trial(crystal).lbfgs_losses((0,), CONTEXT)
    assert loss.mean == pytest.approx(same.mean, rel=1e-6)
    assert vector.shape == trial(crystal).problem.start.shape


def test_there_are_no_likeliest_columns_of_one_slice(crystal, monkeypatch):
    monkeypatch.setattr(columns, "_starts", lambda *_: pytest.fail("it was tried"))
    single_slice = SLICES.model_copy(update={"num_slices": 1, "total_thickness_A": None})
    assert likeliest_columns(Tuned(crystal, single_slice), CONTEXT, EARLIER) is None
