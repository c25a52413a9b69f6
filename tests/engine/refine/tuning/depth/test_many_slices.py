"""Thicknesses of many slices that few slices rule out."""

import pytest
from columns import scan_of_columns

from ptylive.engine.refine import TrialContext
from ptylive.engine.refine.results.gain import Gain
from ptylive.engine.refine.tuning.depth import many_slices
from ptylive.engine.refine.tuning.depth.depth_trials import COARSE_SLICES
from ptylive.engine.refine.tuning.depth.many_slices import HOPELESS, hopeless_gain
from ptylive.engine.refine.tuning.depth.unexplained import OneSlice, Unexplained
from ptylive.engine.refine.tuning.tuned import Tuned
from ptylive.schema.preset import Preset

MUCH, LITTLE = Unexplained((2.3,), 2.3), Unexplained((1.2,), 1.2)


@pytest.mark.parametrize(
    ("gain", "left", "given_up"),
    [
        (Gain(-1.01 * HOPELESS, 0.01), LITTLE, True),
        (Gain(-0.99 * HOPELESS, 0.01), LITTLE, False),
        (Gain(-1.01 * HOPELESS, 0.09), LITTLE, False),
        (Gain(0.2, 0.01), LITTLE, False),
        (None, LITTLE, False),
        (Gain(-2 * HOPELESS, 0.01), MUCH, False),
        (Gain(-2 * HOPELESS, 0.01), None, False),
    ],
)
def test_many_are_given_up_where_few_are_far_worse_and_one_is_enough(monkeypatch, gain, left, given_up):
    asked = []

    def compared(thin, thick, context):
        asked.append(
            (thin.preset.object.slices, thick.preset.object.slices, sum(thick.preset.object.slice_thickness_A))
        )
        return gain, thick

    monkeypatch.setattr(many_slices, "compared", compared)
    monkeypatch.setattr(OneSlice, "left", left)
    dataset = scan_of_columns(points=16)
    thin, tuned = Tuned(dataset, Preset(num_slices=1)), Tuned(dataset, Preset())
    assert hopeless_gain(thin, tuned, 900.0, TrialContext(backend="cpu")) is (gain if given_up else None)
    assert asked == [(1, COARSE_SLICES, pytest.approx(900.0))]
