"""Trials of thicknesses, and their interpretation."""

import math
from dataclasses import replace

import pytest
from columns import DEFOCUS_A, ENERGY_EV, SEMIANGLE_MRAD, scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth.depth_trials import DepthTrials, slices_for, thickened
from ptylive.engine.refine.tuning.held_out import HeldOutLoss, Trial
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset
from ptylive.schema.units import wavelength_A

DEPTH_A = wavelength_A(ENERGY_EV) / (1e-3 * SEMIANGLE_MRAD) ** 2
ONE_MODE = Preset(probe_modes=1)
CPU = TrialContext(backend="cpu")


@pytest.mark.parametrize(
    ("early", "settled"),
    [
        ((1.0, 1.1), False),  # equal: hopeless
        ((0.999, 1.0993), True),  # not yet sufficient, but it may become so
    ],
)
def test_trials_end_after_a_sweep_only_where_they_are_hopeless(monkeypatch, early, settled):
    one_sweep = {0.05: HeldOutLoss((1.0, 1.1)), 1.0: HeldOutLoss(early)}
    monkeypatch.setattr(DepthTrials, "first_loss", lambda self, depths: one_sweep[depths])
    asked = []
    monkeypatch.setattr(DepthTrials, "loss", lambda self, *depth: asked.append(depth) or HeldOutLoss((1.0, 1.1)))
    trials = DepthTrials(scan_of_columns(points=16), ONE_MODE, CPU, DEPTH_A)
    trials.gain(trials, 1.0)
    assert bool(asked) == settled


@pytest.mark.slow
def test_settled_trials_make_more_sweeps_of_the_same(monkeypatch):
    dataset, context = scan_of_columns(points=16), TrialContext("cpu")
    trials, begun, begin = (
        DepthTrials(dataset, Preset(probe_modes=1, window_px=32), context, 28.0),
        [],
        DepthTrials._trial,
    )
    monkeypatch.setattr(DepthTrials, "_trial", lambda self, *depth: begun.append(depth) or begin(self, *depth))
    early, late = (trials.settled(1.0, 2, sweeps, 16) for sweeps in (8, 16))
    assert begun == [(1.0, 2)]
    assert late.mean < early.mean < trials.loss(1.0, 2).mean
    afresh = DepthTrials(dataset, Preset(probe_modes=1, window_px=32), context, 28.0)
    assert afresh.settled(1.0, 2, 16, 16) == late  # which continued an earlier trial


@pytest.mark.parametrize("depth_A", [300.0, 1600.0, 3900.0])
def test_thicknesses_end_at_what_electrons_get_through(monkeypatch, depth_A):
    tried = []

    def loss(self, depths, slices):
        tried.append(depths)
        return HeldOutLoss((1 / depths,))  # thicker always predicts better

    monkeypatch.setattr(DepthTrials, "loss", loss)
    trials = DepthTrials(scan_of_columns(points=4), ONE_MODE, CPU, depth_A)
    coarse = trials.coarse()
    best = trials.fine(coarse.nearest, largest=coarse.largest)
    assert best.largest
    most_A = 2000 * 2**0.5 * (1 + 1e-9)  # the parabola needs a point beyond
    assert 1000 < depth_A * best.depths < most_A
    assert max(tried) * depth_A < most_A


def test_an_estimated_defocus_is_that_of_the_middle():
    dataset = scan_of_columns(points=4)
    same, _ = thickened(dataset, ONE_MODE, 40.0, 4)
    assert same.calibration.aberrations["C10"] == -DEFOCUS_A
    estimated = replace(dataset, calibration=dataset.calibration.having(C10=Quantity(-DEFOCUS_A, Origin.ESTIMATED)))
    moved, preset = thickened(estimated, ONE_MODE, 40.0, 4)
    assert moved.calibration.aberrations["C10"] == -DEFOCUS_A - 20.0
    assert (preset.object.slices, preset.object.spacings_A) == (4, (10.0,) * 3)


@pytest.mark.parametrize(("thickest", "lies_at"), [(0.3, 0.5), (1.1, 1.0), (-0.4, -0.5)])
def test_the_last_thicknesses_begin_where_the_first_have_their_minimum(monkeypatch, thickest, lies_at):
    """For a loss that is a parabola in the power of 2, three trials suffice."""
    tried = []

    def loss(self, depths, slices):
        tried.append((depths, slices))
        self._losses[depths, slices] = made = HeldOutLoss(((math.log2(depths) - thickest) ** 2 + 1,))
        return made

    monkeypatch.setattr(DepthTrials, "loss", loss)
    trials = DepthTrials(scan_of_columns(points=4), ONE_MODE, CPU, DEPTH_A)
    coarse = trials.coarse()
    assert coarse.nearest == lies_at
    tried.clear()
    assert trials.fine(coarse.nearest).depths == pytest.approx(2**thickest)
    powers = sorted({math.log2(depths) for depths, slices in tried if slices == slices_for(2**lies_at)})
    assert powers == pytest.approx([lies_at - 0.5, lies_at, lies_at + 0.5])


def test_from_a_start_elsewhere_trials_go_to_their_end(monkeypatch):
    """A single sweep favours the thickness at which an object is found fastest."""
    monkeypatch.setattr(DepthTrials, "first_loss", lambda self, depths: pytest.fail("judged after one sweep"))
    monkeypatch.setattr(DepthTrials, "loss", lambda self, depths, slices: HeldOutLoss((2.0 - depths, 2.1 - depths)))
    trials = DepthTrials(scan_of_columns(points=4), ONE_MODE, CPU, DEPTH_A)
    assert trials.gain(trials, 1.0, hurried=False).share > 0.4


def estimated(dataset, c10_A):
    optics = {"C10": c10_A, "C12a": 0.0, "C12b": 0.0}
    found = {name: Quantity(value, Origin.ESTIMATED) for name, value in optics.items()}
    return replace(dataset, calibration=dataset.calibration.having(**found))


@pytest.fixture(scope="module")
def thick():
    """The middle of a specimen 48 Å thick is 36 Å out of focus."""
    return scan_of_columns(points=16)


def test_freed_trials_move_the_plane_with_the_object(thick):
    """From 12 Å off, half a depth of focus, they predict better beyond doubt; few sweeps move it part of the way."""
    preset = Preset(probe_modes=1, window_px=32)
    off = estimated(thick, -48.0)
    freed, fixed = (DepthTrials(off, preset, TrialContext("cpu"), 24.0, freed=one) for one in (True, False))
    losses = [trials.loss(2.0, 6) for trials in (freed, fixed)]
    assert Gain.over(losses[1].groups, losses[0].groups).certain
    moved_A = freed._moved_A[2.0, 6]
    assert list(moved_A) == ["C10"]  # nothing else can replace thickness
    assert 1.0 < moved_A["C10"] < 12.0
    assert fixed._moved_A == {}


@pytest.mark.parametrize(("freed", "sweeps"), [(False, 3), (True, 6)])
def test_what_moves_with_the_object_has_more_sweeps(thick, monkeypatch, freed, sweeps):
    asked = []
    monkeypatch.setattr(Trial, "enough_sweeps", lambda self, sweeps: sweeps)
    end = Trial.sweep_to
    monkeypatch.setattr(
        Trial, "sweep_to", lambda self, state, one, most, context: asked.append(one) or end(self, state, 1, 1, context)
    )
    trials = DepthTrials(estimated(thick, -36.0), Preset(probe_modes=1, window_px=32), CPU, DEPTH_A, freed=freed)
    trials.loss(1.0, 2)
    assert asked == [sweeps]


def test_the_best_thickness_has_the_plane_of_the_nearest_trial(monkeypatch):
    def loss(self, depths, slices):
        assert slices == 6  # three per depth of focus are too few if the plane may move
        self._moved_A[depths, slices] = {"C10": 10 * math.log2(depths)}
        return HeldOutLoss(((math.log2(depths) - 0.4) ** 2 + 1,))

    monkeypatch.setattr(DepthTrials, "loss", loss)
    best = DepthTrials(scan_of_columns(points=4), ONE_MODE, CPU, DEPTH_A, freed=True).fine(0.0)
    assert best.depths == pytest.approx(2**0.4)
    assert best.moved_A == pytest.approx({"C10": 5.0})
