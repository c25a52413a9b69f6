"""The focal spread from which probe modes begin, chosen by held-out loss."""

from dataclasses import replace

import pytest
from columns import scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial
from ptylive.engine.refine.tuning.optics import focal_spread_choice
from ptylive.engine.refine.tuning.optics.focal_spread_choice import EPOCHS, FAR_BEHIND, with_chosen_focal_spread
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
THIN = Preset(probe_modes=4, num_slices=1)


@pytest.fixture(autouse=True)
def explained(monkeypatch):
    """One slice leaves little."""
    monkeypatch.setattr(focal_spread_choice, "too_little", lambda tuned, context: None)


@pytest.mark.parametrize(
    ("gain", "wider"),
    [(Gain(0.02, 0.002), True), (Gain(0.02, 0.006), False), (Gain(-0.1, 0.01), False)],
    ids=["better", "not-sure", "worse"],
)
def test_a_wider_one_where_it_predicts_better_beyond_doubt(monkeypatch, gain, wider):
    monkeypatch.setattr(focal_spread_choice, "_gain", lambda trials, context: gain)
    begun = Tuned(scan_of_columns(points=16), THIN)
    tuned = with_chosen_focal_spread(begun, CPU)
    if not wider:
        assert tuned is begun
        return
    assert (tuned.preset.probe.probe_modes, tuned.preset.probe.focal_spread_A) == (8, 40.0)
    said = f"focal spread 40 Å in 8 probe modes: predicts held-out patterns better than 20 Å in 4, by {gain}"
    assert tuned.words == (said,)


@pytest.mark.parametrize(
    "changes",
    [
        {"focal_spread_A": 30.0},
        {"sweeps": 3},
        {"source_size_A": 0.0},
        {"source_blur_A": 0.3},
        {"fly_scan_share": 0.5},
        {"probe_modes": 1},
        {"num_slices": 2, "total_thickness_A": 20.0},
        {"update_obj": False},
        {"optimizer": "epie"},
        {"start_probe": "probe.npy"},
        {"n_hermite_probe_modes": (2, 2)},
        {"defocus_spread_modes_A": (0.0, 10.0)},
    ],
)
def test_nothing_is_tried_where_there_is_nothing_to_choose(monkeypatch, changes):
    monkeypatch.setattr(focal_spread_choice, "_gain", lambda trials, context: Gain(0.02, 0.002))
    begun = Tuned(scan_of_columns(points=16), Preset.from_mapping(THIN.model_dump(exclude_unset=True) | changes))
    assert with_chosen_focal_spread(begun, CPU) is begun


def test_not_for_what_one_slice_leaves_far_from_explained(monkeypatch):
    monkeypatch.setattr(focal_spread_choice, "_gain", lambda trials, context: Gain(0.02, 0.002))
    monkeypatch.setattr(focal_spread_choice, "too_little", lambda tuned, context: "one slice leaves 2 times the noise")
    begun = Tuned(scan_of_columns(points=16), THIN)
    assert with_chosen_focal_spread(begun, CPU) is begun


@pytest.mark.parametrize(("semiangle_mrad", "tried"), [(30.0, True), (15.0, False)])
def test_only_where_the_wider_one_exceeds_the_depth_of_focus(monkeypatch, semiangle_mrad, tried):
    """At 200 kV 28 Å for 30 mrad, and 111 Å for 15 mrad."""
    monkeypatch.setattr(focal_spread_choice, "_gain", lambda trials, context: Gain(0.02, 0.002))
    dataset = scan_of_columns(points=16)
    angle = Quantity(semiangle_mrad, Origin.GIVEN)
    calibration = dataset.calibration.having(convergence_semiangle_mrad=angle, energy_eV=Quantity(2e5, Origin.GIVEN))
    begun = Tuned(replace(dataset, calibration=calibration), THIN)
    assert (with_chosen_focal_spread(begun, CPU) is not begun) == tried


@pytest.mark.parametrize(
    ("halfway", "looked", "wider"),
    [(-0.9 * FAR_BEHIND, 2, True), (-1.1 * FAR_BEHIND, 1, False), (0.01, 2, True)],
    ids=["behind", "far-behind", "ahead"],
)
def test_it_may_catch_up_unless_it_is_far_behind_after_half_of_the_sweeps(monkeypatch, halfway, looked, wider):
    """The usual one predicts with a loss of 100, the wider one with 99 in the end."""
    made, asked = [], []

    def lbfgs_losses(self, epochs, context, sweeps):
        coherence = self.problem.strategy.coherence
        asked.append((tuple(epochs), tuple(sweeps), self.all_sweeps))
        usual = (coherence.modes, coherence.focal_spread_A) == (4, 20.0)
        assert usual or (coherence.modes, coherence.focal_spread_A) == (8, 40.0)
        for mean in (100.0, 100.0) if usual else (100.0 * (1 - halfway), 99.0):
            made.extend([] if usual else [mean])
            yield HeldOutLoss(tuple(mean + part for part in (0.5, -0.5, 0.5, -0.5)))

    monkeypatch.setattr(Trial, "lbfgs_losses", lbfgs_losses)
    tuned = with_chosen_focal_spread(Tuned(scan_of_columns(points=16), THIN), CPU)
    assert len(made) == looked
    assert (tuned.preset.probe.probe_modes == 8) == wider
    assert all(epochs == (EPOCHS,) and sweeps == (every // 2,) for epochs, sweeps, every in asked)
