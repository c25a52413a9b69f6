"""Whether several slices predict better than one, each configured as it would be refined."""

from dataclasses import replace

import numpy as np
import pytest
from columns import scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.data.start_guess import StartGuess
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth import worth_of_slices
from ptylive.engine.refine.tuning.depth.worth_of_slices import are_worth_it, compared, gain_of_slices
from ptylive.engine.refine.tuning.held_out import Trial
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

CPU = TrialContext(backend="cpu")
SEVERAL = {"num_slices": 3, "total_thickness_A": 70.0}


def both(dataset, **settings):
    """The same data set with one slice and with three."""
    return tuple(Tuned(dataset, Preset(**settings, **form)) for form in ({"num_slices": 1}, SEVERAL))


def told(monkeypatch, after_sweeps, after_epochs):
    """Prescribe losses of three slices where one has 100 and 102 in two groups; return trials and slices evaluated."""
    made, asked = [], []

    def likelihoods(self, epochs, context):
        assert epochs == (0, 4)
        made.append(self)
        for own in (after_sweeps, after_epochs):
            asked.append(self.preset.object.slices)
            yield own if self.preset.object.slices > 1 else (100.0, 102.0)

    monkeypatch.setattr(Trial, "lbfgs_likelihoods", likelihoods)
    return made, asked


def test_what_is_ahead_after_the_sweeps_is_left_at_that(monkeypatch):
    _, asked = told(monkeypatch, (90.0, 91.0), (200.0, 200.0))  # 10.4 with a deviation of 0.5
    assert gain_of_slices(*both(scan_of_columns(points=16)), CPU).share == pytest.approx(10.5 / 101)
    assert asked == [1, 3]


@pytest.mark.parametrize(
    ("gain", "taken"), [(Gain(0.02, 0.009), True), (Gain(0.02, 0.011), False), (Gain(0.009, 0.001), False)]
)
def test_slices_are_worth_it_beyond_doubt_and_by_a_per_cent(gain, taken):
    assert are_worth_it(gain) is taken


@pytest.mark.parametrize(
    "sweeps",
    [(98.5, 98.5), (110.0, 110.0), (99.4, 101.4)],
    ids=["ahead-by-two-deviations", "behind", "surely-by-a-little"],
)
def test_otherwise_some_epochs_more_decide(monkeypatch, sweeps):
    _, asked = told(monkeypatch, sweeps, (95.0, 99.0))
    assert gain_of_slices(*both(scan_of_columns(points=16)), CPU) == Gain.over((100.0, 102.0), (95.0, 99.0))
    assert asked == [1, 3, 1, 3]


def test_each_is_tried_as_it_would_be_refined_but_from_nothing(monkeypatch):
    made, _ = told(monkeypatch, (99.0, 99.0), (99.0, 99.0))
    dataset = scan_of_columns(points=16, counts=1e2)  # 180 e/Å²: *weak* by the dose
    start = StartGuess(np.zeros((16, 16), np.float32), (0.75, 0.75))
    settings = {"sweeps": 1, "epoch_max": 1, "probe_modes": 3, "start_from_map": True}
    gain_of_slices(*both(dataset, **settings), replace(CPU, start=start))
    one, several = (trial.problem.strategy for trial in made)
    assert (str(one.regime), one.sweeps, str(one.kind), one.non_negative) == ("thin", 8, "ml", True)
    assert (several.sweeps, str(several.kind), several.non_negative) == (5, "ml", False)
    assert (one.coherence.modes, several.coherence.modes) == (2, 2)
    assert not one.start_from_map
    assert np.array_equal(made[0].held_out, made[1].held_out)


OPTICS = ("C10", "C12a", "C12b")


@pytest.mark.parametrize(
    ("origin", "at_random", "freed"),
    [
        (Origin.ESTIMATED, False, [OPTICS, None]),
        (Origin.UNDECIDED, True, [OPTICS, OPTICS]),
        (Origin.GIVEN, True, [None, None]),
    ],
)
def test_optics_that_the_run_refines_are_refined_here_too(monkeypatch, origin, at_random, freed):
    """A single slice in a plane left wrong by a short scan would be no fair rival."""
    made, _ = told(monkeypatch, (99.0, 99.0), (99.0, 99.0))
    dataset = scan_of_columns(points=16)
    named = dict.fromkeys(OPTICS[1:], Quantity(0.0, origin)) | {"C10": Quantity(-50.0, origin)}
    dataset = replace(dataset, calibration=dataset.calibration.having(**named))
    gain_of_slices(*(replace(one, atoms_at_random=at_random) for one in both(dataset)), CPU)
    refined = [trial.preset.refined for trial in made]
    assert [one.refined_aberrations if one.update_aberrations else None for one in refined] == freed


DEEP, SHALLOW = ({"num_slices": 3, "total_thickness_A": thickness_A} for thickness_A in (400.0, 20.0))


@pytest.mark.parametrize(
    ("settings", "form", "gains", "tried", "taken"),
    [
        ({}, DEEP, {"auto": -0.06, "ml": 0.02}, ["auto", "ml"], "ml"),
        ({}, DEEP, {"auto": -0.06, "ml": 0.005}, ["auto", "ml"], "auto"),
        ({}, DEEP, {"auto": 0.03}, ["auto"], "auto"),
        ({}, DEEP, {"auto": None}, ["auto"], "auto"),
        ({}, SHALLOW, {"auto": -0.06}, ["auto"], "auto"),
        ({"algorithm": "lsq_sqrt"}, DEEP, {"lsq_sqrt": -0.06}, ["lsq_sqrt"], "lsq_sqrt"),
    ],
    ids=["by-counts", "neither", "by-amplitudes", "no-judge", "within-a-focus", "asked-for"],
)
@pytest.mark.parametrize("counts_per_electron", [None, 200.0])
def test_slices_that_are_not_worth_it_by_amplitudes_may_be_by_their_counts(
    monkeypatch, settings, form, gains, tried, taken, counts_per_electron
):
    """A crystal of SrTiO₃ with 1560 electrons a pattern was refined in one slice: 0.88 instead of 0.96."""
    asked = []

    def gain(thin, thick, context):
        asked.append(str(thick.preset.loss.algorithm))
        share = gains[asked[-1]]
        return None if share is None else Gain(share, 0.001)

    monkeypatch.setattr(worth_of_slices, "gain_of_slices", gain)
    dataset = scan_of_columns(points=16)
    if counts_per_electron:
        dataset = in_counts(dataset, 200.0, counts_per_electron)
    thin, thick = (Tuned(dataset, Preset(**settings, **one)) for one in ({"num_slices": 1}, form))
    found, several = compared(thin, thick, CPU)
    assert asked == tried
    assert str(several.preset.loss.algorithm) == taken
    assert found == (None if gains[taken] is None else Gain(gains[taken], 0.001))
    said = "with amplitudes they would not predict better (gain -6 ± 0.1 %)"
    assert any(said in words for words in several.words) is (taken == "ml")


def in_counts(dataset, times, counts_per_electron):
    """The same patterns in more counts, and what the calibration states an electron to be worth."""
    patterns = (times * dataset.patterns).astype(np.float32)
    stated = {"counts_per_electron": Quantity(counts_per_electron, Origin.GIVEN)}
    return replace(dataset, patterns=patterns, calibration=dataset.calibration.having(**stated))


def test_counts_do_not_replace_amplitudes_of_many_electrons(monkeypatch):
    """Regression: a sheet of 2e6 electrons a pattern became seven slices of 92 Å, by 1.3 ± 0.6 %: 0.9625 for 0.980."""
    asked = []
    monkeypatch.setattr(worth_of_slices, "gain_of_slices", lambda *told: asked.append(told) or Gain(-0.04, 0.007))
    dataset = in_counts(scan_of_columns(points=16), 200.0, 1.0)
    several = Tuned(dataset, Preset(**DEEP))
    assert compared(Tuned(dataset, Preset(num_slices=1)), several, CPU) == (Gain(-0.04, 0.007), several)
    assert len(asked) == 1


DAMPED = {"weakly_damped_obj": True, "non_negative_phase": True}


@pytest.mark.parametrize(
    ("thin", "thick", "compared_as"),
    [
        (DAMPED, SHALLOW, (True, True)),
        ({}, SHALLOW, (False, "auto")),
        (DAMPED, DEEP, (False, "auto")),
        (DAMPED, {**SHALLOW, "phase_only_obj": False}, (False, "auto")),
    ],
    ids=["within-a-focus", "a-phase", "resolved", "asked-for"],
)
def test_slices_that_the_aperture_does_not_resolve_are_damped_as_one_is(monkeypatch, thin, thick, compared_as):
    """Two complex slices of gold predict better than one damped slice, two damped ones do not: 0.955 for 0.990."""
    seen = []

    def gain(thin, thick, context):
        form = thick.preset.object
        seen.append((form.weakly_damped_obj, form.non_negative_phase))
        return Gain(0.1, 0.01)

    monkeypatch.setattr(worth_of_slices, "gain_of_slices", gain)
    dataset = scan_of_columns(points=16)
    several = Tuned(dataset, Preset(**thick))
    found, kept = compared(Tuned(dataset, Preset(num_slices=1, **thin)), several, CPU)
    assert seen == [compared_as]
    assert found == Gain(0.1, 0.01) and kept is several  # whatever form they are refined in is decided later


@pytest.mark.slow
def test_a_plane_that_is_off_makes_no_slices_worth_it(drifted):
    """A sheet with its defocus estimated 25 Å off gains as much by refining its plane as by slices around it."""
    dataset = drifted((0.0, 0.0), 3)
    far = replace(dataset, calibration=dataset.calibration.having(C10=Quantity(-85.0, Origin.ESTIMATED)))
    stated = replace(dataset, calibration=dataset.calibration.having(C10=Quantity(-85.0, Origin.GIVEN)))
    gains = []
    for one in (far, stated):
        thin, thick = both(one, window_px=32)
        placed = replace(
            thick, dataset=replace(one, calibration=one.calibration.having(C10=Quantity(-95.0, Origin.GIVEN)))
        )
        gains.append(gain_of_slices(thin, placed, CPU))
    assert gains[0].share < gains[1].share


def test_a_regime_that_was_asked_for_is_that_of_one_slice(monkeypatch):
    made, _ = told(monkeypatch, (99.0, 99.0), (99.0, 99.0))
    gain_of_slices(*both(scan_of_columns(points=16), regime="weak"), CPU)
    assert str(made[0].problem.strategy.regime) == "weak"


def test_nothing_is_tried_of_published_engines(monkeypatch):
    monkeypatch.setattr(worth_of_slices, "as_refined", lambda *told: pytest.fail("tried"))
    assert gain_of_slices(*both(scan_of_columns(points=16), optimizer="epie"), CPU) is None


def test_nor_under_correlated_noise(monkeypatch):
    """A likelihood of independent counts is not valid there."""
    told(monkeypatch, (99.0, 99.0), (99.0, 99.0))
    monkeypatch.setattr(worth_of_slices, "NOISE_SPREAD", -1.0)
    assert gain_of_slices(*both(scan_of_columns(points=16)), CPU) is None


@pytest.mark.slow
def test_columns_that_are_thick_are_worth_slices_and_a_sheet_is_not():
    thick = gain_of_slices(*both(scan_of_columns(thickness_A=70.0, points=16)), CPU)
    sheet = gain_of_slices(*both(scan_of_columns(thickness_A=2.0, points=16)), CPU)
    assert thick.certain
    assert not sheet.certain
