"""Assessment at the end of a run: patterns held out of it, and the sentence."""

import numpy as np
import pytest

from ptylive.engine.refine import refine
from ptylive.engine.refine.results.convergence import Convergence
from ptylive.engine.refine.run import convergence as module
from ptylive.engine.refine.run.convergence import convergence, count_held_out, held_out
from ptylive.engine.refine.run.log import Log
from ptylive.schema.preset import Preset

PLAIN = {"num_slices": 1, "probe_modes": 1, "phase_deviation": False}


def log(losses, held=(), phase="lbfgs"):
    return Log(tuple(losses), (phase,) * len(losses), (1.0,) * len(losses), held=tuple(held))


def test_a_few_patterns_are_held_out_of_many_and_none_of_few():
    assert held_out(2047, 0) == ()
    groups = held_out(12800, 3)
    every = np.concatenate(groups)
    assert len(groups) == module.GROUPS
    assert len(every) == len(np.unique(every)) == count_held_out(12800) == 100
    assert count_held_out(10**6) == module.MOST
    assert [one.tolist() for one in held_out(12800, 3)] == [one.tolist() for one in groups]


def test_the_fall_of_patterns_held_out_decides():
    """The training loss falls throughout; the held-out loss falls by 1 % an epoch, or only scatters."""
    scatter = np.random.default_rng(0).normal(size=(5, 8))
    falling = [tuple(100.0 * 0.99**epoch + 0.1 * scatter[epoch]) for epoch in range(5)]
    found = convergence(log(np.linspace(100, 80, 5), falling), 100)
    assert found.falling
    assert found.fall == pytest.approx(0.01, abs=4 * found.uncertainty)
    assert found.sentence.startswith("not converged: the loss of 100 held-out patterns is still falling by 0.98 ± ")
    assert found.sentence.endswith("% an epoch: continue with +20 epochs")
    resting = [tuple(100.0 + 0.1 * scatter[epoch]) for epoch in range(5)]
    found = convergence(log(np.linspace(100, 80, 5), resting), 100)
    assert not found.falling
    rising = [tuple(100.0 * 1.01**epoch + 0.1 * scatter[epoch]) for epoch in range(5)]
    found = convergence(log(np.linspace(100, 80, 5), rising), 100)
    assert not found.falling
    assert "more epochs would fit noise" in found.sentence


def test_a_fall_within_its_scatter_is_none():
    noisy = [tuple(100.0 - 0.5 * epoch + 20 * np.random.default_rng(epoch).normal(size=8)) for epoch in range(5)]
    assert not convergence(log([1.0] * 5, noisy), 100).falling


def test_without_them_the_loss_of_all_patterns_decides():
    assert convergence(log([10.0, 9.9, 9.8]), 100) is None
    assert convergence(log([10.0, 9.0, 8.0, 7.0], phase="sweep"), 100) is not None
    mixed = Log((4.0, 3.0, 2.0, 1.0), ("sweep", "lbfgs", "lbfgs", "lbfgs"))
    assert convergence(mixed, 100) is None
    found = convergence(log([10.3, 10.2, 10.1, 10.0]), 100)
    assert (found.falling, found.held_out, found.uncertainty) == (True, 0, None)
    assert found.fall == pytest.approx(0.01)
    assert found.sentence == "not converged: the loss is still falling by 1 % an epoch: continue with +20 epochs"
    assert (
        convergence(log([10.0, 9.9999, 9.9998, 9.9997]), 100).sentence
        == "converged: the loss falls by 0.001 % an epoch"
    )
    assert convergence(log([1.0, float("nan"), 1.0, float("nan")]), 100) is None


def test_what_was_held_out_long_ago_says_nothing():
    held = [(100.0 * 0.9**epoch,) * 8 for epoch in range(5)]
    assert convergence(log([10.0] * 5, held), 100).held_out == 100
    assert convergence(log([10.0] * 30, held), 100).held_out == 0


@pytest.fixture
def few_suffice(monkeypatch):
    """Make small scans hold out patterns, too."""
    monkeypatch.setattr(module, "LEAST_PATTERNS", 100)
    monkeypatch.setattr(module, "SHARE", 1 / 8)


@pytest.mark.slow
def test_only_runs_whose_epochs_nobody_gave_hold_patterns_out(simulated, few_suffice):
    automatic = refine(simulated.dataset, Preset.from_mapping(PLAIN), backend="cpu")
    assert automatic.convergence.held_out == 18 or automatic.convergence.uncertainty is None  # it may have converged
    given = refine(simulated.dataset, Preset.from_mapping({**PLAIN, "epoch_max": 14}), backend="cpu")
    assert given.convergence.held_out == 0
    assert given.convergence.sentence.split(":")[0] in given.message


def test_a_run_that_is_stopped_goes_on_as_it_began(simulated, few_suffice, tmp_path):
    whole = refine(simulated.dataset, Preset.from_mapping(PLAIN), backend="cpu")
    for after in (3, 10):  # in the sweeps, in L-BFGS
        done, place = [], tmp_path / f"{after}.checkpoint"
        refine(
            simulated.dataset,
            Preset.from_mapping(PLAIN),
            backend="cpu",
            checkpoint=place,
            on_progress=lambda progress, done=done: done.append(progress.epoch),
            should_stop=lambda done=done, after=after: bool(done) and done[-1] >= after,
        )
        rest = refine(simulated.dataset, Preset.from_mapping(PLAIN), backend="cpu", checkpoint=place, resume=True)
        np.testing.assert_array_equal(rest.loss, whole.loss)
        np.testing.assert_array_equal(rest.object, whole.object)
        assert rest.convergence == whole.convergence


def test_a_run_goes_on_from_its_end_for_more_epochs(small, few_suffice, tmp_path):
    place = tmp_path / "checkpoint"
    first = refine(small.dataset, Preset.from_mapping(PLAIN), backend="cpu", checkpoint=place)
    more = Preset.from_mapping({**PLAIN, "epoch_max": len(first.loss) + 4})
    then = refine(small.dataset, more, backend="cpu", checkpoint=place, resume=True)
    np.testing.assert_array_equal(then.loss[: len(first.loss)], first.loss)
    assert len(first.loss) < len(then.loss) <= len(first.loss) + 4 or "no step" in then.message
    again = refine(small.dataset, more, backend="cpu", checkpoint=place, resume=True)
    assert (first.unchanged, then.unchanged, again.unchanged) == (False, len(then.loss) == len(first.loss), True)
    np.testing.assert_array_equal(again.loss, then.loss)


def test_a_sentence_for_each_case():
    assert "± 0.1 %" in Convergence(falling=True, fall=0.004, uncertainty=0.001, held_out=50).sentence
    at_rest = Convergence(falling=False, fall=-0.0005, uncertainty=None, held_out=0)
    assert at_rest.converged and at_rest.sentence == "converged: the loss falls by 0 % an epoch"
    rising = Convergence(falling=False, fall=-0.5, uncertainty=None, held_out=0)
    assert not rising.converged and "not converged: the loss rises by 50 % an epoch: use smaller" in rising.sentence
    fast = Convergence(falling=True, fall=1.1, uncertainty=None, held_out=0)
    assert not fast.converged and "by 110 % an epoch" in fast.sentence


def test_a_loss_rises_from_the_share_at_which_it_falls():
    for share, moves in ((0.9, False), (1.1, True)):
        step = share * module.FALLING
        assert convergence(log([1.0 + step * k for k in range(4)]), 0).rising is moves
        assert convergence(log([1.0 - step * k for k in range(4)]), 0).falling is moves
