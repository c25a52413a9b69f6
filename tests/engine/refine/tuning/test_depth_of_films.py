"""Depth of randomly placed atoms, determined by longer trials if short ones show none."""

import pytest
from columns import ENERGY_EV, SEMIANGLE_MRAD, scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth import depth_choice
from ptylive.engine.refine.tuning.depth.depth_choice import with_found_depth
from ptylive.engine.refine.tuning.depth.depth_trials import FIRST, LESS, NOTHING, Best, Coarse, DepthTrials
from ptylive.engine.refine.tuning.depth.unexplained import OneSlice
from ptylive.engine.refine.tuning.half_turn_choice import SETTLED_SWEEPS
from ptylive.engine.refine.tuning.held_out import HeldOutLoss
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset
from ptylive.schema.units import wavelength_A

DEPTH_A = wavelength_A(ENERGY_EV) / (1e-3 * SEMIANGLE_MRAD) ** 2
CPU = TrialContext(backend="cpu")


@pytest.fixture(autouse=True)
def no_trial_refines_it(monkeypatch):
    """Use the thickness found by trials of several slices."""
    monkeypatch.setattr(depth_choice, "settled_thickness_A", lambda thick, thickness_A, *others: thickness_A)


@pytest.fixture
def longer(monkeypatch):
    """Make short trials show no depth and longer ones gain these shares by it; return the settings of longer trials."""

    def gains(by):
        asked = []

        def settled(self, depths, slices, sweeps, most):
            asked.append((depths, slices, sweeps, most, self.modes))
            return HeldOutLoss(tuple((1 - by.get(depths, 0.0)) * (1 + 0.001 * k) for k in range(16)))

        monkeypatch.setattr(depth_choice, "in_its_own_plane", lambda thin, context: thin)
        monkeypatch.setattr(DepthTrials, "settled", settled)
        monkeypatch.setattr(DepthTrials, "gain", lambda self, thin, depths, **how: Gain(-0.02, 0.001))
        monkeypatch.setattr(DepthTrials, "gain_of_half", lambda self, thin: Gain(0.01, 0.001))
        monkeypatch.setattr(DepthTrials, "coarse", lambda self: Coarse(0.0, False, HeldOutLoss((1.0,))))
        monkeypatch.setattr(DepthTrials, "fine", lambda self, power, *, largest: Best(1.0, largest))
        monkeypatch.setattr(depth_choice, "compared", lambda thin, thick, context: (None, thick))
        monkeypatch.setattr(depth_choice, "with_columns", lambda tuned, context: tuned)
        monkeypatch.setattr(depth_choice, "columns_of_depth", lambda tuned, context, depth_A: None)
        return asked

    return gains


def found(**known):
    return with_found_depth(Tuned(scan_of_columns(points=16), Preset(probe_modes=1), **known), CPU)


@pytest.mark.parametrize(("by", "depths"), [({LESS: 0.02, FIRST: 0.01}, LESS), ({LESS: -0.01, FIRST: 0.02}, FIRST)])
def test_depth_that_longer_trials_show_is_taken(longer, by, depths):
    """Half of a depth of focus or a whole one is used, whichever predicts better; in one half turn."""
    asked = longer(by)
    tuned = found(atoms_at_random=True)
    assert tuned.preset.object.num_slices == 3
    assert (
        f"a depth of {depths * DEPTH_A:.3g} Å already predicts held-out patterns better in longer trials, by 2 ± "
        in tuned.words[0]
    )
    assert asked == [(one, 2, SETTLED_SWEEPS, SETTLED_SWEEPS, 1) for one in (NOTHING, LESS, FIRST)]


def test_what_longer_trials_do_not_show_is_one_slice(longer):
    longer({LESS: 0.004, FIRST: 0.004})
    tuned = found(atoms_at_random=True)
    assert tuned.preset.object.num_slices == 1
    (words,) = tuned.words
    assert (
        words == f"one slice: a depth of {DEPTH_A:.3g} Å would not predict held-out patterns better (gain -2 ± 0.1 %)"
    )


def test_of_crystals_short_trials_decide(monkeypatch, longer):
    monkeypatch.setattr(OneSlice, "left", None)
    monkeypatch.setattr(depth_choice, "depth_in_many_slices", lambda tuned, why, *others: (None, why))
    asked = longer({LESS: 0.02, FIRST: 0.02})
    assert found().preset.object.num_slices == 1
    assert asked == []
