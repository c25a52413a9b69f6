"""What can be estimated from trials: values with uncertainties, values that stay undetermined or lie beyond a range."""

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
from tuning_trials import BEST, DEFOCUS, FORM, SLICES, SWEEPS, THICKNESS, drawn

from ptylive.application.tuning import estimates, plain_state
from ptylive.application.tuning.estimates import digits_of, enough, findings

BOTH = (DEFOCUS, THICKNESS)


def estimate(over, tried, name):
    """One of the findings; the others, which would take as long again, are not made."""
    made = estimates._estimate

    def one_of_them(landscape, k, *found):
        return made(landscape, k, *found) if over[k].name == name else None

    with patch.object(estimates, "_estimate", one_of_them):
        (found,) = filter(None, findings(over, tried, SWEEPS).estimates)
    return found


@pytest.mark.parametrize("points", [(13, 21), pytest.param((25, 41), marks=pytest.mark.slow)])
def test_only_quick_tests_have_fewer_points(points):
    assert (estimates.POINTS, plain_state.POINTS) == points


def test_values_come_with_their_uncertainty():
    found = findings(BOTH, drawn(BOTH, 30), SWEEPS)
    for one in found.estimates:
        assert one.told and not one.beyond
        assert abs(one.best - BEST[one.range.name]) < 3 * one.deviation
        assert one.deviation < 0.1 * (one.range.high - one.range.low)
        assert f"{one.range.title} " in one.sentence and " ± " in one.sentence and one.sentence.endswith("Å")
    assert found.sentence.count(";") == 1
    assert found.agreement == pytest.approx(1.0)  # every sweep lowers all losses by the same fraction
    assert set(found.values) == {"defocus_A", "total_thickness_A"}


def test_what_changes_nothing_cannot_be_told_and_stays():
    over = (DEFOCUS, SLICES)
    one = estimate(over, drawn(over, 30), "num_slices")
    assert not one.told
    assert one.sentence == "num_slices cannot be determined (2 to 6 predict equally well)"
    assert findings(over, drawn(over, 30), SWEEPS).values["num_slices"] == SLICES.start


def test_what_groups_of_patterns_do_not_agree_on_cannot_be_told():
    """Sixteen minima with a scatter of three ranges: their mean has an uncertainty of three quarters of a range."""
    one = estimate(BOTH, drawn(BOTH, 30, scatter=3.0), "total_thickness_A")
    assert not one.told and one.profile.rise.max() > 0.01


def test_what_changes_next_to_nothing_cannot_be_told_however_sure_that_is():
    over = (DEFOCUS, replace(SLICES, name="num_slices"))
    assert not estimate(over, drawn(over, 40, tilt=1e-5, scatter=0.0), "num_slices").told


def test_a_whole_number_that_matters_is_told():
    over = (DEFOCUS, SLICES)
    one = estimate(over, drawn(over, 40, tilt=0.05), "num_slices")
    assert one.told and one.best == 3
    assert one.sentence == "num_slices 3"


def test_a_word_is_told():
    over = (DEFOCUS, FORM)
    assert estimate(over, drawn(over, 24), "weakly_damped_obj").sentence == "weakly_damped_obj False"


def test_a_minimum_at_the_end_of_the_range_is_said_to_lie_there():
    over = (replace(DEFOCUS, low=60.0, high=200.0), THICKNESS)
    one = estimate(over, drawn(over, 30), "defocus_A")
    assert one.beyond == "low" and one.deviation is None
    assert one.sentence == "defocus 60 Å or less: the best lies at the end of its range"


def bowl(value_range):
    """The estimate from a landscape of one value whose minimum, at 0.6 of the range, is known to 0.1 of the range."""

    def rise(values, best):
        return (values[0] - best[0]) ** 2, 0.005  # twice this deviation is reached 0.1 away

    landscape = SimpleNamespace(
        over=(value_range,), lowest=lambda fixed: np.array([fixed[0]]), rise=rise, shares=lambda *profile: profile
    )
    return estimates._estimate(landscape, 0, np.array([0.6]), 0.0)


def test_what_the_model_leaves_open_is_added_in_squares():
    """A value has the ambiguity of its range: some of its unit, and a share of the value itself."""
    plain = bowl(DEFOCUS)
    assert plain.best == pytest.approx(40.0)
    # half of 0.1 of 400 Å; eight bisections of what is left of a step of 1 / 24 end within 0.07 Å
    assert plain.deviation == pytest.approx(20.0, abs=0.07)
    blurred, shared = bowl(replace(DEFOCUS, blur=20.0)), bowl(replace(DEFOCUS, share=0.5))
    assert blurred.deviation == pytest.approx((plain.deviation**2 + 20.0**2) ** 0.5)
    assert shared.deviation == pytest.approx((plain.deviation**2 + (0.5 * 40.0) ** 2) ** 0.5)


@pytest.mark.slow
def test_what_the_model_leaves_open_is_part_of_the_uncertainty():
    tried = drawn(BOTH, 30)
    plain = estimate(BOTH, tried, "defocus_A").deviation
    blurred = estimate((replace(DEFOCUS, blur=20.0), THICKNESS), tried, "defocus_A").deviation
    assert blurred == pytest.approx((plain**2 + 20.0**2) ** 0.5)
    thick, shared = (
        estimate((DEFOCUS, replace(THICKNESS, share=share)), tried, "total_thickness_A") for share in (0, 0.5)
    )
    assert shared.deviation == pytest.approx((thick.deviation**2 + (0.5 * thick.best) ** 2) ** 0.5)


def test_trials_that_were_given_up_tell_how_the_minimum_moved():
    tried = [*drawn(BOTH, 20), *drawn(BOTH, 20, seed=5, state="pruned")]
    assert estimate(BOTH, tried, "defocus_A").deviation < 20


def test_few_trials_are_not_enough():
    assert enough(BOTH, drawn(BOTH, 9), SWEEPS) and not enough(BOTH, drawn(BOTH, 8), SWEEPS)
    assert not enough(BOTH, drawn(BOTH, 20, state="pruned"), SWEEPS)


def test_what_changes_nothing_at_all_is_no_trouble():
    flat = [replace(one, groups={sweep: (1.0,) * 16 for sweep in (1, 2, 4)}) for one in drawn(BOTH, 12)]
    found = findings(BOTH, [*flat, replace(flat[0], number=99, groups={2: (1.0,) * 16}, state="pruned")], SWEEPS)
    assert not any(one.told for one in found.estimates) and found.agreement is None


@pytest.mark.parametrize(("deviation", "digits"), [(8.0, 0), (2.3, 1), (0.31, 1), (0.12, 2), (12.0, 0), (0.0, 3)])
def test_digits_are_those_the_deviation_leaves(deviation, digits):
    assert digits_of(deviation) == digits
