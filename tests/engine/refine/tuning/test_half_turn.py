"""The half turn that the bright field leaves open and depth settles."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from columns import scan_of_columns

from ptylive.engine.backend.multislice.open import open_backend
from ptylive.engine.dataset import Dataset
from ptylive.engine.refine import StartGuess, TrialContext, refine
from ptylive.engine.refine.problem.prepare import Problem, prepare
from ptylive.engine.refine.tuning.depth.depth_choice import with_found_depth, with_half_turn_by_depth
from ptylive.engine.refine.tuning.half_turn import half_turn_is_open, half_turned, start_half_turned
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
ONE = Preset(probe_modes=1, algorithm="lsq_sqrt", sweeps=2, epoch_max=2, batch_size=16)


def found_blind(dataset: Dataset, **changes: Quantity) -> Dataset:
    """The same scan with estimated defocus and rotation."""
    known = dataset.calibration.entries
    estimated = {
        "C10": Quantity(known["C10"].value, Origin.ESTIMATED, 5.0),
        "C23a": Quantity(900.0, Origin.ESTIMATED),
        "C30": Quantity(4e4, Origin.GIVEN),
        "rotation_deg": Quantity(25.0, Origin.UNDECIDED, 0.5),
        **changes,
    }
    return replace(dataset, calibration=dataset.calibration.having(**estimated))


def loss_of(problem: Problem) -> float:
    with closing(open_backend("cpu", problem.multislice, 1)) as backend:
        physical = problem.layout.physical(problem.start, np)
        return float(backend.loss_and_gradient(physical.object, physical.probe, corrections=physical.corrections).loss)


def test_one_slice_cannot_tell(small):
    """After conjugation and a half turn, object and probe give the same patterns: an exact symmetry."""
    dataset = found_blind(small.dataset, C30=Quantity(4e4, Origin.ESTIMATED))
    signed = Preset(**{**ONE.model_dump(exclude_unset=True), "phase_only_obj": False, "scan_defocus": False})
    ended = WarmStart.of(refine(dataset, signed, backend="cpu"))
    here = loss_of(ended.applied(prepare(dataset, signed, None)))
    turned = loss_of(ended.half_turned().applied(prepare(half_turned(dataset), signed, None)))
    assert turned == pytest.approx(here, rel=2e-3)  # the grids differ by a fraction of a pixel: interpolated
    assert loss_of(ended.applied(prepare(half_turned(dataset), signed, None))) > 1.02 * here


@pytest.mark.parametrize("pixels", [6, 7])
def test_a_start_is_conjugated_about_its_middle(pixels):
    rng = np.random.default_rng(5)
    probe = rng.normal(size=(2, pixels, pixels)) + 1j * rng.normal(size=(2, pixels, pixels))
    thing = rng.normal(size=(1, 1, 9, 11)) + 1j * rng.normal(size=(1, 1, 9, 11))
    start = WarmStart(thing, 0.5, (-3.0, 2.0), probe)
    turned = start.half_turned()
    middle, around = pixels // 2, np.array([-2, -1, 0, 1, 2])
    here, there = np.ix_([0, 1], middle + around, middle + around), np.ix_([0, 1], middle - around, middle - around)
    assert turned.probe is not None
    assert np.array_equal(turned.probe[there], probe.conj()[here])
    # pixel (2, 3) of the object lies at (-2, 3.5) Å, which becomes (2, -3.5) Å
    row, column = ((np.array([2.0, -3.5]) - turned.origin_A) / 0.5).astype(int)
    assert turned.object[0, 0, row, column] == thing[0, 0, 2, 3].conj()
    again = turned.half_turned()
    assert np.array_equal(again.object, thing)
    assert again.origin_A == pytest.approx(start.origin_A)


def test_what_was_found_is_reversed_and_what_was_stated_is_not(small):
    dataset = found_blind(small.dataset)
    turned = half_turned(replace(dataset, reach_A=np.array([[1.0, -2.0]])))
    assert np.array_equal(turned.positions_A, -dataset.positions_A)
    assert np.array_equal(turned.reach_A, [[-1.0, 2.0]])
    values = {name: turned.calibration.get(name) for name in ("C10", "C23a", "C30", "rotation_deg")}
    assert values == {"C10": 60.0, "C23a": -900.0, "C30": 4e4, "rotation_deg": -155.0}
    assert turned.calibration.entries["C10"] == Quantity(60.0, Origin.ESTIMATED, 5.0)
    assert half_turned(turned).calibration.rotation_deg == 25.0
    assert (
        half_turned(found_blind(dataset, rotation_deg=Quantity(0.0, Origin.ESTIMATED))).calibration.rotation_deg == 180
    )


@pytest.mark.parametrize("stated", ["C10", "rotation_deg", "start_object", "start_probe", "start_positions"])
def test_whatever_is_stated_settles_it(small, stated):
    blind, plain = found_blind(small.dataset), ONE
    assert half_turn_is_open(blind, plain)
    if stated in ("C10", "rotation_deg"):
        assert not half_turn_is_open(found_blind(small.dataset, **{stated: Quantity(10.0, Origin.GIVEN)}), plain)
    else:
        assert not half_turn_is_open(blind, ONE.model_copy(update={stated: "earlier.h5"}))


def test_a_start_phase_lies_turned_and_dark(small):
    phase = np.random.default_rng(1).normal(size=(12, 12)).astype(np.float32)
    start = StartGuess(phase, (0.8, 0.8), 25.0, (0.4, -0.2))
    assert start_half_turned(None) is None
    turned = start_half_turned(start)
    grid = prepare(found_blind(small.dataset), ONE, None).grid
    last_A = grid.origin_A + (np.asarray(grid.shape) - 1) * grid.pixel_A
    opposite = replace(grid, origin_A=-last_A)
    assert np.allclose(opposite.resample(turned), -grid.resample(start)[::-1, ::-1], atol=1e-5)  # float32


def wrong_half() -> Dataset:
    """A specimen of 70 Å under the wrong half turn; the defocus of its middle is known."""
    dataset = scan_of_columns(thickness_A=70.0, points=16)
    found = {"C10": Quantity(-25.0, Origin.ESTIMATED), "rotation_deg": Quantity(0.0, Origin.ESTIMATED)}
    return half_turned(replace(dataset, calibration=dataset.calibration.having(**found)))


@pytest.mark.slow
def test_a_told_depth_settles_it():
    wrong, preset = wrong_half(), Preset(probe_modes=1, num_slices=4, total_thickness_A=70.0, window_px=32)
    tuned = with_half_turn_by_depth(Tuned(wrong, preset), CPU)
    assert tuned.half_turn
    assert tuned.dataset.calibration.aberrations["C10"] == -25.0
    assert tuned.words[0].startswith("the other half turn, rotation 0.0°, C10 -25 Å: for a thick specimen")
    right = Tuned(tuned.dataset, preset)
    assert with_half_turn_by_depth(right, CPU) == replace(right, half_turn_settled=True)
    sheet = Tuned(wrong, Preset(probe_modes=1, num_slices=1, window_px=32))
    assert with_half_turn_by_depth(sheet, CPU) is sheet


@pytest.mark.slow
def test_depth_that_is_found_settles_it():
    tuned = with_found_depth(Tuned(wrong_half(), Preset(probe_modes=1)), CPU)
    thickness_A = tuned.preset.object.total_thickness_A
    assert tuned.half_turn
    assert thickness_A == pytest.approx(70.0, rel=0.3)
    # the plane is found with the thickness: nearer to the true entrance at 60 Å than when starting at the given middle
    assert abs(tuned.dataset.calibration.aberrations["C10"] + 60.0) < abs(-25.0 - thickness_A / 2 + 60.0)
    assert tuned.dataset.calibration.rotation_deg == 0.0
    again = with_found_depth(Tuned(half_turned(wrong_half()), Preset(probe_modes=1)), CPU)
    assert not again.half_turn
    assert again.preset.object.total_thickness_A == thickness_A
