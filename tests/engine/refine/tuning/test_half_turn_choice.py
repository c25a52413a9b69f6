"""The half turn adopted if converged trials through a thick specimen prefer it."""

from dataclasses import replace

import numpy as np
import pytest
from columns import scan_of_columns

from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.half_turn_choice import SETTLED_SWEEPS, is_worth, with_half_turn
from ptylive.engine.refine.tuning.held_out import HeldOutLoss
from ptylive.engine.refine.tuning.start.warm_start import WarmStart
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema import Origin, Quantity
from ptylive.schema.preset import Preset

BETTER, WORSE, ALIKE = (HeldOutLoss(groups) for groups in ((1.0, 1.1), (2.0, 2.1), (1.996, 2.096)))


@pytest.fixture(scope="module")
def tuned():
    dataset = scan_of_columns(points=4)
    estimated = {"C10": Quantity(-25.0, Origin.ESTIMATED), "rotation_deg": Quantity(0.0, Origin.ESTIMATED)}
    return Tuned(replace(dataset, calibration=dataset.calibration.having(**estimated)), Preset())


def never(sweeps):
    raise AssertionError("no longer trial was to be made")


def test_it_is_taken_where_longer_trials_prefer_it_too(tuned):
    found, turned = with_half_turn(tuned, [WORSE, BETTER], lambda sweeps: [WORSE, BETTER])
    assert turned and found.half_turn and found.half_turn_settled
    assert found.dataset.positions_A[-1] == pytest.approx(-tuned.dataset.positions_A[-1])
    assert "for a thick specimen it predicts held-out patterns better, by 49 ± 0" in found.words[-1]


@pytest.mark.parametrize("longer", [[BETTER, WORSE], [WORSE, WORSE], [WORSE, ALIKE]])
def test_it_is_left_where_longer_trials_do_not(tuned, longer):
    found, turned = with_half_turn(tuned, [WORSE, BETTER], lambda sweeps: longer)
    assert not turned and not found.half_turn and found.dataset is tuned.dataset
    assert "no half turn: longer trials do not prefer it" in found.words[-1]


@pytest.mark.parametrize("losses", [[WORSE], [BETTER, WORSE], [WORSE, ALIKE]])
def test_nothing_longer_is_tried_where_it_is_not_preferred(tuned, losses):
    found, turned = with_half_turn(tuned, losses, never)
    assert not turned and found.dataset is tuned.dataset and found.words == ()


@pytest.mark.parametrize(
    ("first", "longer", "settled"),
    [
        ([WORSE], None, False),
        ([BETTER, WORSE], None, True),
        ([WORSE, ALIKE], None, False),
        ([WORSE, BETTER], [BETTER, WORSE], True),
        ([WORSE, BETTER], [WORSE, ALIKE], False),
    ],
)
def test_depth_settles_it_where_it_prefers_either_beyond_doubt(tuned, first, longer, settled):
    found, _ = with_half_turn(tuned, first, never if longer is None else lambda sweeps: longer)
    assert found.half_turn_settled is settled
    before = replace(tuned, half_turn_settled=True)
    assert with_half_turn(before, first, never if longer is None else lambda sweeps: longer)[0].half_turn_settled


def test_a_gain_is_worth_it_beyond_doubt_and_above_half_a_per_cent():
    assert is_worth(Gain(0.006, 0.001))
    assert not is_worth(Gain(0.006, 0.004))
    assert not is_worth(Gain(0.004, 0.001))


@pytest.mark.parametrize(("origin", "turned"), [(Origin.ESTIMATED, False), (Origin.UNDECIDED, True)])
def test_a_half_turn_that_the_maps_settled_needs_more(tuned, origin, turned):
    """Gold of 49 Å had been turned by a gain of 3.7 %, and was refined upside down (-0.895)."""
    rotation = replace(tuned.dataset.calibration.entries["rotation_deg"], origin=origin)
    calibration = tuned.dataset.calibration.having(rotation_deg=rotation)
    tuned = replace(tuned, dataset=replace(tuned.dataset, calibration=calibration))
    better = HeldOutLoss((1.926, 2.022))  # by 3.7 %
    assert with_half_turn(tuned, [WORSE, better], lambda sweeps: [WORSE, better])[1] is turned


def test_longer_trials_end_half_way_where_they_prefer_what_there_is(tuned):
    asked = []
    with_half_turn(tuned, [WORSE, BETTER], lambda sweeps: asked.append(sweeps) or [BETTER, WORSE])
    assert asked == [SETTLED_SWEEPS // 2]
    asked.clear()
    with_half_turn(tuned, [WORSE, BETTER], lambda sweeps: asked.append(sweeps) or [WORSE, ALIKE])
    assert asked == [SETTLED_SWEEPS // 2, SETTLED_SWEEPS]


def test_what_it_begins_from_turns_with_it(tuned):
    begun = WarmStart(np.exp([[[[0.1j, 0.2j]]]]), 0.5, (1.0, 2.0))
    found, _ = with_half_turn(replace(tuned, warm_start=begun), [WORSE, BETTER], lambda sweeps: [WORSE, BETTER])
    np.testing.assert_allclose(np.angle(found.warm_start.object), [[[[-0.2, -0.1]]]])
    assert found.warm_start.origin_A == (-1.0, -2.5)
